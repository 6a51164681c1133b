//! Reading and changing the configuration of topics, groups, brokers and loggers.
//!
//! Must not know: which keys there are.

use std::collections::HashMap;
use std::fmt;

use cairn_protocol::ids::BrokerId;
use cairn_protocol::messages::describe_configs_request::DescribeConfigsResource;
use cairn_protocol::messages::describe_configs_response::DescribeConfigsResourceResult;
use cairn_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use cairn_protocol::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest};

use super::error::checked;
use super::{Admin, AdminError};
use crate::client::Ask;

/// Kafka's numbers for the things that have configuration.
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const GROUP: i8 = 32;
const DESCRIBE_VERSIONS: std::ops::RangeInclusive<i16> = 1..=4;
const ALTER_VERSIONS: std::ops::RangeInclusive<i16> = 0..=1;

/// Something that has configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigResource {
    /// A topic.
    Topic(Box<str>),
    /// One broker.
    Broker(BrokerId),
    /// All brokers, where they have nothing of their own.
    Brokers,
    /// The log levels of one broker.
    Loggers(BrokerId),
    /// A consumer group, which need not be there.
    Group(Box<str>),
}

impl ConfigResource {
    fn on_the_wire(&self) -> (i8, Box<str>) {
        match self {
            Self::Topic(name) => (TOPIC, name.clone()),
            Self::Broker(id) => (BROKER, id.to_string().into()),
            Self::Brokers => (BROKER, "".into()),
            Self::Loggers(id) => (BROKER_LOGGER, id.to_string().into()),
            Self::Group(name) => (GROUP, name.clone()),
        }
    }

    /// The one broker that can tell and change it.
    fn broker(&self) -> Option<BrokerId> {
        match self {
            Self::Topic(_) | Self::Group(_) | Self::Brokers => None,
            Self::Broker(id) | Self::Loggers(id) => Some(*id),
        }
    }
}

impl fmt::Display for ConfigResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(name) => f.write_str(name),
            Self::Broker(id) => write!(f, "broker {id}"),
            Self::Brokers => f.write_str("all brokers"),
            Self::Loggers(id) => write!(f, "loggers of broker {id}"),
            Self::Group(name) => write!(f, "group {name}"),
        }
    }
}

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// The topic's own.
    Topic,
    /// Set for one broker while it ran.
    DynamicBroker,
    /// Set for all brokers while they ran.
    DynamicDefaultBroker,
    /// The broker's configuration at its start.
    StaticBroker,
    /// Nobody set it.
    Default,
    /// A logger's level.
    Logger,
    /// The group's own.
    Group,
    /// Something newer than this client, by Kafka's number.
    Other(i8),
}

impl ConfigSource {
    fn from_code(code: i8) -> Self {
        match code {
            1 => Self::Topic,
            2 => Self::DynamicBroker,
            3 => Self::DynamicDefaultBroker,
            4 => Self::StaticBroker,
            5 => Self::Default,
            6 => Self::Logger,
            8 => Self::Group,
            other => Self::Other(other),
        }
    }
}

/// One configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Kafka's name.
    pub name: Box<str>,
    /// Its value; none when it is secret or there is none.
    pub value: Option<Box<str>>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Whether it cannot be changed.
    pub is_read_only: bool,
    /// What it is about, when the broker says so.
    pub documentation: Option<Box<str>>,
}

/// One change of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigChange {
    /// Gives it a value.
    Set {
        /// Kafka's name.
        key: Box<str>,
        /// The new value.
        value: Box<str>,
    },
    /// Goes back to the default.
    Delete {
        /// Kafka's name.
        key: Box<str>,
    },
    /// Adds to a list.
    Append {
        /// Kafka's name.
        key: Box<str>,
        /// What is added.
        value: Box<str>,
    },
    /// Takes out of a list.
    Subtract {
        /// Kafka's name.
        key: Box<str>,
        /// What is taken out.
        value: Box<str>,
    },
}

impl ConfigChange {
    fn on_the_wire(&self) -> AlterableConfig {
        let (name, config_operation, value) = match self {
            Self::Set { key, value } => (key, 0, Some(value)),
            Self::Delete { key } => (key, 1, None),
            Self::Append { key, value } => (key, 2, Some(value)),
            Self::Subtract { key, value } => (key, 3, Some(value)),
        };
        AlterableConfig { name: name.clone(), config_operation, value: value.cloned() }
    }
}

