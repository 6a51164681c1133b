//! A partition's log that is small enough to be compared at every step: at most eight records, each an epoch and a value.
//!
//! Must not know: replication.

use cairn_protocol::ids::{LeaderEpoch, Offset};
use cairn_replication::{EpochEnd, LogView, Span};

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
        let [value, epoch] = ((self.records >> (16 * u32::from(at))) as u16).to_le_bytes();
        Record { epoch, value }
    }

    pub(crate) fn append(&mut self, record: Record) {
        let bits = u16::from_le_bytes([record.value, record.epoch]);
        self.records |= u128::from(bits) << (16 * u32::from(self.len));
        self.len += 1;
        self.noted = None;
    }

    pub(crate) fn truncate(&mut self, to: u8) {
        if to < self.len {
            self.records &= mask(to);
            (self.len, self.flushed, self.noted) = (to, self.flushed.min(to), None);
        }
    }

    pub(crate) fn note_epoch(&mut self, epoch: u8) {
        self.noted = Some(epoch);
    }

    pub(crate) fn flush(&mut self) {
        self.flushed = self.len;
    }

    /// Whether both have at least `len` records, and the first `len` are the same.
    pub(crate) fn agrees(&self, other: &Self, len: u8) -> bool {
        self.len >= len && other.len >= len && (self.records ^ other.records) & mask(len) == 0
    }

    fn latest(&self) -> Option<u8> {
        self.noted.or_else(|| self.len.checked_sub(1).map(|last| self.get(last).epoch))
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
            write!(f, " {}.{}", record.epoch, record.value)?;
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
        Offset::ZERO
    }

    fn end(&self) -> Offset {
        Offset(i64::from(self.len))
    }

    fn durable_end(&self) -> Offset {
        Offset(i64::from(self.flushed))
    }

    fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        (offset.0 >= 0 && offset < self.end()).then(|| epoch_of(self.get(small(offset)).epoch))
    }

    fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.latest().map(epoch_of)
    }

    fn end_for(&self, epoch: LeaderEpoch) -> EpochEnd {
        if let Some(noted) = self.noted.filter(|noted| epoch_of(*noted) <= epoch) {
            return EpochEnd { epoch: epoch_of(noted), end: self.end() };
        }
        let end = (0..self.len).find(|at| epoch_of(self.get(*at).epoch) > epoch).unwrap_or(self.len);
        let known = end.checked_sub(1).map_or(epoch, |last| epoch_of(self.get(last).epoch));
        EpochEnd { epoch: known, end: Offset(i64::from(end)) }
    }
}

/// A record as a batch of its own.
pub(crate) fn span(record: Record, offset: u8) -> Span {
    let base = Offset(i64::from(offset));
    Span { base, end: base.plus(1), epoch: epoch_of(record.epoch) }
}
