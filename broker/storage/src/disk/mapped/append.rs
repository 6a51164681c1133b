//! A file that takes appends through a map of its whole capacity, of which only the prepared part may be touched.
//!
//! ```text
//!   0 ........ written ........ prepared ........ allocated ........ capacity
//!   | slices  | one writer copies | zeros to be    | address space only,
//!   |         | here, page faults | written here   | behind the file's end
//!   |         | paid already      |                |
//! ```
//!
//! Must not know: record batches, how far ahead is far enough, who keeps the descriptors.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use bytes::Bytes;
use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::descriptors::{Descriptors, FileKey};
use crate::disk::files::{Identity, Patience, ZEROS};
use crate::disk::map::{Map, as_usize, as_usizes};
use crate::disk::{AppendFile, Growth, Readable, SharedFile, check_range};
use crate::map_budget::Gauges;

/// The first step of the allocation. Later ones double the file.
const FIRST_ALLOCATION_BYTES: u64 = 64 * 1024;
/// The largest step of the allocation.
const MAX_ALLOCATION_BYTES: u64 = 64 * 1024 * 1024;

/// The writing side.
#[derive(Debug)]
pub(super) struct MappedAppend {
    shared: Arc<MappedShared>,
    /// Held from [`AppendFile::prepare_seal`] on.
    sealing: Option<Arc<File>>,
}

#[derive(Debug)]
struct MappedShared {
    path: PathBuf,
    identity: Identity,
    growth: Growth,
    gauges: Arc<Gauges>,
    descriptors: Arc<Descriptors>,
    key: FileKey,
    /// Made by the first use, so that an idle file has none.
    map: OnceLock<Arc<Map>>,
    slices: Arc<()>,
    /// Raised by the writer once the bytes are in place; readers take it before they touch them.
    written: AtomicU64,
    /// Raised by whoever prepares, once the pages are in place; the writer takes it before it touches them.
    prepared: AtomicU64,
    /// A failed sync may have dropped dirty pages: a later one would succeed and mean nothing.
    sync_failed: AtomicBool,
    /// Held while the file's length changes.
    growing: Mutex<Growing>,
}

#[derive(Debug)]
struct Growing {
    allocated: u64,
    /// What the gauges count as prepared for this file.
    counted: u64,
    sealed: bool,
}

impl MappedAppend {
    /// Takes appends behind `len`, at which `file` ends.
    pub(super) fn open(
        path: &Path,
        file: &File,
        len: u64,
        growth: Growth,
        gauges: &Arc<Gauges>,
        descriptors: &Arc<Descriptors>,
    ) -> io::Result<Self> {
        let shared = MappedShared {
            path: path.to_owned(),
            identity: Identity::of(&file.metadata()?),
            growth: Growth { capacity: growth.capacity.max(len), ..growth },
            gauges: Arc::clone(gauges),
            descriptors: Arc::clone(descriptors),
            key: descriptors.key(),
            map: OnceLock::new(),
            slices: Arc::default(),
            written: AtomicU64::new(len),
            prepared: AtomicU64::new(len),
            sync_failed: AtomicBool::new(false),
            growing: Mutex::new(Growing { allocated: len, counted: 0, sealed: false }),
        };
        Ok(Self { shared: Arc::new(shared), sealing: None })
    }
}

#[expect(unsafe_code, reason = "copies into the map")]
impl AppendFile for MappedAppend {
    fn append(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let shared = &*self.shared;
        let written = as_usize(shared.written.load(Ordering::Relaxed))?;
        let total: usize = parts.iter().map(|part| part.len()).sum();
        let prepared = as_usize(shared.prepared.load(Ordering::Acquire))?;
        let Some(map) = shared.map.get().filter(|_| total <= prepared - written) else {
            return if total == 0 { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) };
        };
        let mut end = written;
        for part in parts {
            // SAFETY: the map is of `Map::reserve`. The target lies below `prepared`, which the file reaches since before
            // `prepared` was raised, and only `seal` cuts it, which takes this writer away. Slices end at `written`,
            // and `&mut self` is the only writer.
            unsafe { map.copy_in(end, part) };
            end += part.len();
        }
        shared.written.store(end as u64, Ordering::Release);
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

    fn prepare_seal(&mut self) -> io::Result<()> {
        self.sealing = Some(self.shared.file(Patience::Fails)?);
        Ok(())
    }

    fn seal(mut self: Box<Self>) -> io::Result<()> {
        let held = self.sealing.take();
        let shared = &*self.shared;
        let mut growing = shared.growing.lock();
        growing.sealed = true;
        // Also when nothing seems to lie behind: a step that failed on a full disk may have made the file longer.
        let file = held.map_or_else(|| shared.file(Patience::Waits), Ok)?;
        file.set_len(shared.written())
    }
}

impl Drop for MappedAppend {
    fn drop(&mut self) {
        self.shared.growing.lock().sealed = true;
        self.shared.descriptors.forget(self.shared.key);
    }
}

