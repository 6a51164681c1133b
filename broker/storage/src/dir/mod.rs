//! A data directory: lock, identity, checkpoint, the logs in it, and how full and how healthy its disk is.
//!
//! ```text
//!   lock  identity  checkpoint  clean-shutdown      ours: docs/formats/data-directory.md
//!   cleaner-offset-checkpoint                       Kafka's: up to where logs were compacted
//!   log-dir-assignments                             ours, where a broker has several: which of them keeps which partition
//!   <topic>-<partition>/                            a log: Kafka's files
//!   <topic>-<partition>.<unique>-delete/            a log that waits for its removal
//!   <topic>-<partition>.<unique>-future/            a copy of another directory's log, which is to take its place: Kafka's name
//!   <topic>-<partition>.<topic id>-stray/           a log of no known topic, kept for a person to judge
//! ```
//!
//! Must not know: requests, when to write a checkpoint, configuration files.

mod assignments;
pub(crate) mod checkpoint;
mod cleaned;
pub(crate) mod frame;
pub(crate) mod identity;
mod open;
pub(crate) mod state;

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cairn_protocol::ids::{Offset, TopicId};
use parking_lot::Mutex;
use uuid::Uuid;

pub use self::assignments::Assignments;
use self::assignments::{ASSIGNMENTS_MAX_BYTES, assignments_path};
pub use self::checkpoint::{Checkpoint, LogMarks, OffsetOrder};
use self::cleaned::cleaned_path;
pub use self::frame::FrameError;
use self::identity::CLEAN_FILE;
pub use self::identity::{CleanMark, Identity};
pub use self::open::{DirConfig, OpenDirError, Preparing, default_reserve_bytes};
use self::state::DirState;
pub use self::state::{DirOffline, ReplaceError, SpaceState};
use crate::allocator::AllocatorStats;
use crate::disk::{EntryKind, Lock};
use crate::log::{
    self, CopyError, CreateLogError, DeletedLog, Foundation, Founded, Log, LogConfig, LogCopy, LogName, LogReader,
    OpenLogError, future_of, is_deleted_folder, is_stray_folder, take_out,
};

/// An open data directory. Only one process has it open at a time.
#[derive(Debug)]
pub struct DataDir {
    state: Arc<DirState>,
    storage_id: Uuid,
    last_shutdown: LastShutdown,
    closed_by: Option<i64>,
    /// Held for its drop.
    _lock: Lock,
}

/// What is known of how the directory was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastShutdown {
    /// There was none: the directory is new.
    New,
    /// Closed in good order: everything that was acknowledged is on disk.
    Clean,
    /// The process died, the machine did not: everything that was appended is there.
    SameBoot,
    /// The machine went down, or nobody knows: what was not synced may be gone.
    Lossy,
}

impl DataDir {
    /// Takes the directory, which is made when missing.
    ///
    /// # Errors
    /// When another process has it, when it is of an unknown version or damaged, or when the disk fails.
    pub fn open(
        disk: Arc<dyn crate::disk::Disk>,
        path: impl AsRef<Path>,
        config: &DirConfig,
    ) -> Result<Self, OpenDirError> {
        open::open(disk, path.as_ref(), config)
    }

    /// The directory's identity, made when the directory was. Another one means that what was there is gone.
    #[must_use]
    pub fn storage_id(&self) -> Uuid {
        self.storage_id
    }

    /// How the directory was left the last time.
    #[must_use]
    pub fn last_shutdown(&self) -> LastShutdown {
        self.last_shutdown
    }

    /// Who closed it in good order before it was opened, where that is known: see [`Self::close_as`].
    #[must_use]
    pub fn closed_by(&self) -> Option<i64> {
        self.closed_by
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.state.root
    }

    /// Makes a new, empty log with its first files, durably.
    ///
    /// # Errors
    /// When it is there already, or the disk fails or is full.
    pub fn create_log(&self, name: &LogName, topic_id: TopicId, config: LogConfig) -> Result<Log, CreateLogError> {
        let mut log = self.begin_log(name, topic_id, config)?;
        if log.found_durably()? == Founded::NoRoom {
            // What is half made holds room that others could use, and its name.
            log.detach()?.remove()?;
            return Err(CreateLogError::DiskFull);
        }
        Ok(log)
    }

