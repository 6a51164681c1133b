//! Compaction: of the records with the same key only the newest stays (`cleanup.policy=compact`).
//!
//! ```text
//!   | clean: one record for each key | dirty          | not to be cleaned yet
//!   | segments, grouped and rewritten                 | younger than min.compaction.lag.ms, active,
//!   first segment      first_dirty                first_uncleanable            at or above the high watermark
//! ```
//!
//! One round: the keys of the dirty part are noted with their newest offsets ([`offset_map`]); all segments up to where keys
//! were noted are copied without what is superseded ([`filter`], [`rewrite`]); each copy takes the place of its segments
//! ([`swap`]). A copy begins and ends at the same offsets as the segments that it replaces, so no offset changes and none is
//! missing between segments.
//!
//! The log's lock is needed to look at it, to begin, and before each exchange; the work is done without it:
//!
//! ```ignore
//! let cleanable = log.prospect(high_watermark).look(cleaned_to, now)?;               // lock
//! let mut compaction = log.begin_compaction(&cleanable, now);                         // lock
//! compaction.map_keys(memory, pacing)?;
//! while let Some(group) = compaction.rewrite_next(pacing)? {
//!     let swap = log.begin_swap(group)?;                                              // lock
//!     swap.run()?;
//! }
//! let cleaned_to = compaction.end();
//! ```
//!
//! Must not know: which log comes next, when, threads. Reasons: docs/decisions/0006-compaction.md.

mod filter;
mod group;
mod offset_map;
mod prospect;
mod rewrite;
mod swap;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use cairn_protocol::ids::{Offset, ProducerId, Timestamp};
use cairn_protocol::records::{BatchView, DecompressLimits, Records};

use self::filter::{Filter, Transactions};
use self::group::group;
use self::offset_map::OffsetMap;
pub use self::prospect::{Cleanable, Prospect};
pub use self::rewrite::Rewritten;
pub(super) use self::swap::finish as finish_swap;
pub use self::swap::{Stale, SwapJob};
use super::batch::{BadBatch, Stored};
use super::reader::Shared;
use super::segment::{Fault, Segment};
use super::sync::Gate;
use super::{Folder, Log, LogConfig};
use crate::dir::state::{DirOffline, DirState, Marks, ReplaceError, is_full};

/// So much is read and paid for at a time.
const WINDOW_BYTES: u64 = 1 << 20;

/// Slows a compaction down, and stops it.
pub trait Pacing {
    /// So many bytes are about to be read or written. Returns when it is time to.
    ///
    /// # Errors
    /// When the compaction is to stop.
    fn spend(&self, bytes: u64) -> Result<(), Stopped>;
}

/// A compaction is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("compaction was stopped")]
pub struct Stopped;

/// What the map of keys may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MapMemory {
    /// `log.cleaner.dedupe.buffer.size`: bytes, at 24 for a key.
    pub bytes: u64,
    /// `log.cleaner.io.buffer.load.factor`: how much of it is filled.
    pub load_percent: u8,
}

