//! OffsetDelete, version 0: offsets that a group has committed go away.
//!
//! - Answered when that is as durable as `__consumer_offsets` promises; each partition has its own outcome.
//! - Topics that the group's members subscribe to: GROUP_SUBSCRIBED_TO_TOPIC. A group with members that are no consumers:
//!   NON_EMPTY_GROUP. A topic or partition that does not exist: UNKNOWN_TOPIC_OR_PARTITION.

use std::sync::Arc;

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::PartitionIndex;
use cairn_protocol::messages::offset_delete_request::OffsetDeleteRequestTopic;
use cairn_protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use cairn_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};

use super::offset_commit::failure;
use crate::clock;
use crate::dispatch::{Call, Outcome};
use crate::node::Node;

pub(super) fn handle(node: &Arc<Node>, _: &Call, request: OffsetDeleteRequest) -> Outcome<OffsetDeleteResponse> {
    let node = Arc::clone(node);
    Outcome::alone(async move {
        match delete(&node, &request).await {
            Ok(topics) => OffsetDeleteResponse { topics, ..OffsetDeleteResponse::default() },
            Err(error) => OffsetDeleteResponse { error_code: error.code(), ..OffsetDeleteResponse::default() },
        }
    })
}

async fn delete(node: &Node, request: &OffsetDeleteRequest) -> Result<Vec<OffsetDeleteResponseTopic>, ErrorCode> {
    let group = &*request.group_id;
    if group.is_empty() {
        return Err(ErrorCode::InvalidGroupId);
    }
    let shard = node.coordinator.of_group(&node.cluster, group)?;
    let image = node.image();
    let is_known = |topic: &str, partition| image.topic_by_name(topic).is_some_and(|topic| topic.partition(partition).is_some());
    let all = request.topics.iter().flat_map(|topic| {
        let index = |partition| (&*topic.name, PartitionIndex(partition));
        topic.partitions.iter().map(move |partition| index(partition.partition_index))
    });
    let known: Vec<(&str, PartitionIndex)> = all.filter(|(topic, partition)| is_known(topic, *partition)).collect();
    let decided = shard.delete(clock::now(), |groups| match groups.delete_offsets(group, &known) {
        Ok(deleted) => (deleted.records, Ok(deleted.results)),
        Err(error) => (Vec::new(), Err(error)),
    });
    let mut results = decided.await.map_err(|failed| failure(&failed))??.into_iter();
    let mut topic = |topic: &OffsetDeleteRequestTopic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let result = match is_known(&topic.name, PartitionIndex(partition.partition_index)) {
                true => results.next().expect("one for each that is known"),
                false => Err(ErrorCode::UnknownTopicOrPartition),
            };
            OffsetDeleteResponsePartition {
                partition_index: partition.partition_index,
                error_code: result.err().unwrap_or(ErrorCode::None).code(),
            }
        });
        OffsetDeleteResponseTopic { name: topic.name.clone(), partitions: partitions.collect() }
    };
    Ok(request.topics.iter().map(&mut topic).collect())
}