    /// Makes a new, empty log that has a folder and no files: those come with its first append. It is durable once the next
    /// checkpoint is, so that logs that are made together share one sync of the directory and one checkpoint. One that a crash
    /// takes before is missing when it is opened, and has to be made anew.
    ///
    /// # Errors
    /// As [`Self::create_log`].
    pub fn begin_log(&self, name: &LogName, topic_id: TopicId, config: LogConfig) -> Result<Log, CreateLogError> {
        self.state.check()?;
        // What was noted of a log of this name, which is no more, must not hold for the new one.
        self.forget_cleaned(name)?;
        log::create(Foundation::new(Arc::clone(&self.state), name.clone(), topic_id, config))
    }

    /// Opens and recovers an existing log.
    ///
    /// # Errors
    /// When it is missing, open, or corrupt, or the disk fails.
    pub fn open_log(&self, name: &LogName, config: LogConfig) -> Result<Log, OpenLogError> {
        self.open_log_of(name, TopicId::ZERO, config)
    }

    /// The same of a log that is taken for this topic's where neither its folder nor the checkpoint says whose it is, as in folders
    /// of old Kafka versions. From then on they do.
    ///
    /// # Errors
    /// As [`Self::open_log`].
    pub fn open_log_of(&self, name: &LogName, topic_id: TopicId, config: LogConfig) -> Result<Log, OpenLogError> {
        log::open(Foundation::new(Arc::clone(&self.state), name.clone(), topic_id, config))
    }

