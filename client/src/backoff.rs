//! How long to wait before the next attempt: exponential, with jitter, up to a deadline.
//!
//! Must not know: what is attempted.

use std::sync::Arc;
use std::time::Duration;

use rand::RngExt;
use tokio::time::Instant;

use crate::error::RequestError;

/// The bounds of the waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Backoff {
    /// The first wait (Kafka: `retry.backoff.ms`).
    pub(crate) first: Duration,
    /// The longest wait (Kafka: `retry.backoff.max.ms`).
    pub(crate) longest: Duration,
}

impl Backoff {
    /// The wait after `failures` failures (1 or more), between 80 % and 120 % of the exponential step (KIP-580).
    pub(crate) fn wait_after(self, failures: u32) -> Duration {
        self.step(failures).mul_f64(rand::rng().random_range(0.8..1.2))
    }

    fn step(self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(16);
        self.first.saturating_mul(1 << doublings).min(self.longest)
    }
}

/// One operation's attempts.
#[derive(Debug)]
pub(crate) struct Attempts {
    backoff: Backoff,
    timeout: Duration,
    deadline: Instant,
    failures: u32,
    last: Option<Arc<str>>,
}

impl Attempts {
    /// Attempts that end after `timeout` from now.
    pub(crate) fn new(backoff: Backoff, timeout: Duration) -> Self {
        Self { backoff, timeout, deadline: Instant::now() + timeout, failures: 0, last: None }
    }

    /// One attempt, cut off at the deadline.
    ///
    /// Cancel-safe if the attempt is.
    pub(crate) async fn attempt<T, E: From<RequestError>>(
        &self,
        attempt: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        match tokio::time::timeout_at(self.deadline, attempt).await {
            Ok(outcome) => outcome,
            Err(_) => Err(RequestError::OutOfTime { after: self.timeout, last: self.last.clone() }.into()),
        }
    }

    /// After `error`, waits before the next attempt and gives `true`, or `false` when the deadline leaves no room for one.
    ///
    /// Cancel-safe: a dropped wait only counts as a failure.
    pub(crate) async fn again(&mut self, error: &impl ToString) -> bool {
        self.last = Some(error.to_string().into());
        self.failures += 1;
        let at = Instant::now() + self.backoff.wait_after(self.failures);
        if at >= self.deadline {
            return false;
        }
        tokio::time::sleep_until(at).await;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_millis(1_000) };

    #[test]
    fn steps_double_up_to_the_longest() {
        let steps: Vec<u128> = (1..=6).map(|failures| BACKOFF.step(failures).as_millis()).collect();
        assert_eq!(steps, [100, 200, 400, 800, 1_000, 1_000]);
        assert_eq!(BACKOFF.step(u32::MAX), BACKOFF.longest);
    }

    #[test]
    fn jitter_stays_within_a_fifth() {
        for _ in 0..1_000 {
            let wait = BACKOFF.wait_after(3);
            assert!(wait >= Duration::from_millis(319) && wait <= Duration::from_millis(481), "{wait:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn attempts_end_at_the_deadline() {
        let mut attempts = Attempts::new(BACKOFF, Duration::from_secs(3));
        let mut count = 0;
        while attempts.again(&"failed").await {
            count += 1;
        }
        assert!(Instant::now() <= attempts.deadline);
        assert!((4..=7).contains(&count), "{count}");
    }
}
