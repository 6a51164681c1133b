//! The time by which records are stamped and kept, and the one that timeouts of groups run by.
//!
//! Must not know: who asks.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cairn_groups::{Now, Ticks};
use cairn_protocol::ids::Timestamp;

/// Milliseconds since the Unix epoch, as the system's clock has them.
pub(crate) fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// When the ticks began.
static BEGUN: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The present for groups: timeouts run by a clock that does not jump.
pub(crate) fn for_groups() -> Now {
    let since = BEGUN.elapsed().as_millis();
    Now { wall: now(), ticks: Ticks(u64::try_from(since).unwrap_or(u64::MAX)) }
}

/// The clock that replication runs by: it never jumps, and counts while the machine sleeps.
pub(crate) fn ticks() -> cairn_replication::Ticks {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let (seconds, nanos) = (u64::try_from(now.tv_sec).unwrap_or(0), u64::try_from(now.tv_nsec).unwrap_or(0));
    cairn_replication::Ticks(seconds * 1000 + nanos / 1_000_000)
}

/// When it will be so late.
pub(crate) fn instant_of(ticks: Ticks) -> Instant {
    *BEGUN + Duration::from_millis(ticks.0)
}

/// A jump of the clock that is not worth a word, whatever is asked how often.
const JUMP_MIN: Duration = Duration::from_secs(60);

/// The time by which old things are deleted. A clock that has jumped forward since it was last asked, by more than the time
/// between two questions, is believed only when it still says so at the next: one wrong clock must not delete everything.
///
/// A clock that goes back is believed at once, because that deletes less.
#[derive(Debug)]
pub(crate) struct CautiousClock {
    jump_max: Duration,
    /// What the clock said last, and when that was by one that nobody sets.
    wall: Timestamp,
    steady: Instant,
    /// What was answered.
    believed: Timestamp,
}

impl CautiousClock {
    /// A clock that is asked about every `interval`.
    pub(crate) fn start(interval: Duration) -> Self {
        Self::at(interval, now(), Instant::now())
    }

    fn at(interval: Duration, wall: Timestamp, steady: Instant) -> Self {
        Self { jump_max: interval.max(JUMP_MIN), wall, steady, believed: wall }
    }

    /// The time to delete by.
    pub(crate) fn read(&mut self) -> Timestamp {
        self.read_at(now(), Instant::now())
    }

    fn read_at(&mut self, wall: Timestamp, steady: Instant) -> Timestamp {
        let passed = millis(steady.saturating_duration_since(self.steady));
        let jump = wall.0.saturating_sub(self.wall.0).saturating_sub(passed);
        let has_jumped = jump > millis(self.jump_max);
        if has_jumped {
            tracing::error!(
                jump_ms = jump,
                "the clock has jumped forward: nothing is deleted by it before it says so a second time"
            );
        }
        let without_jump = Timestamp(self.believed.0.saturating_add(passed));
        *self = Self {
            believed: if has_jumped { wall.min(without_jump) } else { wall },
            wall,
            steady,
            jump_max: self.jump_max,
        };
        self.believed
    }
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;
    const YEAR: i64 = 365 * 24 * 60 * MINUTE;

    /// Asks every five minutes; the clock says what is given, in milliseconds from its start.
    fn answers(walls: &[i64]) -> Vec<i64> {
        let every = Duration::from_secs(300);
        let mut steady = Instant::now();
        let mut clock = CautiousClock::at(every, Timestamp(0), steady);
        let answer = |wall: &i64| {
            steady += every;
            clock.read_at(Timestamp(*wall), steady).0
        };
        walls.iter().map(answer).collect()
    }

    #[test]
    fn a_jump_forward_is_believed_only_the_second_time() {
        let jumped = [5 * MINUTE, 10 * MINUTE + YEAR, 15 * MINUTE + YEAR, 20 * MINUTE + YEAR];
        assert_eq!(answers(&jumped), [5 * MINUTE, 10 * MINUTE, 15 * MINUTE + YEAR, 20 * MINUTE + YEAR]);
    }

    #[test]
    fn a_jump_that_is_set_right_has_never_counted() {
        let mended = [5 * MINUTE, 10 * MINUTE + YEAR, 15 * MINUTE, 20 * MINUTE];
        assert_eq!(answers(&mended), [5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 20 * MINUTE]);
    }

    #[test]
    fn a_clock_that_jumps_each_time_is_never_believed() {
        let wild = [YEAR, 2 * YEAR, 3 * YEAR];
        assert_eq!(answers(&wild), [5 * MINUTE, 10 * MINUTE, 15 * MINUTE]);
    }

    #[test]
    fn back_and_a_little_ahead_is_believed_at_once() {
        assert_eq!(answers(&[-YEAR, -YEAR + 5 * MINUTE]), [-YEAR, -YEAR + 5 * MINUTE]);
        assert_eq!(answers(&[9 * MINUTE, 18 * MINUTE]), [9 * MINUTE, 18 * MINUTE]);
    }
}
