//! The memory body of [`Disk`]: a file tree that tells what was written from what was synced, and can crash.
//!
//! A crash keeps what was synced and loses all, or a random part, of the rest: content by sectors or pages, entries of
//! folders by cutting each folder's history behind its last sync. The same calls and the same seed give the same bytes.
//!
//! Must not know: real files, record batches, who simulates what.

use std::collections::HashSet;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use super::{AppendFile, Disk, Entry, EntryKind, Growth, Lock, SealedFile, Space};

mod file;
mod folder;
#[cfg(test)]
mod tests;

use file::{Inode, MemoryAppend, MemorySealed, Usage};
use folder::{Change, FolderId, Folders, Node};

/// How many bytes a new [`MemoryDisk`] holds.
pub const DEFAULT_CAPACITY_BYTES: u64 = 1 << 40;

/// What a crash does to content and entries that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Everything that was not synced is gone.
    LoseUnsynced,
    /// Each unit of unsynced content and each folder's unsynced history survives or not, by a generator of this seed.
    Random {
        /// Seed of the generator.
        seed: u64,
        /// The unit in which content survives.
        unit: CrashUnit,
    },
    /// Everything is still there, as after `kill -9`; only handles and locks of before are dead.
    KeepAll,
}

/// The unit in which unsynced content survives a [`Crash::Random`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrashUnit {
    /// 512 bytes: what a drive writes whole.
    Sector,
    /// 4 KiB: what the page cache writes whole.
    Page,
}

impl CrashUnit {
    const fn bytes(self) -> usize {
        match self {
            Self::Sector => 512,
            Self::Page => 4096,
        }
    }
}

/// A disk in memory. A clone is the same disk.
#[derive(Clone, Debug)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
    /// The crash count with which the calls end that go through this handle; without one, they go on over crashes.
    until_crash: Option<u64>,
}

#[derive(Debug)]
struct State {
    folders: Folders,
    usage: Arc<Usage>,
    locks: Arc<Mutex<HashSet<PathBuf>>>,
    crashes: u64,
}

impl Default for MemoryDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryDisk {
    /// An empty disk of [`DEFAULT_CAPACITY_BYTES`].
    #[must_use]
    pub fn new() -> Self {
        let usage = Arc::new(Usage::new(DEFAULT_CAPACITY_BYTES));
        let state = State { folders: Folders::new(), usage, locks: Arc::default(), crashes: 0 };
        Self { state: Arc::new(Mutex::new(state)), until_crash: None }
    }

    /// The same disk, as a process has it that runs now: after the next crash each call fails, so that what is left of the
    /// process in a test does not write by name into the files of the one that comes after it.
    #[must_use]
    pub fn until_crash(&self) -> Self {
        let crashes = self.state.lock().crashes;
        Self { state: Arc::clone(&self.state), until_crash: Some(crashes) }
    }

    fn state(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state.lock();
        if self.until_crash.is_some_and(|crashes| crashes != state.crashes) {
            return Err(io::Error::other("the machine of this process has crashed"));
        }
        Ok(state)
    }

    /// Sets how many bytes the disk holds. Less than is used makes it full; nothing is lost.
    pub fn set_capacity(&self, bytes: u64) {
        self.state.lock().usage.set_capacity(bytes);
    }

    /// Pulls the plug. Handles of before go on with bytes of their own, which nobody else sees any more.
    pub fn crash(&self, crash: Crash) {
        let mut state = self.state.lock();
        let mut survival = Survival::new(crash);
        let usage = Arc::new(Usage::new(state.usage.capacity()));
        let folders = state.folders.survive(&mut survival, &usage);
        *state = State { folders, usage, locks: Arc::default(), crashes: state.crashes + 1 };
    }
}

/// Decides, in the order of the questions, what survives.
struct Survival {
    crash: Crash,
    random: u64,
}

impl Survival {
    fn new(crash: Crash) -> Self {
        let random = if let Crash::Random { seed, .. } = crash { seed } else { 0 };
        Self { crash, random }
    }

    /// SplitMix64: small, and the same on every machine and version.
    fn next(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }

    /// How many of `count` changes that happened one after the other survive.
    fn prefix(&mut self, count: usize) -> usize {
        match self.crash {
            Crash::LoseUnsynced => 0,
            Crash::KeepAll => count,
            Crash::Random { .. } => {
                let bound = u64::try_from(count).unwrap_or(u64::MAX).saturating_add(1);
                usize::try_from(self.next() % bound).unwrap_or(0)
            }
        }
    }

