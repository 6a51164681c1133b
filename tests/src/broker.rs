//! A broker under judgement, as a process of its own: Cairn, or Apache Kafka, by which the judges themselves are judged.
//!
//! It must not know what clients do with it.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::dice::Dice;
use crate::process::run;
use crate::proxy::Proxy;

/// The longest that a broker may take to say that it is ready.
const READY_TIME_MAX: Duration = Duration::from_secs(60);

/// Ports below those that the kernel gives to outgoing connections, so that a broker gets its own back after a kill.
const PORTS: std::ops::Range<u64> = 20_000..32_000;

/// Which program is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// The `cairn` binary at this path.
    Cairn(PathBuf),
    /// Apache Kafka, run by `tests/peers/kafka`.
    Kafka,
}

impl Kind {
    /// `CAIRN_JUDGE_BROKER=kafka` asks for Apache Kafka. Else `CAIRN_BIN` names the binary; else it is built in the profile of
    /// these tests.
    pub fn from_environment() -> anyhow::Result<Kind> {
        match std::env::var("CAIRN_JUDGE_BROKER").as_deref() {
            Ok("kafka") => return Ok(Kind::Kafka),
            Ok("cairn") | Err(_) => {}
            Ok(other) => bail!("CAIRN_JUDGE_BROKER is {other}, and can be cairn or kafka"),
        }
        Ok(Kind::Cairn(binary()?))
    }

    /// Its name in reports.
    pub fn name(&self) -> &'static str {
        match self {
            Kind::Cairn(_) => "cairn",
            Kind::Kafka => "apache-kafka",
        }
    }
}

/// The `cairn` binary: the one that `CAIRN_BIN` names, or the one that is built in the profile of these tests, once.
pub fn binary() -> anyhow::Result<PathBuf> {
    static BUILT: Mutex<Option<PathBuf>> = Mutex::new(None);
    if let Ok(path) = std::env::var("CAIRN_BIN") {
        return Ok(path.into());
    }
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    match &*built {
        Some(path) => Ok(path.clone()),
        None => Ok(built.insert(build()?).clone()),
    }
}

/// Builds `cairn` in the profile of the running test and returns its path.
fn build() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test.parent().and_then(Path::parent).context("a test runs in target/PROFILE/deps")?;
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let mut command = Command::new(cargo);
    // With the features of the whole workspace and its tests, of which one has to be named for that, as `cargo test --workspace`
    // builds it: nothing is compiled twice.
    command.current_dir(repository()).args([
        "build",
        "--quiet",
        "--workspace",
        "--bin",
        "cairn",
        "--test",
        "exit_codes",
    ]);
    command.arg("--target-dir").arg(folder.parent().context("the target folder")?);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    let status = command.status().context("run cargo")?;
    if !status.success() {
        bail!("{command:?}: {status}");
    }
    Ok(folder.join("cairn"))
}

/// The root of the repository.
pub fn repository() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// `tests/peers/kafka`, ready for arguments.
pub fn kafka_script() -> Command {
    Command::new(repository().join("tests/peers/kafka"))
}

/// A running or killed broker; dropping it kills it and removes its data.
#[derive(Debug)]
pub struct Broker {
    kind: Kind,
    folder: TempDir,
    port: u16,
    settings: Vec<String>,
    /// The names of its log dirs.
    dirs: Vec<String>,
    /// How many descriptors it may open; as many as the judge, if nothing is said.
    descriptors: Option<u32>,
    child: Option<Child>,
    /// What it said when it was ready.
    ready: String,
}

impl Broker {
    /// Starts a broker on empty data and returns when it is ready. `settings` are `key=value` in Kafka's names.
    pub fn start(kind: Kind, settings: &[&str]) -> anyhow::Result<Broker> {
        Broker::new(kind, settings)?.begin()
    }

    /// The same within a limit of open descriptors, which only Cairn is given.
    pub fn start_within(kind: Kind, settings: &[&str], descriptors: Option<u32>) -> anyhow::Result<Broker> {
        let mut broker = Broker::new(kind, settings)?;
        broker.descriptors = descriptors;
        broker.begin()
    }

