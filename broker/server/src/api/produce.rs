//! Produce, versions 3 to 13 (0 to 2 are shown, as Kafka does for old librdkafka, and not served).
//!
//! - One record batch of format 2 for each partition, checked whole before it is appended: length, checksum, counts,
//!   offsets, headers, and the records of a compressed batch in bounded memory. Each partition has its own outcome.
//! - acks=0: no answer; after an error the connection ends, which is all that such a client can notice. acks=1 and acks=all:
//!   answered when appended, and under `durability=synced` (or `flush.messages` reached) when on disk; acks=all when all in-sync
//!   replicas have it. After `timeout.ms` the answer is REQUEST_TIMED_OUT, and after a change of the leader NOT_LEADER_OR_FOLLOWER:
//!   then it is there, or not.
//! - Where the topic's `compression.type` is not `producer`, a batch that came otherwise is compressed anew, outside any lock.
//!   What may take long goes to a thread of its own, and the connection's next request waits for it.
//! - acks=all with fewer in-sync replicas than `min.insync.replicas`: NOT_ENOUGH_REPLICAS.
//! - A topic with `cleanup.policy=compact` refuses a batch with a record without a key: INVALID_RECORD.
//! - Idempotent producers: a retry of one of the last five batches is answered with where it is. When a producer's first batch
//!   is refused for the moment, those behind it are refused with OUT_OF_ORDER_SEQUENCE_NUMBER until it was taken.
//! - Transactions are refused with INVALID_TXN_STATE and a message; so are writes to the cluster's own topics, with
//!   INVALID_TOPIC_EXCEPTION.
//! - Below its disk reserve the broker answers KAFKA_STORAGE_ERROR, upon which clients keep the batch and try again.
//! - Topics by id from 13 on.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use cairn_metadata::configs::{BrokerCompression, TimestampType};
use cairn_metadata::names;
use cairn_protocol::ApiKey;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::{LeaderEpoch, Offset, PartitionIndex, Timestamp, TopicId};
use cairn_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use cairn_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
};
use cairn_protocol::messages::{ProduceRequest, ProduceResponse};
use cairn_protocol::records::{
    BatchHeader, BatchView, Compression, DecompressError, InvalidProduced, ProduceLimits, Produced, RecompressError, Record, Records,
};
use cairn_replication::CommitState;
use cairn_storage::log::{AppendError, ProducerError};
use uuid::Uuid;

use super::refusal::cut;
use crate::blocking::on_blocking_thread;
use crate::clock;
use crate::dispatch::{Call, Outcome, describe};
use crate::net::Order;
use crate::node::Node;
use crate::partitions::{AckWait, AppendRefused, Appended, NotHere, Partition, Required, Settings};

/// The first version that names topics by id.
const BY_ID_FROM: i16 = 13;

/// A record's time when it has none.
const NO_TIMESTAMP: i64 = -1;

/// Records of a batch that are told to be at fault, at most.
const FAULTS_TOLD_MAX: usize = 10_000;

/// Batches up to this length are compressed anew where requests are handled; longer ones, and those that come compressed and
/// so may be long inside, on a thread that may take its time.
const RECOMPRESSED_HERE_MAX: usize = 16 << 10;
/// `acks` that asks for all in-sync replicas.
const ACKS_ALL: i16 = -1;

pub(super) fn handle(node: &Arc<Node>, call: &Call, request: ProduceRequest) -> Outcome<ProduceResponse> {
    let by_id = call.version >= BY_ID_FROM;
    if !takes_long(node, by_id, &request.topic_data) {
        return append_all(node, by_id, request);
    }
    let node = Arc::clone(node);
    Outcome::Elsewhere(Box::pin(on_blocking_thread(move || append_all(&node, by_id, request))))
}

