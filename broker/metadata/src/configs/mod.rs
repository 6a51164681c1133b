//! A topic's configs: which there are, which values are allowed, and which value is in force where none is set.
//!
//! A config is either in force, or not yet accepted: then only the value that the broker acts by anyway may be set, so
//! that tools which send defaults work and nobody believes in what does nothing.
//!
//! A value comes from the topic, else from the broker's own config under one of the synonyms, else it is the default.
//!
//! Must not know: where the broker's config came from, or what a log does with a value.

mod described;
mod settings;
mod table;
mod value;

pub use described::{BrokerConfigs, Described, Source, Synonymous, describe, describe_all};
pub use settings::{BrokerCompression, Cleanup, Durability, TimestampType, TopicSettings};
pub use table::TOPIC_CONFIGS;
pub use value::{Allowed, ConfigKind};

use std::collections::BTreeMap;

/// Names and values of configs, by Kafka's spelling of the names.
pub type ConfigMap = BTreeMap<Box<str>, Box<str>>;

/// One config that a topic has.
#[derive(Debug)]
pub struct TopicConfigKey {
    /// Kafka's name of it.
    pub name: &'static str,
    /// How its value reads.
    pub kind: ConfigKind,
    /// The value where nobody set one.
    pub default: &'static str,
    /// Which values are accepted.
    pub allowed: Allowed,
    /// Whether the broker acts by it.
    pub state: State,
    /// The broker's configs that give it a default, the strongest first.
    pub synonyms: &'static [Synonym],
    /// What it does.
    pub doc: &'static str,
}

/// Whether the broker acts by a config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Every accepted value has its effect.
    InForce,
    /// Only the default is accepted, because the broker acts by it whatever is set.
    OnlyDefault,
}

/// A broker config that gives a topic config its default.
#[derive(Debug)]
pub struct Synonym {
    /// Kafka's name of the broker config.
    pub name: &'static str,
    /// What one unit of its value is in units of the topic's config: 60,000 for minutes where those are milliseconds.
    pub factor: i64,
}

impl Synonym {
    /// The broker's value in the topic config's unit; unchanged where it is no number.
    #[must_use]
    pub fn convert(&self, value: &str) -> Box<str> {
        match value.trim().parse::<i64>() {
            // -1 means "no limit" in every unit.
            Ok(number) if self.factor != 1 && number >= 0 => number.saturating_mul(self.factor).to_string().into(),
            _ => value.into(),
        }
    }
}

/// Why a config is refused. The texts name key, value and what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// No topic config has this name.
    #[error("unknown topic config '{name}'{}", suggestion(.name))]
    Unknown {
        /// The name.
        name: Box<str>,
    },
    /// The value does not read as its kind, or is out of bounds.
    #[error("invalid value '{value}' for topic config '{name}': allowed is {allowed}")]
    Invalid {
        /// The name.
        name: &'static str,
        /// The value.
        value: Box<str>,
        /// What would have been allowed.
        allowed: Box<str>,
    },
    /// The value is one of Kafka's, and the broker does not act by it yet.
    #[error("topic config '{name}' does not accept '{value}' yet: only '{accepted}' is in force")]
    NotYet {
        /// The name.
        name: &'static str,
        /// The value.
        value: Box<str>,
        /// What is accepted.
        accepted: &'static str,
    },
    /// Two configs do not go together.
    #[error("topic config '{name}' is {value}, which is more than '{other}', {bound}")]
    Conflict {
        /// The name.
        name: &'static str,
        /// The value in force.
        value: u64,
        /// What bounds it.
        other: &'static str,
        /// The value in force of that.
        bound: u64,
    },
}

/// The config with this name.
#[must_use]
pub fn find(name: &str) -> Option<&'static TopicConfigKey> {
    TOPIC_CONFIGS.binary_search_by(|key| key.name.cmp(name)).ok().map(|at| &TOPIC_CONFIGS[at])
}

/// The topic config that a broker config gives a default to.
#[must_use]
pub fn find_by_synonym(name: &str) -> Option<(&'static TopicConfigKey, &'static Synonym)> {
    TOPIC_CONFIGS.iter().find_map(|key| Some((key, key.synonyms.iter().find(|synonym| synonym.name == name)?)))
}

/// Checks one config that is set on a topic, and gives its value in the spelling that is kept.
pub fn check(name: &str, value: &str) -> Result<Box<str>, ConfigError> {
    let key = find(name).ok_or_else(|| ConfigError::Unknown { name: name.into() })?;
    key.check(value)
}

/// Checks what holds between the configs of a topic that is to have these, on a broker with these.
pub fn check_together(topic: &ConfigMap, broker: &ConfigMap) -> Result<(), ConfigError> {
    let settings = TopicSettings::resolve(topic, broker);
    match (settings.min_compaction_lag_ms, settings.max_compaction_lag_ms) {
        (value, Some(bound)) if value > bound => {
            Err(ConfigError::Conflict { name: "min.compaction.lag.ms", value, other: "max.compaction.lag.ms", bound })
        }
        _ => Ok(()),
    }
}

/// The value in force of one config for one topic.
#[must_use]
pub fn effective(key: &TopicConfigKey, topic: &ConfigMap, broker: &ConfigMap) -> Box<str> {
    if let Some(value) = topic.get(key.name) {
        return value.clone();
    }
    let from_broker = key.synonyms.iter().find_map(|synonym| Some(synonym.convert(broker.get(synonym.name)?.as_ref())));
    from_broker.unwrap_or_else(|| key.default.into())
}

impl TopicConfigKey {
    /// Checks a value, and gives it in the spelling that is kept.
    pub fn check(&self, value: &str) -> Result<Box<str>, ConfigError> {
        let Some(canonical) = self.kind.canonical(value).filter(|value| self.allowed.contains(value)) else {
            return Err(ConfigError::Invalid {
                name: self.name,
                value: value.into(),
                allowed: self.allowed.to_string().into(),
            });
        };
        if self.state == State::OnlyDefault && *canonical != *self.default {
            return Err(ConfigError::NotYet { name: self.name, value: value.into(), accepted: self.default });
        }
        Ok(canonical)
    }
}

/// The known name that a mistyped one is nearest to, where one is near.
fn suggestion(name: &str) -> String {
    const NEAR: f64 = 0.8;
    /// A longer name is no mistyped one, and comparing it with every key would take long.
    const NAME_LEN_MAX: usize = 128;
    if name.len() > NAME_LEN_MAX {
        return String::new();
    }
    let name = name.replace(['_', '-'], ".");
    let likeness = |key: &TopicConfigKey| strsim::jaro_winkler(key.name, &name);
    let nearest = TOPIC_CONFIGS.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
    match nearest {
        Some(key) if likeness(key) >= NEAR => format!(": did you mean '{}'?", key.name),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests;
