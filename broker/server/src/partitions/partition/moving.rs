//! A partition's log gives way to its copy in another log dir.
//!
//! Must not know: how the copy is made, which dir it is in.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use cairn_storage::log::{Log, LogState};

use super::Partition;
use crate::partitions::DirAt;

/// What became of a log that was to give way.
#[derive(Debug)]
pub(in crate::partitions) enum Replaced<E> {
    /// The copy is the log now; the one before is left to be deleted.
    Done(Box<Log>),
    /// The partition was deleted.
    Gone,
    /// The log goes on.
    Not(E),
    /// Nobody knows whether the copy is the log: neither takes anything, and who waited is told so.
    InDoubt(E),
}

/// How the last step of a copy can fail.
#[derive(Debug)]
pub(in crate::partitions) enum Failed<E> {
    /// The log may go on as before.
    Whole(E),
    /// It may not: the copy may be the log at the next start.
    InDoubt(E),
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

    /// Has `conclude` make the copy whole, and durable, while nothing is appended, and puts it in the place of the log. Blocks, and
    /// so do appends: what is left to copy has to be little.
    pub(in crate::partitions) fn replace_log<E>(
        &self,
        to: DirAt,
        conclude: impl FnOnce(&LogState) -> Result<Log, Failed<E>>,
    ) -> Replaced<E> {
        let mut guard = self.writer.lock();
        let writer = &mut *guard;
        let Some(log) = &writer.log else { return Replaced::Gone };
        let mut new = match conclude(&log.state()) {
            Ok(new) => new,
            Err(Failed::Whole(error)) => return Replaced::Not(error),
            Err(Failed::InDoubt(error)) => {
                drop(guard);
                drop(self.close());
                return Replaced::InDoubt(error);
            }
        };
        new.update_config(self.settings.load().log.clone());
        let durable = new.durable_end();
        self.reader.store(Arc::new(new.reader()));
        self.log_dir.store(to.0, Ordering::Release);
        writer.log_number = writer.log_number.wrapping_add(1);
        let old = writer.log.replace(new).expect("it was there");
        let tickets = writer.acks.release(durable);
        let bytes = std::mem::take(&mut writer.unread_bytes) + std::mem::take(&mut writer.syncing_bytes);
        drop(guard);
        self.raise_high_watermark(durable, bytes);
        drop(tickets);
        Replaced::Done(Box::new(old))
    }
}
