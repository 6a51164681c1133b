//! DescribeLogDirs, versions 1 to 5: the log dirs, how full their disks are, and the size of each partition in them.
//!
//! - All partitions, or those that are asked for; what is not here, or cannot be served, is left out.
//! - A dir that is offline is told with KAFKA_STORAGE_ERROR and without partitions.
//! - A partition that moves is told in both dirs: in the new one as a future log, with how far it is behind.
//! - Version 5 tells which dirs are cordoned.

use std::collections::BTreeMap;
use std::sync::Arc;

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::PartitionIndex;
use cairn_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use cairn_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use cairn_protocol::messages::{DescribeLogDirsRequest, DescribeLogDirsResponse};

use crate::blocking::on_blocking_thread;
use crate::dispatch::{Call, Outcome};
use crate::node::Node;
use crate::partitions::{DirAt, DirLook, FutureLog, Partition};

pub(super) fn handle(node: &Arc<Node>, _call: &Call, request: DescribeLogDirsRequest) -> Outcome<DescribeLogDirsResponse> {
    let node = Arc::clone(node);
    Outcome::alone(on_blocking_thread(move || {
        let mut by_dir = BTreeMap::<DirAt, Vec<Arc<Partition>>>::new();
        let wanted = request.topics.as_deref();
        for partition in wanted.map_or_else(|| node.partitions.all(), |wanted| named(&node, wanted)) {
            by_dir.entry(partition.log_dir()).or_default().push(partition);
        }
        let mut futures = node.partitions.future_logs();
        if let Some(wanted) = wanted {
            futures.retain(|future| is_wanted(wanted, future));
        }
        let looks = node.partitions.look_at_dirs();
        let results = looks.into_iter().map(|look| {
            let partitions = by_dir.remove(&look.at).unwrap_or_default();
            let of_dir: Vec<_> = futures.iter().filter(|future| future.dir == look.at).collect();
            describe(look, partitions, &of_dir)
        });
        DescribeLogDirsResponse { results: results.collect(), ..DescribeLogDirsResponse::default() }
    }))
}

fn describe(
    look: DirLook,
    partitions: Vec<Arc<Partition>>,
    futures: &[&FutureLog],
) -> DescribeLogDirsResult {
    let log_dir = look.path.to_string_lossy().into();
    let result =
        DescribeLogDirsResult { log_dir, is_cordoned: look.is_cordoned, ..DescribeLogDirsResult::default() };
    let space = match look.space {
        Ok(space) => space,
        Err(why) => {
            tracing::warn!(path = %look.path.display(), why = &*why, "log dir is told as failed");
            let error = ErrorCode::KafkaStorageError;
            return DescribeLogDirsResult { error_code: error.code(), ..result };
        }
    };
    let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    DescribeLogDirsResult {
        topics: topics(partitions, futures),
        total_bytes: bytes(space.total_bytes),
        usable_bytes: bytes(space.free_bytes),
        ..result
    }
}

fn named(node: &Node, wanted: &[DescribableLogDirTopic]) -> Vec<Arc<Partition>> {
    let of_topic = |topic: &DescribableLogDirTopic| -> Vec<Arc<Partition>> {
        let here = |index: &i32| node.partitions.kept_by_name(&topic.topic, PartitionIndex(*index)).ok();
        topic.partitions.iter().filter_map(here).collect()
    };
    wanted.iter().flat_map(of_topic).collect()
}

fn is_wanted(wanted: &[DescribableLogDirTopic], future: &FutureLog) -> bool {
    wanted.iter().any(|topic| *topic.topic == *future.topic && topic.partitions.contains(&future.index.0))
}

/// Topics by name, their partitions by index, each once; and copies that are to take the place of logs in other dirs.
fn topics(partitions: Vec<Arc<Partition>>, futures: &[&FutureLog]) -> Vec<DescribeLogDirsTopic> {
    let size = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    let mut by_topic = BTreeMap::<Arc<str>, BTreeMap<i32, DescribeLogDirsPartition>>::new();
    for partition in partitions {
        let told = DescribeLogDirsPartition {
            partition_index: partition.index.0,
            partition_size: size(partition.reader().size_bytes()),
            ..DescribeLogDirsPartition::default()
        };
        by_topic.entry(Arc::clone(&partition.topic)).or_default().insert(partition.index.0, told);
    }
    for future in futures {
        let told = DescribeLogDirsPartition {
            partition_index: future.index.0,
            partition_size: size(future.size_bytes),
            offset_lag: future.lag,
            is_future_key: true,
        };
        by_topic.entry(Arc::clone(&future.topic)).or_default().insert(future.index.0, told);
    }
    let topic = |(name, partitions): (Arc<str>, BTreeMap<i32, DescribeLogDirsPartition>)| DescribeLogDirsTopic {
        name: (*name).into(),
        partitions: partitions.into_values().collect(),
    };
    by_topic.into_iter().map(topic).collect()
}
