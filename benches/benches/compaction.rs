//! Question: what does a producer notice of compaction that runs beside it, in the very partition that it writes to?
//!
//! A broker of its own, one connection, one record of 1 KiB at a time with acks=all, at a fixed rate. A latency counts from when the
//! record was due, so that a stall shows in all that it holds up. Two pairs of phases in one run, each of a partition that was filled
//! and left to settle: no compaction, then compaction as fast as it goes, which is the default; no compaction, then compaction at
//! 50 MB/s (`log.cleaner.io.max.bytes.per.second`). A phase with compaction lasts as long as the round.
//!
//! `CAIRN_BIN=target/release/cairn cargo bench -p cairn-benches --bench compaction`, with `CAIRN_BENCH_DIR` for the disk,
//! `CAIRN_BENCH_MIB` to compact in a round, and `CAIRN_BENCH_RATE` in records a second.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cairn_benches::machine::{self, nanos};
use cairn_benches::served::{Broker, fill, latencies, load};
use hdrhistogram::Histogram;

const TOPIC: &str = "table";
const PACED_BYTES_PER_SECOND: u64 = 50_000_000;
/// The phase without compaction.
const QUIET: Duration = Duration::from_secs(8);
/// What was written is on the disk by then.
const SETTLE: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What the broker says of itself.
#[derive(Clone, Copy)]
struct Counts {
    /// Rounds of compaction.
    rounds: u64,
    /// Bytes that they have looked through.
    looked_through: u64,
    /// Appends that found no page prepared.
    stalls: u64,
}

impl Counts {
    fn of(broker: &Broker) -> Self {
        let [rounds, looked_through, stalls] = broker.counts([
            "cairn_cleaner_round_time_seconds_count",
            "cairn_cleaner_read_bytes_total",
            "cairn_allocator_stalls_total",
        ]);
        Self { rounds, looked_through, stalls }
    }
}

fn row(name: &str, latency: &Histogram<u64>, lasted: Duration, before: Counts, after: Counts) {
    let looked_through = after.looked_through - before.looked_through;
    let seconds = lasted.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "printed with three digits")]
    let megabytes = looked_through as f64 / 1e6;
    println!(
        "| {name} | {} | {} | {} | {} | {} | {seconds:.1} | {:.0} | {} |",
        latency.len(),
        nanos(latency.value_at_quantile(0.5)),
        nanos(latency.value_at_quantile(0.99)),
        nanos(latency.value_at_quantile(0.999)),
        nanos(latency.max()),
        megabytes / seconds,
        after.stalls - before.stalls
    );
}

/// Fills the partition, and measures while it is left alone and while it is compacted.
fn measure_a_pair(broker: &Broker, name: &str, mib: usize, measured: &Mutex<Histogram<u64>>) {
    broker.cairn(&["config", "set", "--topic", TOPIC, "min.cleanable.dirty.ratio=1"]);
    fill(&broker.bootstrap, TOPIC, mib);
    std::thread::sleep(SETTLE);
    let before = Counts::of(broker);
    measured.lock().expect("histogram").reset();
    std::thread::sleep(QUIET);
    let alone = measured.lock().expect("histogram").clone();
    row("no compaction", &alone, QUIET, before, Counts::of(broker));

    let before = Counts::of(broker);
    broker.cairn(&["config", "set", "--topic", TOPIC, "min.cleanable.dirty.ratio=0.1"]);
    let begun = Instant::now();
    measured.lock().expect("histogram").reset();
    while Counts::of(broker).rounds == before.rounds {
        std::thread::sleep(LOOK_EVERY);
    }
    let (lasted, latency) = (begun.elapsed(), measured.lock().expect("histogram").clone());
    row(name, &latency, lasted, before, Counts::of(broker));
}

fn main() {
    if machine::is_trial() {
        println!("nothing to try: it needs a broker's binary");
        return;
    }
    let mib = machine::setting("CAIRN_BENCH_MIB", 1024usize);
    let rate = machine::setting("CAIRN_BENCH_RATE", 1000u32);
    let folder = machine::folder();
    let broker = Broker::start(&[&folder.path().join("data")], &["log.cleaner.backoff.ms=20"]);
    let segments = ["segment.bytes=67108864", "cleanup.policy=compact", "min.cleanable.dirty.ratio=1"];
    let configs = segments.iter().flat_map(|config| ["--config", config]);
    broker.cairn(&["topic", "create", TOPIC, "--partitions", "1"].into_iter().chain(configs).collect::<Vec<_>>());

    println!("| phase | records | p50 | p99 | p99.9 | max | seconds | looked through, MB/s | stalls |");
    println!("|---|---|---|---|---|---|---|---|---|");
    let (measured, stop) = (Mutex::new(latencies()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| load(&broker.bootstrap, TOPIC, rate, &measured, &stop));
        measure_a_pair(&broker, "compaction, as fast as it goes", mib, &measured);
        let pace = format!("log.cleaner.io.max.bytes.per.second={PACED_BYTES_PER_SECOND}");
        broker.cairn(&["config", "set", "--brokers", &pace]);
        measure_a_pair(&broker, "compaction, at 50 MB/s", mib / 2, &measured);
        stop.store(true, Ordering::Relaxed);
    });
}
