//! The one task of a consumer: finds where to begin, and fetches ahead, one request per broker at a time.
//!
//! What it fetches goes into a queue that is bounded by bytes: it asks for no more than there is room for. Must not know: who takes
//! the records, what a member commits.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::{BrokerId, Offset, TopicId};
use cairn_protocol::messages::FetchRequest;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::assignment::{Check, Checked, FetchFrom, From, Plan, Readiness, StartAt, Want};
use super::fetch::{self, Fetched, Outcome};
use super::record::RecordBatches;
use super::session::{FetchSession, Told};
use super::{ConsumeError, OffsetReset, OffsetsError, Shared, epochs, membership, offsets};
use crate::client::Ask;
use crate::cluster::Renewal;
use crate::error::RequestError;
use crate::network::Lane;

/// What the task waits for.
enum Event {
    Fetched {
        from: BrokerId,
        room: usize,
        wants: Vec<Want<FetchFrom>>,
        outcomes: Result<Vec<Option<Outcome>>, FetchFailed>,
        session: FetchSession,
    },
    Checked {
        want: Want<Check>,
        checked: Result<Checked, OffsetsError>,
    },
    Found {
        want: Want<StartAt>,
        place: Result<Option<Offset>, OffsetsError>,
    },
    Refreshed,
    Committed,
}

enum FetchFailed {
    Request(RequestError),
    Refused(ErrorCode),
}

struct Fetcher {
    shared: Arc<Shared>,
    queue: mpsc::UnboundedSender<Result<RecordBatches, ConsumeError>>,
    lane: Lane,
    fetching: HashSet<BrokerId>,
    /// What each broker knows of what is wanted of it, while it is not being asked.
    sessions: HashMap<BrokerId, FetchSession>,
    /// Bytes that requests under way may bring.
    expected_bytes: usize,
    renewal: Renewal,
    /// When to commit what was read, if that happens by itself.
    commit_at: Option<Instant>,
    events: FuturesUnordered<BoxFuture<'static, Event>>,
}

/// Runs until the last handle of the consumer is dropped.
pub(super) async fn run(shared: Arc<Shared>, queue: mpsc::UnboundedSender<Result<RecordBatches, ConsumeError>>) {
    let lane = shared.client.pool().own_lane();
    let closed = shared.closed.clone();
    let interval = shared.config.member.auto_commit.filter(|_| shared.config.group.is_some());
    let commit_at = interval.map(|interval| Instant::now() + interval);
    let mut fetcher = Fetcher {
        shared,
        queue,
        lane,
        fetching: HashSet::new(),
        sessions: HashMap::new(),
        expected_bytes: 0,
        renewal: Renewal::default(),
        commit_at,
        events: FuturesUnordered::new(),
    };
    let working = async {
        loop {
            let wake_at = fetcher.start_all();
            fetcher.wait(wake_at).await;
        }
    };
    closed.run_until_cancelled(working).await;
    fetcher.shared.client.pool().close(lane);
}

impl Fetcher {
    /// Starts what can be done now. Gives when to look again.
    fn start_all(&mut self) -> Option<Instant> {
        let metadata = self.shared.client.metadata();
        let view = metadata.view();
        let buffered = self.shared.buffered_bytes.load(Ordering::Acquire);
        let room = self.shared.config.prefetch_bytes.saturating_sub(buffered + self.expected_bytes);
        let fetching = &self.fetching;
        let readiness_of = |id| match view.brokers.contains_key(&id) {
            false => Readiness::Unknown,
            true if room == 0 || fetching.contains(&id) => Readiness::Busy,
            true => Readiness::Free,
        };
        let plan =
            self.shared.assignment.lock().plan(Instant::now(), |partition| view.partition(partition), readiness_of);
        let Plan { fetches, lookups, checks, leaderless, wake_at } = plan;
        if !leaderless.is_empty() {
            self.refresh(leaderless.into_iter().collect());
        }
        for want in lookups {
            self.look_up(want);
        }
        for want in checks {
            let shared = Arc::clone(&self.shared);
            self.events.push(Box::pin(async move {
                let checked = epochs::check(&shared, &want).await;
                Event::Checked { want, checked }
            }));
        }
        let share = room / fetches.len().max(1);
        for (from, wants) in fetches {
            self.fetch(from, wants, share.clamp(1, self.shared.config.fetch_max_bytes));
        }
        wake_at
    }

    fn fetch(&mut self, from: BrokerId, wants: Vec<Want<FetchFrom>>, room: usize) {
        self.fetching.insert(from);
        self.expected_bytes += room;
        let (shared, lane) = (Arc::clone(&self.shared), self.lane);
        let mut session = self.sessions.remove(&from).unwrap_or_default();
        self.events.push(Box::pin(async move {
            let outcomes = fetch_once(&shared, lane, from, &wants, room, &mut session).await;
            if outcomes.is_err() {
                session.begin_anew();
            }
            Event::Fetched { from, room, wants, outcomes, session }
        }));
    }

