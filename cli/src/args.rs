//! The command line: every subcommand, flag and example, and nothing that acts on them.
//!
//! Must not know: how a command is carried out.

mod bench;
mod cluster;
mod config;
mod group;
mod topic;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use clap_complete::Shell;

pub(crate) use self::bench::{BenchArgs, WorkloadArg};
pub(crate) use self::cluster::{
    ClusterBrokersArgs, ClusterCheckArgs, ClusterCommand, ClusterDrainArgs, ClusterReassignArgs, ClusterRebalanceArgs,
    ClusterRemoveArgs, ClusterSecretArgs, ClusterStatusArgs, Execution,
};
pub(crate) use self::config::{ConfigCommand, ConfigGetArgs, ConfigSetArgs, ConfigTarget};
pub(crate) use self::group::{
    GroupCommand, GroupDeleteArgs, GroupDescribeArgs, GroupExplainArgs, GroupListArgs, GroupResetArgs,
};
#[cfg(test)]
pub(crate) use self::group::{StateArg, TypeArg};
pub(crate) use self::topic::{
    TopicAlterArgs, TopicCommand, TopicCreateArgs, TopicDeleteArgs, TopicDescribeArgs, TopicListArgs,
};
use crate::key_value::KeyValue;
use crate::start_at::StartAt;

/// A Kafka-compatible, append-only log broker, and the tools to use it or any Kafka cluster.
#[derive(Debug, Parser)]
#[command(
    name = "cairn",
    version,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 110,
    after_help = TOP_EXAMPLES
)]
pub(crate) struct Cli {
    /// What to do
    #[command(subcommand)]
    pub(crate) command: Command,
}

const TOP_EXAMPLES: &str = "\
Examples:
  cairn demo                                   see a leader be killed and nothing be lost
  cairn broker                                 run a broker on 127.0.0.1:9092, data in ./cairn-data
  cairn topic create orders --partitions 3     make a topic
  echo hello | cairn produce orders            write a record
  cairn consume orders --exit-at-end           read all there is

Exit codes:
  0 done   1 failed   2 usage or config   3 data directory in use   4 storage failed";

/// The subcommands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a broker until SIGTERM or SIGINT
    Broker(BrokerArgs),
    /// See it work: of three brokers the leader is killed in the middle of a stream, and nothing is lost
    Demo(DemoArgs),
    /// See how a cluster is, and move partitions between its brokers
    #[command(subcommand)]
    Cluster(ClusterCommand),
    /// Create, list, describe, alter or delete topics
    #[command(subcommand)]
    Topic(TopicCommand),
    /// Show and change the configuration of topics, groups, brokers and loggers
    #[command(subcommand)]
    Config(ConfigCommand),
    /// List, describe, reset or delete consumer groups, or explain their rebalances
    #[command(subcommand)]
    Group(GroupCommand),
    /// Write lines of stdin or of a file as records
    Produce(ProduceArgs),
    /// Read records and print them
    Consume(ConsumeArgs),
    /// Measure a cluster: throughput, and latencies at a fixed rate
    Bench(BenchArgs),
    /// Look into the files of a broker, best one that is not running
    #[command(subcommand)]
    Log(LogCommand),
    /// Print a script that completes this command in a shell
    #[command(after_help = "\
Examples:
  cairn completions bash > ~/.local/share/bash-completion/completions/cairn
  cairn completions zsh > \"${fpath[1]}/_cairn\"
  cairn completions fish > ~/.config/fish/completions/cairn.fish")]
    Completions {
        /// The shell to print it for
        shell: Shell,
    },
}

/// Where the cluster is.
#[derive(Debug, Args)]
pub(crate) struct Bootstrap {
    /// Any broker of the cluster; several are separated by commas
    #[arg(long, value_name = "HOST:PORT", env = "CAIRN_BOOTSTRAP", default_value = "localhost:9092")]
    pub(crate) bootstrap: String,
}

/// `cairn broker`
#[derive(Debug, Args)]
#[command(after_help = "\
When it serves, one line is printed on stdout; everything else goes to stderr:
  ready: kafka=127.0.0.1:9092 metrics=127.0.0.1:PORT data=./cairn-data node=1

Examples:
  cairn broker
  cairn broker --data /var/lib/cairn --listen 0.0.0.0:9092
  cairn broker --config config/broker.toml --set num.partitions=3
  CAIRN__NUM_PARTITIONS=3 cairn broker

