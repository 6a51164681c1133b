//! How long a request has kept a thread busy: waiting does not count.
//!
//! Must not know: who is limited by it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// The busy time of one request.
#[derive(Debug)]
pub(crate) struct Meter(Mutex<Busy>);

#[derive(Debug)]
struct Busy {
    before: Duration,
    since: Option<Instant>,
}

impl Meter {
    /// A request that is being worked on since then.
    pub(crate) fn start(now: Instant) -> Arc<Self> {
        Arc::new(Self(Mutex::new(Busy { before: Duration::ZERO, since: Some(now) })))
    }

    /// The request waits.
    pub(crate) fn pause(&self, now: Instant) {
        let mut busy = self.0.lock();
        if let Some(since) = busy.since.take() {
            busy.before += now.saturating_duration_since(since);
        }
    }

    /// The request is worked on again.
    pub(crate) fn resume(&self, now: Instant) {
        self.0.lock().since = Some(now);
    }

    /// So far.
    pub(crate) fn spent(&self, now: Instant) -> Duration {
        let busy = self.0.lock();
        busy.before + busy.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

/// A future whose polls count as busy time.
#[derive(Debug)]
pub(crate) struct Metered<F> {
    pub(crate) inner: F,
    pub(crate) meter: Option<Arc<Meter>>,
}

impl<F: Future + Unpin> Future for Metered<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let Some(meter) = self.meter.clone() else { return Pin::new(&mut self.inner).poll(cx) };
        meter.resume(Instant::now());
        let polled = Pin::new(&mut self.inner).poll(cx);
        meter.pause(Instant::now());
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_busy_time_counts() {
        let begun = Instant::now();
        let at = |millis| begun + Duration::from_millis(millis);
        let meter = Meter::start(begun);
        assert_eq!(meter.spent(at(3)), Duration::from_millis(3));
        meter.pause(at(5));
        meter.pause(at(7));
        assert_eq!(meter.spent(at(100)), Duration::from_millis(5));
        meter.resume(at(200));
        assert_eq!(meter.spent(at(201)), Duration::from_millis(6));
    }
}
