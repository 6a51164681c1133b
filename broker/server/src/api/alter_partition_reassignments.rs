//! AlterPartitionReassignments, versions 0 and 1: gives partitions other replicas, or takes that back. It is answered once the move
//! has begun; it ends by itself, when all who are new are in sync.
//!
//! - A broker that is not registered, one that is named twice, or none at all: INVALID_REPLICA_ASSIGNMENT; so is taking back a move
//!   that would leave too few in sync. To take back what is not under way: NO_REASSIGNMENT_IN_PROGRESS. Each partition is answered
//!   by itself, each once.
//! - Version 1 may say that the number of replicas has to stay: INVALID_REPLICATION_FACTOR.
//! - The replicas that a partition has, or is on its way to, are accepted, and nothing changes: tools ask for that before they move
//!   it to another log dir by AlterReplicaLogDirs.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cairn_metadata::{Command, Image, Reassignment, ReassignmentRefused, ReplicationFactor};
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::{BrokerId, PartitionIndex};
use cairn_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use cairn_protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use cairn_protocol::messages::{AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse};
use futures::StreamExt;

use super::refusal::Refusal;
use crate::dispatch::{Call, Outcome};
use crate::node::Node;

/// Partitions of a request whose moves are begun at a time: they share what the metadata log's syncs and carrying out take.
const AT_ONCE_MAX: usize = 256;

pub(super) fn handle(
    node: &Arc<Node>,
    _call: &Call,
    request: AlterPartitionReassignmentsRequest,
) -> Outcome<AlterPartitionReassignmentsResponse> {
    let node = Arc::clone(node);
    Outcome::alone(async move {
        let allow_replication_factor_change = request.allow_replication_factor_change;
        let factor = match allow_replication_factor_change {
            true => ReplicationFactor::MayChange,
            false => ReplicationFactor::Stays,
        };
        let wanted = each_once(request.topics);
        // No partition stands there twice, so the order in which they begin is of no interest.
        let moving: Vec<_> = wanted
            .iter()
            .flat_map(|(name, partitions)| partitions.iter().map(move |partition| (name, partition)))
            .map(|(name, partition)| begin(&node, name, partition, factor))
            .collect();
        let begun: Vec<Result<(), Refusal>> = futures::stream::iter(moving).buffered(AT_ONCE_MAX).collect().await;
        let mut begun = begun.into_iter();
        let responses = wanted
            .into_iter()
            .map(|(name, partitions)| ReassignableTopicResponse {
                name,
                partitions: partitions.iter().zip(begun.by_ref()).map(answer).collect(),
            })
            .collect();
        AlterPartitionReassignmentsResponse {
            allow_replication_factor_change,
            error_message: None,
            responses,
            ..AlterPartitionReassignmentsResponse::default()
        }
    })
}

/// The partitions of each entry that no entry has named before.
fn each_once(topics: Vec<ReassignableTopic>) -> Vec<(Box<str>, Vec<ReassignablePartition>)> {
    let mut seen = HashMap::<Box<str>, HashSet<i32>>::new();
    let first = |ReassignableTopic { name, mut partitions }| {
        let seen = seen.entry(Box::clone(&name)).or_default();
        partitions.retain(|partition: &ReassignablePartition| seen.insert(partition.partition_index));
        (name, partitions)
    };
    topics.into_iter().map(first).collect()
}

fn answer((partition, begun): (&ReassignablePartition, Result<(), Refusal>)) -> ReassignablePartitionResponse {
    ReassignablePartitionResponse {
        partition_index: partition.partition_index,
        error_code: begun.as_ref().err().map_or(ErrorCode::None, |refusal| refusal.error).code(),
        error_message: begun.err().map(|refusal| refusal.message),
    }
}

async fn begin(
    node: &Node,
    topic: &str,
    wanted: &ReassignablePartition,
    factor: ReplicationFactor,
) -> Result<(), Refusal> {
    let command = command(&node.image(), topic, wanted, factor)?;
    node.cluster.propose(command).await?;
    Ok(())
}

fn command(
    image: &Image,
    topic: &str,
    wanted: &ReassignablePartition,
    factor: ReplicationFactor,
) -> Result<Command, Refusal> {
    let index = PartitionIndex(wanted.partition_index);
    // The answer has the topic's name once, and not in each text.
    let unknown = |what: String| Refusal::new(ErrorCode::UnknownTopicOrPartition, what);
    let known = image.topic_by_name(topic).ok_or_else(|| unknown("no topic has this name".to_owned()))?;
    let partition = known.partition(index).ok_or_else(|| unknown(format!("the topic has no partition {index}")))?;
    let to: Option<Vec<BrokerId>> =
        wanted.replicas.as_ref().map(|replicas| replicas.iter().copied().map(BrokerId).collect());
    let wanted = to.as_deref().map_or(Reassignment::Cancel, Reassignment::To);
    image.check_reassignment(partition, wanted, factor)?;
    Ok(Command::MovePartition { id: known.id, partition: index, to })
}

impl From<ReassignmentRefused> for Refusal {
    fn from(refused: ReassignmentRefused) -> Self {
        let error = match refused {
            ReassignmentRefused::NotUnderWay => ErrorCode::NoReassignmentInProgress,
            ReassignmentRefused::ReplicationFactor { .. } => ErrorCode::InvalidReplicationFactor,
            ReassignmentRefused::NoReplicas
            | ReassignmentRefused::UnknownBroker(_)
            | ReassignmentRefused::Repeated(_) => ErrorCode::InvalidReplicaAssignment,
        };
        Self::new(error, refused.to_string())
    }
}
