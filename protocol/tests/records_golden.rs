//! Batches that Apache Kafka 4.3.1's own client library has written, and murmur2 as it computes it.

use std::collections::BTreeMap;

use bytes::Bytes;
use cairn_protocol::ids::{Offset, ProducerEpoch, ProducerId, Timestamp};
use cairn_protocol::murmur2::{murmur2, partition_for_key};
use cairn_protocol::records::{
    BatchBuilder, BatchHeader, BatchProducer, BatchView, Compression, DecompressLimits, HEADER_BYTES, NewRecord,
    ParseBatchError, ProduceLimits, TimestampAt, TimestampType,
};

const BATCHES: &str = include_str!("golden/batches.txt");
const MURMUR2: &str = include_str!("golden/murmur2.txt");

const BASE_TIMESTAMP: i64 = 1_700_000_000_000;
const PRODUCER: BatchProducer = BatchProducer { id: ProducerId(4242), epoch: ProducerEpoch(7), base_sequence: 100 };

fn unhex(text: &str) -> Vec<u8> {
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { panic!("odd number of digits") };
    pairs.iter().map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn golden() -> BTreeMap<&'static str, Bytes> {
    BATCHES.lines().map(|line| line.split_once(' ').unwrap()).map(|(name, hex)| (name, unhex(hex).into())).collect()
}

fn big_value() -> Vec<u8> {
    (0..70_000u32).map(|index| u8::try_from(index % 251).unwrap()).collect()
}

/// The records that all these batches hold; those named `small` lack the last.
fn expected(big: &[u8]) -> [NewRecord<'_>; 4] {
    const HEADERS: &[(&str, Option<&[u8]>)] = &[("h1", Some(b"a")), ("h1", None), ("é", Some(b""))];
    let at = |delta| Timestamp(BASE_TIMESTAMP + delta);
    [
        NewRecord { timestamp: at(0), key: Some(b"key-0"), value: Some(b"value-0"), headers: &[] },
        NewRecord { timestamp: at(10), key: None, value: Some(b""), headers: HEADERS },
        NewRecord { timestamp: at(-5), key: Some(b""), value: None, headers: &[] },
        NewRecord { timestamp: at(1), key: Some(b"big"), value: Some(big), headers: &[] },
    ]
}

/// The batch as a producer sends it: Java's test builder starts at offset 5.
fn as_produced(batch: &Bytes) -> Bytes {
    let mut header = BatchHeader::decode(batch).unwrap();
    header.base_offset = Offset::ZERO;
    [&header.encode()[..], &batch[HEADER_BYTES..]].concat().into()
}

#[test]
fn batches_of_java_are_read() {
    let big = big_value();
    let golden = golden();
    let mut seen = 0;
    for (name, batch) in golden.iter().filter(|(name, _)| !name.starts_with("magic") && !name.starts_with("end")) {
        seen += 1;
        let view = BatchView::parse(batch).unwrap();
        view.verify_crc().unwrap();
        assert_eq!(view.compression().name(), name.split('-').next().unwrap());
        assert_eq!(&view.header().encode()[..], &batch[..HEADER_BYTES], "{name}");
        assert_eq!(view.header().producer, Some(PRODUCER));
        assert_eq!(view.header().base_offset, Offset(5));
        assert_eq!(view.header().leader_epoch.unwrap().0, 3);
        assert_eq!(view.header().attributes.is_transactional(), name.contains("transactional"));

        let append_time = name.contains("log-append").then_some(Timestamp(1_800_000_000_000));
        let records = view.records(batch, &DecompressLimits::default()).unwrap();
        let count = if name.ends_with("small") { 3 } else { 4 };
        assert_eq!(records.iter().count(), count, "{name}");
        for ((index, record), expected) in records.iter().enumerate().zip(expected(&big)) {
            let record = record.unwrap();
            assert_eq!(record.offset, Offset(5 + i64::try_from(index).unwrap()));
            assert_eq!(record.timestamp, append_time.unwrap_or(expected.timestamp), "{name}");
            assert_eq!((record.key, record.value), (expected.key, expected.value), "{name}");
            let headers: Vec<_> = record.headers.map(|header| (header.key_lossy(), header.value)).collect();
            assert_eq!(
                headers,
                expected.headers.iter().map(|(key, value)| ((*key).into(), *value)).collect::<Vec<_>>()
            );
        }

        let produced = as_produced(batch);
        let validated = BatchView::parse(&produced).unwrap().validate_produced(&ProduceLimits::default());
        if append_time.is_some() {
            assert_eq!(view.header().attributes.timestamp_type(), TimestampType::LogAppendTime);
            assert!(validated.is_err());
            continue;
        }
        let validated = validated.unwrap();
        let last = TimestampAt { timestamp: Timestamp(BASE_TIMESTAMP + 10), offset_delta: 1 };
        assert_eq!(validated.max, Some(last), "{name}");
        assert_eq!(validated.max_timestamp(), view.header().max_timestamp);
        assert_eq!(validated.record_bytes, u64::try_from(records.as_bytes().len()).unwrap());
    }
    assert_eq!(seen, 13);
}

