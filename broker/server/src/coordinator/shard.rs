//! The groups of one partition of `__consumer_offsets`: decided in memory, kept in its log.
//!
//! One short lock for the groups of a partition, never held while something is awaited. Decisions and what they append to the
//! log happen under it, so that both have one order.
//!
//! Must not know: which requests there are.

use std::collections::{BTreeSet, HashMap};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use cairn_groups::{
    Commit, CommitError, ConsumerHeartbeat, Effects, Found, GroupOverrides, Identity, Join, Leaver, Record, Reply,
    Search, Sync, Then, Ticks, Waiter,
};
use cairn_metadata::{ConfigResource, Image};
use cairn_protocol::ApiKey;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::{PartitionIndex, Timestamp};
use cairn_protocol::records::{BatchBuilder, BatchView, FinishError, NewRecord, ProduceLimits};
use cairn_storage::log::{AppendError, ReadError};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, OnceCell, oneshot};

use super::topics::ImageTopics;
use super::{Shared, load, timers};
use crate::blocking::on_blocking_thread;
use crate::clock;
use crate::partitions::{AckWait, AppendRefused, Appended, Partition, Required};
use crate::resources::overrides;

/// How many bytes of keys and values go into one batch of what is deleted: half of what a batch may have.
const DELETE_BYTES_MAX: usize = 512 * 1024;

/// Groups that may have to be read first.
#[derive(Debug)]
pub(crate) struct Shard {
    partition: Arc<Partition>,
    shared: Arc<Shared>,
    groups: OnceCell<LoadedShard>,
    /// Somebody sees to it that they are read.
    is_loading: AtomicBool,
}

/// Groups that are in memory.
pub(crate) type LoadedShard = Arc<Groups>;

/// The groups of one partition.
#[derive(Debug)]
pub(crate) struct Groups {
    partition: Arc<Partition>,
    shared: Arc<Shared>,
    state: Mutex<State>,
    /// Something is due earlier than the task of the timers knows.
    earlier: Arc<Notify>,
}

/// What the lock guards.
#[derive(Debug)]
pub(crate) struct State {
    groups: cairn_groups::Shard,
    /// Who waits for a reply. One for each connection at most, as a connection waits with it.
    waiters: HashMap<Waiter, oneshot::Sender<Reply>>,
    waiters_begun: u64,
    /// What the task of the timers sleeps for.
    asleep_until: Option<Ticks>,
    is_stopped: bool,
    /// The version of the cluster's metadata whose configs the groups know.
    image: Option<u64>,
    /// How long it has taken to append what the present request has led to.
    appending: Duration,
    /// The groups that have configs of their own.
    configured: BTreeSet<Box<str>>,
}

/// The groups under their lock, with the topics of now. They keep none of them: topics that nobody asks about any more need
/// not stay in memory because some partition's groups were the last to see them.
struct Informed<'a>(MutexGuard<'a, State>);

impl Deref for Informed<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        &self.0
    }
}

impl DerefMut for Informed<'_> {
    fn deref_mut(&mut self) -> &mut State {
        &mut self.0
    }
}

impl Drop for Informed<'_> {
    fn drop(&mut self) {
        self.0.groups.forget_topics();
    }
}

/// What was decided did not become durable: whether it will be found after a restart is not known.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommitFailed {
    #[error("records do not fit into a batch")]
    TooLarge,
    #[error("append records of groups: {0}")]
    Append(#[from] AppendRefused),
    #[error("the log failed before the records were durable")]
    NotDurable,
}

impl CommitFailed {
    /// What members are told whose group could not be written.
    fn code_for_members(&self) -> ErrorCode {
        match self {
            Self::TooLarge | Self::Append(AppendRefused::Log(AppendError::TooLarge { .. })) => {
                ErrorCode::UnknownServerError
            }
            Self::Append(AppendRefused::Closed) => ErrorCode::NotCoordinator,
            Self::Append(AppendRefused::Log(_)) | Self::NotDurable => ErrorCode::CoordinatorNotAvailable,
        }
    }
}

