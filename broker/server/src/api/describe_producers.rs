//! DescribeProducers, version 0: the idempotent producers that partitions remember (KIP-664).
//!
//! - Each with its newest epoch, its last sequence and the time of its last batch, sorted by id. There are no transactions yet, so
//!   none is open.
//! - What is named more than once is answered once; a topic, as it stands first.
//! - Producers that wrote nothing for `producer.id.expiration.ms` are forgotten, and not told.

use std::sync::Arc;

use cairn_metadata::names;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::PartitionIndex;
use cairn_protocol::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use cairn_protocol::messages::{DescribeProducersRequest, DescribeProducersResponse};
use cairn_storage::log;

use super::once::once;
use crate::dispatch::{Call, Outcome};
use crate::node::Node;

pub(super) fn handle(
    node: &Arc<Node>,
    _call: &Call,
    request: DescribeProducersRequest,
) -> Outcome<DescribeProducersResponse> {
    let topics = once(request.topics, |topic| topic.name.clone()).into_iter().map(|topic| {
        let indexes = once(topic.partition_indexes, |index| *index);
        let partitions = indexes.iter().map(|index| describe(node, &topic.name, *index)).collect();
        TopicResponse { name: topic.name, partitions }
    });
    Outcome::Now(DescribeProducersResponse { topics: topics.collect(), ..DescribeProducersResponse::default() })
}

fn describe(node: &Node, topic: &str, partition_index: i32) -> PartitionResponse {
    match producers(node, topic, PartitionIndex(partition_index)) {
        Ok(active_producers) => PartitionResponse { partition_index, active_producers, ..PartitionResponse::default() },
        Err(error) => PartitionResponse { partition_index, error_code: error.code(), ..PartitionResponse::default() },
    }
}

fn producers(node: &Node, topic: &str, index: PartitionIndex) -> Result<Vec<ProducerState>, ErrorCode> {
    names::check_topic_name(topic).map_err(|_| ErrorCode::InvalidTopicException)?;
    let partition = node.partitions.by_name(topic, index).map_err(|not_here| not_here.error_code())?;
    let mut producers = partition.producers().ok_or(ErrorCode::UnknownTopicOrPartition)?;
    producers.sort_unstable_by_key(|producer| producer.id.0);
    Ok(producers.iter().map(show).collect())
}

fn show(producer: &log::ProducerState) -> ProducerState {
    ProducerState {
        producer_id: producer.id.0,
        producer_epoch: producer.epoch.0.into(),
        last_sequence: producer.batches.last().map_or(-1, |batch| batch.last_sequence),
        last_timestamp: producer.last_timestamp.0,
        coordinator_epoch: producer.coordinator_epoch,
        current_txn_start_offset: producer.transaction_start.map_or(-1, |start| start.0),
    }
}
