//! Producers whose first batch was refused for the moment: what they have sent behind it is not taken for their first.
//!
//! A log takes any sequence of a producer that it does not know, as Kafka does: it may have forgotten it. But producers send
//! several batches without waiting for answers. When the first is refused (too few are in sync, nobody leads, no space) and
//! the next one comes a moment later and is not, the first can never follow. Kafka keeps such a lowest sequence too, for
//! transactions (KAFKA-14884).
//!
//! Lost with the process, and forgotten after a time: then it is as with Kafka. Must not know: why a batch was refused.

use std::collections::HashMap;

use cairn_protocol::ids::{ProducerEpoch, ProducerId, Timestamp};
use cairn_protocol::records::{BatchHeader, BatchProducer};

use super::producers::ProducerError;

/// Producers that are noted at most; of more, nothing is known.
const PRODUCERS_MAX: usize = 1_000;
/// Kafka's default `delivery.timeout.ms`: who has given a batch up goes on in another epoch.
const NOTED_FOR_MS: i64 = 120_000;

#[derive(Clone, Copy, Debug)]
struct First {
    epoch: ProducerEpoch,
    sequence: i32,
    at: Timestamp,
}

impl First {
    fn holds(&self, now: Timestamp) -> bool {
        (0..NOTED_FOR_MS).contains(&now.0.saturating_sub(self.at.0))
    }
}

/// The lowest refused sequences of producers that the log does not know.
#[derive(Debug, Default)]
pub(super) struct Refused(HashMap<ProducerId, First>);

impl Refused {
    /// A batch of a producer that is not known was refused.
    pub(super) fn note(&mut self, header: &BatchHeader, now: Timestamp) {
        let (Some(producer), Some(_)) = (header.producer, header.last_sequence()) else { return };
        let BatchProducer { id, epoch, base_sequence: sequence } = producer;
        let noted = self.0.get(&id).filter(|first| first.holds(now));
        if noted.is_some_and(|first| first.epoch > epoch || (first.epoch == epoch && first.sequence < sequence)) {
            return;
        }
        if self.0.len() >= PRODUCERS_MAX && !self.0.contains_key(&id) {
            self.0.retain(|_, first| first.holds(now));
        }
        if self.0.len() < PRODUCERS_MAX || self.0.contains_key(&id) {
            self.0.insert(id, First { epoch, sequence, at: now });
        }
    }

    /// Whether a batch of a producer that is not known may be its first.
    pub(super) fn check(&self, header: &BatchHeader, now: Timestamp) -> Result<(), ProducerError> {
        let Some(BatchProducer { id, epoch, base_sequence: found }) = header.producer else { return Ok(()) };
        match self.0.get(&id) {
            Some(first) if first.epoch == epoch && first.sequence < found && first.holds(now) => {
                Err(ProducerError::OutOfOrderSequence { id, found, expected: first.sequence })
            }
            _ => Ok(()),
        }
    }

    /// A batch was appended: its producer is known from here on.
    pub(super) fn forget(&mut self, header: &BatchHeader) {
        if !self.0.is_empty()
            && let Some(producer) = header.producer
        {
            self.0.remove(&producer.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use cairn_protocol::ids::Offset;
    use cairn_protocol::records::Attributes;

    use super::*;

    fn batch(id: i64, epoch: i16, base_sequence: i32) -> BatchHeader {
        BatchHeader {
            base_offset: Offset(0),
            length: 0,
            leader_epoch: None,
            crc: 0,
            attributes: Attributes::default(),
            last_offset_delta: 0,
            base_timestamp: Timestamp(0),
            max_timestamp: Timestamp(0),
            producer: Some(BatchProducer { id: ProducerId(id), epoch: ProducerEpoch(epoch), base_sequence }),
            record_count: 1,
        }
    }

    fn allows(refused: &Refused, of: &BatchHeader, now: i64) -> bool {
        refused.check(of, Timestamp(now)).is_ok()
    }

    #[test]
    fn nothing_goes_before_what_was_refused() {
        let mut refused = Refused::default();
        refused.note(&batch(7, 0, 3), Timestamp(0));
        refused.note(&batch(7, 0, 2), Timestamp(10));
        refused.note(&batch(7, 0, 5), Timestamp(20));
        assert!(allows(&refused, &batch(7, 0, 2), 30) && allows(&refused, &batch(7, 0, 1), 30));
        assert!(!allows(&refused, &batch(7, 0, 3), 30));
        assert!(allows(&refused, &batch(8, 0, 3), 30), "another producer");
        assert!(allows(&refused, &batch(7, 1, 3), 30), "who has another epoch has begun anew");
        refused.forget(&batch(7, 0, 2));
        assert!(allows(&refused, &batch(7, 0, 3), 30));
    }

    #[test]
    fn it_is_forgotten_after_a_time_and_when_a_new_epoch_begins() {
        let mut refused = Refused::default();
        refused.note(&batch(7, 0, 0), Timestamp(0));
        assert!(!allows(&refused, &batch(7, 0, 1), NOTED_FOR_MS - 1));
        assert!(allows(&refused, &batch(7, 0, 1), NOTED_FOR_MS));
        refused.note(&batch(7, 1, 4), Timestamp(5));
        refused.note(&batch(7, 0, 0), Timestamp(6));
        assert!(!allows(&refused, &batch(7, 1, 5), 7), "an old epoch's refusal says nothing");
    }

    #[test]
    fn so_many_are_noted_and_no_more() {
        let mut refused = Refused::default();
        let most = i64::try_from(PRODUCERS_MAX).unwrap();
        (0..=most).for_each(|id| refused.note(&batch(id, 0, 0), Timestamp(0)));
        assert_eq!(refused.0.len(), PRODUCERS_MAX);
        assert!(allows(&refused, &batch(most, 0, 1), 1) && !allows(&refused, &batch(0, 0, 1), 1));
        refused.note(&batch(most, 0, 0), Timestamp(NOTED_FOR_MS));
        assert_eq!(refused.0.len(), 1, "who is noted no longer makes room");
    }
}
