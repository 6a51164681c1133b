//! Groups whose members go from one protocol to the other, step by step.

use bytes::Bytes;
use cairn_protocol::codec::Message;
use cairn_protocol::messages::consumer_protocol_assignment::TopicPartition;
use cairn_protocol::messages::consumer_protocol_subscription::TopicPartition as OwnedPartition;
use cairn_protocol::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};

use super::scenarios::{World, joining, of_a, quiet};
use super::*;
use crate::consumer::assignment::Partitions;
use crate::consumer::classic_bytes_for_tests::given_ids;
use crate::consumer::settings::MigrationPolicy;
use crate::consumer::state::ConsumerGroupState;
use crate::group::GroupState;
use crate::join::Join;
use crate::protocols::Protocol;
use crate::replies::JoinReply;
use crate::settings::GroupSettings;
use crate::sync::{Identity, Leaver, Sync};

/// What a consumer of the classic protocol says that wants `a` and owns these.
fn said(owned: &[i32]) -> Bytes {
    let owned = OwnedPartition { topic: "a".into(), partitions: owned.to_vec() };
    let said = ConsumerProtocolSubscription {
        topics: vec!["a".into()],
        owned_partitions: vec![owned],
        ..ConsumerProtocolSubscription::default()
    };
    said.to_prefixed_bytes(1, 1).expect("short")
}

fn assigned(partitions: &[i32]) -> Bytes {
    let topic = TopicPartition { topic: "a".into(), partitions: partitions.to_vec() };
    let assignment = ConsumerProtocolAssignment { assigned_partitions: vec![topic], user_data: None };
    assignment.to_prefixed_bytes(1, 1).expect("short")
}

fn classic_join(world: &mut World, member: &str, instance: Option<&str>, owned: &[i32]) -> JoinReply {
    let join = Join {
        version: 5,
        group: "g",
        member,
        instance,
        client_id: "old",
        client_host: "/127.0.0.1",
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 5_000,
        protocol_type: "consumer",
        protocols: vec![Protocol { name: "range".into(), metadata: said(owned) }],
        reason: None,
        unique: "new",
    };
    let waiter = world.waiter();
    let effects = world.shard.join(&join, waiter, world.now);
    world.carry_out(effects);
    for _ in 0..10 {
        match world.reply(waiter) {
            Some(Reply::Join(reply)) => return reply,
            Some(other) => panic!("{other:?} is no answer to a join"),
            // A classic group waits for others.
            None => world.pass(1_000),
        }
    }
    panic!("the group does not begin")
}

fn classic_sync(world: &mut World, member: &str, generation: i32, given: &[i32]) -> Result<Partitions, ErrorCode> {
    let sync = Sync {
        group: "g",
        by: Identity { member, instance: None, generation },
        protocol_type: Some("consumer"),
        protocol: Some("range"),
        assignments: vec![(member.into(), assigned(given))],
    };
    let waiter = world.waiter();
    let effects = world.shard.sync(&sync, waiter, world.now);
    world.carry_out(effects);
    match world.reply(waiter) {
        Some(Reply::Sync(reply)) if reply.error == ErrorCode::None => Ok(given_ids(&reply.assignment, &world.topics)),
        Some(Reply::Sync(reply)) => Err(reply.error),
        other => panic!("{other:?} is no answer to a sync"),
    }
}

fn classic_heartbeat(world: &mut World, member: &str, generation: i32) -> Result<(), ErrorCode> {
    world.shard.heartbeat("g", &Identity { member, instance: None, generation }, world.now)
}

/// A classic group of one member that has all of `a`; gives its id.
fn classic_group(world: &mut World) -> String {
    let id = classic_join(world, "", None, &[]).member.to_string();
    assert_eq!(classic_join(world, &id, None, &[]).generation, 1);
    assert_eq!(classic_sync(world, &id, 1, &[0, 1, 2, 3]), Ok(of_a(&[0, 1, 2, 3])));
    id
}

/// Somebody who reads of a rebalance sees what there was before it, whichever protocol that was of.
#[test]
fn a_rebalance_is_told_from_the_generation_that_there_was() {
    let mut world = World::new();
    let first = world.join("m1", &["a"]);
    let second = world.join("m2", &["a"]);
    assert_eq!(world.begun, [1, first.epoch]);
    assert_eq!(second.epoch, first.epoch + 1);

    let mut world = World::new();
    let old = classic_group(&mut world);
    assert_eq!(classic_join(&mut world, &old, None, &[]).generation, 2, "the leader wants to assign anew");
    assert_eq!(classic_sync(&mut world, &old, 2, &[0, 1, 2, 3]), Ok(of_a(&[0, 1, 2, 3])));
    world.begun.clear();
    assert_eq!((world.join("m1", &["a"]).epoch, &*world.begun), (3, &[2][..]));
}

