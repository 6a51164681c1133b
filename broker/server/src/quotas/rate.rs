//! How much a client used in a second, over a few windows of time, and how long it must rest to be back at its limit. Kafka's rule,
//! so that a limit means the same here as there.
//!
//! ```text
//!   | window | window | ... | window, not full yet |
//!   ^ oldest that counts                            ^ now
//!   used in all of them / time since the oldest began (windows that are missing count as empty ones)
//! ```
//!
//! Must not know: clocks (the time is given in), whose rate it is.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Throttle;

/// Over how long rates are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Windows {
    /// How many, the one that is not full yet among them.
    pub(crate) count: u32,
    pub(crate) length: Duration,
}

impl Windows {
    /// All of them.
    pub(super) fn span(&self) -> Duration {
        self.length.saturating_mul(self.count)
    }

    /// Those that are full.
    pub(super) fn full(&self) -> Duration {
        self.length.saturating_mul(self.count.saturating_sub(1))
    }
}

/// What was used lately.
#[derive(Clone, Debug, Default)]
pub(super) struct Rate {
    /// The oldest first.
    samples: VecDeque<Sample>,
}

/// What was used in one window.
#[derive(Clone, Copy, Debug)]
struct Sample {
    begun: Instant,
    last: Instant,
    used: f64,
}

/// The shortest time that a rate is taken over: with a single window that has just begun there would be none.
const ELAPSED_MIN: Duration = Duration::from_millis(1);

impl Rate {
    /// So much was used, or given back where it is less than nothing.
    pub(super) fn record(&mut self, windows: Windows, used: f64, now: Instant) {
        match self.samples.back_mut() {
            Some(sample) if now.saturating_duration_since(sample.begun) < windows.length => {
                sample.used += used;
                sample.last = now;
            }
            _ => {
                // One more than counts, as the oldest still overlaps the time that is looked at.
                if self.samples.len() > windows.count as usize {
                    self.samples.pop_front();
                }
                self.samples.push_back(Sample { begun: now, last: now, used });
            }
        }
    }

    /// How long nothing may be used so that the rate is back at `limit`.
    pub(super) fn throttle(&mut self, windows: Windows, limit: f64, now: Instant) -> Throttle {
        self.forget_old(windows, now);
        let used: f64 = self.samples.iter().map(|sample| sample.used).sum();
        Throttle::from_seconds(used / limit - self.elapsed(windows, now).as_secs_f64())
    }

    /// Whether nothing counts any more.
    pub(super) fn is_over(&self, windows: Windows, now: Instant) -> bool {
        self.samples.back().is_none_or(|sample| now.saturating_duration_since(sample.last) >= windows.span())
    }

    /// Whether nothing was used that still counts.
    pub(super) fn is_unused(&mut self, windows: Windows, now: Instant) -> bool {
        self.forget_old(windows, now);
        self.samples.iter().all(|sample| sample.used <= 0.0)
    }

    fn forget_old(&mut self, windows: Windows, now: Instant) {
        while self.samples.front().is_some_and(|sample| now.saturating_duration_since(sample.last) >= windows.span()) {
            self.samples.pop_front();
        }
    }