    /// The same with log dirs of these names.
    pub fn start_with_dirs(kind: Kind, settings: &[&str], dirs: &[&str]) -> anyhow::Result<Broker> {
        let mut broker = Broker::new(kind, settings)?;
        broker.dirs = dirs.iter().map(|&name| name.to_owned()).collect();
        broker.begin()
    }

    /// The same for clients that reach it through a proxy, which it names as its address.
    pub fn start_behind(kind: Kind, settings: &[&str], proxy: &Proxy) -> anyhow::Result<Broker> {
        let mut broker = Broker::new(kind, settings)?;
        proxy.lead_to(broker.port);
        broker.settings.push(format!("advertised.listeners=PLAINTEXT://{}", proxy.address()));
        broker.begin()
    }

    /// Apache Kafka with listeners beside its own, of these names and protocols; tells their addresses in this order.
    pub fn start_kafka_on(listeners: &[(&str, &str)], settings: &[&str]) -> anyhow::Result<(Broker, Vec<String>)> {
        let mut broker = Broker::new(Kind::Kafka, settings)?;
        let addresses: anyhow::Result<Vec<String>> =
            listeners.iter().map(|_| Ok(format!("127.0.0.1:{}", free_port()?))).collect();
        let addresses = addresses?;
        let all = |own: String, each: &dyn Fn(&str, &str, &str) -> String| {
            let others = listeners.iter().zip(&addresses);
            let others = others.map(|((name, protocol), address)| each(name, protocol, address));
            std::iter::once(own).chain(others).collect::<Vec<_>>().join(",")
        };
        let at = |name: &str, _: &str, address: &str| format!("{name}://{address}");
        let (own, controller) = (broker.bootstrap(), format!("CONTROLLER://127.0.0.1:{}", broker.port + 1));
        let advertised = all(format!("PLAINTEXT://{own}"), &at);
        let protocols = "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT".to_owned();
        let protocols = all(protocols, &|name, protocol, _| format!("{name}:{protocol}"));
        broker.settings.extend([
            format!("listeners={advertised},{controller}"),
            format!("advertised.listeners={advertised}"),
            format!("listener.security.protocol.map={protocols}"),
        ]);
        Ok((broker.begin()?, addresses))
    }

    fn new(kind: Kind, settings: &[&str]) -> anyhow::Result<Broker> {
        Ok(Broker {
            kind,
            folder: TempDir::with_prefix("cairn-judge-")?,
            port: free_port()?,
            settings: settings.iter().map(|&setting| setting.to_owned()).collect(),
            dirs: vec!["data".to_owned()],
            descriptors: None,
            child: None,
            ready: String::new(),
        })
    }

    fn begin(mut self) -> anyhow::Result<Broker> {
        match self.kind.clone() {
            Kind::Cairn(binary) => self.launch_cairn(&binary)?,
            Kind::Kafka => {
                let dirs: Vec<String> = self.dirs().iter().map(|dir| dir.display().to_string()).collect();
                let mut command = kafka_script();
                let settings = format!("{}\nlog.dirs={}", self.settings.join("\n"), dirs.join(","));
                command.env("KAFKA_LINES", settings);
                run(command.arg("start").arg(self.kafka_folder()).arg(self.port.to_string()), b"")?;
            }
        }
        Ok(self)
    }

    /// Which program it is.
    pub fn kind(&self) -> &Kind {
        &self.kind
    }

