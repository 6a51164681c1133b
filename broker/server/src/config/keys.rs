//! Every key of the broker: Kafka's name where it is Kafka's thing, unit, default, what is allowed, and what it means.
//!
//! Must not know: where the values come from, who uses them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use cairn_groups::{Assignors, MigrationPolicy};
use cairn_metadata::configs::ConfigKind;

use super::listener::{Advertised, Listener};
use super::rules::{
    Address, Addresses, AdvertisedListeners, AssignorList, Bytes, Cordoned, CordonedDirs, CountsByAddress, Flag,
    Folder, Folders, HostPort, Listeners, Millis, Number, NumberOr, OneOf, OneOfTexts, Optional, Policy, ProtocolList,
    ProtocolMap, Rate, RebalanceProtocols, Rule, Text,
};
use super::source::Given;
use super::{ConfigError, Durability, TimestampType};

/// One key, as `config/broker.toml` and DescribeConfigs show it.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Kafka's spelling.
    pub name: &'static str,
    /// What is in force when nothing is given; empty for "nothing".
    pub default: &'static str,
    /// `bytes`, `ms`, or empty.
    pub unit: &'static str,
    /// The type that DescribeConfigs tells.
    pub kind: ConfigKind,
    /// Whether it can be set while the broker runs.
    pub update: Update,
    /// What it means.
    pub doc: &'static str,
}

impl Key {
    /// The value that is told where nobody set one; none where Kafka has none either.
    #[must_use]
    pub fn told_default(&self) -> Option<&'static str> {
        const EMPTY: [&str; 2] = ["cordoned.log.dirs", "max.connections.per.ip.overrides"];
        Some(self.default).filter(|default| !default.is_empty() || EMPTY.contains(&self.name))
    }
}

/// Whether a key can be set while the broker runs, by Kafka's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// At start only.
    ReadOnly,
    /// On one broker, and on all of them.
    ClusterWide,
    /// On one broker only.
    PerBroker,
}

