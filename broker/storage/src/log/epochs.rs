//! Which leader epoch began at which offset (KIP-101), and Kafka's text file of it.
//!
//! Must not know: segments, who leads.

use cairn_protocol::ids::{LeaderEpoch, Offset};

/// The largest file that is read: a million leaders.
pub(crate) const EPOCHS_FILE_MAX_BYTES: u64 = 64 << 20;

/// One leader's term: it wrote from `start` until the next epoch's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStart {
    /// The leader's epoch.
    pub epoch: LeaderEpoch,
    /// Its first offset.
    pub start: Offset,
}

/// Where an epoch ends in this log: the answer to OffsetForLeaderEpoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEnd {
    /// The largest known epoch that is not above the one asked for (the asked one itself when it lies below all).
    pub epoch: LeaderEpoch,
    /// The end of that epoch, exclusive.
    pub end: Offset,
}

/// A new epoch does not follow on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("leader epoch {epoch} at offset {start} does not follow on epoch {last} at offset {last_start}", last = last.epoch, last_start = last.start)]
pub struct EpochOrderError {
    /// The refused epoch.
    pub epoch: LeaderEpoch,
    /// Its start.
    pub start: Offset,
    /// The last known one.
    pub last: EpochStart,
}

/// The epochs of one log, rising strictly in epoch and in start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EpochHistory {
    starts: Vec<EpochStart>,
}

impl EpochHistory {
    /// All epochs, oldest first.
    #[must_use]
    pub fn starts(&self) -> &[EpochStart] {
        &self.starts
    }

    /// The newest epoch.
    #[must_use]
    pub fn latest(&self) -> Option<EpochStart> {
        self.starts.last().copied()
    }

    /// Where `epoch` ends in a log that ends at `log_end`; `None` when it is above all known epochs, or none is known.
    #[must_use]
    pub fn end_for(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<EpochEnd> {
        if self.latest()?.epoch == epoch {
            return Some(EpochEnd { epoch, end: log_end });
        }
        let above = self.starts.partition_point(|known| known.epoch <= epoch);
        let end = self.starts.get(above)?.start;
        let floor = above.checked_sub(1).map_or(epoch, |at| self.starts[at].epoch);
        Some(EpochEnd { epoch: floor, end })
    }

    /// The epoch that the record at `offset` was written in, for an offset below the log's end.
    #[must_use]
    pub fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let above = self.starts.partition_point(|known| known.start <= offset);
        above.checked_sub(1).map(|at| self.starts[at].epoch)
    }

    /// Notes that `epoch` begins at `start`. An epoch without records gives way to the next one at the same start.
    ///
    /// # Errors
    /// When it is older than the newest one, or begins before it.
    pub(crate) fn assign(&mut self, epoch: LeaderEpoch, start: Offset) -> Result<Assigned, EpochOrderError> {
        if let Some(last) = self.latest() {
            if last.epoch == epoch && start >= last.start {
                return Ok(Assigned::Known);
            }
            if epoch <= last.epoch || start < last.start {
                return Err(EpochOrderError { epoch, start, last });
            }
            if start == last.start {
                self.starts.pop();
            }
        }
        self.starts.push(EpochStart { epoch, start });
        Ok(Assigned::New)
    }

    /// The history once a record of `epoch` lies at `start`, where the log ends; `None` when it says that already. An epoch
    /// that begins there has no record, and gives way, also to an older one: its leader wrote nothing, and the present one
    /// has a record of another epoch there.
    ///
    /// # Errors
    /// When there is a record of a newer epoch.
    pub(crate) fn followed_by(&self, epoch: LeaderEpoch, start: Offset) -> Result<Option<Self>, EpochOrderError> {
        if self.latest().is_some_and(|last| last.epoch == epoch) {
            return Ok(None);
        }
        let with_records = self.starts.partition_point(|known| known.start < start);
        let mut starts = self.starts[..with_records].to_vec();
        match starts.last() {
            Some(last) if epoch < last.epoch => return Err(EpochOrderError { epoch, start, last: *last }),
            Some(last) if epoch == last.epoch => {}
            _ => starts.push(EpochStart { epoch, start }),
        }
        Ok(Some(Self { starts }))
    }

