//! How much of a log there is to compact, and whether it is worth it: Kafka's rules.
//!
//! Must not know: other logs.

use std::sync::Arc;

use cairn_protocol::ids::{Offset, Timestamp};

use super::super::batch::HEADER_BYTES;
use super::super::segment::Segment;
use super::{CompactError, Log, LogConfig, Place};
use crate::num::as_millis;

/// A log as it was when somebody asked what there is to compact.
#[derive(Debug)]
pub struct Prospect {
    place: Place,
    config: LogConfig,
    segments: Arc<Vec<Arc<Segment>>>,
    start: Offset,
    end: Offset,
    /// Nothing at or above it is touched.
    limit: Offset,
}

/// How much of a log there is to compact.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleanable {
    /// Everything below was compacted before.
    pub first_dirty: Offset,
    /// A segment begins here, from which on nothing is compacted yet.
    pub first_uncleanable: Offset,
    /// Bytes of the segments before the first dirty one.
    pub clean_bytes: u64,
    /// Bytes of the segments from there to the first that is not compacted yet.
    pub cleanable_bytes: u64,
    /// For how long the oldest dirty record should have been compacted by now.
    pub overdue_ms: u64,
    min_dirty_millionths: u32,
}

impl Cleanable {
    /// Which part of what could be compacted is dirty, in millionths.
    #[must_use]
    pub fn dirty_millionths(&self) -> u32 {
        let total = u128::from(self.clean_bytes) + u128::from(self.cleanable_bytes);
        let millionths = (u128::from(self.cleanable_bytes) * 1_000_000).checked_div(total).unwrap_or(0);
        u32::try_from(millionths).expect("a part is no more than the whole")
    }

    /// Whether it is time: enough is dirty, or something has waited for too long.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.cleanable_bytes > 0 && (self.overdue_ms > 0 || self.dirty_millionths() > self.min_dirty_millionths)
    }
}

impl Log {
    /// What there may be to compact below `high_watermark`. Cheap; [`Prospect::look`] does the work, without the log.
    #[must_use]
    pub fn prospect(&self, high_watermark: Offset) -> Prospect {
        let open_transaction = self.producers.iter().filter_map(|state| state.transaction_start).min();
        let limit = high_watermark.min(self.durable_end()).min(self.active.segment.base);
        Prospect {
            place: self.place(),
            config: self.config.clone(),
            segments: self.shared.segments.load_full(),
            start: self.start_offset(),
            end: self.end_offset(),
            limit: open_transaction.map_or(limit, |first| first.min(limit)),
        }
    }
}

impl Prospect {
    /// What can be compacted by `now`, when the log was compacted up to `cleaned_to` before. May wait for the disk.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn look(&self, cleaned_to: Option<Offset>, now: Timestamp) -> Result<Cleanable, CompactError> {
        let known = cleaned_to.filter(|known| *known >= self.start && *known <= self.end);
        let first_dirty = known.unwrap_or(self.start);
        let (_active, sealed) = self.segments.split_last().expect("a log always has a segment");
        let dirty = sealed.partition_point(|segment| segment.end_offset() <= first_dirty);
        let mut uncleanable = sealed.partition_point(|segment| segment.end_offset() <= self.limit);
        if self.config.min_compaction_lag_ms > 0 {
            let youngest = now.0.saturating_sub(as_millis(self.config.min_compaction_lag_ms));
            let young = sealed.iter().skip(dirty).position(|segment| segment.largest().timestamp.0 > youngest);
            uncleanable = uncleanable.min(young.map_or(usize::MAX, |at| dirty + at));
        }
        let uncleanable = uncleanable.max(dirty);
        let first_uncleanable = self.segments[uncleanable].base.max(first_dirty);
        let bytes = |segments: &[Arc<Segment>]| segments.iter().map(|segment| segment.end_position()).sum();
        Ok(Cleanable {
            first_dirty,
            first_uncleanable,
            clean_bytes: bytes(&sealed[..dirty]),
            cleanable_bytes: bytes(&sealed[dirty..uncleanable]),
            overdue_ms: self.overdue_ms(&sealed[dirty..uncleanable], now)?,
            min_dirty_millionths: self.config.min_dirty_millionths,
        })
    }

    fn overdue_ms(&self, dirty: &[Arc<Segment>], now: Timestamp) -> Result<u64, CompactError> {
        let Some(longest) = self.config.max_compaction_lag_ms else { return Ok(0) };
        let due = now.0.saturating_sub(as_millis(longest));
        let mut oldest = i64::MAX;
        for segment in dirty {
            self.place.populate(segment, 0..HEADER_BYTES.min(segment.end_position()))?;
            let first = self.place.heed(segment.batch_at(0))?;
            let timestamp = first.map_or(-1, |found| found.batch.header.max_timestamp.0);
            if timestamp > 0 {
                oldest = oldest.min(timestamp);
            }
        }
        Ok(u64::try_from(due.saturating_sub(oldest)).unwrap_or(0))
    }
}
