//! Reads records of partitions that the user names, or that the group gives to its members.
//!
//! One task fetches ahead, bounded by bytes; the handle takes what it has. A member has a second task, which adds and removes
//! partitions of the same assignment. Must not know: producers.

mod aborted;
mod assignment;
mod config;
mod epochs;
mod error;
mod fetch;
mod fetcher;
mod membership;
pub(crate) mod offsets;
mod places;
mod progress;
mod record;
mod session;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cairn_protocol::ids::Offset;
use futures::Stream;
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::assignment::Assignment;
pub use self::assignment::StartAt;
use self::config::ConsumerConfig;
pub use self::config::{ConsumerBuilder, IsolationLevel, OffsetReset};
pub use self::error::{ConsumeError, MembershipError, OffsetsError};
use self::membership::Membership;
use self::membership::handover::Handover;
pub use self::membership::{Assignor, GroupProtocol, Rebalance, RebalanceKind, Rebalances};
pub use self::offsets::CommittedOffset;
pub(crate) use self::offsets::Committer;
use self::progress::Progress;
use self::record::Cursor;
pub use self::record::{ConsumerRecord, RecordBatches};
use crate::Client;
use crate::cluster::Unknown;
use crate::error::MetadataError;
use crate::stats::{ConsumerStats, Counter};
use crate::topic_partition::TopicPartition;

/// How long a consumer that closes tries to commit.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// Reads partitions that are [assigned](Self::assign) by hand, or those that its group gives it once it [subscribed](Self::subscribe).
/// Cloning it is cheap, and all clones share one position: every record is given to one of them.
///
/// Dropping the last handle blocks nothing and commits nothing; a member says in the background that it leaves.
/// [`close`](Self::close) does so in order.
#[derive(Clone)]
pub struct Consumer {
    shared: Arc<Shared>,
    queue: Arc<tokio::sync::Mutex<Queue>>,
    errors: mpsc::WeakUnboundedSender<Result<RecordBatches, ConsumeError>>,
    _alive: Arc<DropGuard>,
}

struct Shared {
    client: Client,
    config: ConsumerConfig,
    assignment: Mutex<Assignment>,
    /// Bytes in the queue.
    buffered_bytes: AtomicUsize,
    fetches: Counter,
    bytes_fetched: Counter,
    commits: Counter,
    /// There is something new for the fetcher to see.
    news: Notify,
    closed: CancellationToken,
    handover: Handover,
    membership: Membership,
}

