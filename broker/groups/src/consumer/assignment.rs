//! Partitions by topic: what members are to have, and what they have.
//!
//! Must not know: members, how partitions are distributed.

use std::collections::{BTreeMap, BTreeSet};

use cairn_protocol::ids::{PartitionIndex, TopicId};

/// Partitions by topic. No topic is there without any.
pub type Partitions = BTreeMap<TopicId, BTreeSet<PartitionIndex>>;

/// Partitions of a member, each with the epoch in which it got it: an offset of an earlier epoch is not its own.
pub(crate) type Held = BTreeMap<TopicId, BTreeMap<PartitionIndex, i32>>;

/// The partitions without their epochs.
pub(crate) fn partitions_of(held: &Held) -> Partitions {
    held.iter().map(|(topic, partitions)| (*topic, partitions.keys().copied().collect())).collect()
}

/// In which epoch the member got a partition, if it has it.
pub(crate) fn epoch_in(held: &Held, topic: TopicId, partition: PartitionIndex) -> Option<i32> {
    held.get(&topic)?.get(&partition).copied()
}

/// Whether `held` has one of these.
pub(crate) fn has_any(held: &Held, partitions: &Partitions) -> bool {
    let has = |topic: &TopicId, partition: &PartitionIndex| epoch_in(held, *topic, *partition).is_some();
    partitions.iter().any(|(topic, all)| all.iter().any(|partition| has(topic, partition)))
}

/// Whether `held` has all of these.
pub(crate) fn has_all(held: &Held, partitions: &Partitions) -> bool {
    let has = |topic: &TopicId, partition: &PartitionIndex| epoch_in(held, *topic, *partition).is_some();
    partitions.iter().all(|(topic, all)| all.iter().all(|partition| has(topic, partition)))
}

/// Whether two hold the same, whenever they got it.
pub(crate) fn is_same(one: &Held, other: &Held) -> bool {
    one.len() == other.len()
        && one.iter().zip(other).all(|((topic, partitions), (other_topic, others))| {
            topic == other_topic && partitions.len() == others.len() && partitions.keys().eq(others.keys())
        })
}

/// Each partition once.
pub(crate) fn each(held: &Held) -> impl Iterator<Item = (TopicId, PartitionIndex)> {
    held.iter().flat_map(|(topic, partitions)| partitions.keys().map(|partition| (*topic, *partition)))
}
