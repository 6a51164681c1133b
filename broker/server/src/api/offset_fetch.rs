//! OffsetFetch, versions 1 to 10: the offsets that groups have committed. Several groups at once from version 8 on.
//!
//! - A partition without one is answered with offset -1 and no error; topics null (2 and later) means all that there is.
//! - A partition that is named more than once is answered once; a group, as it stands first.
//! - What a topic that was deleted had, another of the same name does not get (topics by id from 10 on).
//! - Only what is durable is told, so that no consumer goes on from an offset that a crash takes back. Without
//!   transactions every committed offset is stable.
//! - Who asks does not matter: member and epoch (9 and later) are for groups of a later protocol than the classic one, as
//!   in Kafka.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cairn_groups::CommittedOffset;
use cairn_metadata::Image;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::{PartitionIndex, TopicId};
use cairn_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use cairn_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use cairn_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse};

use super::offset_commit::BY_ID_FROM;
use super::once::once;
use crate::dispatch::{Call, Outcome};
use crate::node::Node;

/// The first version that asks for several groups.
const GROUPS_FROM: i16 = 8;

pub(super) fn handle(node: &Arc<Node>, call: &Call, request: OffsetFetchRequest) -> Outcome<OffsetFetchResponse> {
    let version = call.version;
    if version < GROUPS_FROM {
        return Outcome::Now(single(fetch(node, version, &without_repeats(only_group(request)))));
    }
    let groups = once(request.groups, |group| group.group_id.clone());
    let groups = groups.into_iter().map(|group| fetch(node, version, &without_repeats(group))).collect();
    Outcome::Now(OffsetFetchResponse { groups, ..OffsetFetchResponse::default() })
}

/// Each partition once, also where a topic stands in it more than once.
fn without_repeats(mut group: OffsetFetchRequestGroup) -> OffsetFetchRequestGroup {
    let mut seen = HashMap::<_, HashSet<i32>>::new();
    for topic in group.topics.iter_mut().flatten() {
        let asked = seen.entry((topic.name.clone(), topic.topic_id)).or_default();
        topic.partition_indexes.retain(|index| asked.insert(*index));
    }
    group
}

/// The older form, which asks for one group, in the newer one.
fn only_group(request: OffsetFetchRequest) -> OffsetFetchRequestGroup {
    let topics = request.topics.map(|topics| {
        let topic = |topic: cairn_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic| {
            OffsetFetchRequestTopics {
                name: topic.name,
                partition_indexes: topic.partition_indexes,
                ..OffsetFetchRequestTopics::default()
            }
        };
        topics.into_iter().map(topic).collect()
    });
    OffsetFetchRequestGroup {
        group_id: request.group_id,
        topics,
        member_id: None,
        ..OffsetFetchRequestGroup::default()
    }
}

/// The newer answer in the older form.
fn single(group: OffsetFetchResponseGroup) -> OffsetFetchResponse {
    let partition = |partition: OffsetFetchResponsePartitions| OffsetFetchResponsePartition {
        partition_index: partition.partition_index,
        committed_offset: partition.committed_offset,
        committed_leader_epoch: partition.committed_leader_epoch,
        metadata: partition.metadata,
        error_code: if group.error_code == 0 { partition.error_code } else { group.error_code },
    };
    let topics = group.topics.into_iter().map(|topic| OffsetFetchResponseTopic {
        name: topic.name,
        partitions: topic.partitions.into_iter().map(partition).collect(),
    });
    OffsetFetchResponse {
        topics: topics.collect(),
        error_code: group.error_code,
        ..OffsetFetchResponse::default()
    }
}

fn fetch(node: &Node, version: i16, wanted: &OffsetFetchRequestGroup) -> OffsetFetchResponseGroup {
    let topics = match find(node, version, wanted) {
        Ok(topics) => topics,
        Err(error) => {
            return OffsetFetchResponseGroup {
                group_id: wanted.group_id.clone(),
                topics: refused(wanted),
                error_code: error.code(),
            };
        }
    };
    OffsetFetchResponseGroup { group_id: wanted.group_id.clone(), topics, error_code: ErrorCode::None.code() }
}

fn find(
    node: &Node,
    version: i16,
    wanted: &OffsetFetchRequestGroup,
) -> Result<Vec<OffsetFetchResponseTopics>, ErrorCode> {
    if wanted.group_id.is_empty() {
        return Err(ErrorCode::InvalidGroupId);
    }
    let shard = node.coordinator.of_group(&node.cluster, &wanted.group_id)?;
    let image = node.image();
    shard.look(|groups| {
        groups.check_fetch(&wanted.group_id, wanted.member_id.as_deref(), wanted.member_epoch)?;
        Ok(look(groups, &image, version, wanted))
    })
}

fn look(
    groups: &cairn_groups::Shard,
    image: &Image,
    version: i16,
    wanted: &OffsetFetchRequestGroup,
) -> Vec<OffsetFetchResponseTopics> {
    let Some(topics) = &wanted.topics else {
        let all = groups.fetch_all(&wanted.group_id).map(|(name, partitions)| OffsetFetchResponseTopics {
            name: name.into(),
            topic_id: image.topic_by_name(name).map_or(uuid::Uuid::nil(), |topic| topic.id.0),
            partitions: partitions.map(|(index, committed)| found(index, Some(committed))).collect(),
        });
        let named = |topic: &OffsetFetchResponseTopics| version < BY_ID_FROM || !topic.topic_id.is_nil();
        return all.filter(named).collect();
    };
    let topic = |topic: &OffsetFetchRequestTopics| {
        let known = if version >= BY_ID_FROM {
            image.topic(TopicId(topic.topic_id))
        } else {
            image.topic_by_name(&topic.name)
        };
        let (name, id) = match known {
            Some(known) => (&*known.name, known.id),
            None => (&*topic.name, TopicId::ZERO),
        };
        let is_lost = version >= BY_ID_FROM && known.is_none();
        let partitions = topic.partition_indexes.iter().map(|index| {
            let index = PartitionIndex(*index);
            if is_lost { failed(index, ErrorCode::UnknownTopicId) } else { found(index, groups.fetch(&wanted.group_id, name, id, index)) }
        });
        OffsetFetchResponseTopics {
            name: topic.name.clone(),
            topic_id: topic.topic_id,
            partitions: partitions.collect(),
        }
    };
    topics.iter().map(topic).collect()
}

fn found(index: PartitionIndex, committed: Option<&CommittedOffset>) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions {
        partition_index: index.0,
        committed_offset: committed.map_or(-1, |committed| committed.offset.0),
        committed_leader_epoch: committed.and_then(|committed| committed.leader_epoch).map_or(-1, |epoch| epoch.0),
        metadata: Some(committed.map(|committed| committed.metadata.clone()).unwrap_or_default()),
        error_code: ErrorCode::None.code(),
    }
}

fn failed(index: PartitionIndex, error: ErrorCode) -> OffsetFetchResponsePartitions {
    OffsetFetchResponsePartitions { error_code: error.code(), ..found(index, None) }
}

/// What was asked for, without offsets: old versions carry a group's error with each partition.
fn refused(wanted: &OffsetFetchRequestGroup) -> Vec<OffsetFetchResponseTopics> {
    let topic = |topic: &OffsetFetchRequestTopics| OffsetFetchResponseTopics {
        name: topic.name.clone(),
        topic_id: topic.topic_id,
        partitions: topic.partition_indexes.iter().map(|index| found(PartitionIndex(*index), None)).collect(),
    };
    wanted.topics.iter().flatten().map(topic).collect()
}
