//! Holes: offsets of which compaction has left nothing, in a log that takes over what another one has.
//!
//! A batch without records stands for a hole. So the log goes on without a gap, ends where it says, also after a crash, and its
//! batches tell in which epoch the hole was written. Readers get a batch of 61 bytes with nothing in it, as compaction leaves
//! them, too. Reasons: docs/decisions/0010-holes.md.
//!
//! Must not know: who names a hole.

use cairn_protocol::ids::{LeaderEpoch, Offset, Timestamp};
use cairn_protocol::records::{Attributes, BatchHeader, HEADER_BYTES, LENGTH_OVERHEAD};

use super::epochs::EpochHistory;
use super::error::AppendError;
use super::{Log, TruncateError};
use crate::num::as_u64;

/// One batch stands for no more offsets than its last offset delta, and a segment, can name.
const OFFSETS_MAX: i64 = i32::MAX as i64;

/// The longest hole that is taken: longer than any that compaction leaves, which keeps the last batch of every segment.
const HOLE_OFFSETS_MAX: i64 = OFFSETS_MAX << 8;

/// Offsets of one leader epoch of which compaction has left nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// The first of them.
    pub base: Offset,
    /// Where they end, exclusive.
    pub end: Offset,
    /// The epoch of the leader that wrote there.
    pub epoch: LeaderEpoch,
}

impl Hole {
    /// The hole that a batch stands for; `None` where it has a record, or says where a producer is. To another log it goes as a
    /// hole, and not as a batch: there may be more or less of it, where that one ends in the middle of it.
    #[must_use]
    pub fn of(header: &BatchHeader) -> Option<Self> {
        let says_nothing = header.record_count == 0 && header.producer.is_none() && !header.attributes.is_control();
        let epoch = header.leader_epoch.filter(|_| says_nothing)?;
        Some(Self { base: header.base_offset, end: header.end_offset(), epoch })
    }

    /// The batch that stands for the hole, which is not longer than [`OFFSETS_MAX`].
    fn batch(&self) -> [u8; HEADER_BYTES] {
        let last_offset_delta = i32::try_from(self.end.0 - self.base.0 - 1).expect("the hole is short enough");
        let header = BatchHeader {
            base_offset: self.base,
            length: i32::try_from(HEADER_BYTES - LENGTH_OVERHEAD).expect("a header is small"),
            leader_epoch: Some(self.epoch),
            crc: 0,
            attributes: Attributes::default(),
            last_offset_delta,
            base_timestamp: Timestamp(-1),
            max_timestamp: Timestamp(-1),
            producer: None,
            record_count: 0,
        };
        header.encode_with_crc(&[])
    }
}

impl Log {
    /// Goes on behind a hole that begins at the log's end, and notes its epoch, as a follower does where its leader's log was
    /// compacted. As durable as an append.
    ///
    /// # Errors
    /// As [`Log::append`]. Of a long hole a part may be there then: the log ends in it.
    pub fn append_hole(&mut self, hole: Hole, now: Timestamp) -> Result<(), AppendError> {
        self.dir.check()?;
        let end = self.end_offset();
        if hole.base != end {
            return Err(AppendError::OffsetGap { found: hole.base, end });
        }
        let offsets = hole.end.0.saturating_sub(hole.base.0);
        if offsets > HOLE_OFFSETS_MAX {
            return Err(AppendError::HoleTooLong { offsets, limit: HOLE_OFFSETS_MAX });
        }
        let mut rest = hole;
        while rest.base < hole.end {
            rest.end = hole.end.min(rest.base.plus(OFFSETS_MAX));
            self.dir.spend(as_u64(HEADER_BYTES))?;
            self.write(&rest.batch(), &[], rest.epoch, now)?;
            rest.base = rest.end;
        }
        Ok(())
    }

    /// After a cut: the log goes on to `to`, through holes of these epochs, as far as there is room for that.
    pub(super) fn fill_up(&mut self, to: Offset, epochs: &EpochHistory) -> Result<(), TruncateError> {
        while self.end_offset() < to {
            let base = self.end_offset();
            // The first known epoch covers the log's start, and with it what lies before.
            let first = || epochs.starts().first().map(|known| known.epoch);
            let Some(epoch) = epochs.epoch_at(base).or_else(first) else { break };
            let end = epochs.end_for(epoch, to).map_or(to, |known| known.end.min(to));
            match self.append_hole(Hole { base, end, epoch }, Timestamp(-1)) {
                Ok(()) => {}
                Err(AppendError::Offline(offline)) => return Err(offline.into()),
                Err(error) => {
                    tracing::warn!(log = %self.name, %to, %error, "the log ends before the hole that it was cut in");
                    break;
                }
            }
        }
        // A segment of holes alone has no age yet.
        self.active.since = None;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use cairn_protocol::records::BatchView;

    use super::*;

    #[test]
    fn a_hole_is_a_batch_without_records_and_back() {
        for end in [101, 150, 100 + OFFSETS_MAX] {
            let hole = Hole { base: Offset(100), end: Offset(end), epoch: LeaderEpoch(7) };
            let bytes = hole.batch();
            let view = BatchView::parse(&bytes).unwrap();
            view.verify_crc().unwrap();
            assert_eq!(Hole::of(view.header()), Some(hole));
        }
    }
}
