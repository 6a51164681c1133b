//! Names: which topics are legal, what a partition's folder and its files are called.
//!
//! Must not know: what is in the files.

use std::fmt;
use std::path::{Path, PathBuf};

use cairn_protocol::ids::{Offset, PartitionIndex};

use crate::disk::REPLACEMENT_SUFFIX;

/// Kafka's bound: the folder's name has to fit a file name even with a suffix.
pub const TOPIC_NAME_MAX_BYTES: usize = 249;

/// Kafka's file of the leader epochs.
pub(crate) const EPOCHS_FILE: &str = "leader-epoch-checkpoint";
/// Kafka's file of the topic id.
pub(crate) const METADATA_FILE: &str = "partition.metadata";
/// An empty file of ours: no offsets are missing in this log, because Kafka's compaction was never there.
pub(crate) const DENSE_FILE: &str = "cairn-dense";
/// What ends the name of a partition's folder that is being removed.
const DELETE_SUFFIX: &str = "-delete";
/// What ends the name of a partition's folder that was set aside: it belongs to no topic, and is kept for a person to judge.
const STRAY_SUFFIX: &str = "-stray";
/// What ends the name of a partition's folder that is a copy on its way to another data directory: Kafka's.
const FUTURE_SUFFIX: &str = "-future";
/// What ends the name of a file that compaction has not finished.
const CLEANED_SUFFIX: &str = ".cleaned";
/// What ends the name of a finished one that is being put in place of others.
const SWAP_SUFFIX: &str = ".swap";
/// The longest name that Linux file systems take.
const FILE_NAME_MAX_BYTES: usize = 255;

/// Which log: a topic's name and a partition of it. The name is legal in Kafka's sense, so that it can name a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogName {
    topic: Box<str>,
    partition: PartitionIndex,
}

/// A name cannot name a partition's log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LogNameError {
    /// Characters outside `a-z A-Z 0-9 . _ -`, nothing at all, `.`, `..`, or longer than [`TOPIC_NAME_MAX_BYTES`].
    #[error(
        "topic name {0:?} is not legal: 1 to {TOPIC_NAME_MAX_BYTES} of a-z, A-Z, 0-9, '.', '_' and '-', not \".\" or \"..\""
    )]
    Topic(String),
    /// A partition below zero.
    #[error("partition {0} is negative")]
    Partition(i32),
    /// A folder's name that is no `topic-partition`.
    #[error("folder name {0:?} is not topic-partition")]
    Folder(String),
}

impl LogName {
    /// Checks the parts.
    ///
    /// # Errors
    /// When they cannot name a folder.
    pub fn new(topic: &str, partition: PartitionIndex) -> Result<Self, LogNameError> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if topic.is_empty()
            || topic.len() > TOPIC_NAME_MAX_BYTES
            || matches!(topic, "." | "..")
            || !topic.bytes().all(legal)
        {
            return Err(LogNameError::Topic(topic.to_owned()));
        }
        if partition.0 < 0 {
            return Err(LogNameError::Partition(partition.0));
        }
        Ok(Self { topic: topic.into(), partition })
    }

    /// Reads a folder's name back.
    ///
    /// # Errors
    /// When it is not one that [`LogName`] prints.
    pub fn from_folder(folder: &str) -> Result<Self, LogNameError> {
        let wrong = || LogNameError::Folder(folder.to_owned());
        let (topic, partition) = folder.rsplit_once('-').ok_or_else(wrong)?;
        let partition: i32 = partition.parse().map_err(|_| wrong())?;
        let name = Self::new(topic, PartitionIndex(partition)).map_err(|_| wrong())?;
        // "+1" and "01" parse too, but would name the folder of another partition.
        if name.to_string() == folder { Ok(name) } else { Err(wrong()) }
    }

    /// The topic's name.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The partition's index.
    #[must_use]
    pub fn partition(&self) -> PartitionIndex {
        self.partition
    }

    /// The name of the folder while it is removed: `unique` keeps it apart from a new log of the same name.
    pub(crate) fn deleted_folder(&self, unique: uuid::Uuid) -> String {
        self.folder_ending(unique, DELETE_SUFFIX)
    }

    /// The name of the folder once it is set aside: `owner` says whose it was.
    pub(crate) fn stray_folder(&self, owner: uuid::Uuid) -> String {
        self.folder_ending(owner, STRAY_SUFFIX)
    }

    /// The name of the folder of a copy that is to take the log's place; `None` where it is too long for a file's.
    pub(crate) fn future_folder(&self, unique: uuid::Uuid) -> Option<String> {
        let folder = self.folder_ending(unique, FUTURE_SUFFIX);
        (future_of(&folder).as_ref() == Some(self)).then_some(folder)
    }

    /// Whether a copy of the log may be made: its folder's name has to fit a file name.
    #[must_use]
    pub fn can_move(&self) -> bool {
        self.future_folder(uuid::Uuid::nil()).is_some()
    }

    fn folder_ending(&self, id: uuid::Uuid, suffix: &str) -> String {
        let suffix = format!(".{}{suffix}", id.simple());
        let mut folder = self.to_string();
        folder.truncate(FILE_NAME_MAX_BYTES - suffix.len());
        folder + &suffix
    }
}

