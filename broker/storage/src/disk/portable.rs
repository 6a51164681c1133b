//! The portable body of [`Disk`], for any Unix: appends by pwrite, reads of growing files into buffers, read-only maps of
//! files that no longer change.
//!
//! Must not know: record batches, how to populate a map ahead of writes.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use super::files::{self, Patience, ZEROS, on_real_files};
use super::map::as_usize;
use super::sealed::{Sealed, SealedMaps};
use super::{AppendFile, Disk, Growth, Readable, SealedFile, SharedFile, check_range};
use crate::map_budget::{Gauges, MapBudget, MapUsage};

/// Files on a real file system, by calls that every Unix has. Each file that takes appends keeps a descriptor.
#[derive(Debug)]
pub struct PortableDisk {
    gauges: Arc<Gauges>,
    sealed: Arc<SealedMaps>,
    files: Arc<AtomicU64>,
}

impl PortableDisk {
    /// Maps of sealed files stay within `budget`.
    #[must_use]
    pub fn new(budget: MapBudget) -> Self {
        let gauges = Arc::<Gauges>::default();
        let sealed = Arc::new(SealedMaps::new(budget, Arc::clone(&gauges)));
        Self { gauges, sealed, files: Arc::default() }
    }

    fn append_file(&self, file: File, len: u64, growth: Growth) -> Box<dyn AppendFile> {
        self.files.fetch_add(1, Ordering::Relaxed);
        let shared = PortableShared {
            file,
            growth,
            written: AtomicU64::new(len),
            prepared: AtomicU64::new(len),
            sync_failed: AtomicBool::new(false),
            growing: Mutex::new(Sealing::Open),
            files: Arc::clone(&self.files),
        };
        Box::new(PortableAppend { shared: Arc::new(shared) })
    }
}

impl Default for PortableDisk {
    fn default() -> Self {
        Self::new(MapBudget::default())
    }
}

impl Disk for PortableDisk {
    fn create_append(&self, path: &Path, growth: Growth) -> io::Result<Box<dyn AppendFile>> {
        let file = files::open(path, OpenOptions::new().read(true).write(true).create_new(true), Patience::Fails)?;
        Ok(self.append_file(file, 0, growth))
    }

    fn open_append(&self, path: &Path, len: u64, growth: Growth) -> io::Result<Box<dyn AppendFile>> {
        let file = files::open(path, OpenOptions::new().read(true).write(true), Patience::Waits)?;
        if file.metadata()?.len() < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.set_len(len)?;
        Ok(self.append_file(file, len, growth))
    }

    fn open_sealed(&self, path: &Path) -> io::Result<Arc<dyn SealedFile>> {
        Ok(Arc::new(Sealed::open(path, &self.sealed)?))
    }

    fn open_front(&self, path: &Path, len: u64) -> io::Result<Arc<dyn SealedFile>> {
        Ok(Arc::new(Sealed::open_front(path, len, &self.sealed)?))
    }

    on_real_files!();

    fn usage(&self) -> MapUsage {
        self.gauges.read(self.files.load(Ordering::Relaxed))
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Sealing {
    Open,
    Sealed,
}

#[derive(Debug)]
struct PortableAppend {
    shared: Arc<PortableShared>,
}

#[derive(Debug)]
struct PortableShared {
    file: File,
    growth: Growth,
    written: AtomicU64,
    prepared: AtomicU64,
    /// A failed sync may have dropped dirty pages: a later one would succeed and mean nothing.
    sync_failed: AtomicBool,
    growing: Mutex<Sealing>,
    files: Arc<AtomicU64>,
}

impl Drop for PortableShared {
    fn drop(&mut self) {
        self.files.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AppendFile for PortableAppend {
    fn append(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let mut end = self.written();
        let total = parts.iter().map(|part| part.len() as u64).sum::<u64>();
        if end + total > self.prepared() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        for part in parts {
            self.shared.file.write_all_at(part, end)?;
            end += part.len() as u64;
        }
        self.shared.written.store(end, Ordering::Release);
        Ok(())
    }

    fn written(&self) -> u64 {
        self.shared.written()
    }

    fn prepared(&self) -> u64 {
        self.shared.prepared()
    }

    fn shared(&self) -> Arc<dyn SharedFile> {
        Arc::clone(&self.shared) as Arc<dyn SharedFile>
    }

    fn seal(self: Box<Self>) -> io::Result<()> {
        let mut growing = self.shared.growing.lock();
        *growing = Sealing::Sealed;
        self.shared.file.set_len(self.written())
    }
}

impl Drop for PortableAppend {
    fn drop(&mut self) {
        *self.shared.growing.lock() = Sealing::Sealed;
    }
}

impl SharedFile for PortableShared {
    fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    fn prepared(&self) -> u64 {
        self.prepared.load(Ordering::Acquire)
    }

    fn capacity(&self) -> u64 {
        self.growth.capacity
    }

    fn prepare(&self, end: u64) -> io::Result<()> {
        let growing = self.growing.lock();
        if *growing == Sealing::Sealed {
            return Ok(());
        }
        let end = self.growth.step_to(end);
        while self.prepared() < end {
            // Only writing allocates on every file system; appends then overwrite what has its place.
            let from = self.prepared();
            let next = self.growth.chunk.piece_end(from, end);
            self.file.write_all_at(&ZEROS[..as_usize(next - from)?], from)?;
            self.prepared.store(next, Ordering::Release);
        }
        Ok(())
    }

    fn sync(&self, range: Range<u64>) -> io::Result<()> {
        check_range(&range, self.written())?;
        if self.sync_failed.load(Ordering::Acquire) {
            return Err(io::Error::other("an earlier sync of the file failed"));
        }
        self.file.sync_data().inspect_err(|_| self.sync_failed.store(true, Ordering::Release))
    }
}

impl Readable for PortableShared {
    fn slice(&self, range: Range<u64>) -> io::Result<Bytes> {
        check_range(&range, self.written())?;
        let mut buffer = vec![0; as_usize(range.end - range.start)?];
        self.file.read_exact_at(&mut buffer, range.start)?;
        Ok(buffer.into())
    }

    /// `slice` reads the file, so it may always wait for the disk.
    fn is_resident(&self, range: Range<u64>) -> bool {
        range.is_empty()
    }

    fn populate(&self, range: Range<u64>) -> io::Result<()> {
        self.slice(range).map(drop)
    }
}
