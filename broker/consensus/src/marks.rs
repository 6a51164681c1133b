//! The vote, and how far the log is committed and purged: a small file with two slots that are written in turn.
//!
//! ```text
//!   0       8         10         18                 36                    53                 70         74     512
//!   | magic | version | sequence | vote             | committed           | purged           | crc32c   | zeros |
//!                                | set term node    | set term index      | set term index   | of 0..70
//!                                |   yes/no: committed                                         (second slot: from 512)
//! ```
//! The slot with the higher sequence counts. A slot that is torn while it is written leaves the other one: what was
//! promised before. `docs/formats/metadata-log.md` draws it.
//!
//! Must not know: the log's entries, who writes when.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use cairn_storage::disk::Disk;
use openraft::vote::RaftLeaderId;

use crate::bytes::{Cursor, Malformed, put_log_id};
use crate::types::{LogId, Vote};

const MAGIC: [u8; 8] = *b"cairnqst";
const VERSION: u16 = 1;
/// A slot fills one sector, so that disks write it whole.
const SLOT_BYTES: usize = 512;
const FILE_BYTES: usize = 2 * SLOT_BYTES;

/// What the file holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Marks {
    pub(crate) vote: Option<Vote>,
    /// A lower bound.
    pub(crate) committed: Option<LogId>,
    /// The last entry that was purged.
    pub(crate) purged: Option<LogId>,
}

impl Marks {
    /// The first index that is not purged.
    pub(crate) fn first(&self) -> u64 {
        self.purged.as_ref().map_or(0, |purged| purged.index() + 1)
    }
}

/// Whether anything but the file says that this voter has been here before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Past {
    /// Nothing does: the file may be made.
    None,
    /// There are entries or a checkpoint. The file was made before them: where it is missing, the vote is lost, and an empty one
    /// in its place could vote twice in a term.
    Some,
}

/// The file, open.
#[derive(Debug)]
pub(crate) struct MarksFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    sequence: u64,
}

impl MarksFile {
    /// Opens the file, or makes it for a voter without a past.
    pub(crate) fn open(disk: Arc<dyn Disk>, path: PathBuf, past: Past) -> io::Result<(Self, Marks)> {
        let found = match disk.read(&path, FILE_BYTES as u64) {
            Ok(bytes) => newest(&bytes).map_err(|error| {
                let text = format!("read {}: {error}", path.display());
                io::Error::new(io::ErrorKind::InvalidData, text)
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound && past == Past::Some => {
                let text = format!(
                    "{} is missing, but the metadata log is not empty: the vote is lost; restore the file from a backup",
                    path.display()
                );
                return Err(io::Error::new(io::ErrorKind::InvalidData, text));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let marks = Marks::default();
                disk.replace(&path, &[slot(1, &marks), slot(0, &marks)].concat())?;
                (1, marks)
            }
            Err(error) => return Err(error),
        };
        Ok((Self { disk, path, sequence: found.0 }, found.1))
    }

    /// Writes all marks into the older slot, and returns when they are durable.
    pub(crate) fn write(&mut self, marks: &Marks) -> io::Result<()> {
        self.sequence += 1;
        // Odd sequences lie in the first slot, even ones in the second.
        let position = if self.sequence % 2 == 1 { 0 } else { SLOT_BYTES as u64 };
        self.disk.write_at(&self.path, position, &slot(self.sequence, marks))?;
        self.disk.sync_file(&self.path)
    }
}

fn slot(sequence: u64, marks: &Marks) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_be_bytes());
    bytes.extend(sequence.to_be_bytes());
    let vote = marks.vote.as_ref();
    bytes.push(u8::from(vote.is_some()));
    bytes.extend(vote.map_or(0, |vote| vote.leader_id.term).to_be_bytes());
    bytes.extend(vote.map_or(0, |vote| vote.leader_id.voted_for).to_be_bytes());
    bytes.push(u8::from(vote.is_some_and(|vote| vote.committed)));
    put_log_id(&mut bytes, marks.committed.as_ref());
    put_log_id(&mut bytes, marks.purged.as_ref());
    bytes.extend(crc32c::crc32c(&bytes).to_be_bytes());
    bytes.resize(SLOT_BYTES, 0);
    bytes
}

/// Why neither slot counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum MarksDecodeError {
    #[error("both slots are damaged")]
    Damaged,
    #[error("a slot has the version {0}, known is {VERSION}")]
    Version(u16),
}

fn newest(bytes: &[u8]) -> Result<(u64, Marks), MarksDecodeError> {
    let mut best: Option<(u64, Marks)> = None;
    for slot in bytes.chunks(SLOT_BYTES) {
        match decode(slot) {
            Ok(found) if best.as_ref().is_none_or(|best| best.0 < found.0) => best = Some(found),
            // A later release has written here: its vote may not be overlooked.
            Err(SlotError::Version(version)) => return Err(MarksDecodeError::Version(version)),
            Ok(_) | Err(SlotError::Damaged(_)) => {}
        }
    }
    best.ok_or(MarksDecodeError::Damaged)
}

enum SlotError {
    Damaged(Malformed),
    Version(u16),
}

impl From<Malformed> for SlotError {
    fn from(malformed: Malformed) -> Self {
        Self::Damaged(malformed)
    }
}

fn decode(slot: &[u8]) -> Result<(u64, Marks), SlotError> {
    let mut cursor = Cursor(slot);
    if cursor.array()? != MAGIC {
        return Err(Malformed.into());
    }
    let version = cursor.u16()?;
    let sequence = cursor.u64()?;
    let (vote_set, term, node, vote_committed) = (cursor.flag(), cursor.u64()?, cursor.u64()?, cursor.flag());
    let (committed, purged) = (cursor.log_id(), cursor.log_id());
    let checked = slot.len() - cursor.0.len();
    if cursor.array()? != crc32c::crc32c(&slot[..checked]).to_be_bytes() {
        return Err(Malformed.into());
    }
    if version != VERSION {
        return Err(SlotError::Version(version));
    }
    let leader = openraft::alias::LeaderIdOf::<crate::types::TypeConfig>::new(term, node);
    let vote = vote_set?.then_some(Vote { leader_id: leader, committed: vote_committed? });
    Ok((sequence, Marks { vote, committed: committed?, purged: purged? }))
}

#[cfg(test)]
mod tests;