    fn look_up(&mut self, want: Want<StartAt>) {
        let shared = Arc::clone(&self.shared);
        self.events.push(Box::pin(async move {
            let place = find(&shared, &want).await;
            Event::Found { want, place }
        }));
    }

    fn refresh(&mut self, topics: Vec<Arc<str>>) {
        if let Some(asking) = self.renewal.begin(&self.shared.client, topics) {
            self.events.push(Box::pin(asking.map(|()| Event::Refreshed)));
        }
    }

    async fn wait(&mut self, wake_at: Option<Instant>) {
        let commit_at = self.commit_at;
        tokio::select! {
            Some(event) = self.events.next() => self.on_event(event),
            () = self.shared.news.notified() => {}
            () = at(wake_at) => {}
            () = at(commit_at) => self.commit(),
        }
    }

    /// The next one begins once this one is answered. A member commits by itself, as who it is.
    fn commit(&mut self) {
        self.commit_at = None;
        let shared = Arc::clone(&self.shared);
        self.events.push(Box::pin(async move {
            if !shared.membership.is_subscribed() {
                membership::commit_all(shared).await;
            }
            Event::Committed
        }));
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Refreshed => self.renewal.on_done(),
            Event::Committed => {
                let interval = self.shared.config.member.auto_commit;
                self.commit_at = interval.map(|interval| Instant::now() + interval);
            }
            Event::Found { want, place } => self.on_found(&want, place),
            Event::Checked { want, checked } => self.on_checked(&want, checked),
            Event::Fetched { from, room, wants, outcomes, session } => {
                self.fetching.remove(&from);
                self.sessions.insert(from, session);
                self.expected_bytes -= room;
                match outcomes {
                    Ok(outcomes) => {
                        for (want, outcome) in wants.iter().zip(outcomes) {
                            self.on_outcome(want, outcome);
                        }
                    }
                    Err(failed) => self.on_failed(&wants, &failed),
                }
            }
        }
    }

    fn on_found(&mut self, want: &Want<StartAt>, place: Result<Option<Offset>, OffsetsError>) {
        let partition = &want.partition;
        let mut assignment = self.shared.assignment.lock();
        match place {
            Ok(Some(offset)) => {
                tracing::debug!(%partition, %offset, "place found");
                assignment.on_found(want, offset);
            }
            Ok(None) => match self.reset() {
                Some(to) => assignment.on_reset(want, to),
                None if assignment.on_halt(want) => {
                    self.tell(ConsumeError::NothingCommitted { partition: partition.clone() });
                }
                None => {}
            },
            Err(error) if error.is_retriable() => {
                tracing::debug!(%partition, %error, "place not found yet");
                assignment.on_retry(want, Instant::now());
                drop(assignment);
                self.refresh(vec![Arc::clone(&partition.topic)]);
            }
            Err(error) => {
                if assignment.on_halt(want) {
                    self.tell(ConsumeError::NoPlace { partition: partition.clone(), error });
                }
            }
        }
    }

    fn on_outcome(&mut self, want: &Want<FetchFrom>, outcome: Option<Outcome>) {
        let partition = want.partition.clone();
        match outcome {
            None => self.shared.assignment.lock().on_put_off(want),
            Some(Outcome::Fetched(fetched)) => self.hand_over(want, &fetched),
            Some(Outcome::Damaged(fetched, reason)) => {
                self.hand_over(want, &fetched);
                if self.shared.assignment.lock().on_halt(want) {
                    self.tell(ConsumeError::Damaged { partition, offset: fetched.next, reason });
                }
            }
            Some(Outcome::Nearer(id)) => {
                let until = Instant::now() + self.shared.client.config().metadata_max_age;
                self.shared.assignment.lock().on_nearer(want, id, until);
            }
            // A follower may not have it yet: the leader knows.
            Some(Outcome::OutOfRange) if want.what.from == From::Nearer => {
                self.shared.assignment.lock().on_retry(want, Instant::now());
            }
            Some(Outcome::OutOfRange) => {
                let mut assignment = self.shared.assignment.lock();
                match self.reset() {
                    Some(to) => {
                        tracing::warn!(%partition, offset = %want.what.offset, ?to, "offset out of range, resetting");
                        assignment.on_reset(want, to);
                    }
                    None if assignment.on_halt(want) => {
                        self.tell(ConsumeError::OffsetOutOfRange { partition, offset: want.what.offset });
                    }
                    None => {}
                }
            }
            Some(Outcome::Retry(code)) => {
                tracing::debug!(%partition, %code, "fetch refused for now");
                self.shared.assignment.lock().on_retry(want, Instant::now());
                self.refresh(vec![partition.topic]);
            }
            Some(Outcome::Refused(code)) => {
                if self.shared.assignment.lock().on_halt(want) {
                    self.tell(ConsumeError::Refused { partition, code });
                }
            }
        }
    }

    fn on_failed(&mut self, wants: &[Want<FetchFrom>], failed: &FetchFailed) {
        let code = match failed {
            FetchFailed::Request(error) => {
                tracing::debug!(%error, "fetch not answered");
                if error.is_retriable() { ErrorCode::NetworkException } else { ErrorCode::UnsupportedVersion }
            }
            FetchFailed::Refused(code) => *code,
        };
        for want in wants {
            let outcome = if code.is_retriable() { Outcome::Retry(code) } else { Outcome::Refused(code) };
            self.on_outcome(want, Some(outcome));
        }
    }

    fn on_checked(&mut self, want: &Want<Check>, checked: Result<Checked, OffsetsError>) {
        let (partition, offset) = (want.partition.clone(), want.what.offset);
        let checked = match checked {
            Ok(checked) => checked,
            Err(error) => {
                tracing::debug!(%partition, %error, "not known yet whether the new leader has what was read");
                self.shared.assignment.lock().on_retry(want, Instant::now());
                return self.refresh(vec![partition.topic]);
            }
        };
        let Checked::Cut(diverges_at) = checked else {
            return self.shared.assignment.lock().on_checked(want, checked);
        };
        let reset = self.reset();
        tracing::warn!(%partition, %offset, ?diverges_at, ?reset, "the log was cut below what was read");
        // No record is given out of what is dropped here.
        self.shared.handover.between_records(|| {
            let mut assignment = self.shared.assignment.lock();
            match reset {
                Some(to) if diverges_at.is_none() => assignment.on_reset(want, to),
                Some(_) => assignment.on_checked(want, checked),
                None if assignment.on_halt(want) => {
                    self.tell(ConsumeError::Truncated { partition, offset, diverges_at });
                }
                None => {}
            }
        });
    }

    fn hand_over(&self, want: &Want<FetchFrom>, fetched: &Fetched) {
        self.shared.assignment.lock().on_fetched(want, fetched.next, fetched.epoch, fetched.end);
        if fetched.bytes.is_empty() || !want.progress.is_current(want.round) {
            return;
        }
        self.shared.buffered_bytes.fetch_add(fetched.bytes.len(), Ordering::AcqRel);
        self.shared.fetches.add(1);
        self.shared.bytes_fetched.add(fetched.bytes.len());
        let batches = RecordBatches::new(want.partition.clone(), fetched, want.what.offset, want);
        // Nobody takes it when the consumer is gone, and then this task is about to end.
        let _ = self.queue.send(Ok(batches));
    }

    fn tell(&self, error: ConsumeError) {
        let _ = self.queue.send(Err(error));
    }

    fn reset(&self) -> Option<StartAt> {
        match self.shared.config.offset_reset {
            OffsetReset::Earliest => Some(StartAt::Beginning),
            OffsetReset::Latest => Some(StartAt::End),
            OffsetReset::Fail => None,
        }
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

async fn fetch_once(
    shared: &Shared,
    lane: Lane,
    from: BrokerId,
    wants: &[Want<FetchFrom>],
    room: usize,
    session: &mut FetchSession,
) -> Result<Vec<Option<Outcome>>, FetchFailed> {
    let client = &shared.client;
    let connection = client.connect(Ask::Broker(from), lane).await.map_err(FetchFailed::Request)?;
    let view = client.metadata().view();
    let id_of = |topic: &Arc<str>| view.topics.get(topic).map_or(TopicId::ZERO, |info| info.id);
    let ids: HashMap<Arc<str>, TopicId> =
        wants.iter().map(|want| (Arc::clone(&want.partition.topic), id_of(&want.partition.topic))).collect();
    let version = connection.version_of::<FetchRequest>(fetch::versions(&ids)).map_err(FetchFailed::Request)?;
    let mut request = fetch::build(wants, &ids, room, &shared.config);
    session.shorten(&mut request, version);
    let answer = connection.call(version, &request, client.config().request_timeout).await;
    let answer = answer.map_err(FetchFailed::Request)?;
    if session.on_answer(&answer) == Told::Again {
        return Ok(wants.iter().map(|_| None).collect());
    }
    fetch::outcomes(answer, wants, &ids, shared.config.isolation).map_err(FetchFailed::Refused)
}

/// The offset to begin at; `None` when the group has committed none.
async fn find(shared: &Shared, want: &Want<StartAt>) -> Result<Option<Offset>, OffsetsError> {
    let partition = &want.partition;
    let time = match want.what {
        StartAt::Offset(offset) => return Ok(Some(offset)),
        StartAt::Committed => {
            let group = shared.config.group.as_ref().ok_or(OffsetsError::NoGroup)?;
            return offsets::committed_once(&shared.client, group, partition).await;
        }
        StartAt::Beginning => offsets::EARLIEST,
        StartAt::End => offsets::LATEST,
        StartAt::Time(time) => time,
    };
    let isolation = shared.config.isolation;
    match offsets::list_once(&shared.client, partition, time, isolation).await? {
        Some(offset) => Ok(Some(offset)),
        // Nothing is as new as that: what comes next is.
        None => offsets::list_once(&shared.client, partition, offsets::LATEST, isolation).await,
    }
}
