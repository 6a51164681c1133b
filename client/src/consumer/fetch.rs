//! Positions into one Fetch request, its answer into one outcome per partition, and what each code means.
//!
//! Must not know: connections, tasks, the clock.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::{Offset, TopicId};
use cairn_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use cairn_protocol::messages::fetch_response::PartitionData;
use cairn_protocol::messages::{FetchRequest, FetchResponse};
use cairn_protocol::records::{BatchIter, Tail};

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
    /// Whole batches with right checksums, possibly none, and where to go on.
    Fetched { bytes: Bytes, next: Offset, high_watermark: Offset },
    /// As `Fetched`, but behind `next` is something that is no batch.
    Damaged { bytes: Bytes, next: Offset, high_watermark: Offset, reason: Arc<str> },
    /// The log does not have the offset.
    OutOfRange,
    /// Later, and perhaps elsewhere.
    Retry(ErrorCode),
    /// Never.
    Refused(ErrorCode),
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
        Some(Outcome::of(answer, want.what.offset))
    };
    Ok(wants.iter().map(outcome).collect())
}

impl Outcome {
    fn of(answer: PartitionData, from: Offset) -> Self {
        match check(answer.error_code) {
            Ok(()) => Self::of_records(&answer.records.unwrap_or_default(), from, Offset(answer.high_watermark)),
            Err(ErrorCode::OffsetOutOfRange) => Self::OutOfRange,
            Err(code) if may_pass(code) => Self::Retry(code),
            Err(code) => Self::Refused(code),
        }
    }

    fn of_records(bytes: &Bytes, from: Offset, high_watermark: Offset) -> Self {
        let mut walk = BatchIter::new(bytes);
        let mut next = from;
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
            // A broker may begin with a batch that lies before what was asked for; it never goes back.
            next = next.max(view.header().end_offset());
            whole = walk.position();
        }
        // The end of an answer may cut a batch off, but not the first: then nothing would ever come.
        if whole == 0 && matches!(walk.tail(), Tail::Partial { .. }) {
            damage = Some("the broker sent less than a batch".into());
        }
        let bytes = bytes.slice(..whole);
        match damage {
            None => Self::Fetched { bytes, next, high_watermark },
            Some(reason) => Self::Damaged { bytes, next, high_watermark, reason },
        }
    }
}

fn may_pass(code: ErrorCode) -> bool {
    code.is_retriable() && code != ErrorCode::CorruptMessage
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cairn_protocol::ids::{BrokerId, LeaderEpoch, Timestamp};
    use cairn_protocol::records::{BatchBuilder, BatchHeader, HEADER_BYTES, NewRecord};

    use tokio::time::Instant;

    use super::*;
    use crate::backoff::Backoff;
    use crate::cluster::PartitionInfo;
    use crate::consumer::assignment::{Assignment, StartAt};
    use crate::consumer::record::{Cursor, RecordBatches};
    use crate::topic_partition::TopicPartition;

    /// Two batches of two records each, from offset 10.
    fn two_batches() -> Vec<u8> {
        let mut bytes = Vec::new();
        for base in [10, 12] {
            let mut builder = BatchBuilder::new();
            for value in [b"a", b"b"] {
                builder
                    .append(&NewRecord { timestamp: Timestamp(1), key: None, value: Some(value), headers: &[] })
                    .expect("small");
            }
            let batch = builder.finish(None).expect("two records");
            let mut header = BatchHeader::decode(&batch).expect("whole");
            header.stamp(Offset(base), LeaderEpoch(0));
            bytes.extend_from_slice(&header.encode());
            bytes.extend_from_slice(&batch[HEADER_BYTES..]);
        }
        bytes
    }

    fn of(bytes: Vec<u8>) -> Outcome {
        Outcome::of_records(&bytes.into(), Offset(11), Offset(14))
    }

    #[test]
    fn whole_batches_are_given_and_cut_ones_left() {
        let bytes = two_batches();
        let one = bytes.len() / 2;
        let Outcome::Fetched { bytes: got, next, .. } = of(bytes.clone()) else { panic!("not fetched") };
        assert_eq!((got.len(), next), (bytes.len(), Offset(14)));
        for cut in one..bytes.len() {
            let Outcome::Fetched { bytes: got, next, .. } = of(bytes[..cut].to_vec()) else { panic!("cut at {cut}") };
            assert_eq!((got.len(), next), (one, Offset(12)), "cut at {cut}");
        }
        for cut in 1..one {
            assert!(matches!(of(bytes[..cut].to_vec()), Outcome::Damaged { .. }), "cut at {cut}");
        }
        assert_eq!(
            of(Vec::new()),
            Outcome::Fetched { bytes: Bytes::new(), next: Offset(11), high_watermark: Offset(14) }
        );
    }

    proptest::proptest! {
        /// Neither the walk over an answer nor the reading of its records panics, whatever the bytes are.
        #[test]
        fn no_bytes_panic(
            noise in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..300), at in 0..200_usize, cut in 0..400_usize,
        ) {
            let mut bytes = two_batches();
            let at = at.min(bytes.len());
            let end = (at + noise.len()).min(bytes.len());
            bytes.splice(at..end, noise);
            bytes.truncate(cut);
            let bytes = Bytes::from(bytes);
            let checked = Outcome::of_records(&bytes, Offset(11), Offset(14));
            let is_either = matches!(checked, Outcome::Fetched { .. } | Outcome::Damaged { .. });
            proptest::prop_assert!(is_either);
            // As if the checksums had been right.
            let mut assignment = Assignment::new(Backoff { first: Duration::from_millis(1), longest: Duration::from_millis(1) });
            assignment.assign([(TopicPartition::new("t", 0), StartAt::Offset(Offset(0)))]);
            let info = PartitionInfo { leader: Some(BrokerId(1)), epoch: None };
            let plan = assignment.plan(Instant::now(), |_| Some(info), |_| true);
            let want = &plan.fetches[&BrokerId(1)][0];
            let partition = want.partition.clone();
            let batches = RecordBatches::new(partition, bytes, Offset(0), Offset(14), Offset(14), Arc::clone(&want.progress));
            let by_reference = batches.for_each(|record| assert!(record.headers.count() < 1_000_000));
            let owned = batches.to_records();
            proptest::prop_assert_eq!(by_reference.is_ok(), owned.is_ok());
            let mut cursor = Cursor::new(batches);
            let mut count = 0;
            while let Ok(Some(_)) = cursor.next() {
                count += 1;
            }
            proptest::prop_assert!(owned.is_err() || count == owned.unwrap().len());
        }
    }

    #[test]
    fn every_flipped_bit_under_the_checksum_is_noticed() {
        let bytes = two_batches();
        let one = bytes.len() / 2;
        for at in one + 21..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            let Outcome::Damaged { bytes: got, next, .. } = of(flipped) else { panic!("not noticed at {at}") };
            assert_eq!((got.len(), next), (one, Offset(12)), "flipped at {at}");
        }
    }
}
