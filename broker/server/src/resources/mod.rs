//! What has configs: topics, groups, this broker, all brokers, and this broker's loggers; how these are told and changed.
//!
//! Must not know: any single API's messages.

mod altering;
mod brokers;
pub(crate) mod group_overrides;
mod groups;
mod operations;
mod topics;

use cairn_metadata::ConfigResource;
use cairn_metadata::configs::{ConfigKind, Source, Synonymous};
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::BrokerId;

use crate::api::refusal::Refusal;
use crate::loggers::ROOT;
use crate::node::Node;
pub(crate) use altering::{Altered, Wanted, Wish, alter_each};
use operations::check_once;
pub(crate) use operations::{Change, Operation};

/// Kafka's numbers of the kinds.
pub(crate) const TOPIC: i8 = 2;
pub(crate) const BROKER: i8 = 4;
pub(crate) const BROKER_LOGGER: i8 = 8;
pub(crate) const CLIENT_METRICS: i8 = 16;
pub(crate) const GROUP: i8 = 32;

/// Something that has configs here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    Topic(Box<str>),
    /// All brokers, by the empty name.
    Brokers,
    /// This broker.
    Broker(BrokerId),
    /// The levels of this broker's loggers.
    Loggers,
    /// A group, which need not exist.
    Group(Box<str>),
}

/// One config, as DescribeConfigs tells it.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) name: Box<str>,
    pub(crate) value: Option<Box<str>>,
    pub(crate) source: Source,
    pub(crate) synonyms: Vec<Synonymous>,
    /// None: Kafka has no type for it.
    pub(crate) kind: Option<ConfigKind>,
    pub(crate) read_only: bool,
    pub(crate) doc: Option<&'static str>,
}

/// Whether a change is made, or only checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Apply,
    ValidateOnly,
}

impl From<bool> for Mode {
    fn from(validate_only: bool) -> Self {
        if validate_only { Self::ValidateOnly } else { Self::Apply }
    }
}

impl Resource {
    /// The resource that a request means; configs of another broker are that one's to tell and to check.
    pub(crate) fn parse(node: &Node, kind: i8, name: &str) -> Result<Self, Refusal> {
        match kind {
            TOPIC if name.is_empty() => Err(invalid("Default topic resources are not allowed.")),
            TOPIC => Ok(Self::Topic(name.into())),
            GROUP if name.is_empty() => Err(invalid("Default group resources are not allowed.")),
            GROUP => Ok(Self::Group(name.into())),
            BROKER if name.is_empty() => Ok(Self::Brokers),
            BROKER => this_broker(node, name).map(Self::Broker),
            BROKER_LOGGER => this_broker(node, name).map(|_| Self::Loggers),
            kind => Err(invalid(format!("configs of resource type {kind} are not served"))),
        }
    }

    /// All its configs, sorted by name.
    pub(crate) fn describe(&self, node: &Node) -> Result<Vec<Told>, Refusal> {
        match self {
            Self::Topic(name) => topics::describe(node, name),
            Self::Brokers => Ok(brokers::describe_all_brokers(node)),
            Self::Broker(_) => Ok(brokers::describe(node)),
            Self::Loggers => Ok(loggers(node)),
            Self::Group(name) => Ok(groups::describe(node, name)),
        }
    }

    /// Makes all changes, or none of them.
    pub(crate) async fn alter(&self, node: &Node, changes: &[Change<'_>], mode: Mode) -> Result<(), Refusal> {
        match self {
            Self::Topic(name) => topics::alter(node, name, changes, mode).await,
            Self::Brokers | Self::Broker(_) => brokers::alter(node, self, changes, mode).await,
            Self::Loggers => alter_loggers(node, changes, mode),
            Self::Group(name) => groups::alter(node, name, changes, mode).await,
        }
    }

    /// Whether this is a config that must not be deleted: replacing all configs leaves it as it is.
    fn cannot_lose(&self, name: &str) -> bool {
        matches!(self, Self::Topic(topic) if topics::is_protected(topic, name))
    }

    /// Has exactly these configs set from here on, or keeps all as they are.
    pub(crate) async fn replace(&self, node: &Node, set: &[(&str, &str)], mode: Mode) -> Result<(), Refusal> {
        let image = node.image();
        let present = match self {
            Self::Topic(name) => &*image.topic_by_name(name).ok_or_else(|| Refusal::unknown_topic(name))?.configs,
            Self::Brokers | Self::Broker(_) => image.configs(&brokers::resource(self)),
            Self::Group(name) => image.configs(&ConfigResource::Group(name.clone())),
            Self::Loggers => return Err(invalid("AlterConfigs cannot change levels of loggers")),
        };
        let gone =
            present.keys().filter(|name| set.iter().all(|(kept, _)| *kept != &***name) && !self.cannot_lose(name));
        let deletes = gone.map(|name| Change { name, operation: Operation::Delete });
        let sets = set.iter().map(|(name, value)| Change { name, operation: Operation::Set(value) });
        let changes: Vec<Change<'_>> = deletes.chain(sets).collect();
        self.alter(node, &changes, mode).await
    }
}

fn this_broker(node: &Node, name: &str) -> Result<BrokerId, Refusal> {
    let id = name.parse().map_err(|_| invalid(format!("Node id must be an integer, but it is: {name}")))?;
    if BrokerId(id) != node.id {
        return Err(invalid(format!("Unexpected broker id, expected {}, but received {name}", node.id)));
    }
    Ok(BrokerId(id))
}

fn loggers(node: &Node) -> Vec<Told> {
    let told = |(name, level): (Box<str>, &'static str)| Told {
        name,
        value: Some(level.into()),
        source: Source::DynamicBrokerLogger,
        synonyms: Vec::new(),
        kind: None,
        read_only: false,
        doc: None,
    };
    node.loggers.levels().into_iter().map(told).collect()
}

fn alter_loggers(node: &Node, changes: &[Change<'_>], mode: Mode) -> Result<(), Refusal> {
    let mut levels = Vec::with_capacity(changes.len());
    for change in changes {
        let level = match change.operation {
            Operation::Set(level) => Some(level),
            Operation::Delete if change.name == ROOT => {
                return Err(invalid("Removing the log level of the root logger is not allowed"));
            }
            Operation::Delete => None,
            Operation::Append(_) | Operation::Subtract(_) => {
                return Err(invalid("APPEND and SUBTRACT are not allowed for the BROKER_LOGGER resource"));
            }
        };
        levels.push((change.name, level));
    }
    let refused = |error: crate::loggers::LevelError| Refusal::new(ErrorCode::InvalidConfig, error.to_string());
    let checked = node.loggers.check(&levels).map_err(refused)?;
    match mode {
        Mode::ValidateOnly => Ok(()),
        Mode::Apply => node.loggers.set(&checked).map_err(refused),
    }
}

fn invalid(message: impl Into<Box<str>>) -> Refusal {
    Refusal::new(ErrorCode::InvalidRequest, message)
}
