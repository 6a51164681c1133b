//! One partition that this broker keeps: its log, and beside it the replica that decides what is committed.
//!
//! Appends happen under a short lock that is never held while something is awaited or made durable. Reads take the log's
//! reading side and the high watermark, and meet no lock. What waits (acks, fetches) is woken after the lock is let go.
//!
//! Files: `replica.rs` what metadata means here and what is committed by it, `leading.rs` what followers are sent, `following.rs`
//! what a leader sends, `syncing.rs` the disk, `moving.rs` the way to another log dir.
//!
//! Must not know: requests, sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicI64, AtomicU32, AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::{LeaderEpoch, Offset, PartitionIndex, Timestamp, TopicId};
use cairn_protocol::records::{BatchHeader, BatchView, Produced, TimestampPolicy, TimestampType};
use cairn_replication::{Acks, Replica, Rules};
use cairn_storage::dir::DirOffline;
use cairn_storage::log::{
    AppendAs, AppendError, Cleanable, Compaction, DeleteRecordsError, Log, LogReader, Mending, Outcome, ProducerState,
    Prospect, Removal, Rewritten, Stale, SwapJob,
};
use parking_lot::Mutex;

mod following;
mod leading;
mod moving;
mod replica;
mod syncing;

pub(crate) use self::following::{MayWait, Pushed, Taking};
pub(crate) use self::leading::Stream;
pub(super) use self::moving::Drawn;
use self::moving::Mirror;
pub(crate) use self::replica::Me;
use self::replica::Unread;
use super::acks::{AckQueue, Ticket};
use super::arrivals::Waiting;
use super::links::Links;
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
    /// Records below it may be read by clients. Changed under the writer's lock.
    high_watermark: AtomicI64,
    /// By the metadata.
    leader_epoch: AtomicI32,
    /// The epoch in which this broker leads it; -1 while it does not.
    leads_in: AtomicI32,
    /// How many replicas are in sync, while this broker leads it.
    in_sync: AtomicU32,
    waiting: Waiting,
    pub(crate) traffic: Traffic,
    flusher: Arc<Flusher>,
    links: Arc<Links>,
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
    replica: Replica,
    /// Where those who follow are sent to, while this broker leads. Empty for most.
    streams: Arc<[Arc<Stream>]>,
    /// What waits for this broker's disk.
    acks: AckQueue,
    /// What waits until it is committed.
    commits: AckQueue,
    unread: Unread,
    /// A thread is making the log durable, and will look again before it ends.
    syncing: bool,
    /// The flusher knows that something is to be made durable.
    scheduled: bool,
    /// Records since the last sync began.
    unsynced_records: u64,
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
    /// The leader epoch that it was appended in.
    pub(crate) epoch: LeaderEpoch,
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
    Replica(#[from] cairn_replication::AppendRefused),
    #[error(transparent)]
    Log(#[from] AppendError),
}

impl Partition {
    pub(crate) fn new(
        (topic, topic_id, index): (Arc<str>, TopicId, PartitionIndex),
        (log, log_dir): (Log, DirAt),
        settings: Settings,
        me: Me,
        (flusher, links): (Arc<Flusher>, Arc<Links>),
    ) -> Arc<Self> {
        let reader = log.reader();
        let noted = log.noted_high_watermark();
        let replica = Replica::new(me.broker, me.incarnation, noted, &replica::view(&log, None), Rules::ALL);
        Arc::new(Self {
            topic,
            topic_id,
            index,
            high_watermark: AtomicI64::new(replica.high_watermark().0),
            leader_epoch: AtomicI32::new(replica.known_epoch().0),
            leads_in: AtomicI32::new(replica::NOWHERE),
            in_sync: AtomicU32::new(0),
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
                replica,
                streams: Arc::default(),
                acks: AckQueue::default(),
                commits: AckQueue::default(),
                unread: Unread::default(),
                syncing: false,
                scheduled: false,
                unsynced_records: 0,
            }),
            reader: ArcSwap::from_pointee(reader),
            flusher,
            links,
        })
    }

    /// Records below it may be read by clients. Without transactions it is the last stable offset too.
    pub(crate) fn high_watermark(&self) -> Offset {
        Offset(self.high_watermark.load(Ordering::SeqCst))
    }

    pub(crate) fn leader_epoch(&self) -> LeaderEpoch {
        LeaderEpoch(self.leader_epoch.load(Ordering::Acquire))
    }

    /// The newest one that was heard of, also by a push.
    pub(crate) fn heard_epoch(&self) -> LeaderEpoch {
        self.writer.lock().replica.known_epoch()
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

    /// How many replicas are in sync, as the leader knows it.
    pub(crate) fn in_sync_replicas(&self) -> u32 {
        self.in_sync.load(Ordering::Acquire)
    }

    /// Whether this broker leads it.
    pub(crate) fn leads(&self) -> bool {
        self.leads_in().is_some()
    }

    /// The leader epoch in which it does.
    pub(crate) fn leads_in(&self) -> Option<LeaderEpoch> {
        Some(self.leads_in.load(Ordering::Acquire)).filter(|epoch| *epoch != replica::NOWHERE).map(LeaderEpoch)
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
        self.writer.lock().release_all().tell(self);
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

    /// Appends one batch that was checked, as the leader. `ticket` is asked for what the answer has to wait for: this broker's
    /// disk, the other replicas, or both. Whoever knows what was written in one leader epoch alone says which: in no other one
    /// anything is appended.
    pub(crate) fn append(
        self: &Arc<Self>,
        (batch, produced): (&BatchView<'_>, &Produced),
        now: Timestamp,
        required: Required,
        only_in: Option<LeaderEpoch>,
        mut ticket: impl FnMut() -> Ticket,
    ) -> Result<Appended, AppendRefused> {
        let settings = self.settings.load();
        let timestamps = match settings.log.timestamp_type {
            TimestampType::CreateTime => TimestampPolicy::CreateTime { max: produced.max_timestamp() },
            TimestampType::LogAppendTime => TimestampPolicy::LogAppendTime { now },
        };
        let records = u64::try_from(batch.header().record_count).unwrap_or(0);

        let mut guard = self.writer.lock();
        let writer = &mut *guard;
        if writer.log.is_none() {
            return Err(AppendRefused::Closed);
        }
        let acks = if required == Required::InSyncReplicas { Acks::All } else { Acks::Fewer };
        let epoch = writer.replica.may_append(acks)?;
        if only_in.is_some_and(|only| only != epoch) {
            return Err(cairn_replication::AppendRefused::NotLeader.into());
        }
        let appended = writer.append(batch, AppendAs::Leader { epoch, now, timestamps })?;
        let end = appended.last_offset.plus(1);
        if appended.outcome == Outcome::Written {
            self.traffic.on_appended(batch.as_bytes().len(), records);
            writer.unread.push(end, batch.as_bytes().len());
        }
        let written = if appended.outcome == Outcome::Written { records } else { 0 };
        let due = self.has_written(writer, &settings, written);
        let mut tidings = writer.on_log_changed(self);
        let for_disk = due && required != Required::Nothing && writer.durable_end() < end;
        if for_disk {
            writer.acks.push(end, ticket());
        }
        let for_replicas = required == Required::InSyncReplicas && writer.replica.high_watermark() < end;
        if for_replicas {
            writer.commits.push(end, ticket());
        }
        tidings.wake(&writer.streams);
        drop(guard);
        tidings.tell(self);
        Ok(Appended {
            base_offset: appended.base_offset,
            end,
            epoch,
            log_append_time: match settings.log.timestamp_type {
                TimestampType::CreateTime => None,
                TimestampType::LogAppendTime => Some(appended.max_timestamp),
            },
            waits: for_disk || for_replicas,
        })
    }

    /// A client's batch was refused, and will be sent again.
    pub(crate) fn on_refused(&self, header: &BatchHeader, now: Timestamp) {
        if let Some(log) = &mut self.writer.lock().log {
            log.on_refused(header, now);
        }
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
        let (log, tidings) = {
            let mut writer = self.writer.lock();
            drop(writer.mirror.take());
            writer.streams = Arc::default();
            (writer.log.take(), writer.release_all())
        };
        self.leads_in.store(replica::NOWHERE, Ordering::Release);
        self.links.forget(self);
        tidings.tell(self);
        self.waiting.wake_all();
        log
    }
}

/// Records were not deleted.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeleteRecordsRefused {
    #[error("the partition is being deleted")]
    Closed,
    #[error(transparent)]
    Log(#[from] DeleteRecordsError),
}
