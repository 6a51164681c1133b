//! CreatePartitions, versions 0 to 3: raises the number of partitions of topics; records stay where they are.
//!
//! - The count is that of all partitions, and must be more than there are.
//! - Replicas may be given by hand: one list for each new partition, as long as those of the others.
//! - Beyond `controller_mutation_rate`: THROTTLING_QUOTA_EXCEEDED from version 3 on, a wait afterwards before (KIP-599).
//! - Validate-only does all checks and changes nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use cairn_metadata::{Command, Image, Topic};
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::BrokerId;
use cairn_protocol::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use cairn_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use cairn_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

use super::refusal::Refusal;
use crate::cluster::ProposeError;
use crate::dispatch::{Call, Outcome};
use crate::node::Node;
use crate::quotas::Mutations;
use crate::topics;

/// The first version that is refused beyond controller_mutation_rate; earlier ones wait afterwards.
const STRICT_FROM: i16 = 3;

pub(super) fn handle(
    node: &Arc<Node>,
    call: &Call,
    request: CreatePartitionsRequest,
) -> Outcome<CreatePartitionsResponse> {
    let node = Arc::clone(node);
    let mut mutations = call.mutations(&node, STRICT_FROM);
    Outcome::alone(async move {
        let mut named = HashMap::<Box<str>, usize>::new();
        for topic in &request.topics {
            *named.entry(topic.name.clone()).or_default() += 1;
        }
        let mut results = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let raised = if named[&topic.name] > 1 {
                let message = format!("topic '{}' stands in the request more than once", topic.name);
                Err(Refusal::new(ErrorCode::InvalidRequest, message))
            } else {
                raise(&node, topic, request.validate_only, &mut mutations).await
            };
            results.push(CreatePartitionsTopicResult {
                name: topic.name.clone(),
                error_code: raised.as_ref().err().map_or(ErrorCode::None, |refusal| refusal.error).code(),
                error_message: raised.err().map(|refusal| refusal.message),
            });
        }
        let throttle_time_ms = mutations.throttle(Instant::now()).millis();
        CreatePartitionsResponse { throttle_time_ms, results }
    })
}

async fn raise(
    node: &Node,
    wanted: &CreatePartitionsTopic,
    validate_only: bool,
    mutations: &mut Mutations,
) -> Result<(), Refusal> {
    let image = node.image();
    let topic = image.topic_by_name(&wanted.name).ok_or_else(|| Refusal::unknown_topic(&wanted.name))?;
    let expected = topic.partitions.len();
    let count = usize::try_from(wanted.count).unwrap_or(0);
    if count <= expected {
        let message = format!("topic '{}' has {expected} partitions, {} is not more", wanted.name, wanted.count);
        return Err(Refusal::new(ErrorCode::InvalidPartitions, message));
    }
    let added = count - expected;
    if added > cairn_metadata::PARTITIONS_PER_COMMAND_MAX {
        let message = format!("{added} partitions at once, the most is {}", cairn_metadata::PARTITIONS_PER_COMMAND_MAX);
        return Err(Refusal::new(ErrorCode::InvalidPartitions, message));
    }
    let assignments = match &wanted.assignments {
        Some(given) => by_hand(topic, added, given)?,
        None => spread(node, &image, topic, added)?,
    };
    let command = Command::CreatePartitions { id: topic.id, expected, assignments };
    image.apply(image.version() + 1, &command).map_err(|rejected| Refusal::from(ProposeError::from(rejected)))?;
    mutations.take(added, Instant::now())?;
    if !validate_only {
        node.cluster.propose(command).await?;
    }
    Ok(())
}

fn by_hand(topic: &Topic, added: usize, given: &[CreatePartitionsAssignment]) -> Result<Vec<Vec<BrokerId>>, Refusal> {
    let replicas = replication_factor(topic);
    if given.len() != added || given.iter().any(|assignment| assignment.broker_ids.len() != replicas) {
        let message = format!("{added} partitions are added: each needs {replicas} brokers");
        return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
    }
    Ok(given.iter().map(|assignment| assignment.broker_ids.iter().map(|id| BrokerId(*id)).collect()).collect())
}

/// Goes on with the round that the topic's partitions have begun.
fn spread(node: &Node, image: &Image, topic: &Topic, added: usize) -> Result<Vec<Vec<BrokerId>>, Refusal> {
    topics::place(node, image, added, replication_factor(topic), topic.partitions.len())
        .map_err(|error| Refusal::new(ErrorCode::InvalidReplicationFactor, error.to_string()))
}

fn replication_factor(topic: &Topic) -> usize {
    topic.partitions.first().map_or(1, |partition| partition.replicas.len())
}
