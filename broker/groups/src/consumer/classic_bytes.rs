//! What members of the classic protocol say and are told in bytes that only consumers read: subscriptions and assignments.
//!
//! Must not know: members, groups.

use std::collections::BTreeMap;

use bytes::{Buf, Bytes};
use cairn_protocol::Reader;
use cairn_protocol::codec::Message;
use cairn_protocol::ids::PartitionIndex;
use cairn_protocol::messages::consumer_protocol_assignment::TopicPartition;
use cairn_protocol::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};

use super::assignment::{Held, Partitions};
use super::topics::Topics;

/// The latest version of subscriptions and assignments that is known.
const VERSION_MAX: i16 = 3;

/// Partitions by their topics' names.
pub(crate) type Named = BTreeMap<Box<str>, Vec<i32>>;

/// What a consumer says with JoinGroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) topics: Vec<Box<str>>,
    pub(crate) rack: Option<Box<str>>,
    pub(crate) owned: Named,
}

/// Reads what a consumer says; none when it does not read.
pub(crate) fn subscription(metadata: &Bytes) -> Option<Said> {
    let (version, bytes) = split(metadata)?;
    let said = ConsumerProtocolSubscription::decode(&mut Reader::new(bytes), version).ok()?;
    let owned = said.owned_partitions.into_iter().map(|topic| (topic.topic, topic.partitions));
    Some(Said { topics: said.topics, rack: said.rack_id.filter(|rack| !rack.is_empty()), owned: owned.collect() })
}

/// Reads what a leader has given to a consumer, nothing if it has not; none when it does not read.
pub(crate) fn given(assignment: &Bytes) -> Option<Named> {
    if assignment.is_empty() {
        return Some(Named::new());
    }
    let (version, bytes) = split(assignment)?;
    let given = ConsumerProtocolAssignment::decode(&mut Reader::new(bytes), version).ok()?;
    Some(given.assigned_partitions.into_iter().map(|topic| (topic.topic, topic.partitions)).collect())
}

/// What a consumer is told that it has, in the version that it speaks itself.
pub(crate) fn assignment(held: &Held, metadata: &Bytes, topics: &dyn Topics) -> Bytes {
    let version = split(metadata).map_or(0, |(version, _)| version);
    let topic = |(topic, partitions): (&_, &BTreeMap<PartitionIndex, i32>)| {
        let partitions = partitions.keys().map(|partition| partition.0).collect();
        topics.name(*topic).map(|name| TopicPartition { topic: name.into(), partitions })
    };
    let given =
        ConsumerProtocolAssignment { assigned_partitions: held.iter().filter_map(topic).collect(), user_data: None };
    given.to_prefixed_bytes(version, version).expect("names of topics are short")
}

/// The same by their topics' ids, as far as these exist.
pub(crate) fn to_ids(named: &Named, topics: &dyn Topics) -> Partitions {
    let known = named.iter().filter(|(_, partitions)| !partitions.is_empty());
    let ids = known.filter_map(|(name, partitions)| {
        Some((topics.id(name)?, partitions.iter().copied().map(PartitionIndex).collect()))
    });
    ids.collect()
}

/// The version, no later than the latest, and what follows it: later versions begin with what earlier ones have.
fn split(bytes: &Bytes) -> Option<(i16, Bytes)> {
    let mut bytes = bytes.clone();
    let version = bytes.try_get_i16().ok().filter(|version| *version >= 0)?;
    Some((version.min(VERSION_MAX), bytes))
}
