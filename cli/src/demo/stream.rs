//! The demo's two clients: one writes at a steady rate, one reads and commits.
//!
//! Must not know: processes, what is shown.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use cairn_client::{Client, Consumer, Delivery, OffsetReset, Producer, ProducerRecord, StartAt};
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use super::accounts::Accounts;

/// Records per second.
pub(crate) const RATE: u64 = 1_000;
const TICK: Duration = Duration::from_millis(10);
/// How often the reader commits.
pub(crate) const COMMIT_EVERY: Duration = Duration::from_millis(500);
/// A record that the broker has not acknowledged by then is given up.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(20);
/// What makes records look like something.
const PADDING: &str = "................................................................................";

/// The accounts, shared by writer, reader and the one who shows them.
pub(crate) type Shared = Arc<Mutex<Accounts>>;

/// The writing half.
pub(crate) struct Writer {
    stop: watch::Sender<bool>,
    sending: JoinHandle<Result<()>>,
    settling: JoinHandle<()>,
    producer: Producer,
    acked_at: watch::Receiver<Option<Instant>>,
}

impl Writer {
    /// Begins to write to `topic`.
    pub(crate) fn start(client: &Client, topic: &str, accounts: &Shared) -> Result<Self> {
        let producer =
            client.producer().delivery_timeout(DELIVERY_TIMEOUT).build().context("cannot make a producer")?;
        let (stop, stopped) = watch::channel(false);
        // Bounded by the producer's own buffer.
        let (deliveries, to_settle) = mpsc::unbounded_channel();
        let (acked, acked_at) = watch::channel(None);
        let topic: Arc<str> = topic.into();
        let sending = tokio::spawn(send(producer.clone(), topic, Arc::clone(accounts), deliveries, stopped));
        let settling = tokio::spawn(settle(to_settle, Arc::clone(accounts), acked));
        Ok(Self { stop, sending, settling, producer, acked_at })
    }

    /// Waits until something is acknowledged after `moment`.
    pub(crate) async fn ack_after(&self, moment: Instant) -> Option<Instant> {
        let mut acked = self.acked_at.clone();
        let ack = acked.wait_for(|ack| ack.is_some_and(|ack| ack > moment)).await.ok()?;
        *ack
    }

    /// Writes no more, and waits until every record is acknowledged or given up.
    pub(crate) async fn finish(self) -> Result<()> {
        let _ = self.stop.send(true);
        self.sending.await.context("the writer failed")??;
        // What cannot be delivered fails by its own deadline, so the bound is never met in earnest.
        let _ = self.producer.close(DELIVERY_TIMEOUT * 2).await;
        self.settling.await.context("the writer failed")
    }
}

async fn send(
    producer: Producer,
    topic: Arc<str>,
    accounts: Shared,
    deliveries: mpsc::UnboundedSender<(u64, Delivery)>,
    stopped: watch::Receiver<bool>,
) -> Result<()> {
    let begun = Instant::now();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sent = 0;
    while !*stopped.borrow() {
        ticks.tick().await;
        let due = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX) * RATE / 1_000;
        while sent < due {
            let number = accounts.lock().next_number();
            let record = ProducerRecord::to(Arc::clone(&topic)).key(format!("key-{}", number % 97));
            let delivery = producer.send(record.value(format!("{number} {PADDING}"))).await;
            let _ = deliveries.send((number, delivery.context("cannot write")?));
            sent += 1;
        }
    }
    Ok(())
}

async fn settle(
    mut deliveries: mpsc::UnboundedReceiver<(u64, Delivery)>,
    accounts: Shared,
    acked_at: watch::Sender<Option<Instant>>,
) {
    while let Some((number, delivery)) = deliveries.recv().await {
        match delivery.await {
            Ok(written) => {
                accounts.lock().on_acked(number, written.offset.map(|offset| (written.partition, offset)));
                acked_at.send_replace(Some(Instant::now()));
            }
            Err(error) => {
                tracing::warn!(number, %error, "not acknowledged");
                accounts.lock().on_failed();
            }
        }
    }
}

/// The reading half.
pub(crate) struct Reader {
    reading: JoinHandle<Result<()>>,
    consumer: Consumer,
}

impl Reader {
    /// Begins to read where the group has got to.
    pub(crate) async fn start(client: &Client, topic: &str, accounts: &Shared) -> Result<Self> {
        let consumer = client.consumer().group("demo").offset_reset(OffsetReset::Earliest);
        // Answers soon: the demo is to be seen moving.
        let consumer = consumer.fetch_max_wait(Duration::from_millis(100)).build().context("cannot make a consumer")?;
        consumer.assign_topic(topic, StartAt::Committed).await.context("cannot read the topic")?;
        let reading = tokio::spawn(read(consumer.clone(), Arc::clone(accounts)));
        Ok(Self { reading, consumer })
    }

    /// The sum of what the group has committed.
    pub(crate) async fn committed(&self) -> Result<i64> {
        let committed =
            self.consumer.committed(&self.consumer.assigned()).await.context("cannot ask what is committed")?;
        Ok(committed.values().map(|committed| committed.offset.0).sum())
    }

    /// Ends it without a word, as a crash would: what it read since the last commit will be read again.
    pub(crate) fn crash(self) {
        self.reading.abort();
    }

    /// Waits until everything that is in the topic now was read. Gives `false` when that did not happen in time.
    pub(crate) async fn catch_up(&self, timeout: Duration) -> Result<bool> {
        let partitions = self.consumer.assigned();
        let ends = self.consumer.end_offsets(&partitions).await.context("cannot find the end of the topic")?;
        let is_there =
            || ends.iter().all(|(partition, end)| self.consumer.position(partition).is_some_and(|at| at >= *end));
        let waiting = async {
            let mut ticks = tokio::time::interval(TICK);
            while !is_there() {
                ticks.tick().await;
            }
        };
        Ok(tokio::time::timeout(timeout, waiting).await.is_ok())
    }

    /// Commits and ends.
    pub(crate) async fn finish(self) -> Result<()> {
        self.reading.abort();
        // Whether it was aborted or had failed before, its end is awaited.
        match self.reading.await {
            Ok(outcome) => outcome?,
            Err(error) if error.is_cancelled() => {}
            Err(error) => return Err(anyhow::Error::new(error).context("the reader failed")),
        }
        self.consumer.commit().await.context("cannot commit")
    }
}

async fn read(consumer: Consumer, accounts: Shared) -> Result<()> {
    let mut commits = tokio::time::interval_at(Instant::now() + COMMIT_EVERY, COMMIT_EVERY);
    commits.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            record = consumer.recv() => {
                let record = record.context("cannot read")?;
                let value = record.value.as_deref().unwrap_or_default();
                let number = value.split(|byte| *byte == b' ').next().and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
                let number = number.context("a record is not as it was written")?;
                accounts.lock().on_read(number, (record.partition, record.offset));
            }
            _ = commits.tick() => {
                if let Err(error) = consumer.commit().await {
                    tracing::debug!(%error, "not committed");
                }
            }
        }
    }
}
