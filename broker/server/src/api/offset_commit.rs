//! OffsetCommit, versions 2 to 10: keeps the offsets that a group has got to, on `__consumer_offsets`.
//!
//! - Answered when the offsets are as durable as that topic promises; each partition has its own outcome.
//! - A commit of a member is taken in its present generation only: otherwise UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID,
//!   ILLEGAL_GENERATION, or REBALANCE_IN_PROGRESS before it has its assignment. It keeps the member's session alive.
//!   Consumers that assign themselves name no generation, and may commit as long as the group has no members. A generation
//!   of a group that does not exist: ILLEGAL_GENERATION, from version 9 on GROUP_ID_NOT_FOUND.
//! - A topic or partition that does not exist: UNKNOWN_TOPIC_OR_PARTITION; topics by id from 10 on, UNKNOWN_TOPIC_ID.
//! - Metadata of more than 4,096 characters: OFFSET_METADATA_TOO_LARGE. A retention time (2 to 4) is kept with the offset.

use std::sync::Arc;

use cairn_groups::{Commit, CommitError, GroupCommit, PartitionCommit};
use cairn_metadata::{Image, Topic};
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::{Offset, PartitionIndex, TopicId};
use cairn_protocol::messages::offset_commit_request::OffsetCommitRequestTopic;
use cairn_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use cairn_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use cairn_replication::AppendRefused as Refused;
use cairn_storage::log::AppendError;

use crate::coordinator::CommitFailed;
use crate::dispatch::{Call, Outcome};
use crate::node::Node;
use crate::partitions::AppendRefused;

/// The first version that names topics by id.
pub(super) const BY_ID_FROM: i16 = 10;

pub(super) fn handle(node: &Arc<Node>, call: &Call, request: OffsetCommitRequest) -> Outcome<OffsetCommitResponse> {
    let (node, version) = (Arc::clone(node), call.version);
    Outcome::alone(async move {
        let mut answers = check(&node.image(), version, &request);
        if let Err(error) = commit(&node, version, &request, &mut answers).await {
            answers.iter_mut().flat_map(|topic| &mut topic.partitions).for_each(|partition| {
                if partition.error_code == ErrorCode::None.code() {
                    partition.error_code = error.code();
                }
            });
        }
        OffsetCommitResponse { topics: answers, ..OffsetCommitResponse::default() }
    })
}

/// An answer for every partition, with an error already where nothing can be committed.
fn check(image: &Image, version: i16, request: &OffsetCommitRequest) -> Vec<OffsetCommitResponseTopic> {
    let answer = |topic: &OffsetCommitRequestTopic| {
        let found = find(image, version, topic);
        let partitions = topic.partitions.iter().map(|partition| {
            let known = found.map(|found| found.partition(PartitionIndex(partition.partition_index)));
            let error = match known {
                Some(Some(_)) => ErrorCode::None,
                None if version >= BY_ID_FROM => ErrorCode::UnknownTopicId,
                Some(None) | None => ErrorCode::UnknownTopicOrPartition,
            };
            OffsetCommitResponsePartition { partition_index: partition.partition_index, error_code: error.code() }
        });
        OffsetCommitResponseTopic {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions: partitions.collect(),
        }
    };
    request.topics.iter().map(answer).collect()
}

fn find<'a>(image: &'a Image, version: i16, topic: &OffsetCommitRequestTopic) -> Option<&'a Arc<Topic>> {
    if version >= BY_ID_FROM { image.topic(TopicId(topic.topic_id)) } else { image.topic_by_name(&topic.name) }
}

/// Commits the partitions that have no error yet, and writes their outcomes into `answers`.
async fn commit(
    node: &Node,
    version: i16,
    request: &OffsetCommitRequest,
    answers: &mut [OffsetCommitResponseTopic],
) -> Result<(), ErrorCode> {
    if request.group_id.is_empty() {
        return Err(ErrorCode::InvalidGroupId);
    }
    let shard = node.coordinator.of_group(&node.cluster, &request.group_id)?;
    let image = node.image();
    let mut partitions = Vec::new();
    let mut places = Vec::new();
    for (topic_at, topic) in request.topics.iter().enumerate() {
        let Some(known) = find(&image, version, topic) else { continue };
        for (at, partition) in topic.partitions.iter().enumerate() {
            if answers[topic_at].partitions[at].error_code != ErrorCode::None.code() {
                continue;
            }
            places.push((topic_at, at));
            partitions.push(PartitionCommit {
                topic: &known.name,
                topic_id: known.id,
                partition: PartitionIndex(partition.partition_index),
                offset: Offset(partition.committed_offset),
                leader_epoch: partition.committed_leader_epoch,
                metadata: partition.committed_metadata.as_deref().unwrap_or_default(),
            });
        }
    }
    let by = GroupCommit {
        group: &request.group_id,
        generation: request.generation_id_or_member_epoch,
        member: &request.member_id,
        instance: request.group_instance_id.as_deref(),
        retention_ms: request.retention_time_ms,
        unknown_group: CommitError::for_unknown_group(version),
        version,
    };
    let commit = Commit { by, partitions: &partitions };
    let results = shard.commit(&commit).await.map_err(|failed| failure(&failed))?;
    for ((topic_at, at), result) in places.into_iter().zip(results) {
        let error = result.err().map_or(ErrorCode::None, CommitError::code);
        answers[topic_at].partitions[at].error_code = error.code();
    }
    Ok(())
}

/// Kafka's answer when the offsets could not be written.
pub(super) fn failure(failed: &CommitFailed) -> ErrorCode {
    tracing::debug!(%failed, "offsets were not committed");
    match failed {
        CommitFailed::TooLarge | CommitFailed::Append(AppendRefused::Log(AppendError::TooLarge { .. })) => {
            ErrorCode::InvalidCommitOffsetSize
        }
        CommitFailed::Append(AppendRefused::Closed | AppendRefused::Replica(Refused::NotLeader)) => {
            ErrorCode::NotCoordinator
        }
        CommitFailed::Append(AppendRefused::Replica(_) | AppendRefused::Log(_)) | CommitFailed::NotDurable => ErrorCode::CoordinatorNotAvailable,
    }
}
