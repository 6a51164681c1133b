//! What brokers that come and go, and leaders that propose, change about partitions.
//!
//! Decisions are [`Partition`]'s; here they get what they are made by: who is registered, and the topic's policy.
//!
//! Must not know: how partitions decide.

use std::sync::Arc;

use cairn_protocol::ids::{BrokerId, PartitionIndex, TopicId};
use uuid::Uuid;

use super::Fold;
use crate::broker::{Broker, BrokerEpoch};
use crate::command::{Answer, NewBroker};
use crate::configs::Durability;
use crate::delta::Change;
use crate::features;
use crate::image::Image;
use crate::partition::{Decided, ElectBy, Eligible, IsrProposal, LogTold, Loss, Partition, Policy, SafeIn, Standing};
use crate::rejected::Rejected;
use crate::resource::ConfigResource;
use crate::topic::Topic;

/// So many disks of removed brokers are known again; the oldest are forgotten first.
const REMOVED_DISKS_MAX: usize = 1_000;

impl Fold {
    pub(super) fn register_broker(&mut self, new: &NewBroker) -> Result<Answer, Rejected> {
        let before = self.image.broker(new.id).cloned();
        if let Some(known) = before.as_ref().filter(|known| known.incarnation == new.incarnation) {
            return Ok(Answer::BrokerRegistered(known.epoch));
        }
        let is_of_it = |disk: &Uuid| before.as_ref().is_some_and(|known| known.storage_ids.contains(disk));
        if self.image.is_removed(&new.storage_ids) && !new.storage_ids.iter().any(is_of_it) {
            return Err(Rejected::BrokerRemoved(new.id));
        }
        let epoch = BrokerEpoch(i64::try_from(self.index).expect("a log has less than 2^63 entries"));
        self.set_broker(Broker {
            id: new.id,
            epoch,
            incarnation: new.incarnation,
            endpoints: new.endpoints.clone(),
            rack: new.rack.clone(),
            storage_ids: new.storage_ids.clone(),
            boot_id: new.boot_id,
            fenced: true,
            shutting_down: false,
        });
        // The old incarnation loses its leaderships in the same step in which the new one gets its epoch (KIP-903).
        self.change_partitions(|image, topic, partition| {
            let loss = before.as_ref().map_or(Loss::Possible, |before| loss_between(before, new, partition.safe_in));
            partition.on_broker_registered(new.id, loss, &standing(image), &image.policy(topic))
        });
        self.changes.push(Change::BrokerChanged(new.id));
        Ok(Answer::BrokerRegistered(epoch))
    }

    pub(super) fn unfence_broker(&mut self, broker: BrokerId, epoch: BrokerEpoch) -> Result<Answer, Rejected> {
        let known = self.broker(broker, epoch)?;
        if !known.fenced {
            return Ok(Answer::Done);
        }
        self.set_broker(Broker { fenced: false, ..known.clone() });
        self.change_partitions(|image, topic, partition| {
            partition.on_broker_back(&standing(image), &image.policy(topic))
        });
        self.changes.push(Change::BrokerChanged(broker));
        Ok(Answer::Done)
    }

    pub(super) fn fence_broker(&mut self, broker: BrokerId, epoch: BrokerEpoch) -> Result<Answer, Rejected> {
        let known = self.broker(broker, epoch)?;
        if known.fenced {
            return Ok(Answer::Done);
        }
        let fenced = Broker { fenced: true, ..known.clone() };
        self.take_out(fenced);
        Ok(Answer::Done)
    }

    /// Its id is free from here on, and its disks are not taken again: partitions count on nothing that lies on them.
    pub(super) fn unregister_broker(&mut self, id: BrokerId) -> Result<Answer, Rejected> {
        let gone = self.image.broker(id).cloned().ok_or(Rejected::UnknownBroker(id))?;
        Arc::make_mut(&mut self.image.brokers).remove(&id);
        let removed = Arc::make_mut(&mut self.image.removed_disks);
        removed.extend(gone.storage_ids);
        removed.drain(..removed.len().saturating_sub(REMOVED_DISKS_MAX));
        self.change_partitions(|image, topic, partition| {
            partition.on_broker_gone(id, Loss::Possible, &standing(image), &image.policy(topic))
        });
        self.changes.push(Change::BrokerChanged(id));
        Ok(Answer::Done)
    }

