//! The table of topic configs: the names, defaults and bounds are Apache Kafka 4.3's, `durability` is ours.
//!
//! Must not know: how values are checked or found.

use super::value::Allowed::{Any, Fraction, OneOf, Range, RangeOr, Replicas, SomeOf};
use super::value::ConfigKind::{Boolean, Double, Int, List, Long, Text};
use super::{State, Synonym, TopicConfigKey};

const INT: i64 = i32::MAX as i64;
const LONG: i64 = i64::MAX;
const LONG_TEXT: &str = "9223372036854775807";
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

const fn same(name: &'static str) -> Synonym {
    Synonym { name, factor: 1 }
}

/// A config that the broker acts by.
macro_rules! in_force {
    ($name:literal, $kind:expr, $default:expr, $allowed:expr, [$($synonym:expr),*], $doc:literal) => {
        TopicConfigKey { name: $name, kind: $kind, default: $default, allowed: $allowed, state: State::InForce,
            synonyms: &[$($synonym),*], doc: $doc }
    };
}

/// A config of Kafka's that the broker does not act by yet.
macro_rules! only_default {
    ($name:literal, $kind:expr, $default:expr, $allowed:expr, [$($synonym:expr),*], $doc:literal) => {
        TopicConfigKey { name: $name, kind: $kind, default: $default, allowed: $allowed, state: State::OnlyDefault,
            synonyms: &[$($synonym),*], doc: $doc }
    };
}

