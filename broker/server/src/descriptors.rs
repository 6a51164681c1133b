//! The descriptors that the process may open, shared out: storage must never find that clients have taken them all.
//!
//! Must not know: what connections and files are for.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Kept for listeners, metrics, and files that are open for a moment; of a small limit the quarter.
const KEPT_MAX: u64 = 256;
/// The most that storage keeps open.
const STORAGE_MAX: u64 = 1_024;

/// Who may open how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DescriptorShares {
    pub(crate) storage: usize,
    pub(crate) connections: u32,
}

impl DescriptorShares {
    /// Of the limit that this process has.
    pub(crate) fn of_process() -> Self {
        Self::of(getrlimit(Resource::Nofile).current)
    }

    /// Of a limit; without one, connections have theirs by `max.connections` alone.
    fn of(limit: Option<u64>) -> Self {
        let Some(limit) = limit else {
            return Self { storage: narrow(STORAGE_MAX), connections: u32::MAX };
        };
        let left = limit - KEPT_MAX.min(limit / 4);
        let storage = STORAGE_MAX.min(left / 4);
        Self { storage: narrow(storage), connections: u32::try_from(left - storage).unwrap_or(u32::MAX) }
    }
}

fn narrow(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// Raises the process's limit of open descriptors to what it is allowed to have. To be called by the process's owner, before
/// a broker is started.
pub fn raise_descriptor_limit() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, ?current, "the limit of open descriptors stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_the_shares_of_others() {
        for limit in [0, 1, 64, 256, 1_024, 20_000, 1 << 40] {
            let shares = DescriptorShares::of(Some(limit));
            let together = u64::try_from(shares.storage).unwrap() + u64::from(shares.connections);
            assert!(together <= limit - KEPT_MAX.min(limit / 4), "{limit}: {shares:?}");
        }
        assert_eq!(DescriptorShares::of(Some(256)), DescriptorShares { storage: 48, connections: 144 });
        assert_eq!(DescriptorShares::of(Some(20_000)), DescriptorShares { storage: 1_024, connections: 18_720 });
        assert_eq!(DescriptorShares::of(None).connections, u32::MAX);
    }
}
