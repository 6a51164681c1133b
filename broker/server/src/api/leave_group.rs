//! LeaveGroup, versions 0 to 5: members leave a group, several at once from version 3 on.
//!
//! - An administrator removes a static member by its instance id alone (3 and later).
//! - Each member has its own outcome; UNKNOWN_MEMBER_ID for those that are none, FENCED_INSTANCE_ID for a static member
//!   that was replaced.

use std::sync::Arc;

use cairn_groups::Leaver;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::leave_group_request::MemberIdentity;
use cairn_protocol::messages::leave_group_response::MemberResponse;
use cairn_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use crate::dispatch::{Call, Outcome};
use crate::node::Node;

/// The first version with several members.
const MEMBERS_FROM: i16 = 3;

pub(super) fn handle(node: &Arc<Node>, call: &Call, request: LeaveGroupRequest) -> Outcome<LeaveGroupResponse> {
    let LeaveGroupRequest { group_id, member_id, mut members, .. } = request;
    let is_single = call.version < MEMBERS_FROM;
    if is_single {
        members = vec![MemberIdentity { member_id, ..MemberIdentity::default() }];
    }
    let results = match leave(node, &group_id, &members) {
        Ok(results) => results,
        Err(error) => {
            let response = LeaveGroupResponse { error_code: error.code(), ..LeaveGroupResponse::default() };
            return Outcome::Now(response);
        }
    };
    let code = |result: Result<(), ErrorCode>| result.err().unwrap_or(ErrorCode::None).code();
    if is_single {
        let error_code = results.into_iter().next().map_or(0, code);
        return Outcome::Now(LeaveGroupResponse { error_code, ..LeaveGroupResponse::default() });
    }
    let member = |(member, result): (MemberIdentity, _)| MemberResponse {
        member_id: member.member_id,
        group_instance_id: member.group_instance_id,
        error_code: code(result),
    };
    Outcome::Now(LeaveGroupResponse {
        members: members.into_iter().zip(results).map(member).collect(),
        ..LeaveGroupResponse::default()
    })
}

fn leave(node: &Node, group: &str, members: &[MemberIdentity]) -> Result<Vec<Result<(), ErrorCode>>, ErrorCode> {
    if group.is_empty() {
        return Err(ErrorCode::InvalidGroupId);
    }
    let leavers: Vec<Leaver<'_>> = members.iter().map(leaver).collect();
    Ok(node.coordinator.of_group(&node.cluster, group)?.leave(group, &leavers))
}

fn leaver(member: &MemberIdentity) -> Leaver<'_> {
    let MemberIdentity { member_id, group_instance_id, reason, .. } = member;
    Leaver { member: member_id, instance: group_instance_id.as_deref(), reason: reason.as_deref() }
}
