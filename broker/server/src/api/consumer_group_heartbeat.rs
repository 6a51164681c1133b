//! ConsumerGroupHeartbeat, versions 0 and 1: a member of a group of the consumer protocol (KIP-848) says that it is alive, what
//! it asks for and what it owns, and is told what it is to have.
//!
//! - Answered when what it is told is as durable as `__consumer_offsets` promises; at once when nothing changes.
//! - Regular expressions (1 and later) are matched here; one that does not parse: INVALID_REGULAR_EXPRESSION.
//! - A member whose epoch is not the group's for it is fenced (FENCED_MEMBER_EPOCH), one that is gone unknown
//!   (UNKNOWN_MEMBER_ID): both join again. A static member whose place another one has: UNRELEASED_INSTANCE_ID.
//! - Where `group.coordinator.rebalance.protocols` leaves the protocol out: UNSUPPORTED_VERSION.

use std::collections::BTreeSet;
use std::sync::Arc;

use cairn_groups::{ConsumerHeartbeat, HeartbeatReply, Partitions, Reply};
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::{PartitionIndex, TopicId};
use cairn_protocol::messages::consumer_group_heartbeat_request::TopicPartitions as Owned;
use cairn_protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use cairn_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use uuid::Uuid;

use super::refusal::cut;
use crate::dispatch::{Call, Outcome};
use crate::node::Node;

pub(super) fn handle(
    node: &Arc<Node>,
    call: &Call,
    request: ConsumerGroupHeartbeatRequest,
) -> Outcome<ConsumerGroupHeartbeatResponse> {
    let refused = |error| Outcome::Now(answer(HeartbeatReply::refused(error, None)));
    if !node.config.start().group_coordinator_rebalance_protocols.consumer {
        return refused(ErrorCode::UnsupportedVersion);
    }
    let shard = match node.coordinator.of_group(&node.cluster, &request.group_id) {
        Ok(shard) => shard,
        Err(error) => return refused(error),
    };
    let topics = request.subscribed_topic_names.as_ref();
    let mut reply = shard.consumer_heartbeat(&ConsumerHeartbeat {
        version: call.version,
        group: &request.group_id,
        member: &request.member_id,
        epoch: request.member_epoch,
        instance: request.instance_id.as_deref(),
        rack: request.rack_id.as_deref(),
        rebalance_timeout_ms: request.rebalance_timeout_ms,
        topics: topics.map(|topics| topics.iter().map(|topic| &**topic).collect()),
        regex: request.subscribed_topic_regex.as_deref(),
        assignor: request.server_assignor.as_deref(),
        owned: request.topic_partitions.map(owned),
        client_id: call.client_id.as_deref().unwrap_or_default(),
        client_host: &format!("/{}", call.connection.peer.ip()),
        unique: &Uuid::new_v4().to_string(),
    });
    if let Ok(Reply::Heartbeat(reply)) = reply.try_recv() {
        return Outcome::Now(answer(reply));
    }
    Outcome::alone(async move {
        let reply = match reply.await {
            Ok(Reply::Heartbeat(reply)) => reply,
            // The groups are not here any more.
            Ok(Reply::Join(_) | Reply::Sync(_)) | Err(_) => HeartbeatReply::refused(ErrorCode::NotCoordinator, None),
        };
        answer(reply)
    })
}

fn owned(topics: Vec<Owned>) -> Partitions {
    let mut all = Partitions::new();
    for topic in topics.into_iter().filter(|topic| !topic.partitions.is_empty()) {
        let partitions = topic.partitions.into_iter().map(PartitionIndex);
        all.entry(TopicId(topic.topic_id)).or_default().extend(partitions);
    }
    all
}

fn answer(reply: HeartbeatReply) -> ConsumerGroupHeartbeatResponse {
    let topic = |(topic, partitions): (TopicId, BTreeSet<PartitionIndex>)| TopicPartitions {
        topic_id: topic.0,
        partitions: partitions.into_iter().map(|partition| partition.0).collect(),
    };
    let assignment = |all: Partitions| Assignment { topic_partitions: all.into_iter().map(topic).collect() };
    ConsumerGroupHeartbeatResponse {
        error_code: reply.error.code(),
        error_message: reply.message.map(cut),
        member_id: reply.member.as_deref().map(Into::into),
        member_epoch: reply.epoch,
        heartbeat_interval_ms: reply.interval_ms,
        assignment: reply.assignment.map(assignment),
        ..ConsumerGroupHeartbeatResponse::default()
    }
}
