//! Any bytes as the first frames of a connection, which strangers send.
#![no_main]

libfuzzer_sys::fuzz_target!(|body: &[u8]| cairn_peers::fuzzing::first_frames(body));
