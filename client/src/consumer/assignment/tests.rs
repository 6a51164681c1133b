//! Tests of what is fetched when.

use std::time::Duration;

use super::*;

const LEADER: BrokerId = BrokerId(1);

fn assignment() -> Assignment {
    Assignment::new(Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(1) })
}

fn led(_: &TopicPartition) -> Option<PartitionInfo> {
    Some(PartitionInfo { leader: Some(LEADER), epoch: Some(LeaderEpoch(3)) })
}

fn p(index: i32) -> TopicPartition {
    TopicPartition::new("t", index)
}

#[test]
fn a_place_is_found_then_fetched_once_at_a_time() {
    let (mut assignment, now) = (assignment(), Instant::now());
    assignment.assign([(p(0), StartAt::Beginning)]);
    let plan = assignment.plan(now, led, |_| Readiness::Free);
    assert!(plan.fetches.is_empty());
    assert_eq!(plan.lookups.len(), 1);
    assert!(assignment.plan(now, led, |_| Readiness::Free).lookups.is_empty(), "it is being looked up");

    assignment.on_found(&plan.lookups[0], Offset(7));
    let plan = assignment.plan(now, led, |_| Readiness::Free);
    let fetch = &plan.fetches[&LEADER][0];
    assert_eq!(fetch.what, FetchFrom { offset: Offset(7), leader_epoch: Some(LeaderEpoch(3)), from: From::Leader });
    assert!(assignment.plan(now, led, |_| Readiness::Free).fetches.is_empty(), "it is being fetched");
    assignment.on_fetched(fetch, Offset(20), None, Offset(30));
    assert_eq!(
        (assignment.position(&p(0)), assignment.lag(&p(0))),
        (Some(Offset(7)), Some(23)),
        "nothing is given yet"
    );
    assert_eq!(assignment.plan(now, led, |_| Readiness::Free).fetches[&LEADER][0].what.offset, Offset(20));
}

#[test]
fn a_seek_makes_what_is_under_way_stale() {
    let (mut assignment, now) = (assignment(), Instant::now());
    assignment.assign([(p(0), StartAt::Offset(Offset(5)))]);
    let plan = assignment.plan(now, led, |_| Readiness::Free);
    let old = &plan.fetches[&LEADER][0];
    old.progress.on_consumed(Offset(9));
    assert_eq!(assignment.position(&p(0)), Some(Offset(9)));
    assert!(assignment.seek(&p(0), StartAt::Offset(Offset(2))));
    assert!(!old.progress.is_current(old.round));
    assignment.on_fetched(old, Offset(100), None, Offset(100));
    assert_eq!(assignment.position(&p(0)), Some(Offset(2)), "the old answer changes nothing");
    assert!(!assignment.on_halt(old));
    assert!(assignment.consumed().is_empty());
    assert!(!assignment.seek(&p(1), StartAt::End));
}

#[test]
fn failures_wait_and_halts_stay() {
    let (mut assignment, now) = (assignment(), Instant::now());
    assignment.assign([(p(0), StartAt::Offset(Offset(0)))]);
    let plan = assignment.plan(now, led, |_| Readiness::Free);
    let want = &plan.fetches[&LEADER][0];
    assignment.on_retry(want, now);
    let waiting = assignment.plan(now, led, |_| Readiness::Free);
    let wake_at = waiting.wake_at.expect("waits");
    assert!(waiting.fetches.is_empty() && wake_at > now);
    assert_eq!(assignment.plan(wake_at, led, |_| Readiness::Free).fetches.len(), 1);
    assert!(assignment.on_halt(want));
    let plan = assignment.plan(wake_at + Duration::from_secs(9), led, |_| Readiness::Free);
    assert!(plan.fetches.is_empty() && plan.wake_at.is_none());
}

#[test]
fn every_partition_is_once_the_first() {
    let (mut assignment, now) = (assignment(), Instant::now());
    assignment.assign((0..3).map(|index| (p(index), StartAt::Offset(Offset(0)))));
    let mut first = HashSet::new();
    for _ in 0..3 {
        let plan = assignment.plan(now, led, |_| Readiness::Free);
        let wants = &plan.fetches[&LEADER];
        first.insert(wants[0].partition.clone());
        wants.iter().for_each(|want| assignment.on_put_off(want));
    }
    assert_eq!(first.len(), 3);
    let plan = assignment.plan(now, |_| None, |_| Readiness::Free);
    assert_eq!(plan.leaderless.len(), 1);
    assert!(assignment.plan(now, led, |_| Readiness::Busy).fetches.is_empty());
}

