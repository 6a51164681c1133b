//! The offsets that a group has committed, from outside: reading, changing, deleting.
//!
//! Must not know: members, how a consumer commits its own.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use cairn_protocol::messages::OffsetDeleteRequest;
use cairn_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};

use super::error::checked;
use super::groups::called;
use super::{Admin, AdminError};
use crate::consumer::CommittedOffset;
use crate::consumer::offsets::{self, Committer};
use crate::topic_partition::TopicPartition;

const DELETE_VERSIONS: std::ops::RangeInclusive<i16> = 0..=0;

impl Admin {
    /// All that a group has committed, in the partitions' order. Empty when there is no such group.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// When the coordinator does not answer, or refuses.
    pub async fn group_offsets(&self, group: &str) -> Result<BTreeMap<TopicPartition, CommittedOffset>, AdminError> {
        let committed = offsets::committed(&self.client, &group.into(), None).await?;
        Ok(committed.into_iter().collect())
    }

    /// Commits offsets in the name of a group that has no members: where they go on when they come back. A group that is not there
    /// is made.
    ///
    /// Not cancel-safe: when dropped, it may be done.
    ///
    /// # Errors
    /// When the group has members (`UNKNOWN_MEMBER_ID`: who commits is none of them), or the coordinator refuses.
    pub async fn alter_group_offsets(
        &self,
        group: &str,
        offsets: &HashMap<TopicPartition, CommittedOffset>,
    ) -> Result<(), AdminError> {
        Ok(offsets::commit(&self.client, &group.into(), || Ok(Committer::default()), offsets).await?)
    }

    /// Deletes what a group has committed for these partitions.
    ///
    /// Not cancel-safe: when dropped, it may be done.
    ///
    /// # Errors
    /// When there is no such group, or it is subscribed to one of the topics (`GROUP_SUBSCRIBED_TO_TOPIC`).
    pub async fn delete_group_offsets(&self, group: &str, partitions: &[TopicPartition]) -> Result<(), AdminError> {
        let name: Arc<str> = group.into();
        self.retry_at_coordinator(&name, || async {
            let request = OffsetDeleteRequest { group_id: group.into(), topics: topics(partitions) };
            let answer = self.ask_coordinator(&name, DELETE_VERSIONS, |_| request).await?;
            checked(&called(group), answer.error_code, None)?;
            for topic in &answer.topics {
                for partition in &topic.partitions {
                    let of = TopicPartition::new(&*topic.name, partition.partition_index);
                    checked(&of.to_string(), partition.error_code, None)?;
                }
            }
            Ok(())
        })
        .await
    }
}

fn topics(partitions: &[TopicPartition]) -> Vec<OffsetDeleteRequestTopic> {
    let mut topics = BTreeMap::<&str, Vec<OffsetDeleteRequestPartition>>::new();
    for partition in partitions {
        let partition_index = partition.partition.0;
        topics.entry(&partition.topic).or_default().push(OffsetDeleteRequestPartition { partition_index });
    }
    let topic = |(name, partitions): (&str, _)| OffsetDeleteRequestTopic { name: name.into(), partitions };
    topics.into_iter().map(topic).collect()
}
