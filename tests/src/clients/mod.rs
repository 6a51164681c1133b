//! Clients that others wrote, each behind the same small trait: write records, read records, resume from a committed offset.
//!
//! It must not know the broker: a client gets an address.

pub mod application;
mod java;
mod kcat;
pub mod member;
mod node;
mod python;

use std::fmt;
use std::path::PathBuf;

pub use java::{Console, consumer_groups, dump_groups, dump_log, tool};
pub use kcat::Kcat;
pub use node::Kafkajs;
pub use python::Python;

use crate::record::{Outgoing, Record};

/// A compression, by the name that every client knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    /// As it is.
    None,
    /// Deflate in a gzip frame.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl Codec {
    /// All five.
    pub const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    /// The name in clients' options.
    pub fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A partition of a broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// `host:port`.
    pub bootstrap: String,
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: i32,
}

/// Where reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// At this offset.
    Offset(i64),
    /// At the first record at or after this time, in milliseconds since 1970.
    Time(i64),
}

/// What a client's tool can say about a record that it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// Any bytes, and the timestamp.
    BytesAt,
    /// Any bytes.
    Bytes,
    /// Text in UTF-8.
    Text,
}

/// A foreign client, whichever it is.
pub trait Client: Send + Sync {
    /// Its name in reports.
    fn name(&self) -> &'static str;

    /// What its tool can say about a record.
    fn writes(&self) -> Writes;

    /// What is missing to run it here, or none.
    fn missing(&self) -> Option<String>;

    /// Writes all records in order with acks=all and returns when they are acknowledged. A client that cannot choose the partition
    /// needs a topic with one.
    fn produce(&self, to: &Place, codec: Codec, records: &[Outgoing]) -> anyhow::Result<()>;

    /// Reads `count` records.
    fn consume(&self, place: &Place, from: From, count: usize) -> anyhow::Result<Vec<Record>>;

    /// As `group`, by assignment or as its only member: goes on at the committed offset (else at the beginning), reads `count` records,
    /// commits behind them.
    fn resume(&self, place: &Place, group: &str, count: usize) -> anyhow::Result<Vec<Record>>;
}

/// All of them.
pub fn all() -> Vec<Box<dyn Client>> {
    vec![
        Box::new(Kcat),
        Box::new(Python::confluent()),
        Box::new(Python::kafka_python()),
        Box::new(Python::aiokafka()),
        Box::new(Kafkajs),
        Box::new(Console),
    ]
}

/// The folder for what the suites install beside the repository: `CAIRN_TEST_TOOLS`, or one in the user's cache.
pub fn tools() -> PathBuf {
    if let Some(folder) = std::env::var_os("CAIRN_TEST_TOOLS") {
        return folder.into();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    cache.or_else(home).unwrap_or_else(std::env::temp_dir).join("cairn-tests")
}

/// Whether a program of this name is on the path.
pub fn on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// What to do about something that is missing.
fn install_hint(what: &str) -> String {
    format!("{what} is missing; tests/foreign/install gets it")
}
