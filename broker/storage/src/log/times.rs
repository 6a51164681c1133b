//! Time to offset: ListOffsets by timestamp and for the largest timestamp.
//!
//! Must not know: requests, special timestamps on the wire.

use std::sync::Arc;

use cairn_protocol::ids::{LeaderEpoch, Offset, Timestamp};
use cairn_protocol::records::{BatchView, DecompressLimits};

use super::later;
use super::reader::{LogReader, ReadError};
use super::segment::{Fault, Found, Largest, Segment};

/// A record's offset and timestamp, and the epoch that it was written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOffset {
    /// The record's offset.
    pub offset: Offset,
    /// Its timestamp.
    pub timestamp: Timestamp,
    /// The epoch of the leader that wrote it.
    pub leader_epoch: Option<LeaderEpoch>,
}

impl LogReader {
    /// The first record at or behind the log's start, below `end`, that is at least as young as `timestamp`. May wait for
    /// the disk.
    ///
    /// # Errors
    /// When the log cannot be read there.
    pub fn offset_for_time(&self, timestamp: Timestamp, end: Offset) -> Result<Option<TimedOffset>, ReadError> {
        self.undisturbed(|| self.offset_for_time_once(timestamp, end))
    }

    fn offset_for_time_once(&self, timestamp: Timestamp, end: Offset) -> Result<Option<TimedOffset>, ReadError> {
        let segments = self.shared.segments.load_full();
        let start = self.start_offset();
        for segment in segments.iter() {
            if segment.end_offset() <= start || segment.largest().timestamp < timestamp {
                continue;
            }
            if segment.base >= end {
                break;
            }
            let ahead = self.heed(segment.ahead())?;
            let mut position = self.heed(start_of_search(segment, &ahead, timestamp, start))?;
            while let Some(found) = self.heed(ahead.batch_at(position))? {
                if found.batch.base_offset() >= end {
                    return Ok(None);
                }
                let young_enough = |record: &TimedOffset| record.timestamp >= timestamp && record.offset >= start;
                if found.batch.header.max_timestamp >= timestamp
                    && found.batch.end_offset() > start
                    && let Some(record) = self.record(segment, &found, young_enough)?
                {
                    return Ok((record.offset < end).then_some(record));
                }
                position += found.batch.size;
            }
        }
        Ok(None)
    }

    /// The first record below `end` that has the largest timestamp there, or `None` when no record has one. `end` is an end
    /// of a batch. May wait for the disk.
    ///
    /// # Errors
    /// When the log cannot be read there.
    pub fn max_timestamp(&self, end: Offset) -> Result<Option<TimedOffset>, ReadError> {
        self.undisturbed(|| self.max_timestamp_once(end))
    }

    fn max_timestamp_once(&self, end: Offset) -> Result<Option<TimedOffset>, ReadError> {
        let segments = self.shared.segments.load_full();
        let mut best: Option<(&Segment, Largest)> = None;
        for segment in segments.iter().filter(|segment| segment.base < end) {
            let known = segment.largest();
            let largest = if known.offset < end { known } else { self.heed(largest_below(segment, end))? };
            // Of equal ones the first.
            if best.is_none_or(|(_, best)| best.timestamp < largest.timestamp) {
                best = Some((segment, largest));
            }
        }
        let Some((segment, largest)) = best else { return Ok(None) };
        if largest.timestamp.0 < 0 {
            return Ok(None);
        }
        let Some(found) = self.heed(segment.ahead().and_then(|ahead| ahead.find(largest.offset)))? else {
            return Ok(None);
        };
        match self.record(segment, &found, |record| record.timestamp >= largest.timestamp)? {
            Some(record) => Ok(Some(record)),
            // Compaction has left the batch without this record.
            None => self.walk_for_max_timestamp(&segments, end),
        }
    }

