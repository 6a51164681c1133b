//! The demo's broker: a process of its own, that can be killed.
//!
//! Must not know: records.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use cairn_client::BrokerId;
use tokio::sync::oneshot;

/// A broker that is not ready by then never will be.
const READY_TIMEOUT: Duration = Duration::from_secs(30);

/// A running broker. Dropping it kills it.
pub(crate) struct Server {
    child: Child,
    /// Where clients connect.
    pub(crate) address: SocketAddr,
    /// From the start of the process to its line "ready".
    pub(crate) ready_after: Duration,
}

/// Where a broker keeps things.
pub(crate) struct Home {
    folder: PathBuf,
    node: BrokerId,
}

/// Everything has three replicas, committed offsets as well, and few partitions are enough for one group.
const SETTINGS: [&str; 2] = ["offsets.topic.replication.factor=3", "offsets.topic.num.partitions=3"];

impl Home {
    /// Inside this folder, apart from other brokers.
    #[must_use]
    pub(crate) fn new(folder: &Path, node: BrokerId) -> Self {
        Self { folder: folder.to_owned(), node }
    }

    /// What the broker said on stderr, in all its lives.
    fn log(&self) -> PathBuf {
        self.folder.join(format!("broker-{}.log", self.node))
    }

    fn data(&self) -> PathBuf {
        self.folder.join(format!("data-{}", self.node))
    }
}

impl Server {
    /// Starts this very program as a broker, at this address; port 0 takes any. `join` is a member of the cluster that it is to be of.
    pub(crate) async fn start(home: &Home, address: SocketAddr, join: Option<SocketAddr>) -> Result<Self> {
        let program = std::env::current_exe().context("cannot find this program's own file")?;
        let log =
            OpenOptions::new().create(true).append(true).open(home.log()).context("cannot write the broker's log")?;
        let mut command = Command::new(program);
        command.arg("broker").arg("--data").arg(home.data()).args(["--listen", &address.to_string()]);
        command.args(["--node-id", &home.node.to_string()]);
        if let Some(member) = join {
            command.args(["--join", &member.to_string()]);
        }
        for setting in SETTINGS {
            command.args(["--set", setting]);
        }
        command.args(["--metrics", "127.0.0.1:0"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        // What the user has set for brokers of his own is not meant for this one.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"CAIRN__")) {
            command.env_remove(name);
        }
        let started = Instant::now();
        let mut child = command.spawn().context("cannot start the broker")?;
        let stdout = child.stdout.take().ok_or_else(|| anyhow!("the broker has no stdout"))?;
        let mut server = Self { child, address, ready_after: Duration::ZERO };
        let (sender, line) = oneshot::channel();
        // Ends when the broker does, at the latest.
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(stdout).read_line(&mut line);
            let _ = sender.send(read.map(|_| line));
        });
        let line = match tokio::time::timeout(READY_TIMEOUT, line).await {
            Ok(line) => line.context("the broker's stdout was lost")?.context("cannot read what the broker says")?,
            Err(_) => bail!("the broker was not ready within {READY_TIMEOUT:?}"),
        };
        server.ready_after = started.elapsed();
        server.address = parse_ready(&line).ok_or_else(|| anyhow!("the broker ended before it was ready"))?;
        Ok(server)
    }

    /// Its process id.
    #[must_use]
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL: the process is gone between two instructions, and nothing of it can say goodbye.
    pub(crate) fn kill(mut self) -> Result<()> {
        self.child.kill().context("cannot kill the broker")?;
        self.child.wait().context("cannot wait for the broker's end")?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be gone already; either way nothing is left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first Kafka address of the line `ready: kafka=... ...`.
fn parse_ready(line: &str) -> Option<SocketAddr> {
    let kafka = line.strip_prefix("ready: ")?.split_whitespace().find_map(|word| word.strip_prefix("kafka="))?;
    kafka.split(',').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ready_line_is_understood() {
        let line = "ready: kafka=127.0.0.1:40001 metrics=127.0.0.1:5 data=./cairn-data node=1\n";
        assert_eq!(parse_ready(line), Some(SocketAddr::from(([127, 0, 0, 1], 40001))));
        assert_eq!(parse_ready(""), None);
        assert_eq!(parse_ready("error: something"), None);
    }
}
