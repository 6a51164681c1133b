//! Committed offsets in memory, by group, topic and partition.
//!
//! Must not know: records, which changes are durable.

use std::collections::{BTreeMap, HashMap};

use cairn_protocol::ids::{LeaderEpoch, Offset, PartitionIndex, Timestamp, TopicId};

/// An offset that a group committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next offset that the group wants to read.
    pub offset: Offset,
    /// The epoch of the last record read; none where the consumer did not know it.
    pub leader_epoch: Option<LeaderEpoch>,
    /// What the consumer wanted to keep with it.
    pub metadata: Box<str>,
    /// When it was committed.
    pub committed_at: Timestamp,
    /// When it expires, where an old client asked for a time of its own.
    pub expires_at: Option<Timestamp>,
    /// The topic; zero where it was not known.
    pub topic_id: TopicId,
}

impl CommittedOffset {
    /// Whether this is about another topic than `topic_id`, which only has the same name.
    pub(crate) fn is_of_another(&self, topic_id: TopicId) -> bool {
        !self.topic_id.is_zero() && !topic_id.is_zero() && self.topic_id != topic_id
    }
}

/// What an offset is committed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OffsetKey {
    pub(crate) group: Box<str>,
    pub(crate) topic: Box<str>,
    pub(crate) partition: PartitionIndex,
}

pub(crate) type TopicOffsets = BTreeMap<Box<str>, BTreeMap<PartitionIndex, CommittedOffset>>;

/// Committed offsets. What holds nothing is not kept.
#[derive(Debug, Default)]
pub(crate) struct Offsets {
    groups: HashMap<Box<str>, TopicOffsets>,
}

impl Offsets {
    pub(crate) fn group(&self, group: &str) -> Option<&TopicOffsets> {
        self.groups.get(group)
    }

    pub(crate) fn groups(&self) -> impl Iterator<Item = (&str, &TopicOffsets)> {
        self.groups.iter().map(|(group, topics)| (&**group, topics))
    }

    pub(crate) fn get(&self, group: &str, topic: &str, partition: PartitionIndex) -> Option<&CommittedOffset> {
        self.groups.get(group)?.get(topic)?.get(&partition)
    }

    pub(crate) fn set(&mut self, key: OffsetKey, committed: CommittedOffset) {
        self.groups.entry(key.group).or_default().entry(key.topic).or_default().insert(key.partition, committed);
    }

    pub(crate) fn remove(&mut self, key: &OffsetKey) {
        let Some(topics) = self.groups.get_mut(&key.group) else { return };
        let Some(partitions) = topics.get_mut(&key.topic) else { return };
        partitions.remove(&key.partition);
        if partitions.is_empty() {
            topics.remove(&key.topic);
        }
        if topics.is_empty() {
            self.groups.remove(&key.group);
        }
    }
}
