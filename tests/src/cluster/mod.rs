//! Brokers of one cluster, each a process of its own that is watched, and that can be killed, frozen, thawed, stopped and started again.
//!
//! It must not know what clients do with them, nor when what happens to them.

mod faults;
mod replicas;
mod view;

use std::fs::{OpenOptions, create_dir};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use uuid::Uuid;

pub use faults::{Deck, Fault};
pub use replicas::same_bytes;
pub use view::View;

use crate::broker::{Kind, free_port, kafka_script};
use crate::process::run;

/// The longest that a cluster may take to get to where it has to be, and a broker to end when it is asked to.
const TIME_MAX: Duration = Duration::from_secs(120);
/// How often is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// A broker of Apache Kafka that serves a judge needs no more.
const KAFKA_HEAP: &str = "256m";

/// Brokers with the ids 1, 2, 3...; dropping it kills them and removes their data.
#[derive(Debug)]
pub struct Cluster {
    kind: Kind,
    folder: TempDir,
    settings: Vec<String>,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    id: i32,
    /// Where clients connect.
    port: u16,
    /// Where other brokers, or controllers, connect.
    peer_port: u16,
    folder: PathBuf,
    child: Option<Child>,
}

impl Member {
    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn said(&self) -> PathBuf {
        self.folder.join("said.log")
    }

    /// Fails when it should run and has ended by itself.
    fn watch(&mut self) -> anyhow::Result<()> {
        if let Some(child) = &mut self.child
            && let Some(status) = child.try_wait()?
        {
            bail!("broker {} has ended by itself: {status}; it said: {}", self.id, last_lines(&self.said()));
        }
        Ok(())
    }

    fn signal(&mut self, signal: Signal) -> anyhow::Result<()> {
        self.watch()?;
        let child = self.child.as_ref().with_context(|| format!("broker {} does not run", self.id))?;
        Ok(kill_process(Pid::from_raw(i32::try_from(child.id())?).context("a process id")?, signal)?)
    }
}

impl Cluster {
    /// Starts `size` brokers on empty data and returns when they are a cluster. `settings` are `key=value` in Kafka's names.
    pub fn start(kind: Kind, size: i32, settings: &[&str]) -> anyhow::Result<Cluster> {
        let folder = TempDir::with_prefix("cairn-judge-")?;
        let settings = settings.iter().map(|&setting| setting.to_owned()).collect();
        let mut cluster = Cluster { kind, folder, settings, members: Vec::new() };
        for id in 1..=size {
            let (port, peer_port) = cluster.free_ports()?;
            let folder = cluster.folder.path().join(id.to_string());
            cluster.members.push(Member { id, port, peer_port, folder, child: None });
        }
        match cluster.kind {
            Kind::Cairn(_) => {
                for member in &cluster.members {
                    create_dir(&member.folder)?;
                }
            }
            Kind::Kafka => cluster.prepare_kafka()?,
        }
        for id in cluster.ids() {
            cluster.launch(id)?;
        }
        cluster.until_whole()?;
        Ok(cluster)
    }

    /// Which program it is.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// The brokers' ids.
    pub fn ids(&self) -> Vec<i32> {
        self.members.iter().map(|member| member.id).collect()
    }

    /// What clients are told to connect to: all brokers.
    pub fn bootstrap(&self) -> String {
        let addresses: Vec<String> = self.members.iter().map(Member::address).collect();
        addresses.join(",")
    }

    /// The folders that hold the partitions' folders, one for each broker.
    pub fn data(&self) -> Vec<PathBuf> {
        self.members.iter().map(|member| member.folder.join("data")).collect()
    }