impl Shard {
    pub(super) fn new(partition: Arc<Partition>, shared: Arc<Shared>) -> Self {
        Self { partition, shared, groups: OnceCell::new(), is_loading: AtomicBool::new(false) }
    }

    pub(super) fn is_of(&self, partition: &Arc<Partition>) -> bool {
        Arc::ptr_eq(&self.partition, partition)
    }

    pub(super) fn index(&self) -> PartitionIndex {
        self.partition.index
    }

    pub(super) fn is_closed(&self) -> bool {
        self.partition.is_closed()
    }

    /// The groups, if they are there; otherwise somebody sees to it that they will be.
    pub(super) fn get(self: &Arc<Self>) -> Result<LoadedShard, ErrorCode> {
        if let Some(groups) = self.groups.get() {
            return Ok(Arc::clone(groups));
        }
        if self.partition.reader().start_offset() == self.partition.high_watermark() {
            // There is nothing to read: nobody has to wait for that.
            let groups = self.begin(cairn_groups::Shard::with(self.shared.settings()));
            if self.groups.set(Arc::clone(&groups)).is_ok() {
                return Ok(groups);
            }
        } else if !self.is_loading.swap(true, Ordering::AcqRel) {
            let shard = Arc::clone(self);
            tokio::spawn(async move {
                if let Err(error) = shard.loaded().await {
                    tracing::error!(partition = shard.index().0, %error, "groups could not be read");
                    shard.is_loading.store(false, Ordering::Release);
                }
            });
        }
        Err(ErrorCode::CoordinatorLoadInProgress)
    }

    /// Reads the groups from the log, once; who comes meanwhile waits.
    pub(super) async fn loaded(&self) -> Result<LoadedShard, ReadError> {
        let read = || async {
            let _permit = self.shared.loads.acquire().await.expect("it is never closed");
            let (partition, settings) = (Arc::clone(&self.partition), self.shared.settings());
            let groups = on_blocking_thread(move || load::read(&partition, settings)).await?;
            Ok(self.begin(groups))
        };
        self.groups.get_or_try_init(read).await.map(Arc::clone)
    }

    /// Members have to be heard of from now on.
    fn begin(&self, mut groups: cairn_groups::Shard) -> LoadedShard {
        let effects = groups.on_loaded(clock::for_groups());
        let state = State {
            groups,
            waiters: HashMap::new(),
            waiters_begun: 0,
            asleep_until: None,
            is_stopped: false,
            image: None,
            appending: Duration::ZERO,
            configured: BTreeSet::new(),
        };
        let groups = Arc::new(Groups {
            partition: Arc::clone(&self.partition),
            shared: Arc::clone(&self.shared),
            state: Mutex::new(state),
            earlier: Arc::default(),
        });
        groups.carry_out(&mut groups.state.lock(), effects);
        tokio::spawn(timers::run(Arc::downgrade(&groups), Arc::clone(&groups.earlier)));
        groups
    }

    pub(super) fn stop(&self) {
        if let Some(groups) = self.groups.get() {
            let mut state = groups.state.lock();
            state.is_stopped = true;
            state.waiters.clear();
        }
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        self.earlier.notify_one();
    }
}

impl Groups {
    /// What is known, to be looked at for a moment.
    pub(crate) fn look<T>(&self, at: impl FnOnce(&cairn_groups::Shard) -> T) -> T {
        let mut state = self.state.lock();
        // A commit whose client has not waited for its answer is seen as soon as it is durable, too.
        state.groups.on_committed(self.partition.high_watermark());
        at(&state.groups)
    }

