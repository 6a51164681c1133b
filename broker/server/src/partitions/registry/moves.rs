//! Partitions that move from one log dir to another while they are served (AlterReplicaLogDirs).
//!
//! ```text
//!   Waiting -> Copying -> Over        the copy is begun, gets on piece by piece, and takes the log's place, or is dropped
//! ```
//!
//! A piece is copied under the lock of its move, so that who deletes the topic or wants the partition elsewhere waits for one piece,
//! and then the copy is gone. The note in `log-dir-assignments` that the partition lies in the new dir is the moment of the move:
//! before it the log counts, after it the copy, whatever a crash leaves. What a stop interrupts begins anew at the next start.
//!
//! Must not know: threads, pace.

mod finish;

use std::collections::BTreeMap;
use std::sync::Arc;

use cairn_metadata::{Image, Topic};
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::{PartitionIndex, TopicId};
use cairn_storage::log::{CopyError, LogCopy, LogName};
use parking_lot::Mutex;
use tokio::sync::Notify;

use self::finish::{Finished, discard, finish};
use super::{NotHere, Partitions, Place};
use crate::clock;
use crate::partitions::dirs::LogDirs;
use crate::partitions::{DirAt, Partition};

/// So much is copied at a time.
const PIECE_BYTES: u64 = 1 << 20;
/// A copy is made durable whenever it has so much that is not.
const SYNC_EVERY_BYTES: u64 = 8 << 20;
/// With no more than this to copy since its last sync a copy is nearly whole.
const LAST_PIECE_BYTES: u64 = 256 << 10;

/// Which partition.
pub(super) type Id = (TopicId, PartitionIndex);

/// All moves of this broker.
#[derive(Debug, Default)]
pub(crate) struct Moves {
    wanted: Mutex<BTreeMap<Id, Arc<Move>>>,
    /// Something was added.
    pub(in crate::partitions) added: Notify,
}

/// One partition on its way.
#[derive(Debug)]
pub(crate) struct Move {
    pub(in crate::partitions) partition: Arc<Partition>,
    pub(in crate::partitions) to: DirAt,
    stage: Mutex<Stage>,
    /// Somebody is at it.
    taken: Mutex<bool>,
}

#[derive(Debug)]
enum Stage {
    Waiting,
    Copying(Box<LogCopy>),
    Over,
}

/// What one step of a move did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::partitions) enum Step {
    /// So many bytes were copied.
    Copied(u64),
    /// It has to wait for others: come again.
    Waits,
    /// The partition lies in the new dir.
    Done,
    /// It is not wanted any more.
    Dropped,
}

/// A copy as DescribeLogDirs tells of it.
#[derive(Clone, Debug)]
pub(crate) struct FutureLog {
    pub(crate) topic: Arc<str>,
    pub(crate) index: PartitionIndex,
    pub(crate) dir: DirAt,
    pub(crate) size_bytes: u64,
    /// How far it is behind the log.
    pub(crate) lag: i64,
}

/// A partition is not moved.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum MoveRefused {
    #[error("the topic's name is too long for the folder of a copy")]
    NameTooLong,
    #[error("no log dir has this path")]
    UnknownDir,
    #[error("the log dir is offline")]
    DirOffline,
    #[error("the log dir is cordoned")]
    DirCordoned,
    #[error(transparent)]
    NotHere(#[from] NotHere),
}

impl MoveRefused {
    /// What a client is told.
    pub(crate) fn error_code(&self) -> ErrorCode {
        match self {
            Self::NameTooLong => ErrorCode::InvalidTopicException,
            Self::UnknownDir => ErrorCode::LogDirNotFound,
            Self::DirOffline => ErrorCode::KafkaStorageError,
            Self::DirCordoned => ErrorCode::InvalidReplicaAssignment,
            Self::NotHere(not_here) => not_here.error_code(),
        }
    }
}

impl Moves {
    /// A move that nobody is at, which is the caller's from now on.
    pub(in crate::partitions) fn take(&self) -> Option<Arc<Move>> {
        let wanted = self.wanted.lock();
        wanted.values().find(|one| !std::mem::replace(&mut *one.taken.lock(), true)).cloned()
    }

    /// How many there are.
    pub(in crate::partitions) fn count(&self) -> usize {
        self.wanted.lock().len()
    }

    fn remove(&self, one: &Move) {
        let mut wanted = self.wanted.lock();
        let id = one.id();
        if wanted.get(&id).is_some_and(|there| std::ptr::eq(&**there, one)) {
            wanted.remove(&id);
        }
    }

    /// All copies are let go as they are: the broker stops.
    pub(super) fn stop(&self) {
        let all = std::mem::take(&mut *self.wanted.lock());
        for one in all.into_values() {
            *one.stage.lock() = Stage::Over;
        }
    }
}

