//! The one binary: reads the command line, starts a runtime, runs the command, and turns its end into an exit code.
//!
//! Must not know: how any command works.

mod args;
mod bench;
mod broker;
mod cluster;
mod config;
mod connect;
mod consume;
mod demo;
mod exit;
mod group;
mod http_get;
mod input;
mod key_value;
mod lines;
mod log;
mod notify;
mod output;
mod produce;
mod progress;
mod record_json;
mod signals;
mod start_at;
mod topic;

use std::pin::Pin;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::args::{Cli, Command};
use crate::exit::{Failure, Outcome};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // Exits with 0 for --help and --version, with 2 for wrong usage.
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(command: Command) -> Outcome {
    match command {
        Command::Broker(args) => broker::run(&args),
        Command::Demo(args) => block_on(Box::pin(demo::run(args))),
        Command::Cluster(command) => block_on(Box::pin(cluster::run(command))),
        Command::Topic(command) => block_on(Box::pin(topic::run(command))),
        Command::Config(command) => block_on(Box::pin(config::run(command))),
        Command::Group(command) => block_on(Box::pin(group::run(command))),
        Command::Produce(args) => block_on(Box::pin(produce::run(args))),
        Command::Consume(args) => block_on(Box::pin(consume::run(args))),
        Command::Bench(args) => block_on(Box::pin(bench::run(args))),
        Command::Log(command) => log::run(&command),
        Command::Completions { shell } => completions(shell),
    }
}

/// Runs a client's command. Two threads are plenty for one stream.
///
/// Boxed, because a runtime compiles what it blocks on once for each of its kinds, with all that is inlined into it.
fn block_on(command: Pin<Box<dyn Future<Output = Outcome>>>) -> Outcome {
    broker::log_to_stderr("warn");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(anyhow::Error::new(error).context("cannot start a runtime")))?;
    let outcome = runtime.block_on(command);
    // Reading stdin cannot be cancelled: do not wait for it.
    runtime.shutdown_background();
    outcome
}

fn completions(shell: clap_complete::Shell) -> Outcome {
    // Into memory first: the generator panics when stdout is closed.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "cairn", &mut script);
    let mut output = output::Output::stdout();
    output.bytes(&script)?;
    output.flush()
}
