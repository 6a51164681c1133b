//! What one broker says of its cluster: who is there, who leads each partition, how many replicas are in sync.
//!
//! It must not know what has happened to the brokers.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context, ensure};
use cairn_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use cairn_protocol::messages::metadata_response::MetadataResponsePartition;
use cairn_protocol::messages::{DescribeQuorumRequest, MetadataRequest, MetadataResponse};

use crate::raw::RawClient;

/// A broker that has not answered by then is asked again.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(5);

/// One answer to Metadata about all topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    brokers: BTreeSet<i32>,
    partitions: Vec<Partition>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Partition {
    topic: String,
    index: i32,
    /// None where the broker says that there is none, or says an error.
    leader: Option<i32>,
    replicas: BTreeSet<i32>,
    in_sync: BTreeSet<i32>,
}

impl View {
    /// Asks the broker at an address.
    pub fn of(address: &str) -> anyhow::Result<View> {
        let mut client = RawClient::connect_within(address, ANSWER_TIME_MAX)?;
        let answer = client.call(12, &MetadataRequest { topics: None, ..MetadataRequest::default() })?;
        View::from_answer(answer)
    }

    fn from_answer(answer: MetadataResponse) -> anyhow::Result<View> {
        let mut partitions = Vec::new();
        for topic in answer.topics {
            let name = topic.name.context("a topic without a name")?;
            ensure!(topic.error_code == 0, "error {} of topic {name}", topic.error_code);
            partitions.extend(topic.partitions.into_iter().map(|partition| Partition::from_answer(&name, partition)));
        }
        Ok(View { brokers: answer.brokers.iter().map(|broker| broker.node_id).collect(), partitions })
    }

    /// What it lacks to be the view of a whole cluster of these brokers.
    pub fn lacks(&self, brokers: &[i32]) -> Option<String> {
        if let Some(broker) = brokers.iter().find(|id| !self.brokers.contains(id)) {
            return Some(format!("no broker {broker}"));
        }
        self.partitions.iter().find_map(|partition| {
            let whole = partition.leader.is_some() && partition.in_sync == partition.replicas;
            (!whole).then(|| partition.to_string())
        })
    }

    /// What depends on brokers that are gone: a partition that has no other leader, or that they are still counted in.
    pub fn depends_on(&self, gone: &[i32]) -> Option<String> {
        if let Some(broker) = gone.iter().find(|id| self.brokers.contains(id)) {
            return Some(format!("broker {broker} is there"));
        }
        self.partitions.iter().find_map(|partition| {
            let taken_over = partition.leader.is_some_and(|leader| !gone.contains(&leader));
            (!taken_over).then(|| partition.to_string())
        })
    }

    /// Whether a broker is there.
    pub fn knows(&self, broker: i32) -> bool {
        self.brokers.contains(&broker)
    }

    /// A partition that a broker leads, or nobody.
    pub fn led_by(&self, broker: i32) -> Option<String> {
        let led = |partition: &&Partition| partition.leader.is_none_or(|leader| leader == broker);
        self.partitions.iter().find(led).map(Partition::to_string)
    }

    /// Who leads a partition.
    pub fn leader_of(&self, topic: &str, index: i32) -> anyhow::Result<i32> {
        let named = |partition: &&Partition| partition.topic == topic && partition.index == index;
        let partition = self.partitions.iter().find(named).with_context(|| format!("no partition {topic}-{index}"))?;
        partition.leader.with_context(|| partition.to_string())
    }

    /// Who keeps each partition of a topic; nothing if it is not there.
    pub fn replicas_of(&self, topic: &str) -> Vec<BTreeSet<i32>> {
        let of_topic = self.partitions.iter().filter(|partition| partition.topic == topic);
        let by_index: BTreeMap<i32, BTreeSet<i32>> =
            of_topic.map(|partition| (partition.index, partition.replicas.clone())).collect();
        by_index.into_values().collect()
    }
}

