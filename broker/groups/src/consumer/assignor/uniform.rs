//! Everybody gets equally many partitions, as far as what members ask for allows, and as few as possible change hands.
//!
//! ```text
//!   keep        what a member was to have and may have still
//!   hand out    what nobody has, to those who have least
//!   balance     from who has most to who has least, until no single partition can be moved that makes it more even
//! ```
//! Where all ask for the same, the first two steps are enough: who has more than its share gives up no more than that.
//!
//! Must not know: racks; Kafka's does not look at them either since 4.0.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cairn_protocol::ids::{PartitionIndex, TopicId};

use super::super::assignment::Partitions;
use super::Spec;

/// How often all topics are looked at for something to move. Each move makes loads more even, so that it ends by itself;
/// this bounds the time that a group of many odd subscriptions may take.
const PASSES_MAX: usize = 64;

pub(super) fn assign(spec: &Spec) -> BTreeMap<Arc<str>, Partitions> {
    let mut work = Work::new(spec);
    work.keep();
    if work.is_homogeneous() {
        work.give_up_surplus();
        work.hand_out();
    } else {
        work.hand_out();
        work.balance();
    }
    work.finish()
}

/// Members are numbered as they sort; so everything that has to be chosen is chosen in the same way every time.
struct Work<'a> {
    spec: &'a Spec,
    ids: Vec<&'a Arc<str>>,
    /// How many partitions each member has.
    loads: Vec<usize>,
    topics: BTreeMap<TopicId, Topic>,
}

/// A topic that somebody asks for.
struct Topic {
    subscribers: Vec<usize>,
    /// Who has each partition.
    owners: Vec<Option<usize>>,
}

impl<'a> Work<'a> {
    fn new(spec: &'a Spec) -> Self {
        let count = |partitions: i32| usize::try_from(partitions).unwrap_or(0);
        let mut topics: BTreeMap<TopicId, Topic> = BTreeMap::new();
        for (at, member) in spec.members.values().enumerate() {
            for topic in &*member.topics {
                let fresh = || Topic { subscribers: Vec::new(), owners: vec![None; count(spec.topics[topic])] };
                topics.entry(*topic).or_insert_with(fresh).subscribers.push(at);
            }
        }
        Self { spec, ids: spec.members.keys().collect(), loads: vec![0; spec.members.len()], topics }
    }

    fn is_homogeneous(&self) -> bool {
        self.topics.values().all(|topic| topic.subscribers.len() == self.ids.len())
    }

    /// Leaves with each member what it was to have, where it asks for that still and the partition is there.
    fn keep(&mut self) {
        for (at, member) in self.spec.members.values().enumerate() {
            for (id, partitions) in member.before.iter().filter(|(id, _)| member.topics.contains(id)) {
                let Some(topic) = self.topics.get_mut(id) else { continue };
                for partition in partitions {
                    let owner = usize::try_from(partition.0).ok().and_then(|index| topic.owners.get_mut(index));
                    if let Some(owner @ None) = owner {
                        *owner = Some(at);
                        self.loads[at] += 1;
                    }
                }
            }
        }
    }

    /// Takes from each what is more than its share. Those who have more already get the larger shares.
    fn give_up_surplus(&mut self) {
        let all: usize = self.topics.values().map(|topic| topic.owners.len()).sum();
        let members = self.ids.len().max(1);
        let (share, larger) = (all / members, all % members);
        let mut order: Vec<usize> = (0..self.loads.len()).collect();
        order.sort_by_key(|at| (std::cmp::Reverse(self.loads[*at]), *at));
        let mut shares = vec![share; self.loads.len()];
        for at in order.into_iter().take(larger) {
            shares[at] += 1;
        }
        for topic in self.topics.values_mut() {
            for owner in topic.owners.iter_mut().rev() {
                if let Some(at) = *owner
                    && self.loads[at] > shares[at]
                {
                    self.loads[at] -= 1;
                    *owner = None;
                }
            }
        }
    }

    /// Topics with many partitions for each of their subscribers first: those have the least choice.
    fn order_of_topics(&self) -> Vec<TopicId> {
        let mut order: Vec<TopicId> = self.topics.keys().copied().collect();
        let numbers = |id: &TopicId| (self.topics[id].owners.len() as u64, self.topics[id].subscribers.len() as u64);
        order.sort_by(|one, other| {
            let ((partitions, subscribers), (others, other_subscribers)) = (numbers(one), numbers(other));
            let by_ratio = (others * subscribers).cmp(&(partitions * other_subscribers));
            by_ratio.then(subscribers.cmp(&other_subscribers)).then(one.cmp(other))
        });
        order
    }

    /// Gives what nobody has to those who have least.
    fn hand_out(&mut self) {
        for id in self.order_of_topics() {
            let topic = self.topics.get_mut(&id).expect("listed");
            if topic.owners.iter().all(Option::is_some) {
                continue;
            }
            let mut by_load: BTreeSet<(usize, usize)> =
                topic.subscribers.iter().map(|at| (self.loads[*at], *at)).collect();
            for owner in topic.owners.iter_mut().filter(|owner| owner.is_none()) {
                let (load, at) = by_load.pop_first().expect("a topic has a subscriber");
                *owner = Some(at);
                self.loads[at] = load + 1;
                by_load.insert((load + 1, at));
            }
        }
    }

    fn balance(&mut self) {
        let order = self.order_of_topics();
        for _ in 0..PASSES_MAX {
            let moved: usize = order.iter().map(|id| self.balance_topic(*id)).sum();
            if moved == 0 {
                return;
            }
        }
    }

    /// Moves partitions of one topic from those who have most to those who have least; gives how many.
    fn balance_topic(&mut self, id: TopicId) -> usize {
        let topic = self.topics.get_mut(&id).expect("listed");
        let mut owned: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (partition, owner) in topic.owners.iter().enumerate() {
            owned.entry(owner.expect("all are handed out")).or_default().push(partition);
        }
        let mut takers: BTreeSet<(usize, usize)> = topic.subscribers.iter().map(|at| (self.loads[*at], *at)).collect();
        let mut givers: BTreeSet<(usize, usize)> = owned.keys().map(|at| (self.loads[*at], *at)).collect();
        let mut moved = 0;
        while let (Some(&(most, from)), Some(&(least, to))) = (givers.last(), takers.first()) {
            if most <= least + 1 {
                break;
            }
            let partition = owned.get_mut(&from).and_then(Vec::pop).expect("a giver has some");
            topic.owners[partition] = Some(to);
            owned.entry(to).or_default().push(partition);
            (self.loads[from], self.loads[to]) = (most - 1, least + 1);
            takers.remove(&(most, from));
            takers.remove(&(least, to));
            takers.extend([(most - 1, from), (least + 1, to)]);
            givers.remove(&(most, from));
            givers.remove(&(least, to));
            givers.insert((least + 1, to));
            if !owned[&from].is_empty() {
                givers.insert((most - 1, from));
            }
            moved += 1;
        }
        moved
    }

    fn finish(self) -> BTreeMap<Arc<str>, Partitions> {
        let mut given: Vec<Partitions> = vec![Partitions::new(); self.ids.len()];
        for (id, topic) in self.topics {
            for (index, owner) in (0..).zip(topic.owners) {
                if let Some(at) = owner {
                    given[at].entry(id).or_default().insert(PartitionIndex(index));
                }
            }
        }
        self.ids.into_iter().cloned().zip(given).collect()
    }
}
