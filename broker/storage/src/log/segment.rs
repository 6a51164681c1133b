//! One segment as readers see it: bytes, indexes, and how far it goes.
//!
//! ```text
//!   position   0 ............................ end_position ........
//!   offset     base ......................... end_offset
//!              | whole batches, never change | the writer's        |
//! ```
//!
//! Must not know: other segments, files' names, who writes.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use bytes::Bytes;
use cairn_protocol::ids::{Offset, Timestamp};

use super::ahead::Ahead;
use super::batch::{BadBatch, HEADER_BYTES, Stored};
use super::dead_tail::Holder;
use super::index::{Index, OffsetEntry, TimeEntry};
use crate::disk::Readable;

/// A batch that readers found not to be there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("segment {base} is damaged at position {position}")]
    Damaged { base: Offset, position: u64, source: BadBatch },
    #[error("cannot read segment {base}")]
    Io { base: Offset, source: io::Error },
}

/// A timestamp and the last offset of the first batch that has it as its largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Largest {
    pub(crate) timestamp: Timestamp,
    pub(crate) offset: Offset,
}

impl Largest {
    /// No batch with a timestamp yet.
    pub(crate) fn none(base: Offset) -> Self {
        Self { timestamp: Timestamp(-1), offset: base }
    }
}

/// A batch and where it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) position: u64,
    pub(crate) batch: Stored,
}

#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) base: Offset,
    pub(crate) bytes: Arc<dyn Readable>,
    pub(crate) offsets: Index<OffsetEntry>,
    pub(crate) times: Index<TimeEntry>,
    end_position: AtomicU64,
    end_offset: AtomicI64,
    largest: LargestCell,
    /// An index entry did not hold: the indexes are to be made anew.
    suspect_index: Arc<AtomicBool>,
    /// What was appended from here on came from this process; `None` once the segment takes no appends.
    appended_from: Option<u64>,
    /// From here on this process has written the bytes, or computed their checksums when it opened the log.
    trusted_from: u64,
    /// Up to here reads have verified the bytes.
    verified_to: AtomicU64,
    /// By what else readers may hold bytes of the file.
    pub(super) earlier: Vec<Holder>,
}

/// So much behind the end of the log is in memory for certain enough, when this process wrote it.
const HOT_TAIL_BYTES: u64 = 16 << 20;

/// What is known of a segment when it is opened.
pub(crate) struct Extent {
    pub(crate) end_position: u64,
    pub(crate) end_offset: Offset,
    pub(crate) largest: Largest,
    pub(crate) takes_appends: bool,
    /// From this position on the bytes need no check when they are read.
    pub(crate) trusted_from: u64,
}

impl Segment {
    pub(crate) fn new(
        base: Offset,
        bytes: Arc<dyn Readable>,
        offsets: Index<OffsetEntry>,
        times: Index<TimeEntry>,
        extent: &Extent,
    ) -> Self {
        let appended_from = extent.takes_appends.then_some(extent.end_position);
        Self {
            appended_from,
            trusted_from: extent.trusted_from,
            verified_to: AtomicU64::new(0),
            earlier: Vec::new(),
            base,
            bytes,
            offsets,
            times,
            end_position: AtomicU64::new(extent.end_position),
            end_offset: AtomicI64::new(extent.end_offset.0),
            largest: LargestCell::new(extent.largest),
            suspect_index: Arc::default(),
        }
    }

    /// The same, of a file that `before` is of as well.
    pub(crate) fn following(self, before: &Self) -> Self {
        Self { earlier: Holder::all_of(before), ..self }
    }

    /// The end of the last batch. What lies below it is whole; load it before [`Self::end_offset`] to get an offset that
    /// is not before it.
    pub(crate) fn end_position(&self) -> u64 {
        self.end_position.load(Ordering::Acquire)
    }

    pub(crate) fn end_offset(&self) -> Offset {
        Offset(self.end_offset.load(Ordering::Acquire))
    }

    pub(crate) fn largest(&self) -> Largest {
        self.largest.load()
    }

    /// The writer has put a batch behind the end.
    pub(crate) fn publish(&self, end_position: u64, end_offset: Offset, largest: Largest) {
        self.largest.store(largest);
        self.end_offset.store(end_offset.0, Ordering::Release);
        self.end_position.store(end_position, Ordering::Release);
    }

    /// From this position on nobody has to ask whether bytes are in memory.
    pub(crate) fn hot_from(&self) -> u64 {
        let Some(appended_from) = self.appended_from else { return u64::MAX };
        appended_from.max(self.end_position().saturating_sub(HOT_TAIL_BYTES))
    }

    pub(crate) fn trusted_from(&self) -> u64 {
        self.trusted_from
    }

    /// Whether these bytes need no check: they come from this process, or were checked by a read before.
    pub(crate) fn is_verified(&self, range: &Range<u64>) -> bool {
        range.start >= self.trusted_from || range.end <= self.verified_to.load(Ordering::Relaxed)
    }

    /// These bytes were checked. Only what joins the checked part at the segment's start is remembered, as consumers
    /// that read on bring it.
    pub(crate) fn note_verified(&self, range: &Range<u64>) {
        if range.start <= self.verified_to.load(Ordering::Relaxed) {
            self.verified_to.fetch_max(range.end, Ordering::Relaxed);
        }
    }

