//! Why a record was not written.
//!
//! Must not know: how records are sent.

use std::sync::Arc;
use std::time::Duration;

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::Timestamp;

use super::TransactionError;
use crate::error::{MetadataError, RequestError};
use crate::topic_partition::TopicPartition;

/// Why a record was not written. All retries were made already.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProduceError {
    /// The broker refused the batch that the record was in.
    #[error("broker refused a batch to {partition}: {code}{}", detail(message))]
    Refused {
        /// Where it should have gone.
        partition: TopicPartition,
        /// Kafka's code.
        code: ErrorCode,
        /// What the broker said about it.
        message: Option<Arc<str>>,
    },
    /// The delivery deadline passed.
    #[error("record for {partition} was not acknowledged within {after:?}{}", last_error(last))]
    TimedOut {
        /// Where it should have gone.
        partition: TopicPartition,
        /// The delivery timeout.
        after: Duration,
        /// Whether it may be in the log all the same.
        written: PossiblyWritten,
        /// What the last attempt gave.
        last: Option<Arc<ProduceError>>,
    },
    /// No room in the buffer, or no metadata, within `max.block.ms`.
    #[error("no room for another record within {after:?}: brokers are slower than the producer")]
    BufferFull {
        /// The bound.
        after: Duration,
    },
    /// The record alone is larger than a request may be.
    #[error("record of up to {bytes} bytes exceeds max.request.size={max}")]
    TooLarge {
        /// The record's size in a batch, from above.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// The record names a partition that the topic does not have.
    #[error("{partition} does not exist: the topic has {count} partitions")]
    NoSuchPartition {
        /// What was named.
        partition: TopicPartition,
        /// How many there are.
        count: i32,
    },
    /// The record's time is before 1970.
    #[error("timestamp {timestamp} is negative")]
    InvalidTimestamp {
        /// The record's time.
        timestamp: Timestamp,
    },
    /// The topic's partitions could not be learnt.
    #[error(transparent)]
    Metadata(#[from] MetadataError),
    /// No answer from a broker.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The cluster gave no producer id, which idempotence needs.
    #[error("no producer id: {code}")]
    NoProducerId {
        /// Kafka's code.
        code: ErrorCode,
    },
    /// Compression failed, or the format's limits were exceeded.
    #[error("cannot encode a batch: {reason}")]
    Encode {
        /// What failed.
        reason: Arc<str>,
    },
    /// The producer was closed, or its runtime ended, before the record was acknowledged.
    #[error("producer ended before the record was acknowledged")]
    GivenUp {
        /// Whether it may be in the log all the same.
        written: PossiblyWritten,
    },
    /// The transaction was aborted before the record was written.
    #[error("transaction was aborted")]
    Aborted,
    /// The transaction cannot go on.
    #[error(transparent)]
    Transaction(Arc<TransactionError>),
    /// The producer was closed before: the record was not taken.
    #[error("producer is closed")]
    Closed,
}

/// Whether a record that was not acknowledged may be in the log all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PossiblyWritten {
    /// It was never sent, or was refused.
    No,
    /// It was sent and nobody knows.
    Yes,
}

impl ProduceError {
    /// Whether the same record may succeed later. It says nothing about whether it may be in the log already; see
    /// [`possibly_written`](Self::possibly_written).
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Refused { code, .. } | Self::NoProducerId { code } => code.is_retriable(),
            Self::TimedOut { .. } | Self::BufferFull { .. } => true,
            Self::Metadata(error) => error.is_retriable(),
            Self::Request(error) => error.is_retriable(),
            Self::TooLarge { .. } | Self::NoSuchPartition { .. } | Self::InvalidTimestamp { .. } => false,
            Self::Transaction(error) => error.is_retriable(),
            Self::Encode { .. } | Self::GivenUp { .. } | Self::Aborted | Self::Closed => false,
        }
    }

    /// Whether the record may be in the log all the same.
    #[must_use]
    pub fn possibly_written(&self) -> PossiblyWritten {
        match self {
            Self::TimedOut { written, .. } | Self::GivenUp { written } => *written,
            // Without retries by the broker's own word, a lost answer is the only open case.
            Self::Request(RequestError::TimedOut { .. } | RequestError::Closed { .. }) => PossiblyWritten::Yes,
            _ => PossiblyWritten::No,
        }
    }
}

fn detail(message: &Option<Arc<str>>) -> String {
    message.as_ref().map_or(String::new(), |message| format!(": {message}"))
}

fn last_error(last: &Option<Arc<ProduceError>>) -> String {
    last.as_ref().map_or(String::new(), |last| format!("; the last attempt: {last}"))
}
