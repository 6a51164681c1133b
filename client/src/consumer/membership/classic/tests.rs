//! A member against a scripted coordinator: each line is what it does, and what it is told.

use std::time::Duration;

use cairn_protocol::error_code::ErrorCode;
use tokio::time::Instant;

use super::super::Assignor;
use super::super::assignor::{Candidate, Counts};
use super::super::step::{Calls, Failure, Joined, Next, Outcome, Role, Step};
use super::{Classic, Settings};
use crate::backoff::Backoff;
use crate::consumer::MembershipError;
use crate::consumer_protocol::{Subscription, decode_assignment};
use crate::topic_partition::TopicPartition;

const HEARTBEAT: Duration = Duration::from_secs(3);
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(1) };

fn p(index: i32) -> TopicPartition {
    TopicPartition::new("t", index)
}

fn ps(indexes: &[i32]) -> Vec<TopicPartition> {
    indexes.iter().map(|index| p(*index)).collect()
}

struct Script {
    core: Classic,
    now: Instant,
}

impl Script {
    fn of(assignors: &[Assignor], is_static: bool) -> Self {
        let now = Instant::now();
        let settings = Settings {
            assignors: assignors.to_vec(),
            is_static,
            heartbeat_interval: HEARTBEAT,
            backoff: BACKOFF,
            metadata_max_age: Duration::from_secs(300),
        };
        Self { core: Classic::new(settings, vec!["t".into()], now), now }
    }

    fn range() -> Self {
        Self::of(&[Assignor::Range], false)
    }

    fn cooperative() -> Self {
        Self::of(&[Assignor::CooperativeSticky], false)
    }

    fn step(&mut self) -> Step {
        match self.core.next(self.now) {
            Next::Do(step) => step,
            other => panic!("expected a step, it is {other:?}"),
        }
    }

    fn waits(&mut self) -> Option<Instant> {
        match self.core.next(self.now) {
            Next::Wait(at) => at,
            other => panic!("expected it to wait, it is {other:?}"),
        }
    }

    fn told(&mut self, outcome: Outcome) {
        self.core.on_outcome(outcome, self.now);
    }

    /// Does what the next step says at once. Gives which it was.
    fn settles(&mut self) -> Step {
        let step = self.step();
        assert!(matches!(step, Step::Revoke(_) | Step::Lose(_) | Step::Assign(_)), "{step:?}");
        self.core.on_settled(&step);
        step
    }

    fn joins(&mut self) -> Subscription {
        let Step::Join(join) = self.step() else { panic!("no join") };
        Subscription::decode(&join.protocols[0].1).expect("reads")
    }

    fn joined(&mut self, generation: i32) {
        let protocol = Some(self.core.settings.assignors[0]);
        let joined = Joined { member_id: "m".into(), generation, protocol, role: Role::Follower };
        self.told(Outcome::Joined(Ok(joined)));
    }

    fn synced(&mut self, partitions: &[i32]) {
        let Step::Sync(sync) = self.step() else { panic!("no sync") };
        assert!(sync.assignments.is_empty(), "a follower decides nothing");
        self.told(Outcome::Synced(Ok(ps(partitions))));
    }

    fn heartbeat(&mut self, outcome: Result<(), ErrorCode>) {
        self.now = self.waits().expect("a heartbeat is due");
        let step = self.step();
        assert!(matches!(step, Step::Heartbeat(_)), "{step:?}");
        self.told(Outcome::Heartbeat(outcome.map_err(Failure::Refused)));
    }

    /// A member in peace with these partitions.
    fn settled(mut self, partitions: &[i32]) -> Self {
        self.joins();
        self.joined(1);
        self.synced(partitions);
        assert_eq!(self.settles(), Step::Assign(ps(partitions)));
        self.waits();
        self
    }
}

#[test]
fn the_first_id_comes_from_the_coordinator() {
    let mut member = Script::range();
    member.joins();
    member.told(Outcome::Joined(Err(Failure::MemberIdRequired("given".into()))));
    let Step::Join(join) = member.step() else { panic!("no join") };
    assert_eq!(&*join.member_id, "given");
    assert_eq!(member.waits(), None, "no heartbeat while it waits to join");
    member.joined(1);
    member.synced(&[0, 1]);
    assert_eq!(member.settles(), Step::Assign(ps(&[0, 1])));
    assert_eq!(member.waits(), Some(member.now + HEARTBEAT));
    let identity = member.core.commits_as().expect("it is a member");
    assert_eq!((&*identity.member_id, identity.generation), ("m", 1));
}

