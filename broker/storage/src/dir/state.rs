//! What all logs of one data directory share: the disk, whether it has failed, how full it is, and what its checkpoint
//! says of each log.
//!
//! Must not know: segments, batches.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use cairn_protocol::ids::{Offset, TopicId};
use parking_lot::Mutex;

use super::checkpoint::{Checkpoint, LogMarks, OrderCell};
use super::cleaned::CleanedOffsets;
use crate::allocator::Allocator;
use crate::disk::{Disk, Space};

/// The data directory met an I/O error: it takes nothing more until the process starts anew and recovers it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("data directory {path} is offline: {cause}", path = path.display())]
pub struct DirOffline {
    /// The directory.
    pub path: PathBuf,
    /// What happened first.
    pub cause: Arc<str>,
}

/// A small file was not replaced. What it said before still stands.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ReplaceError {
    /// No space for the new file; passes when space returns.
    #[error("no space left on disk")]
    DiskFull,
    /// The data directory has failed, before or just now.
    #[error(transparent)]
    Offline(#[from] DirOffline),
}

/// How much room there is, and how much of it is kept free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpaceState {
    /// Bytes of the file system.
    pub total_bytes: u64,
    /// Free bytes of the file system, when last looked at.
    pub free_bytes: u64,
    /// Below so many free bytes leaders take nothing.
    pub reserve_bytes: u64,
}

impl SpaceState {
    /// Whether leaders take nothing.
    #[must_use]
    pub fn is_below_reserve(&self) -> bool {
        self.free_bytes < self.reserve_bytes
    }
}

/// Marks of one log that go into the checkpoint. Written by the log, read by whoever writes the checkpoint.
#[derive(Debug)]
pub(crate) struct Marks {
    pub(crate) recovery_point: AtomicI64,
    topic_id: TopicId,
    pub(crate) start_offset: AtomicI64,
    pub(crate) high_watermark: AtomicI64,
    pub(crate) order: OrderCell,
}

impl Marks {
    fn new(marks: LogMarks) -> Self {
        Self {
            recovery_point: AtomicI64::new(marks.recovery_point.0),
            topic_id: marks.topic_id,
            start_offset: AtomicI64::new(marks.start_offset.0),
            high_watermark: AtomicI64::new(marks.high_watermark.0),
            order: OrderCell::new(marks.order),
        }
    }

    fn load(&self) -> LogMarks {
        LogMarks {
            recovery_point: Offset(self.recovery_point.load(Ordering::Acquire)),
            topic_id: self.topic_id,
            start_offset: Offset(self.start_offset.load(Ordering::Acquire)),
            high_watermark: Offset(self.high_watermark.load(Ordering::Acquire)),
            order: self.order.load(),
        }
    }
}

/// What the checkpoint says, or will say, of one folder.
#[derive(Debug)]
pub(crate) enum Known {
    /// Nobody has opened it yet, or it could not be opened: what was said stays.
    Stored(LogMarks),
    /// A log is open.
    Live(Arc<Marks>),
}

