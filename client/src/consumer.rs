//! Reads records of partitions that the user names.
//!
//! One task fetches ahead, bounded by bytes; the handle takes what it has. Groups with members are to come: whoever assigns
//! partitions then does so through the same `assign`. Must not know: producers.

mod assignment;
mod config;
mod error;
mod fetch;
mod fetcher;
pub(crate) mod offsets;
mod record;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cairn_protocol::ids::{Offset, Timestamp};
use futures::Stream;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::assignment::Assignment;
pub use self::assignment::StartAt;
use self::config::ConsumerConfig;
pub use self::config::{ConsumerBuilder, OffsetReset};
pub use self::error::{ConsumeError, OffsetsError};
pub use self::offsets::CommittedOffset;
use self::offsets::Committer;
use self::record::Cursor;
pub use self::record::{ConsumerRecord, RecordBatches};
use crate::Client;
use crate::cluster::Unknown;
use crate::error::MetadataError;
use crate::topic_partition::TopicPartition;

/// Reads partitions that are [assigned](Self::assign) by hand. Cloning it is cheap, and all clones share one position: every
/// record is given to one of them.
///
/// Dropping the last handle blocks nothing and commits nothing.
#[derive(Clone)]
pub struct Consumer {
    shared: Arc<Shared>,
    queue: Arc<tokio::sync::Mutex<Queue>>,
    _alive: Arc<DropGuard>,
}

struct Shared {
    client: Client,
    config: ConsumerConfig,
    assignment: Mutex<Assignment>,
    /// Bytes in the queue.
    buffered_bytes: AtomicUsize,
    /// There is something new for the fetcher to see.
    news: Notify,
    closed: CancellationToken,
}

struct Queue {
    fetched: mpsc::UnboundedReceiver<Result<RecordBatches, ConsumeError>>,
    /// What is being taken record by record.
    cursor: Option<Cursor>,
}

impl Consumer {
    pub(crate) fn start(client: Client, config: ConsumerConfig) -> Self {
        // Unbounded in number, but bounded in bytes: the fetcher asks for no more than `prefetch_bytes` leave room for.
        let (sender, fetched) = mpsc::unbounded_channel();
        let closed = CancellationToken::new();
        let shared = Arc::new(Shared {
            assignment: Mutex::new(Assignment::new(client.config().backoff)),
            client,
            config,
            buffered_bytes: AtomicUsize::new(0),
            news: Notify::new(),
            closed: closed.clone(),
        });
        tokio::spawn(fetcher::run(Arc::clone(&shared), sender));
        let queue = Arc::new(tokio::sync::Mutex::new(Queue { fetched, cursor: None }));
        Self { shared, queue, _alive: Arc::new(closed.drop_guard()) }
    }

    /// Reads these partitions from now on, and no others. What was fetched before is dropped.
    pub fn assign(&self, partitions: impl IntoIterator<Item = (TopicPartition, StartAt)>) {
        self.shared.assignment.lock().assign(partitions);
        self.shared.news.notify_one();
    }

    /// Reads all partitions that a topic has now.
    ///
    /// Cancel-safe: a dropped call has changed nothing.
    ///
    /// # Errors
    /// When the topic does not exist, or nobody could be asked.
    pub async fn assign_topic(&self, topic: impl Into<Arc<str>>, at: StartAt) -> Result<(), MetadataError> {
        let topic = topic.into();
        let count = self.partition_count(Arc::clone(&topic)).await?;
        self.assign((0..count).map(|index| (TopicPartition::new(Arc::clone(&topic), index), at)));
        Ok(())
    }

    /// How many partitions a topic has.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// When the topic does not exist, or nobody could be asked.
    pub async fn partition_count(&self, topic: impl Into<Arc<str>>) -> Result<i32, MetadataError> {
        Ok(self.shared.client.metadata().topic(&topic.into(), Unknown::Refuse).await?.count())
    }

    /// The partitions that are read, in order.
    #[must_use]
    pub fn assigned(&self) -> Vec<TopicPartition> {
        self.shared.assignment.lock().partitions()
    }

    /// Goes on elsewhere in one partition. Gives whether it is assigned.
    pub fn seek(&self, partition: &TopicPartition, to: StartAt) -> bool {
        let is_assigned = self.shared.assignment.lock().seek(partition, to);
        self.shared.news.notify_one();
        is_assigned
    }

