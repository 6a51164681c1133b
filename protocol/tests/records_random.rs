//! Random and damaged batches: what is built is read back, what is damaged is refused or means the same, nothing panics.

use bytes::Bytes;
use cairn_protocol::ids::{Offset, ProducerEpoch, ProducerId, Timestamp};
use cairn_protocol::records::{
    BatchBuilder, BatchHeader, BatchIter, BatchProducer, BatchView, Compression, DecompressLimits, HEADER_BYTES,
    InvalidProduced, LENGTH_OVERHEAD, NewRecord, ProduceLimits, Produced, RecordError, compress, decompress,
};
use proptest::collection::vec;
use proptest::prelude::*;

type OwnedHeader = (String, Option<Vec<u8>>);

#[derive(Clone, Debug)]
struct OwnedRecord {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<OwnedHeader>,
}

fn any_record() -> impl Strategy<Value = OwnedRecord> {
    let bytes = || proptest::option::of(vec(any::<u8>(), 0..300));
    let headers = vec((".{0,5}", bytes()), 0..4);
    // Java's clients refuse negative times; deltas of up to 9 bytes are all there.
    (0..i64::MAX / 2, bytes(), bytes(), headers).prop_map(|(timestamp, key, value, headers)| OwnedRecord {
        timestamp,
        key,
        value,
        headers,
    })
}

fn any_compression() -> impl Strategy<Value = Compression> {
    proptest::sample::select(&Compression::ALL[..])
}

fn build(compression: Compression, records: &[OwnedRecord], producer: Option<BatchProducer>) -> Bytes {
    let mut builder = BatchBuilder::new().with_compression(compression, None).unwrap();
    for record in records {
        let headers: Vec<_> = record.headers.iter().map(|(key, value)| (key.as_str(), value.as_deref())).collect();
        let record = NewRecord {
            timestamp: Timestamp(record.timestamp),
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
        };
        let before = builder.uncompressed_bytes();
        builder.append(&record).unwrap();
        assert!(builder.uncompressed_bytes() - before <= BatchBuilder::estimate(&record));
    }
    builder.finish(producer).unwrap()
}

/// Everything that the records of a batch say.
type Meaning = Vec<(Offset, Timestamp, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Option<Vec<u8>>)>)>;

fn read(batch: &Bytes) -> Result<Meaning, String> {
    let view = BatchView::parse(batch).map_err(|error| error.to_string())?;
    let limits = DecompressLimits { output_bytes: 1 << 20, ..DecompressLimits::default() };
    let records = view.records(batch, &limits).map_err(|error| error.to_string())?;
    records
        .iter()
        .map(|record| {
            let record = record.map_err(|error| error.to_string())?;
            let headers = record.headers.map(|header| (header.key.to_vec(), header.value.map(<[u8]>::to_vec)));
            let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
            Ok((record.offset, record.timestamp, owned(record.key), owned(record.value), headers.collect()))
        })
        .collect()
}

fn validate(batch: &[u8]) -> Option<Result<Produced, InvalidProduced>> {
    let limits = DecompressLimits { output_bytes: 1 << 20, ..DecompressLimits::default() };
    Some(BatchView::parse(batch).ok()?.validate_produced(&ProduceLimits { decompress: limits, ..Default::default() }))
}

/// `batch` with length and checksum that fit its bytes.
fn reseal(batch: &[u8]) -> Bytes {
    let Ok(mut header) = BatchHeader::decode(batch) else { return Bytes::copy_from_slice(batch) };
    header.length = i32::try_from(batch.len() - LENGTH_OVERHEAD).unwrap();
    let records = &batch[HEADER_BYTES..];
    [&header.encode_with_crc(records)[..], records].concat().into()
}

fn small(compression: Compression) -> Bytes {
    let record = |timestamp, key: Option<&[u8]>, value: Option<&[u8]>| OwnedRecord {
        timestamp,
        key: key.map(<[u8]>::to_vec),
        value: value.map(<[u8]>::to_vec),
        headers: vec![("h".to_owned(), Some(b"v".to_vec())), ("h".to_owned(), None)],
    };
    let records = [record(5, Some(b"k"), Some(b"value value value")), record(900, None, None)];
    build(compression, &records, None)
}

#[test]
fn every_flipped_bit_is_noticed_or_means_nothing() {
    for compression in Compression::ALL {
        let batch = small(compression);
        let meaning = read(&batch).unwrap();
        for bit in 0..8 * batch.len() {
            let mut damaged = batch.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let damaged = Bytes::from(damaged);
            let Ok(view) = BatchView::parse(&damaged) else { continue };
            if view.verify_crc().is_err() {
                continue;
            }
            // Base offset and leader epoch lie outside the checksum.
            assert!(bit / 8 < 8 || (12..16).contains(&(bit / 8)), "{compression}: bit {bit} goes unnoticed");
            let read = read(&damaged).unwrap();
            assert_eq!(read.len(), meaning.len());
            for (damaged, whole) in read.iter().zip(&meaning) {
                assert_eq!((damaged.1, &damaged.2, &damaged.3, &damaged.4), (whole.1, &whole.2, &whole.3, &whole.4));
            }
        }
    }
}

