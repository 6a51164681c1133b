//! Brokers to run commands against, and the command itself.

#![allow(dead_code, reason = "each test file uses some of it")]

pub(crate) mod place;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use cairn_broker::config::{BrokerConfig, Sources};

/// The command, without anything that the surroundings have set.
pub(crate) fn cairn() -> assert_cmd::Command {
    assert_cmd::Command::from_std(plain())
}

fn plain() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
    command.env_remove("CAIRN_BOOTSTRAP").env_remove("RUST_LOG").env_remove("NOTIFY_SOCKET");
    command
}

/// Runs a command that has to succeed, and gives what it printed.
pub(crate) fn run(mut command: impl std::borrow::BorrowMut<assert_cmd::Command>) -> String {
    let output = command.borrow_mut().assert().success().get_output().clone();
    String::from_utf8(output.stdout).expect("text")
}

/// Asks a process to end, as an operator does.
pub(crate) fn terminate(pid: u32) {
    let status = Command::new("kill").args(["-TERM", &pid.to_string()]).status().expect("kill runs");
    assert!(status.success());
}

const DATA: &str = "data";

/// A broker in this process.
pub(crate) struct Broker {
    address: String,
    broker: Option<cairn_broker::Broker>,
    runtime: tokio::runtime::Runtime,
    folder: tempfile::TempDir,
}

impl Broker {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let data = folder.path().join(DATA);
        let sources = Sources::none()
            .set("log.dir", data.to_str().expect("text"))
            .set("listeners", "PLAINTEXT://127.0.0.1:0")
            .set("offsets.topic.num.partitions", "2");
        let config = BrokerConfig::load(&sources).expect("valid");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let broker = runtime.block_on(cairn_broker::Broker::start(config)).expect("it starts");
        let address = broker.addresses().kafka[0].1.to_string();
        Self { address, broker: Some(broker), runtime, folder }
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Where its data are.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join(DATA)
    }

    /// A command against it.
    pub(crate) fn cairn(&self, words: &[&str]) -> assert_cmd::Command {
        assert_cmd::Command::from_std(self.command(words))
    }

    /// The same, for pipes.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = plain();
        command.args(words).env("CAIRN_BOOTSTRAP", &self.address);
        command
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(broker) = self.broker.take() {
            self.runtime.block_on(broker.shutdown());
        }
    }
}

/// A broker in a process of its own. Dropping it kills it.
pub(crate) struct Served {
    pub(crate) child: Child,
    pub(crate) ready: String,
}

impl Served {
    pub(crate) fn start(data: &Path, words: &[&str]) -> Self {
        Self::start_at(data, "127.0.0.1:0", words)
    }

    /// Starts it at an address, as one that comes back.
    pub(crate) fn start_at(data: &Path, listen: &str, words: &[&str]) -> Self {
        Self::spawn(plain(), listen, data, words)
    }

    /// Starts it as a service manager does that wants to be told at this socket.
    pub(crate) fn notifying(socket: &Path, data: &Path) -> Self {
        let mut command = plain();
        command.env("NOTIFY_SOCKET", socket);
        Self::spawn(command, "127.0.0.1:0", data, &[])
    }

    fn spawn(mut command: Command, listen: &str, data: &Path, words: &[&str]) -> Self {
        command.args(["broker", "--listen", listen, "--data"]).arg(data).args(words);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("starts");
        let mut ready = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut ready).expect("a line");
        assert!(ready.starts_with("ready: "), "{ready:?}");
        Self { child, ready }
    }

    /// Where clients connect.
    pub(crate) fn address(&self) -> &str {
        let word = self.ready.split_whitespace().find_map(|word| word.strip_prefix("kafka="));
        word.unwrap_or_else(|| panic!("no address in {:?}", self.ready))
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
