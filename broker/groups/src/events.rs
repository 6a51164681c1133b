//! What has happened to groups, for whoever wants to know.
//!
//! Must not know: who that is.

use std::sync::Arc;

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
