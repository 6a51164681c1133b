//! Question: what does a producer notice of compaction that runs beside it, in the very partition that it writes to?
//!
//! A broker of its own, one connection, one record of 1 KiB at a time with acks=all, at a fixed rate. A latency counts from when the
//! record was due, so that a stall shows in all that it holds up. Two pairs of phases in one run, each of a partition that was filled
//! and left to settle: no compaction, then compaction as fast as it goes, which is the default; no compaction, then compaction at
//! 50 MB/s (`log.cleaner.io.max.bytes.per.second`). A phase with compaction lasts as long as the round.
//!
//! `CAIRN_BIN=target/release/cairn cargo bench -p cairn-benches --bench compaction`, with `CAIRN_BENCH_DIR` for the disk,
//! `CAIRN_BENCH_MIB` to compact in a round, and `CAIRN_BENCH_RATE` in records a second.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_benches::machine::{self, nanos};
use cairn_protocol::frame::request_frame;
use cairn_protocol::header::ResponseHeader;
use cairn_protocol::ids::Timestamp;
use cairn_protocol::messages::ProduceRequest;
use cairn_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use cairn_protocol::records::{BatchBuilder, NewRecord};
use cairn_protocol::{Message, Reader, Request};
use hdrhistogram::Histogram;

const TOPIC: &str = "table";
const VALUE_BYTES: usize = 1000;
/// Of this many keys the newest records stay.
const KEYS: usize = 100_000;
/// Records of a batch while the partition is filled.
const FILL_RECORDS: usize = 900;
const PACED_BYTES_PER_SECOND: u64 = 50_000_000;
/// The phase without compaction.
const QUIET: Duration = Duration::from_secs(8);
/// What was written is on the disk by then.
const SETTLE: Duration = Duration::from_secs(3);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The broker; dropping it kills it.
struct Broker {
    child: Child,
    bootstrap: String,
    metrics: String,
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn binary() -> String {
    std::env::var("CAIRN_BIN").expect("CAIRN_BIN names the broker's binary")
}

impl Broker {
    fn start(data: &std::path::Path) -> Self {
        let mut command = Command::new(binary());
        command.args(["broker", "--listen", "127.0.0.1:0", "--data"]).arg(data);
        for setting in ["log.cleaner.backoff.ms=20", "metrics.listener=127.0.0.1:0"] {
            command.args(["--set", setting]);
        }
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("start the broker");
        let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let ready = lines.find(|line| line.as_ref().is_ok_and(|line| line.starts_with("ready: ")));
        let ready = ready.expect("the broker is ready").expect("text");
        let field = |name: &str| {
            let found = ready.split_whitespace().find_map(|word| word.strip_prefix(name));
            found.unwrap_or_else(|| panic!("{name} in {ready:?}")).to_owned()
        };
        Self { child, bootstrap: field("kafka="), metrics: field("metrics=") }
    }

    fn cairn(&self, arguments: &[&str]) {
        let status = Command::new(binary()).args(arguments).args(["--bootstrap", &self.bootstrap]).status();
        assert!(status.expect("run cairn").success(), "{arguments:?}");
    }

    fn counts(&self) -> Counts {
        let mut stream = TcpStream::connect(&self.metrics).expect("metrics");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n").expect("ask");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        let number = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
            line.trim().parse().expect("a number")
        };
        Counts {
            rounds: number("cairn_cleaner_round_time_seconds_count"),
            looked_through: number("cairn_cleaner_read_bytes_total"),
            stalls: number("cairn_allocator_stalls_total"),
        }
    }
}

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

/// One connection, one request at a time.
struct Producer {
    stream: TcpStream,
    next: i32,
}

impl Producer {
    const VERSION: i16 = 9;

    fn connect(bootstrap: &str) -> Self {
        let stream = TcpStream::connect(bootstrap).expect("connect");
        stream.set_nodelay(true).expect("no delay");
        Self { stream, next: 1 }
    }