    /// The groups, with what they have to know of the cluster.
    fn lock(&self) -> Informed<'_> {
        let mut state = self.state.lock();
        let image = self.shared.cluster.image();
        if state.image != Some(image.version()) {
            state.image = Some(image.version());
            self.tell(&mut state, &image);
        }
        state.groups.on_topics(Arc::new(ImageTopics(image)));
        state.appending = Duration::ZERO;
        Informed(state)
    }

    /// Tells groups what is configured for all of them, and for each.
    fn tell(&self, state: &mut State, image: &Image) {
        state.groups.configure_all(self.shared.settings().consumer);
        let of_groups = image.config_resources().filter_map(|resource| match resource {
            ConfigResource::Group(name) => Some((name, overrides(image.configs(resource)))),
            _ => None,
        });
        let mut before = std::mem::take(&mut state.configured);
        for (name, overrides) in of_groups {
            state.groups.configure(name, overrides);
            before.remove(name);
            state.configured.insert(name.clone());
        }
        for name in before {
            state.groups.configure(&name, GroupOverrides::default());
        }
    }

    /// A member wants to be in the next generation. The reply comes when that begins; never, when the broker stops.
    pub(crate) fn join(self: &Arc<Self>, join: &Join<'_>) -> oneshot::Receiver<Reply> {
        self.ask(self.lock(), ApiKey::JoinGroup, |groups, waiter| groups.join(join, waiter, clock::for_groups()))
    }

    /// A member of a group of the consumer protocol is alive. The reply comes when what it says is durable; never, when the
    /// broker stops. An error: topics of regular expressions have to be found first, which may take a while; then
    /// [`Self::consumer_heartbeat_with`] goes on.
    pub(crate) fn consumer_heartbeat(
        self: &Arc<Self>,
        heartbeat: &ConsumerHeartbeat<'_>,
    ) -> Result<oneshot::Receiver<Reply>, Search> {
        let mut state = self.lock();
        let now = clock::for_groups();
        if let Some(search) = state.groups.search(heartbeat, now) {
            return Err(search);
        }
        Ok(self.ask(state, ApiKey::ConsumerGroupHeartbeat, |groups, waiter| {
            groups.consumer_heartbeat(heartbeat, &Found::default(), waiter, now)
        }))
    }

    /// The same, with what was found.
    pub(crate) fn consumer_heartbeat_with(
        self: &Arc<Self>,
        heartbeat: &ConsumerHeartbeat<'_>,
        found: &Found,
    ) -> oneshot::Receiver<Reply> {
        self.ask(self.lock(), ApiKey::ConsumerGroupHeartbeat, |groups, waiter| {
            groups.consumer_heartbeat(heartbeat, found, waiter, clock::for_groups())
        })
    }

    /// A member asks for its assignment. The reply comes when the leader has assigned; never, when the broker stops.
    pub(crate) fn sync(self: &Arc<Self>, sync: &Sync<'_>) -> oneshot::Receiver<Reply> {
        self.ask(self.lock(), ApiKey::SyncGroup, |groups, waiter| groups.sync(sync, waiter, clock::for_groups()))
    }

    fn ask(
        self: &Arc<Self>,
        mut state: Informed<'_>,
        api: ApiKey,
        decide: impl FnOnce(&mut cairn_groups::Shard, Waiter) -> Effects,
    ) -> oneshot::Receiver<Reply> {
        let (sender, receiver) = oneshot::channel();
        if !state.is_stopped {
            state.waiters_begun += 1;
            let waiter = Waiter(state.waiters_begun);
            state.waiters.insert(waiter, sender);
            let effects = decide(&mut state.groups, waiter);
            self.carry_out(&mut state, effects);
            self.shared.metrics.in_storage(api, state.appending);
        }
        receiver
    }

    /// A member is alive.
    pub(crate) fn heartbeat(&self, group: &str, by: &Identity<'_>) -> Result<(), ErrorCode> {
        self.lock().groups.heartbeat(group, by, clock::for_groups())
    }

    /// Members leave. That is answered at once: should it be lost in a crash, their sessions end by themselves.
    pub(crate) fn leave(self: &Arc<Self>, group: &str, leavers: &[Leaver<'_>]) -> Vec<Result<(), ErrorCode>> {
        let mut state = self.lock();
        let (results, effects) = state.groups.leave(group, leavers, clock::for_groups());
        self.carry_out(&mut state, effects);
        self.shared.metrics.in_storage(ApiKey::LeaveGroup, state.appending);
        results
    }

    /// Has done what is due; gives when to look again.
    pub(super) fn on_time(self: &Arc<Self>) -> Option<Ticks> {
        let mut state = self.lock();
        let effects = state.groups.on_time(clock::for_groups());
        self.carry_out(&mut state, effects);
        state.asleep_until = state.groups.next_deadline();
        state.asleep_until
    }

    /// Commits: one result per partition of the commit, once all accepted ones are as durable as the topic promises.
    pub(crate) async fn commit(&self, commit: &Commit<'_>) -> Result<Vec<Result<(), CommitError>>, CommitFailed> {
        let now = clock::for_groups();
        let wait = AckWait::default();
        let (results, appended) = {
            let mut state = self.lock();
            let outcome = state.groups.commit(commit, now);
            let appended = self.append(&mut state, outcome.records, now.wall, &wait)?;
            self.shared.metrics.in_storage(ApiKey::OffsetCommit, state.appending);
            (outcome.results, appended)
        };
        self.finish(appended, wait).await?;
        Ok(results)
    }

    /// Makes records that delete something durable, and gives what was decided with them.
    pub(crate) async fn delete<T>(
        &self,
        now: Timestamp,
        decide: impl FnOnce(&cairn_groups::Shard) -> (Vec<Record>, T),
    ) -> Result<T, CommitFailed> {
        let mut writes = Vec::new();
        let decided = {
            let mut state = self.state.lock();
            let (records, decided) = decide(&state.groups);
            for part in in_parts(records) {
                let wait = AckWait::default();
                writes.push((self.append(&mut state, part, now, &wait)?, wait));
            }
            decided
        };
        for (appended, wait) in writes {
            self.finish(appended, wait).await?;
        }
        Ok(decided)
    }

    /// Sends the replies, appends the records, and does what follows from that, until nothing does.
    fn carry_out(self: &Arc<Self>, state: &mut State, effects: Effects) {
        let mut left = vec![effects];
        while let Some(effects) = left.pop() {
            for (waiter, reply) in effects.replies {
                if let Some(waiting) = state.waiters.remove(&waiter) {
                    // Whose connection is gone does not hear it.
                    let _ = waiting.send(reply);
                }
            }
            for event in &effects.events {
                self.shared.metrics.group_event(event, clock::for_groups());
            }
            for write in effects.writes {
                let now = clock::for_groups();
                let wait = AckWait::default();
                match self.append(state, write.records, now.wall, &wait) {
                    Ok(Some(appended)) if appended.waits => self.follow(appended, wait, write.then),
                    Ok(_) => left.push(state.groups.on_written(write.then, Ok(()), now)),
                    Err(failed) => {
                        tracing::warn!(partition = self.partition.index.0, %failed, "a group was not written");
                        left.push(state.groups.on_written(write.then, Err(failed.code_for_members()), now));
                    }
                }
            }
        }
        if let Some(next) = state.groups.next_deadline()
            && state.asleep_until.is_none_or(|until| next < until)
        {
            state.asleep_until = Some(next);
            self.earlier.notify_one();
        }
    }

    /// Goes on with a write once it is durable.
    fn follow(self: &Arc<Self>, appended: Appended, wait: AckWait, then: Then) {
        let groups = Arc::clone(self);
        tokio::spawn(async move {
            let written = groups.finish(Some(appended), wait).await.map_err(|failed| failed.code_for_members());
            let mut state = groups.lock();
            let effects = state.groups.on_written(then, written, clock::for_groups());
            groups.carry_out(&mut state, effects);
        });
    }

    /// Appends records as one batch. The lock that the caller holds keeps groups and log in the same order.
    fn append(
        &self,
        state: &mut State,
        records: Vec<Record>,
        now: Timestamp,
        wait: &AckWait,
    ) -> Result<Option<Appended>, CommitFailed> {
        if records.is_empty() {
            return Ok(None);
        }
        let begun = Instant::now();
        let bytes = build(&records, now)?;
        let batch = BatchView::parse(&bytes).expect("what was built is a batch");
        let produced = batch.validate_produced(&ProduceLimits::default()).expect("what was built is valid");
        let appended = self.partition.append(&batch, &produced, now, Required::InSyncReplicas, || wait.ticket())?;
        state.groups.on_appended(appended.base_offset, records);
        self.partition.publish(&appended, bytes.len());
        state.appending += begun.elapsed();
        Ok(Some(appended))
    }

    async fn finish(&self, appended: Option<Appended>, wait: AckWait) -> Result<(), CommitFailed> {
        let Some(appended) = appended else { return Ok(()) };
        wait.await;
        let readable = self.partition.high_watermark();
        self.state.lock().groups.on_committed(readable);
        if readable < appended.end { Err(CommitFailed::NotDurable) } else { Ok(()) }
    }
}

