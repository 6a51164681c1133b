//! Programs of Apache Kafka that run until they are told to end: Kafka Streams, Kafka Connect.
//!
//! It must not know what a suite writes.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::broker::kafka_script;

/// The longest that an application may take to do what is expected of it.
const DONE_TIME_MAX: Duration = Duration::from_secs(120);
/// How often is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// A running program; dropping it kills it.
#[derive(Debug)]
pub struct Application {
    child: Child,
    log: std::path::PathBuf,
}

impl Application {
    /// Starts one of Kafka's classes; what it says goes to the file `log`.
    pub fn start(class: &str, arguments: &[&Path], log: &Path) -> anyhow::Result<Application> {
        let output = std::fs::File::options().create(true).append(true).open(log)?;
        let mut command = kafka_script();
        command.args(["tool", class]).args(arguments);
        command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
        // The JVM that the script starts ends with the script.
        command.process_group(0);
        let child = command.spawn().with_context(|| format!("start {command:?}"))?;
        Ok(Application { child, log: log.to_owned() })
    }

    /// Looks again and again until `done` says so; `what` is for the report.
    pub fn wait_until(&mut self, what: &str, mut done: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
        let until = Instant::now() + DONE_TIME_MAX;
        while !done().with_context(|| what.to_owned())? {
            if let Some(status) = self.child.try_wait()? {
                bail!("{what}: it has ended with {status}; it said: {}", self.said());
            }
            if Instant::now() > until {
                bail!("{what}: not within {DONE_TIME_MAX:?}; it said: {}", self.said());
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// Asks it to end, and waits until it has.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::TERM)?;
        let until = Instant::now() + DONE_TIME_MAX;
        while self.child.try_wait()?.is_none() {
            if Instant::now() > until {
                bail!("it does not end when asked to; it said: {}", self.said());
            }
            thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    fn signal(&mut self, signal: Signal) -> anyhow::Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        let group = Pid::from_raw(i32::try_from(self.child.id())?).context("a child's process id")?;
        Ok(kill_process_group(group, signal)?)
    }

    /// The end of what it said: there is why it failed.
    fn said(&self) -> String {
        const QUOTED_LINES: usize = 12;
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n")
    }
}

impl Drop for Application {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.signal(Signal::KILL));
        drop(self.child.wait());
    }
}
