//! The seam to the disk: everything that storage does to files goes through [`Disk`].
//!
//! Bodies: `mapped` (Linux, the fast one), `portable` (pwrite, read-only maps), `memory` (loses what was not synced),
//! `faulty` (fails or tears the n-th call of another body). One conformance suite holds for all of them.
//!
//! Must not know: record batches, offsets, indexes.

use std::fmt::Debug;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use bytes::Bytes;

use crate::map_budget::{MapBudget, MapUsage};

#[cfg(test)]
mod conformance;
pub mod faulty;
mod files;
mod map;
#[cfg(target_os = "linux")]
pub mod mapped;
pub mod memory;
pub mod portable;
mod sealed;

/// What is behind the name of a small file while it is being replaced. Kafka uses the same.
pub const REPLACEMENT_SUFFIX: &str = ".tmp";

/// Files and folders of one data directory. Paths are absolute or relative to the process, as the body's maker says.
///
/// Every call blocks. An error of `write`, `sync`, `create` or `rename` is final for the data directory that it
/// happened in: nobody retries it on the same pages (fsync forgets failed pages).
///
/// A process without a free descriptor is no error of the disk. `create_append`, `write_at` and [`SharedFile::prepare`], which
/// are called where others wait for a lock, fail at once then, with nothing done ([`is_used_up`]); all other calls wait.
pub trait Disk: Debug + Send + Sync + 'static {
    /// Makes a file that grows by appends; fails when it exists. The folder is not synced. The path of a file that
    /// is open for appends must not change.
    fn create_append(&self, path: &Path, growth: Growth) -> io::Result<Box<dyn AppendFile>>;

    /// Opens a file for further appends behind `len`; what lies behind `len` is zeroed before it is handed out.
    /// Nobody may hold bytes behind `len` (a file is only opened so at recovery, before it has readers).
    /// A file shorter than `len` is refused with [`io::ErrorKind::UnexpectedEof`].
    fn open_append(&self, path: &Path, len: u64, growth: Growth) -> io::Result<Box<dyn AppendFile>>;

    /// Opens a file that no longer changes. It is mapped on demand, within the body's budget of maps.
    fn open_sealed(&self, path: &Path) -> io::Result<Arc<dyn SealedFile>>;

    /// The same for the first `len` bytes of a file: what lies behind may be cut off while it is open. A shorter file is refused
    /// with [`io::ErrorKind::UnexpectedEof`].
    fn open_front(&self, path: &Path, len: u64) -> io::Result<Arc<dyn SealedFile>>;

    /// Reads a whole small file; refuses one longer than `limit` with [`io::ErrorKind::FileTooLarge`].
    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>>;

    /// Replaces a small file durably: write beside it, sync, rename, sync the folder.
    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()>;

    /// Writes `content` at `position` of an existing or new small file, without syncing it (index tails).
    fn write_at(&self, path: &Path, position: u64, content: &[u8]) -> io::Result<()>;

    /// Makes the file's content durable.
    fn sync_file(&self, path: &Path) -> io::Result<()>;

    /// Cuts a file to `len`. Only for files whose bytes behind `len` nobody can hold.
    fn truncate(&self, path: &Path, len: u64) -> io::Result<()>;

    /// Renames within one folder; replaces a file, or an empty folder. Durable once the folder is synced.
    /// Another folder is refused with [`io::ErrorKind::CrossesDevices`]: a crash could show both names.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Readers that hold its bytes keep them.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Makes a folder and its parents; no error when it exists.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Removes a folder and all that is in it.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes a folder's entries durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// What is in a folder, sorted by name.
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>>;

    /// Total and free bytes of the file system that holds `path`.
    fn space(&self, path: &Path) -> io::Result<Space>;

    /// Takes the file at `path` (made when missing) as a lock, for as long as the answer lives; a crash frees it.
    /// [`io::ErrorKind::WouldBlock`] when another holds it.
    fn lock(&self, path: &Path) -> io::Result<Lock>;

    /// Maps and descriptors that the body uses now, for metrics; nothing where it uses none.
    fn usage(&self) -> MapUsage {
        MapUsage::default()
    }
}

/// The best body for this machine: mapped where the kernel can populate maps, else portable.
#[must_use]
pub fn best(sealed: MapBudget) -> Arc<dyn Disk> {
    #[cfg(target_os = "linux")]
    match mapped::MappedDisk::new(mapped::MappedLimits { sealed, ..Default::default() }) {
        Ok(disk) => return Arc::new(disk),
        Err(error) => tracing::warn!(%error, "segments are written through pwrite"),
    }
    Arc::new(portable::PortableDisk::new(sealed))
}

