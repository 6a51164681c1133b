//! `cairn cluster secret`: what a broker on another machine needs to join.
//!
//! Must not know: what is done with it.

use anyhow::{Context as _, anyhow};

use crate::args::ClusterSecretArgs;
use crate::exit::Outcome;
use crate::output::Output;

/// Prints it.
pub(crate) fn run(args: &ClusterSecretArgs) -> Outcome {
    let dir = args.data.display();
    let secret = cairn_broker::join_secret(&args.data).with_context(|| format!("cannot read {dir}"))?;
    let secret = secret.ok_or_else(|| anyhow!("{dir} is not the data of a cluster's member: start its broker once"))?;
    Output::stdout().line(secret.as_bytes())
}
