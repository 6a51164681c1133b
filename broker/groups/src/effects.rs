//! What a decision leads to: answers to be sent, records to be written, and what has happened to be told.
//!
//! Must not know: how any of it is done.

use std::sync::Arc;

use bytes::Bytes;
use cairn_protocol::error_code::ErrorCode;

use crate::consumer::heartbeat::HeartbeatReply;
use crate::consumer::pending::WriteNumber;
use crate::consumer::target::Assigning;
use crate::group::Protocol;
use crate::records::Record;

/// Somebody who waits for a reply; the number is the caller's, and unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Waiter(pub u64);

/// What a decision leads to. Everything in it has to be carried out.
#[derive(Debug, Default)]
pub struct Effects {
    /// Answers, each for a waiter that gets no other.
    pub replies: Vec<(Waiter, Reply)>,
    /// To be appended in this order.
    pub writes: Vec<Write>,
    /// To be worked out while nothing of the groups is held, and given to [`crate::Shard::on_assigned`] then.
    pub assignments: Vec<Assigning>,
    /// What has happened.
    pub events: Vec<Event>,
}

/// Records, and what follows once they are durable, or known not to be.
#[derive(Debug)]
pub struct Write {
    /// To be appended, and given to [`crate::Shard::on_appended`].
    pub records: Vec<Record>,
    /// Whether all have to go into one batch.
    pub split: Split,
    /// To be given to [`crate::Shard::on_written`] with how it went.
    pub then: Then,
}

/// Whether records may go into several batches, where one has no room for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// All of them last, or none.
    Never,
    /// In their order; the group is a whole after each of them.
    BetweenRecords,
}

/// What follows a write. Only its group knows.
#[derive(Debug)]
pub struct Then(pub(crate) Next);

#[derive(Debug)]
pub(crate) enum Next {
    /// Nothing: the group has moved on already.
    Nothing,
    /// A group that did not exist: its first member is told when it cannot be written.
    Created { group: Arc<str>, waiter: Waiter },
    /// The leader's assignment: it is in force once it is durable.
    Assigned { group: Arc<str>, generation: i32, assignments: Vec<(Box<str>, Bytes)> },
    /// A static member has come back under another id, without a rebalance.
    Replaced(Box<Replacement>),
    /// A consumer group has changed.
    Consumer(ConsumerWrite),
}

/// What a consumer group has changed, and who is told of it.
#[derive(Debug)]
pub(crate) struct ConsumerWrite {
    pub(crate) group: Arc<str>,
    pub(crate) number: WriteNumber,
    pub(crate) reply: Option<(Waiter, Reply)>,
    pub(crate) becomes: Becomes,
}

/// Which protocol a group has when what it changes is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Becomes {
    Consumer,
    Classic(Onward),
}

/// How a group goes on that has become a classic one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Onward {
    /// Everybody has what it is to have, and keeps it.
    AsAssigned,
    /// Somebody has to assign anew.
    Rebalance,
}

/// A static member that has come back under another id, and what it was before.
#[derive(Debug)]
pub(crate) struct Replacement {
    pub(crate) group: Arc<str>,
    pub(crate) instance: Arc<str>,
    pub(crate) waiter: Waiter,
    pub(crate) old_id: Arc<str>,
    pub(crate) new_id: Arc<str>,
    pub(crate) old_protocols: Vec<Protocol>,
    pub(crate) old_session_timeout_ms: i32,
    pub(crate) old_rebalance_timeout_ms: i32,
    /// Who led before it came.
    pub(crate) old_leader: Option<Arc<str>>,
    pub(crate) can_skip_assignment: bool,
}

/// An answer to a waiter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To [`crate::Shard::join`].
    Join(JoinReply),
    /// To [`crate::Shard::sync`].
    Sync(SyncReply),
    /// To [`crate::Shard::consumer_heartbeat`].
    Heartbeat(HeartbeatReply),
}

/// What a member is told whose heartbeat changes more than a batch of the log has room for. Kafka has the code and no reason.
const TOO_LARGE: &str = "What the group would have to keep does not fit into one batch of __consumer_offsets (max.message.bytes of that topic).";

impl Reply {
    /// The same reply, but that what it tells could not be written.
    pub(crate) fn refused(self, error: ErrorCode) -> Self {
        match self {
            Self::Join(reply) => Self::Join(JoinReply::refused(&reply.member, error)),
            Self::Sync(_) => Self::Sync(SyncReply::refused(error)),
            Self::Heartbeat(_) => {
                let is_too_large = error == ErrorCode::UnknownServerError;
                Self::Heartbeat(HeartbeatReply::refused(error, is_too_large.then(|| TOO_LARGE.into())))
            }
        }
    }
}