    /// What is left of a file. `cut` is its least length since `durable` was.
    fn content(&mut self, live: &[u8], durable: &[u8], cut: Option<usize>) -> Vec<u8> {
        let unit = match self.crash {
            Crash::LoseUnsynced => return durable.to_vec(),
            Crash::KeepAll => return live.to_vec(),
            Crash::Random { unit, .. } => unit.bytes(),
        };
        if live == durable {
            return live.to_vec();
        }
        let cut = cut.unwrap_or(usize::MAX);
        let mut content = durable.to_vec();
        // The length is either the new one, and with it the cut that came before, or still the old one; then what was
        // written behind the cut has no place in the file.
        let reach = if self.coin() {
            content.truncate(cut);
            content.resize(live.len(), 0);
            live.len()
        } else {
            live.len().min(cut)
        };
        for (index, piece) in content.chunks_mut(unit).enumerate() {
            let from = index * unit;
            let Some(new) = live.get(from..reach.min(from + piece.len())) else { break };
            if piece.get(..new.len()) != Some(new) && self.coin() {
                piece[..new.len()].copy_from_slice(new);
            }
        }
        content
    }
}

impl State {
    fn folder(&self, path: &Path) -> io::Result<FolderId> {
        let mut folder = Folders::ROOT;
        for name in names(path)? {
            folder = match self.folders.get(folder).live.get(name) {
                Some(Node::Folder(inner)) => *inner,
                Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
                None => return Err(io::ErrorKind::NotFound.into()),
            };
        }
        Ok(folder)
    }

