//! A bounded set of open descriptors: files that were not used for longest are closed, and opened again when needed.
//!
//! Must not know: what is done with a file.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::disk::files::{self, Identity, Patience};

/// Names a file within [`Descriptors`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FileKey(u64);

#[derive(Debug)]
pub(super) struct Descriptors {
    max: usize,
    next_key: AtomicU64,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    files: HashMap<FileKey, (u64, Arc<File>)>,
    /// By the time of the last use, which is counted in uses.
    order: BTreeMap<u64, FileKey>,
    clock: u64,
}

impl Descriptors {
    pub(super) fn new(max: usize) -> Self {
        Self { max: max.max(1), next_key: AtomicU64::new(0), open: Mutex::default() }
    }

    pub(super) fn count(&self) -> usize {
        self.open.lock().files.len()
    }

    pub(super) fn key(&self) -> FileKey {
        FileKey(self.next_key.fetch_add(1, Ordering::Relaxed))
    }

    /// The file of `key`: open still, or opened again at `path` as the one of `identity`.
    pub(super) fn get(
        &self,
        key: FileKey,
        path: &Path,
        identity: Identity,
        patience: Patience,
    ) -> io::Result<Arc<File>> {
        if let Some(file) = self.open.lock().touch(key) {
            return Ok(file);
        }
        let (file, _) = files::reopen(path, identity, OpenOptions::new().read(true).write(true), patience)?;
        let file = Arc::new(file);
        let closed = self.open.lock().insert(key, Arc::clone(&file), self.max);
        // Closing may take a while, so it happens outside the lock.
        drop(closed);
        Ok(file)
    }

    pub(super) fn forget(&self, key: FileKey) {
        let closed = self.open.lock().remove(key);
        drop(closed);
    }
}

impl Open {
    fn touch(&mut self, key: FileKey) -> Option<Arc<File>> {
        let (used, file) = self.files.get_mut(&key)?;
        self.order.remove(used);
        self.clock += 1;
        *used = self.clock;
        self.order.insert(self.clock, key);
        Some(Arc::clone(file))
    }

    /// Answers who had to go.
    fn insert(&mut self, key: FileKey, file: Arc<File>, max: usize) -> Vec<Arc<File>> {
        let mut closed: Vec<Arc<File>> = self.remove(key).into_iter().collect();
        while self.files.len() >= max {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            closed.extend(self.files.remove(&oldest).map(|(_, file)| file));
        }
        self.clock += 1;
        self.order.insert(self.clock, key);
        self.files.insert(key, (self.clock, file));
        closed
    }

    fn remove(&mut self, key: FileKey) -> Option<Arc<File>> {
        let (used, file) = self.files.remove(&key)?;
        self.order.remove(&used);
        Some(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_last_used_and_opens_the_others_again() {
        let folder = tempfile::tempdir().unwrap();
        let descriptors = Descriptors::new(2);
        let files: Vec<_> = (0..3)
            .map(|n| {
                let path = folder.path().join(n.to_string());
                std::fs::write(&path, [n]).unwrap();
                let identity = Identity::of(&std::fs::metadata(&path).unwrap());
                (descriptors.key(), path, identity)
            })
            .collect();
        let get = |n: usize| descriptors.get(files[n].0, &files[n].1, files[n].2, Patience::Waits).unwrap();
        let (first, _) = (get(0), get(1));
        assert!(Arc::ptr_eq(&first, &get(0)));
        get(2);
        assert_eq!(descriptors.count(), 2);
        assert!(Arc::ptr_eq(&first, &get(0)), "1 was used longest ago, so it had to go");
        let other = folder.path().join("other");
        std::fs::write(&other, b"another").unwrap();
        std::fs::rename(&other, &files[1].1).unwrap();
        let error = descriptors.get(files[1].0, &files[1].1, files[1].2, Patience::Waits).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound, "another file has the name now");
        descriptors.forget(files[0].0);
        assert!(!Arc::ptr_eq(&first, &get(0)));
    }
}
