//! Where a config's value comes from, for DescribeConfigs.
//!
//! Must not know: the message that this ends up in.

use super::{ConfigMap, TOPIC_CONFIGS, TopicConfigKey};

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Set on the topic.
    Topic,
    /// Set in the broker's config file, environment or flags.
    StaticBroker,
    /// Nobody set one.
    Default,
}

impl Source {
    /// DescribeConfigs' number for it.
    #[must_use]
    pub fn wire(self) -> i8 {
        match self {
            Self::Topic => 1,
            Self::StaticBroker => 4,
            Self::Default => 5,
        }
    }
}

/// A value that is, or would be, in force, and the name it is set under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synonymous {
    /// The topic's or the broker's config.
    pub name: &'static str,
    /// The value, in the topic config's unit.
    pub value: Box<str>,
    /// Where it was set.
    pub source: Source,
}

/// One config of one topic.
#[derive(Debug)]
pub struct Described {
    /// Its definition: name, kind, doc.
    pub key: &'static TopicConfigKey,
    /// The value in force.
    pub value: Box<str>,
    /// Where that comes from.
    pub source: Source,
    /// All values that there are for it, the one in force first.
    pub synonyms: Vec<Synonymous>,
}

/// Describes one config of a topic with these configs of its own, on a broker with these.
#[must_use]
pub fn describe(key: &'static TopicConfigKey, topic: &ConfigMap, broker: &ConfigMap) -> Described {
    let mut synonyms = Vec::new();
    if let Some(value) = topic.get(key.name) {
        synonyms.push(Synonymous { name: key.name, value: value.clone(), source: Source::Topic });
    }
    for synonym in key.synonyms {
        if let Some(value) = broker.get(synonym.name) {
            let value = synonym.convert(value);
            synonyms.push(Synonymous { name: synonym.name, value, source: Source::StaticBroker });
        }
    }
    // Kafka names a default by the broker's config where there is one.
    let name = key.synonyms.first().map_or(key.name, |synonym| synonym.name);
    synonyms.push(Synonymous { name, value: key.default.into(), source: Source::Default });
    Described { key, value: synonyms[0].value.clone(), source: synonyms[0].source, synonyms }
}

/// Describes all configs of a topic, sorted by name.
#[must_use]
pub fn describe_all(topic: &ConfigMap, broker: &ConfigMap) -> Vec<Described> {
    TOPIC_CONFIGS.iter().map(|key| describe(key, topic, broker)).collect()
}
