//! Consumer groups, step by step: each test is one story of members and what they are told.

use cairn_protocol::ids::{Offset, PartitionIndex, Timestamp};

use super::*;
use crate::consumer::assignment::Partitions;
use crate::consumer::heartbeat::HeartbeatReply;
use crate::consumer::state::ConsumerGroupState::{self, Empty, Reconciling, Stable};
use crate::consumer::target::Assigning;
use crate::consumer::topics::tests::{Fixed, topic_id};
use crate::settings::GroupSettings;
use crate::timers::Ticks;

/// One group, its log, and the time.
pub(super) struct World {
    pub(super) shard: Shard,
    pub(super) now: Now,
    pub(super) topics: Fixed,
    pub(super) log: Vec<Record>,
    waiters: u64,
    replies: BTreeMap<u64, Reply>,
    /// Writes that are not durable yet, while they are held back.
    pub(super) held: Option<Vec<Then>>,
    /// What is being worked out.
    pub(super) assigning: Vec<Assigning>,
    /// From which generation each rebalance began.
    pub(super) begun: Vec<i32>,
}

/// The first topic of tests, `a`, and the second, `b`.
pub(super) const A: u128 = 1;
const B: u128 = 2;

impl World {
    pub(super) fn new() -> Self {
        let consumer = ConsumerSettings { assignment_interval_ms: 0, ..ConsumerSettings::default() };
        Self::with(GroupSettings { consumer, ..GroupSettings::default() })
    }

    pub(super) fn with(settings: GroupSettings) -> Self {
        let mut world = Self {
            shard: Shard::with(settings),
            now: Now { wall: Timestamp(1_000_000), ticks: Ticks(0) },
            topics: Fixed::default().with("a", A, 4).with("b", B, 2),
            log: Vec::new(),
            waiters: 0,
            replies: BTreeMap::new(),
            held: None,
            assigning: Vec::new(),
            begun: Vec::new(),
        };
        world.tell_topics();
        world
    }

    pub(super) fn tell_topics(&mut self) {
        self.shard.on_topics(Arc::new(self.topics.clone()));
    }

    pub(super) fn append(&mut self, records: Vec<Record>) {
        if records.is_empty() {
            return;
        }
        let first = Offset(i64::try_from(self.log.len()).expect("short"));
        self.log.extend(records.iter().cloned());
        self.shard.on_appended(first, records);
    }

    pub(super) fn carry_out(&mut self, effects: Effects) {
        for (waiter, reply) in effects.replies {
            assert!(self.replies.insert(waiter.0, reply).is_none(), "answered once");
        }
        self.assigning.extend(effects.assignments);
        let begun = effects.events.iter().filter(|event| matches!(event.what, Happened::RebalanceBegun { .. }));
        self.begun.extend(begun.map(|event| event.generation));
        for write in effects.writes {
            self.append(write.records);
            match &mut self.held {
                Some(held) => held.push(write.then),
                None => self.finish(write.then, Ok(())),
            }
        }
        for group in self.shard.consumers.values() {
            group.core.check();
        }
    }

    pub(super) fn finish(&mut self, then: Then, written: Result<(), ErrorCode>) {
        self.shard.on_committed(Offset(i64::try_from(self.log.len()).expect("short")));
        let effects = self.shard.on_written(then, written, self.now);
        self.carry_out(effects);
    }

    pub(super) fn waiter(&mut self) -> Waiter {
        self.waiters += 1;
        Waiter(self.waiters)
    }

    pub(super) fn reply(&mut self, waiter: Waiter) -> Option<Reply> {
        self.replies.remove(&waiter.0)
    }

    /// Sends a heartbeat; gives who waits for the answer.
    pub(super) fn send(&mut self, heartbeat: &ConsumerHeartbeat<'_>) -> Waiter {
        let waiter = self.waiter();
        let found = self.shard.search(heartbeat, self.now).map(Search::run).unwrap_or_default();
        let effects = self.shard.consumer_heartbeat(heartbeat, &found, waiter, self.now);
        self.carry_out(effects);
        waiter
    }

    pub(super) fn heard(&mut self, heartbeat: &ConsumerHeartbeat<'_>) -> HeartbeatReply {
        let waiter = self.send(heartbeat);
        match self.reply(waiter) {
            Some(Reply::Heartbeat(reply)) => reply,
            other => panic!("{other:?} is no answer to a heartbeat"),
        }
    }

