//! Heartbeat, versions 0 to 4: a member of a group is alive.
//!
//! - A rebalance has begun: REBALANCE_IN_PROGRESS, and the member has to join again. Another generation: ILLEGAL_GENERATION.
//! - While the groups are still being read, every heartbeat is taken: sessions begin when they are there.

use std::sync::Arc;

use cairn_groups::Identity;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::{HeartbeatRequest, HeartbeatResponse};

use crate::dispatch::{Call, Outcome};
use crate::node::Node;

pub(super) fn handle(node: &Arc<Node>, _: &Call, request: HeartbeatRequest) -> Outcome<HeartbeatResponse> {
    let error = match check(node, request) {
        Ok(()) | Err(ErrorCode::CoordinatorLoadInProgress) => ErrorCode::None,
        Err(error) => error,
    };
    Outcome::Now(HeartbeatResponse { error_code: error.code(), ..HeartbeatResponse::default() })
}

fn check(node: &Node, request: HeartbeatRequest) -> Result<(), ErrorCode> {
    let HeartbeatRequest { group_id, generation_id, member_id, group_instance_id } = request;
    if group_id.is_empty() {
        return Err(ErrorCode::InvalidGroupId);
    }
    let by = Identity {
        member: &member_id,
        instance: group_instance_id.as_deref(),
        generation: generation_id,
    };
    node.coordinator.of_group(&node.cluster, &group_id)?.heartbeat(&group_id, &by)
}
