//! Assignments that are worked out while nothing of the group is held, step by step.

use super::scenarios::{World, joining, of_a, quiet};
use super::*;
use crate::consumer::assignment::Partitions;
use crate::consumer::settings::{ASSIGN_AGAIN_MS, ASSIGNING_HEARTBEAT_MS, ASSIGNING_MAX_MS};
use crate::consumer::state::ConsumerGroupState::{Assigning as IsAssigning, Stable};
use crate::effects::Split;
use crate::settings::GroupSettings;

/// A group all of whose assignments take long.
fn slow_world() -> World {
    let consumer = ConsumerSettings { assignment_interval_ms: 0, inline_work_max: 0, ..ConsumerSettings::default() };
    World::with(GroupSettings { consumer, ..GroupSettings::default() })
}

/// The only assignment that is being worked out is there.
fn finish(world: &mut World) {
    assert_eq!(world.assigning.len(), 1);
    let assigned = world.assigning.remove(0).run();
    let effects = world.shard.on_assigned(assigned, world.now);
    world.carry_out(effects);
}

/// Two members that have what they are to have: the first two partitions, and the last two.
fn two_members(world: &mut World) {
    world.join("m1", &["a"]);
    finish(world);
    assert_eq!(world.beat("m1", 1, &[]).assignment, Some(of_a(&[0, 1, 2, 3])));
    world.join("m2", &["a"]);
    finish(world);
    world.settle(&mut [("m1", 2, of_a(&[0, 1, 2, 3])), ("m2", 2, Partitions::new())]);
}

#[test]
fn who_joins_has_nothing_until_it_is_worked_out() {
    let mut world = slow_world();
    let reply = world.join("m1", &["a"]);
    assert_eq!((reply.error, reply.epoch, reply.assignment), (ErrorCode::None, 1, Some(Partitions::new())));
    assert_eq!((reply.interval_ms, world.state()), (ASSIGNING_HEARTBEAT_MS, IsAssigning));
    // Others are heard meanwhile, and nobody begins it once more.
    let other = world.join("m2", &["a"]);
    assert_eq!((other.error, other.epoch, world.assigning.len()), (ErrorCode::None, 1, 1));
    assert_eq!(world.beat("m1", 1, &[]).assignment, None);
    world.check_reload();
    // It is of the group as it was: it is taken, and then decided anew, with the second member.
    finish(&mut world);
    assert_eq!((world.state(), world.assigning.len()), (IsAssigning, 0));
    let reply = world.beat("m1", 1, &[]);
    assert_eq!((reply.epoch, reply.assignment), (2, Some(of_a(&[0, 1, 2, 3]))));
    assert_eq!(world.beat("m2", 1, &[]).epoch, 2);
    finish(&mut world);
    world.settle(&mut [("m1", 2, of_a(&[0, 1, 2, 3])), ("m2", 2, Partitions::new())]);
    assert_eq!(world.beat("m1", 3, &[0, 1]).interval_ms, 5_000);
    world.check_reload();
}

#[test]
fn a_small_group_is_assigned_with_the_heartbeat() {
    let consumer = ConsumerSettings { assignment_interval_ms: 0, inline_work_max: 6, ..ConsumerSettings::default() };
    let mut world = World::with(GroupSettings { consumer, ..GroupSettings::default() });
    assert_eq!(world.join("m1", &["a"]).assignment, Some(of_a(&[0, 1, 2, 3])));
    assert_eq!(world.join("m2", &["a"]).epoch, 3, "two that ask for one topic of four partitions");
    assert!(world.assigning.is_empty());
    assert_eq!(world.join("m3", &["a"]).epoch, 3);
    assert_eq!(world.assigning.len(), 1);
}

