//! JoinGroup, versions 0 to 9: a member of a group of the classic protocol wants to be in the next generation.
//!
//! - Answered when the generation begins: after `group.initial.rebalance.delay.ms` for a group that was empty, when all
//!   members have joined or the longest of their rebalance timeouts is over for others. Later requests of the connection wait.
//! - A new member is given an id and comes back with it (4 and later, MEMBER_ID_REQUIRED). Before version 1 the session timeout
//!   is the rebalance timeout as well.
//! - Static members (5 and later) keep their place: one that comes back without its id replaces the earlier one, which is
//!   fenced (FENCED_INSTANCE_ID), without a rebalance if the group is stable. When it leads, it is told to assign nothing (9).
//! - A session timeout outside the broker's bounds: INVALID_SESSION_TIMEOUT. Protocols that do not fit the group's:
//!   INCONSISTENT_GROUP_PROTOCOL. More members than `group.max.size`: GROUP_MAX_SIZE_REACHED.

use std::sync::Arc;

use cairn_groups::{Join, JoinReply, JoinedMember, Protocol, Reply};
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use cairn_protocol::messages::join_group_response::JoinGroupResponseMember;
use cairn_protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use uuid::Uuid;

use crate::dispatch::{Call, Outcome};
use crate::node::Node;

/// The first version with a rebalance timeout.
const REBALANCE_TIMEOUT_FROM: i16 = 1;
/// The first version whose answer may name no protocol.
const NO_PROTOCOL_FROM: i16 = 7;

pub(super) fn handle(node: &Arc<Node>, call: &Call, request: JoinGroupRequest) -> Outcome<JoinGroupResponse> {
    let version = call.version;
    let refused = |error| Outcome::Now(answer(version, JoinReply::refused(&request.member_id, error)));
    if request.group_id.is_empty() {
        return refused(ErrorCode::InvalidGroupId);
    }
    let shard = match node.coordinator.of_group(&node.cluster, &request.group_id) {
        Ok(shard) => shard,
        Err(error) => return refused(error),
    };
    let protocol = |protocol: &JoinGroupRequestProtocol| Protocol {
        name: (*protocol.name).into(),
        metadata: protocol.metadata.clone(),
    };
    let from_session = version < REBALANCE_TIMEOUT_FROM;
    let mut reply = shard.join(&Join {
        version,
        group: &request.group_id,
        member: &request.member_id,
        instance: request.group_instance_id.as_deref(),
        client_id: call.client_id.as_deref().unwrap_or_default(),
        client_host: &format!("/{}", call.connection.peer.ip()),
        session_timeout_ms: request.session_timeout_ms,
        rebalance_timeout_ms: if from_session { request.session_timeout_ms } else { request.rebalance_timeout_ms },
        protocol_type: &request.protocol_type,
        protocols: request.protocols.iter().map(protocol).collect(),
        reason: request.reason.as_deref(),
        unique: &Uuid::new_v4().to_string(),
    });
    if let Ok(Reply::Join(reply)) = reply.try_recv() {
        return Outcome::Now(answer(version, reply));
    }
    // Only the id is kept while others join, which may take minutes.
    let member_id = request.member_id;
    Outcome::alone_and_light(async move {
        let reply = match reply.await {
            Ok(Reply::Join(reply)) => reply,
            // The groups are not here any more.
            Ok(Reply::Sync(_) | Reply::Heartbeat(_)) | Err(_) => JoinReply::refused(&member_id, ErrorCode::NotCoordinator),
        };
        answer(version, reply)
    })
}

fn answer(version: i16, reply: JoinReply) -> JoinGroupResponse {
    let text = |text: &Arc<str>| (**text).into();
    let member = |member: JoinedMember| JoinGroupResponseMember {
        member_id: text(&member.id),
        group_instance_id: member.instance.as_ref().map(text),
        metadata: member.metadata,
    };
    let protocol_name = reply.protocol.as_ref().map(text);
    JoinGroupResponse {
        error_code: reply.error.code(),
        generation_id: reply.generation,
        protocol_type: reply.protocol_type.as_ref().map(text),
        protocol_name: if version < NO_PROTOCOL_FROM { Some(protocol_name.unwrap_or_default()) } else { protocol_name },
        leader: reply.leader.as_ref().map(text).unwrap_or_default(),
        skip_assignment: reply.skip_assignment,
        member_id: text(&reply.member),
        members: reply.members.into_iter().map(member).collect(),
        ..JoinGroupResponse::default()
    }
}
