//! The faulty body of [`Disk`]: another body whose n-th call of a kind goes wrong as planned.
//!
//! | fault | what it stands for | why it must be survived |
//! |---|---|---|
//! | [`Fault::Io`] | a bad sector, a lost cable, a file system that shut down | final for the data directory: nothing more is acknowledged, nothing is retried on the same pages |
//! | [`Fault::Full`] | no space, or no quota | the disk comes back when something is deleted: refuse, keep all that was accepted, go on afterwards |
//! | [`Fault::Torn`] | power that goes, or a process that dies, in the middle of a write | recovery must tell the torn tail from damage below the recovery point |
//! | [`Fault::Forget`] | fsync on Linux: the pages that could not be written are marked clean | a later sync succeeds and means nothing, so the first error must be believed |
//! | [`Fault::Hold`] | a disk that takes seconds | nobody may hold a lock meanwhile that readers or other partitions need |
//!
//! Nothing is random and nothing depends on time: the same plan and the same calls fail in the same place.
//!
//! Must not know: which body it wraps, record batches.

use std::collections::{BTreeMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Condvar, Mutex};

use crate::map_budget::MapUsage;

use super::{AppendFile, Disk, Entry, Growth, Lock, REPLACEMENT_SUFFIX, SealedFile, Space};

mod file;
#[cfg(test)]
mod tests;

use file::{FaultyAppend, FaultySealed};

/// The kinds of calls, of [`Disk`] and of the files that it opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// [`Disk::create_append`]
    CreateAppend,
    /// [`Disk::open_append`]
    OpenAppend,
    /// [`Disk::open_sealed`] and [`Disk::open_front`]
    OpenSealed,
    /// [`Disk::read`]
    Read,
    /// [`Disk::replace`]
    Replace,
    /// [`Disk::write_at`]
    WriteAt,
    /// [`Disk::sync_file`]
    SyncFile,
    /// [`Disk::truncate`]
    Truncate,
    /// [`Disk::rename`]
    Rename,
    /// [`Disk::remove_file`]
    RemoveFile,
    /// [`Disk::create_dir`]
    CreateDir,
    /// [`Disk::remove_dir`]
    RemoveDir,
    /// [`Disk::sync_dir`]
    SyncDir,
    /// [`Disk::list`]
    List,
    /// [`Disk::space`]
    Space,
    /// [`Disk::lock`]
    Lock,
    /// [`AppendFile::append`]
    Append,
    /// [`AppendFile::seal`]
    Seal,
    /// [`super::SharedFile::prepare`]
    Prepare,
    /// [`super::SharedFile::sync`]
    Sync,
    /// `slice` of either kind of file
    Slice,
    /// `populate` of either kind of file
    Populate,
}

/// What goes wrong.
#[derive(Clone, Debug)]
pub enum Fault {
    /// EIO; nothing is done.
    Io,
    /// ENOSPC; nothing is done.
    Full,
    /// Of what was to be written only this many bytes are, then EIO. For append, write_at and replace, where the bytes
    /// are those of the file beside; as [`Fault::Io`] for the others.
    Torn {
        /// So many bytes are written.
        keep_bytes: usize,
    },
    /// EIO, and what was to be made durable never will be, although later syncs of it succeed. For sync and sync_file; as
    /// [`Fault::Io`] for the others.
    Forget,
    /// The call waits until the gate is opened, and is then done.
    Hold(Gate),
}

impl Fault {
    /// The error of a call that is not done; `None` when it is done after all.
    fn refuse(&self) -> io::Result<()> {
        match self {
            Self::Io | Self::Torn { .. } | Self::Forget => Err(io::Error::from_raw_os_error(libc::EIO)),
            Self::Full => Err(io::Error::from_raw_os_error(libc::ENOSPC)),
            Self::Hold(gate) => {
                gate.pass();
                Ok(())
            }
        }
    }
}

/// Keeps calls waiting. A clone is the same gate; it begins closed.
#[derive(Clone, Debug, Default)]
pub struct Gate(Arc<(Mutex<GateState>, Condvar)>);