/// A round of compaction did not come to its end. What was put in place before stays.
#[derive(Debug, thiserror::Error)]
pub enum CompactError {
    /// It was told to stop.
    #[error(transparent)]
    Stopped(#[from] Stopped),
    /// The log was closed, cut or deleted, or its segments are no longer those that were looked at.
    #[error("the log has changed meanwhile")]
    Gone,
    /// The log is damaged.
    #[error("segment {segment} is damaged at position {position}")]
    Corrupt {
        /// The segment's base offset.
        segment: Offset,
        /// Where in it.
        position: u64,
        /// What is wrong.
        source: BadBatch,
    },
    /// The records of a batch cannot be read, or written with some of them gone.
    #[error("records of the batch at offset {offset}: {reason}")]
    Records {
        /// The batch's base offset.
        offset: Offset,
        /// What is wrong.
        reason: String,
    },
    /// Not even the keys of one batch fit.
    #[error("the keys of the batch at offset {offset} need more memory than there is")]
    MapTooSmall {
        /// The batch's base offset.
        offset: Offset,
    },
    /// The copy would be longer than a segment may be.
    #[error("the compacted segment {segment} does not fit into one segment")]
    TooLarge {
        /// Its base offset.
        segment: Offset,
    },
    /// No space for the copy; passes when space returns.
    #[error("no space left on disk")]
    DiskFull,
    /// The data directory has failed, before or just now.
    #[error(transparent)]
    Offline(#[from] DirOffline),
}

impl CompactError {
    /// Whether another round may do better.
    #[must_use]
    pub fn passes(&self) -> bool {
        matches!(self, Self::Stopped(_) | Self::Gone | Self::DiskFull)
    }
}

/// What a round has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactionStats {
    /// Bytes of the dirty part, whose keys were noted.
    pub bytes_mapped: u64,
    /// How many keys that were.
    pub keys: u64,
    /// Bytes that were copied, or not.
    pub bytes_read: u64,
    /// Bytes of the copies that were put in place, or were the same.
    pub bytes_kept: u64,
    /// Records that were looked at for copying.
    pub records_read: u64,
    /// Those that stay.
    pub records_kept: u64,
}

/// Which log, and how to tell that it is still the same.
#[derive(Clone, Debug)]
struct Place {
    dir: Arc<DirState>,
    folder: Folder,
    folder_name: String,
    gate: Arc<Gate>,
    generation: u64,
    shared: Arc<Shared>,
    marks: Arc<Marks>,
}

/// One round of compaction of one log.
#[derive(Debug)]
pub struct Compaction {
    place: Place,
    config: LogConfig,
    now: Timestamp,
    cleanable: Cleanable,
    /// All below the first that is not to be cleaned.
    segments: Vec<Arc<Segment>>,
    last_of_producers: HashMap<ProducerId, Offset>,
    map: OffsetMap,
    /// The keys of all records below it were noted.
    mapped_end: Offset,
    groups: VecDeque<Vec<Arc<Segment>>>,
    /// Of the groups that were rewritten so far, which begin at the log's start.
    transactions: Transactions,
    stats: CompactionStats,
}

impl Log {
    /// Begins a round over what is cleanable. Nothing has happened yet.
    #[must_use]
    pub fn begin_compaction(&self, cleanable: &Cleanable, now: Timestamp) -> Compaction {
        let segments = self.shared.segments.load();
        let sealed = segments.len() - 1;
        let below = segments[..sealed].iter().take_while(|segment| segment.base < cleanable.first_uncleanable);
        let last = |state: &super::ProducerState| Some((state.id, state.batches.last()?.last_offset));
        Compaction {
            place: self.place(),
            config: self.config.clone(),
            now,
            cleanable: *cleanable,
            segments: below.cloned().collect(),
            last_of_producers: self.producers.iter().filter_map(last).collect(),
            map: OffsetMap::new(0, 100, 0),
            mapped_end: cleanable.first_dirty,
            groups: VecDeque::new(),
            transactions: Transactions::None,
            stats: CompactionStats::default(),
        }
    }

    fn place(&self) -> Place {
        Place {
            dir: Arc::clone(&self.dir),
            folder: self.folder.clone(),
            folder_name: self.name.to_string(),
            gate: Arc::clone(&self.unsynced.gate),
            generation: self.unsynced.generation,
            shared: Arc::clone(&self.shared),
            marks: Arc::clone(&self.marks),
        }
    }
}

impl Compaction {
    /// What it has done so far.
    #[must_use]
    pub fn stats(&self) -> CompactionStats {
        self.stats
    }

    /// Once all groups are in place: the log is clean below this offset.
    #[must_use]
    pub fn end(&self) -> Offset {
        self.mapped_end
    }

