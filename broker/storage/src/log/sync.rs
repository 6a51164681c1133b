//! Sync: what is not on disk yet, and the job that puts it there outside the caller's lock.
//!
//! A job makes durable, in this order: the entry of the log's folder; record batches, and whose they are; index tails, leader epochs and producer snapshots, which recovery
//! would otherwise make anew; the folder's entries. Only then the recovery point moves.
//!
//! A truncation bumps the generation: what a job of before then reports is not heard any more, and a job of before then
//! does not touch the small files any more. [`Gate`] keeps the two apart.
//!
//! Must not know: when to sync, who waits for it.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cairn_protocol::ids::Offset;
use parking_lot::{Mutex, MutexGuard};

use super::index::{Entry, OffsetEntry, TimeEntry};
use super::segment::Segment;
use super::{Folder, Log, snapshot};
use crate::dir::state::{DirOffline, DirState, is_full};
use crate::disk::{AppendFile, SharedFile};
use crate::num::as_u64;

/// Producers are snapshotted after so many bytes, which bounds what recovery walks.
const SNAPSHOT_EVERY_BYTES: u64 = 64 << 20;
/// So many index entries may stay in memory once they are in the file.
const ENTRIES_IN_MEMORY_MAX: usize = 1024;

/// Which generation of a log may touch its small files, one at a time.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    generation: Mutex<u64>,
    /// The newest version of the leader epochs that is in their file; changed by who holds the generation.
    epochs_written: AtomicU64,
}

impl Gate {
    const SHUT: u64 = u64::MAX;

    /// From now on jobs of before touch nothing; waits for one that is at it.
    pub(crate) fn next_generation(&self) -> u64 {
        let mut generation = self.generation.lock();
        if *generation != Self::SHUT {
            *generation += 1;
        }
        *generation
    }

    /// The generation, which stays while the answer is held.
    pub(super) fn lock(&self) -> MutexGuard<'_, u64> {
        self.generation.lock()
    }

    /// From now on no job touches anything.
    pub(crate) fn shut(&self) {
        *self.generation.lock() = Self::SHUT;
    }

    /// Writes a version of the leader epochs, unless a newer one is there. For who holds the generation: a job that was begun before
    /// a leader noted its epoch must not take that back, nor be at the file at the same time.
    pub(super) fn write_epochs<E>(
        &self,
        _held: &MutexGuard<'_, u64>,
        version: u64,
        write: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        if self.epochs_written.load(Ordering::Relaxed) > version {
            return Ok(());
        }
        write()?;
        self.epochs_written.store(version, Ordering::Relaxed);
        Ok(())
    }
}

/// What of a log is not on disk for certain.
#[derive(Debug, Default)]
pub(crate) struct Unsynced {
    pub(crate) gate: Arc<Gate>,
    pub(crate) generation: u64,
    /// Segments that were sealed, or found by recovery, and not synced since.
    pub(crate) sealed: Vec<Sealed>,
    /// The active segment's file is synced up to here.
    pub(crate) active_from: u64,
    /// The active segment's indexes: which segment, and how many entries their files have.
    pub(crate) indexed: (Offset, usize, usize),
    pub(crate) epochs_version: u64,
    pub(crate) epochs_written: u64,
    pub(crate) folder_version: u64,
    pub(crate) folder_written: u64,
    /// The log's first files were made, or found, and nothing of the log was synced since.
    pub(crate) is_new: bool,
    pending_snapshots: Vec<PendingSnapshot>,
    /// Snapshots in the folder.
    pub(crate) snapshots: Vec<Offset>,
    pub(crate) bytes_since_snapshot: u64,
}

/// A sealed segment that is not on disk for certain.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    pub(crate) end_offset: Offset,
    pub(crate) content: Content,
    pub(crate) indexes: [PathBuf; 2],
}

impl Sealed {
    /// A segment that nobody writes any more, by its name.
    pub(super) fn file(folder: &Folder, segment: &Segment) -> Self {
        Self {
            end_offset: segment.end_offset(),
            content: Content::File(folder.segment(segment.base)),
            indexes: [folder.offset_index(segment.base), folder.time_index(segment.base)],
        }
    }
}

