//! The coordinator of the groups whose partitions of `__consumer_offsets` this broker leads.
//!
//! What is decided is in `cairn_groups`; here it is made durable and read back. When the broker starts, the groups of all
//! partitions are read from their logs, several at a time, on threads that may block; until a partition's are there, requests
//! for them are answered with COORDINATOR_LOAD_IN_PROGRESS. A partition that another broker has led is read anew, when this one
//! leads it again and knows all that was committed.
//!
//! ```text
//!   commit:  Shard::commit -> one batch -> Partition::append -> Shard::on_appended      under the group lock, in log order
//!            (durable) -> Shard::on_committed -> the answer
//!   join:    Shard::join -> Effects: replies to waiters, batches as above, whose outcome goes back by Shard::on_written
//!   assign:  Effects::assignments -> a thread that may take its time -> Shard::on_assigned -> Effects
//!   time:    one task for each partition sleeps until Shard::next_deadline, then Shard::on_time -> Effects
//! ```
//!
//! Must not know: messages of the wire.

mod groups;
mod load;
mod shard;
mod timers;
mod topics;

use std::sync::Arc;

use cairn_groups::{ConsumerSettings, GroupSettings, INLINE_WORK_MAX, partition_of};
use cairn_metadata::names::CONSUMER_OFFSETS_TOPIC;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::{PartitionIndex, Timestamp, TopicId};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::cluster::Cluster;
use crate::config::LiveConfig;
use crate::partitions::Partitions;
use crate::telemetry::Metrics;

pub(crate) use groups::CommitFailed;
pub(crate) use shard::{LoadedShard, Shard};

/// How many partitions are read at a time: more would only wait for each other's disk and processor.
const LOADS_MAX: usize = 4;
/// How many assignments are worked out at a time: they take nothing but processors, which others want as well.
const ASSIGNMENTS_MAX: usize = 2;

/// All groups of this broker.
#[derive(Debug)]
pub(crate) struct Coordinator {
    partitions: Arc<Partitions>,
    shards: Mutex<Vec<Arc<Shard>>>,
    shared: Arc<Shared>,
}

/// What all shards work with.
#[derive(Debug)]
struct Shared {
    config: Arc<LiveConfig>,
    cluster: Arc<Cluster>,
    metrics: Arc<Metrics>,
    loads: Semaphore,
    assignments: Semaphore,
}

impl Shared {
    /// What is configured now for all groups.
    fn settings(&self) -> GroupSettings {
        let config = self.config.load();
        let size = |number: i32| usize::try_from(number).unwrap_or(0);
        // One that was set while the broker runs may be outside of what is allowed: as in Kafka, the nearest holds then.
        let (least, most) =
            (config.group_consumer_min_assignment_interval_ms, config.group_consumer_max_assignment_interval_ms);
        GroupSettings {
            session_timeout_min_ms: config.group_min_session_timeout_ms,
            session_timeout_max_ms: config.group_max_session_timeout_ms,
            initial_rebalance_delay_ms: config.group_initial_rebalance_delay_ms,
            members_max: size(config.group_max_size),
            offset_metadata_max: size(config.offset_metadata_max_bytes),
            consumer: ConsumerSettings {
                session_timeout_ms: config.group_consumer_session_timeout_ms,
                heartbeat_interval_ms: config.group_consumer_heartbeat_interval_ms,
                assignment_interval_ms: config.group_consumer_assignment_interval_ms.clamp(least, most),
                regex_refresh_interval_ms: config.group_consumer_regex_refresh_interval_ms,
                members_max: size(config.group_consumer_max_size),
                assignors: config.group_consumer_assignors,
                migration: config.group_consumer_migration_policy,
                inline_work_max: INLINE_WORK_MAX,
            },
        }
    }
}

impl Coordinator {
    pub(crate) fn new(
        partitions: Arc<Partitions>,
        cluster: Arc<Cluster>,
        config: Arc<LiveConfig>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let shared = Arc::new(Shared {
            config,
            cluster,
            metrics,
            loads: Semaphore::new(LOADS_MAX),
            assignments: Semaphore::new(ASSIGNMENTS_MAX),
        });
        Self { partitions, shards: Mutex::default(), shared }
    }

