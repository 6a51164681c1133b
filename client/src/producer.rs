//! Writes records.
//!
//! A record goes through three rooms: [`Producer::send`] finds its partition and waits for space; the accumulator gathers batches
//! and keeps their order; the sender, one task per producer, carries them to the brokers. Must not know: consumers, admin calls.

mod accumulator;
mod batch;
mod config;
mod error;
mod fate;
mod partition;
mod partitioner;
mod record;
mod request;
mod sender;
mod transaction;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cairn_protocol::ids::{PartitionIndex, Timestamp};
use cairn_protocol::records::HEADER_BYTES;
use parking_lot::Mutex;
use rand::RngExt;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use self::accumulator::Accumulator;
pub use self::config::{Acks, Compression, Idempotence, ProducerBuilder};
use self::config::{ProducerConfig, Transactional};
pub use self::error::{PossiblyWritten, ProduceError};
pub use self::fate::{Delivery, RecordMetadata};
pub use self::record::ProducerRecord;
use self::transaction::Coordinator;
pub use self::transaction::{Transaction, TransactionError, TransactionalProducer};
use crate::cluster::{TopicInfo, Unknown};
use crate::config::AutoCreateTopics;
use crate::stats::ProducerStats;
use crate::topic_partition::TopicPartition;
use crate::{Client, MetadataError};

/// What a request has around its batches, from above: headers, the topic's name, lengths.
const REQUEST_OVERHEAD_BYTES: usize = 512;

/// Writes records to topics. Cloning it is cheap, and all clones share buffer, order and connections.
///
/// Dropping the last handle blocks nothing: what was sent before is still delivered by the task in the background, as long as the
/// runtime lives. [`close`](Self::close) waits for it.
#[derive(Clone)]
pub struct Producer {
    shared: Arc<Shared>,
    /// Tells the sender when the last handle is gone.
    _alive: Arc<Alive>,
}

struct Shared {
    client: Client,
    config: ProducerConfig,
    /// Of a producer that writes in transactions.
    coordinator: Option<Arc<Coordinator>>,
    accumulator: Mutex<Accumulator>,
    /// Bytes that records may still take.
    room: Arc<Semaphore>,
    /// How many wait for room: then lingering helps nobody.
    pressed: AtomicUsize,
    /// There is something new for the sender to see.
    news: Notify,
    closing: tokio::sync::watch::Sender<Closing>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Closing {
    /// Records are welcome.
    Open,
    /// No new records; what is there is delivered.
    Draining,
    /// What is there is given up.
    Aborting,
    /// The sender has ended.
    Ended,
}

struct Alive(std::sync::Weak<Shared>);

impl Drop for Alive {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.close(Closing::Draining);
        }
    }
}

/// Not everything was delivered in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not all records were delivered within {after:?}")]
pub struct FlushTimeout {
    /// The bound.
    pub after: Duration,
}

impl Producer {
    pub(crate) fn start(client: Client, config: ProducerConfig) -> Self {
        let coordinator = config.transactional.as_ref().map(|transactional| {
            let Transactional { id, timeout } = transactional;
            Arc::new(Coordinator::new(client.clone(), Arc::clone(id), *timeout))
        });
        let room = Arc::new(Semaphore::new(config.buffer_bytes));
        let accumulator = Accumulator::new(config.clone(), client.config().backoff, Arc::clone(&room));
        let shared = Arc::new(Shared {
            client,
            config,
            coordinator,
            accumulator: Mutex::new(accumulator),
            room,
            pressed: AtomicUsize::new(0),
            news: Notify::new(),
            closing: tokio::sync::watch::Sender::new(Closing::Open),
        });
        tokio::spawn(sender::run(Arc::clone(&shared)));
        let alive = Arc::new(Alive(Arc::downgrade(&shared)));
        Self { shared, _alive: alive }
    }

    /// Puts a record into the buffer and gives the future of its delivery. Waits for the topic's metadata and for room.
    ///
    /// Records to the same partition are written in the order of these calls. Cancel-safe: a dropped call has sent nothing.
    ///
    /// # Errors
    /// When the record cannot be sent at all. What happens later is told by the [`Delivery`].
    pub async fn send(&self, record: ProducerRecord) -> Result<Delivery, ProduceError> {
        self.put(record).await
    }

    async fn put(&self, record: ProducerRecord) -> Result<Delivery, ProduceError> {
        let shared = &self.shared;
        let bytes = record.bytes_max();
        let max = shared.config.request_bytes_max - REQUEST_OVERHEAD_BYTES - HEADER_BYTES;
        if bytes > max {
            return Err(ProduceError::TooLarge { bytes, max: shared.config.request_bytes_max });
        }
        let timestamp = record.timestamp.unwrap_or_else(now_ms);
        if timestamp.0 < 0 {
            return Err(ProduceError::InvalidTimestamp { timestamp });
        }
        let topic = match shared.client.metadata().known_topic(&record.topic) {
            Some(topic) => topic,
            None => shared.learn(&record.topic).await?,
        };
        let room = shared.reserve(bytes).await?;
        shared.append(&record, &topic, timestamp, bytes, room)
    }

    /// Sends a record and waits until it is written. For many records, [`send`](Self::send) them all before awaiting deliveries.
    ///
    /// Not cancel-safe: when dropped, the record may still be written.
    ///
    /// # Errors
    /// When the record was not written.
    pub async fn send_and_wait(&self, record: ProducerRecord) -> Result<RecordMetadata, ProduceError> {
        self.send(record).await?.await
    }

