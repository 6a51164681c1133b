//! The reading side of a log: any thread, any number of clones, never waiting for appends.
//!
//! Must not know: who writes, requests, high watermarks (the caller says where to end).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use cairn_protocol::ids::Offset;
use parking_lot::Mutex;

use super::batch::{BadBatch, Stored};
use super::epochs::{EpochEnd, EpochHistory};
use super::segment::{Fault, Found, Segment};
use crate::dir::checkpoint::{OffsetOrder, OrderCell};
use crate::dir::state::DirState;
use crate::num::{as_u64, as_usize};

mod scrub;

pub use scrub::Scrubbed;

/// What readers and the writer of one log share.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Oldest first, never empty; the last one takes appends.
    pub(crate) segments: ArcSwap<Vec<Arc<Segment>>>,
    pub(crate) epochs: ArcSwap<EpochHistory>,
    pub(crate) start_offset: AtomicI64,
    pub(crate) durable_end: AtomicI64,
    /// Whether offsets may be missing.
    pub(crate) order: OrderCell,
    /// Recovery knows that they may be.
    pub(crate) gaps_noted: AtomicBool,
    /// Held while compaction exchanges files and what is in `segments` is not what has these names.
    pub(crate) exchange: Mutex<()>,
    /// How many exchanges there were.
    pub(crate) exchanges: AtomicU64,
    pub(crate) dir: Arc<DirState>,
}

impl Shared {
    pub(crate) fn start(&self) -> Offset {
        Offset(self.start_offset.load(Ordering::Acquire))
    }

    pub(crate) fn durable(&self) -> Offset {
        Offset(self.durable_end.load(Ordering::Acquire))
    }
}

/// How much to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// At most so many bytes.
    pub max_bytes: u64,
    /// What to do with a first batch that is larger than that.
    pub first_batch: FirstBatch,
    /// Only records below this offset: the high watermark, or the log's end for a follower.
    pub end: Offset,
}

/// What becomes of a first batch that is larger than `max_bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstBatch {
    /// It is returned all the same, so that a reader always gets on (KIP-74).
    AtLeastOne,
    /// Nothing is returned.
    WithinLimit,
}

/// Whole batches, one behind the other, as they lie on disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batches {
    /// Their bytes, a part of the segment's map. The first batch may begin before the offset that was asked for.
    pub bytes: Bytes,
    /// The offset to go on with.
    pub next_offset: Offset,
}

/// What [`LogReader::read_hot`] found.
#[derive(Debug)]
pub enum HotRead {
    /// It was in memory.
    Ready(Batches),
    /// It would have to wait for the disk: call [`LogReader::read`] where blocking is allowed.
    Cold,
}

/// A log could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The offset is not in the log.
    #[error("offset {offset} is not within [{start}, {end}]")]
    OutOfRange {
        /// What was asked for.
        offset: Offset,
        /// The log's start.
        start: Offset,
        /// The log's end.
        end: Offset,
    },
    /// The bytes on disk are not what was written.
    #[error("segment {segment} is damaged at position {position}")]
    Corrupt {
        /// The segment's base offset.
        segment: Offset,
        /// Where in the segment.
        position: u64,
        /// What is wrong.
        source: BadBatch,
    },
    /// The records of a batch cannot be decompressed or read.
    #[error("records of the batch at offset {offset} cannot be read: {reason}")]
    Records {
        /// The batch's base offset.
        offset: Offset,
        /// What is wrong.
        reason: String,
    },
    /// The disk failed; the data directory is offline from now on. Or ([`io::ErrorKind::NotFound`], and nothing is
    /// offline) the segment was removed after the read had looked it up.
    #[error("cannot read segment {segment}")]
    Io {
        /// The segment's base offset.
        segment: Offset,
        /// What the disk said.
        source: io::Error,
    },
}

/// Reads one log. A clone is cheap, and goes on working after the log was closed or deleted.
#[derive(Clone, Debug)]
pub struct LogReader {
    pub(crate) shared: Arc<Shared>,
}

impl LogReader {
    /// The first offset that may be read.
    #[must_use]
    pub fn start_offset(&self) -> Offset {
        self.shared.start()
    }

    /// The offset that the next record gets.
    #[must_use]
    pub fn end_offset(&self) -> Offset {
        last(&self.shared.segments.load()).end_offset()
    }

    /// Everything below is on disk for certain.
    #[must_use]
    pub fn durable_end(&self) -> Offset {
        self.shared.durable()
    }

