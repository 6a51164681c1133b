//! Files of the memory disk: content as written, content as synced, and the space they take.
//!
//! Must not know: names, folders.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{AppendFile, CrashUnit, Growth, SealedFile, Space, Survival};
use crate::disk::{Readable, SharedFile, check_range};

/// Counts the bytes of all files that have a name.
#[derive(Debug)]
pub(super) struct Usage {
    space: Mutex<(u64, u64)>,
}

impl Usage {
    pub(super) fn new(capacity: u64) -> Self {
        Self { space: Mutex::new((0, capacity)) }
    }

    pub(super) fn capacity(&self) -> u64 {
        self.space.lock().1
    }

    pub(super) fn set_capacity(&self, bytes: u64) {
        self.space.lock().1 = bytes;
    }

    pub(super) fn space(&self) -> Space {
        let (used, total) = *self.space.lock();
        Space { total, free: total.saturating_sub(used) }
    }

    /// Replaces `old` bytes of a file by `new` ones, when they fit.
    fn resize(&self, old: u64, new: u64) -> io::Result<()> {
        let mut space = self.space.lock();
        let used = space.0 - old + new;
        if new > old && used > space.1 {
            return Err(io::ErrorKind::StorageFull.into());
        }
        space.0 = used;
        Ok(())
    }
}

/// One file's content.
#[derive(Debug)]
pub(super) struct Inode {
    content: Mutex<Content>,
    usage: Arc<Usage>,
}

#[derive(Debug, Default)]
struct Content {
    live: Vec<u8>,
    durable: Vec<u8>,
    /// The least length since the last sync: what was durable behind it is gone as soon as a new length is durable.
    cut: Option<usize>,
    /// No name leads here any more, so its space is given back.
    unlinked: bool,
}

impl Inode {
    pub(super) fn new(usage: Arc<Usage>) -> Self {
        Self { content: Mutex::default(), usage }
    }

    pub(super) fn len(&self) -> u64 {
        as_u64(self.content.lock().live.len())
    }

    pub(super) fn content(&self) -> Vec<u8> {
        self.content.lock().live.clone()
    }

    pub(super) fn set_len(&self, len: u64) -> io::Result<()> {
        self.content.lock().set_len(len, &self.usage)
    }

    fn grow(&self, len: u64) -> io::Result<()> {
        let mut content = self.content.lock();
        if as_u64(content.live.len()) >= len {
            return Ok(());
        }
        content.set_len(len, &self.usage)
    }

    pub(super) fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let mut content = self.content.lock();
        let end = position.checked_add(as_u64(bytes.len())).ok_or(io::ErrorKind::FileTooLarge)?;
        if end > as_u64(content.live.len()) {
            content.set_len(end, &self.usage)?;
        }
        let range = as_range(position..end)?;
        content.live[range].copy_from_slice(bytes);
        Ok(())
    }

    fn slice(&self, range: Range<u64>) -> io::Result<Bytes> {
        let content = self.content.lock();
        let bytes = content.live.get(as_range(range)?).ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(Bytes::copy_from_slice(bytes))
    }

    pub(super) fn sync_all(&self) {
        let content = &mut *self.content.lock();
        content.durable.clone_from(&content.live);
        content.cut = None;
    }

    /// Makes the pages that hold `range` durable, and the length; other pages stay as they were.
    fn sync_pages(&self, range: Range<u64>) -> io::Result<()> {
        let content = &mut *self.content.lock();
        let page = CrashUnit::Page.bytes();
        let range = as_range(range)?;
        if let Some(cut) = content.cut.take() {
            content.durable.truncate(cut);
        }
        content.durable.resize(content.live.len(), 0);
        let start = range.start / page * page;
        let end = range.end.next_multiple_of(page).min(content.live.len());
        if start < end {
            content.durable[start..end].copy_from_slice(&content.live[start..end]);
        }
        Ok(())
    }

    /// Gives the space back, now and for whatever a holder still does to the file.
    pub(super) fn unlink(&self) {
        let mut content = self.content.lock();
        if !content.unlinked {
            self.usage.resize(as_u64(content.live.len()), 0).expect("shrinking always fits");
            content.unlinked = true;
        }
    }

    /// The file as it is after a crash.
    pub(super) fn survive(&self, survival: &mut Survival, usage: &Arc<Usage>) -> Self {
        let content = self.content.lock();
        let kept = survival.content(&content.live, &content.durable, content.cut);
        // What was there before the crash fits afterwards, even when the disk was made smaller since.
        usage.space.lock().0 += as_u64(kept.len());
        let content = Content { live: kept.clone(), durable: kept, cut: None, unlinked: false };
        Self { content: Mutex::new(content), usage: Arc::clone(usage) }
    }
}

