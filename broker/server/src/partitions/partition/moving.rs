//! A partition's log gives way to its copy in another log dir.
//!
//! ```text
//!   begin_move     compaction leaves the log alone
//!   draw_level     the copy has all that the log has, and takes from now on what that takes, and before anybody is answered
//!   sync_mirror    it is durable as far as the log was
//!   decide         what is noted may name either from now on: a batch that only one of them has is refused
//!   replace_log    the copy is the log
//! ```
//!
//! Appends never wait for a disk here, but for the copy of the last few batches from memory to memory.
//!
//! Must not know: how the copy is made, which dir it is in, what is noted.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cairn_protocol::ids::{Offset, Timestamp};
use cairn_protocol::records::BatchView;
use cairn_storage::dir::DirOffline;
use cairn_storage::log::{
    AppendAs, AppendError, Appended, CopyError, DeleteRecordsError, Hole, Level, Log, LogCopy, LogState, SyncJob,
    Synced,
};

use super::{AppendRefused, DeleteRecordsRefused, Partition, Removals, Writer};
use crate::partitions::DirAt;

/// A copy that takes what the log takes.
#[derive(Debug)]
pub(super) enum Mirror {
    /// It has all that the log has.
    Level { copy: Box<LogCopy>, after_a_crash: AfterACrash },
    /// It lacks something, and the log goes on without it.
    Behind { copy: Box<LogCopy>, error: CopyError },
    /// It lacks something, or is being removed, and may be the log after a crash: nothing is taken.
    Doubtful { copy: Option<Box<LogCopy>>, why: Box<str> },
}

/// Which of the two is the log after a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterACrash {
    /// Not the copy.
    TheLog,
    /// Nobody knows.
    Either,
}

/// What became of a copy that was to be drawn level.
#[derive(Debug)]
pub(in crate::partitions) enum Drawn {
    /// It takes all that the log takes.
    Level,
    /// It could not be, and is as it was.
    Not(Box<LogCopy>, Option<CopyError>),
    /// The partition was deleted.
    Gone(Box<LogCopy>),
}

/// What has to be made durable, of the log and of its copy.
pub(super) struct SyncJobs {
    log: Option<SyncJob>,
    copy: Option<SyncJob>,
}

/// What was made durable.
pub(super) struct SyncedBoth {
    log: Option<Synced>,
    copy: Option<Result<Synced, DirOffline>>,
}

impl SyncJobs {
    /// Waits for the disks.
    pub(super) fn run(self) -> Result<SyncedBoth, DirOffline> {
        let log = self.log.map(SyncJob::run).transpose()?;
        Ok(SyncedBoth { log, copy: self.copy.map(SyncJob::run) })
    }
}

impl Mirror {
    /// The copy, where it has all that the log has.
    fn level(&mut self) -> Option<&mut LogCopy> {
        match self {
            Self::Level { copy, .. } => Some(copy),
            Self::Behind { .. } | Self::Doubtful { .. } => None,
        }
    }

    /// It lacks something from now on.
    fn lose(self, error: CopyError) -> Self {
        match self {
            Self::Level { copy, after_a_crash: AfterACrash::TheLog } => Self::Behind { copy, error },
            Self::Level { copy, after_a_crash: AfterACrash::Either } => {
                Self::Doubtful { copy: Some(copy), why: error.to_string().into() }
            }
            lost => lost,
        }
    }

    /// Refuses what only the log would have, when the copy may be the log.
    fn check(&self, log: &Log) -> Result<(), DirOffline> {
        match self {
            Self::Level { .. } | Self::Behind { .. } => Ok(()),
            Self::Doubtful { why, .. } => {
                let cause = format!("{} was to move to another log dir: {why}", log.name());
                Err(DirOffline { path: PathBuf::from(log.name().to_string()), cause: cause.into() })
            }
        }
    }
}

/// Everything below is on disk for certain, whichever of the two counts after a crash.
pub(super) fn durable_end(log: &Log, mirror: Option<&Mirror>) -> Offset {
    let end = log.durable_end();
    match mirror {
        Some(Mirror::Level { copy, .. } | Mirror::Doubtful { copy: Some(copy), .. }) => end.min(copy.durable_end()),
        Some(Mirror::Behind { .. } | Mirror::Doubtful { copy: None, .. }) | None => end,
    }
}