impl MappedShared {
    fn file(&self, patience: Patience) -> io::Result<Arc<File>> {
        self.descriptors.get(self.key, &self.path, self.identity, patience)
    }

    fn map(&self, patience: Patience) -> io::Result<&Arc<Map>> {
        if let Some(map) = self.map.get() {
            return Ok(map);
        }
        let capacity = as_usize(self.growth.capacity)?;
        let map = Map::reserve(&*self.file(patience)?, capacity, &self.path, &self.gauges, &self.slices)?;
        // Whoever comes second drops its own.
        Ok(self.map.get_or_init(|| Arc::new(map)))
    }

    fn check(&self, range: &Range<u64>) -> io::Result<()> {
        check_range(range, self.written())
    }

    /// Gives the file blocks up to `end`, and more if there are any to spare.
    fn allocate(&self, file: &File, growing: &mut Growing, end: u64) -> io::Result<()> {
        if end <= growing.allocated {
            return Ok(());
        }
        let step = growing.allocated.clamp(FIRST_ALLOCATION_BYTES, MAX_ALLOCATION_BYTES);
        let generous = (growing.allocated + step).max(end).min(self.growth.capacity);
        for target in [generous, end] {
            let len = target - growing.allocated;
            match rustix::io::retry_on_intr(|| fallocate(file, FallocateFlags::empty(), growing.allocated, len)) {
                Ok(()) => {
                    growing.allocated = target;
                    return Ok(());
                }
                Err(Errno::NOSPC | Errno::DQUOT) if target > end => {}
                // Some file systems have no such call. Writing the zeros allocates there.
                Err(Errno::OPNOTSUPP | Errno::NOSYS) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Makes pages of zeros in the page cache, in pieces: they become the unit of writeback.
    fn zero(&self, file: &File, range: Range<u64>) -> io::Result<()> {
        let mut from = range.start;
        while from < range.end {
            let next = self.growth.chunk.piece_end(from, range.end);
            file.write_all_at(&ZEROS[..as_usize(next - from)?], from)?;
            from = next;
        }
        Ok(())
    }
}

impl SharedFile for MappedShared {
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
        let mut growing = self.growing.lock();
        let from = self.prepared();
        let end = self.growth.step_to(end);
        if growing.sealed || end <= from {
            return Ok(());
        }
        let file = self.file(Patience::Fails)?;
        let map = self.map(Patience::Fails)?;
        self.allocate(&file, &mut growing, end)?;
        self.zero(&file, from..end)?;
        growing.allocated = growing.allocated.max(end);
        map.populate_write(as_usizes(from..end)?)?;
        self.gauges.append_prepared_bytes.fetch_add(end - from, Ordering::Relaxed);
        growing.counted += end - from;
        self.prepared.store(end, Ordering::Release);
        Ok(())
    }

    fn sync(&self, range: Range<u64>) -> io::Result<()> {
        self.check(&range)?;
        if self.sync_failed.load(Ordering::Acquire) {
            return Err(io::Error::other("an earlier sync of the file failed"));
        }
        if range.is_empty() {
            return Ok(());
        }
        let end = range.end;
        let map = self.map(Patience::Waits)?;
        map.sync(as_usizes(range)?).inspect_err(|_| self.sync_failed.store(true, Ordering::Release))?;
        // The sync has write-protected the piece that the next append goes to. Meeting that here costs nobody anything;
        // once the writer has passed it there is nothing left to meet.
        let piece = u64::from(self.growth.chunk.largest_bytes());
        let rest = self.written()..end.next_multiple_of(piece).min(self.prepared());
        let growing = self.growing.lock();
        if rest.is_empty() || growing.sealed {
            return Ok(());
        }
        map.populate_write(as_usizes(rest)?)
    }
}

#[expect(unsafe_code, reason = "hands out slices of the map")]
impl Readable for MappedShared {
    fn slice(&self, range: Range<u64>) -> io::Result<Bytes> {
        self.check(&range)?;
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        // SAFETY: the range lies below `written`, so the bytes are in the file and were written before (Acquire in
        // `check`); what lies below `written` never changes, and a file is never cut below it while it may be read.
        Ok(unsafe { self.map(Patience::Waits)?.share(as_usizes(range)?) })
    }

    fn is_resident(&self, range: Range<u64>) -> bool {
        if self.check(&range).is_err() {
            return false;
        }
        if range.is_empty() {
            return true;
        }
        match (self.map(Patience::Fails), as_usizes(range)) {
            (Ok(map), Ok(range)) => map.is_resident(range),
            _ => false,
        }
    }

    fn populate(&self, range: Range<u64>) -> io::Result<()> {
        self.check(&range)?;
        self.map(Patience::Waits)?.populate_read(as_usizes(range)?)
    }

    fn slices(&self) -> Weak<()> {
        Arc::downgrade(&self.slices)
    }
}

impl Drop for MappedShared {
    fn drop(&mut self) {
        self.gauges.append_prepared_bytes.fetch_sub(self.growing.get_mut().counted, Ordering::Relaxed);
        self.descriptors.forget(self.key);
    }
}