/// How a segment's content is made durable.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    /// This range, by the handle that it was written through.
    Range(Arc<dyn SharedFile>, Range<u64>),
    /// The whole file.
    File(PathBuf),
}

#[derive(Clone, Debug)]
struct PendingSnapshot {
    end: Offset,
    bytes: Arc<[u8]>,
}

impl Unsynced {
    pub(super) fn on_append(&mut self, size: u64) {
        self.bytes_since_snapshot += size;
    }

    /// The log's first files were made.
    pub(super) fn on_founded(&mut self) {
        self.is_new = true;
        self.folder_version += 1;
    }

    /// The active segment's file takes no more appends; the next one starts.
    pub(super) fn on_seal(&mut self, segment: &Segment, folder: &Folder, file: &dyn AppendFile) {
        self.sealed.push(Sealed {
            end_offset: segment.end_offset(),
            content: Content::Range(file.shared(), self.active_from..file.written()),
            indexes: [folder.offset_index(segment.base), folder.time_index(segment.base)],
        });
        self.active_from = 0;
        self.folder_version += 1;
    }

    /// How many index entries the files of the segment at `base` have.
    pub(super) fn indexed(&self, base: Offset) -> (usize, usize) {
        if self.indexed.0 == base { (self.indexed.1, self.indexed.2) } else { (0, 0) }
    }

    /// The log was cut, reset or deleted: jobs of before are not heard any more.
    pub(super) fn next_generation(&mut self) {
        self.generation = self.gate.next_generation();
        self.pending_snapshots.clear();
    }

    /// The first files of a log that begins at `base` were just made, and its folder was synced.
    pub(super) fn of_new(base: Offset) -> Self {
        Self { is_new: true, ..Self::with_indexed(base, 0, 0) }
    }

    /// Nothing is unsynced; the files of the active segment's indexes have so many entries.
    pub(super) fn with_indexed(base: Offset, offsets: usize, times: usize) -> Self {
        Self { indexed: (base, offsets, times), ..Self::default() }
    }

    fn is_dirty(&self) -> bool {
        !self.sealed.is_empty()
            || !self.pending_snapshots.is_empty()
            || self.epochs_version != self.epochs_written
            || self.folder_version != self.folder_written
    }
}

/// Work that makes a log durable up to an offset. Runs on any thread, without the log.
#[derive(Debug)]
pub struct SyncJob {
    dir: Arc<DirState>,
    folder: Folder,
    gate: Arc<Gate>,
    content: Vec<Content>,
    index_writes: Vec<(PathBuf, u64, Vec<u8>)>,
    index_syncs: Vec<PathBuf>,
    epochs: Option<Vec<u8>>,
    snapshots: Vec<PendingSnapshot>,
    stale_snapshots: Vec<Offset>,
    /// Segments were begun since the last sync. Otherwise the folder is as it was, and syncing it all the same would have the
    /// device flush its cache a second time.
    folder_changed: bool,
    report: Synced,
}

/// What a [`SyncJob`] has done; for [`Log::on_synced`].
#[derive(Clone, Debug)]
pub struct Synced {
    generation: u64,
    until: Offset,
    active_base: Offset,
    active_position: u64,
    offsets_indexed: usize,
    times_indexed: usize,
    epochs_version: u64,
    folder_version: u64,
    /// The log's first files are on disk.
    was_new: bool,
    snapshots: Vec<Offset>,
    stale_snapshots: Vec<Offset>,
}

impl Synced {
    /// The log is durable up to here, unless it was cut in between.
    #[must_use]
    pub fn until(&self) -> Offset {
        self.until
    }
}

impl SyncJob {
    /// The log will be durable up to here.
    #[must_use]
    pub fn until(&self) -> Offset {
        self.report.until
    }

    /// Waits for the disk.
    ///
    /// # Errors
    /// When the disk fails: the data directory is offline, nothing is retried.
    pub fn run(mut self) -> Result<Synced, DirOffline> {
        self.dir.check()?;
        self.dir.sync_folders()?;
        for content in &self.content {
            let synced = match content {
                Content::Range(file, range) => file.sync(range.clone()),
                Content::File(path) => self.sync_file(path),
            };
            self.dir.heed("sync a segment", synced)?;
        }
        let gate = Arc::clone(&self.gate);
        let generation = gate.lock();
        if *generation == self.report.generation {
            self.write_small_files(&generation)?;
        }
        drop(generation);
        Ok(self.report)
    }

