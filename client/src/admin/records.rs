//! Deleting the oldest records of a partition.
//!
//! Must not know: retention, consumers.

use cairn_protocol::ids::Offset;
use cairn_protocol::messages::DeleteRecordsRequest;
use cairn_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};

use super::error::checked;
use super::{Admin, AdminError};
use crate::client::Ask;
use crate::cluster::Unknown;
use crate::consumer::OffsetsError;
use crate::topic_partition::TopicPartition;

const VERSIONS: std::ops::RangeInclusive<i16> = 0..=2;
/// "All there is" on the wire.
const HIGH_WATERMARK: i64 = -1;

impl Admin {
    /// Deletes the records of a partition before an offset; with `None`, all there are. Gives the new first offset.
    ///
    /// Not cancel-safe: when dropped, it may be done.
    ///
    /// # Errors
    /// When there is no such partition or offset, or the broker refuses.
    pub async fn delete_records(
        &self,
        partition: &TopicPartition,
        before: Option<Offset>,
    ) -> Result<Offset, AdminError> {
        let what = partition.to_string();
        self.retry(|| async {
            let topic = self.client.metadata().topic(&partition.topic, Unknown::Refuse).await?;
            let index = usize::try_from(partition.partition.0).ok();
            let leader = index.and_then(|index| topic.partitions.get(index)).and_then(|info| info.leader);
            let leader = leader.ok_or_else(|| OffsetsError::NoLeader { partition: partition.clone() })?;
            let offset = before.map_or(HIGH_WATERMARK, |before| before.0);
            let partitions = vec![DeleteRecordsPartition { partition_index: partition.partition.0, offset }];
            let request = DeleteRecordsRequest {
                topics: vec![DeleteRecordsTopic { name: (&*partition.topic).into(), partitions }],
                timeout_ms: self.timeout_ms(),
            };
            let answer = self.client.call(Ask::Broker(leader), VERSIONS, self.timeout(), |_| request).await?;
            let result = answer.topics.first().and_then(|topic| topic.partitions.first());
            let result = result.ok_or_else(|| AdminError::Missing { what: what.as_str().into() })?;
            checked(&what, result.error_code, None)?;
            Ok(Offset(result.low_watermark))
        })
        .await
    }
}
