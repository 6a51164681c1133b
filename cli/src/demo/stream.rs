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
pub(crate) const RATE: usize = 1_000;
const TICK: Duration = Duration::from_millis(10);
/// How often the reader commits.
pub(crate) const COMMIT_EVERY: Duration = Duration::from_millis(500);
/// A record that the broker has not acknowledged by then is given up.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(40);
/// What makes records look like something.
const PADDING: &str = "................................................................................";

/// The accounts, shared by writer, reader and the one who shows them.
pub(crate) type Shared = Arc<Mutex<Accounts>>;

/// The writing half.
pub(crate) struct Writer {
    stop: watch::Sender<bool>,
    sending: JoinHandle<Result<()>>,
    settling: Vec<JoinHandle<()>>,
    producer: Producer,
}

type ToSettle = mpsc::UnboundedSender<(u64, Delivery)>;

impl Writer {
    /// Begins to write to this many partitions of `topic`, one after the other.
    pub(crate) fn start(client: &Client, topic: &str, partitions: i32, accounts: &Shared) -> Result<Self> {
        let producer =
            client.producer().delivery_timeout(DELIVERY_TIMEOUT).build().context("cannot make a producer")?;
        let (stop, stopped) = watch::channel(false);
        // One for each partition, which acknowledges in order: one that waits for a leader holds up no other's account.
        let (deliveries, settling) = (0..partitions)
            .map(|_| {
                // Bounded by the producer's own buffer.
                let (deliveries, to_settle) = mpsc::unbounded_channel();
                (deliveries, tokio::spawn(settle(to_settle, Arc::clone(accounts))))
            })
            .unzip();
        let sending = tokio::spawn(send(producer.clone(), topic.into(), Arc::clone(accounts), deliveries, stopped));
        Ok(Self { stop, sending, settling, producer })
    }

    /// Writes no more, and waits until every record is acknowledged or given up.
    pub(crate) async fn finish(self) -> Result<()> {
        let _ = self.stop.send(true);
        self.sending.await.context("the writer failed")??;
        // What cannot be delivered fails by its own deadline, so the bound is never met in earnest.
        let _ = self.producer.close(DELIVERY_TIMEOUT * 2).await;
        for settling in self.settling {
            settling.await.context("the writer failed")?;
        }
        Ok(())
    }
}

async fn send(
    producer: Producer,
    topic: Arc<str>,
    accounts: Shared,
    deliveries: Vec<ToSettle>,
    stopped: watch::Receiver<bool>,
) -> Result<()> {
    let begun = Instant::now();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sent = 0_usize;
    while !*stopped.borrow() {
        ticks.tick().await;
        let due = usize::try_from(begun.elapsed().as_millis()).unwrap_or(usize::MAX) * RATE / 1_000;
        for (partition, to_settle) in
            (0..).zip(&deliveries).cycle().skip(sent % deliveries.len()).take(due.saturating_sub(sent))
        {
            let number = accounts.lock().next_number();
            let record = ProducerRecord::to(Arc::clone(&topic)).partition(partition);
            let record = record.key(format!("key-{}", number % 97)).value(format!("{number} {PADDING}"));
            let delivery = producer.send(record).await;
            let _ = to_settle.send((number, delivery.context("cannot write")?));
        }
        sent = sent.max(due);
    }
    Ok(())
}

async fn settle(mut deliveries: mpsc::UnboundedReceiver<(u64, Delivery)>, accounts: Shared) {
    while let Some((number, delivery)) = deliveries.recv().await {
        match delivery.await {
            Ok(written) => {
                let place = written.offset.map(|offset| (written.partition, offset));
                accounts.lock().on_acked(number, place, Instant::now());
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

    /// Commits and ends. Gives the sum of what the group has committed.
    pub(crate) async fn finish(self) -> Result<i64> {
        self.reading.abort();
        // Whether it was aborted or had failed before, its end is awaited.
        match self.reading.await {
            Ok(outcome) => outcome?,
            Err(error) if error.is_cancelled() => {}
            Err(error) => return Err(anyhow::Error::new(error).context("the reader failed")),
        }
        self.consumer.commit().await.context("cannot commit")?;
        let committed = self.consumer.committed(&self.consumer.assigned()).await;
        let committed = committed.context("cannot ask what is committed")?;
        Ok(committed.values().map(|committed| committed.offset.0).sum())
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
