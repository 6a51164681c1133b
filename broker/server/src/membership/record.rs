//! What a broker notes of its membership: one small file beside the metadata, replaced whole.
//!
//! ```text
//!   0       8         10        26     30          32                 96       100
//!   | magic | version | cluster | node | peer port | join secret, hex | crc32c |
//! ```
//! `docs/formats/data-directory.md` draws it.
//!
//! Must not know: how one becomes a member.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cairn_peers::JoinSecret;
use cairn_protocol::ids::BrokerId;
use cairn_storage::disk::Disk;
use uuid::Uuid;

use super::MembershipError;

const MAGIC: [u8; 8] = *b"cairnmbr";
const VERSION: u16 = 1;
const FILE: &str = "metadata/member";
const FILE_BYTES: usize = 100;
const SECRET_TEXT_BYTES: usize = 64;

/// Who a broker is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MemberRecord {
    pub(crate) cluster: Uuid,
    pub(crate) node: BrokerId,
    /// Where it listened for peers last.
    pub(crate) port: u16,
    pub(crate) secret: JoinSecret,
}

/// Where that is noted.
#[derive(Debug)]
pub(super) struct MemberFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl MemberFile {
    pub(super) fn new(disk: Arc<dyn Disk>, metadata_dir: &Path) -> Self {
        Self { disk, path: metadata_dir.join(FILE) }
    }

    /// None where the broker was never a member.
    pub(super) fn read(&self) -> io::Result<Option<MemberRecord>> {
        let bytes = match self.disk.read(&self.path, FILE_BYTES as u64) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        decode(&bytes).map(Some).ok_or_else(|| damaged(&self.path))
    }

    /// Replaces what was noted, and returns when that is durable.
    pub(super) fn write(&self, record: &MemberRecord) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            self.disk.create_dir(folder)?;
            folder.parent().map_or(Ok(()), |dir| self.disk.sync_dir(dir))?;
        }
        self.disk.replace(&self.path, &encode(record))
    }
}

fn damaged(path: &Path) -> io::Error {
    let text = format!("{} is damaged; restore it from a backup", path.display());
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn encode(record: &MemberRecord) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_be_bytes());
    bytes.extend(record.cluster.as_bytes());
    bytes.extend(record.node.0.to_be_bytes());
    bytes.extend(record.port.to_be_bytes());
    bytes.extend(record.secret.to_text().bytes());
    bytes.extend(crc32c::crc32c(&bytes).to_be_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<MemberRecord> {
    let (content, checksum) = bytes.split_last_chunk()?;
    if *checksum != crc32c::crc32c(content).to_be_bytes() {
        return None;
    }
    let content = content.strip_prefix(&MAGIC)?;
    let (version, content) = content.split_first_chunk()?;
    if u16::from_be_bytes(*version) != VERSION {
        return None;
    }
    let (cluster, content) = content.split_first_chunk()?;
    let (node, content) = content.split_first_chunk()?;
    let (port, content) = content.split_first_chunk()?;
    let secret: &[u8; SECRET_TEXT_BYTES] = content.try_into().ok()?;
    Some(MemberRecord {
        cluster: Uuid::from_bytes(*cluster),
        node: BrokerId(i32::from_be_bytes(*node)),
        port: u16::from_be_bytes(*port),
        secret: std::str::from_utf8(secret).ok()?.parse().ok()?,
    })
}

/// The join secret of the cluster that the broker with this data is a member of, as text; none where it is of no cluster. The
/// broker may run meanwhile.
///
/// # Errors
/// When the folder cannot be read, or what is noted in it is damaged.
pub fn join_secret(metadata_dir: &Path) -> io::Result<Option<String>> {
    match std::fs::read(metadata_dir.join(FILE)) {
        Ok(bytes) => match decode(&bytes) {
            Some(record) => Ok(Some(record.secret.to_text().to_string())),
            None => Err(damaged(&metadata_dir.join(FILE))),
        },
        // A folder that is not there is another matter.
        Err(error) if error.kind() == io::ErrorKind::NotFound => std::fs::metadata(metadata_dir).map(|_| None),
        Err(error) => Err(error),
    }
}

/// The secret in a file that a person made.
pub(super) fn read_secret(path: &Path) -> Result<JoinSecret, MembershipError> {
    let error = |reason: &dyn std::fmt::Display| MembershipError::Secret {
        path: path.display().to_string(),
        reason: reason.to_string(),
    };
    let text = std::fs::read_to_string(path).map_err(|reason| error(&reason))?;
    text.parse().map_err(|reason: cairn_peers::ParseSecretError| error(&reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_back_and_a_damaged_one_is_not() {
        let record =
            MemberRecord { cluster: Uuid::from_u128(5), node: BrokerId(3), port: 4000, secret: JoinSecret::random() };
        let bytes = encode(&record);
        assert_eq!(bytes.len(), FILE_BYTES);
        assert_eq!(decode(&bytes), Some(record));
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x20;
            assert_eq!(decode(&changed), None, "byte {at}");
            assert_eq!(decode(&bytes[..at]), None, "cut at {at}");
        }
    }
}
