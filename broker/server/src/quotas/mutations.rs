//! The quota of partitions made and deleted, as one request meets it (KIP-599).
//!
//! Must not know: what is made or deleted.

use std::sync::Arc;
use std::time::Instant;

use super::{Quotas, Throttle};

/// What happens to a request beyond the quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Enforcement {
    /// What begins in debt is refused, for clients that know the error.
    Strict,
    /// All is done, and the client waits afterwards.
    Permissive,
}

/// One request's use of the quota.
#[derive(Debug)]
pub(crate) struct Mutations {
    quotas: Arc<Quotas>,
    client: Box<str>,
    enforcement: Enforcement,
    /// What was found last, and when.
    throttle: Throttle,
    found: Option<Instant>,
}

/// The client has to wait before it may make or delete anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the quota of partitions made and deleted is used up for the next {} ms", .0.millis())]
pub(crate) struct QuotaExceeded(pub(crate) Throttle);

impl Mutations {
    pub(crate) fn new(quotas: &Arc<Quotas>, client: Option<&str>, enforcement: Enforcement) -> Self {
        let client = client.unwrap_or_default().into();
        Self { quotas: Arc::clone(quotas), client, enforcement, throttle: Throttle::NONE, found: None }
    }

    /// So many partitions are to be made or deleted.
    pub(crate) fn take(&mut self, partitions: usize, now: Instant) -> Result<(), QuotaExceeded> {
        let (windows, tokens, enforcement) =
            (self.quotas.mutation_windows, super::as_amount(partitions), self.enforcement);
        let found = self.quotas.with_tokens(&self.client, now, |bucket, limit| {
            let debt = bucket.throttle(windows, limit, now);
            if enforcement == Enforcement::Strict {
                if debt.is_none() {
                    bucket.take(windows, limit, tokens, now);
                }
                return debt;
            }
            bucket.take(windows, limit, tokens, now);
            bucket.throttle(windows, limit, now)
        });
        let throttle = found.unwrap_or_default();
        if throttle.is_none() {
            return Ok(());
        }
        (self.throttle, self.found) = (throttle, Some(now));
        match enforcement {
            Enforcement::Strict => Err(QuotaExceeded(throttle)),
            Enforcement::Permissive => Ok(()),
        }
    }

    /// How long the client is to wait, less what has passed since that was found.
    pub(crate) fn throttle(&self, now: Instant) -> Throttle {
        self.found.map_or(Throttle::NONE, |found| self.throttle.after(now.saturating_duration_since(found)))
    }
}
