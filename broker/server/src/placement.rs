//! Where the replicas of new partitions go: which brokers, and who of them is to lead.
//!
//! Brokers stand in a row in which racks alternate. Each partition is led by the next one of the row; its other replicas go on from
//! there, first to racks that have none of it yet. Once round the row they begin one further, so that the partitions of one leader do
//! not all have the same followers (Kafka's AdminUtils does it so).
//!
//! Must not know: who asks for partitions, what brokers are beside their ids and racks.

use std::collections::BTreeMap;

use cairn_protocol::ids::BrokerId;

/// A broker that takes new replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Site<'a> {
    pub(crate) broker: BrokerId,
    /// Brokers that do not say where they stand, stand together.
    pub(crate) rack: Option<&'a str>,
}

/// The replicas of `count` partitions, the preferred leader first, begun at `start`. No broker has a partition twice;
/// `replication_factor` is at least one and at most the number of brokers.
pub(crate) fn spread(sites: &[Site<'_>], count: usize, replication_factor: usize, start: usize) -> Vec<Vec<BrokerId>> {
    debug_assert!((1..=sites.len()).contains(&replication_factor), "checked by the caller");
    let row = alternate(sites);
    (0..count).map(|partition| one(&row, replication_factor, start + partition)).collect()
}

/// All of them, one of each rack in turn.
fn alternate<'a>(sites: &[Site<'a>]) -> Vec<Site<'a>> {
    let mut racks = BTreeMap::<Option<&str>, Vec<Site<'a>>>::new();
    for site in sites {
        racks.entry(site.rack).or_default().push(*site);
    }
    let most = racks.values().map(Vec::len).max().unwrap_or(0);
    (0..most).flat_map(|turn| racks.values().filter_map(move |rack| rack.get(turn)).copied()).collect()
}

fn one(row: &[Site<'_>], replication_factor: usize, number: usize) -> Vec<BrokerId> {
    let (leader, rounds) = (number % row.len(), number / row.len());
    let mut chosen = vec![row[leader]];
    // The others in the order in which they are asked: from behind the leader on, another beginning in each round.
    let others = row.len() - 1;
    let mut left: Vec<Site<'_>> =
        (0..others).map(|step| row[(leader + 1 + (step + rounds) % others) % row.len()]).collect();
    while chosen.len() < replication_factor {
        let replicas_in = |rack| chosen.iter().filter(|site| site.rack == rack).count();
        // Of those in the racks with the fewest replicas the first.
        let Some((at, _)) = left.iter().enumerate().min_by_key(|(_, site)| replicas_in(site.rack)) else { break };
        chosen.push(left.remove(at));
    }
    chosen.into_iter().map(|site| site.broker).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Brokers 1, 2 and so on, in these racks.
    fn sites<'a>(racks: &[&'a str]) -> Vec<Site<'a>> {
        let site = |(id, rack): (i32, &&'a str)| Site {
            broker: BrokerId(id),
            rack: Some(*rack).filter(|rack| !rack.is_empty()),
        };
        (1..).zip(racks).map(site).collect()
    }

    fn placed(racks: &[&str], count: usize, replication_factor: usize, start: usize) -> Vec<Vec<i32>> {
        let spread = spread(&sites(racks), count, replication_factor, start);
        spread.into_iter().map(|ids| ids.into_iter().map(|id| id.0).collect()).collect()
    }

    #[test]
    fn without_racks_replicas_go_round_and_shift_with_each_round() {
        assert_eq!(
            placed(&["", "", ""], 7, 2, 0),
            [[1, 2], [2, 3], [3, 1], [1, 3], [2, 1], [3, 2], [1, 2]],
            "each leader has every follower"
        );
        assert_eq!(placed(&[""], 2, 1, 5), [[1], [1]]);
    }

    #[test]
    fn replicas_are_in_as_many_racks_as_there_can_be() {
        let places = placed(&["a", "a", "b", "b", "c"], 4, 3, 0);
        assert_eq!(places, [[1, 3, 5], [3, 5, 2], [5, 2, 4], [2, 4, 5]]);
        // More replicas than racks: no rack has two more than another.
        assert_eq!(placed(&["a", "b", "a"], 1, 3, 0), [[1, 2, 3]]);
    }

    #[test]
    fn leaders_are_even_and_no_broker_has_a_partition_twice() {
        let all = ["a", "b", "", "b", "a", "c", "c"];
        for brokers in 1..=all.len() {
            let racks = &all[..brokers];
            let in_racks: BTreeSet<&str> = racks.iter().copied().collect();
            for factor in 1..=brokers {
                for start in 0..2 * brokers {
                    let places = placed(racks, 3 * brokers, factor, start);
                    for place in &places {
                        let ids: BTreeSet<i32> = place.iter().copied().collect();
                        assert_eq!((place.len(), ids.len()), (factor, factor), "{place:?}");
                        let used: BTreeSet<&str> =
                            ids.iter().map(|id| racks[usize::try_from(id - 1).expect("an id")]).collect();
                        assert_eq!(used.len(), factor.min(in_racks.len()), "{place:?} on {racks:?}");
                    }
                    for id in 1..=i32::try_from(brokers).expect("few") {
                        assert_eq!(places.iter().filter(|place| place[0] == id).count(), 3, "{id} of {places:?}");
                    }
                }
            }
        }
    }
}