    /// Forgets what begins at or behind `end`. Answers whether anything did.
    pub(crate) fn truncate_to(&mut self, end: Offset) -> Trimmed {
        let kept = self.starts.partition_point(|known| known.start < end);
        if kept == self.starts.len() {
            return Trimmed::Nothing;
        }
        self.starts.truncate(kept);
        Trimmed::Some
    }

    /// Forgets what a cut at `end` takes. Where nothing is left but records that are deleted, the newest epoch stays, without a
    /// record: what was deleted was that leader's too, and nothing else tells it any more.
    pub(crate) fn cut_to(&mut self, end: Offset) -> Trimmed {
        let Some(latest) = self.latest() else { return Trimmed::Nothing };
        let trimmed = self.truncate_to(end);
        if self.starts.is_empty() && end > Offset::ZERO {
            self.starts.push(EpochStart { epoch: latest.epoch, start: end });
        }
        trimmed
    }

    /// Forgets what lies wholly before `start`; the epoch that covers `start` begins there.
    pub(crate) fn advance_to(&mut self, start: Offset) -> Trimmed {
        let covering = self.starts.partition_point(|known| known.start <= start);
        let Some(covering) = covering.checked_sub(1) else { return Trimmed::Nothing };
        if self.starts[covering].start == start && covering == 0 {
            return Trimmed::Nothing;
        }
        self.starts.drain(..covering);
        self.starts[0].start = start;
        Trimmed::Some
    }

    /// Kafka's text: version, number of entries, then an epoch and its start in each line.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut text = format!("0\n{}\n", self.starts.len());
        for known in &self.starts {
            text.push_str(&format!("{} {}\n", known.epoch, known.start));
        }
        text.into_bytes()
    }

    /// Reads Kafka's text; `None` when anything in it is wrong.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        // The last line ends too: a file that lost its last byte must not pass for one with a smaller number in it.
        let mut lines = text.strip_suffix('\n')?.split('\n');
        if lines.next()? != "0" {
            return None;
        }
        let count: usize = lines.next()?.parse().ok()?;
        let mut history = Self::default();
        for line in lines {
            let (epoch, start) = line.split_once(' ')?;
            let (epoch, start) = (epoch.parse().ok()?, start.parse().ok()?);
            let rises = history.latest().is_none_or(|last| last.epoch.0 < epoch && last.start.0 < start);
            if epoch < 0 || start < 0 || !rises {
                return None;
            }
            history.starts.push(EpochStart { epoch: LeaderEpoch(epoch), start: Offset(start) });
        }
        (history.starts.len() == count).then_some(history)
    }
}

/// What [`EpochHistory::assign`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Assigned {
    /// The epoch was there already.
    Known,
    /// It is new.
    New,
}