    pub(super) fn join(&mut self, member: &str, topics: &[&str]) -> HeartbeatReply {
        self.heard(&joining(member, topics))
    }

    /// A member that owns these partitions of `a` comes again.
    pub(super) fn beat(&mut self, member: &str, epoch: i32, owned: &[i32]) -> HeartbeatReply {
        self.heard(&ConsumerHeartbeat { epoch, owned: Some(of_a(owned)), ..quiet(member) })
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.now.ticks.0 += ms;
        self.now.wall.0 += i64::try_from(ms).expect("small");
        let effects = self.shard.on_time(self.now);
        self.carry_out(effects);
    }

    pub(super) fn state(&self) -> ConsumerGroupState {
        self.shard.describe_consumer("g").expect("there").state
    }

    /// The same shard from its log.
    pub(super) fn reloaded(&self) -> Shard {
        let mut shard = Shard::with(self.shard.settings);
        for record in &self.log {
            shard.load(&record.key, record.value.as_ref()).expect("what was written reads");
        }
        shard
    }

    pub(super) fn check_reload(&self) {
        let again = self.reloaded();
        assert_eq!(again.consumers.len(), self.shard.consumers.len());
        for (name, group) in &self.shard.consumers {
            assert_eq!(again.consumers[name].core, group.core, "{name}");
        }
    }