    fn parent<'p>(&self, path: &'p Path) -> io::Result<(FolderId, &'p str)> {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or(io::ErrorKind::InvalidInput)?;
        let folder = self.folder(path.parent().unwrap_or(Path::new("")))?;
        Ok((folder, name))
    }

    fn file(&self, path: &Path) -> io::Result<Arc<Inode>> {
        let (folder, name) = self.parent(path)?;
        match self.folders.get(folder).live.get(name) {
            Some(Node::File(inode)) => Ok(Arc::clone(inode)),
            Some(Node::Folder(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn create_file(&mut self, path: &Path) -> io::Result<Arc<Inode>> {
        let inode = Arc::new(Inode::new(Arc::clone(&self.usage)));
        let (folder, name) = self.parent(path)?;
        let folder = self.folders.get_mut(folder);
        if folder.live.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        folder.change(Change::put(name, Node::File(Arc::clone(&inode))));
        Ok(inode)
    }

    fn file_or_new(&mut self, path: &Path) -> io::Result<Arc<Inode>> {
        match self.file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.create_file(path),
            found => found,
        }
    }

    /// Whether a rename of `node` may put it over what `target` names.
    fn check_target(&self, node: &Node, target: Option<&Node>) -> io::Result<()> {
        let refusal = match (node, target) {
            (_, None) | (Node::File(_), Some(Node::File(_))) => return Ok(()),
            (Node::File(_), Some(Node::Folder(_))) => io::ErrorKind::IsADirectory,
            (Node::Folder(_), Some(Node::File(_))) => io::ErrorKind::NotADirectory,
            (Node::Folder(_), Some(Node::Folder(target))) if self.folders.get(*target).live.is_empty() => return Ok(()),
            (Node::Folder(_), Some(Node::Folder(_))) => io::ErrorKind::DirectoryNotEmpty,
        };
        Err(refusal.into())
    }
}

/// The names that lead from the root to `path`. Relative paths begin at the root too.
fn names(path: &Path) -> io::Result<Vec<&str>> {
    let mut names = Vec::new();
    for part in path.components() {
        match part {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => names.push(name.to_str().ok_or(io::ErrorKind::InvalidInput)?),
            Component::ParentDir | Component::Prefix(_) => return Err(io::ErrorKind::InvalidInput.into()),
        }
    }
    Ok(names)
}

/// Frees a memory lock when dropped.
#[derive(Debug)]
struct HeldLock {
    path: PathBuf,
    locks: Arc<Mutex<HashSet<PathBuf>>>,
}

impl Drop for HeldLock {
    fn drop(&mut self) {
        self.locks.lock().remove(&self.path);
    }
}

impl Disk for MemoryDisk {
    fn create_append(&self, path: &Path, growth: Growth) -> io::Result<Box<dyn AppendFile>> {
        let inode = self.state()?.create_file(path)?;
        Ok(Box::new(MemoryAppend::open(inode, 0, growth)))
    }

    fn open_append(&self, path: &Path, len: u64, growth: Growth) -> io::Result<Box<dyn AppendFile>> {
        let inode = self.state()?.file(path)?;
        if inode.len() < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // What lies behind is cut here and zeroed by the next `prepare`.
        inode.set_len(len)?;
        Ok(Box::new(MemoryAppend::open(inode, len, growth)))
    }

    fn open_sealed(&self, path: &Path) -> io::Result<Arc<dyn SealedFile>> {
        let inode = self.state()?.file(path)?;
        let len = inode.len();
        Ok(Arc::new(MemorySealed::open(inode, len)?))
    }

    fn open_front(&self, path: &Path, len: u64) -> io::Result<Arc<dyn SealedFile>> {
        Ok(Arc::new(MemorySealed::open(self.state()?.file(path)?, len)?))
    }

    fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let inode = self.state()?.file(path)?;
        if inode.len() > limit {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(inode.content())
    }

    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        let mut state = self.state()?;
        let (folder, name) = state.parent(path)?;
        let inode = Arc::new(Inode::new(Arc::clone(&state.usage)));
        let node = Node::File(Arc::clone(&inode));
        let old = state.folders.get(folder).live.get(name).cloned();
        state.check_target(&node, old.as_ref())?;
        if let Err(error) = inode.write_at(0, content) {
            inode.unlink();
            return Err(error);
        }
        inode.sync_all();
        let folder = state.folders.get_mut(folder);
        folder.change(Change::put(name, node));
        folder.sync();
        if let Some(Node::File(old)) = old {
            old.unlink();
        }
        Ok(())
    }

    fn write_at(&self, path: &Path, position: u64, content: &[u8]) -> io::Result<()> {
        let inode = self.state()?.file_or_new(path)?;
        inode.write_at(position, content)
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.state()?.file(path)?.sync_all();
        Ok(())
    }

    fn truncate(&self, path: &Path, len: u64) -> io::Result<()> {
        let inode = self.state()?.file(path)?;
        if inode.len() < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        inode.set_len(len)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state()?;
        let (from_folder, from_name) = state.parent(from)?;
        let node = state.folders.get(from_folder).live.get(from_name).cloned().ok_or(io::ErrorKind::NotFound)?;
        if names(to)? == names(from)? {
            return Ok(());
        }
        let (to_folder, to_name) = state.parent(to)?;
        if from_folder != to_folder {
            return Err(io::ErrorKind::CrossesDevices.into());
        }
        let old = state.folders.get(to_folder).live.get(to_name).cloned();
        state.check_target(&node, old.as_ref())?;
        if let Some(Node::File(old)) = old {
            old.unlink();
        }
        state.folders.get_mut(to_folder).change(Change::moved(from_name, to_name, node));
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state()?;
        let inode = state.file(path)?;
        let (folder, name) = state.parent(path)?;
        state.folders.get_mut(folder).change(Change::remove(name));
        inode.unlink();
        Ok(())
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state()?;
        let mut folder = Folders::ROOT;
        for name in names(path)? {
            folder = match state.folders.get(folder).live.get(name) {
                Some(Node::Folder(inner)) => *inner,
                Some(Node::File(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
                None => {
                    let inner = state.folders.add();
                    state.folders.get_mut(folder).change(Change::put(name, Node::Folder(inner)));
                    inner
                }
            };
        }
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state()?;
        let removed = state.folder(path)?;
        let (folder, name) = state.parent(path)?;
        state.folders.get_mut(folder).change(Change::remove(name));
        state.folders.unlink_all(removed);
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state()?;
        let folder = state.folder(path)?;
        state.folders.get_mut(folder).sync();
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<Entry>> {
        let state = self.state()?;
        let folder = state.folder(path)?;
        let entry = |(name, node): (&String, &Node)| {
            let (kind, len) = match node {
                Node::File(inode) => (EntryKind::File, inode.len()),
                Node::Folder(_) => (EntryKind::Folder, 0),
            };
            Entry { path: path.join(name), name: name.clone(), kind, len }
        };
        Ok(state.folders.get(folder).live.iter().map(entry).collect())
    }

    fn space(&self, path: &Path) -> io::Result<Space> {
        let state = self.state()?;
        state.folder(path)?;
        Ok(state.usage.space())
    }

    fn lock(&self, path: &Path) -> io::Result<Lock> {
        let mut state = self.state()?;
        state.file_or_new(path)?;
        let locks = Arc::clone(&state.locks);
        if !locks.lock().insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Lock::new(HeldLock { path: path.to_owned(), locks }))
    }
}
