//! A topic's configs.
//!
//! Must not know: any single API's messages.

use cairn_metadata::configs::{self, Described, describe_all, effective};
use cairn_metadata::{Command, ConfigChange, Topic, names};
use cairn_protocol::error_code::ErrorCode;

use super::{Change, Mode, Operation, Told};
use crate::api::refusal::Refusal;
use crate::node::Node;

const CLEANUP_POLICY: &str = "cleanup.policy";

fn check_name(name: &str) -> Result<(), Refusal> {
    names::check_topic_name(name).map_err(|error| Refusal::new(ErrorCode::InvalidTopicException, error.to_string()))
}

pub(super) fn describe(node: &Node, name: &str) -> Result<Vec<Told>, Refusal> {
    check_name(name)?;
    let image = node.image();
    let topic = image.topic_by_name(name).ok_or_else(|| Refusal::unknown_topic(name))?;
    let replicas = topic.partitions.iter().map(|partition| partition.told_replicas().count()).max().unwrap_or(1);
    let described = describe_all(&topic.configs, &node.config.load().configs);
    Ok(described.into_iter().map(|one| told(one.with_replicas(replicas))).collect())
}

fn told(described: Described) -> Told {
    Told {
        name: described.key.name.into(),
        value: Some(described.value),
        source: described.source,
        synonyms: described.synonyms,
        kind: Some(described.key.kind),
        read_only: false,
        doc: Some(described.key.doc),
    }
}

pub(super) async fn alter(node: &Node, name: &str, changes: &[Change<'_>], mode: Mode) -> Result<(), Refusal> {
    check_name(name)?;
    let image = node.image();
    let topic = image.topic_by_name(name).ok_or_else(|| Refusal::unknown_topic(name))?;
    let mut after = (*topic.configs).clone();
    let mut checked = Vec::with_capacity(changes.len());
    for change in changes {
        let value = value(node, topic, change)?;
        check_protected(topic, change.name, value.as_deref())?;
        match value.clone() {
            Some(value) => after.insert(change.name.into(), value),
            None => after.remove(change.name),
        };
        checked.push(ConfigChange { name: change.name.into(), value });
    }
    configs::check_together(&after, &node.config.load().topic_defaults)?;
    if mode == Mode::Apply && !checked.is_empty() {
        node.cluster.propose(Command::SetTopicConfigs { id: topic.id, changes: checked }).await?;
    }
    Ok(())
}

/// Whether the topic cannot be without this config: the cluster's own topics keep what is newest of each key, and would lose
/// groups and offsets to age otherwise.
pub(super) fn is_protected(topic: &str, name: &str) -> bool {
    names::is_internal(topic) && name == CLEANUP_POLICY
}

/// Refuses to take the compaction from the cluster's own topics.
fn check_protected(topic: &Topic, name: &str, value: Option<&str>) -> Result<(), Refusal> {
    let compacts = value.is_some_and(|value| value.split(',').any(|word| word == "compact"));
    if !is_protected(&topic.name, name) || compacts {
        return Ok(());
    }
    let message = format!("{name} of {} must have compact, which keeps the newest record of each key", topic.name);
    Err(Refusal::new(ErrorCode::InvalidConfig, message))
}

/// What one change comes to. A config that there is none of can be deleted, as in Kafka: a later release may have set it.
fn value(node: &Node, topic: &Topic, change: &Change<'_>) -> Result<Option<Box<str>>, Refusal> {
    let name = change.name;
    if let Operation::Delete = change.operation {
        return Ok(None);
    }
    let key = configs::find(name).ok_or_else(|| configs::ConfigError::Unknown { name: name.into() })?;
    let present = || effective(key, &topic.configs, &node.config.load().topic_defaults);
    let value = change.operation.outcome(name, key.kind, present)?;
    Ok(value.map(|value| key.check(&value)).transpose()?)
}