/// The folder's name: `topic-partition`.
impl fmt::Display for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// Whether a folder of this name waits for its removal.
pub(crate) fn is_deleted_folder(name: &str) -> bool {
    name.ends_with(DELETE_SUFFIX) && name.contains('.')
}

/// Of which log a folder of this name is a copy on its way.
pub(crate) fn future_of(name: &str) -> Option<LogName> {
    let (folder, unique) = name.strip_suffix(FUTURE_SUFFIX)?.rsplit_once('.')?;
    uuid::Uuid::try_parse(unique).ok()?;
    LogName::from_folder(folder).ok()
}

/// Whether a folder of this name was set aside for a person to judge.
pub(crate) fn is_stray_folder(name: &str) -> bool {
    name.ends_with(STRAY_SUFFIX) && name.contains('.')
}

/// What a file of a partition's folder holds, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// Record batches from this offset on.
    Segment(Offset),
    /// Offset to position, of the segment of this offset.
    OffsetIndex(Offset),
    /// Timestamp to offset, of the segment of this offset.
    TimeIndex(Offset),
    /// The producers as they are before this offset.
    ProducerSnapshot(Offset),
    /// Batches that compaction has put together, in place of the segments from this offset on: the exchange has begun.
    Swap(Offset),
    /// Kafka's index of aborted transactions, which we neither write nor read.
    TransactionIndex(Offset),
    /// The leader epochs.
    Epochs,
    /// The topic id.
    Metadata,
    /// Says that no offsets are missing.
    Dense,
    /// A file that is already given up: an unfinished replacement, what a compaction had not put in place, or one that
    /// Kafka had marked.
    Leftover,
    /// Nothing of ours.
    Unknown,
}

impl FileKind {
    /// Reads a file's name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        match name {
            EPOCHS_FILE => return Self::Epochs,
            METADATA_FILE => return Self::Metadata,
            DENSE_FILE => return Self::Dense,
            _ => {}
        }
        let Some((stem, suffix)) = name.split_once('.') else { return Self::Unknown };
        if name.ends_with(".tmp") || name.ends_with(".deleted") || name.ends_with(".cleaned") {
            return Self::Leftover;
        }
        // Indexes are made anew from the batches.
        if name.ends_with("index.swap") {
            return Self::Leftover;
        }
        let digits = stem.len() == 20 && stem.bytes().all(|byte| byte.is_ascii_digit());
        let Some(base) = digits.then(|| stem.parse().ok()).flatten().map(Offset) else { return Self::Unknown };
        match suffix {
            "log.swap" => Self::Swap(base),
            "log" => Self::Segment(base),
            "index" => Self::OffsetIndex(base),
            "timeindex" => Self::TimeIndex(base),
            "snapshot" => Self::ProducerSnapshot(base),
            "txnindex" => Self::TransactionIndex(base),
            _ => Self::Unknown,
        }
    }
}

/// The paths of a partition's folder.
#[derive(Clone, Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn segment(&self, base: Offset) -> PathBuf {
        self.0.join(format!("{base:020}.log"))
    }

    pub(crate) fn offset_index(&self, base: Offset) -> PathBuf {
        self.0.join(format!("{base:020}.index"))
    }

    pub(crate) fn time_index(&self, base: Offset) -> PathBuf {
        self.0.join(format!("{base:020}.timeindex"))
    }

    /// What the batches and the indexes of the segment at `base` are called while compaction writes them: Kafka's names.
    pub(crate) fn cleaned(&self, base: Offset) -> SegmentFiles {
        self.ending(base, CLEANED_SUFFIX)
    }

    /// The same while they take the place of the segment. Kafka's names, too.
    pub(crate) fn swap(&self, base: Offset) -> SegmentFiles {
        self.ending(base, SWAP_SUFFIX)
    }

    /// The same while mending writes them.
    pub(crate) fn replacement(&self, base: Offset) -> SegmentFiles {
        self.ending(base, REPLACEMENT_SUFFIX)
    }

    fn ending(&self, base: Offset, suffix: &str) -> SegmentFiles {
        SegmentFiles {
            segment: ending(&self.segment(base), suffix),
            offset_index: ending(&self.offset_index(base), suffix),
            time_index: ending(&self.time_index(base), suffix),
        }
    }

    pub(crate) fn snapshot(&self, end: Offset) -> PathBuf {
        self.0.join(format!("{end:020}.snapshot"))
    }

    pub(crate) fn epochs(&self) -> PathBuf {
        self.0.join(EPOCHS_FILE)
    }

    pub(crate) fn dense(&self) -> PathBuf {
        self.0.join(DENSE_FILE)
    }

    pub(crate) fn metadata(&self) -> PathBuf {
        self.0.join(METADATA_FILE)
    }
}

