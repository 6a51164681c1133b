//! What has to happen when time passes and nobody asks: sessions, joins and syncs that run out.
//!
//! A timer lies with what it belongs to and says when it is due; the queue says when to look at it. Moving a timer to later,
//! which each heartbeat does, touches the timer alone: the queue finds out when its entry comes up.
//!
//! Must not know: what happens then; any clock.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;

use cairn_protocol::ids::Timestamp;

/// Milliseconds on a clock that never jumps; where it begins does not matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticks(pub u64);

/// The present, on two clocks: the one that records are stamped by, and the one that timeouts run by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// Since the Unix epoch; it may jump.
    pub wall: Timestamp,
    /// For timeouts.
    pub ticks: Ticks,
}

impl Ticks {
    /// `ms` later; what is below zero counts as nothing.
    pub(crate) fn after(self, ms: i32) -> Self {
        Self(self.0.saturating_add(u64::try_from(ms).unwrap_or(0)))
    }
}

/// One timer.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timer {
    due: Option<Ticks>,
    /// The earliest entry of the queue that counts for it.
    queued: Option<Ticks>,
}

impl Timer {
    /// It will not be due until it is set again.
    pub(crate) fn stop(&mut self) {
        self.due = None;
    }

    pub(crate) fn is_set(&self) -> bool {
        self.due.is_some()
    }
}

/// Which timer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TimerKey {
    pub(crate) group: Arc<str>,
    pub(crate) kind: TimerKind,
}

/// Which timer of a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum TimerKind {
    /// The end of the time to join.
    Join,
    /// The end of the time to ask for the assignment.
    Sync,
    /// The end of a member's session, or of the time in which a new member uses the id that it was given.
    Session(Arc<str>),
    /// Of a member of a consumer group.
    Consumer(ConsumerTimer, Arc<str>),
}

/// Which timer of a member of a consumer group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ConsumerTimer {
    /// The end of its session.
    Session,
    /// The end of the time to give up partitions.
    Rebalance,
    /// The end of the time to join again, for a member of the classic protocol.
    Join,
    /// The end of the time to ask for the assignment, for a member of the classic protocol.
    Sync,
}

/// When to look at which timer. At most one entry counts for each timer; others are left behind and do nothing.
#[derive(Debug, Default)]
pub(crate) struct TimerQueue(BinaryHeap<Reverse<(Ticks, TimerKey)>>);

impl TimerQueue {
    /// `timer` is due at `at`, whatever it was before.
    pub(crate) fn set(&mut self, timer: &mut Timer, at: Ticks, key: impl FnOnce() -> TimerKey) {
        timer.due = Some(at);
        if timer.queued.is_none_or(|queued| at < queued) {
            timer.queued = Some(at);
            self.0.push(Reverse((at, key())));
        }
    }

    /// The next entry that has come up by `now`, to be shown to [`Self::is_due`].
    pub(crate) fn pop(&mut self, now: Ticks) -> Option<(Ticks, TimerKey)> {
        if self.next()? > now {
            return None;
        }
        self.0.pop().map(|Reverse(entry)| entry)
    }

    /// Whether the timer that the entry of `popped` is about is due now; it is stopped then.
    pub(crate) fn is_due(&mut self, timer: &mut Timer, popped: Ticks, now: Ticks, key: &TimerKey) -> bool {
        if timer.queued != Some(popped) {
            return false;
        }
        timer.queued = None;
        match timer.due {
            None => false,
            Some(due) if due <= now => {
                timer.due = None;
                true
            }
            Some(due) => {
                self.set(timer, due, || key.clone());
                false
            }
        }
    }

    /// When to look next.
    pub(crate) fn next(&self) -> Option<Ticks> {
        self.0.peek().map(|Reverse((at, _))| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> TimerKey {
        TimerKey { group: "g".into(), kind: TimerKind::Join }
    }

    /// Whether the timer fires by `now`.
    fn fires(queue: &mut TimerQueue, timer: &mut Timer, now: u64) -> usize {
        let mut fired = 0;
        while let Some((at, key)) = queue.pop(Ticks(now)) {
            fired += usize::from(queue.is_due(timer, at, Ticks(now), &key));
        }
        fired
    }

    #[test]
    fn a_timer_fires_once_when_it_is_due() {
        let (mut queue, mut timer) = (TimerQueue::default(), Timer::default());
        queue.set(&mut timer, Ticks(10), key);
        assert_eq!(fires(&mut queue, &mut timer, 9), 0);
        assert_eq!(fires(&mut queue, &mut timer, 10), 1);
        assert_eq!(fires(&mut queue, &mut timer, 100), 0);
        assert!(!timer.is_set());
    }

    #[test]
    fn a_timer_moves_later_without_an_entry_and_earlier_with_one() {
        let (mut queue, mut timer) = (TimerQueue::default(), Timer::default());
        for at in 10..1_000 {
            queue.set(&mut timer, Ticks(at), key);
        }
        assert_eq!(queue.0.len(), 1);
        assert_eq!(fires(&mut queue, &mut timer, 998), 0);
        queue.set(&mut timer, Ticks(998), key);
        assert_eq!(fires(&mut queue, &mut timer, 998), 1);
        assert_eq!(fires(&mut queue, &mut timer, 5_000), 0);
    }

    #[test]
    fn a_stopped_timer_does_not_fire_and_can_be_set_again() {
        let (mut queue, mut timer) = (TimerQueue::default(), Timer::default());
        queue.set(&mut timer, Ticks(10), key);
        timer.stop();
        assert_eq!(fires(&mut queue, &mut timer, 20), 0);
        queue.set(&mut timer, Ticks(30), key);
        timer.stop();
        queue.set(&mut timer, Ticks(40), key);
        assert_eq!(fires(&mut queue, &mut timer, 39), 0);
        assert_eq!(fires(&mut queue, &mut timer, 40), 1);
    }
}
