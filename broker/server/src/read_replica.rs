//! Which replica a consumer shall read a partition from (KIP-392).
//!
//! Must not know: requests, what is read.

use cairn_protocol::ids::{BrokerId, Offset};

use crate::config::ReplicaSelector;
use crate::node::Node;
use crate::partitions::Partition;

/// The follower in the consumer's own rack that a leader sends it to, as Kafka's `RackAwareReplicaSelector` does: one in sync that has what
/// begins at the offset, and of several the one that has most. None where the leader stands there itself, or nobody does.
pub(crate) fn in_rack(node: &Node, partition: &Partition, rack: &str, offset: Offset) -> Option<BrokerId> {
    if !is_by_rack(node) || rack.is_empty() || !partition.leads() {
        return None;
    }
    let image = node.image();
    let stands_there = |id: BrokerId| {
        let broker = image.broker(id).filter(|broker| !broker.fenced && !broker.shutting_down);
        broker.is_some_and(|broker| broker.rack.as_deref() == Some(rack))
    };
    if stands_there(node.id) {
        return None;
    }
    let there = partition.in_sync_from(offset).into_iter().filter(|(id, _)| stands_there(*id));
    there.max_by_key(|(_, matched)| *matched).map(|(id, _)| id)
}

fn is_by_rack(node: &Node) -> bool {
    node.config.start().replica_selector == Some(ReplicaSelector::RackAware)
}
