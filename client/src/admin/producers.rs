//! The producers that a partition's leader knows of (KIP-664).
//!
//! Must not know: how one produces.

use cairn_protocol::ids::{Offset, Timestamp};
use cairn_protocol::messages::DescribeProducersRequest;
use cairn_protocol::messages::describe_producers_request::TopicRequest;

use super::error::checked;
use super::{Admin, AdminError};
use crate::client::Ask;
use crate::cluster::Unknown;
use crate::consumer::OffsetsError;
use crate::topic_partition::TopicPartition;

const VERSIONS: std::ops::RangeInclusive<i16> = 0..=0;

/// An idempotent or transactional producer, as one partition knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerDescription {
    /// Its id.
    pub id: i64,
    /// Its epoch.
    pub epoch: i32,
    /// The sequence number of its last record; `None` when it has written none.
    pub last_sequence: Option<i32>,
    /// When it wrote last.
    pub last_timestamp: Timestamp,
    /// Where its open transaction begins, if it has one.
    pub transaction_start: Option<Offset>,
}

impl Admin {
    /// The producers that are active in a partition.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// When there is no such partition, or its leader does not answer.
    pub async fn describe_producers(&self, partition: &TopicPartition) -> Result<Vec<ProducerDescription>, AdminError> {
        let what = partition.to_string();
        self.retry(|| async {
            let topic = self.client.metadata().topic(&partition.topic, Unknown::Refuse).await?;
            let index = usize::try_from(partition.partition.0).ok();
            let leader = index.and_then(|index| topic.partitions.get(index)).and_then(|info| info.leader);
            let leader = leader.ok_or_else(|| OffsetsError::NoLeader { partition: partition.clone() })?;
            let name = (&*partition.topic).into();
            let topics = vec![TopicRequest { name, partition_indexes: vec![partition.partition.0] }];
            let request = DescribeProducersRequest { topics };
            let answer = self.client.call(Ask::Broker(leader), VERSIONS, self.timeout(), |_| request).await?;
            let result = answer.topics.into_iter().next().and_then(|topic| topic.partitions.into_iter().next());
            let result = result.ok_or_else(|| AdminError::Missing { what: what.as_str().into() })?;
            checked(&what, result.error_code, result.error_message.as_deref())?;
            let describe =
                |it: &cairn_protocol::messages::describe_producers_response::ProducerState| ProducerDescription {
                    id: it.producer_id,
                    epoch: it.producer_epoch,
                    last_sequence: (it.last_sequence >= 0).then_some(it.last_sequence),
                    last_timestamp: Timestamp(it.last_timestamp),
                    transaction_start: (it.current_txn_start_offset >= 0)
                        .then_some(Offset(it.current_txn_start_offset)),
                };
            Ok(result.active_producers.iter().map(describe).collect())
        })
        .await
    }
}
