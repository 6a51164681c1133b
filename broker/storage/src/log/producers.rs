//! What the log knows of idempotent producers (KIP-98): the last five batches of each, so that a retry is told from a
//! new batch, and a gap or a zombie from both.
//!
//! Must not know: files, when state is snapshotted.

use std::collections::HashMap;

use cairn_protocol::ids::{Offset, ProducerEpoch, ProducerId, Timestamp};
use cairn_protocol::records::{BatchHeader, BatchProducer};

/// Kafka's number: a producer has at most so many batches in flight.
pub(crate) const BATCHES_KEPT: usize = 5;

/// A batch that a producer has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducedBatch {
    /// The sequence number of its last record.
    pub last_sequence: i32,
    /// The offset of its last record.
    pub last_offset: Offset,
    /// Its last offset minus its first.
    pub offset_delta: i32,
    /// Its largest timestamp.
    pub timestamp: Timestamp,
}

impl ProducedBatch {
    /// The offset of its first record.
    #[must_use]
    pub fn base_offset(&self) -> Offset {
        self.last_offset.plus(-i64::from(self.offset_delta))
    }

    /// The sequence number of its first record.
    #[must_use]
    pub fn base_sequence(&self) -> i32 {
        BatchProducer::sequence_after(self.last_sequence, -self.offset_delta)
    }
}

/// One producer, as it stands behind the last batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerState {
    /// Who.
    pub id: ProducerId,
    /// Its newest epoch.
    pub epoch: ProducerEpoch,
    /// The transaction coordinator's epoch in the last marker; -1 when there was none.
    pub coordinator_epoch: i32,
    /// The largest timestamp of its last batch.
    pub last_timestamp: Timestamp,
    /// Where its open transaction began.
    pub transaction_start: Option<Offset>,
    /// Its last batches in this epoch, oldest first, at most [`BATCHES_KEPT`].
    pub batches: Vec<ProducedBatch>,
}

/// A batch of a producer cannot follow on what it wrote before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProducerError {
    /// Kafka's OUT_OF_ORDER_SEQUENCE_NUMBER.
    #[error("producer {id} sent sequence {found} where {expected} should follow")]
    OutOfOrderSequence {
        /// Who.
        id: ProducerId,
        /// The batch's first sequence number.
        found: i32,
        /// The one that would follow on.
        expected: i32,
    },
    /// Kafka's INVALID_PRODUCER_EPOCH: a newer incarnation of the producer has written already.
    #[error("producer {id} sent epoch {found} after epoch {newest}")]
    InvalidEpoch {
        /// Who.
        id: ProducerId,
        /// The batch's epoch.
        found: ProducerEpoch,
        /// The newest known one.
        newest: ProducerEpoch,
    },
}

/// What a checked batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checked {
    /// To be appended.
    New,
    /// Appended before, there.
    Duplicate(ProducedBatch),
}

/// All producers of one log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Producers {
    by_id: HashMap<ProducerId, ProducerState>,
}

impl Producers {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &ProducerState> {
        self.by_id.values()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Takes over the batches before the last one where `recent` has the same last one.
    pub(crate) fn widen(&mut self, recent: &Self) {
        for (id, state) in &mut self.by_id {
            if let Some(seen) = recent.by_id.get(id)
                && seen.epoch == state.epoch
                && seen.batches.last() == state.batches.last()
            {
                state.batches.clone_from(&seen.batches);
            }
        }
    }

    pub(crate) fn insert(&mut self, state: ProducerState) {
        self.by_id.insert(state.id, state);
    }

    pub(crate) fn knows(&self, header: &BatchHeader) -> bool {
        header.producer.is_some_and(|producer| self.by_id.contains_key(&producer.id))
    }

    /// Whether a leader may append a batch with this header: Kafka's rules for batches of clients.
    pub(crate) fn check(&self, header: &BatchHeader) -> Result<Checked, ProducerError> {
        let Some(producer) = header.producer else { return Ok(Checked::New) };
        // A producer that is not known, or no longer, may begin with any sequence.
        let Some(known) = self.by_id.get(&producer.id) else { return Ok(Checked::New) };
        let Some(last_sequence) = header.last_sequence() else { return Ok(Checked::New) };
        let BatchProducer { id, epoch, base_sequence } = producer;
        if epoch == known.epoch {
            let same =
                |batch: &&ProducedBatch| batch.last_sequence == last_sequence && batch.base_sequence() == base_sequence;
            if let Some(batch) = known.batches.iter().find(same) {
                return Ok(Checked::Duplicate(*batch));
            }
        }
        if epoch < known.epoch {
            return Err(ProducerError::InvalidEpoch { id, found: epoch, newest: known.epoch });
        }
        let expected = match known.batches.last() {
            Some(last) if epoch == known.epoch => BatchProducer::sequence_after(last.last_sequence, 1),
            _ => 0,
        };
        if base_sequence == expected {
            Ok(Checked::New)
        } else {
            Err(ProducerError::OutOfOrderSequence { id, found: base_sequence, expected })
        }
    }

