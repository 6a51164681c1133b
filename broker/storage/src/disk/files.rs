//! Small files, folders, locks and space on a real file system: what the mapped and the portable body share.
//!
//! Must not know: files that grow by appends, maps.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::{Entry, EntryKind, Lock, PrepareChunk, REPLACEMENT_SUFFIX, Space};

/// Zeros to write, as many as the largest chunk.
pub(super) static ZEROS: [u8; PrepareChunk::MAX_BYTES as usize] = [0; PrepareChunk::MAX_BYTES as usize];

/// Tells a file from another one that took its name. File systems give numbers again, so the time of birth belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
    born: Option<SystemTime>,
}

impl Identity {
    pub(super) fn of(metadata: &fs::Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino(), born: metadata.created().ok() }
    }
}

/// How long a call that waits for a free descriptor rests from one try to the next, doubled each time, and how often it says
/// so.
const DESCRIPTOR_STEP_MIN: Duration = Duration::from_millis(1);
const DESCRIPTOR_STEP_MAX: Duration = Duration::from_millis(250);
const DESCRIPTOR_WARN_EVERY: Duration = Duration::from_secs(30);

/// What is done where the process, or the system, has no free descriptor. That says nothing about the disk, and must not be
/// taken for its failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// Wait for one, for as long as it takes: on threads that may block, in steps that cannot be left half done.
    Waits,
    /// Fail at once, with an error that [`super::is_used_up`] knows: where others wait for a lock meanwhile.
    Fails,
}

impl Patience {
    fn with_descriptor<T>(self, open: impl Fn() -> io::Result<T>) -> io::Result<T> {
        match self {
            Self::Waits => with_descriptor(open),
            Self::Fails => open(),
        }
    }
}

/// Does what needs a descriptor, and waits until there is one.
pub(super) fn with_descriptor<T>(open: impl Fn() -> io::Result<T>) -> io::Result<T> {
    let (mut unsaid, mut step) = (DESCRIPTOR_WARN_EVERY, DESCRIPTOR_STEP_MIN);
    loop {
        match open() {
            Err(error) if is_out_of_descriptors(&error) => {
                if unsaid >= DESCRIPTOR_WARN_EVERY {
                    tracing::warn!(%error, "a file waits for a free descriptor");
                    unsaid = Duration::ZERO;
                }
                std::thread::sleep(step);
                unsaid += step;
                step = (step * 2).min(DESCRIPTOR_STEP_MAX);
            }
            other => return other,
        }
    }
}

pub(super) fn is_out_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// Opens a file as these options say.
pub(super) fn open(path: &Path, options: &OpenOptions, patience: Patience) -> io::Result<File> {
    patience.with_descriptor(|| options.open(path))
}

/// Opens the file that was at `path` when `identity` was taken, or nothing else.
pub(super) fn reopen(
    path: &Path,
    identity: Identity,
    options: &OpenOptions,
    patience: Patience,
) -> io::Result<(File, fs::Metadata)> {
    let file = open(path, options, patience)?;
    let metadata = file.metadata()?;
    if Identity::of(&metadata) != identity {
        return Err(io::Error::new(io::ErrorKind::NotFound, "another file has taken the name"));
    }
    Ok((file, metadata))
}

pub(super) fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = open(path, OpenOptions::new().read(true), Patience::Waits)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    let mut content = Vec::new();
    // One byte more than allowed tells a file that grows meanwhile; its length is believed for nothing.
    file.take(limit.saturating_add(1)).read_to_end(&mut content)?;
    if u64::try_from(content.len()).is_ok_and(|len| len <= limit) {
        Ok(content)
    } else {
        Err(io::ErrorKind::FileTooLarge.into())
    }
}

pub(super) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(REPLACEMENT_SUFFIX);
    let beside = PathBuf::from(beside);
    let written = write_durably(&beside, content).and_then(|()| fs::rename(&beside, path));
    if let Err(error) = written {
        // What could not be written must not keep the space of a full disk; that this fails too changes nothing.
        let _ = fs::remove_file(&beside);
        return Err(error);
    }
    sync_dir(parent(path))
}

fn write_durably(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = open(path, OpenOptions::new().write(true).create(true).truncate(true), Patience::Waits)?;
    file.write_all(content)?;
    file.sync_data()
}

pub(super) fn write_at(path: &Path, position: u64, content: &[u8]) -> io::Result<()> {
    let file = open(path, OpenOptions::new().write(true).create(true).truncate(false), Patience::Fails)?;
    file.write_all_at(content, position)
}

pub(super) fn sync_file(path: &Path) -> io::Result<()> {
    open(path, OpenOptions::new().write(true), Patience::Waits)?.sync_data()
}

pub(super) fn truncate(path: &Path, len: u64) -> io::Result<()> {
    let file = open(path, OpenOptions::new().write(true), Patience::Waits)?;
    if file.metadata()?.len() < len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    file.set_len(len)
}

pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    if parent(from) != parent(to) {
        return Err(io::ErrorKind::CrossesDevices.into());
    }
    fs::rename(from, to)
}

pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    open(path, OpenOptions::new().read(true), Patience::Waits)?.sync_all()
}

pub(super) fn list(path: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in with_descriptor(|| fs::read_dir(path))? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else { continue };
        // Somebody may remove the file between the listing and this question.
        let metadata = match fs::metadata(entry.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            metadata => metadata?,
        };
        let (kind, len) = match metadata.is_dir() {
            true => (EntryKind::Folder, 0),
            false => (EntryKind::File, metadata.len()),
        };
        entries.push(Entry { path: entry.path(), name, kind, len });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(entries)
}

pub(super) fn space(path: &Path) -> io::Result<Space> {
    let stat = rustix::fs::statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok(Space { total: bytes(stat.f_blocks), free: bytes(stat.f_bavail) })
}

pub(super) fn lock(path: &Path) -> io::Result<Lock> {
    let file = open(path, OpenOptions::new().write(true).create(true).truncate(false), Patience::Waits)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock::new(file)),
        Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Implements the part of [`super::Disk`] that this module has, for a body on a real file system.
macro_rules! on_real_files {
    () => {
        fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
            $crate::disk::files::read(path, limit)
        }

        fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
            $crate::disk::files::replace(path, content)
        }

        fn write_at(&self, path: &Path, position: u64, content: &[u8]) -> io::Result<()> {
            $crate::disk::files::write_at(path, position, content)
        }

        fn sync_file(&self, path: &Path) -> io::Result<()> {
            $crate::disk::files::sync_file(path)
        }

        fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
            $crate::disk::files::truncate(path, len)
        }

        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            $crate::disk::files::rename(from, to)
        }

        fn remove_file(&self, path: &Path) -> io::Result<()> {
            std::fs::remove_file(path)
        }

        fn create_dir(&self, path: &Path) -> io::Result<()> {
            std::fs::create_dir_all(path)
        }

        fn remove_dir(&self, path: &Path) -> io::Result<()> {
            $crate::disk::files::with_descriptor(|| std::fs::remove_dir_all(path))
        }

        fn sync_dir(&self, path: &Path) -> io::Result<()> {
            $crate::disk::files::sync_dir(path)
        }

        fn list(&self, path: &Path) -> io::Result<Vec<$crate::disk::Entry>> {
            $crate::disk::files::list(path)
        }

        fn space(&self, path: &Path) -> io::Result<$crate::disk::Space> {
            $crate::disk::files::space(path)
        }

        fn lock(&self, path: &Path) -> io::Result<$crate::disk::Lock> {
            $crate::disk::files::lock(path)
        }
    };
}

pub(super) use on_real_files;
