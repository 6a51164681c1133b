//! Where a config's value comes from, for DescribeConfigs.
//!
//! Must not know: the message that this ends up in.

use super::{ConfigMap, Synonym, TOPIC_CONFIGS, TopicConfigKey};
use crate::partition::Policy;

const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// Set on the topic.
    Topic,
    /// Set on this broker while it ran.
    DynamicBroker,
    /// Set on all brokers while they ran.
    DynamicDefaultBroker,
    /// Set in the broker's config file, environment or flags.
    StaticBroker,
    /// Nobody set one.
    Default,
    /// The level of a logger, which is set while the broker runs and forgotten with it.
    DynamicBrokerLogger,
    /// Set on the group.
    Group,
}

impl Source {
    /// DescribeConfigs' number for it.
    #[must_use]
    pub fn wire(self) -> i8 {
        match self {
            Self::Topic => 1,
            Self::DynamicBroker => 2,
            Self::DynamicDefaultBroker => 3,
            Self::StaticBroker => 4,
            Self::Default => 5,
            Self::DynamicBrokerLogger => 6,
            Self::Group => 8,
        }
    }
}

/// The configs of a broker by where they were set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerConfigs {
    /// On this broker, while it ran.
    pub dynamic: ConfigMap,
    /// On all brokers, while they ran.
    pub dynamic_default: ConfigMap,
    /// In the broker's config file, environment or flags.
    pub given: ConfigMap,
}

impl BrokerConfigs {
    /// The values in force.
    #[must_use]
    pub fn in_force(&self) -> ConfigMap {
        let layers = [&self.given, &self.dynamic_default, &self.dynamic];
        layers.into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())).collect()
    }

    /// What is set under these names, the strongest first.
    pub fn set_under<'a>(&'a self, names: &'a [&'static str]) -> impl Iterator<Item = Synonymous> + 'a {
        let layers = [
            (&self.dynamic, Source::DynamicBroker),
            (&self.dynamic_default, Source::DynamicDefaultBroker),
            (&self.given, Source::StaticBroker),
        ];
        layers.into_iter().flat_map(move |(layer, source)| {
            let set = move |name: &&'static str| Some(Synonymous { name, value: layer.get(*name)?.clone(), source });
            names.iter().filter_map(set)
        })
    }
}

/// A value that is, or would be, in force, and the name it is set under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synonymous {
    /// The topic's or the broker's config.
    pub name: &'static str,
    /// The value as it was set, in that config's own unit.
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

impl Described {
    /// The same for a topic of so many replicas. Where nobody has set `min.insync.replicas` for the topic or for all brokers, they
    /// make it; what one broker was told by itself can only be more.
    #[must_use]
    pub fn with_replicas(mut self, replicas: usize) -> Self {
        let least = Policy::default_min_isr(replicas);
        let is_set = matches!(self.source, Source::Topic | Source::DynamicDefaultBroker);
        if self.key.name != MIN_INSYNC_REPLICAS || is_set || self.value.parse().is_ok_and(|said: usize| said >= least) {
            return self;
        }
        (self.value, self.source) = (least.to_string().into(), Source::Default);
        self.synonyms.retain(|synonym| synonym.source == Source::Default);
        for synonym in &mut self.synonyms {
            synonym.value = self.value.clone();
        }
        self
    }
}

/// Describes one config of a topic with these configs of its own, on a broker with these.
#[must_use]
pub fn describe(key: &'static TopicConfigKey, topic: &ConfigMap, broker: &BrokerConfigs) -> Described {
    let of_topic = topic.get(key.name);
    let own = of_topic.map(|value| Synonymous { name: key.name, value: value.clone(), source: Source::Topic });
    let names: Vec<&'static str> = key.synonyms.iter().map(|synonym| synonym.name).collect();
    let of_broker: Vec<Synonymous> = broker.set_under(&names).collect();
    // Of several, Kafka gives the weakest alone a default, and tells it only below one that was set on the broker.
    let tells_default = key.synonyms.len() == 1 || !of_broker.is_empty();
    let mut synonyms: Vec<Synonymous> = own.into_iter().chain(of_broker).collect();
    let first = synonyms.first().map(|first| (first.name, first.value.clone(), first.source));
    if tells_default {
        synonyms.extend(key.synonyms.last().map(|weakest| Synonymous {
            name: weakest.name,
            value: weakest.default_of(key),
            source: Source::Default,
        }));
    }
    let (name, value, source) = first.unwrap_or((key.name, key.default.into(), Source::Default));
    let set_as = key.synonyms.iter().find(|synonym| synonym.name == name && source != Source::Topic);
    let value = set_as.map_or(value.clone(), |synonym| synonym.convert(&value));
    Described { key, value, source, synonyms }
}

/// Describes all configs of a topic, sorted by name.
#[must_use]
pub fn describe_all(topic: &ConfigMap, broker: &BrokerConfigs) -> Vec<Described> {
    TOPIC_CONFIGS.iter().map(|key| describe(key, topic, broker)).collect()
}

impl Synonym {
    /// The default of the topic's config, in this one's unit.
    fn default_of(&self, key: &TopicConfigKey) -> Box<str> {
        match key.default.parse::<i64>() {
            Ok(number) if self.factor != 1 => (number / self.factor).to_string().into(),
            _ => key.default.into(),
        }
    }
}