/// Records in their order, in parts that a batch has room for: what is deleted at once has no bound of its own.
fn in_parts(records: Vec<Record>) -> Vec<Vec<Record>> {
    let mut parts: Vec<Vec<Record>> = Vec::new();
    let mut bytes = 0;
    for record in records {
        let len = record.key.len() + record.value.as_ref().map_or(0, |value| value.len());
        match parts.last_mut() {
            Some(part) if bytes + len <= DELETE_BYTES_MAX => {
                bytes += len;
                part.push(record);
            }
            _ => {
                bytes = len;
                parts.push(vec![record]);
            }
        }
    }
    parts
}

fn build(records: &[Record], now: Timestamp) -> Result<bytes::Bytes, CommitFailed> {
    let mut builder = BatchBuilder::new();
    for record in records {
        let new = NewRecord { timestamp: now, key: Some(&record.key), value: record.value.as_deref(), headers: &[] };
        builder.append(&new).map_err(|_| CommitFailed::TooLarge)?;
    }
    builder.finish(None).map_err(|error| match error {
        FinishError::TooLarge => CommitFailed::TooLarge,
        FinishError::Empty | FinishError::Compress(_) => unreachable!("there are records, and they are not compressed"),
    })
}

#[cfg(test)]
mod tests {
    use cairn_groups::{Commit, CommitError, GroupCommit, Now, PartitionCommit};
    use cairn_protocol::ids::{Offset, TopicId};

