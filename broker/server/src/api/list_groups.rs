//! ListGroups, versions 0 to 5: the groups that this broker coordinates.
//!
//! - Filters by state (4 and later) and by type (5 and later), in any case; empty means all.
//! - While some of them are still being read: COORDINATOR_LOAD_IN_PROGRESS, and none.

use std::sync::Arc;

use cairn_groups::ListedGroup as Found;
use cairn_protocol::messages::list_groups_response::ListedGroup;
use cairn_protocol::messages::{ListGroupsRequest, ListGroupsResponse};

use crate::dispatch::{Call, Outcome};
use crate::node::Node;

pub(super) fn handle(node: &Arc<Node>, _: &Call, request: ListGroupsRequest) -> Outcome<ListGroupsResponse> {
    let ListGroupsRequest { states_filter, types_filter } = request;
    let shards = match node.coordinator.all(&node.cluster) {
        Ok(shards) => shards,
        Err(error) => {
            return Outcome::Now(ListGroupsResponse { error_code: error.code(), ..ListGroupsResponse::default() });
        }
    };
    let is_wanted = |wanted: &[Box<str>], name: &str| {
        wanted.is_empty() || wanted.iter().any(|wanted| wanted.trim().eq_ignore_ascii_case(name))
    };
    let mut groups = Vec::new();
    for shard in shards {
        let is_asked_for = |group: &Found| {
            is_wanted(&types_filter, group.state.group_type()) && is_wanted(&states_filter, group.state.name())
        };
        let found: Vec<Found> = shard.look(|groups| groups.list().filter(is_asked_for).collect());
        groups.extend(found.into_iter().map(listed));
    }
    Outcome::Now(ListGroupsResponse { groups, ..ListGroupsResponse::default() })
}

fn listed(group: Found) -> ListedGroup {
    ListedGroup {
        group_id: group.name,
        protocol_type: group.protocol_type,
        group_state: group.state.name().into(),
        group_type: group.state.group_type().into(),
    }
}