#[test]
fn an_uncompressed_batch_is_built_byte_by_byte_as_java_does() {
    let mut builder = BatchBuilder::new();
    for record in &expected(&[])[..3] {
        builder.append(record).unwrap();
    }
    let ours = builder.finish(Some(PRODUCER)).unwrap();
    let mut theirs = BatchHeader::decode(&golden()["none-small"]).unwrap();
    theirs.base_offset = Offset::ZERO;
    theirs.leader_epoch = None;
    assert_eq!(ours[..HEADER_BYTES], theirs.encode());
    assert_eq!(ours[HEADER_BYTES..], golden()["none-small"][HEADER_BYTES..]);
}

#[test]
fn snappy_and_lz4_are_framed_as_java_does() {
    for (name, compression) in [("snappy-small", Compression::Snappy), ("lz4-17-small", Compression::Lz4)] {
        let mut builder = BatchBuilder::new().with_compression(compression, None).unwrap();
        for record in &expected(&[])[..3] {
            builder.append(record).unwrap();
        }
        // So short that no compression finds anything: the bytes are all framing and literals.
        assert_eq!(builder.finish(Some(PRODUCER)).unwrap()[HEADER_BYTES..], golden()[name][HEADER_BYTES..], "{name}");
    }
}

#[test]
fn formats_of_before_kafka_0_11_are_told_apart() {
    for (name, magic) in [("magic-0-small", 0), ("magic-1-small", 1), ("magic-1-gzip-small", 1)] {
        let error = BatchView::parse(&golden()[name]).unwrap_err();
        assert_eq!(error, ParseBatchError::UnsupportedMagic { magic }, "{name}");
    }
}

#[test]
fn a_transaction_marker_is_read_but_not_taken_from_producers() {
    let golden = golden();
    let marker = &golden["end-transaction-marker"];
    let view = BatchView::parse(marker).unwrap();
    view.verify_crc().unwrap();
    assert!(view.header().attributes.is_control() && view.header().attributes.is_transactional());
    let records = view.records(marker, &DecompressLimits::default()).unwrap();
    let record = records.iter().next().unwrap().unwrap();
    assert_eq!(record.key, Some(&[0, 0, 0, 1][..]), "version 0, type 1: commit");
    let produced = as_produced(marker);
    assert!(BatchView::parse(&produced).unwrap().validate_produced(&ProduceLimits::default()).is_err());
}

#[test]
fn murmur2_is_javas() {
    let mut lines = 0;
    for line in MURMUR2.lines() {
        let [key, hash, partition] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("three fields") };
        let key = if key == "-" { Vec::new() } else { unhex(key) };
        assert_eq!(murmur2(&key).cast_signed(), hash.parse::<i32>().unwrap(), "{line}");
        assert_eq!(partition_for_key(&key, 50).unwrap().0, partition.parse::<i32>().unwrap(), "{line}");
        lines += 1;
    }
    assert_eq!(lines, 24);
}
