//! The broker's configuration: flat keys with Kafka's names, from file, environment and command line, checked at start.
//!
//! Must not know: topics' own configs, sockets, files other than its own.

mod dynamic;
mod keys;
mod listener;
mod rules;
mod source;
mod unused;

use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use cairn_groups::MigrationPolicy;
pub use cairn_metadata::configs::{ConfigKind, Durability, TimestampType};

pub(crate) use dynamic::{
    DescribedKey, LiveConfig, SetError, check_dynamic, describe_broker, describe_brokers, describe_key, dynamic_kind,
    is_per_broker,
};
pub use keys::{KEYS, Key, ReplicaSelector, Update, Values};
pub use listener::{Advertise, Advertised, DEFAULT_LISTENER, Listener};
pub use rules::{Cordoned, HostPort, ParseHostPortError, RebalanceProtocols};
pub use source::{ENVIRONMENT_PREFIX, ReadSourcesError, Sources};
pub use unused::{UNUSED, Unused};

/// The whole configuration, checked. Reads like [`Values`].
#[derive(Clone, Debug, PartialEq)]
pub struct BrokerConfig {
    values: Values,
    listeners: Vec<Listener>,
}

/// The configuration cannot be used. Each variant names key, value and what is allowed.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A source could not be read.
    #[error(transparent)]
    Sources(#[from] ReadSourcesError),
    /// The value is not one that the key can have.
    #[error("invalid value for {key} ({origin}): got \"{value}\", allowed is {allowed}")]
    Invalid {
        /// Kafka's spelling.
        key: String,
        /// As it was given.
        value: String,
        /// What would have been right.
        allowed: String,
        /// Where it was given.
        origin: String,
    },
    /// There is no such key.
    #[error("unknown key {key} ({origin}){suggestion}")]
    Unknown {
        /// As it was given.
        key: String,
        /// Where it was given.
        origin: String,
        /// `: did you mean ...?`, or nothing.
        suggestion: String,
    },
    /// Two keys do not go together.
    #[error("invalid value for {key}: got \"{value}\", allowed is {allowed}")]
    Conflict {
        /// Kafka's spelling.
        key: &'static str,
        /// As it was given.
        value: String,
        /// What would have been right.
        allowed: String,
    },
}

/// A longer key is no mistyped one, and comparing it with every key would take long.
const KEY_LEN_MAX: usize = 128;

/// How alike two keys must be for one to be suggested for the other.
const SUGGESTION_LIKENESS_MIN: f64 = 0.7;

impl ConfigError {
    fn unknown(key: &str, origin: String) -> Self {
        Self::Unknown { key: key.replace('_', "."), origin, suggestion: nearest_key(key) }
    }
}

/// `: did you mean ...?` where a key is like this one, else nothing.
fn nearest_key(key: &str) -> String {
    if key.len() > KEY_LEN_MAX {
        return String::new();
    }
    let key = key.replace('.', "_");
    let likeness = |name: &str| strsim::normalized_damerau_levenshtein(&name.replace('.', "_"), &key);
    let best = KEYS.iter().map(|key| key.name).max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    best.filter(|name| likeness(name) >= SUGGESTION_LIKENESS_MIN)
        .map_or(String::new(), |name| format!(": did you mean {name}?"))
}

impl Deref for BrokerConfig {
    type Target = Values;

    fn deref(&self) -> &Values {
        &self.values
    }
}

impl BrokerConfig {
    /// Reads the sources and checks every key.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let values = Values::take(sources.collect()?)?;
        let listeners = listeners(&values)?;
        check(&values)?;
        Ok(Self { values, listeners })
    }

    /// The listeners, with what each tells its clients.
    #[must_use]
    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// The listener of metrics has this address, where the one that was given left something open.
    pub(crate) fn set_metrics_address(&mut self, address: SocketAddr) {
        self.values.metrics_listener = HostPort { host: address.ip().to_string(), port: address.port() };
        self.values.given.insert("metrics.listener", address.to_string());
    }

    /// The broker has this node id, which the cluster gave it.
    pub(crate) fn set_node_id(&mut self, id: i32) {
        self.values.node_id = id;
        self.values.given.insert("node.id", id.to_string());
    }

    /// The folders that hold partitions, one at least.
    #[must_use]
    pub fn data_dirs(&self) -> &[PathBuf] {
        self.log_dirs.as_deref().unwrap_or(&self.log_dir)
    }

    /// The folder that holds the cluster's metadata.
    #[must_use]
    pub fn metadata_dir(&self) -> &Path {
        self.metadata_log_dir.as_deref().unwrap_or(&self.data_dirs()[0])
    }
}

/// A time of the configuration; nothing below zero gets here.
#[must_use]
pub fn millis(value: i64) -> Duration {
    Duration::from_millis(u64::try_from(value).unwrap_or(0))
}

