//! The flags of `cairn bench`.
//!
//! Must not know: how load is made.

use std::path::PathBuf;

use cairn_load::Rate;
use clap::{Args, ValueEnum, ValueHint};

use super::{AcksArg, CompressionArg};

/// Which way records go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WorkloadArg {
    /// Write records; latencies are those of acknowledgements
    Produce,
    /// Write a backlog, then read it again and again
    Consume,
    /// Write records at a rate and read them at once; latencies end when a record is read
    EndToEnd,
    /// The same, as fast as it goes
    Mixed,
}

/// `cairn bench`
#[derive(Debug, Args)]
#[command(after_help = "\
Every run makes a topic of its own and deletes it. With --rate N records are due at fixed times, whatever the broker does, and latencies
count from those times. With --rate max a record is due when there is room for it, so that latencies tell how long the queue is.
With --compare runs take turns (A B A B), and the last lines tell the median of the pairs' ratios. SIGINT ends the run; what was
measured is told.

Examples:
  cairn bench produce --seconds 10
  cairn bench produce --record-size 100 --partitions 6 --batch-size 8196 --acks 1       (Kreps' rows)
  cairn bench produce --record-size 1024 --partitions 16 --rate 50000 --replication-factor 3
  cairn bench end-to-end --rate 1000 --linger-ms 0
  cairn bench mixed --bootstrap localhost:9092 --compare localhost:9192 --html report.html")]
pub(crate) struct BenchArgs {
    /// What is measured
    pub(crate) workload: WorkloadArg,
    /// Any broker of the cluster; several are separated by commas
    #[arg(long, value_name = "HOST:PORT", env = "CAIRN_BOOTSTRAP", default_value = "localhost:9092")]
    pub(crate) bootstrap: String,
    /// Another cluster to compare with
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) compare: Option<String>,
    /// How many times [default: 1, with --compare 3 pairs]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) runs: Option<u32>,
    /// Seconds that count
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) seconds: u64,
    /// Seconds of the same load before that
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(0..=86_400))]
    pub(crate) warm_up_seconds: u64,
    /// Bytes of a record's value
    #[arg(long, value_name = "BYTES", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=900_000))]
    pub(crate) record_size: u32,
    /// Partitions of the topic
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    pub(crate) partitions: i32,
    /// On how many brokers each partition is kept
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(i16).range(1..))]
    pub(crate) replication_factor: i16,
    /// When the producer's batch is full (batch.size)
    #[arg(long, value_name = "BYTES", default_value_t = 131_072, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) batch_size: u32,
    /// How long a batch that is not full waits for more records (linger.ms)
    #[arg(long, value_name = "MS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=60_000))]
    pub(crate) linger_ms: u32,
    /// Who must have a record before it counts as written
    #[arg(long, value_name = "A", default_value = "all")]
    pub(crate) acks: AcksArg,
    /// How batches are compressed
    #[arg(long, value_name = "C", default_value = "none")]
    pub(crate) compression: CompressionArg,
    /// Records a second, or max [default: max, for end-to-end 1000]
    #[arg(long, value_name = "N|max")]
    pub(crate) rate: Option<Rate>,
    /// Millions of bytes of the backlog that consume reads
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=4_000_000))]
    pub(crate) backlog_mb: u32,
    /// Write all results there
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) json: Option<PathBuf>,
    /// Write a report with plots there
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) html: Option<PathBuf>,
}