/// Whether a history got shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trimmed {
    /// As before.
    Nothing,
    /// Something changed.
    Some,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_cut_to_its_start_knows_the_newest_epoch() {
        let mut some = history(&[(2, 10), (5, 20)]);
        assert_eq!(some.cut_to(Offset(20)), Trimmed::Some);
        assert_eq!(some, history(&[(2, 10)]));
        some = history(&[(2, 10), (5, 20)]);
        assert_eq!(some.cut_to(Offset(10)), Trimmed::Some);
        assert_eq!(some, history(&[(5, 10)]));
        let older = some.followed_by(LeaderEpoch(3), Offset(10)).unwrap();
        assert_eq!(older, Some(history(&[(3, 10)])), "an epoch without a record gives way");
        some = history(&[(2, 0), (5, 20)]);
        assert_eq!(some.cut_to(Offset(0)), Trimmed::Some);
        assert_eq!(some, EpochHistory::default(), "nothing was deleted");
    }

    fn history(starts: &[(i32, i64)]) -> EpochHistory {
        let mut history = EpochHistory::default();
        for (epoch, start) in starts {
            history.assign(LeaderEpoch(*epoch), Offset(*start)).unwrap();
        }
        history
    }

    fn end(history: &EpochHistory, epoch: i32) -> Option<(i32, i64)> {
        history.end_for(LeaderEpoch(epoch), Offset(100)).map(|end| (end.epoch.0, end.end.0))
    }

    #[test]
    fn the_end_of_an_epoch_is_the_start_of_the_next() {
        let history = history(&[(2, 10), (5, 30), (7, 60)]);
        assert_eq!(end(&history, 1), Some((1, 10)));
        assert_eq!(end(&history, 2), Some((2, 30)));
        assert_eq!(end(&history, 4), Some((2, 30)));
        assert_eq!(end(&history, 5), Some((5, 60)));
        assert_eq!(end(&history, 6), Some((5, 60)));
        assert_eq!(end(&history, 7), Some((7, 100)));
        assert_eq!(end(&history, 8), None);
        assert_eq!(end(&EpochHistory::default(), 0), None);
        assert_eq!(history.epoch_at(Offset(9)), None);
        assert_eq!(history.epoch_at(Offset(30)), Some(LeaderEpoch(5)));
        assert_eq!(history.epoch_at(Offset(59)), Some(LeaderEpoch(5)));
    }

    #[test]
    fn epochs_only_rise() {
        let mut some = history(&[(2, 10), (5, 30)]);
        assert_eq!(some.assign(LeaderEpoch(5), Offset(40)), Ok(Assigned::Known));
        assert!(some.assign(LeaderEpoch(4), Offset(40)).is_err());
        assert!(some.assign(LeaderEpoch(6), Offset(29)).is_err());
        // Epoch 5 wrote nothing, so it leaves no trace.
        assert_eq!(some.assign(LeaderEpoch(6), Offset(30)), Ok(Assigned::New));
        assert_eq!(some, history(&[(2, 10), (6, 30)]));
    }

    #[test]
    fn an_epoch_without_records_gives_way_to_that_of_the_record_in_its_place() {
        let follow = |starts: &[(i32, i64)], epoch| history(starts).followed_by(LeaderEpoch(epoch), Offset(30));
        let changed = |starts: &[(i32, i64)]| Ok(Some(history(starts)));
        assert_eq!(follow(&[(2, 10), (5, 30)], 5), Ok(None));
        assert_eq!(follow(&[(2, 10)], 2), Ok(None));
        assert_eq!(follow(&[(2, 10), (5, 30)], 6), changed(&[(2, 10), (6, 30)]));
        assert_eq!(follow(&[(2, 10), (5, 30)], 4), changed(&[(2, 10), (4, 30)]));
        assert_eq!(follow(&[(2, 10), (5, 30)], 2), changed(&[(2, 10)]));
        assert_eq!(follow(&[(5, 30)], 0), changed(&[(0, 30)]));
        assert_eq!(follow(&[], 3), changed(&[(3, 30)]));
        assert!(follow(&[(2, 10), (5, 30)], 1).is_err(), "epoch 2 has records");
        assert!(follow(&[(2, 10), (5, 29)], 4).is_err());
    }

    #[test]
    fn trimming_keeps_the_epoch_that_covers_the_start() {
        let mut some = history(&[(2, 10), (5, 30), (7, 60)]);
        assert_eq!(some.advance_to(Offset(5)), Trimmed::Nothing);
        assert_eq!(some.advance_to(Offset(40)), Trimmed::Some);
        assert_eq!(some, history(&[(5, 40), (7, 60)]));
        assert_eq!(some.advance_to(Offset(40)), Trimmed::Nothing);
        assert_eq!(some.truncate_to(Offset(61)), Trimmed::Nothing);
        assert_eq!(some.truncate_to(Offset(60)), Trimmed::Some);
        assert_eq!(some, history(&[(5, 40)]));
    }

    #[test]
    fn the_file_is_kafkas_text_and_damage_is_seen() {
        let some = history(&[(0, 0), (3, 1234)]);
        let bytes = some.encode();
        assert_eq!(bytes, b"0\n2\n0 0\n3 1234\n");
        assert_eq!(EpochHistory::decode(&bytes), Some(some));
        assert_eq!(EpochHistory::decode(b"0\n0\n"), Some(EpochHistory::default()));
        for len in 0..bytes.len() {
            assert_eq!(EpochHistory::decode(&bytes[..len]), None, "first {len} bytes");
        }
        for wrong in
            ["1\n0\n", "0\n1\n", "0\n1\n5\n", "0\n2\n5 1\n5 2\n", "0\n2\n5 9\n6 9\n", "0\n1\n-1 0\n", "0\n-1\n"]
        {
            assert_eq!(EpochHistory::decode(wrong.as_bytes()), None, "{wrong:?}");
        }
    }
}
