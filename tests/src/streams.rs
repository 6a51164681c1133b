//! Foreign clients that produce or read without end while something happens to the broker; each tells what it saw.
//!
//! It must not know what happens to the broker, nor judge what was seen.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use rustix::time::{ClockId, clock_gettime};

use crate::broker::kafka_script;
use crate::clients::{Place, Python};
use crate::history::{Event, Seen, Value, parse};
use crate::verifiable::{Line, consumed, produced};

/// The longest that a client may take to end after it was asked to: it waits for its last answers.
const END_TIME_MAX: Duration = Duration::from_secs(120);

/// The clock of Python's `time.monotonic_ns`, so that events of all processes can be put in order.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    seconds * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// A client at work.
#[derive(Debug)]
pub struct Stream {
    name: String,
    child: Guarded,
    work: Work,
    errors: JoinHandle<String>,
}

#[derive(Debug)]
enum Work {
    /// A script of `tests/foreign`: it ends when its input ends.
    Script { stdin: ChildStdin, lines: mpsc::Receiver<Vec<String>>, process: u32 },
    /// kcat: its input is written here, its answers come in the order of its input.
    Kcat { stop: Arc<AtomicBool>, feeder: JoinHandle<anyhow::Result<Vec<Event>>> },
    /// One of Apache Kafka's verifiable clients: it ends when it is asked to by a signal.
    Verifiable { lines: mpsc::Receiver<Vec<Line>>, parse: Parse },
}

/// What a verifiable client's lines say, once all are there.
struct Parse(Box<Parsing>);

type Parsing = dyn FnOnce(&[Line]) -> anyhow::Result<Vec<Event>> + Send;

impl std::fmt::Debug for Parse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Parse")
    }
}

/// A process group that does not outlive its judge: one that waits for an answer without end would.
#[derive(Debug)]
struct Guarded(Child);

impl Guarded {
    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let group = Pid::from_raw(i32::try_from(self.0.id())?).context("a child's process id")?;
        Ok(kill_process_group(group, signal)?)
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // It has usually ended already.
        drop(self.signal(Signal::KILL));
        drop(self.0.wait());
    }
}

impl Stream {
    /// Starts `client`'s job `stream`: numbered values, `rate` a second, round robin over `partitions`.
    pub fn produce(client: &Python, process: u32, to: &Place, partitions: i32, rate: u32) -> anyhow::Result<Stream> {
        let mut command = client.command();
        command.args(["stream", &to.bootstrap, &to.topic, &partitions.to_string()]);
        command.args([process.to_string(), rate.to_string()]);
        Stream::script(process, &mut command)
    }

    /// Starts `client`'s job `follow`: reads all partitions, commits as the group of its process, begins again at the commit.
    pub fn follow(client: &Python, process: u32, from: &Place, partitions: i32) -> anyhow::Result<Stream> {
        let mut command = client.command();
        command.args(["follow", &from.bootstrap, &from.topic, &partitions.to_string(), &format!("follow-{process}")]);
        Stream::script(process, &mut command)
    }

