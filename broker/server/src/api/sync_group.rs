//! SyncGroup, versions 0 to 5: a member asks for its assignment, and the leader brings all of them.
//!
//! - Answered when the leader's assignment is as durable as `__consumer_offsets` promises; at once when it already is. Later
//!   requests of the connection wait.
//! - Another rebalance has begun: REBALANCE_IN_PROGRESS. Another generation: ILLEGAL_GENERATION. Who does not ask within
//!   the rebalance timeout is taken for gone.
//! - From version 5 on the client says protocol type and protocol; others than the group's, or none:
//!   INCONSISTENT_GROUP_PROTOCOL.

use std::sync::Arc;

use cairn_groups::{Identity, Reply, Sync, SyncReply};
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::{SyncGroupRequest, SyncGroupResponse};

use crate::dispatch::{Call, Outcome};
use crate::node::Node;

/// The first version in which the client has to say what it takes the protocol for.
const PROTOCOL_FROM: i16 = 5;

pub(super) fn handle(node: &Arc<Node>, call: &Call, request: SyncGroupRequest) -> Outcome<SyncGroupResponse> {
    let refused = |error| Outcome::Now(answer(SyncReply::refused(error)));
    if call.version >= PROTOCOL_FROM && (request.protocol_type.is_none() || request.protocol_name.is_none()) {
        return refused(ErrorCode::InconsistentGroupProtocol);
    }
    if request.group_id.is_empty() {
        return refused(ErrorCode::InvalidGroupId);
    }
    let shard = match node.coordinator.of_group(&node.cluster, &request.group_id) {
        Ok(shard) => shard,
        Err(error) => return refused(error),
    };
    let given = request.assignments.into_iter().map(|given| (given.member_id, given.assignment));
    let mut reply = shard.sync(&Sync {
        group: &request.group_id,
        by: Identity {
            member: &request.member_id,
            instance: request.group_instance_id.as_deref(),
            generation: request.generation_id,
        },
        protocol_type: request.protocol_type.as_deref(),
        protocol: request.protocol_name.as_deref(),
        assignments: given.collect(),
    });
    if let Ok(Reply::Sync(reply)) = reply.try_recv() {
        return Outcome::Now(answer(reply));
    }
    Outcome::alone_and_light(async move {
        match reply.await {
            Ok(Reply::Sync(reply)) => answer(reply),
            // The groups are not here any more.
            Ok(Reply::Join(_) | Reply::Heartbeat(_)) | Err(_) => answer(SyncReply::refused(ErrorCode::NotCoordinator)),
        }
    })
}

fn answer(reply: SyncReply) -> SyncGroupResponse {
    let text = |text: &Arc<str>| (**text).into();
    SyncGroupResponse {
        error_code: reply.error.code(),
        protocol_type: reply.protocol_type.as_ref().map(text),
        protocol_name: reply.protocol.as_ref().map(text),
        assignment: reply.assignment,
        ..SyncGroupResponse::default()
    }
}