    fn produce(&mut self, records: Bytes) {
        let partition = PartitionProduceData { index: 0, records: Some(records) };
        let topic =
            TopicProduceData { name: TOPIC.into(), partition_data: vec![partition], ..TopicProduceData::default() };
        let request = ProduceRequest { acks: -1, timeout_ms: 10_000, topic_data: vec![topic], transactional_id: None };
        let frame = request_frame(Self::VERSION, self.next, Some("bench"), &request).expect("a small request");
        self.next += 1;
        self.stream.write_all(&frame.into_bytes()).expect("send");
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).expect("an answer");
        let mut answer = vec![0; usize::try_from(i32::from_be_bytes(length)).expect("a length")];
        self.stream.read_exact(&mut answer).expect("an answer");
        let mut reader = Reader::new(Bytes::from(answer));
        ResponseHeader::decode(&mut reader, ProduceRequest::KEY, Self::VERSION).expect("a header");
        let answer = <ProduceRequest as Request>::Response::decode(&mut reader, Self::VERSION).expect("an answer");
        let error = answer.responses[0].partition_responses[0].error_code;
        assert_eq!(error, 0, "error of a produce");
    }
}

fn batch(first: usize, records: usize) -> Bytes {
    let mut builder = BatchBuilder::new();
    let value = vec![7; VALUE_BYTES];
    for number in first..first + records {
        let key = format!("key {}", number % KEYS);
        let record =
            NewRecord { timestamp: Timestamp(1), key: Some(key.as_bytes()), value: Some(&value), headers: &[] };
        builder.append(&record).expect("fits");
    }
    builder.finish(None).expect("whole")
}

fn fill(bootstrap: &str, mib: usize) {
    let mut producer = Producer::connect(bootstrap);
    let records = (mib << 20) / VALUE_BYTES;
    for first in (0..records).step_by(FILL_RECORDS) {
        producer.produce(batch(first, FILL_RECORDS));
    }
}

fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds of the histogram")
}

/// Produces at a fixed rate until it is told to stop.
fn load(bootstrap: &str, rate: u32, into: &Mutex<Histogram<u64>>, stop: &AtomicBool) {
    let mut producer = Producer::connect(bootstrap);
    let records = batch(0, 1);
    let (begun, step) = (Instant::now(), Duration::from_secs(1) / rate);
    let mut due = begun;
    while !stop.load(Ordering::Relaxed) {
        if let Some(early) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(early);
        }
        producer.produce(records.clone());
        let latency = u64::try_from(due.elapsed().as_nanos()).unwrap_or(u64::MAX);
        into.lock().expect("histogram").saturating_record(latency);
        due += step;
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
    fill(&broker.bootstrap, mib);
    std::thread::sleep(SETTLE);
    let before = broker.counts();
    measured.lock().expect("histogram").reset();
    std::thread::sleep(QUIET);
    let alone = measured.lock().expect("histogram").clone();
    row("no compaction", &alone, QUIET, before, broker.counts());

    let before = broker.counts();
    broker.cairn(&["config", "set", "--topic", TOPIC, "min.cleanable.dirty.ratio=0.1"]);
    let begun = Instant::now();
    measured.lock().expect("histogram").reset();
    while broker.counts().rounds == before.rounds {
        std::thread::sleep(LOOK_EVERY);
    }
    let (lasted, latency) = (begun.elapsed(), measured.lock().expect("histogram").clone());
    row(name, &latency, lasted, before, broker.counts());
}

fn main() {
    if machine::is_trial() {
        println!("nothing to try: it needs a broker's binary");
        return;
    }
    let mib = machine::setting("CAIRN_BENCH_MIB", 1024usize);
    let rate = machine::setting("CAIRN_BENCH_RATE", 1000u32);
    let folder = machine::folder();
    let broker = Broker::start(&folder.path().join("data"));
    let segments = ["segment.bytes=67108864", "cleanup.policy=compact", "min.cleanable.dirty.ratio=1"];
    let configs = segments.iter().flat_map(|config| ["--config", config]);
    broker.cairn(&["topic", "create", TOPIC, "--partitions", "1"].into_iter().chain(configs).collect::<Vec<_>>());

    println!("| phase | records | p50 | p99 | p99.9 | max | seconds | looked through, MB/s | stalls |");
    println!("|---|---|---|---|---|---|---|---|---|");
    let (measured, stop) = (Mutex::new(latencies()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| load(&broker.bootstrap, rate, &measured, &stop));
        measure_a_pair(&broker, "compaction, as fast as it goes", mib, &measured);
        let pace = format!("log.cleaner.io.max.bytes.per.second={PACED_BYTES_PER_SECOND}");
        broker.cairn(&["config", "set", "--brokers", &pace]);
        measure_a_pair(&broker, "compaction, at 50 MB/s", mib / 2, &measured);
        stop.store(true, Ordering::Relaxed);
    });
}
