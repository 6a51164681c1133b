//! Several log dirs through tools that others wrote: Kafka's own and kafka-python describe them and move partitions between them
//! while kcat produces; one is lost while the broker runs, is missing when it starts, and is served again when it is back.
//!
//! `CAIRN_JUDGE_BROKER=kafka` runs the suite against Apache Kafka: what passes there has to pass here.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use cairn_tests::broker::{Broker, Kind};
use cairn_tests::clients::{Client, Codec, Console, From, Kcat, Place, Python, tool};
use cairn_tests::process::run;
use cairn_tests::record::Outgoing;
use cairn_tests::report::{Suite, Verdict, say};
use serde_json::{Value, json};

const TOPIC: &str = "spread";
const PARTITIONS: i32 = 4;
/// Small segments, so that a dir that is lost is missed soon.
const SETTINGS: [&str; 3] = ["num.partitions=4", "log.segment.bytes=1048576", "offsets.topic.num.partitions=1"];
/// Bytes of a record, and records that are written at a time.
const RECORD: usize = 1 << 10;
const ROUND: usize = 200;
/// Rounds that are there before a partition is moved.
const BEFORE: usize = 30;
/// Rounds that are written while it moves, at most: what is written faster than it may move would keep it from arriving.
const MEANWHILE_MAX: usize = 40;
/// How fast Kafka's tool lets a partition move: that takes seconds, in which is produced.
const MOVED_PER_SECOND: &str = "4000000";
/// How often is looked, and after which pause, whether something has come about.
const LOOKS_MAX: usize = 120;
const PAUSE: Duration = Duration::from_millis(250);
/// Rounds, some segments' worth, within which a lost dir has to be missed.
const UNNOTICED_MAX: usize = 30;

fn main() -> ExitCode {
    let suite = Suite::new("log-dirs");
    let missing = Console.missing().or_else(|| Kcat.missing()).or_else(|| Python::kafka_python().missing());
    let started = Kind::from_environment().and_then(|kind| Broker::start_with_dirs(kind, &SETTINGS, &["data", "more"]));
    let mut broker = match started {
        Ok(broker) => broker,
        Err(error) => {
            suite.fail("no broker to judge", &error);
            return suite.close();
        }
    };
    say(&format!("log-dirs: against {} at {}", broker.kind().name(), broker.bootstrap()));
    // Each begins with what the one before it has left.
    let cases: [(&str, Judge); 7] = [
        ("described", described),
        ("moved-by-kafka-python", moved_by_kafka_python),
        ("moved-by-kafka-reassign-partitions", moved_by_kafka),
        ("moved-to-none", moved_to_none),
        ("lost-while-running", lost_while_running),
        ("missing-at-start", missing_at_start),
        ("back", back),
    ];
    let mut written = vec![0; usize::try_from(PARTITIONS).unwrap_or_default()];
    for (name, judge) in cases {
        let mut do_it = || match &missing {
            Some(missing) => Ok(Verdict::Skipped(missing.clone())),
            None => judge(&mut broker, &mut written).map(Verdict::Passed),
        };
        // A filter on names leaves out the report and not the deed.
        if suite.wants(name) {
            suite.case(name, do_it);
        } else if let Err(error) = do_it() {
            suite.fail(name, &error);
        }
    }
    suite.close()
}

/// A case: what it saw, or what was wrong. It is given how many records were acknowledged by partition, and keeps that true.
type Judge = fn(&mut Broker, &mut [usize]) -> anyhow::Result<String>;

fn place(broker: &Broker, partition: i32) -> Place {
    Place { bootstrap: broker.bootstrap(), topic: TOPIC.to_owned(), partition }
}

fn values(from: usize) -> Vec<Outgoing> {
    let value = |number: usize| format!("{:.<RECORD$}", format!("{number} ")).into_bytes();
    (from..from + ROUND).map(|number| Outgoing { value: Some(value(number)), ..Outgoing::default() }).collect()
}

/// All that was acknowledged of a partition is there, in its order and once.
fn read_all(place: &Place, written: usize) -> anyhow::Result<()> {
    let read = Kcat.consume(place, From::Offset(0), written)?;
    ensure!(read.len() == written, "{} of {written} records of partition {}", read.len(), place.partition);
    for (number, record) in read.iter().enumerate() {
        let begins = format!("{number} ");
        let is_it = record.value.as_ref().is_some_and(|value| value.starts_with(begins.as_bytes()));
        ensure!(is_it && record.offset == i64::try_from(number)?, "another record at offset {}", record.offset);
    }
    Ok(())
}

