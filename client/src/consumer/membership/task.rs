//! The task of a member: carries out what the protocol's core says, and tells it what became of it.
//!
//! Nothing in it waits for the application or for a broker: whatever takes time is a future beside the others, so that heartbeats
//! go out in time. Must not know: the protocol's rules.

use std::sync::Arc;
use std::time::Duration;

use cairn_protocol::Request;
use cairn_protocol::error_code::ErrorCode;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::assignor::Counts;
use super::classic::{self, Classic};
use super::next::{self, NextGeneration};
use super::protocol::Protocol;
use super::step::{Calls, Failure, Join, Next, Outcome, Step};
use super::transfer::{self, Patience};
use super::wire::{self, Names};
use super::{Command, ConsumeError, GroupProtocol, RecordBatches, Shared, beats};
use crate::cluster::{FindError, Unknown};
use crate::consumer::MembershipError;
use crate::consumer::offsets::Committer;
use crate::error::{RequestError, check};
use crate::network::Lane;

/// How much longer than the rebalance timeout the answer to JoinGroup is waited for.
const JOIN_GRACE: Duration = Duration::from_secs(5);
/// How long a consumer that was dropped, or that closes, tries to say that it leaves.
const LEAVE_WITHIN: Duration = Duration::from_secs(5);

struct Task {
    shared: Arc<Shared>,
    core: Protocol,
    names: Names,
    /// JoinGroup and SyncGroup may be answered late; heartbeats must not queue behind them.
    joins: Lane,
    beats: Lane,
    calls: FuturesUnordered<BoxFuture<'static, Outcome>>,
    transfers: FuturesUnordered<BoxFuture<'static, Step>>,
    commits: FuturesUnordered<BoxFuture<'static, ()>>,
    commit_at: Option<Instant>,
    has_stalled: bool,
    /// Dropped when it has left.
    to_tell: Vec<oneshot::Sender<()>>,
    leave_until: Option<Instant>,
}

/// Runs until the consumer leaves, is dropped, or is refused for good.
pub(super) async fn run(
    shared: Arc<Shared>,
    mut commands: mpsc::UnboundedReceiver<Command>,
    errors: mpsc::UnboundedSender<Result<RecordBatches, ConsumeError>>,
) {
    let Some(Command::Subscribe(topics)) = commands.recv().await else { return };
    let Some(group) = shared.config.group.clone() else { return };
    let (joins, beats) = (shared.client.pool().own_lane(), shared.client.pool().own_lane());
    let mut task = Task::new(Arc::clone(&shared), group, topics, joins, beats);
    let failure = task.work(&mut commands).await;
    *shared.membership.committer.lock() = None;
    for lane in [joins, beats] {
        shared.client.pool().close(lane);
    }
    // What it could not let go in time is not read on.
    shared.assignment.lock().assign([]);
    if let Some(error) = failure {
        // Nobody takes it when the consumer is gone.
        let _ = errors.send(Err(ConsumeError::Membership { group: task.names.group, error }));
    }
}

impl Task {
    fn new(shared: Arc<Shared>, group: Arc<str>, topics: Vec<Arc<str>>, joins: Lane, beats: Lane) -> Self {
        let config = &shared.config.member;
        let names = Names {
            group,
            instance: config.instance.clone(),
            session_timeout: config.session_timeout,
            rebalance_timeout: config.max_poll_interval,
        };
        let now = Instant::now();
        Self {
            core: core(&shared, topics, now),
            commit_at: config.auto_commit.map(|interval| now + interval),
            names,
            shared,
            joins,
            beats,
            calls: FuturesUnordered::new(),
            transfers: FuturesUnordered::new(),
            commits: FuturesUnordered::new(),
            has_stalled: false,
            to_tell: Vec::new(),
            leave_until: None,
        }
    }

