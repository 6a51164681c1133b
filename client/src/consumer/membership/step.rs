//! The words in which a membership protocol and the task that drives it speak: what is to be done, and how it went.
//!
//! A protocol is a pure core: it is asked for its next step, and told what became of it. Must not know: either protocol's rules,
//! connections.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_protocol::error_code::ErrorCode;
use tokio::time::Instant;

use super::Assignor;
use super::assignor::{Candidate, Counts};
use crate::consumer::MembershipError;
use crate::topic_partition::TopicPartition;

/// Something that the task does for the protocol: it tells the [`Outcome`] of what it asks others, and which transfer is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Sends JoinGroup.
    Join(Join),
    /// Sends SyncGroup.
    Sync(Sync),
    /// Sends a heartbeat.
    Heartbeat(Identity),
    /// Sends a heartbeat of the next generation (KIP-848).
    Beat(Beat),
    /// Sends LeaveGroup.
    Leave { identity: Identity, reason: &'static str },
    /// Asks how many partitions these topics have.
    Count(Vec<Arc<str>>),
    /// Lets partitions go, after what was read of them is committed.
    Revoke(Vec<TopicPartition>),
    /// Drops partitions that may be another's already: nothing can be committed.
    Lose(Vec<TopicPartition>),
    /// Begins to read partitions.
    Assign(Vec<TopicPartition>),
}

/// Who speaks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) member_id: Box<str>,
    /// The generation, -1 for none; or the member's epoch (KIP-848).
    pub(super) generation: i32,
}

/// A JoinGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Join {
    pub(super) member_id: Box<str>,
    /// By assignor, the best liked first: what the leader is told.
    pub(super) protocols: Vec<(Assignor, Bytes)>,
    pub(super) reason: &'static str,
}

/// A SyncGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sync {
    pub(super) identity: Identity,
    pub(super) protocol: Assignor,
    /// What the leader decided, by member; followers send nothing.
    pub(super) assignments: Vec<(Box<str>, Bytes)>,
}

/// A ConsumerGroupHeartbeat: what it leaves out has not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Beat {
    pub(super) identity: Identity,
    /// Whether it says who it is and how long it may take.
    pub(super) tells_all: bool,
    pub(super) topics: Option<Vec<Arc<str>>>,
    pub(super) owned: Option<Vec<TopicPartition>>,
}

/// What ConsumerGroupHeartbeat gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Beaten {
    pub(super) epoch: i32,
    /// Until the next one.
    pub(super) interval: Duration,
    /// What it is to have from now on, if that is another thing.
    pub(super) assigned: Option<Vec<TopicPartition>>,
}

/// What JoinGroup gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Joined {
    pub(super) member_id: Box<str>,
    pub(super) generation: i32,
    pub(super) protocol: Option<Assignor>,
    pub(super) role: Role,
}

/// What a member does for its generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Follower,
    /// It assigns partitions to these.
    Leader(Vec<Candidate>),
    /// It leads, and the assignment that there is stays (KIP-814).
    LeaderOfOld,
}

/// Why a request did not do what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// Nobody answered; the coordinator may be another.
    Unanswered(Arc<str>),
    /// The coordinator refused.
    Refused(ErrorCode),
    /// It wants the member to join under this id.
    MemberIdRequired(Box<str>),
    /// It can never succeed: no version in common, an answer that makes no sense.
    Hopeless(Arc<str>),
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Joined(Result<Joined, Failure>),
    Synced(Result<Vec<TopicPartition>, Failure>),
    Heartbeat(Result<(), Failure>),
    Beaten(Result<Beaten, Failure>),
    /// However it went: nobody waits for it.
    Left,
    Counted(Counts),
}

/// What becomes of requests that are not answered yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Calls {
    Kept,
    /// Nobody may tell their outcome any more.
    Dropped,
}

/// What is to be done next, if anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Next {
    Do(Step),
    /// Nothing before this time, or before an outcome.
    Wait(Option<Instant>),
    /// Nothing any more: it has left.
    Ended,
    /// Nothing any more: it was refused for good.
    Failed(MembershipError),
}