#[derive(Debug, Default)]
struct GateState {
    open: bool,
    waiting: usize,
}

impl Gate {
    /// Lets everybody pass, now and later.
    pub fn open(&self) {
        self.0.0.lock().open = true;
        self.0.1.notify_all();
    }

    /// Waits until at least one call waits at the gate.
    pub fn wait_for_a_call(&self) {
        let mut state = self.0.0.lock();
        while state.waiting == 0 {
            self.0.1.wait(&mut state);
        }
    }

    fn pass(&self) {
        let mut state = self.0.0.lock();
        state.waiting += 1;
        self.0.1.notify_all();
        while !state.open {
            self.0.1.wait(&mut state);
        }
    }
}

/// Which calls go wrong, and how.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Calls of this kind,
    pub call: Call,
    /// of files whose path ends so (all, if empty; of two paths the first counts),
    pub suffix: String,
    /// after this many that go well,
    pub skip: u64,
    /// this many of them,
    pub count: u64,
    /// go wrong like this.
    pub fault: Fault,
}

impl Rule {
    /// The `nth` call of a kind from now on, counted from 1, goes wrong once.
    #[must_use]
    pub fn nth(call: Call, nth: u64, fault: Fault) -> Self {
        Self { call, suffix: String::new(), skip: nth.saturating_sub(1), count: 1, fault }
    }

    /// Every call of a kind goes wrong from now on.
    #[must_use]
    pub fn always(call: Call, fault: Fault) -> Self {
        Self { count: u64::MAX, ..Self::nth(call, 1, fault) }
    }

    /// The same for paths that end in `suffix` only.
    #[must_use]
    pub fn only(self, suffix: &str) -> Self {
        Self { suffix: suffix.to_owned(), ..self }
    }
}

/// A disk that fails as planned. A clone is the same disk.
#[derive(Clone, Debug)]
pub struct FaultyDisk {
    inner: Arc<dyn Disk>,
    plan: Arc<Plan>,
}

#[derive(Debug, Default)]
struct Plan {
    rules: Mutex<Vec<Rule>>,
    calls: Mutex<BTreeMap<Call, u64>>,
    injected: Mutex<u64>,
    /// Files that `Fault::Forget` hit in `sync_file`.
    forgotten: Mutex<HashSet<PathBuf>>,
    /// Sealed files are sliced only where they were populated.
    refuses_unpopulated: AtomicBool,
}

impl Plan {
    /// Counts the call and tells what is planned for it.
    fn next(&self, call: Call, path: &Path) -> Option<Fault> {
        *self.calls.lock().entry(call).or_default() += 1;
        let mut rules = self.rules.lock();
        let mut planned = None;
        for rule in rules.iter_mut() {
            if rule.call != call || !path.to_string_lossy().ends_with(&rule.suffix) {
                continue;
            }
            if rule.skip > 0 {
                rule.skip -= 1;
            } else if planned.is_none() {
                rule.count = rule.count.saturating_sub(1);
                planned = Some(rule.fault.clone());
            }
        }
        rules.retain(|rule| rule.count > 0);
        if planned.is_some() {
            *self.injected.lock() += 1;
        }
        planned
    }

    /// For calls that are either done or not.
    fn pass(&self, call: Call, path: &Path) -> io::Result<()> {
        self.next(call, path).map_or(Ok(()), |fault| fault.refuse())
    }
}

impl FaultyDisk {
    /// `inner`, with no faults planned yet.
    #[must_use]
    pub fn new(inner: Arc<dyn Disk>) -> Self {
        Self { inner, plan: Arc::default() }
    }

    /// Plans a fault. Of several rules that meet in one call the oldest acts.
    pub fn inject(&self, rule: Rule) {
        self.plan.rules.lock().push(rule);
    }

    /// Plans nothing any more. What was forgotten stays so.
    pub fn heal(&self) {
        self.plan.rules.lock().clear();
    }

