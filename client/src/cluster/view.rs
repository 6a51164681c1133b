//! A picture of the cluster that does not change; a newer answer makes a newer picture.
//!
//! Must not know: how it is asked for, the clock.

use std::collections::HashMap;
use std::sync::Arc;

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::{BrokerId, LeaderEpoch, PartitionIndex, TopicId};
use cairn_protocol::messages::MetadataResponse;
use cairn_protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use tokio::time::Instant;

use crate::error::check;
use crate::network::Address;
use crate::topic_partition::TopicPartition;

/// What was known at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    pub(crate) brokers: HashMap<BrokerId, Address>,
    pub(crate) controller: Option<BrokerId>,
    pub(crate) topics: HashMap<Arc<str>, Arc<TopicInfo>>,
}

/// One topic.
#[derive(Clone, Debug)]
pub(crate) struct TopicInfo {
    /// Zero when the broker is too old to give one.
    pub(crate) id: TopicId,
    pub(crate) partitions: Vec<PartitionInfo>,
    /// The partitions that have a leader, in order.
    pub(crate) available: Vec<PartitionIndex>,
    pub(crate) learnt: Instant,
}

/// One partition's leader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PartitionInfo {
    pub(crate) leader: Option<BrokerId>,
    pub(crate) epoch: Option<LeaderEpoch>,
}

impl View {
    pub(crate) fn partition(&self, of: &TopicPartition) -> Option<PartitionInfo> {
        let index = usize::try_from(of.partition.0).ok()?;
        self.topics.get(&of.topic)?.partitions.get(index).copied()
    }

    pub(crate) fn leader(&self, of: &TopicPartition) -> Option<BrokerId> {
        self.partition(of)?.leader.filter(|leader| self.brokers.contains_key(leader))
    }

    /// The picture with this answer in it. Gives what the answer said about topics that it could not describe, too.
    pub(crate) fn updated(&self, answer: &MetadataResponse, now: Instant) -> (Self, HashMap<Arc<str>, ErrorCode>) {
        let mut topics = self.topics.clone();
        let mut errors = HashMap::new();
        for topic in &answer.topics {
            let Some(name) = topic.name.as_deref().filter(|name| !name.is_empty()) else { continue };
            let name: Arc<str> = name.into();
            match check(topic.error_code) {
                Ok(()) => {
                    let info = TopicInfo::from_answer(topic, topics.get(&name).map(|known| &**known), now);
                    topics.insert(name, Arc::new(info));
                }
                Err(code) => {
                    if code == ErrorCode::UnknownTopicOrPartition {
                        topics.remove(&name);
                    }
                    errors.insert(name, code);
                }
            }
        }
        let address = |host: &str, port| Some(Address { host: host.into(), port: u16::try_from(port).ok()? });
        let brokers = answer.brokers.iter();
        let brokers = brokers
            .filter_map(|broker| Some((BrokerId(broker.node_id), address(&broker.host, broker.port)?)))
            .collect();
        let controller = (answer.controller_id >= 0).then_some(BrokerId(answer.controller_id));
        (Self { brokers, controller, topics }, errors)
    }
}

impl TopicInfo {
    fn from_answer(topic: &MetadataResponseTopic, known: Option<&Self>, now: Instant) -> Self {
        let id = TopicId(topic.topic_id);
        // A topic that was deleted and made again begins its epochs anew.
        let known = known.filter(|known| known.id == id).map_or(&[][..], |known| &known.partitions);
        // Indexes are dense: one that no broker can have makes no room.
        let count = topic.partitions.len();
        let mut partitions = vec![PartitionInfo::default(); count];
        for partition in &topic.partitions {
            let Some(index) = usize::try_from(partition.partition_index).ok().filter(|&index| index < count) else {
                continue;
            };
            partitions[index] = PartitionInfo::from_answer(partition, known.get(index));
        }
        let has_leader = |(index, info): (i32, &PartitionInfo)| info.leader.map(|_| PartitionIndex(index));
        let available = (0..).zip(&partitions).filter_map(has_leader).collect();
        Self { id, partitions, available, learnt: now }
    }

    pub(crate) fn count(&self) -> i32 {
        i32::try_from(self.partitions.len()).unwrap_or(i32::MAX)
    }
}

impl PartitionInfo {
    fn from_answer(partition: &MetadataResponsePartition, known: Option<&Self>) -> Self {
        let epoch = (partition.leader_epoch >= 0).then_some(LeaderEpoch(partition.leader_epoch));
        // A broker that lags behind may tell of a leader of the past: what is newer stays (KIP-320).
        if let Some(known) = known
            && known.epoch > epoch
            && epoch.is_some()
        {
            return *known;
        }
        let leader = (partition.leader_id >= 0).then_some(BrokerId(partition.leader_id));
        Self { leader, epoch }
    }
}

#[cfg(test)]
mod tests {
    use cairn_protocol::messages::metadata_response::MetadataResponseBroker;
    use uuid::Uuid;

    use super::*;

    fn answer(id: u128, leader_id: i32, leader_epoch: i32) -> MetadataResponse {
        let partition = MetadataResponsePartition { leader_id, leader_epoch, ..MetadataResponsePartition::default() };
        let topic = MetadataResponseTopic {
            name: Some("t".into()),
            topic_id: Uuid::from_u128(id),
            partitions: vec![partition],
            ..MetadataResponseTopic::default()
        };
        let broker = |node_id| MetadataResponseBroker { node_id, host: "h".into(), port: 1, ..Default::default() };
        MetadataResponse { brokers: vec![broker(1), broker(2)], topics: vec![topic], ..MetadataResponse::default() }
    }

    fn leader(view: &View) -> Option<i32> {
        view.leader(&TopicPartition::new("t", 0)).map(|id| id.0)
    }

    #[test]
    fn epochs_never_go_back_unless_the_topic_is_another() {
        let now = Instant::now();
        let (view, errors) = View::default().updated(&answer(7, 1, 5), now);
        assert!(errors.is_empty());
        assert_eq!(leader(&view), Some(1));
        assert_eq!(leader(&view.updated(&answer(7, 2, 4), now).0), Some(1), "an older epoch");
        assert_eq!(leader(&view.updated(&answer(7, 2, 6), now).0), Some(2));
        assert_eq!(leader(&view.updated(&answer(8, 2, 0), now).0), Some(2), "another topic of that name");
        assert_eq!(leader(&view.updated(&answer(7, 3, 6), now).0), None, "a leader that is no broker");
    }

    #[test]
    fn unknown_topics_are_forgotten_and_reported() {
        let now = Instant::now();
        let (view, _) = View::default().updated(&answer(7, 1, 5), now);
        let mut gone = answer(7, 1, 5);
        gone.topics[0].error_code = ErrorCode::UnknownTopicOrPartition.code();
        let (view, errors) = view.updated(&gone, now);
        assert_eq!(errors.get("t"), Some(&ErrorCode::UnknownTopicOrPartition));
        assert!(view.topics.is_empty());
    }

    #[test]
    fn absurd_partition_indexes_are_ignored() {
        let mut absurd = answer(7, 1, 5);
        absurd.topics[0].partitions[0].partition_index = i32::MAX;
        let (view, _) = View::default().updated(&absurd, Instant::now());
        assert_eq!(leader(&view), None);
    }
}
