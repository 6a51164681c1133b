//! Kafka's `cooperative-sticky` and `sticky`: everybody keeps what can be kept, and the rest is spread evenly. With the first, what is
//! to move from one member to another is given to nobody until the one has let it go (KIP-429); with the other, all have let go of
//! all before.
//!
//! Must not know: when members join again; they do once they have let something go.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use super::{Candidate, Counts, all_partitions, in_order, sticky_data};
use crate::topic_partition::TopicPartition;

pub(super) fn assign(members: &[Candidate], counts: &Counts) -> Vec<Vec<TopicPartition>> {
    let owners = owners(members);
    let stays = |reader: usize, partition: &TopicPartition| match owners.get(partition) {
        Some(Some(owner)) => *owner == reader,
        // Two claim it with equal right, so neither has it; or nobody does.
        Some(None) | None => true,
    };
    let kept = |(reader, partitions): (usize, BTreeSet<TopicPartition>)| {
        partitions.into_iter().filter(|partition| stays(reader, partition)).collect()
    };
    spread(members, counts, &owners).into_iter().enumerate().map(kept).collect()
}

/// What members had is in what they say to their like.
pub(super) fn assign_at_once(members: &[Candidate], counts: &Counts) -> Vec<Vec<TopicPartition>> {
    let mut members = members.to_vec();
    for member in &mut members {
        let had = member.subscription.user_data.as_deref().and_then(sticky_data::decode);
        (member.subscription.owned, member.subscription.generation) = had.unwrap_or((Vec::new(), -1));
    }
    let spread = spread(&members, counts, &owners(&members));
    spread.into_iter().map(|partitions| partitions.into_iter().collect()).collect()
}

/// Who is to have what in the end, in the members' order.
fn spread(members: &[Candidate], counts: &Counts, owners: &Owners) -> Vec<BTreeSet<TopicPartition>> {
    let mut plan = Spread { members, order: in_order(members), of: vec![BTreeSet::new(); members.len()] };
    let mut free = Vec::new();
    for partition in all_partitions(members, counts) {
        match owners.get(&partition) {
            Some(Some(owner)) if plan.wants(*owner, &partition) => {
                plan.of[*owner].insert(partition);
            }
            _ => free.push(partition),
        }
    }
    for partition in free {
        if let Some(reader) = plan.least_loaded(&partition) {
            plan.of[reader].insert(partition);
        }
    }
    plan.even_out();
    plan.of
}

/// Who has each partition; nobody where two claim it with equal right.
type Owners = HashMap<TopicPartition, Option<usize>>;

/// Who has each partition: the claim of the newest generation counts, and two of them are none.
fn owners(members: &[Candidate]) -> Owners {
    let mut claims: HashMap<TopicPartition, (i32, Option<usize>)> = HashMap::new();
    for (index, member) in members.iter().enumerate() {
        let generation = member.subscription.generation;
        for partition in &member.subscription.owned {
            let claim = claims.entry(partition.clone()).or_insert((generation, Some(index)));
            if claim.0 < generation {
                *claim = (generation, Some(index));
            } else if claim.0 == generation && claim.1 != Some(index) {
                claim.1 = None;
            }
        }
    }
    claims.into_iter().map(|(partition, (_, owner))| (partition, owner)).collect()
}

struct Spread<'a> {
    members: &'a [Candidate],
    order: Vec<usize>,
    of: Vec<BTreeSet<TopicPartition>>,
}

