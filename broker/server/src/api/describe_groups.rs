//! DescribeGroups, versions 0 to 6: groups of the classic protocol with their members.
//!
//! - What members have said and were given is told of a stable group; of another one, only who they are.
//! - A group that is named more than once is answered once.
//! - A group that does not exist, or is of the consumer protocol: the state Dead, and from version 6 on GROUP_ID_NOT_FOUND with
//!   a message that says which.

use std::sync::Arc;

use cairn_groups::{DescribedGroup as Found, DescribedMember};
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use cairn_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse};

use super::authorized;
use super::once::once;
use super::refusal::cut;
use crate::dispatch::{Call, Outcome};
use crate::node::Node;

/// The first version in which a group that does not exist is an error.
const NOT_FOUND_FROM: i16 = 6;
/// What Kafka says of a group that is not there.
const DEAD: &str = "Dead";

pub(super) fn handle(node: &Arc<Node>, call: &Call, request: DescribeGroupsRequest) -> Outcome<DescribeGroupsResponse> {
    let operations = if request.include_authorized_operations { authorized::GROUP } else { authorized::NOT_ASKED };
    let describe = |name: Box<str>| match find(node, &name) {
        Ok(Ok(found)) => described(name, found, operations),
        Ok(Err(why)) => missing(name, why, call.version, operations),
        Err(error) => DescribedGroup { error_code: error.code(), group_id: name, ..DescribedGroup::default() },
    };
    Outcome::Now(DescribeGroupsResponse {
        groups: once(request.groups, Box::clone).into_iter().map(describe).collect(),
        ..DescribeGroupsResponse::default()
    })
}

/// Why a group is not told.
#[derive(Clone, Copy)]
enum Missing {
    Unknown,
    OfConsumers,
}

fn find(node: &Node, name: &str) -> Result<Result<Found, Missing>, ErrorCode> {
    let shard = node.coordinator.of_group(&node.cluster, name)?;
    Ok(shard.look(|groups| {
        let why = || if groups.describe_consumer(name).is_ok() { Missing::OfConsumers } else { Missing::Unknown };
        groups.describe(name).ok_or_else(why)
    }))
}

fn described(name: Box<str>, found: Found, operations: i32) -> DescribedGroup {
    let member = |member: DescribedMember| DescribedGroupMember {
        member_id: member.id,
        group_instance_id: member.instance,
        client_id: member.client_id,
        client_host: member.client_host,
        member_metadata: member.metadata,
        member_assignment: member.assignment,
    };
    DescribedGroup {
        group_id: name,
        group_state: found.state.name().into(),
        protocol_type: found.protocol_type,
        protocol_data: found.protocol,
        members: found.members.into_iter().map(member).collect(),
        authorized_operations: operations,
        ..DescribedGroup::default()
    }
}

fn missing(name: Box<str>, why: Missing, version: i16, operations: i32) -> DescribedGroup {
    let dead = DescribedGroup { group_state: DEAD.into(), authorized_operations: operations, ..DescribedGroup::default() };
    if version < NOT_FOUND_FROM {
        return DescribedGroup { group_id: name, ..dead };
    }
    let what = match why {
        Missing::Unknown => "not found",
        Missing::OfConsumers => "is not a classic group",
    };
    let error_message = Some(cut(format!("Group {name} {what}.")));
    DescribedGroup { error_code: ErrorCode::GroupIdNotFound.code(), error_message, group_id: name, ..dead }
}