    /// Bytes of all segments.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.shared.segments.load().iter().map(|segment| segment.end_position()).sum()
    }

    /// How many segments there are.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.shared.segments.load().len()
    }

    /// The leader epochs.
    #[must_use]
    pub fn epochs(&self) -> Arc<EpochHistory> {
        self.shared.epochs.load_full()
    }

    /// Where a leader epoch ends in this log (KIP-101): OffsetForLeaderEpoch.
    #[must_use]
    pub fn end_for_epoch(&self, epoch: cairn_protocol::ids::LeaderEpoch) -> Option<EpochEnd> {
        self.shared.epochs.load().end_for(epoch, self.end_offset())
    }

    /// Reads whole batches from the one that holds `offset` on; nothing when there is none below `limits.end`. May wait
    /// for the disk; bytes that come from there are checked.
    ///
    /// # Errors
    /// When the offset is not in the log, or the bytes cannot be read or trusted.
    pub fn read(&self, offset: Offset, limits: Limits) -> Result<Batches, ReadError> {
        self.undisturbed(|| self.read_once(offset, limits))
    }

    fn read_once(&self, offset: Offset, limits: Limits) -> Result<Batches, ReadError> {
        let Some(segment) = self.segment_for(offset, limits.end)? else {
            return Ok(Batches { bytes: Bytes::new(), next_offset: offset });
        };
        let Some(range) = self.heed(segment.ahead().and_then(|ahead| locate(&ahead, offset, limits)))? else {
            return self.read_next(&segment, offset, limits);
        };
        let populated = segment.bytes.populate(range.from..range.to);
        self.heed(populated.map_err(|error| segment.io(error)))?;
        self.heed(self.take(&segment, &range))
    }

    /// As [`Self::read`], but only what is in memory: never waits for the disk.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_hot(&self, offset: Offset, limits: Limits) -> Result<HotRead, ReadError> {
        match self.read_hot_once(offset, limits) {
            // It has to be looked up again, and that may have to wait.
            Err(ReadError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(HotRead::Cold),
            other => other,
        }
    }

    /// Compaction gives the names of files to others. Who had a segment in hand that was not mapped yet looks again.
    pub(super) fn undisturbed<T>(&self, read: impl Fn() -> Result<T, ReadError>) -> Result<T, ReadError> {
        loop {
            let before = self.shared.exchanges.load(Ordering::Acquire);
            let result = read();
            match &result {
                Err(ReadError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                _ => return result,
            }
            drop(self.shared.exchange.lock());
            if self.shared.exchanges.load(Ordering::Acquire) == before {
                return result;
            }
        }
    }

    fn read_hot_once(&self, offset: Offset, limits: Limits) -> Result<HotRead, ReadError> {
        let Some(segment) = self.segment_for(offset, limits.end)? else {
            return Ok(HotRead::Ready(Batches { bytes: Bytes::new(), next_offset: offset }));
        };
        let Some(window) = self.heed(window(&segment, offset, limits))? else { return Ok(HotRead::Cold) };
        if !segment.bytes.is_resident(window) {
            return Ok(HotRead::Cold);
        }
        let Some(range) = self.heed(locate(&segment, offset, limits))? else { return Ok(HotRead::Cold) };
        Ok(HotRead::Ready(self.heed(self.take(&segment, &range))?))
    }

    /// The bytes of `range`, checked unless they are known to hold.
    fn take(&self, segment: &Segment, range: &Range) -> Result<Batches, Fault> {
        let bytes = segment.slice(range.from, range.to)?;
        let positions = range.from..range.to;
        if !segment.is_verified(&positions) {
            self.verify(segment, range, &bytes)?;
            segment.note_verified(&positions);
        }
        Ok(Batches { bytes, next_offset: range.next_offset })
    }

    /// Checks what came from the disk: each checksum, and what checksums do not cover: offsets and epochs.
    fn verify(&self, segment: &Segment, range: &Range, bytes: &[u8]) -> Result<(), Fault> {
        let (epochs, order) = (self.shared.epochs.load(), self.shared.order.load());
        let mut at = 0;
        let mut expected: Option<Offset> = None;
        while at < bytes.len() {
            let position = range.from + as_u64(at);
            let damaged = |source| Fault::Damaged { base: segment.base, position, source };
            let batch = Stored::parse(&bytes[at..]).map_err(damaged)?;
            batch.verify(&bytes[at..]).map_err(damaged)?;
            let found = batch.base_offset();
            let follows = match (order, expected) {
                (_, None) => found >= segment.base,
                (OffsetOrder::Dense, Some(expected)) => found == expected,
                (OffsetOrder::Compacted | OffsetOrder::Rising, Some(expected)) => found >= expected,
            };
            if !follows {
                let expected = expected.unwrap_or(segment.base);
                return Err(damaged(BadBatch::Offset { found, expected }));
            }
            if let (Some(found), Some(before)) = (batch.header.leader_epoch, epochs.epoch_at(found))
                && found != before
            {
                return Err(damaged(BadBatch::Epoch { found, before }));
            }
            expected = Some(batch.end_offset());
            at += as_usize(batch.size);
        }
        if order == OffsetOrder::Dense && !bytes.is_empty() && expected != Some(range.next_offset) {
            let expected = expected.unwrap_or(segment.base);
            let source = BadBatch::Offset { found: range.next_offset, expected };
            return Err(Fault::Damaged { base: segment.base, position: range.to, source });
        }
        Ok(())
    }

    /// The segment that `offset` is in, or `None` when there is nothing to read below `end` yet.
    fn segment_for(&self, offset: Offset, end: Offset) -> Result<Option<Arc<Segment>>, ReadError> {
        let segments = self.shared.segments.load();
        let (start, log_end) = (self.shared.start(), last(&segments).end_offset());
        if offset < start || offset > log_end {
            return Err(ReadError::OutOfRange { offset, start, end: log_end });
        }
        if offset >= end || offset == log_end {
            return Ok(None);
        }
        let after = segments.partition_point(|segment| segment.base <= offset);
        // Segments of a compacted log may begin behind the offset that they were asked for.
        Ok(segments.get(after.saturating_sub(1)).cloned())
    }

    /// The segment has no batch at or behind `offset`, as compaction leaves it: the next one goes on.
    fn read_next(&self, segment: &Segment, offset: Offset, limits: Limits) -> Result<Batches, ReadError> {
        let segments = self.shared.segments.load();
        let next = segments.iter().find(|other| other.base > segment.base).map(|next| next.base);
        match next {
            Some(next) if next < limits.end && next > offset => self.read_once(next, limits),
            _ => Ok(Batches { bytes: Bytes::new(), next_offset: offset }),
        }
    }

    /// An I/O error of a read takes the data directory offline like any other, unless the file is just gone.
    pub(crate) fn heed<T>(&self, result: Result<T, Fault>) -> Result<T, ReadError> {
        result.map_err(|fault| match fault {
            Fault::Damaged { base, position, source } => {
                tracing::error!(segment = base.0, position, %source, "damaged batch");
                ReadError::Corrupt { segment: base, position, source }
            }
            // Retention or a deletion was faster: files are mapped by their names when they are first read.
            Fault::Io { base, source } if source.kind() == io::ErrorKind::NotFound => {
                tracing::debug!(segment = base.0, %source, "the segment is no longer there");
                ReadError::Io { segment: base, source }
            }
            Fault::Io { base, source } => {
                self.shared.dir.fail("read a segment", &source);
                ReadError::Io { segment: base, source }
            }
        })
    }
}

