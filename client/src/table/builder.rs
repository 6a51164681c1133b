//! Opens a table: its settings, which checkpoint can be used, and the log up to its end.
//!
//! Must not know: how a table is written to.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cairn_protocol::ids::Offset;
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::checkpoint::{self, Checkpoint};
use super::{Restored, Seen, Shared, State, Table, TableError, read};
use crate::Client;
use crate::cluster::{TopicInfo, Unknown};
use crate::consumer::{Consumer, IsolationLevel, OffsetReset, StartAt};
use crate::topic_partition::TopicPartition;

/// Opens a [`Table`].
#[derive(Clone, Debug)]
#[must_use]
pub struct TableBuilder {
    client: Client,
    topic: Arc<str>,
    path: Option<PathBuf>,
    every: Duration,
    max_age: Duration,
}

impl TableBuilder {
    pub(crate) fn new(client: Client, topic: Arc<str>) -> Self {
        Self { client, topic, path: None, every: Duration::from_secs(30), max_age: Duration::from_secs(12 * 3600) }
    }

    /// The file that keeps the table between two runs. One process writes it. Default none: everything is read from the log.
    pub fn checkpoint(mut self, path: impl Into<PathBuf>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// How often a checkpoint is left. Default 30 s.
    pub fn checkpoint_every(mut self, every: Duration) -> Self {
        self.every = every.max(Duration::from_millis(1));
        self
    }

    /// How old a checkpoint may be to be used. It must be less than the topic's `delete.retention.ms` (a day by default), after which
    /// nothing in the log tells of a key that was removed. Default 12 hours.
    pub fn checkpoint_max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }

    /// Opens the table: returns once it has all that the log had when it was called. The topic has to be there, and should have
    /// `cleanup.policy=compact`.
    ///
    /// Cancel-safe: a dropped call leaves nothing behind.
    ///
    /// # Errors
    /// When the topic is not there, or cannot be read.
    pub async fn open(self) -> Result<Table, TableError> {
        let info = self.client.metadata().topic(&self.topic, Unknown::Refuse).await?;
        let partition = |index| TopicPartition::new(Arc::clone(&self.topic), index);
        let partitions: Vec<TopicPartition> = (0..info.count()).map(partition).collect();
        let consumer = self.client.consumer().offset_reset(OffsetReset::Fail);
        let consumer = consumer.isolation_level(IsolationLevel::ReadCommitted).build()?;
        let begins = in_order(&partitions, &consumer.beginning_offsets(&partitions).await?);
        let ends = in_order(&partitions, &consumer.end_offsets(&partitions).await?);
        let kept = self.kept(&info, &begins, &ends).await;
        let from_checkpoint = kept.as_ref().map_or(0, |kept| kept.rows.len());
        let (next, rows) = kept.map_or_else(|| (begins, Vec::new()), |kept| (kept.next, kept.rows));
        let seen = Seen { next: next.clone(), replayed: 0, failed: None };
        let starts = partitions.into_iter().zip(&next).map(|(partition, at)| (partition, StartAt::Offset(*at)));
        consumer.assign(starts);
        let mut shared = Shared {
            topic: Arc::clone(&self.topic),
            topic_id: info.id,
            path: self.path,
            state: RwLock::new(State { rows: rows.into_iter().collect(), next }),
            seen: watch::Sender::new(seen),
            restored: Restored { from_checkpoint, replayed: 0 },
            writing: tokio::sync::Mutex::default(),
        };
        catch_up(&shared, &consumer, &ends).await?;
        shared.restored.replayed = shared.seen.borrow().replayed;
        let producer = self.client.producer().build()?;
        let (shared, closed) = (Arc::new(shared), CancellationToken::new());
        tokio::spawn(read(Arc::clone(&shared), consumer, self.every, closed.clone()));
        Ok(Table { shared, producer, _alive: Arc::new(closed.drop_guard()) })
    }

    /// The checkpoint, if it is of this topic, is not too old, and the log has all that came after it.
    async fn kept(&self, info: &TopicInfo, begins: &[Offset], ends: &[Offset]) -> Option<Checkpoint> {
        let path = self.path.clone()?;
        let reading = tokio::task::spawn_blocking(move || checkpoint::read(&path)).await;
        let kept = match reading.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(kept) => kept?,
            Err(error) => {
                tracing::warn!(topic = %self.topic, %error, "the checkpoint cannot be read: the log is read instead");
                return None;
            }
        };
        let age = u64::try_from(checkpoint::now_ms() - kept.taken_ms).map_or(Duration::ZERO, Duration::from_millis);
        let is_in_log = kept.next.len() == ends.len()
            && kept.next.iter().zip(begins.iter().zip(ends)).all(|(next, (begin, end))| begin <= next && next <= end);
        let can_be_used = kept.topic_id == info.id && age <= self.max_age && is_in_log;
        if !can_be_used {
            tracing::info!(topic = %self.topic, ?age, "the checkpoint is of another log, or too old: the log is read instead");
        }
        can_be_used.then_some(kept)
    }
}

/// The offsets, by partition. Every partition was asked about.
fn in_order(partitions: &[TopicPartition], of: &std::collections::HashMap<TopicPartition, Offset>) -> Vec<Offset> {
    partitions.iter().map(|partition| of.get(partition).copied().unwrap_or(Offset(0))).collect()
}

async fn catch_up(shared: &Shared, consumer: &Consumer, ends: &[Offset]) -> Result<(), TableError> {
    while shared.seen.borrow().next.iter().zip(ends).any(|(next, end)| next < end) {
        shared.apply(&consumer.recv_batches().await?)?;
    }
    Ok(())
}
