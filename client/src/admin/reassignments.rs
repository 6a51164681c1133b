//! Moving partitions to other brokers (KIP-455).
//!
//! Must not know: which moves are wise.

use std::collections::BTreeMap;

use cairn_protocol::ids::BrokerId;
use cairn_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use cairn_protocol::messages::list_partition_reassignments_response::OngoingPartitionReassignment;
use cairn_protocol::messages::{AlterPartitionReassignmentsRequest, ListPartitionReassignmentsRequest};

use super::error::checked;
use super::{Admin, AdminError};
use crate::client::Ask;
use crate::topic_partition::TopicPartition;

const ALTER_VERSIONS: std::ops::RangeInclusive<i16> = 0..=1;
const LIST_VERSIONS: std::ops::RangeInclusive<i16> = 0..=0;

/// What becomes of a partition's replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reassignment {
    /// These brokers keep it, the preferred leader first.
    To(Vec<BrokerId>),
    /// The move that is under way is taken back.
    Cancel,
}

/// A move that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OngoingReassignment {
    /// All brokers that have something of it, those that come and those that go as well.
    pub replicas: Vec<BrokerId>,
    /// Those that come.
    pub adding: Vec<BrokerId>,
    /// Those that go.
    pub removing: Vec<BrokerId>,
}

impl Admin {
    /// Moves partitions, or takes that back, each by itself. Gives those that were refused; the others have begun to move.
    ///
    /// Not cancel-safe: when dropped, it may be done.
    ///
    /// # Errors
    /// When the cluster refuses all of it, or does not answer.
    pub async fn alter_partition_reassignments(
        &self,
        wanted: &BTreeMap<TopicPartition, Reassignment>,
    ) -> Result<Vec<(TopicPartition, AdminError)>, AdminError> {
        self.retry(|| async {
            let request = AlterPartitionReassignmentsRequest {
                timeout_ms: self.timeout_ms(),
                topics: on_the_wire(wanted),
                ..AlterPartitionReassignmentsRequest::default()
            };
            let answer = self.client.call(Ask::Controller, ALTER_VERSIONS, self.timeout(), |_| request).await?;
            checked("the reassignment", answer.error_code, answer.error_message.as_deref())?;
            let mut refused = Vec::new();
            for topic in &answer.responses {
                for told in &topic.partitions {
                    let partition = TopicPartition::new(&*topic.name, told.partition_index);
                    let outcome = checked(&partition.to_string(), told.error_code, told.error_message.as_deref());
                    refused.extend(outcome.err().map(|error| (partition, error)));
                }
            }
            Ok(refused)
        })
        .await
    }

    /// All moves that are under way.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// When the cluster refuses, or does not answer.
    pub async fn list_partition_reassignments(
        &self,
    ) -> Result<BTreeMap<TopicPartition, OngoingReassignment>, AdminError> {
        self.retry(|| async {
            let request = ListPartitionReassignmentsRequest { timeout_ms: self.timeout_ms(), topics: None };
            let answer = self.client.call(Ask::Controller, LIST_VERSIONS, self.timeout(), |_| request).await?;
            checked("reassignments", answer.error_code, answer.error_message.as_deref())?;
            let of_topic =
                |topic: &cairn_protocol::messages::list_partition_reassignments_response::OngoingTopicReassignment| {
                    let one = |it: &OngoingPartitionReassignment| {
                        (TopicPartition::new(&*topic.name, it.partition_index), OngoingReassignment::of(it))
                    };
                    topic.partitions.iter().map(one).collect::<Vec<_>>()
                };
            Ok(answer.topics.iter().flat_map(of_topic).collect())
        })
        .await
    }
}

fn on_the_wire(wanted: &BTreeMap<TopicPartition, Reassignment>) -> Vec<ReassignableTopic> {
    let mut topics = BTreeMap::<&str, Vec<ReassignablePartition>>::new();
    for (partition, wanted) in wanted {
        let replicas = match wanted {
            Reassignment::To(replicas) => Some(replicas.iter().map(|id| id.0).collect()),
            Reassignment::Cancel => None,
        };
        let partition_index = partition.partition.0;
        topics.entry(&partition.topic).or_default().push(ReassignablePartition { partition_index, replicas });
    }
    topics.into_iter().map(|(name, partitions)| ReassignableTopic { name: name.into(), partitions }).collect()
}

impl OngoingReassignment {
    fn of(told: &OngoingPartitionReassignment) -> Self {
        let brokers = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect();
        Self {
            replicas: brokers(&told.replicas),
            adding: brokers(&told.adding_replicas),
            removing: brokers(&told.removing_replicas),
        }
    }
}
