//! Batches into one Produce request, its answer into one outcome per batch, and what each code means.
//!
//! Must not know: connections, tasks, the clock.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cairn_protocol::ApiKey;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::{Offset, Timestamp};
use cairn_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use cairn_protocol::messages::produce_response::PartitionProduceResponse;
use cairn_protocol::messages::{ProduceRequest, ProduceResponse};
use cairn_protocol::records::BatchBuilder;

use super::accumulator::Sent;
use super::batch::Known;
use super::config::ProducerConfig;
use super::fate::Written;
use crate::error::{RequestError, check};
use crate::network::Pending;

/// What a broker said about a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Written(Written),
    Refused { code: ErrorCode, message: Option<Arc<str>> },
}

/// What to do about a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reaction {
    Retry(Known),
    OutOfOrder,
    NewIdentity,
    Split,
    GiveUp,
}

impl Outcome {
    /// Nobody asked the broker.
    pub(crate) const UNKNOWN_OFFSET: Self = Self::Written(Written { base_offset: None, log_append_time: None });

    fn of(answer: &PartitionProduceResponse) -> Self {
        match check(answer.error_code) {
            Ok(()) => Self::Written(Written {
                base_offset: (answer.base_offset >= 0).then_some(Offset(answer.base_offset)),
                log_append_time: (answer.log_append_time_ms >= 0).then_some(Timestamp(answer.log_append_time_ms)),
            }),
            // It is in the log from an earlier attempt, further back than the broker remembers.
            Err(ErrorCode::DuplicateSequenceNumber) => Self::UNKNOWN_OFFSET,
            Err(code) => Self::Refused { code, message: answer.error_message.as_deref().map(Arc::from) },
        }
    }
}

/// One request of all batches; each is of another partition. Gives the builders that became free.
pub(super) fn build(
    batches: &mut [Sent],
    config: &ProducerConfig,
    timeout: Duration,
) -> Result<(ProduceRequest, Vec<BatchBuilder>), RequestError> {
    let mut builders = Vec::new();
    let mut topics: Vec<TopicProduceData> = Vec::new();
    let mut place: HashMap<Arc<str>, usize> = HashMap::new();
    for Sent { to, batch } in batches {
        let encoded = batch.encode();
        let (bytes, builder) =
            encoded.map_err(|error| RequestError::Encode { api: ApiKey::Produce, reason: error.to_string().into() })?;
        builders.extend(builder);
        let place = *place.entry(Arc::clone(&to.topic)).or_insert_with(|| {
            topics.push(TopicProduceData { name: (&*to.topic).into(), ..TopicProduceData::default() });
            topics.len() - 1
        });
        topics[place].partition_data.push(PartitionProduceData { index: to.partition.0, records: Some(bytes) });
    }
    let request = ProduceRequest {
        transactional_id: config.transactional.as_ref().map(|transactional| (&*transactional.id).into()),
        acks: config.acks.on_the_wire(),
        timeout_ms: i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX),
        topic_data: topics,
    };
    Ok((request, builders))
}

/// One outcome per batch, in their order. An answer that leaves one out is no answer.
pub(super) async fn outcomes(pending: Pending<ProduceRequest>, batches: &[Sent]) -> Result<Vec<Outcome>, RequestError> {
    let address = pending.address();
    let answer = pending.answer().await?;
    match_up(&answer, batches).ok_or_else(|| RequestError::Malformed {
        address,
        api: ApiKey::Produce,
        reason: "a partition is missing".into(),
    })
}

fn match_up(answer: &ProduceResponse, batches: &[Sent]) -> Option<Vec<Outcome>> {
    let mut by_partition = HashMap::new();
    for topic in &answer.responses {
        for partition in &topic.partition_responses {
            by_partition.insert((&*topic.name, partition.index), partition);
        }
    }
    batches
        .iter()
        .map(|Sent { to, .. }| by_partition.get(&(&*to.topic, to.partition.0)).map(|it| Outcome::of(it)))
        .collect()
}

/// What to do about a batch that was refused with this code.
pub(super) fn reaction(code: ErrorCode, is_stamped: bool) -> Reaction {
    match code {
        ErrorCode::OutOfOrderSequenceNumber if is_stamped => Reaction::OutOfOrder,
        ErrorCode::UnknownProducerId | ErrorCode::InvalidProducerEpoch | ErrorCode::ProducerFenced if is_stamped => {
            Reaction::NewIdentity
        }
        ErrorCode::MessageTooLarge | ErrorCode::RecordListTooLarge => Reaction::Split,
        // The leader has it, and gave up waiting for the others.
        ErrorCode::RequestTimedOut | ErrorCode::NotEnoughReplicasAfterAppend => Reaction::Retry(Known::MaybeWritten),
        // The disk failed at an unknown moment.
        ErrorCode::KafkaStorageError => Reaction::Retry(Known::MaybeWritten),
        _ if code.is_retriable() => Reaction::Retry(Known::NotWritten),
        _ => Reaction::GiveUp,
    }
}

/// Whether the code says that the metadata is wrong.
pub(super) fn is_about_metadata(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NotLeaderOrFollower
            | ErrorCode::LeaderNotAvailable
            | ErrorCode::UnknownTopicOrPartition
            | ErrorCode::UnknownTopicId
            | ErrorCode::FencedLeaderEpoch
            | ErrorCode::KafkaStorageError
            | ErrorCode::ReplicaNotAvailable
    )
}