#[test]
fn a_pause_drops_what_was_fetched_ahead_and_keeps_what_was_consumed() {
    let (mut assignment, now) = (assignment(), Instant::now());
    assignment.assign([(p(0), StartAt::Offset(Offset(5)))]);
    let plan = assignment.plan(now, led, |_| Readiness::Free);
    let want = &plan.fetches[&LEADER][0];
    assignment.on_fetched(want, Offset(20), None, Offset(20));
    want.progress.on_consumed(Offset(9));
    assignment.pause(&[p(0), p(7)]);
    assert_eq!(assignment.paused(), [p(0)]);
    assert!(!want.progress.is_current(want.round));
    assert!(assignment.plan(now, led, |_| Readiness::Free).fetches.is_empty());
    assert_eq!(assignment.consumed(), [(p(0), Offset(9))]);
    assignment.resume(&[p(0)]);
    let again = assignment.plan(now, led, |_| Readiness::Free);
    assert_eq!(again.fetches[&LEADER][0].what.offset, Offset(9));
    assignment.on_fetched(want, Offset(100), None, Offset(100));
    assert_eq!(assignment.position(&p(0)), Some(Offset(9)), "the answer of before changes nothing");
}

#[test]
fn a_nearer_replica_is_read_until_it_fails_or_time_is_up() {
    let (mut assignment, now) = (assignment(), Instant::now());
    let nearer = BrokerId(2);
    assignment.assign([(p(0), StartAt::Offset(Offset(5)))]);
    let plan = assignment.plan(now, led, |_| Readiness::Free);
    let until = now + Duration::from_secs(60);
    assignment.on_nearer(&plan.fetches[&LEADER][0], nearer, until);
    let plan = assignment.plan(now, led, |_| Readiness::Free);
    let want = &plan.fetches[&nearer][0];
    assert_eq!((want.what.offset, want.what.from), (Offset(5), From::Nearer));
    assignment.on_put_off(want);
    let gone = |id| if id == nearer { Readiness::Unknown } else { Readiness::Free };
    let plan = assignment.plan(now, led, gone);
    let want = &plan.fetches[&LEADER][0];
    assignment.on_nearer(want, nearer, until);
    let late = assignment.plan(until, led, |_| Readiness::Free);
    let want = &late.fetches[&LEADER][0];
    assignment.on_nearer(want, nearer, until + Duration::from_secs(60));
    let plan = assignment.plan(until, led, |_| Readiness::Free);
    assignment.on_retry(&plan.fetches[&nearer][0], until);
    let plan = assignment.plan(until + Duration::from_secs(9), led, |_| Readiness::Free);
    assert_eq!(plan.fetches.keys().collect::<Vec<_>>(), [&LEADER], "what fails is not nearer any more");
}

/// KIP-320: a new leader is asked whether it has what was read, before anything is read from it.
#[test]
fn a_new_leader_is_asked_first() {
    let (mut assignment, now) = (assignment(), Instant::now());
    let led_in =
        |epoch| move |_: &TopicPartition| Some(PartitionInfo { leader: Some(LEADER), epoch: Some(LeaderEpoch(epoch)) });
    assignment.assign([(p(0), StartAt::Offset(Offset(5)))]);
    let fetch = |assignment: &mut Assignment, epoch| {
        let plan = assignment.plan(now, led_in(epoch), |_| Readiness::Free);
        assert!(plan.checks.is_empty());
        plan.fetches[&LEADER][0].clone()
    };
    let want = fetch(&mut assignment, 3);
    assignment.on_fetched(&want, Offset(20), Some(LeaderEpoch(2)), Offset(20));
    want.progress.on_consumed(Offset(10));
    let check = |assignment: &mut Assignment, epoch| {
        let plan = assignment.plan(now, led_in(epoch), |_| Readiness::Free);
        assert!(plan.fetches.is_empty());
        plan.checks[0].clone()
    };
    let holds = check(&mut assignment, 4);
    let wanted = Check { offset: Offset(20), epoch: LeaderEpoch(2), leader: LEADER, current: LeaderEpoch(4) };
    assert_eq!(holds.what, wanted);
    assignment.on_checked(&holds, Checked::Holds);
    let want = fetch(&mut assignment, 4);
    assert_eq!(want.what.offset, Offset(20));
    assignment.on_put_off(&want);

    let cut = check(&mut assignment, 5);
    assignment.on_checked(&cut, Checked::Cut(Some(Offset(15))));
    assert!(!want.progress.is_current(want.round), "what was fetched ahead is of the past");
    let want = fetch(&mut assignment, 5);
    assert_eq!((want.what.offset, assignment.position(&p(0))), (Offset(10), Some(Offset(10))));
    assignment.on_fetched(&want, Offset(15), Some(LeaderEpoch(2)), Offset(15));

    let cut = check(&mut assignment, 6);
    assignment.on_checked(&cut, Checked::Cut(Some(Offset(8))));
    assert_eq!(fetch(&mut assignment, 6).what.offset, Offset(8), "before what was consumed");
}
