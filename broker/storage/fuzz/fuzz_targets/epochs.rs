//! Any bytes as the list of leader epochs: all of the log is there, and the epochs are those of its batches.
#![no_main]

mod common;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    common::with_helper("leader-epoch-checkpoint", bytes);
});
