//! Who leads a partition, and which of its replicas cannot be had: what Metadata and DescribeTopicPartitions tell alike.
//!
//! A partition whose log cannot be served here has no leader, as with Kafka when a log dir is lost.
//!
//! Must not know: requests.

use cairn_metadata::{Image, Partition};
use cairn_protocol::ids::{BrokerId, PartitionIndex, TopicId};

use crate::node::Node;

/// Who leads, and who is missing.
pub(super) struct Led {
    pub(super) leader: Option<BrokerId>,
    pub(super) offline: Vec<BrokerId>,
}

pub(super) fn led(node: &Node, image: &Image, topic: TopicId, (index, partition): (PartitionIndex, &Partition)) -> Led {
    let is_here = partition.replicas.contains(&node.id);
    let is_lost = is_here && node.partitions.is_offline(topic, index);
    let is_offline = |id: &BrokerId| match *id == node.id {
        true if is_lost => true,
        _ => image.broker(*id).is_none_or(|broker| broker.fenced),
    };
    Led {
        leader: partition.leader.filter(|leader| !(is_lost && *leader == node.id)),
        offline: partition.replicas.iter().copied().filter(is_offline).collect(),
    }
}
