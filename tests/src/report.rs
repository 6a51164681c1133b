//! How a judge says what it found: one line per case, visible skips, and a closing line.
//!
//! It must not know what is judged.

use std::io::Write;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// What a case ended with, when nothing was wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It held; the text says what was seen.
    Passed(String),
    /// It could not be judged here; the text says what is missing.
    Skipped(String),
}

/// Whether everything has to be judged: in CI, a skip is a failure.
pub fn all_required() -> bool {
    let set = |name| std::env::var(name).is_ok_and(|value| !value.is_empty() && value != "0" && value != "false");
    set("CI") || set("CAIRN_REQUIRE_ALL")
}

/// Writes past libtest's capture, so that the line is seen when the test passes too.
pub fn say(line: &str) {
    let mut out = std::io::stderr().lock();
    // A closed stderr means that nobody reads the report; the exit code still tells.
    let _ = writeln!(out, "{line}");
}

/// Reports inside a `#[test]` that it cannot judge here.
///
/// # Panics
/// When everything is required.
pub fn skip(case: &str, reason: &str) {
    say(&format!("SKIP {case}: {reason}"));
    assert!(!all_required(), "{case} was skipped where everything is required: {reason}");
}

/// Runs cases and keeps the accounts; lanes may share it.
#[derive(Debug)]
pub struct Suite {
    name: &'static str,
    filter: Option<String>,
    accounts: Mutex<Accounts>,
    started: Instant,
}

#[derive(Debug, Default)]
struct Accounts {
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Suite {
    /// A suite that takes its filter, part of a case's name, from the command line as libtest does.
    pub fn new(name: &'static str) -> Self {
        let filter = std::env::args().skip(1).find(|arg| !arg.starts_with('-'));
        Suite { name, filter, accounts: Mutex::default(), started: Instant::now() }
    }

    /// Whether a case of this name is asked for.
    pub fn wants(&self, name: &str) -> bool {
        self.filter.as_ref().is_none_or(|part| name.contains(part.as_str()))
    }

    /// Judges one case.
    pub fn case(&self, name: &str, judge: impl FnOnce() -> anyhow::Result<Verdict>) {
        if !self.wants(name) {
            return;
        }
        let started = Instant::now();
        let verdict = judge();
        let seconds = started.elapsed().as_secs_f32();
        let mut accounts = self.accounts.lock().unwrap_or_else(PoisonError::into_inner);
        match verdict {
            Ok(Verdict::Passed(seen)) => {
                accounts.passed += 1;
                say(&format!("ok {}::{name} ({seconds:.1} s) {seen}", self.name));
            }
            Ok(Verdict::Skipped(reason)) => {
                accounts.skipped += 1;
                say(&format!("SKIP {}::{name}: {reason}", self.name));
            }
            Err(error) => {
                accounts.failed += 1;
                say(&format!("FAILED {}::{name} ({seconds:.1} s): {error:#}", self.name));
            }
        }
    }

    /// Counts something that is wrong outside of the cases, whichever of them are asked for.
    pub fn fail(&self, what: &str, error: &anyhow::Error) {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner).failed += 1;
        say(&format!("FAILED {}::{what}: {error:#}", self.name));
    }

    /// How many cases have failed so far.
    pub fn failed(&self) -> usize {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner).failed
    }

    /// Says the accounts; fails on a failure, and on a skip where everything is required.
    pub fn close(self) -> ExitCode {
        let Suite { name, accounts, started, .. } = self;
        let Accounts { passed, failed, skipped } = accounts.into_inner().unwrap_or_else(PoisonError::into_inner);
        let seconds = started.elapsed().as_secs_f32();
        say(&format!("{name}: {passed} passed, {failed} failed, {skipped} skipped in {seconds:.1} s"));
        if failed > 0 || (skipped > 0 && all_required()) {
            return ExitCode::FAILURE;
        }
        ExitCode::SUCCESS
    }
}
