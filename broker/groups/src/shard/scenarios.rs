//! What groups do, one rule at a time.

use super::*;
use crate::commit::{CommitError, GroupCommit, PartitionCommit};
use crate::effects::{Next, Write};
use crate::join::Join;
use crate::protocols::Protocol;
use crate::replies::{JoinReply, Reply, SyncReply, Waiter};
use crate::sync::{Identity, Leaver, Sync};
use crate::timers::Ticks;
use cairn_protocol::codec::Message;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::Timestamp;
use cairn_protocol::messages::ConsumerProtocolSubscription;

const DELAY_MS: i32 = 3_000;
const SESSION_MS: i32 = 10_000;
const REBALANCE_MS: i32 = 20_000;

/// A shard whose log takes everything at once.
struct Bench {
    shard: Shard,
    now: Now,
    log: Vec<Record>,
    waiters: u64,
    replies: HashMap<Waiter, Reply>,
    /// Writes are kept here instead, to be ended by the test.
    held: Option<Vec<Write>>,
}

fn subscription(topic: &str) -> Bytes {
    let subscription = ConsumerProtocolSubscription { topics: vec![topic.into()], ..Default::default() };
    subscription.to_prefixed_bytes(0, 0).expect("encodes")
}

impl Bench {
    fn new() -> Self {
        Self::with(GroupSettings { initial_rebalance_delay_ms: DELAY_MS, ..GroupSettings::default() })
    }

    fn with(settings: GroupSettings) -> Self {
        Self {
            shard: Shard::with(settings),
            now: Now { wall: Timestamp(1_000_000), ticks: Ticks(0) },
            log: Vec::new(),
            waiters: 0,
            replies: HashMap::new(),
            held: None,
        }
    }

    fn carry_out(&mut self, effects: Effects) {
        self.replies.extend(effects.replies);
        for write in effects.writes {
            match &mut self.held {
                Some(held) => held.push(write),
                None => self.write(write, Ok(())),
            }
        }
    }

    fn write(&mut self, write: Write, outcome: Result<(), ErrorCode>) {
        if outcome.is_ok() {
            self.append(write.records);
        }
        let effects = self.shard.on_written(write.then, outcome, self.now);
        self.carry_out(effects);
    }

    fn append(&mut self, records: Vec<Record>) {
        let first = Offset(i64::try_from(self.log.len()).expect("short"));
        self.log.extend(records.iter().cloned());
        self.shard.on_appended(first, records);
        self.shard.on_committed(Offset(i64::MAX));
    }

    fn pass(&mut self, ms: i32) {
        self.now.ticks = self.now.ticks.after(ms);
        self.now.wall.0 += i64::from(ms);
        let effects = self.shard.on_time(self.now);
        self.carry_out(effects);
    }

