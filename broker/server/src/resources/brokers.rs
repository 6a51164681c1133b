//! Configs of this broker, and of all brokers.
//!
//! Must not know: what acts by them.

use cairn_metadata::{Command, ConfigChange, ConfigResource};
use cairn_protocol::error_code::ErrorCode;

use super::{Change, Mode, Operation, Resource, Told, invalid};
use crate::api::refusal::Refusal;
use crate::config::{
    DescribedKey, SetError, check_dynamic, describe_broker, describe_brokers, dynamic_kind, is_per_broker,
};
use crate::node::Node;

pub(super) fn describe(node: &Node) -> Vec<Told> {
    describe_broker(&node.config.load().configs).into_iter().map(told).collect()
}

pub(super) fn describe_all_brokers(node: &Node) -> Vec<Told> {
    describe_brokers(&node.config.load().configs.dynamic_default).into_iter().map(told).collect()
}

fn told(key: DescribedKey) -> Told {
    Told {
        name: key.name.into(),
        value: key.value,
        source: key.source,
        synonyms: key.synonyms,
        kind: Some(key.kind),
        read_only: key.read_only,
        doc: Some(key.doc),
    }
}

/// What the cluster's metadata calls it.
pub(super) fn resource(resource: &Resource) -> ConfigResource {
    match resource {
        Resource::Broker(id) => ConfigResource::Broker(*id),
        Resource::Group(name) => ConfigResource::Group(name.clone()),
        Resource::Brokers | Resource::Topic(_) | Resource::Loggers => ConfigResource::Brokers,
    }
}

pub(super) async fn alter(node: &Node, of: &Resource, changes: &[Change<'_>], mode: Mode) -> Result<(), Refusal> {
    let mut checked = Vec::with_capacity(changes.len());
    for change in changes {
        checked.push(ConfigChange { name: change.name.into(), value: value(node, of, change)? });
    }
    if mode == Mode::Apply && !checked.is_empty() {
        node.cluster.propose(Command::SetConfigs { resource: resource(of), changes: checked }).await?;
    }
    Ok(())
}

/// What one change comes to. What is not set can be deleted all the same, as in Kafka.
fn value(node: &Node, of: &Resource, change: &Change<'_>) -> Result<Option<Box<str>>, Refusal> {
    let name = change.name;
    if let Operation::Delete = change.operation {
        return Ok(None);
    }
    let kind = dynamic_kind(name)?;
    if matches!(of, Resource::Brokers) && is_per_broker(name) {
        return Err(SetError::PerBroker(name.into()).into());
    }
    let present = || node.image().configs(&resource(of)).get(name).cloned().unwrap_or_default();
    let value = change.operation.outcome(name, kind, present)?;
    let value = value.map(|value| check_dynamic(name, &value)).transpose()?;
    if let Some(value) = &value {
        node.config.start().check_with_start(name, value)?;
    }
    Ok(value)
}

impl From<SetError> for Refusal {
    fn from(error: SetError) -> Self {
        match error {
            SetError::Unknown { .. } => Self::new(ErrorCode::InvalidConfig, error.to_string()),
            SetError::ReadOnly(_) | SetError::PerBroker(_) | SetError::Invalid { .. } => invalid(error.to_string()),
        }
    }
}