struct Queue {
    fetched: mpsc::UnboundedReceiver<Result<RecordBatches, ConsumeError>>,
    /// What is being taken record by record.
    cursor: Option<Cursor>,
    /// What is to be given as a whole, as soon as it may be.
    ready: Option<RecordBatches>,
    /// Of what was given last: the application is done with it when it asks for more.
    given: Option<Arc<Progress>>,
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
            fetches: Counter::default(),
            bytes_fetched: Counter::default(),
            commits: Counter::default(),
            news: Notify::new(),
            closed: closed.clone(),
            handover: Handover::new(Instant::now()),
            membership: Membership::default(),
        });
        let errors = sender.downgrade();
        tokio::spawn(fetcher::run(Arc::clone(&shared), sender));
        let queue = Arc::new(tokio::sync::Mutex::new(Queue { fetched, cursor: None, ready: None, given: None }));
        Self { shared, queue, errors, _alive: Arc::new(closed.drop_guard()) }
    }

    /// Takes part in the group: the partitions of these topics are divided among its members, and this one reads its share. Again,
    /// with other topics, it changes them. Topics that are not there yet are read once they are.
    ///
    /// What happens to partitions is told by [`rebalances`](Self::rebalances); who does not listen has them come and go while it
    /// asks for records. Partitions that were assigned by hand are read no more.
    ///
    /// # Errors
    /// When the consumer was built without a group.
    pub fn subscribe(&self, topics: impl IntoIterator<Item = impl Into<Arc<str>>>) -> Result<(), OffsetsError> {
        if self.shared.config.group.is_none() {
            return Err(OffsetsError::NoGroup);
        }
        self.shared.membership.stop_watching();
        if !self.shared.membership.is_subscribed() {
            self.assign([]);
        }
        let mut topics: Vec<Arc<str>> = topics.into_iter().map(Into::into).collect();
        topics.sort();
        topics.dedup();
        // The fetcher lives as long as a handle does.
        if let Some(errors) = self.errors.upgrade() {
            membership::subscribe(&self.shared, topics, errors);
        }
        Ok(())
    }

    /// The same for all topics whose whole names match a regular expression, but for internal ones: topics that come later are
    /// noticed when all are looked at again, every `metadata.max.age.ms`. By the syntax of the [`regex`](https://docs.rs/regex) crate.
    ///
    /// # Errors
    /// When the consumer was built without a group, or the pattern is none.
    pub fn subscribe_pattern(&self, pattern: &str) -> Result<(), OffsetsError> {
        if self.shared.config.group.is_none() {
            return Err(OffsetsError::NoGroup);
        }
        let pattern = membership::pattern::parse(pattern)?;
        if !self.shared.membership.is_subscribed() {
            self.assign([]);
        }
        let until = self.shared.membership.watch_anew();
        tokio::spawn(membership::pattern::watch(Arc::clone(&self.shared), pattern, until, self.errors.clone()));
        Ok(())
    }

    /// What happens to this member's partitions from now on. Who asked before is told no more.
    #[must_use]
    pub fn rebalances(&self) -> Rebalances {
        self.shared.membership.listen()
    }

    /// Commits what was read, if that happens by itself. Leaves the group, if this is a member: lets all partitions go and tells the
    /// coordinator, which gives them to others at once. Static members keep their place. Takes 5 s at most, or the coordinator is
    /// not told.
    ///
    /// Not cancel-safe: when dropped, it goes on in the background.
    pub async fn close(self) {
        // All that was given is done with, or the application would not close. Another clone that waits for records has none.
        if let Ok(queue) = self.queue.try_lock()
            && let Some(given) = &queue.given
        {
            given.settle();
        }
        if !self.shared.membership.is_subscribed() && self.shared.config.member.auto_commit.is_some() {
            let commit = membership::commit(&self.shared, None);
            match tokio::time::timeout(CLOSE_WITHIN, commit).await {
                Ok(Ok(())) => {}
                failed => tracing::warn!(?failed, "what was read last is not committed: it will be read again"),
            }
        }
        self.shared.membership.leave().await;
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

    /// The next record of any partition. Waits until there is one.
    ///
    /// Cancel-safe: no record is lost when it is dropped.
    ///
    /// # Errors
    /// When a partition cannot be read. The others go on with the next call.
    pub async fn recv(&self) -> Result<ConsumerRecord, ConsumeError> {
        let mut asking = self.shared.handover.ask();
        let mut queue = self.queue.lock().await;
        queue.settle();
        loop {
            asking.allowed().await;
            // No await between taking a record and giving it: that makes it cancel-safe.
            if let Some(given) = asking.give(|| queue.next_record().transpose()) {
                return given;
            }
            if queue.cursor.is_none() {
                // What a dropped call of `recv_batches` left comes first.
                let next = match queue.ready.take() {
                    Some(ready) => ready,
                    None => self.shared.next_fetched(&mut queue.fetched).await?,
                };
                queue.cursor = Some(Cursor::new(next));
            }
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
        let mut asking = self.shared.handover.ask();
        let mut queue = self.queue.lock().await;
        queue.settle();
        loop {
            asking.allowed().await;
            if let Some(batches) = asking.give(|| queue.take_ready()) {
                return Ok(batches);
            }
            if queue.ready.is_none() {
                queue.ready = Some(self.shared.next_fetched(&mut queue.fetched).await?);
            }
        }
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
        let by = || self.shared.membership.committer(group);
        offsets::commit(&self.shared.client, group, by, offsets).await?;
        self.shared.commits.add(1);
        Ok(())
    }

    /// What it has read so far, and what it holds. Commits that happen by themselves are not among those that are counted.
    #[must_use]
    pub fn stats(&self) -> ConsumerStats {
        let partitions = self.shared.assignment.lock().partitions().len() as u64;
        ConsumerStats {
            fetches: self.shared.fetches.get(),
            bytes_fetched: self.shared.bytes_fetched.get(),
            bytes_prefetched: self.shared.buffered_bytes.load(Ordering::Acquire) as u64,
            partitions,
            commits: self.shared.commits.get(),
        }
    }

    /// For whom it would commit now, and as whom.
    pub(crate) fn committer(&self) -> Result<(Arc<str>, Committer), OffsetsError> {
        let group = self.shared.config.group.as_ref().ok_or(OffsetsError::NoGroup)?;
        Ok((Arc::clone(group), self.shared.membership.committer(group)?))
    }
}

impl Queue {
    /// The application asks for more: it is done with what it has.
    fn settle(&mut self) {
        if let Some(given) = &self.given {
            given.settle();
        }
    }

    fn on_given(&mut self, of: &Arc<Progress>, end: Offset) {
        of.on_consumed(end);
        if self.given.as_ref().is_none_or(|given| !Arc::ptr_eq(given, of)) {
            self.given = Some(Arc::clone(of));
        }
    }

    /// The next record of what is taken record by record; `None` when there is nothing more in it, or it was sought away from.
    fn next_record(&mut self) -> Result<Option<ConsumerRecord>, ConsumeError> {
        let Some(mut cursor) = self.cursor.take() else { return Ok(None) };
        if !cursor.batches().is_current() {
            return Ok(None);
        }
        let progress = Arc::clone(cursor.batches().progress());
        let Some(record) = cursor.next()? else {
            // Behind the last record may be offsets that have none any more. It asks for more: it is done with what it had.
            self.on_given(&progress, cursor.batches().end_offset());
            progress.settle();
            return Ok(None);
        };
        self.on_given(&progress, record.offset.plus(1));
        self.cursor = Some(cursor);
        Ok(Some(record))
    }

    fn take_ready(&mut self) -> Option<RecordBatches> {
        let ready = self.ready.take().filter(RecordBatches::is_current)?;
        let progress = Arc::clone(ready.progress());
        self.on_given(&progress, ready.end_offset());
        Some(ready)
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
            if batches.is_current() {
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
