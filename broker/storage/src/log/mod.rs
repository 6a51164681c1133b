//! One partition's log: a list of segments that one writer lengthens and any number of readers read.
//!
//! ```text
//!   start_offset            durable_end   end_offset
//!   | segment | segment | segment (active) |
//!   | readable                             | the next record's
//!   | on disk for certain   | in the page cache: survives the process, not the machine
//! ```
//!
//! [`Log`] is the writing side, owned by one caller; [`LogReader`] the reading side; [`SyncJob`] makes durable what was
//! appended, outside the caller's lock. A log is its own record format's keeper: batches go in as they were checked, get
//! base offset and leader epoch, and lie on disk as they go out.
//!
//! Must not know: requests, who leads, when to sync, other logs.

mod absent;
mod active;
mod ahead;
mod append;
mod batch;
mod close;
mod compact;
mod config;
mod copy;
mod create;
mod dead_tail;
mod delete;
mod epoch_check;
mod epochs;
mod error;
mod foundation;
mod holes;
mod index;
mod layout;
mod mend;
mod producers;
mod reader;
mod recover;
mod recovery_scan;
mod refused;
mod replay;
mod roll;
mod segment;
mod snapshot;
mod sync;
mod tail;
mod times;
mod truncate;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use cairn_protocol::ids::{LeaderEpoch, Offset, Timestamp, TopicId};
use parking_lot::Mutex;

use self::active::Active;
pub use self::append::{AppendAs, Appended, Outcome};
pub use self::batch::BadBatch;
pub(crate) use self::batch::{HEADER_BYTES as BATCH_HEADER_BYTES, Stored};
pub use self::close::DeletedLog;
pub(crate) use self::close::take_out;
pub use self::compact::{
    Cleanable, CompactError, Compaction, CompactionStats, MapMemory, Pacing, Prospect, Rewritten, Stale, Stopped,
    SwapJob,
};
pub use self::config::{Cleanup, Durability, LogConfig};
pub use self::copy::{CopyError, Level, LogCopy, LogState};
pub(crate) use self::create::{Founded, create};
use self::dead_tail::DeadTail;
pub use self::delete::{Maintained, Removal};
use self::epochs::Assigned;
pub use self::epochs::{EpochEnd, EpochHistory, EpochOrderError, EpochStart};
pub use self::error::{AppendError, AssignEpochError, CreateLogError, DeleteRecordsError, OpenLogError, TruncateError};
pub(crate) use self::foundation::{Foundation, parse_topic_id, read_topic_id};
pub use self::holes::Hole;
pub(crate) use self::index::{Entry as IndexEntry, OffsetEntry, TimeEntry, count_entries};
pub use self::layout::{FileKind, LogName, LogNameError, TOPIC_NAME_MAX_BYTES};
pub(crate) use self::layout::{Folder, future_of, is_deleted_folder, is_stray_folder};
pub use self::mend::{Mended, Mending};
use self::producers::Producers;
pub use self::producers::{ProducedBatch, ProducerError, ProducerState};
use self::reader::Shared;
pub use self::reader::{Batches, FirstBatch, HotRead, Limits, LogReader, ReadError, Scrubbed};
pub(crate) use self::recover::open;
use self::refused::Refused;
use self::roll::StartError;
pub use self::snapshot::SnapshotError;
pub(crate) use self::snapshot::decode as decode_snapshot;
use self::sync::{Gate, Unsynced};
pub use self::sync::{SyncJob, Synced};
pub use self::times::TimedOffset;
use crate::dir::checkpoint::OrderCell;
use crate::dir::state::{DirState, Marks, ReplaceError};

/// The writing side of one partition's log.
#[derive(Debug)]
pub struct Log {
    name: LogName,
    topic_id: TopicId,
    config: LogConfig,
    folder: Folder,
    registration: Registration,
    shared: Arc<Shared>,
    dir: Arc<DirState>,
    marks: Arc<Marks>,
    active: Active,
    producers: Producers,
    refused: Refused,
    unsynced: Unsynced,
    /// What cuts have left in files of segments that stay.
    dead_tails: Vec<DeadTail>,
    /// Files are being exchanged by compaction: no segment leaves the log meanwhile.
    swapping: Arc<AtomicBool>,
}

impl Log {
    /// The topic and partition.
    #[must_use]
    pub fn name(&self) -> &LogName {
        &self.name
    }

    /// The topic's id; all zeros when the folder did not say.
    #[must_use]
    pub fn topic_id(&self) -> TopicId {
        self.topic_id
    }

    /// What is in force.
    #[must_use]
    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// Puts other settings in force, from the next append on.
    pub fn update_config(&mut self, config: LogConfig) {
        self.config = config;
    }

