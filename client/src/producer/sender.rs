//! The one task of a producer: carries batches to brokers and tells the accumulator what became of them.
//!
//! It decides nothing about order or retries; the accumulator does. Must not know: how partitions are chosen.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cairn_protocol::ids::{BrokerId, ProducerEpoch, ProducerId};
use cairn_protocol::messages::{InitProducerIdRequest, ProduceRequest};
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::time::Instant;

use super::accumulator::{Drained, Link, Sent};
use super::batch::{Identity, Known};
use super::request::{self, Outcome};
use super::{Acks, Closing, ProduceError, Shared, TransactionError};
use crate::client::Ask;
use crate::cluster::Renewal;
use crate::error::{RequestError, check};
use crate::network::{Answer, Connection, Lane, Pending};
use crate::topic_partition::TopicPartition;

/// Produce from the first version with record batches v2. 13 has topic ids instead of names.
const PRODUCE_VERSIONS: std::ops::RangeInclusive<i16> = 3..=12;
/// From version 12 on partitions are added to a transaction by what is written (KIP-890).
const TRANSACTIONAL_VERSIONS: std::ops::RangeInclusive<i16> = 3..=11;
const INIT_PRODUCER_ID_VERSIONS: std::ops::RangeInclusive<i16> = 0..=5;

/// What the sender waits for.
enum Event {
    Connected { to: BrokerId, connection: Result<Connection, RequestError> },
    Room(BrokerId),
    Answered { sent: Vec<Sent>, outcomes: Result<Vec<Outcome>, RequestError> },
    Refreshed,
    Identity(Result<Identity, ProduceError>),
    Added { identity: Identity, partitions: Vec<TopicPartition>, outcome: Result<(), TransactionError> },
}

struct Sender {
    shared: Arc<Shared>,
    lane: Lane,
    links: HashMap<BrokerId, Connection>,
    connecting: HashSet<BrokerId>,
    /// Brokers whose connections have no room, and are waited for.
    full: HashSet<BrokerId>,
    asking_identity: bool,
    adding: bool,
    renewal: Renewal,
    events: FuturesUnordered<BoxFuture<'static, Event>>,
}

/// Runs until the producer is closed and nothing is outstanding.
pub(super) async fn run(shared: Arc<Shared>) {
    let lane = shared.client.pool().own_lane();
    let mut sender = Sender {
        shared,
        lane,
        links: HashMap::new(),
        connecting: HashSet::new(),
        full: HashSet::new(),
        asking_identity: false,
        adding: false,
        renewal: Renewal::default(),
        events: FuturesUnordered::new(),
    };
    loop {
        let wake_at = sender.send_all();
        if sender.is_done() {
            break;
        }
        sender.wait(wake_at).await;
    }
    sender.shared.client.pool().close(lane);
    sender.shared.close(Closing::Ended);
}

impl Sender {
    /// Sends what can go now. Gives when to look again.
    fn send_all(&mut self) -> Option<Instant> {
        let closing = *self.shared.closing.borrow();
        if closing >= Closing::Draining || self.shared.pressed.load(Ordering::Relaxed) > 0 {
            self.shared.accumulator.lock().hurry();
        }
        if closing == Closing::Aborting {
            self.shared.accumulator.lock().abort(|batch| ProduceError::GivenUp { written: batch.possibly_written() });
        }
        loop {
            let Drained { requests, absent, leaderless, wants_identity, unadded, wake_at } = self.drain();
            for to in absent {
                self.connect(to);
            }
            if !leaderless.is_empty() {
                self.refresh(leaderless.into_iter().collect());
            }
            if wants_identity {
                self.ask_identity();
            }
            if !unadded.is_empty() {
                self.add_to_transaction(unadded);
            }
            if requests.is_empty() {
                return wake_at;
            }
            for (to, batches) in requests {
                self.send(to, batches);
            }
        }
    }

