//! Positions into one Fetch request, its answer into one outcome per partition, and what each code means.
//!
//! Must not know: connections, tasks, the clock.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::{BrokerId, LeaderEpoch, Offset, TopicId};
use cairn_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use cairn_protocol::messages::fetch_response::PartitionData;
use cairn_protocol::messages::{FetchRequest, FetchResponse};
use cairn_protocol::records::{BatchIter, Tail};

use super::IsolationLevel;
use super::aborted::Aborted;
use super::assignment::{FetchFrom, Want};
use super::config::ConsumerConfig;
use crate::error::check;

/// The last version that names topics by name.
const BY_NAME_UP_TO: i16 = 12;
/// The last version that is spoken.
const LATEST: i16 = 17;
const FIRST: i16 = 4;

/// The versions in which these topics can be asked for: by id only when every id is known.
pub(super) fn versions(ids: &HashMap<Arc<str>, TopicId>) -> std::ops::RangeInclusive<i16> {
    let by_id = ids.values().all(|id| !id.is_zero());
    FIRST..=if by_id { LATEST } else { BY_NAME_UP_TO }
}

/// What an answer says about one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Fetched(Fetched),
    /// As `Fetched`, but behind `next` is something that is no batch.
    Damaged(Fetched, Arc<str>),
    /// This replica is nearer (KIP-392).
    Nearer(BrokerId),
    /// The log does not have the offset.
    OutOfRange,
    /// Later, and perhaps elsewhere.
    Retry(ErrorCode),
    /// Never.
    Refused(ErrorCode),
}

/// Whole batches with right checksums, possibly none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fetched {
    pub(super) bytes: Bytes,
    /// Where to go on.
    pub(super) next: Offset,
    /// The partition's end for this reader.
    pub(super) end: Offset,
    /// The base offsets of batches that are not to be seen, in order.
    pub(super) hidden: Vec<Offset>,
    /// Of the last batch.
    pub(super) epoch: Option<LeaderEpoch>,
}

/// One request for all of `wants`.
pub(super) fn build(
    wants: &[Want<FetchFrom>],
    ids: &HashMap<Arc<str>, TopicId>,
    max_bytes: usize,
    config: &ConsumerConfig,
) -> FetchRequest {
    let mut topics: Vec<FetchTopic> = Vec::new();
    let mut place: HashMap<&str, usize> = HashMap::new();
    for Want { partition, what, .. } in wants {
        let place = *place.entry(&partition.topic).or_insert_with(|| {
            topics.push(FetchTopic {
                topic: (&*partition.topic).into(),
                topic_id: ids.get(&partition.topic).map_or_else(Default::default, |id| id.0),
                ..FetchTopic::default()
            });
            topics.len() - 1
        });
        topics[place].partitions.push(FetchPartition {
            partition: partition.partition.0,
            current_leader_epoch: what.leader_epoch.map_or(-1, |epoch| epoch.0),
            fetch_offset: what.offset.0,
            partition_max_bytes: saturating_i32(config.partition_max_bytes),
            ..FetchPartition::default()
        });
    }
    FetchRequest {
        max_wait_ms: i32::try_from(config.fetch_max_wait.as_millis()).unwrap_or(i32::MAX),
        min_bytes: saturating_i32(config.fetch_min_bytes),
        max_bytes: saturating_i32(max_bytes),
        isolation_level: config.isolation.code(),
        rack_id: config.rack.as_deref().unwrap_or_default().into(),
        topics,
        ..FetchRequest::default()
    }
}

fn saturating_i32(bytes: usize) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}

/// One outcome for each of `wants`, in their order; `None` for what the answer leaves out.
pub(super) fn outcomes(
    answer: FetchResponse,
    wants: &[Want<FetchFrom>],
    ids: &HashMap<Arc<str>, TopicId>,
    isolation: IsolationLevel,
) -> Result<Vec<Option<Outcome>>, ErrorCode> {
    check(answer.error_code)?;
    let by_id: HashMap<_, _> = ids.iter().filter(|(_, id)| !id.is_zero()).map(|(name, id)| (id.0, &**name)).collect();
    let mut by_partition = HashMap::new();
    for topic in answer.responses {
        let Some(name) =
            (if topic.topic.is_empty() { by_id.get(&topic.topic_id).copied() } else { Some(&*topic.topic) })
        else {
            continue;
        };
        for partition in topic.partitions {
            by_partition.insert((Arc::<str>::from(name), partition.partition_index), partition);
        }
    }
    let outcome = |want: &Want<FetchFrom>| {
        let answer = by_partition.remove(&(Arc::clone(&want.partition.topic), want.partition.partition.0))?;
        Some(Outcome::of(answer, want.what.offset, isolation))
    };
    Ok(wants.iter().map(outcome).collect())
}

impl Outcome {
    fn of(answer: PartitionData, from: Offset, isolation: IsolationLevel) -> Self {
        let records = answer.records.unwrap_or_default();
        let (end, aborted) = match isolation {
            IsolationLevel::ReadUncommitted => (answer.high_watermark, Aborted::default()),
            IsolationLevel::ReadCommitted => (answer.last_stable_offset, Aborted::new(answer.aborted_transactions)),
        };
        match check(answer.error_code) {
            Ok(()) if answer.preferred_read_replica >= 0 && records.is_empty() => {
                Self::Nearer(BrokerId(answer.preferred_read_replica))
            }
            Ok(()) => Self::of_records(&records, from, Offset(end), aborted),
            Err(ErrorCode::OffsetOutOfRange) => Self::OutOfRange,
            Err(code) if may_pass(code) => Self::Retry(code),
            Err(code) => Self::Refused(code),
        }
    }

    fn of_records(bytes: &Bytes, from: Offset, end: Offset, mut aborted: Aborted) -> Self {
        let mut walk = BatchIter::new(bytes);
        let mut fetched = Fetched { bytes: Bytes::new(), next: from, end, hidden: Vec::new(), epoch: None };
        let mut whole = 0;
        let mut damage: Option<Arc<str>> = None;
        loop {
            let view = match walk.next() {
                None => break,
                Some(Ok(view)) => view,
                Some(Err(error)) => {
                    damage = Some(error.to_string().into());
                    break;
                }
            };
            if let Err(error) = view.verify_crc() {
                damage = Some(error.to_string().into());
                break;
            }
            if aborted.hides(&view, bytes) {
                fetched.hidden.push(view.header().base_offset);
            }
            // A broker may begin with a batch that lies before what was asked for; it never goes back.
            fetched.next = fetched.next.max(view.header().end_offset());
            fetched.epoch = view.header().leader_epoch;
            whole = walk.position();
        }
        // The end of an answer may cut a batch off, but not the first: then nothing would ever come.
        if whole == 0 && matches!(walk.tail(), Tail::Partial { .. }) {
            damage = Some("the broker sent less than a batch".into());
        }
        fetched.bytes = bytes.slice(..whole);
        match damage {
            None => Self::Fetched(fetched),
            Some(reason) => Self::Damaged(fetched, reason),
        }
    }
}

fn may_pass(code: ErrorCode) -> bool {
    code.is_retriable() && code != ErrorCode::CorruptMessage
}
