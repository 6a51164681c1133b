//! Where records gather into batches, and what happens to batches until they are written: a pure core.
//!
//! It is told the time, who leads what and what brokers answered, and says which batches go to which broker. Must not know:
//! sockets, tasks, the clock.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use cairn_protocol::ids::{BrokerId, PartitionIndex, Timestamp};
use cairn_protocol::records::BatchBuilder;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::batch::{Batch, BatchNumber, Halves, Identity, Known};
use super::config::ProducerConfig;
use super::fate::{Delivery, Written};
use super::partition::{Next, Partition};
use super::partitioner::Sticky;
use super::{ProduceError, ProducerRecord};
use crate::backoff::Backoff;
use crate::stats::ProducerStats;
use crate::topic_partition::TopicPartition;

/// How many emptied builders are kept for the next batches, so that their buffers are used again.
const SPARE_BUILDERS_MAX: usize = 64;

/// All that waits or is under way.
pub(crate) struct Accumulator {
    config: ProducerConfig,
    backoff: Backoff,
    room: Arc<Semaphore>,
    topics: HashMap<Arc<str>, Topic>,
    /// Partitions that have something to send, in turn, so that none starves.
    active: VecDeque<TopicPartition>,
    identity: Option<Identity>,
    transaction: Option<InTransaction>,
    next_number: u64,
    /// Numbers of the batches that are neither written nor failed.
    outstanding: BTreeSet<BatchNumber>,
    /// Tells the lowest number that is outstanding: all below are done.
    done: watch::Sender<u64>,
    /// Batches below this number do not linger.
    hurry_until: u64,
    spare_builders: Vec<BatchBuilder>,
    /// What has become of batches; what is in use now is added when it is asked for.
    stats: ProducerStats,
}

/// The transaction that has begun last.
struct InTransaction {
    identity: Identity,
    /// Partitions that the coordinator knows of.
    added: HashSet<TopicPartition>,
    /// Why it has to be aborted.
    failed: Option<ProduceError>,
    /// A batch that had sequence numbers was given up.
    has_lost_place: bool,
}

#[derive(Default)]
struct Topic {
    partitions: Vec<Partition>,
    sticky: Sticky,
}

/// A batch that a request carries.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) to: TopicPartition,
    pub(crate) batch: Batch,
}

/// Whether a broker can take a request now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// It can.
    Ready,
    /// As many as allowed are in flight, or a connection is being made.
    Busy,
    /// There is no connection.
    Absent,
}

/// What there is to do now.
#[derive(Debug, Default)]
pub(crate) struct Drained {
    /// At most one request per broker.
    pub(crate) requests: HashMap<BrokerId, Vec<Sent>>,
    /// Brokers that batches wait for and that have no connection.
    pub(crate) absent: HashSet<BrokerId>,
    /// Topics of which a partition has no known leader.
    pub(crate) leaderless: HashSet<Arc<str>>,
    /// Batches wait for a producer id.
    pub(crate) wants_identity: bool,
    /// Partitions that have to be added to the transaction first, and as whom.
    pub(crate) unadded: Vec<TopicPartition>,
    /// When to look again, if nothing happens before.
    pub(crate) wake_at: Option<Instant>,
}

/// What came of adding a record.
#[derive(Debug)]
pub(crate) struct Appended {
    pub(crate) delivery: Delivery,
    /// The sender has something new to see: a batch that begins to linger, or one that is full.
    pub(crate) wake: bool,
}

impl Accumulator {
    pub(crate) fn new(config: ProducerConfig, backoff: Backoff, room: Arc<Semaphore>) -> Self {
        Self {
            config,
            backoff,
            room,
            topics: HashMap::new(),
            active: VecDeque::new(),
            identity: None,
            transaction: None,
            next_number: 0,
            outstanding: BTreeSet::new(),
            done: watch::Sender::new(0),
            hurry_until: 0,
            spare_builders: Vec::new(),
            stats: ProducerStats::default(),
        }
    }

    /// The stickiness of a topic's records without a key.
    pub(crate) fn sticky(&mut self, topic: &Arc<str>) -> &mut Sticky {
        &mut topic_of(&mut self.topics, topic).sticky
    }

