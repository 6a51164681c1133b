//! DeleteRecords, versions 0 to 2: moves the start of partitions forward; what lies before it is gone (KIP-107).
//!
//! - Offset -1 means the high watermark: all that may be read. An offset beyond it is OFFSET_OUT_OF_RANGE; one before the
//!   start changes nothing.
//! - Not on internal topics (INVALID_TOPIC_EXCEPTION), nor where `cleanup.policy` is compact only (POLICY_VIOLATION).
//! - Answered with the new start when that is durable. Whole segments below it are removed afterwards.

use std::sync::Arc;
use std::time::Instant;

use cairn_metadata::names;
use cairn_protocol::ApiKey;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::{Offset, PartitionIndex};
use cairn_protocol::messages::delete_records_request::DeleteRecordsTopic;
use cairn_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use cairn_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use crate::blocking::on_blocking_thread;
use crate::dispatch::{Call, Outcome};
use crate::node::Node;
use crate::partitions::DeleteRecordsRefused;

/// "Up to the high watermark."
const HIGH_WATERMARK: i64 = -1;

pub(super) fn handle(node: &Arc<Node>, _call: &Call, request: DeleteRecordsRequest) -> Outcome<DeleteRecordsResponse> {
    let node = Arc::clone(node);
    Outcome::alone(on_blocking_thread(move || {
        let begun = Instant::now();
        let mut topics: Vec<_> = request.topics.iter().map(|topic| delete_in(&node, topic)).collect();
        if let Err(error) = node.partitions.checkpoint() {
            tracing::warn!(%error, "records are deleted, but may come back after a restart");
            topics.iter_mut().flat_map(|topic| &mut topic.partitions).for_each(not_durable);
        }
        node.metrics.in_storage(ApiKey::DeleteRecords, begun.elapsed());
        DeleteRecordsResponse { topics, ..DeleteRecordsResponse::default() }
    }))
}

fn delete_in(node: &Node, topic: &DeleteRecordsTopic) -> DeleteRecordsTopicResult {
    let partitions = topic.partitions.iter().map(|partition| {
        let index = partition.partition_index;
        let deleted = delete(node, &topic.name, PartitionIndex(index), partition.offset);
        DeleteRecordsPartitionResult {
            partition_index: index,
            low_watermark: deleted.map_or(-1, |start| start.0),
            error_code: deleted.err().unwrap_or(ErrorCode::None).code(),
        }
    });
    DeleteRecordsTopicResult { name: topic.name.clone(), partitions: partitions.collect() }
}

/// The client may try again: what is deleted already changes nothing.
fn not_durable(partition: &mut DeleteRecordsPartitionResult) {
    if partition.error_code != ErrorCode::None.code() {
        return;
    }
    partition.error_code = ErrorCode::KafkaStorageError.code();
    partition.low_watermark = -1;
}

/// Gives the new start of the log. Blocks.
fn delete(node: &Node, topic: &str, index: PartitionIndex, offset: i64) -> Result<Offset, ErrorCode> {
    if names::is_internal(topic) {
        return Err(ErrorCode::InvalidTopicException);
    }
    let partition = node.partitions.by_name(topic, index).map_err(|not_here| not_here.error_code())?;
    let cleanup = partition.settings().log.cleanup;
    if cleanup.compacts() && !cleanup.deletes() {
        return Err(ErrorCode::PolicyViolation);
    }
    let readable = partition.high_watermark();
    let to = match offset {
        HIGH_WATERMARK => readable,
        offset if (0..=readable.0).contains(&offset) => Offset(offset),
        _ => return Err(ErrorCode::OffsetOutOfRange),
    };
    let removals = partition.delete_records_before(to).map_err(|refused| match refused {
        DeleteRecordsRefused::Closed => ErrorCode::UnknownTopicOrPartition,
        DeleteRecordsRefused::Log(_) => ErrorCode::KafkaStorageError,
    })?;
    for removal in removals {
        removal.run().map_err(|_| ErrorCode::KafkaStorageError)?;
    }
    Ok(partition.reader().start_offset())
}