    fn elapsed(&self, windows: Windows, now: Instant) -> Duration {
        let begun = self.samples.front().map_or(now, |oldest| oldest.begun);
        let elapsed = now.saturating_duration_since(begun);
        let full = elapsed.as_nanos() / windows.length.as_nanos().max(1);
        let missing = u128::from(windows.count.saturating_sub(1)).saturating_sub(full);
        let missing = u32::try_from(missing).unwrap_or(u32::MAX);
        (elapsed + windows.length.saturating_mul(missing)).max(ELAPSED_MIN)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WINDOWS: Windows = Windows { count: 11, length: Duration::from_secs(1) };

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// What is used when, in milliseconds.
    type Used = &'static [(u64, f64)];

    #[test]
    fn a_burst_is_paid_by_the_time_that_its_bytes_would_have_taken() {
        // (limit, [(at ms, used)], throttle ms): the ten full windows count as empty ones at first.
        let cases: [(f64, Used, i32); 7] = [
            (100.0, &[(0, 1000.0)], 0),
            (100.0, &[(0, 1001.0)], 10),
            (100.0, &[(0, 2000.0)], 10_000),
            (100.0, &[(0, 600.0), (500, 600.0)], 1_500),
            (100.0, &[(0, 600.0), (5_000, 600.0)], 2_000),
            // The first is in the past: too old to count.
            (100.0, &[(0, 5_000.0), (11_000, 1_000.0)], 0),
            (0.5, &[(0, 10.0)], 10_000),
        ];
        for (limit, used, expected) in cases {
            let begun = Instant::now();
            let mut rate = Rate::default();
            let mut throttle = Throttle::NONE;
            for (at, used) in used {
                let now = begun + ms(*at);
                rate.record(WINDOWS, *used, now);
                throttle = rate.throttle(WINDOWS, limit, now);
            }
            assert_eq!(throttle.millis(), expected, "{limit} {used:?}");
        }
    }

    #[test]
    fn what_is_given_back_was_never_used() {
        let now = Instant::now();
        let mut rate = Rate::default();
        rate.record(WINDOWS, 900.0, now);
        rate.record(WINDOWS, 900.0, now);
        assert!(!rate.throttle(WINDOWS, 100.0, now).is_none());
        rate.record(WINDOWS, -900.0, now);
        assert!(rate.throttle(WINDOWS, 100.0, now).is_none() && !rate.is_unused(WINDOWS, now));
        rate.record(WINDOWS, -900.0, now);
        assert!(rate.is_unused(WINDOWS, now));
    }

    #[test]
    fn a_single_window_has_no_rate_without_time() {
        let one = Windows { count: 1, length: Duration::from_secs(1) };
        let now = Instant::now();
        let mut rate = Rate::default();
        rate.record(one, 10.0, now);
        assert_eq!(rate.throttle(one, 10.0, now).millis(), 999);
    }

    proptest! {
        /// Who rests as told stays at the limit in the long run, beside what all windows hold and one piece more. This holds for
        /// pieces of a second's worth: larger ones are forgotten before they are paid for whole, which is Kafka's rule.
        #[test]
        fn who_rests_as_told_stays_at_the_limit(
            limit in 1.0_f64..1e6,
            pieces in prop::collection::vec((0.01_f64..1.0, 0_u64..400), 50..300),
        ) {
            let begun = Instant::now();
            let (mut now, mut all, mut largest) = (begun, 0.0, 0.0_f64);
            let mut rate = Rate::default();
            for (part, pause) in pieces {
                let used = limit * part;
                (all, largest) = (all + used, largest.max(used));
                rate.record(WINDOWS, used, now);
                now += rate.throttle(WINDOWS, limit, now).time() + ms(pause);
            }
            let allowed = limit * ((now - begun).as_secs_f64() + WINDOWS.span().as_secs_f64()) + largest;
            prop_assert!(all <= allowed * 1.001, "{all} of {allowed}");
        }

        /// Who stays under the limit in every window is never told to rest.
        #[test]
        fn who_stays_under_the_limit_is_never_held_up(
            limit in 1.0_f64..1e6,
            parts in prop::collection::vec(0.0_f64..1.0, 1..100),
        ) {
            let begun = Instant::now();
            let mut rate = Rate::default();
            for (second, part) in (0..).zip(parts) {
                let now = begun + Duration::from_secs(second);
                rate.record(WINDOWS, limit * part * 0.9, now);
                prop_assert!(rate.throttle(WINDOWS, limit, now).is_none());
            }
        }

        /// Memory is that of the windows, whatever is recorded.
        #[test]
        fn no_more_samples_are_kept_than_count(pauses in prop::collection::vec(0_u64..5_000, 1..200)) {
            let mut now = Instant::now();
            let mut rate = Rate::default();
            for pause in pauses {
                now += ms(pause);
                rate.record(WINDOWS, 1.0, now);
                prop_assert!(rate.samples.len() <= 12 && !rate.is_over(WINDOWS, now));
            }
            prop_assert!(rate.is_over(WINDOWS, now + WINDOWS.span()));
        }
    }
}
