//! A topic and its partitions as the cluster knows them.
//!
//! Must not know: records, logs, offsets.

use std::collections::BTreeMap;
use std::sync::Arc;

use cairn_protocol::ids::{PartitionIndex, TopicId};

use crate::partition::Partition;

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