    fn drain(&mut self) -> Drained {
        let view = self.shared.client.metadata().view();
        self.links.retain(|_, connection| connection.is_alive());
        let mut full = Vec::new();
        let link_to = |id: BrokerId| match self.links.get(&id) {
            Some(connection) if connection.has_room() => Link::Ready,
            Some(_) => {
                full.push(id);
                Link::Busy
            }
            None if self.connecting.contains(&id) => Link::Busy,
            None => Link::Absent,
        };
        let drained = self.shared.accumulator.lock().drain(Instant::now(), |to| view.leader(to), link_to);
        full.into_iter().for_each(|to| self.wait_for_room(to));
        drained
    }

    /// A connection may have no room although nothing of this producer is under way: while the client says anew who it is.
    fn wait_for_room(&mut self, to: BrokerId) {
        let Some(connection) = self.links.get(&to).cloned() else { return };
        if self.full.insert(to) {
            self.events.push(Box::pin(async move {
                connection.room().await;
                Event::Room(to)
            }));
        }
    }

    fn send(&mut self, to: BrokerId, mut batches: Vec<Sent>) {
        let sent = self.write(to, &mut batches);
        let is_answered = self.shared.config.acks != Acks::None;
        self.events.push(Box::pin(async move {
            let outcomes = match sent {
                Err(error) => Err(error),
                Ok(pending) if is_answered => request::outcomes(pending, &batches).await,
                Ok(pending) => pending.written().await.map(|_| vec![Outcome::UNKNOWN_OFFSET; batches.len()]),
            };
            Event::Answered { sent: batches, outcomes }
        }));
    }

    /// Writes the request in this very call: the order of calls is the order on the wire.
    fn write(&mut self, to: BrokerId, batches: &mut [Sent]) -> Result<Pending<ProduceRequest>, RequestError> {
        let connection = self.links.get(&to).ok_or(RequestError::UnknownBroker { id: to.0 })?;
        let config = &self.shared.config;
        let versions = if config.transactional.is_some() { TRANSACTIONAL_VERSIONS } else { PRODUCE_VERSIONS };
        let version = connection.version_of::<ProduceRequest>(versions)?;
        let timeout = self.shared.client.config().request_timeout;
        let (request, builders) = request::build(batches, config, timeout)?;
        if !builders.is_empty() {
            let mut accumulator = self.shared.accumulator.lock();
            builders.into_iter().for_each(|builder| accumulator.recycle(builder));
        }
        let answer = if config.acks == Acks::None { Answer::None } else { Answer::Expected };
        connection.try_send(version, &request, answer)
    }

    fn connect(&mut self, to: BrokerId) {
        if !self.connecting.insert(to) {
            return;
        }
        let (client, lane) = (self.shared.client.clone(), self.lane);
        self.events.push(Box::pin(async move {
            Event::Connected { to, connection: client.connect(Ask::Broker(to), lane).await }
        }));
    }

    fn refresh(&mut self, topics: Vec<Arc<str>>) {
        if let Some(asking) = self.renewal.begin(&self.shared.client, topics) {
            self.events.push(Box::pin(asking.map(|()| Event::Refreshed)));
        }
    }

    /// One request at a time: what comes meanwhile goes into the next.
    fn add_to_transaction(&mut self, partitions: Vec<TopicPartition>) {
        let identity = self.shared.accumulator.lock().transaction_identity();
        let (Some(coordinator), Some(identity)) = (self.shared.coordinator.clone(), identity) else { return };
        if std::mem::replace(&mut self.adding, true) {
            return;
        }
        self.events.push(Box::pin(async move {
            let outcome = coordinator.add_partitions(identity, &partitions).await;
            Event::Added { identity, partitions, outcome }
        }));
    }