impl Known {
    fn marks(&self) -> LogMarks {
        match self {
            Self::Stored(marks) => *marks,
            Self::Live(marks) => marks.load(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct DirState {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) root: PathBuf,
    /// Prepares files ahead of appends; without it each append prepares for itself.
    pub(crate) allocator: Option<Allocator>,
    failure: OnceLock<Arc<str>>,
    total: AtomicU64,
    free: AtomicU64,
    reserve: u64,
    /// Handed to logs since `free` was looked at.
    spent: AtomicU64,
    logs: Mutex<BTreeMap<String, Known>>,
    open_logs: AtomicUsize,
    /// Folders of logs that were made in the directory, and how many of them are there for certain; the latter held while the
    /// directory is synced.
    folders_made: AtomicU64,
    folders_synced: AtomicU64,
    syncing_folders: Mutex<()>,
    /// Up to where logs were compacted; held while its file is replaced.
    pub(crate) cleaned: Mutex<CleanedOffsets>,
    /// Only one checkpoint is written at a time. Holds the last one.
    checkpoint: Mutex<Checkpoint>,
}

impl DirState {
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        root: PathBuf,
        allocator: Option<Allocator>,
        space: Space,
        reserve: u64,
        (checkpoint, cleaned): (Checkpoint, CleanedOffsets),
    ) -> Self {
        let logs = checkpoint.logs.iter().map(|(folder, marks)| (folder.clone(), Known::Stored(*marks))).collect();
        Self {
            disk,
            root,
            allocator,
            failure: OnceLock::new(),
            total: AtomicU64::new(space.total),
            free: AtomicU64::new(space.free),
            reserve,
            spent: AtomicU64::new(0),
            logs: Mutex::new(logs),
            open_logs: AtomicUsize::new(0),
            folders_made: AtomicU64::new(0),
            folders_synced: AtomicU64::new(0),
            syncing_folders: Mutex::default(),
            cleaned: Mutex::new(cleaned),
            checkpoint: Mutex::new(checkpoint),
        }
    }

    /// # Errors
    /// Once the directory has failed.
    pub(crate) fn check(&self) -> Result<(), DirOffline> {
        match self.failure.get() {
            None => Ok(()),
            Some(cause) => Err(DirOffline { path: self.root.clone(), cause: Arc::clone(cause) }),
        }
    }

    /// Takes the directory offline for good: what the kernel thinks is on disk cannot be told any more.
    pub(crate) fn fail(&self, action: &str, error: &dyn Display) -> DirOffline {
        let new: Arc<str> = format!("cannot {action}: {error}").into();
        if self.failure.set(Arc::clone(&new)).is_ok() {
            tracing::error!(path = %self.root.display(), cause = %new, "data directory goes offline");
        }
        let cause = self.failure.get().map_or(new, Arc::clone);
        DirOffline { path: self.root.clone(), cause }
    }

    /// [`Self::fail`] of a result.
    pub(crate) fn heed<T>(&self, action: &str, result: io::Result<T>) -> Result<T, DirOffline> {
        result.map_err(|error| self.fail(action, &error))
    }

    /// Replaces a small file durably.
    pub(crate) fn replace(&self, path: &Path, content: &[u8]) -> Result<(), ReplaceError> {
        match self.disk.replace(path, content) {
            Ok(()) => Ok(()),
            Err(error) if is_full(&error) => {
                tracing::warn!(path = %path.display(), "no space left on disk");
                Err(ReplaceError::DiskFull)
            }
            Err(error) => Err(self.fail(&format!("replace {}", path.display()), &error).into()),
        }
    }

    pub(crate) fn space(&self) -> SpaceState {
        SpaceState {
            total_bytes: self.total.load(Ordering::Relaxed),
            free_bytes: self.free.load(Ordering::Relaxed),
            reserve_bytes: self.reserve,
        }
    }

    /// Looks how full the disk is.
    pub(crate) fn refresh_space(&self) -> Result<SpaceState, DirOffline> {
        let space = self.heed("look at free space", self.disk.space(&self.root))?;
        let before = self.space();
        self.total.store(space.total, Ordering::Relaxed);
        self.free.store(space.free, Ordering::Relaxed);
        self.spent.store(0, Ordering::Relaxed);
        let now = self.space();
        match (before.is_below_reserve(), now.is_below_reserve()) {
            (false, true) => {
                tracing::warn!(
                    free = now.free_bytes,
                    reserve = now.reserve_bytes,
                    "disk below its reserve: no produce"
                );
            }
            (true, false) => tracing::info!(free = now.free_bytes, "disk above its reserve again"),
            _ => {}
        }
        Ok(now)
    }

    /// Counts bytes that a log is about to take, and looks anew when the last look is worth little.
    pub(crate) fn spend(&self, bytes: u64) -> Result<SpaceState, DirOffline> {
        /// A look costs a microsecond: not for each small piece.
        const LOOK_EVERY_BYTES: u64 = 1 << 20;
        let spent = self.spent.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let state = self.space();
        if spent >= LOOK_EVERY_BYTES || state.is_below_reserve() {
            return self.refresh_space();
        }
        Ok(state)
    }

    /// A log's folder was made in the directory, whose entry is not synced.
    pub(crate) fn on_folder_made(&self) {
        self.folders_made.fetch_add(1, Ordering::AcqRel);
    }

    /// Makes the entries of all folders durable that were made before the call: one sync for however many there are.
    pub(crate) fn sync_folders(&self) -> Result<(), DirOffline> {
        let is_synced = || self.folders_synced.load(Ordering::Acquire) >= self.folders_made.load(Ordering::Acquire);
        if is_synced() {
            return Ok(());
        }
        let _alone = self.syncing_folders.lock();
        let made = self.folders_made.load(Ordering::Acquire);
        // Who synced meanwhile has done it for the caller too.
        if self.folders_synced.load(Ordering::Acquire) >= made {
            return Ok(());
        }
        self.check()?;
        self.heed("sync the data directory", self.disk.sync_dir(&self.root))?;
        self.folders_synced.store(made, Ordering::Release);
        Ok(())
    }

    /// What the checkpoint says of the log of this topic in a folder.
    pub(crate) fn marks_of(&self, folder: &str, topic_id: TopicId) -> Option<LogMarks> {
        let marks = self.logs.lock().get(folder)?.marks();
        marks.are_of(topic_id).then_some(marks)
    }

    /// Whose log the checkpoint says that a folder is; all zeros where it does not say.
    pub(crate) fn known_topic_id(&self, folder: &str) -> TopicId {
        self.logs.lock().get(folder).map_or(TopicId::ZERO, |known| known.marks().topic_id)
    }

    /// Whether anything is known of a log of this folder, whosever it is.
    pub(crate) fn is_known(&self, folder: &str) -> bool {
        self.logs.lock().contains_key(folder)
    }

    /// Whether a log of this folder is open.
    pub(crate) fn is_open(&self, folder: &str) -> bool {
        matches!(self.logs.lock().get(folder), Some(Known::Live(_)))
    }

    pub(crate) fn open_logs(&self) -> usize {
        self.open_logs.load(Ordering::Acquire)
    }

    /// Notes that a log is open. The caller made sure that it was not.
    pub(crate) fn register(&self, folder: &str, marks: LogMarks) -> Arc<Marks> {
        let marks = Arc::new(Marks::new(marks));
        let before = self.logs.lock().insert(folder.to_owned(), Known::Live(Arc::clone(&marks)));
        debug_assert!(!matches!(before, Some(Known::Live(_))), "a log was opened twice");
        self.open_logs.fetch_add(1, Ordering::AcqRel);
        marks
    }

    /// The log is no longer open; its marks stay.
    pub(crate) fn unregister(&self, folder: &str) {
        let mut logs = self.logs.lock();
        let Some(known) = logs.get_mut(folder) else { return };
        if let Known::Live(marks) = known {
            *known = Known::Stored(marks.load());
            self.open_logs.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// The log is no more.
    pub(crate) fn forget(&self, folder: &str) {
        if let Some(Known::Live(_)) = self.logs.lock().remove(folder) {
            self.open_logs.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Whatever was known of a log of this folder is no more; an open log stays.
    pub(crate) fn forget_stored(&self, folder: &str) {
        let mut logs = self.logs.lock();
        if let Some(Known::Stored(_)) = logs.get(folder) {
            logs.remove(folder);
        }
    }

    /// What is known of a folder is known of it by another name; what was known by that name is no more.
    pub(crate) fn rename_stored(&self, folder: &str, to: &str) {
        let mut logs = self.logs.lock();
        debug_assert!(matches!(logs.get(folder), Some(Known::Stored(_))), "an open log was renamed");
        if let Some(known) = logs.remove(folder) {
            logs.insert(to.to_owned(), known);
        }
    }

    /// The number of the last checkpoint.
    pub(crate) fn checkpoint_sequence(&self) -> u64 {
        self.checkpoint.lock().sequence
    }

    /// Makes the marks of all logs durable. What they say on disk afterwards is at least as new as before the call.
    pub(crate) fn write_checkpoint(&self) -> Result<(), ReplaceError> {
        self.check()?;
        self.write_checkpoint_after(&mut self.checkpoint.lock())
    }

    /// The same, but nothing is written where the last checkpoint says the same already.
    pub(crate) fn write_changed_checkpoint(&self) -> Result<(), ReplaceError> {
        self.check()?;
        let mut last = self.checkpoint.lock();
        let is_same = {
            let logs = self.logs.lock();
            let now = logs.iter().map(|(folder, known)| (folder, known.marks()));
            now.eq(last.logs.iter().map(|(folder, marks)| (folder, *marks)))
        };
        if is_same { Ok(()) } else { self.write_checkpoint_after(&mut last) }
    }

    /// Whether the checkpoint on disk has this log begin at `start`, or behind it.
    pub(crate) fn is_start_noted(&self, folder: &str, topic_id: TopicId, start: Offset) -> bool {
        let last = self.checkpoint.lock();
        last.logs.get(folder).is_some_and(|marks| marks.topic_id == topic_id && marks.start_offset >= start)
    }

    /// Whether the checkpoint on disk has this log durable up to `end`, or beyond.
    pub(crate) fn is_recovery_point_noted(&self, folder: &str, end: Offset) -> bool {
        self.checkpoint.lock().logs.get(folder).is_some_and(|marks| marks.recovery_point >= end)
    }

    /// Has nobody know anything of a log of this folder any more, durably: there is none, and one is about to be made.
    pub(crate) fn forget_durably(&self, folder: &str) -> Result<(), ReplaceError> {
        self.forget_stored(folder);
        let mut last = self.checkpoint.lock();
        if !last.logs.contains_key(folder) {
            return Ok(());
        }
        self.check()?;
        self.write_checkpoint_after(&mut last)
    }

    fn write_checkpoint_after(&self, last: &mut Checkpoint) -> Result<(), ReplaceError> {
        let logs = self.logs.lock().iter().map(|(folder, known)| (folder.clone(), known.marks())).collect();
        let checkpoint = Checkpoint { sequence: last.sequence + 1, logs };
        // A log that the checkpoint names and that is not there is a log that was lost.
        self.sync_folders()?;
        self.replace(&checkpoint_path(&self.root), &checkpoint.encode())?;
        *last = checkpoint;
        Ok(())
    }
}

pub(crate) const CHECKPOINT_FILE: &str = "checkpoint";

/// Whether an error only says that the disk is full, or the process has no free descriptor. Not to be asked of a sync, whose
/// every error is final.
pub(crate) use crate::disk::is_used_up as is_full;

/// The file of the checkpoint.
pub(crate) fn checkpoint_path(root: &Path) -> PathBuf {
    root.join(CHECKPOINT_FILE)
}
