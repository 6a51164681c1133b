//! Kafka's `roundrobin`: all partitions of all topics in turn, each to the next member that wants its topic.
//!
//! Must not know: who had what before.

use super::{Candidate, Counts, all_partitions, in_order};
use crate::topic_partition::TopicPartition;

pub(super) fn assign(members: &[Candidate], counts: &Counts) -> Vec<Vec<TopicPartition>> {
    let mut assigned = vec![Vec::new(); members.len()];
    let mut turn = in_order(members).into_iter().cycle();
    for partition in all_partitions(members, counts) {
        // Somebody wants it, so that one round finds a reader.
        let reader = turn.find(|member| members[*member].subscription.topics.contains(&partition.topic));
        if let Some(reader) = reader {
            assigned[reader].push(partition);
        }
    }
    assigned
}

#[cfg(test)]
mod tests {
    use super::super::tests::{counts, member, p};
    use super::*;

    /// The example of Kafka's own documentation of RoundRobinAssignor.
    #[test]
    fn turns_are_as_kafkas() {
        let members = [
            member("c2", &["t0", "t1", "t2"], &[], -1),
            member("c0", &["t0"], &[], -1),
            member("c1", &["t0", "t1"], &[], -1),
        ];
        let assigned = assign(&members, &counts(&[("t0", 1), ("t1", 2), ("t2", 3), ("unwanted", 2)]));
        assert_eq!(assigned[1], [p("t0", 0)]);
        assert_eq!(assigned[2], [p("t1", 0)]);
        assert_eq!(assigned[0], [p("t1", 1), p("t2", 0), p("t2", 1), p("t2", 2)]);
    }
}
