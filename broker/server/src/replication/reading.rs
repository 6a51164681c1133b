//! What a push carries, as it is found in the log: whole batches, what compaction has left between them, and where they begin.
//!
//! Must not know: who asks for it, when it is sent.

use std::sync::Arc;

use cairn_protocol::ids::{LeaderEpoch, Offset};
use cairn_protocol::records::{BatchHeader, BatchView};
use cairn_replication::{Content, EpochEnd, LogView, Position, Span, with_holes};
use cairn_storage::log::{Batches, FirstBatch, Hole, HotRead, Limits, LogReader, ReadError};

use crate::blocking::on_blocking_thread;
use crate::partitions::Partition;

/// The epoch of records from before there were any.
const NO_EPOCH: LeaderEpoch = LeaderEpoch(-1);

/// Whole batches from `from` on, as far as the log goes, committed or not; none when they are not in memory.
pub(super) fn read_hot(
    partition: &Partition,
    from: Offset,
    max_bytes: u64,
    first_batch: FirstBatch,
) -> Result<Option<Batches>, ReadError> {
    let reader = partition.reader();
    let limits = Limits { max_bytes, first_batch, end: reader.end_offset() };
    Ok(match reader.read_hot(from, limits)? {
        HotRead::Ready(batches) => Some(batches),
        HotRead::Cold => None,
    })
}

/// The same, from the disk.
pub(super) async fn read_cold(
    partition: Arc<Partition>,
    from: Offset,
    max_bytes: u64,
    first_batch: FirstBatch,
) -> Result<Batches, ReadError> {
    on_blocking_thread(move || {
        let reader = partition.reader();
        reader.read(from, Limits { max_bytes, first_batch, end: reader.end_offset() })
    })
    .await
}

/// The log as readers see it, to name what compaction has left.
struct Seen<'r>(&'r LogReader);

impl LogView for Seen<'_> {
    fn start(&self) -> Offset {
        self.0.start_offset()
    }

    fn end(&self) -> Offset {
        self.0.end_offset()
    }

    fn durable_end(&self) -> Offset {
        self.0.durable_end()
    }

    fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let is_inside = (self.start()..self.end()).contains(&offset);
        is_inside.then(|| self.0.epochs().epoch_at(offset))?
    }

    fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.0.epochs().latest().map(|latest| latest.epoch)
    }

    fn end_for(&self, epoch: LeaderEpoch) -> EpochEnd {
        let known = self.0.end_for_epoch(epoch);
        known.map_or(EpochEnd { epoch, end: self.end() }, |known| EpochEnd { epoch: known.epoch, end: known.end })
    }
}

/// What is missing between the batches, and the offset behind the last of them.
pub(super) fn holes(reader: &LogReader, from: Offset, bytes: &[u8], next_offset: Offset) -> (Vec<Span>, Offset) {
    let mut spans: Vec<Span> = Vec::new();
    let (mut rest, mut last_end) = (bytes, from);
    while let Ok(batch) = BatchView::parse_first(rest) {
        rest = &rest[batch.as_bytes().len()..];
        let header = batch.header();
        last_end = header.end_offset();
        if Hole::of(header).is_none() {
            let (base, epoch) = (header.base_offset, header.leader_epoch.unwrap_or(NO_EPOCH));
            spans.push(Span { base, end: last_end, epoch, content: Content::Batch });
        }
    }
    let is_dense = spans.first().is_none_or(|first| first.base == from)
        && spans.is_sorted_by(|one, next| one.end == next.base)
        && spans.last().is_some_and(|last| last.end == next_offset);
    if is_dense {
        return (Vec::new(), next_offset);
    }
    let end = last_end.max(next_offset);
    let whole: Vec<Span> = with_holes(from, spans.into_iter(), end, &Seen(reader)).collect();
    let end = whole.last().map_or(from, |last| last.end);
    (whole.into_iter().filter(|span| span.content == Content::Hole).collect(), end)
}

/// The place of a push whose first batch begins before it: a question may have ended within a batch, and records travel in whole ones.
pub(super) fn place(reader: &LogReader, asked: Position, bytes: &[u8]) -> Position {
    match BatchHeader::decode(bytes) {
        Ok(first) if first.base_offset < asked.offset => {
            let seen = Seen(reader);
            let offset = first.base_offset;
            Position { offset, epoch: if offset > seen.start() { seen.epoch_at(offset.plus(-1)) } else { None } }
        }
        _ => asked,
    }
}
