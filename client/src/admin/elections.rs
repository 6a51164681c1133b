//! Having leaders elected (KIP-183, KIP-460).
//!
//! Must not know: which leaders are wise.

use std::collections::BTreeMap;

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::ElectLeadersRequest;
use cairn_protocol::messages::elect_leaders_request::TopicPartitions;

use super::error::checked;
use super::{Admin, AdminError};
use crate::client::Ask;
use crate::topic_partition::TopicPartition;

/// Version 0 can say nothing but "preferred".
const VERSIONS: std::ops::RangeInclusive<i16> = 1..=2;

/// Who is to lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Election {
    /// The first of the replicas, where it is in sync.
    Preferred,
    /// Any replica that serves, where none in sync does: what it has not is lost.
    Unclean,
}

impl Admin {
    /// Has leaders of these partitions elected. Gives those that were refused; that the leader is the wanted one already is none of
    /// them.
    ///
    /// Not cancel-safe: when dropped, it may be done.
    ///
    /// # Errors
    /// When the cluster refuses all of it, or does not answer.
    pub async fn elect_leaders(
        &self,
        election: Election,
        partitions: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, AdminError)>, AdminError> {
        let mut topics = BTreeMap::<&str, Vec<i32>>::new();
        for partition in partitions {
            topics.entry(&partition.topic).or_default().push(partition.partition.0);
        }
        let named = |(topic, partitions): (&&str, &Vec<i32>)| TopicPartitions {
            topic: (*topic).into(),
            partitions: partitions.clone(),
        };
        self.retry(|| async {
            let request = ElectLeadersRequest {
                election_type: match election {
                    Election::Preferred => 0,
                    Election::Unclean => 1,
                },
                topic_partitions: Some(topics.iter().map(named).collect()),
                timeout_ms: self.timeout_ms(),
            };
            let answer = self.client.call(Ask::Controller, VERSIONS, self.timeout(), |_| request).await?;
            checked("the election", answer.error_code, None)?;
            let mut refused = Vec::new();
            for topic in &answer.replica_election_results {
                for told in &topic.partition_result {
                    if told.error_code == ErrorCode::ElectionNotNeeded.code() {
                        continue;
                    }
                    let partition = TopicPartition::new(&*topic.topic, told.partition_id);
                    let outcome = checked(&partition.to_string(), told.error_code, told.error_message.as_deref());
                    refused.extend(outcome.err().map(|error| (partition, error)));
                }
            }
            Ok(refused)
        })
        .await
    }
}
