//! The log dirs of this broker: which of them serve, how many partitions each has, and what is noted of where partitions lie.
//!
//! Partitions are found where they lie. What is noted, in the dir of the metadata, is asked for those that are not found, or
//! found twice.
//!
//! Must not know: how partitions are opened and moved, requests.

mod open;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cairn_metadata::BrokerEpoch;
use cairn_protocol::ids::{PartitionIndex, TopicId};
use cairn_storage::DataDir;
use cairn_storage::dir::{Assignments, Closed, DirOffline, ReplaceError, SpaceState};
use parking_lot::Mutex;
use uuid::Uuid;

pub use self::open::OpenLogDirsError;
use crate::config::Cordoned;

/// Which log dir, by its place in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct DirAt(pub(super) usize);

/// All log dirs of this broker.
#[derive(Debug)]
pub(crate) struct LogDirs {
    /// In the order of the configuration.
    dirs: Vec<LogDir>,
    /// The dir of the metadata's log, usually one of them: without it there is no broker.
    metadata: Arc<DataDir>,
    noted: Mutex<Noted>,
    /// How many partitions each has.
    filling: Mutex<Vec<usize>>,
}

/// One log dir.
#[derive(Debug)]
pub(crate) struct LogDir {
    /// Absolute, as clients name it.
    pub(crate) path: PathBuf,
    /// Or why it could not be opened.
    opened: Result<Arc<DataDir>, Arc<str>>,
    /// It takes no new partitions.
    cordoned: AtomicBool,
}

/// What is noted of where partitions lie.
#[derive(Debug, Default)]
struct Noted {
    assignments: Assignments,
    /// What was noted before could not be read.
    is_damaged: bool,
    /// It has changed since it was written.
    is_changed: bool,
    /// There are several dirs, or there once were.
    is_wanted: bool,
}

/// Where a partition has to lie, as far as anybody has noted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Assigned {
    /// Nobody has.
    Nowhere,
    /// In this one, which serves.
    Online(DirAt),
    /// In one that does not serve now.
    Offline(Box<str>),
    /// In one that is none of the log dirs any more.
    Gone(Box<str>),
}

/// A log dir as it is now.
#[derive(Clone, Debug)]
pub(crate) struct DirLook {
    pub(crate) at: DirAt,
    pub(crate) path: PathBuf,
    /// Or why it does not serve.
    pub(crate) space: Result<SpaceState, Arc<str>>,
    /// It takes no new partitions.
    pub(crate) is_cordoned: bool,
}

impl LogDir {
    /// The directory, or why it does not serve.
    pub(crate) fn online(&self) -> Result<&Arc<DataDir>, Arc<str>> {
        let dir = self.opened.as_ref().map_err(Arc::clone)?;
        match dir.failure() {
            None => Ok(dir),
            Some(offline) => Err(offline.to_string().into()),
        }
    }

    /// Whether it takes no new partitions.
    pub(super) fn is_cordoned(&self) -> bool {
        self.cordoned.load(Ordering::Acquire)
    }
}

impl LogDirs {
    /// All of them, whether they serve or not.
    pub(super) fn all(&self) -> impl Iterator<Item = (DirAt, &LogDir)> {
        self.dirs.iter().enumerate().map(|(at, dir)| (DirAt(at), dir))
    }

    /// Those that serve.
    pub(super) fn online(&self) -> impl Iterator<Item = (DirAt, &Arc<DataDir>)> {
        self.all().filter_map(|(at, dir)| Some((at, dir.online().ok()?)))
    }

    pub(super) fn get(&self, at: DirAt) -> &LogDir {
        &self.dirs[at.0]
    }

    /// The directory, also when it has failed; none when it could not be opened.
    pub(super) fn opened(&self, at: DirAt) -> Option<&Arc<DataDir>> {
        self.dirs[at.0].opened.as_ref().ok()
    }

    /// The dir that a client names.
    pub(super) fn find(&self, path: &str) -> Option<DirAt> {
        self.all().find(|(_, dir)| dir.path.as_os_str() == path).map(|(at, _)| at)
    }

