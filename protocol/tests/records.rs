//! Record batches from builder to records and back, through every compression, and what validation refuses.

use bytes::Bytes;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Timestamp};
use cairn_protocol::records::{
    BatchBuilder, BatchHeader, BatchIter, BatchProducer, BatchView, Compression, DecompressLimits, HEADER_BYTES,
    InvalidProduced, LENGTH_OVERHEAD, NewRecord, ParseBatchError, ProduceLimits, Produced, RecordError, Tail,
    TimestampAt, TimestampPolicy, TimestampType, stamped_header,
};

const PRODUCER: BatchProducer =
    BatchProducer { id: ProducerId(77), epoch: ProducerEpoch(3), base_sequence: i32::MAX - 1 };

/// Three records: all fields, nulls with headers that repeat, empty fields with an earlier time.
fn append_three(builder: &mut BatchBuilder) {
    let headers: &[(&str, Option<&[u8]>)] = &[("h", Some(b"1")), ("h", None), ("", Some(b""))];
    let records = [
        NewRecord { timestamp: Timestamp(1000), key: Some(b"key"), value: Some(b"value"), headers: &[] },
        NewRecord { timestamp: Timestamp(3000), key: None, value: None, headers },
        NewRecord { timestamp: Timestamp(500), key: Some(b""), value: Some(b""), headers: &[] },
    ];
    for record in &records {
        builder.append(record).unwrap();
    }
}

fn three(compression: Compression) -> Bytes {
    let mut builder = BatchBuilder::new().with_compression(compression, None).unwrap();
    append_three(&mut builder);
    builder.finish(Some(PRODUCER)).unwrap()
}

fn validate(batch: &[u8]) -> Result<Produced, InvalidProduced> {
    BatchView::parse(batch).unwrap().validate_produced(&ProduceLimits::default())
}

/// `batch` with some of its header changed and a checksum that fits.
fn with_header(batch: &[u8], change: impl FnOnce(&mut BatchHeader)) -> Vec<u8> {
    let (_, records) = batch.split_at(HEADER_BYTES);
    let mut header = BatchHeader::decode(batch).unwrap();
    change(&mut header);
    [&header.encode_with_crc(records)[..], records].concat()
}

/// An uncompressed batch of these record bytes.
fn with_records(records: &[u8], record_count: i32) -> Vec<u8> {
    with_header(&[&three(Compression::None)[..HEADER_BYTES], records].concat(), |header| {
        header.length = i32::try_from(HEADER_BYTES - LENGTH_OVERHEAD + records.len()).unwrap();
        header.record_count = record_count;
        header.last_offset_delta = record_count - 1;
    })
}

#[test]
fn what_is_built_is_read_back() {
    for compression in Compression::ALL {
        let batch = three(compression);
        let view = BatchView::parse(&batch).unwrap();
        assert_eq!(view.compression(), compression);
        assert_eq!(view.header().producer, Some(PRODUCER));
        assert_eq!(view.header().last_sequence(), Some(0), "sequences wrap");
        assert_eq!(view.header().max_timestamp(), Some(Timestamp(3000)));
        view.verify_crc().unwrap();

        let produced = view.validate_produced(&ProduceLimits::default()).unwrap();
        assert_eq!(
            produced,
            Produced {
                max: Some(TimestampAt { timestamp: Timestamp(3000), offset_delta: 1 }),
                min: Some(TimestampAt { timestamp: Timestamp(500), offset_delta: 2 }),
                first_without_key: Some(1),
                record_bytes: u64::try_from(three(Compression::None).len() - HEADER_BYTES).unwrap(),
            }
        );

        let records = view.records(&batch, &DecompressLimits::default()).unwrap();
        let records: Vec<_> = records
            .iter()
            .map(|record| {
                let record = record.unwrap();
                let headers: Vec<_> = record.headers.map(|header| (header.key, header.value)).collect();
                (record.offset.0, record.timestamp.0, record.key, record.value, headers)
            })
            .collect();
        assert_eq!(
            records,
            [
                (0, 1000, Some(&b"key"[..]), Some(&b"value"[..]), vec![]),
                (1, 3000, None, None, vec![(&b"h"[..], Some(&b"1"[..])), (b"h", None), (b"", Some(b""))]),
                (2, 500, Some(b""), Some(b""), vec![]),
            ]
        );
    }
}

#[test]
fn fields_are_shared_not_copied() {
    let batch = three(Compression::None);
    let records = BatchView::parse(&batch).unwrap().records(&batch, &DecompressLimits::default()).unwrap();
    let key = records.share(records.iter().next().unwrap().unwrap().key.unwrap());
    assert_eq!(key, "key");
    assert!(batch.as_ptr_range().contains(&key.as_ptr()));
}

