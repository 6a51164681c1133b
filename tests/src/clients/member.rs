//! Members of groups that others wrote: processes that subscribe to a topic and say what they read.
//!
//! It must not know what a suite writes.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use super::{Client, Console, Kafkajs, Kcat, Python, tools};
use crate::broker::{kafka_script, repository};

/// The longest that members may take to get hold of what is written, rebalances and ended sessions included.
const READ_TIME_MAX: Duration = Duration::from_secs(60);
/// How often is looked whether they have.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// A client that can be a member of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberKind {
    /// kcat -G.
    Kcat,
    /// confluent-kafka.
    Confluent,
    /// confluent-kafka with cooperative rebalancing.
    ConfluentCooperative,
    /// kafka-python.
    KafkaPython,
    /// aiokafka.
    Aiokafka,
    /// kafkajs, with its own round robin.
    Kafkajs,
    /// Kafka's console consumer.
    Console,
    /// confluent-kafka by the protocol of KIP-848.
    ConfluentNext,
    /// Kafka's console consumer by the protocol of KIP-848.
    ConsoleNext,
}

impl MemberKind {
    /// All of them.
    pub const ALL: [MemberKind; 9] = [
        MemberKind::Kcat,
        MemberKind::Confluent,
        MemberKind::ConfluentCooperative,
        MemberKind::KafkaPython,
        MemberKind::Aiokafka,
        MemberKind::Kafkajs,
        MemberKind::Console,
        MemberKind::ConfluentNext,
        MemberKind::ConsoleNext,
    ];

    /// Its name in reports.
    pub fn name(self) -> &'static str {
        match self {
            MemberKind::Kcat => "kcat",
            MemberKind::Confluent => "confluent-kafka",
            MemberKind::ConfluentCooperative => "confluent-kafka-cooperative",
            MemberKind::KafkaPython => "kafka-python",
            MemberKind::Aiokafka => "aiokafka",
            MemberKind::Kafkajs => "kafkajs",
            MemberKind::Console => "kafka-console",
            MemberKind::ConfluentNext => "confluent-kafka-next",
            MemberKind::ConsoleNext => "kafka-console-next",
        }
    }

    /// Whether it speaks the protocol of KIP-848, in which a broker assigns the partitions.
    pub fn is_next(self) -> bool {
        matches!(self, MemberKind::ConfluentNext | MemberKind::ConsoleNext)
    }

    /// What has to be installed for it.
    pub fn missing(self) -> Option<String> {
        match self {
            MemberKind::Kcat => Kcat.missing(),
            MemberKind::Confluent | MemberKind::ConfluentCooperative | MemberKind::ConfluentNext => {
                Python::confluent().missing()
            }
            MemberKind::KafkaPython => Python::kafka_python().missing(),
            MemberKind::Aiokafka => Python::aiokafka().missing(),
            MemberKind::Kafkajs => Kafkajs.missing(),
            MemberKind::Console | MemberKind::ConsoleNext => Console.missing(),
        }
    }

    fn command(self, bootstrap: &str, topic: &str, group: &str) -> Command {
        let python = |client: &str, assignor: &str| {
            let mut command = Command::new(tools().join("venv/bin/python"));
            command.arg(repository().join("tests/foreign/members.py"));
            command.args([client, bootstrap, topic, group, assignor]);
            command
        };
        match self {
            MemberKind::Kcat => {
                let mut command = Command::new("kcat");
                // By itself it ends when the broker is away.
                command.args(["-b", bootstrap, "-E", "-u", "-f", "%p %o %s\\n", "-G", group]);
                for setting in ["auto.offset.reset=earliest", "session.timeout.ms=6000", "heartbeat.interval.ms=1000"] {
                    command.args(["-X", setting]);
                }
                command.args(["-X", "auto.commit.interval.ms=100", topic]);
                command
            }
            MemberKind::Confluent => python("confluent", "range"),
            MemberKind::ConfluentCooperative => python("confluent", "cooperative-sticky"),
            MemberKind::ConfluentNext => python("confluent-next", "uniform"),
            MemberKind::KafkaPython => python("kafka-python", "range"),
            MemberKind::Aiokafka => python("aiokafka", "range"),
            MemberKind::Kafkajs => {
                let mut command = Kafkajs::command();
                command.args(["member", bootstrap, topic, group]);
                command
            }
            MemberKind::Console | MemberKind::ConsoleNext => {
                let mut command = kafka_script();
                command.args(["tool", "org.apache.kafka.tools.consumer.ConsoleConsumer"]);
                command.args(["--bootstrap-server", bootstrap, "--topic", topic, "--group", group, "--from-beginning"]);
                // By KIP-848 the broker sets the times of a session.
                let protocol: &[&str] = match self.is_next() {
                    true => &["group.protocol=consumer"],
                    false => &["session.timeout.ms=6000", "heartbeat.interval.ms=1000"],
                };
                for setting in protocol.iter().chain(&["auto.commit.interval.ms=100"]) {
                    command.args(["--command-property", setting]);
                }
                for setting in ["print.partition=true", "print.offset=true", "key.separator= "] {
                    command.args(["--formatter-property", setting]);
                }
                command
            }
        }
    }
}

/// A running member; dropping it kills it.
#[derive(Debug)]
pub struct Member {
    child: Child,
    read: Arc<Mutex<BTreeSet<String>>>,
}

impl Member {
    /// Starts a member, which reads from the beginning what nobody has committed yet.
    pub fn start(kind: MemberKind, bootstrap: &str, topic: &str, group: &str) -> anyhow::Result<Member> {
        let mut command = kind.command(bootstrap, topic, group);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        // A tool that a script starts dies with the script.
        command.process_group(0);
        let mut child = command.spawn().with_context(|| format!("start {command:?}"))?;
        let stdout = child.stdout.take().context("the member's standard output")?;
        let read: Arc<Mutex<BTreeSet<String>>> = Arc::default();
        let all = Arc::clone(&read);
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(value) = line.rsplit(' ').next() {
                    all.lock().unwrap_or_else(PoisonError::into_inner).insert(value.to_owned());
                }
            }
        });
        Ok(Member { child, read })
    }

    /// The values that it has read.
    pub fn read(&self) -> BTreeSet<String> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends it without a word to the broker.
    pub fn kill9(&mut self) -> anyhow::Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        let group = Pid::from_raw(i32::try_from(self.child.id())?).context("a child's process id")?;
        kill_process_group(group, Signal::KILL)?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.kill9());
    }
}

/// Waits until `done` says so of what the members have read; `what` is for the report.
pub fn wait_until(members: &[&Member], what: &str, done: impl Fn(&[BTreeSet<String>]) -> bool) -> anyhow::Result<()> {
    let until = Instant::now() + READ_TIME_MAX;
    loop {
        let read: Vec<BTreeSet<String>> = members.iter().map(|member| member.read()).collect();
        if done(&read) {
            return Ok(());
        }
        if Instant::now() > until {
            let counts: Vec<usize> = read.iter().map(BTreeSet::len).collect();
            bail!("{what}: not within {READ_TIME_MAX:?}; the members have read {counts:?} values");
        }
        thread::sleep(LOOK_EVERY);
    }
}
