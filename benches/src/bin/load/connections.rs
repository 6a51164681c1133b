//! Many connections that each produce one small record at each interval, as producers with linger 0 in many processes do.
//!
//! A latency counts from when the record was due, so that a broker that answers late is not spared the records behind.
//!
//! Must not know: which broker it meets.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use cairn_load::{Latencies, Schedule};
use cairn_protocol::ids::Timestamp;
use cairn_protocol::messages::ProduceRequest;
use cairn_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use cairn_protocol::records::{BatchBuilder, NewRecord};
use clap::Args;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::partitions;
use crate::wire::{Prepared, Wire};

/// A version that both brokers have, with topics by name.
const PRODUCE_VERSION: i16 = 12;
/// Connections that are being made at a time.
const CONNECTING: usize = 50;

/// What is to be sent.
#[derive(Args, Debug)]
pub(crate) struct Connections {
    /// Connections.
    #[arg(long, default_value_t = 1_000)]
    connections: u32,
    /// Milliseconds between two records of one connection.
    #[arg(long, default_value_t = 100)]
    interval_ms: u32,
    /// Bytes of a record's value.
    #[arg(long, default_value_t = 100)]
    record_bytes: usize,
    /// The topic, which is made when it is missing.
    #[arg(long, default_value = "connections")]
    topic: String,
    /// Its partitions.
    #[arg(long, default_value_t = 12)]
    partitions: i32,
    /// Seconds before anything counts.
    #[arg(long, default_value_t = 10)]
    warm_up_seconds: u64,
    /// Seconds that count.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
}

/// Says `measuring` and `measured` where the time that counts begins and ends, then the result.
pub(crate) async fn run(bootstrap: &str, load: &Connections) -> Result<()> {
    partitions::make(bootstrap, &load.topic, load.partitions).await?;
    let interval = Duration::from_millis(load.interval_ms.into());
    let mut wires = Vec::new();
    while wires.len() < usize::try_from(load.connections)? {
        let wanted = CONNECTING.min(usize::try_from(load.connections)? - wires.len());
        let mut connecting = JoinSet::new();
        for _ in 0..wanted {
            let bootstrap = bootstrap.to_owned();
            connecting.spawn(async move { Wire::connect(&bootstrap).await });
        }
        for wire in connecting.join_all().await {
            wires.push(wire?);
        }
    }
    let begin = Instant::now() + interval;
    let counts_from = begin + Duration::from_secs(load.warm_up_seconds);
    let end = counts_from + Duration::from_secs(load.seconds);
    let mut producers = JoinSet::new();
    for (number, wire) in (0_u32..).zip(wires) {
        let partition = i32::try_from(number)? % load.partitions;
        let request = Prepared::new(PRODUCE_VERSION, &produce(load, partition)?)?;
        let schedule = Schedule::every((begin + interval * number / load.connections).into_std(), interval);
        producers.spawn(async move { produce_all(wire, &request, Window { schedule, counts_from, end }).await });
    }
    sleep_until(counts_from).await;
    println!("measuring");
    sleep_until(end).await;
    println!("measured");
    report(producers.join_all().await.into_iter().collect::<Result<Vec<_>>>()?, load.seconds);
    Ok(())
}

/// When a producer sends.
#[derive(Clone, Copy)]
struct Window {
    schedule: Schedule,
    counts_from: Instant,
    end: Instant,
}

/// The latency of every record that counts.
async fn produce_all(mut wire: Wire, request: &Prepared<ProduceRequest>, window: Window) -> Result<Vec<Duration>> {
    let mut latencies = Vec::new();
    for number in 0.. {
        let due = Instant::from_std(window.schedule.due(number));
        if due >= window.end {
            break;
        }
        sleep_until(due).await;
        let answer = wire.call_prepared(request).await?;
        let error = answer.responses.first().and_then(|topic| topic.partition_responses.first()).map(|p| p.error_code);
        ensure!(error == Some(0), "a record was refused: {error:?}");
        if due >= window.counts_from {
            latencies.push(due.elapsed());
        }
    }
    Ok(latencies)
}

fn produce(load: &Connections, partition: i32) -> Result<ProduceRequest> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_millis();
    let mut batch = BatchBuilder::new();
    let value = vec![b'x'; load.record_bytes];
    let record = NewRecord { timestamp: Timestamp(i64::try_from(now)?), value: Some(&value), ..NewRecord::default() };
    batch.append(&record).context("a record that fits no batch")?;
    Ok(ProduceRequest {
        acks: -1,
        timeout_ms: 30_000,
        topic_data: vec![TopicProduceData {
            name: load.topic.as_str().into(),
            partition_data: vec![PartitionProduceData { index: partition, records: Some(batch.finish(None)?) }],
            ..TopicProduceData::default()
        }],
        ..ProduceRequest::default()
    })
}

fn report(latencies: Vec<Vec<Duration>>, seconds: u64) {
    let mut all = Latencies::new();
    for latency in latencies.into_iter().flatten() {
        all.record(latency);
    }
    let at = |quantile| all.at(quantile).as_micros();
    println!(
        "records={} per_second={} p50_us={} p99_us={} p999_us={} max_us={}",
        all.count(),
        all.count() / seconds.max(1),
        at(0.5),
        at(0.99),
        at(0.999),
        all.max().as_micros()
    );
}