#[test]
fn a_builder_is_used_again() {
    for compression in Compression::ALL {
        let mut builder = BatchBuilder::new().with_compression(compression, None).unwrap();
        assert!(builder.finish(None).is_err(), "no empty batches");
        append_three(&mut builder);
        builder.clear();
        let mut batches = Vec::new();
        for _ in 0..3 {
            append_three(&mut builder);
            assert_eq!(builder.record_count(), 3);
            batches.push(builder.finish(Some(PRODUCER)).unwrap());
            assert!(builder.is_empty());
        }
        assert_eq!(batches, vec![three(compression); 3]);
    }
}

#[test]
fn stamping_keeps_the_checksum_right() {
    let batch = three(Compression::Lz4);
    let view = BatchView::parse(&batch).unwrap();
    let policies = [
        (TimestampPolicy::Keep, TimestampType::CreateTime, 3000, true),
        (TimestampPolicy::CreateTime { max: Timestamp(3000) }, TimestampType::CreateTime, 3000, true),
        (TimestampPolicy::CreateTime { max: Timestamp(4000) }, TimestampType::CreateTime, 4000, false),
        (TimestampPolicy::LogAppendTime { now: Timestamp(9000) }, TimestampType::LogAppendTime, 9000, false),
        (TimestampPolicy::LogAppendTime { now: Timestamp(3000) }, TimestampType::LogAppendTime, 3000, false),
    ];
    for (policy, timestamp_type, max, same_crc) in policies {
        let header = stamped_header(&view, Offset(1 << 40), LeaderEpoch(9), policy);
        let stored = Bytes::from([&header[..], view.record_bytes()].concat());
        let stored_view = BatchView::parse(&stored).unwrap();
        stored_view.verify_crc().unwrap();
        let header = stored_view.header();
        assert_eq!(header.base_offset, Offset(1 << 40));
        assert_eq!(header.end_offset(), Offset((1 << 40) + 3));
        assert_eq!(header.leader_epoch, Some(LeaderEpoch(9)));
        assert_eq!((header.attributes.timestamp_type(), header.max_timestamp), (timestamp_type, Timestamp(max)));
        assert_eq!(header.crc == view.header().crc, same_crc, "{policy:?}");

        let records = stored_view.records(&stored, &DecompressLimits::default()).unwrap();
        for (index, record) in records.iter().enumerate() {
            let record = record.unwrap();
            assert_eq!(record.offset, Offset((1 << 40) + i64::try_from(index).unwrap()));
            if timestamp_type == TimestampType::LogAppendTime {
                assert_eq!(record.timestamp, Timestamp(max));
            }
        }
    }
}

#[test]
fn a_range_of_batches_is_walked_up_to_its_tail() {
    let (first, second) = (three(Compression::None), three(Compression::Zstd));
    let both = [&first[..], &second[..]].concat();
    for end in 0..=both.len() {
        let mut batches = BatchIter::new(&both[..end]);
        let whole: Vec<_> = batches.by_ref().map(|batch| batch.unwrap().as_bytes().len()).collect();
        let expected: &[usize] = match end {
            end if end == both.len() => &[first.len(), second.len()],
            end if end >= first.len() => &[first.len()],
            _ => &[],
        };
        assert_eq!(whole, expected);
        let start: usize = expected.iter().sum();
        assert_eq!(batches.position(), start);
        match batches.tail() {
            Tail::Whole => assert_eq!(start, end),
            Tail::Partial { have, need } => {
                assert_eq!(have, end - start);
                let next = if start == 0 { first.len() } else { second.len() };
                assert_eq!(need, (have >= LENGTH_OVERHEAD).then_some(next));
            }
            Tail::Corrupt => panic!("a cut is no corruption"),
        }
    }

    let mut damaged = both;
    damaged[first.len() + 16] = 1;
    let mut batches = BatchIter::new(&damaged);
    assert!(batches.next().unwrap().is_ok());
    assert_eq!(batches.next().unwrap().unwrap_err(), ParseBatchError::UnsupportedMagic { magic: 1 });
    assert!(batches.next().is_none());
    assert_eq!((batches.tail(), batches.position()), (Tail::Corrupt, first.len()));
}

