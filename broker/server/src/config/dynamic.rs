//! What is in force now: what was given at start, under what was set since on all brokers and on this one.
//!
//! Must not know: requests, how the cluster keeps what was set.

use std::ops::Deref;
use std::sync::Arc;

use arc_swap::ArcSwap;
use cairn_metadata::configs::{self, BrokerConfigs, ConfigMap, Source, Synonymous};
use cairn_metadata::{ConfigResource, Image};
use cairn_protocol::ids::BrokerId;
use tokio::sync::watch;

use super::keys::{KEYS, Key, Update, Values};
use super::rules::{CordonedDirs, Rule};
use super::source::Given;
use super::unused::{UNUSED, Unused};
use super::{BrokerConfig, ConfigKind, nearest_key};

/// The configuration of a running broker.
#[derive(Debug)]
pub(crate) struct LiveConfig {
    start: BrokerConfig,
    now: ArcSwap<InForce>,
    changed: watch::Sender<()>,
}

/// All of it at one moment. Reads like [`BrokerConfig`].
#[derive(Debug)]
pub(crate) struct InForce {
    config: BrokerConfig,
    /// Where each value comes from.
    pub(crate) configs: BrokerConfigs,
    /// What topics have that say nothing themselves.
    pub(crate) topic_defaults: ConfigMap,
}

impl Deref for InForce {
    type Target = BrokerConfig;

    fn deref(&self) -> &BrokerConfig {
        &self.config
    }
}

impl LiveConfig {
    /// What this broker was started with, and what the image has for it.
    pub(crate) fn new(start: BrokerConfig, image: &Image) -> Self {
        let now = ArcSwap::from_pointee(in_force(&start, image));
        Self { start, now, changed: watch::Sender::new(()) }
    }

    /// What the broker was started with: for keys that cannot be set later.
    pub(crate) fn start(&self) -> &BrokerConfig {
        &self.start
    }

    pub(crate) fn load(&self) -> Arc<InForce> {
        self.now.load_full()
    }

    /// Whether configs of this resource are of this broker.
    pub(crate) fn is_of(&self, resource: &ConfigResource) -> bool {
        match resource {
            ConfigResource::Brokers => true,
            ConfigResource::Broker(id) => id.0 == self.start.node_id,
            ConfigResource::Group(_) | ConfigResource::ClientMetrics(_) => false,
        }
    }

    /// Puts in force what the image has.
    pub(crate) fn update(&self, image: &Image) {
        self.now.store(Arc::new(in_force(&self.start, image)));
        self.changed.send_replace(());
    }

    /// Tells when something may have changed, from here on.
    pub(crate) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

fn in_force(start: &BrokerConfig, image: &Image) -> InForce {
    let id = BrokerId(start.node_id);
    let configs = BrokerConfigs {
        dynamic: image.configs(&ConfigResource::Broker(id)).clone(),
        dynamic_default: image.configs(&ConfigResource::Brokers).clone(),
        given: start.given.iter().map(|(name, value)| ((*name).into(), value.as_str().into())).collect(),
    };
    InForce { config: start.with(&configs), topic_defaults: configs.in_force(), configs }
}

impl BrokerConfig {
    /// The same with what was set since. What is refused here was set by a later release, and counts as not set.
    fn with(&self, configs: &BrokerConfigs) -> Self {
        let known = |(name, value): &(Box<str>, Box<str>)| {
            KEYS.iter().any(|key| *key.name == **name)
                && Values::plain(name, value).is_some_and(|checked| checked.is_ok())
        };
        let given = configs.in_force().into_iter().filter(known).map(|(name, value)| {
            (name.replace('.', "_"), Given { text: value.into(), origin: "configs of this broker".to_owned() })
        });
        let values = Values::take(given.collect()).expect("each value was checked");
        Self { values, listeners: self.listeners.clone() }
    }
}

/// Why a broker's config is not set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SetError {
    #[error("Cannot update these configs dynamically: [{0}]")]
    ReadOnly(Box<str>),
    #[error("Cannot update these configs at default cluster level, broker id must be specified: [{0}]")]
    PerBroker(Box<str>),
    #[error("unknown broker config '{name}'{suggestion}")]
    Unknown { name: Box<str>, suggestion: Box<str> },
    #[error("invalid value '{value}' for broker config '{name}': allowed is {allowed}")]
    Invalid { name: Box<str>, value: Box<str>, allowed: Box<str> },
}

impl BrokerConfig {
    /// Checks what holds between a value that is to be set on this broker and what it was started with.
    pub(crate) fn check_with_start(&self, name: &str, value: &str) -> Result<(), SetError> {
        if name != "cordoned.log.dirs" {
            return Ok(());
        }
        let allowed = CordonedDirs.allowed();
        match CordonedDirs.parse(value) {
            Some(cordoned) if cordoned.stranger(self.data_dirs()).is_none() => Ok(()),
            _ => Err(SetError::Invalid { name: name.into(), value: value.into(), allowed: allowed.into() }),
        }
    }
}