    /// Adds a record that has taken `reserved_bytes` of the room. On an error the caller gives them back.
    pub(crate) fn append(
        &mut self,
        record: &ProducerRecord,
        partition: PartitionIndex,
        timestamp: Timestamp,
        reserved_bytes: usize,
        now: Instant,
    ) -> Result<Appended, ProduceError> {
        if let Some(error) = self.failed_transaction() {
            return Err(error);
        }
        // Validated by the caller against the topic's partitions.
        let index = usize::try_from(partition.0).unwrap_or(0);
        let topic = topic_of(&mut self.topics, &record.topic);
        if topic.partitions.len() <= index {
            topic.partitions.resize_with(index + 1, Partition::default);
        }
        let state = &mut topic.partitions[index];
        let closed = state.make_room(record.bytes_max(), self.config.batch_bytes);
        let mut wake = closed;
        if state.open.is_none() {
            let builder = match self.spare_builders.pop() {
                Some(builder) => builder,
                None => new_builder(&self.config)?,
            };
            let number = BatchNumber::new(self.next_number);
            self.next_number += 1;
            self.outstanding.insert(number);
            state.open = Some(Batch::open(number, now, now + self.config.delivery_timeout, builder));
            wake = true;
        }
        let batch = state.open.as_mut().expect("opened above");
        let index = match batch.append(record, timestamp, reserved_bytes) {
            Ok(index) => index,
            Err(error) => {
                if let Some(empty) = state.open.take_if(|open| open.count == 0) {
                    self.outstanding.remove(&empty.number);
                }
                return Err(ProduceError::Encode { reason: error.to_string().into() });
            }
        };
        let fate = Arc::clone(&batch.fate);
        if state.activate() {
            self.active.push_back(TopicPartition { topic: Arc::clone(&record.topic), partition });
        }
        wake |= state.is_open_full(self.config.batch_bytes);
        Ok(Appended { delivery: Delivery::new(fate, partition, index, timestamp), wake })
    }

    /// The batches that can go now: at most one request per broker, and in each at most one batch per partition.
    pub(crate) fn drain(
        &mut self,
        now: Instant,
        leader_of: impl Fn(&TopicPartition) -> Option<BrokerId>,
        mut link_to: impl FnMut(BrokerId) -> Link,
    ) -> Drained {
        let mut drained = Drained::default();
        if let Some(error) = self.failed_transaction() {
            self.abort(|_| error.clone());
        }
        let mut bytes: HashMap<BrokerId, usize> = HashMap::new();
        for _ in 0..self.active.len() {
            let Some(to) = self.active.pop_front() else { break };
            self.expire(&to, now);
            let Some(partition) = partition_of(&mut self.topics, &to) else { continue };
            if partition.deactivate_if_empty() {
                continue;
            }
            self.active.push_back(to.clone());
            let due = match partition.next(now, &self.config, self.hurry_until) {
                Next::Waits => continue,
                Next::At(at) => {
                    drained.wake_at = Some(drained.wake_at.map_or(at, |earlier| earlier.min(at)));
                    continue;
                }
                Next::Now { bytes } => bytes,
            };
            let Some(leader) = leader_of(&to) else {
                drained.leaderless.insert(to.topic);
                continue;
            };
            match link_to(leader) {
                Link::Ready => {}
                Link::Busy => continue,
                Link::Absent => {
                    drained.absent.insert(leader);
                    continue;
                }
            }
            if self.config.is_idempotent() && !partition.adopt(&mut self.identity) {
                drained.wants_identity = true;
                continue;
            }
            if self.transaction.as_ref().is_some_and(|transaction| !transaction.added.contains(&to)) {
                drained.unadded.push(to);
                continue;
            }
            let taken = bytes.entry(leader).or_default();
            if *taken > 0 && *taken + due > self.config.request_bytes_max {
                continue;
            }
            *taken += due;
            let batch = partition.take();
            drained.requests.entry(leader).or_default().push(Sent { to, batch });
        }
        if let Some(at) = self.first_expiry() {
            drained.wake_at = Some(drained.wake_at.map_or(at, |earlier| earlier.min(at)));
        }
        drained
    }

    /// Batches begun from now on, up to those that exist, do not linger. Gives the number to wait for on [`done`](Self::done).
    pub(crate) fn hurry(&mut self) -> u64 {
        self.hurry_until = self.next_number;
        self.hurry_until
    }

    pub(crate) fn stats(&self) -> ProducerStats {
        let in_use = self.config.buffer_bytes.saturating_sub(self.room.available_permits());
        let (bytes_buffered, batches_outstanding) = (in_use as u64, self.outstanding.len() as u64);
        ProducerStats { bytes_buffered, batches_outstanding, ..self.stats }
    }

    /// Tells the lowest number that is outstanding.
    pub(crate) fn done(&self) -> watch::Receiver<u64> {
        self.done.subscribe()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.outstanding.is_empty()
    }

    /// The producer id that the broker has given.
    pub(crate) fn on_identity(&mut self, identity: Identity) {
        self.identity = Some(identity);
    }

