//! Checkpoints: the image at one point of the metadata log, in one file that is replaced whole.
//!
//! ```text
//!   0       8         10                      L-4        L
//!   | magic | version | postcard of the rest  | crc32c   |
//! ```
//! The rest: the last entry that is folded in, the voters and the entry that named them, the image with a version of
//! its own. `docs/formats/metadata-log.md` draws it.
//!
//! Must not know: the library's state machine, when checkpoints are made.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use cairn_metadata::{Image, SnapshotDecodeError};
use cairn_storage::disk::Disk;
use serde::{Deserialize, Serialize};

use crate::bytes::{Cursor, Malformed, new_log_id, term_of};
use crate::entry::MembershipV1;
use crate::types::{LogId, SnapshotMeta, StoredMembership};

const MAGIC: [u8; 8] = *b"cairnckp";
const VERSION: u16 = 1;
const CHECKSUM_BYTES: usize = 4;
/// A checkpoint of a million partitions has about 30 MB.
pub(crate) const CHECKPOINT_BYTES_MAX: u64 = 1 << 30;

/// A checkpoint's content.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Checkpoint {
    pub(crate) meta: SnapshotMeta,
    pub(crate) image: Arc<Image>,
}

/// Where the checkpoint lies.
#[derive(Clone, Debug)]
pub(crate) struct CheckpointFile {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct CheckpointV1 {
    /// Term and index.
    last: Option<(u64, u64)>,
    membership_at: Option<(u64, u64)>,
    membership: MembershipV1,
    image: Vec<u8>,
}

/// Bytes are no checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CheckpointDecodeError {
    #[error("checkpoint has the version {0}, known is {VERSION}")]
    Version(u16),
    #[error("checkpoint is damaged")]
    Damaged,
    #[error(transparent)]
    Image(#[from] SnapshotDecodeError),
}

impl From<Malformed> for CheckpointDecodeError {
    fn from(_: Malformed) -> Self {
        Self::Damaged
    }
}

impl CheckpointFile {
    /// The checkpoint; none before the first.
    pub(crate) fn read(&self) -> io::Result<Option<Checkpoint>> {
        let bytes = match self.disk.read(&self.path, CHECKPOINT_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let decoded = Checkpoint::decode(&bytes).map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("read {}: {error}", self.path.display()))
        })?;
        Ok(Some(decoded))
    }

    /// Replaces the checkpoint, and returns when the new one is durable.
    pub(crate) fn replace(&self, checkpoint: &Checkpoint) -> io::Result<()> {
        self.disk.replace(&self.path, &checkpoint.encode())
    }
}

impl Checkpoint {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let numbers = |log_id: &LogId| (term_of(log_id), log_id.index());
        let membership = &self.meta.last_membership;
        let body = CheckpointV1 {
            last: self.meta.last_log_id.as_ref().map(numbers),
            membership_at: membership.log_id().as_ref().map(numbers),
            membership: MembershipV1::from(membership.membership()),
            image: self.image.encode(),
        };
        let head = [&MAGIC[..], &VERSION.to_be_bytes()].concat();
        let mut bytes = postcard::to_extend(&body, head).expect("a checkpoint encodes into memory");
        bytes.extend(crc32c::crc32c(&bytes).to_be_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, CheckpointDecodeError> {
        let (content, checksum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(CheckpointDecodeError::Damaged)?;
        if *checksum != crc32c::crc32c(content).to_be_bytes() {
            return Err(CheckpointDecodeError::Damaged);
        }
        let mut cursor = Cursor(content);
        if cursor.array()? != MAGIC {
            return Err(CheckpointDecodeError::Damaged);
        }
        let version = cursor.u16()?;
        if version != VERSION {
            return Err(CheckpointDecodeError::Version(version));
        }
        let Ok((body, [])) = postcard::take_from_bytes::<CheckpointV1>(cursor.rest()) else {
            return Err(CheckpointDecodeError::Damaged);
        };
        let log_id = |(term, index)| new_log_id(term, index);
        let last_membership = StoredMembership::new(body.membership_at.map(log_id), body.membership.try_into()?);
        let meta = SnapshotMeta { last_log_id: body.last.map(log_id), last_membership };
        Ok(Self { meta, image: Arc::new(Image::decode(&body.image)?) })
    }
}

#[cfg(test)]
mod tests;