    /// Notes the newest offset of each key of the dirty part, as far as memory reaches.
    ///
    /// # Errors
    /// When the log cannot be read, or the keys of a single batch are too many.
    pub fn map_keys(&mut self, memory: MapMemory, pacing: &dyn Pacing) -> Result<(), CompactError> {
        let Cleanable { first_dirty, first_uncleanable, .. } = self.cleanable;
        // The reserve is for others: a round that could write nothing need not read.
        if self.place.dir.refresh_space()?.is_below_reserve() {
            return Err(CompactError::DiskFull);
        }
        let records = u64::try_from(first_uncleanable.0 - first_dirty.0).unwrap_or(0);
        self.map = OffsetMap::new(memory.bytes, memory.load_percent, records);
        let dirty = self.segments.partition_point(|segment| segment.end_offset() <= first_dirty);
        let dirty = self.segments[dirty..].to_vec();
        for (at, segment) in dirty.iter().enumerate() {
            if self.map_segment(segment, pacing)? == Mapped::UntilFull {
                break;
            }
            self.mapped_end = dirty.get(at + 1).map_or(first_uncleanable, |next| next.base).max(self.mapped_end);
        }
        self.stats.keys = crate::num::as_u64(self.map.len());
        let rewritten = self.segments.partition_point(|segment| segment.base < self.mapped_end);
        let mut groups = group(&self.segments[..rewritten], &self.config);
        // Segments without a batch, as Kafka may leave them, have nothing that a copy could end with.
        groups.retain(|group| group.iter().any(|segment| segment.end_position() > 0));
        self.groups = groups.into();
        Ok(())
    }

    fn map_segment(&mut self, segment: &Arc<Segment>, pacing: &dyn Pacing) -> Result<Mapped, CompactError> {
        let first_dirty = self.cleanable.first_dirty;
        let place = self.place.clone();
        let from = place.position_of(segment, first_dirty)?;
        let mut mapped = Mapped::Whole;
        place.each_batch(segment, from, pacing, |batch, bytes| {
            if batch.end_offset() <= first_dirty {
                return Ok(ControlFlow::Continue(()));
            }
            if is_plain(batch) {
                let records = read_records(batch, bytes)?;
                for record in records.iter() {
                    let record = record.map_err(|error| unreadable(batch, &error))?;
                    let Some(key) = record.key.filter(|_| record.offset >= first_dirty) else { continue };
                    if self.map.put(key, record.offset).is_err() {
                        if self.mapped_end <= first_dirty {
                            return Err(CompactError::MapTooSmall { offset: batch.base_offset() });
                        }
                        mapped = Mapped::UntilFull;
                        return Ok(ControlFlow::Break(()));
                    }
                }
            }
            self.stats.bytes_mapped += batch.size;
            self.mapped_end = self.mapped_end.max(batch.end_offset());
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(mapped)
    }

    /// Copies the next group of segments without what is superseded; `None` when all are done. A group of which nothing goes
    /// is passed over.
    ///
    /// # Errors
    /// When the log cannot be read, or the copy not be written.
    pub fn rewrite_next(&mut self, pacing: &dyn Pacing) -> Result<Option<Rewritten>, CompactError> {
        while let Some(sources) = self.groups.pop_front() {
            let mut filter = Filter {
                map: &self.map,
                mapped_end: self.mapped_end,
                now: self.now,
                delete_retention_ms: self.config.delete_retention_ms,
                last_of_producers: &self.last_of_producers,
                transactions: self.transactions,
            };
            let written = rewrite::rewrite(&self.place, &self.config, sources, &mut filter, pacing)?;
            self.transactions = filter.transactions;
            self.stats.bytes_read += written.bytes_read;
            self.stats.bytes_kept += written.end_position;
            self.stats.records_read += written.records_read;
            self.stats.records_kept += written.records_kept;
            if written.is_worth_it() {
                return Ok(Some(written));
            }
            written.discard()?;
        }
        Ok(None)
    }
}

/// How far the keys of a segment were noted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mapped {
    Whole,
    UntilFull,
}

/// Whether its records may go. What became of a transaction is not known here, so its records and markers stay.
fn is_plain(batch: &Stored) -> bool {
    let attributes = batch.header.attributes;
    !attributes.is_control() && !attributes.is_transactional()
}

fn read_records(batch: &Stored, bytes: &Bytes) -> Result<Records, CompactError> {
    let view = BatchView::parse(bytes).map_err(|error| unreadable(batch, &error))?;
    view.records(bytes, &DecompressLimits::default()).map_err(|error| unreadable(batch, &error))
}

fn unreadable(batch: &Stored, error: &dyn std::fmt::Display) -> CompactError {
    CompactError::Records { offset: batch.base_offset(), reason: error.to_string() }
}

impl Place {
    /// Whether the log is still open, and was not cut since.
    fn is_current(&self) -> bool {
        *self.gate.lock() == self.generation
    }

