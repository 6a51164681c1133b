//! A producer's settings, by Kafka's names and defaults unless said otherwise.
//!
//! Must not know: how records are sent.

use std::sync::Arc;
use std::time::Duration;

pub use cairn_protocol::records::Compression;

use super::{Producer, TransactionalProducer};
use crate::Client;
use crate::config::{ConfigError, out_of_range};

/// More in flight would let an idempotent producer's order be lost: brokers remember five batches a producer and partition.
pub(crate) const IN_FLIGHT_MAX: usize = 5;

/// Who must have a record before it counts as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Acks {
    /// Nobody: a record counts as written when it was handed to the socket. Offsets stay unknown.
    None,
    /// The partition's leader.
    Leader,
    /// All in-sync replicas, at least `min.insync.replicas` of them.
    All,
}

impl Acks {
    pub(crate) fn on_the_wire(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Leader => 1,
            Self::All => -1,
        }
    }
}

/// Whether a retry may write a record twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Idempotence {
    /// Never: the broker recognises what it has (KIP-98). Needs [`Acks::All`].
    On,
    /// It may, when an answer was lost.
    Off,
}

#[derive(Clone, Debug)]
pub(crate) struct ProducerConfig {
    pub(crate) acks: Acks,
    pub(crate) idempotence: Idempotence,
    pub(crate) compression: Compression,
    pub(crate) batch_bytes: usize,
    pub(crate) linger: Duration,
    pub(crate) request_bytes_max: usize,
    pub(crate) buffer_bytes: usize,
    pub(crate) delivery_timeout: Duration,
    pub(crate) max_block: Duration,
    /// Where records are written in transactions.
    pub(crate) transactional: Option<Transactional>,
}

/// Who writes in transactions.
#[derive(Clone, Debug)]
pub(crate) struct Transactional {
    pub(crate) id: Arc<str>,
    pub(crate) timeout: Duration,
}

impl ProducerConfig {
    pub(crate) fn is_idempotent(&self) -> bool {
        self.idempotence == Idempotence::On
    }
}

/// Builds a [`Producer`].
#[derive(Clone, Debug)]
#[must_use]
pub struct ProducerBuilder {
    client: Client,
    config: ProducerConfig,
    transaction_timeout: Duration,
    /// None as long as it follows from `acks`.
    idempotence: Option<Idempotence>,
}

impl ProducerBuilder {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            config: ProducerConfig {
                acks: Acks::All,
                idempotence: Idempotence::On,
                compression: Compression::None,
                batch_bytes: 128 * 1024,
                linger: Duration::from_millis(5),
                request_bytes_max: 1024 * 1024,
                buffer_bytes: 32 * 1024 * 1024,
                delivery_timeout: Duration::from_secs(120),
                max_block: Duration::from_secs(60),
                transactional: None,
            },
            transaction_timeout: Duration::from_secs(60),
            idempotence: None,
        }
    }

    /// Who must have a record before it counts as written (`acks`). Default [`Acks::All`].
    pub fn acks(mut self, acks: Acks) -> Self {
        self.config.acks = acks;
        self
    }

    /// Whether retries are recognised (`enable.idempotence`). Default: on with [`Acks::All`], else off.
    pub fn idempotence(mut self, idempotence: Idempotence) -> Self {
        self.idempotence = Some(idempotence);
        self
    }

    /// How batches are compressed (`compression.type`). Default: not at all.
    pub fn compression(mut self, compression: Compression) -> Self {
        self.config.compression = compression;
        self
    }

    /// When a batch counts as full (`batch.size`). Default 128 KiB; memory is taken as records come, so that large is cheap.
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.config.batch_bytes = bytes;
        self
    }

    /// How long a batch that is not full waits for more records (`linger.ms`). Default 5 ms.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.config.linger = linger;
        self
    }

    /// The largest request, and so the largest record (`max.request.size`). Default 1 MiB.
    pub fn request_bytes_max(mut self, bytes: usize) -> Self {
        self.config.request_bytes_max = bytes;
        self
    }

    /// How many bytes of records may wait or be under way; [`Producer::send`] waits for room (`buffer.memory`). Default 32 MiB.
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.config.buffer_bytes = bytes;
        self
    }

    /// How long a record may take, retries included, before its delivery fails (`delivery.timeout.ms`). Default 2 minutes.
    pub fn delivery_timeout(mut self, timeout: Duration) -> Self {
        self.config.delivery_timeout = timeout;
        self
    }

    /// How long [`Producer::send`] waits for metadata and for room (`max.block.ms`). Default 60 s.
    pub fn max_block(mut self, timeout: Duration) -> Self {
        self.config.max_block = timeout;
        self
    }

    /// After how long the coordinator aborts a transaction by itself (`transaction.timeout.ms`). Default 60 s.
    pub fn transaction_timeout(mut self, timeout: Duration) -> Self {
        self.transaction_timeout = timeout;
        self
    }

    /// A producer that writes in transactions, under a name that stays the same when the application is started anew
    /// (`transactional.id`): the newer one with it takes over from the older. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When a setting makes no sense.
    pub fn build_transactional(mut self, id: impl Into<Arc<str>>) -> Result<TransactionalProducer, ConfigError> {
        let id: Arc<str> = id.into();
        out_of_range("transactional.id", "not empty", &id, id.is_empty())?;
        let timeout = self.transaction_timeout;
        out_of_range("transaction.timeout.ms", "longer than nothing", timeout, timeout.is_zero())?;
        let is_off = self.idempotence == Some(Idempotence::Off) || self.config.acks != Acks::All;
        out_of_range("enable.idempotence", "on, with acks=all, in transactions", self.idempotence, is_off)?;
        self.config.transactional = Some(Transactional { id, timeout });
        Ok(self.build()?.in_transactions().expect("it was configured so"))
    }

    /// The producer. Must be called inside a tokio runtime, where its one task runs.
    ///
    /// # Errors
    /// When a setting makes no sense.
    pub fn build(mut self) -> Result<Producer, ConfigError> {
        self.config.idempotence = match (self.idempotence, self.config.acks) {
            (Some(chosen), _) => chosen,
            (None, Acks::All) => Idempotence::On,
            (None, Acks::None | Acks::Leader) => Idempotence::Off,
        };
        let config = &self.config;
        let unsafe_acks = config.is_idempotent() && config.acks != Acks::All;
        out_of_range("acks", "all with enable.idempotence", config.acks, unsafe_acks)?;
        out_of_range("batch.size", "1 or more", config.batch_bytes, config.batch_bytes == 0)?;
        let request_max = 1 << 30;
        let wrong = !(1024..=request_max).contains(&config.request_bytes_max);
        out_of_range("max.request.size", "1 KiB to 1 GiB", config.request_bytes_max, wrong)?;
        let wrong = config.buffer_bytes < config.request_bytes_max || config.buffer_bytes > u32::MAX as usize;
        out_of_range("buffer.memory", "max.request.size to 4 GiB", config.buffer_bytes, wrong)?;
        self.config.batch_bytes = self.config.batch_bytes.min(self.config.request_bytes_max);
        let config = &self.config;
        out_of_range(
            "delivery.timeout.ms",
            "longer than linger.ms",
            config.delivery_timeout,
            config.delivery_timeout <= config.linger,
        )?;
        Ok(Producer::start(self.client, self.config))
    }
}
