//! What the targets share.
#![allow(dead_code)]

use bytes::Bytes;
use cairn_protocol::records::{
    BatchHeader, BatchView, Compression, DecompressLimits, HEADER_BYTES, LENGTH_OVERHEAD, ProduceLimits, compress,
    decompress,
};

/// Small, so that what grows beyond it is noticed, and runs are fast.
const LIMITS: DecompressLimits = DecompressLimits { output_bytes: 1 << 20, zstd_window_log: 20 };

/// `batch`, which has a header, with length and checksum that fit its bytes.
pub fn reseal(batch: &[u8]) -> Bytes {
    let mut header = BatchHeader::decode(batch).expect("callers have a whole header");
    header.length = i32::try_from(batch.len() - LENGTH_OVERHEAD).expect("inputs are short");
    let records = &batch[HEADER_BYTES..];
    [&header.encode_with_crc(records)[..], records].concat().into()
}

/// Validates and reads the batch; whether it is a good one. What is valid must be readable, with all its records.
pub fn check_batch(batch: &Bytes) -> bool {
    let Ok(view) = BatchView::parse(batch) else { return false };
    view.verify_crc().expect("resealed");
    let valid = view.validate_produced(&ProduceLimits { headers: 16, decompress: LIMITS });
    let mut read = 0;
    let mut failed = true;
    if let Ok(records) = view.records(batch, &LIMITS) {
        failed = false;
        for record in records.iter() {
            match record {
                Ok(record) => {
                    read += 1;
                    assert!(record.offset >= view.header().base_offset && record.offset <= view.header().last_offset());
                    let declared = record.headers.len();
                    assert_eq!(record.headers.count(), declared, "headers were checked when the record was read");
                }
                Err(_) => failed = true,
            }
        }
    }
    match valid {
        Ok(_) => {
            assert!(!failed, "what is valid can be read");
            assert_eq!(read, view.header().record_count);
            true
        }
        Err(_) => false,
    }
}

/// Any bytes as compressed input: the output keeps to its limit, and compresses back and forth.
pub fn check_codec(codec: Compression, input: &[u8]) {
    let Ok(output) = decompress(codec, input, &LIMITS) else { return };
    assert!(output.len() <= LIMITS.output_bytes);
    let mut again = Vec::new();
    compress(codec, None, &output, &mut again).expect("any bytes compress");
    assert_eq!(decompress(codec, &again, &LIMITS).expect("what is compressed decompresses"), output);
}
