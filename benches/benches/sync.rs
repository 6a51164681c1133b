//! Question: what does an append of 1 KiB cost, and how much is written to the disk for each byte appended, while another
//! thread makes the same file durable without pause, every 5 ms or every 100 ms?
//!
//! A table over ways of writing and syncing at 51 MB/s, and criterion's view of one append made durable by itself, against
//! what the disk does with pwrite and fdatasync.
//!
//! `cargo bench -p cairn-benches --bench sync`, with `CAIRN_BENCH_DIR` for the disk and `CAIRN_BENCH_MILLIS` for the time of
//! each cell (default 5,000). Bytes written are those of the whole device, so nothing else should write to it.

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use cairn_benches::machine::{self, nanos};
use cairn_storage::allocator::{Allocator, AllocatorConfig};
use cairn_storage::disk::mapped::{MappedDisk, MappedLimits};
use cairn_storage::disk::{AppendFile, Disk, Growth, PrepareChunk, SharedFile};
use criterion::{Criterion, Throughput};
use hdrhistogram::Histogram;

const BATCH_BYTES: u64 = 1024;
/// One batch every 20 us: 51 MB/s.
const PACE: Duration = Duration::from_micros(20);
const BATCHES_PER_MILLI: u32 = 50;
const PAUSES: [(&str, Option<Duration>); 3] = [
    ("without pause", None),
    ("every 5 ms", Some(Duration::from_millis(5))),
    ("every 100 ms", Some(Duration::from_millis(100))),
];

/// How the file is written and synced.
#[derive(Clone, Copy, Debug)]
enum Way {
    Pwrite,
    Map { chunk_bytes: u32 },
}

impl Way {
    const ALL: [Self; 4] = [
        Self::Pwrite,
        Self::Map { chunk_bytes: 64 * 1024 },
        Self::Map { chunk_bytes: 16 * 1024 },
        Self::Map { chunk_bytes: 4 * 1024 },
    ];

    fn name(self) -> String {
        match self {
            Self::Pwrite => "pwrite + fdatasync".to_owned(),
            Self::Map { chunk_bytes } => {
                format!("map, zeroed by {} KiB, msync of the range + tail piece", chunk_bytes / 1024)
            }
        }
    }
}

/// A file under test, as its appender and its syncing thread see it.
enum Target {
    Pwrite { file: File, written: AtomicU64 },
    Map { shared: Arc<dyn SharedFile> },
}

impl Target {
    fn written(&self) -> u64 {
        match self {
            Self::Pwrite { written, .. } => written.load(Ordering::Acquire),
            Self::Map { shared } => shared.written(),
        }
    }

    fn sync(&self, from: u64, to: u64) {
        match self {
            Self::Pwrite { file, .. } => file.sync_data().expect("sync"),
            Self::Map { shared } => shared.sync(from..to).expect("sync"),
        }
    }
}

struct Cell {
    latency: Histogram<u64>,
    syncs: u64,
    /// Bytes to the device per byte appended.
    amplification: Option<f64>,
}

fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds of the histogram")
}

fn disk() -> MappedDisk {
    MappedDisk::new(MappedLimits::default()).expect("mapped segments")
}

fn cell(way: Way, pause: Option<Duration>, folder: &Path, millis: u32) -> Cell {
    let path = folder.join("log");
    let batches = millis * BATCHES_PER_MILLI;
    let growth_to = u64::from(batches) * BATCH_BYTES;
    // What earlier cells left dirty belongs to them.
    rustix::fs::sync();
    let before = machine::device_written_bytes(folder);
    let allocator = Allocator::start(AllocatorConfig::default()).expect("start the allocator");
    let content = vec![7u8; usize::try_from(BATCH_BYTES).expect("a small number")];
    let (latency, syncs) = match way {
        Way::Pwrite => {
            let file = File::create_new(&path).expect("make a file");
            let target = Arc::new(Target::Pwrite { file, written: AtomicU64::new(0) });
            let syncing = Arc::clone(&target);
            let Target::Pwrite { file, written } = &*target else { unreachable!("made above") };
            run(syncing, pause, batches, |at| {
                file.write_all_at(&content, at).expect("write");
                written.store(at + BATCH_BYTES, Ordering::Release);
            })
        }
        Way::Map { chunk_bytes } => {
            let growth = Growth { capacity: growth_to, chunk: PrepareChunk::new(chunk_bytes).expect("a chunk") };
            let mut file = disk().create_append(&path, growth).expect("make a file");
            let ahead = allocator.attach(file.shared(), growth.chunk);
            let target = Arc::new(Target::Map { shared: file.shared() });
            run(target, pause, batches, |at| {
                ahead.ensure(at + BATCH_BYTES).expect("prepare");
                file.append(&[&content]).expect("append");
                ahead.note(at + BATCH_BYTES);
            })
        }
    };
    rustix::fs::sync();
    let after = machine::device_written_bytes(folder);
    std::fs::remove_file(&path).expect("remove the file");
    let amplification = before.zip(after).map(|(before, after)| (after - before) as f64 / growth_to as f64);
    Cell { latency, syncs, amplification }
}

