//! Kafka's `range`: each topic by itself is cut into as many runs as it has readers, the first ones longer by one.
//!
//! Must not know: who had what before.

use super::{Candidate, Counts, in_order};
use crate::topic_partition::TopicPartition;

pub(super) fn assign(members: &[Candidate], counts: &Counts) -> Vec<Vec<TopicPartition>> {
    let mut assigned = vec![Vec::new(); members.len()];
    let order = in_order(members);
    for (topic, count) in counts {
        let wants = |index: &&usize| members[**index].subscription.topics.contains(topic);
        let readers: Vec<usize> = order.iter().filter(wants).copied().collect();
        let Some(share) = usize::try_from(*count).unwrap_or(0).checked_div(readers.len()) else { continue };
        let longer = usize::try_from(*count).unwrap_or(0) % readers.len();
        let mut partitions = (0..*count).map(|index| TopicPartition::new(topic.clone(), index));
        for (place, reader) in readers.into_iter().enumerate() {
            assigned[reader].extend(partitions.by_ref().take(share + usize::from(place < longer)));
        }
    }
    assigned
}

#[cfg(test)]
mod tests {
    use super::super::tests::{counts, member, p};
    use super::*;

    #[test]
    fn runs_are_as_kafkas() {
        let members = [member("b", &["t", "u"], &[], -1), member("a", &["t"], &[], -1), member("c", &["u"], &[], -1)];
        let assigned = assign(&members, &counts(&[("t", 3), ("u", 2), ("unwanted", 5)]));
        assert_eq!(assigned[0], [p("t", 2), p("u", 0)]);
        assert_eq!(assigned[1], [p("t", 0), p("t", 1)]);
        assert_eq!(assigned[2], [p("u", 1)]);
    }

    #[test]
    fn more_members_than_partitions() {
        let members = [member("a", &["t"], &[], -1), member("b", &["t"], &[], -1), member("c", &["t"], &[], -1)];
        let lengths: Vec<usize> = assign(&members, &counts(&[("t", 2)])).iter().map(Vec::len).collect();
        assert_eq!(lengths, [1, 1, 0]);
        assert!(assign(&members, &counts(&[("t", 0)])).iter().all(Vec::is_empty));
    }
}
