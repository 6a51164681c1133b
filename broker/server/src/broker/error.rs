//! Why a broker did not start.
//!
//! Must not know: how it starts.

use cairn_storage::dir::OpenDirError;

use crate::membership::MembershipError;
use crate::net::BindError;
use crate::partitions::OpenLogDirsError;
use crate::telemetry::HttpError;

/// A broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address of a listener cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The address of `metrics.listener` cannot be had.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The log dir of the metadata is in use, damaged, cannot be read, or is not the one.
    #[error(transparent)]
    LogDirs(#[from] OpenLogDirsError),
    /// The system has no maps as they are needed.
    #[error("cannot map files: {0}")]
    Maps(std::io::Error),
    /// The cluster's metadata cannot be had.
    #[error(transparent)]
    Metadata(#[from] cairn_consensus::StartError),
    /// It cannot be a member of a cluster.
    #[error(transparent)]
    Membership(#[from] MembershipError),
    /// The cluster's metadata does not take this broker.
    #[error("cannot register with the cluster: {0}")]
    Register(String),
}

impl StartError {
    /// The process's exit code for it: 2 configuration, 3 data directory in use, 4 storage failed, 1 anything else.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::LogDirs(OpenLogDirsError::MetadataElsewhere { .. }) => 2,
            Self::LogDirs(OpenLogDirsError::Metadata(OpenDirError::AlreadyInUse { .. })) => 3,
            Self::LogDirs(_) | Self::Maps(_) | Self::Metadata(cairn_consensus::StartError::Storage(_)) => 4,
            Self::Membership(
                MembershipError::NoAddress { .. } | MembershipError::Secret { .. } | MembershipError::OtherNode { .. },
            ) => 2,
            Self::Membership(MembershipError::Record(_)) => 4,
            Self::Membership(_) | Self::Bind(_) | Self::Http(_) | Self::Metadata(_) | Self::Register(_) => 1,
        }
    }
}
