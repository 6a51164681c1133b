//! Produces that wait until what they appended is durable.
//!
//! One [`AckWait`] stands for one request, whatever number of partitions it wrote to, and is woken once.
//!
//! ```text
//!   append, under the partition's lock -> AckQueue::push(end, ticket)     in the order of the log
//!   a sync has ended -> AckQueue::release(durable end) -> tickets          the last ticket wakes the wait
//! ```
//!
//! Must not know: logs, disks.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use cairn_protocol::ids::Offset;
use futures::task::AtomicWaker;

/// Ready when all its tickets are gone.
#[derive(Debug, Default)]
pub(crate) struct AckWait(Arc<Shared>);

/// One partition's part in an [`AckWait`]; it counts as done when it is dropped, also when its partition has failed.
#[derive(Debug)]
pub(crate) struct Ticket(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    left: AtomicUsize,
    waker: AtomicWaker,
}

impl AckWait {
    /// One more partition to wait for.
    pub(crate) fn ticket(&self) -> Ticket {
        self.0.left.fetch_add(1, Ordering::Relaxed);
        Ticket(Arc::clone(&self.0))
    }

    /// Whether there is nothing to wait for.
    pub(crate) fn is_done(&self) -> bool {
        self.0.left.load(Ordering::Acquire) == 0
    }
}

impl Future for AckWait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.waker.register(cx.waker());
        if self.is_done() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.0.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.waker.wake();
        }
    }
}

/// The tickets of one partition, in the order of their offsets. Bounded by the requests that may be in flight.
#[derive(Debug, Default)]
pub(crate) struct AckQueue(VecDeque<(Offset, Ticket)>);

impl AckQueue {
    /// `ticket` waits until everything below `end` is durable.
    pub(crate) fn push(&mut self, end: Offset, ticket: Ticket) {
        self.0.push_back((end, ticket));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What need not wait any longer. A retry of an older batch may stand behind newer ones; it goes with them.
    pub(crate) fn release(&mut self, durable_end: Offset) -> Vec<Ticket> {
        let ready = self.0.iter().take_while(|(end, _)| *end <= durable_end).count();
        self.0.drain(..ready).map(|(_, ticket)| ticket).collect()
    }

    /// All of them: nothing will become durable any more.
    pub(crate) fn release_all(&mut self) -> Vec<Ticket> {
        self.0.drain(..).map(|(_, ticket)| ticket).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_ends_with_its_last_ticket() {
        let (mut a, mut b) = (AckQueue::default(), AckQueue::default());
        let wait = AckWait::default();
        a.push(Offset(3), wait.ticket());
        a.push(Offset(7), AckWait::default().ticket());
        b.push(Offset(5), wait.ticket());
        let waiting = tokio::spawn(wait);
        drop(a.release(Offset(2)));
        drop(a.release(Offset(6)));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        assert_eq!(b.release(Offset(4)).len(), 0);
        drop(b.release(Offset(5)));
        waiting.await.unwrap();
        assert_eq!(a.release_all().len(), 1);
    }

    #[tokio::test]
    async fn nothing_to_wait_for_is_done_at_once() {
        let wait = AckWait::default();
        assert!(wait.is_done());
        wait.await;
    }
}
