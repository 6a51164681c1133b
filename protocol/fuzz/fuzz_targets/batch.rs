//! Any bytes as a range of record batches: walked, and each batch checked as if its checksum were right.
#![no_main]

mod common;

use cairn_protocol::records::{BatchIter, Tail};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut batches = BatchIter::new(bytes);
    let mut consumed = 0;
    while let Some(Ok(batch)) = batches.next() {
        consumed += batch.as_bytes().len();
        let _ = batch.verify_crc();
        common::check_batch(&common::reseal(batch.as_bytes()));
    }
    assert_eq!(batches.position(), consumed);
    assert!(batches.tail() != Tail::Whole || consumed == bytes.len());
});
