//! A topic and its partitions as the cluster knows them.
//!
//! Must not know: records, logs, offsets.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use cairn_protocol::ids::{BrokerId, LeaderEpoch, PartitionIndex, TopicId};
use serde::{Deserialize, Serialize};

/// Counts every change of one partition's state: what a proposal to change it is compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(transparent)]
pub struct PartitionEpoch(pub i32);

impl fmt::Display for PartitionEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// The brokers that keep it, the preferred leader first. Never empty, no broker twice.
    pub replicas: Vec<BrokerId>,
    /// The in-sync replicas, in the order of `replicas`.
    pub isr: Vec<BrokerId>,
    /// Who leads it; none while no in-sync replica is there.
    pub leader: Option<BrokerId>,
    /// Rises with every change of `leader`, also to none.
    pub leader_epoch: LeaderEpoch,
    /// Rises with every change of anything here.
    pub partition_epoch: PartitionEpoch,
}

/// One topic. Images share it as long as nothing in it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Its identity.
    pub id: TopicId,
    /// Its name.
    pub name: Arc<str>,
    /// Its partitions by index. Never empty.
    pub partitions: Vec<Partition>,
    /// The configs that were set on it, by Kafka's names; all others have the broker's values.
    pub configs: Arc<BTreeMap<Box<str>, Box<str>>>,
}

impl Topic {
    /// The partition at `index`; none for a negative one or one past the last.
    #[must_use]
    pub fn partition(&self, index: PartitionIndex) -> Option<&Partition> {
        self.partitions.get(usize::try_from(index.0).ok()?)
    }

    /// The partitions with their indexes.
    pub fn partitions(&self) -> impl Iterator<Item = (PartitionIndex, &Partition)> {
        (0..).map(PartitionIndex).zip(&self.partitions)
    }

    /// How many partitions it has.
    #[must_use]
    pub fn partition_count(&self) -> i32 {
        i32::try_from(self.partitions.len()).expect("PARTITIONS_PER_TOPIC_MAX is below i32::MAX")
    }
}
