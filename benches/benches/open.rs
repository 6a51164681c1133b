//! Question: how long after `kill -9` until a log, or many, can be served again?
//!
//! One table for a single log by its size, one for many partitions. The process that wrote is a child that aborts without
//! closing anything, as `kill -9` leaves it; the page cache is as the child left it.
//!
//! `cargo bench -p cairn-benches --bench open`, with `CAIRN_BENCH_DIR` for the disk, `CAIRN_BENCH_BYTES` for the size of the
//! single log (default 2 GiB; the target is 10 GiB in under a second) and `CAIRN_BENCH_PARTITIONS` (default "1000 10000").

use std::num::NonZeroUsize;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use cairn_benches::machine;
use cairn_protocol::ids::{LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, Timestamp, TopicId};
use cairn_protocol::records::{BatchBuilder, BatchProducer, BatchView, NewRecord, TimestampPolicy};
use cairn_storage::dir::{DataDir, DirConfig};
use cairn_storage::disk::Disk;
use cairn_storage::disk::mapped::{MappedDisk, MappedLimits};
use cairn_storage::log::{AppendAs, FirstBatch, Limits, Log, LogConfig, LogName};

const BATCH_BYTES: usize = 16 * 1024;
/// So much is appended between two syncs, as a timer would have it.
const SYNC_EVERY_BYTES: u64 = 64 << 20;

fn open_dir(path: &Path) -> (Arc<MappedDisk>, DataDir) {
    let disk = Arc::new(MappedDisk::new(MappedLimits::default()).expect("mapped segments"));
    let config = DirConfig { reserve_bytes: Some(0), ..DirConfig::default() };
    let dir = DataDir::open(Arc::clone(&disk) as Arc<_>, path, &config).expect("data directory");
    (disk, dir)
}

fn name(partition: usize) -> LogName {
    let partition = i32::try_from(partition).expect("few partitions");
    LogName::new("bench", PartitionIndex(partition)).expect("legal")
}

fn append(log: &mut Log, value: &[u8], sequence: i32) {
    let mut builder = BatchBuilder::new();
    let record = NewRecord { timestamp: Timestamp(1_700_000_000_000), key: None, value: Some(value), headers: &[] };
    builder.append(&record).expect("fits");
    let producer = BatchProducer { id: ProducerId(1), epoch: ProducerEpoch(0), base_sequence: sequence };
    let batch = builder.finish(Some(producer)).expect("whole");
    let role = AppendAs::Leader {
        epoch: LeaderEpoch(0),
        now: Timestamp(1_700_000_000_000),
        timestamps: TimestampPolicy::Keep,
    };
    log.append(&BatchView::parse(&batch).expect("whole"), role).expect("append");
}

fn sync(log: &mut Log) {
    if let Some(job) = log.begin_sync() {
        log.on_synced(job.run().expect("sync"));
    }
}

/// The child: one log of `bytes`, or many small ones, and no end in good order.
fn write(path: &Path, bytes: u64, partitions: usize) -> ! {
    let (_disk, dir) = open_dir(path);
    let value = vec![7; BATCH_BYTES];
    let mut logs: Vec<Log> = (0..partitions)
        .map(|partition| dir.create_log(&name(partition), TopicId::ZERO, LogConfig::default()).expect("create"))
        .collect();
    if let [log] = &mut logs[..] {
        let mut unsynced = 0;
        for number in 0..bytes / BATCH_BYTES as u64 {
            append(log, &value, i32::try_from(number).unwrap_or(0));
            unsynced += BATCH_BYTES as u64;
            if unsynced >= SYNC_EVERY_BYTES {
                sync(log);
                dir.write_checkpoint().expect("checkpoint");
                unsynced = 0;
            }
        }
    } else {
        for log in &mut logs {
            (0..3).for_each(|number| append(log, &value[..1000], number));
        }
        dir.write_checkpoint().expect("checkpoint");
    }
    std::process::abort();
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

fn anonymous_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

fn row(bytes: u64, partitions: usize) {
    let folder = machine::folder();
    let child = Command::new(std::env::current_exe().expect("own path"))
        .env("CAIRN_BENCH_CHILD", format!("{bytes} {partitions} {}", folder.path().display()))
        .status()
        .expect("child");
    assert!(!child.success(), "the child aborts");

    let before = anonymous_kib();
    let start = Instant::now();
    let (disk, dir) = open_dir(folder.path());
    let names = dir.list_logs().expect("list");
    let opened = dir.open_logs(&names, NonZeroUsize::new(2).expect("two"), |_| LogConfig::default());
    let open_ms = start.elapsed().as_secs_f64() * 1e3;
    assert_eq!(opened.len(), partitions);
    let logs: Vec<Log> = opened.into_iter().map(|(_, log)| log.expect("opens")).collect();
    let (memory_kib, files) = (anonymous_kib().saturating_sub(before), descriptors());

    let first = Instant::now();
    let reader = logs[0].reader();
    let limits = Limits { max_bytes: 1, first_batch: FirstBatch::AtLeastOne, end: reader.end_offset() };
    let last = Offset(reader.end_offset().0 - 1);
    assert!(!reader.read(last, limits).expect("read").bytes.is_empty());
    let read_ms = first.elapsed().as_secs_f64() * 1e3;
    let size: u64 = logs.iter().map(|log| log.reader().size_bytes()).sum();
    println!(
        "| {partitions} | {:.2} | {open_ms:.1} | {read_ms:.2} | {files} | {:.1} | {:?} |",
        size as f64 / (1u64 << 30) as f64,
        memory_kib as f64 / partitions as f64,
        disk.usage()
    );
}

fn main() {
    if let Ok(child) = std::env::var("CAIRN_BENCH_CHILD") {
        let mut parts = child.splitn(3, ' ');
        let mut number = || parts.next().and_then(|part| part.parse::<u64>().ok()).expect("a number");
        let (bytes, partitions) = (number(), number());
        let path = parts.next().expect("a path").to_owned();
        write(Path::new(&path), bytes, usize::try_from(partitions).expect("few partitions"));
    }
    let trial = machine::is_trial();
    let bytes = machine::setting("CAIRN_BENCH_BYTES", if trial { 64 << 20 } else { 2u64 << 30 });
    let many = std::env::var("CAIRN_BENCH_PARTITIONS").unwrap_or_else(|_| "1000 10000".to_owned());
    println!("| partitions | GiB | open ms | first read ms | descriptors | KiB of memory each | maps |");
    println!("|---|---|---|---|---|---|---|");
    row(bytes, 1);
    if trial {
        return row(0, 20);
    }
    for partitions in many.split_whitespace() {
        row(0, partitions.parse().expect("numbers in CAIRN_BENCH_PARTITIONS"));
    }
}
