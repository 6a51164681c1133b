//! The end of a log: closed in good order, or deleted.
//!
//! Must not know: what the data directory does afterwards.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::active::Backing;
use super::roll::StartError;
use super::{Folder, Log};
use crate::dir::state::{DirOffline, DirState};

impl Log {
    /// Closes the log in good order: everything synced, the last segment cut at its last batch, so that it is opened again
    /// without a scan and Kafka's tools read it without a complaint. Readers may go on.
    ///
    /// # Errors
    /// When the disk fails; what was durable stays so.
    pub fn close(mut self) -> Result<(), DirOffline> {
        let dir = Arc::clone(&self.dir);
        dir.check()?;
        if self.active.backing == Backing::Absent {
            return Ok(());
        }
        self.cut_dead_tails()?;
        self.snapshot_producers();
        match self.finish_indexes() {
            // Without indexes the log is opened by a scan: slower, no worse.
            Ok(()) | Err(StartError::Full) => {}
            Err(StartError::Offline(offline)) => return Err(offline),
        }
        let segment = Arc::clone(&self.active.segment);
        self.unsynced.on_seal(&segment, &self.folder, &*self.active.file);
        let job = self.begin_sync();
        dir.heed("seal a segment", self.active.file.seal())?;
        if let Some(job) = job {
            let synced = job.run()?;
            self.marks.recovery_point.fetch_max(synced.until().0, Ordering::AcqRel);
        }
        Ok(())
    }

    /// Takes the log out of the data directory, durably. Its folder, under another name, is left to be removed.
    pub(crate) fn detach(self) -> Result<DeletedLog, DirOffline> {
        let dir = Arc::clone(&self.dir);
        dir.check()?;
        // Nobody touches the folder by its old name any more.
        self.unsynced.gate.shut();
        drop(self.active.ahead);
        dir.heed("seal a segment", self.active.file.seal())?;
        let deleted = take_out(&dir, &self.registration.folder_name, &self.name.deleted_folder(uuid::Uuid::new_v4()))?;
        dir.forget(&self.registration.folder_name);
        Ok(deleted)
    }
}

/// Gives a log's folder another name, durably.
pub(crate) fn take_out(dir: &Arc<DirState>, folder: &str, new_name: &str) -> Result<DeletedLog, DirOffline> {
    let to = dir.root.join(new_name);
    dir.heed("rename the folder of a log", dir.disk.rename(&dir.root.join(folder), &to))?;
    dir.heed("sync the data directory", dir.disk.sync_dir(&dir.root))?;
    Ok(DeletedLog { dir: Arc::clone(dir), folder: Folder::new(to) })
}

/// A log that is no longer there. Its files are, until [`DeletedLog::remove`].
#[derive(Debug)]
#[must_use = "files stay until they are removed, or the data directory is opened again"]
pub struct DeletedLog {
    dir: Arc<DirState>,
    folder: Folder,
}

impl DeletedLog {
    /// Removes the files. Readers keep what they hold.
    ///
    /// # Errors
    /// When the disk fails: the data directory is offline.
    pub fn remove(self) -> Result<(), DirOffline> {
        self.dir.heed("remove a deleted log", self.dir.disk.remove_dir(self.folder.path()))
    }
}
