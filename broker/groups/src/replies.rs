//! Answers to members, and who waits for them.
//!
//! Must not know: messages of the wire, how it is decided what is answered.

use std::sync::Arc;

use bytes::Bytes;
use cairn_protocol::error_code::ErrorCode;

use crate::consumer::heartbeat::HeartbeatReply;

/// Somebody who waits for a reply; the number is the caller's, and unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Waiter(pub u64);

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
