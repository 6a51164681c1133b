//! One partition that this broker leads.
//!
//! Appends happen under a short lock that is never held while something is awaited or made durable. Reads take the log's
//! reading side and the high watermark, and meet no lock. What waits (acks, fetches) is woken after the lock is let go.
//!
//! Must not know: requests, sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicUsize, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::{LeaderEpoch, Offset, PartitionIndex, Timestamp, TopicId};
use cairn_protocol::records::{BatchView, Produced, TimestampPolicy, TimestampType};
use cairn_storage::dir::DirOffline;
use cairn_storage::log::{
    AppendAs, AppendError, Cleanable, Compaction, DeleteRecordsError, Log, LogReader, Mending, Outcome, ProducerState,
    Prospect, Removal, Rewritten, Stale, SwapJob,
};
use parking_lot::{Mutex, MutexGuard};

mod moving;

pub(super) use self::moving::Drawn;
use self::moving::{Mirror, SyncJobs, SyncedBoth};
use super::acks::{AckQueue, Ticket};
use super::arrivals::Waiting;
use super::traffic::Traffic;
use super::upkeep::Flusher;
use super::{DirAt, Settings};

/// A partition whose log is open here.
#[derive(Debug)]
pub(crate) struct Partition {
    pub(crate) topic: Arc<str>,
    pub(crate) topic_id: TopicId,
    pub(crate) index: PartitionIndex,
    reader: ArcSwap<LogReader>,
    log_dir: AtomicUsize,
    /// A copy of the log is made in another dir: compaction waits.
    moving: AtomicBool,
    writer: Mutex<Writer>,
    settings: ArcSwap<Settings>,
    /// Records below it may be read by clients.
    high_watermark: AtomicI64,
    leader_epoch: AtomicI32,
    waiting: Waiting,
    pub(crate) traffic: Traffic,
    flusher: Arc<Flusher>,
    /// It is being deleted: whoever still holds it finds nothing to do here.
    closed: AtomicBool,
}

/// What only appends, syncs and upkeep touch, one at a time.
#[derive(Debug)]
struct Writer {
    /// None once the partition is deleted.
    log: Option<Log>,
    /// A copy of it in another dir that is about to take its place.
    mirror: Option<Mirror>,
    /// Counts the logs that took each other's place: a sync of one says nothing of the next.
    log_number: u32,
    acks: AckQueue,
    /// A thread is making the log durable, and will look again before it ends.
    syncing: bool,
    /// The flusher knows that something is to be made durable.
    scheduled: bool,
    /// Records since the last sync began.
    unsynced_records: u64,
    /// Bytes behind the high watermark, under `synced`, that no sync has taken yet.
    unread_bytes: usize,
    /// Those that become readable when the running sync ends.
    syncing_bytes: usize,
}

/// Files to be removed: of the log, and of a copy that is level with it.
pub(crate) type Removals = Vec<Removal>;

/// What a produce wants before it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Required {
    /// `acks=0`: nothing.
    Nothing,
    /// `acks=1`: the leader has it.
    Leader,
    /// `acks=all`: all in-sync replicas have it.
    InSyncReplicas,
}

/// Where a produced batch is now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Appended {
    pub(crate) base_offset: Offset,
    /// The offset behind its last record.
    pub(crate) end: Offset,
    /// The time that its records were given, where the broker gives one.
    pub(crate) log_append_time: Option<Timestamp>,
    /// Whether a [`Ticket`] was taken, so that the answer has to wait.
    pub(crate) waits: bool,
}

/// A batch was not appended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AppendRefused {
    #[error("the partition is being deleted")]
    Closed,
    #[error(transparent)]
    Log(#[from] AppendError),
}

impl Partition {
    pub(crate) fn new(
        (topic, topic_id, index): (Arc<str>, TopicId, PartitionIndex),
        (log, log_dir): (Log, DirAt),
        settings: Settings,
        leader_epoch: LeaderEpoch,
        flusher: Arc<Flusher>,
    ) -> Arc<Self> {
        let reader = log.reader();
        // Alone in the replica set, what was found is what there is; but under `synced` nobody may read what a power cut
        // could still take away.
        let readable = if settings.is_synced() { reader.durable_end() } else { reader.end_offset() };
        Arc::new(Self {
            topic,
            topic_id,
            index,
            high_watermark: AtomicI64::new(readable.0),
            leader_epoch: AtomicI32::new(leader_epoch.0),
            settings: ArcSwap::from_pointee(settings),
            log_dir: AtomicUsize::new(log_dir.0),
            moving: AtomicBool::new(false),
            waiting: Waiting::default(),
            traffic: Traffic::default(),
            closed: AtomicBool::new(false),
            writer: Mutex::new(Writer {
                log: Some(log),
                mirror: None,
                log_number: 0,
                acks: AckQueue::default(),
                syncing: false,
                scheduled: false,
                unsynced_records: 0,
                unread_bytes: 0,
                syncing_bytes: 0,
            }),
            reader: ArcSwap::from_pointee(reader),
            flusher,
        })
    }