Later ones win: file, environment (CAIRN__KEY_WITH_UNDERSCORES), --set, flags.
RUST_LOG sets what is logged, for example RUST_LOG=debug or RUST_LOG=cairn_broker=trace.")]
pub(crate) struct BrokerArgs {
    /// A data directory, made when it is not there; several by repeating it [default: ./cairn-data]
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) data: Vec<PathBuf>,
    /// Where Kafka clients connect; port 0 takes any free one [default: 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) listen: Option<String>,
    /// Where other brokers connect [default: any free port on the host of --listen]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) peer_listen: Option<String>,
    /// Be a member of the cluster that this broker is of, by its client address
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) join: Option<String>,
    /// Be one cluster with the brokers that have these client addresses, and are started with the same list; this one is among them
    #[arg(long, value_name = "HOST:PORT,..", conflicts_with = "join")]
    pub(crate) seeds: Option<String>,
    /// The cluster's join secret, which is needed from another machine
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) join_secret_file: Option<PathBuf>,
    /// Where /metrics, /healthz and /readyz are [default: any free loopback port]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) metrics: Option<String>,
    /// A configuration file (TOML; every key is in config/broker.toml)
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) config: Option<PathBuf>,
    /// One configuration key, by Kafka's name where it is Kafka's thing; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(crate) set: Vec<KeyValue>,
    /// This broker's node id [default: 1, or what the cluster gives it]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    pub(crate) node_id: Option<i32>,
}

/// `cairn demo`
#[derive(Debug, Args)]
#[command(after_help = "\
The last line is for scripts: acked=N read=N lost=0 repeated=N failover_ms=N longest_pause_ms=N
It fails when anything that was acknowledged is missing.")]
pub(crate) struct DemoArgs {}

/// Who must have a record before it counts as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AcksArg {
    /// Nobody: records may be lost without a word
    #[value(name = "0")]
    None,
    /// The leader
    #[value(name = "1")]
    Leader,
    /// All in-sync replicas
    #[value(name = "all", alias = "-1")]
    All,
}

/// How batches are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum CompressionArg {
    /// Not at all
    None,
    /// gzip
    Gzip,
    /// snappy
    Snappy,
    /// lz4
    Lz4,
    /// zstd
    Zstd,
}

/// `cairn produce`
#[derive(Debug, Args)]
#[command(after_help = "\
A line is a record. Its end (\\n or \\r\\n) is no part of it.

Examples:
  echo hello | cairn produce orders
  cairn produce orders --file orders.txt --compression zstd
  printf 'k1:first\\nk2:second\\n' | cairn produce orders --key-separator :
  tail -F app.log | cairn produce logs --acks 1")]
pub(crate) struct ProduceArgs {
    /// The topic to write to
    pub(crate) topic: String,
    /// Read lines from this file instead of stdin
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: Option<PathBuf>,
    /// What stands before the first of these is the record's key; lines without it have none
    #[arg(long, value_name = "S", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) key_separator: Option<String>,
    /// Who must have a record before it counts as written
    #[arg(long, value_name = "A", default_value = "all")]
    pub(crate) acks: AcksArg,
    /// How batches are compressed
    #[arg(long, value_name = "C", default_value = "none")]
    pub(crate) compression: CompressionArg,
    #[command(flatten)]
    pub(crate) cluster: Bootstrap,
}

/// By which protocol members take part in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GroupProtocolArg {
    /// One of the members assigns
    Classic,
    /// The coordinator assigns
    Consumer,
}

/// `cairn consume`
#[derive(Debug, Args)]
#[command(after_help = "\
It follows the topics until it is stopped, unless --exit-at-end or --count says when to stop.
With --group it is a member of that group: every process that reads for it gets some of the partitions, what was printed is
committed, and whoever reads next goes on there; --from applies where nothing was committed. With --exit-at-end, a member stops at
the ends of the partitions that it has been given. With --partition it is no member, and reads that one all the same.

Examples:
  cairn consume orders
  cairn consume orders --from end
  cairn consume orders --from 2026-03-01T12:00:00Z --exit-at-end --json | jq .value
  cairn consume orders --partition 0 --from 41 --count 1
  cairn consume orders payments --group billing
  cairn consume orders --group billing --from end --count 10

JSON: {\"topic\":..,\"partition\":..,\"offset\":..,\"timestamp_ms\":..,\"key\":..,\"value\":..,\"headers\":[{\"key\":..,\"value\":..}]}
Bytes that are no UTF-8 are base64, and \"key_encoding\" or \"value_encoding\" beside them says \"base64\".")]
pub(crate) struct ConsumeArgs {
    /// The topics to read from
    #[arg(required = true, value_name = "TOPIC")]
    pub(crate) topics: Vec<String>,
    /// Only this partition [default: all]
    #[arg(long, value_name = "P", value_parser = clap::value_parser!(i32).range(0..))]
    pub(crate) partition: Option<i32>,
    /// Where to begin: beginning, end, stored (what --group committed), an offset, or a time (RFC 3339)
    /// [default: stored with --group, else beginning]
    #[arg(long, value_name = "beginning|end|stored|OFFSET|RFC3339")]
    pub(crate) from: Option<StartAt>,
    /// Stop after so many records
    #[arg(long, value_name = "N")]
    pub(crate) count: Option<u64>,
    /// Stop at what was the end when the command began
    #[arg(long)]
    pub(crate) exit_at_end: bool,
    /// Read as a member of this group, and commit what was printed
    #[arg(long, value_name = "G", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub(crate) group: Option<String>,
    /// By which protocol to take part in the group: classic, or consumer (the next generation, KIP-848)
    #[arg(long, value_name = "PROTOCOL", default_value = "classic", requires = "group")]
    pub(crate) group_protocol: GroupProtocolArg,
    /// Print a JSON object a line instead of the value alone
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) cluster: Bootstrap,
}