    fn script(process: u32, command: &mut Command) -> anyhow::Result<Stream> {
        command.process_group(0);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let stdin = child.stdin.take().context("stdin")?;
        let stdout = child.stdout.take().context("stdout")?;
        let (send, lines) = mpsc::channel();
        thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok).collect();
            // Nobody receives any more when the time was up.
            drop(send.send(lines));
        });
        let errors = collect_errors(&mut child)?;
        Ok(Stream {
            name: format!("{command:?}"),
            child: Guarded(child),
            work: Work::Script { stdin, lines, process },
            errors,
        })
    }

    /// Starts kcat as an idempotent producer to one partition, fed with numbered values at `rate` a second.
    pub fn kcat(process: u32, to: &Place, rate: u32) -> anyhow::Result<Stream> {
        let mut command = Command::new("kcat");
        command.args(["-P", "-E", "-v", "-v", "-b", &to.bootstrap, "-t", &to.topic, "-p", &to.partition.to_string()]);
        for option in ["acks=all", "enable.idempotence=true", "message.timeout.ms=0", "reconnect.backoff.max.ms=500"] {
            command.args(["-X", option]);
        }
        command.process_group(0);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut stdin = child.stdin.take().context("stdin")?;
        let stderr = child.stderr.take().context("stderr")?;
        let partition = to.partition;
        let stop = Arc::new(AtomicBool::new(false));

        let sent = Arc::new(AtomicU64::new(0));
        let answers = thread::spawn({
            let sent = Arc::clone(&sent);
            move || answers(process, partition, BufReader::new(stderr), &sent)
        });
        let feeder = thread::spawn({
            let stop = Arc::clone(&stop);
            move || -> anyhow::Result<Vec<Event>> {
                let mut events = Vec::new();
                let began = Instant::now();
                let mut number = 0;
                while !stop.load(Ordering::Relaxed) {
                    let value = Value { producer: process, number };
                    events.push(Event { at: now_ns(), process, partition, seen: Seen::Sent(value) });
                    sent.store(number + 1, Ordering::SeqCst);
                    if writeln!(stdin, "{}", value.text()).is_err() {
                        break; // kcat has ended; its exit code says so
                    }
                    number += 1;
                    // A steady rate: what is waited for is the schedule, not an outcome.
                    let due = Duration::from_secs(number) / rate;
                    thread::sleep(due.saturating_sub(began.elapsed()));
                }
                drop(stdin);
                events.extend(answers.join().map_err(|_| anyhow!("reading kcat's answers"))??);
                Ok(events)
            }
        });
        let errors = thread::spawn(String::new);
        Ok(Stream { name: format!("{command:?}"), child: Guarded(child), work: Work::Kcat { stop, feeder }, errors })
    }

    /// Starts `kafka-verifiable-producer` as process `process`, which retries without end; `config` is a file that it may write.
    pub fn verifiable_producer(
        process: u32,
        to: &Place,
        partitions: i32,
        rate: u32,
        config: &Path,
    ) -> anyhow::Result<Stream> {
        let properties = [
            "enable.idempotence=true",
            "retries=2147483647",
            "delivery.timeout.ms=2147483647",
            "max.block.ms=3600000",
            "reconnect.backoff.max.ms=500",
        ];
        std::fs::write(config, properties.join("\n"))?;
        let mut command = kafka_script();
        command.args(["tool", "org.apache.kafka.tools.VerifiableProducer", "--bootstrap-server", &to.bootstrap]);
        command.args(["--topic", &to.topic, "--acks", "-1", "--throughput", &rate.to_string()]);
        command.args(["--value-prefix", &process.to_string(), "--command-config"]).arg(config);
        let began = now_ns();
        Stream::verifiable(&mut command, Parse(Box::new(move |lines| produced(process, partitions, began, lines))))
    }

    /// Starts `kafka-verifiable-consumer` as process `process`, the only member of a group, which speaks this protocol of groups.
    pub fn verifiable_consumer(process: u32, from: &Place, protocol: &str) -> anyhow::Result<Stream> {
        let mut command = kafka_script();
        command.args(["tool", "org.apache.kafka.tools.VerifiableConsumer", "--bootstrap-server", &from.bootstrap]);
        command.args(["--topic", &from.topic, "--group-id", &format!("verifiable-{process}"), "--verbose"]);
        command.args(["--group-protocol", protocol, "--reset-policy", "earliest"]);
        Stream::verifiable(&mut command, Parse(Box::new(move |lines| consumed(process, lines))))
    }

    fn verifiable(command: &mut Command, parse: Parse) -> anyhow::Result<Stream> {
        command.process_group(0);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("stdout")?;
        let (send, lines) = mpsc::channel();
        thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            // Nobody receives any more when the time was up.
            drop(send.send(lines.map(|line| (now_ns(), line)).collect()));
        });
        let errors = collect_errors(&mut child)?;
        let work = Work::Verifiable { lines, parse };
        Ok(Stream { name: format!("{command:?}"), child: Guarded(child), work, errors })
    }

    /// Asks it to end, waits for its last answers, and returns what it saw.
    pub fn end(mut self) -> anyhow::Result<Vec<Event>> {
        let events = match self.work {
            Work::Script { stdin, lines, process } => {
                drop(stdin);
                let Ok(lines) = lines.recv_timeout(END_TIME_MAX) else {
                    self.child.0.kill()?;
                    self.child.0.wait()?;
                    let errors = self.errors.join().unwrap_or_default();
                    bail!("{} did not end within {END_TIME_MAX:?}; it said: {}", self.name, last_lines(&errors));
                };
                lines.iter().filter_map(|line| parse(process, line).transpose()).collect::<anyhow::Result<_>>()
            }
            Work::Kcat { stop, feeder } => {
                stop.store(true, Ordering::Relaxed);
                let deadline = Instant::now() + END_TIME_MAX;
                while !feeder.is_finished() {
                    if Instant::now() > deadline {
                        self.child.0.kill()?;
                        bail!("{} did not end within {END_TIME_MAX:?}", self.name);
                    }
                    thread::sleep(Duration::from_millis(50));
                }
                feeder.join().map_err(|_| anyhow!("feeding kcat"))?
            }
            Work::Verifiable { lines, parse } => {
                self.child.signal(Signal::TERM)?;
                let Ok(lines) = lines.recv_timeout(END_TIME_MAX) else {
                    drop(self.child);
                    let errors = self.errors.join().unwrap_or_default();
                    bail!("{} did not end within {END_TIME_MAX:?}; it said: {}", self.name, last_lines(&errors));
                };
                let events = (parse.0)(&lines);
                // It was ended by a signal, and says itself whether that was in order.
                self.child.0.wait()?;
                let errors = self.errors.join().unwrap_or_default();
                return events.with_context(|| format!("{} said: {}", self.name, last_lines(&errors)));
            }
        };
        let status = self.child.0.wait()?;
        let errors = self.errors.join().unwrap_or_default();
        if !status.success() {
            bail!("{}: {status}; it said: {}", self.name, last_lines(&errors));
        }
        events.with_context(|| format!("{} said: {}", self.name, last_lines(&errors)))
    }
}