/// What a member is told that wanted to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinReply {
    /// Why it is not in the generation.
    pub error: ErrorCode,
    /// The generation; -1 with an error.
    pub generation: i32,
    /// The group's protocol type.
    pub protocol_type: Option<Arc<str>>,
    /// The protocol that was chosen.
    pub protocol: Option<Arc<str>>,
    /// Who assigns.
    pub leader: Option<Arc<str>>,
    /// Whether the leader must not assign, because everybody keeps what it has.
    pub skip_assignment: bool,
    /// The member's id.
    pub member: Arc<str>,
    /// All members with what they said to the protocol; for the leader only.
    pub members: Vec<JoinedMember>,
}

/// A member, as the leader is told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// Its id.
    pub id: Arc<str>,
    /// Its instance id.
    pub instance: Option<Arc<str>>,
    /// What it said to the chosen protocol.
    pub metadata: Bytes,
}

/// What a member is told that asked for its assignment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncReply {
    /// Why there is none.
    pub error: ErrorCode,
    /// The group's protocol type.
    pub protocol_type: Option<Arc<str>>,
    /// The protocol that was chosen.
    pub protocol: Option<Arc<str>>,
    /// What the leader gave it.
    pub assignment: Bytes,
}

impl JoinReply {
    /// An error.
    #[must_use]
    pub fn refused(member: &str, error: ErrorCode) -> Self {
        Self {
            error,
            generation: -1,
            protocol_type: None,
            protocol: None,
            leader: None,
            skip_assignment: false,
            member: member.into(),
            members: Vec::new(),
        }
    }
}

impl SyncReply {
    /// An error.
    #[must_use]
    pub fn refused(error: ErrorCode) -> Self {
        Self { error, protocol_type: None, protocol: None, assignment: Bytes::new() }
    }
}

/// Something that has happened to a group, for logs, metrics and whoever asks why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The group.
    pub group: Arc<str>,
    /// Its generation then.
    pub generation: i32,
    /// What.
    pub what: Happened,
}

/// What has happened to a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// Its members have to join again.
    RebalanceBegun {
        /// Why.
        cause: Cause,
        /// Whose doing it was, and what its client gave as a reason.
        detail: Box<str>,
    },
    /// A member takes part in the rebalance: it has joined, and waits for the others.
    MemberJoined {
        /// Its id.
        member: Arc<str>,
        /// The client's name for itself.
        client_id: Box<str>,
    },
    /// All who are there have joined a new generation.
    GenerationBegun {
        /// How many.
        members: usize,
        /// The chosen protocol.
        protocol: Arc<str>,
    },
    /// A member has asked for its assignment.
    MemberSynced {
        /// Its id.
        member: Arc<str>,
        /// The client's name for itself.
        client_id: Box<str>,
    },
    /// Everybody can have its assignment.
    Stabilized,
    /// The last member is gone.
    Emptied,
    /// A member is gone.
    MemberRemoved {
        /// Its id.
        member: Arc<str>,
        /// The client's name for itself.
        client_id: Box<str>,
        /// Why.
        cause: Cause,
    },
}

/// Why members have to join again, or one is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cause {
    /// A member is new.
    Joined,
    /// A member wants something else than before.
    MetadataChanged,
    /// The leader wants to assign anew.
    LeaderRejoined,
    /// A static member came back while a generation was being assigned, or with another protocol.
    StaticMemberReplaced,
    /// A member has left, or was removed by an administrator.
    Left,
    /// A member has sent no heartbeat.
    SessionExpired,
    /// A member did not join in time.
    JoinTimedOut,
    /// A member did not ask for its assignment in time.
    SyncTimedOut,
    /// A member of a consumer group did not give up partitions in time.
    RevocationTimedOut,
    /// The assignment could not be written.
    WriteFailed,
    /// The last member that spoke the new protocol is gone, and the others go on with the classic one.
    Downgraded,
    /// There are more members than `group.max.size` allows, since it was lowered.
    TooManyMembers,
}

impl Cause {
    /// A word for metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Joined => "joined",
            Self::MetadataChanged => "metadata_changed",
            Self::LeaderRejoined => "leader_rejoined",
            Self::StaticMemberReplaced => "static_member_replaced",
            Self::Left => "left",
            Self::SessionExpired => "session_expired",
            Self::JoinTimedOut => "join_timed_out",
            Self::SyncTimedOut => "sync_timed_out",
            Self::RevocationTimedOut => "revocation_timed_out",
            Self::WriteFailed => "write_failed",
            Self::Downgraded => "downgraded",
            Self::TooManyMembers => "too_many_members",
        }
    }
}