#[test]
fn a_classic_group_is_a_consumer_group_with_the_first_member_that_speaks_it() {
    let mut world = World::new();
    let old = classic_group(&mut world);
    let new = world.join("m", &["a"]);
    assert_eq!((new.error, new.epoch, new.assignment), (ErrorCode::None, 2, Some(Partitions::new())));
    assert!(!world.shard.groups.contains_key("g"));
    world.check_reload();
    // The old one is told to join again, gives up, joins again, and has what is left.
    assert_eq!(classic_heartbeat(&mut world, &old, 1), Err(ErrorCode::RebalanceInProgress));
    assert_eq!(classic_sync(&mut world, &old, 1, &[]), Err(ErrorCode::RebalanceInProgress));
    assert_eq!(classic_join(&mut world, &old, None, &[0, 1, 2, 3]).generation, 1);
    assert_eq!(classic_sync(&mut world, &old, 1, &[]), Ok(of_a(&[0, 1])));
    assert_eq!(classic_heartbeat(&mut world, &old, 1), Err(ErrorCode::RebalanceInProgress), "it has to say so");
    assert_eq!(world.beat("m", 2, &[]).assignment, None, "it has not given up yet");
    let again = classic_join(&mut world, &old, None, &[0, 1]);
    assert_eq!((again.generation, again.protocol.as_deref()), (2, Some("range")));
    assert_eq!(classic_sync(&mut world, &old, 2, &[]), Ok(of_a(&[0, 1])));
    assert_eq!(classic_heartbeat(&mut world, &old, 2), Ok(()));
    assert_eq!(classic_heartbeat(&mut world, &old, 1), Err(ErrorCode::IllegalGeneration));
    assert_eq!(world.beat("m", 2, &[]).assignment, Some(of_a(&[2, 3])));
    assert_eq!(world.state(), ConsumerGroupState::Stable);
    world.check_reload();
    // A heartbeat of the one protocol is none of the other.
    assert_eq!(classic_heartbeat(&mut world, "m", 2), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn with_the_last_of_those_it_is_a_classic_group_again() {
    let mut world = World::new();
    let old = classic_group(&mut world);
    world.join("m", &["a"]);
    let epoch = world.shard.describe_consumer("g").expect("there").epoch;
    world.heard(&ConsumerHeartbeat { epoch: -1, ..quiet("m") });
    assert!(world.shard.consumers.is_empty());
    let described = world.shard.describe("g").expect("a classic group");
    assert_eq!((described.state, described.generation), (GroupState::PreparingRebalance, epoch + 1));
    let again = world.reloaded();
    assert!(again.consumers.is_empty() && again.groups.contains_key("g"));
    let joined = classic_join(&mut world, &old, None, &[]);
    assert_eq!((joined.generation, joined.leader.as_deref()), (epoch + 2, Some(&*old)));
    assert_eq!(classic_sync(&mut world, &old, epoch + 2, &[0, 1, 2, 3]), Ok(of_a(&[0, 1, 2, 3])));
}

#[test]
fn a_classic_member_joins_a_consumer_group_and_leaves_it() {
    let mut world = World::new();
    world.join("m", &["a"]);
    let given = classic_join(&mut world, "", None, &[]);
    assert_eq!(given.error, ErrorCode::MemberIdRequired);
    let joined = classic_join(&mut world, &given.member, None, &[]);
    assert_eq!((joined.error, joined.generation), (ErrorCode::None, 3));
    assert_eq!(classic_sync(&mut world, &joined.member, 3, &[]), Ok(Partitions::new()));
    assert_eq!(classic_heartbeat(&mut world, &joined.member, 3), Ok(()), "it waits for another");
    world.beat("m", 2, &[0, 1, 2, 3]);
    world.beat("m", 2, &[0, 1]);
    assert_eq!(classic_heartbeat(&mut world, &joined.member, 3), Err(ErrorCode::RebalanceInProgress), "it is free");
    let leaver = |member| Leaver { member, instance: None, reason: None };
    let (results, effects) = world.shard.leave("g", &[leaver(&joined.member), leaver("m"), leaver("x")], world.now);
    world.carry_out(effects);
    assert_eq!(results, [Ok(()), Err(ErrorCode::UnknownMemberId), Err(ErrorCode::UnknownMemberId)]);
    assert_eq!(world.beat("m", 3, &[0, 1]).assignment, Some(of_a(&[0, 1, 2, 3])));
    world.check_reload();
}

#[test]
fn who_does_not_join_or_ask_in_time_is_gone() {
    let mut world = World::new();
    let old = classic_group(&mut world);
    world.join("m", &["a"]);
    assert_eq!(classic_heartbeat(&mut world, &old, 1), Err(ErrorCode::RebalanceInProgress));
    world.pass(4_000);
    assert_eq!(classic_heartbeat(&mut world, &old, 1), Err(ErrorCode::RebalanceInProgress));
    world.pass(1_000);
    assert_eq!(classic_heartbeat(&mut world, &old, 1), Err(ErrorCode::UnknownMemberId));
    let id = classic_join(&mut world, "", None, &[]).member;
    let joined = classic_join(&mut world, &id, None, &[]);
    world.pass(5_000);
    assert_eq!(classic_sync(&mut world, &id, joined.generation, &[]), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn a_static_member_goes_from_one_protocol_to_the_other() {
    let mut world = World::new();
    world.heard(&ConsumerHeartbeat { instance: Some("i"), ..joining("m1", &["a"]) });
    // The last one that speaks the new protocol comes back with the old one: the group is classic with it.
    let joined = classic_join(&mut world, "", Some("i"), &[]);
    assert_eq!(joined.error, ErrorCode::None);
    assert!(world.shard.consumers.is_empty());
    let described = world.shard.describe("g").expect("a classic group");
    assert_eq!(
        (described.state, described.generation),
        (GroupState::Stable, joined.generation),
        "nobody has to assign"
    );
    assert_eq!(described.members[0].instance.as_deref(), Some("i"));
    assert_eq!(classic_sync(&mut world, &joined.member, joined.generation, &[]), Ok(of_a(&[0, 1, 2, 3])));
    assert_eq!(classic_heartbeat(&mut world, &joined.member, joined.generation), Ok(()));
    let again = world.reloaded();
    assert_eq!(again.describe("g"), world.shard.describe("g"));
    // It has to be heard of from then on.
    world.pass(60_000);
    assert_eq!(classic_heartbeat(&mut world, &joined.member, joined.generation), Err(ErrorCode::UnknownMemberId));
}

/// Where somebody has to give up something still, or asks for something else, the members of the classic group assign anew.
#[test]
fn a_group_that_is_not_settled_rebalances_when_it_becomes_classic() {
    let mut world = World::new();
    world.heard(&ConsumerHeartbeat { instance: Some("i"), ..joining("m1", &["a"]) });
    let id = classic_join(&mut world, "", None, &[]).member;
    assert_eq!(classic_join(&mut world, &id, None, &[]).error, ErrorCode::None);
    let joined = classic_join(&mut world, "", Some("i"), &[0, 1, 2, 3]);
    assert_eq!(joined.error, ErrorCode::None);
    assert_eq!(world.shard.describe("g").expect("a classic group").state, GroupState::PreparingRebalance);
    let mut world = World::new();
    world.heard(&ConsumerHeartbeat { instance: Some("i"), ..joining("m1", &["b"]) });
    classic_join(&mut world, "", Some("i"), &[]);
    assert_eq!(world.shard.describe("g").expect("a classic group").state, GroupState::PreparingRebalance);
}

#[test]
fn the_policy_decides_which_way_groups_may_go() {
    let with = |migration| {
        let consumer = ConsumerSettings { migration, assignment_interval_ms: 0, ..ConsumerSettings::default() };
        World::with(GroupSettings { consumer, ..GroupSettings::default() })
    };
    for (policy, up, down) in [
        (MigrationPolicy::Bidirectional, true, true),
        (MigrationPolicy::Upgrade, true, false),
        (MigrationPolicy::Downgrade, false, true),
        (MigrationPolicy::Disabled, false, false),
    ] {
        assert_eq!(MigrationPolicy::of(&policy.name().to_uppercase()), Some(policy));
        let mut world = with(policy);
        classic_group(&mut world);
        let reply = world.join("m", &["a"]);
        assert_eq!(reply.error == ErrorCode::None, up, "{policy:?}");
        if !up {
            assert_eq!(reply.error, ErrorCode::GroupIdNotFound);
            assert_eq!(world.shard.describe("g").expect("as before").state, GroupState::Stable);
        }
        let mut world = with(policy);
        world.join("m", &["a"]);
        let id = classic_join(&mut world, "", None, &[]).member;
        classic_join(&mut world, &id, None, &[]);
        world.heard(&ConsumerHeartbeat { epoch: -1, ..quiet("m") });
        assert_eq!(world.shard.groups.contains_key("g"), down, "{policy:?}");
        assert_eq!(world.shard.consumers.contains_key("g"), !down, "{policy:?}");
    }
}

#[test]
fn a_group_without_members_is_of_the_protocol_that_the_next_one_speaks() {
    let mut world = World::new();
    world.join("m", &["a"]);
    world.heard(&ConsumerHeartbeat { epoch: -1, ..quiet("m") });
    let id = classic_group(&mut world);
    assert!(world.shard.consumers.is_empty());
    world.check_reload();
    let leaver = Leaver { member: &id, instance: None, reason: None };
    let (_, effects) = world.shard.leave("g", &[leaver], world.now);
    world.carry_out(effects);
    assert_eq!(world.join("m", &["a"]).assignment, Some(of_a(&[0, 1, 2, 3])));
    assert!(world.shard.groups.is_empty());
    world.check_reload();
}
