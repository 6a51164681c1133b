//! How long a broker may believe that it is not fenced.
//!
//! The quorum fences a broker that it has not heard of for a session; the broker stops acting on its own before that. Who
//! loses the lease appends nothing, tells nobody where a log ends, and coordinates nothing; it still takes pushes. The lease
//! is asked again right before an answer goes out, because a process may have been asleep since it was asked first.
//!
//! Must not know: heartbeats' content, clocks: [`Ticks`] must count while the machine sleeps.

use crate::ticks::Ticks;

/// What a lease is shorter than a session: what two clocks may drift apart meanwhile, and the time that an answer takes.
const MARGIN_PARTS: u64 = 3;

/// A broker's lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    length_ms: u64,
    until: Option<Ticks>,
}

impl Lease {
    /// A lease that is not held yet, of two thirds of the session that the quorum grants.
    #[must_use]
    pub fn of_session(session_ms: u64) -> Self {
        Self { length_ms: session_ms - session_ms / MARGIN_PARTS, until: None }
    }

    /// The quorum has answered the heartbeat that was sent at `sent`: the session began no earlier.
    pub fn on_heartbeat_answered(&mut self, sent: Ticks) {
        self.until = self.until.max(Some(sent.after(self.length_ms)));
    }

    /// The quorum has said that this broker is fenced, or another incarnation.
    pub fn on_fenced(&mut self) {
        self.until = None;
    }

    /// When it ends; none while it is not held.
    #[must_use]
    pub fn until(&self) -> Option<Ticks> {
        self.until
    }

    /// Whether it is held.
    #[must_use]
    pub fn holds(&self, now: Ticks) -> bool {
        self.until.is_some_and(|until| now < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_before_the_session_that_it_is_of() {
        let mut lease = Lease::of_session(9_000);
        assert!(!lease.holds(Ticks(0)), "nobody has granted it");
        lease.on_heartbeat_answered(Ticks(1_000));
        assert!(lease.holds(Ticks(6_999)));
        assert!(!lease.holds(Ticks(7_000)));
        lease.on_heartbeat_answered(Ticks(3_000));
        // An answer that was overtaken takes nothing back.
        lease.on_heartbeat_answered(Ticks(2_000));
        assert!(lease.holds(Ticks(8_999)));
        lease.on_fenced();
        assert!(!lease.holds(Ticks(3_001)));
    }
}
