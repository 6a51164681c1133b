//! `cairn log dump|verify`: looks into files without a broker.
//!
//! Must not know: how the files are laid out.

use anyhow::Context as _;
use cairn_storage::disk::portable::PortableDisk;
use cairn_storage::inspect::{self, Detail, InspectError};

use crate::args::{LogCommand, LogDumpArgs, LogVerifyArgs};
use crate::exit::{Failure, Outcome};
use crate::output::Output;
use crate::progress;

/// Runs one of them.
pub(crate) fn run(command: &LogCommand) -> Outcome {
    match command {
        LogCommand::Dump(args) => dump(args),
        LogCommand::Verify(args) => verify(args),
    }
}

fn dump(args: &LogDumpArgs) -> Outcome {
    let detail = if args.records { Detail::Records } else { Detail::Batches };
    let mut output = Output::stdout();
    match inspect::dump(&PortableDisk::default(), &args.path, detail, output.writer()) {
        Err(InspectError::Write(error)) => return Err(Failure::output(error)),
        other => other.context("cannot dump")?,
    }
    output.flush()
}

/// Fails when something does not hold.
fn verify(args: &LogVerifyArgs) -> Outcome {
    let spinner = progress::spinner(format!("checking {}", args.path.display()));
    let verdict = inspect::verify(&PortableDisk::default(), &args.path);
    spinner.finish_and_clear();
    let verdict = verdict.context("cannot verify")?;
    let mut output = Output::stdout();
    output.line(verdict.to_string().as_bytes())?;
    output.flush()?;
    match verdict.problems.len() {
        0 => Ok(()),
        1 => Err(Failure::failed("one problem was found")),
        count => Err(Failure::failed(format!("{count} problems were found"))),
    }
}