    pub(super) fn shut_down_broker(&mut self, broker: BrokerId, epoch: BrokerEpoch) -> Result<Answer, Rejected> {
        let known = self.broker(broker, epoch)?;
        if known.shutting_down {
            return Ok(Answer::Done);
        }
        let stopping = Broker { shutting_down: true, ..known.clone() };
        self.take_out(stopping);
        Ok(Answer::Done)
    }

    /// A broker that does not serve any more leads nothing, and is not in sync.
    fn take_out(&mut self, broker: Broker) {
        let id = broker.id;
        self.set_broker(broker);
        self.change_partitions(|image, topic, partition| {
            partition.on_broker_gone(id, Loss::Nothing, &standing(image), &image.policy(topic))
        });
        self.changes.push(Change::BrokerChanged(id));
    }

    pub(super) fn propose_isr(
        &mut self,
        id: TopicId,
        index: PartitionIndex,
        proposal: &IsrProposal,
    ) -> Result<Answer, Rejected> {
        let (topic, mut partition) = self.partition(id, index)?;
        let outcome = partition.decide(proposal, &standing(&self.image), &self.image.policy(&topic));
        self.put_partition(&topic, index, partition);
        Ok(Answer::IsrDecided(outcome))
    }

    pub(super) fn transfer_leader(
        &mut self,
        id: TopicId,
        index: PartitionIndex,
        to: BrokerId,
    ) -> Result<Answer, Rejected> {
        let (topic, mut partition) = self.partition(id, index)?;
        partition
            .transfer(to, &standing(&self.image))
            .map_err(|_| Rejected::CannotLead { partition: index, broker: to })?;
        self.put_partition(&topic, index, partition);
        Ok(Answer::Done)
    }

    /// Others shall keep a partition; none: those who kept it before it began to move.
    pub(super) fn move_partition(
        &mut self,
        id: TopicId,
        index: PartitionIndex,
        to: Option<&[BrokerId]>,
    ) -> Result<Answer, Rejected> {
        let (topic, mut partition) = self.partition(id, index)?;
        let policy = self.image.policy(&topic);
        match to {
            Some(to) => {
                self.check_replicas(index, to)?;
                partition.move_to(to.to_vec(), &standing(&self.image), &policy);
            }
            None => {
                partition
                    .cancel_move(&standing(&self.image), &policy)
                    .map_err(|reason| Rejected::CannotCancelMove { partition: index, reason })?;
            }
        }
        self.put_partition(&topic, index, partition);
        Ok(Answer::Done)
    }

    pub(super) fn elect_by_logs(
        &mut self,
        id: TopicId,
        index: PartitionIndex,
        by: ElectBy,
        told: &[LogTold],
    ) -> Result<Answer, Rejected> {
        let (topic, mut partition) = self.partition(id, index)?;
        partition
            .elect_by_logs(by, told, &standing(&self.image))
            .map_err(|reason| Rejected::CannotElect { partition: index, reason })?;
        self.put_partition(&topic, index, partition);
        Ok(Answer::Done)
    }

    /// Where configs have changed how many replicas must be in sync, or what acknowledged means, partitions follow.
    pub(super) fn follow_policy(&mut self, before: &Image) {
        if self.image.feature(features::ELIGIBLE_LEADER_REPLICAS) == 0 {
            return;
        }
        self.change_partitions(|image, topic, partition| {
            let topic_before = before.topic(topic.id).map_or(topic, |topic| topic);
            let (old, new) = (before.policy(topic_before), image.policy(topic));
            let mut decided = Decided::Unchanged;
            if partition.min_isr(&old) != partition.min_isr(&new) {
                partition.on_min_isr_changed(&standing(image), &new);
                decided = Decided::Changed;
            }
            if old.durability != new.durability {
                partition.on_durability_changed(&new);
                decided = Decided::Changed;
            }
            decided
        });
    }