    /// Everybody comes and does what it is told, until nothing changes.
    pub(super) fn settle(&mut self, members: &mut [(&'static str, i32, Partitions)]) {
        for _ in 0..20 {
            for (member, epoch, owned) in &mut *members {
                let said = ConsumerHeartbeat { epoch: *epoch, owned: Some(owned.clone()), ..quiet(member) };
                let reply = self.heard(&said);
                assert_eq!(reply.error, ErrorCode::None, "{reply:?}");
                *epoch = reply.epoch;
                if let Some(assignment) = reply.assignment {
                    *owned = assignment;
                }
            }
            if self.state() == Stable {
                return;
            }
        }
        panic!("{:?}", self.shard.describe_consumer("g"));
    }
}

pub(super) fn quiet(member: &str) -> ConsumerHeartbeat<'_> {
    ConsumerHeartbeat {
        version: 1,
        group: "g",
        member,
        epoch: 0,
        instance: None,
        rack: None,
        rebalance_timeout_ms: -1,
        topics: None,
        regex: None,
        assignor: None,
        owned: None,
        client_id: "client",
        client_host: "/127.0.0.1",
        unique: "unique",
    }
}

pub(super) fn joining<'a>(member: &'a str, topics: &[&'a str]) -> ConsumerHeartbeat<'a> {
    let topics = Some(topics.to_vec());
    ConsumerHeartbeat { rebalance_timeout_ms: 10_000, topics, owned: Some(Partitions::new()), ..quiet(member) }
}

pub(super) fn of_a(partitions: &[i32]) -> Partitions {
    let all = partitions.iter().copied().map(PartitionIndex).collect();
    if partitions.is_empty() { Partitions::new() } else { Partitions::from([(topic_id(A), all)]) }
}

#[test]
fn the_first_member_gets_all() {
    let mut world = World::new();
    let reply = world.join("m1", &["a"]);
    assert_eq!((reply.error, reply.member.as_deref(), reply.epoch), (ErrorCode::None, Some("m1"), 2));
    assert_eq!((reply.interval_ms, reply.assignment), (5_000, Some(of_a(&[0, 1, 2, 3]))));
    assert_eq!(world.state(), Stable);
    // Nothing has changed: nothing is written, and nothing told.
    let written = world.log.len();
    let reply = world.heard(&ConsumerHeartbeat { epoch: 2, ..quiet("m1") });
    assert_eq!((reply.error, reply.epoch, reply.assignment), (ErrorCode::None, 2, None));
    assert_eq!(world.log.len(), written);
    world.check_reload();
}

#[test]
fn a_partition_is_given_up_before_another_gets_it() {
    let mut world = World::new();
    world.join("m1", &["a"]);
    let second = world.join("m2", &["a"]);
    assert_eq!((second.epoch, second.assignment), (3, Some(Partitions::new())), "others have all of it");
    assert_eq!(world.state(), Reconciling);
    let first = world.beat("m1", 2, &[0, 1, 2, 3]);
    assert_eq!((first.epoch, first.assignment), (2, Some(of_a(&[0, 1]))), "it has to give up the rest");
    assert_eq!(world.beat("m2", 3, &[]).assignment, None, "it has not done so yet");
    assert_eq!(world.beat("m1", 2, &[0, 1]).epoch, 3);
    let second = world.beat("m2", 3, &[]);
    assert_eq!(second.assignment, Some(of_a(&[2, 3])));
    assert_eq!(world.state(), Stable);
    world.check_reload();
}

#[test]
fn who_leaves_is_gone_at_once() {
    let mut world = World::new();
    world.join("m1", &["a"]);
    world.join("m2", &["a"]);
    let reply = world.heard(&ConsumerHeartbeat { epoch: -1, ..quiet("m1") });
    assert_eq!((reply.error, reply.epoch), (ErrorCode::None, -1));
    assert_eq!(world.beat("m2", 3, &[]).assignment, Some(of_a(&[0, 1, 2, 3])));
    assert_eq!(world.beat("m1", 2, &[]).error, ErrorCode::UnknownMemberId);
    world.heard(&ConsumerHeartbeat { epoch: -1, ..quiet("m2") });
    assert_eq!(world.state(), Empty);
    world.check_reload();
    let records = world.shard.delete("g").expect("nobody is in it");
    world.append(records);
    assert_eq!(world.shard.describe_consumer("g"), Err(ErrorCode::GroupIdNotFound));
    world.check_reload();
}

#[test]
fn who_is_silent_is_gone_after_its_session() {
    let mut world = World::new();
    world.join("m1", &["a"]);
    world.pass(30_000);
    world.join("m2", &["a"]);
    world.pass(14_999);
    assert_eq!(world.shard.describe_consumer("g").expect("there").members.len(), 2);
    world.pass(1);
    let members = world.shard.describe_consumer("g").expect("there").members;
    assert_eq!(members.iter().map(|member| &*member.id).collect::<Vec<_>>(), ["m2"]);
    world.check_reload();
}

#[test]
fn who_does_not_give_up_in_time_is_gone() {
    let mut world = World::new();
    world.join("m1", &["a"]);
    world.join("m2", &["a"]);
    world.beat("m1", 2, &[0, 1, 2, 3]);
    world.pass(9_999);
    world.beat("m1", 2, &[0, 1, 2, 3]);
    world.pass(1);
    assert_eq!(world.beat("m1", 2, &[0, 1, 2, 3]).error, ErrorCode::UnknownMemberId);
    assert_eq!(world.beat("m2", 3, &[]).assignment, Some(of_a(&[0, 1, 2, 3])));
    // Who has given up in time is not.
    world.join("m3", &["a"]);
    let epoch = world.beat("m2", 4, &[0, 1, 2, 3]).epoch;
    world.beat("m2", epoch, &[0, 1]);
    world.pass(20_000);
    assert_eq!(world.shard.describe_consumer("g").expect("there").members.len(), 2);
}

#[test]
fn epochs_fence() {
    let mut world = World::new();
    world.join("m1", &["a"]);
    assert_eq!(world.beat("m1", 3, &[]).error, ErrorCode::FencedMemberEpoch);
    world.join("m2", &["a"]);
    world.beat("m1", 2, &[0, 1, 2, 3]);
    assert_eq!(world.beat("m1", 2, &[0, 1]).epoch, 3);
    // The answer was lost: the same again is taken, with more than it has it is not.
    assert_eq!(world.beat("m1", 2, &[0, 1]).epoch, 3);
    assert_eq!(world.beat("m1", 2, &[0, 1, 2]).error, ErrorCode::FencedMemberEpoch);
    // It joins again, and gets the same.
    let again = world.join("m1", &["a"]);
    assert_eq!((again.epoch, again.assignment), (3, Some(of_a(&[0, 1]))));
    assert_eq!(world.beat("nobody", 2, &[]).error, ErrorCode::UnknownMemberId);
    let other = world.heard(&ConsumerHeartbeat { group: "none", epoch: 2, ..quiet("m1") });
    assert_eq!(other.error, ErrorCode::GroupIdNotFound);
}

#[test]
fn what_is_wrong_by_itself_is_refused() {
    let mut world = World::new();
    let table = [
        (ConsumerHeartbeat { member: "", ..joining("m", &["a"]) }, ErrorCode::InvalidRequest),
        (ConsumerHeartbeat { group: " ", ..joining("m", &["a"]) }, ErrorCode::InvalidRequest),
        (ConsumerHeartbeat { instance: Some(""), ..joining("m", &["a"]) }, ErrorCode::InvalidRequest),
        (ConsumerHeartbeat { rack: Some(""), ..joining("m", &["a"]) }, ErrorCode::InvalidRequest),
        (ConsumerHeartbeat { rebalance_timeout_ms: -1, ..joining("m", &["a"]) }, ErrorCode::InvalidRequest),
        (ConsumerHeartbeat { owned: None, ..joining("m", &["a"]) }, ErrorCode::InvalidRequest),
        (ConsumerHeartbeat { owned: Some(of_a(&[1])), ..joining("m", &["a"]) }, ErrorCode::InvalidRequest),
        (ConsumerHeartbeat { topics: None, ..joining("m", &["a"]) }, ErrorCode::InvalidRequest),
        (ConsumerHeartbeat { epoch: -2, ..quiet("m") }, ErrorCode::InvalidRequest),
        (ConsumerHeartbeat { epoch: -3, ..quiet("m") }, ErrorCode::InvalidRequest),
        (ConsumerHeartbeat { assignor: Some("mine"), ..joining("m", &["a"]) }, ErrorCode::UnsupportedAssignor),
        (ConsumerHeartbeat { regex: Some("("), ..joining("m", &["a"]) }, ErrorCode::InvalidRegularExpression),
    ];
    for (heartbeat, error) in table {
        let reply = world.heard(&heartbeat);
        assert_eq!(reply.error, error, "{heartbeat:?}");
        assert!(reply.message.is_some_and(|message| !message.is_empty()));
    }
    assert!(world.log.is_empty() && world.shard.consumers.is_empty());
    // Members of version 0 may have no id: they are given one.
    let reply = world.heard(&ConsumerHeartbeat { version: 0, member: "", ..joining("", &["a"]) });
    assert_eq!((reply.error, reply.member.as_deref()), (ErrorCode::None, Some("unique")));
}

#[test]
fn a_full_group_takes_nobody_else() {
    let consumer = ConsumerSettings { members_max: 1, ..ConsumerSettings::default() };
    let mut world = World::with(GroupSettings { consumer, ..GroupSettings::default() });
    world.join("m1", &["a"]);
    assert_eq!(world.join("m2", &["a"]).error, ErrorCode::GroupMaxSizeReached);
    assert_eq!(world.join("m1", &["a"]).error, ErrorCode::None);
}

#[test]
fn a_static_member_comes_back_to_what_it_had() {
    let mut world = World::new();
    let fixed = |member, epoch| ConsumerHeartbeat { instance: Some("i"), epoch, ..quiet(member) };
    world.heard(&ConsumerHeartbeat { instance: Some("i"), ..joining("m1", &["a"]) });
    world.join("m2", &["a"]);
    world.settle(&mut [("m1", 2, of_a(&[0, 1, 2, 3])), ("m2", 3, Partitions::new())]);
    let taken = ConsumerHeartbeat { instance: Some("i"), ..joining("m3", &["a"]) };
    assert_eq!(world.heard(&taken).error, ErrorCode::UnreleasedInstanceId);
    assert_eq!(world.heard(&fixed("m3", 3)).error, ErrorCode::FencedInstanceId);
    assert_eq!(world.heard(&fixed("m3", -2)).error, ErrorCode::FencedInstanceId);
    assert_eq!(world.heard(&fixed("m1", -2)).epoch, -2);
    world.check_reload();
    let group_epoch = world.shard.describe_consumer("g").expect("there").epoch;
    let back = world.heard(&taken);
    assert_eq!((back.error, back.epoch, back.assignment), (ErrorCode::None, group_epoch, Some(of_a(&[0, 1]))));
    assert_eq!(world.shard.describe_consumer("g").expect("there").epoch, group_epoch, "nobody else is disturbed");
    assert_eq!(world.heard(&fixed("m1", 3)).error, ErrorCode::FencedInstanceId);
    let unknown = ConsumerHeartbeat { instance: Some("other"), epoch: 3, ..quiet("m3") };
    assert_eq!(world.heard(&unknown).error, ErrorCode::UnknownMemberId);
    world.check_reload();
    // It stays away for too long.
    world.heard(&fixed("m3", -2));
    world.pass(30_000);
    world.beat("m2", group_epoch, &[2, 3]);
    world.pass(15_000);
    assert_eq!(world.beat("m2", group_epoch, &[2, 3]).assignment, Some(of_a(&[0, 1, 2, 3])));
}

#[test]
fn topics_that_change_change_what_members_have() {
    let mut world = World::new();
    world.join("m1", &["a", "later"]);
    world.topics.set("a", A, 5);
    world.tell_topics();
    let reply = world.beat("m1", 2, &[0, 1, 2, 3]);
    assert_eq!((reply.epoch, reply.assignment), (3, Some(of_a(&[0, 1, 2, 3, 4]))));
    world.topics.set("later", 9, 1);
    world.tell_topics();
    let reply = world.heard(&ConsumerHeartbeat { epoch: 3, ..quiet("m1") });
    assert_eq!(reply.assignment.expect("more").len(), 2);
    // A topic that is of no concern changes nothing.
    world.topics.set("other", 10, 1);
    world.tell_topics();
    let written = world.log.len();
    assert_eq!(world.heard(&ConsumerHeartbeat { epoch: 4, ..quiet("m1") }).epoch, 4);
    assert_eq!(world.log.len(), written);
    // A topic that is gone has to be given up.
    world.topics.remove("later");
    world.tell_topics();
    let reply = world.heard(&ConsumerHeartbeat { epoch: 4, ..quiet("m1") });
    assert_eq!((reply.epoch, reply.assignment), (4, Some(of_a(&[0, 1, 2, 3, 4]))));
    assert_eq!(world.beat("m1", 4, &[0, 1, 2, 3, 4]).epoch, 5);
    world.check_reload();
}

#[test]
fn a_regular_expression_follows_the_topics() {
    let mut world = World::new();
    world.topics.set("x-1", 5, 1);
    world.tell_topics();
    let with_regex = ConsumerHeartbeat { topics: None, regex: Some("x-.*"), ..joining("m1", &[]) };
    let reply = world.heard(&with_regex);
    assert_eq!(reply.assignment.expect("one").keys().copied().collect::<Vec<_>>(), [topic_id(5)]);
    world.check_reload();
    world.topics.set("x-2", 6, 1);
    world.tell_topics();
    let quietly = |epoch| ConsumerHeartbeat { epoch, ..quiet("m1") };
    assert_eq!(world.heard(&quietly(2)).assignment, None, "not more often than that");
    world.pass(10_000);
    assert_eq!(world.heard(&quietly(2)).assignment.expect("two").len(), 2);
    assert!(world.shard.consumers["g"].core.is_subscribed("x-2"));
    world.check_reload();
    // It wants something else: the expression is forgotten.
    let said = ConsumerHeartbeat { epoch: 3, regex: Some(""), topics: Some(vec!["a"]), ..quiet("m1") };
    world.heard(&ConsumerHeartbeat { owned: Some(Partitions::new()), ..said });
    assert!(!world.shard.consumers["g"].core.is_subscribed("x-2"));
    world.check_reload();
}

#[test]
fn who_asks_for_less_gives_up_at_once() {
    let consumer = ConsumerSettings { assignment_interval_ms: 60_000, ..ConsumerSettings::default() };
    let mut world = World::with(GroupSettings { consumer, ..GroupSettings::default() });
    let both = world.join("m1", &["a", "b"]).assignment.expect("all");
    assert_eq!(both.len(), 2);
    let less = ConsumerHeartbeat { epoch: 2, topics: Some(vec!["a"]), owned: Some(both), ..quiet("m1") };
    let reply = world.heard(&less);
    assert_eq!((reply.epoch, reply.assignment), (2, Some(of_a(&[0, 1, 2, 3]))));
    assert_eq!(world.beat("m1", 2, &[0, 1, 2, 3]).epoch, 2, "the assignor may not decide again yet");
    world.pass(30_000);
    world.beat("m1", 2, &[0, 1, 2, 3]);
    world.pass(30_000);
    assert_eq!(world.beat("m1", 2, &[0, 1, 2, 3]).epoch, 3);
    world.check_reload();
}

#[test]
fn most_members_choose_the_assignor() {
    let mut world = World::new();
    world.heard(&ConsumerHeartbeat { assignor: Some("range"), ..joining("m1", &["a"]) });
    assert_eq!(&*world.shard.describe_consumer("g").expect("there").assignor, "range");
    world.heard(&ConsumerHeartbeat { assignor: Some("uniform"), ..joining("m2", &["a"]) });
    assert_eq!(&*world.shard.describe_consumer("g").expect("there").assignor, "uniform");
    world.heard(&ConsumerHeartbeat { assignor: Some("range"), ..joining("m3", &["a"]) });
    assert_eq!(&*world.shard.describe_consumer("g").expect("there").assignor, "range");
}