macro_rules! keys {
    ($($(#[doc = $doc:literal])+ $field:ident: $type:ty = $name:literal, $default:literal, $unit:literal, $kind:ident, $update:ident, $rule:expr;)+) => {
        /// Every key.
        pub const KEYS: &[Key] = &[$(
            Key {
                name: $name,
                default: $default,
                unit: $unit,
                kind: ConfigKind::$kind,
                update: Update::$update,
                doc: concat!($($doc),+),
            },
        )+];

        /// The value of every key, each checked by itself.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Values {
            $($(#[doc = $doc])+ pub $field: $type,)+
            /// What was given, by Kafka's name, as plain text without units; the other keys have their defaults.
            pub given: BTreeMap<&'static str, String>,
        }

        impl Values {
            /// Takes each key out of `given`, or its default.
            pub(super) fn take(mut given: BTreeMap<String, Given>) -> Result<Self, ConfigError> {
                let mut named = BTreeMap::new();
                let values = Self {
                    $($field: one(&$rule, $name, $default, &mut given, &mut named)?,)+
                    given: named,
                };
                match given.into_iter().next() {
                    None => Ok(values),
                    Some((key, given)) => Err(ConfigError::unknown(&key, given.origin)),
                }
            }

            /// The plain spelling of a value, or what is allowed instead; nothing when there is no such key.
            pub(super) fn plain(name: &str, text: &str) -> Option<Result<String, String>> {
                match name {
                    $($name => Some(plain_by(&$rule, text)),)+
                    _ => None,
                }
            }
        }
    };
}

fn plain_by<R: Rule>(rule: &R, text: &str) -> Result<String, String> {
    match rule.parse(text) {
        Some(_) => Ok(rule.plain(text)),
        None => Err(rule.allowed()),
    }
}

fn one<R: Rule>(
    rule: &R,
    name: &'static str,
    default: &'static str,
    given: &mut BTreeMap<String, Given>,
    named: &mut BTreeMap<&'static str, String>,
) -> Result<R::Out, ConfigError> {
    let Some(Given { text, origin }) = given.remove(&name.replace('.', "_")) else {
        return Ok(rule.parse(default).unwrap_or_else(|| panic!("the default of {name} is not allowed: {default}")));
    };
    match rule.parse(&text) {
        Some(value) => {
            if !text.is_empty() {
                named.insert(name, rule.plain(&text));
            }
            Ok(value)
        }
        None => Err(ConfigError::Invalid { key: name.to_owned(), value: text, allowed: rule.allowed(), origin }),
    }
}

const DURABILITY: OneOf<Durability> = OneOf(&[("replicated", Durability::Replicated), ("synced", Durability::Synced)]);
const TIMESTAMP_TYPE: OneOf<TimestampType> =
    OneOf(&[("CreateTime", TimestampType::CreateTime), ("LogAppendTime", TimestampType::LogAppendTime)]);

const MIGRATION_POLICY: OneOf<MigrationPolicy> = OneOf(&[
    ("bidirectional", MigrationPolicy::Bidirectional),
    ("upgrade", MigrationPolicy::Upgrade),
    ("downgrade", MigrationPolicy::Downgrade),
    ("disabled", MigrationPolicy::Disabled),
]);

/// Which replica consumers are sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaSelector {
    /// The leader.
    Leader,
    /// One in the consumer's own rack.
    RackAware,
}

/// By the names of Kafka's classes: none is loaded.
const REPLICA_SELECTOR: OneOf<ReplicaSelector> = OneOf(&[
    ("org.apache.kafka.common.replica.LeaderSelector", ReplicaSelector::Leader),
    ("org.apache.kafka.common.replica.RackAwareReplicaSelector", ReplicaSelector::RackAware),
]);

/// A topic's partitions, at most: Kafka has no bound, and a mistyped number must not fill the disk with folders.
const PARTITIONS_MAX: i32 = 100_000;

keys! {
    /// This broker's number, the only one of its cluster.
    node_id: i32 = "node.id", "1", "", Int, ReadOnly, Number(0..=i32::MAX);
    /// The rack or zone that this broker stands in.
    broker_rack: Option<String> = "broker.rack", "", "", Text, ReadOnly, Optional(Text);
    /// The folder that holds all data, or several by comma; made when missing.
    log_dir: Vec<PathBuf> = "log.dir", "./cairn-data", "", List, ReadOnly, Folders;
    /// The same by Kafka's other name, which wins over log.dir. A new partition goes to the folder with the fewest.
    log_dirs: Option<Vec<PathBuf>> = "log.dirs", "", "", List, ReadOnly, Optional(Folders);
    /// The folder that holds the cluster's metadata, without which the broker does not start. Empty: the first of log.dirs.
    metadata_log_dir: Option<PathBuf> = "metadata.log.dir", "", "", Text, ReadOnly, Optional(Folder);
    /// Those of log.dirs that take no new partitions, or * for all of them: partitions that are there are served on.
    cordoned_log_dirs: Cordoned = "cordoned.log.dirs", "", "", List, PerBroker, CordonedDirs;

    /// Where to listen for clients. Empty: 127.0.0.1:9092, and clients are told the address that they have reached.
    listeners: Option<Vec<Listener>> = "listeners", "", "", List, ReadOnly, Optional(Listeners);
    /// What clients are told, by name of the listener. Empty: the host of `listeners`, or the address that the client has
    /// reached where that host means all interfaces.
    advertised_listeners: Option<Vec<Advertised>> = "advertised.listeners", "", "", List, ReadOnly, Optional(AdvertisedListeners);
    /// The protocol of each listener's name.
    listener_security_protocol_map: Vec<(String, String)> = "listener.security.protocol.map", "PLAINTEXT:PLAINTEXT", "", Text, ReadOnly, ProtocolMap;
    /// By which listener the brokers of a cluster reach each other: a name that listeners has. A single broker has no other to
    /// reach. Empty: any.
    inter_broker_listener_name: Option<String> = "inter.broker.listener.name", "", "", Text, ReadOnly, Optional(Text);
    /// Where the other brokers of the cluster connect; never clients. Empty: any free port beside the first of listeners, once
    /// the broker is of a cluster.
    peer_listener: Option<HostPort> = "peer.listener", "", "", Text, ReadOnly, Optional(Address);
    /// The client address of any broker of the cluster that this broker is to be a member of. It is asked once: a broker that is a
    /// member stays one. Empty: a cluster of its own.
    cluster_join: Option<HostPort> = "cluster.join", "", "", Text, ReadOnly, Optional(Address);
    /// The client addresses of brokers that are all started with this list and become one cluster: the first of them founds it, once all are there. A
    /// broker that is a member stays one. `cluster.join` goes before it. Empty: none.
    cluster_seeds: Vec<HostPort> = "cluster.seeds", "", "", Text, ReadOnly, Addresses;
    /// The file of the cluster's join secret, which a broker needs that joins from another machine.
    cluster_join_secret_file: Option<PathBuf> = "cluster.join.secret.file", "", "", Text, ReadOnly, Optional(Folder);
    /// Where metrics and health are served over HTTP. Port 0: any free one.
    metrics_listener: HostPort = "metrics.listener", "127.0.0.1:0", "", Text, ReadOnly, Address;
    /// Connections that wait to be accepted.
    socket_listen_backlog_size: u32 = "socket.listen.backlog.size", "1024", "", Int, ReadOnly, Number(1..=65_535);
    /// The kernel's send buffer of a connection. -1: as the system does by itself.
    socket_send_buffer_bytes: i32 = "socket.send.buffer.bytes", "-1", "bytes", Int, ReadOnly, Bytes(-1..=i32::MAX);
    /// The kernel's receive buffer of a connection. -1: as the system does by itself.
    socket_receive_buffer_bytes: i32 = "socket.receive.buffer.bytes", "-1", "bytes", Int, ReadOnly, Bytes(-1..=i32::MAX);
    /// The longest request.
    socket_request_max_bytes: u32 = "socket.request.max.bytes", "104857600", "bytes", Int, ReadOnly, Bytes(1_024..=0x7fff_ffff);
    /// Connections at a time; further ones are closed at once.
    max_connections: u32 = "max.connections", "10000", "", Int, ClusterWide, Number(1..=1_000_000);
    /// Connections at a time from one address.
    max_connections_per_ip: u32 = "max.connections.per.ip", "1024", "", Int, ClusterWide, Number(1..=1_000_000);
    /// The same for single addresses: ADDRESS:COUNT, several by comma.
    max_connections_per_ip_overrides: Vec<(IpAddr, u32)> = "max.connections.per.ip.overrides", "", "", Text, ClusterWide, CountsByAddress;
    /// Connections that are taken in a second; those beyond wait. The default is no limit.
    max_connection_creation_rate: u32 = "max.connection.creation.rate", "2147483647", "", Int, ClusterWide, Number(1..=0x7fff_ffff);
    /// Windows of time over which clients are held to their quotas, the one that is not full yet among them.
    quota_window_num: u32 = "quota.window.num", "11", "", Int, ReadOnly, Number(1..=1_000);
    /// Seconds of each.
    quota_window_size_seconds: u32 = "quota.window.size.seconds", "1", "", Int, ReadOnly, Number(1..=3_600);
    /// How many windows' worth of partitions a client may make or delete at once under controller_mutation_rate.
    controller_quota_window_num: u32 = "controller.quota.window.num", "11", "", Int, ReadOnly, Number(1..=1_000);
    /// Seconds of each.
    controller_quota_window_size_seconds: u32 = "controller.quota.window.size.seconds", "1", "", Int, ReadOnly, Number(1..=3_600);
    /// A connection without a request for so long is closed.
    connections_max_idle_ms: i64 = "connections.max.idle.ms", "600000", "ms", Long, ReadOnly, Millis(1..=i64::MAX / 2_000_000);
    /// Requests of one connection that are read but not answered yet.
    connection_requests_in_flight: u32 = "connection.requests.in.flight", "16", "", Int, ReadOnly, Number(1..=1_024);
    /// Bytes of one connection's requests that are begun and not answered; beyond, no further body of it is read.
    connection_queued_request_bytes: u32 = "connection.queued.request.bytes", "33554432", "bytes", Int, ReadOnly, Bytes(1..=0x7fff_ffff);
    /// Bytes of answers that wait to be taken by one client; beyond, no further request of it is read.
    connection_queued_response_bytes: u32 = "connection.queued.response.bytes", "8388608", "bytes", Int, ReadOnly, Bytes(1..=0x7fff_ffff);
    /// A request must arrive whole within this time, and what has arrived of it takes at 64 KiB a second.
    connection_request_timeout_ms: i64 = "connection.request.timeout.ms", "30000", "ms", Long, ReadOnly, Millis(1..=3_600_000);
    /// A client that takes nothing of its answers for so long loses its connection.
    connection_write_timeout_ms: i64 = "connection.write.timeout.ms", "30000", "ms", Long, ReadOnly, Millis(1..=3_600_000);
    /// Bytes of all requests that are being received or handled; further ones wait in the kernel until there is room.
    queued_max_request_bytes: u32 = "queued.max.request.bytes", "268435456", "bytes", Long, ReadOnly, Bytes(1_048_576..=0x7fff_ffff);
    /// Partitions that one answer of DescribeTopicPartitions holds at most.
    max_request_partition_size_limit: u32 = "max.request.partition.size.limit", "2000", "", Int, ReadOnly, Number(1..=100_000);

    /// Partitions of a topic that is made without a number of them.
    num_partitions: i32 = "num.partitions", "1", "", Int, ReadOnly, Number(1..=PARTITIONS_MAX);
    /// Replicas of a topic that is made without a number of them. -1: three, or as many as there are brokers that serve.
    default_replication_factor: i16 = "default.replication.factor", "-1", "", Int, ReadOnly, NumberOr(Number(1..=i16::MAX), -1);
    /// Whether a topic is made when a client asks for it.
    auto_create_topics_enable: bool = "auto.create.topics.enable", "true", "", Boolean, ReadOnly, Flag;
    /// Whether topics can be deleted.
    delete_topic_enable: bool = "delete.topic.enable", "true", "", Boolean, ReadOnly, Flag;
    /// In-sync replicas without which acks=all is refused. Where nobody sets it, 2 of three or more replicas.
    min_insync_replicas: i32 = "min.insync.replicas", "1", "", Int, ClusterWide, Number(1..=i32::MAX);
    /// Whether a replica that may lack acknowledged records can become leader when no other is left. A partition with one
    /// replica has no other to choose, so that nothing changes for it.
    unclean_leader_election_enable: bool = "unclean.leader.election.enable", "false", "", Boolean, ClusterWide, Flag;
    /// A replica that has not had everything for so long is no longer in sync.
    replica_lag_time_max_ms: u64 = "replica.lag.time.max.ms", "30000", "ms", Long, ReadOnly, Number(1_000..=3_600_000);
    /// Followers that are not in sync catch up as fast as producers hardly notice, and no slower than this, each, a second. A large number:
    /// as fast as they can.
    replication_catch_up_min_bytes_per_second: u64 = "replication.catch.up.min.bytes.per.second", "8388608", "bytes", Long, ReadOnly, Bytes(65_536..=1_099_511_627_776_u64);
    /// Which replica consumers are sent to: the leader, or one in sync that stands in their own rack, where they tell it (client.rack).
    replica_selector: Option<ReplicaSelector> = "replica.selector.class", "", "", Text, ReadOnly, Optional(REPLICA_SELECTOR);
    /// Whether replicas that stand first in their partition's list lead again by themselves, after others had to.
    auto_leader_rebalance_enable: bool = "auto.leader.rebalance.enable", "true", "", Boolean, ReadOnly, Flag;
    /// How often it is looked whether some do not.
    leader_imbalance_check_interval_seconds: u64 = "leader.imbalance.check.interval.seconds", "300", "s", Long, ReadOnly, Number(1..=86_400);
    /// How batches are compressed on disk. producer: each as it was sent. Any other (uncompressed, gzip, snappy, lz4, zstd):
    /// batches that came otherwise are compressed anew before they are appended.
    compression_type: String = "compression.type", "producer", "", Text, ClusterWide, OneOfTexts(&["producer", "uncompressed", "gzip", "snappy", "lz4", "zstd"]);
    /// The level where that is gzip; -1: the usual one.
    compression_gzip_level: i32 = "compression.gzip.level", "-1", "", Int, ClusterWide, NumberOr(Number(1..=9), -1);
    /// The level where that is lz4. All levels compress alike.
    compression_lz4_level: i32 = "compression.lz4.level", "9", "", Int, ClusterWide, Number(1..=17);
    /// The level where that is zstd.
    compression_zstd_level: i32 = "compression.zstd.level", "3", "", Int, ClusterWide, Number(-131_072..=22);
    /// The longest record batch, as it is stored.
    message_max_bytes: i32 = "message.max.bytes", "1048588", "bytes", Int, ClusterWide, Bytes(0..=i32::MAX);

    /// What an answer to a produce means. replicated: all in-sync replicas have it in memory. synced: and on their disks.
    log_durability: Durability = "log.durability", "replicated", "", Text, ClusterWide, DURABILITY;
    /// Free bytes of the disk below which produces are put off until there is space again. Empty: the larger of 5 % of the
    /// disk, and 1 GiB or 10 %, whichever is less.
    log_disk_reserve_bytes: Option<u64> = "log.disk.reserve.bytes", "", "bytes", Long, ReadOnly, Optional(Bytes(0..=u64::MAX));
    /// The size at which a segment is closed and the next begun.
    log_segment_bytes: i32 = "log.segment.bytes", "1073741824", "bytes", Int, ClusterWide, Bytes(1_048_576..=i32::MAX);
    /// The age at which a segment is closed and the next begun. Empty: log.roll.hours.
    log_roll_ms: Option<i64> = "log.roll.ms", "", "ms", Long, ClusterWide, Optional(Millis(1..=i64::MAX));
    /// The same in hours.
    log_roll_hours: i32 = "log.roll.hours", "168", "", Int, ReadOnly, Number(1..=i32::MAX);
    /// How much of log.roll.ms is taken off, differently for each partition. Empty: log.roll.jitter.hours.
    log_roll_jitter_ms: Option<i64> = "log.roll.jitter.ms", "", "ms", Long, ClusterWide, Optional(Millis(0..=i64::MAX));
    /// The same in hours.
    log_roll_jitter_hours: i32 = "log.roll.jitter.hours", "0", "", Int, ReadOnly, Number(0..=i32::MAX);
    /// How long records are kept; -1: for ever. Empty: log.retention.minutes.
    log_retention_ms: Option<i64> = "log.retention.ms", "", "ms", Long, ClusterWide, Optional(Millis(-1..=i64::MAX));
    /// The same in minutes. Empty: log.retention.hours.
    log_retention_minutes: Option<i32> = "log.retention.minutes", "", "", Int, ReadOnly, Optional(Number(-1..=i32::MAX));
    /// The same in hours.
    log_retention_hours: i32 = "log.retention.hours", "168", "", Int, ReadOnly, Number(-1..=i32::MAX);
    /// Bytes that a partition keeps; -1: all.
    log_retention_bytes: i64 = "log.retention.bytes", "-1", "bytes", Long, ClusterWide, Bytes(-1..=i64::MAX);
    /// How often partitions are looked through for what may go.
    log_retention_check_interval_ms: i64 = "log.retention.check.interval.ms", "300000", "ms", Long, ReadOnly, Millis(1..=i64::MAX / 2_000_000);
    /// How old records go away: delete, compact, or compact,delete.
    log_cleanup_policy: String = "log.cleanup.policy", "delete", "", List, ClusterWide, Policy;
    /// How many partitions are compacted at a time.
    log_cleaner_threads: u32 = "log.cleaner.threads", "1", "", Int, ClusterWide, Number(1..=256);
    /// Bytes that compaction reads and writes in a second, all of it together. The default is no limit.
    log_cleaner_io_max_bytes_per_second: f64 = "log.cleaner.io.max.bytes.per.second", "1.7976931348623157E308", "", Double, ClusterWide, Rate;
    /// Bytes that are copied in a second when partitions move to other log dirs, all of them together. The default is no limit.
    replica_alter_log_dirs_io_max_bytes_per_second: u64 = "replica.alter.log.dirs.io.max.bytes.per.second", "9223372036854775807", "bytes", Long, ClusterWide, Bytes(1..=9_223_372_036_854_775_807_u64);
    /// Memory for the keys of the partitions that are being compacted, all of them together, at 24 bytes a key.
    log_cleaner_dedupe_buffer_size: u64 = "log.cleaner.dedupe.buffer.size", "134217728", "bytes", Long, ClusterWide, Bytes(1_024..=1_u64 << 40);
    /// How much of that memory is filled.
    log_cleaner_io_buffer_load_factor: f64 = "log.cleaner.io.buffer.load.factor", "0.9", "", Double, ClusterWide, Number(0.01..=1.0);
    /// How long compaction rests when there is nothing to compact.
    log_cleaner_backoff_ms: i64 = "log.cleaner.backoff.ms", "15000", "ms", Long, ClusterWide, Millis(0..=i64::MAX / 2_000_000);
    /// Which part of a partition must be uncompacted before it is compacted.
    log_cleaner_min_cleanable_ratio: f64 = "log.cleaner.min.cleanable.ratio", "0.5", "", Double, ClusterWide, Number(0.0..=1.0);
    /// How long compaction keeps a tombstone after it has met it first.
    log_cleaner_delete_retention_ms: i64 = "log.cleaner.delete.retention.ms", "86400000", "ms", Long, ClusterWide, Millis(0..=i64::MAX);
    /// How long a record stays uncompacted at least.
    log_cleaner_min_compaction_lag_ms: i64 = "log.cleaner.min.compaction.lag.ms", "0", "ms", Long, ClusterWide, Millis(0..=i64::MAX);
    /// How long a record stays uncompacted at most, however little of its partition is.
    log_cleaner_max_compaction_lag_ms: i64 = "log.cleaner.max.compaction.lag.ms", "9223372036854775807", "ms", Long, ClusterWide, Millis(1..=i64::MAX);
    /// How long scrubbing, which reads and checks all sealed segments, rests after each pass.
    log_scrub_interval_ms: i64 = "log.scrub.interval.ms", "604800000", "ms", Long, ReadOnly, Millis(1..=i64::MAX / 2_000_000);
    /// Bytes that scrubbing reads in a second.
    log_scrub_max_bytes_per_second: f64 = "log.scrub.max.bytes.per.second", "4194304", "", Double, ReadOnly, Rate;
    /// Bytes between two entries of an index.
    log_index_interval_bytes: i32 = "log.index.interval.bytes", "4096", "bytes", Int, ClusterWide, Bytes(0..=i32::MAX);
    /// The size at which an index ends its segment.
    log_index_size_max_bytes: i32 = "log.index.size.max.bytes", "10485760", "bytes", Int, ClusterWide, Bytes(4..=i32::MAX);
    /// Records after which a partition is made durable before the produce is answered.
    log_flush_interval_messages: i64 = "log.flush.interval.messages", "9223372036854775807", "", Long, ClusterWide, Number(1..=i64::MAX);
    /// The time after which what was appended is made durable in the background. Empty: 100 ms.
    log_flush_interval_ms: Option<i64> = "log.flush.interval.ms", "", "ms", Long, ClusterWide, Optional(Millis(1..=i64::MAX));
    /// How often it is noted up to where partitions are durable, so that recovery begins there, and
    /// takes damage below for damage and not for a torn end. Nothing is written where nothing has changed.
    log_flush_offset_checkpoint_interval_ms: i64 = "log.flush.offset.checkpoint.interval.ms", "1000", "ms", Int, ReadOnly, Millis(1..=i64::MAX / 2_000_000);
    /// Whether a record's time is its producer's or the broker's.
    log_message_timestamp_type: TimestampType = "log.message.timestamp.type", "CreateTime", "", Text, ClusterWide, TIMESTAMP_TYPE;
    /// How far a record's time may lie behind the broker's.
    log_message_timestamp_before_max_ms: i64 = "log.message.timestamp.before.max.ms", "9223372036854775807", "ms", Long, ClusterWide, Millis(0..=i64::MAX);
    /// How far a record's time may lie ahead of the broker's.
    log_message_timestamp_after_max_ms: i64 = "log.message.timestamp.after.max.ms", "3600000", "ms", Long, ClusterWide, Millis(0..=i64::MAX);

    /// Bytes of one answer to a fetch, but for a first batch that is longer.
    fetch_max_bytes: i32 = "fetch.max.bytes", "57671680", "bytes", Int, ReadOnly, Bytes(1_024..=i32::MAX);
    /// Fetch sessions that are remembered.
    max_incremental_fetch_session_cache_slots: u32 = "max.incremental.fetch.session.cache.slots", "1000", "", Int, ReadOnly, Number(0..=1_000_000);

    /// Partitions of the topic that holds committed offsets.
    offsets_topic_num_partitions: i32 = "offsets.topic.num.partitions", "50", "", Int, ReadOnly, Number(1..=PARTITIONS_MAX);
    /// Replicas of that topic. -1: three, or as many as there are brokers that serve.
    offsets_topic_replication_factor: i16 = "offsets.topic.replication.factor", "-1", "", Short, ReadOnly, NumberOr(Number(1..=i16::MAX), -1);
    /// Segment size of that topic.
    offsets_topic_segment_bytes: i32 = "offsets.topic.segment.bytes", "104857600", "bytes", Int, ReadOnly, Bytes(1_048_576..=i32::MAX);
    /// How often offsets are looked through for expired ones.
    offsets_retention_check_interval_ms: i64 = "offsets.retention.check.interval.ms", "600000", "ms", Long, ReadOnly, Millis(1..=i64::MAX);
    /// How long offsets of a group without members are kept, in minutes.
    offsets_retention_minutes: i32 = "offsets.retention.minutes", "10080", "", Int, ReadOnly, Number(1..=i32::MAX);
    /// The shortest time that a member may be allowed to be silent.
    group_min_session_timeout_ms: i32 = "group.min.session.timeout.ms", "6000", "ms", Int, ReadOnly, Number(1..=i32::MAX);
    /// The longest such time.
    group_max_session_timeout_ms: i32 = "group.max.session.timeout.ms", "1800000", "ms", Int, ReadOnly, Number(1..=i32::MAX);
    /// How long an empty group waits for further members after its first one, so that they do not each make it rebalance.
    group_initial_rebalance_delay_ms: i32 = "group.initial.rebalance.delay.ms", "3000", "ms", Int, ReadOnly, Number(0..=i32::MAX);
    /// Members of a group, at most.
    group_max_size: i32 = "group.max.size", "2147483647", "", Int, ReadOnly, Number(1..=i32::MAX);
    /// The protocols that members of groups may speak: classic, and consumer, which is KIP-848's. Classic cannot be left out.
    group_coordinator_rebalance_protocols: RebalanceProtocols = "group.coordinator.rebalance.protocols", "classic,consumer", "", List, ReadOnly, ProtocolList;
    /// How long a member of a group of the consumer protocol may be silent, where the group's own config says nothing.
    group_consumer_session_timeout_ms: i32 = "group.consumer.session.timeout.ms", "45000", "ms", Int, ReadOnly, Number(1..=i32::MAX);
    /// The shortest such time that a group's config may give.
    group_consumer_min_session_timeout_ms: i32 = "group.consumer.min.session.timeout.ms", "45000", "ms", Int, ReadOnly, Number(1..=i32::MAX);
    /// The longest such time that a group's config may give.
    group_consumer_max_session_timeout_ms: i32 = "group.consumer.max.session.timeout.ms", "60000", "ms", Int, ReadOnly, Number(1..=i32::MAX);
    /// How often members of a group of the consumer protocol are told to send heartbeats, where the group's own config says nothing.
    group_consumer_heartbeat_interval_ms: i32 = "group.consumer.heartbeat.interval.ms", "5000", "ms", Int, ReadOnly, Number(1..=i32::MAX);
    /// The shortest such interval that a group's config may give.
    group_consumer_min_heartbeat_interval_ms: i32 = "group.consumer.min.heartbeat.interval.ms", "5000", "ms", Int, ReadOnly, Number(1..=i32::MAX);
    /// The longest such interval that a group's config may give.
    group_consumer_max_heartbeat_interval_ms: i32 = "group.consumer.max.heartbeat.interval.ms", "15000", "ms", Int, ReadOnly, Number(1..=i32::MAX);
    /// The least time between two assignments of one group of the consumer protocol, where the group's own config says nothing.
    group_consumer_assignment_interval_ms: i32 = "group.consumer.assignment.interval.ms", "1000", "ms", Int, ClusterWide, Number(0..=i32::MAX);
    /// The least such time that a group's config may give.
    group_consumer_min_assignment_interval_ms: i32 = "group.consumer.min.assignment.interval.ms", "0", "ms", Int, ReadOnly, Number(0..=i32::MAX);
    /// The most such time that a group's config may give.
    group_consumer_max_assignment_interval_ms: i32 = "group.consumer.max.assignment.interval.ms", "15000", "ms", Int, ReadOnly, Number(0..=i32::MAX);
    /// Members of a group of the consumer protocol, at most.
    group_consumer_max_size: i32 = "group.consumer.max.size", "2147483647", "", Int, ReadOnly, Number(1..=i32::MAX);
    /// How groups of the consumer protocol may distribute partitions: uniform, range, or both. The first is for members who ask for none.
    group_consumer_assignors: Assignors = "group.consumer.assignors", "uniform,range", "", List, ReadOnly, AssignorList;
    /// Which groups may go from one protocol to the other while they have members.
    group_consumer_migration_policy: MigrationPolicy = "group.consumer.migration.policy", "bidirectional", "", Text, ReadOnly, MIGRATION_POLICY;
    /// How often it is looked anew which topics match the regular expressions that members subscribe to.
    group_consumer_regex_refresh_interval_ms: i32 = "group.consumer.regex.refresh.interval.ms", "600000", "ms", Int, ReadOnly, Number(10_000..=i32::MAX);
    /// Bytes of the text that goes with a committed offset.
    offset_metadata_max_bytes: i32 = "offset.metadata.max.bytes", "4096", "bytes", Int, ReadOnly, Bytes(0..=32_767);
    /// How long a producer that writes nothing is remembered.
    producer_id_expiration_ms: i32 = "producer.id.expiration.ms", "86400000", "ms", Int, ClusterWide, Number(1..=i32::MAX);
}