    /// The offset of the next record that will be given, once it is known.
    #[must_use]
    pub fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        self.shared.assignment.lock().position(partition)
    }

    /// The next record of any partition. Waits until there is one.
    ///
    /// Cancel-safe: no record is lost when it is dropped.
    ///
    /// # Errors
    /// When a partition cannot be read. The others go on with the next call.
    pub async fn recv(&self) -> Result<ConsumerRecord, ConsumeError> {
        let mut queue = self.queue.lock().await;
        loop {
            // No await between taking a record and giving it: that makes it cancel-safe.
            if let Some(cursor) = queue.cursor.as_mut().filter(|cursor| cursor.batches().progress().is_current()) {
                match cursor.next() {
                    Ok(Some(record)) => {
                        cursor.batches().progress().on_consumed(record.offset.plus(1));
                        return Ok(record);
                    }
                    // Behind the last record may be offsets that have none any more.
                    Ok(None) => cursor.batches().progress().on_consumed(cursor.batches().end_offset()),
                    Err(error) => {
                        queue.cursor = None;
                        return Err(error);
                    }
                }
            }
            queue.cursor = None;
            queue.cursor = Some(Cursor::new(self.shared.next_fetched(&mut queue.fetched).await?));
        }
    }

    /// The next records of one partition, as they were fetched: the fast way. They count as consumed when they are given.
    ///
    /// What [`recv`](Self::recv) has begun to give out record by record is given out by `recv` only.
    ///
    /// Cancel-safe: no record is lost when it is dropped.
    ///
    /// # Errors
    /// When a partition cannot be read. The others go on with the next call.
    pub async fn recv_batches(&self) -> Result<RecordBatches, ConsumeError> {
        let mut queue = self.queue.lock().await;
        let batches = self.shared.next_fetched(&mut queue.fetched).await?;
        batches.progress().on_consumed(batches.end_offset());
        Ok(batches)
    }

    /// All records from here on, as a stream that never ends.
    pub fn stream(&self) -> impl Stream<Item = Result<ConsumerRecord, ConsumeError>> + Send + 'static {
        futures::stream::unfold(self.clone(), |consumer| async move { Some((consumer.recv().await, consumer)) })
    }

    /// Commits, for the group, all that was given out so far.
    ///
    /// Not cancel-safe: when dropped, the offsets may be committed or not.
    ///
    /// # Errors
    /// When there is no group, or the coordinator refused.
    pub async fn commit(&self) -> Result<(), OffsetsError> {
        let consumed = self.shared.assignment.lock().consumed();
        self.commit_offsets(&consumed.into_iter().map(|(partition, offset)| (partition, offset.into())).collect()).await
    }

    /// Commits these offsets for the group: each is that of the next record to be read.
    ///
    /// Not cancel-safe: when dropped, the offsets may be committed or not.
    ///
    /// # Errors
    /// When there is no group, or the coordinator refused.
    pub async fn commit_offsets(&self, offsets: &HashMap<TopicPartition, CommittedOffset>) -> Result<(), OffsetsError> {
        let group = self.shared.config.group.as_ref().ok_or(OffsetsError::NoGroup)?;
        offsets::commit(&self.shared.client, group, &Committer::default(), offsets).await
    }

    /// What the group has committed; partitions without anything are left out.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// When there is no group, or the coordinator refused.
    pub async fn committed(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<HashMap<TopicPartition, CommittedOffset>, OffsetsError> {
        let group = self.shared.config.group.as_ref().ok_or(OffsetsError::NoGroup)?;
        offsets::committed(&self.shared.client, group, Some(partitions)).await
    }

    /// The oldest offset of each partition.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// When a leader could not be asked, or refused.
    pub async fn beginning_offsets(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<HashMap<TopicPartition, Offset>, OffsetsError> {
        self.offsets_at(partitions, offsets::EARLIEST).await
    }

    /// The offset after the newest record of each partition.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// When a leader could not be asked, or refused.
    pub async fn end_offsets(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<HashMap<TopicPartition, Offset>, OffsetsError> {
        self.offsets_at(partitions, offsets::LATEST).await
    }

    /// The offset of each partition's first record at this time or later; `None` when there is none.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// When a leader could not be asked, or refused.
    pub async fn offsets_for_times(
        &self,
        times: &HashMap<TopicPartition, Timestamp>,
    ) -> Result<HashMap<TopicPartition, Option<Offset>>, OffsetsError> {
        offsets::list(&self.shared.client, times).await
    }

    async fn offsets_at(
        &self,
        partitions: &[TopicPartition],
        time: Timestamp,
    ) -> Result<HashMap<TopicPartition, Offset>, OffsetsError> {
        let wanted = partitions.iter().map(|partition| (partition.clone(), time)).collect();
        let found = offsets::list(&self.shared.client, &wanted).await?;
        Ok(found.into_iter().filter_map(|(partition, offset)| Some((partition, offset?))).collect())
    }
}

impl Shared {
    /// The next of what was fetched that nobody has sought away from.
    async fn next_fetched(
        &self,
        fetched: &mut mpsc::UnboundedReceiver<Result<RecordBatches, ConsumeError>>,
    ) -> Result<RecordBatches, ConsumeError> {
        loop {
            let Some(next) = fetched.recv().await else {
                // The fetcher lives as long as a handle does, and this is called through one.
                std::future::pending::<()>().await;
                continue;
            };
            let batches = next?;
            self.buffered_bytes.fetch_sub(batches.byte_len(), Ordering::AcqRel);
            self.news.notify_one();
            if batches.progress().is_current() {
                return Ok(batches);
            }
        }
    }
}

impl std::fmt::Debug for Consumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Consumer").field("config", &self.shared.config).finish_non_exhaustive()
    }
}
