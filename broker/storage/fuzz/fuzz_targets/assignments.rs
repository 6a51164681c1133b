//! Any bytes as the file that says which log dir keeps which partition, and as the content of one whose frame holds.
#![no_main]

use cairn_storage::dir::Assignments;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // Nearly always refused, because of the checksum.
    check(bytes);
    let mut framed = b"cairnasg\0\x01\0\0".to_vec();
    framed.extend(u32::try_from(bytes.len()).expect("inputs are small").to_be_bytes());
    framed.extend(bytes);
    framed.extend(crc32c::crc32c(&framed).to_be_bytes());
    check(&framed);
});

/// What is accepted can be written, and says the same then.
fn check(bytes: &[u8]) {
    let Ok(assignments) = Assignments::decode(bytes) else { return };
    for dir in assignments.logs.values() {
        assert!(assignments.dirs.contains_key(dir), "a partition lies in a dir that is known");
    }
    assert_eq!(Assignments::decode(&assignments.encode()), Ok(assignments));
}
