//! Any bytes as a time index: all of the log is there.
#![no_main]

mod common;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    common::with_helper("00000000000000000000.timeindex", bytes);
});
