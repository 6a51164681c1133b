//! Which properties there are, and what each sets.
//!
//! Must not know: where properties come from, what is said about one that nobody knows.

use std::time::Duration;

use crate::config::{AutoCreateTopics, ClientBuilder};
use crate::consumer::{Assignor, ConsumerBuilder, GroupProtocol, IsolationLevel, OffsetReset};
use crate::producer::{Acks, Compression, Idempotence, ProducerBuilder};

/// A property of a builder.
pub(super) struct Property<B> {
    pub(super) name: &'static str,
    pub(super) wanted: &'static str,
    /// None when the value is not what is wanted.
    pub(super) set: fn(B, &str) -> Option<B>,
}

pub(super) const MILLIS: &str = "a number of milliseconds";
pub(super) const BYTES: &str = "a number of bytes";
pub(super) const BOOLEAN: &str = "true or false";
pub(super) const TEXT: &str = "a text";

fn millis(text: &str) -> Option<Duration> {
    text.parse().ok().map(Duration::from_millis)
}

fn bytes(text: &str) -> Option<usize> {
    text.parse().ok()
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

pub(super) const CLIENT: &[Property<ClientBuilder>] = &[
    Property { name: "bootstrap.servers", wanted: TEXT, set: |builder, text| Some(builder.bootstrap(text)) },
    Property { name: "client.id", wanted: TEXT, set: |builder, text| Some(builder.client_id(text)) },
    Property {
        name: "socket.connection.setup.timeout.ms",
        wanted: MILLIS,
        set: |builder, text| Some(builder.connect_timeout(millis(text)?)),
    },
    Property {
        name: "request.timeout.ms",
        wanted: MILLIS,
        set: |builder, text| Some(builder.request_timeout(millis(text)?)),
    },
    Property {
        name: "default.api.timeout.ms",
        wanted: MILLIS,
        set: |builder, text| Some(builder.operation_timeout(millis(text)?)),
    },
    Property {
        name: "retry.backoff.ms",
        wanted: MILLIS,
        set: |builder, text| Some(builder.first_backoff(millis(text)?)),
    },
    Property {
        name: "retry.backoff.max.ms",
        wanted: MILLIS,
        set: |builder, text| Some(builder.longest_backoff(millis(text)?)),
    },
    Property {
        name: "metadata.max.age.ms",
        wanted: MILLIS,
        set: |builder, text| Some(builder.metadata_max_age(millis(text)?)),
    },
    Property {
        name: "allow.auto.create.topics",
        wanted: BOOLEAN,
        set: |builder, text| {
            let auto_create = if boolean(text)? { AutoCreateTopics::Allow } else { AutoCreateTopics::Refuse };
            Some(builder.auto_create_topics(auto_create))
        },
    },
];

pub(super) const PRODUCER: &[Property<ProducerBuilder>] = &[
    Property {
        name: "acks",
        wanted: "all, -1, 1 or 0",
        set: |builder, text| {
            let acks = match text {
                "all" | "-1" => Acks::All,
                "1" => Acks::Leader,
                "0" => Acks::None,
                _ => return None,
            };
            Some(builder.acks(acks))
        },
    },
    Property {
        name: "enable.idempotence",
        wanted: BOOLEAN,
        set: |builder, text| Some(builder.idempotence(if boolean(text)? { Idempotence::On } else { Idempotence::Off })),
    },
    Property {
        name: "compression.type",
        wanted: "none, gzip, snappy, lz4 or zstd",
        set: |builder, text| Some(builder.compression(Compression::from_name(text)?)),
    },
    Property { name: "batch.size", wanted: BYTES, set: |builder, text| Some(builder.batch_bytes(bytes(text)?)) },
    Property { name: "linger.ms", wanted: MILLIS, set: |builder, text| Some(builder.linger(millis(text)?)) },
    Property {
        name: "max.request.size",
        wanted: BYTES,
        set: |builder, text| Some(builder.request_bytes_max(bytes(text)?)),
    },
    Property { name: "buffer.memory", wanted: BYTES, set: |builder, text| Some(builder.buffer_bytes(bytes(text)?)) },
    Property {
        name: "delivery.timeout.ms",
        wanted: MILLIS,
        set: |builder, text| Some(builder.delivery_timeout(millis(text)?)),
    },
    Property { name: "max.block.ms", wanted: MILLIS, set: |builder, text| Some(builder.max_block(millis(text)?)) },
    Property {
        name: "transaction.timeout.ms",
        wanted: MILLIS,
        set: |builder, text| Some(builder.transaction_timeout(millis(text)?)),
    },
];

pub(super) const CONSUMER: &[Property<ConsumerBuilder>] = &[
    Property { name: "group.id", wanted: TEXT, set: |builder, text| Some(builder.group(text)) },
    Property { name: "group.instance.id", wanted: TEXT, set: |builder, text| Some(builder.group_instance_id(text)) },
    Property { name: "client.rack", wanted: TEXT, set: |builder, text| Some(builder.client_rack(text)) },
    Property {
        name: "group.protocol",
        wanted: "classic or consumer",
        set: |builder, text| {
            let protocol = match text.to_ascii_lowercase().as_str() {
                "classic" => GroupProtocol::Classic,
                "consumer" => GroupProtocol::Consumer,
                _ => return None,
            };
            Some(builder.group_protocol(protocol))
        },
    },
    Property {
        name: "auto.offset.reset",
        wanted: "earliest, latest or none",
        set: |builder, text| {
            let reset = match text.to_ascii_lowercase().as_str() {
                "earliest" => OffsetReset::Earliest,
                "latest" => OffsetReset::Latest,
                "none" => OffsetReset::Fail,
                _ => return None,
            };
            Some(builder.offset_reset(reset))
        },
    },
    Property {
        name: "isolation.level",
        wanted: "read_committed or read_uncommitted",
        set: |builder, text| {
            let level = match text.to_ascii_lowercase().as_str() {
                "read_committed" => IsolationLevel::ReadCommitted,
                "read_uncommitted" => IsolationLevel::ReadUncommitted,
                _ => return None,
            };
            Some(builder.isolation_level(level))
        },
    },
    Property {
        name: "fetch.min.bytes",
        wanted: BYTES,
        set: |builder, text| Some(builder.fetch_min_bytes(bytes(text)?)),
    },
    Property {
        name: "fetch.max.bytes",
        wanted: BYTES,
        set: |builder, text| Some(builder.fetch_max_bytes(bytes(text)?)),
    },
    Property {
        name: "max.partition.fetch.bytes",
        wanted: BYTES,
        set: |builder, text| Some(builder.partition_max_bytes(bytes(text)?)),
    },
    Property {
        name: "fetch.max.wait.ms",
        wanted: MILLIS,
        set: |builder, text| Some(builder.fetch_max_wait(millis(text)?)),
    },
    Property {
        name: "session.timeout.ms",
        wanted: MILLIS,
        set: |builder, text| Some(builder.session_timeout(millis(text)?)),
    },
    Property {
        name: "heartbeat.interval.ms",
        wanted: MILLIS,
        set: |builder, text| Some(builder.heartbeat_interval(millis(text)?)),
    },
    Property {
        name: "max.poll.interval.ms",
        wanted: MILLIS,
        set: |builder, text| Some(builder.max_poll_interval(millis(text)?)),
    },
    Property {
        name: "enable.auto.commit",
        wanted: BOOLEAN,
        set: |builder, text| Some(builder.auto_commit_is(boolean(text)?)),
    },
    Property {
        name: "auto.commit.interval.ms",
        wanted: MILLIS,
        set: |builder, text| Some(builder.auto_commit_interval(millis(text)?)),
    },
    Property {
        name: "partition.assignment.strategy",
        wanted: "range, roundrobin, sticky or cooperative-sticky, or Java's names of these; several separated by commas",
        set: |builder, text| {
            let assignors: Option<Vec<Assignor>> = text.split(',').map(|name| assignor(name.trim())).collect();
            Some(builder.assignors(&assignors?))
        },
    },
];

fn assignor(name: &str) -> Option<Assignor> {
    match name.strip_prefix("org.apache.kafka.clients.consumer.").unwrap_or(name) {
        "range" | "RangeAssignor" => Some(Assignor::Range),
        "roundrobin" | "RoundRobinAssignor" => Some(Assignor::RoundRobin),
        "sticky" | "StickyAssignor" => Some(Assignor::Sticky),
        "cooperative-sticky" | "CooperativeStickyAssignor" => Some(Assignor::CooperativeSticky),
        _ => None,
    }
}
