//! The coordinator of the groups whose partitions of `__consumer_offsets` this broker leads.
//!
//! What is decided is in `cairn_groups`; here it is made durable and read back. A partition's groups are read from its log
//! when the first request for one of them comes, on a thread that may block; others wait for that.
//!
//! ```text
//!   commit:  Shard::commit -> one batch -> Partition::append -> Shard::on_appended      under the group lock, in log order
//!            (durable) -> Shard::on_committed -> the answer
//! ```
//!
//! Must not know: messages of the wire.

mod load;
mod shard;

use std::sync::Arc;

use cairn_groups::partition_of;
use cairn_metadata::names::CONSUMER_OFFSETS_TOPIC;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::{PartitionIndex, Timestamp, TopicId};
use parking_lot::Mutex;

use crate::cluster::Cluster;
use crate::partitions::Partitions;

pub(crate) use shard::{CommitFailed, LoadedShard, Shard};

/// All groups of this broker.
#[derive(Debug)]
pub(crate) struct Coordinator {
    partitions: Arc<Partitions>,
    shards: Mutex<Vec<Arc<Shard>>>,
}

impl Coordinator {
    pub(crate) fn new(partitions: Arc<Partitions>) -> Self {
        Self { partitions, shards: Mutex::default() }
    }

    /// The groups that `group` is among, read from their log if need be. Cancel-safe: reading goes on for the next one.
    pub(crate) async fn of_group(&self, cluster: &Cluster, group: &str) -> Result<LoadedShard, ErrorCode> {
        let image = cluster.image();
        let topic = image.topic_by_name(CONSUMER_OFFSETS_TOPIC).ok_or(ErrorCode::NotCoordinator)?;
        self.at(topic.id, partition_of(group, topic.partition_count())).await
    }

    async fn at(&self, topic: TopicId, index: PartitionIndex) -> Result<LoadedShard, ErrorCode> {
        let partition = self.partitions.by_id(topic, index).map_err(|_| ErrorCode::NotCoordinator)?;
        let shard = {
            let mut shards = self.shards.lock();
            shards.retain(|shard| !shard.is_closed());
            match shards.iter().find(|shard| shard.is_of(&partition)) {
                Some(shard) => Arc::clone(shard),
                None => {
                    let shard = Arc::new(Shard::new(partition));
                    shards.push(Arc::clone(&shard));
                    shard
                }
            }
        };
        shard.loaded().await.map_err(|error| {
            tracing::error!(partition = index.0, %error, "groups could not be read");
            ErrorCode::CoordinatorNotAvailable
        })
    }

    /// Forgets what was committed for a topic that is gone.
    pub(crate) async fn on_topic_deleted(&self, cluster: &Cluster, name: &str, id: TopicId, now: Timestamp) {
        self.delete_from_all(cluster, now, |shard| shard.on_topic_deleted(name, id)).await;
    }

    /// Forgets what was committed too long ago.
    pub(crate) async fn expire(&self, cluster: &Cluster, now: Timestamp, retention_ms: i64) {
        self.delete_from_all(cluster, now, |shard| shard.expire(now, retention_ms)).await;
    }

    async fn delete_from_all(
        &self,
        cluster: &Cluster,
        now: Timestamp,
        records: impl Fn(&cairn_groups::Shard) -> Vec<cairn_groups::Record>,
    ) {
        let image = cluster.image();
        let Some(topic) = image.topic_by_name(CONSUMER_OFFSETS_TOPIC) else { return };
        for (index, _) in topic.partitions() {
            let Ok(shard) = self.at(topic.id, index).await else { continue };
            if let Err(error) = shard.delete(now, &records).await {
                tracing::warn!(partition = index.0, %error, "offsets were not deleted");
            }
        }
    }
}