/// What kafka-python is told of the log dirs.
fn told_kafka_python(broker: &Broker) -> anyhow::Result<Vec<Value>> {
    let mut command = Python::kafka_python().command();
    let said = run(command.args(["dirs", &broker.bootstrap(), TOPIC]), b"")?;
    Ok(serde_json::from_str(said.text()?)?)
}

/// What `kafka-log-dirs` says of them.
fn told_kafka(broker: &Broker) -> anyhow::Result<Vec<Value>> {
    let of_topic = ["--describe", "--topic-list", TOPIC];
    let said = tool("org.apache.kafka.tools.LogDirsCommand", &broker.bootstrap(), &of_topic)?;
    let line = said.lines().find(|line| line.starts_with('{')).with_context(|| format!("JSON in {said}"))?;
    let told: Value = serde_json::from_str(line)?;
    Ok(told["brokers"][0]["logDirs"].as_array().cloned().unwrap_or_default())
}

fn described(broker: &mut Broker, _written: &mut [usize]) -> anyhow::Result<String> {
    let make = ["--create", "--topic", TOPIC, "--partitions", &PARTITIONS.to_string()];
    tool("org.apache.kafka.tools.TopicCommand", &broker.bootstrap(), &make)?;
    let told = told_kafka(broker)?;
    let mut dirs: Vec<PathBuf> = told.iter().filter_map(|dir| Some(dir["logDir"].as_str()?.into())).collect();
    dirs.sort();
    ensure!(dirs == broker.dirs(), "the log dirs are {dirs:?}");
    for dir in &told {
        let here = dir["partitions"].as_array().map_or(0, Vec::len);
        ensure!(dir["error"].is_null() && here == 2, "not two partitions in each: {told:?}");
    }
    let told = told_kafka_python(broker)?;
    let is_well =
        |dir: &&Value| dir["error_code"] == 0 && dir["topics"][0]["partitions"].as_array().map_or(0, Vec::len) == 2;
    ensure!(told.iter().filter(is_well).count() == 2, "kafka-python is told {told:?}");
    Ok("two dirs with two partitions each".to_owned())
}

/// The log dir that a partition is in, and the other one.
fn from_and_to(broker: &Broker, partition: i32) -> anyhow::Result<(PathBuf, PathBuf)> {
    let is_in = |dir: &PathBuf| dir.join(format!("{TOPIC}-{partition}")).is_dir();
    let (here, others): (Vec<PathBuf>, Vec<PathBuf>) = broker.dirs().into_iter().partition(is_in);
    let [from] = &here[..] else { bail!("partition {partition} is in {here:?}") };
    Ok((from.clone(), others.first().context("another log dir")?.clone()))
}

