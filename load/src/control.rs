//! How a load is watched and stopped while it runs.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Shared by a load and whoever watches it.
#[derive(Debug, Default)]
pub struct Control {
    stop: AtomicBool,
    acked: AtomicU64,
    read: AtomicU64,
}

impl Control {
    /// Nothing more is sent; what is under way is awaited.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }

    /// Whether it was stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Records that were acknowledged so far, those of warming up and of the backlog included.
    #[must_use]
    pub fn acked(&self) -> u64 {
        self.acked.load(Ordering::Relaxed)
    }

    /// Records that were read so far.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    pub(crate) fn on_acked(&self, records: u64) {
        self.acked.fetch_add(records, Ordering::Relaxed);
    }

    pub(crate) fn on_read(&self, records: u64) {
        self.read.fetch_add(records, Ordering::Relaxed);
    }
}