    fn ask_to_join(&mut self, change: impl FnOnce(&mut Join<'_>)) -> Waiter {
        self.waiters += 1;
        let (waiter, unique) = (Waiter(self.waiters), self.waiters.to_string());
        let mut join = Join {
            version: 9,
            group: "g",
            member: "",
            instance: None,
            client_id: "c",
            client_host: "/h",
            session_timeout_ms: SESSION_MS,
            rebalance_timeout_ms: REBALANCE_MS,
            protocol_type: "consumer",
            protocols: vec![Protocol { name: "range".into(), metadata: subscription("t") }],
            reason: None,
            unique: &unique,
        };
        change(&mut join);
        let effects = self.shard.join(&join, waiter, self.now);
        self.carry_out(effects);
        waiter
    }

    fn joined(&self, waiter: Waiter) -> Option<&JoinReply> {
        self.replies.get(&waiter).map(|reply| match reply {
            Reply::Join(reply) => reply,
            Reply::Sync(_) | Reply::Heartbeat(_) => panic!("a join is answered as a join"),
        })
    }

    /// A member that is given its id without the handshake, and waits for its generation.
    fn add(&mut self) -> Waiter {
        self.ask_to_join(|join| join.version = 3)
    }

    fn sync(&mut self, member: &str, generation: i32, given: &[(&str, &'static str)]) -> Waiter {
        self.waiters += 1;
        let waiter = Waiter(self.waiters);
        let by = Identity { member, instance: None, generation };
        let given = given.iter().map(|(to, what)| ((*to).into(), Bytes::from_static(what.as_bytes())));
        let sync = Sync { group: "g", by, protocol_type: None, protocol: None, assignments: given.collect() };
        let effects = self.shard.sync(&sync, waiter, self.now);
        self.carry_out(effects);
        waiter
    }

    fn synced(&self, waiter: Waiter) -> Option<(ErrorCode, &[u8])> {
        self.replies.get(&waiter).map(|reply| match reply {
            Reply::Sync(SyncReply { error, assignment, .. }) => (*error, &assignment[..]),
            Reply::Join(_) | Reply::Heartbeat(_) => panic!("a sync is answered as a sync"),
        })
    }

    fn heartbeat(&mut self, member: &str, generation: i32) -> Result<(), ErrorCode> {
        self.shard.heartbeat("g", &Identity { member, instance: None, generation }, self.now)
    }

    /// A stable group of two members, `c-1` which leads and `c-2`, in generation 1.
    fn stable() -> Self {
        let mut bench = Self::new();
        let (a, b) = (bench.add(), bench.add());
        bench.pass(DELAY_MS);
        bench.pass(DELAY_MS);
        assert_eq!((bench.joined(a).expect("joined").generation, bench.joined(b).expect("joined").generation), (1, 1));
        bench.sync("c-2", 1, &[]);
        bench.sync("c-1", 1, &[("c-1", "one"), ("c-2", "two")]);
        assert_eq!(bench.state(), GroupState::Stable);
        bench
    }

    fn state(&self) -> GroupState {
        self.shard.describe("g").expect("a group").state
    }

    fn commit(&mut self, topic: &str) {
        let partition = PartitionCommit {
            topic,
            topic_id: TopicId::ZERO,
            partition: PartitionIndex(0),
            offset: Offset(1),
            leader_epoch: -1,
            metadata: "",
        };
        let by = GroupCommit {
            group: "g",
            generation: 1,
            member: "c-1",
            instance: None,
            retention_ms: -1,
            unknown_group: CommitError::IllegalGeneration,
            version: 9,
        };
        let outcome = self.shard.commit(&Commit { by, partitions: &[partition] }, self.now);
        assert_eq!(outcome.results, [Ok(())]);
        self.append(outcome.records);
    }

    fn reload(&self, settings: GroupSettings) -> Self {
        let mut bench = Self { now: self.now, ..Self::with(settings) };
        for record in &self.log {
            bench.shard.load(&record.key, record.value.as_ref()).expect("reads");
        }
        let effects = bench.shard.on_loaded(bench.now);
        bench.carry_out(effects);
        bench
    }
}

#[test]
fn the_first_rebalance_waits_for_members_that_follow_and_not_for_ever() {
    let mut bench = Bench::new();
    let first = bench.add();
    bench.pass(DELAY_MS - 1);
    assert_eq!(bench.joined(first), None);
    let mut last = bench.add();
    bench.pass(1);
    assert_eq!(bench.joined(first), None, "another one came, so there may be more");
    // 20 s after the first join it is enough, whoever comes.
    for _ in 0..5 {
        bench.pass(DELAY_MS - 1);
        last = bench.add();
        bench.pass(1);
    }
    assert_eq!(bench.joined(first), None);
    bench.pass(2_000);
    assert_eq!(bench.now.ticks, Ticks(20_000));
    assert_eq!(bench.joined(first).map(|reply| (reply.error, reply.generation)), Some((ErrorCode::None, 1)));
    assert_eq!(bench.joined(last).map(|reply| reply.generation), Some(1));
    assert_eq!(bench.joined(first).expect("joined").members.len(), 7);
}

#[test]
fn a_group_without_further_members_begins_after_the_delay() {
    let mut bench = Bench::new();
    let first = bench.add();
    bench.pass(DELAY_MS);
    assert_eq!(bench.joined(first).map(|reply| reply.generation), Some(1));
}

#[test]
fn most_votes_among_what_all_know_win() {
    let mut bench = Bench::new();
    let wishes: [&[&str]; 4] = [&["a", "b", "c"], &["c", "b", "a"], &["b", "a", "x"], &["b", "a"]];
    let ask = |bench: &mut Bench, names: &[&str]| {
        let known = |name: &&str| Protocol { name: (*name).into(), metadata: Bytes::copy_from_slice(name.as_bytes()) };
        bench.ask_to_join(|join| (join.version, join.protocols) = (3, names.iter().map(known).collect()))
    };
    let waiters = wishes.map(|names| ask(&mut bench, names));
    let stranger = ask(&mut bench, &["x"]);
    assert_eq!(bench.joined(stranger).map(|reply| reply.error), Some(ErrorCode::InconsistentGroupProtocol));
    bench.pass(DELAY_MS);
    bench.pass(DELAY_MS);
    let leader = bench.joined(waiters[0]).expect("joined");
    // c is not known to all; of the rest, a has one vote, b three.
    assert_eq!(leader.protocol.as_deref(), Some("b"));
    assert!(leader.members.iter().all(|member| member.metadata == "b"));
}

#[test]
fn a_second_assignment_of_the_leader_does_not_count() {
    let mut bench = Bench::new();
    bench.add();
    bench.pass(DELAY_MS);
    bench.held = Some(Vec::new());
    let first = bench.sync("c-1", 1, &[("c-1", "one")]);
    let second = bench.sync("c-1", 1, &[("c-1", "two")]);
    assert_eq!(bench.synced(first), Some((ErrorCode::RebalanceInProgress, &b""[..])), "it has asked again");
    let mut held = bench.held.take().expect("set");
    assert_eq!(held.len(), 1, "only one can be in force, whatever the log is in between");
    bench.write(held.remove(0), Ok(()));
    assert_eq!(bench.synced(second), Some((ErrorCode::None, &b"one"[..])));
}

#[test]
fn an_assignment_that_is_not_written_is_not_given() {
    let mut bench = Bench::new();
    bench.add();
    bench.pass(DELAY_MS);
    bench.held = Some(Vec::new());
    let asks = bench.sync("c-1", 1, &[("c-1", "one")]);
    let refused = bench.held.take().expect("set").remove(0);
    assert!(matches!(refused.then.0, Next::Assigned { .. }));
    bench.write(refused, Err(ErrorCode::NotCoordinator));
    assert_eq!(bench.synced(asks), Some((ErrorCode::NotCoordinator, &b""[..])));
    assert_eq!(bench.state(), GroupState::PreparingRebalance);
}

#[test]
fn a_member_that_does_not_ask_for_its_assignment_is_removed() {
    let mut bench = Bench::new();
    let (_, second) = (bench.add(), bench.add());
    bench.pass(DELAY_MS);
    bench.pass(DELAY_MS);
    let asks = bench.sync("c-1", 1, &[]);
    assert_eq!(bench.synced(asks), Some((ErrorCode::None, &b""[..])), "forgotten members get nothing");
    for _ in 0..4 {
        bench.pass(REBALANCE_MS / 4 - 1);
        assert_eq!((bench.heartbeat("c-1", 1), bench.heartbeat("c-2", 1)), (Ok(()), Ok(())));
    }
    bench.pass(4);
    assert_eq!(bench.heartbeat("c-2", 1), Err(ErrorCode::UnknownMemberId));
    assert_eq!(bench.heartbeat("c-1", 1), Err(ErrorCode::RebalanceInProgress));
    assert_eq!(bench.joined(second).map(|reply| reply.generation), Some(1));
}

#[test]
fn an_id_that_is_not_used_delays_a_rebalance_for_one_session() {
    let mut bench = Bench::stable();
    let given = bench.ask_to_join(|_| {});
    assert_eq!(bench.joined(given).map(|reply| reply.error), Some(ErrorCode::MemberIdRequired));
    let again = bench.ask_to_join(|join| join.member = "c-1");
    assert_eq!(bench.heartbeat("c-2", 1), Err(ErrorCode::RebalanceInProgress));
    let other = bench.ask_to_join(|join| join.member = "c-2");
    assert_eq!((bench.joined(again), bench.joined(other)), (None, None), "the one with the new id may come");
    bench.pass(SESSION_MS);
    assert_eq!(bench.joined(again).map(|reply| reply.generation), Some(2));
    assert_eq!(&*bench.joined(given).expect("answered").member, "c-5");
    let late = bench.ask_to_join(|join| join.member = "c-5");
    assert_eq!(bench.joined(late).map(|reply| reply.error), Some(ErrorCode::UnknownMemberId));
}

#[test]
fn members_that_do_not_join_again_are_left_behind() {
    let mut bench = Bench::stable();
    let again = bench.ask_to_join(|join| join.member = "c-1");
    for _ in 0..2 {
        bench.pass(REBALANCE_MS / 2 - 1);
        assert_eq!(bench.heartbeat("c-2", 1), Err(ErrorCode::RebalanceInProgress), "alive, but it does not come");
    }
    assert_eq!(bench.joined(again), None);
    bench.pass(2);
    assert_eq!(bench.joined(again).map(|reply| (reply.generation, reply.members.len())), Some((2, 1)));
    assert_eq!(bench.heartbeat("c-2", 1), Err(ErrorCode::UnknownMemberId));
}

#[test]
fn sessions_end_without_a_sign_of_life_and_a_commit_is_one() {
    let mut bench = Bench::stable();
    bench.pass(SESSION_MS - 1);
    bench.commit("t");
    bench.pass(1);
    assert_eq!(bench.heartbeat("c-2", 1), Err(ErrorCode::UnknownMemberId));
    assert_eq!(bench.heartbeat("c-1", 1), Err(ErrorCode::RebalanceInProgress));
    bench.pass(SESSION_MS);
    assert_eq!(bench.state(), GroupState::Empty);
}

#[test]
fn a_new_member_that_waits_is_given_up_after_five_minutes() {
    let mut bench = Bench::stable();
    let slow = |join: &mut Join<'_>| (join.member, join.rebalance_timeout_ms) = ("c-1", 10_000_000);
    let waits = bench.ask_to_join(slow);
    let new = bench.add();
    for _ in 0..60 {
        assert_eq!(bench.joined(new), None);
        assert_eq!(bench.heartbeat("c-2", 1), Err(ErrorCode::RebalanceInProgress));
        bench.pass(5_000);
    }
    assert_eq!(bench.joined(new).map(|reply| reply.error), Some(ErrorCode::UnknownMemberId));
    assert_eq!(bench.joined(waits), None, "who was in a generation may wait");
}

#[test]
fn a_group_has_room_for_so_many() {
    let settings = GroupSettings { members_max: 2, initial_rebalance_delay_ms: DELAY_MS, ..GroupSettings::default() };
    let mut bench = Bench::with(settings);
    let waiters = [bench.add(), bench.add(), bench.add()];
    assert_eq!(bench.joined(waiters[2]).map(|reply| reply.error), Some(ErrorCode::GroupMaxSizeReached));
    bench.pass(DELAY_MS);
    bench.pass(DELAY_MS);
    let late = bench.add();
    assert_eq!(bench.joined(late).map(|reply| reply.error), Some(ErrorCode::GroupMaxSizeReached));

    // The bound was lowered: the group comes back too large, and rebalances until it is not.
    let mut bench = Bench::stable().reload(GroupSettings { members_max: 1, ..settings });
    assert_eq!(bench.heartbeat("c-1", 1), Err(ErrorCode::RebalanceInProgress));
    let (a, b) = (bench.ask_to_join(|join| join.member = "c-1"), bench.ask_to_join(|join| join.member = "c-2"));
    assert_eq!(bench.joined(b).map(|reply| reply.error), Some(ErrorCode::GroupMaxSizeReached));
    bench.pass(REBALANCE_MS);
    assert_eq!(bench.joined(a).map(|reply| (reply.generation, reply.members.len())), Some((2, 1)));
}

#[test]
fn a_loaded_group_goes_on_and_its_sessions_begin_anew() {
    let mut bench = Bench::stable();
    bench.pass(SESSION_MS - 1);
    let mut bench = bench.reload(GroupSettings::default());
    bench.pass(SESSION_MS - 1);
    assert_eq!(bench.heartbeat("c-1", 1), Ok(()));
    let asks = bench.sync("c-1", 1, &[]);
    assert_eq!(bench.synced(asks), Some((ErrorCode::None, &b"one"[..])));
    bench.pass(1);
    assert_eq!(bench.heartbeat("c-2", 1), Err(ErrorCode::UnknownMemberId));
}

mod offsets;
mod static_members;
