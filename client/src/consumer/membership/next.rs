//! The consumer protocol of KIP-848 (ConsumerGroupHeartbeat), as a pure core: outcome + now -> next step.
//!
//! The coordinator assigns; a member beats, is told what it is to have, lets go of what it is not, takes the rest, and says so with
//! its next heartbeat. Must not know: connections, tasks, the clock, topic ids.

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use cairn_protocol::error_code::ErrorCode;
use tokio::time::Instant;

use super::step::{Beat, Beaten, Calls, Failure, Identity, Next, Step};
use crate::backoff::Backoff;
use crate::consumer::MembershipError;
use crate::topic_partition::TopicPartition;

/// The epoch of a member that joins.
const JOINING: i32 = 0;
/// The epoch of a member that leaves, and of a static one that comes back.
const LEAVING: i32 = -1;
const LEAVING_FOR_A_WHILE: i32 = -2;

/// What does not change while it is a member.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) is_static: bool,
    pub(super) backoff: Backoff,
}

/// What it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// It takes part, or is about to.
    Taking,
    /// The application asks for no records: it has left, until it does again.
    Stalled(Bye),
    /// It gives up what it has, then it leaves.
    Leaving,
    Left,
    Failed(MembershipError),
}

/// Whether it has said that it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bye {
    ToSay,
    Said,
}

/// A member of a group of the next generation.
#[derive(Debug)]
pub(super) struct NextGeneration {
    settings: Settings,
    topics: Vec<Arc<str>>,
    /// Its id, which it chose itself and keeps (KIP-1082), and its epoch.
    identity: Identity,
    owned: Vec<TopicPartition>,
    /// What it is to have, until it has.
    target: Option<Vec<TopicPartition>>,
    /// The application was told what it has, be it nothing, since it joined.
    is_announced: bool,
    is_lost: bool,
    state: State,
    transfer_under_way: bool,
    beat_under_way: bool,
    /// Some heartbeat was sent, so that the coordinator may know it.
    is_known: bool,
    /// The coordinator has to be told all, or its topics, or its partitions.
    tell_all: bool,
    tell_topics: bool,
    tell_owned: bool,
    beat_at: Instant,
    failures: u32,
}

impl NextGeneration {
    pub(super) fn new(settings: Settings, member_id: Box<str>, topics: Vec<Arc<str>>, now: Instant) -> Self {
        Self {
            settings,
            topics,
            identity: Identity { member_id, generation: JOINING },
            owned: Vec::new(),
            target: None,
            is_announced: false,
            is_lost: false,
            state: State::Taking,
            transfer_under_way: false,
            beat_under_way: false,
            is_known: false,
            tell_all: true,
            tell_topics: false,
            tell_owned: false,
            beat_at: now,
            failures: 0,
        }
    }

    /// As whom it may commit: nobody once its partitions may be another's.
    pub(super) fn commits_as(&self) -> Option<&Identity> {
        let may = self.identity.generation > JOINING && !self.is_lost && !matches!(self.state, State::Stalled(_));
        may.then_some(&self.identity)
    }

    /// It wants other topics from now on.
    pub(super) fn on_subscribed(&mut self, topics: Vec<Arc<str>>, now: Instant) {
        if topics != self.topics {
            self.topics = topics;
            self.tell_topics = true;
            self.beat_at = now;
        }
    }

    /// The application asks for no records any more: it makes way for others.
    pub(super) fn on_stalled(&mut self) -> Calls {
        if self.state != State::Taking {
            return Calls::Kept;
        }
        self.state = State::Stalled(Bye::ToSay);
        self.is_lost = true;
        self.target = None;
        self.beat_under_way = false;
        Calls::Dropped
    }

    /// The application asks for records again.
    pub(super) fn on_resumed(&mut self, now: Instant) {
        if matches!(self.state, State::Stalled(_)) {
            self.state = State::Taking;
            self.join_anew(now);
        }
    }

    /// It is to leave.
    pub(super) fn on_leave(&mut self) -> Calls {
        let calls = match self.state {
            State::Leaving | State::Left | State::Failed(_) => return Calls::Kept,
            State::Stalled(_) => Calls::Kept,
            State::Taking => Calls::Dropped,
        };
        if self.state == State::Stalled(Bye::Said) {
            self.is_known = false;
        }
        if calls == Calls::Dropped {
            self.beat_under_way = false;
        }
        self.target = None;
        self.state = State::Leaving;
        calls
    }

