//! Files of the faulty disk.
//!
//! Must not know: how faults are planned.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{Call, Fault, Plan};
use crate::disk::{AppendFile, Readable, SealedFile, SharedFile};

/// The unit in which a failed sync forgets.
const PAGE_BYTES: u64 = 4096;

/// A file that takes appends.
#[derive(Debug)]
pub(super) struct FaultyAppend {
    inner: Box<dyn AppendFile>,
    shared: Arc<FaultyShared>,
}

#[derive(Debug)]
struct FaultyShared {
    inner: Arc<dyn SharedFile>,
    path: PathBuf,
    plan: Arc<Plan>,
    /// Whole pages that a failed sync left clean and not written.
    forgotten: Mutex<Vec<Range<u64>>>,
}

impl FaultyAppend {
    pub(super) fn wrap(inner: Box<dyn AppendFile>, path: &Path, plan: &Arc<Plan>) -> Self {
        let shared = FaultyShared {
            inner: inner.shared(),
            path: path.to_owned(),
            plan: Arc::clone(plan),
            forgotten: Mutex::default(),
        };
        Self { inner, shared: Arc::new(shared) }
    }
}

impl AppendFile for FaultyAppend {
    fn append(&mut self, parts: &[&[u8]]) -> io::Result<()> {
        if let Some(fault) = self.shared.plan.next(Call::Append, &self.shared.path) {
            if let Fault::Torn { keep_bytes } = fault {
                let mut whole = parts.concat();
                whole.truncate(keep_bytes);
                self.inner.append(&[&whole])?;
            }
            fault.refuse()?;
        }
        self.inner.append(parts)
    }

    fn written(&self) -> u64 {
        self.inner.written()
    }

    fn prepared(&self) -> u64 {
        self.inner.prepared()
    }

    fn shared(&self) -> Arc<dyn SharedFile> {
        Arc::clone(&self.shared) as Arc<dyn SharedFile>
    }

    fn prepare_seal(&mut self) -> io::Result<()> {
        self.inner.prepare_seal()
    }

    fn seal(self: Box<Self>) -> io::Result<()> {
        self.shared.plan.pass(Call::Seal, &self.shared.path)?;
        self.inner.seal()
    }
}

impl FaultyShared {
    /// What of `range` a sync still writes.
    fn remembered(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut rest = vec![range];
        for gone in self.forgotten.lock().iter() {
            rest = rest
                .into_iter()
                .flat_map(|part| [part.start..part.end.min(gone.start), part.start.max(gone.end)..part.end])
                .filter(|part| part.start < part.end)
                .collect();
        }
        rest
    }
}

impl SharedFile for FaultyShared {
    fn written(&self) -> u64 {
        self.inner.written()
    }

    fn prepared(&self) -> u64 {
        self.inner.prepared()
    }

    fn capacity(&self) -> u64 {
        self.inner.capacity()
    }

    fn prepare(&self, end: u64) -> io::Result<()> {
        self.plan.pass(Call::Prepare, &self.path)?;
        self.inner.prepare(end)
    }

    fn sync(&self, range: Range<u64>) -> io::Result<()> {
        if let Some(fault) = self.plan.next(Call::Sync, &self.path) {
            if matches!(fault, Fault::Forget) {
                let pages = range.start / PAGE_BYTES * PAGE_BYTES..range.end.next_multiple_of(PAGE_BYTES);
                self.forgotten.lock().push(pages);
            }
            fault.refuse()?;
        }
        if self.forgotten.lock().is_empty() {
            return self.inner.sync(range);
        }
        self.remembered(range).into_iter().try_for_each(|part| self.inner.sync(part))
    }
}

impl Readable for FaultyShared {
    fn slice(&self, range: Range<u64>) -> io::Result<Bytes> {
        self.plan.pass(Call::Slice, &self.path)?;
        self.inner.slice(range)
    }

    fn is_resident(&self, range: Range<u64>) -> bool {
        self.inner.is_resident(range)
    }

    fn populate(&self, range: Range<u64>) -> io::Result<()> {
        self.plan.pass(Call::Populate, &self.path)?;
        self.inner.populate(range)
    }

    fn slices(&self) -> Weak<()> {
        self.inner.slices()
    }
}

/// A file that no longer changes.
#[derive(Debug)]
pub(super) struct FaultySealed {
    inner: Arc<dyn SealedFile>,
    path: PathBuf,
    plan: Arc<Plan>,
    /// What was populated, in any order.
    populated: Mutex<Vec<Range<u64>>>,
}

impl FaultySealed {
    pub(super) fn wrap(inner: Arc<dyn SealedFile>, path: &Path, plan: &Arc<Plan>) -> Self {
        Self { inner, path: path.to_owned(), plan: Arc::clone(plan), populated: Mutex::default() }
    }

    fn is_populated(&self, range: &Range<u64>) -> bool {
        let mut at = range.start;
        let populated = self.populated.lock();
        while at < range.end {
            let covering = populated.iter().filter(|part| part.contains(&at)).map(|part| part.end).max();
            let Some(end) = covering else { return false };
            at = end;
        }
        true
    }
}

impl SealedFile for FaultySealed {
    fn len(&self) -> u64 {
        self.inner.len()
    }
}

impl Readable for FaultySealed {
    fn slice(&self, range: Range<u64>) -> io::Result<Bytes> {
        self.plan.pass(Call::Slice, &self.path)?;
        if self.plan.refuses_unpopulated.load(Ordering::Relaxed) && !self.is_populated(&range) {
            return Err(io::Error::from_raw_os_error(libc::EFAULT));
        }
        self.inner.slice(range)
    }

    fn is_resident(&self, range: Range<u64>) -> bool {
        self.inner.is_resident(range)
    }

    fn populate(&self, range: Range<u64>) -> io::Result<()> {
        self.plan.pass(Call::Populate, &self.path)?;
        self.inner.populate(range.clone())?;
        self.populated.lock().push(range);
        Ok(())
    }

    fn slices(&self) -> Weak<()> {
        self.inner.slices()
    }
}
