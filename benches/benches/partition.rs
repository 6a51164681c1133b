//! Question: is a partition better guarded by a short lock, taken in the task of the connection, or owned by a task of its own
//! that takes appends from a queue? Decision: docs/decisions/0005-partition-lock.md.
//!
//! The round trip of an append of 1 KiB over a loopback socket, one in flight for each connection: request, append to a log
//! on disk, 16 bytes back. With one partition and with a thousand, one connection and eight. Both ways in one process, in
//! turns; processor time is that of clients and server together, the same for both but for what is measured.
//!
//! `cargo bench -p cairn-benches --bench partition`, with `CAIRN_BENCH_DIR` for the disk, `CAIRN_BENCH_REQUESTS` for the
//! requests of each turn (default 100,000) and `CAIRN_BENCH_TURNS` (default 5).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_benches::machine::{self, nanos};
use cairn_protocol::ids::{LeaderEpoch, PartitionIndex, Timestamp, TopicId};
use cairn_protocol::records::{BatchBuilder, BatchView, NewRecord, TimestampPolicy};
use cairn_storage::dir::DirConfig;
use cairn_storage::disk::mapped::{MappedDisk, MappedLimits};
use cairn_storage::log::{AppendAs, LogConfig, LogName};
use cairn_storage::{DataDir, Log};
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

const VALUE_BYTES: usize = 1024 - 80;
const ANSWER_BYTES: usize = 16;
/// Appends that wait for one owner.
const QUEUE: usize = 64;

/// Who may append to a partition.
#[derive(Clone)]
enum Way {
    Lock(Arc<[Mutex<Log>]>),
    Owner(Arc<[mpsc::Sender<Job>]>),
}

struct Job {
    batch: Vec<u8>,
    answer: oneshot::Sender<i64>,
}

fn main() {
    let trial = machine::is_trial();
    let requests: u32 = machine::setting("CAIRN_BENCH_REQUESTS", if trial { 100 } else { 100_000 });
    let turns: usize = machine::setting("CAIRN_BENCH_TURNS", if trial { 1 } else { 5 });
    println!("| partitions | connections | way | requests/s | p50 | p99 | CPU a request | anonymous memory |");
    println!("|---|---|---|---|---|---|---|---|");
    for (partitions, connections) in [(1, 1), (1, 8), (if trial { 10 } else { 1_000 }, 8)] {
        let mut rows = [Vec::new(), Vec::new()];
        for turn in 0..turns {
            // Who comes second finds a warmer machine, so they take turns at that too.
            for way in if turn % 2 == 0 { [0, 1] } else { [1, 0] } {
                rows[way].push(measure(NAMES[way], partitions, connections, requests));
            }
        }
        for (name, turns) in NAMES.into_iter().zip(rows) {
            let turn = Turn::median(&turns);
            println!(
                "| {partitions} | {connections} | {name} | {} | {} | {} | {} | {} KiB |",
                turn.rate,
                nanos(turn.p50),
                nanos(turn.p99),
                nanos(u64::try_from(turn.cpu.as_nanos()).unwrap_or(u64::MAX)),
                turn.anonymous_kib,
            );
        }
    }
}

const NAMES: [&str; 2] = ["lock", "owner"];

struct Turn {
    rate: u64,
    p50: u64,
    p99: u64,
    cpu: Duration,
    anonymous_kib: i64,
}

impl Turn {
    /// The median of each figure.
    fn median(turns: &[Self]) -> Self {
        fn of<T: Ord + Copy>(turns: &[Turn], figure: impl Fn(&Turn) -> T) -> T {
            let mut figures: Vec<T> = turns.iter().map(figure).collect();
            figures.sort_unstable();
            figures[figures.len() / 2]
        }
        Self {
            rate: of(turns, |turn| turn.rate),
            p50: of(turns, |turn| turn.p50),
            p99: of(turns, |turn| turn.p99),
            cpu: of(turns, |turn| turn.cpu),
            anonymous_kib: of(turns, |turn| turn.anonymous_kib),
        }
    }
}

