//! One connection of raw frames, and one to the metrics listener: what clients of the judges' own are made of.
//!
//! It must not know what is judged.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use cairn_protocol::frame::request_frame;
use cairn_protocol::header::ResponseHeader;
use cairn_protocol::ids::Timestamp;
use cairn_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use cairn_protocol::messages::metadata_request::MetadataRequestTopic;
use cairn_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use cairn_protocol::messages::{ApiVersionsRequest, FetchRequest, MetadataRequest, ProduceRequest};
use cairn_protocol::records::{BatchBuilder, BatchIter, DecompressLimits, NewRecord};
use cairn_protocol::{Message, Reader, Request};

/// An answer that has not come by then never will.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);

/// A client of one connection, which it never makes anew.
#[derive(Debug)]
pub struct RawClient {
    /// The connection.
    pub stream: TcpStream,
    next_correlation_id: i32,
}

impl RawClient {
    /// Connects.
    pub fn connect(bootstrap: &str) -> anyhow::Result<RawClient> {
        RawClient::connect_within(bootstrap, ANSWER_TIME_MAX)
    }

    /// Connects to somebody who may be silent: an answer that has not come within this time never will.
    pub fn connect_within(bootstrap: &str, answer_time: Duration) -> anyhow::Result<RawClient> {
        let address = bootstrap.to_socket_addrs()?.next().with_context(|| format!("an address of {bootstrap}"))?;
        let stream =
            TcpStream::connect_timeout(&address, answer_time).with_context(|| format!("connect to {bootstrap}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(answer_time))?;
        Ok(RawClient { stream, next_correlation_id: 1 })
    }

    /// Sends a request and takes its answer.
    pub fn call<R: Request>(&mut self, version: i16, request: &R) -> anyhow::Result<R::Response> {
        let correlation_id = self.send(version, request)?;
        let mut length = [0; 4];
        self.stream.read_exact(&mut length).context("an answer")?;
        let mut frame = vec![0; usize::try_from(i32::from_be_bytes(length))?];
        self.stream.read_exact(&mut frame)?;
        let mut reader = Reader::new(Bytes::from(frame));
        let header = ResponseHeader::decode(&mut reader, R::KEY, version)?;
        ensure!(header.correlation_id == correlation_id, "the answer of another request");
        Ok(R::Response::decode(&mut reader, version)?)
    }

    /// Sends a request and leaves its answer where it is.
    pub fn send<R: Request>(&mut self, version: i16, request: &R) -> anyhow::Result<i32> {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id += 1;
        let frame = request_frame(version, correlation_id, Some("judge"), request)?.into_bytes();
        self.stream.write_all(&frame)?;
        Ok(correlation_id)
    }

    /// Whether the connection is served.
    pub fn ping(&mut self) -> anyhow::Result<()> {
        let answer = self.call(0, &ApiVersionsRequest::default())?;
        ensure!(answer.error_code == 0, "error {}", answer.error_code);
        Ok(())
    }

    /// Makes a topic as the broker's configuration says.
    pub fn make_topic(&mut self, name: &str) -> anyhow::Result<()> {
        let topic = MetadataRequestTopic { name: Some(name.into()), ..MetadataRequestTopic::default() };
        let request = MetadataRequest { topics: Some(vec![topic]), ..MetadataRequest::default() };
        let error = self.call(12, &request)?.topics[0].error_code;
        ensure!(error == 0, "error {error}");
        Ok(())
    }

    /// Appends one record with acks=all; gives its offset.
    pub fn produce(&mut self, topic: &str, value: &[u8]) -> anyhow::Result<i64> {
        let mut builder = BatchBuilder::new();
        builder.append(&NewRecord { timestamp: Timestamp(0), value: Some(value), ..NewRecord::default() })?;
        let partition = PartitionProduceData { index: 0, records: Some(builder.finish(None)?) };
        let topic =
            TopicProduceData { name: topic.into(), partition_data: vec![partition], ..TopicProduceData::default() };
        let request = ProduceRequest { acks: -1, timeout_ms: 10_000, topic_data: vec![topic], transactional_id: None };
        let answer = self.call(9, &request)?.responses.remove(0).partition_responses.remove(0);
        ensure!(answer.error_code == 0, "error {}: {:?}", answer.error_code, answer.error_message);
        Ok(answer.base_offset)
    }

    /// The record at an offset.
    pub fn read(&mut self, topic: &str, offset: i64) -> anyhow::Result<Vec<u8>> {
        let answer = self.call(11, &fetch(topic, offset))?.responses.remove(0).partitions.remove(0);
        ensure!(answer.error_code == 0, "error {}", answer.error_code);
        let bytes = answer.records.unwrap_or_default();
        for batch in BatchIter::new(&bytes) {
            let batch = batch?;
            batch.verify_crc()?;
            for record in batch.records(&bytes, &DecompressLimits::default())?.iter() {
                let record = record?;
                if record.offset.0 == offset {
                    return Ok(record.value.unwrap_or_default().to_vec());
                }
            }
        }
        anyhow::bail!("no record at offset {offset}")
    }
}

/// A fetch of as much as there is of a topic's first partition, that waits for nothing.
pub fn fetch(topic: &str, fetch_offset: i64) -> FetchRequest {
    let partition =
        FetchPartition { partition: 0, fetch_offset, partition_max_bytes: 64 << 20, ..FetchPartition::default() };
    FetchRequest {
        max_wait_ms: 0,
        min_bytes: 1,
        max_bytes: 64 << 20,
        topics: vec![FetchTopic { topic: topic.into(), partitions: vec![partition], ..FetchTopic::default() }],
        ..FetchRequest::default()
    }
}

/// One connection to the metrics listener, kept from question to question.
#[derive(Debug)]
pub struct Telemetry {
    reader: BufReader<TcpStream>,
}

impl Telemetry {
    /// Connects.
    pub fn connect(address: &str) -> anyhow::Result<Telemetry> {
        let stream = TcpStream::connect(address).with_context(|| format!("connect to {address}"))?;
        stream.set_read_timeout(Some(ANSWER_TIME_MAX))?;
        Ok(Telemetry { reader: BufReader::new(stream) })
    }

    /// The status and the body of a page.
    pub fn get(&mut self, path: &str) -> anyhow::Result<(u16, String)> {
        write!(self.reader.get_mut(), "GET {path} HTTP/1.1\r\nHost: cairn\r\n\r\n")?;
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        let status = line.split(' ').nth(1).with_context(|| line.clone())?.parse()?;
        let mut length = 0;
        loop {
            line.clear();
            self.reader.read_line(&mut line)?;
            match line.trim_end().split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse()?,
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        self.reader.read_exact(&mut body)?;
        Ok((status, String::from_utf8(body)?))
    }

    /// The value of a metric, named with its labels; 0 while it is not there.
    pub fn metric(&mut self, name: &str) -> anyhow::Result<u64> {
        let (_, metrics) = self.get("/metrics")?;
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(Ok(0), |value| value.parse().with_context(|| value.to_owned()))
    }
}