    /// Nothing is committed yet in partitions from `first` on: all of it lies where commits are to lie.
    pub(super) fn begin_safe(&self, topic: &mut Topic, first: usize) {
        let policy = self.image.policy(topic);
        if policy.eligible == Eligible::Kept && policy.durability == Durability::Synced {
            topic.partitions[first..].iter_mut().for_each(|partition| partition.safe_in = SafeIn::Disk);
        }
    }

    fn partition(&self, id: TopicId, index: PartitionIndex) -> Result<(Arc<Topic>, Partition), Rejected> {
        let topic = self.topic(id)?;
        let partition = topic.partition(index).cloned().ok_or(Rejected::UnknownPartition(index))?;
        Ok((topic, partition))
    }

    fn put_partition(&mut self, topic: &Topic, index: PartitionIndex, partition: Partition) {
        if topic.partition(index) == Some(&partition) {
            return;
        }
        let mut changed = topic.clone();
        let place = usize::try_from(index.0).expect("the partition was found");
        changed.partitions[place] = partition;
        let (id, name) = (topic.id, Arc::clone(&topic.name));
        self.changes.push(Change::PartitionsChanged { id, name, partitions: vec![index] });
        self.image.insert_topic(Arc::new(changed));
    }

    fn set_broker(&mut self, broker: Broker) {
        Arc::make_mut(&mut self.image.brokers).insert(broker.id, broker);
    }

    /// Shows every partition to `change`, in the order of topics' names.
    fn change_partitions(&mut self, mut change: impl FnMut(&Image, &Topic, &mut Partition) -> Decided) {
        let mut topics: Vec<_> = self.image.topics().cloned().collect();
        topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        for topic in topics {
            let mut partitions = topic.partitions.clone();
            let mut changed = Vec::new();
            for (index, partition) in (0..).map(PartitionIndex).zip(&mut partitions) {
                if change(&self.image, &topic, partition) != Decided::Unchanged {
                    changed.push(index);
                }
            }
            if changed.is_empty() {
                continue;
            }
            let (id, name) = (topic.id, Arc::clone(&topic.name));
            self.changes.push(Change::PartitionsChanged { id, name, partitions: changed });
            self.image.insert_topic(Arc::new(Topic { partitions, ..Topic::clone(&topic) }));
        }
    }
}

fn standing(image: &Image) -> impl Fn(BrokerId) -> Option<Standing> {
    |id| image.broker(id).map(Broker::standing)
}

impl Image {
    /// By what decisions about a topic's partitions are made. What configs mean here is a fact of the fold.
    #[must_use]
    pub fn policy(&self, topic: &Topic) -> Policy {
        let kept = self.feature(features::ELIGIBLE_LEADER_REPLICAS) > 0;
        let min_isr = config(self, topic, "min.insync.replicas", "min.insync.replicas");
        let each = config(self, topic, "flush.messages", "log.flush.interval.messages") == Some("1");
        let is_synced = each || config(self, topic, "durability", "log.durability") == Some("synced");
        Policy {
            min_insync_replicas: min_isr.and_then(|value| value.parse().ok()),
            durability: if is_synced { Durability::Synced } else { Durability::Replicated },
            eligible: if kept { Eligible::Kept } else { Eligible::NotYet },
            rules: self.rules,
        }
    }
}

/// A topic's config, or the cluster's default of it.
fn config<'a>(image: &'a Image, topic: &'a Topic, of_topic: &str, of_brokers: &str) -> Option<&'a str> {
    let default = || image.configs(&ConfigResource::Brokers).get(of_brokers);
    topic.configs.get(of_topic).or_else(default).map(|value| &**value)
}

/// Whether a broker's new incarnation may have lost something that the one before had: what was appended lies in the page
/// cache, which only a new boot of the machine empties; what was flushed lies on the disk, which only another disk lacks.
fn loss_between(before: &Broker, new: &NewBroker, safe_in: SafeIn) -> Loss {
    let disks_stay =
        !before.storage_ids.is_empty() && before.storage_ids.iter().all(|disk| new.storage_ids.contains(disk));
    let memory_stays = before.boot_id.is_some() && before.boot_id == new.boot_id;
    let was_clean = new.clean_shutdown == Some(before.epoch);
    if disks_stay && (safe_in == SafeIn::Disk || memory_stays || was_clean) { Loss::Nothing } else { Loss::Possible }
}
