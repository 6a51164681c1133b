//! DescribeQuorum, versions 0 to 2: who votes on the metadata, and how far each member's log goes (KIP-595, KIP-836, KIP-853).
//!
//! - Only the controller knows; every other broker asks it. Nobody is controller, or does not answer: NOT_LEADER_OR_FOLLOWER, which clients
//!   ask again on.
//! - The only partition is `__cluster_metadata-0`: for others UNKNOWN_TOPIC_OR_PARTITION. Kafka asks for all topics in one request, or
//!   none; so it is here.
//! - A follower has caught up when it has what is committed: the time is that when it was heard. The leader's is now.

use std::sync::Arc;
use std::time::Duration;

use cairn_consensus::Role;
use cairn_metadata::names::CLUSTER_METADATA_TOPIC;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::describe_quorum_request::TopicData as Asked;
use cairn_protocol::messages::describe_quorum_response::{Listener, Node as QuorumNode, PartitionData, ReplicaState, TopicData};
use cairn_protocol::messages::{DescribeQuorumRequest, DescribeQuorumResponse};

use crate::clock;
use crate::dispatch::{Call, Outcome};
use crate::membership::{QuorumTold, ask_for_quorum};
use crate::node::Node;

/// Kafka's name of the listener by which controllers are reached.
const LISTENER: &str = "CONTROLLER";
const UNKNOWN: i64 = -1;
const NODES_SINCE: i16 = 2;

#[expect(clippy::needless_pass_by_value, reason = "all APIs take their request by value")]
pub(super) fn handle(
    node: &Arc<Node>,
    call: &Call,
    request: DescribeQuorumRequest,
) -> Outcome<DescribeQuorumResponse> {
    if !is_of_metadata(&request.topics) {
        return Outcome::Now(refused(ErrorCode::UnknownTopicOrPartition));
    }
    let (node, version) = (Arc::clone(node), call.version);
    Outcome::alone(async move {
        let told = ask_for_quorum(&node.cluster, node.peers.as_ref()).await;
        told.map_or_else(|| refused(ErrorCode::NotLeaderOrFollower), |told| answer(&node, &told, version))
    })
}

fn is_of_metadata(topics: &[Asked]) -> bool {
    let is_it = |topic: &Asked| {
        &*topic.topic_name == CLUSTER_METADATA_TOPIC
            && matches!(&topic.partitions[..], [partition] if partition.partition_index == 0)
    };
    matches!(topics, [topic] if is_it(topic))
}

fn refused(error: ErrorCode) -> DescribeQuorumResponse {
    DescribeQuorumResponse {
        error_code: error.code(),
        error_message: Some(error.message().into()),
        ..DescribeQuorumResponse::default()
    }
}

fn answer(node: &Node, told: &QuorumTold, version: i16) -> DescribeQuorumResponse {
    let of_role = |role: Role| {
        let members = told.members.iter().filter(move |member| member.votes == (role == Role::Voter));
        members.map(|member| state(told, member)).collect()
    };
    let partition = PartitionData {
        leader_id: told.leader,
        leader_epoch: i32::try_from(told.term).unwrap_or(i32::MAX),
        high_watermark: offset(told.committed),
        current_voters: of_role(Role::Voter),
        observers: of_role(Role::Learner),
        error_message: None,
        ..PartitionData::default()
    };
    let topic = TopicData { topic_name: CLUSTER_METADATA_TOPIC.into(), partitions: vec![partition] };
    let voters = node.cluster.quorum().members().into_iter().filter(|member| member.role == Role::Voter);
    // Earlier versions have no word for where they are reached.
    let nodes = voters.filter(|_| version >= NODES_SINCE).map(|member| QuorumNode {
        node_id: member.node.0,
        listeners: vec![Listener { name: LISTENER.into(), host: member.host, port: member.port }],
    });
    DescribeQuorumResponse { error_message: None, topics: vec![topic], nodes: nodes.collect(), ..DescribeQuorumResponse::default() }
}

fn state(told: &QuorumTold, member: &crate::membership::MemberTold) -> ReplicaState {
    let now = clock::now().0;
    let ago = |ms: u64| now - i64::try_from(Duration::from_millis(ms).as_millis()).unwrap_or(0);
    let (fetched, caught_up) = match (member.node == told.leader, member.heard_ms) {
        (true, _) => (now, now),
        (false, None) => (UNKNOWN, UNKNOWN),
        (false, Some(ms)) if member.end.is_some_and(|end| end >= told.committed) => (ago(ms), ago(ms)),
        (false, Some(ms)) => (ago(ms), UNKNOWN),
    };
    ReplicaState {
        replica_id: member.node,
        log_end_offset: member.end.map_or(UNKNOWN, offset),
        last_fetch_timestamp: fetched,
        last_caught_up_timestamp: caught_up,
        ..ReplicaState::default()
    }
}

fn offset(behind: u64) -> i64 {
    i64::try_from(behind).unwrap_or(i64::MAX)
}