/// Moves a partition while kcat produces to it; `go` asks for that and returns when it has come about. All is read back.
fn moved(
    broker: &Broker,
    written: &mut [usize],
    partition: i32,
    go: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<String> {
    let place = place(broker, partition);
    let (_, to) = from_and_to(broker, partition)?;
    let count = &mut written[usize::try_from(partition)?];
    for _ in 0..BEFORE {
        Kcat.produce(&place, Codec::None, &values(*count))?;
        *count += ROUND;
    }
    let (before, acked, is_moved) = (*count, AtomicUsize::new(*count), AtomicBool::new(false));
    let (gone, produced) = thread::scope(|scope| {
        let producer = scope.spawn(|| -> anyhow::Result<()> {
            for _ in 0..MEANWHILE_MAX {
                if is_moved.load(Ordering::Relaxed) {
                    break;
                }
                Kcat.produce(&place, Codec::None, &values(acked.load(Ordering::Relaxed)))?;
                acked.fetch_add(ROUND, Ordering::Relaxed);
            }
            Ok(())
        });
        let gone = go(&to);
        is_moved.store(true, Ordering::Relaxed);
        (gone, producer.join().map_err(|_| anyhow!("the producer panicked")))
    });
    *count = acked.into_inner();
    gone?;
    produced?.context("while the partition moves")?;
    let (now, _) = from_and_to(broker, partition)?;
    ensure!(now == to, "it is in {}", now.display());
    ensure!(*count > before, "nothing was written while it moved");
    read_all(&place, *count)?;
    Ok(format!("{count} records, {} of them while it moved", *count - before))
}

fn moved_by_kafka_python(broker: &mut Broker, written: &mut [usize]) -> anyhow::Result<String> {
    const PARTITION: i32 = 0;
    moved(broker, written, PARTITION, |to| {
        let dir = to.to_string_lossy();
        let mut command = Python::kafka_python().command();
        let said = run(command.args(["move", &broker.bootstrap(), TOPIC, &PARTITION.to_string(), &dir]), b"")?;
        ensure!(said.text()?.trim() == "NoError", "it was answered {}", said.text()?);
        for _ in 0..LOOKS_MAX {
            let told = told_kafka_python(broker)?;
            let there = told.iter().filter(|told| told["log_dir"] == *dir).flat_map(|dir| dir["topics"].as_array());
            let mut partitions = there.flatten().flat_map(|topic| topic["partitions"].as_array()).flatten();
            if partitions.any(|it| it["partition_index"] == PARTITION && it["is_future_key"] == false) {
                return Ok(());
            }
            thread::sleep(PAUSE);
        }
        bail!("it does not arrive: {:?}", told_kafka_python(broker)?)
    })
}

fn moved_by_kafka(broker: &mut Broker, written: &mut [usize]) -> anyhow::Result<String> {
    const TOOL: &str = "org.apache.kafka.tools.reassign.ReassignPartitionsCommand";
    const PARTITION: i32 = 1;
    let plan = tempfile::NamedTempFile::with_prefix("cairn-reassign-")?;
    let file = plan.path().to_string_lossy().into_owned();
    moved(broker, written, PARTITION, |to| {
        let partition = json!({ "topic": TOPIC, "partition": PARTITION, "replicas": [1], "log_dirs": [to] });
        std::fs::write(plan.path(), json!({ "version": 1, "partitions": [partition] }).to_string())?;
        let throttle = ["--replica-alter-log-dirs-throttle", MOVED_PER_SECOND];
        let execute = [&["--execute", "--reassignment-json-file", &file], &throttle[..]].concat();
        let said = tool(TOOL, &broker.bootstrap(), &execute)?;
        ensure!(said.contains("Successfully started moving log directory"), "it said: {said}");
        let mut said = String::new();
        for _ in 0..LOOKS_MAX {
            said = tool(TOOL, &broker.bootstrap(), &["--verify", "--reassignment-json-file", &file])?;
            if said.contains("completed successfully") {
                return Ok(());
            }
            ensure!(said.contains("is still in progress"), "it said: {said}");
        }
        bail!("it does not arrive: {said}")
    })
}

fn moved_to_none(broker: &mut Broker, written: &mut [usize]) -> anyhow::Result<String> {
    let mut command = Python::kafka_python().command();
    let said = run(command.args(["move", &broker.bootstrap(), TOPIC, "2", "/nowhere/at/all"]), b"")?;
    ensure!(said.text()?.trim() == "LogDirNotFoundError", "it was answered {}", said.text()?);
    for (partition, count) in (0..).zip(written.iter_mut()).filter(|(_, count)| **count == 0) {
        Kcat.produce(&place(broker, partition), Codec::None, &values(0))?;
        *count = ROUND;
    }
    Ok("refused".to_owned())
}

/// Where a dir is put away.
fn away(dir: &Path) -> PathBuf {
    dir.with_extension("away")
}

/// The partitions in the first dir, and those in the second.
fn by_dir(broker: &Broker) -> anyhow::Result<(Vec<i32>, Vec<i32>)> {
    let second = &broker.dirs()[1];
    let second = if second.is_dir() { second.clone() } else { away(second) };
    let is_there = |partition: &i32| second.join(format!("{TOPIC}-{partition}")).is_dir();
    let (second, first): (Vec<i32>, Vec<i32>) = (0..PARTITIONS).partition(is_there);
    ensure!(!first.is_empty() && !second.is_empty(), "all partitions are in one dir");
    Ok((first, second))
}

/// The second dir does not serve, and the first is read and written.
fn is_served_in_part(broker: &Broker, written: &mut [usize]) -> anyhow::Result<String> {
    let (first, second) = by_dir(broker)?;
    for &partition in &first {
        let (place, count) = (place(broker, partition), &mut written[usize::try_from(partition)?]);
        Kcat.produce(&place, Codec::None, &values(*count))?;
        *count += ROUND;
        read_all(&place, *count)?;
    }
    for &partition in &second {
        ensure!(leader(broker, partition)? == -1, "partition {partition} has a leader, and no dir");
    }
    let told = told_kafka(broker)?;
    for (dir, is_lost) in broker.dirs().iter().zip([false, true]) {
        let named = told.iter().find(|told| told["logDir"].as_str() == dir.to_str());
        let error = named.and_then(|told| told["error"].as_str());
        // One that was never opened need not be named.
        let is_told =
            error.is_some_and(|error| error.contains("KafkaStorageException")) || (is_lost && named.is_none());
        ensure!(is_told == is_lost, "of {} kafka-log-dirs says {named:?}", dir.display());
    }
    Ok(format!("{} partitions are served, {} are offline", first.len(), second.len()))
}

/// The leader of a partition, as kcat is told.
fn leader(broker: &Broker, partition: i32) -> anyhow::Result<i64> {
    let mut command = std::process::Command::new("kcat");
    let said = run(command.args(["-L", "-J", "-b", &broker.bootstrap(), "-t", TOPIC]), b"")?;
    let told: Value = serde_json::from_str(said.text()?)?;
    let partitions = told["topics"][0]["partitions"].as_array().context("partitions")?;
    let found = partitions.iter().find(|told| told["partition"] == partition);
    found.and_then(|told| told["leader"].as_i64()).with_context(|| format!("partition {partition} in {told}"))
}

fn lost_while_running(broker: &mut Broker, written: &mut [usize]) -> anyhow::Result<String> {
    let dir = broker.dirs()[1].clone();
    let (_, lost) = by_dir(broker)?;
    std::fs::rename(&dir, away(&dir))?;
    // What is open is written on; the next segment cannot be made.
    let (partition, mut tries) = (lost[0], 0);
    let count = usize::try_from(partition)?;
    while leader(broker, partition)? != -1 {
        if is_taken(&place(broker, partition), written[count])? {
            written[count] += ROUND;
        }
        tries += 1;
        ensure!(tries < UNNOTICED_MAX, "nobody misses {}", dir.display());
    }
    is_served_in_part(broker, written)
}

/// Writes a round; false if it was not acknowledged, which says nothing of what is in the log of it.
fn is_taken(place: &Place, from: usize) -> anyhow::Result<bool> {
    let mut command = std::process::Command::new("kcat");
    command.args(["-P", "-b", &place.bootstrap, "-t", &place.topic, "-p", &place.partition.to_string()]);
    command.args(["-X", "acks=all", "-X", "enable.idempotence=true", "-X", "message.timeout.ms=4000"]);
    let values = values(from).into_iter().filter_map(|record| record.value);
    let lines: Vec<u8> = values.flat_map(|value| [value, b"\n".to_vec()].concat()).collect();
    let said = run(&mut command, &lines);
    match said {
        Ok(said) => Ok(!said.stderr.contains("failed")),
        Err(error) if format!("{error:#}").contains("Delivery failed") => Ok(false),
        Err(error) => Err(error),
    }
}

fn missing_at_start(broker: &mut Broker, written: &mut [usize]) -> anyhow::Result<String> {
    let dir = broker.dirs()[1].clone();
    broker.kill9()?;
    // A file in its place: Apache Kafka would make a dir that is missing anew, and its partitions empty.
    std::fs::write(&dir, b"no dir")?;
    broker.restart()?;
    is_served_in_part(broker, written)
}

fn back(broker: &mut Broker, written: &mut [usize]) -> anyhow::Result<String> {
    let dir = broker.dirs()[1].clone();
    broker.kill9()?;
    std::fs::remove_file(&dir)?;
    std::fs::rename(away(&dir), &dir)?;
    broker.restart()?;
    for (partition, count) in (0..).zip(written.iter()) {
        let place = place(broker, partition);
        read_all(&place, *count)?;
        // Behind it there may be some of the round that was not acknowledged.
        Kcat.produce(&place, Codec::None, &values(*count))?;
    }
    Ok(format!("{} records", written.iter().sum::<usize>()))
}
