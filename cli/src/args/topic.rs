//! The flags of `cairn topic`.
//!
//! Must not know: how a topic is made or changed.

use clap::{Args, Subcommand};

use super::Bootstrap;
use crate::key_value::KeyValue;

/// `cairn topic ...`
#[derive(Debug, Subcommand)]
pub(crate) enum TopicCommand {
    /// Make a topic
    #[command(after_help = "\
Examples:
  cairn topic create orders
  cairn topic create orders --partitions 6 --config retention.ms=86400000
  cairn topic create ledger --config durability=synced --config cleanup.policy=delete")]
    Create(TopicCreateArgs),
    /// Print the names of all topics
    List(TopicListArgs),
    /// Show the partitions and the configuration of topics
    #[command(after_help = "\
Examples:
  cairn topic describe orders
  cairn topic describe orders payments --json")]
    Describe(TopicDescribeArgs),
    /// Add partitions, set or remove configuration
    #[command(after_help = "\
Examples:
  cairn topic alter orders --partitions 12
  cairn topic alter orders --config retention.ms=3600000
  cairn topic alter orders --delete-config retention.ms")]
    Alter(TopicAlterArgs),
    /// Delete topics with all their records
    #[command(after_help = "\
Examples:
  cairn topic delete orders
  cairn topic delete orders payments")]
    Delete(TopicDeleteArgs),
}

/// `cairn topic create`
#[derive(Debug, Args)]
pub(crate) struct TopicCreateArgs {
    /// The topic's name
    pub(crate) name: String,
    /// How many partitions [default: the broker's num.partitions]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) partitions: Option<i32>,
    /// On how many brokers each partition is kept [default: the broker's default.replication.factor]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
    pub(crate) replication_factor: Option<i16>,
    /// A topic configuration, by Kafka's name; may be repeated
    #[arg(long = "config", value_name = "KEY=VALUE")]
    pub(crate) configs: Vec<KeyValue>,
    #[command(flatten)]
    pub(crate) cluster: Bootstrap,
}

/// `cairn topic list`
#[derive(Debug, Args)]
pub(crate) struct TopicListArgs {
    /// One JSON object a line: name, partitions, internal
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) cluster: Bootstrap,
}

/// `cairn topic describe`
#[derive(Debug, Args)]
pub(crate) struct TopicDescribeArgs {
    /// The topics' names
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
    /// One JSON object a line and topic
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) cluster: Bootstrap,
}

/// `cairn topic alter`
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
pub(crate) struct TopicAlterArgs {
    /// The topic's name
    pub(crate) name: String,
    /// How many partitions there shall be; only more than now
    #[arg(long, value_name = "N", group = "change", value_parser = clap::value_parser!(i32).range(1..))]
    pub(crate) partitions: Option<i32>,
    /// Set a configuration; may be repeated
    #[arg(long = "config", value_name = "KEY=VALUE", group = "change")]
    pub(crate) configs: Vec<KeyValue>,
    /// Go back to the default of a configuration; may be repeated
    #[arg(long = "delete-config", value_name = "KEY", group = "change")]
    pub(crate) delete_configs: Vec<String>,
    #[command(flatten)]
    pub(crate) cluster: Bootstrap,
}

/// `cairn topic delete`
#[derive(Debug, Args)]
pub(crate) struct TopicDeleteArgs {
    /// The topics' names
    #[arg(required = true, value_name = "NAME")]
    pub(crate) names: Vec<String>,
    #[command(flatten)]
    pub(crate) cluster: Bootstrap,
}
