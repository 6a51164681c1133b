//! One partition's queue: the batch that gathers records, those that are full, those that have to be sent again, and the
//! sequence numbers that keep their order (KIP-98, KIP-360).
//!
//! The order in which batches were begun is the order in which they are sent. A retry waits until all that was in flight came
//! back, then all go again in order. When a batch that had a sequence number is given up, the broker would refuse all after it;
//! so the partition goes on under a new identity, but only when every batch whose fate is open was settled under the old one:
//! otherwise it could be written twice. Must not know: brokers, topics, the clock.

use std::collections::VecDeque;

use cairn_protocol::records::BatchProducer;
use tokio::time::Instant;

use super::batch::{Batch, BatchNumber, Identity, Known, Stamp};
use super::config::{IN_FLIGHT_MAX, ProducerConfig};

#[derive(Debug, Default)]
pub(crate) struct Partition {
    /// Takes records.
    pub(crate) open: Option<Batch>,
    /// Full and never sent, oldest first.
    full: VecDeque<Batch>,
    /// To be sent again, oldest first.
    again: VecDeque<Batch>,
    /// Numbers of those that are under way, oldest first.
    in_flight: Vec<BatchNumber>,
    again_at: Option<Instant>,
    identity: Option<Identity>,
    /// The broker has acknowledged a batch under this identity. Before, it takes any sequence number for the first (KIP-360): a
    /// second batch would get in before a first one that was refused for the moment.
    is_known: bool,
    next_sequence: i32,
    /// A sequence number is missing under this identity.
    gap: bool,
    /// Whether it stands in the accumulator's queue.
    active: bool,
}

/// When the partition's next batch goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Not before something that is in flight comes back.
    Waits,
    /// Not before then.
    At(Instant),
    /// Now.
    Now {
        /// Its size.
        bytes: usize,
    },
}

impl Partition {
    /// Closes the open batch when `bytes` more would make it too large. Gives whether it did.
    pub(crate) fn make_room(&mut self, bytes: usize, batch_bytes: usize) -> bool {
        match self.open.take_if(|open| open.count > 0 && open.bytes() + bytes > batch_bytes) {
            None => false,
            Some(full) => {
                self.full.push_back(full);
                true
            }
        }
    }

    pub(crate) fn is_open_full(&self, batch_bytes: usize) -> bool {
        self.open.as_ref().is_some_and(|open| open.bytes() >= batch_bytes)
    }

    /// Gives `true` when it was not in the queue before.
    pub(crate) fn activate(&mut self) -> bool {
        !std::mem::replace(&mut self.active, true)
    }

    /// Gives `true` when there is nothing to send, and so no place in the queue.
    pub(crate) fn deactivate_if_empty(&mut self) -> bool {
        let is_empty = self.open.is_none() && self.full.is_empty() && self.again.is_empty();
        self.active = !is_empty;
        is_empty
    }

    pub(crate) fn next(&self, now: Instant, config: &ProducerConfig, hurry_until: u64) -> Next {
        if self.in_flight.len() >= self.in_flight_max(config) {
            return Next::Waits;
        }
        if let Some(again) = self.next_again().and_then(|at| self.again.get(at)) {
            // What was sent after it is still under way: its turn comes when that is back. After a gap, one at a time.
            let overtaken = self.in_flight.last().is_some_and(|&last| last > again.number);
            if overtaken || (self.gap && !self.in_flight.is_empty()) {
                return Next::Waits;
            }
            return match self.again_at {
                Some(at) if at > now => Next::At(at),
                _ => Next::Now { bytes: again.bytes() },
            };
        }
        if self.gap && !self.in_flight.is_empty() {
            return Next::Waits;
        }
        if let Some(full) = self.full.front() {
            return Next::Now { bytes: full.bytes() };
        }
        match &self.open {
            None => Next::Waits,
            Some(open) if open.bytes() >= config.batch_bytes || open.number.batch < hurry_until => {
                Next::Now { bytes: open.bytes() }
            }
            Some(open) => match open.opened + config.linger {
                at if at > now => Next::At(at),
                _ => Next::Now { bytes: open.bytes() },
            },
        }
    }

    /// Which batch is sent again next. After a gap, those whose fate is open come first: their answers, not their order, are what
    /// the partition waits for.
    fn next_again(&self) -> Option<usize> {
        let open = || self.again.iter().position(|batch| batch.known == Known::MaybeWritten);
        let next = if self.gap { open() } else { None };
        next.or((!self.again.is_empty()).then_some(0))
    }