/// A lock that ends when it is dropped.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "held for its drop")] Box<dyn Debug + Send + Sync>);

impl Lock {
    /// Wraps what holds the lock and frees it when dropped.
    pub fn new(holder: impl Debug + Send + Sync + 'static) -> Self {
        Self(Box::new(holder))
    }
}

/// How a file that takes appends may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Growth {
    /// It never gets longer than this many bytes.
    pub capacity: u64,
    /// The piece in which it is zeroed.
    pub chunk: PrepareChunk,
}

impl Growth {
    /// Up to `capacity` bytes, zeroed in the default chunk.
    #[must_use]
    pub const fn up_to(capacity: u64) -> Self {
        Self { capacity, chunk: PrepareChunk::REPLICATED }
    }

    /// Up to where a file is prepared when `end` is asked for.
    fn step_to(self, end: u64) -> u64 {
        end.checked_next_multiple_of(u64::from(self.chunk.bytes())).unwrap_or(u64::MAX).min(self.capacity)
    }
}

/// The pieces in which a growing file is zeroed. A piece becomes the unit in which the kernel dirties, protects and writes
/// back the page cache: large ones cost less CPU, small ones let frequent syncs write less.
///
/// A step that is long enough is made of larger pieces, because so long a step is only made where the file grows fast, and
/// then a sync finds many pieces full and one half full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrepareChunk {
    bytes: u32,
    largest: u32,
}

impl PrepareChunk {
    /// 64 KiB, the cheapest that keeps syncs small when they come about every 100 ms or rarer; up to 2 MiB, which the kernel
    /// maps as one, where steps are that long.
    pub const REPLICATED: Self = Self { bytes: 64 * 1024, largest: Self::MAX_BYTES };
    /// 16 KiB: for logs that are synced before they are acknowledged.
    pub const SYNCED: Self = Self { bytes: 16 * 1024, largest: 16 * 1024 };
    /// The smallest chunk.
    pub const MIN_BYTES: u32 = 4 * 1024;
    /// The largest chunk.
    pub const MAX_BYTES: u32 = 2 * 1024 * 1024;

    /// Always this: a power of two from [`Self::MIN_BYTES`] to [`Self::MAX_BYTES`], otherwise nothing.
    #[must_use]
    pub const fn new(bytes: u32) -> Option<Self> {
        if bytes.is_power_of_two() && bytes >= Self::MIN_BYTES && bytes <= Self::MAX_BYTES {
            Some(Self { bytes, largest: bytes })
        } else {
            None
        }
    }

    /// The size of a piece where the file grows slowly; the step in which it grows.
    #[must_use]
    pub const fn bytes(self) -> u32 {
        self.bytes
    }

    /// The size of the largest piece.
    #[must_use]
    pub const fn largest_bytes(self) -> u32 {
        self.largest
    }

    /// The largest piece that is no longer than `bytes`.
    #[must_use]
    pub fn within(self, bytes: u64) -> u64 {
        let mut piece = u64::from(self.largest);
        while piece > bytes && piece > u64::from(self.bytes) {
            piece /= 2;
        }
        piece
    }

    /// Where the piece ends that begins at `from`, in a step up to `end`.
    fn piece_end(self, from: u64, end: u64) -> u64 {
        let mut piece = self.within(end - from);
        while !from.is_multiple_of(piece) && piece > u64::from(self.bytes) {
            piece /= 2;
        }
        (from + 1).next_multiple_of(piece).min(end)
    }
}

impl Default for PrepareChunk {
    fn default() -> Self {
        Self::REPLICATED
    }
}

/// Whether an error only says that something is used up that comes back: space, quota, descriptors. Not to be asked of a
/// sync, whose every error is final.
pub(crate) fn is_used_up(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
        || files::is_out_of_descriptors(error)
}

/// Refuses a range of a file's bytes that ends before it begins, or behind `end`.
pub(crate) fn check_range(range: &Range<u64>, end: u64) -> io::Result<()> {
    if range.start > range.end || range.end > end {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

/// One entry of a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The whole path.
    pub path: PathBuf,
    /// The last part of the path; a name that is not UTF-8 is left out of listings.
    pub name: String,
    /// File or folder.
    pub kind: EntryKind,
    /// Length in bytes; 0 for a folder.
    pub len: u64,
}

/// What an [`Entry`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A folder.
    Folder,
}