impl Admin {
    /// All configurations of a topic, by name.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// When there is no such topic, or no broker answers.
    pub async fn describe_topic_configs(&self, topic: &str) -> Result<Vec<ConfigEntry>, AdminError> {
        self.describe_configs(&ConfigResource::Topic(topic.into())).await
    }

    /// All configurations of a topic, a broker, all brokers or a broker's loggers, by name.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// When there is no such thing, or the broker that knows it does not answer.
    pub async fn describe_configs(&self, of: &ConfigResource) -> Result<Vec<ConfigEntry>, AdminError> {
        self.retry(|| async {
            let what = of.to_string();
            let (resource_type, resource_name) = of.on_the_wire();
            let resource = DescribeConfigsResource { resource_type, resource_name, configuration_keys: None };
            let request = |version| DescribeConfigsRequest {
                resources: vec![resource],
                include_synonyms: false,
                include_documentation: version >= 3,
            };
            let ask = of.broker().map_or(Ask::Any, Ask::Broker);
            let answer = self.client.call(ask, DESCRIBE_VERSIONS, self.timeout(), request).await?;
            let result = answer.results.first().ok_or_else(|| AdminError::Missing { what: what.clone().into() })?;
            checked(&what, result.error_code, result.error_message.as_deref())?;
            let mut entries: Vec<ConfigEntry> = result.configs.iter().map(ConfigEntry::of).collect();
            entries.sort_by(|one, other| one.name.cmp(&other.name));
            Ok(entries)
        })
        .await
    }

    /// One configuration of many topics, by the topic's name. Topics that are not there, or may not be read, are left out.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// When no broker answers.
    pub async fn describe_config_of_topics(
        &self,
        topics: &[Box<str>],
        key: &str,
    ) -> Result<HashMap<Box<str>, Box<str>>, AdminError> {
        if topics.is_empty() {
            return Ok(HashMap::new());
        }
        self.retry(|| async {
            let resource = |name: &str| DescribeConfigsResource {
                resource_type: TOPIC,
                resource_name: name.into(),
                configuration_keys: Some(vec![key.into()]),
            };
            let resources = topics.iter().map(|name| resource(name)).collect();
            let request = DescribeConfigsRequest { resources, ..DescribeConfigsRequest::default() };
            let answer = self.client.call(Ask::Any, DESCRIBE_VERSIONS, self.timeout(), |_| request).await?;
            let told = answer.results.into_iter().filter(|result| result.error_code == 0);
            let value = |result: cairn_protocol::messages::describe_configs_response::DescribeConfigsResult| {
                let entry = result.configs.into_iter().find(|entry| *entry.name == *key)?;
                Some((result.resource_name, entry.value?))
            };
            Ok(told.filter_map(value).collect())
        })
        .await
    }

    /// Changes some configurations of a topic and leaves the others (KIP-339): all of the changes or none.
    ///
    /// Not cancel-safe: when dropped, it may be done.
    ///
    /// # Errors
    /// When there is no such topic, or the cluster refuses a change.
    pub async fn alter_topic_configs(&self, topic: &str, changes: &[ConfigChange]) -> Result<(), AdminError> {
        self.alter_configs(&ConfigResource::Topic(topic.into()), changes).await
    }

    /// Changes some configurations of a topic, a broker, all brokers or a broker's loggers, and leaves the others (KIP-339): all of
    /// the changes or none.
    ///
    /// Not cancel-safe: when dropped, it may be done.
    ///
    /// # Errors
    /// When there is no such thing, or the cluster refuses a change.
    pub async fn alter_configs(&self, of: &ConfigResource, changes: &[ConfigChange]) -> Result<(), AdminError> {
        self.retry(|| async {
            let what = of.to_string();
            let (resource_type, resource_name) = of.on_the_wire();
            let configs = changes.iter().map(ConfigChange::on_the_wire).collect();
            let resource = AlterConfigsResource { resource_type, resource_name, configs };
            let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
            let ask = of.broker().map_or(Ask::Controller, Ask::Broker);
            let answer = self.client.call(ask, ALTER_VERSIONS, self.timeout(), |_| request).await?;
            let result = answer.responses.first().ok_or_else(|| AdminError::Missing { what: what.clone().into() })?;
            checked(&what, result.error_code, result.error_message.as_deref())
        })
        .await
    }
}

impl ConfigEntry {
    fn of(entry: &DescribeConfigsResourceResult) -> Self {
        Self {
            name: entry.name.clone(),
            value: entry.value.clone(),
            source: ConfigSource::from_code(entry.config_source),
            is_read_only: entry.read_only,
            documentation: entry.documentation.clone().filter(|text| !text.is_empty()),
        }
    }
}
