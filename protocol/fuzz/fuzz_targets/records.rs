//! Any bytes as the records of a batch with a consistent header; compressed or not, they are judged alike.
#![no_main]

mod common;

use bytes::Bytes;
use cairn_protocol::ids::{Offset, Timestamp};
use cairn_protocol::records::{Attributes, BatchHeader, Compression, compress};

fn batch(record_count: i32, compression: Compression, records: &[u8]) -> Bytes {
    let header = BatchHeader {
        base_offset: Offset(0),
        length: 0,
        leader_epoch: None,
        crc: 0,
        attributes: Attributes::default().with_compression(compression),
        last_offset_delta: record_count - 1,
        base_timestamp: Timestamp(1_700_000_000_000),
        max_timestamp: Timestamp(1_700_000_000_000),
        producer: None,
        record_count,
    };
    let mut bytes = header.encode().to_vec();
    compress(compression, None, records, &mut bytes).expect("any bytes compress");
    common::reseal(&bytes)
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((count, records)) = bytes.split_first() else { return };
    let count = i32::from(*count).max(1);
    let plain = common::check_batch(&batch(count, Compression::None, records));
    let compressed = common::check_batch(&batch(count, Compression::Snappy, records));
    assert_eq!(plain, compressed);
});