    /// A transaction begins; nothing of the one before is left.
    pub(crate) fn begin_transaction(&mut self, identity: Identity) {
        if self.transaction.as_ref().is_none_or(|before| before.identity != identity) {
            self.topics.values_mut().flat_map(|topic| &mut topic.partitions).for_each(Partition::renew);
        }
        self.identity = Some(identity);
        self.transaction = Some(InTransaction { identity, added: HashSet::new(), failed: None, has_lost_place: false });
    }

    /// Under which identity partitions are added.
    pub(crate) fn transaction_identity(&self) -> Option<Identity> {
        self.transaction.as_ref().map(|transaction| transaction.identity)
    }

    pub(crate) fn on_added(&mut self, identity: Identity, partitions: Vec<TopicPartition>) {
        if let Some(transaction) = self.transaction.as_mut().filter(|it| it.identity == identity) {
            transaction.added.extend(partitions);
        }
    }

    /// Whether the coordinator knows of any partition.
    pub(crate) fn has_added(&self) -> bool {
        self.transaction.as_ref().is_some_and(|transaction| !transaction.added.is_empty())
    }

    /// Why the transaction cannot be committed, if so.
    pub(crate) fn failed_transaction(&self) -> Option<ProduceError> {
        self.transaction.as_ref()?.failed.clone()
    }

    /// Whether sequence numbers may be missing.
    pub(crate) fn has_lost_place(&self) -> bool {
        self.transaction.as_ref().is_some_and(|transaction| transaction.has_lost_place)
    }

    /// The transaction cannot be committed any more; what came first counts.
    pub(crate) fn fail_transaction(&mut self, error: &ProduceError) {
        if let Some(transaction) = &mut self.transaction {
            transaction.failed.get_or_insert_with(|| error.clone());
        }
    }

    /// Keeps an emptied builder for another batch.
    pub(crate) fn recycle(&mut self, builder: BatchBuilder) {
        if self.spare_builders.len() < SPARE_BUILDERS_MAX {
            self.spare_builders.push(builder);
        }
    }

    /// The broker has the batch.
    pub(crate) fn on_written(&mut self, sent: &Sent, written: Written) {
        if let Some(partition) = partition_of(&mut self.topics, &sent.to) {
            partition.on_written(&sent.batch);
        }
        self.finish(&sent.batch, Ok(written));
    }

    /// The batch has to be sent again, in its place.
    ///
    /// A refusal says nothing about an earlier attempt whose answer was lost, so `MaybeWritten` stays until that is settled.
    pub(crate) fn on_retry(&mut self, mut sent: Sent, known: Known, error: ProduceError, now: Instant) {
        if known == Known::MaybeWritten {
            sent.batch.known = known;
        }
        sent.batch.failures += 1;
        self.stats.retries += 1;
        let wait = self.backoff.wait_after(sent.batch.failures);
        sent.batch.last_error = Some(error);
        let Some(partition) = partition_of(&mut self.topics, &sent.to) else { return };
        partition.on_back(sent.batch.number);
        partition.put_back(sent.batch, now + wait);
        if partition.activate() {
            self.active.push_back(sent.to);
        }
    }

    /// The broker found a gap before the batch. Either earlier batches are still to come, or the broker has lost its memory of
    /// this producer, and the partition goes on under a new identity.
    pub(crate) fn on_out_of_order(&mut self, mut sent: Sent, error: ProduceError, now: Instant) {
        // Had an earlier attempt been written, the broker would have recognised this one.
        sent.batch.known = Known::NotWritten;
        if let Some(partition) = partition_of(&mut self.topics, &sent.to)
            && partition.is_first(sent.batch.number)
        {
            if self.transaction.is_some() {
                return self.on_refused(&sent, error);
            }
            self.forget_identity(&sent);
        }
        self.on_retry(sent, Known::NotWritten, error, now);
    }

    /// The broker does not know this producer id, or an epoch fenced it.
    pub(crate) fn on_identity_refused(&mut self, mut sent: Sent, error: ProduceError, now: Instant) {
        if self.transaction.is_some() {
            return self.on_refused(&sent, error);
        }
        // Whether an earlier attempt was written cannot be learnt any more: as Java's producer, prefer twice to never.
        sent.batch.known = Known::NotWritten;
        self.forget_identity(&sent);
        self.on_retry(sent, Known::NotWritten, error, now);
    }

