//! What a command changed, for those who keep something per topic, partition or broker.
//!
//! Must not know: how it came about.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cairn_protocol::ids::{BrokerId, PartitionIndex, TopicId};

use crate::image::Image;
use crate::quotas::QuotaEntity;
use crate::resource::ConfigResource;
use crate::topic::Topic;

/// The difference between two images, in the order in which it has to be carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// The [`Image::version`] that it leads to.
    pub version: u64,
    /// What changed.
    pub changes: Vec<Change>,
}

/// One change. Values are read from the image that the delta came with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The cluster got its id.
    ClusterIdSet,
    /// A topic is gone. A topic that follows with the same name is another one.
    TopicDeleted {
        /// Its identity.
        id: TopicId,
        /// The name that it had.
        name: Arc<str>,
        /// How many partitions it had.
        partitions: i32,
    },
    /// A topic is new, with all its partitions.
    TopicCreated {
        /// Its identity.
        id: TopicId,
        /// Its name.
        name: Arc<str>,
    },
    /// A topic has more partitions: those from `first` on.
    PartitionsAdded {
        /// The topic.
        id: TopicId,
        /// Its name.
        name: Arc<str>,
        /// The first new one.
        first: PartitionIndex,
    },
    /// Replicas, leader, epochs or in-sync replicas of partitions that were there before.
    PartitionsChanged {
        /// The topic.
        id: TopicId,
        /// Its name.
        name: Arc<str>,
        /// Which of its partitions, rising.
        partitions: Vec<PartitionIndex>,
    },
    /// Configs of a topic that was there before.
    TopicConfigsChanged {
        /// The topic.
        id: TopicId,
        /// Its name.
        name: Arc<str>,
    },
    /// A broker registered, was fenced or unfenced, or is gone.
    BrokerChanged(BrokerId),
    /// Producer ids were given out.
    ProducerIdsAllocated,
    /// Configs of what is no topic.
    ConfigsChanged(ConfigResource),
    /// Quotas of clients.
    QuotasChanged(QuotaEntity),
    /// What all brokers do in a new way.
    FeaturesChanged,
}

impl Delta {
    /// What leads from `old` to `new`, for those who missed the commands between them (a snapshot was installed).
    /// Costs about as much as there are changes.
    #[must_use]
    pub fn between(old: &Image, new: &Image) -> Self {
        let mut changes = Vec::new();
        if old.cluster_id() != new.cluster_id() {
            changes.push(Change::ClusterIdSet);
        }
        let mut topics: Vec<_> = new.topics.differences(&old.topics).collect();
        topics.sort_unstable_by_key(|(before, after)| (after.is_some(), after.or(*before).map(|topic| &topic.name)));
        for (before, after) in topics {
            match (before, after) {
                (Some(before), Some(topic)) => push_topic_changes(&mut changes, before, topic),
                (None, Some(topic)) => {
                    changes.push(Change::TopicCreated { id: topic.id, name: Arc::clone(&topic.name) });
                }
                (Some(topic), None) => changes.push(Change::TopicDeleted {
                    id: topic.id,
                    name: Arc::clone(&topic.name),
                    partitions: topic.partition_count(),
                }),
                (None, None) => {}
            }
        }
        for broker in new.brokers() {
            if old.broker(broker.id) != Some(broker) {
                changes.push(Change::BrokerChanged(broker.id));
            }
        }
        let gone = old.brokers().filter(|broker| new.broker(broker.id).is_none());
        changes.extend(gone.map(|broker| Change::BrokerChanged(broker.id)));
        if old.next_producer_id() != new.next_producer_id() {
            changes.push(Change::ProducerIdsAllocated);
        }
        changes.extend(differing(&old.configs, &new.configs).map(|of| Change::ConfigsChanged(of.clone())));
        changes.extend(differing(&old.quotas, &new.quotas).map(|of| Change::QuotasChanged(of.clone())));
        if old.features != new.features {
            changes.push(Change::FeaturesChanged);
        }
        Self { version: new.version(), changes }
    }
}

/// The keys whose values differ, or that only one of the two has, in order.
fn differing<'a, K: Ord, V: PartialEq>(
    old: &'a BTreeMap<K, V>,
    new: &'a BTreeMap<K, V>,
) -> impl Iterator<Item = &'a K> {
    let keys: BTreeSet<&K> = old.keys().chain(new.keys()).collect();
    keys.into_iter().filter(|key| old.get(key) != new.get(key))
}

fn push_topic_changes(changes: &mut Vec<Change>, before: &Topic, topic: &Topic) {
    let changed: Vec<_> = topic
        .partitions()
        .zip(&before.partitions)
        .filter(|((_, new), old)| new != old)
        .map(|((index, _), _)| index)
        .collect();
    if !changed.is_empty() {
        changes.push(Change::PartitionsChanged { id: topic.id, name: Arc::clone(&topic.name), partitions: changed });
    }
    if topic.partition_count() > before.partition_count() {
        changes.push(Change::PartitionsAdded {
            id: topic.id,
            name: Arc::clone(&topic.name),
            first: PartitionIndex(before.partition_count()),
        });
    }
    if topic.configs != before.configs {
        changes.push(Change::TopicConfigsChanged { id: topic.id, name: Arc::clone(&topic.name) });
    }
}
