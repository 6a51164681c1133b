//! The classic protocol of groups (JoinGroup, SyncGroup, Heartbeat, LeaveGroup), as a pure core: outcome + now -> next step.
//!
//! One step of the way (give up, join, assign, sync, take) is under way at a time, and beside it at most one heartbeat. Must not
//! know: connections, tasks, the clock, how partitions are read.

mod answers;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Assignor;
use super::assignor::{Candidate, Counts};
use super::step::{Calls, Identity, Join, Next, Step, Sync};
use crate::backoff::Backoff;
use crate::consumer::MembershipError;
use crate::consumer_protocol::Subscription;
use crate::topic_partition::TopicPartition;

/// No generation.
const NONE: i32 = -1;

/// What does not change while it is a member.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) assignors: Vec<Assignor>,
    pub(super) is_static: bool,
    pub(super) heartbeat_interval: Duration,
    pub(super) backoff: Backoff,
    /// How often the leader looks whether topics have grown.
    pub(super) metadata_max_age: Duration,
}

/// Where a member is on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// It wants to join; before that it gives up what it must not keep.
    Unjoined,
    /// JoinGroup is sent.
    Joining,
    /// It leads; the topics are counted.
    Counting(Vec<Candidate>),
    /// It has to send SyncGroup with this.
    Decided(Vec<(Box<str>, bytes::Bytes)>),
    /// SyncGroup is sent.
    Syncing,
    /// It was given these partitions and is to make them its own. Then it joins again if it had to let any go: others wait for
    /// them (KIP-429).
    Given {
        partitions: Vec<TopicPartition>,
        then: Then,
    },
    Stable,
    /// It leaves, or has left, since the application no longer asks for records.
    Stalled,
    /// It gives up what it has, then it leaves.
    Leaving,
    Left,
    Failed(MembershipError),
}

/// What comes after an assignment was taken over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    Stay,
    JoinAgain,
}

/// Whether a step of the way is under way: one whose outcome is not there yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Free,
    Busy,
}

/// A member of a classic group.
#[derive(Debug)]
pub(super) struct Classic {
    settings: Settings,
    topics: Vec<Arc<str>>,
    identity: Identity,
    protocol: Option<Assignor>,
    owned: Vec<TopicPartition>,
    /// What it was given last, and in which generation.
    last_given: (Vec<TopicPartition>, i32),
    /// What it has may be another's already.
    is_lost: bool,
    state: State,
    way: Way,
    /// Why it joins, for the coordinator's log (KIP-800).
    reason: &'static str,
    /// It has to join again, as soon as it is there, for this reason.
    again: Option<&'static str>,
    failures: u32,
    not_before: Option<Instant>,
    heartbeat_at: Instant,
    heartbeat_under_way: bool,
    heartbeat_failures: u32,
    /// What the leader assigned by, and when it looks again.
    led_by: Option<(Counts, Instant)>,
    count_under_way: bool,
}

impl Classic {
    pub(super) fn new(settings: Settings, topics: Vec<Arc<str>>, now: Instant) -> Self {
        Self {
            settings,
            topics,
            identity: Identity { member_id: Box::default(), generation: NONE },
            protocol: None,
            owned: Vec::new(),
            last_given: (Vec::new(), NONE),
            is_lost: false,
            state: State::Unjoined,
            way: Way::Free,
            reason: "the consumer has subscribed",
            again: None,
            failures: 0,
            not_before: None,
            heartbeat_at: now,
            heartbeat_under_way: false,
            heartbeat_failures: 0,
            led_by: None,
            count_under_way: false,
        }
    }

    /// As whom it may commit: nobody once its partitions may be another's.
    pub(super) fn commits_as(&self) -> Option<&Identity> {
        let may = self.identity.generation != NONE && !self.is_lost && self.state != State::Stalled;
        may.then_some(&self.identity)
    }

    /// It wants other topics from now on.
    pub(super) fn on_subscribed(&mut self, topics: Vec<Arc<str>>) {
        if topics != self.topics {
            self.topics = topics;
            self.again = Some("the subscription has changed");
        }
    }

    /// The application asks for no records any more: it makes way for others.
    pub(super) fn on_stalled(&mut self) -> Calls {
        if matches!(self.state, State::Stalled | State::Leaving | State::Left | State::Failed(_)) {
            return Calls::Kept;
        }
        self.stop_asking();
        self.state = State::Stalled;
        self.is_lost = true;
        Calls::Dropped
    }

    /// The application asks for records again.
    pub(super) fn on_resumed(&mut self) {
        if self.state == State::Stalled {
            self.state = State::Unjoined;
            self.reason = "the application asks for records again";
        }
    }

    /// It is to leave.
    pub(super) fn on_leave(&mut self) -> Calls {
        let calls = match self.state {
            State::Leaving | State::Left | State::Failed(_) => return Calls::Kept,
            // It says already that it leaves.
            State::Stalled => Calls::Kept,
            _ => Calls::Dropped,
        };
        if calls == Calls::Dropped {
            self.stop_asking();
        }
        self.state = State::Leaving;
        calls
    }

    /// Nobody waits for answers any more: JoinGroup alone may take minutes.
    fn stop_asking(&mut self) {
        self.heartbeat_under_way = false;
        self.count_under_way = false;
        if matches!(self.state, State::Joining | State::Counting(_) | State::Syncing) {
            self.way = Way::Free;
        }
    }