#[test]
fn who_is_gone_meanwhile_gets_nothing_and_the_others_get_all() {
    let mut world = slow_world();
    two_members(&mut world);
    world.join("m3", &["a"]);
    world.heard(&ConsumerHeartbeat { epoch: -1, ..quiet("m2") });
    finish(&mut world);
    world.check_reload();
    assert!(world.shard.consumers["g"].core.target_of("m2").is_none());
    world.beat("m1", 3, &[0, 1]);
    finish(&mut world);
    world.settle(&mut [("m1", 3, of_a(&[0, 1])), ("m3", 3, Partitions::new())]);
    let members = world.shard.describe_consumer("g").expect("there").members;
    assert_eq!(
        members.iter().map(|member| member.assigned.values().next().map_or(0, |all| all.len())).sum::<usize>(),
        4
    );
}

#[test]
fn who_takes_the_place_of_a_static_member_meanwhile_gets_what_that_one_was_to_have() {
    let mut world = slow_world();
    world.heard(&ConsumerHeartbeat { instance: Some("i"), ..joining("m1", &["a"]) });
    finish(&mut world);
    world.join("m2", &["a"]);
    world.heard(&ConsumerHeartbeat { instance: Some("i"), epoch: -2, ..quiet("m1") });
    let back = world.heard(&ConsumerHeartbeat { instance: Some("i"), ..joining("m3", &["a"]) });
    assert_eq!((back.error, back.epoch), (ErrorCode::None, 2));
    finish(&mut world);
    world.check_reload();
    world.settle(&mut [("m2", 2, Partitions::new()), ("m3", 2, Partitions::new())]);
    let members = world.shard.describe_consumer("g").expect("there").members;
    assert_eq!(
        members.iter().map(|member| member.assigned.clone()).collect::<Vec<_>>(),
        [of_a(&[2, 3]), of_a(&[0, 1])]
    );
    assert!(world.assigning.is_empty(), "there is no newer epoch");
}

#[test]
fn what_was_worked_out_for_a_group_that_is_gone_is_not_for_another_of_its_name() {
    let mut world = slow_world();
    world.join("m1", &["a"]);
    let late = world.assigning.remove(0);
    world.heard(&ConsumerHeartbeat { epoch: -1, ..quiet("m1") });
    let records = world.shard.delete("g").expect("nobody is in it");
    world.append(records);
    world.join("m1", &["a"]);
    let written = world.log.len();
    let effects = world.shard.on_assigned(late.run(), world.now);
    assert!(effects.writes.is_empty() && effects.replies.is_empty());
    finish(&mut world);
    assert!(world.log.len() > written);
    assert_eq!(world.beat("m1", 1, &[]).assignment, Some(of_a(&[0, 1, 2, 3])));
}

#[test]
fn what_was_worked_out_from_what_could_not_be_written_is_not_taken() {
    let mut world = slow_world();
    world.join("m1", &["a"]);
    finish(&mut world);
    world.beat("m1", 1, &[]);
    let waiter = world.waiter();
    let mut effects = world.shard.consumer_heartbeat(&joining("m2", &["a"]), &Found::default(), waiter, world.now);
    let late = effects.assignments.remove(0);
    for write in effects.writes {
        let _ = world.shard.on_written(write.then, Err(ErrorCode::CoordinatorNotAvailable), world.now);
    }
    assert!(world.shard.on_assigned(late.run(), world.now).writes.is_empty());
    assert_eq!(world.state(), Stable, "nobody came");
}

#[test]
fn an_assignment_that_never_comes_is_begun_once_more() {
    let mut world = slow_world();
    world.join("m1", &["a"]);
    let lost = world.assigning.remove(0);
    for _ in 0..ASSIGNING_MAX_MS / 10_000 {
        world.beat("m1", 1, &[]);
        assert!(world.assigning.is_empty());
        world.pass(10_000);
    }
    world.beat("m1", 1, &[]);
    assert!(world.shard.on_assigned(lost.run(), world.now).writes.is_empty(), "it was given up");
    finish(&mut world);
    assert_eq!(world.beat("m1", 1, &[]).assignment, Some(of_a(&[0, 1, 2, 3])));
}

