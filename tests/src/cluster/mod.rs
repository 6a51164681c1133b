//! Brokers of one cluster, each a process of its own that is watched, and that can be killed, frozen, thawed, stopped and started again.
//!
//! It must not know what clients do with them, nor when what happens to them.

mod disk;
mod faults;
mod ground;
mod replicas;
mod view;
mod waits;

use std::collections::BTreeSet;
use std::fs::{OpenOptions, create_dir, remove_dir_all};
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

pub use disk::missing as missing_disks;
pub use faults::{Deck, Fault, Target};
pub use ground::{Disks, Ground, Plan};
pub use replicas::same_bytes;
pub use view::View;

use self::disk::Disk;
use crate::broker::{Kind, binary, free_port, kafka_script};
use crate::process::run;
use crate::wire::Wire;

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
    settings: Vec<String>,
    /// They go in this order: processes before disks and hosts, and these before the folder that holds all.
    members: Vec<Member>,
    ground: Ground,
    folder: TempDir,
}

#[derive(Debug)]
struct Member {
    id: i32,
    /// Its address, without a port.
    host: String,
    /// Where clients connect.
    port: u16,
    /// Where other brokers, or controllers, connect.
    peer_port: u16,
    folder: PathBuf,
    /// Holds the folder of its data, where it has one of its own.
    disk: Option<Disk>,
    child: Option<Child>,
}

impl Member {
    fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// The folder that holds the partitions' folders.
    fn data(&self) -> PathBuf {
        self.disk.as_ref().map_or(&*self.folder, Disk::folder).join("data")
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
    /// Starts brokers on empty data and returns when they are a cluster.
    pub fn start(plan: Plan<'_>) -> anyhow::Result<Cluster> {
        let Plan { kind, size, settings, ground, disks } = plan;
        let folder = TempDir::with_prefix("cairn-judge-")?;
        let settings = settings.iter().map(|&setting| setting.to_owned()).collect();
        let mut cluster = Cluster { kind, folder, settings, ground, members: Vec::new() };
        for id in 1..=size {
            let member = cluster.new_member(id, disks)?;
            cluster.members.push(member);
        }
        match cluster.kind {
            Kind::Cairn(_) => cluster.write_secret()?,
            Kind::Kafka => cluster.prepare_kafka()?,
        }
        for id in cluster.ids() {
            cluster.launch(id)?;
        }
        cluster.until_whole()?;
        Ok(cluster)
    }

    /// Where the next broker of an id will be; it does not run.
    fn new_member(&self, id: i32, disks: Disks) -> anyhow::Result<Member> {
        let (port, peer_port) = self.free_ports()?;
        let folder = self.folder.path().join(id.to_string());
        create_dir(&folder)?;
        let disk = match disks {
            Disks::Shared => None,
            Disks::Own => Some(Disk::make(&folder)?),
        };
        Ok(Member { id, host: self.ground.host(id)?, port, peer_port, folder, disk, child: None })
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
        self.members.iter().map(Member::data).collect()
    }

    /// The folders that hold each of a topic's partitions, one for each replica, as a broker names them.
    pub fn replicas(&self, topic: &str) -> anyhow::Result<Vec<Vec<PathBuf>>> {
        let asked = self.members.first().context("a broker")?.id;
        let replicas = self.view(asked)?.replicas_of(topic);
        let folders = |ids: &BTreeSet<i32>| ids.iter().map(|&id| Ok(self.member(id)?.data())).collect();
        replicas.iter().map(folders).collect()
    }

    /// The network between the brokers, where they have one.
    pub fn wire(&self) -> anyhow::Result<&Wire> {
        match &self.ground {
            Ground::Wire(wire) => Ok(wire),
            Ground::Loopback => bail!("the brokers are on loopback"),
        }
    }

    /// Starts a broker on the data that it has, at the same address; does not wait for what it says.
    pub fn launch(&mut self, id: i32) -> anyhow::Result<()> {
        let member = self.member(id)?;
        ensure!(member.child.is_none(), "broker {id} runs");
        let said = OpenOptions::new().create(true).append(true).open(member.said())?;
        let mut command = match &self.kind {
            Kind::Cairn(binary) => self.cairn(binary, member),
            Kind::Kafka => {
                let script = kafka_script();
                let mut command = self.ground.command(id, Path::new(script.get_program()));
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

    /// What `cairn cluster` says when it is asked, and has done what it was asked for.
    pub fn ask_cluster(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = self.cluster_command()?;
        Ok(run(command.args(arguments), b"")?.text()?.to_owned())
    }

    /// `cairn cluster`, which knows where the cluster is, ready for arguments.
    fn cluster_command(&self) -> anyhow::Result<Command> {
        let mut command = Command::new(binary()?);
        command.arg("cluster").env("CAIRN_BOOTSTRAP", self.bootstrap());
        Ok(command)
    }

    /// A broker's process.
    pub fn pid(&self, id: i32) -> anyhow::Result<u32> {
        let child = self.member(id)?.child.as_ref();
        Ok(child.with_context(|| format!("broker {id} does not run"))?.id())
    }

    /// Removes the data of a broker that does not run, and it from the brokers that there should be; gives the id of another one that
    /// begins in its place, with nothing. A broker whose data is gone is another broker: it cannot know what it has promised.
    pub fn replace(&mut self, id: i32) -> anyhow::Result<i32> {
        ensure!(self.member(id)?.child.is_none(), "broker {id} runs");
        remove_dir_all(self.member(id)?.data())?;
        let new = self.ids().into_iter().max().unwrap_or_default() + 1;
        let disks = if self.member(id)?.disk.is_some() { Disks::Own } else { Disks::Shared };
        let member = self.new_member(new, disks)?;
        self.members.retain(|member| member.id != id);
        self.members.push(member);
        self.launch(new)?;
        Ok(new)
    }

    /// What a broker says of the cluster.
    pub fn view(&self, id: i32) -> anyhow::Result<View> {
        View::of(&self.member(id)?.address())
    }

    /// The folder of all that the brokers write.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Keeps that folder, for a person to look at.
    pub fn keep(&mut self) {
        self.folder.disable_cleanup(true);
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
        let mut command = self.ground.command(member.id, binary);
        command.arg("broker").arg("--data").arg(member.data());
        command.args([
            "--listen",
            &member.address(),
            "--peer-listen",
            &format!("{}:{}", member.host, member.peer_port),
        ]);
        command.args(["--node-id", &member.id.to_string()]);
        command.arg("--join-secret-file").arg(self.secret());
        if let Some(first) = self.members.first().filter(|first| first.id != member.id) {
            command.args(["--join", &first.address()]);
        }
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        command
    }

    /// What brokers have in common that are to trust each other.
    fn secret(&self) -> PathBuf {
        self.folder.path().join("secret")
    }

    fn write_secret(&self) -> anyhow::Result<()> {
        Ok(std::fs::write(self.secret(), format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple()))?)
    }

    fn prepare_kafka(&self) -> anyhow::Result<()> {
        let voter = |member: &Member| format!("{}@{}:{}", member.id, member.host, member.peer_port);
        let voters: Vec<String> = self.members.iter().map(voter).collect();
        let cluster = BASE64_URL_SAFE_NO_PAD.encode(Uuid::new_v4());
        for member in &self.members {
            let mut command = kafka_script();
            command.env("KAFKA_PROPS", self.settings.join(" ")).env("KAFKA_HOST", &member.host);
            command.arg("member").arg(&member.folder);
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
