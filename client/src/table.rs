//! A table on a compacted topic: the newest value of each key, kept in memory, written through the log, and restored from a checkpoint
//! on disk plus what the log has after it.
//!
//! Must not know: groups, how records are fetched or batched.

mod builder;
mod checkpoint;
mod error;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_protocol::ids::{Offset, TopicId};
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

pub use self::builder::TableBuilder;
use self::checkpoint::Checkpoint;
pub use self::error::TableError;
use crate::consumer::{ConsumeError, Consumer, RecordBatches};
use crate::producer::{Producer, ProducerRecord};

/// How long what was written may take to be delivered when a table closes.
const CLOSE_WITHIN: Duration = Duration::from_secs(30);

/// A table: `get` reads what is in memory, `put` and `remove` write to the log and return once the table has it. Others may write to the
/// same topic, also without a table; what they write shows as it is read. Cloning is cheap.
///
/// ```no_run
/// # async fn example(client: cairn_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let table = client.table("accounts").checkpoint("/var/lib/app/accounts.table").open().await?;
/// println!("{:?}", table.restored()); // so many keys of the checkpoint, so many records of the log after it
/// table.put("alice", "100").await?;
/// assert_eq!(table.get("alice").as_deref(), Some(&b"100"[..]));
/// table.close().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Table {
    shared: Arc<Shared>,
    producer: Producer,
    /// Ends the task that reads.
    _alive: Arc<DropGuard>,
}

/// What a table was made of when it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Keys that were in the checkpoint; 0 when there was none that could be used.
    pub from_checkpoint: usize,
    /// Records of the log that were read after it.
    pub replayed: u64,
}

#[derive(Debug)]
struct Shared {
    topic: Arc<str>,
    topic_id: TopicId,
    path: Option<PathBuf>,
    state: RwLock<State>,
    seen: watch::Sender<Seen>,
    restored: Restored,
    /// One checkpoint at a time.
    writing: tokio::sync::Mutex<()>,
}

/// The rows, and up to where in each partition they are true.
#[derive(Debug)]
struct State {
    rows: HashMap<Bytes, Bytes>,
    next: Vec<Offset>,
}

/// How far the log was read, for those who wait.
#[derive(Debug)]
struct Seen {
    next: Vec<Offset>,
    replayed: u64,
    failed: Option<ConsumeError>,
}

