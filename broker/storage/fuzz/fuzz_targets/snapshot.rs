//! Any bytes as a producer snapshot: all of the log is there, and its producers.
#![no_main]

mod common;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    common::with_helper("00000000000000000000.snapshot", bytes);
    common::with_helper("00000000000000000008.snapshot", bytes);
});
