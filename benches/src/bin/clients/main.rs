//! What does a record cost in our client, and in librdkafka, on the same broker: records a second, processor time of the client, and
//! how long it takes from when it is due until it is read?
//!
//! One process is one measurement, so that its processor time is its own: `benches/compare/clients` runs both clients in turn,
//! on both brokers. Prints one line of `name=value`.
//!
//! Must not know: which broker it meets.

mod ours;
mod payload;
mod theirs;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use cairn_load::{Latencies, processor_time};
use clap::{Parser, Subcommand, ValueEnum};

#[derive(Parser)]
#[command(about = "Our client or librdkafka, for benches/compare/clients")]
struct Arguments {
    /// HOST:PORT of the broker.
    #[arg(long)]
    bootstrap: String,
    /// The topic.
    #[arg(long, default_value = "clients")]
    topic: String,
    /// Its partitions.
    #[arg(long, default_value_t = 6)]
    partitions: i32,
    #[command(subcommand)]
    work: Work,
}

#[derive(Subcommand)]
enum Work {
    /// Makes the topic anew.
    Make,
    /// Writes records and awaits their acknowledgements.
    Produce(Load),
    /// Reads so many records from the beginning.
    Consume(Load),
    /// Writes at a rate, and reads.
    EndToEnd(Load),
}

/// Which client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Which {
    /// Ours; a consumer gives record by record, as librdkafka's does.
    Ours,
    /// Ours; a consumer gives batch by batch.
    OursBatches,
    /// librdkafka.
    Librdkafka,
}

#[derive(clap::Args, Clone, Debug)]
struct Load {
    /// Which client.
    #[arg(long)]
    client: Which,
    /// Records.
    #[arg(long, default_value_t = 1_000_000)]
    records: u64,
    /// Bytes of a record's value.
    #[arg(long, default_value_t = 100)]
    record_bytes: usize,
    /// 1 or all.
    #[arg(long, default_value = "all")]
    acks: String,
    /// Milliseconds that a batch lingers.
    #[arg(long, default_value_t = 5)]
    linger_ms: u64,
    /// When a batch is full.
    #[arg(long, default_value_t = 131_072)]
    batch_bytes: usize,
    /// Records a second, for end-to-end.
    #[arg(long, default_value_t = 10_000)]
    rate: u64,
}

/// What both clients are given.
struct Place {
    bootstrap: String,
    topic: String,
    partitions: i32,
}

fn main() -> Result<()> {
    let Arguments { bootstrap, topic, partitions, work } = Arguments::parse();
    let place = Place { bootstrap, topic, partitions };
    match work {
        Work::Make => ours::make(&place),
        Work::Produce(load) => {
            let ours = load.client != Which::Librdkafka;
            measured(load.records, || if ours { ours::produce(&place, &load) } else { theirs::produce(&place, &load) })
        }
        Work::Consume(load) => measured(load.records, || match load.client {
            Which::Ours => ours::consume(&place, &load),
            Which::OursBatches => ours::consume_batches(&place, &load),
            Which::Librdkafka => theirs::consume(&place, &load),
        }),
        Work::EndToEnd(load) => {
            let ours = load.client != Which::Librdkafka;
            measured(load.records, || {
                if ours { ours::end_to_end(&place, &load) } else { theirs::end_to_end(&place, &load) }
            })
        }
    }
}

/// Runs it, and tells what it took.
fn measured(records: u64, work: impl FnOnce() -> Result<Option<Latencies>>) -> Result<()> {
    let (began, cpu) = (Instant::now(), processor_time());
    let latencies = work()?;
    let (took, cpu) = (began.elapsed().as_secs_f64(), (processor_time() - cpu).as_secs_f64());
    let Ok(count) = u32::try_from(records) else { bail!("too many records for one measurement") };
    let count = f64::from(count);
    print!(
        "records={records} seconds={took:.3} per_second={:.0} cpu_s_per_million={:.3}",
        count / took,
        cpu * 1e6 / count
    );
    if let Some(latencies) = latencies {
        let at = |quantile| latencies.at(quantile).as_micros();
        print!(" p50_us={} p99_us={}", at(0.5), at(0.99));
    }
    println!();
    Ok(())
}

/// How long anything may take that is not measured.
const PATIENCE: Duration = Duration::from_secs(60);