/// Bytes of a file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// All bytes, used or not.
    pub total: u64,
    /// Bytes that this process may still use.
    pub free: u64,
}

/// A file that grows at its end by one writer, while any number of readers hold parts of what is written.
///
/// ```text
///   0 ......... written ......... prepared ......... capacity
///   | readers may hold | appends go here | not yet allocated |
/// ```
pub trait AppendFile: Debug + Send + Sync {
    /// Copies `parts`, one after the other, to the end. The caller has made sure that they fit into `prepared`:
    /// otherwise [`io::ErrorKind::StorageFull`], and nothing is written.
    fn append(&mut self, parts: &[&[u8]]) -> io::Result<()>;

    /// The end of what is written.
    fn written(&self) -> u64;

    /// Up to where appends go without touching a page for the first time.
    fn prepared(&self) -> u64;

    /// Shares for readers, the preparing thread and the syncing thread.
    fn shared(&self) -> Arc<dyn SharedFile>;

    /// Takes hold of what [`Self::seal`] needs, so that it does not have to wait for it. Fails at once where that is not to be
    /// had; appends may go on.
    fn prepare_seal(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// Ends appends, waits for whoever is preparing, and cuts the file off at `written`. Readers keep what they hold. Not synced.
    fn seal(self: Box<Self>) -> io::Result<()>;
}

/// What others than the writer may do with an [`AppendFile`], from any thread, also after the writer has gone.
pub trait SharedFile: Readable {
    /// The end of what is written: all bytes below it may be read.
    fn written(&self) -> u64;

    /// Up to where the file is allocated, zeroed and populated.
    fn prepared(&self) -> u64;

    /// The most bytes that the file may have.
    fn capacity(&self) -> u64;

    /// Allocates, zeroes and populates up to `end` (rounded up to the body's step, at most the capacity).
    /// A full or broken disk shows here, as an errno and never as a signal. Once the file is sealed, or its writer is
    /// dropped, it does nothing: by then the file may belong to another writer.
    fn prepare(&self, end: u64) -> io::Result<()>;

    /// Makes the written bytes of `range` durable, with what is needed to find them again.
    fn sync(&self, range: Range<u64>) -> io::Result<()>;
}

/// A file that no longer changes.
pub trait SealedFile: Readable {
    /// Its length in bytes.
    fn len(&self) -> u64;

    /// Whether it has no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Reading, the same for files that grow and for files that do not.
pub trait Readable: Debug + Send + Sync {
    /// The bytes of `range`, without a copy where the body can; what lies behind the end (`written`, or the length) is
    /// refused with [`io::ErrorKind::UnexpectedEof`]. Touching them may wait for the disk: see `is_resident`.
    fn slice(&self, range: Range<u64>) -> io::Result<Bytes>;

    /// Whether all pages of `range` are in memory, so that touching them does not wait for the disk.
    fn is_resident(&self, range: Range<u64>) -> bool;

    /// Reads the pages of `range` into memory: blocks, and turns an I/O error into an errno instead of a signal.
    fn populate(&self, range: Range<u64>) -> io::Result<()>;

    /// Lives at least as long as a slice that would change with the file; nothing where slices are copies. Together with the
    /// file's handles it says whether a part of the file may be cut off.
    fn slices(&self) -> Weak<()> {
        Weak::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const K: u64 = 1024;

    fn pieces(chunk: PrepareChunk, from: u64, end: u64) -> Vec<u64> {
        let mut ends = Vec::new();
        let mut at = from;
        while at < end {
            at = chunk.piece_end(at, end);
            ends.push(at / K);
        }
        ends
    }

    #[test]
    fn a_long_step_is_made_of_large_pieces() {
        let chunk = PrepareChunk::REPLICATED;
        assert_eq!(pieces(chunk, 0, 64 * K), [64]);
        assert_eq!(pieces(chunk, 10 * K, 200 * K), [64, 128, 192, 200], "a piece begins at a multiple of its size");
        assert_eq!(pieces(chunk, 1024 * K, 5120 * K), [2048, 4096, 5120]);
        assert_eq!(pieces(PrepareChunk::SYNCED, 0, 40 * K), [16, 32, 40], "and these never grow");
    }
}
