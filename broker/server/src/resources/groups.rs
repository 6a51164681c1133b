//! A group's configs. They say what holds for a group of the consumer protocol where that differs from the broker's keys; the
//! group need not exist yet.
//!
//! Must not know: any single API's messages, what groups do with them.

use std::ops::RangeInclusive;

use cairn_metadata::configs::{ConfigKind, ConfigMap, Source, Synonymous};
use cairn_metadata::{Command, ConfigChange, ConfigResource};
use cairn_protocol::error_code::ErrorCode;

use super::group_overrides::{ASSIGNMENT_INTERVAL, HEARTBEAT_INTERVAL, SESSION_TIMEOUT, overrides};
use super::{Change, Mode, Operation, Told};
use crate::api::refusal::Refusal;
use crate::config::{BrokerConfig, describe_key};
use crate::node::Node;

/// One config that groups have.
struct GroupKey {
    name: &'static str,
    /// The broker's key for all groups.
    broker: &'static str,
    /// What the broker allows.
    allowed: fn(&BrokerConfig) -> RangeInclusive<i32>,
}

/// All of them, sorted by name.
const KEYS: [GroupKey; 3] = [
    GroupKey {
        name: ASSIGNMENT_INTERVAL,
        broker: "group.consumer.assignment.interval.ms",
        allowed: |config| {
            config.group_consumer_min_assignment_interval_ms..=config.group_consumer_max_assignment_interval_ms
        },
    },
    GroupKey {
        name: HEARTBEAT_INTERVAL,
        broker: "group.consumer.heartbeat.interval.ms",
        allowed: |config| {
            config.group_consumer_min_heartbeat_interval_ms..=config.group_consumer_max_heartbeat_interval_ms
        },
    },
    GroupKey {
        name: SESSION_TIMEOUT,
        broker: "group.consumer.session.timeout.ms",
        allowed: |config| config.group_consumer_min_session_timeout_ms..=config.group_consumer_max_session_timeout_ms,
    },
];

pub(super) fn describe(node: &Node, name: &str) -> Vec<Told> {
    let image = node.image();
    let own = image.configs(&ConfigResource::Group(name.into()));
    let broker = node.config.load();
    let told = |key: &GroupKey| {
        let of_broker = describe_key(key.broker, &broker.configs)?;
        let set = own.get(key.name).cloned();
        let source = if set.is_some() { Source::Group } else { of_broker.source };
        let first = set.clone().map(|value| Synonymous { name: key.name, value, source: Source::Group });
        Some(Told {
            name: key.name.into(),
            value: set.or(of_broker.value),
            source,
            synonyms: first.into_iter().chain(of_broker.synonyms).collect(),
            kind: Some(of_broker.kind),
            read_only: false,
            doc: Some(of_broker.doc),
        })
    };
    KEYS.iter().filter_map(told).collect()
}

pub(super) async fn alter(node: &Node, name: &str, changes: &[Change<'_>], mode: Mode) -> Result<(), Refusal> {
    let image = node.image();
    let resource = ConfigResource::Group(name.into());
    let own = image.configs(&resource);
    let mut after = own.clone();
    let mut checked = Vec::with_capacity(changes.len());
    for change in changes {
        let value = value(own, change)?;
        match value.clone() {
            Some(value) => after.insert(change.name.into(), value),
            None => after.remove(change.name),
        };
        checked.push(ConfigChange { name: change.name.into(), value });
    }
    check(&after, &node.config.load())?;
    if mode == Mode::Apply && !checked.is_empty() {
        node.cluster.propose(Command::SetConfigs { resource, changes: checked }).await?;
    }
    Ok(())
}

/// What one change comes to.
fn value(own: &ConfigMap, change: &Change<'_>) -> Result<Option<Box<str>>, Refusal> {
    let name = change.name;
    if let Operation::Delete = change.operation {
        return Ok(None);
    }
    if KEYS.iter().all(|key| key.name != name) {
        return Err(refused(format!("Unknown group config name: {name}")));
    }
    let present = || own.get(name).cloned().unwrap_or_default();
    let Some(value) = change.operation.outcome(name, ConfigKind::Int, present)? else { return Ok(None) };
    let number: i32 =
        value.trim().parse().map_err(|_| refused(format!("Invalid value {value} for {name}: no number")))?;
    Ok(Some(number.to_string().into()))
}

/// Whether these configs of a group go with the broker's bounds, and with each other.
fn check(own: &ConfigMap, broker: &BrokerConfig) -> Result<(), Refusal> {
    for key in &KEYS {
        let Some(value) = own.get(key.name).and_then(|value| value.parse::<i32>().ok()) else { continue };
        let allowed = (key.allowed)(broker);
        if !allowed.contains(&value) {
            let (name, low, high) = (key.name, allowed.start(), allowed.end());
            return Err(refused(format!(
                "{name} must be from {low} to {high}, as the broker's keys say, but is {value}"
            )));
        }
    }
    let own = overrides(own);
    let session = own.session_timeout_ms.unwrap_or(broker.group_consumer_session_timeout_ms);
    let interval = own.heartbeat_interval_ms.unwrap_or(broker.group_consumer_heartbeat_interval_ms);
    if session <= interval {
        return Err(refused(format!(
            "{SESSION_TIMEOUT}, {session}, must be greater than {HEARTBEAT_INTERVAL}, {interval}"
        )));
    }
    Ok(())
}

fn refused(message: String) -> Refusal {
    Refusal::new(ErrorCode::InvalidConfig, message)
}
