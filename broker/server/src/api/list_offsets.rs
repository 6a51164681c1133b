//! ListOffsets, versions 1 to 11: offsets by time, and special ones.
//!
//! - Times: -1 the end that may be read, -2 and -4 the start, -3 the first record with the largest timestamp, -5 nothing, as
//!   nothing is tiered; any other: the first record that is at least as young, or offset -1.
//! - The leader epoch of what was found goes along from 4 on; the client's own is checked from 4 on.
//! - A leader that does not know yet what was committed before it answers OFFSET_NOT_AVAILABLE (KIP-207), to old clients
//!   LEADER_NOT_AVAILABLE; the start it tells all the same.
//! - Times are looked up on a thread that may wait for the disk; the special ones are answered at once.

use std::sync::Arc;
use std::time::Instant;

use cairn_protocol::ApiKey;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::{LeaderEpoch, Offset, PartitionIndex, Timestamp};
use cairn_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use cairn_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use cairn_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};
use cairn_storage::log::{ReadError, TimedOffset};

use crate::blocking::on_blocking_thread;
use crate::dispatch::{Call, Outcome};
use crate::node::Node;
use crate::partitions::Partition;

/// The first version that tells leader epochs.
const EPOCH_FROM: i16 = 4;

/// The first version whose clients know OFFSET_NOT_AVAILABLE.
const OFFSET_NOT_AVAILABLE_FROM: i16 = 5;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

pub(super) fn handle(node: &Arc<Node>, call: &Call, request: ListOffsetsRequest) -> Outcome<ListOffsetsResponse> {
    let ListOffsetsRequest { topics, .. } = request;
    let version = call.version;
    let is_lookup = |partition: &ListOffsetsPartition| partition.timestamp >= 0 || partition.timestamp == MAX_TIMESTAMP;
    let may_block = topics.iter().any(|topic| topic.partitions.iter().any(is_lookup));
    if !may_block {
        return Outcome::Now(answer(node, version, topics));
    }
    let node = Arc::clone(node);
    Outcome::alone(on_blocking_thread(move || answer(&node, version, topics)))
}

fn answer(node: &Node, version: i16, topics: Vec<ListOffsetsTopic>) -> ListOffsetsResponse {
    let begun = Instant::now();
    let topic = |ListOffsetsTopic { name, partitions }: ListOffsetsTopic| {
        let partitions = partitions.into_iter().map(|asked| partition(node, version, &name, &asked)).collect();
        ListOffsetsTopicResponse { partitions, name }
    };
    let topics = topics.into_iter().map(topic).collect();
    node.metrics.in_storage(ApiKey::ListOffsets, begun.elapsed());
    ListOffsetsResponse { topics, ..ListOffsetsResponse::default() }
}

fn partition(node: &Node, version: i16, topic: &str, asked: &ListOffsetsPartition) -> ListOffsetsPartitionResponse {
    let found = node
        .partitions
        .by_name(topic, PartitionIndex(asked.partition_index))
        .map_err(|not_here| not_here.error_code())
        .and_then(|partition| {
            partition.check_epoch(asked.current_leader_epoch)?;
            // The start is committed whoever knows it; of the end a new leader may know less than it told before (KIP-207).
            if ![EARLIEST, EARLIEST_LOCAL].contains(&asked.timestamp) && !partition.knows_the_end() {
                let told = version >= OFFSET_NOT_AVAILABLE_FROM;
                return Err(if told { ErrorCode::OffsetNotAvailable } else { ErrorCode::LeaderNotAvailable });
            }
            find(&partition, asked.timestamp)
        });
    let (error, found) = match found {
        Ok(found) => (ErrorCode::None, found),
        Err(error) => (error, None),
    };
    let epoch = found.and_then(|found| found.leader_epoch).filter(|_| version >= EPOCH_FROM);
    ListOffsetsPartitionResponse {
        partition_index: asked.partition_index,
        error_code: error.code(),
        timestamp: found.map_or(-1, |found| found.timestamp.0),
        offset: found.map_or(-1, |found| found.offset.0),
        leader_epoch: epoch.map_or(-1, |epoch| epoch.0),
    }
}

fn find(partition: &Partition, timestamp: i64) -> Result<Option<TimedOffset>, ErrorCode> {
    let reader = partition.reader();
    let end = partition.high_watermark();
    let at = |offset: Offset, leader_epoch: Option<LeaderEpoch>| {
        Some(TimedOffset { offset, timestamp: Timestamp(-1), leader_epoch })
    };
    match timestamp {
        LATEST => Ok(at(end, Some(partition.leader_epoch()))),
        EARLIEST | EARLIEST_LOCAL => {
            let start = reader.start_offset();
            Ok(at(start, reader.epochs().epoch_at(start).or(Some(partition.leader_epoch()))))
        }
        MAX_TIMESTAMP => reader.max_timestamp(end).map_err(|error| read_error(&error)),
        LATEST_TIERED => Ok(None),
        time if time >= 0 => reader.offset_for_time(Timestamp(time), end).map_err(|error| read_error(&error)),
        _ => Err(ErrorCode::InvalidRequest),
    }
}

fn read_error(error: &ReadError) -> ErrorCode {
    match error {
        ReadError::OutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        ReadError::Corrupt { .. } | ReadError::Records { .. } => ErrorCode::CorruptMessage,
        ReadError::Io { .. } => ErrorCode::KafkaStorageError,
    }
}
