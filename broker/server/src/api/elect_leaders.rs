//! ElectLeaders, versions 0 to 2: has preferred replicas lead, or, where nobody leads, one that may lack acknowledged records (KIP-183,
//! KIP-460).
//!
//! - Whoever is wanted leads already, or somebody does: ELECTION_NOT_NEEDED; left out where all partitions are asked for.
//! - The preferred replica is not in sync, or does not serve: PREFERRED_LEADER_NOT_AVAILABLE. No replica serves:
//!   ELIGIBLE_LEADERS_NOT_AVAILABLE.
//! - Of the replicas that serve the longest log of the newest epoch is taken, not the first one as in Kafka.

use std::collections::HashMap;
use std::sync::Arc;

use cairn_metadata::{Command, ElectBy, Image, Topic};
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::PartitionIndex;
use cairn_protocol::messages::elect_leaders_request::TopicPartitions;
use cairn_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use cairn_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse};
use futures::StreamExt;

use super::once::once;
use super::refusal::Refusal;
use crate::controller::{elect_by_logs, is_serving, logs_of};
use crate::dispatch::{Call, Outcome};
use crate::node::Node;

/// Elections of a request that are under way at a time.
const AT_ONCE_MAX: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Election {
    Preferred,
    Unclean,
}

pub(super) fn handle(node: &Arc<Node>, _call: &Call, request: ElectLeadersRequest) -> Outcome<ElectLeadersResponse> {
    let election = match request.election_type {
        0 => Election::Preferred,
        1 => Election::Unclean,
        _ => {
            let error_code = ErrorCode::InvalidRequest.code();
            return Outcome::Now(ElectLeadersResponse { error_code, ..ElectLeadersResponse::default() });
        }
    };
    let node = Arc::clone(node);
    Outcome::alone(async move {
        let image = node.image();
        let all_are_meant = request.topic_partitions.is_none();
        let wanted = request.topic_partitions.map_or_else(|| all(&image), named_once);
        let electing: Vec<_> = wanted
            .iter()
            .flat_map(|(topic, partitions)| partitions.iter().map(move |partition| (topic, *partition)))
            .map(|(topic, partition)| elect(&node, &image, (topic, PartitionIndex(partition)), election))
            .collect();
        let elected: Vec<Result<(), Refusal>> = futures::stream::iter(electing).buffered(AT_ONCE_MAX).collect().await;
        let mut elected = elected.into_iter();
        let results = wanted.into_iter().map(|(topic, partitions)| {
            let results = partitions.into_iter().zip(elected.by_ref());
            let told = results.filter(|(_, elected)| !all_are_meant || !is_not_needed(elected));
            ReplicaElectionResult { topic, partition_result: told.map(result).collect() }
        });
        let replica_election_results = results.filter(|topic| !topic.partition_result.is_empty()).collect();
        ElectLeadersResponse { replica_election_results, ..ElectLeadersResponse::default() }
    })
}

fn all(image: &Image) -> Vec<(Box<str>, Vec<i32>)> {
    let partitions = |topic: &Arc<Topic>| topic.partitions().map(|(index, _)| index.0).collect();
    image.topics().map(|topic| (Box::from(&*topic.name), partitions(topic))).collect()
}

fn named_once(topics: Vec<TopicPartitions>) -> Vec<(Box<str>, Vec<i32>)> {
    let topics = once(topics, |topic| topic.topic.clone());
    topics.into_iter().map(|topic| (topic.topic, once(topic.partitions, |partition| *partition))).collect()
}

fn is_not_needed(elected: &Result<(), Refusal>) -> bool {
    elected.as_ref().is_err_and(|refusal| refusal.error == ErrorCode::ElectionNotNeeded)
}

fn result((partition_id, elected): (i32, Result<(), Refusal>)) -> PartitionResult {
    PartitionResult {
        partition_id,
        error_code: elected.as_ref().err().map_or(ErrorCode::None, |refusal| refusal.error).code(),
        error_message: elected.err().map(|refusal| refusal.message),
    }
}

async fn elect(
    node: &Node,
    image: &Image,
    (topic, index): (&str, PartitionIndex),
    election: Election,
) -> Result<(), Refusal> {
    let unknown = |what: String| Refusal::new(ErrorCode::UnknownTopicOrPartition, what);
    let known = image.topic_by_name(topic).ok_or_else(|| unknown("no topic has this name".to_owned()))?;
    let partition = known.partition(index).ok_or_else(|| unknown(format!("the topic has no partition {index}")))?;
    let not_needed = || Refusal::new(ErrorCode::ElectionNotNeeded, ErrorCode::ElectionNotNeeded.message());
    match election {
        Election::Preferred => {
            let to = partition.replicas[0];
            if partition.leader == Some(to) {
                return Err(not_needed());
            }
            if !partition.isr.contains(&to) || !is_serving(image, to) {
                let what = format!("broker {to} is not in sync, or does not serve");
                return Err(Refusal::new(ErrorCode::PreferredLeaderNotAvailable, what));
            }
            node.cluster.propose(Command::TransferLeader { id: known.id, partition: index, to }).await?;
        }
        Election::Unclean => {
            if partition.leader.is_some() {
                return Err(not_needed());
            }
            let serving = partition.replicas.iter().filter(|id| is_serving(image, **id));
            let of: HashMap<_, _> = serving.map(|id| (*id, vec![(known.id, index)])).collect();
            let told = logs_of(node, image, of).await.remove(&(known.id, index)).unwrap_or_default();
            if told.is_empty() {
                let what = "no replica serves and tells how far its log goes";
                return Err(Refusal::new(ErrorCode::EligibleLeadersNotAvailable, what));
            }
            elect_by_logs(node, (known.id, index), ElectBy::Anyone, told).await?;
        }
    }
    Ok(())
}
