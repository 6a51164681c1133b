//! A record as one line of JSON.
//!
//! Must not know: consumers, sockets.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

/// What a record line shows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RecordJson<'a> {
    /// The topic's name.
    pub(crate) topic: &'a str,
    /// The partition's index.
    pub(crate) partition: i32,
    /// The record's offset.
    pub(crate) offset: i64,
    /// Milliseconds since 1970, -1 for none.
    pub(crate) timestamp_ms: i64,
    /// The key.
    pub(crate) key: Option<&'a [u8]>,
    /// The value.
    pub(crate) value: Option<&'a [u8]>,
    /// The headers, in order; a key may come twice.
    pub(crate) headers: &'a [(&'a str, Option<&'a [u8]>)],
}

impl Serialize for RecordJson<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("topic", self.topic)?;
        map.serialize_entry("partition", &self.partition)?;
        map.serialize_entry("offset", &self.offset)?;
        map.serialize_entry("timestamp_ms", &self.timestamp_ms)?;
        entry(&mut map, "key", "key_encoding", self.key)?;
        entry(&mut map, "value", "value_encoding", self.value)?;
        map.serialize_entry("headers", &Headers(self.headers))?;
        map.end()
    }
}

/// UTF-8 as text; other bytes as base64, with a second entry that says so.
fn entry<M: SerializeMap>(
    map: &mut M,
    name: &'static str,
    encoding: &'static str,
    bytes: Option<&[u8]>,
) -> Result<(), M::Error> {
    let Some(bytes) = bytes else { return map.serialize_entry(name, &()) };
    match std::str::from_utf8(bytes) {
        Ok(text) => map.serialize_entry(name, text),
        Err(_) => {
            map.serialize_entry(name, &STANDARD.encode(bytes))?;
            map.serialize_entry(encoding, "base64")
        }
    }
}

struct Headers<'a>(&'a [(&'a str, Option<&'a [u8]>)]);

impl Serialize for Headers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|&(key, value)| Header { key, value }))
    }
}

struct Header<'a> {
    key: &'a str,
    value: Option<&'a [u8]>,
}

impl Serialize for Header<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("key", self.key)?;
        entry(&mut map, "value", "value_encoding", self.value)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_text_and_bytes_are_base64() {
        let record = RecordJson {
            topic: "t",
            partition: 3,
            offset: 41,
            timestamp_ms: 1_700_000_000_000,
            key: None,
            value: Some(&[0xff, 0x00]),
            headers: &[("h", Some(b"\xc3\xa9")), ("h", Some(b"\xfe")), ("n", None)],
        };
        assert_eq!(
            serde_json::to_string(&record).expect("serialises"),
            r#"{"topic":"t","partition":3,"offset":41,"timestamp_ms":1700000000000,"key":null,"value":"/wA=","value_encoding":"base64","headers":[{"key":"h","value":"é"},{"key":"h","value":"/g==","value_encoding":"base64"},{"key":"n","value":null}]}"#
        );
    }

    #[test]
    fn line_breaks_stay_inside_the_line() {
        let record = RecordJson {
            topic: "t",
            partition: 0,
            offset: 0,
            timestamp_ms: -1,
            key: Some(b""),
            value: Some(b"a\nb\"c"),
            headers: &[],
        };
        assert_eq!(
            serde_json::to_string(&record).expect("serialises"),
            r#"{"topic":"t","partition":0,"offset":0,"timestamp_ms":-1,"key":"","value":"a\nb\"c","headers":[]}"#
        );
    }
}
