//! DeleteGroups, versions 0 to 2: groups without members go away with their offsets.
//!
//! - Answered when that is as durable as `__consumer_offsets` promises; each group has its own outcome.
//! - With members: NON_EMPTY_GROUP. Not there: GROUP_ID_NOT_FOUND.

use std::sync::Arc;

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::delete_groups_response::DeletableGroupResult;
use cairn_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use super::offset_commit::failure;
use crate::clock;
use crate::dispatch::{Call, Outcome};
use crate::node::Node;

pub(super) fn handle(node: &Arc<Node>, _: &Call, request: DeleteGroupsRequest) -> Outcome<DeleteGroupsResponse> {
    let node = Arc::clone(node);
    Outcome::alone(async move {
        let mut results = Vec::with_capacity(request.groups_names.len());
        for group_id in request.groups_names {
            let error = delete(&node, &group_id).await.err().unwrap_or(ErrorCode::None);
            results.push(DeletableGroupResult { group_id, error_code: error.code() });
        }
        DeleteGroupsResponse { results, ..DeleteGroupsResponse::default() }
    })
}

async fn delete(node: &Node, group: &str) -> Result<(), ErrorCode> {
    let shard = node.coordinator.of_group(&node.cluster, group)?;
    let decided = shard.delete(clock::now(), |groups| match groups.delete(group) {
        Ok(records) => (records, Ok(())),
        Err(error) => (Vec::new(), Err(error)),
    });
    decided.await.map_err(|failed| failure(&failed))?
}
