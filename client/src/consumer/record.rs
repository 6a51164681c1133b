//! Records as they came: slices of the received bytes.
//!
//! Must not know: how they were fetched, offsets that were committed.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use cairn_protocol::ids::{LeaderEpoch, Offset, PartitionIndex, Timestamp};
use cairn_protocol::records::{BatchHeader, BatchIter, DecompressLimits, Record, Records};

use super::ConsumeError;
use super::assignment::{FetchFrom, Want};
use super::fetch::Fetched;
use super::progress::Progress;
use crate::topic_partition::TopicPartition;

/// A record that was read. It owns its parts as slices of the bytes that were received (or decompressed), without a copy; a record
/// that is kept for long keeps the whole batch's memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerRecord {
    /// Its topic.
    pub topic: Arc<str>,
    /// Its partition.
    pub partition: PartitionIndex,
    /// Its place in the partition.
    pub offset: Offset,
    /// Its time, -1 for none.
    pub timestamp: Timestamp,
    /// The term of the leader that wrote it.
    pub leader_epoch: Option<LeaderEpoch>,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
    /// Its headers, in order; a key may come twice. Keys are UTF-8 by the protocol, which nobody enforces.
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

/// Some records of one partition, in order: what one fetch brought.
#[derive(Clone, Debug)]
pub struct RecordBatches {
    partition: TopicPartition,
    /// Whole batches whose checksums are right.
    bytes: Bytes,
    /// Records before it lie in the first batch and were not asked for.
    from: Offset,
    end: Offset,
    high_watermark: Offset,
    /// The base offsets of batches of aborted transactions, in order.
    hidden: Arc<[Offset]>,
    progress: Arc<Progress>,
    round: u64,
}

impl RecordBatches {
    pub(super) fn new(partition: TopicPartition, fetched: &Fetched, from: Offset, want: &Want<FetchFrom>) -> Self {
        Self {
            partition,
            bytes: fetched.bytes.clone(),
            from,
            end: fetched.next,
            high_watermark: fetched.end,
            hidden: fetched.hidden.as_slice().into(),
            progress: Arc::clone(&want.progress),
            round: want.round,
        }
    }

    /// Their partition.
    #[must_use]
    pub fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// The offset after the last of them.
    #[must_use]
    pub fn end_offset(&self) -> Offset {
        self.end
    }

    /// The partition's end for this reader when they were fetched: with [`IsolationLevel::ReadCommitted`](super::IsolationLevel) where
    /// the first open transaction begins.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// How many bytes they take, compressed as they came.
    #[must_use]
    pub fn byte_len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether nobody has sought away from them, or paused their partition.
    pub(crate) fn is_current(&self) -> bool {
        self.progress.is_current(self.round)
    }

    /// Whether a batch holds nothing for the application.
    fn is_hidden(&self, header: &BatchHeader) -> bool {
        header.attributes.is_control() || self.hidden.binary_search(&header.base_offset).is_ok()
    }

    pub(crate) fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Calls `each` for every record, which borrows its parts: the fastest way, without any allocation per record.
    ///
    /// # Errors
    /// When a batch cannot be decompressed or parsed. Records before it were given.
    pub fn for_each(&self, mut each: impl FnMut(Record<'_>)) -> Result<(), ConsumeError> {
        for batch in self.batches() {
            let batch = batch?;
            for record in batch.iter() {
                let record = record.map_err(|error| self.damaged(batch.header().base_offset, &error))?;
                if record.offset >= self.from {
                    each(record);
                }
            }
        }
        Ok(())
    }

    /// All records as owned ones.
    ///
    /// # Errors
    /// When a batch cannot be decompressed or parsed.
    pub fn to_records(&self) -> Result<Vec<ConsumerRecord>, ConsumeError> {
        let mut records = Vec::new();
        for batch in self.batches() {
            self.take_batch(&batch?, &mut |record| records.push(record))?;
        }
        Ok(records)
    }

    fn batches(&self) -> impl Iterator<Item = Result<Records, ConsumeError>> {
        BatchIter::new(&self.bytes).filter_map(|view| {
            let view = match view {
                Ok(view) if self.is_hidden(view.header()) => return None,
                Ok(view) => view,
                Err(error) => return Some(Err(self.damaged(self.from, &error))),
            };
            let records = view.records(&self.bytes, &DecompressLimits::default());
            Some(records.map_err(|error| self.damaged(view.header().base_offset, &error)))
        })
    }

    fn take_batch(&self, batch: &Records, take: &mut impl FnMut(ConsumerRecord)) -> Result<(), ConsumeError> {
        let leader_epoch = batch.header().leader_epoch;
        for record in batch.iter() {
            let record = record.map_err(|error| self.damaged(batch.header().base_offset, &error))?;
            if record.offset < self.from {
                continue;
            }
            let share = |field: &[u8]| batch.share(field);
            take(ConsumerRecord {
                topic: Arc::clone(&self.partition.topic),
                partition: self.partition.partition,
                offset: record.offset,
                timestamp: record.timestamp,
                leader_epoch,
                key: record.key.map(share),
                value: record.value.map(share),
                headers: record.headers.map(|header| (share(header.key), header.value.map(share))).collect(),
            });
        }
        Ok(())
    }

    fn damaged(&self, offset: Offset, reason: &impl ToString) -> ConsumeError {
        ConsumeError::Damaged { partition: self.partition.clone(), offset, reason: reason.to_string().into() }
    }
}

/// Hands out the records of [`RecordBatches`] one by one, a batch decompressed at a time.
#[derive(Debug)]
pub(crate) struct Cursor {
    batches: RecordBatches,
    /// Where the next batch begins in the bytes.
    position: usize,
    ready: VecDeque<ConsumerRecord>,
}

impl Cursor {
    pub(crate) fn new(batches: RecordBatches) -> Self {
        Self { batches, position: 0, ready: VecDeque::new() }
    }

    pub(crate) fn batches(&self) -> &RecordBatches {
        &self.batches
    }

    /// The next record, or `None` behind the last.
    pub(crate) fn next(&mut self) -> Result<Option<ConsumerRecord>, ConsumeError> {
        loop {
            if let Some(record) = self.ready.pop_front() {
                return Ok(Some(record));
            }
            let rest = RecordBatches { bytes: self.batches.bytes.slice(self.position..), ..self.batches.clone() };
            let mut walk = BatchIter::new(&rest.bytes);
            let Some(view) = walk.next() else { return Ok(None) };
            let view = view.map_err(|error| self.batches.damaged(self.batches.from, &error))?;
            self.position += walk.position();
            if self.batches.is_hidden(view.header()) {
                continue;
            }
            let records = view.records(&rest.bytes, &DecompressLimits::default());
            let records = records.map_err(|error| self.batches.damaged(view.header().base_offset, &error))?;
            let ready = &mut self.ready;
            self.batches.take_batch(&records, &mut |record| ready.push_back(record))?;
        }
    }
}