/// Whether a batch of the request is long, and is to be compressed anew.
fn takes_long(node: &Node, by_id: bool, topics: &[TopicProduceData]) -> bool {
    let long = |topic: &TopicProduceData, data: &PartitionProduceData| {
        let Some(batch) = data.records.as_ref().and_then(|records| BatchView::parse(records).ok()) else { return false };
        let is_long = batch.compression() != Compression::None || batch.as_bytes().len() > RECOMPRESSED_HERE_MAX;
        is_long
            && find(node, by_id, &topic.name, topic.topic_id, data.index).is_ok_and(|partition| {
                partition.settings().topic.compression.is_some_and(|wanted| wanted.codec != batch.compression())
            })
    };
    topics.iter().any(|topic| topic.partition_data.iter().any(|data| long(topic, data)))
}

fn find(node: &Node, by_id: bool, name: &str, id: Uuid, index: i32) -> Result<Arc<Partition>, NotHere> {
    if by_id {
        node.partitions.by_id(TopicId(id), PartitionIndex(index))
    } else {
        node.partitions.by_name(name, PartitionIndex(index))
    }
}

fn append_all(node: &Arc<Node>, by_id: bool, request: ProduceRequest) -> Outcome<ProduceResponse> {
    let ProduceRequest { transactional_id, acks, topic_data, timeout_ms } = request;
    let timeout = Duration::from_millis(u64::try_from(timeout_ms).unwrap_or(0));
    let mut produce = Produce {
        node,
        by_id,
        now: clock::now(),
        required: required(acks, transactional_id.as_deref()),
        wait: None,
        waiting: Vec::new(),
        first_error: ErrorCode::None,
        appending: Duration::ZERO,
    };
    let responses = topic_data.into_iter().map(|topic| produce.topic(topic)).collect();
    let mut response = ProduceResponse { responses, ..ProduceResponse::default() };
    let Produce { wait, waiting, first_error, appending, .. } = produce;
    node.metrics.in_storage(ApiKey::Produce, appending);
    if acks == 0 {
        return match first_error {
            ErrorCode::None => Outcome::Silent,
            error => {
                // No answer tells of it: it is counted here.
                node.metrics.error(ApiKey::Produce, error);
                Outcome::Close(format!("produce with acks=0 failed: {}", error.name()).into())
            }
        };
    }
    if waiting.is_empty() {
        return Outcome::Now(response);
    }
    let wait = wait.unwrap_or_default();
    let noted = (acks == ACKS_ALL).then(|| node.catch_up.wait());
    let answer = async move {
        let waited = match tokio::time::timeout(timeout, wait).await {
            Ok(()) => Waited::ToTheEnd,
            Err(_) => Waited::TooLong,
        };
        drop(noted);
        for (lost, error) in waiting.iter().filter_map(|waiting| Some((waiting, waiting.failure(waited)?))) {
            let refusal = Refusal::plain(error);
            let topic = response.responses.iter_mut().find(|topic| lost.is_of(topic));
            let partition = topic.and_then(|topic| {
                topic.partition_responses.iter_mut().find(|partition| partition.index == lost.held.index.0)
            });
            if let Some(partition) = partition {
                *partition = refusal.answer(partition.index);
            }
        }
        response
    };
    Outcome::Later(Box::pin(answer), Order::Pipelined)
}

fn required(acks: i16, transactional_id: Option<&str>) -> Result<Required, Refusal> {
    if transactional_id.is_some() {
        return Err(Refusal::transactions());
    }
    match acks {
        0 => Ok(Required::Nothing),
        1 => Ok(Required::Leader),
        ACKS_ALL => Ok(Required::InSyncReplicas),
        _ => Err(Refusal::plain(ErrorCode::InvalidRequiredAcks)),
    }
}

/// Whether all that was waited for has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waited {
    ToTheEnd,
    /// Longer than the client wants to.
    TooLong,
}

/// One request on its way through its partitions.
struct Produce<'a> {
    node: &'a Node,
    by_id: bool,
    now: Timestamp,
    /// What the answer means, or why nothing is taken.
    required: Result<Required, Refusal>,
    /// Made for the first that has to wait; most requests have none.
    wait: Option<AckWait>,
    waiting: Vec<Waiting>,
    first_error: ErrorCode,
    /// How long the partitions' logs have taken.
    appending: Duration,
}

/// A batch that has to be durable, or committed, before the answer.
struct Waiting {
    held: Arc<Partition>,
    epoch: LeaderEpoch,
    end: Offset,
    required: Required,
}