    /// The broker found the batch too large: its records go again in two, under the same sequence numbers. A single record is
    /// refused for good.
    pub(crate) fn on_too_large(&mut self, sent: &Sent, error: ProduceError, now: Instant) {
        let config = &self.config;
        let Some(Halves { first, second }) = sent.batch.split(|| new_builder(config).ok()) else {
            return self.on_refused(sent, error);
        };
        let Some(partition) = partition_of(&mut self.topics, &sent.to) else { return };
        self.outstanding.remove(&sent.batch.number);
        partition.on_back(sent.batch.number);
        for half in [first, second] {
            self.outstanding.insert(half.number);
            partition.put_back(half, now);
        }
        if partition.activate() {
            self.active.push_back(sent.to.clone());
        }
    }

    /// The batch was refused for good.
    pub(crate) fn on_refused(&mut self, sent: &Sent, error: ProduceError) {
        if let Some(partition) = partition_of(&mut self.topics, &sent.to) {
            partition.on_back(sent.batch.number);
            if partition.leaves_gap(&sent.batch, Known::NotWritten) {
                self.forget_identity(sent);
            }
        }
        self.finish(&sent.batch, Err(error));
    }

    /// Fails all that waits. What is in flight comes back by itself, or is dropped.
    pub(crate) fn abort(&mut self, error: impl Fn(&Batch) -> ProduceError) {
        for to in std::mem::take(&mut self.active) {
            let Some(partition) = partition_of(&mut self.topics, &to) else { continue };
            let waiting = partition.take_all();
            partition.deactivate_if_empty();
            for batch in waiting {
                self.finish(&batch, Err(error(&batch)));
            }
        }
    }

    fn forget_identity(&mut self, sent: &Sent) {
        let Some(stamp) = sent.batch.stamp else { return };
        if let Some(partition) = partition_of(&mut self.topics, &sent.to) {
            partition.on_gap(stamp.identity);
        }
        // Every partition that begins anew does so under an id that no broker has seen.
        if self.identity == Some(stamp.identity) {
            self.identity = None;
        }
    }

    fn expire(&mut self, to: &TopicPartition, now: Instant) {
        let Some(partition) = partition_of(&mut self.topics, to) else { return };
        for batch in partition.take_expired(now) {
            let error = ProduceError::TimedOut {
                partition: to.clone(),
                after: self.config.delivery_timeout,
                written: batch.possibly_written(),
                last: batch.last_error.clone().map(Arc::new),
            };
            let known = batch.known;
            let sent = Sent { to: to.clone(), batch };
            let gap =
                partition_of(&mut self.topics, to).is_some_and(|partition| partition.leaves_gap(&sent.batch, known));
            if gap {
                self.forget_identity(&sent);
            }
            self.finish(&sent.batch, Err(error));
        }
    }

    fn first_expiry(&mut self) -> Option<Instant> {
        let topics = &mut self.topics;
        self.active.iter().filter_map(|to| partition_of(topics, to)?.first_expiry()).min()
    }

    fn finish(&mut self, batch: &Batch, outcome: Result<Written, ProduceError>) {
        if let (Some(transaction), Err(error)) = (&mut self.transaction, &outcome) {
            transaction.failed.get_or_insert_with(|| error.clone());
            transaction.has_lost_place |= batch.stamp.is_some();
        }
        let records = u64::from(batch.count.unsigned_abs());
        match &outcome {
            Ok(_) => {
                self.stats.records_written += records;
                self.stats.batches_written += 1;
            }
            Err(_) => self.stats.records_failed += records,
        }
        self.room.add_permits(batch.reserved_bytes);
        self.outstanding.remove(&batch.number);
        let lowest = self.outstanding.first().map_or(self.next_number, |number| number.batch);
        self.done.send_if_modified(|done| std::mem::replace(done, lowest) != lowest);
        batch.fate.decide(outcome);
    }
}

fn new_builder(config: &ProducerConfig) -> Result<BatchBuilder, ProduceError> {
    let builder = BatchBuilder::new()
        .with_compression(config.compression, None)
        .map_err(|error| ProduceError::Encode { reason: error.to_string().into() })?;
    Ok(if config.transactional.is_some() { builder.transactional() } else { builder })
}

/// A topic's state, made when it is new. Looks before it makes: a record to a known topic clones nothing.
fn topic_of<'a>(topics: &'a mut HashMap<Arc<str>, Topic>, name: &Arc<str>) -> &'a mut Topic {
    if !topics.contains_key(name) {
        topics.insert(Arc::clone(name), Topic::default());
    }
    topics.get_mut(name).expect("inserted above")
}

fn partition_of<'a>(topics: &'a mut HashMap<Arc<str>, Topic>, to: &TopicPartition) -> Option<&'a mut Partition> {
    topics.get_mut(&to.topic)?.partitions.get_mut(usize::try_from(to.partition.0).ok()?)
}
