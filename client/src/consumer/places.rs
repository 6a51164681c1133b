//! Where a consumer is in its partitions, where it goes, and where their logs begin and end.
//!
//! Must not know: how records are fetched, membership.

use std::collections::HashMap;

use cairn_protocol::ids::{Offset, Timestamp};

use super::{CommittedOffset, Consumer, OffsetsError, StartAt, offsets};
use crate::topic_partition::TopicPartition;

impl Consumer {
    /// Goes on elsewhere in one partition. Gives whether it is assigned.
    pub fn seek(&self, partition: &TopicPartition, to: StartAt) -> bool {
        let is_assigned = self.shared.assignment.lock().seek(partition, to);
        self.shared.news.notify_one();
        is_assigned
    }

    /// The offset of the next record that will be given, once it is known.
    #[must_use]
    pub fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        self.shared.assignment.lock().position(partition)
    }

    /// Gives no records of these partitions until they are [resumed](Self::resume); others go on. What was fetched of them ahead is
    /// dropped, so that they take no room, and is fetched again. Partitions that are not assigned are left out, and what is assigned anew
    /// is not paused.
    pub fn pause(&self, partitions: &[TopicPartition]) {
        self.shared.handover.between_records(|| self.shared.assignment.lock().pause(partitions));
        self.shared.news.notify_one();
    }

    /// Gives records of these partitions again.
    pub fn resume(&self, partitions: &[TopicPartition]) {
        self.shared.assignment.lock().resume(partitions);
        self.shared.news.notify_one();
    }

    /// The partitions that are paused, in order.
    #[must_use]
    pub fn paused(&self) -> Vec<TopicPartition> {
        self.shared.assignment.lock().paused()
    }

    /// How many offsets are left in a partition before its end, as the last answer told it and without asking anybody; `None` before
    /// the first answer.
    #[must_use]
    pub fn lag(&self, partition: &TopicPartition) -> Option<i64> {
        self.shared.assignment.lock().lag(partition)
    }

    /// What the group has committed; partitions without anything are left out.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// When there is no group, or the coordinator refused.
    pub async fn committed(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<HashMap<TopicPartition, CommittedOffset>, OffsetsError> {
        let group = self.shared.config.group.as_ref().ok_or(OffsetsError::NoGroup)?;
        offsets::committed(&self.shared.client, group, Some(partitions)).await
    }

    /// The oldest offset of each partition.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// When a leader could not be asked, or refused.
    pub async fn beginning_offsets(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<HashMap<TopicPartition, Offset>, OffsetsError> {
        self.offsets_at(partitions, offsets::EARLIEST).await
    }

    /// The offset after the newest record of each partition; with [`IsolationLevel::ReadCommitted`](super::IsolationLevel) where the first
    /// open transaction begins.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// When a leader could not be asked, or refused.
    pub async fn end_offsets(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<HashMap<TopicPartition, Offset>, OffsetsError> {
        self.offsets_at(partitions, offsets::LATEST).await
    }

    /// The offset of each partition's first record at this time or later; `None` when there is none.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// When a leader could not be asked, or refused.
    pub async fn offsets_for_times(
        &self,
        times: &HashMap<TopicPartition, Timestamp>,
    ) -> Result<HashMap<TopicPartition, Option<Offset>>, OffsetsError> {
        offsets::list(&self.shared.client, times, self.shared.config.isolation).await
    }

    async fn offsets_at(
        &self,
        partitions: &[TopicPartition],
        time: Timestamp,
    ) -> Result<HashMap<TopicPartition, Offset>, OffsetsError> {
        let wanted = partitions.iter().map(|partition| (partition.clone(), time)).collect();
        let found = offsets::list(&self.shared.client, &wanted, self.shared.config.isolation).await?;
        Ok(found.into_iter().filter_map(|(partition, offset)| Some((partition, offset?))).collect())
    }
}
