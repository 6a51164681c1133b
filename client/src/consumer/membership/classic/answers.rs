//! What a member of a classic group makes of the coordinator's answers.
//!
//! Must not know: when requests are sent.

use std::time::Duration;

use cairn_protocol::error_code::ErrorCode;
use tokio::time::Instant;

use super::super::assignor::{Candidate, Counts};
use super::super::step::{Failure, Joined, Outcome, Role, Step};
use super::{Classic, NONE, State, Then, Way};
use crate::consumer::MembershipError;
use crate::consumer_protocol::encode_assignment;
use crate::topic_partition::TopicPartition;

/// How often a leader looks for a topic that is not there yet.
const MISSING_TOPIC_EVERY: Duration = Duration::from_secs(2);

/// What a failure asks of a member.
enum Verdict {
    /// The same later.
    Later,
    /// The group rebalances: join, as who it is.
    Join,
    /// Its generation is over: others may have its partitions. It joins as who it is.
    NoGeneration,
    /// The coordinator does not know it any more.
    NoMember,
    /// It is another now who has its name; or the coordinator will never take it.
    Refused(MembershipError),
}

impl Verdict {
    fn of(failure: &Failure) -> Self {
        let code = match failure {
            Failure::Unanswered(_) => return Self::Later,
            Failure::Hopeless(why) => return Self::Refused(MembershipError::Incompatible { reason: why.clone() }),
            Failure::MemberIdRequired(_) => return Self::Join,
            Failure::Refused(code) => *code,
        };
        match code {
            ErrorCode::RebalanceInProgress => Self::Join,
            ErrorCode::IllegalGeneration => Self::NoGeneration,
            ErrorCode::UnknownMemberId => Self::NoMember,
            code if code.is_retriable() => Self::Later,
            // A coordinator that fails inside may not do so the next time.
            ErrorCode::UnknownServerError => Self::Later,
            code => Self::Refused(MembershipError::Refused { code }),
        }
    }
}

impl Classic {
    /// What was sent was answered, or was not; topics were counted.
    pub(in super::super) fn on_outcome(&mut self, outcome: Outcome, now: Instant) {
        match outcome {
            Outcome::Heartbeat(outcome) => return self.on_heartbeat(&outcome, now),
            Outcome::Counted(counts) if self.count_under_way => return self.on_look(counts, now),
            _ => self.way = Way::Free,
        }
        match outcome {
            Outcome::Joined(outcome) if self.state == State::Joining => self.on_joined(outcome, now),
            Outcome::Synced(outcome) if self.state == State::Syncing => self.on_synced(outcome, now),
            Outcome::Counted(counts) => self.on_counted(counts, now),
            Outcome::Joined(Ok(joined)) => {
                // It is to leave, or has stalled: this is whom it leaves as.
                self.identity.member_id = joined.member_id;
                self.identity.generation = joined.generation;
            }
            // It leaves, whatever came of what it asked before.
            Outcome::Joined(Err(_)) | Outcome::Synced(_) | Outcome::Left => {}
            // The one was looked at above, the other is not this protocol's.
            Outcome::Heartbeat(_) | Outcome::Beaten(_) => {}
        }
    }

    /// Partitions were revoked, lost or assigned, as this step says.
    pub(in super::super) fn on_settled(&mut self, step: &Step) {
        self.way = Way::Free;
        match step {
            Step::Revoke(gone) | Step::Lose(gone) => {
                self.owned.retain(|owned| !gone.contains(owned));
                if let State::Given { then, .. } = &mut self.state {
                    *then = Then::JoinAgain;
                }
            }
            Step::Assign(new) => {
                self.owned.extend(new.iter().cloned());
                self.owned.sort();
                self.state = match &self.state {
                    State::Given { then: Then::Stay, .. } => State::Stable,
                    State::Given { then: Then::JoinAgain, .. } => {
                        self.reason = "it has let go of partitions that others wait for";
                        State::Unjoined
                    }
                    other => other.clone(),
                };
            }
            _ => {}
        }
    }

