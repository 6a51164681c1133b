//! Opening a data directory: who has it, what it is, how it was left.
//!
//! Must not know: logs.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::checkpoint::{CHECKPOINT_MAX_BYTES, Checkpoint};
use super::cleaned::{CLEANED_MAX_BYTES, CleanedOffsets, cleaned_path};
use super::frame::FrameError;
use super::identity::{CLEAN_FILE, CleanMark, IDENTITY_FILE, IDENTITY_MAX_BYTES, Identity, LOCK_FILE};
use super::state::{DirState, checkpoint_path};
use super::{DataDir, LastShutdown};
use crate::allocator::{Allocator, AllocatorConfig};
use crate::disk::{Disk, Space};

/// How to open a data directory.
#[derive(Clone, Debug)]
pub struct DirConfig {
    /// `log.disk.reserve.bytes`: so much is kept free; [`default_reserve_bytes`] without a value.
    pub reserve_bytes: Option<u64>,
    /// Who prepares files for appends.
    pub preparing: Preparing,
    /// The kernel's boot id, by which a crash of the process is told from one of the machine.
    pub boot_id: Option<Uuid>,
}

/// Who prepares files for appends.
#[derive(Clone, Copy, Debug)]
pub enum Preparing {
    /// A thread, ahead of them.
    Ahead(AllocatorConfig),
    /// Each append for itself: slower, but always the same calls in the same order.
    OnAppend,
}

impl Default for DirConfig {
    fn default() -> Self {
        Self { reserve_bytes: None, preparing: Preparing::Ahead(AllocatorConfig::default()), boot_id: kernel_boot_id() }
    }
}

/// The boot id that Linux gives; nothing elsewhere.
fn kernel_boot_id() -> Option<Uuid> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Uuid::parse_str(text.trim()).ok()
}

/// What is kept free on a disk of `total` bytes: max(5 %, min(1 GiB, 10 %)).
#[must_use]
pub fn default_reserve_bytes(total: u64) -> u64 {
    (total / 20).max((total / 10).min(1 << 30))
}

/// A data directory could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenDirError {
    /// Another process has it open.
    #[error("data directory {path} is in use by another process", path = path.display())]
    AlreadyInUse {
        /// The directory.
        path: PathBuf,
    },
    /// Written by a newer version.
    #[error("data directory {path} has format version {found}; this version knows {known}", path = path.display())]
    UnknownVersion {
        /// The directory.
        path: PathBuf,
        /// In its identity.
        found: u16,
        /// Ours.
        known: u16,
    },
    /// The file that says whose it is cannot be read as such.
    #[error(
        "{path} is damaged ({source}): whose data this is cannot be told; restore the file, or begin with an empty \
         directory", path = path.display()
    )]
    DamagedIdentity {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: FrameError,
    },
    /// The disk failed.
    #[error("cannot {action} {path}", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
}

pub(super) fn open(disk: Arc<dyn Disk>, path: &Path, config: &DirConfig) -> Result<DataDir, OpenDirError> {
    let io = |action, path: &Path| {
        let path = path.to_owned();
        move |source| OpenDirError::Io { action, path, source }
    };
    disk.create_dir(path).map_err(io("create", path))?;
    let lock_path = path.join(LOCK_FILE);
    let lock = disk.lock(&lock_path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => OpenDirError::AlreadyInUse { path: path.to_owned() },
        _ => io("lock", &lock_path)(error),
    })?;

    let before = read_identity(&*disk, path)?;
    let (checkpoint, is_whole) = read_checkpoint(&*disk, path)?;
    let clean = read_clean_mark(&*disk, path)?;
    let clean = clean.filter(|mark| is_whole && before.is_some_and(|before| mark.is_of(&before, &checkpoint)));
    let boot_id = config.boot_id.unwrap_or(Uuid::nil());
    let last_shutdown = match before {
        None => LastShutdown::New,
        Some(_) if clean.is_some() => LastShutdown::Clean,
        Some(before) if !boot_id.is_nil() && before.boot_id == boot_id => LastShutdown::SameBoot,
        Some(_) => LastShutdown::Lossy,
    };
    // From here on the directory is one that was not closed in good order. The mark goes first.
    let clean_path = path.join(CLEAN_FILE);
    match disk.remove_file(&clean_path) {
        Ok(()) => disk.sync_dir(path).map_err(io("sync", path))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io("remove", &clean_path)(error)),
    }
    if before.is_none() {
        // Before the identity, whose presence says that this is done.
        sync_ancestors(&*disk, path).map_err(io("sync the folders above", path))?;
    }
    let storage_id = before.map_or_else(Uuid::new_v4, |before| before.storage_id);
    let identity = Identity { storage_id, boot_id };
    if before != Some(identity) {
        let identity_path = path.join(IDENTITY_FILE);
        disk.replace(&identity_path, &identity.encode()).map_err(io("write", &identity_path))?;
    }
    tracing::info!(path = %path.display(), %storage_id, ?last_shutdown, logs = checkpoint.logs.len(), "data directory");

    let space: Space = disk.space(path).map_err(io("look at the free space of", path))?;
    let reserve = config.reserve_bytes.unwrap_or_else(|| default_reserve_bytes(space.total));
    let allocator = match config.preparing {
        Preparing::Ahead(config) => Some(Allocator::start(config).map_err(io("start the allocator of", path))?),
        Preparing::OnAppend => None,
    };
    let cleaned = read_cleaned(&*disk, path)?;
    let state = DirState::new(disk, path.to_owned(), allocator, space, reserve, (checkpoint, cleaned));
    let closed_by = clean.and_then(|mark| mark.owner);
    Ok(DataDir { state: Arc::new(state), storage_id, last_shutdown, closed_by, _lock: lock })
}

