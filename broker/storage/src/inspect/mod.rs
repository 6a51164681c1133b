//! Looking at files without opening a log: what is in them, and whether it holds. Nothing is changed, no lock is taken.
//!
//! ```no_run
//! # fn main() -> Result<(), cairn_storage::inspect::InspectError> {
//! use cairn_storage::{disk::portable::PortableDisk, inspect};
//! let disk = PortableDisk::default();
//! let path = "cairn-data/orders-0".as_ref();
//! inspect::dump(&disk, path, inspect::Detail::Batches, &mut std::io::stdout())?;
//! let verdict = inspect::verify(&disk, path)?;
//! println!("{verdict}");
//! # Ok(())
//! # }
//! ```
//!
//! Must not know: command lines, logs that are open.

mod folder;
mod index;
mod segment;
mod small;

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub use self::segment::{BatchReport, RecordReport, SegmentEnd, SegmentWalk, Unsound};
use crate::disk::Disk;
use crate::log::FileKind;

/// How much a dump says of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// A line for each batch.
    Batches,
    /// A line for each record, too.
    Records,
}

/// A file or folder cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// Neither a file nor a folder that we know.
    #[error("{path} is none of a log's files, a partition's folder or a data directory", path = path.display())]
    Unknown {
        /// The path.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("cannot read {path}", path = path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// The dump cannot be written.
    #[error("cannot write the dump")]
    Write(#[from] io::Error),
}

/// Something in a file that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file or folder.
    pub path: PathBuf,
    /// What is wrong, and where.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.what)
    }
}

/// What [`verify`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Files that were looked at.
    pub files: u64,
    /// Record batches whose checksum was computed.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of the batches.
    pub bytes: u64,
    /// Index entries that were compared with their batch.
    pub index_entries: u64,
    /// What is worth knowing but no damage, such as the prepared rest of a segment that takes appends.
    pub remarks: Vec<Problem>,
    /// What does not hold.
    pub problems: Vec<Problem>,
}

impl Verdict {
    /// Whether everything holds.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.problems.is_empty()
    }

    fn problem(&mut self, path: &Path, what: impl Into<String>) {
        self.problems.push(Problem { path: path.to_owned(), what: what.into() });
    }

    fn remark(&mut self, path: &Path, what: impl Into<String>) {
        self.remarks.push(Problem { path: path.to_owned(), what: what.into() });
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "problem: {problem}")?;
        }
        for remark in &self.remarks {
            writeln!(f, "remark: {remark}")?;
        }
        let Self { files, batches, records, bytes, index_entries, problems, .. } = self;
        write!(
            f,
            "files={files} batches={batches} records={records} bytes={bytes} index_entries={index_entries} problems={}",
            problems.len()
        )
    }
}

/// What a path leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    DataDir,
    Partition,
    File(FileKind),
    Identity,
    Checkpoint,
    CleanMark,
}

/// Writes what is in a file of a log, a partition's folder or a data directory.
///
/// # Errors
/// When it cannot be read, or `out` takes nothing. Damage is no error: it is part of what is written.
pub fn dump(disk: &dyn Disk, path: &Path, detail: Detail, out: &mut dyn Write) -> Result<(), InspectError> {
    match target(disk, path)? {
        Target::DataDir => folder::dump_data_dir(disk, path, detail, out),
        Target::Partition => folder::dump_partition(disk, path, detail, out),
        Target::File(FileKind::Segment(base)) => segment::dump(disk, path, base, detail, out),
        Target::File(FileKind::OffsetIndex(base)) => index::dump_offsets(disk, path, base, out),
        Target::File(FileKind::TimeIndex(base)) => index::dump_times(disk, path, base, out),
        other => small::dump(disk, path, other, out),
    }
}

/// Checks a file of a log, a partition's folder or a data directory: every checksum, every order, every index entry.
///
/// # Errors
/// When it cannot be read. Damage is no error: it is in the verdict.
pub fn verify(disk: &dyn Disk, path: &Path) -> Result<Verdict, InspectError> {
    let mut verdict = Verdict::default();
    match target(disk, path)? {
        Target::DataDir => folder::verify_data_dir(disk, path, &mut verdict)?,
        Target::Partition => folder::verify_partition(disk, path, &mut verdict).map(drop)?,
        Target::File(FileKind::Segment(base)) => segment::verify(disk, path, base, &mut verdict).map(drop)?,
        Target::File(FileKind::OffsetIndex(base)) => index::verify_offsets(disk, path, base, &mut verdict)?,
        Target::File(FileKind::TimeIndex(base)) => index::verify_times(disk, path, base, &mut verdict)?,
        other => small::verify(disk, path, other, &mut verdict)?,
    }
    Ok(verdict)
}

fn target(disk: &dyn Disk, path: &Path) -> Result<Target, InspectError> {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let by_name = match name {
        crate::dir::identity::IDENTITY_FILE => Some(Target::Identity),
        crate::dir::identity::CLEAN_FILE => Some(Target::CleanMark),
        crate::dir::state::CHECKPOINT_FILE => Some(Target::Checkpoint),
        _ => match FileKind::of(name) {
            FileKind::Unknown
            | FileKind::Dense
            | FileKind::Leftover
            | FileKind::Swap(_)
            | FileKind::TransactionIndex(_) => None,
            kind => Some(Target::File(kind)),
        },
    };
    if let Some(target) = by_name {
        return Ok(target);
    }
    let entries = disk.list(path).map_err(|source| InspectError::Read { path: path.to_owned(), source })?;
    if entries.iter().any(|entry| entry.name == crate::dir::identity::IDENTITY_FILE) {
        return Ok(Target::DataDir);
    }
    if entries.iter().any(|entry| matches!(FileKind::of(&entry.name), FileKind::Segment(_) | FileKind::Metadata)) {
        return Ok(Target::Partition);
    }
    if entries.iter().any(|entry| crate::log::LogName::from_folder(&entry.name).is_ok()) {
        return Ok(Target::DataDir);
    }
    Err(InspectError::Unknown { path: path.to_owned() })
}

fn read(path: &Path) -> impl FnOnce(io::Error) -> InspectError + '_ {
    move |source| InspectError::Read { path: path.to_owned(), source }
}
