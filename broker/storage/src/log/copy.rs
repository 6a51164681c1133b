//! A log's copy in another data directory, which is to take its place.
//!
//! ```text
//!   begin      <name>.<unique>-future/   an empty log where the source begins
//!   advance    batches as they lie in the source, each checked, gaps and all, again and again
//!   adopt      what batches do not tell: producers, leader epochs, where the log starts
//!   settle     <name>/                   closed, renamed and opened again: from here on only its owner's note tells the two apart
//!   draw_level under the source's lock: the little that is still missing; waits for no disk
//!   mirror     under the source's lock: each batch that the source takes from here on
//!   begin_sync nothing is told to be durable that is not so in both
//!   into_log   the copy is the log
//! ```
//!
//! Until its owner has noted that it is the log, a copy is worth nothing: a process that dies leaves it to be removed. The owner notes it
//! when the copy is level with the source, and durable as far as the source was then. From there until it puts the copy in the source's
//! place both take every batch, and are durable before anybody is told; so whichever of the two the note names after a crash has all
//! that was promised, and nobody has to wait for the note.
//!
//! Must not know: who notes which of the two is the log, pacing, locks.

mod level;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use cairn_protocol::ids::{LeaderEpoch, Offset, Timestamp};
use cairn_protocol::records::{BatchIter, BatchView};

pub use self::level::Level;
use super::delete::remove_if_there;
use super::epochs::{EpochHistory, EpochOrderError};
use super::error::{AppendError, OpenLogError, TruncateError, epoch_of};
use super::producers::Producers;
use super::reader::{FirstBatch, Limits, LogReader, ReadError};
use super::{DeleteRecordsError, DeletedLog, Founded, Log, LogConfig};
use crate::dir::checkpoint::OffsetOrder;
use crate::dir::state::{DirOffline, ReplaceError};
use crate::num::as_u64;

/// A log as it stands at one moment, but for its batches.
#[derive(Clone, Debug)]
pub struct LogState {
    /// Where it ends.
    pub end: Offset,
    start: Offset,
    epochs: Arc<EpochHistory>,
    producers: Producers,
    high_watermark: Offset,
}

/// A copy did not get on. The source is as it was.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The source cannot be read.
    #[error("cannot read the log that is copied")]
    Read(#[from] ReadError),
    /// A batch of the source is damaged: a copy would hide that.
    #[error("batch at offset {offset} is damaged: {reason}")]
    Damaged {
        /// Its base offset, or where it was expected.
        offset: Offset,
        /// What is wrong.
        reason: String,
    },
    /// The source is not one that was copied up to here: it was cut, or begins anew.
    #[error("the log ends at {source_end}, its copy at {copy_end}")]
    Diverged {
        /// The source's end.
        source_end: Offset,
        /// The copy's.
        copy_end: Offset,
    },
    /// Leader epochs of the source do not rise.
    #[error(transparent)]
    Epoch(#[from] EpochOrderError),
    /// A batch of the source has no leader epoch.
    #[error("batch at offset {0} has no leader epoch")]
    NoEpoch(Offset),
    /// Something of the log's name is in the other directory.
    #[error("there is a folder of the same name")]
    InTheWay,
    /// The disk of the copy is full, or below its reserve; passes when space returns.
    #[error("no space left on the disk of the copy")]
    NoSpace,
    /// The copy could not be opened again.
    #[error("cannot open the copy: {0}")]
    Open(#[source] Box<OpenLogError>),
    /// The copy's data directory has failed, before or just now.
    #[error(transparent)]
    Offline(#[from] DirOffline),
}

impl From<ReplaceError> for CopyError {
    fn from(error: ReplaceError) -> Self {
        match error {
            ReplaceError::DiskFull => Self::NoSpace,
            ReplaceError::Offline(offline) => Self::Offline(offline),
        }
    }
}

impl From<AppendError> for CopyError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Offline(offline) => Self::Offline(offline),
            AppendError::Epoch(error) => Self::Epoch(error),
            _ => Self::NoSpace,
        }
    }
}

impl From<TruncateError> for CopyError {
    fn from(error: TruncateError) -> Self {
        match error {
            TruncateError::DiskFull | TruncateError::BelowStart { .. } => Self::NoSpace,
            TruncateError::Read(error) => Self::Read(error),
            TruncateError::Offline(offline) => Self::Offline(offline),
        }
    }
}

impl From<OpenLogError> for CopyError {
    fn from(error: OpenLogError) -> Self {
        match error {
            OpenLogError::DiskFull => Self::NoSpace,
            OpenLogError::Offline(offline) => Self::Offline(offline),
            other => Self::Open(Box::new(other)),
        }
    }
}

/// A copy that is made.
#[derive(Debug)]
pub struct LogCopy {
    log: Log,
    source: LogReader,
    /// Its bytes since it was last made durable.
    unsynced: u64,
}