/// Whether a config is set on single brokers only.
pub(crate) fn is_per_broker(name: &str) -> bool {
    find(name).is_some_and(|key| key.update == Update::PerBroker)
}

/// The type of a config that can be set while the broker runs.
pub(crate) fn dynamic_kind(name: &str) -> Result<ConfigKind, SetError> {
    match (find(name), find_unused(name)) {
        (Some(key), _) if key.update == Update::ReadOnly => Err(SetError::ReadOnly(name.into())),
        (Some(key), _) => Ok(key.kind),
        (None, Some(unused)) => Ok(unused.kind),
        (None, None) => Err(SetError::Unknown { name: name.into(), suggestion: nearest_key(name).into() }),
    }
}

/// Checks a value that is to be set while the broker runs, and gives the spelling that is kept.
pub(crate) fn check_dynamic(name: &str, value: &str) -> Result<Box<str>, SetError> {
    let kind = dynamic_kind(name)?;
    let value = value.trim();
    let checked = match Values::plain(name, value) {
        _ if value.is_empty() && kind != ConfigKind::List => Err("a value".to_owned()),
        Some(checked) => checked,
        None => kind.canonical(value).map(Into::into).ok_or_else(|| "a value of its type".to_owned()),
    };
    let invalid =
        |allowed: String| SetError::Invalid { name: name.into(), value: value.into(), allowed: allowed.into() };
    checked.map(Into::into).map_err(invalid)
}

/// One config of a broker, as it is told.
#[derive(Debug)]
pub(crate) struct DescribedKey {
    pub(crate) name: &'static str,
    /// None where nothing is set and there is no default.
    pub(crate) value: Option<Box<str>>,
    pub(crate) source: Source,
    pub(crate) synonyms: Vec<Synonymous>,
    pub(crate) kind: ConfigKind,
    pub(crate) read_only: bool,
    pub(crate) doc: &'static str,
}

/// One config of a broker, if there is such a key.
pub(crate) fn describe_key(name: &str, configs: &BrokerConfigs) -> Option<DescribedKey> {
    find(name).map(|key| describe(key, configs))
}

/// All configs of a broker, sorted by name; those without effect where they were set.
pub(crate) fn describe_broker(configs: &BrokerConfigs) -> Vec<DescribedKey> {
    let mut all: Vec<DescribedKey> = KEYS.iter().map(|key| describe(key, configs)).collect();
    all.extend(UNUSED.iter().filter_map(|unused| describe_unused(unused, configs)));
    all.sort_unstable_by_key(|key| key.name);
    all
}

/// What was set on all brokers, sorted by name.
pub(crate) fn describe_brokers(set: &ConfigMap) -> Vec<DescribedKey> {
    let only = BrokerConfigs { dynamic_default: set.clone(), ..BrokerConfigs::default() };
    let mut all = describe_broker(&only);
    all.retain(|key| key.source == Source::DynamicDefaultBroker && set.contains_key(key.name));
    for key in &mut all {
        key.synonyms.retain(|synonym| synonym.source == Source::DynamicDefaultBroker && synonym.name == key.name);
    }
    all
}

fn describe(key: &'static Key, configs: &BrokerConfigs) -> DescribedKey {
    let family: Vec<&'static str> = match configs::find_by_synonym(key.name) {
        Some((topic, _)) => topic.synonyms.iter().map(|synonym| synonym.name).collect(),
        None => vec![key.name],
    };
    let own = configs.set_under(&[key.name]).next();
    let mut synonyms: Vec<Synonymous> = configs.set_under(&family).collect();
    // As Kafka tells them: all defaults below what was set, else the config's own.
    let defaults = KEYS.iter().filter(|other| {
        other.told_default().is_some()
            && match synonyms.is_empty() {
                true => other.name == key.name,
                false => family.contains(&other.name),
            }
    });
    let defaults: Vec<Synonymous> = defaults
        .map(|other| Synonymous { name: other.name, value: other.default.into(), source: Source::Default })
        .collect();
    synonyms.extend(defaults);
    let default = key.told_default();
    DescribedKey {
        name: key.name,
        source: own.as_ref().map_or(Source::Default, |own| own.source),
        value: own.map(|own| own.value).or(default.map(Into::into)),
        synonyms,
        kind: key.kind,
        read_only: key.update == Update::ReadOnly,
        doc: key.doc.trim(),
    }
}

fn describe_unused(unused: &'static Unused, configs: &BrokerConfigs) -> Option<DescribedKey> {
    let synonyms: Vec<Synonymous> = configs.set_under(&[unused.name]).collect();
    let first = synonyms.first()?;
    Some(DescribedKey {
        name: unused.name,
        value: Some(first.value.clone()),
        source: first.source,
        synonyms: synonyms.clone(),
        kind: unused.kind,
        read_only: false,
        doc: unused.doc,
    })
}

fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

fn find_unused(name: &str) -> Option<&'static Unused> {
    UNUSED.iter().find(|unused| unused.name == name)
}
