//! Which log dir of a broker keeps which partition, as the broker has last noted it.
//!
//! Logs are found where they lie. This file says where one has to lie that is not found, so that a lost dir is not taken for a
//! partition that was never made; and, of two that are found, which one is the newer.
//!
//! Format: docs/formats/data-directory.md.
//!
//! Must not know: when partitions come, go and move; the logs themselves.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cairn_protocol::ids::{PartitionIndex, TopicId};
use uuid::Uuid;

use super::frame::{Fields, FrameError, Kind};

const KIND: Kind = Kind { magic: *b"cairnasg", version: 1 };
/// The largest file that is read: far more than a million partitions.
pub(crate) const ASSIGNMENTS_MAX_BYTES: u64 = 64 << 20;

/// The file of the assignments.
pub(crate) fn assignments_path(root: &Path) -> PathBuf {
    root.join("log-dir-assignments")
}

/// Which log dir keeps which partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignments {
    /// Where each dir, by its storage id, was when it was last seen.
    pub dirs: BTreeMap<Uuid, Box<str>>,
    /// The storage id of each partition's dir, which is one of `dirs`.
    pub logs: BTreeMap<(TopicId, PartitionIndex), Uuid>,
}

impl Assignments {
    /// The file's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let count = |len: usize| u32::try_from(len).expect("fewer entries than that fit into memory").to_be_bytes();
        let mut content = Vec::with_capacity(8 + self.dirs.len() * 64 + self.logs.len() * 24);
        content.extend_from_slice(&count(self.dirs.len()));
        for (id, path) in &self.dirs {
            content.extend_from_slice(id.as_bytes());
            content.extend_from_slice(&count(path.len()));
            content.extend_from_slice(path.as_bytes());
        }
        content.extend_from_slice(&count(self.logs.len()));
        for ((topic, partition), dir) in &self.logs {
            let at = self.dirs.keys().position(|known| known == dir).expect("a partition's dir is known");
            content.extend_from_slice(topic.0.as_bytes());
            content.extend_from_slice(&partition.0.to_be_bytes());
            content.extend_from_slice(&count(at));
        }
        KIND.encode(&content)
    }

    /// Reads the file's bytes.
    ///
    /// # Errors
    /// When anything in them is wrong.
    pub fn decode(bytes: &[u8]) -> Result<Self, FrameError> {
        let mut fields = Fields(KIND.decode(bytes)?);
        let assignments = Self::decode_content(&mut fields).ok_or(FrameError::Damaged)?;
        if fields.0.is_empty() { Ok(assignments) } else { Err(FrameError::Damaged) }
    }

    fn decode_content(fields: &mut Fields<'_>) -> Option<Self> {
        let mut dirs = BTreeMap::new();
        for _ in 0..fields.u32()? {
            let id = Uuid::from_bytes(fields.array()?);
            let len = usize::try_from(fields.u32()?).ok()?;
            dirs.insert(id, std::str::from_utf8(fields.take(len)?).ok()?.into());
        }
        let ids: Vec<Uuid> = dirs.keys().copied().collect();
        let mut logs = BTreeMap::new();
        for _ in 0..fields.u32()? {
            let topic = TopicId(Uuid::from_bytes(fields.array()?));
            let partition = PartitionIndex(i32::from_be_bytes(fields.array()?));
            let at = usize::try_from(fields.u32()?).ok()?;
            logs.insert((topic, partition), *ids.get(at)?);
        }
        Some(Self { dirs, logs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assignments() -> Assignments {
        let (a, b) = (Uuid::from_bytes([1; 16]), Uuid::from_bytes([2; 16]));
        let topic = TopicId(Uuid::from_bytes([9; 16]));
        Assignments {
            dirs: [(a, "/a".into()), (b, "/mnt/b".into())].into(),
            logs: [((topic, PartitionIndex(0)), b), ((topic, PartitionIndex(7)), a)].into(),
        }
    }

    #[test]
    fn golden_bytes() {
        let mut expected = b"cairnasg".to_vec();
        expected.extend([0, 1, 0, 0, 0, 0, 0, 104]);
        expected.extend([0, 0, 0, 2]);
        expected.extend([1; 16]);
        expected.extend(b"\0\0\0\x02/a");
        expected.extend([2; 16]);
        expected.extend(b"\0\0\0\x06/mnt/b");
        expected.extend([0, 0, 0, 2]);
        expected.extend([9; 16]);
        expected.extend([0, 0, 0, 0, 0, 0, 0, 1]);
        expected.extend([9; 16]);
        expected.extend([0, 0, 0, 7, 0, 0, 0, 0]);
        let checksum = crc32c::crc32c(&expected);
        expected.extend(checksum.to_be_bytes());
        assert_eq!(assignments().encode(), expected);
    }

    #[test]
    fn round_trip_and_damage() {
        let bytes = assignments().encode();
        assert_eq!(Assignments::decode(&bytes), Ok(assignments()));
        for at in 0..bytes.len() {
            assert!(Assignments::decode(&bytes[..at]).is_err());
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x10;
            assert!(Assignments::decode(&flipped).is_err(), "byte {at}");
        }
    }

    /// A checksum that holds does not make an index of a dir that is not there one that is.
    #[test]
    fn a_dir_that_is_not_there_is_damage() {
        let mut content = 0u32.to_be_bytes().to_vec();
        content.extend(1u32.to_be_bytes());
        content.extend([9; 16]);
        content.extend([0; 8]);
        assert_eq!(Assignments::decode(&KIND.encode(&content)), Err(FrameError::Damaged));
    }
}