fn collect_errors(child: &mut Child) -> anyhow::Result<JoinHandle<String>> {
    let mut stderr = child.stderr.take().context("stderr")?;
    Ok(thread::spawn(move || {
        let mut bytes = Vec::new();
        drop(stderr.read_to_end(&mut bytes));
        String::from_utf8_lossy(&bytes).into_owned()
    }))
}

fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(6)..].join(" / ")
}

/// kcat says one line per answer, in the order of its input.
fn answers(process: u32, partition: i32, stderr: impl BufRead, sent: &AtomicU64) -> anyhow::Result<Vec<Event>> {
    let mut events = Vec::new();
    let mut number = 0;
    for line in stderr.lines() {
        let line = line?;
        let value = Value { producer: process, number };
        if let Some(rest) = line.strip_prefix("% Message delivered to partition ") {
            let offset = rest.split_once("(offset ").and_then(|(_, rest)| rest.split_once(')'));
            let offset: i64 = offset.with_context(|| line.clone())?.0.parse()?;
            events.push(Event {
                at: now_ns(),
                process,
                partition,
                seen: Seen::Acked(value, (offset >= 0).then_some(offset)),
            });
        } else if !line.contains("Delivery failed") {
            continue; // connections that come and go
        }
        number += 1;
        let sent = sent.load(Ordering::SeqCst);
        anyhow::ensure!(number <= sent, "kcat answered {number} times to {sent} records");
    }
    Ok(events)
}
