//! The work by librdkafka, through its blocking Rust handles, which cost least.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use cairn_load::{Latencies, Schedule};
use rdkafka::client::ClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use crate::{Load, PATIENCE, Place, payload};

/// Records between two looks for acknowledgements.
const LOOK_EVERY: u64 = 1_000;
/// What our producer's buffer holds by default.
const BUFFER_KBYTES: &str = "32768";

/// Counts what was acknowledged.
#[derive(Default)]
struct Acknowledged {
    records: AtomicU64,
    failed: AtomicU64,
}

impl ClientContext for Acknowledged {}

impl ProducerContext for Acknowledged {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let counter = if result.is_ok() { &self.records } else { &self.failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

fn producer(place: &Place, load: &Load) -> Result<BaseProducer<Acknowledged>> {
    let is_all = load.acks != "1";
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &place.bootstrap)
        .set("acks", &load.acks)
        // As ours has it by default.
        .set("enable.idempotence", is_all.to_string())
        .set("linger.ms", load.linger_ms.to_string())
        .set("batch.size", load.batch_bytes.to_string())
        // Bytes are to be the bound, as they are of ours.
        .set("batch.num.messages", "1000000")
        .set("queue.buffering.max.messages", "10000000")
        .set("queue.buffering.max.kbytes", BUFFER_KBYTES);
    Ok(config.create_with_context(Acknowledged::default())?)
}

fn send(producer: &BaseProducer<Acknowledged>, topic: &str, value: &[u8]) -> Result<()> {
    let mut record = BaseRecord::<(), [u8]>::to(topic).payload(value);
    loop {
        match producer.send(record) {
            Ok(()) => return Ok(()),
            Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => {
                producer.poll(Duration::from_millis(1));
                record = back;
            }
            Err((error, _)) => bail!(error),
        }
    }
}

/// Takes the callback of every record.
pub(crate) fn produce(place: &Place, load: &Load) -> Result<Option<Latencies>> {
    let pool = payload::pool(load.record_bytes);
    let producer = producer(place, load)?;
    for number in 0..load.records {
        let at = payload::at(number);
        send(&producer, &place.topic, &pool[at..at + load.record_bytes])?;
        if number % LOOK_EVERY == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(PATIENCE)?;
    let (acked, failed) = (&producer.context().records, &producer.context().failed);
    let (acked, failed) = (acked.load(Ordering::Relaxed), failed.load(Ordering::Relaxed));
    ensure!((acked, failed) == (load.records, 0), "{acked} of {} were acknowledged, {failed} failed", load.records);
    Ok(None)
}

fn consumer(place: &Place) -> Result<BaseConsumer> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &place.bootstrap)
        .set("group.id", "clients")
        .set("enable.auto.commit", "false")
        .create()?;
    let mut partitions = TopicPartitionList::new();
    for partition in 0..place.partitions {
        partitions.add_partition_offset(&place.topic, partition, Offset::Beginning)?;
    }
    consumer.assign(&partitions)?;
    Ok(consumer)
}

/// Record by record.
pub(crate) fn consume(place: &Place, load: &Load) -> Result<Option<Latencies>> {
    let consumer = consumer(place)?;
    let mut bytes = 0;
    for _ in 0..load.records {
        let record = consumer.poll(PATIENCE).context("no more records come")??;
        bytes += record.payload().map_or(0, <[u8]>::len);
    }
    std::hint::black_box(bytes);
    Ok(None)
}

/// A thread that sends when it is due, a thread that reads.
pub(crate) fn end_to_end(place: &Place, load: &Load) -> Result<Option<Latencies>> {
    let epoch = Instant::now();
    let consumer = consumer(place)?;
    let wanted = load.records;
    let reading = std::thread::spawn(move || {
        let mut latencies = Latencies::new();
        while latencies.count() < wanted {
            let record = consumer.poll(PATIENCE).context("records that were sent do not come")??;
            let due = payload::due(record.payload().unwrap_or_default(), epoch)?;
            latencies.record(due.elapsed());
        }
        anyhow::Ok(latencies)
    });
    let producer = producer(place, load)?;
    let schedule = Schedule::per_second(Instant::now(), load.rate);
    let mut value = payload::pool(load.record_bytes);
    value.truncate(load.record_bytes);
    for number in 0..load.records {
        let due = schedule.due(number);
        sleep(due.saturating_duration_since(Instant::now()));
        payload::stamp(&mut value, epoch, due);
        send(&producer, &place.topic, &value)?;
        if number % LOOK_EVERY == 0 {
            producer.poll(Duration::ZERO);
        }
    }
    producer.flush(PATIENCE)?;
    let latencies = reading.join().map_err(|_| anyhow::anyhow!("the reader ended"))??;
    Ok(Some(latencies))
}
