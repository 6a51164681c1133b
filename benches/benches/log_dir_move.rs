//! Question: what does a producer notice of its partition's move from one log dir to another, which is copied while it goes on?
//!
//! A broker of its own with two log dirs, one connection, one record of 1 KiB at a time with acks=all, at a fixed rate. A latency counts
//! from when the record was due, so that a stall shows in all that it holds up. Phases of one run: no move; moves to and fro as
//! fast as they go, which is the default; no move; moves at 50 MB/s (`replica.alter.log.dirs.io.max.bytes.per.second`). The copying of
//! a move takes disk and processor from the producer; the end of it, where the copy takes the log's place, shows in the maximum.
//!
//! `CAIRN_BIN=target/release/cairn cargo bench -p cairn-benches --bench log_dir_move`, with `CAIRN_BENCH_DIR` for the disk,
//! `CAIRN_BENCH_MIB` to move, `CAIRN_BENCH_MOVES` of a phase, `CAIRN_BENCH_RATE` in records a second, and `CAIRN_BENCH_DURABILITY`
//! (replicated or synced).

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cairn_benches::machine::{self, nanos};
use cairn_benches::served::{Broker, Connection, fill, latencies, load};
use cairn_protocol::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use cairn_protocol::messages::{AlterReplicaLogDirsRequest, DescribeLogDirsRequest};
use hdrhistogram::Histogram;

const TOPIC: &str = "moved";
const PACED_BYTES_PER_SECOND: u64 = 50_000_000;
/// The phase without a move.
const QUIET: Duration = Duration::from_secs(8);
/// What was written is on the disk by then.
const SETTLE: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// The log dir that the partition is in, or is to be in.
fn whereabouts(connection: &mut Connection, is_future: bool) -> Option<String> {
    let dirs = connection.call(4, &DescribeLogDirsRequest { topics: None }).results;
    let has_it = |dir: &&cairn_protocol::messages::describe_log_dirs_response::DescribeLogDirsResult| {
        let of_topic = dir.topics.iter().filter(|topic| &*topic.name == TOPIC);
        of_topic.flat_map(|topic| &topic.partitions).any(|partition| partition.is_future_key == is_future)
    };
    dirs.iter().find(has_it).map(|dir| dir.log_dir.to_string())
}

/// Moves the partition to the dir where it is not, and waits for that.
fn move_once(connection: &mut Connection, dirs: [&Path; 2]) {
    let home = whereabouts(connection, false).expect("it is somewhere");
    let to = dirs.into_iter().find(|dir| dir.as_os_str() != &*home).expect("there are two");
    let to = to.to_str().expect("text");
    let topics = vec![AlterReplicaLogDirTopic { name: TOPIC.into(), partitions: vec![0] }];
    let request = AlterReplicaLogDirsRequest { dirs: vec![AlterReplicaLogDir { path: to.into(), topics }] };
    let error = connection.call(2, &request).results[0].partitions[0].error_code;
    assert_eq!(error, 0, "error of a move");
    while whereabouts(connection, false).as_deref() != Some(to) {
        std::thread::sleep(LOOK_EVERY);
    }
}

fn row(name: &str, latency: &Histogram<u64>, lasted: Duration, moved_bytes: u64) {
    let seconds = lasted.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "printed without digits")]
    let megabytes = moved_bytes as f64 / 1e6;
    println!(
        "| {name} | {} | {} | {} | {} | {} | {seconds:.1} | {:.0} |",
        latency.len(),
        nanos(latency.value_at_quantile(0.5)),
        nanos(latency.value_at_quantile(0.99)),
        nanos(latency.value_at_quantile(0.999)),
        nanos(latency.max()),
        megabytes / seconds,
    );
}

/// Measures while the partition is left alone and while it moves.
fn measure_a_pair(broker: &Broker, dirs: [&Path; 2], name: &str, moves: usize, measured: &Mutex<Histogram<u64>>) {
    std::thread::sleep(SETTLE);
    measured.lock().expect("histogram").reset();
    std::thread::sleep(QUIET);
    row("no move", &measured.lock().expect("histogram").clone(), QUIET, 0);

    let mut connection = Connection::open(&broker.bootstrap);
    let moved = || broker.counts(["cairn_log_dir_moved_bytes_total"])[0];
    let (before, begun) = (moved(), Instant::now());
    measured.lock().expect("histogram").reset();
    (0..moves).for_each(|_| move_once(&mut connection, dirs));
    let (lasted, latency) = (begun.elapsed(), measured.lock().expect("histogram").clone());
    row(name, &latency, lasted, moved() - before);
}

fn main() {
    if machine::is_trial() {
        println!("nothing to try: it needs a broker's binary");
        return;
    }
    let mib = machine::setting("CAIRN_BENCH_MIB", 256usize);
    let moves = machine::setting("CAIRN_BENCH_MOVES", 10usize);
    let rate = machine::setting("CAIRN_BENCH_RATE", 1000u32);
    let durability = format!("log.durability={}", machine::setting("CAIRN_BENCH_DURABILITY", "replicated".to_owned()));
    let folder = machine::folder();
    let dirs = [folder.path().join("a"), folder.path().join("b")];
    let dirs = [dirs[0].as_path(), dirs[1].as_path()];
    let broker = Broker::start(&dirs, &[&durability]);
    broker.cairn(&["topic", "create", TOPIC, "--partitions", "1", "--config", "segment.bytes=67108864"]);
    fill(&broker.bootstrap, TOPIC, mib);

    println!("{mib} MiB, {moves} moves a phase, {rate} records a second, {durability}\n");
    println!("| phase | records | p50 | p99 | p99.9 | max | seconds | moved, MB/s |");
    println!("|---|---|---|---|---|---|---|---|");
    let (measured, stop) = (Mutex::new(latencies()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| load(&broker.bootstrap, TOPIC, rate, &measured, &stop));
        measure_a_pair(&broker, dirs, "moves, as fast as they go", moves, &measured);
        let pace = format!("replica.alter.log.dirs.io.max.bytes.per.second={PACED_BYTES_PER_SECOND}");
        broker.cairn(&["config", "set", "--brokers", &pace]);
        measure_a_pair(&broker, dirs, "moves, at 50 MB/s", (moves / 5).max(1), &measured);
        stop.store(true, Ordering::Relaxed);
    });
}