    pub(crate) fn is_index_suspect(&self) -> bool {
        self.suspect_index.load(Ordering::Relaxed)
    }

    /// The segment as it is now, for a search and a walk through what may not be in memory: everything is read in before
    /// it is touched, so that a disk that cannot be read is an error.
    pub(crate) fn ahead(&self) -> Result<Self, Fault> {
        self.offsets.populate().map_err(|error| self.io(error))?;
        let extent = Extent {
            end_position: self.end_position(),
            end_offset: self.end_offset(),
            largest: self.largest(),
            takes_appends: false,
            trusted_from: self.trusted_from,
        };
        let bytes = Arc::new(Ahead::new(Arc::clone(&self.bytes), extent.end_position));
        let ahead = Self::new(self.base, bytes, self.offsets.copy(), Index::empty(self.base), &extent);
        Ok(Self { suspect_index: Arc::clone(&self.suspect_index), ..ahead })
    }

    /// The batch that begins at `position`, or `None` at the end.
    pub(crate) fn batch_at(&self, position: u64) -> Result<Option<Found>, Fault> {
        let end = self.end_position();
        if position >= end {
            return Ok(None);
        }
        let front = self.slice(position, end.min(position + HEADER_BYTES))?;
        let damaged = |source| Fault::Damaged { base: self.base, position, source };
        let batch = Stored::parse(&front).map_err(damaged)?;
        if batch.size > end - position {
            return Err(damaged(BadBatch::Short { wanted: batch.size, left: end - position }));
        }
        Ok(Some(Found { position, batch }))
    }

    /// The bytes from `from` to `to`, both below the end.
    pub(crate) fn slice(&self, from: u64, to: u64) -> Result<Bytes, Fault> {
        self.bytes.slice(from..to).map_err(|source| self.io(source))
    }

    pub(crate) fn io(&self, source: io::Error) -> Fault {
        Fault::Io { base: self.base, source }
    }

    /// The first batch that ends behind `offset`, or `None` when there is none.
    pub(crate) fn find(&self, offset: Offset) -> Result<Option<Found>, Fault> {
        let hint = self.offsets.floor(offset).map_err(|error| self.io(error))?;
        self.walk_from(self.checked_hint(hint)?, |found| found.batch.last_offset() >= offset)
    }

    /// The last batch that begins at or below `position`, which lies below the end.
    pub(crate) fn find_position(&self, position: u64) -> Result<Option<Found>, Fault> {
        let hint = self.offsets.floor_position(position).map_err(|error| self.io(error))?;
        self.walk_from(self.checked_hint(hint)?, |found| found.position + found.batch.size > position)
    }

    /// The first batch from `position` on for which `wanted`.
    pub(crate) fn walk_from(&self, mut position: u64, wanted: impl Fn(&Found) -> bool) -> Result<Option<Found>, Fault> {
        while let Some(found) = self.batch_at(position)? {
            if wanted(&found) {
                return Ok(Some(found));
            }
            position += found.batch.size;
        }
        Ok(None)
    }

    /// The position that an index entry names if the batch that it names is there, otherwise the segment's start.
    pub(crate) fn checked_hint(&self, hint: Option<(Offset, u64)>) -> Result<u64, Fault> {
        let Some((last_offset, position)) = hint else { return Ok(0) };
        match self.batch_at(position) {
            Ok(Some(found)) if found.batch.last_offset() == last_offset => Ok(position),
            Err(Fault::Io { base, source }) => Err(Fault::Io { base, source }),
            _ => {
                if !self.suspect_index.swap(true, Ordering::Relaxed) {
                    tracing::warn!(base = self.base.0, position, "index entry names no batch; walking the segment");
                }
                Ok(0)
            }
        }
    }
}

/// [`Largest`] that one thread writes and others read, always whole.
#[derive(Debug)]
struct LargestCell {
    /// Odd while a write is under way.
    version: AtomicU64,
    timestamp: AtomicI64,
    offset: AtomicI64,
}

impl LargestCell {
    fn new(largest: Largest) -> Self {
        Self {
            version: AtomicU64::new(0),
            timestamp: AtomicI64::new(largest.timestamp.0),
            offset: AtomicI64::new(largest.offset.0),
        }
    }

    fn store(&self, largest: Largest) {
        if self.timestamp.load(Ordering::Relaxed) == largest.timestamp.0
            && self.offset.load(Ordering::Relaxed) == largest.offset.0
        {
            return;
        }
        self.version.fetch_add(1, Ordering::SeqCst);
        self.timestamp.store(largest.timestamp.0, Ordering::SeqCst);
        self.offset.store(largest.offset.0, Ordering::SeqCst);
        self.version.fetch_add(1, Ordering::SeqCst);
    }

    fn load(&self) -> Largest {
        loop {
            let before = self.version.load(Ordering::SeqCst);
            let timestamp = Timestamp(self.timestamp.load(Ordering::SeqCst));
            let offset = Offset(self.offset.load(Ordering::SeqCst));
            if before.is_multiple_of(2) && self.version.load(Ordering::SeqCst) == before {
                return Largest { timestamp, offset };
            }
            std::hint::spin_loop();
        }
    }
}