impl Writer {
    /// Appends to the log, and to the copy that is to take its place.
    pub(super) fn append(&mut self, batch: &BatchView<'_>, role: AppendAs) -> Result<Appended, AppendRefused> {
        let log = self.log.as_mut().ok_or(AppendRefused::Closed)?;
        let Some(mirror) = &mut self.mirror else { return Ok(log.append(batch, role)?) };
        mirror.check(log).map_err(AppendError::from)?;
        let placed = log.append(batch, role)?;
        let mirrored = mirror.level().map_or(Ok(()), |copy| copy.mirror(batch, role, &placed));
        if let Err(error) = mirrored {
            self.lose_mirror(error);
        }
        if let (Some(mirror), Some(log)) = (&self.mirror, &self.log) {
            mirror.check(log).map_err(AppendError::from)?;
        }
        Ok(placed)
    }

    /// Goes on behind a hole of the leader's log. A copy that is to take the log's place is made anew.
    pub(super) fn append_hole(&mut self, hole: Hole, now: Timestamp) -> Result<(), AppendRefused> {
        let log = self.log.as_mut().ok_or(AppendRefused::Closed)?;
        if let Some(mirror) = &self.mirror {
            mirror.check(log).map_err(AppendError::from)?;
        }
        log.append_hole(hole, now)?;
        self.outgrow_mirror();
        Ok(())
    }

    /// The log was changed in a way that its copy does not follow.
    pub(super) fn outgrow_mirror(&mut self) {
        let Some(source_end) = self.log.as_ref().map(Log::end_offset) else { return };
        if let Some(copy_end) = self.mirror.as_mut().and_then(Mirror::level).map(|copy| copy.end_offset()) {
            self.lose_mirror(CopyError::Diverged { source_end, copy_end });
        }
    }

    fn lose_mirror(&mut self, error: CopyError) {
        self.mirror = self.mirror.take().map(|mirror| mirror.lose(error));
    }

    /// Everything below is on disk for certain, whichever log counts after a crash.
    pub(super) fn durable_end(&self) -> Offset {
        self.log.as_ref().map_or(Offset(0), |log| durable_end(log, self.mirror.as_ref()))
    }

    pub(super) fn begin_sync(&mut self) -> Option<SyncJobs> {
        let log = self.log.as_mut()?.begin_sync();
        let copy = self.mirror.as_mut().and_then(Mirror::level).and_then(LogCopy::begin_sync);
        (log.is_some() || copy.is_some()).then_some(SyncJobs { log, copy })
    }

    pub(super) fn on_synced(&mut self, synced: SyncedBoth) {
        if let (Some(log), Some(synced)) = (&mut self.log, synced.log) {
            log.on_synced(synced);
        }
        if let Some(synced) = synced.copy {
            self.on_copy_synced(synced);
        }
    }

    fn on_copy_synced(&mut self, synced: Result<Synced, DirOffline>) {
        match (self.mirror.as_mut().and_then(Mirror::level), synced) {
            (Some(copy), Ok(synced)) => copy.on_synced(synced),
            (Some(_), Err(offline)) => self.lose_mirror(offline.into()),
            (None, _) => {}
        }
    }

    pub(super) fn delete_records_before(&mut self, offset: Offset) -> Result<Removals, DeleteRecordsRefused> {
        let log = self.log.as_mut().ok_or(DeleteRecordsRefused::Closed)?;
        let mut removals: Removals = log.delete_records_before(offset)?.into_iter().collect();
        match self.mirror.as_mut().and_then(Mirror::level).map(|copy| copy.delete_records_before(offset)) {
            None => {}
            Some(Ok(removal)) => removals.extend(removal),
            Some(Err(DeleteRecordsError::Offline(offline))) => self.lose_mirror(offline.into()),
            Some(Err(DeleteRecordsError::OutOfRange { end, .. })) => {
                self.lose_mirror(CopyError::Diverged { source_end: offset, copy_end: end });
            }
        }
        Ok(removals)
    }
}

impl Partition {
    /// Has compaction leave the log alone. False while it is exchanging files: then the copy has to wait.
    pub(in crate::partitions) fn begin_move(&self) -> bool {
        self.moving.store(true, Ordering::SeqCst);
        self.writer.lock().log.as_ref().is_none_or(|log| !log.is_exchanging())
    }

