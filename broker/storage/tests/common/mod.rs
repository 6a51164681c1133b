//! What the tests of logs share: batches with recognisable content, and small configurations.
//!
//! Must not know: what is tested.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

pub mod keyed;

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use cairn_protocol::ids::{LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, Timestamp, TopicId};
use cairn_protocol::records::{
    BatchBuilder, BatchIter, BatchProducer, BatchView, DecompressLimits, NewRecord, TimestampPolicy,
};
use cairn_storage::dir::{DataDir, DirConfig, Preparing};
use cairn_storage::disk::Disk;
use cairn_storage::log::{
    AppendAs, AppendError, Appended, FirstBatch, Limits, Log, LogConfig, LogName, LogReader, ReadError,
};

/// A record as a test sees it.
#[derive(Clone, PartialEq, Eq)]
pub struct Seen {
    pub offset: i64,
    pub timestamp: i64,
    pub value: Vec<u8>,
}

impl std::fmt::Debug for Seen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let front = &self.value[..self.value.len().min(12)];
        write!(f, "{}@{} \"{}\"+{}", self.offset, self.timestamp, front.escape_ascii(), self.value.len())
    }
}

/// A batch of records with these values, all of one timestamp.
pub fn batch(values: &[&[u8]], timestamp: i64) -> Bytes {
    batch_of(values, timestamp, None)
}

/// The same from an idempotent producer.
pub fn batch_from(id: i64, epoch: i16, sequence: i32, values: &[&[u8]], timestamp: i64) -> Bytes {
    let producer = BatchProducer { id: ProducerId(id), epoch: ProducerEpoch(epoch), base_sequence: sequence };
    batch_of(values, timestamp, Some(producer))
}

fn batch_of(values: &[&[u8]], timestamp: i64, producer: Option<BatchProducer>) -> Bytes {
    let mut builder = BatchBuilder::new();
    for value in values {
        let record = NewRecord { timestamp: Timestamp(timestamp), key: None, value: Some(value), headers: &[] };
        builder.append(&record).expect("a small record fits");
    }
    builder.finish(producer).expect("a small batch is whole")
}

pub fn append(log: &mut Log, batch: &Bytes, epoch: i32, now: i64) -> Result<Appended, AppendError> {
    let view = BatchView::parse(batch).expect("test batches are whole");
    let role = AppendAs::Leader { epoch: LeaderEpoch(epoch), now: Timestamp(now), timestamps: TimestampPolicy::Keep };
    log.append(&view, role)
}

pub fn follow(log: &mut Log, batch: &[u8]) -> Result<Appended, AppendError> {
    let view = BatchView::parse(batch).expect("test batches are whole");
    log.append(&view, AppendAs::Follower { now: Timestamp(0) })
}

/// The batch as a leader has placed it.
pub fn placed(batch: &Bytes, base: i64, epoch: i32) -> Vec<u8> {
    let view = BatchView::parse(batch).expect("test batches are whole");
    let mut header = *view.header();
    header.stamp(Offset(base), LeaderEpoch(epoch));
    [&header.encode()[..], view.record_bytes()].concat()
}

pub fn sync(log: &mut Log) {
    if let Some(job) = log.begin_sync() {
        let synced = job.run().expect("the disk is well");
        log.on_synced(synced);
    }
}

/// All records from `from` to the log's end, batch by batch, as a consumer reads them.
pub fn read_from(reader: &LogReader, from: Offset, max_bytes: u64) -> Result<Vec<Seen>, ReadError> {
    let mut seen = Vec::new();
    let mut offset = from;
    loop {
        let limits = Limits { max_bytes, first_batch: FirstBatch::AtLeastOne, end: reader.end_offset() };
        let read = reader.read(offset, limits)?;
        if read.bytes.is_empty() {
            return Ok(seen);
        }
        for view in BatchIter::new(&read.bytes) {
            let view = view.expect("a read has whole batches");
            view.verify_crc().expect("a read has sound batches");
            let records = view.records(&read.bytes, &DecompressLimits::default()).expect("readable");
            for record in records.iter() {
                let record = record.expect("readable");
                if record.offset >= offset {
                    let value = record.value.unwrap_or_default().to_vec();
                    seen.push(Seen { offset: record.offset.0, timestamp: record.timestamp.0, value });
                }
            }
        }
        assert!(read.next_offset > offset, "a read that has batches gets on");
        offset = read.next_offset;
    }
}

pub fn read_all(reader: &LogReader) -> Vec<Seen> {
    read_from(reader, reader.start_offset(), 10_000).expect("the log is sound")
}

pub fn name() -> LogName {
    LogName::new("orders", PartitionIndex(3)).expect("legal")
}

pub fn topic_id() -> TopicId {
    TopicId(uuid::Uuid::from_u128(0x1234_5678))
}

/// Segments of 4 KiB, an index entry each 256 bytes.
pub fn small() -> LogConfig {
    LogConfig {
        segment_bytes: 4096,
        index_interval_bytes: 256,
        retention_ms: None,
        max_message_bytes: 4096,
        ..LogConfig::default()
    }
}

/// A directory whose calls to the disk are always the same.
pub fn dir_config() -> DirConfig {
    DirConfig { reserve_bytes: Some(0), preparing: Preparing::OnAppend, boot_id: Some(uuid::Uuid::from_u128(77)) }
}

pub fn open_dir(disk: &Arc<dyn Disk>) -> DataDir {
    DataDir::open(Arc::clone(disk), Path::new("/data"), &dir_config()).expect("the directory opens")
}
