//! Files that no longer change, on a real file system: mapped on demand within a budget, read into buffers beyond it.
//!
//! Must not know: files that grow, what is in the files.

use std::collections::VecDeque;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;

use super::files::{self, Identity, Patience};
use super::map::{Map, as_usize, as_usizes};
use super::{Readable, SealedFile, check_range};
use crate::map_budget::{Gauges, MapBudget};

/// How much `populate` reads at once where it cannot ask the kernel to populate a map.
const READ_STEP_BYTES: usize = 256 * 1024;

/// Entries of the ring whose file is gone are swept out when there are this many more than twice the living.
const RING_SLACK: usize = 64;

/// The maps of sealed files that are kept for the next read, the oldest unused first to go.
#[derive(Debug)]
pub(super) struct SealedMaps {
    budget: MapBudget,
    gauges: Arc<Gauges>,
    /// A clock: who is at the front and was not used since it came by last time loses its map.
    ring: Mutex<VecDeque<Weak<Slot>>>,
}

/// What a [`Sealed`] and the ring share.
#[derive(Debug)]
struct Slot {
    map: Mutex<Option<Arc<Map>>>,
    used: AtomicBool,
}

impl SealedMaps {
    pub(super) fn new(budget: MapBudget, gauges: Arc<Gauges>) -> Self {
        Self { budget, gauges, ring: Mutex::default() }
    }

    fn live(&self) -> usize {
        usize::try_from(self.gauges.sealed_maps.load(Ordering::Relaxed)).unwrap_or(usize::MAX / 4)
    }

    /// Frees room for one more map of `len` bytes. Maps that readers hold stay, and count.
    fn make_room(&self, ring: &mut VecDeque<Weak<Slot>>, len: u64) -> bool {
        // Twice around: the first round may do nothing but forget who was used.
        for _ in 0..=2 * ring.len() {
            let maps = self.gauges.sealed_maps.load(Ordering::Relaxed);
            let bytes = self.gauges.sealed_bytes.load(Ordering::Relaxed);
            if maps < self.budget.max_maps && bytes.saturating_add(len) <= self.budget.max_bytes {
                return true;
            }
            let Some(front) = ring.pop_front() else { return false };
            let Some(slot) = front.upgrade() else { continue };
            let mut map = slot.map.lock();
            let held = map.as_ref().is_some_and(|map| Arc::strong_count(map) > 1);
            if held || slot.used.swap(false, Ordering::Relaxed) {
                ring.push_back(front);
            } else {
                *map = None;
            }
        }
        false
    }
}

/// A file that no longer changes. It keeps no descriptor, and a map only while it is read.
#[derive(Debug)]
pub(super) struct Sealed {
    path: PathBuf,
    identity: Identity,
    len: u64,
    maps: Arc<SealedMaps>,
    slot: Arc<Slot>,
    slices: Arc<()>,
}

