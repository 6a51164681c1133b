//! Members of groups, most of them of clients that others wrote: processes that subscribe to a topic and say what they read.
//!
//! It must not know what a suite writes.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use super::{Client, Console, Kafkajs, Kcat, Python, tools};
use crate::broker::{binary, kafka_script, repository};

/// The longest that members may take to get hold of what is written, rebalances, ended sessions and a busy machine included.
pub const READ_TIME_MAX: Duration = Duration::from_secs(120);
/// How often is looked whether they have.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How long a member that may take its time may take between two polls, before it counts as gone. At least as long as a session.
const POLL_INTERVAL: Duration = Duration::from_secs(7);

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
    /// `cairn consume`.
    Cairn,
    /// `cairn consume` by the protocol of KIP-848.
    CairnNext,
}

impl MemberKind {
    /// All that others wrote.
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
            MemberKind::Cairn => "cairn",
            MemberKind::CairnNext => "cairn-next",
        }
    }

    /// Whether it speaks the protocol of KIP-848, in which a broker assigns the partitions.
    pub fn is_next(self) -> bool {
        matches!(self, MemberKind::ConfluentNext | MemberKind::ConsoleNext | MemberKind::CairnNext)
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
            MemberKind::Cairn | MemberKind::CairnNext => None,
        }
    }

    /// Whether it is one of our scripts, which hold between reading and committing when they are told to, and say of each commit
    /// that was refused. Others commit by themselves.
    pub fn holds(self) -> bool {
        use MemberKind::{Aiokafka, Confluent, ConfluentCooperative, ConfluentNext, KafkaPython};
        matches!(self, Confluent | ConfluentCooperative | ConfluentNext | KafkaPython | Aiokafka)
    }

    fn command(self, bootstrap: &str, topic: &str, group: &str, holding: Holding) -> anyhow::Result<Command> {
        let python = |client: &str, assignor: &str| {
            let mut command = Command::new(tools().join("venv/bin/python"));
            command.arg(repository().join("tests/foreign/members.py"));
            command.args([client, bootstrap, topic, group, assignor]);
            if holding == Holding::WhenTold {
                command.arg("hold");
            }
            command
        };
        let poll = format!("max.poll.interval.ms={}", POLL_INTERVAL.as_millis());
        Ok(match self {
            MemberKind::Cairn | MemberKind::CairnNext => {
                let mut command = Command::new(binary()?);
                let protocol = if self.is_next() { "consumer" } else { "classic" };
                command.args([
                    "consume",
                    topic,
                    "--bootstrap",
                    bootstrap,
                    "--group",
                    group,
                    "--group-protocol",
                    protocol,
                ]);
                command
            }
            MemberKind::Kcat => {
                let mut command = Command::new("kcat");
                // By itself it ends when the broker is away.
                command.args(["-b", bootstrap, "-E", "-u", "-f", "%p %o %s\\n", "-G", group]);
                for setting in ["auto.offset.reset=earliest", "session.timeout.ms=6000", "heartbeat.interval.ms=1000"] {
                    command.args(["-X", setting]);
                }
                if holding == Holding::WhenTold {
                    command.args(["-X", &poll]);
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
                let slow: &[&str] = if holding == Holding::WhenTold { &[&poll] } else { &[] };
                for setting in protocol.iter().chain(slow).chain(&["auto.commit.interval.ms=100"]) {
                    command.args(["--command-property", setting]);
                }
                for setting in ["print.partition=true", "print.offset=true", "key.separator= "] {
                    command.args(["--formatter-property", setting]);
                }
                command
            }
        })
    }
}

/// Whether a member takes its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holding {
    /// It does not.
    Never,
    /// The first time that it reads a value that begins with `hold` it waits before it commits, until it is told to go on. It may
    /// take [`POLL_INTERVAL`] for that.
    WhenTold,
}

/// A running member; dropping it kills it.
#[derive(Debug)]
pub struct Member {
    child: Child,
    said: Arc<Said>,
}

/// What a member has said so far.
#[derive(Debug, Default)]
struct Said {
    lines: Mutex<Lines>,
    /// When what it says is taken again.
    taken: Condvar,
}

#[derive(Debug, Default)]
struct Lines {
    read: BTreeSet<String>,
    refused: usize,
    /// What it says is left in its pipe, which fills.
    is_left: bool,
}

impl Said {
    /// Takes a line, as soon as lines are taken.
    fn take(&self, line: &str) {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        let mut lines = self.taken.wait_while(lines, |lines| lines.is_left).unwrap_or_else(PoisonError::into_inner);
        match line.rsplit(' ').next() {
            _ if line.starts_with("refused ") => lines.refused += 1,
            Some(value) => drop(lines.read.insert(value.to_owned())),
            None => {}
        }
    }
}

impl Member {
    /// Starts a member, which reads from the beginning what nobody has committed yet.
    pub fn start(kind: MemberKind, bootstrap: &str, topic: &str, group: &str) -> anyhow::Result<Member> {
        Member::start_holding(kind, bootstrap, topic, group, Holding::Never)
    }

    /// The same, with a member that may take its time.
    pub fn start_holding(
        kind: MemberKind,
        bootstrap: &str,
        topic: &str,
        group: &str,
        holding: Holding,
    ) -> anyhow::Result<Member> {
        let mut command = kind.command(bootstrap, topic, group, holding)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        // A tool that a script starts dies with the script.
        command.process_group(0);
        let mut child = command.spawn().with_context(|| format!("start {command:?}"))?;
        let stdout = child.stdout.take().context("the member's standard output")?;
        let said: Arc<Said> = Arc::default();
        let all = Arc::clone(&said);
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                all.take(&line);
            }
        });
        Ok(Member { child, said })
    }

    /// Stops its process where it is.
    pub fn pause(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets its process go on.
    pub fn wake(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    /// Takes nothing of what it says any more: it is stuck as soon as its pipe is full.
    pub fn leave_output(&self) {
        self.said.lines.lock().unwrap_or_else(PoisonError::into_inner).is_left = true;
    }

    /// Takes what it says again.
    pub fn take_output(&self) {
        self.said.lines.lock().unwrap_or_else(PoisonError::into_inner).is_left = false;
        self.said.taken.notify_all();
    }

    /// Tells it not to hold any longer.
    pub fn go_on(&mut self) -> anyhow::Result<()> {
        let input = self.child.stdin.as_mut().context("the member's standard input")?;
        input.write_all(b"go on\n")?;
        Ok(input.flush()?)
    }

    /// How many of its commits were refused.
    pub fn refused(&self) -> usize {
        self.said.lines.lock().unwrap_or_else(PoisonError::into_inner).refused
    }

    /// Waits until so many of its commits were refused.
    pub fn wait_until_refused(&self, count: usize) -> anyhow::Result<()> {
        let what = format!("{count} commits are refused");
        wait_until(&[self], &what, |_| self.refused() >= count)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let group = Pid::from_raw(i32::try_from(self.child.id())?).context("a child's process id")?;
        Ok(kill_process_group(group, signal)?)
    }

    /// The values that it has read.
    pub fn read(&self) -> BTreeSet<String> {
        self.said.lines.lock().unwrap_or_else(PoisonError::into_inner).read.clone()
    }

    /// Ends it without a word to the broker.
    pub fn kill9(&mut self) -> anyhow::Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        self.signal(Signal::KILL)?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.kill9());
        self.take_output();
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
