//! A commit of offsets, and why it is refused: by Kafka's rules, in Kafka's order.
//!
//! Must not know: records, messages of the wire.

use std::sync::Arc;

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::{LeaderEpoch, Offset, PartitionIndex, Timestamp, TopicId};

use crate::consumer::assignment::epoch_in;
use crate::consumer::member::Current;
use crate::consumer::state::Core;
use crate::group::{Group, GroupState};
use crate::offsets::CommittedOffset;
use crate::records::Record;

/// The first version of OffsetCommit that says what a member of a consumer group has to.
const CONSUMER_MEMBERS_FROM: i16 = 9;

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
    /// The version of its request.
    pub version: i16,
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
    /// Another member with the same instance id has taken over.
    #[error("another member has this instance id")]
    FencedInstanceId,
    /// The generation has no assignment yet.
    #[error("the generation is being assigned")]
    RebalanceInProgress,
    /// The member has come to another epoch, and learns it with its next heartbeat.
    #[error("member has another epoch")]
    StaleMemberEpoch,
    /// Too old for members that speak the consumer protocol.
    #[error("members of consumer groups need OffsetCommit 9 or later")]
    UnsupportedVersion,
    /// Over `offset.metadata.max.bytes`.
    #[error("metadata is too long")]
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
            Self::FencedInstanceId => ErrorCode::FencedInstanceId,
            Self::RebalanceInProgress => ErrorCode::RebalanceInProgress,
            Self::StaleMemberEpoch => ErrorCode::StaleMemberEpoch,
            Self::UnsupportedVersion => ErrorCode::UnsupportedVersion,
            Self::MetadataTooLarge => ErrorCode::OffsetMetadataTooLarge,
        }
    }
}

/// What is known of a group at the time of a commit.
#[derive(Debug)]
pub(crate) enum Committing<'a> {
    /// Nothing.
    Unknown,
    /// It has offsets, and never had members.
    Simple,
    /// It has members, or had some.
    Group(&'a Group),
    /// Of the next generation's protocol.
    Consumer(&'a Core),
}

/// What a committer may commit.
#[derive(Clone, Debug)]
pub(crate) enum Permit {
    /// All that it wants.
    All,
    /// What it had in an epoch of before, and has had since. What it did not have is refused with this.
    HeldSince { epoch: i32, current: Arc<Current>, otherwise: CommitError },
}

impl Permit {
    /// Whether it holds for a partition.
    pub(crate) fn check(&self, topic: TopicId, partition: PartitionIndex) -> Result<(), CommitError> {
        let Self::HeldSince { epoch, current, otherwise } = self else { return Ok(()) };
        let given =
            epoch_in(&current.assigned, topic, partition).or_else(|| epoch_in(&current.revoking, topic, partition));
        if given.is_some_and(|given| given <= *epoch) { Ok(()) } else { Err(*otherwise) }
    }
}

impl GroupCommit<'_> {
    /// Whether the committer may commit at all.
    pub(crate) fn check(&self, group: &Committing<'_>) -> Result<Permit, CommitError> {
        let names_nobody = self.generation < 0 && self.member.is_empty() && self.instance.is_none();
        match group {
            // No generation: a consumer that assigns itself, or an admin. It may as long as nobody is a member.
            Committing::Unknown | Committing::Simple if self.generation < 0 => Ok(Permit::All),
            Committing::Group(group) if self.generation < 0 && group.state() == GroupState::Empty => Ok(Permit::All),
            Committing::Consumer(group) if self.generation < 0 && group.is_empty() => Ok(Permit::All),
            Committing::Consumer(group) => self.check_consumer(group),
            Committing::Unknown => Err(self.unknown_group),
            Committing::Simple => Err(CommitError::UnknownMemberId),
            Committing::Group(_) if names_nobody => Err(CommitError::UnknownMemberId),
            Committing::Group(group) => self.check_member(group).map(|()| Permit::All),
        }
    }

    /// A member of a consumer group may commit for what it has had since the epoch that it knows, even if it has come to a
    /// later one meanwhile (KIP-1251).
    fn check_consumer(&self, group: &Core) -> Result<Permit, CommitError> {
        let member = group.member(self.member).ok_or(CommitError::UnknownMemberId)?;
        if !member.is_classic() && self.version < CONSUMER_MEMBERS_FROM {
            return Err(CommitError::UnsupportedVersion);
        }
        let known = member.current.epoch;
        let otherwise =
            if member.is_classic() { CommitError::IllegalGeneration } else { CommitError::StaleMemberEpoch };
        match self.generation {
            epoch if epoch == known => Ok(Permit::All),
            epoch if epoch > known => Err(otherwise),
            epoch => Ok(Permit::HeldSince { epoch, current: Arc::clone(&member.current), otherwise }),
        }
    }

    fn check_member(&self, group: &Group) -> Result<(), CommitError> {
        group.check_member(self.member, self.instance).map_err(|error| match error {
            ErrorCode::FencedInstanceId => CommitError::FencedInstanceId,
            _ => CommitError::UnknownMemberId,
        })?;
        if self.generation != group.generation {
            return Err(CommitError::IllegalGeneration);
        }
        // It knows the generation, but not yet what it has in it: it has nothing to commit, and has to ask first.
        if group.state() == GroupState::CompletingRebalance {
            return Err(CommitError::RebalanceInProgress);
        }
        Ok(())
    }

    pub(crate) fn expires_at(&self, now: Timestamp) -> Option<Timestamp> {
        (self.retention_ms >= 0).then(|| Timestamp(now.0.saturating_add(self.retention_ms)))
    }
}

impl PartitionCommit<'_> {
    pub(crate) fn check(&self, metadata_max: usize) -> Result<(), CommitError> {
        // Counting is only needed where it can matter: UTF-16 never has more units than UTF-8 has bytes.
        let too_large = self.metadata.len() > metadata_max && self.metadata.encode_utf16().count() > metadata_max;
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