/// The files of a segment under other names, as compaction and mending write them.
#[derive(Clone, Debug)]
pub(crate) struct SegmentFiles {
    pub(crate) segment: PathBuf,
    pub(crate) offset_index: PathBuf,
    pub(crate) time_index: PathBuf,
}

impl SegmentFiles {
    pub(crate) fn all(&self) -> [&Path; 3] {
        [&self.segment, &self.offset_index, &self.time_index]
    }
}

fn ending(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folder_names_go_both_ways() {
        let name = LogName::new("a-b.c_d", PartitionIndex(12)).unwrap();
        assert_eq!(name.to_string(), "a-b.c_d-12");
        assert_eq!(LogName::from_folder("a-b.c_d-12"), Ok(name));
        for wrong in ["", "a", "a-", "-1", "a-+1", "a-01", "a/b-1", "a-2147483648", "..-1"] {
            assert!(LogName::from_folder(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn illegal_topics_are_refused() {
        for wrong in ["", ".", "..", "a/b", "ä", "a b", "a\0", &"x".repeat(250)] {
            assert!(LogName::new(wrong, PartitionIndex(0)).is_err(), "{wrong}");
        }
        assert!(LogName::new(&"x".repeat(249), PartitionIndex(0)).is_ok());
        assert!(LogName::new("x", PartitionIndex(-1)).is_err());
    }

    #[test]
    fn a_deleted_folder_fits_a_file_name_and_is_no_log() {
        let name = LogName::new(&"x".repeat(249), PartitionIndex(i32::MAX)).unwrap();
        let deleted = name.deleted_folder(uuid::Uuid::nil());
        assert_eq!(deleted.len(), FILE_NAME_MAX_BYTES);
        assert!(is_deleted_folder(&deleted));
        assert!(LogName::from_folder(&deleted).is_err());
        assert!(!is_deleted_folder("orders-delete-1"));
    }

    #[test]
    fn the_folder_of_a_copy_says_of_which_log_and_is_none() {
        let name = LogName::new("a.b-c", PartitionIndex(7)).unwrap();
        let future = name.future_folder(uuid::Uuid::from_u128(5)).unwrap();
        assert_eq!(future, "a.b-c-7.00000000000000000000000000000005-future");
        assert_eq!(future_of(&future), Some(name));
        assert!(LogName::from_folder(&future).is_err() && !is_deleted_folder(&future) && !is_stray_folder(&future));
        for other in ["a-7", "a-7.5-future", "a-7-future", "a.00000000000000000000000000000005-future"] {
            assert_eq!(future_of(other), None, "{other}");
        }
        let long = LogName::new(&"x".repeat(249), PartitionIndex(0)).unwrap();
        assert!(long.future_folder(uuid::Uuid::nil()).is_none() && !long.can_move());
    }

    #[test]
    fn a_stray_folder_fits_a_file_name_and_is_neither_log_nor_deleted() {
        let name = LogName::new(&"x".repeat(249), PartitionIndex(i32::MAX)).unwrap();
        let stray = name.stray_folder(uuid::Uuid::from_u128(5));
        assert_eq!(stray.len(), FILE_NAME_MAX_BYTES);
        assert!(stray.ends_with(".00000000000000000000000000000005-stray"));
        assert!(LogName::from_folder(&stray).is_err());
        assert!(!is_deleted_folder(&stray) && is_stray_folder(&stray));
        assert!(!is_stray_folder("orders-stray-1") && !is_stray_folder("orders-stray"));
    }

    #[test]
    fn file_names_say_what_is_in_them() {
        let folder = Folder::new(PathBuf::from("t-0"));
        let name = |path: PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        assert_eq!(name(folder.segment(Offset(42))), "00000000000000000042.log");
        assert_eq!(FileKind::of(&name(folder.segment(Offset(42)))), FileKind::Segment(Offset(42)));
        assert_eq!(FileKind::of(&name(folder.snapshot(Offset(7)))), FileKind::ProducerSnapshot(Offset(7)));
        assert_eq!(FileKind::of("00000000000000000042.log.deleted"), FileKind::Leftover);
        assert_eq!(FileKind::of(&name(folder.swap(Offset(42)).segment)), FileKind::Swap(Offset(42)));
        assert_eq!(name(folder.swap(Offset(42)).segment), "00000000000000000042.log.swap");
        assert_eq!(name(folder.cleaned(Offset(42)).time_index), "00000000000000000042.timeindex.cleaned");
        assert!(
            folder
                .cleaned(Offset(42))
                .all()
                .into_iter()
                .all(|path| { FileKind::of(path.file_name().unwrap().to_str().unwrap()) == FileKind::Leftover })
        );
        assert_eq!(FileKind::of(&name(folder.swap(Offset(42)).offset_index)), FileKind::Leftover);
        assert_eq!(FileKind::of("99999999999999999999.log"), FileKind::Unknown);
        assert_eq!(FileKind::of("-0000000000000000001.log"), FileKind::Unknown);
        assert_eq!(FileKind::of("leader-epoch-checkpoint"), FileKind::Epochs);
    }
}
