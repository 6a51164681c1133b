//! Any bytes as a segment: what recovery keeps is sound, can be appended to, and is there again afterwards.
#![no_main]

mod common;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    common::with_file("00000000000000000000.log", bytes);
});
