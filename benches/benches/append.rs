//! Question: what does it cost to append a batch by copying it into a prepared map, against writing it to a file on the same
//! disk, and what does the preparing cost elsewhere?
//!
//! Three answers, all of one run: a table of latency, throughput and processor time of all threads for batches of 1 KiB and
//! 16 KiB; a table of processor time by the chunk of the zeroing; and criterion's view of the single append.
//!
//! `cargo bench -p cairn-benches --bench append`, with `CAIRN_BENCH_DIR` for the disk and `CAIRN_BENCH_BYTES` for the size
//! (default 1 GiB for each row).

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use cairn_benches::machine::{self, nanos};
use cairn_storage::allocator::{Allocator, AllocatorConfig};
use cairn_storage::disk::mapped::{MappedDisk, MappedLimits};
use cairn_storage::disk::{AppendFile, Disk, Growth, PrepareChunk};
use criterion::{BenchmarkId, Criterion, Throughput};
use hdrhistogram::Histogram;

const BATCHES: [usize; 2] = [1024, 16 * 1024];
const CHUNKS: [u32; 5] = [4 * 1024, 16 * 1024, 64 * 1024, 256 * 1024, 1024 * 1024];

/// How a batch is appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    WriteGrowing,
    WritePreallocated,
    MapAllocatorAhead,
    MapPreparedBefore,
}

impl Way {
    const ALL: [Self; 4] =
        [Self::WriteGrowing, Self::WritePreallocated, Self::MapAllocatorAhead, Self::MapPreparedBefore];

    fn name(self) -> &'static str {
        match self {
            Self::WriteGrowing => "pwrite, growing file",
            Self::WritePreallocated => "pwrite, preallocated file",
            Self::MapAllocatorAhead => "map, allocator thread ahead",
            Self::MapPreparedBefore => "map, prepared before",
        }
    }
}

/// A row of the first table.
struct Row {
    wall: Duration,
    processor: Duration,
    latency: Histogram<u64>,
    stalls: u64,
}

fn disk() -> MappedDisk {
    MappedDisk::new(MappedLimits::default()).expect("mapped segments")
}

fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds of the histogram")
}

/// Appends `bytes` in batches by `append`, which is told where each begins.
fn measure(bytes: u64, batch: usize, mut append: impl FnMut(u64)) -> (Duration, Histogram<u64>) {
    let mut latency = latencies();
    let start = Instant::now();
    let mut before = start;
    for number in 0..bytes / batch as u64 {
        append(number * batch as u64);
        let now = Instant::now();
        latency.saturating_record(u64::try_from((now - before).as_nanos()).unwrap_or(u64::MAX));
        before = now;
    }
    (start.elapsed(), latency)
}

fn row(way: Way, folder: &Path, bytes: u64, batch: usize) -> Row {
    let path = folder.join("log");
    let content = vec![7u8; batch];
    let before = machine::processor_time();
    let (wall, latency, stalls) = match way {
        Way::WriteGrowing | Way::WritePreallocated => {
            let file = File::create_new(&path).expect("make a file");
            if way == Way::WritePreallocated {
                rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes).expect("allocate");
            }
            let (wall, latency) = measure(bytes, batch, |at| file.write_all_at(&content, at).expect("write"));
            (wall, latency, 0)
        }
        Way::MapPreparedBefore => {
            let mut file = disk().create_append(&path, Growth::up_to(bytes)).expect("make a file");
            file.shared().prepare(bytes).expect("prepare");
            let (wall, latency) = measure(bytes, batch, |_| file.append(&[&content]).expect("append"));
            (wall, latency, 0)
        }
        Way::MapAllocatorAhead => {
            let allocator = Allocator::start(AllocatorConfig::default()).expect("start the allocator");
            let growth = Growth::up_to(bytes);
            let mut file = disk().create_append(&path, growth).expect("make a file");
            let ahead = allocator.attach(file.shared(), growth.chunk);
            let (wall, latency) = measure(bytes, batch, |at| {
                ahead.ensure(at + batch as u64).expect("prepare");
                file.append(&[&content]).expect("append");
                ahead.note(file.written());
            });
            (wall, latency, allocator.stats().stalls)
        }
    };
    let processor = machine::processor_time() - before;
    std::fs::remove_file(&path).expect("remove the file");
    Row { wall, processor, latency, stalls }
}

fn megabytes_per_second(bytes: u64, wall: Duration) -> f64 {
    bytes as f64 / 1e6 / wall.as_secs_f64()
}

fn seconds_per_gigabyte(bytes: u64, processor: Duration) -> f64 {
    processor.as_secs_f64() / (bytes as f64 / 1e9)
}