impl Content {
    fn set_len(&mut self, len: u64, usage: &Usage) -> io::Result<()> {
        let target = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        if !self.unlinked {
            usage.resize(as_u64(self.live.len()), len)?;
        }
        if target < self.live.len() {
            self.cut = Some(self.cut.map_or(target, |cut| cut.min(target)));
        }
        self.live.resize(target, 0);
        Ok(())
    }
}

/// The writing side of a growing file.
#[derive(Debug)]
pub(super) struct MemoryAppend {
    shared: Arc<MemoryShared>,
}

#[derive(Debug)]
struct MemoryShared {
    inode: Arc<Inode>,
    growth: Growth,
    written: AtomicU64,
    prepared: AtomicU64,
    sealed: AtomicBool,
    /// Keeps `prepare` and `seal` apart, so that nothing grows a sealed file.
    growing: Mutex<()>,
}

impl MemoryAppend {
    /// `inode` ends at `len`.
    pub(super) fn open(inode: Arc<Inode>, len: u64, growth: Growth) -> Self {
        let shared = MemoryShared {
            inode,
            growth,
            written: AtomicU64::new(len),
            prepared: AtomicU64::new(len),
            sealed: AtomicBool::new(false),
            growing: Mutex::new(()),
        };
        Self { shared: Arc::new(shared) }
    }
}

impl AppendFile for MemoryAppend {
    fn append(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        let mut end = self.written();
        let total: u64 = parts.iter().map(|part| as_u64(part.len())).sum();
        if end + total > self.prepared() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        for part in parts {
            self.shared.inode.write_at(end, part)?;
            end += as_u64(part.len());
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
        let _growing = self.shared.growing.lock();
        self.shared.sealed.store(true, Ordering::Release);
        self.shared.inode.set_len(self.written())
    }
}

impl Drop for MemoryAppend {
    fn drop(&mut self) {
        let _growing = self.shared.growing.lock();
        self.shared.sealed.store(true, Ordering::Release);
    }
}

impl SharedFile for MemoryShared {
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
        let _growing = self.growing.lock();
        if self.sealed.load(Ordering::Acquire) {
            return Ok(());
        }
        let end = self.growth.step_to(end);
        if end > self.prepared() {
            self.inode.grow(end)?;
            self.prepared.store(end, Ordering::Release);
        }
        Ok(())
    }

    fn sync(&self, range: Range<u64>) -> io::Result<()> {
        check_range(&range, self.written())?;
        self.inode.sync_pages(range)
    }
}

impl Readable for MemoryShared {
    fn slice(&self, range: Range<u64>) -> io::Result<Bytes> {
        check_range(&range, self.written())?;
        self.inode.slice(range)
    }

    fn is_resident(&self, range: Range<u64>) -> bool {
        check_range(&range, self.written()).is_ok()
    }

    fn populate(&self, range: Range<u64>) -> io::Result<()> {
        check_range(&range, self.written())
    }
}

/// A file that no longer changes.
#[derive(Debug)]
pub(super) struct MemorySealed {
    inode: Arc<Inode>,
    len: u64,
}

impl MemorySealed {
    pub(super) fn open(inode: Arc<Inode>, len: u64) -> io::Result<Self> {
        check_range(&(0..len), inode.len())?;
        Ok(Self { inode, len })
    }
}

impl SealedFile for MemorySealed {
    fn len(&self) -> u64 {
        self.len
    }
}

impl Readable for MemorySealed {
    fn slice(&self, range: Range<u64>) -> io::Result<Bytes> {
        check_range(&range, self.len)?;
        self.inode.slice(range)
    }

    fn is_resident(&self, range: Range<u64>) -> bool {
        check_range(&range, self.len).is_ok()
    }

    fn populate(&self, range: Range<u64>) -> io::Result<()> {
        check_range(&range, self.len)
    }
}

fn as_u64(len: usize) -> u64 {
    u64::try_from(len).expect("a length fits into 64 bits")
}

fn as_range(range: Range<u64>) -> io::Result<Range<usize>> {
    let bound = |at| usize::try_from(at).map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge));
    Ok(bound(range.start)?..bound(range.end)?)
}