/// Makes a new directory's own entry durable, and those of the folders that were made for it.
fn sync_ancestors(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    for ancestor in path.ancestors().skip(1) {
        // A relative path's last ancestor is the working directory.
        let folder = if ancestor.as_os_str().is_empty() { Path::new(".") } else { ancestor };
        match disk.sync_dir(folder) {
            // What this process may not even look into it has not made.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            other => other?,
        }
    }
    Ok(())
}

fn read_identity(disk: &dyn Disk, path: &Path) -> Result<Option<Identity>, OpenDirError> {
    let file = path.join(IDENTITY_FILE);
    let Some(bytes) = read_if_there(disk, &file, IDENTITY_MAX_BYTES)? else { return Ok(None) };
    match Identity::decode(&bytes) {
        Ok(identity) => Ok(Some(identity)),
        Err(FrameError::Version { found, known }) => {
            Err(OpenDirError::UnknownVersion { path: path.to_owned(), found, known })
        }
        Err(source) => Err(OpenDirError::DamagedIdentity { path: file, source }),
    }
}

/// The checkpoint, and whether it could be read. Without it recovery scans all of each log and believes what it finds.
fn read_checkpoint(disk: &dyn Disk, path: &Path) -> Result<(Checkpoint, bool), OpenDirError> {
    let file = checkpoint_path(path);
    let Some(bytes) = read_if_there(disk, &file, CHECKPOINT_MAX_BYTES)? else {
        return Ok((Checkpoint::default(), false));
    };
    match Checkpoint::decode(&bytes) {
        Ok(checkpoint) => Ok((checkpoint, true)),
        Err(FrameError::Version { found, known }) => {
            Err(OpenDirError::UnknownVersion { path: path.to_owned(), found, known })
        }
        Err(error) => {
            tracing::error!(
                path = %file.display(), %error,
                "checkpoint is damaged: recovery points and start offsets are not known, all logs are scanned whole"
            );
            Ok((Checkpoint::default(), false))
        }
    }
}

/// What cannot be read says nothing: logs are compacted from their starts.
fn read_cleaned(disk: &dyn Disk, path: &Path) -> Result<CleanedOffsets, OpenDirError> {
    let file = cleaned_path(path);
    let Some(bytes) = read_if_there(disk, &file, CLEANED_MAX_BYTES)? else { return Ok(CleanedOffsets::default()) };
    Ok(CleanedOffsets::decode(&bytes).unwrap_or_else(|| {
        tracing::warn!(path = %file.display(), "file is damaged: logs are compacted from their starts again");
        CleanedOffsets::default()
    }))
}

/// A mark that cannot be read says nothing.
fn read_clean_mark(disk: &dyn Disk, path: &Path) -> Result<Option<CleanMark>, OpenDirError> {
    let Some(bytes) = read_if_there(disk, &path.join(CLEAN_FILE), IDENTITY_MAX_BYTES)? else { return Ok(None) };
    Ok(CleanMark::decode(&bytes).ok())
}

fn read_if_there(disk: &dyn Disk, file: &Path, limit: u64) -> Result<Option<Vec<u8>>, OpenDirError> {
    match disk.read(file, limit) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        // Far longer than it can be: damaged, which the caller tells from its content.
        Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Ok(Some(Vec::new())),
        Err(source) => Err(OpenDirError::Io { action: "read", path: file.to_owned(), source }),
    }
}

impl CleanMark {
    fn is_of(&self, identity: &Identity, checkpoint: &Checkpoint) -> bool {
        self.storage_id == identity.storage_id && self.checkpoint_sequence == checkpoint.sequence
    }
}