    /// Sees to it that the next batch can be stamped: `current` is the producer's identity. Gives `false` when there is none.
    pub(crate) fn adopt(&mut self, current: &mut Option<Identity>) -> bool {
        if self.gap && self.in_flight.is_empty() && !self.again.iter().any(|batch| batch.known == Known::MaybeWritten) {
            self.gap = false;
            self.identity = None;
            for batch in &mut self.again {
                batch.stamp = None;
            }
        }
        if self.gap || self.identity.is_some() {
            return true;
        }
        let Some(current) = *current else { return false };
        self.identity = Some(current);
        self.is_known = false;
        self.next_sequence = 0;
        true
    }

    /// The next batch, stamped and counted as in flight.
    ///
    /// # Panics
    /// When [`next`](Self::next) did not say that there is one.
    pub(crate) fn take(&mut self) -> Batch {
        let from_queue = self.next_again().and_then(|at| self.again.remove(at)).or_else(|| self.full.pop_front());
        let mut batch = from_queue.or_else(|| self.open.take()).expect("there is a batch to take");
        if batch.stamp.is_none()
            && let Some(identity) = self.identity
        {
            batch.stamp = Some(Stamp { identity, sequence: self.next_sequence });
            self.next_sequence = BatchProducer::sequence_after(self.next_sequence, batch.count);
        }
        self.in_flight.push(batch.number);
        batch.is_under_way = true;
        batch
    }

    /// Nothing is under way or waits, and another identity follows.
    pub(crate) fn renew(&mut self) {
        self.identity = None;
        self.gap = false;
    }

    fn in_flight_max(&self, config: &ProducerConfig) -> usize {
        if config.is_idempotent() && self.is_known { IN_FLIGHT_MAX } else { 1 }
    }

    /// A batch was acknowledged.
    pub(crate) fn on_written(&mut self, batch: &Batch) {
        self.on_back(batch.number);
        self.is_known |= batch.stamp.is_some_and(|stamp| self.identity == Some(stamp.identity));
    }

    /// A batch is no longer in flight.
    pub(crate) fn on_back(&mut self, number: BatchNumber) {
        self.in_flight.retain(|&other| other != number);
    }

    /// Queues a batch to be sent again, in its place.
    pub(crate) fn put_back(&mut self, mut batch: Batch, at: Instant) {
        batch.is_under_way = false;
        let place = self.again.partition_point(|other| other.number < batch.number);
        self.again.insert(place, batch);
        self.again_at = Some(at);
    }

    /// Whether no earlier batch is under way or waits to be sent again.
    pub(crate) fn is_first(&self, number: BatchNumber) -> bool {
        self.in_flight.iter().all(|&other| other >= number) && self.again.iter().all(|batch| batch.number > number)
    }

    /// The identity is of no more use here.
    pub(crate) fn on_gap(&mut self, identity: Identity) {
        if self.identity == Some(identity) {
            self.gap = true;
        }
    }

    /// Whether giving this batch up leaves its sequence numbers missing. When it was the last that got any and surely was not
    /// written, they are simply given to the next.
    pub(crate) fn leaves_gap(&mut self, batch: &Batch, known: Known) -> bool {
        let Some(stamp) = batch.stamp.filter(|stamp| self.identity == Some(stamp.identity)) else { return false };
        let after = BatchProducer::sequence_after(stamp.sequence, batch.count);
        if known == Known::NotWritten && after == self.next_sequence {
            self.next_sequence = stamp.sequence;
            return false;
        }
        true
    }

    /// All batches whose deadline has passed, oldest first.
    pub(crate) fn take_expired(&mut self, now: Instant) -> Vec<Batch> {
        let mut expired = Vec::new();
        for queue in [&mut self.again, &mut self.full] {
            while let Some(batch) = queue.pop_front_if(|batch| batch.expires <= now) {
                expired.push(batch);
            }
        }
        expired.extend(self.open.take_if(|open| open.expires <= now));
        expired
    }

    /// When the oldest batch that waits expires. Deadlines are in the order of the batches.
    pub(crate) fn first_expiry(&self) -> Option<Instant> {
        let oldest = self.again.front().or(self.full.front()).or(self.open.as_ref());
        oldest.map(|batch| batch.expires)
    }

    /// All that waits, oldest first.
    pub(crate) fn take_all(&mut self) -> Vec<Batch> {
        self.again.drain(..).chain(self.full.drain(..)).chain(self.open.take()).collect()
    }
}