    /// Notes a batch that is in the log, with its final offsets and timestamps.
    pub(crate) fn note(&mut self, header: &BatchHeader) {
        let Some(producer) = header.producer else { return };
        let state = self.by_id.entry(producer.id).or_insert_with(|| ProducerState {
            id: producer.id,
            epoch: producer.epoch,
            coordinator_epoch: -1,
            last_timestamp: header.max_timestamp,
            transaction_start: None,
            batches: Vec::new(),
        });
        if state.epoch != producer.epoch {
            state.epoch = producer.epoch;
            state.batches.clear();
        }
        state.last_timestamp = header.max_timestamp;
        if header.attributes.is_control() {
            state.transaction_start = None;
            return;
        }
        if header.attributes.is_transactional() && state.transaction_start.is_none() {
            state.transaction_start = Some(header.base_offset);
        }
        // Offset commits of a transaction have a producer but no sequence: nothing that a retry could match.
        let Some(last_sequence) = header.last_sequence() else { return };
        if state.batches.len() == BATCHES_KEPT {
            state.batches.remove(0);
        }
        state.batches.push(ProducedBatch {
            last_sequence,
            last_offset: header.last_offset(),
            offset_delta: header.last_offset_delta,
            timestamp: header.max_timestamp,
        });
    }

    /// Forgets producers that were silent for `expiration_ms`, unless a transaction of theirs is open.
    pub(crate) fn expire(&mut self, now: Timestamp, expiration_ms: i64) {
        self.by_id.retain(|_, state| {
            state.transaction_start.is_some() || now.0.saturating_sub(state.last_timestamp.0) < expiration_ms
        });
    }
}

#[cfg(test)]
mod tests {
    use cairn_protocol::records::{Attributes, BatchHeader};

    use super::*;

    fn batch(epoch: i16, base_sequence: i32, records: i32, base_offset: i64) -> BatchHeader {
        BatchHeader {
            base_offset: Offset(base_offset),
            length: 0,
            leader_epoch: None,
            crc: 0,
            attributes: Attributes::default(),
            last_offset_delta: records - 1,
            base_timestamp: Timestamp(1000),
            max_timestamp: Timestamp(1000),
            producer: Some(BatchProducer { id: ProducerId(7), epoch: ProducerEpoch(epoch), base_sequence }),
            record_count: records,
        }
    }

    fn noted(batches: &[BatchHeader]) -> Producers {
        let mut producers = Producers::default();
        batches.iter().for_each(|batch| producers.note(batch));
        producers
    }

    #[test]
    fn batches_follow_on() {
        let producers = noted(&[batch(0, 0, 10, 100)]);
        assert_eq!(producers.check(&batch(0, 10, 5, 0)), Ok(Checked::New));
        let gap = ProducerError::OutOfOrderSequence { id: ProducerId(7), found: 11, expected: 10 };
        assert_eq!(producers.check(&batch(0, 11, 5, 0)), Err(gap));
        assert!(producers.check(&batch(0, 5, 5, 0)).is_err());
    }

    #[test]
    fn an_unknown_producer_begins_anywhere() {
        assert_eq!(Producers::default().check(&batch(3, 77, 1, 0)), Ok(Checked::New));
    }

    #[test]
    fn a_retry_is_found_among_the_last_five() {
        let batches: Vec<_> = (0..6).map(|number| batch(0, number * 10, 10, i64::from(number) * 10)).collect();
        let producers = noted(&batches);
        for (number, again) in batches.iter().enumerate().skip(1) {
            let Ok(Checked::Duplicate(place)) = producers.check(again) else { panic!("batch {number}") };
            assert_eq!((place.base_offset(), place.last_offset), (again.base_offset, again.last_offset()));
        }
        assert!(producers.check(&batches[0]).is_err(), "too old to be told from a gap");
        assert!(producers.check(&batch(0, 50, 9, 0)).is_err(), "another length is no retry");
    }

    #[test]
    fn sequences_wrap() {
        let producers = noted(&[batch(0, i32::MAX - 1, 2, 0)]);
        assert_eq!(producers.check(&batch(0, 0, 1, 0)), Ok(Checked::New));
        let over = batch(0, i32::MAX, 3, 2);
        assert_eq!(over.last_sequence(), Some(1));
        let producers = noted(&[over]);
        assert!(matches!(producers.check(&over), Ok(Checked::Duplicate(_))));
        assert_eq!(producers.check(&batch(0, 2, 1, 0)), Ok(Checked::New));
    }

    #[test]
    fn epochs_fence() {
        let producers = noted(&[batch(4, 0, 10, 0)]);
        let zombie =
            ProducerError::InvalidEpoch { id: ProducerId(7), found: ProducerEpoch(3), newest: ProducerEpoch(4) };
        assert_eq!(producers.check(&batch(3, 10, 1, 0)), Err(zombie));
        assert_eq!(producers.check(&batch(5, 0, 1, 0)), Ok(Checked::New));
        assert!(producers.check(&batch(5, 10, 1, 0)).is_err(), "a new epoch begins at 0");
    }

    #[test]
    fn the_silent_are_forgotten() {
        let mut producers = noted(&[batch(0, 0, 1, 0)]);
        producers.expire(Timestamp(1999), 1000);
        assert_eq!(producers.by_id.len(), 1);
        producers.expire(Timestamp(2000), 1000);
        assert_eq!(producers.by_id.len(), 0);
    }
}