#[test]
fn an_assignment_that_the_log_refuses_is_begun_again_after_a_while() {
    let mut world = slow_world();
    world.join("m1", &["a"]);
    let assigned = world.assigning.remove(0).run();
    let effects = world.shard.on_assigned(assigned, world.now);
    for write in effects.writes {
        assert_eq!(write.split, Split::BetweenRecords);
        let _ = world.shard.on_written(write.then, Err(ErrorCode::UnknownServerError), world.now);
    }
    let reply = world.beat("m1", 1, &[]);
    assert_eq!((reply.error, reply.interval_ms, world.assigning.len()), (ErrorCode::None, ASSIGN_AGAIN_MS, 0));
    world.pass(u64::try_from(ASSIGN_AGAIN_MS).expect("positive"));
    world.beat("m1", 1, &[]);
    finish(&mut world);
    assert_eq!(world.beat("m1", 1, &[]).assignment, Some(of_a(&[0, 1, 2, 3])));
}

#[test]
fn an_assignment_that_fails_is_begun_again_after_a_while() {
    let mut world = slow_world();
    world.join("m1", &["a"]);
    let broken = world.assigning.remove(0);
    let failed = broken.failed();
    assert_eq!((failed.group(), world.shard.waits_for_assignment("g")), ("g", Some(5_000)));
    world.shard.on_not_assigned(&failed, world.now);
    assert_eq!(world.shard.waits_for_assignment("g"), None);
    let reply = world.beat("m1", 1, &[]);
    assert_eq!((reply.error, reply.interval_ms, world.assigning.len()), (ErrorCode::None, ASSIGN_AGAIN_MS, 0));
    assert!(world.shard.on_assigned(broken.run(), world.now).writes.is_empty(), "it was given up");
    world.pass(u64::try_from(ASSIGN_AGAIN_MS).expect("positive"));
    world.beat("m1", 1, &[]);
    // That the first one has failed says nothing about the second.
    world.shard.on_not_assigned(&failed, world.now);
    finish(&mut world);
    let reply = world.beat("m1", 1, &[]);
    assert_eq!((reply.interval_ms, reply.assignment), (5_000, Some(of_a(&[0, 1, 2, 3]))));
}

/// An assignment may be too large for one batch: what there is after each of its records is a group that goes on.
#[test]
fn an_assignment_that_is_cut_by_a_crash_is_worked_out_once_more() {
    for kept in 0..3 {
        let mut world = slow_world();
        two_members(&mut world);
        world.join("m3", &["a"]);
        let assigned = world.assigning.remove(0).run();
        let effects = world.shard.on_assigned(assigned, world.now);
        let [write] = &effects.writes[..] else { panic!("one write") };
        assert!(write.records.len() > 3 - 1, "targets, and their epoch");
        let part = write.records[..kept].to_vec();
        world.append(part);
        let settings = world.shard.settings;
        world.shard = world.reloaded();
        world.shard.settings = settings;
        world.tell_topics();
        let _ = world.shard.on_loaded(world.now);
        world.shard.consumers["g"].core.check();
        assert_eq!(world.state(), IsAssigning);
        world.beat("m1", 3, &[0, 1]);
        finish(&mut world);
        world.settle(&mut [("m1", 3, of_a(&[0, 1])), ("m2", 3, of_a(&[2, 3])), ("m3", 3, Partitions::new())]);
        world.check_reload();
    }
}

#[test]
fn who_cannot_be_written_because_it_is_too_large_is_told_so() {
    let mut world = World::new();
    let waiter = world.waiter();
    let effects = world.shard.consumer_heartbeat(&joining("m1", &["a"]), &Found::default(), waiter, world.now);
    let [write] = <[_; 1]>::try_from(effects.writes).expect("one write");
    let effects = world.shard.on_written(write.then, Err(ErrorCode::UnknownServerError), world.now);
    let [(_, Reply::Heartbeat(reply))] = &effects.replies[..] else { panic!("one answer") };
    assert_eq!(reply.error, ErrorCode::UnknownServerError);
    assert!(reply.message.as_ref().is_some_and(|message| message.contains("max.message.bytes")), "{reply:?}");
}