    /// What to do now. A step that is given counts as under way.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        if !self.transfer_under_way {
            if let Some(step) = self.next_transfer() {
                self.transfer_under_way = true;
                return Next::Do(step);
            }
            if let State::Failed(why) = &self.state {
                return Next::Failed(why.clone());
            }
        }
        match self.next_beat(now) {
            Some(beat) => {
                self.beat_under_way = true;
                self.is_known = true;
                Next::Do(Step::Beat(beat))
            }
            None if self.state == State::Left && !self.beat_under_way => Next::Ended,
            None => Next::Wait(self.wake_at()),
        }
    }

    fn next_transfer(&mut self) -> Option<Step> {
        if self.is_lost && !self.owned.is_empty() {
            return Some(Step::Lose(self.owned.clone()));
        }
        self.is_lost = false;
        if self.state == State::Leaving && !self.owned.is_empty() {
            return Some(Step::Revoke(self.owned.clone()));
        }
        let target = self.target.as_ref().filter(|_| self.state == State::Taking)?;
        let without = |these: &[TopicPartition], those: &[TopicPartition]| -> Vec<TopicPartition> {
            these.iter().filter(|it| !those.contains(it)).cloned().collect()
        };
        let gone = without(&self.owned, target);
        if !gone.is_empty() {
            return Some(Step::Revoke(gone));
        }
        let new = without(target, &self.owned);
        if !new.is_empty() || !self.is_announced {
            return Some(Step::Assign(new));
        }
        self.target = None;
        None
    }

    fn next_beat(&mut self, now: Instant) -> Option<Beat> {
        if self.beat_under_way {
            return None;
        }
        match self.state {
            State::Leaving if self.transfer_under_way => None,
            State::Stalled(Bye::ToSay) => {
                self.state = State::Stalled(Bye::Said);
                self.is_known.then(|| self.farewell())
            }
            State::Leaving => {
                self.state = State::Left;
                self.is_known.then(|| self.farewell())
            }
            // Who joins has nothing: what it had is let go of first.
            State::Taking if self.is_joining() && !self.owned.is_empty() => None,
            State::Taking if self.beat_at <= now => Some(self.beat()),
            _ => None,
        }
    }

    fn is_joining(&self) -> bool {
        self.identity.generation == JOINING
    }

    fn beat(&mut self) -> Beat {
        let tells_all = std::mem::take(&mut self.tell_all);
        let tells_topics = std::mem::take(&mut self.tell_topics) || tells_all;
        // In the middle of a transfer it has neither what it had nor what it is to have.
        let tells_owned = (self.tell_owned || tells_all) && !self.transfer_under_way && self.target.is_none();
        self.tell_owned &= !tells_owned;
        self.tell_owned |= tells_all && !tells_owned;
        Beat {
            identity: self.identity.clone(),
            tells_all,
            topics: tells_topics.then(|| self.topics.clone()),
            owned: tells_owned.then(|| self.owned.clone()),
        }
    }

    fn farewell(&self) -> Beat {
        let generation = if self.settings.is_static { LEAVING_FOR_A_WHILE } else { LEAVING };
        let identity = Identity { member_id: self.identity.member_id.clone(), generation };
        // A static member is known by its instance id, which is among "all".
        Beat { identity, tells_all: self.settings.is_static, topics: None, owned: None }
    }

    fn wake_at(&self) -> Option<Instant> {
        let may_beat = !self.is_joining() || self.owned.is_empty();
        (may_beat && self.state == State::Taking && !self.beat_under_way).then_some(self.beat_at)
    }

    /// A heartbeat was answered, or was not.
    pub(super) fn on_beaten(&mut self, outcome: Result<Beaten, Failure>, now: Instant) {
        self.beat_under_way = false;
        if self.state != State::Taking {
            return;
        }
        match outcome {
            Ok(beaten) => {
                self.failures = 0;
                self.identity.generation = beaten.epoch;
                if let Some(assigned) = beaten.assigned {
                    self.target = Some(assigned);
                }
                // What is to be told is told at once.
                let is_due = self.tell_owned && !self.transfer_under_way && self.target.is_none();
                self.beat_at = if is_due { now } else { now + beaten.interval.max(Duration::from_millis(1)) };
            }
            Err(failure) => self.on_failure(&failure, now),
        }
    }

    fn on_failure(&mut self, failure: &Failure, now: Instant) {
        // Nobody knows what was heard of it.
        self.tell_all = true;
        let code = match failure {
            Failure::Hopeless(reason) => {
                return self.fail(MembershipError::Incompatible { reason: reason.clone() });
            }
            Failure::Unanswered(_) | Failure::MemberIdRequired(_) => None,
            Failure::Refused(code) => Some(*code),
        };
        match code {
            Some(ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId) => self.join_anew(now),
            Some(code) if !code.is_retriable() && code != ErrorCode::UnknownServerError => {
                return self.fail(MembershipError::Refused { code });
            }
            _ => {}
        }
        self.failures += 1;
        self.beat_at = now + self.settings.backoff.wait_after(self.failures);
    }

    fn fail(&mut self, why: MembershipError) {
        self.identity.generation = JOINING;
        self.is_lost = true;
        self.state = State::Failed(why);
    }

    /// It takes part as if it were new; what it had may be another's.
    fn join_anew(&mut self, now: Instant) {
        self.identity.generation = JOINING;
        self.is_lost = !self.owned.is_empty();
        self.is_announced = false;
        self.target = None;
        self.tell_all = true;
        self.beat_at = now;
    }

    /// Partitions were revoked, lost or assigned, as this step says.
    pub(super) fn on_settled(&mut self, step: &Step, now: Instant) {
        self.transfer_under_way = false;
        match step {
            Step::Revoke(gone) | Step::Lose(gone) => self.owned.retain(|owned| !gone.contains(owned)),
            Step::Assign(new) => {
                self.is_announced = true;
                self.owned.extend(new.iter().cloned());
                self.owned.sort();
            }
            _ => return,
        }
        let is_there = self.target.as_ref().is_none_or(|target| {
            target.len() == self.owned.len() && target.iter().all(|partition| self.owned.contains(partition))
        });
        if is_there {
            self.target = None;
            self.tell_owned = true;
            if !self.is_joining() {
                self.beat_at = now;
            }
        }
    }
}
