//! The segment that takes appends: its file, its indexes' writing side, and when it is full.
//!
//! Must not know: other segments, producers, epochs.

use std::io;
use std::sync::Arc;

use cairn_protocol::ids::{Offset, Timestamp};
use cairn_protocol::records::BatchHeader;

use super::absent::Absent;
use super::config::{LogConfig, SEGMENT_MAX_BYTES};
use super::index::{Entry, Index, OffsetEntry, TimeEntry, relative};
use super::roll::jitter_seed;
use super::segment::{Extent, Largest, Segment};
use super::{Folder, later};
use crate::allocator::Ahead;
use crate::disk::AppendFile;
use crate::num::{as_millis, as_u64};

#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) file: Box<dyn AppendFile>,
    pub(crate) segment: Arc<Segment>,
    pub(crate) indexer: Indexer,
    /// The file never gets longer than this, whatever `segment.bytes` has become since it was opened.
    pub(crate) capacity: u64,
    /// The largest timestamp of the first batch: Kafka counts the segment's age from there.
    pub(crate) first_timestamp: Option<Timestamp>,
    /// When this process first appended to the segment, or looked after it, by its own clock.
    pub(crate) since: Option<Timestamp>,
    /// A number that differs between logs, for the jitter.
    pub(crate) jitter_seed: u64,
    /// Who prepares the file, unless appends do it themselves.
    pub(crate) ahead: Option<Ahead>,
    pub(crate) backing: Backing,
}

/// Whether the segment that takes appends has a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backing {
    /// Nothing was ever appended to the log: its first append makes the file.
    Absent,
    File,
}

/// Decides which batches get index entries.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Indexer {
    /// Where the last batch with an entry begins.
    pub(crate) last_position: u64,
}

/// Why the next batch needs a new segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RollReason {
    Size,
    Age,
    IndexFull,
    OffsetTooFar,
}

impl Indexer {
    /// Adds entries for a batch that is already in the segment's `largest`.
    pub(crate) fn index(&mut self, segment: &Segment, interval: u64, position: u64, last_offset: Offset) {
        if position - self.last_position <= interval {
            return;
        }
        self.last_position = position;
        let (Some(relative), Ok(position)) = (relative(segment.base, last_offset), u32::try_from(position)) else {
            return;
        };
        segment.offsets.push(OffsetEntry { relative, position });
        // An index whose last entry cannot be read is searched without new entries, too.
        drop(index_time(segment));
    }
}

/// Adds the largest timestamp so far to the time index, when it has risen.
pub(crate) fn index_time(segment: &Segment) -> io::Result<()> {
    let largest = segment.largest();
    let known = segment.times.largest()?.map_or(Timestamp(-1), |(timestamp, _)| timestamp);
    if let Some(relative) = relative(segment.base, largest.offset)
        && largest.timestamp > known
    {
        segment.times.push(TimeEntry { timestamp: largest.timestamp, relative });
    }
    Ok(())
}

impl Active {
    /// That of a log that has nothing yet.
    pub(crate) fn absent(base: Offset, folder: &Folder) -> Self {
        let extent = Extent {
            end_position: 0,
            end_offset: base,
            largest: Largest::none(base),
            takes_appends: true,
            trusted_from: 0,
        };
        let segment = Segment::new(base, Arc::new(Absent), Index::empty(base), Index::empty(base), &extent);
        Self {
            file: Box::new(Absent),
            segment: Arc::new(segment),
            indexer: Indexer::default(),
            capacity: 0,
            first_timestamp: None,
            since: None,
            jitter_seed: jitter_seed(folder),
            ahead: None,
            backing: Backing::Absent,
        }
    }

    /// Whether a batch of `size` bytes needs a new segment first.
    pub(crate) fn roll_reason(
        &self,
        config: &LogConfig,
        header: &BatchHeader,
        size: u64,
        now: Timestamp,
    ) -> Option<RollReason> {
        let written = self.file.written();
        if written == 0 {
            return None;
        }
        if written + size > config.segment_bytes.min(SEGMENT_MAX_BYTES).min(self.capacity) {
            return Some(RollReason::Size);
        }
        let index_bytes = as_u64((self.segment.offsets.len() + 1) * OffsetEntry::BYTES);
        let time_bytes = as_u64((self.segment.times.len() + 2) * TimeEntry::BYTES);
        if index_bytes.max(time_bytes) > config.segment_index_bytes {
            return Some(RollReason::IndexFull);
        }
        let reach = header.last_offset().0 - self.segment.base.0;
        if reach > i64::from(i32::MAX) {
            return Some(RollReason::OffsetTooFar);
        }
        let age = match self.first_timestamp {
            Some(first) if first.0 >= 0 => header.max_timestamp.0.saturating_sub(first.0),
            _ => self.since.map_or(0, |since| now.0.saturating_sub(since.0)),
        };
        (age > as_millis(config.jittered_segment_ms(self.jitter_seed))).then_some(RollReason::Age)
    }

    /// Makes sure that the file takes appends up to `end`. Mostly the allocator was here before.
    pub(crate) fn ensure(&self, end: u64) -> io::Result<()> {
        match &self.ahead {
            Some(ahead) => ahead.ensure(end),
            None if end <= self.file.prepared() => Ok(()),
            None => self.file.shared().prepare(end),
        }
    }

    /// The batch that was appended at `position` becomes visible.
    pub(crate) fn publish(&mut self, header: &BatchHeader, position: u64, config: &LogConfig) {
        if position == 0 {
            self.first_timestamp = Some(header.max_timestamp);
        }
        let segment = &self.segment;
        let largest = later(segment.largest(), header.max_timestamp, header.last_offset());
        let written = self.file.written();
        if let Some(ahead) = &self.ahead {
            ahead.note(written);
        }
        segment.publish(written, header.end_offset(), largest);
        self.indexer.index(segment, config.index_interval_bytes, position, header.last_offset());
    }
}
