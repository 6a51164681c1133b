//! Why a part of an admin request is refused: Kafka's error code, and a sentence for the user.
//!
//! Must not know: any single API.

use cairn_metadata::configs::ConfigError;
use cairn_metadata::{CannotCancel, Rejected};
use cairn_protocol::error_code::ErrorCode;

use crate::cluster::ProposeError;
use crate::quotas::QuotaExceeded;

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) error: ErrorCode,
    pub(crate) message: Box<str>,
}

/// The longest text of an error, in bytes. It may hold a name as long as a name can be on the wire, and a text that is longer
/// than that cannot be sent at all.
const TEXT_MAX: usize = 2_048;

/// The text, or as much of it as is sent of a long one.
pub(crate) fn cut(text: impl Into<Box<str>>) -> Box<str> {
    let text = text.into();
    if text.len() <= TEXT_MAX {
        return text;
    }
    format!("{}...", &text[..text.floor_char_boundary(TEXT_MAX)]).into()
}

impl Refusal {
    pub(crate) fn new(error: ErrorCode, message: impl Into<Box<str>>) -> Self {
        Self { error, message: cut(message) }
    }

    /// Nothing has this name.
    pub(crate) fn unknown_topic(name: &str) -> Self {
        Self::new(ErrorCode::UnknownTopicOrPartition, format!("topic '{name}' does not exist"))
    }
}

impl From<ConfigError> for Refusal {
    fn from(error: ConfigError) -> Self {
        Self::new(ErrorCode::InvalidConfig, error.to_string())
    }
}

impl From<ProposeError> for Refusal {
    fn from(error: ProposeError) -> Self {
        Self::new(error_of(&error), error.to_string())
    }
}

impl From<QuotaExceeded> for Refusal {
    fn from(error: QuotaExceeded) -> Self {
        Self::new(ErrorCode::ThrottlingQuotaExceeded, error.to_string())
    }
}

fn error_of(error: &ProposeError) -> ErrorCode {
    let ProposeError::Rejected(rejected) = error else { return ErrorCode::NotController };
    match rejected {
        Rejected::TopicName { .. } | Rejected::TopicNameCollision { .. } => ErrorCode::InvalidTopicException,
        Rejected::TopicExists { .. } => ErrorCode::TopicAlreadyExists,
        Rejected::UnknownTopic(_) | Rejected::UnknownPartition(_) => ErrorCode::UnknownTopicOrPartition,
        Rejected::FeatureLevel { .. } => ErrorCode::InvalidUpdateVersion,
        Rejected::CannotLead { .. } => ErrorCode::PreferredLeaderNotAvailable,
        Rejected::CannotCancelMove { reason: CannotCancel::NotMoving, .. } => ErrorCode::NoReassignmentInProgress,
        Rejected::CannotCancelMove { reason: CannotCancel::TooFewInSync, .. } => ErrorCode::InvalidReplicaAssignment,
        Rejected::CannotElect { .. } => ErrorCode::EligibleLeadersNotAvailable,
        Rejected::PartitionCount { .. } | Rejected::PartitionCountChanged { .. } => ErrorCode::InvalidPartitions,
        Rejected::ReplicaAssignment(_) | Rejected::NoLiveReplica(_) | Rejected::UnknownBroker(_) => {
            ErrorCode::InvalidReplicaAssignment
        }
        Rejected::BrokerRemoved(_) => ErrorCode::BrokerIdNotRegistered,
        Rejected::StaleBrokerEpoch { .. } => ErrorCode::StaleBrokerEpoch,
        Rejected::ClusterIdExists | Rejected::TopicIdTaken(_) | Rejected::ProducerIdsExhausted => {
            ErrorCode::UnknownServerError
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_two_characters() {
        assert_eq!(&*cut("short"), "short");
        let text = cut("\u{20ac}".repeat(20_000));
        assert!(text.len() <= TEXT_MAX + 3 && text.ends_with("\u{20ac}..."), "{}", text.len());
    }
}
