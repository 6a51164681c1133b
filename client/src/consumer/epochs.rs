//! Asks a new leader whether it has what was read from the one before (OffsetForLeaderEpoch, KIP-320).
//!
//! Must not know: what is done about a log that was cut.

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::Offset;
use cairn_protocol::messages::OffsetForLeaderEpochRequest;
use cairn_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};

use super::assignment::{Check, Checked, Want};
use super::{OffsetsError, Shared};
use crate::client::Ask;
use crate::error::check as check_code;

const VERSIONS: std::ops::RangeInclusive<i16> = 2..=4;

/// Without retries.
///
/// Cancel-safe.
pub(super) async fn check(shared: &Shared, want: &Want<Check>) -> Result<Checked, OffsetsError> {
    let (partition, what) = (&want.partition, want.what);
    let asked = OffsetForLeaderPartition {
        partition: partition.partition.0,
        current_leader_epoch: what.current.0,
        leader_epoch: what.epoch.0,
    };
    let topic = OffsetForLeaderTopic { topic: (&*partition.topic).into(), partitions: vec![asked] };
    let request = OffsetForLeaderEpochRequest { replica_id: -1, topics: vec![topic] };
    let timeout = shared.client.config().request_timeout;
    let answer = match shared.client.call(Ask::Broker(what.leader), VERSIONS, timeout, |_| request).await {
        Ok(answer) => answer,
        // A broker that cannot tell is believed, as Kafka's own consumers do.
        Err(error) if !error.is_retriable() => return Ok(Checked::Holds),
        Err(error) => return Err(error.into()),
    };
    let topics = answer.topics.iter().filter(|topic| *topic.topic == *partition.topic);
    let end = topics.flat_map(|topic| &topic.partitions).find(|it| it.partition == partition.partition.0);
    let end = end.ok_or_else(|| OffsetsError::Missing { partition: partition.clone() })?;
    match check_code(end.error_code) {
        Ok(()) => {}
        Err(ErrorCode::TopicAuthorizationFailed) => return Ok(Checked::Holds),
        Err(code) => return Err(OffsetsError::Refused { partition: partition.clone(), code }),
    }
    Ok(if end.end_offset < 0 || end.leader_epoch < 0 {
        Checked::Cut(None)
    } else if end.end_offset < what.offset.0 {
        Checked::Cut(Some(Offset(end.end_offset)))
    } else {
        Checked::Holds
    })
}
