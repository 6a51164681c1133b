//! Append: checks, place, one copy into the map, and what follows from it.
//!
//! Must not know: who waits for the append, replication.

use std::io;

use cairn_protocol::ids::{LeaderEpoch, Offset, Timestamp};
use cairn_protocol::records::{BatchHeader, BatchView, TimestampPolicy, stamped_header};

use super::error::{AppendError, epoch_of, is_full};
use super::producers::Checked;
use super::{EpochOrderError, Log};
use crate::num::as_u64;

/// In which role a batch is appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendAs {
    /// A client's batch: it gets offsets and the epoch here. The caller has validated it, checksum included.
    Leader {
        /// The leader's epoch.
        epoch: LeaderEpoch,
        /// The leader's clock.
        now: Timestamp,
        /// What becomes of the batch's timestamps.
        timestamps: TimestampPolicy,
    },
    /// A batch that a leader has placed already: it keeps offsets and epoch. The caller has verified the checksum.
    Follower {
        /// The follower's clock.
        now: Timestamp,
    },
}

/// Where a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The offset of its first record.
    pub base_offset: Offset,
    /// The offset of its last record.
    pub last_offset: Offset,
    /// The largest timestamp of its records as they are in the log.
    pub max_timestamp: Timestamp,
    /// Whether it is there by this call.
    pub outcome: Outcome,
}

/// What an append did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It wrote the batch.
    Written,
    /// It found the batch: a retry of an idempotent producer. Nothing was written.
    Duplicate,
}

impl Log {
    /// Appends one batch. Readers see it when this returns; it survives the process from then on, and the machine once
    /// it is synced.
    ///
    /// # Errors
    /// When it does not fit here; the log is as before. After an I/O error the whole data directory is offline.
    pub fn append(&mut self, batch: &BatchView<'_>, role: AppendAs) -> Result<Appended, AppendError> {
        self.dir.check()?;
        match role {
            AppendAs::Leader { epoch, now, timestamps } => self.append_as_leader(batch, epoch, now, timestamps),
            AppendAs::Follower { now } => self.append_as_follower(batch, now),
        }
    }

    fn append_as_leader(
        &mut self,
        batch: &BatchView<'_>,
        epoch: LeaderEpoch,
        now: Timestamp,
        timestamps: TimestampPolicy,
    ) -> Result<Appended, AppendError> {
        let size = as_u64(batch.as_bytes().len());
        let limit = self.config.max_message_bytes.min(self.config.segment_bytes);
        if size > limit {
            return Err(AppendError::TooLarge { size, limit });
        }
        if let Checked::Duplicate(place) = self.producers.check(batch.header())? {
            return Ok(Appended {
                base_offset: place.base_offset(),
                last_offset: place.last_offset,
                max_timestamp: place.timestamp,
                outcome: Outcome::Duplicate,
            });
        }
        if !self.producers.knows(batch.header()) {
            self.refused.check(batch.header(), now)?;
        }
        let space = self.dir.spend(size)?;
        if space.is_below_reserve() {
            let (free_bytes, reserve_bytes) = (space.free_bytes, space.reserve_bytes);
            return Err(AppendError::DiskReserve { free_bytes, reserve_bytes });
        }
        let end = self.end_offset();
        if let Some(last) = self.shared.epochs.load().latest().filter(|last| epoch < last.epoch) {
            return Err(EpochOrderError { epoch, start: end, last }.into());
        }
        let front = stamped_header(batch, end, epoch, timestamps);
        self.refused.forget(batch.header());
        self.write(&front, batch.record_bytes(), epoch, now)
    }

    /// A client's batch was refused for the moment: it will be sent again, and until then nothing that its producer has
    /// sent behind it is taken for its first.
    pub fn on_refused(&mut self, header: &BatchHeader, now: Timestamp) {
        if !self.producers.knows(header) {
            self.refused.note(header, now);
        }
    }

    fn append_as_follower(&mut self, batch: &BatchView<'_>, now: Timestamp) -> Result<Appended, AppendError> {
        let header = batch.header();
        let end = self.end_offset();
        if header.base_offset != end {
            return Err(AppendError::OffsetGap { found: header.base_offset, end });
        }
        let epoch = epoch_of(header)?;
        self.dir.spend(as_u64(batch.as_bytes().len()))?;
        self.write(batch.header_bytes(), batch.record_bytes(), epoch, now)
    }

    /// Writes a batch that is in its final form.
    pub(super) fn write(
        &mut self,
        front: &[u8],
        records: &[u8],
        epoch: LeaderEpoch,
        now: Timestamp,
    ) -> Result<Appended, AppendError> {
        let header = BatchHeader::decode(front).expect("a stamped header is a header");
        let size = as_u64(front.len() + records.len());
        let epochs = self.shared.epochs.load().followed_by(epoch, header.base_offset)?;
        if self.active.roll_reason(&self.config, &header, size, now).is_some() {
            self.roll(now)?;
        }
        self.found()?;
        self.make_room(size)?;
        if let Some(epochs) = epochs {
            self.set_epochs(epochs);
        }
        let position = self.active.file.written();
        let written = self.active.file.append(&[front, records]);
        written.map_err(|error| self.dir.fail("append to a segment", &error))?;
        self.active.since.get_or_insert(now);
        self.active.publish(&header, position, &self.config);
        self.producers.note(&header);
        self.unsynced.on_append(size);
        Ok(Appended {
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            max_timestamp: header.max_timestamp,
            outcome: Outcome::Written,
        })
    }

    fn make_room(&mut self, size: u64) -> Result<(), AppendError> {
        let end = self.active.file.written() + size;
        self.active.ensure(end).map_err(|error| self.no_room(&error))
    }

    /// A full disk refuses, and so does a process without a descriptor; any other error is the end of the data directory.
    pub(super) fn no_room(&self, error: &io::Error) -> AppendError {
        if is_full(error) {
            tracing::warn!(log = %self.name, %error, "a segment cannot grow for now");
            return AppendError::DiskFull;
        }
        self.dir.fail("prepare a segment", error).into()
    }
}
