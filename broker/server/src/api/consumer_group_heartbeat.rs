//! ConsumerGroupHeartbeat, versions 0 and 1: a member of a group of the consumer protocol (KIP-848) says that it is alive, what
//! it asks for and what it owns, and is told what it is to have.
//!
//! - Answered when what it is told is as durable as `__consumer_offsets` promises; at once when nothing changes.
//! - Regular expressions (1 and later) are matched here, on a thread that may take its time, before the heartbeat is decided
//!   on; one that does not parse: INVALID_REGULAR_EXPRESSION.
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
use tokio::sync::oneshot;
use uuid::Uuid;

use super::refusal::cut;
use crate::blocking::on_blocking_thread;
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
    let said = Said {
        client_id: call.client_id.clone(),
        client_host: format!("/{}", call.connection.peer.ip()),
        unique: Uuid::new_v4().to_string(),
        version: call.version,
        request,
    };
    match shard.consumer_heartbeat(&said.heartbeat()) {
        Ok(mut reply) => match reply.try_recv() {
            Ok(Reply::Heartbeat(reply)) => Outcome::Now(answer(reply)),
            _ => Outcome::alone(answer_of(reply)),
        },
        Err(search) => Outcome::alone(async move {
            let found = on_blocking_thread(move || search.run()).await;
            answer_of(shard.consumer_heartbeat_with(&said.heartbeat(), &found)).await
        }),
    }
}

/// A heartbeat that may be decided on later.
struct Said {
    client_id: Option<Box<str>>,
    client_host: String,
    unique: String,
    version: i16,
    request: ConsumerGroupHeartbeatRequest,
}

impl Said {
    fn heartbeat(&self) -> ConsumerHeartbeat<'_> {
        let request = &self.request;
        let topics = request.subscribed_topic_names.as_ref();
        ConsumerHeartbeat {
            version: self.version,
            group: &request.group_id,
            member: &request.member_id,
            epoch: request.member_epoch,
            instance: request.instance_id.as_deref(),
            rack: request.rack_id.as_deref(),
            rebalance_timeout_ms: request.rebalance_timeout_ms,
            topics: topics.map(|topics| topics.iter().map(|topic| &**topic).collect()),
            regex: request.subscribed_topic_regex.as_deref(),
            assignor: request.server_assignor.as_deref(),
            owned: request.topic_partitions.as_deref().map(owned),
            client_id: self.client_id.as_deref().unwrap_or_default(),
            client_host: &self.client_host,
            unique: &self.unique,
        }
    }
}

async fn answer_of(reply: oneshot::Receiver<Reply>) -> ConsumerGroupHeartbeatResponse {
    answer(match reply.await {
        Ok(Reply::Heartbeat(reply)) => reply,
        // The groups are not here any more.
        Ok(Reply::Join(_) | Reply::Sync(_)) | Err(_) => HeartbeatReply::refused(ErrorCode::NotCoordinator, None),
    })
}

fn owned(topics: &[Owned]) -> Partitions {
    let mut all = Partitions::new();
    for topic in topics.iter().filter(|topic| !topic.partitions.is_empty()) {
        let partitions = topic.partitions.iter().copied().map(PartitionIndex);
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
