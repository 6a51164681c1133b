//! Two members of a group, of which one is killed every few seconds: every record is processed at least once, and nobody begins below what
//! was committed.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use cairn_client::{
    Client, CommittedOffset, Consumer, GroupProtocol, NewTopic, Offset, OffsetReset, ProducerRecord, RebalanceKind,
};
use cairn_tests::broker::{Broker, Kind};
use cairn_tests::dice::Dice;
use cairn_tests::parameters::parameter;
use tokio::runtime::Runtime;

use super::{NEVER, must_be_gone, runtime};

const TOPIC: &str = "shared";
const GROUP: &str = "members";
const PARTITIONS: i32 = 4;
const PACE: Duration = Duration::from_millis(2);
/// How long a member is let live, in milliseconds.
const LIFE_MS: std::ops::Range<u64> = 1_000..4_000;
/// So soon the coordinator takes one for dead that says nothing.
const SETTINGS: [&str; 6] = [
    "group.min.session.timeout.ms=1000",
    "group.consumer.min.session.timeout.ms=1000",
    "group.consumer.session.timeout.ms=2000",
    "group.consumer.min.heartbeat.interval.ms=200",
    "group.consumer.heartbeat.interval.ms=500",
    "auto.create.topics.enable=false",
];

/// By which protocol they are members.
#[derive(Debug, Clone, Copy)]
pub(super) enum Protocol {
    Classic,
    Consumer,
}

/// What all members together have done.
#[derive(Debug, Default)]
struct Work {
    processed: HashSet<(i32, i64)>,
    repeated: u64,
    /// Acknowledged commits.
    committed: BTreeMap<i32, i64>,
    commits: u64,
    wrong: Vec<String>,
}

type Shared = Arc<Mutex<Work>>;

fn with<T>(work: &Shared, change: impl FnOnce(&mut Work) -> T) -> T {
    change(&mut work.lock().unwrap_or_else(PoisonError::into_inner))
}

pub(super) fn judge(protocol: Protocol) -> anyhow::Result<String> {
    let seconds = parameter("CAIRN_CLIENT_SECONDS", 20)?;
    let mut dice = Dice::from_environment("client members");
    let broker = Broker::start(Kind::from_environment()?, &SETTINGS)?;
    let bootstrap = broker.bootstrap();
    let main = runtime()?;
    let client = Client::new(&bootstrap)?;
    main.block_on(client.admin().create_topic(&NewTopic::new(TOPIC).partitions(PARTITIONS)))?;
    let stop = Arc::new(AtomicBool::new(false));
    let producing = main.spawn(produce(client.clone(), Arc::clone(&stop)));

    let work = Shared::default();
    let stays = start(&bootstrap, protocol, &work)?;
    let mut kills = 0;
    let until = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < until {
        let dies = start(&bootstrap, protocol, &work)?;
        // The length of a life is the experiment, not a wait for something.
        thread::sleep(Duration::from_millis(dice.among(LIFE_MS)));
        // As with kill -9: its sockets close, and nobody says goodbye.
        dies.shutdown_background();
        kills += 1;
    }
    stop.store(true, Ordering::SeqCst);
    let written = main.block_on(producing)??;
    let all = || with(&work, |work| !work.wrong.is_empty() || written.iter().all(|at| work.processed.contains(at)));
    let done = Instant::now() + NEVER;
    while !all() {
        ensure!(
            Instant::now() < done,
            "{} of {} were processed",
            with(&work, |work| work.processed.len()),
            written.len()
        );
        thread::sleep(Duration::from_millis(20));
    }
    stays.shutdown_background();
    drop(client);
    must_be_gone(&main, || 0)?;
    with(&work, |work| {
        ensure!(work.wrong.is_empty(), "{}", work.wrong.join("; "));
        ensure!(work.commits > 0, "nobody has committed anything");
        Ok(format!("kills={kills} written={} repeated={} commits={}", written.len(), work.repeated, work.commits))
    })
}

/// Writes records until `stop`; gives where they are.
async fn produce(client: Client, stop: Arc<AtomicBool>) -> anyhow::Result<Vec<(i32, i64)>> {
    let producer = client.producer().build()?;
    let mut deliveries = Vec::new();
    let mut due = tokio::time::interval(PACE);
    for number in 0.. {
        due.tick().await;
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let record = ProducerRecord::to(TOPIC).partition(number % PARTITIONS).value(number.to_string());
        deliveries.push(producer.send(record).await?);
    }
    let mut written = Vec::new();
    for delivery in deliveries {
        let at = delivery.await?;
        written.push((at.partition.0, at.offset.context("acks=all")?.0));
    }
    producer.close(NEVER).await?;
    Ok(written)
}

/// A member, in a runtime of its own.
fn start(bootstrap: &str, protocol: Protocol, work: &Shared) -> anyhow::Result<Runtime> {
    let runtime = runtime()?;
    let client = Client::new(bootstrap)?;
    let builder = client.consumer().group(GROUP).offset_reset(OffsetReset::Earliest);
    let builder = match protocol {
        Protocol::Classic => {
            let builder = builder.group_protocol(GroupProtocol::Classic).session_timeout(Duration::from_secs(2));
            builder.heartbeat_interval(Duration::from_millis(500))
        }
        Protocol::Consumer => builder.group_protocol(GroupProtocol::Consumer),
    };
    let work = Arc::clone(work);
    let entered = runtime.enter();
    let consumer = builder.build()?;
    consumer.subscribe([TOPIC])?;
    drop(entered);
    runtime.spawn(async move {
        if let Err(error) = process(&consumer, &work).await {
            with(&work, |work| work.wrong.push(format!("{error:#}")));
        }
    });
    Ok(runtime)
}

/// Processes record after record, and commits now and then.
async fn process(consumer: &Consumer, work: &Shared) -> anyhow::Result<()> {
    let mut rebalances = consumer.rebalances();
    // The least that may come first, in partitions of which nothing has come yet.
    let mut floors: BTreeMap<i32, i64> = BTreeMap::new();
    loop {
        tokio::select! {
            biased;
            Some(rebalance) = rebalances.next() => {
                for at in rebalance.partitions() {
                    floors.remove(&at.partition.0);
                    if rebalance.kind() == RebalanceKind::Assigned {
                        let floor = with(work, |work| work.committed.get(&at.partition.0).copied().unwrap_or(0));
                        floors.insert(at.partition.0, floor);
                    }
                }
            }
            record = consumer.recv() => {
                let record = record?;
                let (partition, offset) = (record.partition.0, record.offset.0);
                if let Some(floor) = floors.remove(&partition) {
                    ensure!(offset >= floor, "partition {partition} goes on at {offset}, and {floor} was committed");
                }
                with(work, |work| work.repeated += u64::from(!work.processed.insert((partition, offset))));
                if offset % 20 == 0 {
                    let at = cairn_client::TopicPartition::new(TOPIC, partition);
                    let offsets = [(at, CommittedOffset::from(Offset(offset + 1)))].into();
                    if consumer.commit_offsets(&offsets).await.is_ok() {
                        with(work, |work| {
                            work.committed.insert(partition, offset + 1);
                            work.commits += 1;
                        });
                    }
                }
            }
        }
    }
}