    /// A segment that recovery found may have been deleted since: then nobody needs it on disk.
    fn sync_file(&self, path: &std::path::Path) -> io::Result<()> {
        match self.dir.disk.sync_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Recovery makes each of these anew when it is missing: on a full disk they wait for a later job.
    fn write_small_files(&mut self, held: &MutexGuard<'_, u64>) -> Result<(), DirOffline> {
        let dir = Arc::clone(&self.dir);
        let heed = |written: io::Result<()>| match written {
            Ok(()) => Ok(true),
            Err(error) if is_full(&error) => Ok(false),
            Err(error) => Err(dir.fail("write a log's small files", &error)),
        };
        let mut indexed = true;
        for (path, position, bytes) in &self.index_writes {
            indexed = indexed && heed(dir.disk.write_at(path, *position, bytes))?;
        }
        if !indexed {
            (self.report.offsets_indexed, self.report.times_indexed) = (0, 0);
        }
        for path in &self.index_syncs {
            dir.heed("sync an index", self.sync_file(path))?;
        }
        if let Some(epochs) = &self.epochs {
            let write = || dir.disk.replace(&self.folder.epochs(), epochs);
            if !heed(self.gate.write_epochs(held, self.report.epochs_version, write))? {
                self.report.epochs_version = 0;
            }
        }
        for snapshot in &self.snapshots {
            if !heed(dir.disk.replace(&self.folder.snapshot(snapshot.end), &snapshot.bytes))? {
                self.report.snapshots.retain(|end| *end != snapshot.end);
            }
        }
        for stale in &self.stale_snapshots {
            let removed = super::delete::remove_if_there(&dir, &self.folder.snapshot(*stale));
            dir.heed("remove a producer snapshot", removed)?;
        }
        if !self.folder_changed && self.stale_snapshots.is_empty() {
            return Ok(());
        }
        dir.heed("sync a log's folder", dir.disk.sync_dir(self.folder.path()))
    }
}

impl Log {
    /// What has to be made durable now, or `None` when everything is. Several jobs may run at once.
    pub fn begin_sync(&mut self) -> Option<SyncJob> {
        if self.unsynced.bytes_since_snapshot >= SNAPSHOT_EVERY_BYTES {
            self.snapshot_producers();
        }
        let until = self.end_offset();
        if until == self.durable_end() && !self.unsynced.is_dirty() {
            return None;
        }
        let unsynced = &self.unsynced;
        let segment = &self.active.segment;
        let active_position = self.active.file.written();
        let mut content: Vec<Content> = unsynced.sealed.iter().map(|sealed| sealed.content.clone()).collect();
        if active_position > unsynced.active_from {
            content.push(Content::Range(self.active.file.shared(), unsynced.active_from..active_position));
        }
        if unsynced.is_new {
            content.push(Content::File(self.folder.metadata()));
        }
        let (offsets_from, times_from) = unsynced.indexed(segment.base);
        let index_writes = self.index_writes(offsets_from, times_from);
        let stale_snapshots = self.stale_snapshots();
        let epochs = (unsynced.epochs_version != unsynced.epochs_written).then(|| self.shared.epochs.load().encode());
        Some(SyncJob {
            dir: Arc::clone(&self.dir),
            folder: self.folder.clone(),
            gate: Arc::clone(&unsynced.gate),
            content,
            index_writes,
            index_syncs: unsynced.sealed.iter().flat_map(|sealed| sealed.indexes.clone()).collect(),
            epochs,
            snapshots: unsynced.pending_snapshots.clone(),
            report: Synced {
                generation: unsynced.generation,
                until,
                active_base: segment.base,
                active_position,
                offsets_indexed: segment.offsets.len(),
                times_indexed: segment.times.len(),
                epochs_version: unsynced.epochs_version,
                folder_version: unsynced.folder_version,
                was_new: unsynced.is_new,
                snapshots: unsynced.pending_snapshots.iter().map(|snapshot| snapshot.end).collect(),
                stale_snapshots: stale_snapshots.clone(),
            },
            folder_changed: unsynced.folder_version != unsynced.folder_written,
            stale_snapshots,
        })
    }