    /// Whether all else depends on it: the metadata's log is there.
    pub(super) fn is_essential(&self, at: DirAt) -> bool {
        self.opened(at).is_some_and(|dir| Arc::ptr_eq(dir, &self.metadata))
    }

    /// Whether there is only one: then there is no question where anything lies.
    pub(super) fn is_single(&self) -> bool {
        self.dirs.len() == 1 && !self.noted.lock().is_wanted
    }

    /// Says which of them take no new partitions from now on.
    pub(super) fn cordon(&self, cordoned: &Cordoned) {
        for dir in &self.dirs {
            dir.cordoned.store(cordoned.contains(&dir.path), Ordering::Release);
        }
    }

    /// Whether none that serves takes new partitions.
    pub(super) fn are_all_cordoned(&self) -> bool {
        self.online().all(|(at, _)| self.get(at).is_cordoned())
    }

    /// What the cluster is told of the dirs that serve.
    pub(crate) fn storage_ids(&self) -> Vec<Uuid> {
        self.online().map(|(_, dir)| dir.storage_id()).collect()
    }

    /// How full and how well each is.
    pub(super) fn look(&self) -> Vec<DirLook> {
        let space = |dir: &LogDir| dir.online()?.refresh_space().map_err(|offline| offline.to_string().into());
        let look = |(at, dir): (DirAt, &LogDir)| DirLook {
            at,
            path: dir.path.clone(),
            space: space(dir),
            is_cordoned: dir.is_cordoned(),
        };
        self.all().map(look).collect()
    }

    /// The dir for a new partition, which counts from now on: the one with the fewest, of those with room, as Kafka chooses.
    /// `tried` found no room. One that is cordoned is taken only where all are, and the partition is to be here all the same.
    pub(super) fn claim(&self, tried: &BTreeSet<DirAt>) -> Option<DirAt> {
        let mut filling = self.filling.lock();
        let no_other = self.are_all_cordoned();
        let is_free = |at: &DirAt| !tried.contains(at) && (no_other || !self.get(*at).is_cordoned());
        let free = self.online().filter(|(at, _)| is_free(at));
        let (chosen, _) = free.min_by_key(|(at, dir)| (dir.space().is_below_reserve(), filling[at.0]))?;
        filling[chosen.0] += 1;
        Some(chosen)
    }

    /// A partition was found in this dir, or came to it.
    pub(super) fn count_in(&self, at: DirAt) {
        self.filling.lock()[at.0] += 1;
    }

    /// A partition is no longer in this dir.
    pub(super) fn count_out(&self, at: DirAt) {
        let mut filling = self.filling.lock();
        filling[at.0] = filling[at.0].saturating_sub(1);
    }

    /// Where a partition has to lie.
    pub(super) fn assigned(&self, topic: TopicId, index: PartitionIndex) -> Assigned {
        let noted = self.noted.lock();
        let Some(id) = noted.assignments.logs.get(&(topic, index)) else { return Assigned::Nowhere };
        let path = noted.assignments.dirs.get(id).cloned().unwrap_or_default();
        let has_id = |dir: &LogDir| dir.opened.as_ref().is_ok_and(|dir| dir.storage_id() == *id);
        match self.all().find(|(_, dir)| has_id(dir)) {
            Some((at, dir)) if dir.online().is_ok() => Assigned::Online(at),
            Some(_) => Assigned::Offline(path),
            // A dir that could not be opened does not say who it is.
            None if self.dirs.iter().any(|dir| dir.opened.is_err() && dir.path.to_string_lossy() == *path) => {
                Assigned::Offline(path)
            }
            None => Assigned::Gone(path),
        }
    }

    /// Whether a partition that is nowhere may be in a dir that does not serve, for all that is known.
    pub(super) fn is_in_doubt(&self) -> bool {
        self.noted.lock().is_damaged && self.online().count() < self.dirs.len()
    }

    /// Takes note of where a partition lies; durable with the next [`Self::note`].
    pub(super) fn assign(&self, topic: TopicId, index: PartitionIndex, at: DirAt) {
        let Some(id) = self.opened(at).map(|dir| dir.storage_id()) else { return };
        let mut noted = self.noted.lock();
        if noted.assignments.logs.insert((topic, index), id) != Some(id) {
            noted.is_changed = true;
        }
    }