    fn on_joined(&mut self, outcome: Result<Joined, Failure>, now: Instant) {
        let joined = match outcome {
            Ok(joined) => joined,
            Err(Failure::MemberIdRequired(id)) => {
                self.identity.member_id = id;
                self.state = State::Unjoined;
                self.reason = "the coordinator gave it its id";
                return;
            }
            Err(failure) => return self.on_failure(&failure, now),
        };
        self.failures = 0;
        self.not_before = None;
        self.identity.member_id = joined.member_id;
        self.identity.generation = joined.generation;
        self.protocol = joined.protocol;
        self.heartbeat_at = now + self.settings.heartbeat_interval;
        self.heartbeat_failures = 0;
        self.led_by = None;
        self.state = match joined.role {
            Role::Leader(members) => State::Counting(members),
            Role::LeaderOfOld | Role::Follower => State::Decided(Vec::new()),
        };
    }

    fn on_counted(&mut self, counts: Counts, now: Instant) {
        let State::Counting(members) = &self.state else { return };
        let protocol = self.protocol.unwrap_or(self.settings.assignors[0]);
        let assigned = protocol.assign(members, &counts);
        let encoded = |(member, partitions): (&Candidate, Vec<TopicPartition>)| {
            // Names come from the coordinator in lengths that it took itself: they fit.
            (member.id.clone(), encode_assignment(&partitions, None).unwrap_or_default())
        };
        let assignments = members.iter().zip(assigned).map(encoded).collect();
        self.look_again(counts, now);
        self.state = State::Decided(assignments);
    }

    fn look_again(&mut self, counts: Counts, now: Instant) {
        let is_missing = counts.values().any(|count| *count == 0);
        let after = if is_missing { MISSING_TOPIC_EVERY } else { self.settings.metadata_max_age };
        self.led_by = Some((counts, now + after));
    }

    /// The leader has looked at its topics again.
    fn on_look(&mut self, counts: Counts, now: Instant) {
        self.count_under_way = false;
        let Some((old, _)) = &self.led_by else { return };
        if counts == *old {
            return self.look_again(counts, now);
        }
        self.rejoin("the topics have changed");
    }

    fn on_synced(&mut self, outcome: Result<Vec<TopicPartition>, Failure>, now: Instant) {
        match outcome {
            Ok(partitions) => {
                self.last_given = (partitions.clone(), self.identity.generation);
                self.state = State::Given { partitions, then: Then::Stay };
            }
            Err(failure) => self.on_failure(&failure, now),
        }
    }

    fn on_heartbeat(&mut self, outcome: &Result<(), Failure>, now: Instant) {
        self.heartbeat_under_way = false;
        self.heartbeat_at = now + self.settings.heartbeat_interval;
        let failure = match outcome {
            Ok(()) => {
                self.heartbeat_failures = 0;
                return;
            }
            Err(failure) => failure,
        };
        let is_settled = matches!(self.state, State::Stable | State::Given { .. });
        match Verdict::of(failure) {
            Verdict::Later => {
                self.heartbeat_failures += 1;
                let wait = self.settings.backoff.wait_after(self.heartbeat_failures);
                self.heartbeat_at = now + wait.min(self.settings.heartbeat_interval);
            }
            // What it is given meanwhile it takes first; the next heartbeat says again that there is more to come.
            Verdict::Join => self.rejoin("the group rebalances"),
            // An answer to a heartbeat of before: it is on its way to a new generation.
            Verdict::NoGeneration | Verdict::NoMember if !is_settled => {}
            Verdict::NoGeneration | Verdict::NoMember | Verdict::Refused(_) => self.on_failure(failure, now),
        }
    }

    fn on_failure(&mut self, failure: &Failure, now: Instant) {
        if matches!(self.state, State::Leaving | State::Left | State::Stalled) {
            return;
        }
        self.state = State::Unjoined;
        match Verdict::of(failure) {
            Verdict::Later => {
                self.failures += 1;
                self.not_before = Some(now + self.settings.backoff.wait_after(self.failures));
                self.reason = "the coordinator did not answer, or not yet";
            }
            Verdict::Join => self.reason = "the group rebalances",
            Verdict::NoGeneration => {
                self.reason = "its generation was over";
                self.forget_generation();
            }
            Verdict::NoMember => {
                self.reason = "the coordinator did not know it any more";
                self.identity.member_id = Box::default();
                self.forget_generation();
                // A coordinator that forgets at once what it has just known is not asked as fast as it answers.
                self.failures += 1;
                self.not_before = Some(now + self.settings.backoff.wait_after(self.failures));
            }
            Verdict::Refused(why) => {
                self.forget_generation();
                self.state = State::Failed(why);
            }
        }
    }

    fn forget_generation(&mut self) {
        self.identity.generation = NONE;
        self.is_lost = !self.owned.is_empty();
    }
}