impl Waiting {
    /// Why it cannot be told to be there, at the moment of answering.
    fn failure(&self, waited: Waited) -> Option<ErrorCode> {
        let is_durable = || self.held.reader().durable_end() >= self.end;
        let (is_there, code) = match self.required {
            Required::InSyncReplicas => match self.held.commit_state(self.epoch, self.end) {
                CommitState::Committed => return None,
                CommitState::OfficeLost => (false, ErrorCode::NotLeaderOrFollower),
                CommitState::Waiting => (false, ErrorCode::KafkaStorageError),
            },
            Required::Leader | Required::Nothing => (is_durable(), ErrorCode::KafkaStorageError),
        };
        match waited {
            _ if is_there => None,
            Waited::TooLong if code == ErrorCode::KafkaStorageError => Some(ErrorCode::RequestTimedOut),
            _ => Some(code),
        }
    }

    fn is_of(&self, topic: &TopicProduceResponse) -> bool {
        if topic.topic_id.is_nil() { *topic.name == *self.held.topic } else { topic.topic_id == self.held.topic_id.0 }
    }
}

impl Produce<'_> {
    fn topic(&mut self, data: TopicProduceData) -> TopicProduceResponse {
        let TopicProduceData { name, topic_id, partition_data } = data;
        let mut partition_responses = Vec::with_capacity(partition_data.len());
        for PartitionProduceData { index, records } in partition_data {
            let found = find(self.node, self.by_id, &name, topic_id, index);
            let records = records.unwrap_or_default();
            partition_responses.push(match self.append(found, &records) {
                Ok(response) => PartitionProduceResponse { index, ..response },
                Err(refusal) => {
                    if self.first_error == ErrorCode::None {
                        self.first_error = refusal.error;
                    }
                    if refusal.is_for_now() {
                        self.note_refused((&name, topic_id, index), &records);
                    }
                    refusal.answer(index)
                }
            });
        }
        TopicProduceResponse { name, topic_id, partition_responses }
    }

    /// A batch will be sent again, while what was sent behind it is on its way: see `storage/src/log/refused.rs`.
    fn note_refused(&self, (name, id, index): (&str, Uuid, i32), records: &Bytes) {
        let index = PartitionIndex(index);
        let partitions = &self.node.partitions;
        let kept = if self.by_id { partitions.kept_by_id(TopicId(id), index) } else { partitions.kept_by_name(name, index) };
        if let (Ok(kept), Ok(header)) = (kept, BatchHeader::decode(records))
            && header.producer.is_some()
        {
            kept.on_refused(&header, self.now);
        }
    }

    /// Checks one partition's batch, outside any lock, and appends it.
    fn append(&mut self, found: Result<Arc<Partition>, NotHere>, records: &Bytes) -> Result<PartitionProduceResponse, Refusal> {
        let required = self.required.clone()?;
        let partition = found?;
        if names::is_internal(&partition.topic) {
            return Err(Refusal::plain(ErrorCode::InvalidTopicException));
        }
        let settings = partition.settings();
        if required == Required::InSyncReplicas && partition.in_sync_replicas() < settings.topic.min_insync_replicas {
            return Err(Refusal::plain(ErrorCode::NotEnoughReplicas));
        }
        let batch = BatchView::parse(records).map_err(|error| Refusal::new(error.error_code(), &error))?;
        if batch.header().attributes.is_transactional() {
            return Err(Refusal::transactions());
        }
        let produced = batch.validate_produced(&ProduceLimits::default()).map_err(|error| Refusal::invalid(&error))?;
        check_times(&settings, &produced, self.now, || batch.records(records, &ProduceLimits::default().decompress))?;
        check_keys(&settings, &produced, || batch.records(records, &ProduceLimits::default().decompress))?;

        let recompressed = match settings.topic.compression {
            Some(wanted) if wanted.codec != batch.compression() => Some(recompress(&batch, wanted, &settings)?),
            _ => None,
        };
        let batch = match &recompressed {
            Some(bytes) => BatchView::parse(bytes).map_err(|error| Refusal::new(error.error_code(), &error))?,
            None => batch,
        };

        let wait = &mut self.wait;
        let begun = Instant::now();
        let appended = {
            let ticket = || wait.get_or_insert_default().ticket();
            partition.append((&batch, &produced), self.now, required, None, ticket)?
        };
        self.appending += begun.elapsed();
        self.node.catch_up.on_produced(batch.as_bytes().len());
        let response = PartitionProduceResponse {
            base_offset: appended.base_offset.0,
            log_append_time_ms: appended.log_append_time.map_or(-1, |time| time.0),
            log_start_offset: partition.reader().start_offset().0,
            ..PartitionProduceResponse::default()
        };
        if appended.waits {
            let Appended { epoch, end, .. } = appended;
            self.waiting.push(Waiting { held: Arc::clone(&partition), epoch, end, required });
        }
        Ok(response)
    }
}

