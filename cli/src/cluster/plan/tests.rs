//! Plans for placements that are drawn as lists of replicas.

use super::*;

fn placement(brokers: &[i32], partitions: &[&[i32]]) -> Placement {
    let of = |(index, replicas): (i32, &&[i32])| {
        (TopicPartition::new("t", index), replicas.iter().copied().map(BrokerId).collect())
    };
    Placement {
        brokers: brokers.iter().map(|id| (BrokerId(*id), None)).collect(),
        partitions: (0..).zip(partitions).map(of).collect(),
    }
}

fn with_racks(mut placement: Placement, racks: &[(i32, &str)]) -> Placement {
    for (id, rack) in racks {
        placement.brokers.insert(BrokerId(*id), Some((*rack).into()));
    }
    placement
}

fn apply(placement: &Placement, plan: &Plan) -> Placement {
    let mut next = placement.clone();
    next.partitions.extend(plan.clone());
    next
}

fn spread(counts: &BTreeMap<BrokerId, usize>) -> usize {
    counts.values().max().copied().unwrap_or(0) - counts.values().min().copied().unwrap_or(0)
}

fn is_sound(before: &Placement, after: &Placement) {
    for (partition, replicas) in &after.partitions {
        let distinct: BTreeSet<_> = replicas.iter().collect();
        assert_eq!(distinct.len(), replicas.len(), "{partition}: {replicas:?}");
        assert_eq!(replicas.len(), before.partitions[partition].len(), "{partition}");
    }
}

#[test]
fn a_drained_broker_keeps_nothing_and_the_others_keep_equally_much() {
    let all: &[&[i32]] = &[&[1, 2], &[2, 3], &[3, 4], &[4, 1], &[1, 3], &[2, 4], &[4, 3], &[3, 1]];
    let before = placement(&[1, 2, 3, 4], all);
    let plan = drain(&before, BrokerId(4)).expect("there is room");
    let mut after = apply(&before, &plan);
    after.brokers.remove(&BrokerId(4));
    is_sound(&before, &after);
    assert!(after.partitions.values().all(|replicas| !replicas.contains(&BrokerId(4))));
    assert!(spread(&after.kept()) <= 1, "{:?}", after.kept());
    assert!(spread(&after.led()) <= 1, "{:?}", after.led());
    assert!(
        plan.keys().all(|partition| before.partitions[partition].contains(&BrokerId(4))),
        "only what it kept moves"
    );
}

#[test]
fn nothing_is_drained_where_too_few_are_left() {
    let error = drain(&placement(&[1, 2, 3], &[&[1, 2, 3]]), BrokerId(3)).expect_err("no room");
    assert!(error.to_string().contains("t-0 has 3 replicas"), "{error}");
}

#[test]
fn a_drain_prefers_a_rack_that_the_partition_is_not_in() {
    let before = placement(&[1, 2, 3, 4], &[&[1, 4], &[2, 3], &[2, 3]]);
    let before = with_racks(before, &[(1, "a"), (2, "b"), (3, "a"), (4, "b")]);
    let plan = drain(&before, BrokerId(4)).expect("there is room");
    // Broker 3 keeps as much as broker 2, and is in the rack of broker 1.
    assert_eq!(plan[&TopicPartition::new("t", 0)], [BrokerId(1), BrokerId(2)]);
}

#[test]
fn a_new_broker_gets_its_share_of_replicas_and_leaders() {
    let all: &[&[i32]] = &[&[1, 2], &[2, 1], &[1, 2], &[2, 1], &[1, 2], &[2, 1]];
    let before = placement(&[1, 2, 3], all);
    let after = apply(&before, &rebalance(&before));
    is_sound(&before, &after);
    assert_eq!(after.kept().into_values().collect::<Vec<_>>(), [4, 4, 4]);
    assert_eq!(after.led().into_values().collect::<Vec<_>>(), [2, 2, 2]);
}

#[test]
fn what_is_even_stays() {
    assert_eq!(rebalance(&placement(&[1, 2, 3], &[&[1, 2, 3], &[2, 3, 1], &[3, 1, 2]])), Plan::new());
    assert_eq!(rebalance(&placement(&[], &[])), Plan::new());
}

#[test]
fn leaders_are_handed_on_over_others() {
    // Broker 1 leads two, 2 leads one and 3 none; 1 shares nothing with 3.
    let before = placement(&[1, 2, 3], &[&[1, 2], &[1, 2], &[2, 3], &[3, 3]]);
    let mut before = before;
    before.partitions.remove(&TopicPartition::new("t", 3));
    let mut next = before.clone();
    assert!(next.move_one_leader());
    assert_eq!(next.led().into_values().collect::<Vec<_>>(), [1, 1, 1]);
    assert!(!next.move_one_leader());
}

#[test]
fn a_rebalance_leaves_partitions_in_as_many_racks() {
    let before = placement(&[1, 2, 3], &[&[1, 2], &[1, 2], &[1, 2], &[1, 2]]);
    let before = with_racks(before, &[(1, "a"), (2, "b"), (3, "b")]);
    let after = apply(&before, &rebalance(&before));
    assert!(after.partitions.values().all(|replicas| racks(&after.brokers, replicas) == 2), "{after:?}");
    assert_eq!(after.kept().into_values().collect::<Vec<_>>(), [4, 2, 2]);
}

#[test]
fn a_broker_that_does_not_serve_gets_nothing_and_keeps_what_it_has() {
    let before = placement(&[1, 2], &[&[1, 9], &[1, 9], &[1, 9], &[1, 9]]);
    let after = apply(&before, &rebalance(&before));
    assert!(after.partitions.values().all(|replicas| replicas.contains(&BrokerId(9))), "{after:?}");
    assert_eq!(after.kept().into_values().collect::<Vec<_>>(), [2, 2]);
}
