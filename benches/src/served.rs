//! A broker of its own for a bench, one connection to it, and a load at a fixed rate.
//!
//! Must not know: what is measured.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_protocol::frame::request_frame;
use cairn_protocol::header::ResponseHeader;
use cairn_protocol::ids::Timestamp;
use cairn_protocol::messages::ProduceRequest;
use cairn_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use cairn_protocol::records::{BatchBuilder, NewRecord};
use cairn_protocol::{Message, Reader, Request};
use hdrhistogram::Histogram;

/// Bytes of each record's value.
pub const VALUE_BYTES: usize = 1000;
/// Records have this many different keys.
pub const KEYS: usize = 100_000;
/// Records of a batch while a partition is filled.
const FILL_RECORDS: usize = 900;

/// The broker; dropping it kills it.
#[derive(Debug)]
pub struct Broker {
    child: Child,
    /// Where it is reached.
    pub bootstrap: String,
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
    /// Starts one with these data directories and settings.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn start(dirs: &[&Path], settings: &[&str]) -> Self {
        let mut command = Command::new(binary());
        command.args(["broker", "--listen", "127.0.0.1:0", "--set", "metrics.listener=127.0.0.1:0"]);
        for dir in dirs {
            command.arg("--data").arg(dir);
        }
        for setting in settings {
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

    /// Runs a command of the binary against it.
    ///
    /// # Panics
    /// When the command fails.
    pub fn cairn(&self, arguments: &[&str]) {
        let status = Command::new(binary())
            .args(arguments)
            .args(["--bootstrap", &self.bootstrap])
            .stdout(Stdio::null())
            .status();
        assert!(status.expect("run cairn").success(), "{arguments:?}");
    }

    /// Whole numbers that it tells of itself now, by the name of the metric.
    ///
    /// # Panics
    /// When it does not tell one of them.
    #[must_use]
    pub fn counts<const N: usize>(&self, names: [&str; N]) -> [u64; N] {
        let mut stream = TcpStream::connect(&self.metrics).expect("metrics");
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n").expect("ask");
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("an answer");
        names.map(|name| {
            let of = |line: &str| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned);
            let value = text.lines().find_map(of).unwrap_or_else(|| panic!("no {name}"));
            value.trim().parse().expect("a number")
        })
    }
}

/// One connection, one request at a time.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    next: i32,
}

impl Connection {
    /// The version of produces.
    pub const PRODUCE_VERSION: i16 = 9;

    /// Connects.
    ///
    /// # Panics
    /// When nobody listens.
    #[must_use]
    pub fn open(bootstrap: &str) -> Self {
        let stream = TcpStream::connect(bootstrap).expect("connect");
        stream.set_nodelay(true).expect("no delay");
        Self { stream, next: 1 }
    }

    /// Sends a request and takes its answer.
    ///
    /// # Panics
    /// When there is none.
    pub fn call<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let frame = request_frame(version, self.next, Some("bench"), request).expect("a small request");
        self.next += 1;
        self.stream.write_all(&frame.into_bytes()).expect("send");
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).expect("an answer");
        let mut answer = vec![0; usize::try_from(i32::from_be_bytes(length)).expect("a length")];
        self.stream.read_exact(&mut answer).expect("an answer");
        let mut reader = Reader::new(Bytes::from(answer));
        ResponseHeader::decode(&mut reader, R::KEY, version).expect("a header");
        R::Response::decode(&mut reader, version).expect("an answer")
    }

    /// Produces a batch to partition 0 with acks=all.
    ///
    /// # Panics
    /// When it is refused.
    pub fn produce(&mut self, topic: &str, records: Bytes) {
        let partition = PartitionProduceData { index: 0, records: Some(records) };
        let topic =
            TopicProduceData { name: topic.into(), partition_data: vec![partition], ..TopicProduceData::default() };
        let request = ProduceRequest { acks: -1, timeout_ms: 10_000, topic_data: vec![topic], transactional_id: None };
        let answer = self.call(Self::PRODUCE_VERSION, &request);
        let error = answer.responses[0].partition_responses[0].error_code;
        assert_eq!(error, 0, "error of a produce");
    }
}

/// A batch of records; the first of them has this number, which gives its key.
///
/// # Panics
/// Never: so many fit.
#[must_use]
pub fn batch(first: usize, records: usize) -> Bytes {
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

/// Fills a topic's partition 0.
pub fn fill(bootstrap: &str, topic: &str, mib: usize) {
    let mut producer = Connection::open(bootstrap);
    let records = (mib << 20) / VALUE_BYTES;
    for first in (0..records).step_by(FILL_RECORDS) {
        producer.produce(topic, batch(first, FILL_RECORDS));
    }
}

/// Nanoseconds, up to a minute.
///
/// # Panics
/// Never: the bounds are sound.
#[must_use]
pub fn latencies() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000_000, 3).expect("bounds of the histogram")
}

/// Produces one record at a time, at a fixed rate, until it is told to stop. A latency counts from when the record was due.
///
/// # Panics
/// When a record is refused.
pub fn load(bootstrap: &str, topic: &str, rate: u32, into: &Mutex<Histogram<u64>>, stop: &AtomicBool) {
    let mut producer = Connection::open(bootstrap);
    let records = batch(0, 1);
    let (begun, step) = (Instant::now(), Duration::from_secs(1) / rate);
    let mut due = begun;
    while !stop.load(Ordering::Relaxed) {
        if let Some(early) = due.checked_duration_since(Instant::now()) {
            std::thread::sleep(early);
        }
        producer.produce(topic, records.clone());
        let latency = u64::try_from(due.elapsed().as_nanos()).unwrap_or(u64::MAX);
        into.lock().expect("histogram").saturating_record(latency);
        due += step;
    }
}
