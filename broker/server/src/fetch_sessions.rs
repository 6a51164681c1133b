//! Fetch sessions (KIP-227): what a client fetches is remembered, so that its next fetch names only what has changed, and its
//! answer only what is new.
//!
//! ```text
//!   session epoch   -1  no session (and the end of one that was)
//!                    0  a whole request that begins a session, where there is room
//!                   n>0 what has changed since request n - 1 of this session
//! ```
//!
//! Must not know: partitions' logs, sockets.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use cairn_protocol::messages::fetch_response::PartitionData;
use parking_lot::Mutex;
use uuid::Uuid;

/// The epoch of a request outside any session.
const NO_SESSION: i32 = -1;
/// The epoch of a request that begins a session.
const BEGIN: i32 = 0;
/// A session that was used within this time is not given up for a new one.
const KEPT_AT_LEAST: Duration = Duration::from_secs(120);

/// The sessions of all clients, in a bounded number.
#[derive(Debug)]
pub(crate) struct FetchSessions {
    slots: usize,
    sessions: Mutex<HashMap<i32, Arc<Mutex<Session>>>>,
}

/// A topic as the request names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TopicKey {
    Name(Arc<str>),
    Id(Uuid),
}

/// One partition that is to be fetched.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) topic: TopicKey,
    pub(crate) partition: i32,
    pub(crate) fetch_offset: i64,
    pub(crate) max_bytes: i32,
    pub(crate) current_leader_epoch: i32,
}

#[derive(Debug)]
struct Session {
    /// What the next request must have.
    epoch: i32,
    by: Naming,
    partitions: Vec<Remembered>,
    places: HashMap<(TopicKey, i32), usize>,
    /// Where the next answer begins, so that partitions take turns at the bytes of an answer.
    first: usize,
    used: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Naming {
    Name,
    Id,
}

#[derive(Debug)]
struct Remembered {
    wanted: Wanted,
    /// What the client was told last; nothing yet, or an error, which is told again.
    told: Option<Told>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Told {
    high_watermark: i64,
    log_start_offset: i64,
}

/// What one request fetches, and how it is to be answered.
#[derive(Debug)]
pub(crate) struct Fetching {
    pub(crate) wanted: Vec<Wanted>,
    session: Option<(i32, Arc<Mutex<Session>>)>,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The answer names all partitions.
    Whole,
    /// The answer names what is new.
    Incremental,
}

/// A request's part that concerns sessions.
#[derive(Debug)]
pub(crate) struct SessionRequest {
    pub(crate) session_id: i32,
    pub(crate) epoch: i32,
    pub(crate) by: Naming,
    pub(crate) topics: Vec<FetchTopic>,
    pub(crate) forgotten: Vec<ForgottenTopic>,
}

impl FetchSessions {
    pub(crate) fn new(slots: u32) -> Self {
        Self { slots: slots as usize, sessions: Mutex::default() }
    }

    /// What the request fetches, by itself or together with what is remembered.
    pub(crate) fn on_request(&self, request: SessionRequest, now: Instant) -> Result<Fetching, ErrorCode> {
        let SessionRequest { session_id, epoch, by, topics, forgotten } = request;
        if epoch == NO_SESSION || epoch == BEGIN {
            if session_id != 0 {
                self.sessions.lock().remove(&session_id);
            }
            let wanted: Vec<Wanted> = wanted(by, topics).collect();
            let session = if epoch == BEGIN && !wanted.is_empty() { self.begin(&wanted, by, now) } else { None };
            return Ok(Fetching { wanted, session, kind: Kind::Whole });
        }
        let session = self.sessions.lock().get(&session_id).cloned();
        let session = session.ok_or(ErrorCode::FetchSessionIdNotFound)?;
        let wanted = session.lock().on_request(epoch, by, topics, forgotten, now)?;
        if wanted.is_empty() {
            self.sessions.lock().remove(&session_id);
            return Ok(Fetching { wanted, session: None, kind: Kind::Whole });
        }
        Ok(Fetching { wanted, session: Some((session_id, session)), kind: Kind::Incremental })
    }

    /// The answer is empty, as the client has to wait: a session that was begun for it is not, as the client could not know
    /// what its answer would have told. Gives the id that the answer bears.
    pub(crate) fn on_throttled(&self, fetching: &Fetching) -> i32 {
        match (&fetching.session, fetching.kind) {
            (Some((id, _)), Kind::Incremental) => *id,
            (Some((id, _)), Kind::Whole) => {
                self.sessions.lock().remove(id);
                0
            }
            (None, _) => 0,
        }
    }

