//! Fetch, versions 4 to 18: whole batches from an offset on, waited for if need be.
//!
//! - Sessions (KIP-227) from 7 on; topics by id from 13 on.
//! - Bytes: at most `max_bytes` of the request, `fetch.max.bytes` of the broker and the partition's own bound; but the first
//!   batch of an answer is always given whole, so that a client gets on. A batch that begins before the offset is given whole.
//! - A fetch waits until `min_bytes` have arrived or `max_wait_ms` has passed; it does not wait after an error.
//! - The client's leader epoch is checked from 9 on: FENCED_LEADER_EPOCH, UNKNOWN_LEADER_EPOCH.
//! - Isolation: as there are no transactions yet, what is readable is stable.
//! - Records leave as slices of the log's maps. What is not in memory is read on a thread that may wait for the disk.
//! - A client beyond its quota gets an empty answer that says how long to wait, and no more than its windows hold in one.
//! - Only consumers fetch here: a replica's id is not believed, and its request is read as a consumer's.
//! - From 11 on followers answer as well, up to the high watermark that they know, and a leader sends a consumer to the follower in its
//!   own rack, where `replica.selector.class` says so (KIP-392).

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::{Offset, PartitionIndex, TopicId};
use cairn_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use cairn_protocol::messages::{FetchRequest, FetchResponse};
use cairn_protocol::{ApiKey, Message};
use cairn_storage::log::{Batches, FirstBatch, HotRead, Limits, ReadError};
use uuid::Uuid;

use crate::blocking::on_blocking_thread;
use crate::dispatch::{Call, Outcome};
use crate::fetch_sessions::{Fetching, Naming, SessionRequest, TopicKey, Wanted};
use crate::node::Node;
use crate::partitions::{Arrivals, Partition};
use crate::quotas::{Kind, Throttle};
use crate::read_replica;

/// The first version that names topics by id.
const BY_ID_FROM: i16 = 13;
/// The first version whose clients may read from followers, and say where they stand.
const FROM_FOLLOWERS_FROM: i16 = 11;
/// No fetch waits longer, whatever its client says.
const WAIT_MAX: Duration = Duration::from_secs(300);

pub(super) fn handle(node: &Arc<Node>, call: &Call, request: FetchRequest) -> Outcome<FetchResponse> {
    let now = Instant::now();
    let by_quota = node.quotas.most_fetched(call.client()).and_then(|most| i32::try_from(most).ok()).unwrap_or(i32::MAX);
    let max_bytes = request.max_bytes.min(node.config.start().fetch_max_bytes).min(by_quota);
    let bounds = Bounds {
        min_bytes: i64::from(request.min_bytes.min(max_bytes)),
        max_bytes: u64::try_from(max_bytes).unwrap_or(0),
        deadline: now + Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0)).min(WAIT_MAX),
    };
    let session = SessionRequest {
        session_id: request.session_id,
        epoch: request.session_epoch,
        by: if call.version >= BY_ID_FROM { Naming::Id } else { Naming::Name },
        topics: request.topics,
        forgotten: request.forgotten_topics_data,
    };
    let fetching = match node.fetch_sessions.on_request(session, now) {
        Ok(fetching) => fetching,
        Err(error) => {
            return Outcome::Now(FetchResponse { error_code: error.code(), ..FetchResponse::default() });
        }
    };
    let limited = node.quotas.has_any().then(|| call.clone());
    let rack = (call.version >= FROM_FOLLOWERS_FROM).then_some(request.rack_id);
    let fetch = Fetch::new(node, fetching, bounds, rack, limited);
    match fetch.look(Disk::Never) {
        Some(found) if !fetch.should_wait(&found, now) => Outcome::Now(fetch.answer(found)),
        found => Outcome::alone(fetch.wait(found)),
    }
}

/// How much, and until when.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    min_bytes: i64,
    max_bytes: u64,
    deadline: Instant,
}

