//! DescribeTopicPartitions, version 0: partitions of topics in pages (KIP-966).
//!
//! - Topics come sorted by name; none named means all. A page has at most as many partitions as the request wants and
//!   `max.request.partition.size.limit` allows, and the cursor where the next one begins.
//! - Eligible leader replicas are none: a partition without in-sync replicas has no leader here.

use std::sync::Arc;

use cairn_metadata::{Image, Partition, Topic, names};
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::{BrokerId, PartitionIndex, TopicId};
use cairn_protocol::messages::describe_topic_partitions_request::TopicRequest;
use cairn_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use cairn_protocol::messages::{DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse};

use super::authorized;
use super::led::{Led, led};
use crate::dispatch::{Call, Outcome};
use crate::node::Node;

pub(super) fn handle(
    node: &Arc<Node>,
    _call: &Call,
    request: DescribeTopicPartitionsRequest,
) -> Outcome<DescribeTopicPartitionsResponse> {
    let DescribeTopicPartitionsRequest { topics, response_partition_limit, cursor } = request;
    let image = node.image();
    let most = usize::try_from(node.config.start().max_request_partition_size_limit).unwrap_or(usize::MAX);
    let limit = usize::try_from(response_partition_limit).unwrap_or(0).clamp(1, most);
    let (first_topic, first_partition) = match &cursor {
        Some(cursor) => (&*cursor.topic_name, usize::try_from(cursor.partition_index).unwrap_or(0)),
        None => ("", 0),
    };
    let mut page = Page { node, image: &image, left: limit, topics: Vec::new(), next: None };
    for name in wanted(&image, &topics).iter().filter(|name| &***name >= first_topic) {
        let from = if **name == *first_topic { first_partition } else { 0 };
        if !page.add(name, from) {
            break;
        }
    }
    Outcome::Now(DescribeTopicPartitionsResponse {
        topics: page.topics,
        next_cursor: page.next,
        ..DescribeTopicPartitionsResponse::default()
    })
}

/// The names asked for, sorted, none twice.
fn wanted(image: &Image, topics: &[TopicRequest]) -> Vec<Box<str>> {
    let mut wanted: Vec<Box<str>> = if topics.is_empty() {
        image.topics().map(|topic| (*topic.name).into()).collect()
    } else {
        topics.iter().map(|topic| topic.name.clone()).collect()
    };
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

/// What goes into one answer.
struct Page<'a> {
    node: &'a Node,
    image: &'a Image,
    left: usize,
    topics: Vec<DescribeTopicPartitionsResponseTopic>,
    next: Option<Cursor>,
}

impl Page<'_> {
    /// Adds a topic from a partition on; false when the page is full and something is left.
    fn add(&mut self, name: &str, from: usize) -> bool {
        let cursor = |partition: usize| Cursor {
            topic_name: name.into(),
            partition_index: i32::try_from(partition).unwrap_or(i32::MAX),
        };
        if self.left == 0 {
            self.next = Some(cursor(from));
            return false;
        }
        let Some(topic) = self.image.topic_by_name(name) else {
            self.topics.push(unknown(name));
            return true;
        };
        let partitions: Vec<_> = topic.partitions().skip(from).take(self.left).collect();
        let end = from + partitions.len();
        self.left -= partitions.len();
        self.topics.push(describe(self.node, self.image, topic, &partitions));
        if end < topic.partitions.len() {
            self.next = Some(cursor(end));
            return false;
        }
        true
    }
}

fn unknown(name: &str) -> DescribeTopicPartitionsResponseTopic {
    let error = match names::check_topic_name(name) {
        Ok(()) => ErrorCode::UnknownTopicOrPartition,
        Err(_) => ErrorCode::InvalidTopicException,
    };
    DescribeTopicPartitionsResponseTopic {
        error_code: error.code(),
        name: Some(name.into()),
        is_internal: names::is_internal(name),
        ..DescribeTopicPartitionsResponseTopic::default()
    }
}

fn describe(
    node: &Node,
    image: &Image,
    topic: &Topic,
    partitions: &[(PartitionIndex, &Partition)],
) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic {
        error_code: ErrorCode::None.code(),
        name: Some((*topic.name).into()),
        topic_id: topic.id.0,
        is_internal: names::is_internal(&topic.name),
        partitions: partitions.iter().map(|held| describe_partition(node, image, topic.id, *held)).collect(),
        topic_authorized_operations: authorized::TOPIC,
    }
}

fn describe_partition(
    node: &Node,
    image: &Image,
    topic: TopicId,
    (index, partition): (PartitionIndex, &Partition),
) -> DescribeTopicPartitionsResponsePartition {
    let numbers = |ids: &[BrokerId]| ids.iter().map(|id| id.0).collect();
    let Led { leader, offline } = led(node, image, topic, (index, partition));
    let error = if leader.is_some() { ErrorCode::None } else { ErrorCode::LeaderNotAvailable };
    DescribeTopicPartitionsResponsePartition {
        error_code: error.code(),
        partition_index: index.0,
        leader_id: leader.map_or(-1, |leader| leader.0),
        leader_epoch: partition.leader_epoch.0,
        replica_nodes: partition.told_replicas().map(|id| id.0).collect(),
        isr_nodes: numbers(&partition.isr),
        eligible_leader_replicas: Some(Vec::new()),
        last_known_elr: Some(Vec::new()),
        offline_replicas: numbers(&offline),
    }
}
