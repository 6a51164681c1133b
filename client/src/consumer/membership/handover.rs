//! Where the application and the membership meet: whether records may be given out, and whether the application still asks.
//!
//! Partitions change hands only while the application is asking for records, so that it is not at work on one of them; and while
//! they do, it is given none. Must not know: groups, fetching.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Shared by all clones of a consumer and by its membership.
#[derive(Debug)]
pub(in super::super) struct Handover {
    state: Mutex<State>,
    /// The state has changed.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    /// Partitions are changing hands: nothing is given out.
    held: bool,
    /// Calls that wait for records.
    asking: usize,
    /// Since when nobody asks.
    idle_since: Instant,
}

/// A call that asks for records. Dropping it ends it.
#[derive(Debug)]
pub(in super::super) struct Asking<'a> {
    handover: &'a Handover,
    is_over: bool,
}

impl Handover {
    pub(in super::super) fn new(now: Instant) -> Self {
        Self { state: Mutex::new(State { held: false, asking: 0, idle_since: now }), changed: Notify::new() }
    }

    /// The application asks.
    pub(in super::super) fn ask(&self) -> Asking<'_> {
        let mut state = self.state.lock();
        state.asking += 1;
        if state.asking == 1 {
            drop(state);
            self.changed.notify_waiters();
        }
        Asking { handover: self, is_over: false }
    }

    /// Does something while no record is given out.
    pub(in super::super) fn between_records<T>(&self, work: impl FnOnce() -> T) -> T {
        let _between = self.state.lock();
        work()
    }

    /// From now on nothing is given out.
    pub(super) fn hold(&self) {
        self.state.lock().held = true;
    }

    /// Records are given out again.
    pub(super) fn release(&self) {
        self.state.lock().held = false;
        self.changed.notify_waiters();
    }

    /// Waits until the application asks, so that it is at work on nothing.
    ///
    /// Cancel-safe.
    pub(super) async fn asked(&self) {
        self.until(|state| state.asking > 0).await;
    }

    /// Waits until the application has not asked for so long.
    ///
    /// Cancel-safe.
    pub(super) async fn idle_for(&self, bound: Duration) {
        loop {
            let since = {
                let state = self.state.lock();
                if state.asking > 0 { Instant::now() } else { state.idle_since }
            };
            if since.elapsed() >= bound {
                return;
            }
            // Looked at by the clock alone, so that asking costs nothing: before then it cannot have been so long.
            tokio::time::sleep_until(since + bound).await;
        }
    }

    async fn until(&self, is_so: impl Fn(&State) -> bool) {
        loop {
            let changed = self.changed.notified();
            if is_so(&self.state.lock()) {
                return;
            }
            changed.await;
        }
    }
}

impl Asking<'_> {
    /// Waits until records may be given out.
    ///
    /// Cancel-safe.
    pub(in super::super) async fn allowed(&self) {
        self.handover.until(|state| !state.held).await;
    }

    /// Takes something to give out, unless nothing may be given out now. What is given ends the call: from then on the application
    /// is at work on it.
    pub(in super::super) fn give<T>(&mut self, take: impl FnOnce() -> Option<T>) -> Option<T> {
        let mut state = self.handover.state.lock();
        if state.held {
            return None;
        }
        let given = take()?;
        self.is_over = true;
        state.end();
        Some(given)
    }
}

impl State {
    fn end(&mut self) {
        self.asking -= 1;
        self.idle_since = Instant::now();
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        self.handover.state.lock().end();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nothing_is_given_while_it_is_held() {
        let handover = Handover::new(Instant::now());
        let mut asking = handover.ask();
        assert!(handover.asked().now_or_never().is_some());
        handover.hold();
        assert!(asking.allowed().now_or_never().is_none());
        assert_eq!(asking.give(|| Some(1)), None);
        handover.release();
        assert!(asking.allowed().now_or_never().is_some());
        assert_eq!(asking.give(|| None::<i32>), None, "nothing there: it goes on asking");
        assert_eq!(asking.give(|| Some(1)), Some(1));
        assert!(handover.asked().now_or_never().is_none(), "the application is at work on it");
        drop(asking);
        let again = handover.ask();
        assert!(handover.asked().now_or_never().is_some());
        drop(again);
        assert!(handover.asked().now_or_never().is_none(), "a call that was given up");
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_ask_is_noticed() {
        let handover = Handover::new(Instant::now());
        let begun = Instant::now();
        let bound = Duration::from_secs(10);
        tokio::join!(handover.idle_for(bound), async {
            tokio::time::sleep(Duration::from_secs(4)).await;
            let asking = handover.ask();
            tokio::time::sleep(Duration::from_secs(40)).await;
            drop(asking);
        });
        assert_eq!(begun.elapsed(), Duration::from_secs(54));
    }
}
