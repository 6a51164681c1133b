//! A topic of the cluster's own that has fewer replicas than it should: it was made when there were fewer brokers.
//!
//! Must not know: which topic, how many replicas it should have.

use std::collections::BTreeMap;

use cairn_metadata::{Broker, Command, Image, Partition};
use cairn_protocol::ids::BrokerId;

use super::unled::is_serving;

/// What gives partitions of the topic further replicas, so that there are `wanted` of each; no more than `at_once` are under way.
pub(super) fn raised(image: &Image, topic: &str, wanted: usize, at_once: usize) -> Vec<Command> {
    let Some(topic) = image.topic_by_name(topic) else { return Vec::new() };
    let under_way = topic.partitions.iter().filter(|partition| partition.moving.is_some()).count();
    let mut load = load(image, &topic.partitions);
    let few =
        topic.partitions().filter(|(_, of)| of.replicas.len() < wanted && of.moving.is_none() && of.leader.is_some());
    let mut commands = Vec::new();
    for (partition, of) in few.take(at_once.saturating_sub(under_way)) {
        let to = widened(image, of, wanted, &mut load);
        if to.len() > of.replicas.len() {
            commands.push(Command::MovePartition { id: topic.id, partition, to: Some(to) });
        }
    }
    commands
}

/// How many replicas each broker keeps that could keep more.
fn load(image: &Image, partitions: &[Partition]) -> BTreeMap<BrokerId, usize> {
    let serving = image.brokers().filter(|broker| is_serving(image, broker.id));
    let keeps = |id: BrokerId| partitions.iter().filter(|partition| partition.replicas.contains(&id)).count();
    serving.map(|broker| (broker.id, keeps(broker.id))).collect()
}

/// The replicas of a partition, and behind them others: of racks that have the fewest of it, whoever keeps the fewest.
fn widened(image: &Image, partition: &Partition, wanted: usize, load: &mut BTreeMap<BrokerId, usize>) -> Vec<BrokerId> {
    let mut replicas = partition.replicas.clone();
    let rack = |id: BrokerId| image.broker(id).and_then(|broker: &Broker| broker.rack.as_deref());
    while replicas.len() < wanted {
        let in_rack_of = |id: BrokerId| replicas.iter().filter(|there| rack(**there) == rack(id)).count();
        let others = load.iter().filter(|(id, _)| !replicas.contains(id));
        let Some((next, _)) =
            others.min_by_key(|(id, keeps)| (in_rack_of(**id), **keeps)).map(|(id, keeps)| (*id, *keeps))
        else {
            break;
        };
        *load.entry(next).or_default() += 1;
        replicas.push(next);
    }
    replicas
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controller::tests::{Brokers, image_of};

    fn moves(commands: &[Command]) -> Vec<(i32, Vec<i32>)> {
        let of = |command: &Command| match command {
            Command::MovePartition { partition, to: Some(to), .. } => (partition.0, to.iter().map(|id| id.0).collect()),
            other => panic!("{other:?}"),
        };
        commands.iter().map(of).collect()
    }

    #[test]
    fn a_topic_from_before_there_were_others_is_spread_over_all() {
        let brokers = Brokers::serving(4);
        let image = image_of(&brokers, "t", &[&[1], &[1], &[1], &[1, 2, 3]]);
        assert_eq!(moves(&raised(&image, "t", 1, 8)), []);
        assert_eq!(moves(&raised(&image, "t", 3, 8)), [(0, vec![1, 4, 2]), (1, vec![1, 3, 4]), (2, vec![1, 2, 3])]);
        let some = raised(&image, "t", 3, 2);
        assert_eq!(moves(&some), [(0, vec![1, 4, 2]), (1, vec![1, 3, 4])]);
        let image = some.iter().fold(image, |image, command| brokers.apply(&image, command));
        assert_eq!(moves(&raised(&image, "t", 3, 2)), [], "two are under way");
        assert_eq!(moves(&raised(&image, "t", 3, 3)).len(), 1);
        assert_eq!(raised(&image, "other", 3, 3), []);
    }

    #[test]
    fn nobody_is_given_a_replica_who_is_away() {
        let brokers = Brokers::serving(3);
        let image = brokers.fence(&image_of(&brokers, "t", &[&[1]]), 3);
        assert_eq!(moves(&raised(&image, "t", 3, 8)), [(0, vec![1, 2])]);
        let image = brokers.fence(&image_of(&brokers, "t", &[&[3]]), 3);
        assert_eq!(raised(&image, "t", 3, 8), [], "nobody could give it to them");
    }
}
