//! Faults between a client and its broker: nothing that was acknowledged is lost, nothing is there twice, the order is kept, every deadline
//! holds, and nothing is left behind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use cairn_client::{
    Client, CommittedOffset, Compression, ConsumeError, Consumer, NewTopic, Offset, PossiblyWritten, Producer,
    ProducerRecord, StartAt, TopicPartition,
};
use cairn_tests::broker::{Broker, Kind};
use cairn_tests::dice::Dice;
use cairn_tests::history::{Event, History, Seen, Value};
use cairn_tests::parameters::parameter;
use cairn_tests::proxy::{Proxy, Weather};
use cairn_tests::report::say;
use cairn_tests::streams::now_ns;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::{NEVER, must_be_gone, runtime};

const TOPIC: &str = "faults";
const PARTITIONS: i32 = 4;
/// What producers promise, and how long one answer may take.
const DELIVERY: Duration = Duration::from_secs(5);
const ANSWER: Duration = Duration::from_millis(1_500);
/// How long a fault lasts, and the time between two, in milliseconds: both sides of what one answer may take.
const FAULT_MS: std::ops::Range<u64> = 100..4_000;
const PEACE_MS: std::ops::Range<u64> = 100..1_500;
/// Between two records of a producer.
const PACE: Duration = Duration::from_millis(2);
/// A reader is replaced by another one after so many records.
const LIFE_RECORDS: usize = 1_500;

/// Events of all who take part.
type Tell = mpsc::UnboundedSender<Event>;

pub(super) fn judge() -> anyhow::Result<String> {
    let seconds = parameter("CAIRN_CLIENT_SECONDS", 20)?;
    let mut dice = Dice::from_environment("client faults");
    let proxy = Proxy::start(Dice::new(dice.roll()))?;
    let broker = Broker::start_behind(Kind::from_environment()?, &["auto.create.topics.enable=false"], &proxy)?;
    let runtime = runtime()?;
    let client = Client::builder(&proxy.address().to_string())
        .connect_timeout(ANSWER)
        .request_timeout(ANSWER)
        .retry_backoff(Duration::from_millis(5), Duration::from_millis(200))
        .build()?;
    runtime.block_on(client.admin().create_topic(&NewTopic::new(TOPIC).partitions(PARTITIONS)))?;

    let (tell, mut told) = mpsc::unbounded_channel();
    let stop = Arc::new(AtomicBool::new(false));
    let producers = [(0, Compression::None), (1, Compression::Lz4)];
    let producing: Vec<_> = producers
        .map(|(id, compression)| {
            runtime.spawn(produce(client.clone(), id, compression, Arc::clone(&stop), tell.clone()))
        })
        .into();
    let plain = runtime.spawn(read(client.clone(), 10, Arc::clone(&stop), tell.clone()));
    let committing = runtime.spawn(read_and_commit(client.clone(), 11, Arc::clone(&stop), tell.clone()));

    let faults = go_on(&proxy, &mut dice, Duration::from_secs(seconds));
    let healed_ns = now_ns();
    // A last while in peace: everybody has to get through again.
    thread::sleep(DELIVERY);
    stop.store(true, Ordering::SeqCst);
    runtime.block_on(async {
        for producer in producing {
            producer.await?.context("a producer")?;
        }
        plain.await?.context("a reader")?;
        committing.await?.context("a reader that commits")?;
        read_all(&client, 12, &tell).await.context("the last reader")
    })?;
    drop((client, tell));
    must_be_gone(&runtime, || proxy.open())?;
    drop(broker);

    let mut history = History::default();
    history.add(std::iter::from_fn(|| told.try_recv().ok()));
    let late: Vec<u32> =
        producers.iter().map(|(id, _)| *id).filter(|id| !history.acked_since(*id, healed_ns)).collect();
    ensure!(late.is_empty(), "producers {late:?} got no acknowledgement after the last fault");
    let history = history.in_order();
    history.must_hold("client faults")?;
    let faults: Vec<String> = faults.iter().map(|(fault, times)| format!("{fault}={times}")).collect();
    Ok(format!("{} {}", history.totals(), faults.join(" ")))
}