#[test]
fn headers_that_no_batch_has_are_refused() {
    let batch = three(Compression::None);
    let parse = |change: fn(&mut BatchHeader)| BatchView::parse(&with_header(&batch, change)).map(drop).unwrap_err();

    for length in [i32::MIN, -1, 0, 48] {
        let mut bytes = batch.to_vec();
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        assert_eq!(BatchView::parse(&bytes).map(drop), Err(ParseBatchError::InvalidLength { length }));
    }
    assert!(matches!(parse(|header| header.length += 1), ParseBatchError::Truncated { .. }));
    assert!(matches!(parse(|header| header.length -= 1), ParseBatchError::Trailing { trailing: 1 }));
    assert!(matches!(parse(|header| header.record_count = -1), ParseBatchError::InvalidCounts { .. }));
    assert!(matches!(parse(|header| header.record_count = 4), ParseBatchError::InvalidCounts { .. }));
    assert!(matches!(parse(|header| header.last_offset_delta = -1), ParseBatchError::InvalidCounts { .. }));
    assert!(matches!(parse(|header| header.base_offset = Offset(-1)), ParseBatchError::InvalidBaseOffset { .. }));
    assert!(matches!(parse(|header| header.base_offset = Offset(i64::MAX)), ParseBatchError::InvalidBaseOffset { .. }));
    assert!(matches!(parse(|header| header.attributes.0 |= 5), ParseBatchError::UnknownCompression { id: 5 }));
    let more_than_fit = |header: &mut BatchHeader| {
        header.record_count = 1000;
        header.last_offset_delta = 999;
    };
    assert!(matches!(parse(more_than_fit), ParseBatchError::InvalidCounts { .. }));

    for magic in [0, 1, 3, -1] {
        let mut bytes = batch.to_vec();
        bytes[16] = i8::cast_unsigned(magic);
        let error = BatchView::parse(&bytes).unwrap_err();
        assert_eq!(error, ParseBatchError::UnsupportedMagic { magic });
        assert_eq!(error.error_code(), ErrorCode::InvalidRecord);
    }
}

#[test]
fn compaction_may_leave_gaps_but_producers_may_not() {
    let batch = three(Compression::None);
    let compacted = with_header(&batch, |header| header.last_offset_delta = 10);
    let compacted = Bytes::from(compacted);
    let view = BatchView::parse(&compacted).unwrap();
    assert_eq!(view.records(&compacted, &DecompressLimits::default()).unwrap().iter().filter(Result::is_ok).count(), 3);
    assert_eq!(view.header().end_offset(), Offset(11));
    assert!(matches!(
        view.validate_produced(&ProduceLimits::default()),
        Err(InvalidProduced::Count { record_count: 3, last_offset_delta: 10 })
    ));

    // Of an idempotent producer's last batch compaction leaves the header at least.
    let emptied = with_header(&with_records(&[], 0), |header| header.last_offset_delta = 2);
    let emptied = Bytes::from(emptied);
    let view = BatchView::parse(&emptied).unwrap();
    assert_eq!(view.records(&emptied, &DecompressLimits::default()).unwrap().iter().count(), 0);
    assert!(view.validate_produced(&ProduceLimits::default()).is_err());
}

#[test]
fn producers_may_not_set_what_is_the_brokers() {
    let batch = three(Compression::None);
    let refused = |change: fn(&mut BatchHeader)| validate(&with_header(&batch, change)).unwrap_err().error_code();
    assert_eq!(refused(|header| header.base_offset = Offset(1)), ErrorCode::InvalidRecord);
    assert_eq!(refused(|header| header.attributes.0 |= 0x20), ErrorCode::InvalidRecord);
    assert_eq!(refused(|header| header.attributes.0 |= 0x40), ErrorCode::InvalidRecord);
    assert_eq!(refused(|header| header.attributes.0 |= 0x08), ErrorCode::InvalidTimestamp);
    assert_eq!(
        refused(|header| header.producer = Some(BatchProducer { base_sequence: -1, ..PRODUCER })),
        ErrorCode::InvalidRecord
    );
    assert_eq!(
        refused(|header| header.producer = Some(BatchProducer { epoch: ProducerEpoch(-1), ..PRODUCER })),
        ErrorCode::InvalidRecord
    );
    let transaction_of_nobody = |header: &mut BatchHeader| {
        header.producer = None;
        header.attributes = header.attributes.transactional();
    };
    assert_eq!(refused(transaction_of_nobody), ErrorCode::InvalidRecord);

    let mut damaged = batch.to_vec();
    *damaged.last_mut().unwrap() ^= 1;
    assert_eq!(validate(&damaged).unwrap_err().error_code(), ErrorCode::CorruptMessage);
}

