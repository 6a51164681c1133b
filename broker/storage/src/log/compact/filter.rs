//! What becomes of a batch: which of its records stay, and what is written in its place. Kafka's rules.
//!
//! | record | stays |
//! |---|---|
//! | behind the part whose keys were noted | yes |
//! | without a key | no |
//! | not the newest of its key | no |
//! | a tombstone, the newest of its key | until the delete horizon of its batch, which the first round sets (KIP-534); behind a record of a transaction, which stays itself, for good |
//! | any other | yes |
//!
//! A batch without records goes, unless it is its producer's last, which the producer's state is read from, or ends its
//! group, so that no offset is lost.
//!
//! Must not know: segments, files.

use std::collections::HashMap;

use bytes::Bytes;
use cairn_protocol::ids::{Offset, ProducerId, Timestamp};
use cairn_protocol::records::{BatchView, Record};

use super::super::batch::Stored;
use super::offset_map::OffsetMap;
use super::{CompactError, is_plain, read_records, unreadable};
use crate::num::{as_millis, as_u64};

pub(super) struct Filter<'a> {
    pub(super) map: &'a OffsetMap,
    /// The keys of all records below it are in the map.
    pub(super) mapped_end: Offset,
    pub(super) now: Timestamp,
    pub(super) delete_retention_ms: u64,
    pub(super) last_of_producers: &'a HashMap<ProducerId, Offset>,
    /// Whether a record of a transaction lies below what is looked at: a tombstone may be all that hides it.
    pub(super) transactions: Transactions,
}

/// Whether there are records of transactions in what was looked at so far, from the log's start on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Transactions {
    None,
    Some,
}

/// Where a batch is in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Position {
    /// Others follow.
    Inner,
    /// It ends the group.
    Last,
}

/// What becomes of a batch.
pub(super) enum Fate {
    /// It stays as it is.
    Stays,
    /// It goes.
    Goes,
    /// This takes its place.
    Becomes(Vec<u8>),
}

/// What becomes of a batch, and of its records.
pub(super) struct Filtered {
    pub(super) fate: Fate,
    pub(super) records_read: u64,
    pub(super) records_kept: u64,
}

impl Filter<'_> {
    /// To be called for each batch of the log from its start on.
    pub(super) fn apply(
        &mut self,
        batch: &Stored,
        bytes: &Bytes,
        position: Position,
    ) -> Result<Filtered, CompactError> {
        let count = u64::try_from(batch.header.record_count).unwrap_or(0);
        let untouched = |fate| Ok(Filtered { fate, records_read: count, records_kept: count });
        if !is_plain(batch) {
            if !batch.header.attributes.is_control() {
                self.transactions = Transactions::Some;
            }
            return untouched(Fate::Stays);
        }
        if count == 0 {
            return untouched(if self.must_stay(batch, position) { Fate::Stays } else { Fate::Goes });
        }
        let view = BatchView::parse(bytes).map_err(|error| unreadable(batch, &error))?;
        let records = read_records(batch, bytes)?;
        let mut keep = Vec::with_capacity(records.header().record_count.try_into().unwrap_or(0));
        let mut tombstones = false;
        for record in records.iter() {
            let record = record.map_err(|error| unreadable(batch, &error))?;
            let stays = self.stays(batch, &record);
            tombstones |= stays && record.value.is_none();
            keep.push(stays);
        }
        let kept = as_u64(keep.iter().filter(|kept| **kept).count());
        let fate = if kept == 0 {
            match self.must_stay(batch, position) {
                true => Fate::Becomes(view.retain_nothing().to_vec()),
                false => Fate::Goes,
            }
        } else {
            let sets_horizon = tombstones && !batch.header.attributes.has_delete_horizon();
            let horizon = Timestamp(self.now.0.saturating_add(as_millis(self.delete_retention_ms)));
            match (kept == count, sets_horizon) {
                (true, false) => Fate::Stays,
                (_, sets) => {
                    let part = view.retain(&records, &keep, sets.then_some(horizon));
                    Fate::Becomes(part.map_err(|error| unreadable(batch, &error))?)
                }
            }
        };
        Ok(Filtered { fate, records_read: count, records_kept: kept })
    }

    fn stays(&self, batch: &Stored, record: &Record<'_>) -> bool {
        if record.offset >= self.mapped_end {
            return true;
        }
        let Some(key) = record.key else { return false };
        if self.map.get(key).is_some_and(|newest| record.offset < newest) {
            return false;
        }
        let header = &batch.header;
        let may_go = record.value.is_none() && self.transactions == Transactions::None;
        !may_go || !header.attributes.has_delete_horizon() || self.now < header.base_timestamp
    }

    /// Whether the batch stays even without records.
    fn must_stay(&self, batch: &Stored, position: Position) -> bool {
        let is_last_of_producer = batch.header.producer.is_some_and(|producer| {
            self.last_of_producers.get(&producer.id).is_some_and(|last| *last == batch.last_offset())
        });
        is_last_of_producer || position == Position::Last
    }
}
