//! A new, empty log.
//!
//! Where a log was once, none is made: an empty one in its place would hide that it is lost. What a process left that died
//! while it made a log is no log yet, and is made anew.
//!
//! Must not know: what is in logs.

use std::io;
use std::sync::Arc;

use cairn_protocol::ids::Offset;

use super::active::Active;
use super::epochs::EpochHistory;
use super::error::{CreateLogError, is_full};
use super::foundation::Foundation;
use super::layout::FileKind;
use super::producers::Producers;
use super::recover::Parts;
use super::roll::{StartError, start_segment};
use super::sync::Unsynced;
use super::{Log, assemble};
use crate::dir::checkpoint::{LogMarks, OffsetOrder};
use crate::dir::state::ReplaceError;
use crate::disk::{Entry, EntryKind};

/// Makes a new, empty log, durably.
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
    let active = match make_files(&foundation) {
        Ok(active) => active,
        Err(StartError::Full) => {
            // What is half made holds room that others could use, and its name.
            dir.heed("remove a half-made folder", remove_folder_if_there(&foundation))?;
            return Err(CreateLogError::DiskFull);
        }
        Err(StartError::Offline(offline)) => return Err(offline.into()),
    };
    let synced = dir.disk.sync_dir(foundation.folder.path()).and_then(|()| dir.disk.sync_dir(&dir.root));
    dir.heed("sync a new log's folder", synced)?;
    let zero = Offset::ZERO;
    let order = OffsetOrder::Dense;
    let topic_id = foundation.topic_id;
    let marks = LogMarks { topic_id, recovery_point: zero, start_offset: zero, high_watermark: zero, order };
    let parts = Parts {
        segments: vec![Arc::clone(&active.segment)],
        active,
        epochs: EpochHistory::default(),
        producers: Producers::default(),
        unsynced: Unsynced::default(),
        marks,
    };
    Ok(assemble(foundation, parts))
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
    let is_early = |entry: &Entry| {
        entry.kind == EntryKind::File
            && matches!(FileKind::of(&entry.name), FileKind::Dense | FileKind::Metadata | FileKind::Leftover)
    };
    entries.iter().all(is_early) && !foundation.dir.is_known(&foundation.folder_name)
}

fn make_files(foundation: &Foundation) -> Result<Active, StartError> {
    let Foundation { dir, folder, config, .. } = foundation;
    make_folder(foundation).map_err(|error| match is_full(&error) {
        true => StartError::Full,
        false => StartError::Offline(dir.fail("create a log", &error)),
    })?;
    start_segment(dir, folder, config, Offset::ZERO, None)
}

fn make_folder(foundation: &Foundation) -> io::Result<()> {
    let disk = &foundation.dir.disk;
    disk.create_dir(foundation.folder.path())?;
    disk.write_at(&foundation.folder.dense(), 0, &[])?;
    let text = format!("version: 0\ntopic_id: {}", foundation.topic_id);
    disk.replace(&foundation.folder.metadata(), text.as_bytes())
}

fn remove_folder_if_there(foundation: &Foundation) -> io::Result<()> {
    match foundation.dir.disk.remove_dir(foundation.folder.path()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
