//! What consumer groups make durable, and what may be committed in them.

use cairn_protocol::ids::{Offset, PartitionIndex, Timestamp, TopicId};

use super::scenarios::{World, joining, of_a, quiet};
use super::*;
use crate::commit::{Commit, CommitError, GroupCommit, PartitionCommit};
use crate::consumer::assignment::Partitions;
use crate::consumer::state::ConsumerGroupState::{Empty, Stable};

#[test]
fn nothing_is_told_before_it_is_durable() {
    let mut world = World::new();
    world.held = Some(Vec::new());
    let first = world.send(&joining("m1", &["a"]));
    assert_eq!(world.reply(first), None);
    // The client has given up, and asks again: it must not hear of what may be lost.
    let second = world.send(&joining("m1", &["a"]));
    assert_eq!(world.reply(second), None);
    for then in world.held.take().expect("held") {
        world.finish(then, Ok(()));
    }
    for waiter in [first, second] {
        assert!(matches!(world.reply(waiter), Some(Reply::Heartbeat(reply)) if reply.epoch == 2));
    }
}

#[test]
fn what_is_not_written_has_not_happened() {
    let mut world = World::new();
    let waiter = world.waiter();
    let effects = world.shard.consumer_heartbeat(&joining("m1", &["a"]), &Found::default(), waiter, world.now);
    for write in effects.writes {
        let effects = world.shard.on_written(write.then, Err(ErrorCode::CoordinatorNotAvailable), world.now);
        assert!(
            matches!(&effects.replies[..], [(_, Reply::Heartbeat(reply))] if reply.error == ErrorCode::CoordinatorNotAvailable)
        );
    }
    assert!(world.shard.consumers.is_empty());
    // A member whose end could not be written is looked for again.
    world.join("m1", &["a"]);
    world.now.ticks.0 += 45_000;
    let effects = world.shard.on_time(world.now);
    for write in effects.writes {
        let _ = world.shard.on_written(write.then, Err(ErrorCode::CoordinatorNotAvailable), world.now);
    }
    assert_eq!(world.state(), Stable);
    world.pass(45_000);
    assert_eq!(world.state(), Empty);
}

fn commit(world: &mut World, member: &str, epoch: i32, partition: i32, version: i16) -> Result<(), CommitError> {
    let by = GroupCommit {
        group: "g",
        generation: epoch,
        member,
        instance: None,
        retention_ms: -1,
        unknown_group: CommitError::GroupIdNotFound,
        version,
    };
    let partition = PartitionCommit {
        topic: "a",
        topic_id: TopicId::ZERO,
        partition: PartitionIndex(partition),
        offset: Offset(1),
        leader_epoch: -1,
        metadata: "",
    };
    let outcome = world.shard.commit(&Commit { by, partitions: &[partition] }, world.now);
    world.append(outcome.records);
    world.shard.on_committed(Offset(i64::try_from(world.log.len()).expect("short")));
    outcome.results[0]
}

#[test]
fn commits_need_an_epoch_in_which_the_partition_was_the_members() {
    let mut world = World::new();
    world.join("m1", &["a"]);
    assert_eq!(commit(&mut world, "m1", 2, 0, 9), Ok(()));
    assert_eq!(commit(&mut world, "m1", 2, 0, 8), Err(CommitError::UnsupportedVersion));
    assert_eq!(commit(&mut world, "m1", 3, 0, 9), Err(CommitError::StaleMemberEpoch));
    assert_eq!(commit(&mut world, "m2", 2, 0, 9), Err(CommitError::UnknownMemberId));
    assert_eq!(commit(&mut world, "", -1, 0, 9), Err(CommitError::UnknownMemberId));
    world.join("m2", &["a"]);
    world.settle(&mut [("m1", 2, of_a(&[0, 1, 2, 3])), ("m2", 3, Partitions::new())]);
    // It has had the one since, and has given up the other.
    assert_eq!(commit(&mut world, "m1", 2, 0, 9), Ok(()));
    assert_eq!(commit(&mut world, "m1", 2, 3, 9), Err(CommitError::StaleMemberEpoch));
    assert_eq!(commit(&mut world, "m2", 2, 3, 9), Err(CommitError::StaleMemberEpoch), "it got it in epoch 3");
    assert_eq!(commit(&mut world, "m2", 3, 3, 9), Ok(()));
    assert_eq!(world.shard.check_fetch("g", Some("m1"), 3), Ok(()));
    assert_eq!(world.shard.check_fetch("g", Some("m1"), 2), Err(ErrorCode::StaleMemberEpoch));
    assert_eq!(world.shard.check_fetch("g", Some("m9"), 2), Err(ErrorCode::UnknownMemberId));
    assert_eq!(world.shard.check_fetch("g", None, -1), Ok(()));
    // Members read it, so its offsets stay; nobody reads the other.
    let refused = world.shard.delete_offsets("g", &[("a", PartitionIndex(0)), ("b", PartitionIndex(0))]);
    assert_eq!(refused.expect("known").results, [Err(ErrorCode::GroupSubscribedToTopic), Ok(())]);
    assert_eq!(world.shard.delete("g"), Err(ErrorCode::NonEmptyGroup));
    assert!(world.shard.expire(Timestamp(i64::MAX), 0).is_empty());
    for member in ["m1", "m2"] {
        world.heard(&ConsumerHeartbeat { epoch: -1, ..quiet(member) });
    }
    assert_eq!(commit(&mut world, "", -1, 0, 9), Ok(()), "nobody is in it");
    assert!(world.shard.describe("g").is_none(), "it is not a classic group");
    let records = world.shard.expire(Timestamp(i64::MAX), 0);
    world.append(records);
    world.shard.on_committed(Offset(i64::MAX));
    assert_eq!(world.shard.describe_consumer("g"), Err(ErrorCode::GroupIdNotFound));
    assert_eq!(world.shard.list().count(), 0);
}