    use super::*;

    #[test]
    fn what_is_deleted_at_once_fits_into_batches() {
        let now = Now { wall: Timestamp(1), ticks: Ticks(1) };
        let mut groups = cairn_groups::Shard::new();
        let topic = "t".repeat(200);
        for index in 0..8_000 {
            let by = GroupCommit {
                group: "g",
                generation: -1,
                member: "",
                instance: None,
                retention_ms: -1,
                unknown_group: CommitError::IllegalGeneration,
                version: 9,
            };
            let commit = PartitionCommit {
                topic: &topic,
                topic_id: TopicId::ZERO,
                partition: PartitionIndex(index),
                offset: Offset(1),
                leader_epoch: -1,
                metadata: "",
            };
            let records = groups.commit(&Commit { by, partitions: &[commit] }, now).records;
            groups.on_appended(Offset(i64::from(index)), records);
        }
        groups.on_committed(Offset(8_000));
        let records = groups.expire(Timestamp(i64::MAX), 0);
        assert!(records.iter().map(|record| record.key.len()).sum::<usize>() > 1 << 20, "more than a batch may have");
        let parts = in_parts(records.clone());
        assert!(parts.len() > 2);
        assert_eq!(parts.concat(), records);
        for part in parts {
            assert!(build(&part, Timestamp(1)).expect("it fits").len() < 1 << 20);
        }
        assert!(in_parts(Vec::new()).is_empty());
    }
}
