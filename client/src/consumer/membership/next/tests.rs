//! A member against a scripted coordinator of the next generation.

use std::time::Duration;

use cairn_protocol::error_code::ErrorCode;
use tokio::time::Instant;

use super::super::step::{Beat, Beaten, Calls, Failure, Next, Step};
use super::{NextGeneration, Settings};
use crate::backoff::Backoff;
use crate::consumer::MembershipError;
use crate::topic_partition::TopicPartition;

const INTERVAL: Duration = Duration::from_secs(5);
const BACKOFF: Backoff = Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(1) };

fn ps(indexes: &[i32]) -> Vec<TopicPartition> {
    indexes.iter().map(|index| TopicPartition::new("t", *index)).collect()
}

struct Script {
    core: NextGeneration,
    now: Instant,
}

impl Script {
    fn new(is_static: bool) -> Self {
        let now = Instant::now();
        let settings = Settings { is_static, backoff: BACKOFF };
        Self { core: NextGeneration::new(settings, "m".into(), vec!["t".into()], now), now }
    }

    fn step(&mut self) -> Step {
        match self.core.next(self.now) {
            Next::Do(step) => step,
            other => panic!("expected a step, it is {other:?}"),
        }
    }

    fn beats(&mut self) -> Beat {
        match self.step() {
            Step::Beat(beat) => beat,
            other => panic!("expected a heartbeat, it is {other:?}"),
        }
    }

    fn waits(&mut self) -> Option<Instant> {
        match self.core.next(self.now) {
            Next::Wait(at) => at,
            other => panic!("expected it to wait, it is {other:?}"),
        }
    }

    fn told(&mut self, epoch: i32, assigned: Option<&[i32]>) {
        let beaten = Beaten { epoch, interval: INTERVAL, assigned: assigned.map(ps) };
        self.core.on_beaten(Ok(beaten), self.now);
    }

    fn refused(&mut self, code: ErrorCode) {
        self.core.on_beaten(Err(Failure::Refused(code)), self.now);
    }

    fn settles(&mut self) -> Step {
        let step = self.step();
        assert!(!matches!(step, Step::Beat(_)), "{step:?}");
        self.core.on_settled(&step, self.now);
        step
    }

    /// A member in peace with these partitions.
    fn settled(mut self, partitions: &[i32]) -> Self {
        self.beats();
        self.told(1, Some(partitions));
        assert_eq!(self.settles(), Step::Assign(ps(partitions)));
        assert_eq!(self.beats().owned, Some(ps(partitions)), "it says at once what it has");
        self.told(1, None);
        assert_eq!(self.waits(), Some(self.now + INTERVAL));
        self
    }
}

#[test]
fn it_joins_with_all_it_has_to_say_and_then_says_only_what_is_new() {
    let mut member = Script::new(false);
    let first = member.beats();
    assert_eq!((first.identity.generation, first.tells_all), (0, true));
    assert_eq!((first.topics, first.owned), (Some(vec!["t".into()]), Some(Vec::new())));
    assert_eq!(member.core.commits_as(), None);
    member.told(1, Some(&[0, 1]));
    assert_eq!(member.settles(), Step::Assign(ps(&[0, 1])));
    let second = member.beats();
    assert_eq!((second.identity.generation, second.tells_all, second.topics), (1, false, None));
    member.told(1, None);
    member.now += INTERVAL;
    let third = member.beats();
    assert_eq!((third.topics, third.owned), (None, None));
    member.told(2, None);
    assert_eq!(member.core.commits_as().map(|identity| identity.generation), Some(2));
    member.core.on_subscribed(vec!["u".into()], member.now);
    assert_eq!(member.beats().topics, Some(vec!["u".into()]), "at once");
}

