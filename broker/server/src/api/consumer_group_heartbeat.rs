//! ConsumerGroupHeartbeat, versions 0 and 1: a member of a group of the consumer protocol (KIP-848) says that it is alive, what
//! it asks for and what it owns, and is told what it is to have.
//!
//! - Answered when what it is told is as durable as `__consumer_offsets` promises; at once when nothing changes.
//! - Where what everybody is to have takes long to work out, that is waited for, but for no longer than the interval of the
//!   group's heartbeats; who has waited for so long is asked to come again soon.
//! - Regular expressions (1 and later) are matched here, on a thread that may take its time, before the heartbeat is decided
//!   on; one that does not parse: INVALID_REGULAR_EXPRESSION.
//! - A member whose epoch is not the group's for it is fenced (FENCED_MEMBER_EPOCH), one that is gone unknown
//!   (UNKNOWN_MEMBER_ID): both join again. A static member whose place another one has: UNRELEASED_INSTANCE_ID.
//! - Where `group.coordinator.rebalance.protocols` leaves the protocol out: UNSUPPORTED_VERSION.

use std::collections::BTreeSet;
use std::sync::Arc;

use cairn_groups::{ConsumerHeartbeat, Found, HeartbeatReply, Partitions, Reply};
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::{PartitionIndex, TopicId};
use cairn_protocol::messages::consumer_group_heartbeat_request::TopicPartitions as Owned;
use cairn_protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use cairn_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use super::refusal::cut;
use crate::blocking::on_blocking_thread;
use crate::coordinator::LoadedShard;
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
    let begun = Instant::now();
    let heard = shard.consumer_heartbeat(&said.heartbeat());
    let mut reply = match heard {
        Ok(reply) => reply,
        Err(search) => {
            return Outcome::alone(async move {
                let found = on_blocking_thread(move || search.run()).await;
                let reply = reply_of(shard.consumer_heartbeat_with(&said.heartbeat(), &found)).await;
                answer(said.into_speaker().told(&shard, reply, begun).await)
            });
        }
    };
    let speaker = said.into_speaker();
    match reply.try_recv() {
        Ok(Reply::Heartbeat(reply)) if !speaker.waits(&shard, &reply, begun) => Outcome::Now(answer(reply)),
        Ok(Reply::Heartbeat(reply)) => {
            Outcome::alone_and_light(async move { answer(speaker.told(&shard, reply, begun).await) })
        }
        _ => Outcome::alone_and_light(async move {
            let reply = reply_of(reply).await;
            answer(speaker.told(&shard, reply, begun).await)
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

    /// What is left of it when it was heard.
    fn into_speaker(self) -> Speaker {
        let Self { client_id, client_host, version, request, .. } = self;
        let is_leaving = request.member_epoch < 0;
        Speaker { client_id, client_host, version, group: request.group_id, is_leaving }
    }
}

/// Who has sent a heartbeat.
struct Speaker {
    client_id: Option<Box<str>>,
    client_host: String,
    version: i16,
    group: Box<str>,
    is_leaving: bool,
}

async fn reply_of(reply: oneshot::Receiver<Reply>) -> HeartbeatReply {
    match reply.await {
        Ok(Reply::Heartbeat(reply)) => reply,
        // The groups are not here any more.
        Ok(Reply::Join(_) | Reply::Sync(_)) | Err(_) => HeartbeatReply::refused(ErrorCode::NotCoordinator, None),
    }
}

impl Speaker {
    /// Whether it may be told more than this when it waits.
    fn waits(&self, shard: &LoadedShard, reply: &HeartbeatReply, begun: Instant) -> bool {
        self.is_heard(reply) && shard.assigned(&self.group, begun).is_some()
    }

    fn is_heard(&self, reply: &HeartbeatReply) -> bool {
        reply.error == ErrorCode::None && !self.is_leaving
    }

    /// What it is told in the end: while somebody works out what it is to have it waits, and is heard once more, as if it had
    /// come again.
    async fn told(self, shard: &LoadedShard, mut reply: HeartbeatReply, begun: Instant) -> HeartbeatReply {
        while self.is_heard(&reply)
            && let Some(member) = reply.member.clone()
            && let Some(assigned) = shard.assigned(&self.group, begun)
        {
            assigned.await;
            let again = reply_of(shard.consumer_heartbeat_with(&self.again(&member, reply.epoch), &Found::default())).await;
            if again.error != ErrorCode::None {
                break;
            }
            reply = HeartbeatReply { assignment: again.assignment.or(reply.assignment), ..again };
        }
        reply
    }

    /// A sign of life, and nothing else.
    fn again<'a>(&'a self, member: &'a str, epoch: i32) -> ConsumerHeartbeat<'a> {
        ConsumerHeartbeat {
            version: self.version,
            group: &self.group,
            member,
            epoch,
            instance: None,
            rack: None,
            rebalance_timeout_ms: -1,
            topics: None,
            regex: None,
            assignor: None,
            owned: None,
            client_id: self.client_id.as_deref().unwrap_or_default(),
            client_host: &self.client_host,
            unique: "",
        }
    }
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