#[test]
fn malformed_records_are_refused() {
    // length, attributes, timestamp delta, offset delta, key, value, header count
    let good: &[u8] = &[12, 0, 0, 0, 1, 1, 0];
    assert!(validate(&with_records(good, 1)).is_ok());

    let cases: [(&[u8], RecordError); 15] = [
        (&[0, 0, 0, 0, 1, 1, 0], RecordError::Truncated),
        (&[1, 0, 0, 0, 1, 1, 0], RecordError::InvalidLength { length: -1 }),
        (&[10, 0, 0, 0, 1, 1, 0], RecordError::Truncated),
        (&[14, 0, 0, 0, 1, 1, 0], RecordError::Truncated),
        (&[14, 0, 0, 0, 1, 1, 0, 0], RecordError::Trailing { bytes: 1 }),
        (&[12, 0, 0, 0, 3, 1, 0], RecordError::InvalidLength { length: -2 }),
        (&[12, 0, 0, 0, 1, 3, 0], RecordError::InvalidLength { length: -2 }),
        (&[12, 0, 0, 0, 1, 2, 0], RecordError::Truncated),
        (&[12, 0, 0, 0, 1, 1, 1], RecordError::InvalidLength { length: -1 }),
        (&[12, 0, 0, 0, 1, 1, 2], RecordError::Truncated),
        (&[16, 0, 0, 0, 1, 1, 2, 1, 1], RecordError::InvalidLength { length: -1 }),
        (&[16, 0, 0, 0, 1, 1, 2, 0, 3], RecordError::InvalidLength { length: -2 }),
        (&[22, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1, 0], RecordError::Overlong),
        (&[0xfe, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0], RecordError::Truncated),
        (&[12, 0, 0, 0, 1, 1, 0, 0], RecordError::WrongCount { declared: 1, held: 2 }),
    ];
    for (records, expected) in cases {
        let batch = Bytes::from(with_records(records, 1));
        match validate(&batch).unwrap_err() {
            InvalidProduced::Record { source, .. } => assert_eq!(source, expected, "{records:02x?}"),
            other => panic!("{records:02x?}: {other:?}"),
        }
        let view = BatchView::parse(&batch).unwrap();
        let read = view.records(&batch, &DecompressLimits::default()).unwrap();
        assert_eq!(read.iter().find_map(Result::err), Some(expected), "{records:02x?}");
        assert!(read.iter().count() <= 2, "it ends after an error");
    }

    assert!(matches!(
        validate(&with_records(&[12, 0, 0, 2, 1, 1, 0], 1)),
        Err(InvalidProduced::OffsetDelta { index: 0, offset_delta: 1 })
    ));
    let far_future = [&[30, 0][..], &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], &[0, 1, 1, 0]].concat();
    assert!(matches!(
        validate(&with_records(&far_future, 1)),
        Err(InvalidProduced::Record { index: 0, source: RecordError::OutOfRange })
    ));
}

#[test]
fn records_without_a_time_have_none() {
    let mut builder = BatchBuilder::new();
    for timestamp in [-1, -1] {
        builder.append(&NewRecord { timestamp: Timestamp(timestamp), ..NewRecord::default() }).unwrap();
    }
    let batch = builder.finish(None).unwrap();
    assert_eq!(BatchView::parse(&batch).unwrap().header().max_timestamp(), None);
    let produced = validate(&batch).unwrap();
    assert_eq!((produced.max, produced.min, produced.max_timestamp()), (None, None, Timestamp(-1)));

    // Kafka's maximum starts from -1 as well; what lies below is for the caller to refuse.
    builder.append(&NewRecord { timestamp: Timestamp(-7), ..NewRecord::default() }).unwrap();
    let produced = validate(&builder.finish(None).unwrap()).unwrap();
    assert_eq!(produced.max, None);
    assert_eq!(produced.min, Some(TimestampAt { timestamp: Timestamp(-7), offset_delta: 0 }));
}

#[test]
fn headers_of_a_record_are_limited() {
    let headers = vec![("h", None); 1025];
    for (count, allowed) in [(1024, true), (1025, false)] {
        let mut builder = BatchBuilder::new();
        builder.append(&NewRecord { headers: &headers[..count], ..NewRecord::default() }).unwrap();
        let validated = validate(&builder.finish(None).unwrap());
        match validated {
            Ok(_) => assert!(allowed),
            Err(InvalidProduced::Headers { index: 0, headers: 1025, limit: 1024 }) => assert!(!allowed),
            Err(other) => panic!("{other:?}"),
        }
    }
}

#[test]
fn bombs_are_stopped_at_the_limit() {
    let value = vec![0; 4 << 20];
    for compression in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let mut builder = BatchBuilder::new().with_compression(compression, None).unwrap();
        for _ in 0..4 {
            builder.append(&NewRecord { value: Some(&value), ..NewRecord::default() }).unwrap();
        }
        let batch = builder.finish(None).unwrap();
        assert!(batch.len() < 1 << 20, "{compression}");
        let view = BatchView::parse(&batch).unwrap();
        let mut limits = ProduceLimits::default();
        let found = view.validate_produced(&limits).unwrap();
        limits.decompress.output_bytes = usize::try_from(found.record_bytes).unwrap();
        view.validate_produced(&limits).unwrap();
        limits.decompress.output_bytes -= 1;
        let refused = view.validate_produced(&limits).unwrap_err();
        assert_eq!(refused.error_code(), ErrorCode::MessageTooLarge, "{compression}");
    }
}
