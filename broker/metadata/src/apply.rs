//! The fold: image and command in, next image out.
//!
//! What a command does is a fact once it is in a log: a later release must find the same. So only rules that never
//! change are checked here; values of configs, limits that users set, and who may do what are checked before a command
//! is proposed.
//!
//! Must not know: bytes, clocks, randomness.

use std::collections::BTreeMap;
use std::sync::Arc;

use cairn_protocol::ids::{BrokerId, PartitionIndex, ProducerId, TopicId};

use crate::broker::{Broker, BrokerEpoch};
use crate::command::{
    Answer, Command, ConfigChange, NewTopic, PARTITIONS_PER_COMMAND_MAX, PARTITIONS_PER_TOPIC_MAX, PRODUCER_ID_BLOCK,
    ProducerIdBlock, QuotaChange, REPLICAS_MAX,
};
use crate::delta::{Change, Delta};
use crate::image::Image;
use crate::names;
use crate::partition::{Duty, Partition};
use crate::quotas::{QuotaEntity, Quotas};
use crate::rejected::Rejected;
use crate::resource::ConfigResource;
use crate::topic::Topic;

mod replicas;

/// What an accepted command led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The next image.
    pub image: Image,
    /// What differs from the one before; empty when the command repeated one that was done already.
    pub delta: Delta,
    /// What the proposer hears.
    pub answer: Answer,
}

impl Image {
    /// Folds one command in. `index` is its place in the metadata log, above that of every command before.
    /// A rejected command changes nothing, and its rejection is its outcome.
    pub fn apply(&self, index: u64, command: &Command) -> Result<Applied, Rejected> {
        debug_assert!(index > self.version, "index {index} is not above {}", self.version);
        let mut fold = Fold { image: self.clone(), changes: Vec::new(), index };
        let answer = match command {
            Command::InitCluster { cluster_id } => fold.init_cluster(*cluster_id),
            Command::RegisterBroker(new) => fold.register_broker(new),
            Command::UnfenceBroker { broker, epoch } => fold.unfence_broker(*broker, *epoch),
            Command::FenceBroker { broker, epoch } => fold.fence_broker(*broker, *epoch),
            Command::CreateTopic(new) => fold.create_topic(new),
            Command::DeleteTopic { id } => fold.delete_topic(*id),
            Command::CreatePartitions { id, expected, assignments } => {
                fold.create_partitions(*id, *expected, assignments)
            }
            Command::SetTopicConfigs { id, changes } => fold.set_topic_configs(*id, changes),
            Command::AllocateProducerIds { broker, epoch } => fold.allocate_producer_ids(*broker, *epoch),
            Command::SetConfigs { resource, changes } => Ok(fold.set_configs(resource, changes)),
            Command::SetClientQuotas { entity, changes } => Ok(fold.set_client_quotas(entity, changes)),
            Command::SetFeature { name, level } => fold.set_feature(name, *level),
            Command::ProposeIsr { id, partition, proposal } => fold.propose_isr(*id, *partition, proposal),
            Command::ShutDownBroker { broker, epoch } => fold.shut_down_broker(*broker, *epoch),
            Command::TransferLeader { id, partition, to } => fold.transfer_leader(*id, *partition, *to),
            Command::MovePartition { id, partition, to } => fold.move_partition(*id, *partition, to.as_deref()),
            Command::ElectByLogs { id, partition, by, told } => fold.elect_by_logs(*id, *partition, *by, told),
            Command::UnregisterBroker { broker } => fold.unregister_broker(*broker),
        }?;
        let mut image = fold.image;
        if !fold.changes.is_empty() {
            image.version = index;
        }
        Ok(Applied { delta: Delta { version: image.version, changes: fold.changes }, image, answer })
    }
}

/// One application under way. Thrown away whole when the command is rejected.
struct Fold {
    image: Image,
    changes: Vec<Change>,
    index: u64,
}

impl Fold {
    fn init_cluster(&mut self, cluster_id: uuid::Uuid) -> Result<Answer, Rejected> {
        if self.image.cluster_id.is_some() {
            return Err(Rejected::ClusterIdExists);
        }
        self.image.cluster_id = Some(cluster_id);
        self.changes.push(Change::ClusterIdSet);
        Ok(Answer::Done)
    }

