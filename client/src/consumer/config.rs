//! A consumer's settings, by Kafka's names and defaults unless said otherwise.
//!
//! Must not know: how records are fetched.

use std::sync::Arc;
use std::time::Duration;

use super::Consumer;
use super::membership::{Assignor, GroupProtocol, MemberConfig};
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

/// Which records of transactions are read (`isolation.level`, KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IsolationLevel {
    /// All of them, also those of transactions that are open, or were aborted.
    ReadUncommitted,
    /// Those of transactions that were committed, up to where the first open one begins.
    ReadCommitted,
}

impl IsolationLevel {
    /// Kafka's number.
    pub(crate) fn code(self) -> i8 {
        match self {
            Self::ReadUncommitted => 0,
            Self::ReadCommitted => 1,
        }
    }
}

/// Kafka's `auto.commit.interval.ms`, where offsets are committed by themselves.
const AUTO_COMMIT_INTERVAL: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
pub(crate) struct ConsumerConfig {
    pub(crate) group: Option<Arc<str>>,
    pub(crate) offset_reset: OffsetReset,
    pub(crate) isolation: IsolationLevel,
    pub(crate) rack: Option<Arc<str>>,
    pub(crate) fetch_min_bytes: usize,
    pub(crate) fetch_max_bytes: usize,
    pub(crate) partition_max_bytes: usize,
    pub(crate) fetch_max_wait: Duration,
    pub(crate) prefetch_bytes: usize,
    pub(crate) member: MemberConfig,
}

/// Builds a [`Consumer`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ConsumerBuilder {
    client: Client,
    config: ConsumerConfig,
    auto_commit_interval: Duration,
}

impl ConsumerBuilder {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            config: ConsumerConfig {
                group: None,
                offset_reset: OffsetReset::Latest,
                isolation: IsolationLevel::ReadUncommitted,
                rack: None,
                fetch_min_bytes: 1,
                fetch_max_bytes: 50 * 1024 * 1024,
                partition_max_bytes: 1024 * 1024,
                fetch_max_wait: Duration::from_millis(500),
                prefetch_bytes: 32 * 1024 * 1024,
                member: MemberConfig::default(),
            },
            auto_commit_interval: AUTO_COMMIT_INTERVAL,
        }
    }

    /// The group under whose name offsets are committed (`group.id`). The consumer becomes a member of it when it
    /// [subscribes](Consumer::subscribe), and none when partitions are assigned by hand.
    pub fn group(mut self, group: impl Into<Arc<str>>) -> Self {
        self.config.group = Some(group.into());
        self
    }

    /// Where to go on when the wanted offset is not there (`auto.offset.reset`). Default [`OffsetReset::Latest`].
    pub fn offset_reset(mut self, reset: OffsetReset) -> Self {
        self.config.offset_reset = reset;
        self
    }

    /// Which records of transactions are read (`isolation.level`). Default [`IsolationLevel::ReadUncommitted`].
    pub fn isolation_level(mut self, isolation: IsolationLevel) -> Self {
        self.config.isolation = isolation;
        self
    }

    /// The rack that this consumer stands in: brokers that select replicas by rack have it read from one that is in the same
    /// (`client.rack`, KIP-392). Default none: it reads from leaders.
    pub fn client_rack(mut self, rack: impl Into<Arc<str>>) -> Self {
        self.config.rack = Some(rack.into());
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

    /// The id that this member keeps over restarts (`group.instance.id`, KIP-345): while it is away for less than its session, its
    /// partitions wait for it. Default none.
    pub fn group_instance_id(mut self, id: impl Into<Arc<str>>) -> Self {
        self.config.member.instance = Some(id.into());
        self
    }

    /// By which protocol it takes part in the group (`group.protocol`). Default [`GroupProtocol::Classic`].
    pub fn group_protocol(mut self, protocol: GroupProtocol) -> Self {
        self.config.member.protocol = protocol;
        self
    }

    /// After how long without a heartbeat a member counts as dead (`session.timeout.ms`). Default 45 s.
    pub fn session_timeout(mut self, timeout: Duration) -> Self {
        self.config.member.session_timeout = timeout;
        self
    }

    /// How often a member says that it is alive (`heartbeat.interval.ms`). Default 3 s.
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.config.member.heartbeat_interval = interval;
        self
    }

    /// How long a member may take over the records that it was given before it asks for more, and to let partitions go in a rebalance;
    /// who takes longer leaves the group until it asks again (`max.poll.interval.ms`). Default 5 minutes.
    pub fn max_poll_interval(mut self, interval: Duration) -> Self {
        self.config.member.max_poll_interval = interval;
        self
    }

    /// How partitions may be divided, the best liked first (`partition.assignment.strategy`). Default [`Assignor::Range`], then
    /// [`Assignor::CooperativeSticky`], as Kafka's own consumer.
    pub fn assignors(mut self, assignors: &[Assignor]) -> Self {
        self.config.member.assignors = assignors.to_vec();
        self
    }

    /// Commits what was read this often, and before partitions go to others (`enable.auto.commit`, `auto.commit.interval.ms`). A record
    /// counts as read when the next one is asked for; so only one task should ask. Default: only [`Consumer::commit`] commits.
    pub fn auto_commit(mut self, interval: Duration) -> Self {
        self.config.member.auto_commit = Some(interval);
        self
    }

    /// `enable.auto.commit`, at Kafka's interval unless another one is given.
    pub(crate) fn auto_commit_is(mut self, on: bool) -> Self {
        self.config.member.auto_commit = on.then_some(self.auto_commit_interval);
        self
    }

    /// `auto.commit.interval.ms`, which alone does not turn it on.
    pub(crate) fn auto_commit_interval(mut self, interval: Duration) -> Self {
        self.auto_commit_interval = interval;
        if self.config.member.auto_commit.is_some() {
            self.config.member.auto_commit = Some(interval);
        }
        self
    }

    /// The consumer. Must be called inside a tokio runtime, where its tasks run.
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
        let member = &config.member;
        for (key, time) in [
            ("session.timeout.ms", Some(member.session_timeout)),
            ("heartbeat.interval.ms", Some(member.heartbeat_interval)),
            ("max.poll.interval.ms", Some(member.max_poll_interval)),
            ("auto.commit.interval.ms", member.auto_commit),
        ] {
            out_of_range(key, "longer than nothing", time, time.is_some_and(|time| time.is_zero()))?;
        }
        let too_rare = member.heartbeat_interval >= member.session_timeout;
        let heartbeat = member.heartbeat_interval;
        out_of_range("heartbeat.interval.ms", "shorter than session.timeout.ms", heartbeat, too_rare)?;
        let none = member.assignors.is_empty();
        out_of_range("partition.assignment.strategy", "one assignor or more", &member.assignors, none)?;
        let empty = member.instance.as_ref().is_some_and(|id| id.is_empty());
        out_of_range("group.instance.id", "a name", &member.instance, empty)?;
        let empty = config.group.as_ref().is_some_and(|group| group.is_empty());
        out_of_range("group.id", "a name", &config.group, empty)?;
        Ok(Consumer::start(self.client, self.config))
    }
}
