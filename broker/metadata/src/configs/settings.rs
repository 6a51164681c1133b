//! The configs in force for one topic, as values to act by instead of texts.
//!
//! Must not know: what a log does with them.

use cairn_protocol::records::Compression;

use super::{ConfigMap, TopicConfigKey, effective, find};

/// What an acknowledgement with `acks=all` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Durability {
    /// In the memory of all in-sync replicas; on their disks soon.
    Replicated,
    /// On the disks of all in-sync replicas.
    Synced,
}

/// Whose clock a record's timestamp is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// The producer's.
    CreateTime,
    /// The broker's.
    LogAppendTime,
}

/// How old records go away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cleanup {
    /// Whole segments, by age and size.
    Delete,
    /// Records that a newer one of the same key supersedes.
    Compact,
    /// Both.
    CompactAndDelete,
    /// Not at all: an empty policy, as Kafka allows it.
    Never,
}

/// How all batches of a topic are compressed on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerCompression {
    /// The compression; [`Compression::None`] has batches uncompressed.
    pub codec: Compression,
    /// Its level, where it has any.
    pub level: Option<i32>,
}

/// The configs in force for one topic. `None` stands for "no limit".
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// What `compression.type` and its level have batches compressed by; none: each as it was sent.
    pub compression: Option<BrokerCompression>,
    /// `cleanup.policy`
    pub cleanup: Cleanup,
    /// `delete.retention.ms`
    pub delete_retention_ms: u64,
    /// `durability`, or `synced` where `flush.messages` is 1.
    pub durability: Durability,
    /// `file.delete.delay.ms`
    pub file_delete_delay_ms: u64,
    /// `flush.messages`
    pub flush_messages: Option<u64>,
    /// `flush.ms`
    pub flush_ms: Option<u64>,
    /// `index.interval.bytes`
    pub index_interval_bytes: u32,
    /// `max.compaction.lag.ms`
    pub max_compaction_lag_ms: Option<u64>,
    /// `max.message.bytes`
    pub max_message_bytes: u32,
    /// `message.timestamp.after.max.ms`
    pub timestamp_after_max_ms: Option<u64>,
    /// `message.timestamp.before.max.ms`
    pub timestamp_before_max_ms: Option<u64>,
    /// `message.timestamp.type`
    pub timestamp_type: TimestampType,
    /// `min.cleanable.dirty.ratio`, in millionths
    pub min_dirty_millionths: u32,
    /// `min.compaction.lag.ms`
    pub min_compaction_lag_ms: u64,
    /// `min.insync.replicas`
    pub min_insync_replicas: u32,
    /// `retention.bytes`
    pub retention_bytes: Option<u64>,
    /// `retention.ms`
    pub retention_ms: Option<u64>,
    /// `segment.bytes`
    pub segment_bytes: u32,
    /// `segment.index.bytes`
    pub segment_index_bytes: u32,
    /// `segment.jitter.ms`
    pub segment_jitter_ms: u64,
    /// `segment.ms`
    pub segment_ms: u64,
}

impl TopicSettings {
    /// The settings of a topic with these configs of its own, on a broker with these.
    ///
    /// A value that [`super::check`] would refuse counts as not set: it can only come from a log that a later release
    /// wrote, and the broker's value is better than no broker.
    #[must_use]
    pub fn resolve(topic: &ConfigMap, broker: &ConfigMap) -> Self {
        let texts = Texts { topic, broker };
        let flush_messages = texts.limit("flush.messages");
        let synced = flush_messages == Some(1) || texts.text("durability") == "synced";
        let policy = texts.text("cleanup.policy");
        let says = |word| policy.split(',').any(|said| said == word);
        Self {
            compression: texts.compression(),
            cleanup: match (says("compact"), says("delete")) {
                (true, true) => Cleanup::CompactAndDelete,
                (true, false) => Cleanup::Compact,
                (false, true) => Cleanup::Delete,
                (false, false) => Cleanup::Never,
            },
            delete_retention_ms: texts.count("delete.retention.ms"),
            durability: if synced { Durability::Synced } else { Durability::Replicated },
            file_delete_delay_ms: texts.count("file.delete.delay.ms"),
            flush_messages,
            flush_ms: texts.limit("flush.ms"),
            index_interval_bytes: texts.int("index.interval.bytes"),
            max_compaction_lag_ms: texts.limit("max.compaction.lag.ms"),
            max_message_bytes: texts.int("max.message.bytes"),
            timestamp_after_max_ms: texts.limit("message.timestamp.after.max.ms"),
            timestamp_before_max_ms: texts.limit("message.timestamp.before.max.ms"),
            timestamp_type: match texts.text("message.timestamp.type").as_str() {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            min_dirty_millionths: texts.millionths("min.cleanable.dirty.ratio"),
            min_compaction_lag_ms: texts.count("min.compaction.lag.ms"),
            min_insync_replicas: texts.int("min.insync.replicas"),
            retention_bytes: texts.limit("retention.bytes"),
            retention_ms: texts.limit("retention.ms"),
            segment_bytes: texts.int("segment.bytes"),
            segment_index_bytes: texts.int("segment.index.bytes"),
            segment_jitter_ms: texts.count("segment.jitter.ms"),
            segment_ms: texts.count("segment.ms"),
        }
    }
}

struct Texts<'a> {
    topic: &'a ConfigMap,
    broker: &'a ConfigMap,
}

impl Texts<'_> {
    fn text(&self, name: &str) -> String {
        let key: &TopicConfigKey = find(name).expect("settings are read by names of the table");
        let none = ConfigMap::new();
        let candidates =
            [effective(key, self.topic, self.broker), effective(key, &none, self.broker), key.default.into()];
        let valid = candidates.iter().find_map(|value| key.check(value).ok());
        valid.expect("defaults of the table are valid").into_string()
    }

    fn compression(&self) -> Option<BrokerCompression> {
        let level = |name| i32::try_from(self.number(name)).ok();
        let (codec, level) = match self.text("compression.type").as_str() {
            "uncompressed" => (Compression::None, None),
            "gzip" => (Compression::Gzip, level("compression.gzip.level")),
            "snappy" => (Compression::Snappy, None),
            "lz4" => (Compression::Lz4, level("compression.lz4.level")),
            "zstd" => (Compression::Zstd, level("compression.zstd.level")),
            _ => return None,
        };
        Some(BrokerCompression { codec, level })
    }

    fn number(&self, name: &str) -> i64 {
        self.text(name).parse().expect("checked values of numeric kinds are numbers")
    }

    fn count(&self, name: &str) -> u64 {
        u64::try_from(self.number(name)).expect("the table allows no negative value here")
    }

    fn millionths(&self, name: &str) -> u32 {
        let fraction: f64 = self.text(name).parse().expect("checked values of fractional kinds are numbers");
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the table allows 0 to 1 only")]
        let millionths = (fraction * 1_000_000.0).round() as u32;
        millionths
    }

    fn int(&self, name: &str) -> u32 {
        u32::try_from(self.number(name)).expect("the table allows no negative value here")
    }

    /// -1 and the largest number both mean that there is no limit.
    fn limit(&self, name: &str) -> Option<u64> {
        let number = self.number(name);
        u64::try_from(number).ok().filter(|_| number != i64::MAX)
    }
}