    /// The logs that are there, opened or not, sorted by folder.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn list_logs(&self) -> Result<Vec<LogName>, DirOffline> {
        let entries = self.state.heed("list the data directory", self.state.disk.list(&self.state.root))?;
        let folders = entries.iter().filter(|entry| entry.kind == EntryKind::Folder);
        Ok(folders.filter_map(|entry| LogName::from_folder(&entry.name).ok()).collect())
    }

    /// Opens logs, `parallelism` of them at a time, with the config that `config` says. The answers are in the order of
    /// the names; one that fails does not concern the others.
    pub fn open_logs(
        &self,
        names: &[LogName],
        parallelism: NonZeroUsize,
        config: impl Fn(&LogName) -> LogConfig + Sync,
    ) -> Vec<(LogName, Result<Log, OpenLogError>)> {
        let next = AtomicUsize::new(0);
        let opened: Mutex<Vec<Option<Result<Log, OpenLogError>>>> = Mutex::new(names.iter().map(|_| None).collect());
        let work = || {
            while let Some((at, name)) = {
                let at = next.fetch_add(1, Ordering::Relaxed);
                names.get(at).map(|name| (at, name))
            } {
                let log = self.open_log(name, config(name));
                opened.lock()[at] = Some(log);
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..parallelism.get().min(names.len()) {
                scope.spawn(work);
            }
            work();
        });
        let opened = opened.into_inner().into_iter().map(|log| log.expect("each place was worked on"));
        names.iter().cloned().zip(opened).collect()
    }

    /// Takes a log out of the directory, durably, so that one of the same name can be made. The files are removed by
    /// [`DeletedLog::remove`], or when the directory is opened again.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn delete_log(&self, log: Log) -> Result<DeletedLog, DirOffline> {
        let name = log.name().clone();
        let deleted = log.detach()?;
        self.forget_cleaned(&name)?;
        Ok(deleted)
    }

    /// Gives a folder of which no log is open a name that is no log's, durably, and answers that name; `None` where there
    /// is no such folder. Not a byte in it is touched.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn set_aside_folder(&self, name: &LogName) -> Result<Option<String>, DirOffline> {
        if !self.has_unopened(name)? {
            return Ok(None);
        }
        let topic_id = self.topic_id_of(name);
        let (folder, to) = (name.to_string(), self.stray_name(name, topic_id));
        let _kept = take_out(&self.state, &folder, &to)?;
        // What is known of another topic's log by this name stays: that one is lost.
        if self.state.marks_of(&folder, topic_id).is_some() {
            self.state.forget_stored(&folder);
        }
        Ok(Some(to))
    }

    /// Deletes a log of this topic that could not be opened. A folder that does not say that it is this topic's is set
    /// aside instead. In both cases nothing is known of a log of this name afterwards.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn delete_folder(&self, name: &LogName, topic_id: TopicId) -> Result<(), DirOffline> {
        let folder = name.to_string();
        self.forget_cleaned(name)?;
        if !self.has_unopened(name)? {
            self.state.forget_stored(&folder);
            return Ok(());
        }
        if self.topic_id_of(name) == topic_id {
            let deleted = take_out(&self.state, &folder, &name.deleted_folder(Uuid::new_v4()))?;
            self.state.forget_stored(&folder);
            return deleted.remove();
        }
        if let Some(stray) = self.set_aside_folder(name)? {
            tracing::warn!(%folder, stray, "folder is not known to be the deleted topic's: set aside");
        }
        self.state.forget_stored(&folder);
        Ok(())
    }

    /// Up to where a log was compacted, as far as anybody has noted.
    #[must_use]
    pub fn cleaned_to(&self, name: &LogName) -> Option<Offset> {
        self.state.cleaned.lock().0.get(name).copied()
    }

    /// Notes, durably, up to where a log was compacted.
    ///
    /// # Errors
    /// When the disk fails, or is full: then it is noted for this process only.
    pub fn note_cleaned(&self, name: &LogName, end: Offset) -> Result<(), ReplaceError> {
        let mut cleaned = self.state.cleaned.lock();
        if cleaned.0.insert(name.clone(), end) == Some(end) {
            return Ok(());
        }
        self.state.replace(&cleaned_path(&self.state.root), &cleaned.encode())
    }

    /// The log is no more: one of the same name begins at its start. What cannot be written now is written with the next change.
    fn forget_cleaned(&self, name: &LogName) -> Result<(), DirOffline> {
        let mut cleaned = self.state.cleaned.lock();
        if cleaned.0.remove(name).is_none() {
            return Ok(());
        }
        match self.state.replace(&cleaned_path(&self.state.root), &cleaned.encode()) {
            Ok(()) | Err(ReplaceError::DiskFull) => Ok(()),
            Err(ReplaceError::Offline(offline)) => Err(offline),
        }
    }

    /// Which log dir of the broker keeps which partition, as noted here; `None` where nothing was.
    ///
    /// # Errors
    /// When what is noted cannot be read as such.
    pub fn read_assignments(&self) -> Result<Option<Assignments>, FrameError> {
        match self.state.disk.read(&assignments_path(&self.state.root), ASSIGNMENTS_MAX_BYTES) {
            Ok(bytes) => Assignments::decode(&bytes).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(_) => Err(FrameError::Damaged),
        }
    }

    /// Notes, durably, which log dir of the broker keeps which partition.
    ///
    /// # Errors
    /// When the disk is full: then what was noted before still stands. When it fails nobody knows which of the two does.
    pub fn write_assignments(&self, assignments: &Assignments) -> Result<(), ReplaceError> {
        self.state.check()?;
        self.state.replace(&assignments_path(&self.state.root), &assignments.encode())
    }

    /// Whether there is a folder for a log of this name, whosever it is.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn has_folder(&self, name: &LogName) -> Result<bool, DirOffline> {
        self.state.check()?;
        match self.state.disk.list(&self.state.root.join(name.to_string())) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(self.state.fail("list a log's folder", &error)),
        }
    }

    /// Whether the checkpoint knows of a log of this topic by this name.
    #[must_use]
    pub fn knows_log(&self, name: &LogName, topic_id: TopicId) -> bool {
        self.state.marks_of(&name.to_string(), topic_id).is_some()
    }

    /// The id of the topic that a folder says it belongs to; all zeros where it does not say.
    #[must_use]
    pub fn topic_id_of(&self, name: &LogName) -> TopicId {
        log::read_topic_id(&Foundation::new(Arc::clone(&self.state), name.clone(), TopicId::ZERO, LogConfig::default()))
    }

    /// Whether the folder is there and no log of it is open.
    fn has_unopened(&self, name: &LogName) -> Result<bool, DirOffline> {
        if self.state.is_open(&name.to_string()) {
            return Ok(false);
        }
        self.has_folder(name)
    }

    /// Says whose the folder was, unless another one of the same topic was set aside before.
    fn stray_name(&self, name: &LogName, topic_id: TopicId) -> String {
        let of_topic = name.stray_folder(topic_id.0);
        match self.state.disk.list(&self.state.root.join(&of_topic)) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => of_topic,
            _ => name.stray_folder(Uuid::new_v4()),
        }
    }

    /// Removes logs that were deleted before the process ended.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn remove_deleted_logs(&self) -> Result<usize, DirOffline> {
        let entries = self.state.heed("list the data directory", self.state.disk.list(&self.state.root))?;
        let deleted = entries.iter().filter(|entry| entry.kind == EntryKind::Folder && is_deleted_folder(&entry.name));
        let mut count = 0;
        for entry in deleted {
            self.state.heed("remove a deleted log", self.state.disk.remove_dir(&entry.path))?;
            count += 1;
        }
        Ok(count)
    }

    /// Begins a copy of another directory's log, which is to take its place. It has nothing yet.
    ///
    /// # Errors
    /// When a log of its name is here, it is too long for a copy's folder, or the disk fails or is full.
    pub fn begin_copy(
        &self,
        name: &LogName,
        topic_id: TopicId,
        config: LogConfig,
        source: &LogReader,
    ) -> Result<LogCopy, CopyError> {
        let folder = name.future_folder(Uuid::new_v4()).ok_or(CopyError::InTheWay)?;
        if self.has_folder(name)? {
            return Err(CopyError::InTheWay);
        }
        let state = Arc::clone(&self.state);
        let log = match log::create(Foundation::in_folder(state, name.clone(), topic_id, config, folder)) {
            Ok(log) => log,
            Err(CreateLogError::DiskFull) => return Err(CopyError::NoSpace),
            Err(CreateLogError::Offline(offline)) => return Err(offline.into()),
            Err(CreateLogError::Exists { .. } | CreateLogError::Lost { .. }) => return Err(CopyError::InTheWay),
        };
        // The folder says that a move was begun.
        self.state.sync_folders()?;
        LogCopy::begin(log, source.clone())
    }

    /// Removes copies that were left when a process ended, because the logs may have gone on without them; but those of logs that
    /// `keep` names. Answers of which logs they were.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn remove_copies(&self, keep: impl Fn(&LogName) -> bool) -> Result<Vec<LogName>, DirOffline> {
        let entries = self.state.heed("list the data directory", self.state.disk.list(&self.state.root))?;
        let mut names = Vec::new();
        for entry in entries.iter().filter(|entry| entry.kind == EntryKind::Folder) {
            let Some(name) = future_of(&entry.name) else { continue };
            if self.state.is_open(&entry.name) || keep(&name) {
                continue;
            }
            take_out(&self.state, &entry.name, &name.deleted_folder(Uuid::new_v4()))?.remove()?;
            self.state.forget_stored(&entry.name);
            names.push(name);
        }
        Ok(names)
    }

    /// How many folders were set aside and wait for a person's judgement.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn count_strays(&self) -> Result<usize, DirOffline> {
        let entries = self.state.heed("list the data directory", self.state.disk.list(&self.state.root))?;
        Ok(entries.iter().filter(|entry| entry.kind == EntryKind::Folder && is_stray_folder(&entry.name)).count())
    }

    /// Makes recovery points, start offsets and high watermarks of all logs durable. What it says on disk is at least as
    /// new as the call.
    ///
    /// # Errors
    /// When the disk fails, or is full: then the checkpoint before still stands.
    pub fn write_checkpoint(&self) -> Result<(), ReplaceError> {
        self.state.write_checkpoint()
    }

    /// The same where anything has changed since the last checkpoint; else it costs a look at each log's marks, and no write.
    ///
    /// # Errors
    /// As [`Self::write_checkpoint`].
    pub fn write_changed_checkpoint(&self) -> Result<(), ReplaceError> {
        self.state.write_changed_checkpoint()
    }

    /// How full the disk was when last looked at.
    #[must_use]
    pub fn space(&self) -> SpaceState {
        self.state.space()
    }

    /// Looks how full the disk is.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn refresh_space(&self) -> Result<SpaceState, DirOffline> {
        self.state.refresh_space()
    }

    /// Why the directory is offline, if it is.
    #[must_use]
    pub fn failure(&self) -> Option<DirOffline> {
        self.state.check().err()
    }

    /// What the allocator did, if there is one.
    #[must_use]
    pub fn allocator_stats(&self) -> Option<AllocatorStats> {
        self.state.allocator.as_ref().map(crate::allocator::Allocator::stats)
    }

    /// Writes the checkpoint, and, when all logs were closed in good order, the mark that says so. Close the logs first.
    ///
    /// # Errors
    /// When the disk fails, or is full.
    pub fn close(self) -> Result<Closed, ReplaceError> {
        self.close_as(None)
    }

    /// [`Self::close`], and the mark says who did it.
    ///
    /// # Errors
    /// When the disk fails, or is full.
    pub fn close_as(self, owner: Option<i64>) -> Result<Closed, ReplaceError> {
        self.state.write_checkpoint()?;
        let left_open = self.state.open_logs();
        if left_open > 0 {
            return Ok(Closed::Unclean { left_open });
        }
        let checkpoint_sequence = self.state.checkpoint_sequence();
        let mark = CleanMark { storage_id: self.storage_id, checkpoint_sequence, owner };
        self.state.replace(&self.state.root.join(CLEAN_FILE), &mark.encode())?;
        Ok(Closed::Clean)
    }
}

/// How a data directory was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// All is on disk, and marked so.
    Clean,
    /// Logs were still open, so there is no mark.
    Unclean {
        /// How many.
        left_open: usize,
    },
}