/// `cairn log ...`
#[derive(Debug, Subcommand)]
pub(crate) enum LogCommand {
    /// Print what a segment, an index, a snapshot, a partition folder or a data directory holds
    #[command(after_help = "\
Examples:
  cairn log dump cairn-data/orders-0
  cairn log dump cairn-data/orders-0/00000000000000000000.log --records")]
    Dump(LogDumpArgs),
    /// Check every batch, index entry and snapshot; fails when one is wrong
    #[command(after_help = "\
Examples:
  cairn log verify cairn-data/orders-0
  cairn log verify cairn-data")]
    Verify(LogVerifyArgs),
}

/// `cairn log dump`
#[derive(Debug, Args)]
pub(crate) struct LogDumpArgs {
    /// A file, a partition folder or a data directory
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) path: PathBuf,
    /// A line for each record, too, not only for each batch
    #[arg(long)]
    pub(crate) records: bool,
}

/// `cairn log verify`
#[derive(Debug, Args)]
pub(crate) struct LogVerifyArgs {
    /// A file, a partition folder or a data directory
    #[arg(value_hint = ValueHint::AnyPath)]
    pub(crate) path: PathBuf,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_tree_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_flags_of_consume_are_understood() {
        let cli = Cli::try_parse_from([
            "cairn",
            "consume",
            "t",
            "--partition",
            "2",
            "--from",
            "stored",
            "--count",
            "5",
            "--exit-at-end",
            "--group",
            "g",
            "--json",
            "--bootstrap",
            "h:1",
        ])
        .expect("all flags are known");
        let Command::Consume(args) = cli.command else { panic!("not consume") };
        assert_eq!((args.partition, args.count, args.exit_at_end, args.json), (Some(2), Some(5), true, true));
        assert_eq!(args.from, Some(StartAt::Stored));
        assert_eq!(args.cluster.bootstrap, "h:1");
    }

    #[test]
    fn alter_wants_a_change() {
        assert!(Cli::try_parse_from(["cairn", "topic", "alter", "t"]).is_err());
        assert!(Cli::try_parse_from(["cairn", "topic", "alter", "t", "--partitions", "3"]).is_ok());
    }

    #[test]
    fn config_wants_one_target_and_set_a_change() {
        for (words, fine) in [
            (vec!["get", "--topic", "t"], true),
            (vec!["get", "--brokers", "a", "b"], true),
            (vec!["get"], false),
            (vec!["get", "--topic", "t", "--broker", "1"], false),
            (vec!["set", "--topic", "t"], false),
            (vec!["set", "--topic", "t", "a"], false),
            (vec!["set", "--topic", "t", "a=1"], true),
            (vec!["set", "--loggers", "1", "--delete", "a"], true),
            (vec!["set", "a=1"], false),
        ] {
            let words = [&["cairn", "config"][..], &words].concat();
            assert_eq!(Cli::try_parse_from(&words).is_ok(), fine, "{words:?}");
        }
    }

    #[test]
    fn reset_wants_partitions_and_one_place() {
        for (words, fine) in [
            (vec!["--topic", "t", "--to", "end"], true),
            (vec!["--topic", "t:0", "--topic", "u", "--shift", "-5"], true),
            (vec!["--all-topics", "--to", "7", "--execute"], true),
            (vec!["--to", "end"], false),
            (vec!["--topic", "t"], false),
            (vec!["--topic", "t", "--all-topics", "--to", "end"], false),
            (vec!["--topic", "t", "--to", "end", "--shift", "1"], false),
            (vec!["--topic", "t", "--to", "stored"], false),
        ] {
            let words = [&["cairn", "group", "reset", "g"][..], &words].concat();
            assert_eq!(Cli::try_parse_from(&words).is_ok(), fine, "{words:?}");
        }
    }

    #[test]
    fn negative_numbers_are_refused_where_they_make_no_sense() {
        for words in [
            vec!["cairn", "topic", "create", "t", "--partitions", "0"],
            vec!["cairn", "topic", "create", "t", "--replication-factor", "0"],
            vec!["cairn", "consume", "t", "--partition=-1"],
            vec!["cairn", "broker", "--node-id=-1"],
        ] {
            assert!(Cli::try_parse_from(&words).is_err(), "{words:?}");
        }
    }

    #[test]
    fn acks_have_kafkas_names() {
        for (text, acks) in [("0", AcksArg::None), ("1", AcksArg::Leader), ("all", AcksArg::All), ("-1", AcksArg::All)]
        {
            let flag = format!("--acks={text}");
            let cli = Cli::try_parse_from(["cairn", "produce", "t", &flag]).expect("known");
            let Command::Produce(args) = cli.command else { panic!("not produce") };
            assert_eq!(args.acks, acks);
        }
    }
}
