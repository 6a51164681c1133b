//! Any bytes as an offset index: all of the log is there.
#![no_main]

mod common;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    common::with_helper("00000000000000000000.index", bytes);
});