/// One fetch, from the request to its answer.
struct Fetch {
    node: Arc<Node>,
    fetching: Fetching,
    /// The partitions of `fetching`, or why they cannot be read.
    held: Vec<Result<Arc<Partition>, ErrorCode>>,
    bounds: Bounds,
    /// Where the client stands, empty when it does not say so; none where it reads from leaders only.
    rack: Option<Box<str>>,
    /// The request, where any client has a quota.
    limited: Option<Call>,
    /// Nanoseconds that all looks have taken.
    looking: AtomicU64,
}

/// What one look at all partitions has found.
struct Found {
    partitions: Vec<PartitionData>,
    /// How many offsets each partition's records go on.
    offsets: Vec<u64>,
    bytes: u64,
    /// The client has to hear of an error, or of another replica that it shall read from.
    is_urgent: bool,
}

/// Whether a look may wait for the disk.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Disk {
    Never,
    May,
}

/// It would have to wait for the disk.
struct Cold;

impl Fetch {
    fn new(
        node: &Arc<Node>,
        fetching: Fetching,
        bounds: Bounds,
        rack: Option<Box<str>>,
        limited: Option<Call>,
    ) -> Self {
        let held = fetching.wanted.iter().map(|wanted| open(node, wanted, rack.is_some())).collect();
        Self { node: Arc::clone(node), fetching, held, bounds, rack, limited, looking: AtomicU64::new(0) }
    }