#[test]
fn an_eager_member_gives_up_all_before_it_joins_again() {
    let mut member = Script::range().settled(&[0, 1]);
    member.heartbeat(Err(ErrorCode::RebalanceInProgress));
    let revoke = member.step();
    assert_eq!(revoke, Step::Revoke(ps(&[0, 1])));
    // The application takes its time: heartbeats go on.
    member.heartbeat(Err(ErrorCode::RebalanceInProgress));
    member.core.on_settled(&revoke);
    assert!(member.joins().owned.is_empty());
    member.joined(2);
    member.synced(&[1]);
    assert_eq!(member.settles(), Step::Assign(ps(&[1])));
    member.heartbeat(Ok(()));
}

#[test]
fn a_cooperative_member_keeps_what_stays_and_joins_again_after_letting_go() {
    let mut member = Script::cooperative().settled(&[0, 1]);
    member.heartbeat(Err(ErrorCode::RebalanceInProgress));
    let told = member.joins();
    assert_eq!((told.owned, told.generation), (ps(&[0, 1]), 1));
    member.joined(2);
    member.synced(&[1, 2]);
    assert_eq!(member.settles(), Step::Revoke(ps(&[0])));
    assert_eq!(member.settles(), Step::Assign(ps(&[2])));
    let told = member.joins();
    assert_eq!((told.owned, told.generation), (ps(&[1, 2]), 2), "others wait for what it let go");
    member.joined(3);
    member.synced(&[1, 2]);
    assert_eq!(member.settles(), Step::Assign(Vec::new()));
    assert_eq!(member.waits(), Some(member.now + HEARTBEAT));
}

