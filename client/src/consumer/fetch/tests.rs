//! Tests of what is made of an answer.

use std::time::Duration;

use cairn_protocol::ids::Timestamp;
use cairn_protocol::records::{BatchBuilder, BatchHeader, HEADER_BYTES, NewRecord};

use tokio::time::Instant;

use super::*;
use crate::backoff::Backoff;
use crate::cluster::PartitionInfo;
use crate::consumer::assignment::{Assignment, Readiness, StartAt};
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

fn fetched(bytes: Bytes) -> Fetched {
    Fetched { bytes, next: Offset(14), end: Offset(14), hidden: Vec::new(), epoch: None }
}

fn of(bytes: Vec<u8>) -> Outcome {
    Outcome::of_records(&bytes.into(), Offset(11), Offset(14), Aborted::default())
}

#[test]
fn whole_batches_are_given_and_cut_ones_left() {
    let bytes = two_batches();
    let one = bytes.len() / 2;
    let Outcome::Fetched(Fetched { bytes: got, next, .. }) = of(bytes.clone()) else { panic!("not fetched") };
    assert_eq!((got.len(), next), (bytes.len(), Offset(14)));
    for cut in one..bytes.len() {
        let Outcome::Fetched(Fetched { bytes: got, next, .. }) = of(bytes[..cut].to_vec()) else {
            panic!("cut at {cut}")
        };
        assert_eq!((got.len(), next), (one, Offset(12)), "cut at {cut}");
    }
    for cut in 1..one {
        assert!(matches!(of(bytes[..cut].to_vec()), Outcome::Damaged(..)), "cut at {cut}");
    }
    let nothing = Fetched { bytes: Bytes::new(), next: Offset(11), end: Offset(14), hidden: Vec::new(), epoch: None };
    assert_eq!(of(Vec::new()), Outcome::Fetched(nothing));
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
        let checked = Outcome::of_records(&bytes, Offset(11), Offset(14), Aborted::default());
        let is_either = matches!(checked, Outcome::Fetched(_) | Outcome::Damaged(..));
        proptest::prop_assert!(is_either);
        // As if the checksums had been right.
        let mut assignment = Assignment::new(Backoff { first: Duration::from_millis(1), longest: Duration::from_millis(1) });
        assignment.assign([(TopicPartition::new("t", 0), StartAt::Offset(Offset(0)))]);
        let info = PartitionInfo { leader: Some(BrokerId(1)), epoch: None };
        let plan = assignment.plan(Instant::now(), |_| Some(info), |_| Readiness::Free);
        let want = &plan.fetches[&BrokerId(1)][0];
        let partition = want.partition.clone();
        let batches = RecordBatches::new(partition, &fetched(bytes), Offset(0), want);
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
        let Outcome::Damaged(Fetched { bytes: got, next, .. }, _) = of(flipped) else { panic!("not noticed at {at}") };
        assert_eq!((got.len(), next), (one, Offset(12)), "flipped at {at}");
    }
}
