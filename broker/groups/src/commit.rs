//! A commit of offsets, and why it is refused: by Kafka's rules, in Kafka's order.
//!
//! Must not know: records, messages of the wire.

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::{LeaderEpoch, Offset, PartitionIndex, Timestamp, TopicId};

use crate::offsets::CommittedOffset;
use crate::records::Record;

/// The longest metadata that a commit may carry, in UTF-16 units as Kafka counts them (`offset.metadata.max.bytes`).
pub const METADATA_CHARS_MAX: usize = 4096;

/// Who commits.
#[derive(Clone, Copy, Debug)]
pub struct GroupCommit<'a> {
    /// The group.
    pub group: &'a str,
    /// The committer's generation or member epoch; negative for a consumer that assigns itself.
    pub generation: i32,
    /// Its member id; empty for a consumer that assigns itself.
    pub member: &'a str,
    /// Its instance id.
    pub instance: Option<&'a str>,
    /// How long the offsets are kept, where an old client says so; negative: the broker's retention.
    pub retention_ms: i64,
    /// What a generation of an unknown group is answered with; it depends on the request's version.
    pub unknown_group: CommitError,
}

/// One commit with all its partitions.
#[derive(Clone, Copy, Debug)]
pub struct Commit<'a> {
    /// Who commits.
    pub by: GroupCommit<'a>,
    /// What. Each gets a result in its place.
    pub partitions: &'a [PartitionCommit<'a>],
}

/// An offset to be committed.
#[derive(Clone, Copy, Debug)]
pub struct PartitionCommit<'a> {
    /// The topic.
    pub topic: &'a str,
    /// Its id; zero where it is not known.
    pub topic_id: TopicId,
    /// The partition.
    pub partition: PartitionIndex,
    /// The next offset to be read.
    pub offset: Offset,
    /// The epoch of the last record read; negative: not known.
    pub leader_epoch: i32,
    /// What the consumer wants to keep with it.
    pub metadata: &'a str,
}

/// What to append, and what to answer once that is durable.
#[derive(Debug, PartialEq, Eq)]
pub struct CommitOutcome {
    /// To be appended, together. Empty when nothing is accepted.
    pub records: Vec<Record>,
    /// One result per partition, in the request's order.
    pub results: Vec<Result<(), CommitError>>,
}

/// Why an offset is not committed. Named as Kafka's error codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// The group has no such generation.
    #[error("group has no such generation")]
    IllegalGeneration,
    /// The group has no such member.
    #[error("group has no such member")]
    UnknownMemberId,
    /// No such group: what versions from 9 on call it.
    #[error("no such group")]
    GroupIdNotFound,
    /// Over [`METADATA_CHARS_MAX`].
    #[error("metadata is longer than {METADATA_CHARS_MAX}")]
    MetadataTooLarge,
}

impl CommitError {
    /// Which of Kafka's answers a generation of an unknown group gets in this version of OffsetCommit.
    #[must_use]
    pub fn for_unknown_group(version: i16) -> Self {
        if version >= 9 { Self::GroupIdNotFound } else { Self::IllegalGeneration }
    }

    /// Kafka's code for it.
    #[must_use]
    pub fn code(self) -> ErrorCode {
        match self {
            Self::IllegalGeneration => ErrorCode::IllegalGeneration,
            Self::UnknownMemberId => ErrorCode::UnknownMemberId,
            Self::GroupIdNotFound => ErrorCode::GroupIdNotFound,
            Self::MetadataTooLarge => ErrorCode::OffsetMetadataTooLarge,
        }
    }
}

/// What a group is at the time of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GroupState {
    /// Nothing is known of it.
    Unknown,
    /// It has offsets, and no members.
    Empty,
}

impl GroupCommit<'_> {
    /// Whether the committer may commit at all.
    pub(crate) fn check(&self, state: impl FnOnce() -> GroupState) -> Result<(), CommitError> {
        // No generation: a consumer that assigns itself, or an admin. It may as long as nobody is a member.
        if self.generation < 0 {
            return Ok(());
        }
        match state() {
            GroupState::Unknown => Err(self.unknown_group),
            GroupState::Empty => Err(CommitError::UnknownMemberId),
        }
    }

    pub(crate) fn expires_at(&self, now: Timestamp) -> Option<Timestamp> {
        (self.retention_ms >= 0).then(|| Timestamp(now.0.saturating_add(self.retention_ms)))
    }
}

impl PartitionCommit<'_> {
    pub(crate) fn check(&self) -> Result<(), CommitError> {
        // Counting is only needed where it can matter: UTF-16 never has more units than UTF-8 has bytes.
        let too_large =
            self.metadata.len() > METADATA_CHARS_MAX && self.metadata.encode_utf16().count() > METADATA_CHARS_MAX;
        if too_large { Err(CommitError::MetadataTooLarge) } else { Ok(()) }
    }

    pub(crate) fn committed(&self, now: Timestamp, expires_at: Option<Timestamp>) -> CommittedOffset {
        CommittedOffset {
            offset: self.offset,
            leader_epoch: (self.leader_epoch >= 0).then_some(LeaderEpoch(self.leader_epoch)),
            metadata: self.metadata.into(),
            committed_at: now,
            expires_at,
            topic_id: self.topic_id,
        }
    }
}