    /// Notes, durably, that a partition lies in another dir: from here on its log there counts.
    ///
    /// # Errors
    /// On a full disk it is noted where it was. When the disk fails nobody knows where.
    pub(super) fn commit(&self, topic: TopicId, index: PartitionIndex, to: DirAt) -> Result<(), ReplaceError> {
        let mut noted = self.noted.lock();
        let Some(id) = self.opened(to).map(|dir| dir.storage_id()) else { return Err(ReplaceError::DiskFull) };
        let before = noted.assignments.logs.insert((topic, index), id);
        match self.metadata.write_assignments(&noted.assignments) {
            Ok(()) => {
                noted.is_changed = false;
                Ok(())
            }
            Err(error) => {
                match before {
                    Some(before) => noted.assignments.logs.insert((topic, index), before),
                    None => noted.assignments.logs.remove(&(topic, index)),
                };
                Err(error)
            }
        }
    }

    /// A partition is not to lie in any of them any more; durable with the next [`Self::note`].
    pub(super) fn forget_one(&self, topic: TopicId, index: PartitionIndex) {
        let mut noted = self.noted.lock();
        noted.is_changed |= noted.assignments.logs.remove(&(topic, index)).is_some();
    }

    /// A topic is no more.
    pub(super) fn forget(&self, topic: TopicId) {
        let mut noted = self.noted.lock();
        let of_topic = (topic, PartitionIndex(0))..=(topic, PartitionIndex(i32::MAX));
        let gone: Vec<_> = noted.assignments.logs.range(of_topic).map(|(key, _)| *key).collect();
        noted.is_changed |= !gone.is_empty();
        for key in gone {
            noted.assignments.logs.remove(&key);
        }
    }

    /// Has each dir know which logs it has: one that is missing later is lost, and not to be made. And notes where partitions
    /// lie. Blocks.
    pub(super) fn note(&self) {
        for (_, dir) in self.online() {
            if let Err(error) = dir.write_checkpoint() {
                tracing::error!(%error, "logs not noted");
            }
        }
        if let Err(error) = self.write_assignments() {
            tracing::error!(%error, "log dirs of partitions not noted");
        }
    }

    fn write_assignments(&self) -> Result<(), ReplaceError> {
        let mut noted = self.noted.lock();
        if !noted.is_wanted || !noted.is_changed {
            return Ok(());
        }
        self.metadata.write_assignments(&noted.assignments)?;
        noted.is_changed = false;
        noted.is_damaged = false;
        Ok(())
    }

    /// Does `work` with each dir that serves, until it fails in one.
    pub(super) fn each<E>(&self, mut work: impl FnMut(&DataDir) -> Result<(), E>) -> Result<(), E> {
        self.online().try_for_each(|(_, dir)| work(dir))
    }

    /// Closes all in good order, as this incarnation. Blocks.
    pub(super) fn close(self, incarnation: BrokerEpoch) {
        let Self { dirs, metadata, .. } = self;
        let mut open: Vec<Arc<DataDir>> = dirs.into_iter().filter_map(|dir| dir.opened.ok()).collect();
        if !open.iter().any(|dir| Arc::ptr_eq(dir, &metadata)) {
            open.push(Arc::clone(&metadata));
        }
        drop(metadata);
        for dir in open {
            let path = dir.path().to_owned();
            // Nobody else has it by now but who has forgotten to let it go.
            let Some(dir) = Arc::into_inner(dir) else { continue };
            match dir.close_as(Some(incarnation.0)) {
                Ok(Closed::Clean) => {}
                Ok(Closed::Unclean { left_open }) => {
                    tracing::warn!(path = %path.display(), left_open, "data directory closed with open logs");
                }
                Err(error) => tracing::error!(path = %path.display(), %error, "data directory not closed well"),
            }
        }
    }
}

/// What is asked of a broker that has stopped.
pub(super) fn stopped(path: &Path) -> DirOffline {
    DirOffline { path: path.to_owned(), cause: "the broker has stopped".into() }
}
