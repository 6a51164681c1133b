//! The settings of one log, under Kafka's names, and the decisions that they alone make.
//!
//! Must not know: files, where settings come from.

use cairn_protocol::records::TimestampType;

use crate::disk::PrepareChunk;

/// Positions in a segment are 31-bit numbers in Kafka's indexes.
pub(crate) const SEGMENT_MAX_BYTES: u64 = i32::MAX as u64;

/// What is in force for one log. Units stand in the names; Kafka's topic config of each is in its text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// `segment.bytes`: a segment that would get longer is rolled.
    pub segment_bytes: u64,
    /// `segment.ms`: a segment whose first record is older is rolled.
    pub segment_ms: u64,
    /// `segment.jitter.ms`: up to this much is taken off `segment_ms`, differently for each log.
    pub segment_jitter_ms: u64,
    /// `segment.index.bytes`: a segment whose indexes would get longer is rolled.
    pub segment_index_bytes: u64,
    /// `index.interval.bytes`: at least this much log lies between two index entries.
    pub index_interval_bytes: u64,
    /// `retention.ms`: segments whose newest record is older are deleted; `None` keeps them.
    pub retention_ms: Option<u64>,
    /// `retention.bytes`: oldest segments are deleted while the log is longer; `None` keeps them.
    pub retention_bytes: Option<u64>,
    /// `cleanup.policy`: how old records go away.
    pub cleanup: Cleanup,
    /// `delete.retention.ms`: compaction keeps tombstones so long after it has met them first.
    pub delete_retention_ms: u64,
    /// `min.compaction.lag.ms`: a segment whose newest record is younger is not compacted.
    pub min_compaction_lag_ms: u64,
    /// `max.compaction.lag.ms`: records that are older are compacted, however little is dirty; `None` does not hurry.
    pub max_compaction_lag_ms: Option<u64>,
    /// `min.cleanable.dirty.ratio`, in millionths: compaction waits until more of the log than that is dirty.
    pub min_dirty_millionths: u32,
    /// `max.message.bytes`: a leader refuses larger batches.
    pub max_message_bytes: u64,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `producer.id.expiration.ms` (the broker's): producers that were silent for longer are forgotten.
    pub producer_id_expiration_ms: u64,
    /// `flush.messages`: so many records may wait for a sync. The server schedules it; 1 means [`Durability::Synced`].
    pub flush_messages: u64,
    /// `flush.ms`: a record waits so long for a sync at most. The server schedules it.
    pub flush_ms: u64,
    /// `durability`: what an acknowledgement means.
    pub durability: Durability,
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
    /// Not at all.
    Never,
}

impl Cleanup {
    /// Whether segments go by age and size.
    #[must_use]
    pub fn deletes(self) -> bool {
        matches!(self, Self::Delete | Self::CompactAndDelete)
    }

    /// Whether superseded records go.
    #[must_use]
    pub fn compacts(self) -> bool {
        matches!(self, Self::Compact | Self::CompactAndDelete)
    }
}

/// What an acknowledgement means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Every in-sync replica has it in memory, and it is synced within `flush.ms`: Kafka's class.
    Replicated,
    /// It is synced on every in-sync replica.
    Synced,
}

impl Default for LogConfig {
    fn default() -> Self {
        const DAY_MS: u64 = 24 * 60 * 60 * 1000;
        Self {
            segment_bytes: 1 << 30,
            segment_ms: 7 * DAY_MS,
            segment_jitter_ms: 0,
            segment_index_bytes: 10 << 20,
            index_interval_bytes: 4096,
            retention_ms: Some(7 * DAY_MS),
            retention_bytes: None,
            cleanup: Cleanup::Delete,
            delete_retention_ms: DAY_MS,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: None,
            min_dirty_millionths: 500_000,
            max_message_bytes: (1 << 20) + 12,
            timestamp_type: TimestampType::CreateTime,
            producer_id_expiration_ms: DAY_MS,
            flush_messages: u64::MAX,
            flush_ms: 100,
            durability: Durability::Replicated,
        }
    }
}

impl LogConfig {
    /// What an acknowledgement means when Kafka's `flush.messages` is heard too.
    #[must_use]
    pub fn effective_durability(&self) -> Durability {
        if self.flush_messages == 1 { Durability::Synced } else { self.durability }
    }

    /// The piece in which new segments are zeroed.
    pub(crate) fn prepare_chunk(&self) -> PrepareChunk {
        match self.effective_durability() {
            Durability::Replicated => PrepareChunk::REPLICATED,
            Durability::Synced => PrepareChunk::SYNCED,
        }
    }

    /// `segment_ms` less this log's part of the jitter. `seed` is any number that differs between logs. What has to be
    /// compacted by a certain age cannot stay in the active segment for longer.
    pub(crate) fn jittered_segment_ms(&self, seed: u64) -> u64 {
        let jitter = if self.segment_jitter_ms == 0 { 0 } else { seed % self.segment_jitter_ms };
        let longest = self.max_compaction_lag_ms.filter(|_| self.cleanup.compacts()).unwrap_or(u64::MAX);
        self.segment_ms.min(longest).saturating_sub(jitter)
    }
}
