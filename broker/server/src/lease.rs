//! Whether this broker may act on what it saw last of the cluster's metadata: of whom the controller has not heard for long, others may
//! have taken the place.
//!
//! Who has lost it leads nothing for clients: nobody is told by it where a log ends, what was committed for a group, or that a record was
//! taken. It still takes pushes, and what it has pushed may still be committed: that needs the others, who know better.
//!
//! Must not know: heartbeats, requests.

use std::sync::atomic::{AtomicU64, Ordering};

use cairn_replication::{Lease, Ticks};
use parking_lot::Mutex;

use crate::clock;

/// Until then a broker holds it that nobody could replace.
const FOR_EVER: u64 = u64::MAX;

/// This broker's lease.
#[derive(Debug)]
pub(crate) struct HeldLease {
    lease: Mutex<Lease>,
    /// When it ends, for those who only ask.
    until: AtomicU64,
}

impl HeldLease {
    /// Of a broker that is alone, until it hears of others.
    pub(crate) fn alone(session_ms: u64) -> Self {
        Self { lease: Mutex::new(Lease::of_session(session_ms)), until: AtomicU64::new(FOR_EVER) }
    }

    /// There is nobody who could take its place.
    pub(crate) fn on_alone(&self) {
        self.until.store(FOR_EVER, Ordering::Release);
    }

    /// The controller has heard it, and what was sent then was sent at that time.
    pub(crate) fn on_granted(&self, sent: Ticks) {
        let mut lease = self.lease.lock();
        lease.on_heartbeat_answered(sent);
        self.note(&lease);
    }

    /// The controller knows another process as this broker.
    pub(crate) fn on_lost(&self) {
        let mut lease = self.lease.lock();
        lease.on_fenced();
        self.note(&lease);
    }

    fn note(&self, lease: &Lease) {
        self.until.store(lease.until().map_or(0, |until| until.0), Ordering::Release);
    }

    /// Whether it is held now.
    pub(crate) fn holds(&self) -> bool {
        let until = self.until.load(Ordering::Acquire);
        until == FOR_EVER || clock::ticks().0 < until
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_held_as_long_as_the_controller_hears_this_broker_or_there_is_no_other() {
        let lease = HeldLease::alone(3_600_000);
        assert!(lease.holds());
        lease.on_granted(clock::ticks());
        assert!(lease.holds());
        lease.on_lost();
        assert!(!lease.holds());
        lease.on_granted(clock::ticks());
        assert!(lease.holds());
        lease.on_alone();
        assert!(lease.holds());
        let lease = HeldLease::alone(0);
        lease.on_granted(clock::ticks());
        assert!(!lease.holds(), "it ends by itself");
    }
}
