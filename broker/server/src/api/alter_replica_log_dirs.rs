//! AlterReplicaLogDirs, versions 1 and 2: partitions move to other log dirs while they are served.
//!
//! - The answer comes when the moves are begun; DescribeLogDirs tells how far they are.
//! - A move to the dir where the partition is gives up the one that is under way; one to a third dir takes its place.
//! - A path that is none of `log.dirs` is LOG_DIR_NOT_FOUND; a dir that is offline, or a partition that is,
//!   KAFKA_STORAGE_ERROR; a dir that is cordoned, INVALID_REPLICA_ASSIGNMENT, also where the partition is in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::PartitionIndex;
use cairn_protocol::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use cairn_protocol::messages::{AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse};

use crate::blocking::on_blocking_thread;
use crate::dispatch::{Call, Outcome};
use crate::node::Node;

pub(super) fn handle(
    node: &Arc<Node>,
    _call: &Call,
    request: AlterReplicaLogDirsRequest,
) -> Outcome<AlterReplicaLogDirsResponse> {
    let node = Arc::clone(node);
    Outcome::alone(on_blocking_thread(move || answer(&node, &request)))
}

/// Topics by name, their partitions by index, each once: of several dirs for one the last counts.
fn answer(node: &Node, request: &AlterReplicaLogDirsRequest) -> AlterReplicaLogDirsResponse {
    let mut wanted = BTreeMap::<&str, BTreeMap<i32, &str>>::new();
    for dir in &request.dirs {
        for topic in &dir.topics {
            let partitions = wanted.entry(&topic.name).or_default();
            partitions.extend(topic.partitions.iter().map(|index| (*index, &*dir.path)));
        }
    }
    let one = |topic: &str, index: i32, path: &str| {
        let error = match node.partitions.move_to(topic, PartitionIndex(index), path) {
            Ok(()) => ErrorCode::None,
            Err(refused) => {
                tracing::warn!(topic, partition = index, path, %refused, "partition is not moved");
                refused.error_code()
            }
        };
        AlterReplicaLogDirPartitionResult { partition_index: index, error_code: error.code() }
    };
    let results = wanted.into_iter().map(|(topic, partitions)| AlterReplicaLogDirTopicResult {
        topic_name: topic.into(),
        partitions: partitions.into_iter().map(|(index, path)| one(topic, index, path)).collect(),
    });
    AlterReplicaLogDirsResponse { results: results.collect(), ..AlterReplicaLogDirsResponse::default() }
}
