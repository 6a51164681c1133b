//! OffsetForLeaderEpoch, versions 2 to 4: where a leader's epoch ends (KIP-320), so that a client finds out whether what it has
//! read was cut away.
//!
//! - The largest known epoch that is not above the one asked for, and its end; -1 for both where none is known.
//! - The end is the log's, committed or not, as in Kafka: a new leader does not know at once what was committed, and a client that
//!   is told of an end before where it has read believes that records were lost, and begins anew.

use std::sync::Arc;
use std::time::Instant;

use cairn_protocol::ApiKey;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::{LeaderEpoch, PartitionIndex};
use cairn_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use cairn_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use cairn_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use crate::dispatch::{Call, Outcome};
use crate::node::Node;

pub(super) fn handle(
    node: &Arc<Node>,
    _call: &Call,
    request: OffsetForLeaderEpochRequest,
) -> Outcome<OffsetForLeaderEpochResponse> {
    let begun = Instant::now();
    let topic = |OffsetForLeaderTopic { topic, partitions }: OffsetForLeaderTopic| {
        let partitions = partitions.into_iter().map(|asked| partition(node, &topic, &asked)).collect();
        OffsetForLeaderTopicResult { topic, partitions }
    };
    let topics = request.topics.into_iter().map(topic).collect();
    node.metrics.in_storage(ApiKey::OffsetForLeaderEpoch, begun.elapsed());
    Outcome::Now(OffsetForLeaderEpochResponse { topics, ..OffsetForLeaderEpochResponse::default() })
}

fn partition(node: &Node, topic: &str, asked: &OffsetForLeaderPartition) -> EpochEndOffset {
    let found = node.partitions.by_name(topic, PartitionIndex(asked.partition));
    let found = found.map_err(|not_here| not_here.error_code()).and_then(|partition| {
        partition.check_epoch(asked.current_leader_epoch)?;
        let (epoch, reader) = (LeaderEpoch(asked.leader_epoch), partition.reader());
        if epoch == partition.leader_epoch() {
            return Ok(Some((epoch, reader.end_offset())));
        }
        Ok(reader.end_for_epoch(epoch).map(|end| (end.epoch, end.end)))
    });
    let answer = EpochEndOffset { partition: asked.partition, ..EpochEndOffset::default() };
    match found {
        Ok(None) => answer,
        Ok(Some((epoch, end))) => EpochEndOffset { leader_epoch: epoch.0, end_offset: end.0, ..answer },
        Err(error) => EpochEndOffset { error_code: ErrorCode::code(error), ..answer },
    }
}