    async fn work(&mut self, commands: &mut mpsc::UnboundedReceiver<Command>) -> Option<MembershipError> {
        let closed = self.shared.closed.clone();
        loop {
            let wake_at = loop {
                let next = self.core.next(Instant::now());
                self.publish_committer();
                match next {
                    Next::Do(step) => self.start(step),
                    Next::Wait(at) => break at,
                    Next::Ended => return None,
                    Next::Failed(why) => return Some(why),
                }
            };
            let shared = Arc::clone(&self.shared);
            let max_poll = shared.config.member.max_poll_interval;
            tokio::select! {
                Some(outcome) = self.calls.next() => self.core.on_outcome(outcome, Instant::now()),
                Some(step) = self.transfers.next() => self.core.on_settled(&step, Instant::now()),
                Some(()) = self.commits.next() => {}
                Some(command) = commands.recv() => self.on_command(command),
                () = closed.cancelled(), if self.leave_until.is_none() => self.leave(),
                () = at(wake_at) => {}
                () = at(self.commit_at) => self.commit(),
                () = at(self.leave_until) => return None,
                () = shared.handover.idle_for(max_poll), if !self.has_stalled && self.leave_until.is_none() => {
                    tracing::warn!(bound = ?max_poll, "the application asks for no records: the member leaves its group");
                    self.has_stalled = true;
                    let calls = self.core.on_stalled();
                    self.drop_calls(calls);
                }
                () = shared.handover.asked(), if self.has_stalled => {
                    self.has_stalled = false;
                    self.core.on_resumed(Instant::now());
                }
            }
        }
    }

    /// Commits are fenced by the generation from the moment that it is known.
    fn publish_committer(&self) {
        let committer = self.core.commits_as().map(|identity| Committer {
            generation: identity.generation,
            member_id: identity.member_id.clone(),
            instance: self.names.instance.as_deref().map(Box::from),
        });
        *self.shared.membership.committer.lock() = committer;
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Subscribe(topics) => self.core.on_subscribed(topics, Instant::now()),
            Command::Leave(done) => {
                self.to_tell.push(done);
                self.leave();
            }
        }
    }

    fn leave(&mut self) {
        self.leave_until.get_or_insert_with(|| Instant::now() + LEAVE_WITHIN);
        self.shared.membership.leaving().cancel();
        let calls = self.core.on_leave();
        self.drop_calls(calls);
    }

    fn drop_calls(&mut self, calls: Calls) {
        if calls == Calls::Dropped {
            self.calls.clear();
        }
    }

    fn commit(&mut self) {
        let interval = self.shared.config.member.auto_commit;
        self.commit_at = interval.map(|interval| Instant::now() + interval);
        if self.commits.is_empty() {
            self.commits.push(Box::pin(transfer::commit_all(Arc::clone(&self.shared))));
        }
    }

    fn start(&mut self, step: Step) {
        tracing::debug!(group = %self.names.group, ?step, "membership");
        let (shared, names, joins, beats) = (Arc::clone(&self.shared), self.names.clone(), self.joins, self.beats);
        match step {
            Step::Join(join) => self.calls.push(Box::pin(send_join(shared, names, joins, join))),
            Step::Sync(sync) => self.calls.push(Box::pin(async move {
                let timeout = names.rebalance_timeout + JOIN_GRACE;
                let answer = call(&shared, &names, joins, wire::SYNC_VERSIONS, timeout, |_| names.sync(&sync)).await;
                let answer = answer.and_then(|answer| wire::synced(&answer));
                Outcome::Synced(heeded(&shared, &names, answer))
            })),
            Step::Heartbeat(identity) => self.calls.push(Box::pin(async move {
                let timeout = shared.client.config().request_timeout.min(names.session_timeout);
                let request = |_| names.heartbeat(&identity);
                let answer = call(&shared, &names, beats, wire::HEARTBEAT_VERSIONS, timeout, request).await;
                let answer = answer.and_then(|answer| check(answer.error_code).map_err(Failure::Refused));
                Outcome::Heartbeat(heeded(&shared, &names, answer))
            })),
            Step::Beat(beat) => self.calls.push(Box::pin(async move {
                let timeout = shared.client.config().request_timeout;
                let beaten = beats::send(&shared, &names, beats, &beat, timeout).await;
                Outcome::Beaten(heeded(&shared, &names, beaten))
            })),
            Step::Leave { identity, reason } => self.calls.push(Box::pin(async move {
                let request = |version| names.leave(version, &identity, reason);
                let leaving = call(&shared, &names, beats, wire::LEAVE_VERSIONS, LEAVE_WITHIN, request);
                if let Err(failure) = leaving.await {
                    tracing::debug!(?failure, "could not say that it leaves: its session will end");
                }
                Outcome::Left
            })),
            Step::Count(topics) => {
                self.calls.push(Box::pin(async move { Outcome::Counted(count(&shared, topics).await) }));
            }
            step @ (Step::Revoke(_) | Step::Lose(_) | Step::Assign(_)) => self.transfer(step),
        }
    }

    fn transfer(&mut self, step: Step) {
        let (shared, leaving) = (Arc::clone(&self.shared), self.shared.membership.leaving());
        let patience = Patience { bound: self.names.rebalance_timeout, leaving };
        self.transfers.push(Box::pin(async move {
            match &step {
                Step::Revoke(partitions) => transfer::revoke(&shared, partitions, &patience).await,
                Step::Lose(partitions) => transfer::lose(&shared, partitions, &patience).await,
                Step::Assign(partitions) => transfer::assign(&shared, partitions, &patience).await,
                _ => {}
            }
            step
        }));
    }
}

