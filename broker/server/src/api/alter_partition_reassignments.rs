//! AlterPartitionReassignments, versions 0 and 1: gives partitions other replicas, or takes that back.
//!
//! - A single broker has nowhere else to put a partition: the replicas that it has are accepted, and nothing changes. That is what
//!   tools ask for that move it to another log dir, and then call AlterReplicaLogDirs.
//! - A broker that is not registered, one that is named twice, or none at all: INVALID_REPLICA_ASSIGNMENT. To take back what is not
//!   under way: NO_REASSIGNMENT_IN_PROGRESS. Each partition is answered by itself, each once.
//! - Version 1 may say that the number of replicas has to stay: INVALID_REPLICATION_FACTOR.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cairn_metadata::{Image, Reassignment, ReassignmentRefused, ReplicationFactor};
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::{BrokerId, PartitionIndex};
use cairn_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use cairn_protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use cairn_protocol::messages::{AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse};

use super::refusal::Refusal;
use crate::dispatch::{Call, Outcome};
use crate::node::Node;

pub(super) fn handle(
    node: &Arc<Node>,
    _call: &Call,
    request: AlterPartitionReassignmentsRequest,
) -> Outcome<AlterPartitionReassignmentsResponse> {
    let image = node.image();
    let allow_replication_factor_change = request.allow_replication_factor_change;
    let factor = match allow_replication_factor_change {
        true => ReplicationFactor::MayChange,
        false => ReplicationFactor::Stays,
    };
    let one = |topic: &str, wanted: &ReassignablePartition| {
        let refusal = check(&image, topic, wanted, factor).err();
        ReassignablePartitionResponse {
            partition_index: wanted.partition_index,
            error_code: refusal.as_ref().map_or(ErrorCode::None, |refusal| refusal.error).code(),
            error_message: refusal.map(|refusal| refusal.message),
        }
    };
    let mut seen = HashMap::<Box<str>, HashSet<i32>>::new();
    let mut responses = Vec::with_capacity(request.topics.len());
    for ReassignableTopic { name, partitions } in request.topics {
        let seen = seen.entry(name.clone()).or_default();
        let first = partitions.iter().filter(|partition| seen.insert(partition.partition_index));
        let partitions = first.map(|partition| one(&name, partition)).collect();
        responses.push(ReassignableTopicResponse { name, partitions });
    }
    Outcome::Now(AlterPartitionReassignmentsResponse {
        allow_replication_factor_change,
        error_message: None,
        responses,
        ..AlterPartitionReassignmentsResponse::default()
    })
}

fn check(
    image: &Image,
    topic: &str,
    wanted: &ReassignablePartition,
    factor: ReplicationFactor,
) -> Result<(), Refusal> {
    let index = PartitionIndex(wanted.partition_index);
    // The answer has the topic's name once, and not in each text.
    let unknown = |what: String| Refusal::new(ErrorCode::UnknownTopicOrPartition, what);
    let known = image.topic_by_name(topic).ok_or_else(|| unknown("no topic has this name".to_owned()))?;
    let partition = known.partition(index).ok_or_else(|| unknown(format!("the topic has no partition {index}")))?;
    let replicas: Option<Vec<BrokerId>> =
        wanted.replicas.as_ref().map(|replicas| replicas.iter().copied().map(BrokerId).collect());
    let wanted = replicas.as_deref().map_or(Reassignment::Cancel, Reassignment::To);
    Ok(image.check_reassignment(partition, wanted, factor)?)
}

impl From<ReassignmentRefused> for Refusal {
    fn from(refused: ReassignmentRefused) -> Self {
        let error = match refused {
            ReassignmentRefused::NotUnderWay => ErrorCode::NoReassignmentInProgress,
            ReassignmentRefused::ReplicationFactor { .. } => ErrorCode::InvalidReplicationFactor,
            ReassignmentRefused::NoReplicas
            | ReassignmentRefused::UnknownBroker(_)
            | ReassignmentRefused::Repeated(_)
            | ReassignmentRefused::NotReplicated => ErrorCode::InvalidReplicaAssignment,
        };
        Self::new(error, refused.to_string())
    }
}