#[test]
fn the_leader_counts_assigns_and_looks_again() {
    let mut member = Script::range();
    member.joins();
    let wants = || Subscription { topics: vec!["t".into()], ..Subscription::default() };
    let candidate = |id: &str| Candidate { id: id.into(), instance: None, subscription: wants() };
    let leads = |generation| Joined {
        member_id: "m".into(),
        generation,
        protocol: Some(Assignor::Range),
        role: Role::Leader(vec![candidate("m"), candidate("n")]),
    };
    member.told(Outcome::Joined(Ok(leads(1))));
    assert_eq!(member.step(), Step::Count(vec!["t".into()]));
    let counts = |count| Counts::from([("t".into(), count)]);
    member.told(Outcome::Counted(counts(3)));
    let Step::Sync(sync) = member.step() else { panic!("no sync") };
    let assigned: Vec<_> = sync.assignments.iter().map(|(id, bytes)| (&**id, decode_assignment(bytes))).collect();
    assert_eq!(assigned, [("m", Ok(ps(&[0, 1]))), ("n", Ok(ps(&[2])))]);
    member.told(Outcome::Synced(Ok(ps(&[0, 1]))));
    member.settles();
    // It looks whether the topic has grown, which it does at the second look.
    member.now += Duration::from_secs(301);
    for count in [3, 4] {
        let (mut look, mut beats) = (false, 0);
        while let Next::Do(step) = member.core.next(member.now) {
            match step {
                Step::Heartbeat(_) => beats += 1,
                Step::Count(_) => look = true,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((look, beats), (true, 1));
        member.told(Outcome::Heartbeat(Ok(())));
        member.told(Outcome::Counted(counts(count)));
        if count == 3 {
            member.now += Duration::from_secs(301);
        }
    }
    assert_eq!(member.settles(), Step::Revoke(ps(&[0, 1])));
    member.joins();
    // As leader of a group that stays as it is, it decides nothing (KIP-814).
    member.told(Outcome::Joined(Ok(Joined { role: Role::LeaderOfOld, ..leads(2) })));
    member.synced(&[0, 1]);
}

#[test]
fn who_is_forgotten_loses_its_partitions_and_joins_as_new() {
    for (code, id) in [(ErrorCode::UnknownMemberId, ""), (ErrorCode::IllegalGeneration, "m")] {
        let mut member = Script::cooperative().settled(&[0, 1]);
        member.heartbeat(Err(code));
        assert_eq!(member.core.commits_as(), None, "nothing can be committed");
        assert_eq!(member.settles(), Step::Lose(ps(&[0, 1])));
        member.now += BACKOFF.longest;
        let Step::Join(join) = member.step() else { panic!("no join") };
        assert_eq!(&*join.member_id, id, "{code}");
        assert!(Subscription::decode(&join.protocols[0].1).expect("reads").owned.is_empty());
    }
}

#[test]
fn a_coordinator_that_does_not_answer_is_asked_ever_more_rarely() {
    let mut member = Script::range();
    let begun = member.now;
    for _ in 0..20 {
        member.joins();
        member.told(Outcome::Joined(Err(Failure::Unanswered("nobody".into()))));
        member.now = member.waits().expect("later");
    }
    let waited = member.now - begun;
    assert!(waited > Duration::from_secs(12) && waited < Duration::from_secs(25), "{waited:?}");

    // A member in peace only beats again: it keeps what it has until somebody says otherwise.
    let mut member = Script::range().settled(&[0]);
    member.now = member.waits().expect("a heartbeat");
    for _ in 0..10 {
        assert!(matches!(member.step(), Step::Heartbeat(_)));
        member.told(Outcome::Heartbeat(Err(Failure::Unanswered("nobody".into()))));
        let next = member.waits().expect("later");
        assert!(next > member.now && next <= member.now + HEARTBEAT);
        member.now = next;
    }
    assert!(matches!(member.step(), Step::Heartbeat(_)));
    member.told(Outcome::Heartbeat(Ok(())));
    assert_eq!(member.waits(), Some(member.now + HEARTBEAT));
}

#[test]
fn who_is_refused_for_good_says_so() {
    let mut member = Script::range();
    member.joins();
    member.told(Outcome::Joined(Err(Failure::Refused(ErrorCode::InconsistentGroupProtocol))));
    let code = ErrorCode::InconsistentGroupProtocol;
    assert_eq!(member.core.next(member.now), Next::Failed(MembershipError::Refused { code }));

    // Another has its instance id: its partitions are gone before it says so.
    let mut member = Script::of(&[Assignor::Range], true).settled(&[0]);
    member.heartbeat(Err(ErrorCode::FencedInstanceId));
    assert_eq!(member.settles(), Step::Lose(ps(&[0])));
    assert!(matches!(member.core.next(member.now), Next::Failed(_)));
}

#[test]
fn who_leaves_lets_go_first_and_says_so() {
    let mut member = Script::range().settled(&[0]);
    assert_eq!(member.core.on_leave(), Calls::Dropped);
    assert_eq!(member.settles(), Step::Revoke(ps(&[0])));
    let Step::Leave { identity, .. } = member.step() else { panic!("it does not say so") };
    assert_eq!(&*identity.member_id, "m");
    member.told(Outcome::Left);
    assert_eq!(member.core.next(member.now), Next::Ended);

    // In the middle of JoinGroup, which may take minutes.
    let mut member = Script::range().settled(&[0]);
    member.heartbeat(Err(ErrorCode::RebalanceInProgress));
    member.settles();
    member.joins();
    assert_eq!(member.core.on_leave(), Calls::Dropped);
    assert!(matches!(member.step(), Step::Leave { .. }));

    // A static member is waited for.
    let mut member = Script::of(&[Assignor::Range], true).settled(&[0]);
    assert_eq!(member.core.on_leave(), Calls::Dropped);
    member.settles();
    assert_eq!(member.core.next(member.now), Next::Ended);

    // Who never joined has nobody to tell.
    let mut member = Script::range();
    assert_eq!(member.core.on_leave(), Calls::Dropped);
    assert_eq!(member.core.next(member.now), Next::Ended);
}

#[test]
fn who_asks_for_no_records_makes_way_and_comes_back() {
    let mut member = Script::range().settled(&[0]);
    assert_eq!(member.core.on_stalled(), Calls::Dropped);
    assert_eq!(member.core.commits_as(), None, "before it has left, too");
    assert_eq!(member.settles(), Step::Lose(ps(&[0])));
    assert!(matches!(member.step(), Step::Leave { .. }));
    member.told(Outcome::Left);
    assert_eq!(member.waits(), None, "no heartbeat");
    member.core.on_resumed();
    let Step::Join(join) = member.step() else { panic!("no join") };
    assert_eq!(&*join.member_id, "", "as a new member");
}

#[test]
fn other_topics_are_joined_for_once_it_is_there() {
    let mut member = Script::cooperative();
    member.joins();
    member.core.on_subscribed(vec!["u".into()]);
    member.joined(1);
    member.synced(&[0]);
    assert_eq!(member.settles(), Step::Assign(ps(&[0])));
    assert_eq!(member.settles(), Step::Revoke(ps(&[0])), "what it no longer wants");
    let told = member.joins();
    assert_eq!((told.topics, told.owned), (vec!["u".into()], Vec::new()));
}

#[test]
fn a_sync_in_the_middle_of_a_rebalance_joins_again() {
    let mut member = Script::cooperative().settled(&[0]);
    member.heartbeat(Err(ErrorCode::RebalanceInProgress));
    member.joins();
    member.joined(2);
    assert!(matches!(member.step(), Step::Sync(_)));
    member.told(Outcome::Synced(Err(Failure::Refused(ErrorCode::RebalanceInProgress))));
    assert_eq!(member.joins().owned, ps(&[0]), "as who it is, with what it has");
}