/// Appends at the pace while a thread syncs what is new; answers the latencies of appends and the number of syncs.
fn run(
    target: Arc<Target>,
    pause: Option<Duration>,
    batches: u32,
    mut append: impl FnMut(u64),
) -> (Histogram<u64>, u64) {
    let done = Arc::new(AtomicBool::new(false));
    let (stop, stopped) = channel::<()>();
    let syncer = thread::spawn({
        let done = Arc::clone(&done);
        move || {
            let (mut synced, mut count) = (0, 0u64);
            while !done.load(Ordering::Acquire) {
                let written = target.written();
                if written > synced {
                    target.sync(synced, written);
                    (synced, count) = (written, count + 1);
                }
                match pause.map(|pause| stopped.recv_timeout(pause)) {
                    None | Some(Err(RecvTimeoutError::Timeout)) => {}
                    Some(_) => break,
                }
            }
            count
        }
    });
    let mut latency = latencies();
    let start = Instant::now();
    for number in 0..batches {
        let due = start + PACE * number;
        // A timer would wake too late for 20 us. Who came late goes on at once and catches up.
        while Instant::now() < due {
            std::hint::spin_loop();
        }
        let before = Instant::now();
        append(u64::from(number) * BATCH_BYTES);
        latency.saturating_record(u64::try_from(before.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    done.store(true, Ordering::Release);
    drop(stop);
    (latency, syncer.join().expect("the syncing thread"))
}

fn table(folder: &Path, millis: u32) {
    println!("\n| way of writing and syncing | syncs | p50 | p99 | p99.9 | max | syncs/s | written per byte |");
    println!("|---|---|---|---|---|---|---|---|");
    for way in Way::ALL {
        for (name, pause) in PAUSES {
            let cell = cell(way, pause, folder, millis);
            let at = |quantile| nanos(cell.latency.value_at_quantile(quantile));
            let amplification = cell.amplification.map_or("unknown".to_owned(), |times| format!("{times:.2}"));
            println!(
                "| {} | {name} | {} | {} | {} | {} | {:.0} | {amplification} |",
                way.name(),
                at(0.5),
                at(0.99),
                at(0.999),
                nanos(cell.latency.max()),
                cell.syncs as f64 * 1000.0 / f64::from(millis),
            );
        }
    }
}

fn one_durable_append(criterion: &mut Criterion, folder: &Path) {
    const CAPACITY: u64 = 64 << 20;
    let content = vec![7u8; usize::try_from(BATCH_BYTES).expect("a small number")];
    let mut group = criterion.benchmark_group("append 1 KiB and sync");
    group.throughput(Throughput::Elements(1));
    let file = File::create_new(folder.join("written")).expect("make a file");
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, CAPACITY).expect("allocate");
    let mut at = 0;
    group.bench_function("pwrite + fdatasync", |bencher| {
        bencher.iter(|| {
            file.write_all_at(black_box(&content), at).expect("write");
            file.sync_data().expect("sync");
            at = (at + BATCH_BYTES) % CAPACITY;
        });
    });
    let disk = disk();
    let path = folder.join("mapped");
    let growth = Growth { capacity: CAPACITY, chunk: PrepareChunk::SYNCED };
    let mut file: Option<Box<dyn AppendFile>> = None;
    group.bench_function("map + msync of the range", |bencher| {
        bencher.iter(|| {
            if file.as_ref().is_none_or(|file| file.written() + BATCH_BYTES > CAPACITY) {
                file = None;
                let _ = std::fs::remove_file(&path);
                file = Some(disk.create_append(&path, growth).expect("make a file"));
            }
            let file = file.as_mut().expect("made above");
            let (from, to) = (file.written(), file.written() + BATCH_BYTES);
            let shared = file.shared();
            if to > file.prepared() {
                shared.prepare((to + (1 << 20)).min(CAPACITY)).expect("prepare");
            }
            file.append(&[black_box(&content)]).expect("append");
            shared.sync(from..to).expect("sync");
        });
    });
    group.finish();
}

fn main() {
    let default = if machine::is_trial() { 20 } else { 5_000 };
    let millis: u32 = machine::setting("CAIRN_BENCH_MILLIS", default);
    let folder = machine::folder();
    println!("folder: {}", folder.path().display());
    table(folder.path(), millis);
    let mut criterion = Criterion::default().configure_from_args();
    one_durable_append(&mut criterion, folder.path());
    criterion.final_summary();
}
