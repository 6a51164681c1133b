//! The API table: every key with its name, versions, header versions and listeners.
//!
//! Must not know: fields of messages, which of the APIs a broker serves.

use std::fmt;
use std::ops::RangeInclusive;

use crate::codec::Message;

include!(concat!(env!("OUT_DIR"), "/api_keys.rs"));

/// A request's body: it knows its API and what answers it.
pub trait Request: Message {
    /// The API.
    const KEY: ApiKey;
    /// The body of the answer.
    type Response: Response;
}

/// The body of an answer.
pub trait Response: Message {
    /// Gives each error in it, of the whole and of its parts, as it is numbered on the wire.
    fn each_error(&self, told: &mut dyn FnMut(i16));
}

/// What the schema says about one API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiFacts {
    /// Kafka's name.
    pub name: &'static str,
    /// The first version that can be read and written.
    pub first: i16,
    /// The last version that can be read and written.
    pub last: i16,
    /// The first version with flexible headers, compact lengths and tagged fields.
    pub flexible_from: Option<i16>,
    /// Kafka does not advertise the last version yet.
    pub latest_unstable: bool,
    /// Brokers serve it on their listeners.
    pub on_broker: bool,
    /// Controllers serve it on theirs.
    pub on_controller: bool,
}

impl ApiKey {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> i16 {
        self as i16
    }

    /// Kafka's name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.facts().name
    }

    /// The versions that can be read and written.
    #[must_use]
    pub const fn versions(self) -> RangeInclusive<i16> {
        let facts = self.facts();
        facts.first..=facts.last
    }

    /// The versions that Apache Kafka 4.3 advertises for it.
    ///
    /// Produce begins with 0 although nothing below 3 is served: older librdkafka takes a broker that does not show
    /// 0 for one that knows no compression (KAFKA-18659).
    #[must_use]
    pub const fn advertised_versions(self) -> RangeInclusive<i16> {
        let facts = self.facts();
        let first = if matches!(self, Self::Produce) { 0 } else { facts.first };
        let last = if facts.latest_unstable { facts.last - 1 } else { facts.last };
        first..=last
    }

    /// Whether this version has flexible headers, compact lengths and tagged fields.
    #[must_use]
    pub const fn is_flexible(self, version: i16) -> bool {
        match self.facts().flexible_from {
            Some(first) => version >= first,
            None => false,
        }
    }

    /// The version of the header before a request.
    #[must_use]
    pub const fn request_header_version(self, version: i16) -> i16 {
        if self.is_flexible(version) { 2 } else { 1 }
    }

    /// The version of the header before a response. That of ApiVersions is always 0, so that a client can read the answer
    /// before it knows what the broker speaks (KIP-511).
    #[must_use]
    pub const fn response_header_version(self, version: i16) -> i16 {
        if matches!(self, Self::ApiVersions) || !self.is_flexible(version) { 0 } else { 1 }
    }
}

impl fmt::Display for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