/// Every topic config, sorted by name.
pub static TOPIC_CONFIGS: &[TopicConfigKey] = &[
    in_force!(
        "cleanup.policy",
        List,
        "delete",
        SomeOf(&["compact", "delete"]),
        [same("log.cleanup.policy")],
        "How old records go away. 'delete' removes whole segments by age and size; 'compact' removes records that a newer \
         one of the same key supersedes, and refuses records without a key; with both, both happen; with \
         none, all records stay."
    ),
    in_force!(
        "compression.gzip.level",
        Int,
        "-1",
        RangeOr(1, 9, -1),
        [same("compression.gzip.level")],
        "The level for gzip where compression.type is gzip; -1: the usual one."
    ),
    in_force!(
        "compression.lz4.level",
        Int,
        "9",
        Range(1, 17),
        [same("compression.lz4.level")],
        "The level for lz4 where compression.type is lz4. All levels compress alike."
    ),
    in_force!(
        "compression.type",
        Text,
        "producer",
        OneOf(&["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"]),
        [same("compression.type")],
        "How batches are compressed on disk: 'producer' keeps each as it was sent; any other has batches that came otherwise compressed anew before they are appended, which costs the broker CPU."
    ),
    in_force!(
        "compression.zstd.level",
        Int,
        "3",
        Range(-131_072, 22),
        [same("compression.zstd.level")],
        "The level for zstd where compression.type is zstd."
    ),
    in_force!(
        "delete.retention.ms",
        Long,
        "86400000",
        Range(0, LONG),
        [same("log.cleaner.delete.retention.ms")],
        "How long compaction keeps a tombstone after it has met it first, so that who reads everything learns of it."
    ),
    in_force!(
        "durability",
        Text,
        "replicated",
        OneOf(&["replicated", "synced"]),
        [same("log.durability")],
        "What an acknowledgement with acks=all means. 'replicated': the record is in the memory of all in-sync replicas \
         and reaches their disks within flush.ms. 'synced': it is on their disks, and survives a power cut of them all."
    ),
    only_default!(
        "file.delete.delay.ms",
        Long,
        "60000",
        Range(0, LONG),
        [],
        "How long a segment's files stay on disk after they left the log. They go at once: readers keep what they hold."
    ),
    in_force!(
        "flush.messages",
        Long,
        LONG_TEXT,
        Range(1, LONG),
        [same("log.flush.interval.messages")],
        "After how many records the log is made durable. 1 means the same as durability=synced."
    ),
    in_force!(
        "flush.ms",
        Long,
        LONG_TEXT,
        Range(0, LONG),
        [same("log.flush.interval.ms"), same("log.flush.scheduler.interval.ms")],
        "How long a record may wait until it is made durable. The default leaves it to the broker's own pace, which \
         bounds it to a fraction of a second."
    ),
    in_force!(
        "follower.replication.throttled.replicas",
        List,
        "",
        Replicas,
        [],
        "Replicas that are slowed down while they catch up with their leaders, each as PARTITION:BROKER, or * for all: to \
         follower.replication.throttled.rate of their broker. Tools set it when they move partitions."
    ),
    in_force!(
        "index.interval.bytes",
        Int,
        "4096",
        Range(0, INT),
        [same("log.index.interval.bytes")],
        "About how many bytes of the log lie between two index entries."
    ),
    in_force!(
        "leader.replication.throttled.replicas",
        List,
        "",
        Replicas,
        [],
        "Replicas that others catch up with slowly, each as PARTITION:BROKER, or * for all: at \
         leader.replication.throttled.rate of their broker. Tools set it when they move partitions."
    ),
    only_default!(
        "local.retention.bytes",
        Long,
        "-2",
        Range(-2, LONG),
        [],
        "How much of a tiered log stays local. Tiering is not accepted yet; -2 means retention.bytes."
    ),
    only_default!(
        "local.retention.ms",
        Long,
        "-2",
        Range(-2, LONG),
        [],
        "How long a tiered log stays local. Tiering is not accepted yet; -2 means retention.ms."
    ),
    in_force!(
        "max.compaction.lag.ms",
        Long,
        LONG_TEXT,
        Range(1, LONG),
        [same("log.cleaner.max.compaction.lag.ms")],
        "How long compaction may put a record off: an older one is compacted, however little of its log is dirty."
    ),
    in_force!(
        "max.message.bytes",
        Int,
        "1048588",
        Range(0, INT),
        [same("message.max.bytes")],
        "The largest record batch that is accepted, as it is sent."
    ),
    in_force!(
        "message.timestamp.after.max.ms",
        Long,
        "3600000",
        Range(0, LONG),
        [same("log.message.timestamp.after.max.ms")],
        "How far ahead of the broker's clock a record's time may be. Not checked under LogAppendTime."
    ),
    in_force!(
        "message.timestamp.before.max.ms",
        Long,
        LONG_TEXT,
        Range(0, LONG),
        [same("log.message.timestamp.before.max.ms")],
        "How far behind the broker's clock a record's time may be. Not checked under LogAppendTime."
    ),
    in_force!(
        "message.timestamp.type",
        Text,
        "CreateTime",
        OneOf(&["CreateTime", "LogAppendTime"]),
        [same("log.message.timestamp.type")],
        "Whether a record has the time that its producer gave it, or that at which the broker appended it."
    ),
    in_force!(
        "min.cleanable.dirty.ratio",
        Double,
        "0.5",
        Fraction(0.0, 1.0),
        [same("log.cleaner.min.cleanable.ratio")],
        "How much of a log must be uncompacted before it is compacted."
    ),
    in_force!(
        "min.compaction.lag.ms",
        Long,
        "0",
        Range(0, LONG),
        [same("log.cleaner.min.compaction.lag.ms")],
        "How long a record stays uncompacted at least."
    ),
    in_force!(
        "min.insync.replicas",
        Int,
        "1",
        Range(1, INT),
        [same("min.insync.replicas")],
        "How many in-sync replicas a partition needs for acks=all to be accepted."
    ),
    only_default!(
        "preallocate",
        Boolean,
        "false",
        Any,
        [],
        "Whether whole segments are allocated ahead. Segments are always prepared a step ahead, and never whole."
    ),
    only_default!(
        "remote.log.copy.disable",
        Boolean,
        "false",
        Any,
        [],
        "Stops copying to the remote tier. Tiering is not accepted yet."
    ),
    only_default!(
        "remote.log.delete.on.disable",
        Boolean,
        "false",
        Any,
        [],
        "Deletes what is in the remote tier when tiering ends. Tiering is not accepted yet."
    ),
    only_default!(
        "remote.storage.enable",
        Boolean,
        "false",
        Any,
        [],
        "Moves old segments to a remote tier. Not accepted yet."
    ),
    in_force!(
        "retention.bytes",
        Long,
        "-1",
        Range(-1, LONG),
        [same("log.retention.bytes")],
        "How many bytes each partition keeps before its oldest segments are deleted; -1: no limit."
    ),
    in_force!(
        "retention.ms",
        Long,
        "604800000",
        Range(-1, LONG),
        [
            same("log.retention.ms"),
            Synonym { name: "log.retention.minutes", factor: MINUTE_MS },
            Synonym { name: "log.retention.hours", factor: HOUR_MS }
        ],
        "How long a segment is kept after its newest record; -1: for ever."
    ),
    in_force!(
        "segment.bytes",
        Int,
        "1073741824",
        Range(1_048_576, INT),
        [same("log.segment.bytes")],
        "How large a segment grows before the next one begins."
    ),
    in_force!(
        "segment.index.bytes",
        Int,
        "10485760",
        Range(4, INT),
        [same("log.index.size.max.bytes")],
        "How large a segment's offset index grows before the next segment begins."
    ),
    in_force!(
        "segment.jitter.ms",
        Long,
        "0",
        Range(0, LONG),
        [same("log.roll.jitter.ms"), Synonym { name: "log.roll.jitter.hours", factor: HOUR_MS }],
        "How much earlier than segment.ms a segment may end, by chance, so that not all end at once."
    ),
    in_force!(
        "segment.ms",
        Long,
        "604800000",
        Range(1, LONG),
        [same("log.roll.ms"), Synonym { name: "log.roll.hours", factor: HOUR_MS }],
        "After how long a segment ends, also when it is not full, so that retention can reach it."
    ),
    in_force!(
        "unclean.leader.election.enable",
        Boolean,
        "false",
        Any,
        [same("unclean.leader.election.enable")],
        "Whether a replica that may lack acknowledged records can become leader when no other is left. A partition with one replica has no other to choose, so that nothing changes for it."
    ),
];
