//! What becomes of a batch, and the future by which each of its records learns it.
//!
//! One allocation serves all records of a batch. Must not know: sending, sockets.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use cairn_protocol::ids::{Offset, PartitionIndex, Timestamp};
use parking_lot::Mutex;

use super::ProduceError;

/// Where a batch was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// The first record's offset; unknown with acks=0, and when the broker had the batch already but no longer knew where.
    pub(crate) base_offset: Option<Offset>,
    /// The broker's time, when the topic's timestamps are the broker's.
    pub(crate) log_append_time: Option<Timestamp>,
}

/// Shared by a batch and the [`Delivery`] of each of its records.
#[derive(Debug, Default)]
pub(crate) struct Fate {
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Open {
        waiting: Vec<Waker>,
    },
    /// The batch was too large and became two; records from `at` on are in the second.
    Split {
        at: u32,
        first: Arc<Fate>,
        second: Arc<Fate>,
    },
    Decided(Result<Written, ProduceError>),
}

impl Default for State {
    fn default() -> Self {
        Self::Open { waiting: Vec::new() }
    }
}

impl Fate {
    /// Tells everybody who waits. What was decided first stays.
    pub(crate) fn decide(&self, outcome: Result<Written, ProduceError>) {
        let waiting = {
            let mut state = self.state.lock();
            let State::Open { waiting } = &mut *state else { return };
            let waiting = std::mem::take(waiting);
            *state = State::Decided(outcome);
            waiting
        };
        for waker in waiting {
            waker.wake();
        }
    }
}

impl Fate {
    /// From now on, the records before `at` share the first fate and the others the second.
    pub(crate) fn split(&self, at: u32, first: Arc<Self>, second: Arc<Self>) {
        let waiting = {
            let mut state = self.state.lock();
            let State::Open { waiting } = &mut *state else { return };
            let waiting = std::mem::take(waiting);
            *state = State::Split { at, first, second };
            waiting
        };
        // They look again, and wait for their half.
        for waker in waiting {
            waker.wake();
        }
    }
}

/// Where a record was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordMetadata {
    /// Its partition.
    pub partition: PartitionIndex,
    /// Its offset. `None` with acks=0, and in the rare case that a retried batch had been written already and the broker
    /// could not say where.
    pub offset: Option<Offset>,
    /// Its timestamp: the producer's, or the broker's where the topic says so.
    pub timestamp: Timestamp,
}

/// A record on its way. Resolves when the record is written as `acks` asks, or finally is not.
///
/// Dropping it changes nothing about the record. Cancel-safe: polling it again later gives the same result.
#[derive(Debug)]
#[must_use = "a delivery that nobody awaits hides whether the record was written"]
pub struct Delivery {
    fate: Arc<Fate>,
    partition: PartitionIndex,
    index: u32,
    timestamp: Timestamp,
    /// Where this future's waker is among those that wait.
    slot: Option<usize>,
}

impl Delivery {
    pub(crate) fn new(fate: Arc<Fate>, partition: PartitionIndex, index: u32, timestamp: Timestamp) -> Self {
        Self { fate, partition, index, timestamp, slot: None }
    }

    /// Goes on with the half that the record is in, as often as its batch was split.
    fn follow_splits(&mut self) {
        loop {
            let (fate, index) = match &*self.fate.state.lock() {
                State::Split { at, first, .. } if self.index < *at => (Arc::clone(first), self.index),
                State::Split { at, second, .. } => (Arc::clone(second), self.index - at),
                State::Open { .. } | State::Decided(_) => return,
            };
            (self.fate, self.index, self.slot) = (fate, index, None);
        }
    }

    fn metadata(&self, written: Written) -> RecordMetadata {
        RecordMetadata {
            partition: self.partition,
            offset: written.base_offset.map(|base| base.plus(i64::from(self.index))),
            timestamp: written.log_append_time.unwrap_or(self.timestamp),
        }
    }
}

impl Future for Delivery {
    type Output = Result<RecordMetadata, ProduceError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        this.follow_splits();
        let mut state = this.fate.state.lock();
        match &mut *state {
            // It was split between the two locks: soon enough the next time.
            State::Split { .. } => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
            State::Decided(Ok(written)) => {
                let written = *written;
                drop(state);
                Poll::Ready(Ok(this.metadata(written)))
            }
            State::Decided(Err(error)) => Poll::Ready(Err(error.clone())),
            State::Open { waiting } => {
                match this.slot.and_then(|slot| waiting.get_mut(slot)) {
                    Some(waker) => waker.clone_from(context.waker()),
                    None => {
                        this.slot = Some(waiting.len());
                        waiting.push(context.waker().clone());
                    }
                }
                Poll::Pending
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(fate: &Arc<Fate>, index: u32) -> Delivery {
        Delivery::new(Arc::clone(fate), PartitionIndex(2), index, Timestamp(77))
    }

    #[tokio::test]
    async fn every_record_learns_its_own_offset() {
        let fate = Arc::new(Fate::default());
        let waiting: Vec<_> = (0..3).map(|index| tokio::spawn(delivery(&fate, index))).collect();
        tokio::task::yield_now().await;
        fate.decide(Ok(Written { base_offset: Some(Offset(10)), log_append_time: None }));
        for (waiting, offset) in waiting.into_iter().zip(10..) {
            let metadata = waiting.await.expect("no panic").expect("written");
            assert_eq!((metadata.offset, metadata.timestamp), (Some(Offset(offset)), Timestamp(77)));
        }
    }

    #[tokio::test]
    async fn the_first_decision_stays() {
        let fate = Arc::new(Fate::default());
        fate.decide(Ok(Written { base_offset: None, log_append_time: Some(Timestamp(5)) }));
        fate.decide(Err(ProduceError::Closed));
        let metadata = delivery(&fate, 1).await.expect("the first");
        assert_eq!((metadata.offset, metadata.timestamp), (None, Timestamp(5)));
    }

    #[tokio::test]
    async fn records_follow_their_half_of_a_split_batch() {
        let (whole, first, second) = (Arc::new(Fate::default()), Arc::new(Fate::default()), Arc::new(Fate::default()));
        let waiting: Vec<_> = (0..4).map(|index| tokio::spawn(delivery(&whole, index))).collect();
        tokio::task::yield_now().await;
        whole.split(3, Arc::clone(&first), Arc::clone(&second));
        whole.decide(Err(ProduceError::Closed));
        second.decide(Ok(Written { base_offset: Some(Offset(90)), log_append_time: None }));
        first.decide(Ok(Written { base_offset: Some(Offset(10)), log_append_time: None }));
        for (waiting, offset) in waiting.into_iter().zip([10, 11, 12, 90]) {
            assert_eq!(waiting.await.expect("no panic").expect("written").offset, Some(Offset(offset)));
        }
    }

    #[test]
    fn polling_twice_keeps_one_waker() {
        let fate = Arc::new(Fate::default());
        let mut delivery = delivery(&fate, 0);
        let mut context = Context::from_waker(Waker::noop());
        for _ in 0..10 {
            assert!(Pin::new(&mut delivery).poll(&mut context).is_pending());
        }
        let State::Open { waiting } = &*fate.state.lock() else { panic!("decided") };
        assert_eq!(waiting.len(), 1);
    }
}
