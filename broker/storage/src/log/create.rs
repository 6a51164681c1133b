//! A new, empty log: a folder. Its first files come with the first append.
//!
//! ```text
//!   created        <name>/                                     the folder; its entry is synced before a checkpoint names it
//!   first append   cairn-dense  partition.metadata  0...0.log  made in this order, not synced
//!   first sync     the batches, partition.metadata, the folder's entries; only then the recovery point moves
//! ```
//!
//! Until the first append the checkpoint says whose the folder is. Where a log was once, none is made: an empty one in its
//! place would hide that it is lost. What a process left that died while it made a log is no log yet, and is made anew.
//!
//! Must not know: what is in logs.

use std::io;
use std::sync::Arc;

use cairn_protocol::ids::{Offset, TopicId};

use super::active::{Active, Backing};
use super::epochs::EpochHistory;
use super::error::{CreateLogError, is_full};
use super::foundation::{Foundation, topic_id_text};
use super::layout::FileKind;
use super::producers::Producers;
use super::recover::Parts;
use super::roll::{StartError, start_segment};
use super::sync::Unsynced;
use super::{Folder, Log, assemble};
use crate::dir::checkpoint::{LogMarks, OffsetOrder};
use crate::dir::state::{DirOffline, DirState, ReplaceError};
use crate::disk::{Entry, EntryKind};

/// Makes a new, empty log. It is durable once [`crate::dir::state::DirState::sync_folders`] has returned, which a checkpoint and a
/// sync of the log see to.
pub(crate) fn create(foundation: Foundation) -> Result<Log, CreateLogError> {
    let dir = Arc::clone(&foundation.dir);
    let folder = foundation.folder_name.clone();
    if dir.is_open(&folder) {
        return Err(CreateLogError::Exists { folder });
    }
    let before = match dir.disk.list(foundation.folder.path()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Before::Nothing,
        Err(error) => return Err(dir.fail("list a log's folder", &error).into()),
        Ok(entries) if is_half_made(&foundation, &entries) => Before::HalfMade,
        Ok(_) => return Err(CreateLogError::Exists { folder }),
    };
    if let Some(LogMarks { recovery_point, .. }) = dir.marks_of(&folder, foundation.topic_id) {
        return Err(CreateLogError::Lost { folder, recovery_point });
    }
    // What is known of another log that had the name would be believed of a folder that a crash leaves half made.
    match dir.forget_durably(&folder) {
        Ok(()) => {}
        Err(ReplaceError::DiskFull) => return Err(CreateLogError::DiskFull),
        Err(ReplaceError::Offline(offline)) => return Err(offline.into()),
    }
    if before == Before::HalfMade {
        dir.heed("remove a half-made folder", dir.disk.remove_dir(foundation.folder.path()))?;
    }
    match dir.disk.create_dir(foundation.folder.path()) {
        Ok(()) => dir.on_folder_made(),
        Err(error) if is_full(&error) => return Err(CreateLogError::DiskFull),
        Err(error) => return Err(dir.fail("create a log", &error).into()),
    }
    let parts = unfounded(&foundation);
    Ok(assemble(foundation, parts))
}

/// A log of which there is a folder and nothing more.
pub(super) fn unfounded(foundation: &Foundation) -> Parts {
    let zero = Offset::ZERO;
    let topic_id = foundation.topic_id;
    let marks = LogMarks {
        topic_id,
        recovery_point: zero,
        start_offset: zero,
        high_watermark: zero,
        order: OffsetOrder::Dense,
    };
    let active = Active::absent(zero, &foundation.folder);
    Parts {
        segments: vec![Arc::clone(&active.segment)],
        active,
        epochs: EpochHistory::default(),
        producers: Producers::default(),
        unsynced: Unsynced::default(),
        marks,
    }
}

/// Whether a log has its first files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Founded {
    Durably,
    /// The disk is full.
    NoRoom,
}

/// What is where a log is to be made.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    /// What a process left that died while it made the log.
    HalfMade,
}

/// Whether a folder was never a log: it has nothing but what is made before the first segment, and nobody has ever noted
/// anything of it.
pub(super) fn is_half_made(foundation: &Foundation, entries: &[Entry]) -> bool {
    entries.iter().all(is_early) && !foundation.dir.is_known(&foundation.folder_name)
}

/// Whether it is made before the first segment.
pub(super) fn is_early(entry: &Entry) -> bool {
    entry.kind == EntryKind::File
        && matches!(FileKind::of(&entry.name), FileKind::Dense | FileKind::Metadata | FileKind::Leftover)
}

impl Log {
    /// Makes the first files of a log that has none. A try that found no room leaves what the next one makes again.
    pub(super) fn found(&mut self) -> Result<(), StartError> {
        if self.active.backing == Backing::File {
            return Ok(());
        }
        self.write_metadata()?;
        let first = start_segment(&self.dir, &self.folder, &self.config, self.active.segment.base, None)?;
        self.shared.segments.store(Arc::new(vec![Arc::clone(&first.segment)]));
        self.active = first;
        Ok(())
    }

    /// Makes the first files durably. Whose the log is is on disk before there is a segment, because no checkpoint may know it.
    pub(crate) fn found_durably(&mut self) -> Result<Founded, DirOffline> {
        match self.dir.replace(&self.folder.metadata(), topic_id_text(self.topic_id).as_bytes()) {
            Ok(()) => {}
            Err(ReplaceError::DiskFull) => return Ok(Founded::NoRoom),
            Err(ReplaceError::Offline(offline)) => return Err(offline),
        }
        match self.found() {
            Ok(()) => {}
            Err(StartError::Full) => return Ok(Founded::NoRoom),
            Err(StartError::Offline(offline)) => return Err(offline),
        }
        if let Some(job) = self.begin_sync() {
            let synced = job.run()?;
            self.on_synced(synced);
        }
        Ok(Founded::Durably)
    }

    /// Makes what comes before a log's first segment, which the next sync makes durable.
    pub(super) fn write_metadata(&mut self) -> Result<(), StartError> {
        write_metadata(&self.dir, &self.folder, self.topic_id)?;
        self.unsynced.on_founded();
        Ok(())
    }
}

/// Makes what comes before a log's first segment: the mark that no offset is missing, before any is there, and whose it is.
pub(super) fn write_metadata(dir: &DirState, folder: &Folder, topic_id: TopicId) -> Result<(), StartError> {
    let write = || -> io::Result<()> {
        dir.disk.write_at(&folder.dense(), 0, &[])?;
        if topic_id.is_zero() {
            return Ok(());
        }
        dir.disk.write_at(&folder.metadata(), 0, topic_id_text(topic_id).as_bytes())
    };
    write().map_err(|error| match is_full(&error) {
        true => StartError::Full,
        false => StartError::Offline(dir.fail("make the first files of a log", &error)),
    })
}
