//! A record as the suites hand it to foreign clients and get it back, and its form in the pipes to the Python clients.
//!
//! It must not know any client or broker.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

/// A record to write.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// Key, or none.
    pub key: Option<Vec<u8>>,
    /// Value; none is a tombstone.
    pub value: Option<Vec<u8>>,
    /// Headers in order; a name may come twice.
    pub headers: Vec<(String, String)>,
    /// Milliseconds since 1970, where the client can set them.
    pub timestamp_ms: Option<i64>,
}

/// A record that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp.
    pub timestamp_ms: i64,
    /// Key, or none.
    pub key: Option<Vec<u8>>,
    /// Value, or none.
    pub value: Option<Vec<u8>>,
    /// Headers in order.
    pub headers: Vec<(String, String)>,
}

/// One record as a line of JSON, bytes in base64.
#[derive(Debug, Serialize, Deserialize)]
struct Line {
    #[serde(default)]
    offset: i64,
    timestamp_ms: Option<i64>,
    key: Option<String>,
    value: Option<String>,
    headers: Vec<(String, String)>,
}

fn text(bytes: Option<&Vec<u8>>) -> Option<String> {
    bytes.map(|bytes| STANDARD.encode(bytes))
}

fn bytes(text: Option<String>) -> anyhow::Result<Option<Vec<u8>>> {
    Ok(text.map(|text| STANDARD.decode(text)).transpose()?)
}

/// Lines of JSON for a client script.
pub fn to_lines(records: &[Outgoing]) -> anyhow::Result<String> {
    let mut lines = String::new();
    for record in records {
        let line = Line {
            offset: 0,
            timestamp_ms: record.timestamp_ms,
            key: text(record.key.as_ref()),
            value: text(record.value.as_ref()),
            headers: record.headers.clone(),
        };
        lines.push_str(&serde_json::to_string(&line)?);
        lines.push('\n');
    }
    Ok(lines)
}

/// What a client script printed.
pub fn from_lines(lines: &str) -> anyhow::Result<Vec<Record>> {
    lines
        .lines()
        .map(|line| {
            let line: Line = serde_json::from_str(line)?;
            Ok(Record {
                offset: line.offset,
                timestamp_ms: line.timestamp_ms.unwrap_or(-1),
                key: bytes(line.key)?,
                value: bytes(line.value)?,
                headers: line.headers,
            })
        })
        .collect()
}