#[test]
fn heartbeats_go_on_while_it_lets_go_and_take_comes_after() {
    let mut member = Script::new(false).settled(&[0, 1]);
    member.now += INTERVAL;
    member.beats();
    member.told(1, Some(&[1, 2]));
    let revoke = member.step();
    assert_eq!(revoke, Step::Revoke(ps(&[0])));
    member.now += INTERVAL;
    assert_eq!(member.beats().owned, None, "it has neither the old nor the new");
    // The coordinator has changed its mind.
    member.told(1, Some(&[1]));
    member.core.on_settled(&revoke, member.now);
    assert_eq!(member.beats().owned, Some(ps(&[1])));
    member.told(2, Some(&[1, 3]));
    assert_eq!(member.settles(), Step::Assign(ps(&[3])));
    assert_eq!(member.beats().owned, Some(ps(&[1, 3])));
}

#[test]
fn a_member_with_nothing_is_told_so_once() {
    let mut member = Script::new(false);
    member.beats();
    member.told(1, Some(&[]));
    assert_eq!(member.settles(), Step::Assign(Vec::new()));
    member.beats();
    member.told(1, Some(&[]));
    assert_eq!(member.waits(), Some(member.now + INTERVAL));
}

#[test]
fn who_is_fenced_loses_all_before_it_joins_anew() {
    for code in [ErrorCode::FencedMemberEpoch, ErrorCode::UnknownMemberId] {
        let mut member = Script::new(false).settled(&[0]);
        member.now += INTERVAL;
        member.beats();
        member.refused(code);
        assert_eq!(member.core.commits_as(), None);
        assert_eq!(member.settles(), Step::Lose(ps(&[0])));
        member.now = member.waits().expect("later");
        let beat = member.beats();
        assert_eq!((beat.identity.generation, beat.owned), (0, Some(Vec::new())));
        member.told(7, Some(&[0]));
        assert_eq!(member.settles(), Step::Assign(ps(&[0])));
    }
}

#[test]
fn who_is_not_answered_says_all_again_ever_more_rarely() {
    let mut member = Script::new(false).settled(&[0]);
    member.now += INTERVAL;
    member.beats();
    let begun = member.now;
    for _ in 0..20 {
        member.core.on_beaten(Err(Failure::Unanswered("nobody".into())), member.now);
        member.now = member.waits().expect("later");
        let beat = member.beats();
        assert_eq!((beat.identity.generation, beat.tells_all, beat.owned), (1, true, Some(ps(&[0]))));
    }
    let waited = member.now - begun;
    assert!(waited > Duration::from_secs(12) && waited < Duration::from_secs(25), "{waited:?}");
}

#[test]
fn who_is_refused_for_good_says_so() {
    let mut member = Script::new(false).settled(&[0]);
    member.now += INTERVAL;
    member.beats();
    member.refused(ErrorCode::GroupMaxSizeReached);
    assert_eq!(member.settles(), Step::Lose(ps(&[0])));
    let code = ErrorCode::GroupMaxSizeReached;
    assert_eq!(member.core.next(member.now), Next::Failed(MembershipError::Refused { code }));
}

#[test]
fn it_leaves_after_letting_go() {
    for (is_static, epoch) in [(false, -1), (true, -2)] {
        let mut member = Script::new(is_static).settled(&[0]);
        assert_eq!(member.core.on_leave(), Calls::Dropped);
        let revoke = member.step();
        assert_eq!(revoke, Step::Revoke(ps(&[0])));
        assert_eq!(member.waits(), None, "not before it has let go");
        member.core.on_settled(&revoke, member.now);
        assert_eq!(member.beats().identity.generation, epoch);
        assert_eq!(member.waits(), None);
        member.told(epoch, None);
        assert_eq!(member.core.next(member.now), Next::Ended);
    }
    let mut member = Script::new(false);
    assert_eq!(member.core.on_leave(), Calls::Dropped);
    assert_eq!(member.core.next(member.now), Next::Ended, "nobody knows it");
}

#[test]
fn who_asks_for_no_records_makes_way_and_comes_back() {
    let mut member = Script::new(false).settled(&[0]);
    assert_eq!(member.core.on_stalled(), Calls::Dropped);
    assert_eq!(member.core.commits_as(), None);
    assert_eq!(member.settles(), Step::Lose(ps(&[0])));
    assert_eq!(member.beats().identity.generation, -1);
    member.told(-1, None);
    assert_eq!(member.waits(), None);
    member.core.on_resumed(member.now);
    assert_eq!(member.beats().identity.generation, 0);
}