/// Who leads the quorum of the metadata, as the broker at an address says.
pub(super) fn controller(address: &str) -> anyhow::Result<i32> {
    let partitions = vec![PartitionData { partition_index: 0 }];
    let topics = vec![TopicData { topic_name: "__cluster_metadata".into(), partitions }];
    let mut client = RawClient::connect_within(address, ANSWER_TIME_MAX)?;
    let answer = client.call(1, &DescribeQuorumRequest { topics })?;
    ensure!(answer.error_code == 0, "error {} of the quorum", answer.error_code);
    let told = answer.topics.first().and_then(|topic| topic.partitions.first()).context("nothing about the quorum")?;
    ensure!(told.error_code == 0 && told.leader_id >= 0, "error {}, leader {}", told.error_code, told.leader_id);
    Ok(told.leader_id)
}

impl Partition {
    fn from_answer(topic: &str, answer: MetadataResponsePartition) -> Partition {
        /// Some replicas are not there: nothing that `isr_nodes` does not say.
        const REPLICA_NOT_AVAILABLE: i16 = 9;
        let told = answer.leader_id >= 0 && matches!(answer.error_code, 0 | REPLICA_NOT_AVAILABLE);
        Partition {
            topic: topic.to_owned(),
            index: answer.partition_index,
            leader: told.then_some(answer.leader_id),
            replicas: answer.replica_nodes.into_iter().collect(),
            in_sync: answer.isr_nodes.into_iter().collect(),
        }
    }
}

impl std::fmt::Display for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Partition { topic, index, leader, replicas, in_sync } = self;
        match leader {
            None => write!(f, "{topic}-{index} has no leader, ")?,
            Some(leader) => write!(f, "{topic}-{index} is led by {leader}, ")?,
        }
        write!(f, "and of {replicas:?} in sync are {in_sync:?}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [i32; 3] = [1, 2, 3];

    /// A view of these brokers, and of one partition with three replicas.
    fn view(brokers: &[i32], leader_id: i32, in_sync: &[i32], error_code: i16) -> View {
        let answer = MetadataResponsePartition {
            leader_id,
            error_code,
            replica_nodes: ALL.to_vec(),
            isr_nodes: in_sync.to_vec(),
            ..MetadataResponsePartition::default()
        };
        View { brokers: brokers.iter().copied().collect(), partitions: vec![Partition::from_answer("t", answer)] }
    }

    #[test]
    fn whole_is_all_brokers_with_a_leader_and_all_replicas_in_sync() {
        assert_eq!(view(&ALL, 2, &ALL, 0).lacks(&ALL), None);
        assert_eq!(view(&[1, 2], 2, &ALL, 0).lacks(&ALL), Some("no broker 3".to_owned()));
        for lacking in [view(&ALL, -1, &ALL, 5), view(&ALL, 2, &[1, 2], 0), view(&ALL, 2, &ALL, 5)] {
            assert!(lacking.lacks(&ALL).is_some(), "{lacking:?}");
        }
    }

    #[test]
    fn taken_over_is_another_leader_and_a_broker_that_is_not_counted() {
        assert_eq!(view(&[1, 3], 1, &[1, 3], 9).depends_on(&[2]), None);
        for depending in [view(&ALL, 1, &[1, 3], 0), view(&[1, 3], 2, &ALL, 0), view(&[1, 3], -1, &[2], 5)] {
            assert!(depending.depends_on(&[2]).is_some(), "{depending:?}");
        }
    }

    #[test]
    fn a_partition_is_asked_for_by_name() {
        let view = view(&ALL, 2, &ALL, 0);
        assert_eq!(view.leader_of("t", 0).ok(), Some(2));
        assert!(view.leader_of("t", 1).is_err());
        assert_eq!((view.replicas_of("t"), view.replicas_of("other")), (vec![BTreeSet::from(ALL)], vec![]));
    }
}
