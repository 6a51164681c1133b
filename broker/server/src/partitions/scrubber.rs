//! Scrubbing of all partitions, one after the other and slowly, for as long as the broker runs.
//!
//! Must not know: how a log is checked, requests.

use std::sync::Arc;
use std::time::Duration;

use cairn_protocol::ids::{Offset, PartitionIndex, TopicId};
use cairn_storage::log::{ReadError, Scrubbed};
use tokio_util::sync::CancellationToken;

use super::Partitions;
use crate::blocking::on_blocking_thread;
use crate::config::{BrokerConfig, millis};
use crate::telemetry::Metrics;

/// How much is read and checked at a time.
const STEP_BYTES: u64 = 1 << 20;
/// The first pass leaves the time after a start to others.
const FIRST_REST_MAX: Duration = Duration::from_secs(60);

/// Reads and checks what nobody reads.
#[derive(Debug)]
pub(crate) struct Scrubber {
    partitions: Arc<Partitions>,
    metrics: Arc<Metrics>,
    bytes_per_second: f64,
    rest: Duration,
}

/// What a pass found of a partition.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    /// All that could be read holds.
    Whole,
    Damaged,
}

impl Scrubber {
    pub(crate) fn new(partitions: Arc<Partitions>, metrics: Arc<Metrics>, config: &BrokerConfig) -> Self {
        let bytes_per_second = config.log_scrub_max_bytes_per_second;
        Self { partitions, metrics, bytes_per_second, rest: millis(config.log_scrub_interval_ms) }
    }

    /// Goes on until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        let scrubbing = async {
            tokio::time::sleep(self.rest.min(FIRST_REST_MAX)).await;
            loop {
                self.pass().await;
                tokio::time::sleep(self.rest).await;
            }
        };
        stop.run_until_cancelled(scrubbing).await;
    }

    async fn pass(&self) {
        // By their ids: a pass may take days, and who is deleted meanwhile is not to be held.
        let ids: Vec<_> = self.partitions.all().iter().map(|held| (held.topic_id, held.index)).collect();
        let mut damaged = 0;
        for (topic, index) in ids {
            if self.scrub(topic, index).await == Found::Damaged {
                damaged += 1;
            }
        }
        self.metrics.scrub_damaged.set(damaged);
        self.metrics.scrub_passes.inc();
    }

    async fn scrub(&self, topic: TopicId, index: PartitionIndex) -> Found {
        let mut offset = Offset(0);
        loop {
            match self.step(topic, index, offset).await {
                Ok(Some(Scrubbed { bytes, next_offset })) => {
                    self.metrics.scrubbed_bytes.inc_by(bytes);
                    #[expect(clippy::cast_precision_loss, reason = "a pace need not be exact")]
                    let takes = Duration::try_from_secs_f64(bytes as f64 / self.bytes_per_second);
                    tokio::time::sleep(takes.unwrap_or(Duration::MAX)).await;
                    offset = next_offset;
                }
                Ok(None) => return Found::Whole,
                Err(error @ ReadError::Corrupt { .. }) => {
                    tracing::error!(%topic, partition = index.0, %error, "damage found by scrubbing");
                    return Found::Damaged;
                }
                Err(error) => {
                    tracing::debug!(%topic, partition = index.0, %error, "not scrubbed to its end");
                    return Found::Whole;
                }
            }
        }
    }

    /// One step, if the partition is still there.
    async fn step(&self, topic: TopicId, index: PartitionIndex, offset: Offset) -> Result<Option<Scrubbed>, ReadError> {
        let Ok(partition) = self.partitions.kept_by_id(topic, index) else { return Ok(None) };
        on_blocking_thread(move || partition.reader().scrub(offset, STEP_BYTES)).await
    }
}