/// Brings the three listener keys together.
fn listeners(values: &Values) -> Result<Vec<Listener>, ConfigError> {
    let nothing_said = || {
        let bind = HostPort { host: "127.0.0.1".to_owned(), port: 9092 };
        vec![Listener { name: DEFAULT_LISTENER.to_owned(), bind, advertise: Advertise::Reached }]
    };
    let mut listeners = values.listeners.clone().unwrap_or_else(nothing_said);
    let given = values.given.get("listeners").cloned().unwrap_or_default();
    for (index, listener) in listeners.iter().enumerate() {
        if !values.listener_security_protocol_map.iter().any(|(name, _)| *name == listener.name) {
            let allowed = format!("a name of listener.security.protocol.map, which has none for {}", listener.name);
            return Err(ConfigError::Conflict { key: "listeners", value: given, allowed });
        }
        if listeners[..index].iter().any(|earlier| earlier.name == listener.name) {
            let allowed = format!("each name once, but {} is there twice", listener.name);
            return Err(ConfigError::Conflict { key: "listeners", value: given, allowed });
        }
    }
    for advertised in values.advertised_listeners.iter().flatten() {
        let Some(listener) = listeners.iter_mut().find(|listener| listener.name == advertised.name) else {
            let value = values.given.get("advertised.listeners").cloned().unwrap_or_default();
            let allowed = format!("names that listeners has, which has no {}", advertised.name);
            return Err(ConfigError::Conflict { key: "advertised.listeners", value, allowed });
        };
        listener.advertise = Advertise::Fixed(advertised.address.clone());
    }
    if let Some(name) = &values.inter_broker_listener_name
        && !listeners.iter().any(|listener| listener.name == name.to_uppercase())
    {
        let allowed = format!("a name that listeners has, which has no {}", name.to_uppercase());
        return Err(ConfigError::Conflict { key: "inter.broker.listener.name", value: name.clone(), allowed });
    }
    Ok(listeners)
}

/// What holds between keys.
fn check(values: &Values) -> Result<(), ConfigError> {
    let dirs = values.log_dirs.as_deref().unwrap_or(&values.log_dir);
    if let Some(twice) = (1..dirs.len()).find(|at| dirs[..*at].contains(&dirs[*at])) {
        return Err(ConfigError::Conflict {
            key: "log.dirs",
            value: dirs[twice].display().to_string(),
            allowed: "each folder once".to_owned(),
        });
    }
    if let Some(stranger) = values.cordoned_log_dirs.stranger(dirs) {
        return Err(ConfigError::Conflict {
            key: "cordoned.log.dirs",
            value: stranger.display().to_string(),
            allowed: "entries of log.dirs".to_owned(),
        });
    }
    if values.queued_max_request_bytes < values.socket_request_max_bytes {
        return Err(ConfigError::Conflict {
            key: "queued.max.request.bytes",
            value: values.queued_max_request_bytes.to_string(),
            allowed: format!("at least socket.request.max.bytes, {}", values.socket_request_max_bytes),
        });
    }
    if values.group_max_session_timeout_ms < values.group_min_session_timeout_ms {
        return Err(ConfigError::Conflict {
            key: "group.max.session.timeout.ms",
            value: values.group_max_session_timeout_ms.to_string(),
            allowed: format!("at least group.min.session.timeout.ms, {}", values.group_min_session_timeout_ms),
        });
    }
    check_consumer_groups(values)
}

/// What holds between the keys of groups of the consumer protocol.
fn check_consumer_groups(values: &Values) -> Result<(), ConfigError> {
    let (session, interval) = (values.group_consumer_session_timeout_ms, values.group_consumer_heartbeat_interval_ms);
    let bounded = [
        (
            "group.consumer.session.timeout.ms",
            session,
            values.group_consumer_min_session_timeout_ms..=values.group_consumer_max_session_timeout_ms,
        ),
        (
            "group.consumer.heartbeat.interval.ms",
            interval,
            values.group_consumer_min_heartbeat_interval_ms..=values.group_consumer_max_heartbeat_interval_ms,
        ),
        (
            "group.consumer.assignment.interval.ms",
            values.group_consumer_assignment_interval_ms,
            values.group_consumer_min_assignment_interval_ms..=values.group_consumer_max_assignment_interval_ms,
        ),
    ];
    for (key, value, allowed) in bounded {
        if !allowed.contains(&value) {
            let (low, high) = (allowed.start(), allowed.end());
            let allowed = format!("{low} to {high}, which the keys for the shortest and the longest say");
            return Err(ConfigError::Conflict { key, value: value.to_string(), allowed });
        }
    }
    if session <= interval {
        return Err(ConfigError::Conflict {
            key: "group.consumer.session.timeout.ms",
            value: session.to_string(),
            allowed: format!("more than group.consumer.heartbeat.interval.ms, {interval}"),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
