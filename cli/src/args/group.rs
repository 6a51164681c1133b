//! The flags of `cairn group`.
//!
//! Must not know: how a command is carried out.

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand, ValueEnum};

use super::Bootstrap;
use crate::group::{ResetTo, TopicChoice};

/// `cairn group ...`
#[derive(Debug, Subcommand)]
pub(crate) enum GroupCommand {
    /// Print all groups with what they are doing
    #[command(after_help = "\
Examples:
  cairn group list
  cairn group list --state Empty --state Dead
  cairn group list --type classic --json | jq -r .name")]
    List(GroupListArgs),
    /// Show members, committed offsets and lag of groups
    #[command(after_help = "\
Lag is counted in records; `behind` is the age of the oldest record that the group has not read.

Examples:
  cairn group describe billing
  cairn group describe billing --offsets
  cairn group describe billing shipping --json | jq .lag")]
    Describe(GroupDescribeArgs),
    /// Change where a group goes on; it must have no members
    #[command(after_help = "\
Without --execute it only shows what would change. Offsets outside of a partition are moved to its beginning or end.

Examples:
  cairn group reset billing --topic orders --to beginning
  cairn group reset billing --topic orders:0,2 --to 1500 --execute
  cairn group reset billing --topic orders --to 2026-03-01T12:00:00Z --execute
  cairn group reset billing --all-topics --shift -100 --execute")]
    Reset(GroupResetArgs),
    /// Delete groups that have no members, or what one has committed for some topics
    #[command(after_help = "\
Examples:
  cairn group delete billing shipping
  cairn group delete billing --topic orders
  cairn group delete billing --topic orders:3")]
    Delete(GroupDeleteArgs),
    /// Say why a group rebalanced, and whom it waited for
    #[command(after_help = "\
It asks the metrics listener of the broker that coordinates the group, which remembers the last rebalances since it was started. Where
that is not reachable from here, --metrics names a way.

Examples:
  cairn group explain billing
  cairn group explain billing --last 20
  cairn group explain billing --metrics 10.0.0.7:9644 --json | jq .rebalances[-1].cause")]
    Explain(GroupExplainArgs),
}

/// A state by Kafka's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
pub(crate) enum StateArg {
    /// No members
    Empty,
    /// Members have to join
    PreparingRebalance,
    /// The leader has to assign
    CompletingRebalance,
    /// An assignment is computed
    Assigning,
    /// Members are on their way to the new assignment
    Reconciling,
    /// Everybody has its assignment
    Stable,
    /// Being removed
    Dead,
    /// What it needs is not there
    NotReady,
}

/// A type by Kafka's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum TypeArg {
    /// JoinGroup and SyncGroup
    Classic,
    /// The next generation, KIP-848
    Consumer,
    /// Share groups
    Share,
    /// Streams groups
    Streams,
}

/// `cairn group list`
#[derive(Debug, Args)]
pub(crate) struct GroupListArgs {
    /// Only groups in this state; may be repeated
    #[arg(long, value_name = "STATE", ignore_case = true)]
    pub(crate) state: Vec<StateArg>,
    /// Only groups of this type; may be repeated
    #[arg(long = "type", value_name = "TYPE", ignore_case = true)]
    pub(crate) types: Vec<TypeArg>,
    /// One JSON object a line: name, state, type, protocol_type
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) cluster: Bootstrap,
}

/// `cairn group describe`
#[derive(Debug, Args)]
pub(crate) struct GroupDescribeArgs {
    /// The groups' names
    #[arg(required = true, value_name = "GROUP", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) names: Vec<String>,
    /// Only the members and their partitions
    #[arg(long)]
    pub(crate) members: bool,
    /// Only the offsets and the lag
    #[arg(long)]
    pub(crate) offsets: bool,
    /// One JSON object a line and group
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) cluster: Bootstrap,
}

/// `cairn group reset`
#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["topic", "all_topics"])))]
#[command(group(clap::ArgGroup::new("where").required(true).args(["to", "shift"])))]
pub(crate) struct GroupResetArgs {
    /// The group's name; one that is not there is made
    #[arg(value_name = "GROUP", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) name: String,
    /// A topic, or some of its partitions; may be repeated
    #[arg(long, value_name = "TOPIC[:P,P..]")]
    pub(crate) topic: Vec<TopicChoice>,
    /// All partitions for which the group has committed something
    #[arg(long)]
    pub(crate) all_topics: bool,
    /// Where to go on: beginning, end, an offset, or a time (RFC 3339)
    #[arg(long, value_name = "beginning|end|OFFSET|RFC3339")]
    pub(crate) to: Option<ResetTo>,
    /// So many records further, or back when negative
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) shift: Option<i64>,
    /// Do it
    #[arg(long)]
    pub(crate) execute: bool,
    /// One JSON object a line and partition
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) cluster: Bootstrap,
}

/// `cairn group delete`
#[derive(Debug, Args)]
pub(crate) struct GroupDeleteArgs {
    /// The groups' names
    #[arg(required = true, value_name = "GROUP", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) names: Vec<String>,
    /// Delete only what was committed for this topic, or for some of its partitions; may be repeated
    #[arg(long, value_name = "TOPIC[:P,P..]")]
    pub(crate) topic: Vec<TopicChoice>,
    #[command(flatten)]
    pub(crate) cluster: Bootstrap,
}

/// `cairn group explain`
#[derive(Debug, Args)]
pub(crate) struct GroupExplainArgs {
    /// The group's name
    #[arg(value_name = "GROUP", value_parser = NonEmptyStringValueParser::new())]
    pub(crate) name: String,
    /// How many rebalances, the newest
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub(crate) last: usize,
    /// The metrics listener of the group's coordinator [default: what the broker says]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) metrics: Option<String>,
    /// All that is told, as one JSON object
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) cluster: Bootstrap,
}
