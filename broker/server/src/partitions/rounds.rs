//! What is due at some time, taken in rounds: what is due soon goes with what is due now, so that many that are due one after
//! the other cost one wake-up and not one each.
//!
//! Must not know: what is due, who waits for it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

/// What is due, the earliest first.
#[derive(Debug)]
pub(super) struct Rounds<T>(BinaryHeap<Reverse<Due<T>>>);

#[derive(Debug)]
struct Due<T> {
    at: Instant,
    /// From then on it goes with others.
    with_others: Instant,
    what: T,
}

impl<T> Default for Rounds<T> {
    fn default() -> Self {
        Self(BinaryHeap::new())
    }
}

impl<T> Rounds<T> {
    /// `what` is due `after` now at the latest. Tells whether it is now the first, or `None` for a time that no clock reaches,
    /// which is no time.
    pub(super) fn push(&mut self, now: Instant, after: Duration, what: T) -> Option<First> {
        let at = now.checked_add(after)?;
        // Not earlier: who has just been taken and comes again at once would be taken with everybody else's turn.
        let with_others = now + after / 2;
        let first = if self.next().is_none_or(|next| at < next) { First::Yes } else { First::No };
        self.0.push(Reverse(Due { at, with_others, what }));
        Some(first)
    }

    /// When the next round is.
    pub(super) fn next(&self) -> Option<Instant> {
        self.0.peek().map(|Reverse(first)| first.at)
    }

    /// What is due; when there is something, also what may go with it.
    pub(super) fn take(&mut self, now: Instant) -> Vec<T> {
        let mut taken = Vec::new();
        if self.next().is_none_or(|next| next > now) {
            return taken;
        }
        while self.0.peek().is_some_and(|Reverse(first)| first.with_others <= now) {
            taken.extend(self.0.pop().map(|Reverse(due)| due.what));
        }
        taken
    }
}

/// Whether what was pushed is due before all else, so that whoever sleeps until the next round has to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum First {
    Yes,
    No,
}

impl<T> PartialEq for Due<T> {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl<T> Eq for Due<T> {}

impl<T> PartialOrd for Due<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Due<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLUSH: Duration = Duration::from_millis(100);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn nothing_is_taken_before_something_is_due() {
        let (begin, mut rounds) = (Instant::now(), Rounds::default());
        assert_eq!(rounds.push(begin, FLUSH, 'a'), Some(First::Yes));
        assert_eq!(rounds.push(begin + ms(10), FLUSH, 'b'), Some(First::No));
        assert_eq!(rounds.take(begin + ms(99)), []);
        assert_eq!(rounds.next(), Some(begin + FLUSH));
        assert_eq!(rounds.push(begin, Duration::MAX, 'c'), None);
    }

    #[test]
    fn what_has_waited_half_its_time_goes_with_what_is_due() {
        let (begin, mut rounds) = (Instant::now(), Rounds::default());
        rounds.push(begin, FLUSH, 'a');
        rounds.push(begin + ms(50), FLUSH, 'b');
        rounds.push(begin + ms(51), FLUSH, 'c');
        assert_eq!(rounds.take(begin + FLUSH), ['a', 'b']);
        assert_eq!(rounds.next(), Some(begin + ms(151)));
    }

    #[test]
    fn one_that_has_long_time_is_not_taken_with_every_short_one() {
        let (begin, mut rounds) = (Instant::now(), Rounds::default());
        rounds.push(begin, ms(10_000), "long");
        for turn in 0..499 {
            rounds.push(begin + ms(10 * turn), ms(10), "short");
            assert_eq!(rounds.take(begin + ms(10 * turn + 10)), ["short"], "turn {turn}");
        }
        rounds.push(begin + ms(4_990), ms(10), "short");
        assert_eq!(rounds.take(begin + ms(5_000)), ["short", "long"]);
    }

    /// Twelve that are written to all the time, and came one after the other: once they have met they stay together.
    #[test]
    fn those_that_are_always_due_meet_in_one_round() {
        let (begin, mut rounds) = (Instant::now(), Rounds::default());
        for number in 0..12 {
            rounds.push(begin + ms(8 * number), FLUSH, number);
        }
        let mut sizes = Vec::new();
        for _ in 0..5 {
            let now = rounds.next().unwrap();
            let mut taken = rounds.take(now);
            sizes.push(taken.len());
            taken.sort_unstable();
            for number in taken {
                rounds.push(now + ms(number % 3), FLUSH, number);
            }
        }
        assert_eq!(sizes[2..], [12, 12, 12], "{sizes:?}");
    }
}