impl Move {
    /// Whether there is nothing more to do.
    pub(in crate::partitions) fn is_over(&self) -> bool {
        matches!(*self.stage.lock(), Stage::Over)
    }

    fn id(&self) -> Id {
        (self.partition.topic_id, self.partition.index)
    }
}

impl Partitions {
    /// All moves.
    pub(crate) fn moves(&self) -> &Moves {
        &self.moves
    }

    /// Has a partition move to the log dir at this path, or stay there and give up a move to another one. Blocks.
    pub(crate) fn move_to(&self, topic: &str, index: PartitionIndex, path: &str) -> Result<(), MoveRefused> {
        if LogName::new(topic, index).is_ok_and(|name| !name.can_move()) {
            return Err(MoveRefused::NameTooLong);
        }
        let dirs = self.dirs.read();
        let dirs = dirs.as_ref().ok_or(MoveRefused::DirOffline)?;
        let to = dirs.find(path).ok_or(MoveRefused::UnknownDir)?;
        if dirs.get(to).online().is_err() {
            return Err(MoveRefused::DirOffline);
        }
        if dirs.get(to).is_cordoned() {
            return Err(MoveRefused::DirCordoned);
        }
        let partition = self.kept_by_name(topic, index)?;
        if dirs.get(partition.log_dir()).online().is_err() {
            return Err(MoveRefused::DirOffline);
        }
        self.give_up(dirs, &partition, Some(to));
        if partition.log_dir() != to {
            self.add(dirs, &partition, to);
        }
        Ok(())
    }

    fn add(&self, dirs: &LogDirs, partition: &Arc<Partition>, to: DirAt) {
        let new = Arc::new(Move {
            partition: Arc::clone(partition),
            to,
            stage: Mutex::new(Stage::Waiting),
            taken: Mutex::new(false),
        });
        {
            let mut wanted = self.moves.wanted.lock();
            if wanted.contains_key(&new.id()) {
                return;
            }
            wanted.insert(new.id(), Arc::clone(&new));
        }
        dirs.count_in(to);
        // Deleted before it could be seen here: then it is seen now.
        if !self.is_served(partition) {
            self.give_up(dirs, partition, None);
        }
        self.moves.added.notify_one();
    }

    fn is_served(&self, partition: &Arc<Partition>) -> bool {
        self.kept_by_id(partition.topic_id, partition.index).is_ok_and(|there| Arc::ptr_eq(&there, partition))
    }

    /// Gives up the move of a partition, unless it is one to `but`. When this returns nothing of the copy is left.
    pub(super) fn give_up(&self, dirs: &LogDirs, partition: &Partition, but: Option<DirAt>) {
        let one = {
            let mut wanted = self.moves.wanted.lock();
            let id = (partition.topic_id, partition.index);
            match wanted.get(&id) {
                Some(there) if but != Some(there.to) => wanted.remove(&id),
                _ => None,
            }
        };
        let Some(one) = one else { return };
        let stage = std::mem::replace(&mut *one.stage.lock(), Stage::Over);
        if !matches!(stage, Stage::Over) {
            dirs.count_out(one.to);
            partition.end_move();
        }
        if let Stage::Copying(copy) = stage {
            discard(partition, *copy);
            tracing::info!(
                topic = &*partition.topic,
                partition = partition.index.0,
                "move to another log dir given up"
            );
        }
    }

    /// The copies that are made. One that has become its partition's log is none any more, also while the log before it is removed.
    pub(crate) fn future_logs(&self) -> Vec<FutureLog> {
        let all: Vec<_> = self.moves.wanted.lock().values().cloned().collect();
        let told = all.iter().filter(|one| one.partition.log_dir() != one.to).map(|one| {
            // A piece that is being copied is not waited for.
            let reader = match one.stage.try_lock().as_deref() {
                Some(Stage::Copying(copy)) => Some(copy.reader()),
                _ => None,
            };
            let copied = reader.as_ref().map_or(one.partition.reader().start_offset(), |reader| reader.end_offset());
            FutureLog {
                topic: Arc::clone(&one.partition.topic),
                index: one.partition.index,
                dir: one.to,
                size_bytes: reader.map_or(0, |reader| reader.size_bytes()),
                lag: (one.partition.reader().end_offset().0 - copied.0).max(0),
            }
        });
        told.collect()
    }

    /// Moves that a stop has interrupted begin anew. Blocks.
    pub(super) fn resume_moves(&self, dirs: &LogDirs, image: &Image) {
        let topic_of = |name: &LogName| image.topic_by_name(name.topic());
        let is_lost = |name: &LogName| topic_of(name).is_some_and(|topic| self.is_offline(topic.id, name.partition()));
        for (at, dir) in dirs.online() {
            let left = match dir.remove_copies(is_lost) {
                Ok(left) => left,
                Err(offline) => {
                    tracing::error!(%offline, "copies of partitions not removed");
                    continue;
                }
            };
            for name in left {
                let Ok(partition) = self.kept_by_name(name.topic(), name.partition()) else { continue };
                if partition.log_dir() != at {
                    tracing::info!(folder = %name, to = %dirs.get(at).path.display(), "move to another log dir begins anew");
                    self.add(dirs, &partition, at);
                }
            }
        }
    }

