//! What lies in a broker's log dirs, how large it is, and moves between them (KIP-113).
//!
//! Must not know: who leads it.

use std::collections::BTreeMap;

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::BrokerId;
use cairn_protocol::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use cairn_protocol::messages::describe_log_dirs_response::DescribeLogDirsResult;
use cairn_protocol::messages::{AlterReplicaLogDirsRequest, DescribeLogDirsRequest};

use super::error::checked;
use super::{Admin, AdminError};
use crate::client::Ask;
use crate::topic_partition::TopicPartition;

const VERSIONS: std::ops::RangeInclusive<i16> = 1..=5;
const ALTER_VERSIONS: std::ops::RangeInclusive<i16> = 1..=2;

/// A log dir of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDirDescription {
    /// Its path on the broker's machine.
    pub path: Box<str>,
    /// Why it cannot be used, where it cannot.
    pub error: Option<ErrorCode>,
    /// The logs in it.
    pub logs: Vec<LogDescription>,
}

/// A partition's log in a log dir.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogDescription {
    /// Whose log it is.
    pub partition: TopicPartition,
    /// Its size in bytes.
    pub size: u64,
    /// Whether it is on its way into this dir from another one.
    pub is_future: bool,
}

impl Admin {
    /// The log dirs of one broker, with all that lies in them.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// When the broker refuses, or does not answer.
    pub async fn describe_log_dirs(&self, broker: BrokerId) -> Result<Vec<LogDirDescription>, AdminError> {
        self.retry(|| async {
            let request = |_| DescribeLogDirsRequest { topics: None };
            let answer = self.client.call(Ask::Broker(broker), VERSIONS, self.timeout(), request).await?;
            checked(&format!("broker {broker}"), answer.error_code, None)?;
            Ok(answer.results.iter().map(LogDirDescription::of).collect())
        })
        .await
    }

    /// Has a broker move its logs of these partitions into its log dir `path`; a log that is not there yet is made in it. Returns when
    /// the moves have begun: [`describe_log_dirs`](Self::describe_log_dirs) shows them as logs of the future until they are done.
    ///
    /// Not cancel-safe: when dropped, it may be done.
    ///
    /// # Errors
    /// When the broker has no such dir, or refuses for one of the partitions; others may be on their way.
    pub async fn alter_replica_log_dirs(
        &self,
        broker: BrokerId,
        path: &str,
        partitions: &[TopicPartition],
    ) -> Result<(), AdminError> {
        let mut topics = BTreeMap::<&str, Vec<i32>>::new();
        for partition in partitions {
            topics.entry(&partition.topic).or_default().push(partition.partition.0);
        }
        self.retry(|| async {
            let topic = |(name, partitions): (&&str, &Vec<i32>)| AlterReplicaLogDirTopic {
                name: (*name).into(),
                partitions: partitions.clone(),
            };
            let topics = topics.iter().map(topic).collect();
            let request = AlterReplicaLogDirsRequest { dirs: vec![AlterReplicaLogDir { path: path.into(), topics }] };
            let answer = self.client.call(Ask::Broker(broker), ALTER_VERSIONS, self.timeout(), |_| request).await?;
            for topic in &answer.results {
                for partition in &topic.partitions {
                    let of = TopicPartition::new(&*topic.topic_name, partition.partition_index);
                    checked(&of.to_string(), partition.error_code, None)?;
                }
            }
            Ok(())
        })
        .await
    }
}

impl LogDirDescription {
    fn of(told: &DescribeLogDirsResult) -> Self {
        let logs = told.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|log| LogDescription {
                partition: TopicPartition::new(&*topic.name, log.partition_index),
                size: u64::try_from(log.partition_size).unwrap_or(0),
                is_future: log.is_future_key,
            })
        });
        Self { path: told.log_dir.clone(), error: crate::error::check(told.error_code).err(), logs: logs.collect() }
    }
}
