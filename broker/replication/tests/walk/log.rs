//! A partition's log that is small enough to be compared at every step: at most eight records, each an epoch and a value. Some
//! may be deleted, or removed by compaction.
//!
//! Must not know: replication.

use cairn_protocol::ids::{LeaderEpoch, Offset};
use cairn_replication::{Content, EpochEnd, LogView, Span, with_holes};

/// The most records that a walk appends.
pub(crate) const RECORDS_MAX: u8 = 6;

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Record {
    pub(crate) epoch: u8,
    pub(crate) value: u8,
}

/// A log: the record at offset n lies in the n-th 16 bits.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct Log {
    records: u128,
    /// The values that compaction has left nothing of, as their bits in `records`. Epochs stay: the log's history knows them.
    holes: u128,
    /// Those before are deleted.
    pub(crate) start: u8,
    len: u8,
    /// So many are on disk for certain.
    pub(crate) flushed: u8,
    /// The newest epoch that was noted, if it has no record.
    noted: Option<u8>,
}

impl Log {
    pub(crate) fn len(&self) -> u8 {
        self.len
    }

    pub(crate) fn get(&self, at: u8) -> Record {
        let bytes = self.records.to_le_bytes();
        let at = 2 * usize::from(at);
        let (value, epoch) = (bytes[at], bytes[at + 1]);
        Record { epoch, value }
    }

    pub(crate) fn append(&mut self, record: Record) {
        let bits = u16::from_le_bytes([record.value, record.epoch]);
        self.records |= u128::from(bits) << (16 * u32::from(self.len));
        self.len += 1;
        self.noted = None;
    }

    /// Appends what another log has at an offset.
    pub(crate) fn append_from(&mut self, other: &Self, at: u8) {
        assert_eq!(at, self.len, "appended where the log does not end");
        self.append(other.get(at));
        if other.is_hole(at) {
            self.holes |= 0xff << (16 * u32::from(at));
        }
    }

    pub(crate) fn is_hole(&self, at: u8) -> bool {
        self.holes & (0xff << (16 * u32::from(at))) != 0
    }

    /// Compaction removes a record.
    pub(crate) fn remove(&mut self, at: u8) {
        let value = 0xff << (16 * u32::from(at));
        self.records &= !value;
        self.holes |= value;
    }

    /// Everything before is deleted.
    pub(crate) fn delete(&mut self, before: u8) {
        // The epoch that the log ends in stays known, as in the product's log.
        let latest = self.latest();
        self.start = self.start.max(before);
        if self.start >= self.len {
            self.noted = latest;
        }
        (self.records, self.holes) = (self.records & !mask(self.start), self.holes & !mask(self.start));
        self.flushed = self.flushed.max(self.start);
    }

    /// An empty log that begins here.
    pub(crate) fn starting(at: u8) -> Self {
        Self { start: at, len: at, flushed: at, ..Self::default() }
    }

    pub(crate) fn truncate(&mut self, to: u8) {
        if to < self.len {
            // Of a log of which nothing is left but where it starts, the epoch that it ended in stays known.
            let noted = if to > 0 && to <= self.start { self.latest() } else { None };
            (self.records, self.holes) = (self.records & mask(to), self.holes & mask(to));
            (self.len, self.flushed, self.noted) = (to, self.flushed.min(to), noted);
        }
    }

    /// What lies from `from` to `to`: each record a batch of its own.
    pub(crate) fn spans(&self, from: u8, to: u8) -> impl Iterator<Item = Span> {
        let batches = (from..to).filter(|at| !self.is_hole(*at)).map(|at| {
            let base = Offset(i64::from(at));
            Span { base, end: base.plus(1), epoch: epoch_of(self.get(at).epoch), content: Content::Batch }
        });
        with_holes(Offset(i64::from(from)), batches, Offset(i64::from(to)), self)
    }

    pub(crate) fn note_epoch(&mut self, epoch: u8) {
        self.noted = Some(epoch);
    }

    pub(crate) fn flush(&mut self) {
        self.flushed = self.len;
    }

    /// Whether both have at least `len` records, and the first `len` are the same, as far as they are still there.
    pub(crate) fn agrees(&self, other: &Self, len: u8) -> bool {
        let there = mask(len) & !mask(self.start.max(other.start)) & !self.holes & !other.holes;
        self.len >= len && other.len >= len && (self.records ^ other.records) & there == 0
    }

    /// How many of the first records are the same.
    pub(crate) fn common(&self, other: &Self) -> u8 {
        (0..=self.len.min(other.len)).rev().find(|len| self.agrees(other, *len)).unwrap_or(0)
    }

    /// Whether compaction has removed something that is not in `removed`.
    pub(crate) fn lacks_beyond(&self, removed: u8) -> bool {
        self.holes != 0 && (0..self.len).any(|at| self.is_hole(at) && removed & (1 << at) == 0)
    }

    /// The newest epoch that it knows.
    pub(crate) fn latest(&self) -> Option<u8> {
        let last = (self.len > self.start).then(|| self.get(self.len - 1).epoch);
        self.noted.or(last)
    }
}

fn mask(len: u8) -> u128 {
    if len >= 8 { u128::MAX } else { (1 << (16 * u32::from(len))) - 1 }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for at in 0..self.len {
            if at == self.flushed {
                write!(f, "|")?;
            }
            let record = self.get(at);
            match (at < self.start, self.is_hole(at)) {
                (true, _) => write!(f, " -")?,
                (false, true) => write!(f, " {}._", record.epoch)?,
                (false, false) => write!(f, " {}.{}", record.epoch, record.value)?,
            }
        }
        self.noted.map_or(Ok(()), |noted| write!(f, " ({noted})"))
    }
}

pub(crate) fn small(offset: Offset) -> u8 {
    u8::try_from(offset.0).expect("offsets of walks are small")
}

fn epoch_of(epoch: u8) -> LeaderEpoch {
    LeaderEpoch(i32::from(epoch))
}

impl LogView for Log {
    fn start(&self) -> Offset {
        Offset(i64::from(self.start))
    }

    fn end(&self) -> Offset {
        Offset(i64::from(self.len))
    }

    fn durable_end(&self) -> Offset {
        Offset(i64::from(self.flushed))
    }

    fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        (offset >= self.start() && offset < self.end()).then(|| epoch_of(self.get(small(offset)).epoch))
    }

    fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.latest().map(epoch_of)
    }

    fn end_for(&self, epoch: LeaderEpoch) -> EpochEnd {
        if let Some(noted) = self.noted.filter(|noted| epoch_of(*noted) <= epoch) {
            return EpochEnd { epoch: epoch_of(noted), end: self.end() };
        }
        let end = (self.start..self.len).find(|at| epoch_of(self.get(*at).epoch) > epoch).unwrap_or(self.len);
        let known = if end > self.start { epoch_of(self.get(end - 1).epoch) } else { epoch };
        EpochEnd { epoch: known, end: Offset(i64::from(end)) }
    }
}