    /// The next step of a move. Blocks.
    pub(in crate::partitions) fn step(&self, one: &Move) -> Result<Step, CopyError> {
        let dirs = self.dirs.read();
        let Some(dirs) = &*dirs else { return Ok(Step::Dropped) };
        let from = dirs.get(one.partition.log_dir());
        if !self.is_served(&one.partition) || from.online().is_err() {
            self.give_up(dirs, &one.partition, None);
            return Ok(Step::Dropped);
        }
        let mut stage = one.stage.lock();
        let copy = match &mut *stage {
            Stage::Over => return Ok(Step::Dropped),
            Stage::Waiting if !one.partition.begin_move() => return Ok(Step::Waits),
            Stage::Waiting => {
                *stage = Stage::Copying(Box::new(begin(dirs, one)?));
                return Ok(Step::Copied(0));
            }
            Stage::Copying(copy) => copy,
        };
        let Some(state) = one.partition.log_state() else { return Ok(Step::Dropped) };
        let copied = copy.advance(state.end, PIECE_BYTES, clock::now())?;
        if copy.unsynced_bytes() >= SYNC_EVERY_BYTES {
            copy.sync()?;
        }
        if copied > LAST_PIECE_BYTES || copy.end_offset() < state.end {
            return Ok(Step::Copied(copied));
        }
        let Stage::Copying(copy) = std::mem::replace(&mut *stage, Stage::Over) else { unreachable!("it was copying") };
        match finish(dirs, one, copy) {
            Ok(Finished::Behind(copy)) => {
                *stage = Stage::Copying(copy);
                Ok(Step::Waits)
            }
            Ok(Finished::Moved) => {
                drop(stage);
                self.moves.remove(one);
                Ok(Step::Done)
            }
            Ok(Finished::Gone) => {
                dirs.count_out(one.to);
                Ok(Step::Dropped)
            }
            Ok(Finished::InDoubt(error)) => {
                self.in_doubt.lock().push((one.id(), error.to_string().into()));
                Err(error)
            }
            Err(error) => {
                dirs.count_out(one.to);
                Err(error)
            }
        }
    }

    /// A move cannot go on; its partition stays where it is.
    pub(in crate::partitions) fn fail_move(&self, one: &Move) {
        if let Some(dirs) = &*self.dirs.read() {
            self.give_up(dirs, &one.partition, None);
        }
        one.partition.end_move();
    }

    /// Takes partitions offline of which nobody knows in which of two dirs the newer log is. Only with `carried` held.
    pub(super) fn drop_doubtful(&self) {
        for ((topic, index), why) in std::mem::take(&mut *self.in_doubt.lock()) {
            let why = format!("it was moving to another log dir when the note of that failed: {why}");
            tracing::error!(%topic, partition = index.0, why, "partition is offline");
            self.put_by_id(topic, index, Place::Offline(why.into()));
        }
    }
}

/// An empty copy. What lies by its name in the new dir and is another topic's is set aside.
fn begin(dirs: &LogDirs, one: &Move) -> Result<LogCopy, CopyError> {
    let partition = &one.partition;
    let name = LogName::new(&partition.topic, partition.index).map_err(|_| CopyError::InTheWay)?;
    let dir = dirs.opened(one.to).ok_or(CopyError::InTheWay)?;
    let there = dir.topic_id_of(&name);
    if there != partition.topic_id
        && !there.is_zero()
        && let Some(stray) = dir.set_aside_folder(&name)?
    {
        tracing::warn!(folder = %name, %there, stray, "folder of another topic set aside");
    }
    let config = partition.settings().log.clone();
    dir.begin_copy(&name, partition.topic_id, config, &partition.reader())
}

impl Partitions {
    /// Puts another place where one is. Only with `carried` held, as all that changes places.
    pub(super) fn put(&self, topic: &Topic, index: PartitionIndex, place: Place) {
        self.put_by_id(topic.id, index, place);
    }

    fn put_by_id(&self, topic: TopicId, index: PartitionIndex, place: Place) {
        let by_id = self.by_id.pin();
        let Some(held) = by_id.get(&topic) else { return };
        let mut places = Vec::clone(&held.places.load());
        if let Some(old) = usize::try_from(index.0).ok().and_then(|at| places.get_mut(at)) {
            *old = place;
            held.places.store(Arc::new(places));
        }
    }
}
