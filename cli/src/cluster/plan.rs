//! Which replicas go where, so that brokers keep and lead equally much. Pure: the same placement gives the same plan.
//!
//! Must not know: requests, sizes of logs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use cairn_client::{BrokerId, TopicPartition};

/// Where partitions are, and where they could be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Placement {
    /// The brokers that serve, with their racks.
    pub(super) brokers: BTreeMap<BrokerId, Option<Box<str>>>,
    /// Replicas, the preferred leader first.
    pub(super) partitions: BTreeMap<TopicPartition, Vec<BrokerId>>,
}

/// The new replicas of each partition that changes.
pub(super) type Plan = BTreeMap<TopicPartition, Vec<BrokerId>>;

/// There is nowhere for it to go.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{partition} has {replicas} replicas, and no other broker serves that could take the place of broker {broker}")]
pub(super) struct NoRoom {
    partition: TopicPartition,
    replicas: usize,
    broker: BrokerId,
}

/// Moves everything away from a broker, each replica to the broker that keeps least; if possible into a rack that the partition is not in.
pub(super) fn drain(placement: &Placement, leaving: BrokerId) -> Result<Plan, NoRoom> {
    let mut next = placement.clone();
    next.brokers.remove(&leaving);
    let (mut kept, mut led) = (next.kept(), next.led());
    for (partition, replicas) in &mut next.partitions {
        let Some(at) = replicas.iter().position(|id| *id == leaving) else { continue };
        let count = replicas.len();
        let stay: Vec<BrokerId> = replicas.iter().copied().filter(|id| *id != leaving).collect();
        let racks: BTreeSet<&str> = stay.iter().filter_map(|id| rack(&next.brokers, *id)).collect();
        let free = next.brokers.keys().copied().filter(|id| !stay.contains(id));
        let crowded = |id: BrokerId| rack(&next.brokers, id).is_some_and(|rack| racks.contains(rack));
        let to = free.min_by_key(|id| (crowded(*id), kept.get(id).copied().unwrap_or(0), *id));
        let to = to.ok_or_else(|| NoRoom { partition: partition.clone(), replicas: count, broker: leaving })?;
        replicas[at] = to;
        *kept.entry(to).or_default() += 1;
        if at == 0 {
            let leader = replicas.iter().copied().filter(|id| next.brokers.contains_key(id));
            let leader = leader.min_by_key(|id| led.get(id).copied().unwrap_or(0)).unwrap_or(to);
            *led.entry(leader).or_default() += 1;
            prefer(replicas, leader);
        }
    }
    Ok(changes(placement, &next))
}

/// Evens out how much each broker keeps, and then who is preferred as leader, with as few moves as that takes. No move puts a
/// partition into fewer racks than it is in.
pub(super) fn rebalance(placement: &Placement) -> Plan {
    let mut next = placement.clone();
    while next.move_one_replica() {}
    while next.move_one_leader() {}
    changes(placement, &next)
}

impl Placement {
    /// How many replicas each serving broker keeps.
    pub(super) fn kept(&self) -> BTreeMap<BrokerId, usize> {
        self.count(|replicas| replicas)
    }

    /// How many partitions each serving broker is preferred to lead.
    pub(super) fn led(&self) -> BTreeMap<BrokerId, usize> {
        self.count(|replicas| &replicas[..replicas.len().min(1)])
    }

    fn count(&self, of: impl Fn(&[BrokerId]) -> &[BrokerId]) -> BTreeMap<BrokerId, usize> {
        let mut counts: BTreeMap<BrokerId, usize> = self.brokers.keys().map(|id| (*id, 0)).collect();
        for id in self.partitions.values().flat_map(|replicas| of(replicas)) {
            if let Some(count) = counts.get_mut(id) {
                *count += 1;
            }
        }
        counts
    }

