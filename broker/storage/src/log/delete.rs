//! What goes from a log's start: retention by time and size, deleted records; and the upkeep that goes with it.
//!
//! Files go at once, readers keep what they hold. What is to be removed is handed out as a [`Removal`], so that the
//! caller's lock is not held while the file system works.
//!
//! Must not know: truncation of the end, when to look.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cairn_protocol::ids::{Offset, Timestamp, TopicId};

use super::epochs::{EpochHistory, Trimmed};
use super::error::{AppendError, DeleteRecordsError};
use super::mend::Mending;
use super::segment::Segment;
use super::sync::Gate;
use super::{Folder, Log};
use crate::dir::state::{DirOffline, DirState, ReplaceError};
use crate::num::as_millis;

/// What [`Log::maintain`] did.
#[derive(Debug, Default)]
pub struct Maintained {
    /// Whether a new segment was begun because of the old one's age.
    pub rolled: Option<Offset>,
    /// Segments that are no longer part of the log, to be removed.
    pub removal: Option<Removal>,
    /// Segments whose indexes were found to be wrong.
    pub mending: Option<Mending>,
}

/// Files of segments that are no longer part of a log.
#[derive(Debug)]
#[must_use = "files stay until they are removed"]
pub struct Removal {
    dir: Arc<DirState>,
    folder: Folder,
    folder_name: String,
    topic_id: TopicId,
    gate: Arc<Gate>,
    generation: u64,
    /// Where the log begins without them.
    start: Offset,
    segments: Vec<Offset>,
    /// Bytes of the segments.
    bytes: u64,
}

impl Removal {
    /// How many segments.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// How many bytes they have.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Removes the files. Those that are left by a crash, or because the log was cut or deleted meanwhile, go when the log is
    /// opened again: by now the names may be those of other segments.
    ///
    /// # Errors
    /// When the disk fails: the data directory is offline.
    pub fn run(self) -> Result<(), DirOffline> {
        if self.note_start()? == Noted::Not {
            tracing::warn!(folder = %self.folder_name, "segments stay until the next start: no space to note that they go");
            return Ok(());
        }
        for base in &self.segments {
            let generation = self.gate.lock();
            if *generation != self.generation {
                return Ok(());
            }
            let removed = remove_segment(&self.dir, &self.folder, *base);
            self.dir.heed("remove a segment", removed)?;
            // One after the other, so that no crash leaves a hole in the middle.
            self.dir.heed("sync a folder", self.dir.disk.sync_dir(self.folder.path()))?;
        }
        Ok(())
    }
}

/// Whether the log's new start is on disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Noted {
    Durably,
    Not,
}

impl Removal {
    /// Makes the new start durable before anything goes: recovery takes a first segment that is missing for a loss. One
    /// checkpoint does for all logs that have something to remove at the time.
    fn note_start(&self) -> Result<Noted, DirOffline> {
        if self.dir.is_start_noted(&self.folder_name, self.topic_id, self.start) {
            return Ok(Noted::Durably);
        }
        match self.dir.write_checkpoint() {
            Ok(()) => return Ok(Noted::Durably),
            Err(ReplaceError::Offline(offline)) => return Err(offline),
            Err(ReplaceError::DiskFull) => {}
        }
        // Recovery can make indexes anew: without those of the segments that go there may be room enough.
        {
            let generation = self.gate.lock();
            if *generation != self.generation {
                return Ok(Noted::Not);
            }
            for base in &self.segments {
                for path in [self.folder.offset_index(*base), self.folder.time_index(*base)] {
                    self.dir.heed("remove an index", remove_if_there(&self.dir, &path))?;
                }
            }
        }
        match self.dir.write_checkpoint() {
            Ok(()) => Ok(Noted::Durably),
            Err(ReplaceError::Offline(offline)) => Err(offline),
            Err(ReplaceError::DiskFull) => Ok(Noted::Not),
        }
    }
}

/// Removes a segment's files, the batches first: indexes alone are cleared away by recovery.
pub(super) fn remove_segment(dir: &DirState, folder: &Folder, base: Offset) -> io::Result<()> {
    for path in [folder.segment(base), folder.offset_index(base), folder.time_index(base), folder.snapshot(base)] {
        remove_if_there(dir, &path)?;
    }
    Ok(())
}

