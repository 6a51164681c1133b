//! ListPartitionReassignments, version 0: the partitions that are on their way to other replicas, with all who keep them until then,
//! who is new and who goes.
//!
//! - Topics and partitions that are asked for and not under way, or not known, are left out, as in Kafka; null asks for all.
//! - Moves between the log dirs of one broker are DescribeLogDirs' to tell.

use std::collections::BTreeMap;
use std::sync::Arc;

use cairn_metadata::{Image, Partition, Topic};
use cairn_protocol::ids::{BrokerId, PartitionIndex};
use cairn_protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use cairn_protocol::messages::list_partition_reassignments_response::{
    OngoingPartitionReassignment, OngoingTopicReassignment,
};
use cairn_protocol::messages::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};

use crate::dispatch::{Call, Outcome};
use crate::node::Node;

pub(super) fn handle(
    node: &Arc<Node>,
    _call: &Call,
    request: ListPartitionReassignmentsRequest,
) -> Outcome<ListPartitionReassignmentsResponse> {
    let image = node.image();
    let topics = match request.topics {
        None => all(&image),
        Some(wanted) => these(&image, wanted),
    };
    Outcome::Now(ListPartitionReassignmentsResponse {
        error_message: None,
        topics,
        ..ListPartitionReassignmentsResponse::default()
    })
}

fn all(image: &Image) -> Vec<OngoingTopicReassignment> {
    let mut topics: Vec<&Arc<Topic>> = image.topics().collect();
    topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    topics.into_iter().filter_map(|topic| under_way(topic, topic.partitions())).collect()
}

fn these(image: &Image, wanted: Vec<ListPartitionReassignmentsTopics>) -> Vec<OngoingTopicReassignment> {
    // What is named more than once is told once.
    let mut indexes = BTreeMap::<Box<str>, Vec<i32>>::new();
    for topic in wanted {
        indexes.entry(topic.name).or_default().extend(topic.partition_indexes);
    }
    let told = |(name, mut indexes): (Box<str>, Vec<i32>)| {
        indexes.sort_unstable();
        indexes.dedup();
        let topic = image.topic_by_name(&name)?;
        let known = |index: i32| Some((PartitionIndex(index), topic.partition(PartitionIndex(index))?));
        under_way(topic, indexes.into_iter().filter_map(known))
    };
    indexes.into_iter().filter_map(told).collect()
}

/// Those of a topic's partitions that move; none where none does.
fn under_way<'a>(
    topic: &Topic,
    partitions: impl Iterator<Item = (PartitionIndex, &'a Partition)>,
) -> Option<OngoingTopicReassignment> {
    let moving = partitions.filter(|(_, partition)| partition.moving.is_some());
    let partitions: Vec<_> = moving.map(|(index, partition)| told(index, partition)).collect();
    (!partitions.is_empty()).then(|| OngoingTopicReassignment { name: (*topic.name).into(), partitions })
}

fn told(index: PartitionIndex, partition: &Partition) -> OngoingPartitionReassignment {
    let numbers = |ids: &mut dyn Iterator<Item = BrokerId>| ids.map(|id| id.0).collect();
    OngoingPartitionReassignment {
        partition_index: index.0,
        replicas: numbers(&mut partition.told_replicas()),
        adding_replicas: numbers(&mut partition.adding()),
        removing_replicas: numbers(&mut partition.removing()),
    }
}
