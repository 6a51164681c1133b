//! The state of the cluster at one point of the metadata log. It never changes: the next command makes the next one.
//!
//! Must not know: commands.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use cairn_protocol::ids::{BrokerId, ProducerId, TopicId};
use uuid::Uuid;

use crate::broker::Broker;
use crate::configs::ConfigMap;
use crate::map::SharedMap;
use crate::names;
use crate::quotas::{QuotaEntity, Quotas};
use crate::resource::ConfigResource;
use crate::rules::Rules;
use crate::topic::Topic;

/// The cluster's identity, in Kafka's spelling: 22 characters of URL-safe base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClusterId(pub Uuid);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A topic's id is spelled the same way.
        TopicId(self.0).fmt(f)
    }
}

/// The state of the cluster. A copy costs a few pointers; all that did not change is shared with the image before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    pub(crate) version: u64,
    pub(crate) cluster_id: Option<Uuid>,
    pub(crate) topics: SharedMap<TopicId, Arc<Topic>>,
    pub(crate) names: SharedMap<Arc<str>, TopicId>,
    /// Names with `.` or `_` by [`names::collision_key`].
    pub(crate) collisions: SharedMap<Arc<str>, TopicId>,
    pub(crate) brokers: Arc<BTreeMap<BrokerId, Broker>>,
    pub(crate) next_producer_id: ProducerId,
    pub(crate) features: Arc<BTreeMap<Box<str>, i16>>,
    /// None of them empty.
    pub(crate) configs: Arc<BTreeMap<ConfigResource, ConfigMap>>,
    /// None of them empty.
    pub(crate) quotas: Arc<BTreeMap<QuotaEntity, Quotas>>,
    /// The storage ids of brokers that were unregistered, the oldest first.
    pub(crate) removed_disks: Arc<Vec<Uuid>>,
    pub(crate) partition_count: usize,
    /// All of them but in tests.
    pub(crate) rules: Rules,
}

impl Image {
    /// The same, where decisions about partitions go by these rules.
    #[cfg(feature = "mutate")]
    #[must_use]
    pub fn with_rules(self, rules: Rules) -> Self {
        Self { rules, ..self }
    }

    /// The index in the metadata log of the last command that changed something; 0 before the first.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The cluster's id; none only before the first command.
    #[must_use]
    pub fn cluster_id(&self) -> Option<ClusterId> {
        self.cluster_id.map(ClusterId)
    }

    /// The topic with this id.
    #[must_use]
    pub fn topic(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topics.get(&id)
    }

    /// The topic with this name.
    #[must_use]
    pub fn topic_by_name(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topic(*self.names.get(name)?)
    }

    /// The topic whose name collides with `name`: the same but for `.` and `_`. A topic does not collide with itself.
    #[must_use]
    pub fn colliding_topic(&self, name: &str) -> Option<&Arc<Topic>> {
        let topic = self.topic(*self.collisions.get(names::collision_key(name).as_str())?)?;
        (&*topic.name != name).then_some(topic)
    }

    /// All topics, in no order that means anything.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.values()
    }

    /// How many topics there are.
    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// How many partitions all topics have.
    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.partition_count
    }

    /// The broker with this id.
    #[must_use]
    pub fn broker(&self, id: BrokerId) -> Option<&Broker> {
        self.brokers.get(&id)
    }

    /// All registered brokers by id, fenced ones too.
    pub fn brokers(&self) -> impl Iterator<Item = &Broker> {
        self.brokers.values()
    }

    /// Whether one of these disks is that of a broker that was unregistered.
    #[must_use]
    pub fn is_removed(&self, storage_ids: &[Uuid]) -> bool {
        storage_ids.iter().any(|disk| self.removed_disks.contains(disk))
    }

    /// The first producer id that nobody was given.
    #[must_use]
    pub fn next_producer_id(&self) -> ProducerId {
        self.next_producer_id
    }

    /// The finalized features and their levels.
    pub fn features(&self) -> impl Iterator<Item = (&str, i16)> {
        self.features.iter().map(|(name, level)| (&**name, *level))
    }

    /// The finalized level of a feature; 0 when it never was.
    #[must_use]
    pub fn feature(&self, name: &str) -> i16 {
        self.features.get(name).copied().unwrap_or(0)
    }

    /// The configs that were set on what is no topic.
    #[must_use]
    pub fn configs(&self, resource: &ConfigResource) -> &ConfigMap {
        static NONE: ConfigMap = ConfigMap::new();
        self.configs.get(resource).unwrap_or(&NONE)
    }

    /// All that have configs set, beside topics.
    pub fn config_resources(&self) -> impl Iterator<Item = &ConfigResource> {
        self.configs.keys()
    }

    /// All quotas, each entity with at least one.
    #[must_use]
    pub fn quotas(&self) -> &BTreeMap<QuotaEntity, Quotas> {
        &self.quotas
    }

    pub(crate) fn insert_topic(&mut self, topic: Arc<Topic>) {
        if topic.name.contains(['.', '_']) {
            self.collisions.insert(names::collision_key(&topic.name).into(), topic.id);
        }
        self.names.insert(Arc::clone(&topic.name), topic.id);
        self.partition_count += topic.partitions.len();
        if let Some(before) = self.topics.insert(topic.id, topic) {
            self.partition_count -= before.partitions.len();
        }
    }

    pub(crate) fn remove_topic(&mut self, topic: &Topic) {
        self.collisions.remove(names::collision_key(&topic.name).as_str());
        self.names.remove(&*topic.name);
        self.topics.remove(&topic.id);
        self.partition_count -= topic.partitions.len();
    }
}