    /// What clients are told to connect to.
    pub fn bootstrap(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Where it tells metrics and health; Cairn only.
    pub fn metrics(&self) -> anyhow::Result<&str> {
        let words = self.ready.split_whitespace();
        words.filter_map(|word| word.strip_prefix("metrics=")).next().context("no ready line with metrics")
    }

    /// Its process; Cairn only.
    pub fn pid(&self) -> anyhow::Result<u32> {
        Ok(self.child.as_ref().context("no broker runs")?.id())
    }

    /// The folder that holds the partitions' folders, the first if there are several.
    pub fn data(&self) -> PathBuf {
        self.dir(&self.dirs[0])
    }

    /// All folders that hold the partitions' folders.
    pub fn dirs(&self) -> Vec<PathBuf> {
        self.dirs.iter().map(|name| self.dir(name)).collect()
    }

    fn dir(&self, name: &str) -> PathBuf {
        match self.kind {
            Kind::Cairn(_) => self.folder.path().join(name),
            Kind::Kafka => self.kafka_folder().join(name),
        }
    }

    /// What the broker said so far on its standard error.
    pub fn log(&self) -> String {
        let path = match self.kind {
            Kind::Cairn(_) => self.folder.path().join("broker.log"),
            Kind::Kafka => self.kafka_folder().join("server.log"),
        };
        std::fs::read_to_string(path).unwrap_or_default()
    }

    /// Ends it as a crash of the process does.
    pub fn kill9(&mut self) -> anyhow::Result<()> {
        if self.kind == Kind::Kafka {
            run(kafka_script().arg("kill").arg(self.kafka_folder()), b"")?;
            return Ok(());
        }
        let Some(mut child) = self.child.take() else { bail!("no broker runs") };
        if let Some(status) = child.try_wait()? {
            bail!("the broker had ended by itself: {status}; it said: {}", self.log());
        }
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Asks it to stop and waits until it has.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        if self.kind == Kind::Kafka {
            run(kafka_script().arg("stop").arg(self.kafka_folder()), b"")?;
            return Ok(());
        }
        let Some(mut child) = self.child.take() else { bail!("no broker runs") };
        let pid = i32::try_from(child.id())?;
        kill_process(Pid::from_raw(pid).context("a child's process id")?, Signal::TERM)?;
        let status = child.wait()?;
        if !status.success() {
            bail!("the broker ended with {status} when asked to stop; it said: {}", self.log());
        }
        Ok(())
    }

    /// Starts it again on the data that it has, at the same address; returns how long that took.
    pub fn restart(&mut self) -> anyhow::Result<Duration> {
        let started = Instant::now();
        match self.kind.clone() {
            Kind::Cairn(binary) => self.launch_cairn(&binary)?,
            Kind::Kafka => {
                run(kafka_script().arg("up").arg(self.kafka_folder()), b"")?;
            }
        }
        Ok(started.elapsed())
    }

    fn kafka_folder(&self) -> PathBuf {
        self.folder.path().join("kafka")
    }

    fn launch_cairn(&mut self, binary: &Path) -> anyhow::Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(self.folder.path().join("broker.log"))?;
        let mut command = match self.descriptors {
            None => Command::new(binary),
            Some(limit) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", "ulimit -n \"$1\" && shift && exec \"$@\"", "sh", &limit.to_string()]).arg(binary);
                shell
            }
        };
        command.arg("broker").args(["--listen", &self.bootstrap()]);
        for dir in self.dirs() {
            command.arg("--data").arg(dir);
        }
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        command.current_dir(self.folder.path()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = command.spawn().with_context(|| format!("start {command:?}"))?;
        let stdout = child.stdout.take().context("the broker's standard output")?;
        self.child = Some(child);

        let (tell, told) = mpsc::channel();
        // The thread lives as long as the broker, so that its output never fills the pipe.
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if line.starts_with("ready: ") {
                    // Nobody listens any more when the time was up.
                    drop(tell.send(line));
                }
            }
        });
        match told.recv_timeout(READY_TIME_MAX) {
            Ok(ready) => {
                self.ready = ready;
                Ok(())
            }
            Err(_) => bail!("{command:?} was not ready; it said: {}", self.log()),
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Nothing is left to do about a broker that cannot be killed; it has usually ended already.
        if self.kind == Kind::Kafka {
            drop(run(kafka_script().arg("kill").arg(self.kafka_folder()), b""));
        }
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// A port at which nobody listens, with the next one free too (Kafka's controller takes it).
pub(crate) fn free_port() -> anyhow::Result<u16> {
    /// Brokers that are started at the same time draw different ports.
    static DRAWN: AtomicU64 = AtomicU64::new(0);
    let nanos = u64::from(SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos());
    let drawn = DRAWN.fetch_add(1, Ordering::Relaxed);
    let mut dice = Dice::new((u64::from(std::process::id()) << 32 | nanos) ^ (drawn << 56));
    for _ in 0..200 {
        let port = u16::try_from(dice.among(PORTS))?;
        let free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
        if free(port) && free(port + 1) {
            return Ok(port);
        }
    }
    bail!("no free port in {PORTS:?}")
}