/// One fault after the other. Tells how often each was there.
fn go_on(proxy: &Proxy, dice: &mut Dice, during: Duration) -> BTreeMap<&'static str, u32> {
    let mut times = BTreeMap::new();
    let until = Instant::now() + during;
    // The length of a fault is the experiment, not a wait for something.
    let last = |dice: &mut Dice, range| thread::sleep(Duration::from_millis(dice.among(range)));
    while Instant::now() < until {
        let (name, weather) = match dice.among(0..7) {
            0 => ("late", Some(Weather::Late(Duration::from_millis(dice.among(5..400))))),
            1 => ("slow", Some(Weather::Slow(usize::try_from(dice.among(1..400)).unwrap_or(1)))),
            2 => ("silent", Some(Weather::Silent)),
            3 => ("half_open", Some(Weather::HalfOpen)),
            4 => ("refused", Some(Weather::Refused)),
            5 => ("cut", None),
            _ => ("garbage", None),
        };
        *times.entry(name).or_default() += 1;
        match (name, weather) {
            (_, Some(weather)) => {
                proxy.set(weather);
                if name == "refused" {
                    proxy.cut();
                }
                last(dice, FAULT_MS);
                proxy.set(Weather::Fair);
            }
            ("cut", None) => proxy.cut(),
            (_, None) => proxy.garble(),
        }
        last(dice, PEACE_MS);
    }
    times
}

/// Writes records until `stop`, and tells what became of each.
async fn produce(
    client: Client,
    id: u32,
    compression: Compression,
    stop: Arc<AtomicBool>,
    tell: Tell,
) -> anyhow::Result<()> {
    let producer = client.producer().compression(compression).delivery_timeout(DELIVERY).max_block(DELIVERY).build()?;
    let mut deliveries = JoinSet::new();
    let mut due = tokio::time::interval(PACE);
    for number in 0.. {
        due.tick().await;
        if stop.load(Ordering::SeqCst) {
            break;
        }
        deliver(&producer, Value { producer: id, number }, &mut deliveries, &tell).await?;
        while let Some(ended) = deliveries.try_join_next() {
            ended??;
        }
    }
    producer.flush(NEVER).await.context("everything is delivered, or has failed")?;
    while let Some(ended) = deliveries.join_next().await {
        ended??;
    }
    producer.close(NEVER).await.context("nothing has to be given up")
}

async fn deliver(
    producer: &Producer,
    value: Value,
    deliveries: &mut JoinSet<anyhow::Result<()>>,
    tell: &Tell,
) -> anyhow::Result<()> {
    let partition = i32::try_from(value.number % 4)?;
    let event = move |seen| Event { at: now_ns(), process: value.producer, partition, seen };
    let record = ProducerRecord::to(TOPIC).partition(partition).value(value.text());
    tell.send(event(Seen::Sent(value)))?;
    // What is not taken in time, and what is not delivered in time, hangs.
    let sent = tokio::time::timeout(DELIVERY + NEVER, producer.send(record)).await.context("a send hangs")?;
    let delivery = match sent {
        Ok(delivery) => delivery,
        Err(_) => return Ok(tell.send(event(Seen::Failed(value)))?),
    };
    let tell = tell.clone();
    deliveries.spawn(async move {
        let ended = tokio::time::timeout(DELIVERY + NEVER, delivery).await.context("a delivery hangs")?;
        match ended {
            Ok(written) => tell.send(event(Seen::Acked(value, written.offset.map(|offset| offset.0))))?,
            Err(error) if error.possibly_written() == PossiblyWritten::No => tell.send(event(Seen::Failed(value)))?,
            Err(_) => {}
        }
        Ok(())
    });
    Ok(())
}

fn partition(index: i32) -> TopicPartition {
    TopicPartition::new(TOPIC, index)
}

fn all_from(at: StartAt) -> impl Iterator<Item = (TopicPartition, StartAt)> {
    (0..PARTITIONS).map(move |index| (partition(index), at))
}

