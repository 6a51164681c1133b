//! How fast followers that are not in sync may catch up, so that producers hardly notice: what a produce at acks=all waits is watched, and
//! what followers are sent that nobody waits for gives way.
//!
//! ```text
//!   produce answered -> how long it waited, how much it brought     a window of 250 ms
//!   end of a window  -> Governor -> bytes a second to each follower that catches up
//! ```
//! Nobody catches up for a while: the usual wait is learned. Somebody does: the rate rises by a quarter in each window, and is halved in one
//! whose waits are longer than usual, or in which nobody who waits is answered. It never falls below what makes an end certain: half as much again as producers bring, and
//! `replication.catch.up.min.bytes.per.second`. Where nobody waits there is nothing to give way to.
//!
//! Must not know: streams, frames, who is in sync.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// So often the rate is thought over.
const WINDOWS_A_SECOND: u64 = 4;
const WINDOW: Duration = Duration::from_millis(1000 / WINDOWS_A_SECOND);
/// The longest wait that is told from longer ones.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// A rate at which nothing is slowed down.
const RATE_MAX: u64 = 16 << 30;
/// Who begins to catch up begins with this, or with the least that is allowed if that is more.
const RATE_AT_FIRST: u64 = 32 << 20;
/// Waits are longer than usual when they are half as long again, and by this much: less is nothing that anybody feels.
const SLACK: Duration = Duration::from_millis(1);
/// Nobody catches up once nobody has for so many windows: a follower whose disk stalls takes nothing for a while.
const QUIET_WINDOWS: u32 = 4;

/// What happened in a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// The 99th percentile of what produces at acks=all waited; none if there were none.
    wait: Option<Duration>,
    /// Bytes of batches that were produced, a second.
    produced: u64,
    /// Whether anybody took anything to catch up with.
    catches_up: bool,
}

/// Decides the rate, window by window.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Governor {
    rate_min: u64,
    rate: u64,
    /// What produces wait while nobody catches up.
    usual: Option<Duration>,
    /// Windows since somebody did.
    quiet: u32,
}

impl Governor {
    fn new(rate_min: u64) -> Self {
        Self { rate_min, rate: RATE_AT_FIRST.max(rate_min), usual: None, quiet: QUIET_WINDOWS }
    }

    /// Bytes a second to each follower that catches up, from now on.
    fn on_window(&mut self, seen: Seen) -> u64 {
        // At this pace one who catches up comes nearer all the time, whatever producers wait.
        let least = self.rate_min.max(seen.produced.saturating_add(seen.produced / 2)).min(RATE_MAX);
        self.quiet = if seen.catches_up { 0 } else { self.quiet.saturating_add(1) };
        self.rate = match (seen.catches_up, seen.wait) {
            (false, _) if self.quiet <= QUIET_WINDOWS => self.rate,
            (false, wait) => {
                self.usual = wait.map(|wait| self.usual.map_or(wait, |usual| nearer(usual, wait))).or(self.usual);
                RATE_AT_FIRST
            }
            (true, None) => self.rate.saturating_mul(2),
            (true, Some(wait)) => match self.usual {
                // A broker that begins with followers that are behind learns at the slowest pace.
                None => {
                    self.usual = Some(wait);
                    least
                }
                Some(usual) if wait <= (usual + usual / 2).max(usual + SLACK) => {
                    self.rate.saturating_add(self.rate / 4)
                }
                Some(usual) => {
                    // What is slow at the slowest pace is slow for another reason, and becomes usual by and by.
                    if self.rate <= least {
                        self.usual = Some(nearer(usual, wait));
                    }
                    self.rate / 2
                }
            },
        }
        .clamp(least, RATE_MAX);
        self.rate
    }
}

/// An eighth of the way from one to the other.
fn nearer(from: Duration, to: Duration) -> Duration {
    (from * 7 + to) / 8
}

