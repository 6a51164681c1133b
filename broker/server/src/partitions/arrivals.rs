//! Fetches that wait for records.
//!
//! A fetch is noted once with each of its partitions, and counts there what arrives; when it is enough, it wakes. Noting
//! comes before the last look at the partitions, so that nothing arrives unseen in between.
//!
//! Must not know: logs, what a fetch does when it wakes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;
use parking_lot::Mutex;

use super::Partition;

/// More than ever arrives, and far from the ends of the type.
const UNKNOWN: i64 = i64::MAX / 4;

/// One waiting fetch, noted with its partitions until it is dropped.
#[derive(Debug)]
pub(crate) struct Arrivals {
    shared: Arc<Shared>,
    partitions: Vec<Arc<Partition>>,
}

#[derive(Debug)]
struct Shared {
    missing: AtomicI64,
    woken: AtomicBool,
    waker: AtomicWaker,
}

impl Arrivals {
    /// Begins to count what arrives in `partitions`.
    pub(crate) fn new(partitions: Vec<Arc<Partition>>) -> Self {
        let shared = Arc::new(Shared {
            missing: AtomicI64::new(UNKNOWN),
            woken: AtomicBool::new(false),
            waker: AtomicWaker::new(),
        });
        for partition in &partitions {
            partition.waiting().note(&shared);
        }
        Self { shared, partitions }
    }

    /// So many bytes are missing, as a look after [`Self::new`] has found. What arrived before that look counts too: then the
    /// wait ends early, and another look is taken.
    pub(crate) fn expect(&self, missing: i64) {
        let change = missing - UNKNOWN;
        if self.shared.missing.fetch_add(change, Ordering::AcqRel) <= -change {
            self.shared.wake();
        }
    }

    /// Ready when enough has arrived, or something else has happened that the client should hear of.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.shared.waker.register(cx.waker());
        if self.shared.woken.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Arrivals {
    fn drop(&mut self) {
        for partition in &self.partitions {
            partition.waiting().forget(&self.shared);
        }
    }
}

impl Shared {
    fn wake(&self) {
        if !self.woken.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
    }
}

/// The fetches that wait for one partition. Bounded by the connections: each has at most one.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    /// Lets an append pass without the lock when nobody waits.
    count: AtomicUsize,
    fetches: Mutex<Vec<Arc<Shared>>>,
}

impl Waiting {
    fn note(&self, fetch: &Arc<Shared>) {
        let mut fetches = self.fetches.lock();
        fetches.push(Arc::clone(fetch));
        // With the append's own order (watermark, then this count) one of the two sees the other.
        self.count.store(fetches.len(), Ordering::SeqCst);
    }

    fn forget(&self, fetch: &Arc<Shared>) {
        let mut fetches = self.fetches.lock();
        if let Some(at) = fetches.iter().position(|noted| Arc::ptr_eq(noted, fetch)) {
            fetches.swap_remove(at);
            self.count.store(fetches.len(), Ordering::SeqCst);
        }
    }

    /// So much can be read that could not be before. The watermark has been raised already.
    pub(crate) fn on_arrived(&self, bytes: i64) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        for fetch in self.fetches.lock().iter() {
            if fetch.missing.fetch_sub(bytes, Ordering::AcqRel) <= bytes {
                fetch.wake();
            }
        }
    }

    /// Something has changed that no fetch should sleep through.
    pub(crate) fn wake_all(&self) {
        for fetch in self.fetches.lock().iter() {
            fetch.wake();
        }
    }
}
