//! Question: what does it cost to read a log that is in memory, and one that has to come from the disk?
//!
//! A log of `CAIRN_BENCH_BYTES` (default 1 GiB) in batches of 16 KiB is written, closed and read from start to end with several
//! read sizes: right after opening (checksums are computed once), again (known to hold), by time, and after the page cache
//! was told to forget the files.
//!
//! `cargo bench -p cairn-benches --bench read`, with `CAIRN_BENCH_DIR` for the disk.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use cairn_benches::machine;
use cairn_protocol::ids::{LeaderEpoch, Offset, PartitionIndex, Timestamp, TopicId};
use cairn_protocol::records::{BatchBuilder, BatchView, NewRecord, TimestampPolicy};
use cairn_storage::dir::{DataDir, DirConfig};
use cairn_storage::disk::mapped::{MappedDisk, MappedLimits};
use cairn_storage::log::{AppendAs, FirstBatch, HotRead, Limits, LogConfig, LogName, LogReader};

const BATCH_BYTES: usize = 16 * 1024;

fn open_dir(path: &Path) -> DataDir {
    let disk = MappedDisk::new(MappedLimits::default()).expect("mapped segments");
    let config = DirConfig { reserve_bytes: Some(0), ..DirConfig::default() };
    DataDir::open(Arc::new(disk), path, &config).expect("data directory")
}

fn name() -> LogName {
    LogName::new("bench", PartitionIndex(0)).expect("legal")
}

fn write(path: &Path, bytes: u64) {
    let dir = open_dir(path);
    let mut log = dir.create_log(&name(), TopicId::ZERO, LogConfig::default()).expect("create");
    let value = vec![7; BATCH_BYTES];
    let start = Instant::now();
    let cpu = machine::processor_time();
    for number in 0..bytes / BATCH_BYTES as u64 {
        let now = Timestamp(1_700_000_000_000 + i64::try_from(number).unwrap_or(0));
        let mut builder = BatchBuilder::new();
        let record = NewRecord { timestamp: now, key: None, value: Some(&value), headers: &[] };
        builder.append(&record).expect("fits");
        let batch = builder.finish(None).expect("whole");
        let view = BatchView::parse(&batch).expect("whole");
        let role = AppendAs::Leader { epoch: LeaderEpoch(0), now, timestamps: TimestampPolicy::Keep };
        log.append(&view, role).expect("append");
    }
    let seconds = start.elapsed().as_secs_f64();
    let cpu = (machine::processor_time() - cpu).as_secs_f64();
    println!(
        "written at {:.0} MB/s, {:.2} CPU s/GB, batches made here included",
        mb(bytes) / seconds,
        cpu / mb(bytes) * 1e3
    );
    log.close().expect("close");
    dir.close().expect("close");
}

fn mb(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Reads the log from start to end.
fn read(reader: &LogReader, max_bytes: u64, label: &str) {
    let (start, cpu) = (Instant::now(), machine::processor_time());
    let (mut offset, mut bytes, mut reads, mut cold) = (reader.start_offset(), 0, 0u64, 0u64);
    let end = reader.end_offset();
    while offset < end {
        let limits = Limits { max_bytes, first_batch: FirstBatch::AtLeastOne, end };
        let read = match reader.read_hot(offset, limits).expect("read") {
            HotRead::Ready(read) => read,
            HotRead::Cold => {
                cold += 1;
                reader.read(offset, limits).expect("read")
            }
        };
        bytes += read.bytes.len() as u64;
        offset = read.next_offset;
        reads += 1;
    }
    let seconds = start.elapsed().as_secs_f64();
    let cpu = (machine::processor_time() - cpu).as_secs_f64();
    println!(
        "| {label} | {} KiB | {:.0} | {:.2} | {cold} of {reads} | {:.3} |",
        max_bytes >> 10,
        mb(bytes) / seconds,
        seconds / reads as f64 * 1e6,
        cpu / mb(bytes) * 1e3
    );
}

/// Tells the kernel to forget the files' pages, which nobody maps now.
fn forget(folder: &Path) {
    for entry in std::fs::read_dir(folder).expect("folder") {
        let file = File::open(entry.expect("entry").path()).expect("file");
        file.sync_all().expect("sync");
        rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("fadvise");
    }
}

fn main() {
    let bytes = machine::setting("CAIRN_BENCH_BYTES", if machine::is_trial() { 32 << 20 } else { 1u64 << 30 });
    let folder = machine::folder();
    write(folder.path(), bytes);
    let log_folder = folder.path().join(name().to_string());
    println!("| state | read size | MB/s | us/read | cold reads | CPU s/GB |");
    println!("|---|---|---|---|---|---|");
    for max_bytes in [16 << 10, 128 << 10, 1 << 20] {
        let dir = open_dir(folder.path());
        let log = dir.open_log(&name(), LogConfig::default()).expect("open");
        read(&log.reader(), max_bytes, "in memory, first time");
        read(&log.reader(), max_bytes, "in memory, again");
        log.close().expect("close");
        dir.close().expect("close");
    }
    forget(&log_folder);
    let dir = open_dir(folder.path());
    let start = Instant::now();
    let log = dir.open_log(&name(), LogConfig::default()).expect("open");
    let open = start.elapsed();
    read(&log.reader(), 1 << 20, "on disk");
    println!("opened with nothing in memory in {:.1} ms", open.as_secs_f64() * 1e3);
    let (reader, end) = (log.reader(), log.end_offset());
    let start = Instant::now();
    let mut found = 0;
    for number in (0..end.0).step_by(usize::try_from(end.0 / 1000 + 1).unwrap_or(1)) {
        let timed = reader.offset_for_time(Timestamp(1_700_000_000_000 + number), end).expect("read");
        found += i64::from(timed.is_some_and(|timed| timed.offset == Offset(number)));
    }
    println!(
        "offset for a time: {:.1} us each, {found} of them right",
        start.elapsed().as_secs_f64() * 1e6 / found as f64
    );
}
