//! The one task of a consumer: finds where to begin, and fetches ahead, one request per broker at a time.
//!
//! What it fetches goes into a queue that is bounded by bytes: it asks for no more than there is room for. Must not know: who takes
//! the records, commits.

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

use super::assignment::{FetchFrom, Plan, StartAt, Want};
use super::fetch::{self, Outcome};
use super::record::RecordBatches;
use super::{ConsumeError, OffsetReset, OffsetsError, Shared, offsets};
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
    },
    Found {
        want: Want<StartAt>,
        place: Result<Option<Offset>, OffsetsError>,
    },
    Refreshed,
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
    /// Bytes that requests under way may bring.
    expected_bytes: usize,
    renewal: Renewal,
    events: FuturesUnordered<BoxFuture<'static, Event>>,
}

/// Runs until the last handle of the consumer is dropped.
pub(super) async fn run(shared: Arc<Shared>, queue: mpsc::UnboundedSender<Result<RecordBatches, ConsumeError>>) {
    let lane = shared.client.pool().own_lane();
    let closed = shared.closed.clone();
    let mut fetcher = Fetcher {
        shared,
        queue,
        lane,
        fetching: HashSet::new(),
        expected_bytes: 0,
        renewal: Renewal::default(),
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
        let can_fetch_from = |id| room > 0 && !fetching.contains(&id) && view.brokers.contains_key(&id);
        let plan =
            self.shared.assignment.lock().plan(Instant::now(), |partition| view.partition(partition), can_fetch_from);
        let Plan { fetches, lookups, leaderless, wake_at } = plan;
        if !leaderless.is_empty() {
            self.refresh(leaderless.into_iter().collect());
        }
        for want in lookups {
            self.look_up(want);
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
        self.events.push(Box::pin(async move {
            let outcomes = fetch_once(&shared, lane, from, &wants, room).await;
            Event::Fetched { from, room, wants, outcomes }
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
        let wake = async {
            match wake_at {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(event) = self.events.next() => self.on_event(event),
            () = self.shared.news.notified() => {}
            () = wake => {}
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Refreshed => self.renewal.on_done(),
            Event::Found { want, place } => self.on_found(&want, place),
            Event::Fetched { from, room, wants, outcomes } => {
                self.fetching.remove(&from);
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
                assignment.on_place(want, offset);
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
            Some(Outcome::Fetched { bytes, next, high_watermark }) => {
                self.shared.assignment.lock().on_place(want, next);
                self.hand_over(want, bytes, next, high_watermark);
            }
            Some(Outcome::Damaged { bytes, next, high_watermark, reason }) => {
                self.hand_over(want, bytes, next, high_watermark);
                if self.shared.assignment.lock().on_halt(want) {
                    self.tell(ConsumeError::Damaged { partition, offset: next, reason });
                }
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

    fn hand_over(&self, want: &Want<FetchFrom>, bytes: bytes::Bytes, end: Offset, high_watermark: Offset) {
        if bytes.is_empty() || !want.progress.is_current() {
            return;
        }
        self.shared.buffered_bytes.fetch_add(bytes.len(), Ordering::AcqRel);
        let progress = Arc::clone(&want.progress);
        let batches =
            RecordBatches::new(want.partition.clone(), bytes, want.what.offset, end, high_watermark, progress);
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

async fn fetch_once(
    shared: &Shared,
    lane: Lane,
    from: BrokerId,
    wants: &[Want<FetchFrom>],
    room: usize,
) -> Result<Vec<Option<Outcome>>, FetchFailed> {
    let client = &shared.client;
    let connection = client.connect(Ask::Broker(from), lane).await.map_err(FetchFailed::Request)?;
    let view = client.metadata().view();
    let id_of = |topic: &Arc<str>| view.topics.get(topic).map_or(TopicId::ZERO, |info| info.id);
    let ids: HashMap<Arc<str>, TopicId> =
        wants.iter().map(|want| (Arc::clone(&want.partition.topic), id_of(&want.partition.topic))).collect();
    let version = connection.version_of::<FetchRequest>(fetch::versions(&ids)).map_err(FetchFailed::Request)?;
    let request = fetch::build(wants, &ids, room, &shared.config);
    let answer = connection.call(version, &request, client.config().request_timeout).await;
    fetch::outcomes(answer.map_err(FetchFailed::Request)?, wants, &ids).map_err(FetchFailed::Refused)
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
    match offsets::list_once(&shared.client, partition, time).await? {
        Some(offset) => Ok(Some(offset)),
        // Nothing is as new as that: what comes next is.
        None => offsets::list_once(&shared.client, partition, offsets::LATEST).await,
    }
}
