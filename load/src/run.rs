//! One load from its topic's making to its deletion.
//!
//! Must not know: how results are shown.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use cairn_client::{
    AdminError, Client, ConfigError, Consumer, NewTopic, Offset, OffsetReset, OffsetsError, StartAt, TopicPartition,
};
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::control::Control;
use crate::outcome::{Lane, Outcome};
use crate::plan::{Plan, PlanError, Rate, Workload};
use crate::processor::processor_time;
use crate::reader::{ReadError, Reading};
use crate::sender::{Limit, Sending, Sent, Values};

/// A record that is not acknowledged by then has failed.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a consumer's fetch waits for records.
const FETCH_WAIT: Duration = Duration::from_millis(100);

/// Why there is no outcome.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the texts say it")]
pub enum LoadError {
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("cannot make topic {topic}: {source}")]
    Create { topic: Arc<str>, source: AdminError },
    #[error("cannot delete topic {topic}, which is left behind: {source}")]
    Delete { topic: Arc<str>, source: AdminError },
    #[error("cannot write: {reason}")]
    Write { reason: String },
    #[error("cannot read: {0}")]
    Read(#[from] ReadError),
    #[error("cannot ask for the ends of partitions: {0}")]
    Offsets(#[from] OffsetsError),
    #[error("a task of the load ended: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Does what the plan says, on a topic of its own that is gone afterwards. The client should not create topics by asking for
/// them, or it makes those of earlier runs anew.
///
/// Not cancel-safe: a dropped call leaves the topic. [`Control::stop`] ends it early and well.
///
/// # Errors
/// When the load could not be brought. Records that were not acknowledged are told in the outcome.
pub async fn run(client: &Client, plan: &Plan, control: &Arc<Control>) -> Result<Outcome, LoadError> {
    plan.check()?;
    let topic = unique_name();
    let wanted = NewTopic::new(&topic).partitions(plan.partitions).replication_factor(plan.replication_factor);
    let admin = client.admin();
    if let Err(source) = admin.create_topic(&wanted).await {
        return Err(LoadError::Create { topic, source });
    }
    let outcome = on_topic(client, plan, control, &topic).await;
    let deleted = admin.delete_topic(&topic).await;
    let outcome = outcome?;
    match deleted {
        Ok(()) => Ok(outcome),
        Err(source) => Err(LoadError::Delete { topic, source }),
    }
}

/// A name that no other load has.
fn unique_name() -> Arc<str> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("cairn-bench-{}-{}", std::process::id(), now.as_nanos()).into()
}

async fn on_topic(
    client: &Client,
    plan: &Plan,
    control: &Arc<Control>,
    topic: &Arc<str>,
) -> Result<Outcome, LoadError> {
    let producer = client
        .producer()
        .acks(plan.acks)
        .compression(plan.compression)
        .batch_bytes(plan.batch_bytes)
        .linger(plan.linger)
        .delivery_timeout(DELIVERY_TIMEOUT.max(plan.linger * 2))
        .build()?;
    let sending = Sending {
        producer: producer.clone(),
        topic: Arc::clone(topic),
        partitions: plan.partitions,
        rate: plan.rate,
        turn_bytes: plan.batch_bytes,
        control: Arc::clone(control),
    };
    let load = Load { client, plan, control, sending };
    let outcome = match plan.workload {
        Workload::Consume => load.consume().await,
        Workload::Produce | Workload::EndToEnd | Workload::Mixed => load.warm_and_produce().await,
    };
    // All was delivered or has failed: there is nothing to wait for, and nothing more to tell.
    let _ = producer.close(DELIVERY_TIMEOUT).await;
    outcome
}

struct Load<'a> {
    client: &'a Client,
    plan: &'a Plan,
    control: &'a Arc<Control>,
    sending: Sending,
}

