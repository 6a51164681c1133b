//! The work by our client.

use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use cairn_client::{Acks, Client, Consumer, Delivery, NewTopic, OffsetReset, Producer, ProducerRecord, StartAt};
use cairn_load::{Latencies, Schedule};
use tokio::runtime::{Builder, Runtime};

use crate::{Load, PATIENCE, Place, payload};

/// Deliveries that are not awaited yet, twice at most.
const UNSETTLED: usize = 10_000;

fn runtime() -> Result<Runtime> {
    // librdkafka has a thread of its own, too, beside the application's.
    Ok(Builder::new_multi_thread().worker_threads(1).enable_all().build()?)
}

/// Makes the topic anew.
pub(crate) fn make(place: &Place) -> Result<()> {
    runtime()?.block_on(async {
        let admin = Client::new(&place.bootstrap)?.admin();
        if admin.list_topics().await?.iter().any(|topic| *topic.name == *place.topic) {
            admin.delete_topic(&place.topic).await?;
        }
        Ok(admin.create_topic(&NewTopic::new(&place.topic).partitions(place.partitions)).await?)
    })
}

fn producer(client: &Client, load: &Load) -> Result<Producer> {
    let acks = if load.acks == "1" { Acks::Leader } else { Acks::All };
    let linger = Duration::from_millis(load.linger_ms);
    Ok(client.producer().acks(acks).linger(linger).batch_bytes(load.batch_bytes).build()?)
}

async fn settle(deliveries: &mut Vec<Delivery>) -> Result<()> {
    for delivery in deliveries.drain(..) {
        delivery.await?;
    }
    Ok(())
}

/// Awaits every delivery, so that nothing is cheaper than with librdkafka's callbacks.
pub(crate) fn produce(place: &Place, load: &Load) -> Result<Option<Latencies>> {
    let pool = Bytes::from(payload::pool(load.record_bytes));
    runtime()?.block_on(async {
        let producer = producer(&Client::new(&place.bootstrap)?, load)?;
        let topic: Arc<str> = place.topic.as_str().into();
        let (mut current, mut before) = (Vec::with_capacity(UNSETTLED), Vec::with_capacity(UNSETTLED));
        for number in 0..load.records {
            let at = payload::at(number);
            let value = pool.slice(at..at + load.record_bytes);
            current.push(producer.send(ProducerRecord::to(Arc::clone(&topic)).value(value)).await?);
            if current.len() == UNSETTLED {
                settle(&mut before).await?;
                std::mem::swap(&mut current, &mut before);
            }
        }
        settle(&mut before).await?;
        settle(&mut current).await?;
        producer.close(PATIENCE).await?;
        Ok(None)
    })
}

async fn consumer(place: &Place, client: &Client) -> Result<Consumer> {
    let consumer = client.consumer().offset_reset(OffsetReset::Earliest).build()?;
    consumer.assign_topic(place.topic.as_str(), StartAt::Beginning).await?;
    Ok(consumer)
}

/// Record by record.
pub(crate) fn consume(place: &Place, load: &Load) -> Result<Option<Latencies>> {
    runtime()?.block_on(async {
        let consumer = consumer(place, &Client::new(&place.bootstrap)?).await?;
        let mut bytes = 0;
        for _ in 0..load.records {
            bytes += consumer.recv().await?.value.map_or(0, |value| value.len());
        }
        std::hint::black_box(bytes);
        Ok(None)
    })
}

/// Batch by batch.
pub(crate) fn consume_batches(place: &Place, load: &Load) -> Result<Option<Latencies>> {
    runtime()?.block_on(async {
        let consumer = consumer(place, &Client::new(&place.bootstrap)?).await?;
        let (mut records, mut bytes) = (0, 0);
        while records < load.records {
            let batches = consumer.recv_batches().await?;
            batches.for_each(|record| {
                records += 1;
                bytes += record.value.map_or(0, <[u8]>::len);
            })?;
        }
        std::hint::black_box(bytes);
        Ok(None)
    })
}

/// A thread that sends when it is due, a task that reads.
pub(crate) fn end_to_end(place: &Place, load: &Load) -> Result<Option<Latencies>> {
    let runtime = runtime()?;
    let client = Client::new(&place.bootstrap)?;
    let epoch = Instant::now();
    let consumer = runtime.block_on(consumer(place, &client))?;
    let wanted = load.records;
    let reading = runtime.spawn(async move {
        let mut latencies = Latencies::new();
        while latencies.count() < wanted {
            let record = consumer.recv().await?;
            let due = payload::due(record.value.as_deref().unwrap_or_default(), epoch)?;
            latencies.record(due.elapsed());
        }
        anyhow::Ok(latencies)
    });
    let producer = runtime.block_on(async { producer(&client, load) })?;
    let topic: Arc<str> = place.topic.as_str().into();
    let schedule = Schedule::per_second(Instant::now(), load.rate);
    let template = payload::pool(load.record_bytes);
    for number in 0..load.records {
        let due = schedule.due(number);
        sleep(due.saturating_duration_since(Instant::now()));
        let mut value = template[..load.record_bytes].to_vec();
        payload::stamp(&mut value, epoch, due);
        // Reading it is what counts.
        drop(runtime.block_on(producer.send(ProducerRecord::to(Arc::clone(&topic)).value(value)))?);
    }
    let latencies = runtime.block_on(async {
        let read = tokio::time::timeout(PATIENCE, reading).await.context("records that were sent do not come")?;
        producer.close(PATIENCE).await?;
        read?
    })?;
    Ok(Some(latencies))
}