    fn ask_identity(&mut self) {
        // Whoever writes in transactions is told by who begins them.
        if self.shared.coordinator.is_some() {
            return;
        }
        if std::mem::replace(&mut self.asking_identity, true) {
            return;
        }
        let client = self.shared.client.clone();
        self.events.push(Box::pin(async move {
            let identity = init_producer_id(&client).await;
            if identity.is_err() {
                tokio::time::sleep(client.config().backoff.wait_after(3)).await;
            }
            Event::Identity(identity)
        }));
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
            Event::Connected { to, connection } => {
                self.connecting.remove(&to);
                match connection {
                    Ok(connection) => {
                        self.links.insert(to, connection);
                    }
                    Err(error) => {
                        tracing::debug!(broker = %to, %error, "cannot connect");
                        // It may live at another address now, or others lead in its place.
                        self.refresh(Vec::new());
                    }
                }
            }
            Event::Room(to) => drop(self.full.remove(&to)),
            Event::Refreshed => self.renewal.on_done(),
            Event::Added { identity, partitions, outcome } => {
                self.adding = false;
                let mut accumulator = self.shared.accumulator.lock();
                match outcome {
                    Ok(()) => accumulator.on_added(identity, partitions),
                    Err(error) => accumulator.fail_transaction(&ProduceError::Transaction(Arc::new(error))),
                }
            }
            Event::Identity(Ok(identity)) => {
                self.asking_identity = false;
                tracing::debug!(producer_id = %identity.id, "producer id received");
                self.shared.accumulator.lock().on_identity(identity);
            }
            Event::Identity(Err(error)) => {
                self.asking_identity = false;
                if error.is_retriable() {
                    tracing::debug!(%error, "no producer id yet");
                } else {
                    tracing::warn!(%error, "no producer id");
                    self.shared.accumulator.lock().abort(|_| error.clone());
                }
            }
            Event::Answered { sent, outcomes: Ok(outcomes) } => {
                for (sent, outcome) in sent.into_iter().zip(outcomes) {
                    self.on_outcome(sent, outcome);
                }
            }
            Event::Answered { sent, outcomes: Err(error) } => self.on_unanswered(sent, &error),
        }
    }

    fn on_outcome(&mut self, sent: Sent, outcome: Outcome) {
        let mut accumulator = self.shared.accumulator.lock();
        let (code, message) = match outcome {
            Outcome::Written(written) => return accumulator.on_written(&sent, written),
            Outcome::Refused { code, message } => (code, message),
        };
        let error = ProduceError::Refused { partition: sent.to.clone(), code, message };
        tracing::debug!(%error, attempt = sent.batch.failures + 1, "batch refused");
        let topic = Arc::clone(&sent.to.topic);
        match request::reaction(code, sent.batch.stamp.is_some()) {
            request::Reaction::Retry(known) => accumulator.on_retry(sent, known, error, Instant::now()),
            request::Reaction::OutOfOrder => accumulator.on_out_of_order(sent, error, Instant::now()),
            request::Reaction::NewIdentity => accumulator.on_identity_refused(sent, error, Instant::now()),
            request::Reaction::Split => accumulator.on_too_large(&sent, error, Instant::now()),
            request::Reaction::GiveUp => accumulator.on_refused(&sent, error),
        }
        drop(accumulator);
        if request::is_about_metadata(code) {
            self.refresh(vec![topic]);
        }
    }

    fn on_unanswered(&mut self, sent: Vec<Sent>, error: &RequestError) {
        tracing::debug!(%error, batches = sent.len(), "produce request not answered");
        let known = if error.possibly_done() { Known::MaybeWritten } else { Known::NotWritten };
        let mut accumulator = self.shared.accumulator.lock();
        for sent in sent {
            if error.is_retriable() {
                accumulator.on_retry(sent, known, error.clone().into(), Instant::now());
            } else {
                accumulator.on_refused(&sent, error.clone().into());
            }
        }
        drop(accumulator);
        self.refresh(Vec::new());
    }

    fn is_done(&self) -> bool {
        match *self.shared.closing.borrow() {
            Closing::Open => false,
            Closing::Draining => self.shared.accumulator.lock().is_empty(),
            Closing::Aborting | Closing::Ended => true,
        }
    }
}

async fn init_producer_id(client: &crate::Client) -> Result<Identity, ProduceError> {
    let request = |_| InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: i32::MAX,
        ..InitProducerIdRequest::default()
    };
    let timeout: Duration = client.config().request_timeout;
    let answer = client.call(Ask::Any, INIT_PRODUCER_ID_VERSIONS, timeout, request).await?;
    check(answer.error_code).map_err(|code| ProduceError::NoProducerId { code })?;
    Ok(Identity { id: ProducerId(answer.producer_id), epoch: ProducerEpoch(answer.producer_epoch) })
}