    fn create_topic(&mut self, new: &NewTopic) -> Result<Answer, Rejected> {
        names::check_topic_name(&new.name)
            .map_err(|reason| Rejected::TopicName { reason: reason.to_string().into() })?;
        if self.image.names.contains_key(&*new.name) {
            return Err(Rejected::TopicExists { name: new.name.clone() });
        }
        if let Some(other) = self.image.colliding_topic(&new.name) {
            return Err(Rejected::TopicNameCollision { name: new.name.clone(), with: (*other.name).into() });
        }
        if new.id.is_zero() || self.image.topics.contains_key(&new.id) {
            return Err(Rejected::TopicIdTaken(new.id));
        }
        let mut topic = Topic {
            id: new.id,
            name: (*new.name).into(),
            partitions: self.new_partitions(0, &new.assignments)?,
            configs: Arc::new(new.configs.iter().cloned().collect::<BTreeMap<_, _>>()),
        };
        self.begin_safe(&mut topic, 0);
        self.changes.push(Change::TopicCreated { id: topic.id, name: Arc::clone(&topic.name) });
        self.image.insert_topic(Arc::new(topic));
        Ok(Answer::Done)
    }

    fn delete_topic(&mut self, id: TopicId) -> Result<Answer, Rejected> {
        let topic = self.topic(id)?;
        self.image.remove_topic(&topic);
        self.changes.push(Change::TopicDeleted {
            id,
            name: Arc::clone(&topic.name),
            partitions: topic.partition_count(),
        });
        Ok(Answer::Done)
    }

    fn create_partitions(
        &mut self,
        id: TopicId,
        expected: usize,
        assignments: &[Vec<BrokerId>],
    ) -> Result<Answer, Rejected> {
        let mut topic = Topic::clone(&*self.topic(id)?);
        let partitions = topic.partitions.len();
        if partitions != expected {
            return Err(Rejected::PartitionCountChanged { partitions, expected });
        }
        let first = PartitionIndex(topic.partition_count());
        topic.partitions.extend(self.new_partitions(partitions, assignments)?);
        self.begin_safe(&mut topic, partitions);
        self.changes.push(Change::PartitionsAdded { id, name: Arc::clone(&topic.name), first });
        self.image.insert_topic(Arc::new(topic));
        Ok(Answer::Done)
    }

    fn set_topic_configs(&mut self, id: TopicId, changes: &[ConfigChange]) -> Result<Answer, Rejected> {
        let topic = self.topic(id)?;
        let configs = changed(&topic.configs, changes.iter().map(|change| (&change.name, change.value.as_ref())));
        if configs == *topic.configs {
            return Ok(Answer::Done);
        }
        let before = self.image.clone();
        let name = Arc::clone(&topic.name);
        self.image.insert_topic(Arc::new(Topic { configs: Arc::new(configs), ..Topic::clone(&topic) }));
        self.follow_policy(&before);
        self.changes.push(Change::TopicConfigsChanged { id, name });
        Ok(Answer::Done)
    }

    fn allocate_producer_ids(&mut self, broker: BrokerId, epoch: BrokerEpoch) -> Result<Answer, Rejected> {
        self.broker(broker, epoch)?;
        let first = self.image.next_producer_id;
        let next = first.0.checked_add(PRODUCER_ID_BLOCK).ok_or(Rejected::ProducerIdsExhausted)?;
        self.image.next_producer_id = ProducerId(next);
        self.changes.push(Change::ProducerIdsAllocated);
        Ok(Answer::ProducerIds(ProducerIdBlock { first, len: PRODUCER_ID_BLOCK }))
    }

    fn set_configs(&mut self, resource: &ConfigResource, changes: &[ConfigChange]) -> Answer {
        let before = self.image.configs(resource);
        let after = changed(before, changes.iter().map(|change| (&change.name, change.value.as_ref())));
        if after != *before {
            let image_before = self.image.clone();
            let all = Arc::make_mut(&mut self.image.configs);
            match after.is_empty() {
                true => all.remove(resource),
                false => all.insert(resource.clone(), after),
            };
            self.follow_policy(&image_before);
            self.changes.push(Change::ConfigsChanged(resource.clone()));
        }
        Answer::Done
    }

