//! The load of the comparisons that no tool of Apache Kafka has: many partitions, many members, many connections. It speaks to
//! both brokers in the same bytes, and prints one line of `name=value` for each thing that was measured.
//!
//! Must not know: which broker it meets.

mod connections;
mod group;
mod partitions;
mod wire;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Many partitions, members or connections, for benches/compare/run")]
struct Arguments {
    /// HOST:PORT of the broker.
    #[arg(long)]
    bootstrap: String,
    #[command(subcommand)]
    load: Load,
}

#[derive(Subcommand)]
enum Load {
    /// Connections that each produce one small record at each interval.
    Connections(connections::Connections),
    /// A group of so many members that rebalances again and again.
    Group(group::Group),
    /// Makes topics, and waits until all of their partitions are served.
    Create(partitions::Create),
    /// Waits until all partitions of those topics are served.
    Served(partitions::Served),
}

#[tokio::main]
async fn main() -> Result<()> {
    let Arguments { bootstrap, load } = Arguments::parse();
    match load {
        Load::Connections(load) => connections::run(&bootstrap, &load).await,
        Load::Group(load) => group::run(&bootstrap, &load).await,
        Load::Create(load) => partitions::create(&bootstrap, &load).await,
        Load::Served(load) => partitions::served(&bootstrap, &load).await,
    }
}