    /// Every move makes the spread smaller, so that there is an end to it.
    fn move_one_replica(&mut self) -> bool {
        let counts = self.kept();
        let pairs = |from: &(BrokerId, usize)| {
            let (from, most) = *from;
            let lighter = counts.iter().filter(move |(_, least)| most > **least + 1);
            lighter.map(move |(to, least)| (most - least, from, *to)).collect::<Vec<_>>()
        };
        let mut pairs: Vec<_> =
            counts.iter().map(|(id, count)| (*id, *count)).collect::<Vec<_>>().iter().flat_map(pairs).collect();
        // The widest gap first.
        pairs.sort_by_key(|(gap, from, to)| (std::cmp::Reverse(*gap), *from, *to));
        for (_, from, to) in pairs {
            let brokers = &self.brokers;
            let may_move = |replicas: &Vec<BrokerId>| {
                let moved: Vec<BrokerId> = replicas.iter().map(|id| if *id == from { to } else { *id }).collect();
                replicas.contains(&from)
                    && !replicas.contains(&to)
                    && racks(brokers, &moved) >= racks(brokers, replicas)
            };
            if let Some(replicas) = self.partitions.values_mut().find(|replicas| may_move(replicas)) {
                replicas.iter_mut().filter(|id| **id == from).for_each(|id| *id = to);
                return true;
            }
        }
        false
    }

    /// Hands leads on from a broker that leads most to one that leads at least two fewer, over others where it has to be.
    fn move_one_leader(&mut self) -> bool {
        let led = self.led();
        let mut heavy: Vec<(BrokerId, usize)> = led.iter().map(|(id, count)| (*id, *count)).collect();
        heavy.sort_by_key(|(id, count)| (std::cmp::Reverse(*count), *id));
        heavy.into_iter().any(|(from, most)| {
            let Some(path) = self.path(from, |to| led.get(&to).is_some_and(|least| least + 1 < most)) else {
                return false;
            };
            for (partition, to) in path {
                if let Some(replicas) = self.partitions.get_mut(&partition) {
                    prefer(replicas, to);
                }
            }
            true
        })
    }

    /// Partitions, and who is to lead each, on the shortest way from a broker to one that is wanted.
    fn path(&self, from: BrokerId, wanted: impl Fn(BrokerId) -> bool) -> Option<Vec<(TopicPartition, BrokerId)>> {
        let mut came = BTreeMap::<BrokerId, (BrokerId, TopicPartition)>::new();
        let mut queue = VecDeque::from([from]);
        while let Some(at) = queue.pop_front() {
            if at != from && wanted(at) {
                let mut path = Vec::new();
                let mut to = at;
                while let Some((before, partition)) = came.get(&to) {
                    path.push((partition.clone(), to));
                    to = *before;
                }
                return Some(path);
            }
            let led = self.partitions.iter().filter(|(_, replicas)| replicas.first() == Some(&at));
            for (partition, replicas) in led {
                for next in replicas.iter().skip(1).filter(|id| **id != from && self.brokers.contains_key(id)) {
                    came.entry(*next).or_insert_with(|| {
                        queue.push_back(*next);
                        (at, partition.clone())
                    });
                }
            }
        }
        None
    }
}

fn prefer(replicas: &mut [BrokerId], leader: BrokerId) {
    if let Some(at) = replicas.iter().position(|id| *id == leader) {
        replicas.swap(0, at);
    }
}

fn rack(brokers: &BTreeMap<BrokerId, Option<Box<str>>>, id: BrokerId) -> Option<&str> {
    brokers.get(&id)?.as_deref()
}

/// In how many racks.
fn racks(brokers: &BTreeMap<BrokerId, Option<Box<str>>>, replicas: &[BrokerId]) -> usize {
    replicas.iter().filter_map(|id| rack(brokers, *id)).collect::<BTreeSet<_>>().len()
}

fn changes(before: &Placement, after: &Placement) -> Plan {
    let changed =
        after.partitions.iter().filter(|(partition, replicas)| before.partitions.get(*partition) != Some(*replicas));
    changed.map(|(partition, replicas)| (partition.clone(), replicas.clone())).collect()
}

#[cfg(test)]
#[path = "plan/tests.rs"]
mod tests;
