//! Tokens that come back at a fixed rate, up to a bound: for work that comes in bursts (KIP-599).
//!
//! Must not know: clocks (the time is given in), what a token buys.

use std::time::{Duration, Instant};

use super::Throttle;
use super::rate::Windows;

/// The tokens of one client. There may be less than none: a burst is taken whole and paid afterwards.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenBucket {
    tokens: f64,
    filled: Instant,
    /// When it is as full as a new one.
    full: Instant,
}

/// Further ahead than this nothing is foreseen.
const FORESEEN_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

impl TokenBucket {
    /// A full one.
    pub(super) fn new(windows: Windows, limit: f64, now: Instant) -> Self {
        Self { tokens: most(windows, limit), filled: now, full: now }
    }

    /// How long to wait until there is no debt.
    pub(super) fn throttle(&mut self, windows: Windows, limit: f64, now: Instant) -> Throttle {
        self.fill(windows, limit, now);
        Throttle::from_seconds(-self.tokens / limit)
    }

    /// Takes tokens, also those that are not there.
    pub(super) fn take(&mut self, windows: Windows, limit: f64, tokens: f64, now: Instant) {
        self.fill(windows, limit, now);
        self.tokens -= tokens;
        let missing = Duration::try_from_secs_f64((most(windows, limit) - self.tokens) / limit);
        self.full = now + missing.map_or(FORESEEN_MAX, |missing| missing.min(FORESEEN_MAX));
    }

    /// Whether it is as good as a new one.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        now >= self.full
    }

    fn fill(&mut self, windows: Windows, limit: f64, now: Instant) {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + limit * passed).min(most(windows, limit));
        self.filled = self.filled.max(now);
    }
}

/// What a full one holds.
fn most(windows: Windows, limit: f64) -> f64 {
    windows.span().as_secs_f64() * limit
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOWS: Windows = Windows { count: 10, length: Duration::from_secs(1) };

    #[test]
    fn a_burst_is_taken_whole_and_paid_afterwards() {
        let now = Instant::now();
        let mut bucket = TokenBucket::new(WINDOWS, 2.0, now);
        assert!(bucket.is_over(now));
        bucket.take(WINDOWS, 2.0, 20.0, now);
        assert!(bucket.throttle(WINDOWS, 2.0, now).is_none(), "none left is no debt");
        bucket.take(WINDOWS, 2.0, 7.0, now);
        assert_eq!(bucket.throttle(WINDOWS, 2.0, now).millis(), 3_500);
        assert_eq!(bucket.throttle(WINDOWS, 2.0, now + Duration::from_secs(3)).millis(), 500);
        assert!(bucket.throttle(WINDOWS, 2.0, now + Duration::from_millis(3_500)).is_none());
        assert!(!bucket.is_over(now + Duration::from_millis(13_499)));
        assert!(bucket.is_over(now + Duration::from_millis(13_500)));
    }

    #[test]
    fn a_lower_limit_holds_at_once() {
        let now = Instant::now();
        let mut bucket = TokenBucket::new(WINDOWS, 100.0, now);
        bucket.take(WINDOWS, 1.0, 11.0, now);
        assert_eq!(bucket.throttle(WINDOWS, 1.0, now).millis(), 1_000);
    }

    proptest! {
        /// Who takes nothing while in debt gets the rate, a full bucket and one take more, never more than that.
        #[test]
        fn who_waits_for_its_debt_stays_at_the_limit(
            limit in 0.1_f64..1e4,
            takes in prop::collection::vec((0.0_f64..50.0, 0_u64..300), 20..200),
        ) {
            let begun = Instant::now();
            let (mut now, mut all, mut largest) = (begun, 0.0, 0.0_f64);
            let mut bucket = TokenBucket::new(WINDOWS, limit, now);
            for (tokens, pause) in takes {
                now += Duration::from_millis(pause);
                if bucket.throttle(WINDOWS, limit, now).is_none() {
                    bucket.take(WINDOWS, limit, tokens, now);
                    (all, largest) = (all + tokens, largest.max(tokens));
                }
            }
            let allowed = limit * ((now - begun).as_secs_f64() + WINDOWS.span().as_secs_f64()) + largest;
            prop_assert!(all <= allowed * 1.001, "{all} of {allowed}");
        }
    }
}