    /// The groups that `group` is among, unless they are still being read.
    pub(crate) fn of_group(&self, cluster: &Cluster, group: &str) -> Result<LoadedShard, ErrorCode> {
        let image = cluster.image();
        let topic = image.topic_by_name(CONSUMER_OFFSETS_TOPIC).ok_or(ErrorCode::NotCoordinator)?;
        self.at(topic.id, partition_of(group, topic.partition_count()))?.get()
    }

    /// All groups, unless some are still being read.
    pub(crate) fn all(&self, cluster: &Cluster) -> Result<Vec<LoadedShard>, ErrorCode> {
        let shards = self.shards_here(cluster);
        shards.iter().map(Shard::get).collect()
    }

    /// The groups that are there, and whether some are still being read.
    pub(crate) fn loaded(&self, cluster: &Cluster) -> (Vec<LoadedShard>, bool) {
        let shards = self.shards_here(cluster);
        let loaded: Vec<LoadedShard> = shards.iter().filter_map(|shard| shard.get().ok()).collect();
        let is_loading = loaded.len() < shards.len();
        (loaded, is_loading)
    }

    /// Begins to read the groups of all partitions that this broker leads and knows the end of, and lets go whoever waits in groups
    /// that are somebody else's by now. To be called whenever somebody may lead something else.
    pub(crate) fn follow(&self, cluster: &Cluster) {
        for shard in self.shards_here(cluster) {
            // Whether it is there already is of no interest yet.
            let _ = shard.get();
        }
    }

    /// Lets go whoever waits for other members: the broker stops.
    pub(crate) fn stop(&self) {
        self.shards.lock().iter().for_each(|shard| shard.stop());
    }

    fn shards_here(&self, cluster: &Cluster) -> Vec<Arc<Shard>> {
        let image = cluster.image();
        let Some(topic) = image.topic_by_name(CONSUMER_OFFSETS_TOPIC) else { return Vec::new() };
        topic.partitions().filter_map(|(index, _)| self.at(topic.id, index).ok()).collect()
    }

    fn at(&self, topic: TopicId, index: PartitionIndex) -> Result<Arc<Shard>, ErrorCode> {
        let partition = self.partitions.by_id(topic, index);
        let mut shards = self.shards.lock();
        forget_over(&mut shards);
        let led = partition.ok().and_then(|partition| Some((partition.leads_in()?, partition)));
        let Some((epoch, partition)) = led else {
            // Its log dir is lost, or the lease. Whoever waits for others waits no longer, and nothing is answered from memory any more.
            for lost in shards.extract_if(.., |shard| shard.index() == index) {
                lost.stop();
            }
            return Err(ErrorCode::NotCoordinator);
        };
        if let Some(shard) = shards.iter().find(|shard| shard.is_of(&partition)) {
            return Ok(Arc::clone(shard));
        }
        let shard = Arc::new(Shard::new(partition, epoch, Arc::clone(&self.shared)));
        shards.push(Arc::clone(&shard));
        Ok(shard)
    }

    /// Forgets what was committed for a topic that is gone.
    pub(crate) async fn on_topic_deleted(&self, cluster: &Cluster, name: &str, id: TopicId, now: Timestamp) {
        // When it is the topic of the groups itself, all who wait are let go by this.
        forget_over(&mut self.shards.lock());
        self.delete_from_all(cluster, now, |shard| shard.on_topic_deleted(name, id)).await;
    }

    /// Forgets what was committed too long ago, and groups of which nothing is left.
    pub(crate) async fn expire(&self, cluster: &Cluster, now: Timestamp, retention_ms: i64) {
        self.delete_from_all(cluster, now, |shard| shard.expire(now, retention_ms)).await;
    }

    async fn delete_from_all(
        &self,
        cluster: &Cluster,
        now: Timestamp,
        records: impl Fn(&cairn_groups::Shard) -> Vec<cairn_groups::Record>,
    ) {
        for shard in self.shards_here(cluster) {
            if !shard.knows_the_end() {
                continue;
            }
            let Ok(loaded) = shard.loaded().await else { continue };
            if let Err(error) = loaded.delete(now, |groups| (records(groups), ())).await {
                tracing::warn!(partition = shard.index().0, %error, "offsets were not deleted");
            }
        }
    }
}

/// Lets go whoever waits for others in groups that are somebody else's by now.
fn forget_over(shards: &mut Vec<Arc<Shard>>) {
    for over in shards.extract_if(.., |shard| shard.is_over()) {
        over.stop();
    }
}