    fn heed<T>(&self, result: Result<T, Fault>) -> Result<T, CompactError> {
        result.map_err(|fault| match fault {
            Fault::Damaged { base, position, source } => CompactError::Corrupt { segment: base, position, source },
            // Retention or a deletion was faster.
            Fault::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => CompactError::Gone,
            Fault::Io { source, .. } => self.dir.fail("read a segment", &source).into(),
        })
    }

    /// An error while a copy is written: it is nothing that the log needs.
    fn written<T>(&self, action: &str, result: io::Result<T>) -> Result<T, CompactError> {
        result.map_err(|error| match error.kind() {
            _ if is_full(&error) => CompactError::DiskFull,
            io::ErrorKind::NotFound if !self.is_current() => CompactError::Gone,
            _ => self.dir.fail(action, &error).into(),
        })
    }

    /// Where to begin in a segment for the batches from `offset` on: at one of them, or before. Touches nothing that was not
    /// populated.
    fn position_of(&self, segment: &Segment, offset: Offset) -> Result<u64, CompactError> {
        self.heed(segment.offsets.populate().map_err(|error| segment.io(error)))?;
        let hint = self.heed(segment.offsets.floor(offset).map_err(|error| segment.io(error)))?;
        if let Some((_, position)) = hint {
            let header = position..segment.end_position().min(position + super::batch::HEADER_BYTES);
            self.populate(segment, header)?;
        }
        self.heed(segment.checked_hint(hint))
    }

    /// Reads a part of a segment in, which turns a broken disk into an error.
    fn populate(&self, segment: &Segment, range: std::ops::Range<u64>) -> Result<(), CompactError> {
        if range.is_empty() {
            return Ok(());
        }
        self.heed(segment.bytes.populate(range).map_err(|error| segment.io(error)))
    }

    /// Walks the batches of a segment from `position` on, each checked whole.
    fn each_batch(
        &self,
        segment: &Segment,
        mut position: u64,
        pacing: &dyn Pacing,
        mut on_batch: impl FnMut(&Stored, &Bytes) -> Result<ControlFlow<()>, CompactError>,
    ) -> Result<(), CompactError> {
        let end = segment.end_position();
        let mut populated = position;
        while position < end {
            let wanted = end.min(position + super::batch::HEADER_BYTES);
            self.bring(segment, &mut populated, wanted, pacing)?;
            let Some(found) = self.heed(segment.batch_at(position))? else { break };
            let next = position + found.batch.size;
            self.bring(segment, &mut populated, next, pacing)?;
            let bytes = self.heed(segment.slice(position, next))?;
            let verified = found.batch.verify(&bytes);
            self.heed(verified.map_err(|source| Fault::Damaged { base: segment.base, position, source }))?;
            if on_batch(&found.batch, &bytes)?.is_break() {
                break;
            }
            position = next;
        }
        Ok(())
    }

    /// Reads ahead to `wanted` at least.
    fn bring(
        &self,
        segment: &Segment,
        populated: &mut u64,
        wanted: u64,
        pacing: &dyn Pacing,
    ) -> Result<(), CompactError> {
        if wanted <= *populated {
            return Ok(());
        }
        let to = wanted.max(*populated + WINDOW_BYTES).min(segment.end_position());
        pacing.spend(to - *populated)?;
        self.populate(segment, *populated..to)?;
        *populated = to;
        Ok(())
    }
}

impl From<ReplaceError> for CompactError {
    fn from(error: ReplaceError) -> Self {
        match error {
            ReplaceError::DiskFull => Self::DiskFull,
            ReplaceError::Offline(offline) => Self::Offline(offline),
        }
    }
}
