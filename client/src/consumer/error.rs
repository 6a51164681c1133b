//! Why records cannot be read, or offsets not be committed.
//!
//! Must not know: how either is done.

use std::sync::Arc;

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::Offset;

use crate::error::{MetadataError, RequestError};
use crate::topic_partition::TopicPartition;

/// Why a partition cannot be read. Whatever may pass was tried again already; the partition stands still until it is assigned or
/// sought anew, while the others go on.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConsumeError {
    /// The broker refused.
    #[error("broker refused to give {partition}: {code}")]
    Refused {
        /// The partition.
        partition: TopicPartition,
        /// Kafka's code.
        code: ErrorCode,
    },
    /// The log does not have the wanted offset, and the reset policy is to fail.
    #[error("{partition} has no offset {offset} (any more), and auto.offset.reset is none")]
    OffsetOutOfRange {
        /// The partition.
        partition: TopicPartition,
        /// What was wanted.
        offset: Offset,
    },
    /// A new leader does not have what was read: records were lost in an election that was not clean, and the reset policy is to fail
    /// (KIP-320).
    #[error("{partition} was cut below offset {offset}, which was reached already, and auto.offset.reset is none")]
    Truncated {
        /// The partition.
        partition: TopicPartition,
        /// How far was read.
        offset: Offset,
        /// From where on the log says something else, if that is known.
        diverges_at: Option<Offset>,
    },
    /// The group has committed no offset, and the reset policy is to fail.
    #[error("no offset is committed for {partition}, and auto.offset.reset is none")]
    NothingCommitted {
        /// The partition.
        partition: TopicPartition,
    },
    /// The broker sent what is no record batch, or one whose checksum is wrong.
    #[error("records of {partition} at offset {offset} are damaged: {reason}")]
    Damaged {
        /// The partition.
        partition: TopicPartition,
        /// Where the damage begins. Seek behind it to go on without.
        offset: Offset,
        /// What is wrong.
        reason: Arc<str>,
    },
    /// A place was to be found and was not.
    #[error("cannot find where to begin in {partition}: {error}")]
    NoPlace {
        /// The partition.
        partition: TopicPartition,
        /// Why.
        error: OffsetsError,
    },
    /// The consumer can be no member of its group, and has no partitions any more. Subscribing again tries again.
    #[error("cannot be a member of group {group}: {error}")]
    Membership {
        /// The group.
        group: Arc<str>,
        /// Why.
        error: MembershipError,
    },
}

/// Why a consumer can be no member of its group. Whatever may pass was tried again already.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// The coordinator refused: another member has this instance id, no assignor in common, a timeout that is not allowed.
    #[error("{code}")]
    Refused {
        /// Kafka's code.
        code: ErrorCode,
    },
    /// This client and the broker, or the group's leader, do not understand each other.
    #[error("{reason}")]
    Incompatible {
        /// What is not understood.
        reason: Arc<str>,
    },
}

impl ConsumeError {
    /// Whether the same may succeed when the partition is assigned anew.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Refused { code, .. } => code.is_retriable(),
            Self::NoPlace { error, .. } => error.is_retriable(),
            Self::OffsetOutOfRange { .. } | Self::NothingCommitted { .. } | Self::Damaged { .. } => false,
            Self::Truncated { .. } => false,
            Self::Membership { .. } => false,
        }
    }

    /// The partition that stands still, if it is about one.
    #[must_use]
    pub fn partition(&self) -> Option<&TopicPartition> {
        match self {
            Self::Refused { partition, .. } | Self::OffsetOutOfRange { partition, .. } => Some(partition),
            Self::NothingCommitted { partition } | Self::Damaged { partition, .. } => Some(partition),
            Self::NoPlace { partition, .. } | Self::Truncated { partition, .. } => Some(partition),
            Self::Membership { .. } => None,
        }
    }
}

/// Why offsets could not be committed, or looked up. Retries were made already.
#[derive(Clone, Debug, thiserror::Error)]
pub enum OffsetsError {
    /// No answer.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The topic is not known.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// The broker refused for one partition.
    #[error("{partition}: {code}")]
    Refused {
        /// The partition.
        partition: TopicPartition,
        /// Kafka's code.
        code: ErrorCode,
    },
    /// The coordinator refused as a whole, or there is none.
    #[error("group {group}: {code}")]
    Group {
        /// The group.
        group: Arc<str>,
        /// Kafka's code.
        code: ErrorCode,
    },
    /// The partition has no leader.
    #[error("{partition} has no leader at the moment")]
    NoLeader {
        /// The partition.
        partition: TopicPartition,
    },
    /// The answer leaves a partition out.
    #[error("the broker's answer leaves {partition} out")]
    Missing {
        /// The partition.
        partition: TopicPartition,
    },
    /// The consumer was built without a group.
    #[error("the consumer has no group: build it with .group(\"name\")")]
    NoGroup,
    /// What topics were to be subscribed by is no pattern.
    #[error("{pattern:?} is no regular expression: {reason}")]
    Pattern {
        /// What was given.
        pattern: Box<str>,
        /// What is wrong with it.
        reason: Arc<str>,
    },
    /// The consumer is no member of the group's present generation, so that its partitions may be another's. It is on its way to
    /// join, and reads what it has not committed again.
    #[error("no member of group {group} at the moment: its partitions may be another's")]
    NoMember {
        /// The group.
        group: Arc<str>,
    },
}

impl OffsetsError {
    /// Kafka's code, if a broker gave one.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { code, .. } | Self::Group { code, .. } => Some(*code),
            Self::Metadata(MetadataError::Refused { code, .. }) => Some(*code),
            _ => None,
        }
    }

    /// Whether the same may succeed later.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Request(error) => error.is_retriable(),
            Self::Metadata(error) => error.is_retriable(),
            Self::Refused { code, .. } | Self::Group { code, .. } => code.is_retriable(),
            Self::NoLeader { .. } | Self::Missing { .. } => true,
            Self::NoGroup | Self::Pattern { .. } | Self::NoMember { .. } => false,
        }
    }
}
