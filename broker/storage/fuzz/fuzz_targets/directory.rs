//! Any bytes as each of the data directory's own files.
#![no_main]

mod common;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for file in ["checkpoint", "clean-shutdown", "identity"] {
        common::with_own_file(file, bytes);
    }
});
