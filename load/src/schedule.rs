//! When each record of an open loop is due.
//!
//! The schedule never waits for the broker: what comes late is late, and the records behind it count from when they were due
//! (no coordinated omission). Must not know: who sends.

use std::time::{Duration, Instant};

const NANOS_PER_SECOND: u128 = 1_000_000_000;

/// Records at a steady rate from a moment on. Their numbers begin at 0.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    begin: Instant,
    /// So many records ...
    records: u64,
    /// ... in such a time.
    per: Duration,
}

impl Schedule {
    /// So many records a second.
    #[must_use]
    pub fn per_second(begin: Instant, records: u64) -> Self {
        Self { begin, records: records.max(1), per: Duration::from_secs(1) }
    }

    /// One record at each interval.
    #[must_use]
    pub fn every(begin: Instant, interval: Duration) -> Self {
        Self { begin, records: 1, per: interval.max(Duration::from_nanos(1)) }
    }

    /// When this record is due.
    #[must_use]
    pub fn due(&self, number: u64) -> Instant {
        let nanos = u128::from(number) * self.per.as_nanos() / u128::from(self.records);
        self.begin + nanos_to_duration(nanos)
    }

    /// How many records are due at `now` or before.
    #[must_use]
    pub fn due_by(&self, now: Instant) -> u64 {
        match now.checked_duration_since(self.begin) {
            // The first whose time is after `now`, as times are rounded down.
            Some(since) => self.due_before(since + Duration::from_nanos(1)),
            None => 0,
        }
    }

    /// How many records are due in the first `length`, its end excluded.
    #[must_use]
    pub fn due_before(&self, length: Duration) -> u64 {
        let count = (length.as_nanos() * u128::from(self.records)).div_ceil(self.per.as_nanos());
        u64::try_from(count).unwrap_or(u64::MAX)
    }
}

fn nanos_to_duration(nanos: u128) -> Duration {
    let seconds = u64::try_from(nanos / NANOS_PER_SECOND).unwrap_or(u64::MAX);
    Duration::new(seconds, u32::try_from(nanos % NANOS_PER_SECOND).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_has_as_many_records_as_the_rate_says() {
        let begin = Instant::now();
        for rate in [1, 3, 7, 1_000, 333_333, 3_000_000] {
            let schedule = Schedule::per_second(begin, rate);
            assert_eq!(schedule.due_before(Duration::from_secs(1)), rate);
            assert_eq!(schedule.due_before(Duration::from_secs(60)), 60 * rate);
            assert_eq!(schedule.due(0), begin);
            assert_eq!(schedule.due(rate), begin + Duration::from_secs(1));
        }
    }

    #[test]
    fn a_record_is_due_from_its_time_on() {
        let begin = Instant::now();
        let step = Duration::from_nanos(1);
        for rate in [1, 7, 1_000, 333_333] {
            let schedule = Schedule::per_second(begin, rate);
            for number in [0, 1, 2, 5, 6, 1_000_001] {
                let due = schedule.due(number);
                assert_eq!(schedule.due_by(due), number + 1, "record {number} of {rate}");
                if number > 0 {
                    assert_eq!(schedule.due_by(due - step), number, "before record {number} of {rate}");
                }
            }
        }
    }

    #[test]
    fn nothing_is_due_before_the_beginning() {
        let now = Instant::now();
        let schedule = Schedule::every(now + Duration::from_secs(1), Duration::from_millis(100));
        assert_eq!(schedule.due_by(now), 0);
        assert_eq!(schedule.due(3), now + Duration::from_millis(1_300));
        assert_eq!(schedule.due_before(Duration::from_millis(201)), 3);
    }
}
