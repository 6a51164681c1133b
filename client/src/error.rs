//! What may go wrong between a client and the cluster, whatever the operation.
//!
//! Must not know: the errors of single operations, which contain these.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use cairn_protocol::ApiKey;
use cairn_protocol::error_code::ErrorCode;

/// Why a request was not answered. Cloning it is cheap: all requests of a broken connection get the same.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RequestError {
    /// No connection could be made.
    #[error("cannot connect to {address}: {reason}")]
    Connect {
        /// The broker's address.
        address: Arc<str>,
        /// What the system said.
        reason: Arc<io::Error>,
    },
    /// TLS was not agreed on: the certificate of one side is not what the other one trusts, or the port speaks no TLS.
    #[error(
        "no TLS with {address}: {reason}; check that the port speaks TLS, whom the client trusts, and the name in the broker's certificate"
    )]
    Tls {
        /// The broker's address.
        address: Arc<str>,
        /// What is wrong.
        reason: Arc<str>,
    },
    /// The broker does not take the client for who it says it is, or the broker is not who it says.
    #[error("{address} refuses {mechanism}: {reason}; check sasl.mechanism, the user and the password or token")]
    Authentication {
        /// The broker's address.
        address: Arc<str>,
        /// The SASL mechanism.
        mechanism: &'static str,
        /// What the broker said, or what is wrong with what it said.
        reason: Arc<str>,
    },
    /// None of the brokers could be reached.
    #[error("no broker answers ({tried}): {last}; check the address and that a broker is running there")]
    NoBroker {
        /// All addresses that were tried.
        tried: Arc<str>,
        /// What the last one gave.
        last: Box<Self>,
    },
    /// The broker did not answer in time. Its connection was given up.
    #[error("no answer from {address} to {api} within {after:?}")]
    TimedOut {
        /// The broker's address.
        address: Arc<str>,
        /// The request.
        api: ApiKey,
        /// The bound.
        after: Duration,
    },
    /// The connection ended before the answer came.
    #[error("connection to {address} ended: {reason}")]
    Closed {
        /// The broker's address.
        address: Arc<str>,
        /// What ended it.
        reason: Arc<str>,
    },
    /// The broker's answer is none that the protocol knows.
    #[error("{address} sent a malformed answer to {api}: {reason}")]
    Malformed {
        /// The broker's address.
        address: Arc<str>,
        /// The request.
        api: ApiKey,
        /// What is wrong with it.
        reason: Arc<str>,
    },
    /// The broker serves the API in no version that this client speaks for it.
    #[error("{address} does not serve {api} in a version that this client speaks ({served})")]
    Unsupported {
        /// The broker's address.
        address: Arc<str>,
        /// The request.
        api: ApiKey,
        /// What the broker serves.
        served: Arc<str>,
    },
    /// The request cannot be written in the version that the broker serves.
    #[error("cannot write {api}: {reason}")]
    Encode {
        /// The request.
        api: ApiKey,
        /// What does not fit.
        reason: Arc<str>,
    },
    /// The operation as a whole took too long, retries included.
    #[error("not done within {after:?}{}", last.as_ref().map_or(String::new(), |last| format!("; the last attempt: {last}")))]
    OutOfTime {
        /// The bound.
        after: Duration,
        /// What the attempt before gave.
        last: Option<Arc<str>>,
    },
    /// The metadata names no such broker, or not any more.
    #[error("broker {id} is not known")]
    UnknownBroker {
        /// Its node id.
        id: i32,
    },
}

impl RequestError {
    /// Whether the same request may succeed later.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Connect { .. } => true,
            Self::NoBroker { last, .. } => last.is_retriable(),
            Self::Tls { .. } | Self::Authentication { .. } => false,
            Self::TimedOut { .. } | Self::OutOfTime { .. } => true,
            Self::Closed { .. } | Self::Malformed { .. } | Self::UnknownBroker { .. } => true,
            Self::Unsupported { .. } | Self::Encode { .. } => false,
        }
    }

    /// Whether the broker may have done what was asked although nobody heard of it.
    #[must_use]
    pub fn possibly_done(&self) -> bool {
        matches!(self, Self::TimedOut { .. } | Self::OutOfTime { .. } | Self::Closed { .. } | Self::Malformed { .. })
    }
}

/// Why a topic's partitions and leaders are not known.
#[derive(Clone, Debug, thiserror::Error)]
pub enum MetadataError {
    /// No answer.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// There is no such topic.
    #[error("topic {topic} does not exist")]
    NoSuchTopic {
        /// Its name.
        topic: Arc<str>,
    },
    /// The broker refused.
    #[error("topic {topic}: {code}")]
    Refused {
        /// Its name.
        topic: Arc<str>,
        /// Kafka's code.
        code: ErrorCode,
    },
}

impl MetadataError {
    /// Whether the same may succeed later.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Request(error) => error.is_retriable(),
            Self::NoSuchTopic { .. } => true,
            Self::Refused { code, .. } => code.is_retriable(),
        }
    }
}

/// The code of an answer: `Ok` for none, and what this client does not know counts as the broker's failure.
pub(crate) fn check(code: i16) -> Result<(), ErrorCode> {
    match ErrorCode::from_code(code) {
        Some(ErrorCode::None) => Ok(()),
        Some(error) => Err(error),
        None => Err(ErrorCode::UnknownServerError),
    }
}
