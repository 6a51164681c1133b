//! What the targets of messages share.
#![allow(dead_code)]

use bytes::Bytes;
use cairn_protocol::Message;

/// Any bytes as a message of any version: what is read can be written, and is the same when it is read again.
pub fn check<M: Message>(bytes: Bytes, version: i16) {
    let Ok(message) = M::decode_all(bytes, version) else { return };
    let written = message.to_bytes(version).unwrap_or_else(|error| panic!("{} version {version}: {error}", M::NAME));
    let again = M::decode_all(written.clone(), version);
    let again = again.unwrap_or_else(|error| panic!("{} version {version} read again: {error}", M::NAME));
    assert_eq!(again.to_bytes(version), Ok(written), "{} version {version}", M::NAME);
}

/// Two numbers of two bytes at the start, and the rest.
pub fn split(bytes: &[u8]) -> Option<(i16, i16, Bytes)> {
    let (first, rest) = bytes.split_first_chunk()?;
    let (second, rest) = rest.split_first_chunk()?;
    Some((i16::from_be_bytes(*first), i16::from_be_bytes(*second), Bytes::copy_from_slice(rest)))
}
