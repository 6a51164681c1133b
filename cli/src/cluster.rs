//! `cairn cluster ...`
//!
//! Must not know: the wire, which moves are wise.

mod health;
mod moves;
mod plan;
mod removal;
mod secret;
mod status;
mod survey;

use crate::args::ClusterCommand;
use crate::exit::Outcome;

/// Runs one of them.
pub(crate) async fn run(command: ClusterCommand) -> Outcome {
    match command {
        ClusterCommand::Secret(args) => secret::run(&args),
        ClusterCommand::Status(args) => status::status(args).await,
        ClusterCommand::Brokers(args) => status::brokers(args).await,
        ClusterCommand::Check(args) => status::check(args).await,
        ClusterCommand::Reassign(args) => moves::reassign(args).await,
        ClusterCommand::Drain(args) => moves::drain(args).await,
        ClusterCommand::Remove(args) => removal::remove(args).await,
        ClusterCommand::Rebalance(args) => moves::rebalance(args).await,
    }
}
