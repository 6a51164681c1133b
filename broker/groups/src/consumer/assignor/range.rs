//! Ranges of each topic, member by member in the same order: where topics have as many partitions and members ask for the
//! same, partitions of one number go to one member.
//!
//! Must not know: what members had before. A static member stays where its instance id sorts.

use std::collections::BTreeMap;
use std::sync::Arc;

use cairn_protocol::ids::{PartitionIndex, TopicId};

use super::super::assignment::Partitions;
use super::Spec;

/// What is left of a topic.
struct Rest {
    next: i32,
    partitions: i32,
    /// How many members have not been given anything of it.
    members: i32,
}

pub(super) fn assign(spec: &Spec) -> BTreeMap<Arc<str>, Partitions> {
    let mut rests: BTreeMap<TopicId, Rest> = BTreeMap::new();
    for member in spec.members.values() {
        for topic in &*member.topics {
            let partitions = spec.topics[topic];
            rests.entry(*topic).or_insert(Rest { next: 0, partitions, members: 0 }).members += 1;
        }
    }
    // Static members first: they come back under the same instance id, and keep their place.
    let mut order: Vec<_> = spec.members.iter().collect();
    order.sort_by_key(|(id, member)| (member.instance.is_none(), member.instance.clone(), Arc::clone(id)));
    let mut assignment = BTreeMap::new();
    for (id, member) in order {
        let mut given = Partitions::new();
        for topic in &*member.topics {
            let rest = rests.get_mut(topic).expect("it was counted");
            let range = rest.take();
            if !range.is_empty() {
                given.insert(*topic, range.map(PartitionIndex).collect());
            }
        }
        assignment.insert(Arc::clone(id), given);
    }
    assignment
}

impl Rest {
    /// The next member's range: the first ones get one more where it does not come out even.
    fn take(&mut self) -> std::ops::Range<i32> {
        let left = self.partitions - self.next;
        let count = left / self.members + i32::from(left % self.members > 0);
        let start = self.next;
        self.next += count;
        self.members -= 1;
        start..self.next
    }
}
