//! Why an admin call failed.
//!
//! Must not know: the calls.

use std::sync::Arc;

use cairn_protocol::error_code::ErrorCode;

use crate::consumer::OffsetsError;
use crate::error::{MetadataError, RequestError, check};

/// Why an admin call failed. Retries were made already.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AdminError {
    /// No answer.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The topic is not known.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// A partition's offsets could not be asked.
    #[error(transparent)]
    Offsets(#[from] OffsetsError),
    /// The broker refused.
    #[error("{what}: {}", describe(*code, message.as_deref()))]
    Refused {
        /// What was asked about: a topic, a partition, the cluster.
        what: Arc<str>,
        /// Kafka's code.
        code: ErrorCode,
        /// What the broker said about it.
        message: Option<Arc<str>>,
    },
    /// The answer leaves out what was asked about.
    #[error("the broker's answer leaves {what} out")]
    Missing {
        /// What was asked about.
        what: Arc<str>,
    },
}

impl AdminError {
    /// Whether the same may succeed later.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Request(error) => error.is_retriable(),
            // These were tried again where they come from.
            Self::Metadata(_) | Self::Offsets(_) => false,
            // A topic that is not there does not come by waiting.
            Self::Refused { code: ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId, .. } => false,
            Self::Refused { code, .. } => code.is_retriable(),
            Self::Missing { .. } => false,
        }
    }

    /// Kafka's code, if a broker gave one.
    #[must_use]
    pub fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            Self::Metadata(MetadataError::NoSuchTopic { .. }) => Some(ErrorCode::UnknownTopicOrPartition),
            Self::Metadata(MetadataError::Refused { code, .. }) => Some(*code),
            Self::Offsets(error) => error.code(),
            _ => None,
        }
    }
}

fn describe(code: ErrorCode, message: Option<&str>) -> String {
    match message {
        Some(message) if !message.is_empty() => format!("{message} ({})", code.name()),
        _ => code.to_string(),
    }
}

/// The code of an answer about `what`.
pub(super) fn checked(what: &str, code: i16, message: Option<&str>) -> Result<(), AdminError> {
    check(code).map_err(|code| AdminError::Refused { what: what.into(), code, message: message.map(Arc::from) })
}
