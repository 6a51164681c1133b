//! A copy that is level with its source, and stays so: it takes each batch that the source takes.
//!
//! Must not know: who notes which of the two is the log, locks.

use cairn_protocol::ids::{Offset, Timestamp};
use cairn_protocol::records::{BatchView, stamped_header};

use super::{CopyError, LogCopy, LogState};
use crate::log::{AppendAs, Appended, DeleteRecordsError, Outcome, Removal, SyncJob, Synced};
use crate::num::as_u64;

/// So much is read of the source at a time.
const PIECE_BYTES: u64 = 1 << 20;

/// Whether a copy is level with its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// It has all that the source has.
    Reached,
    /// Records were deleted from the source meanwhile: [`LogCopy::adopt`] has to be called again.
    StartMoved,
}

impl LogCopy {
    /// Gets all that the source has, while that takes nothing. Waits for no disk, so there should be little to get.
    ///
    /// # Errors
    /// When the source cannot be read or trusted, or the copy's disk is full or fails.
    pub fn draw_level(&mut self, state: &LogState, now: Timestamp) -> Result<Level, CopyError> {
        if self.log.start_offset() != state.start {
            return Ok(Level::StartMoved);
        }
        while self.advance(state.end, PIECE_BYTES, now)? > 0 {}
        self.check_end(state)?;
        self.take_over(state);
        Ok(Level::Reached)
    }

    /// Takes a batch that the source has taken in the same role, at the same place.
    ///
    /// # Errors
    /// When the copy is not level with the source, or its disk is full or fails. It has nothing of the batch then.
    pub fn mirror(&mut self, batch: &BatchView<'_>, role: AppendAs, placed: &Appended) -> Result<(), CopyError> {
        let (source_end, copy_end) = (placed.base_offset, self.end_offset());
        let AppendAs::Leader { epoch, now, timestamps } = role else {
            return Err(CopyError::Diverged { source_end, copy_end });
        };
        if placed.outcome == Outcome::Duplicate {
            return Ok(());
        }
        if source_end != copy_end {
            return Err(CopyError::Diverged { source_end, copy_end });
        }
        self.log.dir.check()?;
        // The source has it already, so that a reserve would save nothing.
        self.log.dir.spend(as_u64(batch.as_bytes().len()))?;
        let front = stamped_header(batch, copy_end, epoch, timestamps);
        self.log.write(&front, batch.record_bytes(), epoch, now)?;
        Ok(())
    }

    /// Moves the start of the copy as that of the source was moved.
    ///
    /// # Errors
    /// When the copy is not level with the source, or its disk fails.
    pub fn delete_records_before(&mut self, offset: Offset) -> Result<Option<Removal>, DeleteRecordsError> {
        self.log.delete_records_before(offset)
    }

    /// Everything below is on disk for certain.
    #[must_use]
    pub fn durable_end(&self) -> Offset {
        self.log.durable_end()
    }

    /// What has to be made durable now.
    pub fn begin_sync(&mut self) -> Option<SyncJob> {
        self.log.begin_sync()
    }

    /// Takes note of what a job has done.
    pub fn on_synced(&mut self, synced: Synced) {
        self.log.on_synced(synced);
    }
}