fn core(shared: &Shared, topics: Vec<Arc<str>>, now: Instant) -> Protocol {
    let (config, client) = (&shared.config.member, shared.client.config());
    let (is_static, backoff) = (config.instance.is_some(), client.backoff);
    match config.protocol {
        GroupProtocol::Classic => {
            let settings = classic::Settings {
                assignors: config.assignors.clone(),
                is_static,
                heartbeat_interval: config.heartbeat_interval,
                backoff,
                metadata_max_age: client.metadata_max_age,
            };
            Protocol::Classic(Box::new(Classic::new(settings, topics, now)))
        }
        GroupProtocol::Consumer => {
            let settings = next::Settings { is_static, backoff };
            // Chosen by the member, once and for all (KIP-1082).
            let member_id = format!("{:032x}", rand::random::<u128>()).into();
            Protocol::Next(Box::new(NextGeneration::new(settings, member_id, topics, now)))
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

async fn send_join(shared: Arc<Shared>, names: Names, lane: Lane, join: Join) -> Outcome {
    let versions = if names.instance.is_some() { wire::JOIN_STATIC_VERSIONS } else { wire::JOIN_VERSIONS };
    let timeout = names.rebalance_timeout + JOIN_GRACE;
    let answer = call(&shared, &names, lane, versions, timeout, |_| names.join(&join)).await;
    Outcome::Joined(heeded(&shared, &names, answer.and_then(wire::joined)))
}

/// One request to the coordinator, without retries: the core decides about these.
pub(super) async fn call<R: Request>(
    shared: &Shared,
    names: &Names,
    lane: Lane,
    versions: std::ops::RangeInclusive<i16>,
    timeout: Duration,
    make: impl FnOnce(i16) -> R,
) -> Result<R::Response, Failure> {
    let find_within = shared.client.config().request_timeout;
    let connected = shared.client.coordinators().connect(&names.group, lane, find_within).await;
    let connection = connected.map_err(|error| match error {
        FindError::Request(error) => failed(shared, names, &error),
        FindError::Refused(code) => Failure::Refused(code),
    })?;
    let version = connection.version_of::<R>(versions).map_err(|error| failed(shared, names, &error))?;
    connection.call(version, &make(version), timeout).await.map_err(|error| failed(shared, names, &error))
}

fn failed(shared: &Shared, names: &Names, error: &RequestError) -> Failure {
    tracing::debug!(group = %names.group, %error, "the coordinator did not answer");
    if !error.is_retriable() {
        return Failure::Hopeless(error.to_string().into());
    }
    shared.client.coordinators().forget(&names.group);
    Failure::Unanswered(error.to_string().into())
}

/// Looks for another coordinator the next time, where the answer says that this is none.
fn heeded<T>(shared: &Shared, names: &Names, answer: Result<T, Failure>) -> Result<T, Failure> {
    if let Err(Failure::Refused(ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable)) = &answer {
        shared.client.coordinators().forget(&names.group);
    }
    answer
}

/// How many partitions these topics have now; a topic that is not there, or that nobody can be asked about, has none.
async fn count(shared: &Shared, topics: Vec<Arc<str>>) -> Counts {
    let metadata = shared.client.metadata();
    if let Err(error) = metadata.refresh(&topics, Unknown::Refuse, Instant::now()).await {
        tracing::debug!(%error, "cannot count partitions");
    }
    let view = metadata.view();
    let count = |topic: Arc<str>| {
        let count = view.topics.get(&topic).map_or(0, |info| info.count());
        (topic, count)
    };
    topics.into_iter().map(count).collect()
}