/// The batch as the topic wants it compressed. One that is too large as it was sent is refused all the same.
fn recompress(batch: &BatchView<'_>, wanted: BrokerCompression, settings: &Settings) -> Result<Vec<u8>, Refusal> {
    let (bytes, most) = (batch.as_bytes().len(), settings.topic.max_message_bytes);
    if bytes > usize::try_from(most).unwrap_or(usize::MAX) {
        let message = format!("batch of {bytes} bytes is larger than max.message.bytes, {most}");
        return Err(Refusal { message: Some(message.into()), ..Refusal::plain(ErrorCode::MessageTooLarge) });
    }
    batch.recompressed(wanted.codec, wanted.level, &ProduceLimits::default().decompress).map_err(|error| {
        let code = match error {
            RecompressError::TooLarge => ErrorCode::MessageTooLarge,
            // What validation has decompressed just now.
            RecompressError::Decompress(_) | RecompressError::Compress(_) => ErrorCode::CorruptMessage,
        };
        Refusal::new(code, &error)
    })
}

/// Refuses records whose time is too far from the broker's.
fn check_times(
    settings: &Settings,
    produced: &Produced,
    now: Timestamp,
    records: impl FnOnce() -> Result<Records, DecompressError>,
) -> Result<(), Refusal> {
    let settings = &settings.topic;
    if settings.timestamp_type == TimestampType::LogAppendTime {
        return Ok(());
    }
    let distance = |limit: Option<u64>| limit.and_then(|limit| i64::try_from(limit).ok()).unwrap_or(i64::MAX);
    let oldest = now.0.saturating_sub(distance(settings.timestamp_before_max_ms));
    let newest = now.0.saturating_add(distance(settings.timestamp_after_max_ms));
    let too_old = produced.min.is_some_and(|min| min.timestamp.0 < oldest);
    let too_new = produced.max.is_some_and(|max| max.timestamp.0 > newest);
    if !too_old && !too_new {
        return Ok(());
    }
    let outside = |record: &Record<'_>| {
        let at = record.timestamp.0;
        let inside = at == NO_TIMESTAMP || (oldest..=newest).contains(&at);
        (!inside).then(|| format!("timestamp {at} is not within [{oldest}, {newest}]").into())
    };
    Err(Refusal {
        error: ErrorCode::InvalidTimestamp,
        message: Some("records were refused because of their timestamps".into()),
        records: refused(records, outside)?,
    })
}

/// Refuses records without a key where compaction would throw them away.
fn check_keys(
    settings: &Settings,
    produced: &Produced,
    records: impl FnOnce() -> Result<Records, DecompressError>,
) -> Result<(), Refusal> {
    if produced.first_without_key.is_none() || !settings.log.cleanup.compacts() {
        return Ok(());
    }
    let message = "a topic that is compacted takes no record without a key";
    Err(Refusal {
        error: ErrorCode::InvalidRecord,
        message: Some(message.into()),
        records: refused(records, |record| record.key.is_none().then(|| message.into()))?,
    })
}

