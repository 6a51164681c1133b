//! What went into a partition and out of it, counted.
//!
//! Must not know: who reads or writes.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::telemetry;

/// Counts since the partition was opened.
#[derive(Debug, Default)]
pub(crate) struct Traffic {
    bytes_in: AtomicU64,
    records_in: AtomicU64,
    bytes_out: AtomicU64,
    records_out: AtomicU64,
}

impl Traffic {
    pub(super) fn on_appended(&self, bytes: usize, records: u64) {
        self.bytes_in.fetch_add(bytes as u64, Ordering::Relaxed);
        self.records_in.fetch_add(records, Ordering::Relaxed);
    }

    /// Batches are given to a consumer, who goes on so many offsets further.
    pub(crate) fn on_fetched(&self, bytes: usize, offsets: u64) {
        self.bytes_out.fetch_add(bytes as u64, Ordering::Relaxed);
        self.records_out.fetch_add(offsets, Ordering::Relaxed);
    }

    pub(crate) fn counts(&self) -> telemetry::Traffic {
        telemetry::Traffic {
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            records_in: self.records_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
            records_out: self.records_out.load(Ordering::Relaxed),
        }
    }
}
