//! A partition's log is made durable: when a topic promises it, and otherwise some time after an append.
//!
//! Group commit: what is appended while one sync runs goes with the next.
//!
//! Must not know: which thread does it, who waits for it.

use std::sync::Arc;
use std::time::Instant;

use cairn_storage::dir::DirOffline;
use parking_lot::MutexGuard;

use super::moving::{SyncJobs, SyncedBoth};
use super::{Partition, Writer};
use crate::partitions::Settings;

/// Which sync of a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    First,
    Further,
}

impl Partition {
    /// Makes what was found in the log as durable as the topic promises, before anybody asks for it: under `synced` at once,
    /// so that clients find all that was acknowledged (KIP-207). Blocks.
    pub(in crate::partitions) fn settle(self: &Arc<Self>) {
        {
            let mut writer = self.writer.lock();
            let writer = &mut *writer;
            if writer.syncing || self.reader().durable_end() == self.reader().end_offset() {
                return;
            }
            let settings = self.settings.load();
            if !settings.is_synced() {
                if !writer.scheduled {
                    writer.scheduled = true;
                    self.flusher.schedule(self, settings.log.flush_ms);
                }
                return;
            }
            writer.syncing = true;
        }
        self.sync();
    }

    /// Records were written: whether they are to be made durable now, which is begun then, or some time later.
    pub(super) fn has_written(self: &Arc<Self>, writer: &mut Writer, settings: &Settings, records: u64) -> bool {
        writer.unsynced_records += records;
        let due = settings.is_synced() || writer.unsynced_records >= settings.log.flush_messages;
        if due && !writer.syncing {
            writer.syncing = true;
            self.flusher.sync_now(self);
        } else if !settings.is_synced() && !writer.scheduled {
            writer.scheduled = true;
            self.flusher.schedule(self, settings.log.flush_ms);
        }
        due
    }

    /// Makes the log durable: once when it is only due, and again and again while somebody waits for it. Blocks.
    pub(in crate::partitions) fn sync(&self) {
        let mut round = Round::First;
        while let Some((job, number)) = self.next_sync(round) {
            round = Round::Further;
            let begun = Instant::now();
            let result = job.run();
            self.flusher.observe_sync(begun.elapsed());
            match result {
                Ok(synced) => self.on_synced(synced, number),
                Err(offline) => return self.on_sync_failed(&offline),
            }
        }
    }

    /// The flusher's turn: what was appended some time ago is to be made durable. Blocks.
    pub(in crate::partitions) fn sync_scheduled(self: &Arc<Self>) {
        {
            let mut writer = self.writer.lock();
            if writer.syncing {
                // The running sync may have begun before the newest append, so this one comes again.
                self.flusher.schedule(self, self.settings.load().log.flush_ms);
                return;
            }
            writer.syncing = true;
            if self.settings.load().is_synced() || !writer.acks.is_empty() {
                // It may go on for as long as there are appends, and others are in the row behind it.
                self.flusher.sync_now(self);
                return;
            }
        }
        self.sync();
    }

    fn next_sync(&self, round: Round) -> Option<(SyncJobs, u32)> {
        let mut writer = self.writer.lock();
        let wanted = round == Round::First || self.settings.load().is_synced() || !writer.acks.is_empty();
        writer.unsynced_records = 0;
        let job = if wanted { writer.begin_sync() } else { None };
        if round == Round::First {
            writer.scheduled = false;
        }
        writer.syncing = job.is_some();
        job.map(|job| (job, writer.log_number))
    }

    fn on_synced(&self, synced: SyncedBoth, number: u32) {
        let mut writer = self.writer.lock();
        if writer.log_number == number {
            writer.on_synced(synced);
            self.tell_durable(writer);
        }
    }

    /// Lets those go on who have waited for what is durable by now.
    pub(super) fn tell_durable(&self, mut writer: MutexGuard<'_, Writer>) {
        let durable = writer.durable_end();
        let mut tidings = writer.on_log_changed(self);
        tidings.tickets.append(&mut writer.acks.release(durable));
        // A follower tells its leader by the answer that has waited for this; a leader tells its followers what is committed.
        if tidings.rises() {
            tidings.wake(&writer.streams);
        }
        drop(writer);
        tidings.tell(self);
    }

    /// The data directory is offline: nothing will become durable any more, and those who wait are told so.
    fn on_sync_failed(&self, offline: &DirOffline) {
        let tidings = {
            let mut writer = self.writer.lock();
            writer.syncing = false;
            writer.release_all()
        };
        tracing::debug!(topic = &*self.topic, partition = self.index.0, %offline, "sync failed");
        tidings.tell(self);
        self.waiting.wake_all();
    }
}
