//! The flags of `cairn config`.
//!
//! Must not know: how a command is carried out.

use clap::{Args, Subcommand};

use super::Bootstrap;
use crate::key_value::KeyValue;

/// `cairn config ...`
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print what is set, or all with --all, or the keys that are named
    #[command(after_help = "\
Examples:
  cairn config get --topic orders
  cairn config get --topic orders retention.ms
  cairn config get --broker 1 --all
  cairn config get --brokers --json
  cairn config get --group billing --all
  cairn config get --loggers 1")]
    Get(ConfigGetArgs),
    /// Set, delete, append or subtract: all of it or nothing
    #[command(after_help = "\
Examples:
  cairn config set --topic orders retention.ms=86400000
  cairn config set --topic orders --delete retention.ms
  cairn config set --brokers message.max.bytes=2097152
  cairn config set --group billing consumer.session.timeout.ms=60000
  cairn config set --loggers 1 cairn_broker::net=DEBUG")]
    Set(ConfigSetArgs),
}

/// Whose configuration.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(crate) struct ConfigTarget {
    /// A topic
    #[arg(long, value_name = "NAME")]
    pub(crate) topic: Option<String>,
    /// One broker
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(i32).range(0..))]
    pub(crate) broker: Option<i32>,
    /// All brokers, where they have nothing of their own
    #[arg(long)]
    pub(crate) brokers: bool,
    /// A group of the consumer protocol, which need not be there
    #[arg(long, value_name = "NAME")]
    pub(crate) group: Option<String>,
    /// The log levels of one broker
    #[arg(long, value_name = "ID", value_parser = clap::value_parser!(i32).range(0..))]
    pub(crate) loggers: Option<i32>,
}

/// `cairn config get`
#[derive(Debug, Args)]
pub(crate) struct ConfigGetArgs {
    #[command(flatten)]
    pub(crate) of: ConfigTarget,
    /// Keys, by Kafka's names; a key that there is none of is an error
    pub(crate) keys: Vec<String>,
    /// Defaults, too
    #[arg(long)]
    pub(crate) all: bool,
    /// One JSON object for each key
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) cluster: Bootstrap,
}

/// `cairn config set`
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("change").required(true).multiple(true).args(["set", "delete", "append", "subtract"])))]
pub(crate) struct ConfigSetArgs {
    #[command(flatten)]
    pub(crate) of: ConfigTarget,
    /// What to set
    #[arg(value_name = "KEY=VALUE")]
    pub(crate) set: Vec<KeyValue>,
    /// Go back to what is in force without it; may be repeated
    #[arg(long, value_name = "KEY")]
    pub(crate) delete: Vec<String>,
    /// Add to a list; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) append: Vec<KeyValue>,
    /// Take out of a list; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) subtract: Vec<KeyValue>,
    #[command(flatten)]
    pub(crate) cluster: Bootstrap,
}
