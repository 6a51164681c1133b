//! A memory map of one file: the only place that turns mapped memory into slices and copies into it.
//!
//! Must not know: when a file grows, who evicts which map.

#![allow(unsafe_code, reason = "memory that the kernel backs with a file")]

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
#[cfg(target_os = "linux")]
use memmap2::Advice;
use memmap2::{MmapOptions, MmapRaw};

use crate::map_budget::{Counted, Gauges, MapKind};
use crate::sigbus::{self, Registered};

/// How much is populated by one call, so that a failure is met early and nothing holds the map's lock for long.
#[cfg(target_os = "linux")]
const POPULATE_STEP_BYTES: usize = 2 * 1024 * 1024;

/// A shared map of a file from its first byte on. Memory behind the file's end must not be touched.
///
/// What is written once never changes (see the crate's rules), and only this process changes the files of its data
/// directory, which the directory's lock makes sure of. That is what makes slices of this memory sound.
#[derive(Debug)]
pub(super) struct Map {
    // Dropped in this order: the name in the SIGBUS table must go before the memory does.
    _registered: Registered,
    memory: MmapRaw,
    _counted: Counted,
    _slices: Arc<()>,
}

impl Map {
    /// Reserves `capacity` bytes of address space for a file that may be shorter, for reading and writing. `slices` lives as long
    /// as the map, and so as long as slices of it.
    pub(super) fn reserve(
        file: &File,
        capacity: usize,
        path: &Path,
        gauges: &Arc<Gauges>,
        slices: &Arc<()>,
    ) -> io::Result<Self> {
        let memory = MmapOptions::new().len(capacity).map_raw(file)?;
        Ok(Self::named(memory, path, gauges, slices, MapKind::Append))
    }

    /// Maps the first `len` bytes for reading.
    pub(super) fn read_only(
        file: &File,
        len: usize,
        path: &Path,
        gauges: &Arc<Gauges>,
        slices: &Arc<()>,
    ) -> io::Result<Self> {
        let memory = MmapOptions::new().len(len).map_raw_read_only(file)?;
        Ok(Self::named(memory, path, gauges, slices, MapKind::Sealed))
    }

    fn named(memory: MmapRaw, path: &Path, gauges: &Arc<Gauges>, slices: &Arc<()>, kind: MapKind) -> Self {
        let registered = sigbus::register(memory.as_ptr(), memory.len(), path);
        let bytes = u64::try_from(memory.len()).unwrap_or(u64::MAX);
        let counted = Counted::new(gauges, kind, bytes);
        Self { _registered: registered, memory, _counted: counted, _slices: Arc::clone(slices) }
    }

    pub(super) fn len(&self) -> usize {
        self.memory.len()
    }

    /// Copies `bytes` to `position`.
    ///
    /// # Safety
    /// The map is one of [`Map::reserve`]; the target lies below the file's end; no slice of it was handed out, and no
    /// other thread copies to it.
    #[cfg(target_os = "linux")]
    pub(super) unsafe fn copy_in(&self, position: usize, bytes: &[u8]) {
        assert!(position.checked_add(bytes.len()).is_some_and(|end| end <= self.len()), "copies stay inside the map");
        // SAFETY: the target is inside the mapping (asserted) and writable, and nobody else reads or writes it (the
        // caller's promise); a slice of a caller cannot overlap memory of which no slice was handed out.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.memory.as_mut_ptr().add(position), bytes.len()) };
    }

    /// Shares the bytes of `range`; the map lives as long as they do.
    ///
    /// # Safety
    /// The range lies below the file's end and holds what was written before and never changes again.
    pub(super) unsafe fn share(self: &Arc<Self>, range: Range<usize>) -> Bytes {
        assert!(range.start <= range.end && range.end <= self.len(), "slices stay inside the map");
        if range.is_empty() {
            return Bytes::new();
        }
        Bytes::from_owner(Shared { map: Arc::clone(self), range })
    }

    /// Populates the pages of `range` for writing, or tells why the disk does not allow it.
    #[cfg(target_os = "linux")]
    pub(super) fn populate_write(&self, range: Range<usize>) -> io::Result<()> {
        self.populate(Advice::PopulateWrite, range)
    }

    /// Populates the pages of `range` for reading.
    #[cfg(target_os = "linux")]
    pub(super) fn populate_read(&self, range: Range<usize>) -> io::Result<()> {
        self.populate(Advice::PopulateRead, range)
    }

    #[cfg(target_os = "linux")]
    fn populate(&self, advice: Advice, range: Range<usize>) -> io::Result<()> {
        let mut from = range.start;
        while from < range.end {
            let len = POPULATE_STEP_BYTES.min(range.end - from);
            match self.memory.advise_range(advice, from, len) {
                Ok(()) => from += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // The kernel's word for "touching it would be SIGBUS": the page cannot be had from the disk.
                Err(error) if error.raw_os_error() == Some(libc::EFAULT) => {
                    return Err(io::Error::from_raw_os_error(libc::EIO));
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes the pages of `range` to the disk, with the metadata that is needed to find them, and waits.
    #[cfg(target_os = "linux")]
    pub(super) fn sync(&self, range: Range<usize>) -> io::Result<()> {
        self.memory.flush_range(range.start, range.len())
    }

    /// Whether all pages of `range` are in the page cache. `false` where that cannot be asked.
    pub(super) fn is_resident(&self, range: Range<usize>) -> bool {
        if range.start > range.end || range.end > self.len() {
            return false;
        }
        self.pages_resident(range)
    }

    #[cfg(target_os = "linux")]
    fn pages_resident(&self, range: Range<usize>) -> bool {
        // One call answers for this many pages, on the stack.
        const PAGES: usize = 1024;
        let page = rustix::param::page_size();
        let mut from = range.start / page * page;
        let mut answers = [0u8; PAGES];
        while from < range.end {
            let len = (range.end - from).min(PAGES * page);
            // SAFETY: `from` is page-aligned (the map itself is), `from..from + len` lies inside the mapping, and
            // `answers` has a byte for each of its pages.
            let result = unsafe { libc::mincore(self.memory.as_mut_ptr().add(from).cast(), len, answers.as_mut_ptr()) };
            if result != 0 || answers[..len.div_ceil(page)].iter().any(|answer| answer & 1 == 0) {
                return false;
            }
            from += len;
        }
        true
    }

    #[cfg(not(target_os = "linux"))]
    fn pages_resident(&self, range: Range<usize>) -> bool {
        range.is_empty()
    }
}

/// The owner of one slice that a reader holds.
struct Shared {
    map: Arc<Map>,
    range: Range<usize>,
}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `Map::share` checked the range against the mapping, which `self.map` keeps, and its caller promised
        // that these bytes are in the file and never change.
        unsafe { std::slice::from_raw_parts(self.map.memory.as_ptr().add(self.range.start), self.range.len()) }
    }
}

/// A position of a file as one of a map.
pub(super) fn as_usize(at: u64) -> io::Result<usize> {
    usize::try_from(at).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

/// A range of a file as one of a map.
pub(super) fn as_usizes(range: Range<u64>) -> io::Result<Range<usize>> {
    Ok(as_usize(range.start)?..as_usize(range.end)?)
}