#[test]
fn every_cut_is_noticed() {
    for compression in Compression::ALL {
        let batch = small(compression);
        for end in 0..batch.len() {
            assert!(BatchView::parse(&batch[..end]).is_err());
            if end < HEADER_BYTES {
                continue;
            }
            // Even if length and checksum were right, the records would not be.
            let cut = reseal(&batch[..end]);
            assert!(validate(&cut).is_none_or(|validated| validated.is_err()), "{compression}: {end}");
            assert!(read(&cut).is_err(), "{compression}: {end}");
        }
    }
}

#[test]
fn a_flipped_bit_under_a_right_checksum_never_panics_and_never_invents_records() {
    for compression in Compression::ALL {
        let batch = small(compression);
        for bit in 8 * 16..8 * batch.len() {
            let mut damaged = batch.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let damaged = reseal(&damaged);
            let read = read(&damaged);
            if validate(&damaged).is_some_and(|validated| validated.is_ok()) {
                assert_eq!(read.unwrap().len(), 2, "{compression}: bit {bit}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn records_lead_back(compression in any_compression(), records in vec(any_record(), 1..20), id in 0..i64::MAX) {
        let producer = BatchProducer { id: ProducerId(id), epoch: ProducerEpoch(1), base_sequence: 0 };
        let batch = build(compression, &records, Some(producer));
        let read = read(&batch).unwrap();
        prop_assert_eq!(read.len(), records.len());
        for (index, ((offset, timestamp, key, value, headers), record)) in read.iter().zip(&records).enumerate() {
            prop_assert_eq!(offset.0, i64::try_from(index).unwrap());
            prop_assert_eq!(timestamp.0, record.timestamp);
            prop_assert_eq!(key, &record.key);
            prop_assert_eq!(value, &record.value);
            let expected: Vec<_> =
                record.headers.iter().map(|(key, value)| (key.clone().into_bytes(), value.clone())).collect();
            prop_assert_eq!(headers, &expected);
        }

        let produced = validate(&batch).unwrap().unwrap();
        prop_assert_eq!(produced.max_timestamp().0, records.iter().map(|record| record.timestamp).max().unwrap());
        prop_assert_eq!(produced.min.unwrap().timestamp.0, records.iter().map(|record| record.timestamp).min().unwrap());
        let without_key = records.iter().position(|record| record.key.is_none());
        prop_assert_eq!(produced.first_without_key, without_key.map(|index| i32::try_from(index).unwrap()));
        prop_assert_eq!(BatchView::parse(&batch).unwrap().header().max_timestamp, produced.max_timestamp());
    }

    /// One truth about records: what is streamed out of a decompressor is judged as what lies in memory.
    #[test]
    fn compressed_and_plain_records_are_judged_alike(
        records in vec(any_record(), 1..6),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut plain = build(Compression::None, &records, None).to_vec();
        for (index, value) in changes {
            let at = HEADER_BYTES + index.index(plain.len() - HEADER_BYTES);
            plain[at] = value;
        }
        if let Some(cut) = cut {
            plain.truncate(HEADER_BYTES + 1 + cut.index(plain.len() - HEADER_BYTES - 1));
        }
        let plain = reseal(&plain);
        let judged = validate(&plain);
        prop_assume!(judged.is_some());

        let mut header = BatchHeader::decode(&plain).unwrap();
        header.attributes = header.attributes.with_compression(Compression::Lz4);
        let mut compressed = header.encode().to_vec();
        compress(Compression::Lz4, None, &plain[HEADER_BYTES..], &mut compressed).unwrap();
        let compressed = reseal(&compressed);
        // Only the reason may differ: a stream cannot know beforehand that a record reaches beyond the end.
        let (judged, judged_compressed) = (judged.unwrap().ok(), validate(&compressed).unwrap().ok());
        prop_assert_eq!(judged, judged_compressed);
        prop_assert_eq!(read(&plain), read(&compressed));
        if judged.is_some() {
            prop_assert_eq!(read(&plain).unwrap().len(), records.len());
        }
    }

    #[test]
    fn random_bytes_never_panic(codec in any_compression(), bytes in vec(any::<u8>(), 0..400)) {
        let limits = DecompressLimits { output_bytes: 1 << 20, ..DecompressLimits::default() };
        let _ = decompress(codec, &bytes, &limits);
        let _ = BatchIter::new(&bytes).count();
        let _ = validate(&bytes);
        let mut header = BatchHeader::decode(&small(codec)).unwrap();
        header.length = 0;
        let batch = reseal(&[&header.encode()[..], &bytes].concat());
        let validated = validate(&batch);
        let read = read(&batch);
        if let Some(Ok(_)) = validated {
            prop_assert!(read.is_ok());
        }
    }
}

#[test]
fn a_false_count_ends_with_the_bytes() {
    // In a compressed batch nothing tells beforehand how many records there can be.
    let mut header = BatchHeader::decode(&small(Compression::Zstd)).unwrap();
    header.record_count = i32::MAX;
    header.last_offset_delta = i32::MAX - 1;
    let batch = reseal(&[&header.encode()[..], &small(Compression::Zstd)[HEADER_BYTES..]].concat());
    match validate(&batch) {
        Some(Err(InvalidProduced::Record { index: 2, source: RecordError::Truncated })) => {}
        other => panic!("{other:?}"),
    }
}
