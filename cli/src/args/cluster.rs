//! The flags of `cairn cluster`.
//!
//! Must not know: what a cluster is asked.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Bootstrap;

/// `cairn cluster ...`
#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Print the secret that a broker on another machine needs to join
    #[command(after_help = "\
Examples:
  cairn cluster secret --data /var/lib/cairn > join-secret
  cairn broker --join first:9092 --join-secret-file join-secret --data /var/lib/cairn --listen second:9092")]
    Secret(ClusterSecretArgs),
    /// Show the brokers, and what is wrong with partitions
    Status(ClusterStatusArgs),
    /// A line for each broker: what it leads and keeps
    Brokers(ClusterBrokersArgs),
    /// Fail when a partition has less than it should, and say what to do
    #[command(after_help = "\
Examples:
  cairn cluster check || mail -s 'cluster' ops < /dev/null")]
    Check(ClusterCheckArgs),
    /// Move partitions to other brokers
    #[command(after_help = "\
Examples:
  cairn cluster reassign --topic orders --partition 0 --replicas 2,3,1
  cairn cluster reassign --topic orders --replicas 1,2,3 --dry-run
  cairn cluster reassign --list
  cairn cluster reassign --topic orders --cancel")]
    Reassign(ClusterReassignArgs),
    /// Move everything away from a broker, evenly over the others
    #[command(after_help = "\
Examples:
  cairn cluster drain --broker 3 --dry-run
  cairn cluster drain --broker 3")]
    Drain(ClusterDrainArgs),
    /// Remove a broker that is gone for good; its data is not taken again
    #[command(after_help = "\
Examples:
  cairn cluster drain --broker 3 && cairn cluster remove --broker 3
  cairn cluster remove --broker 3 --keep-replicas   # and then start another one with --join and --node-id 3")]
    Remove(ClusterRemoveArgs),
    /// Even out replicas and leaders over the brokers
    #[command(after_help = "\
Examples:
  cairn cluster rebalance --dry-run
  cairn cluster rebalance")]
    Rebalance(ClusterRebalanceArgs),
}

/// `cairn cluster secret`
#[derive(Debug, Args)]
pub(crate) struct ClusterSecretArgs {
    /// The data of a broker of the cluster, on this machine; of several folders the one with the metadata
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
}

/// `cairn cluster status`
#[derive(Debug, Args)]
pub(crate) struct ClusterStatusArgs {
    /// All that is told, as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) cluster: Bootstrap,
}

/// `cairn cluster brokers`
#[derive(Debug, Args)]
pub(crate) struct ClusterBrokersArgs {
    /// One JSON object a line and broker
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) cluster: Bootstrap,
}

/// `cairn cluster check`
#[derive(Debug, Args)]
pub(crate) struct ClusterCheckArgs {
    #[command(flatten)]
    pub(crate) cluster: Bootstrap,
}

/// How a plan is carried out.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Execution {
    /// Print what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not wait until all has moved
    #[arg(long, conflicts_with = "dry_run")]
    pub(crate) no_wait: bool,
}

/// `cairn cluster reassign`
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["replicas", "list", "cancel"]))]
pub(crate) struct ClusterReassignArgs {
    /// The topic
    #[arg(long, value_name = "T", required_unless_present = "list", conflicts_with = "list")]
    pub(crate) topic: Option<String>,
    /// Only this partition [default: all of the topic]
    #[arg(long, value_name = "P", requires = "topic", value_parser = clap::value_parser!(i32).range(0..))]
    pub(crate) partition: Option<i32>,
    /// The brokers that shall keep it, the preferred leader first
    #[arg(long, value_name = "N,N..", value_delimiter = ',', value_parser = clap::value_parser!(i32).range(0..))]
    pub(crate) replicas: Vec<i32>,
    /// Show the moves that are under way
    #[arg(long)]
    pub(crate) list: bool,
    /// Take moves back that are under way
    #[arg(long)]
    pub(crate) cancel: bool,
    #[command(flatten)]
    pub(crate) execution: Execution,
    #[command(flatten)]
    pub(crate) cluster: Bootstrap,
}

/// `cairn cluster drain`
#[derive(Debug, Args)]
pub(crate) struct ClusterDrainArgs {
    /// The broker that shall keep nothing any more
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    pub(crate) broker: i32,
    #[command(flatten)]
    pub(crate) execution: Execution,
    #[command(flatten)]
    pub(crate) cluster: Bootstrap,
}

/// `cairn cluster remove`
#[derive(Debug, Args)]
pub(crate) struct ClusterRemoveArgs {
    /// The broker; it must not run
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    pub(crate) broker: i32,
    /// Also when it has replicas still: another broker will take its id
    #[arg(long)]
    pub(crate) keep_replicas: bool,
    #[command(flatten)]
    pub(crate) cluster: Bootstrap,
}

/// `cairn cluster rebalance`
#[derive(Debug, Args)]
pub(crate) struct ClusterRebalanceArgs {
    #[command(flatten)]
    pub(crate) execution: Execution,
    #[command(flatten)]
    pub(crate) cluster: Bootstrap,
}