/// What produces wait, and what that leaves to those who catch up.
#[derive(Debug)]
pub(crate) struct CatchUp {
    governor: Mutex<Governor>,
    /// Of the current window, in microseconds.
    waits: Mutex<Histogram<u32>>,
    waiting: AtomicUsize,
    produced: AtomicU64,
    caught_up: AtomicU64,
    rate: AtomicU64,
}

/// A produce that waits; how long is noted when this is dropped, whatever came of it.
#[derive(Debug)]
pub(crate) struct Waiting {
    catch_up: Arc<CatchUp>,
    since: Instant,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.catch_up.waits.lock().saturating_record(micros(self.since.elapsed()));
        self.catch_up.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl CatchUp {
    pub(crate) fn new(rate_min: u64) -> Self {
        let governor = Governor::new(rate_min);
        let waits = Histogram::new_with_max(micros(WAIT_MAX), 2).expect("the bounds are in order");
        let rate = AtomicU64::new(governor.rate);
        let (waiting, produced, caught_up) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Self { governor: Mutex::new(governor), waits: Mutex::new(waits), waiting, produced, caught_up, rate }
    }

    /// Batches were appended.
    pub(crate) fn on_produced(&self, bytes: usize) {
        self.produced.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// A produce at acks=all waits from now until the answer is dropped.
    pub(crate) fn wait(self: &Arc<Self>) -> Waiting {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting { catch_up: Arc::clone(self), since: Instant::now() }
    }

    /// Somebody has taken so much to catch up with.
    pub(super) fn on_taken(&self, bytes: usize) {
        self.caught_up.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Bytes a second to each follower that catches up; none where nothing is slowed down.
    pub(super) fn limit(&self) -> Option<u64> {
        Some(self.rate()).filter(|rate| *rate < RATE_MAX)
    }

    /// The same, as a number.
    pub(crate) fn rate(&self) -> u64 {
        self.rate.load(Ordering::Relaxed)
    }

    /// Looks at each window until `stop`.
    pub(super) async fn watch(&self, stop: CancellationToken) {
        let mut windows = tokio::time::interval(WINDOW);
        windows.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = windows.tick() => self.end_window(),
                () = stop.cancelled() => return,
            }
        }
    }

    fn end_window(&self) {
        let wait = {
            let mut waits = self.waits.lock();
            let wait = (!waits.is_empty()).then(|| Duration::from_micros(waits.value_at_quantile(0.99)));
            waits.reset();
            // Where all who wait are stuck none is answered, and they have waited for longer than anybody does usually.
            wait.or_else(|| (self.waiting.load(Ordering::Relaxed) > 0).then_some(WINDOW))
        };
        let produced = self.produced.swap(0, Ordering::Relaxed).saturating_mul(WINDOWS_A_SECOND);
        let catches_up = self.caught_up.swap(0, Ordering::Relaxed) > 0;
        let seen = Seen { wait, produced, catches_up };
        let (rate, usual) = {
            let mut governor = self.governor.lock();
            (governor.on_window(seen), governor.usual)
        };
        if catches_up {
            tracing::debug!(?seen, ?usual, rate, "followers catch up");
        }
        self.rate.store(rate, Ordering::Relaxed);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.min(WAIT_MAX).as_micros()).expect("a minute at most")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MIN: u64 = 8 << 20;
    const USUAL: Duration = Duration::from_millis(3);

    fn quiet(wait: Duration) -> Seen {
        Seen { wait: Some(wait), produced: 1 << 20, catches_up: false }
    }

    fn busy(wait: Duration) -> Seen {
        Seen { catches_up: true, ..quiet(wait) }
    }

    fn learned() -> Governor {
        let mut governor = Governor::new(MIN);
        (0..10).for_each(|_| {
            governor.on_window(quiet(USUAL));
        });
        governor
    }

    #[test]
    fn who_does_not_disturb_goes_faster_and_faster() {
        let mut governor = learned();
        assert_eq!(governor.rate, RATE_AT_FIRST);
        let rates: Vec<u64> = (0..40).map(|_| governor.on_window(busy(USUAL))).collect();
        assert!(rates.is_sorted_by(|one, next| one < next || *next == RATE_MAX), "{rates:?}");
        assert_eq!(rates.last(), Some(&RATE_MAX));
    }

    #[test]
    fn who_disturbs_gives_way_and_comes_back() {
        let mut governor = learned();
        let before = governor.on_window(busy(USUAL));
        let after = governor.on_window(busy(USUAL * 3));
        assert_eq!(after, before / 2);
        assert!(governor.on_window(busy(USUAL)) > after);
        (0..2).for_each(|_| {
            governor.on_window(busy(USUAL * 3));
        });
        assert_eq!(governor.rate, MIN, "the least, however long they wait");
    }

    #[test]
    fn a_short_silence_of_who_catches_up_teaches_nothing() {
        let mut governor = learned();
        (0..20).for_each(|_| {
            governor.on_window(busy(USUAL * 3));
        });
        let before = governor.clone();
        (0..QUIET_WINDOWS).for_each(|_| {
            governor.on_window(quiet(USUAL * 9));
        });
        assert_eq!((governor.rate, governor.usual), (before.rate, before.usual));
        governor.on_window(quiet(USUAL));
        assert_eq!(governor.rate, RATE_AT_FIRST);
    }

    #[test]
    fn where_nobody_waits_nothing_is_slowed_down() {
        let mut governor = learned();
        for _ in 0..9 {
            governor.on_window(Seen { wait: None, produced: 0, catches_up: true });
        }
        assert_eq!(governor.rate, RATE_MAX);
    }

    #[test]
    fn a_broker_that_knows_nothing_usual_learns_at_the_slowest_pace() {
        let mut governor = Governor::new(MIN);
        assert_eq!(governor.on_window(busy(USUAL)), MIN);
        assert!(governor.on_window(busy(USUAL)) > MIN);
        assert_eq!(governor.usual, Some(USUAL));
    }

    #[test]
    fn what_stays_slow_at_the_slowest_pace_becomes_usual() {
        let mut governor = learned();
        let rates: Vec<u64> = (0..60).map(|_| governor.on_window(busy(USUAL * 4))).collect();
        assert!(rates.contains(&MIN));
        assert!(rates.last() > Some(&MIN), "it was slow for another reason: {rates:?}");
    }

    proptest! {
        /// Whatever producers wait, one who catches up comes nearer: it is sent more than they bring.
        #[test]
        fn nobody_starves(windows in prop::collection::vec((0_u64..100_000_000, 0_u64..(1 << 30), any::<bool>(), any::<bool>()), 1..200)) {
            let mut governor = Governor::new(MIN);
            for (micros, produced, waits, catches_up) in windows {
                let wait = waits.then(|| Duration::from_micros(micros));
                let rate = governor.on_window(Seen { wait, produced, catches_up });
                prop_assert!(rate >= MIN && rate >= produced + produced / 2);
                prop_assert!(rate <= RATE_MAX);
            }
        }
    }

    #[test]
    fn a_window_counts_what_came_in_it() {
        let catch_up = Arc::new(CatchUp::new(MIN));
        drop(catch_up.wait());
        catch_up.on_produced(100 << 20);
        catch_up.end_window();
        assert_eq!(catch_up.rate(), 600 << 20, "half as much again as 400 MiB a second");
        catch_up.on_taken(1);
        catch_up.end_window();
        assert_eq!(catch_up.rate(), 1200 << 20, "nobody waited");
        let stuck = catch_up.wait();
        (0..2).for_each(|_| {
            catch_up.on_taken(1);
            catch_up.end_window();
        });
        assert!(catch_up.rate() < 1200 << 20, "somebody waits and is not answered");
        drop(stuck);
    }
}