impl Spread<'_> {
    fn wants(&self, member: usize, partition: &TopicPartition) -> bool {
        self.members[member].subscription.topics.binary_search(&partition.topic).is_ok()
    }

    /// The member with the fewest partitions of those who want this one; the first of equals.
    fn least_loaded(&self, partition: &TopicPartition) -> Option<usize> {
        let readers = self.order.iter().filter(|member| self.wants(**member, partition));
        readers.min_by_key(|member| self.of[**member].len()).copied()
    }

    /// Moves partitions from who has many to who has two or more fewer, until nobody has. Each move makes the sum of the squares
    /// smaller, so it ends.
    fn even_out(&mut self) {
        loop {
            let mut by_load = self.order.clone();
            by_load.sort_by_key(|member| Reverse(self.of[*member].len()));
            let is_moved = by_load.into_iter().any(|from| self.give_away(from));
            if !is_moved {
                return;
            }
        }
    }

    /// Gives one partition of this member to somebody who has much less. Gives whether there was one.
    fn give_away(&mut self, from: usize) -> bool {
        let load = self.of[from].len();
        // The last ones first, so that the first ones stay where they are.
        let found = self.of[from].iter().rev().find_map(|partition| {
            let to = self.least_loaded(partition).filter(|to| self.of[*to].len() + 1 < load)?;
            Some((partition.clone(), to))
        });
        let Some((partition, to)) = found else { return false };
        self.of[from].remove(&partition);
        self.of[to].insert(partition);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{check, counts, member, p};
    use super::*;

    /// Rebalances until nobody has to let anything go, as members do. Gives how many it took.
    fn settle(members: &mut [Candidate], counts: &Counts) -> usize {
        for round in 1..20 {
            let assigned = assign(members, counts);
            check(members, counts, &assigned);
            let mut is_settled = true;
            for (member, assigned) in members.iter_mut().zip(assigned) {
                is_settled &= member.subscription.owned.iter().all(|owned| assigned.contains(owned));
                member.subscription.owned = assigned;
                member.subscription.generation = i32::try_from(round).expect("few");
            }
            if is_settled {
                return round;
            }
        }
        panic!("it never settles");
    }

    fn loads(members: &[Candidate]) -> Vec<usize> {
        members.iter().map(|member| member.subscription.owned.len()).collect()
    }

    #[test]
    fn a_newcomer_gets_its_share_in_two_rounds_and_nothing_else_moves() {
        let counts = counts(&[("t", 6)]);
        let mut members = vec![member("a", &["t"], &[], -1), member("b", &["t"], &[], -1)];
        assert_eq!(settle(&mut members, &counts), 1);
        let before: Vec<_> = members.iter().map(|member| member.subscription.owned.clone()).collect();
        members.push(member("c", &["t"], &[], -1));
        assert_eq!(settle(&mut members, &counts), 2, "one to let go, one to take");
        assert_eq!(loads(&members), [2, 2, 2]);
        for (member, before) in members.iter().zip(before) {
            assert!(member.subscription.owned.iter().all(|kept| before.contains(kept)));
        }
    }

    #[test]
    fn who_stays_keeps_all_and_takes_over_from_who_leaves() {
        let counts = counts(&[("t", 6), ("u", 3)]);
        let mut members = vec![member("a", &["t", "u"], &[], -1), member("b", &["t", "u"], &[], -1)];
        members.push(member("c", &["t", "u"], &[], -1));
        settle(&mut members, &counts);
        let before = members[0].subscription.owned.clone();
        members.remove(1);
        settle(&mut members, &counts);
        assert!(before.iter().all(|kept| members[0].subscription.owned.contains(kept)));
        let mut loads = loads(&members);
        loads.sort_unstable();
        assert_eq!(loads, [4, 5]);
    }

    #[test]
    fn who_wants_less_does_not_hold_up_the_others() {
        let counts = counts(&[("t", 4), ("u", 2)]);
        let mut members = vec![member("a", &["t", "u"], &[], -1), member("b", &["u"], &[], -1)];
        settle(&mut members, &counts);
        assert_eq!(loads(&members), [4, 2], "only a wants t");
    }

    #[test]
    fn the_newer_claim_wins_and_equal_ones_cancel() {
        let counts = counts(&[("t", 2)]);
        let stale = member("a", &["t"], &[p("t", 0), p("t", 1)], 3);
        let newer = member("b", &["t"], &[p("t", 0)], 4);
        let assigned = assign(&[stale.clone(), newer], &counts);
        assert_eq!(assigned, [vec![p("t", 1)], vec![p("t", 0)]]);
        let equal = member("b", &["t"], &[p("t", 0), p("t", 1)], 3);
        assert_eq!(assign(&[stale, equal], &counts).iter().map(Vec::len).sum::<usize>(), 2, "both are given anew");
    }

    #[test]
    fn all_is_given_at_once_where_all_was_given_up() {
        let counts = counts(&[("t", 6)]);
        let had = |id: &str, indexes: &[i32], generation| {
            let mut member = member(id, &["t"], &[], -1);
            let partitions: Vec<_> = indexes.iter().map(|index| p("t", *index)).collect();
            member.subscription.user_data = sticky_data::encode(&partitions, generation);
            member
        };
        let mut newcomer = member("c", &["t"], &[], -1);
        newcomer.subscription.user_data = Some(bytes::Bytes::from_static(b"nonsense"));
        let members = [had("a", &[0, 2, 4], 3), had("b", &[1, 3, 5], 3), newcomer];
        let assigned = assign_at_once(&members, &counts);
        check(&members, &counts, &assigned);
        assert_eq!(assigned.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 2]);
        assert!(assigned[0].iter().all(|it| it.partition.0 % 2 == 0), "{assigned:?}");
        assert!(assigned[1].iter().all(|it| it.partition.0 % 2 == 1), "{assigned:?}");
    }
}
