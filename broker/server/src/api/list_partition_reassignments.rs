//! ListPartitionReassignments, version 0: the partitions that are on their way to other replicas.
//!
//! - There is none: AlterPartitionReassignments accepts only the replicas that a partition has. Moves between the log dirs of one
//!   broker are DescribeLogDirs' to tell.
//! - Topics and partitions that are asked for and not under way, or not known, are left out, as in Kafka.

use std::sync::Arc;

use cairn_protocol::messages::{ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse};

use crate::dispatch::{Call, Outcome};
use crate::node::Node;

pub(super) fn handle(
    _node: &Arc<Node>,
    _call: &Call,
    _request: ListPartitionReassignmentsRequest,
) -> Outcome<ListPartitionReassignmentsResponse> {
    Outcome::Now(ListPartitionReassignmentsResponse { error_message: None, ..ListPartitionReassignmentsResponse::default() })
}