pub(super) fn remove_if_there(dir: &DirState, path: &std::path::Path) -> io::Result<()> {
    match dir.disk.remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

impl Log {
    /// Looks after the log: rolls an old segment, forgets silent producers, and takes segments out of it that retention
    /// has no use for. Only what lies wholly below `high_watermark` goes (KAFKA-5634).
    ///
    /// # Errors
    /// When the disk fails.
    pub fn maintain(&mut self, now: Timestamp, high_watermark: Offset) -> Result<Maintained, DirOffline> {
        self.dir.check()?;
        self.producers.expire(now, as_millis(self.config.producer_id_expiration_ms));
        self.shed_index_entries(0);
        self.cut_dead_tails()?;
        let mut done = Maintained::default();
        if self.is_roll_due(now, high_watermark) {
            match self.roll(now) {
                Ok(()) => done.rolled = Some(self.active.segment.base),
                Err(AppendError::Offline(offline)) => return Err(offline),
                // A full disk is no reason to stop retention, which makes room.
                Err(_) => {}
            }
        }
        done.removal = self.retain(now, high_watermark);
        done.mending = self.begin_mending();
        Ok(done)
    }

    /// Moves the log's start up to `offset`. Segments that lie wholly before it are taken out of the log. The new start
    /// outlives the process once [`crate::DataDir::write_checkpoint`] has returned.
    ///
    /// # Errors
    /// When `offset` lies behind the log's end, or the data directory is offline.
    pub fn delete_records_before(&mut self, offset: Offset) -> Result<Option<Removal>, DeleteRecordsError> {
        self.dir.check()?;
        let (start, end) = (self.start_offset(), self.end_offset());
        if offset > end {
            return Err(DeleteRecordsError::OutOfRange { offset, start, end });
        }
        if offset > start {
            self.set_start_offset(offset);
        }
        let gone = self.count_sealed(|segment, next| next <= self.start_offset() && segment.end_offset() <= offset);
        Ok(self.take_out(gone))
    }

    pub(super) fn set_start_offset(&mut self, start: Offset) {
        self.shared.start_offset.store(start.0, Ordering::Release);
        self.marks.start_offset.store(start.0, Ordering::Release);
        let mut epochs = EpochHistory::clone(&self.shared.epochs.load());
        if epochs.advance_to(start) == Trimmed::Some {
            self.set_epochs(epochs);
        }
    }

    /// Whether the active segment is so old that it is ended without waiting for an append.
    fn is_roll_due(&mut self, now: Timestamp, high_watermark: Offset) -> bool {
        let retention_ms = self.retention_ms();
        let active = &mut self.active;
        if active.file.written() == 0 {
            return false;
        }
        let age = now.0.saturating_sub(active.since.get_or_insert(now).0);
        if age > as_millis(self.config.jittered_segment_ms(active.jitter_seed)) {
            return true;
        }
        // All of the active segment's records are too old: with a roll they can go.
        active.segment.end_offset() <= high_watermark
            && retention_ms.is_some_and(|retention| is_expired(&active.segment, now, retention))
    }

    /// `None` where nothing goes by its age.
    fn retention_ms(&self) -> Option<u64> {
        self.config.retention_ms.filter(|_| self.config.cleanup.deletes())
    }

    fn retain(&mut self, now: Timestamp, high_watermark: Offset) -> Option<Removal> {
        let removable = |next: Offset| next <= high_watermark;
        let old = match self.retention_ms() {
            Some(retention) => {
                self.count_sealed(|segment, next| removable(next) && is_expired(segment, now, retention))
            }
            None => 0,
        };
        let large = match self.config.retention_bytes.filter(|_| self.config.cleanup.deletes()) {
            Some(retention) => {
                let mut excess = self.reader().size_bytes().saturating_sub(retention);
                self.count_sealed(|segment, next| {
                    let size = segment.end_position();
                    let goes = removable(next) && size <= excess;
                    excess = excess.saturating_sub(size);
                    goes
                })
            }
            None => 0,
        };
        let start = self.start_offset();
        let deleted = self.count_sealed(|_, next| next <= start);
        self.take_out(old.max(large).max(deleted))
    }

    /// How many of the oldest segments, never the active one, `goes` is true for. It is told where the next one begins.
    fn count_sealed(&self, mut goes: impl FnMut(&Segment, Offset) -> bool) -> usize {
        let segments = self.shared.segments.load();
        segments.windows(2).take_while(|pair| goes(&pair[0], pair[1].base)).count()
    }

    /// Takes the oldest `count` segments out of the log.
    fn take_out(&mut self, count: usize) -> Option<Removal> {
        // What compaction exchanges is taken out by a later look.
        if count == 0 || self.is_swapping() {
            return None;
        }
        let mut kept = Vec::clone(&self.shared.segments.load());
        let gone: Vec<Arc<Segment>> = kept.drain(..count).collect();
        let start = kept.first().map_or(self.start_offset(), |segment| segment.base);
        if start > self.start_offset() {
            self.set_start_offset(start);
        }
        self.shared.segments.store(Arc::new(kept));
        self.unsynced.sealed.retain(|sealed| sealed.end_offset > start);
        self.unsynced.snapshots.retain(|offset| gone.iter().all(|segment| segment.base != *offset));
        Some(Removal {
            dir: Arc::clone(&self.dir),
            folder: self.folder.clone(),
            folder_name: self.name.to_string(),
            topic_id: self.topic_id,
            start,
            gate: Arc::clone(&self.unsynced.gate),
            generation: self.unsynced.generation,
            segments: gone.iter().map(|segment| segment.base).collect(),
            bytes: gone.iter().map(|segment| segment.end_position()).sum(),
        })
    }
}

/// Whether the newest record of a segment is older than `retention_ms`. A segment without timestamps stays.
fn is_expired(segment: &Segment, now: Timestamp, retention_ms: u64) -> bool {
    let newest = segment.largest().timestamp;
    newest.0 >= 0 && now.0.saturating_sub(newest.0) > as_millis(retention_ms)
}
