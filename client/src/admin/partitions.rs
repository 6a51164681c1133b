//! All topics with all their partitions, in pages (KIP-966).
//!
//! Must not know: topic configuration.

use cairn_protocol::ids::{BrokerId, LeaderEpoch, PartitionIndex, TopicId};
use cairn_protocol::messages::DescribeTopicPartitionsRequest;
use cairn_protocol::messages::describe_topic_partitions_request::Cursor;
use cairn_protocol::messages::describe_topic_partitions_response::{
    DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};

use super::{Admin, AdminError, PartitionDescription, TopicDescription};
use crate::client::Ask;
use crate::error::RequestError;

const VERSIONS: std::ops::RangeInclusive<i16> = 0..=0;
/// Kafka's default.
const PAGE_PARTITIONS: i32 = 2_000;
/// More than any cluster has; who never comes to an end is not asked for ever.
const PAGES_MAX: usize = 10_000;

impl Admin {
    /// All topics in full, by name, internal ones as well.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// When no broker answers.
    pub async fn describe_all_topics(&self) -> Result<Vec<TopicDescription>, AdminError> {
        match self.retry(|| self.pages()).await {
            // Older brokers tell the same, but for eligible leaders.
            Err(AdminError::Request(RequestError::Unsupported { .. })) => self.describe_all_by_metadata().await,
            described => described,
        }
    }

    async fn pages(&self) -> Result<Vec<TopicDescription>, AdminError> {
        let mut topics = Vec::<TopicDescription>::new();
        let mut cursor = None;
        for _ in 0..PAGES_MAX {
            let request = DescribeTopicPartitionsRequest {
                topics: Vec::new(),
                response_partition_limit: PAGE_PARTITIONS,
                cursor: cursor.take(),
            };
            let answer = self.client.call(Ask::Any, VERSIONS, self.timeout(), |_| request).await?;
            for told in answer.topics.iter().filter(|topic| topic.error_code == 0) {
                let Some(name) = told.name.as_deref() else { continue };
                match topics.last_mut().filter(|last| *last.name == *name) {
                    // The rest of a topic that did not fit on the page before.
                    Some(last) => last.partitions.extend(told.partitions.iter().map(described)),
                    None => topics.push(first_of(name, told)),
                }
            }
            let Some(next) = answer.next_cursor else { break };
            cursor = Some(Cursor { topic_name: next.topic_name, partition_index: next.partition_index });
        }
        topics.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(topics)
    }
}

fn first_of(name: &str, told: &DescribeTopicPartitionsResponseTopic) -> TopicDescription {
    let partitions = told.partitions.iter().map(described).collect();
    TopicDescription { name: name.into(), id: TopicId(told.topic_id), is_internal: told.is_internal, partitions }
}

fn described(told: &DescribeTopicPartitionsResponsePartition) -> PartitionDescription {
    let brokers = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect();
    PartitionDescription {
        partition: PartitionIndex(told.partition_index),
        leader: (told.leader_id >= 0).then_some(BrokerId(told.leader_id)),
        leader_epoch: (told.leader_epoch >= 0).then_some(LeaderEpoch(told.leader_epoch)),
        replicas: brokers(&told.replica_nodes),
        in_sync: brokers(&told.isr_nodes),
        eligible: brokers(told.eligible_leader_replicas.as_deref().unwrap_or_default()),
        last_known: brokers(told.last_known_elr.as_deref().unwrap_or_default()),
    }
}