    /// Waits until all that was sent before this call is delivered or has failed. Nothing lingers meanwhile.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// When that takes longer than `timeout`; the records stay under way.
    pub async fn flush(&self, timeout: Duration) -> Result<(), FlushTimeout> {
        let (until, mut done) = {
            let mut accumulator = self.shared.accumulator.lock();
            (accumulator.hurry(), accumulator.done())
        };
        self.shared.news.notify_one();
        let waiting = done.wait_for(|done| *done >= until);
        match tokio::time::timeout(timeout, waiting).await {
            // The accumulator lives as long as this handle, so the other end of the channel does.
            Ok(_) => Ok(()),
            Err(_) => Err(FlushTimeout { after: timeout }),
        }
    }

    /// What it has written so far, and what it holds.
    #[must_use]
    pub fn stats(&self) -> ProducerStats {
        self.shared.accumulator.lock().stats()
    }

    /// Takes no more records, delivers what it has, and ends. After `timeout` the rest is given up: its deliveries fail.
    ///
    /// Cancel-safe: when dropped, delivery goes on in the background.
    ///
    /// # Errors
    /// When something had to be given up.
    pub async fn close(&self, timeout: Duration) -> Result<(), FlushTimeout> {
        let mut closing = self.shared.closing.subscribe();
        self.shared.close(Closing::Draining);
        if tokio::time::timeout(timeout, closing.wait_for(|closing| *closing == Closing::Ended)).await.is_ok() {
            return Ok(());
        }
        self.shared.close(Closing::Aborting);
        // Aborting waits for nothing but the sender's next turn.
        let _ = closing.wait_for(|closing| *closing == Closing::Ended).await;
        Err(FlushTimeout { after: timeout })
    }
}

impl Producer {
    /// The same in transactions, where it was configured so.
    fn in_transactions(self) -> Option<TransactionalProducer> {
        let coordinator = Arc::clone(self.shared.coordinator.as_ref()?);
        Some(TransactionalProducer::new(self, coordinator))
    }
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

impl Shared {
    fn close(&self, to: Closing) {
        self.closing.send_if_modified(|closing| {
            let further = to > *closing;
            *closing = to.max(*closing);
            further
        });
        self.news.notify_one();
    }

    /// By then every batch is written or has failed.
    fn longest_delivery(&self) -> Duration {
        self.config.delivery_timeout + self.client.config().request_timeout
    }

    /// Nothing of the transaction is sent any more.
    fn fail_transaction(&self, error: &ProduceError) {
        self.accumulator.lock().fail_transaction(error);
        self.news.notify_one();
    }

    async fn learn(&self, topic: &Arc<str>) -> Result<Arc<TopicInfo>, ProduceError> {
        let unknown = match self.client.config().auto_create_topics {
            AutoCreateTopics::Allow => Unknown::Create,
            AutoCreateTopics::Refuse => Unknown::Refuse,
        };
        match tokio::time::timeout(self.config.max_block, self.client.metadata().topic(topic, unknown)).await {
            Ok(info) => Ok(info?),
            Err(_) => Err(MetadataError::NoSuchTopic { topic: Arc::clone(topic) }.into()),
        }
    }

    /// Takes room for `bytes`, which are at most a request's.
    async fn reserve(&self, bytes: usize) -> Result<OwnedSemaphorePermit, ProduceError> {
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        if let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(permits) {
            return Ok(room);
        }
        let _pressed = Pressed::new(self);
        match tokio::time::timeout(self.config.max_block, Arc::clone(&self.room).acquire_many_owned(permits)).await {
            Ok(room) => room.map_err(|_| ProduceError::Closed),
            Err(_) => Err(ProduceError::BufferFull { after: self.config.max_block }),
        }
    }

    fn append(
        &self,
        record: &ProducerRecord,
        topic: &TopicInfo,
        timestamp: Timestamp,
        bytes: usize,
        room: OwnedSemaphorePermit,
    ) -> Result<Delivery, ProduceError> {
        let count = topic.count();
        let mut accumulator = self.accumulator.lock();
        // Under the lock: the sender looks at it under the lock, too, before it ends.
        if *self.closing.borrow() != Closing::Open {
            return Err(ProduceError::Closed);
        }
        let fixed = partitioner::fixed(record.partition, record.key.as_deref(), count);
        let partition = fixed.or_else(|| {
            let sticky = accumulator.sticky(&record.topic);
            sticky.choose(&topic.available, count, self.config.batch_bytes, bytes, |below| {
                rand::rng().random_range(0..below)
            })
        });
        let partition = partition.filter(|partition| (0..count).contains(&partition.0)).ok_or_else(|| {
            let named = record.partition.unwrap_or(PartitionIndex(-1));
            ProduceError::NoSuchPartition {
                partition: TopicPartition { topic: Arc::clone(&record.topic), partition: named },
                count,
            }
        })?;
        let appended = accumulator.append(record, partition, timestamp, bytes, Instant::now())?;
        drop(accumulator);
        // From here on the batch gives it back.
        room.forget();
        if appended.wake {
            self.news.notify_one();
        }
        Ok(appended.delivery)
    }
}

/// While it lives, somebody waits for room.
struct Pressed<'a>(&'a Shared);

impl<'a> Pressed<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.pressed.fetch_add(1, Ordering::Relaxed);
        shared.news.notify_one();
        Self(shared)
    }
}

impl Drop for Pressed<'_> {
    fn drop(&mut self) {
        self.0.pressed.fetch_sub(1, Ordering::Relaxed);
    }
}

fn now_ms() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