    /// Compaction may go on.
    pub(in crate::partitions) fn end_move(&self) {
        self.moving.store(false, Ordering::SeqCst);
    }

    /// Whether a copy of the log is made.
    pub(in crate::partitions) fn is_moving(&self) -> bool {
        self.moving.load(Ordering::SeqCst)
    }

    /// The log as it stands; none once the partition is deleted.
    pub(in crate::partitions) fn log_state(&self) -> Option<LogState> {
        Some(self.writer.lock().log.as_ref()?.state())
    }

    /// Has the copy take what the log takes, from now on. Appends wait meanwhile, so what it lacks has to be little.
    pub(in crate::partitions) fn draw_level(&self, mut copy: Box<LogCopy>, now: Timestamp) -> Drawn {
        let mut writer = self.writer.lock();
        let Some(log) = &writer.log else { return Drawn::Gone(copy) };
        match copy.draw_level(&log.state(), now) {
            Ok(Level::Reached) => {}
            Ok(Level::StartMoved) => return Drawn::Not(copy, None),
            Err(error) => return Drawn::Not(copy, Some(error)),
        }
        writer.mirror = Some(Mirror::Level { copy, after_a_crash: AfterACrash::TheLog });
        Drawn::Level
    }

    /// Makes the copy durable, as far as it is now. Blocks.
    pub(in crate::partitions) fn sync_mirror(&self) {
        let job = self.writer.lock().mirror.as_mut().and_then(Mirror::level).and_then(LogCopy::begin_sync);
        let synced = job.map(SyncJob::run);
        let mut writer = self.writer.lock();
        if let Some(synced) = synced {
            writer.on_copy_synced(synced);
        }
        self.tell_durable(writer);
    }

    /// From now on the copy may be the log after a crash, unless it lacks something already.
    pub(in crate::partitions) fn decide(&self) -> bool {
        match &mut self.writer.lock().mirror {
            Some(Mirror::Level { after_a_crash, .. }) => {
                *after_a_crash = AfterACrash::Either;
                true
            }
            _ => false,
        }
    }

    /// The log goes on without its copy, which will not be the log after a crash, whatever happened. Gives the copy back, and why it
    /// lacks something, where it does.
    pub(in crate::partitions) fn end_mirror(&self) -> Option<(Box<LogCopy>, Option<CopyError>)> {
        let mut writer = self.writer.lock();
        let mirror = writer.mirror.take();
        self.tell_durable(writer);
        match mirror? {
            Mirror::Level { copy, .. } => Some((copy, None)),
            Mirror::Behind { copy, error } => Some((copy, Some(error))),
            Mirror::Doubtful { copy, .. } => Some((copy?, None)),
        }
    }

    /// Gives the copy back, to be removed. Nothing is taken until that is done: until [`Self::end_mirror`].
    pub(in crate::partitions) fn doubt(&self, why: &str) -> Option<Box<LogCopy>> {
        let mut writer = self.writer.lock();
        match writer.mirror.replace(Mirror::Doubtful { copy: None, why: why.into() })? {
            Mirror::Level { copy, .. } | Mirror::Behind { copy, .. } => Some(copy),
            Mirror::Doubtful { copy, .. } => copy,
        }
    }

    /// Puts the copy in the place of the log, which is given back. None when the copy lacks something, or there is no log.
    pub(in crate::partitions) fn replace_log(&self, to: DirAt) -> Option<Box<Log>> {
        let mut guard = self.writer.lock();
        let writer = &mut *guard;
        let log = writer.log.as_mut()?;
        let copy = match writer.mirror.take()? {
            Mirror::Level { copy, .. } => copy,
            Mirror::Behind { copy, .. } | Mirror::Doubtful { copy: Some(copy), .. } => {
                // Who still waits is told by what the copy has: that counts after a crash.
                self.reader.store(Arc::new(copy.reader()));
                return None;
            }
            Mirror::Doubtful { copy: None, .. } => return None,
        };
        let new = copy.into_log(self.settings.load().log.clone());
        self.reader.store(Arc::new(new.reader()));
        self.log_dir.store(to.0, Ordering::Release);
        writer.log_number = writer.log_number.wrapping_add(1);
        let old = std::mem::replace(log, new);
        self.tell_durable(guard);
        Some(Box::new(old))
    }
}