    /// The same by all batches that have records.
    fn walk_for_max_timestamp(&self, segments: &[Arc<Segment>], end: Offset) -> Result<Option<TimedOffset>, ReadError> {
        let mut best: Option<(&Segment, Found)> = None;
        for segment in segments.iter().filter(|segment| segment.base < end) {
            let mut position = 0;
            let ahead = self.heed(segment.ahead())?;
            while let Some(found) = self.heed(ahead.batch_at(position))? {
                position += found.batch.size;
                let header = &found.batch.header;
                let newest = best.as_ref().map_or(-1, |(_, best)| best.batch.header.max_timestamp.0);
                if header.record_count > 0 && found.batch.end_offset() <= end && header.max_timestamp.0 > newest {
                    best = Some((segment, found));
                }
            }
        }
        let Some((segment, found)) = best else { return Ok(None) };
        self.record(segment, &found, |record| record.timestamp >= found.batch.header.max_timestamp)
    }

    /// The first record of a batch for which `wanted`.
    fn record(
        &self,
        segment: &Segment,
        found: &Found,
        wanted: impl Fn(&TimedOffset) -> bool,
    ) -> Result<Option<TimedOffset>, ReadError> {
        let (from, to) = (found.position, found.position + found.batch.size);
        self.heed(segment.bytes.populate(from..to).map_err(|error| segment.io(error)))?;
        let bytes = self.heed(segment.slice(from, to))?;
        let unreadable = |reason: String| ReadError::Records { offset: found.batch.base_offset(), reason };
        let view = BatchView::parse(&bytes).map_err(|error| unreadable(error.to_string()))?;
        let records =
            view.records(&bytes, &DecompressLimits::default()).map_err(|error| unreadable(error.to_string()))?;
        for record in records.iter() {
            let record = record.map_err(|error| unreadable(error.to_string()))?;
            let timed = TimedOffset {
                offset: record.offset,
                timestamp: record.timestamp,
                leader_epoch: found.batch.header.leader_epoch,
            };
            if wanted(&timed) {
                return Ok(Some(timed));
            }
        }
        Ok(None)
    }
}

/// The largest timestamp of the batches below `end`: by the index up to its last entry there, then batch by batch.
fn largest_below(segment: &Segment, end: Offset) -> Result<Largest, Fault> {
    let offset = |relative: u32| segment.base.plus(i64::from(relative));
    let ahead = segment.ahead()?;
    segment.times.populate().map_err(|error| segment.io(error))?;
    let entry = segment.times.last_where(|entry| offset(entry.relative) < end).map_err(|error| segment.io(error))?;
    let indexed = match entry {
        Some((_, entry)) => {
            ahead.find(offset(entry.relative))?.filter(|found| found.batch.header.max_timestamp == entry.timestamp)
        }
        None => None,
    };
    let mut position = indexed.map_or(0, |found| found.position);
    let mut largest = Largest::none(segment.base);
    while let Some(found) = ahead.batch_at(position)?.filter(|found| found.batch.end_offset() <= end) {
        largest = later(largest, found.batch.header.max_timestamp, found.batch.last_offset());
        position += found.batch.size;
    }
    Ok(largest)
}

/// Nothing before this position is as young as `timestamp` and at or behind `start`.
fn start_of_search(segment: &Segment, ahead: &Segment, timestamp: Timestamp, start: Offset) -> Result<u64, Fault> {
    segment.times.populate().map_err(|error| segment.io(error))?;
    // An entry says that nothing before its batch is as young as the entry: with an equal one the batch itself may do.
    let older = segment.times.last_where(|entry| entry.timestamp < timestamp).map_err(|error| segment.io(error))?;
    let from_start = |offset| Ok(ahead.find(offset)?.map_or(ahead.end_position(), |found| found.position));
    let Some((_, older)) = older else { return from_start(start) };
    let offset = segment.base.plus(i64::from(older.relative));
    let entry_holds = ahead.find(offset)?.is_some_and(|found| found.batch.header.max_timestamp == older.timestamp);
    from_start(if entry_holds { offset.max(start) } else { start })
}
