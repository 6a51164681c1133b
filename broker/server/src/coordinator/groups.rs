//! The groups of one partition of `__consumer_offsets`, in memory.
//!
//! One short lock for all of them, never held while something is awaited. Decisions and what they append to the log happen
//! under it, so that both have one order.
//!
//! Must not know: messages of the wire, how records become batches.

mod writing;

use std::collections::{BTreeSet, HashMap};
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use cairn_groups::{
    Commit, CommitError, ConsumerHeartbeat, Effects, Found, GroupOverrides, Identity, Join, Leaver, Record, Reply,
    Search, Sync, Ticks, Waiter,
};
use cairn_metadata::{ConfigResource, Image};
use cairn_protocol::ApiKey;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::{LeaderEpoch, Timestamp};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};

use super::Shared;
use super::topics::ImageTopics;
use crate::clock;
use crate::partitions::{AckWait, Partition};
use crate::resources::group_overrides::overrides;

pub(crate) use writing::CommitFailed;

/// The groups of one partition.
#[derive(Debug)]
pub(crate) struct Groups {
    partition: Arc<Partition>,
    /// In which this broker leads the partition, and these groups are what is in it. In another one they are somebody else's.
    epoch: LeaderEpoch,
    shared: Arc<Shared>,
    state: Mutex<State>,
    /// Something is due earlier than the task of the timers knows.
    earlier: Arc<Notify>,
    /// An assignment that somebody has worked out is taken, or given up.
    assigned: Notify,
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

impl Drop for Groups {
    fn drop(&mut self) {
        self.earlier.notify_one();
    }
}

impl Groups {
    /// Groups whose members have to be heard of from now on: somebody has to call [`Self::on_time`], and is notified when that is
    /// earlier than it knows.
    pub(super) fn begin(
        (partition, epoch): (Arc<Partition>, LeaderEpoch),
        shared: Arc<Shared>,
        groups: cairn_groups::Shard,
        effects: Effects,
        earlier: Arc<Notify>,
    ) -> Arc<Self> {
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
        let groups =
            Arc::new(Self { partition, epoch, shared, state: Mutex::new(state), earlier, assigned: Notify::new() });
        groups.carry_out(&mut groups.state.lock(), effects);
        groups
    }

    /// Nobody is answered any more.
    pub(super) fn stop(&self) {
        let mut state = self.state.lock();
        state.is_stopped = true;
        state.waiters.clear();
        self.assigned.notify_waiters();
    }

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

    /// Where somebody works out what the members of a group are to have: a wait until that is there, or given up. None when who
    /// waits since `begun` has waited for as long as a member may.
    pub(crate) fn assigned(self: &Arc<Self>, group: &str, begun: Instant) -> Option<impl Future<Output = ()> + use<>> {
        let until = begun + Duration::from_millis(self.waits_for_assignment(group)?);
        if until <= Instant::now() {
            return None;
        }
        let (groups, group) = (Arc::clone(self), Box::<str>::from(group));
        let wait = async move {
            loop {
                // Before it is asked: what is told from now on is heard.
                let told = groups.assigned.notified();
                if groups.waits_for_assignment(&group).is_none() {
                    return;
                }
                told.await;
            }
        };
        Some(async move {
            // Who has waited for too long is told what there is.
            let _ = timeout_at(until, wait).await;
        })
    }

    fn waits_for_assignment(&self, group: &str) -> Option<u64> {
        let state = self.state.lock();
        let wait = state.groups.waits_for_assignment(group).filter(|_| !state.is_stopped)?;
        Some(u64::try_from(wait).unwrap_or(0))
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
            for part in writing::in_parts(records) {
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
}