pub(crate) fn last(segments: &[Arc<Segment>]) -> &Arc<Segment> {
    segments.last().expect("a log always has a segment")
}

/// Whole batches of one segment.
struct Range {
    from: u64,
    to: u64,
    next_offset: Offset,
}

/// Finds the batches to return; `None` when the segment has none at or behind `offset`.
fn locate(segment: &Segment, offset: Offset, limits: Limits) -> Result<Option<Range>, Fault> {
    // In this order: what lies below the position has offsets below the end.
    let end_position = segment.end_position();
    let end_offset = segment.end_offset();
    let Some(first) = segment.find(offset)? else { return Ok(None) };
    let found = first.batch.end_offset();
    if found > end_offset {
        // Otherwise a reader would wait for it for ever.
        let source = BadBatch::Offset { found, expected: end_offset };
        return Err(Fault::Damaged { base: segment.base, position: first.position, source });
    }
    if found > limits.end {
        return Ok(Some(nothing(&first, offset)));
    }
    let stop = if limits.end >= end_offset {
        end_position
    } else {
        // The batch that holds `end` is not read; neither is what follows it.
        segment.find(limits.end)?.map_or(end_position, |beyond| beyond.position)
    };
    let first_end = first.position + first.batch.size;
    if first.batch.size > limits.max_bytes {
        return Ok(Some(match limits.first_batch {
            FirstBatch::AtLeastOne => {
                Range { from: first.position, to: first_end, next_offset: first.batch.end_offset() }
            }
            FirstBatch::WithinLimit => nothing(&first, offset),
        }));
    }
    let reach = first.position.saturating_add(limits.max_bytes);
    let cut = if reach >= stop { None } else { segment.find_position(reach)? };
    let to = cut.map_or(stop, |cut| cut.position);
    let next_offset = match cut {
        Some(cut) => cut.batch.base_offset(),
        None => last_end(segment, first, to)?,
    };
    Ok(Some(Range { from: first.position, to, next_offset }))
}

fn nothing(first: &Found, offset: Offset) -> Range {
    Range { from: first.position, to: first.position, next_offset: offset }
}

/// The end offset of the batch that ends at `to`.
fn last_end(segment: &Segment, first: Found, to: u64) -> Result<Offset, Fault> {
    let last = match to.checked_sub(1) {
        Some(inside) if inside >= first.position => segment.find_position(inside)?,
        _ => None,
    };
    Ok(last.unwrap_or(first).batch.end_offset())
}

/// The bytes that [`locate`] and its result touch, at most; `None` when finding that out would wait for the disk.
fn window(segment: &Segment, offset: Offset, limits: Limits) -> Result<Option<std::ops::Range<u64>>, Fault> {
    if !segment.offsets.is_resident() {
        return Ok(None);
    }
    let from = segment.offsets.floor(offset).map_err(|error| segment.io(error))?.map_or(0, |(_, position)| position);
    let end = segment.end_position();
    if from >= segment.hot_from().min(end) {
        return Ok(Some(0..0));
    }
    // The walk from the index entry to the first batch is as long as the distance between two entries.
    let next = segment.offsets.floor_position(from.saturating_add(limits.max_bytes));
    let beyond = next.map_err(|error| segment.io(error))?.map_or(from, |(_, position)| position);
    Ok(Some(from..end.min(beyond.max(from).saturating_add(limits.max_bytes))))
}