    /// Makes what was found in the log as durable as the topic promises, before anybody asks for it: under `synced` at once,
    /// so that clients find all that was acknowledged (KIP-207). Blocks.
    pub(super) fn settle(self: &Arc<Self>) {
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

    /// Records below it may be read by clients. Without transactions it is the last stable offset too.
    pub(crate) fn high_watermark(&self) -> Offset {
        Offset(self.high_watermark.load(Ordering::SeqCst))
    }

    pub(crate) fn leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch(self.leader_epoch.load(Ordering::Acquire))
    }

    /// Refuses a client whose leader epoch (-1: it says none) is not the present one (KIP-320).
    pub(crate) fn check_epoch(&self, client: i32) -> Result<(), ErrorCode> {
        match client.cmp(&self.leader_epoch().0) {
            _ if client == -1 => Ok(()),
            std::cmp::Ordering::Less => Err(ErrorCode::FencedLeaderEpoch),
            std::cmp::Ordering::Equal => Ok(()),
            std::cmp::Ordering::Greater => Err(ErrorCode::UnknownLeaderEpoch),
        }
    }

    /// How many replicas are in sync. A partition is alone until there is replication.
    #[expect(clippy::unused_self, reason = "the replica set is the partition's")]
    pub(crate) fn in_sync_replicas(&self) -> u32 {
        1
    }

    pub(crate) fn set_leader_epoch(&self, epoch: LeaderEpoch) {
        self.leader_epoch.store(epoch.0, Ordering::Release);
        self.waiting.wake_all();
    }

