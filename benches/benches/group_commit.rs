//! Question: how many records a second can be acknowledged as `synced`, against what the disk does by itself?
//!
//! Producers append batches of 1 KiB to one log under its lock and wait until they are durable; one thread syncs without
//! pause, so that a sync covers all that arrived during the one before. Beside it: the disk alone, a pwrite of 1 KiB and
//! fdatasync, one after the other.
//!
//! `cargo bench -p cairn-benches --bench group_commit`, with `CAIRN_BENCH_DIR` for the disk.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

use cairn_benches::machine::{self, nanos};
use cairn_protocol::ids::{LeaderEpoch, Offset, PartitionIndex, Timestamp, TopicId};
use cairn_protocol::records::{BatchBuilder, BatchView, NewRecord, TimestampPolicy};
use cairn_storage::dir::{DataDir, DirConfig};
use cairn_storage::disk::mapped::{MappedDisk, MappedLimits};
use cairn_storage::log::{AppendAs, Durability, Log, LogConfig, LogName};
use hdrhistogram::Histogram;

const BATCH_BYTES: usize = 1024;

struct Shared {
    log: Mutex<Log>,
    appended: Condvar,
    durable: Mutex<Offset>,
    synced: Condvar,
    stop: AtomicBool,
}

fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds of the histogram")
}

fn record(latency: &mut Histogram<u64>, since: Instant) {
    latency.saturating_record(u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX));
}

fn batch() -> bytes::Bytes {
    let mut builder = BatchBuilder::new();
    let value = vec![7; BATCH_BYTES - 80];
    let record = NewRecord { timestamp: Timestamp(1), key: None, value: Some(&value), headers: &[] };
    builder.append(&record).expect("fits");
    builder.finish(None).expect("whole")
}

fn produce(shared: &Shared) -> Histogram<u64> {
    let batch = batch();
    let view = BatchView::parse(&batch).expect("whole");
    let role = AppendAs::Leader { epoch: LeaderEpoch(0), now: Timestamp(1), timestamps: TimestampPolicy::Keep };
    let mut latency = latencies();
    while !shared.stop.load(Ordering::Relaxed) {
        let start = Instant::now();
        let appended = shared.log.lock().expect("log").append(&view, role).expect("append");
        shared.appended.notify_one();
        let mut durable = shared.durable.lock().expect("durable");
        while *durable <= appended.last_offset {
            durable = shared.synced.wait(durable).expect("durable");
        }
        drop(durable);
        record(&mut latency, start);
    }
    latency
}

fn sync(shared: &Shared, producers_done: &AtomicBool) -> u64 {
    let mut syncs = 0;
    while !producers_done.load(Ordering::Acquire) {
        let mut log = shared.log.lock().expect("log");
        let Some(job) = log.begin_sync() else {
            drop(shared.appended.wait_timeout(log, Duration::from_millis(1)).expect("log"));
            continue;
        };
        drop(log);
        let synced = job.run().expect("sync");
        let until = synced.until();
        shared.log.lock().expect("log").on_synced(synced);
        *shared.durable.lock().expect("durable") = until;
        shared.synced.notify_all();
        syncs += 1;
    }
    syncs
}

fn row(path: &Path, producers: usize, time: Duration) {
    let disk = MappedDisk::new(MappedLimits::default()).expect("mapped segments");
    let config = DirConfig { reserve_bytes: Some(0), ..DirConfig::default() };
    let dir = DataDir::open(Arc::new(disk), path, &config).expect("data directory");
    let name = LogName::new("bench", PartitionIndex(i32::try_from(producers).unwrap_or(0))).expect("legal");
    let config = LogConfig { durability: Durability::Synced, ..LogConfig::default() };
    let shared = Shared {
        log: Mutex::new(dir.create_log(&name, TopicId::ZERO, config).expect("create")),
        appended: Condvar::new(),
        durable: Mutex::new(Offset::ZERO),
        synced: Condvar::new(),
        stop: AtomicBool::new(false),
    };
    let done = AtomicBool::new(false);
    let (start, written) = (Instant::now(), machine::device_written_bytes(path));
    let mut all = latencies();
    let mut syncs = 0;
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..producers).map(|_| scope.spawn(|| produce(&shared))).collect();
        let syncer = scope.spawn(|| sync(&shared, &done));
        std::thread::sleep(time);
        shared.stop.store(true, Ordering::Relaxed);
        for thread in threads {
            all.add(thread.join().expect("producer")).expect("same bounds");
        }
        done.store(true, Ordering::Release);
        syncs = syncer.join().expect("syncer");
    });
    let seconds = start.elapsed().as_secs_f64();
    let appended = (all.len() * BATCH_BYTES as u64) as f64;
    let amplified = machine::device_written_bytes(path).zip(written).map(|(now, then)| (now - then) as f64 / appended);
    println!(
        "| {producers} | {:.0} | {:.0} | {} | {} | {} | {} |",
        all.len() as f64 / seconds,
        syncs as f64 / seconds,
        nanos(all.value_at_quantile(0.5)),
        nanos(all.value_at_quantile(0.99)),
        nanos(all.max()),
        amplified.map_or("?".to_owned(), |times| format!("{times:.1}x"))
    );
}

fn disk_alone(path: &Path, time: Duration) {
    let file = OpenOptions::new().create_new(true).write(true).open(path.join("alone")).expect("file");
    let (start, data) = (Instant::now(), [7; BATCH_BYTES]);
    let mut latency = latencies();
    let mut position = 0;
    while start.elapsed() < time {
        let began = Instant::now();
        file.write_all_at(&data, position).expect("write");
        file.sync_data().expect("sync");
        position += BATCH_BYTES as u64;
        record(&mut latency, began);
    }
    let rate = latency.len() as f64 / start.elapsed().as_secs_f64();
    println!(
        "| disk alone | {rate:.0} | {rate:.0} | {} | {} | {} | |",
        nanos(latency.value_at_quantile(0.5)),
        nanos(latency.value_at_quantile(0.99)),
        nanos(latency.max())
    );
}

fn main() {
    let seconds = machine::setting("CAIRN_BENCH_SECONDS", if machine::is_trial() { 0.05 } else { 5.0 });
    let time = Duration::from_secs_f64(seconds);
    let folder = machine::folder();
    println!("| producers | records/s | syncs/s | p50 | p99 | max | written per byte |");
    println!("|---|---|---|---|---|---|---|");
    disk_alone(folder.path(), time);
    for producers in [1, 8, 32] {
        row(folder.path(), producers, time);
    }
}
