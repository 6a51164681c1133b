//! Who reads which partitions: what the leader of a classic group decides for all.
//!
//! Each assignor gives every partition of a subscribed topic to at most one member. Must not know: coordinators, connections.

mod range;
mod round_robin;
mod sticky;
mod sticky_data;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::consumer_protocol::Subscription;
use crate::topic_partition::TopicPartition;

/// How the leader of a group divides partitions. All members of a group must have one in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Assignor {
    /// Topic by topic, neighbouring partitions to each member (Kafka's `range`). Everybody gives up all partitions at each
    /// rebalance.
    Range,
    /// All partitions of all topics in turn, one for each member (Kafka's `roundrobin`). Everybody gives up all partitions at each
    /// rebalance.
    RoundRobin,
    /// As even as it goes, and everybody gets back what it had, as far as that is even (Kafka's `sticky`). Everybody gives up all
    /// partitions at each rebalance.
    Sticky,
    /// As even as it goes, and everybody keeps what can be kept (Kafka's `cooperative-sticky`, KIP-429). Partitions that stay are
    /// read on during a rebalance, if no other assignor is offered.
    CooperativeSticky,
}

/// What the leader is told of one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) id: Box<str>,
    pub(super) instance: Option<Box<str>>,
    pub(super) subscription: Subscription,
}

/// How many partitions each topic has; a topic that is not there has none.
pub(super) type Counts = BTreeMap<Arc<str>, i32>;

impl Assignor {
    /// All that there are.
    pub const ALL: [Self; 4] = [Self::Range, Self::RoundRobin, Self::Sticky, Self::CooperativeSticky];

    /// Kafka's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Range => "range",
            Self::RoundRobin => "roundrobin",
            Self::Sticky => "sticky",
            Self::CooperativeSticky => "cooperative-sticky",
        }
    }

    /// Whether members may keep partitions while they join again.
    pub(super) fn is_cooperative(self) -> bool {
        self == Self::CooperativeSticky
    }

    /// What a member has to say to its like beside its topics, when it had these partitions in that generation.
    pub(super) fn user_data(self, had: &[TopicPartition], generation: i32) -> Option<Bytes> {
        match self {
            Self::Sticky => sticky_data::encode(had, generation),
            Self::Range | Self::RoundRobin | Self::CooperativeSticky => None,
        }
    }

    /// One list for each member, in their order.
    pub(super) fn assign(self, members: &[Candidate], counts: &Counts) -> Vec<Vec<TopicPartition>> {
        match self {
            Self::Range => range::assign(members, counts),
            Self::RoundRobin => round_robin::assign(members, counts),
            Self::Sticky => sticky::assign_at_once(members, counts),
            Self::CooperativeSticky => sticky::assign(members, counts),
        }
    }
}

/// The members in the order in which they are served: static ones by instance, then the others by id. It is the same at each
/// rebalance as long as the members are.
fn in_order(members: &[Candidate]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..members.len()).collect();
    order.sort_by_key(|index| {
        let member = &members[*index];
        (member.instance.is_none(), member.instance.clone(), member.id.clone())
    });
    order
}

/// All partitions of the topics that somebody wants, in order.
fn all_partitions(members: &[Candidate], counts: &Counts) -> Vec<TopicPartition> {
    let wanted = |topic: &Arc<str>| members.iter().any(|member| member.subscription.topics.contains(topic));
    let of_topic = |(topic, count): (&Arc<str>, &i32)| {
        let topic = Arc::clone(topic);
        (0..*count).map(move |index| TopicPartition::new(Arc::clone(&topic), index))
    };
    counts.iter().filter(|(topic, _)| wanted(topic)).flat_map(of_topic).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    pub(crate) fn p(topic: &str, index: i32) -> TopicPartition {
        TopicPartition::new(topic, index)
    }

    pub(super) fn member(id: &str, topics: &[&str], owned: &[TopicPartition], generation: i32) -> Candidate {
        let mut topics: Vec<Arc<str>> = topics.iter().map(|topic| Arc::from(*topic)).collect();
        topics.sort();
        let subscription = Subscription { topics, user_data: None, owned: owned.to_vec(), generation };
        Candidate { id: id.into(), instance: None, subscription }
    }

    pub(super) fn counts(of: &[(&str, i32)]) -> Counts {
        of.iter().map(|(topic, count)| (Arc::from(*topic), *count)).collect()
    }

    /// Everything has one owner, who wants it.
    pub(super) fn check(members: &[Candidate], counts: &Counts, assigned: &[Vec<TopicPartition>]) {
        assert_eq!(assigned.len(), members.len());
        let mut seen = HashSet::new();
        for (member, partitions) in members.iter().zip(assigned) {
            for partition in partitions {
                assert!(seen.insert(partition.clone()), "{partition} twice");
                assert!(member.subscription.topics.contains(&partition.topic), "{partition} is not wanted");
                assert!((0..counts[&partition.topic]).contains(&partition.partition.0), "{partition} is not there");
            }
        }
    }

    #[test]
    fn static_members_come_first_and_keep_their_place() {
        let mut members = [member("b", &["t"], &[], -1), member("a", &["t"], &[], -1), member("z", &["t"], &[], -1)];
        members[2].instance = Some("i".into());
        assert_eq!(in_order(&members), [2, 1, 0]);
    }

    proptest! {
        /// Whatever members claim: no partition has two owners, and where all is given up first, each has one.
        #[test]
        fn no_partition_has_two_owners(
            wants in proptest::collection::vec((0..8_u8, proptest::collection::vec((0..3_u8, -1..9_i32), 0..6), -1..3_i32), 1..6),
            sizes in proptest::collection::vec(0..7_i32, 3),
        ) {
            let names = ["a", "b", "c"];
            let counts: Counts = names.iter().zip(&sizes).map(|(name, size)| (Arc::from(*name), *size)).collect();
            let members: Vec<Candidate> = wants.iter().enumerate().map(|(index, (topics, owned, generation))| {
                let topics: Vec<&str> = (0..3).filter(|bit| topics & (1 << bit) != 0).map(|bit| names[bit]).collect();
                let owned: Vec<_> = owned.iter().map(|(topic, index)| p(names[usize::from(*topic)], *index)).collect();
                member(&format!("m{index}"), &topics, &owned, *generation)
            }).collect();
            for assignor in Assignor::ALL {
                let assigned = assignor.assign(&members, &counts);
                check(&members, &counts, &assigned);
                if assignor != Assignor::CooperativeSticky {
                    let all = all_partitions(&members, &counts);
                    prop_assert_eq!(assigned.iter().map(Vec::len).sum::<usize>(), all.len());
                }
            }
        }
    }
}