    /// What to do now. A step that is given counts as under way.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        if self.way == Way::Free {
            if let Some(step) = self.next_on_the_way(now) {
                self.way = Way::Busy;
                return Next::Do(step);
            }
            match &self.state {
                State::Left => return Next::Ended,
                State::Failed(why) => return Next::Failed(why.clone()),
                _ => {}
            }
        }
        if let Some(step) = self.next_beside(now) {
            return Next::Do(step);
        }
        Next::Wait(self.wake_at(now))
    }

    fn next_on_the_way(&mut self, now: Instant) -> Option<Step> {
        if self.is_lost && !self.owned.is_empty() {
            return Some(Step::Lose(self.owned.clone()));
        }
        self.is_lost = false;
        if self.state == State::Stable
            && let Some(reason) = self.again
        {
            self.rejoin(reason);
        }
        match &self.state {
            State::Unjoined => {
                let gone = self.to_give_up();
                if !gone.is_empty() {
                    return Some(Step::Revoke(gone));
                }
                if self.not_before.is_some_and(|at| at > now) {
                    return None;
                }
                Some(self.join())
            }
            State::Counting(members) => Some(Step::Count(topics_of(members))),
            State::Decided(assignments) => {
                let protocol = self.protocol.unwrap_or(self.settings.assignors[0]);
                let assignments = assignments.clone();
                self.state = State::Syncing;
                Some(Step::Sync(Sync { identity: self.identity.clone(), protocol, assignments }))
            }
            State::Given { partitions, .. } => {
                let gone = without(&self.owned, partitions);
                if gone.is_empty() {
                    return Some(Step::Assign(without(partitions, &self.owned)));
                }
                Some(Step::Revoke(gone))
            }
            State::Stalled | State::Leaving if !self.owned.is_empty() => Some(Step::Revoke(self.owned.clone())),
            State::Stalled | State::Leaving => self.leave(),
            State::Joining | State::Syncing | State::Stable | State::Left | State::Failed(_) => None,
        }
    }

    /// What must not be kept while it joins.
    fn to_give_up(&self) -> Vec<TopicPartition> {
        if !self.settings.assignors.iter().all(|assignor| assignor.is_cooperative()) {
            return self.owned.clone();
        }
        self.owned.iter().filter(|owned| !self.topics.contains(&owned.topic)).cloned().collect()
    }

    fn join(&mut self) -> Step {
        let mut topics = self.topics.clone();
        topics.sort();
        let generation = self.identity.generation;
        let mut subscription = Subscription { topics, user_data: None, owned: self.owned.clone(), generation };
        let (had, had_in) = &self.last_given;
        let mut encoded = |assignor: &Assignor| {
            subscription.user_data = assignor.user_data(had, *had_in);
            (*assignor, subscription.encode().unwrap_or_default())
        };
        let protocols = self.settings.assignors.iter().map(&mut encoded).collect();
        self.state = State::Joining;
        self.again = None;
        Step::Join(Join { member_id: self.identity.member_id.clone(), protocols, reason: self.reason })
    }

    /// Static members do not say that they go: they are waited for (KIP-345). But who stalls has to make way.
    fn leave(&mut self) -> Option<Step> {
        let reason =
            if self.state == State::Stalled { "the application does not ask for records" } else { "it was closed" };
        let says_so = !self.identity.member_id.is_empty() && !self.settings.is_static;
        if self.state == State::Leaving {
            self.state = State::Left;
        }
        if !says_so {
            if self.state == State::Stalled {
                // It sends no heartbeat, so that its session ends.
                self.identity.generation = NONE;
            }
            return None;
        }
        let identity = std::mem::replace(&mut self.identity, Identity { member_id: Box::default(), generation: NONE });
        Some(Step::Leave { identity, reason })
    }

    /// What is done beside the way: heartbeats, and the leader's look at its topics.
    fn next_beside(&mut self, now: Instant) -> Option<Step> {
        let is_alive = self.identity.generation != NONE && self.is_between_joins();
        if is_alive && !self.heartbeat_under_way && self.heartbeat_at <= now {
            self.heartbeat_under_way = true;
            return Some(Step::Heartbeat(self.identity.clone()));
        }
        if self.state == State::Stable
            && !self.count_under_way
            && let Some((counts, _)) = self.led_by.as_ref().filter(|(_, at)| *at <= now)
        {
            self.count_under_way = true;
            return Some(Step::Count(counts.keys().cloned().collect()));
        }
        None
    }

    /// Whether the coordinator expects heartbeats: while it waits in JoinGroup it does not.
    fn is_between_joins(&self) -> bool {
        !matches!(self.state, State::Joining | State::Stalled | State::Left | State::Failed(_))
    }

    fn wake_at(&self, now: Instant) -> Option<Instant> {
        let heartbeat = (self.identity.generation != NONE && self.is_between_joins() && !self.heartbeat_under_way)
            .then_some(self.heartbeat_at);
        let look = self.led_by.as_ref().filter(|_| self.state == State::Stable && !self.count_under_way);
        let join = self.not_before.filter(|at| self.state == State::Unjoined && self.way == Way::Free && *at > now);
        [heartbeat, look.map(|(_, at)| *at), join].into_iter().flatten().min()
    }

    /// Joins again, if it is a member in peace; else it is on its way already.
    fn rejoin(&mut self, reason: &'static str) {
        if self.state == State::Stable {
            self.state = State::Unjoined;
            self.reason = reason;
        }
    }
}

/// What is in `these` and not in `those`.
fn without(these: &[TopicPartition], those: &[TopicPartition]) -> Vec<TopicPartition> {
    these.iter().filter(|it| !those.contains(it)).cloned().collect()
}

fn topics_of(members: &[Candidate]) -> Vec<Arc<str>> {
    let topics: BTreeSet<Arc<str>> =
        members.iter().flat_map(|member| member.subscription.topics.iter().cloned()).collect();
    topics.into_iter().collect()
}