fn table_of_ways(folder: &Path, bytes: u64) {
    println!(
        "\n| batch | how it is appended | MB/s | ratio | p50 | p99.9 | max | CPU s per GB, all threads | stalls |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for batch in BATCHES {
        let mut reference = None;
        for way in Way::ALL {
            let row = row(way, folder, bytes, batch);
            let speed = megabytes_per_second(bytes, row.wall);
            let reference = *reference.get_or_insert(speed);
            println!(
                "| {batch} | {} | {speed:.0} | {:.1} | {} | {} | {} | {:.2} | {} |",
                way.name(),
                speed / reference,
                nanos(row.latency.value_at_quantile(0.5)),
                nanos(row.latency.value_at_quantile(0.999)),
                nanos(row.latency.max()),
                seconds_per_gigabyte(bytes, row.processor),
                row.stalls,
            );
        }
    }
}

/// Processor time to bring a byte into the log's page cache, the copy included.
fn table_of_chunks(folder: &Path, bytes: u64) {
    println!("\n| how a byte comes to be in the page cache | CPU s per GB |\n|---|---|");
    for batch in [1024, 16 * 1024, 128 * 1024] {
        let row = row(Way::WriteGrowing, folder, bytes, batch);
        let cost = seconds_per_gigabyte(bytes, row.processor);
        println!("| pwrite, growing file, batches of {} KiB | {cost:.2} |", batch / 1024);
    }
    for chunk in CHUNKS {
        let path = folder.join("log");
        let before = machine::processor_time();
        let growth = Growth { capacity: bytes, chunk: PrepareChunk::new(chunk).expect("a chunk") };
        let mut file = disk().create_append(&path, growth).expect("make a file");
        let content = vec![7u8; 16 * 1024];
        let shared = file.shared();
        while file.written() < bytes {
            let step = (bytes - file.written()).min(1024 * 1024);
            shared.prepare(file.written() + step).expect("prepare");
            while file.written() + content.len() as u64 <= file.prepared() {
                file.append(&[&content]).expect("append");
            }
        }
        let cost = seconds_per_gigabyte(bytes, machine::processor_time() - before);
        println!("| map, zeroed by {} KiB, populated by 1 MiB, batches of 16 KiB | {cost:.2} |", chunk / 1024);
        drop((file, shared));
        std::fs::remove_file(&path).expect("remove the file");
    }
}

/// A file that begins again when it is full, so that criterion may append as often as it likes.
struct Endless<'a> {
    disk: &'a MappedDisk,
    path: &'a Path,
    growth: Growth,
    file: Option<Box<dyn AppendFile>>,
}

impl Endless<'_> {
    /// A file with room for `bytes`, all prepared.
    fn with_room(&mut self, bytes: u64) -> &mut dyn AppendFile {
        if self.file.as_ref().is_none_or(|file| file.written() + bytes > self.growth.capacity) {
            self.file = None;
            let _ = std::fs::remove_file(self.path);
            let file = self.disk.create_append(self.path, self.growth).expect("make a file");
            file.shared().prepare(self.growth.capacity).expect("prepare");
            self.file = Some(file);
        }
        &mut **self.file.as_mut().expect("made above")
    }
}

fn single_appends(criterion: &mut Criterion, folder: &Path, bytes: u64) {
    let mut group = criterion.benchmark_group("append");
    for batch in BATCHES {
        let content = vec![7u8; batch];
        group.throughput(Throughput::Bytes(batch as u64));
        let disk = disk();
        let path = folder.join("mapped");
        let mut endless = Endless { disk: &disk, path: &path, growth: Growth::up_to(bytes), file: None };
        group.bench_function(BenchmarkId::new("map prepared", batch), |bencher| {
            bencher.iter_custom(|iterations| {
                let mut spent = Duration::ZERO;
                for _ in 0..iterations {
                    let file = endless.with_room(batch as u64);
                    let start = Instant::now();
                    file.append(&[black_box(&content)]).expect("append");
                    spent += start.elapsed();
                }
                spent
            });
        });
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(folder.join("written"));
        let file = file.expect("make a file");
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes).expect("allocate");
        let mut at = 0;
        group.bench_function(BenchmarkId::new("pwrite preallocated", batch), |bencher| {
            bencher.iter_custom(|iterations| {
                let mut spent = Duration::ZERO;
                for _ in 0..iterations {
                    if at + batch as u64 > bytes {
                        // Written pages are not new ones: the next round has to pay for its pages too.
                        file.set_len(0).expect("empty the file");
                        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes).expect("allocate");
                        at = 0;
                    }
                    let start = Instant::now();
                    file.write_all_at(black_box(&content), at).expect("write");
                    spent += start.elapsed();
                    at += batch as u64;
                }
                spent
            });
        });
    }
    group.finish();
}

fn main() {
    let default = if machine::is_trial() { 4 << 20 } else { 1 << 30 };
    let bytes: u64 = machine::setting("CAIRN_BENCH_BYTES", default);
    let folder = machine::folder();
    println!("folder: {}", folder.path().display());
    table_of_ways(folder.path(), bytes);
    table_of_chunks(folder.path(), bytes);
    let mut criterion = Criterion::default().configure_from_args();
    single_appends(&mut criterion, folder.path(), bytes.min(256 << 20));
    criterion.final_summary();
}