impl Load<'_> {
    async fn warm_and_produce(&self) -> Result<Outcome, LoadError> {
        let mut starts = self.partitions().map(|partition| (partition, Offset(0))).collect();
        if !self.plan.warm_up.is_zero() {
            let warm = self.produce(self.plan.warm_up, starts).await?;
            if let Some(reason) = warm.first_error {
                return Err(LoadError::Write { reason });
            }
            starts = self.ends().await?;
        }
        self.produce(self.plan.seconds, starts).await
    }

    /// Writes for such a time; reads along from these offsets where the workload says so.
    async fn produce(&self, length: Duration, starts: HashMap<TopicPartition, Offset>) -> Result<Outcome, LoadError> {
        let (epoch, cpu) = (Instant::now(), processor_time());
        let (tell, acked) = watch::channel(None);
        let reading = if self.plan.workload.is_read_along() {
            let reading = self.reading(epoch, &starts)?;
            let lane = Arc::clone(&reading.lane);
            Some((lane, tokio::spawn(async move { reading.along(epoch, acked).await })))
        } else {
            None
        };
        let lane = Arc::new(Mutex::new(Lane::new(epoch)));
        let values = Values::new(self.plan.record_bytes, reading.is_some().then_some(epoch));
        let begin = Instant::now();
        let sent = self.sending.run(begin, Limit::Time(length), values, &lane).await;
        let acked = take(&lane, epoch);
        let _ = tell.send(Some(acked.records()));
        let read = match reading {
            Some((lane, task)) => {
                task.await??;
                Some(take(&lane, epoch).report())
            }
            None => None,
        };
        let Sent { sent, failed, first_error } = sent;
        Ok(Outcome {
            sent,
            failed,
            first_error,
            acked: Some(acked.report()),
            read,
            backlog_records: 0,
            cpu_seconds: (processor_time() - cpu).as_secs_f64(),
            stopped: self.control.is_stopped(),
        })
    }

    async fn consume(&self) -> Result<Outcome, LoadError> {
        let lane = Arc::new(Mutex::new(Lane::new(Instant::now())));
        let values = Values::new(self.plan.record_bytes, None);
        let filling = Sending { rate: Rate::Max, ..self.sending.clone() };
        let limit = Limit::Records(self.plan.backlog_records());
        let filled = filling.run(Instant::now(), limit, values, &lane).await;
        if let Some(reason) = filled.first_error {
            return Err(LoadError::Write { reason });
        }
        let ends = self.ends().await?;
        let starts = self.partitions().map(|partition| (partition, Offset(0))).collect();
        if !self.plan.warm_up.is_zero() {
            let now = Instant::now();
            self.reading(now, &starts)?.again_and_again(&ends, now + self.plan.warm_up).await?;
        }
        let (begin, cpu) = (Instant::now(), processor_time());
        let reading = self.reading(begin, &starts)?;
        reading.again_and_again(&ends, begin + self.plan.seconds).await?;
        let cpu_seconds = (processor_time() - cpu).as_secs_f64();
        Ok(Outcome {
            sent: 0,
            failed: 0,
            first_error: None,
            acked: None,
            read: Some(take(&reading.lane, begin).report()),
            backlog_records: filled.sent,
            cpu_seconds,
            stopped: self.control.is_stopped(),
        })
    }

    fn partitions(&self) -> impl Iterator<Item = TopicPartition> {
        (0..self.plan.partitions).map(|index| TopicPartition::new(Arc::clone(&self.sending.topic), index))
    }

    fn consumer(&self) -> Result<Consumer, ConfigError> {
        self.client.consumer().offset_reset(OffsetReset::Earliest).fetch_max_wait(FETCH_WAIT).build()
    }

    async fn ends(&self) -> Result<HashMap<TopicPartition, Offset>, LoadError> {
        Ok(self.consumer()?.end_offsets(&self.partitions().collect::<Vec<_>>()).await?)
    }

    fn reading(&self, begin: Instant, starts: &HashMap<TopicPartition, Offset>) -> Result<Reading, ConfigError> {
        let consumer = self.consumer()?;
        consumer.assign(starts.iter().map(|(partition, offset)| (partition.clone(), StartAt::Offset(*offset))));
        let lane = Arc::new(Mutex::new(Lane::new(begin)));
        Ok(Reading { consumer, lane, control: Arc::clone(self.control) })
    }
}

/// What was counted, as nobody counts any more.
fn take(lane: &Mutex<Lane>, begin: Instant) -> Lane {
    std::mem::replace(&mut *lane.lock(), Lane::new(begin))
}
