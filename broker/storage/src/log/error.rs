//! What can go wrong with a log, one enum per operation.
//!
//! Must not know: Kafka's error codes; the server translates.

use cairn_protocol::ids::{LeaderEpoch, Offset};

use super::batch::BadBatch;
use super::epochs::EpochOrderError;
use super::producers::ProducerError;
use super::reader::ReadError;
use crate::dir::state::{DirOffline, ReplaceError};

/// A batch was not appended. Nothing has changed, except after [`AppendError::Offline`].
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The disk is below its reserve; retriable: it passes when space returns. Leaders only.
    #[error("{free_bytes} free bytes on disk are below the reserve of {reserve_bytes}")]
    DiskReserve {
        /// Free bytes of the file system.
        free_bytes: u64,
        /// What is kept free.
        reserve_bytes: u64,
    },
    /// The disk is full, or the process has no free descriptor; nothing was written, and it passes.
    #[error("no space left on disk, or no free descriptor")]
    DiskFull,
    /// Larger than `max.message.bytes`, or than a whole segment. Leaders only.
    #[error("batch of {size} bytes is larger than {limit}")]
    TooLarge {
        /// The batch's size.
        size: u64,
        /// What is allowed.
        limit: u64,
    },
    /// The producer's sequence or epoch does not follow on. Leaders only.
    #[error(transparent)]
    Producer(#[from] ProducerError),
    /// A follower's batch does not begin where the log ends.
    #[error("batch begins at offset {found}, the log ends at {end}")]
    OffsetGap {
        /// The batch's base offset.
        found: Offset,
        /// The log's end.
        end: Offset,
    },
    /// A hole is longer than any that compaction leaves.
    #[error("a hole of {offsets} offsets is longer than {limit}")]
    HoleTooLong {
        /// How many offsets it has.
        offsets: i64,
        /// What is allowed.
        limit: i64,
    },
    /// The batch's leader epoch is older than the log's.
    #[error(transparent)]
    Epoch(#[from] EpochOrderError),
    /// A follower's batch has no leader epoch.
    #[error("batch has no leader epoch")]
    NoEpoch,
    /// The data directory has failed, before or just now.
    #[error(transparent)]
    Offline(#[from] DirOffline),
}

/// A log was not cut.
#[derive(Debug, thiserror::Error)]
pub enum TruncateError {
    /// Below the log's start; [`super::Log::reset_to`] is for that.
    #[error("cannot truncate to offset {to}: the log starts at {start}")]
    BelowStart {
        /// What was asked for.
        to: Offset,
        /// The log's start.
        start: Offset,
    },
    /// The disk is full; nothing was cut, and it passes when space returns.
    #[error("no space left on disk")]
    DiskFull,
    /// The place of the cut could not be found.
    #[error("cannot find where to truncate")]
    Read(#[from] ReadError),
    /// The data directory has failed, before or just now.
    #[error(transparent)]
    Offline(#[from] DirOffline),
}

/// Records were not deleted.
#[derive(Debug, thiserror::Error)]
pub enum DeleteRecordsError {
    /// Behind the log's end.
    #[error("offset {offset} is not within [{start}, {end}]")]
    OutOfRange {
        /// What was asked for.
        offset: Offset,
        /// The log's start.
        start: Offset,
        /// The log's end.
        end: Offset,
    },
    /// The data directory has failed, before or just now.
    #[error(transparent)]
    Offline(#[from] DirOffline),
}

/// A leader epoch was not noted.
#[derive(Debug, thiserror::Error)]
pub enum AssignEpochError {
    /// The disk is full: the epoch is noted in memory, but not on disk. Try again when space returns.
    #[error("no space left on disk")]
    DiskFull,
    /// It does not follow on.
    #[error(transparent)]
    Order(#[from] EpochOrderError),
    /// The data directory has failed, before or just now.
    #[error(transparent)]
    Offline(#[from] DirOffline),
}

/// A log could not be opened. The partition is offline; others are not concerned, except by [`OpenLogError::Offline`].
#[derive(Debug, thiserror::Error)]
pub enum OpenLogError {
    /// There is no such folder, or one that was never whole: [`crate::DataDir::create_log`] makes it, where nothing speaks
    /// against.
    #[error("no log in folder {folder}")]
    Missing {
        /// The folder.
        folder: String,
    },
    /// It is open already.
    #[error("the log in folder {folder} is open already")]
    AlreadyOpen {
        /// The folder.
        folder: String,
    },
    /// The log ends before its recovery point, or has a hole below it: data that was synced is gone. Nothing was cut.
    #[error(
        "log {folder} is corrupt: sound up to offset {sound_end} (segment {segment}, position {position}), but synced up \
         to {recovery_point}; nothing was cut; restore the partition from a replica or a backup"
    )]
    Corrupt {
        /// The folder.
        folder: String,
        /// The log is sound up to here.
        sound_end: Offset,
        /// It was synced up to here.
        recovery_point: Offset,
        /// The segment with the first unsound byte.
        segment: Offset,
        /// Where that is.
        position: u64,
        /// What is wrong there; nothing when the file just ends.
        source: Option<BadBatch>,
    },
    /// No space for what recovery has to write, or no free descriptor. Nothing was lost; it passes.
    #[error("no space left on disk, or no free descriptor")]
    DiskFull,
    /// The disk failed; the whole data directory is offline.
    #[error(transparent)]
    Offline(#[from] DirOffline),
}

impl OpenLogError {
    /// Whether only this partition is concerned.
    #[must_use]
    pub fn is_of_partition(&self) -> bool {
        !matches!(self, Self::Offline(_))
    }
}

/// A log was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateLogError {
    /// The folder is there already.
    #[error("folder {folder} exists already")]
    Exists {
        /// The folder.
        folder: String,
    },
    /// The directory had this log, and its folder is gone. An empty one in its place would hide that.
    #[error(
        "folder {folder} is gone; the log was synced up to {recovery_point}; restore the folder from a replica or a backup"
    )]
    Lost {
        /// The folder.
        folder: String,
        /// The log was synced up to here.
        recovery_point: Offset,
    },
    /// No space for it, or no free descriptor. Nothing of it was left behind; it passes.
    #[error("no space left on disk, or no free descriptor")]
    DiskFull,
    /// The data directory has failed, before or just now.
    #[error(transparent)]
    Offline(#[from] DirOffline),
}

pub(crate) use crate::dir::state::is_full;

/// A leader epoch that a batch has to have.
pub(crate) fn epoch_of(header: &cairn_protocol::records::BatchHeader) -> Result<LeaderEpoch, AppendError> {
    header.leader_epoch.ok_or(AppendError::NoEpoch)
}

impl From<ReplaceError> for TruncateError {
    fn from(error: ReplaceError) -> Self {
        match error {
            ReplaceError::DiskFull => Self::DiskFull,
            ReplaceError::Offline(offline) => Self::Offline(offline),
        }
    }
}

impl From<ReplaceError> for OpenLogError {
    fn from(error: ReplaceError) -> Self {
        match error {
            ReplaceError::DiskFull => Self::DiskFull,
            ReplaceError::Offline(offline) => Self::Offline(offline),
        }
    }
}

impl From<ReplaceError> for AssignEpochError {
    fn from(error: ReplaceError) -> Self {
        match error {
            ReplaceError::DiskFull => Self::DiskFull,
            ReplaceError::Offline(offline) => Self::Offline(offline),
        }
    }
}