    fn set_client_quotas(&mut self, entity: &QuotaEntity, changes: &[QuotaChange]) -> Answer {
        let none = Quotas::new();
        let before = self.image.quotas.get(entity).unwrap_or(&none);
        let after = changed(before, changes.iter().map(|change| (&change.name, change.value.as_ref())));
        if after != *before {
            let all = Arc::make_mut(&mut self.image.quotas);
            match after.is_empty() {
                true => all.remove(entity),
                false => all.insert(entity.clone(), after),
            };
            self.changes.push(Change::QuotasChanged(entity.clone()));
        }
        Answer::Done
    }

    fn set_feature(&mut self, name: &str, level: i16) -> Result<Answer, Rejected> {
        let before = self.image.feature(name);
        if level < before {
            return Err(Rejected::FeatureLevel { name: name.into(), level: before });
        }
        if level > before {
            Arc::make_mut(&mut self.image.features).insert(name.into(), level);
            self.changes.push(Change::FeaturesChanged);
        }
        Ok(Answer::Done)
    }

    fn topic(&self, id: TopicId) -> Result<Arc<Topic>, Rejected> {
        self.image.topic(id).cloned().ok_or(Rejected::UnknownTopic(id))
    }

    fn broker(&self, id: BrokerId, epoch: BrokerEpoch) -> Result<&Broker, Rejected> {
        let broker = self.image.broker(id).ok_or(Rejected::UnknownBroker(id))?;
        if broker.epoch != epoch {
            return Err(Rejected::StaleBrokerEpoch { broker: id, epoch: broker.epoch });
        }
        Ok(broker)
    }

    /// The state in which partitions begin, for a topic that has `before` of them.
    fn new_partitions(&self, before: usize, assignments: &[Vec<BrokerId>]) -> Result<Vec<Partition>, Rejected> {
        let (count, most) = (before.saturating_add(assignments.len()), PARTITIONS_PER_TOPIC_MAX);
        let max = most.min(before.saturating_add(PARTITIONS_PER_COMMAND_MAX));
        if assignments.is_empty() || count > max {
            return Err(Rejected::PartitionCount { count, min: before + 1, max });
        }
        let index = |at: usize| PartitionIndex(i32::try_from(before + at).expect("checked against the limit"));
        assignments.iter().enumerate().map(|(at, replicas)| self.new_partition(index(at), replicas)).collect()
    }

    fn new_partition(&self, index: PartitionIndex, replicas: &[BrokerId]) -> Result<Partition, Rejected> {
        self.check_replicas(index, replicas)?;
        let serves = |id: &BrokerId| self.image.broker(*id).is_some_and(|b| b.standing().duty == Duty::Serving);
        let isr: Vec<_> = replicas.iter().copied().filter(serves).collect();
        if isr.is_empty() {
            return Err(Rejected::NoLiveReplica(index));
        }
        Ok(Partition::new(replicas.to_vec(), isr))
    }

    /// Whether these may be a partition's replicas.
    fn check_replicas(&self, index: PartitionIndex, replicas: &[BrokerId]) -> Result<(), Rejected> {
        let repeated = replicas.iter().enumerate().any(|(at, id)| replicas[..at].contains(id));
        if replicas.is_empty() || replicas.len() > REPLICAS_MAX || repeated {
            return Err(Rejected::ReplicaAssignment(index));
        }
        match replicas.iter().find(|id| self.image.broker(**id).is_none()) {
            Some(unknown) => Err(Rejected::UnknownBroker(*unknown)),
            None => Ok(()),
        }
    }
}

/// What is left of `before` when each change was made: a value is set, none is removed.
fn changed<'a, V: Clone + 'a>(
    before: &BTreeMap<Box<str>, V>,
    changes: impl Iterator<Item = (&'a Box<str>, Option<&'a V>)>,
) -> BTreeMap<Box<str>, V> {
    let mut after = before.clone();
    for (name, value) in changes {
        match value {
            Some(value) => after.insert(name.clone(), value.clone()),
            None => after.remove(name),
        };
    }
    after
}

#[cfg(test)]
mod tests;