    /// Starts a broker on the data that it has, at the same address; does not wait for what it says.
    pub fn launch(&mut self, id: i32) -> anyhow::Result<()> {
        let member = self.member(id)?;
        ensure!(member.child.is_none(), "broker {id} runs");
        let said = OpenOptions::new().create(true).append(true).open(member.said())?;
        let mut command = match &self.kind {
            Kind::Cairn(binary) => self.cairn(binary, member),
            Kind::Kafka => {
                let mut command = kafka_script();
                command.arg("serve").arg(&member.folder).env("KAFKA_HEAP", KAFKA_HEAP);
                command
            }
        };
        command.current_dir(&member.folder).stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said);
        let child = command.spawn().with_context(|| format!("start {command:?}"))?;
        self.member_mut(id)?.child = Some(child);
        Ok(())
    }

    /// Ends brokers as a crash of their processes does, all at once.
    pub fn kill9(&mut self, ids: &[i32]) -> anyhow::Result<()> {
        for &id in ids {
            self.member_mut(id)?.signal(Signal::KILL)?;
        }
        for &id in ids {
            if let Some(mut child) = self.member_mut(id)?.child.take() {
                child.wait()?;
            }
        }
        Ok(())
    }

    /// Takes the processor from a broker, which does not know it.
    pub fn freeze(&mut self, id: i32) -> anyhow::Result<()> {
        self.member_mut(id)?.signal(Signal::STOP)
    }

    /// Gives it back.
    pub fn thaw(&mut self, id: i32) -> anyhow::Result<()> {
        self.member_mut(id)?.signal(Signal::CONT)
    }

    /// Asks a broker to stop and waits until it has.
    pub fn stop(&mut self, id: i32) -> anyhow::Result<()> {
        let kafka = self.kind == Kind::Kafka;
        let member = self.member_mut(id)?;
        member.signal(Signal::TERM)?;
        let child = member.child.as_mut().context("a broker that was asked to stop")?;
        let until = Instant::now() + TIME_MAX;
        let status = loop {
            if let Some(status) = child.try_wait()? {
                break status;
            }
            ensure!(Instant::now() < until, "broker {id} does not end within {TIME_MAX:?} when asked to");
            thread::sleep(LOOK_EVERY);
        };
        member.child = None;
        // A JVM that was asked to end by a signal says so when it has done all that there was to do.
        let asked = kafka && status.code() == Some(128 + Signal::TERM.as_raw());
        ensure!(status.success() || asked, "broker {id} ended with {status}; it said: {}", last_lines(&member.said()));
        Ok(())
    }

    /// What a broker says of the cluster.
    pub fn view(&self, id: i32) -> anyhow::Result<View> {
        View::of(&self.member(id)?.address())
    }

    /// Waits until all brokers serve, know each other, and say that every replica of every partition is in sync; gives how long that took.
    pub fn until_whole(&mut self) -> anyhow::Result<Duration> {
        let ids = self.ids();
        self.wait_until("whole", |cluster| {
            ids.iter().find_map(|&id| match cluster.view(id) {
                Ok(view) => view.lacks(&ids).map(|what| format!("broker {id} says: {what}")),
                Err(error) => Some(format!("broker {id}: {error:#}")),
            })
        })
    }

    /// Waits until the other brokers have taken over all that these led, and count them out.
    pub fn until_taken_over(&mut self, gone: &[i32]) -> anyhow::Result<Duration> {
        let left: Vec<i32> = self.ids().into_iter().filter(|id| !gone.contains(id)).collect();
        self.wait_until("taken over", |cluster| {
            left.iter().find_map(|&id| match cluster.view(id) {
                Ok(view) => view.depends_on(gone).map(|what| format!("broker {id} says: {what}")),
                Err(error) => Some(format!("broker {id}: {error:#}")),
            })
        })
    }

    /// The folder of all that the brokers write.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Keeps that folder, for a person to look at.
    pub fn keep(&mut self) {
        self.folder.disable_cleanup(true);
    }

    /// Looks again and again until nothing is lacking; a broker that ends meanwhile is an error.
    fn wait_until(&mut self, what: &str, lacks: impl Fn(&Cluster) -> Option<String>) -> anyhow::Result<Duration> {
        let began = Instant::now();
        while let Some(lacking) = lacks(self) {
            for member in &mut self.members {
                member.watch()?;
            }
            ensure!(began.elapsed() < TIME_MAX, "the cluster is not {what} within {TIME_MAX:?}: {lacking}");
            thread::sleep(LOOK_EVERY);
        }
        Ok(began.elapsed())
    }

    fn member(&self, id: i32) -> anyhow::Result<&Member> {
        self.members.iter().find(|member| member.id == id).with_context(|| format!("no broker {id}"))
    }

    fn member_mut(&mut self, id: i32) -> anyhow::Result<&mut Member> {
        self.members.iter_mut().find(|member| member.id == id).with_context(|| format!("no broker {id}"))
    }

    /// Two ports that none of the members has.
    fn free_ports(&self) -> anyhow::Result<(u16, u16)> {
        loop {
            let port = free_port()?;
            if self.members.iter().all(|member| member.port.abs_diff(port) > 1) {
                return Ok((port, port + 1));
            }
        }
    }

    fn cairn(&self, binary: &Path, member: &Member) -> Command {
        let mut command = Command::new(binary);
        command.arg("broker").arg("--data").arg(member.folder.join("data"));
        command.args(["--listen", &member.address(), "--peer-listen", &format!("127.0.0.1:{}", member.peer_port)]);
        command.args(["--node-id", &member.id.to_string()]);
        if let Some(first) = self.members.first().filter(|first| first.id != member.id) {
            command.args(["--join", &first.address()]);
        }
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        command
    }

    fn prepare_kafka(&self) -> anyhow::Result<()> {
        let voter = |member: &Member| format!("{}@127.0.0.1:{}", member.id, member.peer_port);
        let voters: Vec<String> = self.members.iter().map(voter).collect();
        let cluster = BASE64_URL_SAFE_NO_PAD.encode(Uuid::new_v4());
        for member in &self.members {
            let mut command = kafka_script();
            command.env("KAFKA_PROPS", self.settings.join(" ")).arg("member").arg(&member.folder);
            command.args([&member.id.to_string(), &member.port.to_string(), &cluster, &voters.join(",")]);
            run(&mut command, b"")?;
        }
        Ok(())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in &mut self.members {
            // Nothing is left to do about a broker that cannot be killed; it has usually ended already.
            if let Some(mut child) = member.child.take() {
                drop(child.kill());
                drop(child.wait());
            }
        }
    }
}

/// The end of what a broker said: there is why it failed.
fn last_lines(said: &Path) -> String {
    const QUOTED_LINES: usize = 12;
    let text = std::fs::read_to_string(said).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n")
}