    /// A new reading side.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        LogReader { shared: Arc::clone(&self.shared) }
    }

    /// The first offset that may be read.
    #[must_use]
    pub fn start_offset(&self) -> Offset {
        self.shared.start()
    }

    /// The offset that the next record gets.
    #[must_use]
    pub fn end_offset(&self) -> Offset {
        self.active.segment.end_offset()
    }

    /// Everything below is on disk for certain.
    #[must_use]
    pub fn durable_end(&self) -> Offset {
        self.shared.durable()
    }

    /// The high watermark that the checkpoint had when the log was opened, or that was noted since; 0 when none was. A
    /// hint, at most [`Self::end_offset`].
    #[must_use]
    pub fn noted_high_watermark(&self) -> Offset {
        Offset(self.marks.high_watermark.load(Ordering::Acquire)).min(self.end_offset())
    }

    /// Has the next checkpoint say this high watermark.
    pub fn note_high_watermark(&mut self, high_watermark: Offset) {
        self.marks.high_watermark.store(high_watermark.0, Ordering::Release);
    }

    /// The leader epochs.
    #[must_use]
    pub fn epochs(&self) -> Arc<EpochHistory> {
        self.shared.epochs.load_full()
    }

    /// Where a leader epoch ends in this log (KIP-101): OffsetForLeaderEpoch.
    #[must_use]
    pub fn end_for_epoch(&self, epoch: LeaderEpoch) -> Option<EpochEnd> {
        self.shared.epochs.load().end_for(epoch, self.end_offset())
    }

    /// Notes that a leader begins its epoch at the log's end, durably, also when it will write nothing (KAFKA-7415).
    ///
    /// # Errors
    /// When an epoch as new is known already with another start, or the disk fails.
    pub fn assign_epoch(&mut self, epoch: LeaderEpoch) -> Result<(), AssignEpochError> {
        self.dir.check()?;
        match self.found() {
            Ok(()) => {}
            Err(StartError::Full) => return Err(ReplaceError::DiskFull.into()),
            Err(StartError::Offline(offline)) => return Err(ReplaceError::Offline(offline).into()),
        }
        let noted = self.note_epoch(epoch, self.end_offset())?;
        if noted == Assigned::New || self.unsynced.epochs_version != self.unsynced.epochs_written {
            self.write_epochs()?;
        }
        Ok(())
    }

    /// The idempotent producers that are remembered.
    pub fn producers(&self) -> impl Iterator<Item = &ProducerState> {
        self.producers.iter()
    }

    /// Notes an epoch in memory; the next sync writes it.
    fn note_epoch(&mut self, epoch: LeaderEpoch, start: Offset) -> Result<Assigned, EpochOrderError> {
        let known = self.shared.epochs.load();
        if known.latest().is_some_and(|last| last.epoch == epoch && start >= last.start) {
            return Ok(Assigned::Known);
        }
        let mut changed = EpochHistory::clone(&known);
        changed.assign(epoch, start)?;
        self.set_epochs(changed);
        Ok(Assigned::New)
    }

    fn set_epochs(&mut self, epochs: EpochHistory) {
        self.shared.epochs.store(Arc::new(epochs));
        self.unsynced.epochs_version += 1;
    }

    /// Makes the epochs durable at once.
    fn write_epochs(&mut self) -> Result<(), ReplaceError> {
        let bytes = self.shared.epochs.load().encode();
        let (gate, version) = (Arc::clone(&self.unsynced.gate), self.unsynced.epochs_version);
        gate.write_epochs(&gate.lock(), version, || self.dir.replace(&self.folder.epochs(), &bytes))?;
        self.unsynced.epochs_written = version;
        Ok(())
    }
}

/// Keeps a log from being opened twice. A log that goes away without [`Log::close`] is recovered when it is opened again,
/// as after a crash.
#[derive(Debug)]
struct Registration {
    dir: Arc<DirState>,
    folder_name: String,
    gate: Arc<Gate>,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.gate.shut();
        self.dir.unregister(&self.folder_name);
    }
}

/// Puts a log together from what recovery, or creation, has found.
fn assemble(foundation: Foundation, parts: recover::Parts) -> Log {
    let recover::Parts { segments, active, epochs, producers, unsynced, marks } = parts;
    let marks = foundation.dir.register(&foundation.folder_name, marks);
    let shared = Shared {
        segments: ArcSwap::from_pointee(segments),
        epochs: ArcSwap::from_pointee(epochs),
        start_offset: marks.start_offset.load(Ordering::Acquire).into(),
        durable_end: marks.recovery_point.load(Ordering::Acquire).into(),
        order: OrderCell::new(marks.order.load()),
        gaps_noted: AtomicBool::new(false),
        exchange: Mutex::default(),
        exchanges: AtomicU64::new(0),
        dir: Arc::clone(&foundation.dir),
    };
    let registration = Registration {
        dir: Arc::clone(&foundation.dir),
        folder_name: foundation.folder_name,
        gate: Arc::clone(&unsynced.gate),
    };
    Log {
        name: foundation.name,
        topic_id: foundation.topic_id,
        config: foundation.config,
        folder: foundation.folder,
        registration,
        shared: Arc::new(shared),
        dir: foundation.dir,
        marks,
        active,
        producers,
        refused: Refused::default(),
        unsynced,
        dead_tails: Vec::new(),
        swapping: Arc::default(),
    }
}

/// The largest of two timestamps, with the first of them when they are equal.
fn later(a: segment::Largest, timestamp: Timestamp, offset: Offset) -> segment::Largest {
    if timestamp > a.timestamp { segment::Largest { timestamp, offset } } else { a }
}