fn measure(name: &str, partitions: usize, connections: u32, requests: u32) -> Turn {
    let folder = machine::folder();
    let disk = MappedDisk::new(MappedLimits::default()).expect("a disk with maps");
    let dir = DataDir::open(Arc::new(disk), folder.path(), &DirConfig::default()).expect("open the folder");
    let log = |index: usize| {
        let index = PartitionIndex(i32::try_from(index).expect("a small number"));
        let name = LogName::new("t", index).expect("a legal name");
        let config = LogConfig { segment_bytes: 256 << 20, ..LogConfig::default() };
        dir.create_log(&name, TopicId::ZERO, config).expect("create a log")
    };
    let logs: Vec<Log> = (0..partitions).map(log).collect();
    let runtime = Runtime::new().expect("start a runtime");
    let memory_before = anonymous_kib();
    let way = match name {
        "lock" => Way::Lock(logs.into_iter().map(Mutex::new).collect()),
        _ => Way::Owner(logs.into_iter().map(|log| own(&runtime, log)).collect()),
    };
    let anonymous_kib = anonymous_kib() - memory_before;
    let address = serve(&runtime, way);

    let (begun, cpu) = (Instant::now(), machine::processor_time());
    let each = requests / connections;
    let clients: Vec<_> =
        (0..connections).map(|client| std::thread::spawn(move || drive(address, client, each, partitions))).collect();
    let mut times = histogram();
    for client in clients {
        times.add(client.join().expect("a client that ends")).expect("the same kind of histogram");
    }
    let done = each * connections;
    Turn {
        rate: u64::from(done) * 1_000_000 / u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX).max(1),
        p50: times.value_at_quantile(0.5),
        p99: times.value_at_quantile(0.99),
        cpu: (machine::processor_time() - cpu) / done,
        anonymous_kib,
    }
}

fn append(log: &mut Log, batch: &[u8]) -> i64 {
    let batch = BatchView::parse(batch).expect("a batch");
    let role = AppendAs::Leader { epoch: LeaderEpoch(0), now: Timestamp(0), timestamps: TimestampPolicy::Keep };
    log.append(&batch, role).expect("append").base_offset.0
}

fn own(runtime: &Runtime, mut log: Log) -> mpsc::Sender<Job> {
    let (queue, mut jobs) = mpsc::channel::<Job>(QUEUE);
    runtime.spawn(async move {
        while let Some(job) = jobs.recv().await {
            // A client that has gone needs no answer.
            let _ = job.answer.send(append(&mut log, &job.batch));
        }
    });
    queue
}

fn serve(runtime: &Runtime, way: Way) -> SocketAddr {
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("listen");
    let address = listener.local_addr().expect("an address");
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(connection(stream, way.clone()));
        }
    });
    address
}

async fn connection(mut stream: tokio::net::TcpStream, way: Way) {
    stream.set_nodelay(true).expect("set an option");
    let mut batch = Vec::new();
    while let (Ok(partition), Ok(length)) = (stream.read_u32_le().await, stream.read_u32_le().await) {
        batch.resize(length as usize, 0);
        if stream.read_exact(&mut batch).await.is_err() {
            return;
        }
        let partition = partition as usize;
        let offset = match &way {
            Way::Lock(logs) => append(&mut logs[partition].lock(), &batch),
            Way::Owner(owners) => {
                let (answer, answered) = oneshot::channel();
                let job = Job { batch: batch.clone(), answer };
                assert!(owners[partition].send(job).await.is_ok(), "an owner lives as long as the runtime");
                answered.await.expect("an answer")
            }
        };
        let mut bytes = [0; ANSWER_BYTES];
        bytes[..8].copy_from_slice(&offset.to_le_bytes());
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

fn drive(address: SocketAddr, client: u32, requests: u32, partitions: usize) -> Histogram<u64> {
    let mut stream = TcpStream::connect(address).expect("connect");
    stream.set_nodelay(true).expect("set an option");
    let mut builder = BatchBuilder::new();
    let value = vec![b'x'; VALUE_BYTES];
    builder.append(&NewRecord { value: Some(&value), ..NewRecord::default() }).expect("a small record");
    let batch = builder.finish(None).expect("a batch");
    let mut frame = Vec::new();
    let mut answer = [0; ANSWER_BYTES];
    let mut times = histogram();
    let partitions = u32::try_from(partitions).expect("a small number");
    for request in 0..requests {
        let partition = (client * 31 + request) % partitions;
        frame.clear();
        frame.extend_from_slice(&partition.to_le_bytes());
        frame.extend_from_slice(&u32::try_from(batch.len()).expect("a small batch").to_le_bytes());
        frame.extend_from_slice(&batch);
        let begun = Instant::now();
        stream.write_all(&frame).expect("send");
        stream.read_exact(&mut answer).expect("receive");
        times.saturating_record(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    times
}

/// Of nanoseconds, up to a minute.
fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("a histogram")
}

/// Anonymous memory of this process.
fn anonymous_kib() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
