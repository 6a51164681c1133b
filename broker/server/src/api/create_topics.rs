//! CreateTopics, versions 2 to 7: makes topics, each by itself; the answer comes when they can be used.
//!
//! - -1 partitions or replicas mean the broker's `num.partitions` and `default.replication.factor` (KIP-464).
//! - Replicas may be given by hand: for partitions from 0 on without a gap, as many for each, and then neither number.
//! - A name that stands in the request twice is refused, each time.
//! - Configs are checked before anything is made; versions 5 and later hear all configs in force (KIP-525).
//! - Beyond `controller_mutation_rate`: THROTTLING_QUOTA_EXCEEDED from version 6 on, a wait afterwards before (KIP-599).
//! - Validate-only does all checks and makes nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use cairn_metadata::configs::{self, ConfigMap, describe_all};
use cairn_metadata::{Command, Image};
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::BrokerId;
use cairn_protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use cairn_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use cairn_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};

use super::refusal::Refusal;
use crate::dispatch::{Call, Outcome};
use crate::node::Node;
use crate::quotas::Mutations;
use crate::topics;

/// The first version that is refused beyond controller_mutation_rate; earlier ones wait afterwards.
const STRICT_FROM: i16 = 6;

pub(super) fn handle(node: &Arc<Node>, call: &Call, request: CreateTopicsRequest) -> Outcome<CreateTopicsResponse> {
    let node = Arc::clone(node);
    let mut mutations = call.mutations(&node, STRICT_FROM);
    Outcome::alone(async move {
        let mut named = HashMap::<Box<str>, usize>::new();
        for topic in &request.topics {
            *named.entry(topic.name.clone()).or_default() += 1;
        }
        let mut topics = Vec::with_capacity(request.topics.len());
        for topic in &request.topics {
            let made = if named[&topic.name] > 1 {
                let message = format!("topic '{}' stands in the request more than once", topic.name);
                Err(Refusal::new(ErrorCode::InvalidRequest, message))
            } else {
                create(&node, topic, request.validate_only, &mut mutations).await
            };
            topics.push(made.unwrap_or_else(|refusal| refused(&topic.name, refusal)));
        }
        let throttle_time_ms = mutations.throttle(Instant::now()).millis();
        CreateTopicsResponse { throttle_time_ms, topics }
    })
}

async fn create(
    node: &Node,
    wanted: &CreatableTopic,
    validate_only: bool,
    mutations: &mut Mutations,
) -> Result<CreatableTopicResult, Refusal> {
    let image = node.image();
    let assignments = assignments(node, &image, wanted)?;
    let configs = checked_configs(wanted)?;
    configs::check_together(&configs, &node.config.load().topic_defaults)?;
    let (partitions, replicas) = (assignments.len(), assignments.first().map_or(0, Vec::len));
    let command = topics::create(&wanted.name, assignments, configs.clone().into_iter().collect());
    let Command::CreateTopic(new) = &command else { unreachable!("that is what `create` makes") };
    let id = new.id;
    // The same fold that will decide tells now what it would say.
    image.apply(image.version() + 1, &command).map_err(|rejected| Refusal::from(crate::cluster::ProposeError::from(rejected)))?;
    mutations.take(partitions, Instant::now())?;
    if !validate_only {
        node.cluster.propose(command).await?;
    }
    Ok(CreatableTopicResult {
        name: wanted.name.clone(),
        topic_id: if validate_only { uuid::Uuid::nil() } else { id.0 },
        error_code: ErrorCode::None.code(),
        error_message: None,
        num_partitions: i32::try_from(partitions).unwrap_or(i32::MAX),
        replication_factor: i16::try_from(replicas).unwrap_or(i16::MAX),
        configs: Some(in_force(node, &configs, replicas)),
        ..CreatableTopicResult::default()
    })
}

fn refused(name: &str, refusal: Refusal) -> CreatableTopicResult {
    CreatableTopicResult {
        name: name.into(),
        error_code: refusal.error.code(),
        error_message: Some(refusal.message),
        ..CreatableTopicResult::default()
    }
}

/// The brokers of each partition: as given, or spread.
fn assignments(node: &Node, image: &Image, wanted: &CreatableTopic) -> Result<Vec<Vec<BrokerId>>, Refusal> {
    if !wanted.assignments.is_empty() {
        return by_hand(wanted);
    }
    let partitions = match wanted.num_partitions {
        -1 => node.config.start().num_partitions,
        count if count > 0 => count,
        count => return Err(Refusal::new(ErrorCode::InvalidPartitions, format!("{count} is no number of partitions"))),
    };
    let replicas = match wanted.replication_factor {
        -1 => topics::replication_factor(node.config.start().default_replication_factor, image),
        count if count > 0 => usize::try_from(count).unwrap_or(0),
        count => {
            let message = format!("{count} is no replication factor");
            return Err(Refusal::new(ErrorCode::InvalidReplicationFactor, message));
        }
    };
    let count = usize::try_from(partitions).unwrap_or(0);
    if count > cairn_metadata::PARTITIONS_PER_COMMAND_MAX {
        let message = format!("{count} partitions at once, the most is {}", cairn_metadata::PARTITIONS_PER_COMMAND_MAX);
        return Err(Refusal::new(ErrorCode::InvalidPartitions, message));
    }
    topics::place(node, image, count, replicas, topics::random_start())
        .map_err(|error| Refusal::new(ErrorCode::InvalidReplicationFactor, error.to_string()))
}

fn by_hand(wanted: &CreatableTopic) -> Result<Vec<Vec<BrokerId>>, Refusal> {
    if wanted.num_partitions != -1 || wanted.replication_factor != -1 {
        let message = "with replicas given by hand, number of partitions and replication factor must be -1";
        return Err(Refusal::new(ErrorCode::InvalidRequest, message));
    }
    let mut given: Vec<&CreatableReplicaAssignment> = wanted.assignments.iter().collect();
    given.sort_unstable_by_key(|assignment| assignment.partition_index);
    let dense = (0..).zip(&given).all(|(index, assignment): (i32, _)| assignment.partition_index == index);
    if !dense {
        let message = "partitions given by hand must be 0, 1 and so on, each once";
        return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
    }
    let replicas = given[0].broker_ids.len();
    if let Some(other) = given.iter().find(|assignment| assignment.broker_ids.len() != replicas) {
        let message = format!("partition {} has {} replicas, the others {replicas}", other.partition_index, other.broker_ids.len());
        return Err(Refusal::new(ErrorCode::InvalidReplicaAssignment, message));
    }
    let brokers = |assignment: &CreatableReplicaAssignment| assignment.broker_ids.iter().map(|id| BrokerId(*id)).collect();
    Ok(given.into_iter().map(brokers).collect())
}

fn checked_configs(wanted: &CreatableTopic) -> Result<ConfigMap, Refusal> {
    let mut map = ConfigMap::new();
    for config in &wanted.configs {
        let Some(value) = &config.value else {
            let message = format!("config '{}' has no value", config.name);
            return Err(Refusal::new(ErrorCode::InvalidConfig, message));
        };
        map.insert(config.name.clone(), configs::check(&config.name, value)?);
    }
    Ok(map)
}

fn in_force(node: &Node, configs: &ConfigMap, replicas: usize) -> Vec<CreatableTopicConfigs> {
    let shown = |described: configs::Described| CreatableTopicConfigs {
        name: described.key.name.into(),
        value: Some(described.value),
        read_only: false,
        config_source: described.source.wire(),
        is_sensitive: false,
    };
    let described = describe_all(configs, &node.config.load().configs);
    described.into_iter().map(|one| shown(one.with_replicas(replicas))).collect()
}
