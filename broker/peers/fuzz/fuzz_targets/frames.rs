//! Any bytes as what comes on a connection, and as frames whose checksums hold, in pieces of any length, from a stranger and from a member.
#![no_main]

use cairn_peers::fuzzing;

libfuzzer_sys::fuzz_target!(|input: (bool, u16, Vec<u8>, Vec<(u8, u64, Vec<u8>, Vec<u8>)>)| {
    let (is_member, piece, garbage, wanted) = input;
    let mut stream = Vec::new();
    for (kind, id, body, payload) in &wanted {
        stream.extend(fuzzing::frame(*kind, *id, body, payload));
    }
    stream.extend(&garbage);
    fuzzing::frames(&stream, is_member, usize::from(piece));
    fuzzing::frames(&garbage, is_member, usize::from(piece));
});