    /// Reads what there is; nothing when that would wait for the disk.
    fn look(&self, disk: Disk) -> Option<Found> {
        let begun = Instant::now();
        let found = self.look_at_all(disk);
        self.looking.fetch_add(u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        found
    }

    fn look_at_all(&self, disk: Disk) -> Option<Found> {
        let mut found =
            Found { partitions: Vec::with_capacity(self.held.len()), offsets: Vec::new(), bytes: 0, is_urgent: false };
        for (wanted, held) in self.fetching.wanted.iter().zip(&self.held) {
            let left = self.bounds.max_bytes.saturating_sub(found.bytes);
            let first_batch = if found.bytes == 0 { FirstBatch::AtLeastOne } else { FirstBatch::WithinLimit };
            let data = match held {
                Ok(partition) => self.read(partition, wanted, left, first_batch, disk),
                Err(error) => Ok((failed(wanted.partition, *error), 0)),
            };
            let Ok((data, offsets)) = data else { return None };
            found.offsets.push(offsets);
            found.bytes += data.records.as_ref().map_or(0, |records| records.len() as u64);
            found.is_urgent |= data.error_code != ErrorCode::None.code() || data.preferred_read_replica >= 0;
            found.partitions.push(data);
        }
        Some(found)
    }

    fn read(
        &self,
        partition: &Partition,
        wanted: &Wanted,
        left: u64,
        first_batch: FirstBatch,
        disk: Disk,
    ) -> Result<(PartitionData, u64), Cold> {
        let offset = Offset(wanted.fetch_offset);
        let rack = self.rack.as_deref();
        if let Some(nearer) = rack.and_then(|rack| read_replica::in_rack(&self.node, partition, rack, offset)) {
            let nothing = data(partition, wanted.partition, partition.high_watermark(), Bytes::new());
            return Ok((PartitionData { preferred_read_replica: nearer.0, ..nothing }, 0));
        }
        if rack.is_none() && !partition.leads() {
            return Ok((failed(wanted.partition, ErrorCode::NotLeaderOrFollower), 0));
        }
        // Another leader may have come while the fetch waited.
        if let Err(error) = partition.check_epoch(wanted.current_leader_epoch) {
            return Ok((failed(wanted.partition, error), 0));
        }
        read(partition, wanted, left, first_batch, disk)
    }

    fn should_wait(&self, found: &Found, now: Instant) -> bool {
        !found.is_urgent
            && !found.partitions.is_empty()
            && i64::try_from(found.bytes).unwrap_or(i64::MAX) < self.bounds.min_bytes
            && now < self.bounds.deadline
    }

    /// Looks again whenever something has arrived, until it is enough or time is up.
    async fn wait(self, mut found: Option<Found>) -> FetchResponse {
        let fetch = Arc::new(self);
        let _counted = Counted::new(&fetch.node);
        loop {
            if let Some(found) = found.take().filter(|found| !fetch.should_wait(found, Instant::now())) {
                return fetch.answer(found);
            }
            // Noted first, then looked: what arrives in between is seen by one of the two.
            let partitions = fetch.held.iter().filter_map(|held| held.as_ref().ok()).cloned().collect();
            let arrivals = Arrivals::new(partitions);
            let again = fetch.look_anywhere().await;
            if !fetch.should_wait(&again, Instant::now()) {
                return fetch.answer(again);
            }
            let missing = fetch.bounds.min_bytes - i64::try_from(again.bytes).unwrap_or(i64::MAX);
            arrivals.expect(missing);
            drop(again);
            let arrived = poll_fn(|cx| arrivals.poll(cx));
            if tokio::time::timeout_at(fetch.bounds.deadline.into(), arrived).await.is_err() {
                return fetch.answer(fetch.look_anywhere().await);
            }
            found = Some(fetch.look_anywhere().await);
        }
    }

    /// Reads what there is, from the disk if need be.
    async fn look_anywhere(self: &Arc<Self>) -> Found {
        if let Some(found) = self.look(Disk::Never) {
            return found;
        }
        let fetch = Arc::clone(self);
        on_blocking_thread(move || {
            let begun = Instant::now();
            let found = fetch.look(Disk::May).expect("a look that may wait always finds");
            fetch.node.metrics.disk_reads.observe(begun.elapsed());
            found
        })
        .await
    }

    /// How long the client has to wait before it may have what was found.
    fn throttle(&self, found: &Found) -> Throttle {
        let Some(call) = &self.limited else { return Throttle::NONE };
        let now = Instant::now();
        let by_time = call.throttle_by_time(&self.node, now);
        if !self.node.quotas.has(Kind::Fetch) {
            return by_time;
        }
        self.node.quotas.on_fetched(call.client(), self.weigh(call.version, found), by_time, now)
    }

    /// How long the answer would be, as Kafka counts it: all of it, with the four bytes that say so.
    fn weigh(&self, version: i16, found: &Found) -> u64 {
        const SIZE: usize = 4;
        let topics = self.fetching.wanted.iter().map(|wanted| wanted.topic.clone());
        let mut answers: Vec<(TopicKey, PartitionData)> = topics.zip(found.partitions.iter().cloned()).collect();
        self.fetching.look_for_new(&mut answers);
        let answer = FetchResponse { responses: by_topic(answers), ..FetchResponse::default() };
        // What does not encode is told when it is to be sent.
        answer.to_segments(version).map_or(found.bytes, |frame| (frame.len() + SIZE) as u64)
    }

    fn answer(&self, found: Found) -> FetchResponse {
        self.node.metrics.in_storage(ApiKey::Fetch, Duration::from_nanos(self.looking.load(Ordering::Relaxed)));
        let throttle = self.throttle(&found);
        if !throttle.is_none() {
            let session_id = self.node.fetch_sessions.on_throttled(&self.fetching);
            return FetchResponse { throttle_time_ms: throttle.millis(), session_id, ..FetchResponse::default() };
        }
        for ((held, data), offsets) in self.held.iter().zip(&found.partitions).zip(&found.offsets) {
            if let (Ok(partition), Some(records), 1..) = (held, &data.records, *offsets) {
                partition.traffic.on_fetched(records.len(), *offsets);
            }
        }
        let topics = self.fetching.wanted.iter().map(|wanted| wanted.topic.clone());
        let mut answers: Vec<(TopicKey, PartitionData)> = topics.zip(found.partitions).collect();
        self.fetching.keep_new(&mut answers);
        let responses = by_topic(answers);
        FetchResponse { session_id: self.fetching.session_id(), responses, ..FetchResponse::default() }
    }
}

/// The partitions of one topic together, as far as they stand side by side.
fn by_topic(answers: Vec<(TopicKey, PartitionData)>) -> Vec<FetchableTopicResponse> {
    let mut responses: Vec<FetchableTopicResponse> = Vec::new();
    let mut last: Option<TopicKey> = None;
    for (topic, data) in answers {
        if last.as_ref() != Some(&topic) {
            let (name, id) = match &topic {
                TopicKey::Name(name) => ((**name).into(), Uuid::nil()),
                TopicKey::Id(id) => (Box::default(), *id),
            };
            responses.push(FetchableTopicResponse { topic: name, topic_id: id, partitions: Vec::new() });
            last = Some(topic);
        }
        responses.last_mut().expect("a topic was just pushed").partitions.push(data);
    }
    responses
}

fn open(node: &Node, wanted: &Wanted, from_followers: bool) -> Result<Arc<Partition>, ErrorCode> {
    let (index, partitions) = (PartitionIndex(wanted.partition), &node.partitions);
    let kept = match &wanted.topic {
        TopicKey::Name(name) => partitions.kept_by_name(name, index),
        TopicKey::Id(id) => partitions.kept_by_id(TopicId(*id), index),
    };
    let found = kept.and_then(|kept| if from_followers { partitions.readable(kept) } else { partitions.led(kept) });
    let partition = found.map_err(|not_here| not_here.error_code())?;
    partition.check_epoch(wanted.current_leader_epoch)?;
    Ok(partition)
}

fn read(
    partition: &Partition,
    wanted: &Wanted,
    left: u64,
    first_batch: FirstBatch,
    disk: Disk,
) -> Result<(PartitionData, u64), Cold> {
    if partition.is_closed() {
        return Ok((failed(wanted.partition, ErrorCode::UnknownTopicOrPartition), 0));
    }
    let end = partition.high_watermark();
    let reader = partition.reader();
    let max_bytes = u64::try_from(wanted.max_bytes).unwrap_or(0).min(left);
    let limits = Limits { max_bytes, first_batch, end };
    let offset = Offset(wanted.fetch_offset);
    let read = match disk {
        Disk::Never => match reader.read_hot(offset, limits) {
            Ok(HotRead::Cold) => return Err(Cold),
            Ok(HotRead::Ready(batches)) => Ok(batches),
            Err(error) => Err(error),
        },
        Disk::May => reader.read(offset, limits),
    };
    match read {
        Ok(Batches { bytes, next_offset, .. }) => {
            let offsets = u64::try_from(next_offset.0.saturating_sub(offset.0)).unwrap_or(0);
            Ok((data(partition, wanted.partition, end, bytes), offsets))
        }
        Err(ReadError::OutOfRange { .. }) => {
            let error_code = ErrorCode::OffsetOutOfRange.code();
            Ok((PartitionData { error_code, ..data(partition, wanted.partition, end, Bytes::new()) }, 0))
        }
        // The log has moved to another dir meanwhile, and its old files are gone.
        Err(ReadError::Io { .. }) if !Arc::ptr_eq(&reader, &partition.reader()) => {
            self::read(partition, wanted, left, first_batch, disk)
        }
        Err(error) => {
            tracing::warn!(topic = &*partition.topic, partition = partition.index.0, %error, "cannot read");
            let code = match error {
                ReadError::Io { .. } => ErrorCode::KafkaStorageError,
                _ => ErrorCode::CorruptMessage,
            };
            Ok((failed(wanted.partition, code), 0))
        }
    }
}

fn data(partition: &Partition, partition_index: i32, end: Offset, records: Bytes) -> PartitionData {
    PartitionData {
        partition_index,
        high_watermark: end.0,
        last_stable_offset: end.0,
        log_start_offset: partition.reader().start_offset().0,
        records: Some(records),
        ..PartitionData::default()
    }
}

fn failed(partition_index: i32, error: ErrorCode) -> PartitionData {
    PartitionData {
        partition_index,
        error_code: error.code(),
        high_watermark: -1,
        records: Some(Bytes::new()),
        ..PartitionData::default()
    }
}

/// Counts a waiting fetch as long as it lives.
struct Counted(Arc<Node>);

impl Counted {
    fn new(node: &Arc<Node>) -> Self {
        node.metrics.fetches_waiting.inc();
        Self(Arc::clone(node))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.metrics.fetches_waiting.dec();
    }
}
