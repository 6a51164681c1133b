//! A consumer's settings, by Kafka's names and defaults unless said otherwise.
//!
//! Must not know: how records are fetched.

use std::sync::Arc;
use std::time::Duration;

use super::Consumer;
use crate::Client;
use crate::config::{ConfigError, out_of_range};

/// Where to go on when the wanted offset is not there: none was committed, or the log no longer has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OffsetReset {
    /// At the oldest record.
    Earliest,
    /// After the newest record.
    Latest,
    /// Nowhere: the consumer says that it is so.
    Fail,
}

#[derive(Clone, Debug)]
pub(crate) struct ConsumerConfig {
    pub(crate) group: Option<Arc<str>>,
    pub(crate) offset_reset: OffsetReset,
    pub(crate) fetch_min_bytes: usize,
    pub(crate) fetch_max_bytes: usize,
    pub(crate) partition_max_bytes: usize,
    pub(crate) fetch_max_wait: Duration,
    pub(crate) prefetch_bytes: usize,
}

/// Builds a [`Consumer`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ConsumerBuilder {
    client: Client,
    config: ConsumerConfig,
}

impl ConsumerBuilder {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            config: ConsumerConfig {
                group: None,
                offset_reset: OffsetReset::Latest,
                fetch_min_bytes: 1,
                fetch_max_bytes: 50 * 1024 * 1024,
                partition_max_bytes: 1024 * 1024,
                fetch_max_wait: Duration::from_millis(500),
                prefetch_bytes: 32 * 1024 * 1024,
            },
        }
    }

    /// The group under whose name offsets are committed (`group.id`). The partitions are those that are assigned by hand: the
    /// consumer becomes no member of the group.
    pub fn group(mut self, group: impl Into<Arc<str>>) -> Self {
        self.config.group = Some(group.into());
        self
    }

    /// Where to go on when the wanted offset is not there (`auto.offset.reset`). Default [`OffsetReset::Latest`].
    pub fn offset_reset(mut self, reset: OffsetReset) -> Self {
        self.config.offset_reset = reset;
        self
    }

    /// How many bytes a broker should have before it answers (`fetch.min.bytes`). Default 1.
    pub fn fetch_min_bytes(mut self, bytes: usize) -> Self {
        self.config.fetch_min_bytes = bytes;
        self
    }

    /// How many bytes one answer should have at most (`fetch.max.bytes`). Default 50 MiB.
    pub fn fetch_max_bytes(mut self, bytes: usize) -> Self {
        self.config.fetch_max_bytes = bytes;
        self
    }

    /// How many bytes of one partition an answer should have at most (`max.partition.fetch.bytes`). Default 1 MiB.
    pub fn partition_max_bytes(mut self, bytes: usize) -> Self {
        self.config.partition_max_bytes = bytes;
        self
    }

    /// How long a broker may wait for `fetch_min_bytes` (`fetch.max.wait.ms`). Default 500 ms.
    pub fn fetch_max_wait(mut self, wait: Duration) -> Self {
        self.config.fetch_max_wait = wait;
        self
    }

    /// How many bytes may be fetched ahead of what was taken. Default 32 MiB. A single batch that is larger is still fetched.
    pub fn prefetch_bytes(mut self, bytes: usize) -> Self {
        self.config.prefetch_bytes = bytes;
        self
    }

    /// The consumer. Must be called inside a tokio runtime, where its one task runs.
    ///
    /// # Errors
    /// When a setting makes no sense.
    pub fn build(self) -> Result<Consumer, ConfigError> {
        let config = &self.config;
        let most = i32::MAX as usize;
        for (key, bytes) in [
            ("fetch.max.bytes", config.fetch_max_bytes),
            ("max.partition.fetch.bytes", config.partition_max_bytes),
            ("prefetch_bytes", config.prefetch_bytes),
        ] {
            out_of_range(key, "1 to 2 GiB", bytes, bytes == 0 || bytes > most)?;
        }
        out_of_range("fetch.min.bytes", "at most 2 GiB", config.fetch_min_bytes, config.fetch_min_bytes > most)?;
        let too_long = config.fetch_max_wait >= self.client.config().request_timeout;
        out_of_range("fetch.max.wait.ms", "shorter than request.timeout.ms", config.fetch_max_wait, too_long)?;
        let empty = config.group.as_ref().is_some_and(|group| group.is_empty());
        out_of_range("group.id", "a name", &config.group, empty)?;
        Ok(Consumer::start(self.client, self.config))
    }
}