impl Log {
    /// The log as it stands, for a copy of it.
    #[must_use]
    pub fn state(&self) -> LogState {
        LogState {
            end: self.end_offset(),
            start: self.start_offset(),
            epochs: self.epochs(),
            producers: self.producers.clone(),
            high_watermark: self.noted_high_watermark(),
        }
    }

    /// Whether compaction is exchanging files: a copy that begins now might read on both sides of the exchange.
    #[must_use]
    pub fn is_exchanging(&self) -> bool {
        self.is_swapping()
    }

    /// Has recovery know that offsets may be missing, before some are.
    fn allow_gaps(&mut self, order: OffsetOrder) -> Result<(), CopyError> {
        if self.shared.gaps_noted.load(Ordering::Acquire) {
            return Ok(());
        }
        self.marks.order.store(order);
        self.shared.order.store(order);
        self.dir.write_checkpoint()?;
        let removed = remove_if_there(&self.dir, &self.folder.dense());
        self.dir.heed("remove the mark of a dense log", removed)?;
        self.dir.heed("sync a folder", self.dir.disk.sync_dir(self.folder.path()))?;
        self.shared.gaps_noted.store(true, Ordering::Release);
        Ok(())
    }

    /// Writes a batch that another log has placed.
    fn write_copied(&mut self, batch: &BatchView<'_>, order: OffsetOrder, now: Timestamp) -> Result<(), CopyError> {
        let header = batch.header();
        let (base, end) = (header.base_offset, self.end_offset());
        if base < end {
            return Err(CopyError::Damaged { offset: base, reason: format!("it begins before {end}") });
        }
        if base > end {
            if order == OffsetOrder::Dense {
                return Err(CopyError::Damaged { offset: base, reason: format!("it does not begin at {end}") });
            }
            self.allow_gaps(order)?;
        }
        batch.verify_crc().map_err(|error| CopyError::Damaged { offset: base, reason: error.to_string() })?;
        let epoch: LeaderEpoch = epoch_of(header).map_err(|_| CopyError::NoEpoch(base))?;
        // The reserve is for those who produce; a copy frees nothing before it is whole.
        if self.dir.spend(as_u64(batch.as_bytes().len()))?.is_below_reserve() {
            return Err(CopyError::NoSpace);
        }
        self.write(batch.header_bytes(), batch.record_bytes(), epoch, now)?;
        Ok(())
    }
}

impl LogCopy {
    /// Takes an empty log as a copy that begins where `source` does.
    pub(crate) fn begin(log: Log, source: LogReader) -> Result<Self, CopyError> {
        let mut copy = Self { log, source, unsynced: 0 };
        if copy.log.found_durably()? == Founded::NoRoom {
            copy.log.detach()?.remove()?;
            return Err(CopyError::NoSpace);
        }
        copy.follow_start()?;
        Ok(copy)
    }

    /// Where it ends.
    #[must_use]
    pub fn end_offset(&self) -> Offset {
        self.log.end_offset()
    }

