//! Topics, their configuration and records, groups and their offsets, the cluster itself, and where it keeps partitions.
//!
//! Must not know: producers, consumers.

mod cluster;
mod configs;
mod elections;
mod error;
mod group_members;
mod group_offsets;
mod group_state;
mod groups;
mod log_dirs;
mod offsets;
mod partitions;
mod producers;
mod reassignments;
mod records;
mod topics;

use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

pub use self::cluster::{BrokerDescription, ClusterDescription};
pub use self::configs::{ConfigChange, ConfigEntry, ConfigResource, ConfigSource};
pub use self::elections::Election;
pub use self::error::AdminError;
pub use self::group_members::RemovedMember;
pub use self::group_state::{GroupState, GroupType};
pub use self::groups::{GroupDescription, GroupFilter, GroupListing, MemberDescription};
pub use self::log_dirs::{LogDescription, LogDirDescription};
pub use self::offsets::OffsetSpec;
pub use self::producers::ProducerDescription;
pub use self::reassignments::{OngoingReassignment, Reassignment};
pub use self::topics::{NewTopic, PartitionDescription, TopicDescription, TopicListing};
use crate::Client;
use crate::backoff::Attempts;
use crate::cluster::Unknown;

/// Changes and describes a cluster. Cloning it is cheap.
///
/// Every call retries what may pass until the client's operation timeout; a retry of a change that was done already may be told
/// so (a topic that exists, or does not any more).
#[derive(Clone, Debug)]
pub struct Admin {
    client: Client,
}

impl Admin {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    fn timeout(&self) -> Duration {
        self.client.config().request_timeout
    }

    fn timeout_ms(&self) -> i32 {
        i32::try_from(self.timeout().as_millis()).unwrap_or(i32::MAX)
    }

    /// Calls `attempt` until it succeeds, fails for good, or the operation timeout is over.
    async fn retry<T, F>(&self, attempt: impl Fn() -> F) -> Result<T, AdminError>
    where
        F: Future<Output = Result<T, AdminError>>,
    {
        let mut attempts = Attempts::new(self.client.config().backoff, self.client.config().operation_timeout);
        loop {
            let error = match attempts.attempt(attempt()).await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            if !error.is_retriable() || !attempts.again(&error).await {
                return Err(error);
            }
            tracing::debug!(%error, "trying again");
            // The controller or a leader may be another now. What cannot be learnt is met again as an error.
            let refreshing = self.client.metadata().refresh(&[], Unknown::Refuse, Instant::now());
            if let Err(error) = attempts.attempt(refreshing).await {
                tracing::debug!(%error, "cannot refresh metadata");
            }
        }
    }
}
