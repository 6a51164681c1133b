//! A topic's configs as its partitions act by them.
//!
//! Must not know: where configs come from.

use cairn_metadata::configs::{Cleanup, ConfigMap, Durability, TimestampType, TopicSettings};
use cairn_protocol::records;
use cairn_storage::log::{self, Durability as LogDurability, LogConfig};

use crate::config::BrokerConfig;

/// How often a partition is made durable in the background when no config says it.
const FLUSH_MS_DEFAULT: u64 = 100;

/// What is in force for one topic.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) topic: TopicSettings,
    pub(crate) log: LogConfig,
}

impl Settings {
    /// The settings of a topic with these configs of its own.
    pub(crate) fn new(topic: &ConfigMap, defaults: &ConfigMap, broker: &BrokerConfig) -> Self {
        let topic = TopicSettings::resolve(topic, defaults);
        let log = LogConfig {
            segment_bytes: topic.segment_bytes.into(),
            segment_ms: topic.segment_ms,
            segment_jitter_ms: topic.segment_jitter_ms,
            segment_index_bytes: topic.segment_index_bytes.into(),
            index_interval_bytes: topic.index_interval_bytes.into(),
            retention_ms: topic.retention_ms,
            retention_bytes: topic.retention_bytes,
            cleanup: match topic.cleanup {
                Cleanup::Delete => log::Cleanup::Delete,
                Cleanup::Compact => log::Cleanup::Compact,
                Cleanup::CompactAndDelete => log::Cleanup::CompactAndDelete,
                Cleanup::Never => log::Cleanup::Never,
            },
            delete_retention_ms: topic.delete_retention_ms,
            min_compaction_lag_ms: topic.min_compaction_lag_ms,
            max_compaction_lag_ms: topic.max_compaction_lag_ms,
            min_dirty_millionths: topic.min_dirty_millionths,
            max_message_bytes: topic.max_message_bytes.into(),
            timestamp_type: match topic.timestamp_type {
                TimestampType::CreateTime => records::TimestampType::CreateTime,
                TimestampType::LogAppendTime => records::TimestampType::LogAppendTime,
            },
            producer_id_expiration_ms: u64::try_from(broker.producer_id_expiration_ms).unwrap_or(u64::MAX),
            flush_messages: topic.flush_messages.unwrap_or(u64::MAX),
            flush_ms: topic.flush_ms.unwrap_or(FLUSH_MS_DEFAULT),
            durability: match topic.durability {
                Durability::Replicated => LogDurability::Replicated,
                Durability::Synced => LogDurability::Synced,
            },
        };
        Self { topic, log }
    }

    /// Whether an answer to a produce means that the records are on disk.
    pub(crate) fn is_synced(&self) -> bool {
        self.log.effective_durability() == LogDurability::Synced
    }
}
