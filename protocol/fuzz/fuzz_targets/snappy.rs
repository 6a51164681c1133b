//! Any bytes as what a producer has compressed with snappy.
#![no_main]

mod common;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    common::check_codec(cairn_protocol::records::Compression::Snappy, bytes);
});
