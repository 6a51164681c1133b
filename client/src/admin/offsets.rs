//! Where partitions begin and end, and where a time is in them.
//!
//! Must not know: who reads them, what groups have committed.

use std::collections::HashMap;

use cairn_protocol::ids::{Offset, Timestamp};

use super::{Admin, AdminError};
use crate::consumer::{IsolationLevel, offsets};
use crate::topic_partition::TopicPartition;

/// Which offset of a partition is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OffsetSpec {
    /// That of the oldest record.
    Earliest,
    /// That after the newest record.
    Latest,
    /// That of the first record of this time or later.
    Time(Timestamp),
}

impl Admin {
    /// One offset of each partition, as a reader of this isolation sees it; `None` where there is no record of that time or later.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// When a partition is not there, or its leader could not be asked.
    pub async fn list_offsets(
        &self,
        of: &HashMap<TopicPartition, OffsetSpec>,
        isolation: IsolationLevel,
    ) -> Result<HashMap<TopicPartition, Option<Offset>>, AdminError> {
        let time = |spec: &OffsetSpec| match spec {
            OffsetSpec::Earliest => offsets::EARLIEST,
            OffsetSpec::Latest => offsets::LATEST,
            OffsetSpec::Time(time) => *time,
        };
        let wanted = of.iter().map(|(partition, spec)| (partition.clone(), time(spec))).collect();
        Ok(offsets::list(&self.client, &wanted, isolation).await?)
    }
}
