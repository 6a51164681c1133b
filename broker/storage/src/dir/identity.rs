//! Who a data directory is, which boot of the machine it was last opened in, and whether it was closed in good order.
//!
//! Format: docs/formats/data-directory.md.
//!
//! Must not know: logs.

use uuid::Uuid;

use super::frame::{Fields, FrameError, Kind};

const IDENTITY: Kind = Kind { magic: *b"cairndir", version: 1 };
const CLEAN: Kind = Kind { magic: *b"cairncln", version: 1 };
pub(crate) const IDENTITY_FILE: &str = "identity";
pub(crate) const CLEAN_FILE: &str = "clean-shutdown";
pub(crate) const LOCK_FILE: &str = "lock";
/// Both files are far smaller.
pub(crate) const IDENTITY_MAX_BYTES: u64 = 4096;

/// The identity of a data directory. Its version is the version of the whole directory's layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Made once, when the directory is. A directory that was wiped or replaced has another.
    pub storage_id: Uuid,
    /// The kernel's boot id when the directory was last opened; nil when it could not be told.
    pub boot_id: Uuid,
}

impl Identity {
    /// The file's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut content = self.storage_id.as_bytes().to_vec();
        content.extend_from_slice(self.boot_id.as_bytes());
        IDENTITY.encode(&content)
    }

    /// Reads the file's bytes.
    ///
    /// # Errors
    /// When anything in them is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let mut fields = Fields(IDENTITY.decode(bytes)?);
        let identity = Self {
            storage_id: Uuid::from_bytes(fields.array().ok_or(FrameError::Damaged)?),
            boot_id: Uuid::from_bytes(fields.array().ok_or(FrameError::Damaged)?),
        };
        if fields.0.is_empty() { Ok(identity) } else { Err(FrameError::Damaged) }
    }
}

/// Says that everything was synced and closed. Written last, removed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanMark {
    /// Whose it is: a mark that was copied from another directory says nothing.
    pub storage_id: Uuid,
    /// The checkpoint that was written before it.
    pub checkpoint_sequence: u64,
    /// What whoever closed it called itself, if anything: a directory that was put back from an old copy has an old one.
    pub owner: Option<i64>,
}

impl CleanMark {
    /// The file's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut content = self.storage_id.as_bytes().to_vec();
        content.extend_from_slice(&self.checkpoint_sequence.to_be_bytes());
        if let Some(owner) = self.owner {
            content.extend_from_slice(&owner.to_be_bytes());
        }
        CLEAN.encode(&content)
    }

    /// Reads the file's bytes.
    ///
    /// # Errors
    /// When anything in them is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let mut fields = Fields(CLEAN.decode(bytes)?);
        let mark = Self {
            storage_id: Uuid::from_bytes(fields.array().ok_or(FrameError::Damaged)?),
            checkpoint_sequence: fields.u64().ok_or(FrameError::Damaged)?,
            owner: fields.i64(),
        };
        if fields.0.is_empty() { Ok(mark) } else { Err(FrameError::Damaged) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn round_trips() {
        let identity = Identity { storage_id: Uuid::from_u128(1), boot_id: Uuid::from_u128(2) };
        assert_eq!(Identity::decode(&identity.encode()), Ok(identity));
        let mark = CleanMark { storage_id: Uuid::from_u128(1), checkpoint_sequence: 9, owner: Some(7) };
        assert_eq!(CleanMark::decode(&mark.encode()), Ok(mark));
        let nobodys = CleanMark { owner: None, ..mark };
        assert_eq!(CleanMark::decode(&nobodys.encode()), Ok(nobodys));
        assert!(Identity::decode(&mark.encode()).is_err());
    }

    #[test]
    fn golden_bytes() {
        let mut expected = b"cairndir\0\x01\0\0\0\0\0\x20".to_vec();
        expected.extend([1; 16]);
        expected.extend([2; 16]);
        let checksum = crc32c::crc32c(&expected);
        expected.extend(checksum.to_be_bytes());
        let identity = Identity { storage_id: Uuid::from_bytes([1; 16]), boot_id: Uuid::from_bytes([2; 16]) };
        assert_eq!(identity.encode(), expected);
    }
}