    /// Reads what there is of it.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        self.log.reader()
    }

    /// Copies a piece of about `max_bytes` of what the source has below `to`. Answers how many bytes that was; none when there is
    /// nothing to copy.
    ///
    /// # Errors
    /// When the source cannot be read or trusted, or the copy's disk is full or fails.
    pub fn advance(&mut self, to: Offset, max_bytes: u64, now: Timestamp) -> Result<u64, CopyError> {
        self.log.dir.check()?;
        let (at, source_end) = (self.end_offset(), self.source.end_offset());
        if at > source_end {
            return Err(CopyError::Diverged { source_end, copy_end: at });
        }
        if at < self.source.start_offset() {
            self.follow_start()?;
        }
        let at = self.end_offset();
        if at >= to {
            return Ok(0);
        }
        let limits = Limits { max_bytes, first_batch: FirstBatch::AtLeastOne, end: to };
        let order = self.source.shared.order.load();
        // The source may begin within the batch that comes next.
        let from = at.max(self.source.start_offset());
        let batches = match self.source.read(from, limits) {
            // Records were deleted while it was looked for.
            Err(ReadError::OutOfRange { .. }) if from < self.source.start_offset() => return Ok(1),
            read => read?,
        };
        for batch in BatchIter::new(&batches.bytes) {
            let damaged = |error: &dyn std::fmt::Display| CopyError::Damaged { offset: at, reason: error.to_string() };
            let batch = batch.map_err(|error| damaged(&error))?;
            self.log.write_copied(&batch, order, now)?;
        }
        let bytes = as_u64(batches.bytes.len());
        if bytes == 0 {
            // Compaction of Apache Kafka's has left nothing between here and there.
            self.skip_to(to, order, now)?;
        }
        self.unsynced += bytes;
        Ok(bytes)
    }

    /// The copy begins where the source does, as long as it has nothing, and when all that it has was deleted.
    fn follow_start(&mut self) -> Result<(), CopyError> {
        let start = self.source.start_offset();
        let limits = Limits { max_bytes: 0, first_batch: FirstBatch::AtLeastOne, end: self.source.end_offset() };
        let first = self.source.read(start, limits)?;
        let base = match BatchIter::new(&first.bytes).next() {
            Some(Ok(batch)) => batch.header().base_offset.min(start),
            _ => start,
        };
        if base > self.end_offset() {
            self.log.reset_to(base)?;
        }
        Ok(())
    }

    /// Goes on at `to`, although there is no batch that ends there.
    fn skip_to(&mut self, to: Offset, order: OffsetOrder, now: Timestamp) -> Result<(), CopyError> {
        if self.log.reader().size_bytes() == 0 {
            return Ok(self.log.reset_to(to)?);
        }
        if order == OffsetOrder::Dense {
            let reason = format!("nothing is between it and {to}");
            return Err(CopyError::Damaged { offset: self.end_offset(), reason });
        }
        self.log.allow_gaps(OffsetOrder::Rising)?;
        Ok(self.log.roll_at(to, now)?)
    }

    /// How many bytes would be lost with the machine.
    #[must_use]
    pub fn unsynced_bytes(&self) -> u64 {
        self.unsynced
    }

    /// Makes it durable.
    ///
    /// # Errors
    /// When its disk fails.
    pub fn sync(&mut self) -> Result<(), CopyError> {
        self.unsynced = 0;
        if let Some(job) = self.log.begin_sync() {
            let synced = job.run()?;
            self.log.on_synced(synced);
        }
        Ok(())
    }

    /// Takes over what the source's batches do not tell, once the copy ends where the source stood, and makes all durable.
    ///
    /// # Errors
    /// When the copy does not end there, or its disk fails.
    pub fn adopt(&mut self, state: &LogState) -> Result<(), CopyError> {
        self.check_end(state)?;
        match self.log.delete_records_before(state.start) {
            Ok(None) => {}
            Ok(Some(removal)) => removal.run()?,
            Err(DeleteRecordsError::Offline(offline)) => return Err(offline.into()),
            Err(DeleteRecordsError::OutOfRange { end, .. }) => {
                return Err(CopyError::Diverged { source_end: state.start, copy_end: end });
            }
        }
        self.take_over(state);
        // A snapshot at this end says what the copy's own batches have told.
        let end = state.end;
        self.log.unsynced.snapshots.retain(|at| *at != end);
        self.log.snapshot_producers();
        self.sync()?;
        let (folder, topic_id) = (&self.log.registration.folder_name, self.log.topic_id);
        if !self.log.dir.is_start_noted(folder, topic_id, state.start) {
            self.log.dir.write_checkpoint()?;
        }
        Ok(())
    }

    fn check_end(&self, state: &LogState) -> Result<(), CopyError> {
        let copy_end = self.end_offset();
        match copy_end == state.end {
            true => Ok(()),
            false => Err(CopyError::Diverged { source_end: state.end, copy_end }),
        }
    }

    fn take_over(&mut self, state: &LogState) {
        if *self.log.epochs() != *state.epochs {
            self.log.set_epochs(EpochHistory::clone(&state.epochs));
        }
        self.log.producers = state.producers.clone();
        self.log.note_high_watermark(state.high_watermark);
    }

    /// Whether it has the log's own name.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.log.registration.folder_name == self.log.name.to_string()
    }

    /// Gives it the log's own name in its directory: it is opened anew under it, and can become the log at once.
    ///
    /// # Errors
    /// When something of that name is there, or its disk fails.
    pub fn settle(self) -> Result<Self, CopyError> {
        if self.is_settled() {
            return Ok(self);
        }
        let Self { log, source, .. } = self;
        let (dir, name, topic_id) = (Arc::clone(&log.dir), log.name.clone(), log.topic_id);
        let (folder, config) = (log.registration.folder_name.clone(), log.config.clone());
        let own = name.to_string();
        log.close()?;
        if dir.disk.list(&dir.root.join(&own)).is_ok() {
            return Err(CopyError::InTheWay);
        }
        dir.heed("rename the folder of a copy", dir.disk.rename(&dir.root.join(&folder), &dir.root.join(&own)))?;
        dir.heed("sync the data directory", dir.disk.sync_dir(&dir.root))?;
        dir.rename_stored(&folder, &own);
        dir.write_checkpoint()?;
        let log = super::open(super::Foundation::new(dir, name, topic_id, config))?;
        Ok(Self { log, source, unsynced: 0 })
    }

    /// It is the log from now on.
    #[must_use]
    pub fn into_log(self, config: LogConfig) -> Log {
        let mut log = self.log;
        log.update_config(config);
        log
    }

    /// It is not wanted any more.
    ///
    /// # Errors
    /// When its disk fails.
    pub fn discard(self) -> Result<DeletedLog, DirOffline> {
        self.log.detach()
    }
}