/// Each record of a batch that is at fault, by its place in the batch: a client tells the others apart, and may send them again.
fn refused(
    records: impl FnOnce() -> Result<Records, DecompressError>,
    fault: impl Fn(&Record<'_>) -> Option<Box<str>>,
) -> Result<Vec<BatchIndexAndErrorMessage>, Refusal> {
    // Validation has read and decompressed all of them just now.
    let records = records().map_err(|error| Refusal::new(ErrorCode::CorruptMessage, &error))?;
    let faults = (0..).zip(records.iter().map_while(Result::ok)).filter_map(|(batch_index, record)| {
        let message = fault(&record)?;
        Some(BatchIndexAndErrorMessage { batch_index, batch_index_error_message: Some(message) })
    });
    Ok(faults.take(FAULTS_TOLD_MAX).collect())
}

/// Why a batch is not taken, as the client is told.
#[derive(Clone, Debug)]
struct Refusal {
    error: ErrorCode,
    message: Option<Box<str>>,
    records: Vec<BatchIndexAndErrorMessage>,
}

impl Refusal {
    fn plain(error: ErrorCode) -> Self {
        Self { error, message: None, records: Vec::new() }
    }

    fn new(error: ErrorCode, why: &dyn std::error::Error) -> Self {
        Self { error, message: Some(cut(why.to_string())), records: Vec::new() }
    }

    /// Whether clients try the same batch again, here.
    fn is_for_now(&self) -> bool {
        matches!(
            self.error,
            ErrorCode::NotEnoughReplicas | ErrorCode::NotLeaderOrFollower | ErrorCode::KafkaStorageError
        )
    }

    fn transactions() -> Self {
        let message = Some("transactions are not served yet".into());
        Self { error: ErrorCode::InvalidTxnState, message, records: Vec::new() }
    }

    fn invalid(error: &InvalidProduced) -> Self {
        let record = |batch_index| BatchIndexAndErrorMessage {
            batch_index,
            batch_index_error_message: Some(cut(describe(error))),
        };
        Self { records: error.record_index().map(record).into_iter().collect(), ..Self::new(error.error_code(), error) }
    }

    fn answer(self, index: i32) -> PartitionProduceResponse {
        PartitionProduceResponse {
            index,
            error_code: self.error.code(),
            base_offset: -1,
            record_errors: self.records,
            error_message: self.message,
            ..PartitionProduceResponse::default()
        }
    }
}

impl From<NotHere> for Refusal {
    fn from(not_here: NotHere) -> Self {
        match not_here {
            NotHere::Offline(why) => {
                Self { message: Some(cut(&*why)), ..Self::plain(ErrorCode::KafkaStorageError) }
            }
            NotHere::NoSpace => Self::new(ErrorCode::KafkaStorageError, &NotHere::NoSpace),
            other => Self::plain(other.error_code()),
        }
    }
}

impl From<AppendRefused> for Refusal {
    fn from(refused: AppendRefused) -> Self {
        let error = match &refused {
            AppendRefused::Closed => return Self::plain(ErrorCode::UnknownTopicOrPartition),
            AppendRefused::Replica(cairn_replication::AppendRefused::NotLeader) => {
                return Self::plain(ErrorCode::NotLeaderOrFollower);
            }
            AppendRefused::Replica(cairn_replication::AppendRefused::NotEnoughReplicas { .. }) => {
                return Self::plain(ErrorCode::NotEnoughReplicas);
            }
            AppendRefused::Log(error) => match error {
                AppendError::DiskReserve { .. } | AppendError::DiskFull | AppendError::Offline(_) => {
                    ErrorCode::KafkaStorageError
                }
                AppendError::TooLarge { .. } => ErrorCode::MessageTooLarge,
                AppendError::Producer(ProducerError::OutOfOrderSequence { .. }) => {
                    ErrorCode::OutOfOrderSequenceNumber
                }
                AppendError::Producer(ProducerError::InvalidEpoch { .. }) => ErrorCode::InvalidProducerEpoch,
                AppendError::Epoch(_) => ErrorCode::NotLeaderOrFollower,
                AppendError::OffsetGap { .. } | AppendError::HoleTooLong { .. } | AppendError::NoEpoch => {
                    ErrorCode::UnknownServerError
                }
            },
        };
        Self::new(error, &refused)
    }
}