    pub(crate) fn settings(&self) -> arc_swap::Guard<Arc<Settings>> {
        self.settings.load()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Reads its log.
    pub(crate) fn reader(&self) -> Arc<LogReader> {
        self.reader.load_full()
    }

    /// Where its log lies.
    pub(crate) fn log_dir(&self) -> DirAt {
        DirAt(self.log_dir.load(Ordering::Acquire))
    }

    /// Its log dir has failed: who waits for something here waits no longer, and finds it offline.
    pub(super) fn on_dir_lost(&self) {
        let tickets = self.writer.lock().acks.release_all();
        drop(tickets);
        self.waiting.wake_all();
    }

    pub(super) fn waiting(&self) -> &Waiting {
        &self.waiting
    }

    /// Wakes the fetches that wait here, so that they answer with what there is.
    pub(crate) fn wake_fetches(&self) {
        self.waiting.wake_all();
    }

    /// Puts other settings in force. What waits for a sync by the old ones is synced now: they may have promised more, or
    /// less.
    pub(crate) fn update(self: &Arc<Self>, settings: Settings) {
        let mut writer = self.writer.lock();
        if let Some(log) = &mut writer.log {
            log.update_config(settings.log.clone());
        }
        self.settings.store(Arc::new(settings));
        if !writer.syncing && writer.durable_end() < self.reader().end_offset() {
            writer.syncing = true;
            self.flusher.sync_now(self);
        }
    }

    /// Appends one batch that was checked. `ticket` is asked for when the answer has to wait until the batch is durable.
    pub(crate) fn append(
        self: &Arc<Self>,
        batch: &BatchView<'_>,
        produced: &Produced,
        now: Timestamp,
        required: Required,
        ticket: impl FnOnce() -> Ticket,
    ) -> Result<Appended, AppendRefused> {
        let settings = self.settings.load();
        let timestamps = match settings.log.timestamp_type {
            TimestampType::CreateTime => TimestampPolicy::CreateTime { max: produced.max_timestamp() },
            TimestampType::LogAppendTime => TimestampPolicy::LogAppendTime { now },
        };
        let role = AppendAs::Leader { epoch: self.leader_epoch(), now, timestamps };
        let records = u64::try_from(batch.header().record_count).unwrap_or(0);

        let mut writer = self.writer.lock();
        let writer = &mut *writer;
        let appended = writer.append(batch, role)?;
        let end = appended.last_offset.plus(1);
        let synced = settings.is_synced();
        writer.unread_bytes += if synced { batch.as_bytes().len() } else { 0 };
        if appended.outcome == Outcome::Written {
            writer.unsynced_records += records;
            self.traffic.on_appended(batch.as_bytes().len(), records);
        }
        let due = synced || writer.unsynced_records >= settings.log.flush_messages;
        let waits = due && required != Required::Nothing && writer.durable_end() < end;
        if waits {
            writer.acks.push(end, ticket());
        }
        if due && !writer.syncing {
            writer.syncing = true;
            self.flusher.sync_now(self);
        } else if !synced && !writer.scheduled {
            writer.scheduled = true;
            self.flusher.schedule(self, settings.log.flush_ms);
        }
        Ok(Appended {
            base_offset: appended.base_offset,
            end,
            log_append_time: match settings.log.timestamp_type {
                TimestampType::CreateTime => None,
                TimestampType::LogAppendTime => Some(appended.max_timestamp),
            },
            waits,
        })
    }

    /// What was appended may be read, where the topic's durability does not say otherwise. Called without the lock.
    pub(crate) fn publish(&self, appended: &Appended, bytes: usize) {
        if !self.settings.load().is_synced() {
            self.raise_high_watermark(appended.end, bytes);
        }
    }

    fn raise_high_watermark(&self, to: Offset, bytes: usize) {
        if self.high_watermark.fetch_max(to.0, Ordering::SeqCst) < to.0 {
            self.waiting.on_arrived(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
    }

    /// Makes the log durable: once when it is only due, and again and again while somebody waits for it. Blocks.
    ///
    /// Group commit: what is appended while one sync runs goes with the next.
    pub(super) fn sync(&self) {
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
    pub(super) fn sync_scheduled(self: &Arc<Self>) {
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
        let waited_for = !writer.acks.is_empty() || writer.unread_bytes > 0;
        let wanted = round == Round::First || self.settings.load().is_synced() || waited_for;
        writer.unsynced_records = 0;
        let job = if wanted { writer.begin_sync() } else { None };
        if round == Round::First {
            writer.scheduled = false;
        }
        writer.syncing = job.is_some();
        if job.is_some() {
            writer.syncing_bytes += std::mem::take(&mut writer.unread_bytes);
        }
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
    fn tell_durable(&self, mut guard: MutexGuard<'_, Writer>) {
        let writer = &mut *guard;
        let durable = writer.durable_end();
        // Bytes that only the log has made durable count when its copy has.
        let whole = writer.log.as_ref().is_some_and(|log| log.durable_end() == durable);
        let bytes = if whole { std::mem::take(&mut writer.syncing_bytes) } else { 0 };
        let tickets = writer.acks.release(durable);
        drop(guard);
        // Also when the topic is no longer `synced`: what was appended while it was became readable by nothing else.
        self.raise_high_watermark(durable, bytes);
        drop(tickets);
    }

    /// The data directory is offline: nothing will become durable any more, and those who wait are told so.
    fn on_sync_failed(&self, offline: &DirOffline) {
        let tickets = {
            let mut writer = self.writer.lock();
            writer.syncing = false;
            writer.acks.release_all()
        };
        tracing::debug!(topic = &*self.topic, partition = self.index.0, %offline, "sync failed");
        drop(tickets);
        self.waiting.wake_all();
    }

    /// Rolls and retains as the configs say. The files to be removed are removed by the caller, without the lock.
    pub(super) fn maintain(&self, now: Timestamp) -> Result<Option<Removal>, DirOffline> {
        let done = {
            let mut guard = self.writer.lock();
            let writer = &mut *guard;
            // What is taken out of the log has to be taken out of a copy that is level with it, too; the next look comes soon.
            let (Some(log), None) = (&mut writer.log, &writer.mirror) else { return Ok(None) };
            let high_watermark = self.high_watermark();
            log.note_high_watermark(high_watermark);
            log.maintain(now, high_watermark)?
        };
        if let Some(mending) = done.mending {
            self.mend(mending)?;
        }
        Ok(done.removal)
    }

    /// Makes indexes anew: all but the last step without the lock, because whole segments are read.
    fn mend(&self, mending: Mending) -> Result<(), DirOffline> {
        let mended = mending.run()?;
        match &mut self.writer.lock().log {
            Some(log) => log.on_mended(mended),
            None => Ok(()),
        }
    }

    /// The idempotent producers that are remembered; none once the partition is deleted.
    pub(crate) fn producers(&self) -> Option<Vec<ProducerState>> {
        Some(self.writer.lock().log.as_ref()?.producers().cloned().collect())
    }

    /// Moves the log's start; the files are removed by the caller.
    pub(crate) fn delete_records_before(&self, offset: Offset) -> Result<Removals, DeleteRecordsRefused> {
        self.writer.lock().delete_records_before(offset)
    }

    /// What there may be to compact.
    pub(super) fn prospect(&self) -> Option<Prospect> {
        Some(self.writer.lock().log.as_ref()?.prospect(self.high_watermark()))
    }

    pub(super) fn begin_compaction(&self, cleanable: &Cleanable, now: Timestamp) -> Option<Compaction> {
        Some(self.writer.lock().log.as_ref()?.begin_compaction(cleanable, now))
    }

    /// The exchange that puts a compacted copy in place; it runs without the lock.
    pub(super) fn begin_swap(&self, rewritten: Rewritten) -> Result<SwapJob, Stale> {
        match &mut self.writer.lock().log {
            Some(log) if !self.is_moving() => log.begin_swap(rewritten),
            _ => Err(Stale(Box::new(rewritten))),
        }
    }

    /// Ends all work here and gives the log away: to be deleted, or closed.
    pub(super) fn close(&self) -> Option<Log> {
        self.closed.store(true, Ordering::Release);
        let (log, tickets) = {
            let mut writer = self.writer.lock();
            drop(writer.mirror.take());
            (writer.log.take(), writer.acks.release_all())
        };
        drop(tickets);
        self.waiting.wake_all();
        log
    }
}

/// Which sync of a row.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Round {
    First,
    Further,
}

/// Records were not deleted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeleteRecordsRefused {
    #[error("the partition is being deleted")]
    Closed,
    #[error(transparent)]
    Log(#[from] DeleteRecordsError),
}