impl Table {
    /// The value of a key, as far as the log was read.
    #[must_use]
    pub fn get(&self, key: impl AsRef<[u8]>) -> Option<Bytes> {
        self.shared.state.read().rows.get(key.as_ref()).cloned()
    }

    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.state.read().rows.len()
    }

    /// Whether there is no key.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All rows as they are now, in no order. They are shared, not copied.
    #[must_use]
    pub fn rows(&self) -> Vec<(Bytes, Bytes)> {
        self.shared.state.read().rows.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// What it was made of when it was opened.
    #[must_use]
    pub fn restored(&self) -> Restored {
        self.shared.restored
    }

    /// Sets a key, durably: returns once the log has it and [`get`](Self::get) shows it.
    ///
    /// Not cancel-safe: when dropped, the key may be set or not.
    ///
    /// # Errors
    /// When it could not be written, or the log cannot be read any more.
    pub async fn put(&self, key: impl Into<Bytes>, value: impl Into<Bytes>) -> Result<(), TableError> {
        self.write(ProducerRecord::to(Arc::clone(&self.shared.topic)).key(key).value(value)).await
    }

    /// Removes a key: a tombstone in the log.
    ///
    /// Not cancel-safe: when dropped, the key may be removed or not.
    ///
    /// # Errors
    /// When it could not be written, or the log cannot be read any more.
    pub async fn remove(&self, key: impl Into<Bytes>) -> Result<(), TableError> {
        self.write(ProducerRecord::to(Arc::clone(&self.shared.topic)).key(key)).await
    }

    async fn write(&self, record: ProducerRecord) -> Result<(), TableError> {
        let written = self.producer.send(record).await?.await?;
        let index = usize::try_from(written.partition.0).unwrap_or(usize::MAX);
        let Some(offset) = written.offset else { return Ok(()) };
        self.until(|next| next.get(index).is_none_or(|next| *next > offset)).await?;
        if index >= self.shared.state.read().next.len() {
            return Err(TableError::Grown { topic: Arc::clone(&self.shared.topic) });
        }
        Ok(())
    }

    /// Waits until the log was read so far.
    async fn until(&self, is_so: impl Fn(&[Offset]) -> bool) -> Result<(), TableError> {
        let mut seen = self.shared.seen.subscribe();
        // The sender lives as long as this does.
        let Ok(seen) = seen.wait_for(|seen| seen.failed.is_some() || is_so(&seen.next)).await else { return Ok(()) };
        seen.failed.clone().map_or(Ok(()), |error| Err(TableError::Consume(error)))
    }

    /// Writes what the table is now to disk: as a whole or not at all, whenever the process dies. Does nothing when the table was opened
    /// without a checkpoint.
    ///
    /// Cancel-safe: when dropped, there is the new checkpoint or the one before.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn checkpoint(&self) -> Result<(), TableError> {
        self.shared.checkpoint().await
    }

    /// Delivers what was written, and leaves a checkpoint.
    ///
    /// Not cancel-safe: when dropped, there may be no new checkpoint. Nothing of what was put is lost either way.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub async fn close(self) -> Result<(), TableError> {
        if self.producer.close(CLOSE_WITHIN).await.is_err() {
            // Each `put` that it was told so has failed with its own reason.
            tracing::warn!(topic = %self.shared.topic, "not all was delivered before the table closed");
        }
        self.shared.checkpoint().await
    }
}

impl Shared {
    async fn checkpoint(&self) -> Result<(), TableError> {
        let Some(path) = self.path.clone() else { return Ok(()) };
        let _writing = self.writing.lock().await;
        let taken = {
            let state = self.state.read();
            let rows = state.rows.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
            Checkpoint { topic_id: self.topic_id, taken_ms: checkpoint::now_ms(), next: state.next.clone(), rows }
        };
        let written = tokio::task::spawn_blocking({
            let path = path.clone();
            move || checkpoint::write(&path, &taken)
        });
        let written = written.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        written.map_err(|error| TableError::Checkpoint { path, error })
    }

    fn apply(&self, batches: &RecordBatches) -> Result<(), ConsumeError> {
        let index = usize::try_from(batches.partition().partition.0).unwrap_or(usize::MAX);
        let mut count = 0;
        {
            let mut state = self.state.write();
            batches.for_each(|record| {
                count += 1;
                let Some(key) = record.key else { return };
                match record.value {
                    // Copies: a slice would keep the whole batch in memory.
                    Some(value) => state.rows.insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)),
                    None => state.rows.remove(key),
                };
            })?;
            if let Some(next) = state.next.get_mut(index) {
                *next = batches.end_offset();
            }
        }
        self.seen.send_modify(|seen| {
            seen.replayed += count;
            if let Some(next) = seen.next.get_mut(index) {
                *next = batches.end_offset();
            }
        });
        Ok(())
    }
}

/// Reads the log until nobody holds the table, and leaves a checkpoint every so often.
async fn read(shared: Arc<Shared>, consumer: Consumer, every: Duration, closed: CancellationToken) {
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        // Both are cancel-safe.
        let applied = tokio::select! {
            () = closed.cancelled() => return,
            _ = ticks.tick() => {
                if let Err(error) = shared.checkpoint().await {
                    tracing::warn!(%error, "no checkpoint of the table");
                }
                continue;
            }
            batches = consumer.recv_batches() => batches.and_then(|batches| shared.apply(&batches)),
        };
        if let Err(error) = applied {
            tracing::warn!(topic = %shared.topic, %error, "the table does not go on");
            return shared.seen.send_modify(|seen| seen.failed = Some(error));
        }
    }
}
