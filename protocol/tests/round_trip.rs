//! Every message in every version, with random values: bytes that the schema makes by itself are read by the generated code
//! and written again to the same bytes; bytes that are cut or changed are refused or read, and never panic.

mod support;

use std::collections::BTreeMap;

use bytes::Bytes;
use cairn_protocol::codec::{DecodeError, Message};
use support::random::Random;
use support::schema::Message as Schema;
use support::{all_messages, message_bytes};

const SEED: u64 = 0x00ca_1220;
const MESSAGES_PER_VERSION: u64 = 40;

type Check = fn(&Schema);

/// `check::<M>` of every message, beside its name.
macro_rules! every {
    ($($name:ident),* $(,)?) => {
        [$((stringify!($name), [
            round_trips::<cairn_protocol::messages::$name> as Check,
            unknown_tags_are_skipped::<cairn_protocol::messages::$name>,
            damage_is_no_panic::<cairn_protocol::messages::$name>,
        ])),*]
    };
}

fn check_all(which: usize) {
    let schema = all_messages();
    let checks: BTreeMap<&str, [Check; 3]> = cairn_protocol::every_message!(every).into_iter().collect();
    assert_eq!(checks.keys().copied().collect::<Vec<_>>(), schema.keys().map(String::as_str).collect::<Vec<_>>());
    for (name, checks) in checks {
        checks[which](&schema[name]);
    }
}

/// Random messages of every version of a schema's message, each with a seed of its own.
fn samples(schema: &Schema, unknown_tags: bool) -> impl Iterator<Item = (i16, u64, Bytes)> {
    let versions = schema.versions.first..=schema.versions.last;
    versions.flat_map(move |version| {
        (0..MESSAGES_PER_VERSION).map(move |index| {
            let seed = SEED ^ index << 32 ^ u64::from(version.unsigned_abs()) << 48;
            let mut random = Random::new(seed);
            random.unknown_tags = unknown_tags;
            (version, seed, Bytes::from(message_bytes(schema, version, &mut random)))
        })
    })
}

fn round_trips<M: Message>(schema: &Schema) {
    for (version, seed, bytes) in samples(schema, false) {
        let case = format!("{} version {version} seed {seed:#x}", M::NAME);
        let message = M::decode_all(bytes.clone(), version).unwrap_or_else(|error| panic!("{case}: {error}"));
        let segments = message.to_segments(version).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert_eq!(segments.len(), bytes.len(), "{case}: length");
        assert_eq!(segments.into_bytes(), bytes, "{case}: {message:?}");
    }
}

#[test]
fn bytes_of_the_schema_are_read_and_written_again() {
    check_all(0);
}

fn unknown_tags_are_skipped<M: Message>(schema: &Schema) {
    for (version, seed, bytes) in samples(schema, true) {
        let case = format!("{} version {version} seed {seed:#x}", M::NAME);
        let message = M::decode_all(bytes.clone(), version).unwrap_or_else(|error| panic!("{case}: {error}"));
        let written = message.to_bytes(version).unwrap_or_else(|error| panic!("{case}: {error}"));
        assert!(written.len() <= bytes.len(), "{case}");
        assert_eq!(M::decode_all(written, version), Ok(message), "{case}");
    }
}

#[test]
fn unknown_tagged_fields_are_skipped_everywhere() {
    check_all(1);
}

/// Whatever is read out of damaged bytes can be written, but for nulls and fields that only this reader accepts.
fn damage_is_no_panic<M: Message>(schema: &Schema) {
    let mut random = Random::new(SEED);
    for (version, seed, bytes) in samples(schema, false).step_by(8) {
        for len in 0..bytes.len().min(200) {
            let cut = M::decode_all(bytes.slice(..len), version);
            assert!(cut.is_err(), "{} version {version} seed {seed:#x} cut to {len} was read", M::NAME);
        }
        let longer = Bytes::from([&bytes[..], &[0]].concat());
        assert_eq!(M::decode_all(longer, version), Err(DecodeError::TrailingBytes(1)), "{} {version}", M::NAME);
        for _ in 0..20.min(bytes.len()) {
            let mut changed = bytes.to_vec();
            let index = random.below(changed.len());
            changed[index] ^= 1 << random.below(8);
            let Ok(message) = M::decode_all(changed.into(), version) else { continue };
            let written = message.to_bytes(version).unwrap_or_else(|error| panic!("{} {version}: {error}", M::NAME));
            let again = M::decode_all(written.clone(), version);
            let again = again.unwrap_or_else(|error| panic!("{} {version}: {error}", M::NAME));
            assert_eq!(again.to_bytes(version), Ok(written), "{} {version}", M::NAME);
        }
    }
}

#[test]
fn damaged_bytes_are_refused_or_read() {
    check_all(2);
}