/// The next record, whatever happens meanwhile: where a partition stands still it is sought anew at `next`.
async fn record(
    consumer: &Consumer,
    process: u32,
    next: &mut BTreeMap<i32, i64>,
    tell: &Tell,
) -> anyhow::Result<Option<TopicPartition>> {
    // Who waits looks now and then whether it shall go on.
    let Ok(received) = tokio::time::timeout(Duration::from_millis(100), consumer.recv()).await else { return Ok(None) };
    match received {
        Ok(record) => {
            let value = record.value.as_deref().and_then(|bytes| Value::from_text(std::str::from_utf8(bytes).ok()?));
            next.insert(record.partition.0, record.offset.0 + 1);
            let seen = Seen::Read(record.offset.0, value);
            tell.send(Event { at: now_ns(), process, partition: record.partition.0, seen })?;
            Ok(Some(partition(record.partition.0)))
        }
        Err(ConsumeError::Membership { error, .. }) => anyhow::bail!("{error}"),
        Err(error) => {
            let stands = error.partition().context("it is about a partition")?;
            let at =
                next.get(&stands.partition.0).map_or(StartAt::Beginning, |offset| StartAt::Offset(Offset(*offset)));
            ensure!(consumer.seek(stands, at), "{error}, and it is not assigned");
            Ok(None)
        }
    }
}

/// Reads until `stop`, from the beginning.
async fn read(client: Client, process: u32, stop: Arc<AtomicBool>, tell: Tell) -> anyhow::Result<()> {
    let consumer = client.consumer().build()?;
    consumer.assign(all_from(StartAt::Beginning));
    let mut next = BTreeMap::new();
    while !stop.load(Ordering::SeqCst) {
        record(&consumer, process, &mut next, &tell).await?;
    }
    consumer.close().await;
    Ok(())
}

/// Reads until `stop` and commits. Every now and then it is dropped, and another one goes on where that one has committed.
async fn read_and_commit(client: Client, process: u32, stop: Arc<AtomicBool>, tell: Tell) -> anyhow::Result<()> {
    let everywhere: Vec<TopicPartition> = (0..PARTITIONS).map(partition).collect();
    while !stop.load(Ordering::SeqCst) {
        let consumer = client.consumer().group("faults").build()?;
        let Ok(committed) = consumer.committed(&everywhere).await else { continue };
        let from = |at: &TopicPartition| committed.get(at).map_or(0, |committed| committed.offset.0);
        for at in &everywhere {
            let seen = Seen::Resumed(from(at));
            tell.send(Event { at: now_ns(), process, partition: at.partition.0, seen })?;
        }
        let mut next: BTreeMap<i32, i64> = everywhere.iter().map(|at| (at.partition.0, from(at))).collect();
        consumer.assign(next.iter().map(|(index, from)| (partition(*index), StartAt::Offset(Offset(*from)))));
        let mut count = 0;
        while count < LIFE_RECORDS && !stop.load(Ordering::SeqCst) {
            let Some(of) = record(&consumer, process, &mut next, &tell).await? else { continue };
            count += 1;
            if count % 50 == 0 {
                commit(&consumer, process, &of, next[&of.partition.0], &tell).await?;
            }
        }
    }
    Ok(())
}

async fn commit(
    consumer: &Consumer,
    process: u32,
    at: &TopicPartition,
    offset: i64,
    tell: &Tell,
) -> anyhow::Result<()> {
    let offsets = [(at.clone(), CommittedOffset::from(Offset(offset)))].into();
    if consumer.commit_offsets(&offsets).await.is_ok() {
        tell.send(Event { at: now_ns(), process, partition: at.partition.0, seen: Seen::Committed(offset) })?;
    }
    Ok(())
}

/// Reads all that is there.
async fn read_all(client: &Client, process: u32, tell: &Tell) -> anyhow::Result<()> {
    let consumer = client.consumer().build()?;
    let everywhere: Vec<TopicPartition> = (0..PARTITIONS).map(partition).collect();
    let ends = consumer.end_offsets(&everywhere).await?;
    consumer.assign(all_from(StartAt::Beginning));
    let mut next = BTreeMap::new();
    let reading = async {
        while ends.iter().any(|(at, end)| next.get(&at.partition.0).copied().unwrap_or(0) < end.0) {
            record(&consumer, process, &mut next, tell).await?;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(NEVER, reading).await.context("it does not get to the end")??;
    say(&format!("client faults: {} records", next.values().sum::<i64>()));
    consumer.close().await;
    Ok(())
}