impl Sealed {
    pub(super) fn open(path: &Path, maps: &Arc<SealedMaps>) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok(Self {
            slices: Arc::default(),
            path: path.to_owned(),
            identity: Identity::of(&metadata),
            len: metadata.len(),
            maps: Arc::clone(maps),
            slot: Arc::new(Slot { map: Mutex::new(None), used: AtomicBool::new(false) }),
        })
    }

    /// Of its first `len` bytes.
    pub(super) fn open_front(path: &Path, len: u64, maps: &Arc<SealedMaps>) -> io::Result<Self> {
        let whole = Self::open(path, maps)?;
        check_range(&(0..len), whole.len)?;
        Ok(Self { len, ..whole })
    }

    fn reopen(&self) -> io::Result<File> {
        let options = &mut OpenOptions::new();
        let (file, metadata) = files::reopen(&self.path, self.identity, options.read(true), Patience::Waits)?;
        if metadata.len() < self.len {
            return Err(self.shrunk(metadata.len()));
        }
        Ok(file)
    }

    fn shrunk(&self, len: u64) -> io::Error {
        let text = format!("{} was {} bytes long and is {len} now", self.path.display(), self.len);
        io::Error::new(io::ErrorKind::UnexpectedEof, text)
    }

    /// The file's map if it has one already. Opens nothing, so it waits for nothing.
    fn mapped(&self) -> Option<Arc<Map>> {
        let map = self.slot.map.lock().clone()?;
        self.slot.used.store(true, Ordering::Relaxed);
        Some(map)
    }

    /// The file's map, or nothing when the budget has no room for it.
    fn map(&self) -> io::Result<Option<Arc<Map>>> {
        if let Some(map) = self.mapped() {
            return Ok(Some(map));
        }
        let file = self.reopen()?;
        let mut ring = self.maps.ring.lock();
        if let Some(map) = &*self.slot.map.lock() {
            return Ok(Some(Arc::clone(map)));
        }
        if !self.maps.make_room(&mut ring, self.len) {
            return Ok(None);
        }
        let map = match Map::read_only(&file, as_usize(self.len)?, &self.path, &self.maps.gauges, &self.slices) {
            // The process or the system has no more maps: the same as an exhausted budget.
            Err(error) if error.raw_os_error() == Some(libc::ENOMEM) => return Ok(None),
            map => Arc::new(map?),
        };
        *self.slot.map.lock() = Some(Arc::clone(&map));
        // Only a second read counts as use, so that one pass over everything cold does not drive out what is read often.
        self.slot.used.store(false, Ordering::Relaxed);
        if ring.len() > 2 * self.maps.live() + RING_SLACK {
            ring.retain(|slot| slot.strong_count() > 0);
        }
        ring.push_back(Arc::downgrade(&self.slot));
        Ok(Some(map))
    }

    fn check(&self, range: &Range<u64>) -> io::Result<()> {
        check_range(range, self.len)
    }

    /// Reads `range` through a buffer, which brings it into the page cache.
    fn read_through(&self, range: Range<u64>) -> io::Result<()> {
        let range = as_usizes(range)?;
        let file = self.reopen()?;
        let mut buffer = vec![0; READ_STEP_BYTES.min(range.len())];
        let mut from = range.start;
        while from < range.end {
            let len = buffer.len().min(range.end - from);
            file.read_exact_at(&mut buffer[..len], from as u64)?;
            from += len;
        }
        Ok(())
    }
}

impl SealedFile for Sealed {
    fn len(&self) -> u64 {
        self.len
    }
}

#[expect(unsafe_code, reason = "hands out slices of the map")]
impl Readable for Sealed {
    fn slice(&self, range: Range<u64>) -> io::Result<Bytes> {
        self.check(&range)?;
        if range.is_empty() {
            return Ok(Bytes::new());
        }
        if let Some(map) = self.map()? {
            // SAFETY: the range lies below the length that the file had when it was mapped, and it no longer changes.
            return Ok(unsafe { map.share(as_usizes(range)?) });
        }
        self.maps.gauges.sealed_reads_unmapped.fetch_add(1, Ordering::Relaxed);
        let mut buffer = vec![0; as_usize(range.end - range.start)?];
        self.reopen()?.read_exact_at(&mut buffer, range.start)?;
        Ok(buffer.into())
    }

    fn is_resident(&self, range: Range<u64>) -> bool {
        if self.check(&range).is_err() {
            return false;
        }
        if range.is_empty() {
            return true;
        }
        match (self.mapped(), as_usizes(range)) {
            (Some(map), Ok(range)) => map.is_resident(range),
            _ => false,
        }
    }

    fn populate(&self, range: Range<u64>) -> io::Result<()> {
        self.check(&range)?;
        if range.is_empty() {
            return Ok(());
        }
        #[cfg(target_os = "linux")]
        if let Some(map) = self.map()? {
            return match map.populate_read(as_usizes(range.clone())?) {
                // Kernels before 5.14 do not know the advice.
                Err(error) if error.kind() == io::ErrorKind::InvalidInput => self.read_through(range),
                // Tells a file that was cut behind our back from a disk that cannot be read.
                Err(error) => Err(self.reopen().err().unwrap_or(error)),
                Ok(()) => Ok(()),
            };
        }
        self.read_through(range)
    }

    fn slices(&self) -> Weak<()> {
        Arc::downgrade(&self.slices)
    }
}
