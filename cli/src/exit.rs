//! How a command ends: the exit codes, and which error leads to which.
//!
//! Must not know: what the commands do.

use std::io;
use std::process::ExitCode;

/// A command's end that is not success. The text says what failed and, where it helps, what to do.
#[derive(Debug)]
pub(crate) enum Failure {
    /// 1: it was tried and failed.
    Failed(anyhow::Error),
    /// 2: the flags or the configuration are wrong.
    Usage(anyhow::Error),
    /// 3: another process has the data directory.
    DataInUse(anyhow::Error),
    /// 4: the storage failed.
    Storage(anyhow::Error),
    /// 0: the reader of our output has gone, as `head` does; there is nobody left to tell.
    OutputClosed,
}

impl Failure {
    /// A usage error with this text.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::Usage(anyhow::Error::msg(text.into()))
    }

    /// A plain failure with this text.
    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self::Failed(anyhow::Error::msg(text.into()))
    }

    /// What writing to stdout gave.
    pub(crate) fn output(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::OutputClosed;
        }
        Self::Failed(anyhow::Error::new(error).context("cannot write to stdout"))
    }

    /// Says on stderr what happened and gives the exit code.
    pub(crate) fn report(self) -> ExitCode {
        let (code, error) = match self {
            Self::OutputClosed => return ExitCode::SUCCESS,
            Self::Failed(error) => (1, error),
            Self::Usage(error) => (2, error),
            Self::DataInUse(error) => (3, error),
            Self::Storage(error) => (4, error),
        };
        eprintln!("error: {error:#}");
        ExitCode::from(code)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

/// What a command gives.
pub(crate) type Outcome = Result<(), Failure>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let code = Failure::output(io::ErrorKind::BrokenPipe.into()).report();
        assert_eq!(format!("{code:?}"), format!("{:?}", ExitCode::SUCCESS));
        assert!(matches!(Failure::output(io::ErrorKind::StorageFull.into()), Failure::Failed(_)));
    }
}
