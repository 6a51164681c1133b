//! What leader and follower say to each other.
//!
//! Must not know: bytes on the wire, connections.

use cairn_metadata::BrokerEpoch;
use cairn_protocol::ids::{LeaderEpoch, Offset};

use crate::log_view::EpochEnd;

/// A place between two records: the offset of what follows, and the epoch of the record before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The offset of the next record.
    pub offset: Offset,
    /// The epoch of the record before; none at the start of the leader's log.
    pub epoch: Option<LeaderEpoch>,
}

/// Counts how often the leader has begun anew with one follower: answers to pushes of before are not heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u32);

/// When a push is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AckWhen {
    /// Once the follower has the records in memory: `replicated`.
    Appended,
    /// Once they are on its disk: `synced`.
    Flushed,
}

/// Records for a follower, or none: a question whether it has what lies before `prev`. The records travel beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Push {
    /// The leader's epoch.
    pub leader_epoch: LeaderEpoch,
    /// The follower's incarnation that it is for.
    pub target: BrokerEpoch,
    /// Comes back with the answer.
    pub generation: Generation,
    /// Where the records follow on.
    pub prev: Position,
    /// The leader's high watermark.
    pub high_watermark: Offset,
    /// The leader's first offset.
    pub log_start: Offset,
    /// The last leader epoch that began with a leader that may have lacked something: what a follower holds as committed of
    /// earlier epochs is not, where this leader has something else.
    pub unclean_epoch: Option<LeaderEpoch>,
    /// What the leader waits for.
    pub ack_when: AckWhen,
}

/// A piece of the leader's log, without its bytes: each begins where the one before ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Span {
    /// The offset of its first record.
    pub base: Offset,
    /// The offset behind its last record.
    pub end: Offset,
    /// The epoch that it was written in.
    pub epoch: LeaderEpoch,
    /// What is there.
    pub content: Content,
}

/// What is at a place of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Content {
    /// A batch. Its checksum was verified.
    Batch,
    /// Nothing any more: compaction has removed it. All of it was committed.
    Hole,
}

/// A follower has what a push has proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PushAck {
    /// The epoch of the push.
    pub leader_epoch: LeaderEpoch,
    /// The follower's incarnation.
    pub incarnation: BrokerEpoch,
    /// That of the push.
    pub generation: Generation,
    /// Below this the follower's log is the leader's: the end of what was pushed, and never more.
    pub matched: Offset,
    /// Below this it is on the follower's disk as well. Never above `matched`.
    pub flushed: Offset,
}

/// A follower did not take a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PushNack {
    /// The newest leader epoch that the follower knows. A leader of an older one leads no more.
    pub leader_epoch: LeaderEpoch,
    /// The follower's incarnation.
    pub incarnation: BrokerEpoch,
    /// That of the push.
    pub generation: Generation,
    /// Where the push began.
    pub at: Offset,
    /// Why.
    pub reason: NackReason,
    /// Where the follower's log ends.
    pub log_end: Offset,
}

/// Why a follower did not take a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum NackReason {
    /// It knows a newer leader.
    #[error("the follower knows a newer leader")]
    Fenced,
    /// Its log ends before the place where the records follow on.
    #[error("the follower's log ends before the pushed records")]
    Gap,
    /// The record before is of another epoch: it tells the largest epoch that it has up to that of the push, and its end.
    #[error("the follower's log is another one at the pushed records")]
    Diverged(EpochEnd),
    /// Its log begins behind the place where the records follow on, here.
    #[error("the follower's log begins at {0}, behind the pushed records")]
    BelowStart(Offset),
    /// The records do not follow on each other, or are of the future. Nothing of them was written.
    #[error("the pushed records do not follow on each other")]
    Malformed,
    /// The follower's disk did not take them. Nothing counts.
    #[error("the follower could not store the pushed records")]
    Storage,
    /// It does not know yet that it keeps the partition.
    #[error("the follower does not know that it keeps the partition")]
    NotKept,
}