    /// From now on a slice of a file that no longer changes fails (EFAULT) where it was not populated before, as a page that
    /// cannot be read would end the process there.
    pub fn refuse_unpopulated(&self) {
        self.plan.refuses_unpopulated.store(true, Ordering::Relaxed);
    }

    /// How many calls of a kind there were, to choose the n-th by.
    #[must_use]
    pub fn calls(&self, call: Call) -> u64 {
        self.plan.calls.lock().get(&call).copied().unwrap_or(0)
    }

    /// How many calls went wrong.
    #[must_use]
    pub fn injected(&self) -> u64 {
        *self.plan.injected.lock()
    }
}

impl Disk for FaultyDisk {
    fn create_append(&self, path: &Path, growth: Growth) -> io::Result<Box<dyn AppendFile>> {
        self.plan.pass(Call::CreateAppend, path)?;
        let inner = self.inner.create_append(path, growth)?;
        Ok(Box::new(FaultyAppend::wrap(inner, path, &self.plan)))
    }

    fn open_append(&self, path: &Path, len: u64, growth: Growth) -> io::Result<Box<dyn AppendFile>> {
        self.plan.pass(Call::OpenAppend, path)?;
        let inner = self.inner.open_append(path, len, growth)?;
        Ok(Box::new(FaultyAppend::wrap(inner, path, &self.plan)))
    }

    fn open_sealed(&self, path: &Path) -> io::Result<Arc<dyn SealedFile>> {
        self.plan.pass(Call::OpenSealed, path)?;
        Ok(Arc::new(FaultySealed::wrap(self.inner.open_sealed(path)?, path, &self.plan)))
    }

    fn open_front(&self, path: &Path, len: u64) -> io::Result<Arc<dyn SealedFile>> {
        self.plan.pass(Call::OpenSealed, path)?;
        Ok(Arc::new(FaultySealed::wrap(self.inner.open_front(path, len)?, path, &self.plan)))
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        self.plan.pass(Call::Read, path)?;
        self.inner.read(path, limit)
    }

    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        if let Some(fault) = self.plan.next(Call::Replace, path) {
            if let Fault::Torn { keep_bytes } = fault {
                let mut beside = path.as_os_str().to_owned();
                beside.push(REPLACEMENT_SUFFIX);
                self.inner.write_at(Path::new(&beside), 0, &content[..keep_bytes.min(content.len())])?;
            }
            fault.refuse()?;
        }
        self.inner.replace(path, content)?;
        // A new file has taken the name.
        self.plan.forgotten.lock().remove(path);
        Ok(())
    }

    fn write_at(&self, path: &Path, position: u64, content: &[u8]) -> io::Result<()> {
        if let Some(fault) = self.plan.next(Call::WriteAt, path) {
            if let Fault::Torn { keep_bytes } = fault {
                self.inner.write_at(path, position, &content[..keep_bytes.min(content.len())])?;
            }
            fault.refuse()?;
        }
        self.inner.write_at(path, position, content)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        if let Some(fault) = self.plan.next(Call::SyncFile, path) {
            if matches!(fault, Fault::Forget) {
                self.plan.forgotten.lock().insert(path.to_owned());
            }
            fault.refuse()?;
        }
        if self.plan.forgotten.lock().contains(path) {
            return Ok(());
        }
        self.inner.sync_file(path)
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        self.plan.pass(Call::Truncate, path)?;
        self.inner.truncate(path, len)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.plan.pass(Call::Rename, from)?;
        self.inner.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.plan.pass(Call::RemoveFile, path)?;
        self.inner.remove_file(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.plan.pass(Call::CreateDir, path)?;
        self.inner.create_dir(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.plan.pass(Call::RemoveDir, path)?;
        self.inner.remove_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.plan.pass(Call::SyncDir, path)?;
        self.inner.sync_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        self.plan.pass(Call::List, path)?;
        self.inner.list(path)
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        self.plan.pass(Call::Space, path)?;
        self.inner.space(path)
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        self.plan.pass(Call::Lock, path)?;
        self.inner.lock(path)
    }

    fn usage(&self) -> MapUsage {
        self.inner.usage()
    }
}