    /// The active segment's index entries that are not in its files yet. The time index is written with the other one,
    /// even if it is empty: recovery wants both.
    fn index_writes(&self, offsets_from: usize, times_from: usize) -> Vec<(PathBuf, u64, Vec<u8>)> {
        let segment = &self.active.segment;
        let (Ok(offsets), Ok(times)) =
            (segment.offsets.encode_from(offsets_from), segment.times.encode_from(times_from))
        else {
            return Vec::new();
        };
        if offsets.is_empty() {
            return Vec::new();
        }
        let (base, folder) = (segment.base, &self.folder);
        vec![
            (folder.time_index(base), as_u64(times_from * TimeEntry::BYTES), times),
            (folder.offset_index(base), as_u64(offsets_from * OffsetEntry::BYTES), offsets),
        ]
    }

    /// Takes note of what a job has done. A report from before a truncation is not heard.
    pub fn on_synced(&mut self, synced: Synced) {
        let unsynced = &mut self.unsynced;
        if synced.generation != unsynced.generation {
            return;
        }
        unsynced.sealed.retain(|sealed| sealed.end_offset > synced.until);
        unsynced.epochs_written = unsynced.epochs_written.max(synced.epochs_version);
        unsynced.folder_written = unsynced.folder_written.max(synced.folder_version);
        unsynced.is_new &= !synced.was_new;
        unsynced.pending_snapshots.retain(|pending| !synced.snapshots.contains(&pending.end));
        unsynced.snapshots.retain(|offset| !synced.stale_snapshots.contains(offset));
        for end in synced.snapshots {
            if !unsynced.snapshots.contains(&end) {
                unsynced.snapshots.push(end);
            }
        }
        if synced.active_base == self.active.segment.base {
            unsynced.active_from = unsynced.active_from.max(synced.active_position);
            let (offsets, times) = unsynced.indexed(synced.active_base);
            unsynced.indexed =
                (synced.active_base, offsets.max(synced.offsets_indexed), times.max(synced.times_indexed));
            self.shed_index_entries(ENTRIES_IN_MEMORY_MAX);
        }
        if synced.until > self.durable_end() {
            self.set_durable_end(synced.until);
        }
    }

    pub(super) fn set_durable_end(&mut self, end: Offset) {
        self.shared.durable_end.store(end.0, Ordering::Release);
        self.marks.recovery_point.store(end.0, Ordering::Release);
    }

    /// Lets go of index entries in memory that are in their files by now, when there are more than `max`.
    pub(super) fn shed_index_entries(&self, max: usize) {
        let segment = &self.active.segment;
        let (offsets, times) = self.unsynced.indexed(segment.base);
        let disk = &self.dir.disk;
        if segment.offsets.in_memory() > max
            && offsets == segment.offsets.len()
            && let Ok(file) = disk.open_sealed(&self.folder.offset_index(segment.base))
        {
            segment.offsets.shed(file);
        }
        if segment.times.in_memory() > max
            && times == segment.times.len()
            && let Ok(file) = disk.open_sealed(&self.folder.time_index(segment.base))
        {
            segment.times.shed(file);
        }
    }

    /// Notes the producers as they are now; the next sync writes them to a file.
    pub(super) fn snapshot_producers(&mut self) {
        self.unsynced.bytes_since_snapshot = 0;
        let end = self.end_offset();
        let known = |offset: &Offset| *offset == end;
        if self.unsynced.snapshots.iter().any(known) || self.unsynced.pending_snapshots.iter().any(|p| p.end == end) {
            return;
        }
        let bytes = snapshot::encode(self.producers.iter()).into();
        self.unsynced.pending_snapshots.push(PendingSnapshot { end, bytes });
    }

    /// Of the snapshots that no segment begins with, only the newest is kept: Kafka's rule, too.
    fn stale_snapshots(&self) -> Vec<Offset> {
        let newest = self.unsynced.snapshots.iter().max().copied();
        let segments = self.shared.segments.load();
        let stale = |offset: &Offset| {
            Some(*offset) != newest && segments.binary_search_by_key(offset, |segment| segment.base).is_err()
        };
        self.unsynced.snapshots.iter().copied().filter(stale).collect()
    }
}