    /// Remembers a new session, where there is room or can be made.
    fn begin(&self, wanted: &[Wanted], by: Naming, now: Instant) -> Option<(i32, Arc<Mutex<Session>>)> {
        let mut sessions = self.sessions.lock();
        if sessions.len() >= self.slots {
            let oldest = sessions.iter().map(|(id, session)| (session.lock().used, *id)).min();
            let (_, id) = oldest.filter(|(used, _)| now.saturating_duration_since(*used) >= KEPT_AT_LEAST)?;
            sessions.remove(&id);
        }
        let id = loop {
            let id = rand::random_range(1..=i32::MAX);
            if !sessions.contains_key(&id) {
                break id;
            }
        };
        let mut session = Session { epoch: 1, by, partitions: Vec::new(), places: HashMap::new(), first: 0, used: now };
        for wanted in wanted {
            session.remember(wanted.clone());
        }
        let session = Arc::new(Mutex::new(session));
        sessions.insert(id, Arc::clone(&session));
        Some((id, session))
    }
}

impl Session {
    fn on_request(
        &mut self,
        epoch: i32,
        by: Naming,
        topics: Vec<FetchTopic>,
        forgotten: Vec<ForgottenTopic>,
        now: Instant,
    ) -> Result<Vec<Wanted>, ErrorCode> {
        if epoch != self.epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if by != self.by {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        self.epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
        self.used = now;
        for topic in forgotten {
            let key = key(by, &topic.topic, topic.topic_id);
            for partition in topic.partitions {
                self.forget(&(key.clone(), partition));
            }
        }
        for wanted in wanted(by, topics) {
            self.remember(wanted);
        }
        let (before, after) = self.partitions.split_at(self.first.min(self.partitions.len()));
        Ok(after.iter().chain(before).map(|remembered| remembered.wanted.clone()).collect())
    }

    fn remember(&mut self, wanted: Wanted) {
        let place = (wanted.topic.clone(), wanted.partition);
        match self.places.get(&place) {
            Some(at) => self.partitions[*at].wanted = wanted,
            None => {
                self.places.insert(place, self.partitions.len());
                self.partitions.push(Remembered { wanted, told: None });
            }
        }
    }

    fn forget(&mut self, place: &(TopicKey, i32)) {
        let Some(at) = self.places.remove(place) else { return };
        self.partitions.swap_remove(at);
        if let Some(moved) = self.partitions.get(at) {
            self.places.insert((moved.wanted.topic.clone(), moved.wanted.partition), at);
        }
    }

    /// Whether the client has to be told of this.
    fn is_new(&self, topic: &TopicKey, data: &PartitionData) -> bool {
        let Some(at) = self.places.get(&(topic.clone(), data.partition_index)) else { return true };
        let is_error = data.error_code != ErrorCode::None.code();
        let is_elsewhere = data.preferred_read_replica >= 0;
        has_records(data) || is_error || is_elsewhere || self.partitions[*at].told != Some(Told::of(data))
    }

    /// Remembers that the client is told of this.
    fn on_told(&mut self, topic: &TopicKey, data: &PartitionData) {
        let Some(at) = self.places.get(&(topic.clone(), data.partition_index)) else { return };
        let is_error = data.error_code != ErrorCode::None.code();
        self.partitions[*at].told = if is_error { None } else { Some(Told::of(data)) };
        if has_records(data) {
            self.first = at + 1;
        }
    }
}

impl Fetching {
    /// The id that the answer bears: 0 outside a session.
    pub(crate) fn session_id(&self) -> i32 {
        self.session.as_ref().map_or(0, |(id, _)| *id)
    }

    /// Leaves out of an answer what the client knows already.
    pub(crate) fn keep_new(&self, answers: &mut Vec<(TopicKey, PartitionData)>) {
        let Some((_, session)) = &self.session else { return };
        let mut session = session.lock();
        answers.retain(|(topic, data)| {
            let is_new = session.is_new(topic, data);
            session.on_told(topic, data);
            is_new || self.kind == Kind::Whole
        });
    }

    /// Does the same to an answer that may not be given.
    pub(crate) fn look_for_new(&self, answers: &mut Vec<(TopicKey, PartitionData)>) {
        if let (Some((_, session)), Kind::Incremental) = (&self.session, self.kind) {
            let session = session.lock();
            answers.retain(|(topic, data)| session.is_new(topic, data));
        }
    }
}

impl Told {
    fn of(data: &PartitionData) -> Self {
        Self { high_watermark: data.high_watermark, log_start_offset: data.log_start_offset }
    }
}

fn has_records(data: &PartitionData) -> bool {
    data.records.as_ref().is_some_and(|records| !records.is_empty())
}

fn wanted(by: Naming, topics: Vec<FetchTopic>) -> impl Iterator<Item = Wanted> {
    topics.into_iter().flat_map(move |topic| {
        let key = key(by, &topic.topic, topic.topic_id);
        topic.partitions.into_iter().map(move |partition: FetchPartition| Wanted {
            topic: key.clone(),
            partition: partition.partition,
            fetch_offset: partition.fetch_offset,
            max_bytes: partition.partition_max_bytes,
            current_leader_epoch: partition.current_leader_epoch,
        })
    })
}

fn key(by: Naming, name: &str, id: Uuid) -> TopicKey {
    match by {
        Naming::Name => TopicKey::Name(name.into()),
        Naming::Id => TopicKey::Id(id),
    }
}

#[cfg(test)]
mod tests;
