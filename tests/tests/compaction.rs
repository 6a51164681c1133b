//! Compaction judged by others: Kafka's LogCompactionTester with segments that really roll; a compacted topic read by kcat; Kafka's
//! dump tool and our own on its files; and the folder of each broker opened by the other.
//!
//! `CAIRN_JUDGE_BROKER=kafka` runs the suite against Apache Kafka: what passes there has to pass here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use cairn_tests::broker::{Broker, Kind, kafka_script};
use cairn_tests::clients::{Client, Codec, Console, Kcat, Place, tool};
use cairn_tests::lanes::{self, Work};
use cairn_tests::process::{run, run_within};
use cairn_tests::record::Outgoing;
use cairn_tests::report::{Suite, Verdict};

/// Segments are ended by their age, soon, and compacted as soon as anything in them is dirty.
const SETTINGS: [&str; 6] = [
    "num.partitions=1",
    "log.segment.bytes=1048576",
    "log.roll.ms=500",
    "log.cleaner.backoff.ms=100",
    "log.cleaner.min.cleanable.ratio=0.01",
    "log.retention.check.interval.ms=1000",
];
/// Records that the tester writes, each key about five times: several segments full, since Kafka ends one only at an append.
const TESTED: &str = "200000";
/// It sleeps while it is compacted, and waits 20 seconds for the end of what it reads.
const TESTER_TIME_MAX: Duration = Duration::from_secs(180);
/// What it has to lose of them, in percent, or nothing was compacted worth the name.
const REDUCTION_MIN: f64 = 40.0;

const KEYS: usize = 40;
const ROUNDS: usize = 20;
/// A key whose records only push the others out of the active segment.
const PUSH: &str = "push";
/// How often, and after which pause, it is looked whether the cleaner was there.
const LOOKS_MAX: usize = 240;
const PAUSE: Duration = Duration::from_millis(250);

/// The newest value of each key; none is a tombstone.
type Table = BTreeMap<String, Option<String>>;

fn main() -> ExitCode {
    let suite = Suite::new("compaction");
    let kind = match Kind::from_environment() {
        Ok(kind) => kind,
        Err(error) => {
            suite.fail("no broker to judge", &error);
            return suite.close();
        }
    };
    let missing = Kcat.missing().or_else(|| Console.missing());
    let or_skip = |judge: &dyn Fn() -> anyhow::Result<String>| match &missing {
        Some(missing) => Ok(Verdict::Skipped(missing.clone())),
        None => judge().map(Verdict::Passed),
    };
    // The tester sleeps most of its time.
    let work: Vec<Work<'_>> = vec![
        Box::new(|suite, broker| suite.case("log-compaction-tester", || or_skip(&|| tester(broker)))),
        Box::new(|suite, broker| newest_of_each_key(suite, broker, missing.as_ref())),
    ];
    let mut brokers = lanes::run(&suite, &kind, &SETTINGS, work);
    suite.case("graceful-stop", || {
        brokers.iter_mut().try_for_each(Broker::stop)?;
        Ok(Verdict::Passed("exit code 0".to_owned()))
    });
    let folders: Vec<PathBuf> = brokers.iter().map(Broker::data).collect();
    suite.case("dumped-by-kafka", || or_skip(&|| dump(&folders)));
    if let Kind::Cairn(binary) = &kind {
        suite.case("verified", || or_skip(&|| verify(binary, &folders)));
    }
    suite.close()
}

/// kcat finds the newest of each key; then other brokers open the folder, and this one that of Kafka.
fn newest_of_each_key(suite: &Suite, broker: &mut Broker, missing: Option<&String>) {
    let skipped = |missing: &String| Ok(Verdict::Skipped(missing.clone()));
    // Outside of the cases, so that a filter on names leaves out reports and not the deeds.
    let table = if missing.is_none() { compacted(broker, "table") } else { Ok(Table::new()) };
    suite.case("kcat-reads-the-newest-of-each-key", || match (missing, &table) {
        (Some(missing), _) => skipped(missing),
        (None, Ok(table)) => Ok(Verdict::Passed(format!("{} keys", table.len()))),
        (None, Err(error)) => bail!("{error:#}"),
    });
    let (Ok(table), Kind::Cairn(binary)) = (table, broker.kind().clone()) else { return };
    suite.case("opened-by-kafka", || match missing {
        Some(missing) => skipped(missing),
        None => opened_by(Kind::Kafka, broker, &table).map(Verdict::Passed),
    });
    suite.case("kafkas-is-opened", || match missing {
        Some(missing) => skipped(missing),
        None => kafkas_is_opened(&binary).map(Verdict::Passed),
    });
}

fn tester(broker: &Broker) -> anyhow::Result<String> {
    let mut command = kafka_script();
    command.args(["tool", "org.apache.kafka.tools.LogCompactionTester", "--bootstrap-server", &broker.bootstrap()]);
    command.args(["--messages", TESTED, "--percent-deletes", "10", "--sleep", "10"]);
    let said = run_within(TESTER_TIME_MAX, &mut command, b"")?;
    let said = said.text()?;
    ensure!(said.contains("Data verification is completed") && said.contains(" 0 mismatches"), "it said: {said}");
    let line = said.lines().find(|line| line.contains("% reduction")).with_context(|| format!("it said: {said}"))?;
    let percent = line.rsplit_once('(').and_then(|(_, rest)| rest.split('%').next()).context("a percentage")?;
    ensure!(percent.parse::<f64>()? >= REDUCTION_MIN, "too little was compacted: {line}");
    Ok(line.to_owned())
}

/// Fills a topic and waits until the cleaner has left one record of each key. Answers what has to be there.
fn compacted(broker: &Broker, topic: &str) -> anyhow::Result<Table> {
    let place = Place { bootstrap: broker.bootstrap(), topic: topic.to_owned(), partition: 0 };
    make_topic(&place)?;
    let mut table = Table::new();
    for round in 0..ROUNDS {
        let records: Vec<Outgoing> = (0..KEYS)
            .map(|number| {
                // kcat writes an empty value as none.
                let value = (number != round).then(|| format!("{round} {}", "v".repeat(100 + number)));
                table.insert(format!("key {number}"), value.clone());
                record(&format!("key {number}"), value.as_deref())
            })
            .collect();
        Kcat.produce(&place, Codec::ALL[round % Codec::ALL.len()], &records)?;
    }
    let mut seen = 0;
    for _ in 0..LOOKS_MAX {
        Kcat.produce(&place, Codec::None, &[record(PUSH, Some("on"))])?;
        let read: Vec<(String, Option<String>)> =
            read_all(&place)?.into_iter().filter(|(key, _)| key != PUSH).collect();
        let found: Table = read.iter().cloned().collect();
        ensure!(found == table, "a reader does not find the newest of each key: {found:?}");
        if read.len() == table.len() {
            return Ok(table);
        }
        seen = read.len();
        thread::sleep(PAUSE);
    }
    bail!("{seen} records are left of {} keys", table.len())
}

fn make_topic(place: &Place) -> anyhow::Result<()> {
    let args = ["--create", "--topic", &place.topic, "--partitions", "1", "--config", "cleanup.policy=compact"];
    tool("org.apache.kafka.tools.TopicCommand", &place.bootstrap, &args).map(drop)
}

fn record(key: &str, value: Option<&str>) -> Outgoing {
    let bytes = |text: &str| text.as_bytes().to_vec();
    Outgoing { key: Some(bytes(key)), value: value.map(bytes), ..Outgoing::default() }
}

/// All records of a partition from its start to its end, by kcat.
fn read_all(place: &Place) -> anyhow::Result<Vec<(String, Option<String>)>> {
    let mut command = Command::new("kcat");
    command.args(["-b", &place.bootstrap, "-t", &place.topic, "-p", &place.partition.to_string()]);
    command.args(["-C", "-q", "-e", "-o", "beginning", "-f", "%k\t%S\t%s\n"]);
    let said = run(&mut command, b"")?;
    said.text()?
        .lines()
        .map(|line| {
            let mut fields = line.splitn(3, '\t');
            let mut field = || fields.next().with_context(|| format!("three fields in {line:?}"));
            let (key, length, value) = (field()?, field()?, field()?);
            Ok((key.to_owned(), (length != "-1").then(|| value.to_owned())))
        })
        .collect()
}

/// The files of the compacted partitions that Kafka's tool knows.
fn files(folders: &[PathBuf], endings: &[&str]) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let found: Vec<_> = folders.iter().map(std::fs::read_dir).collect::<Result<_, _>>()?;
    for folder in found.into_iter().flatten() {
        let folder = folder?;
        let name = folder.file_name().to_string_lossy().into_owned();
        if !name.starts_with("table-") && !name.starts_with("log-cleaner-test") {
            continue;
        }
        for file in std::fs::read_dir(folder.path())? {
            let path = file?.path();
            if path.extension().is_some_and(|ending| endings.iter().any(|wanted| ending == *wanted)) {
                files.push(path);
            }
        }
    }
    ensure!(!files.is_empty(), "no {endings:?} in {folders:?}");
    Ok(files)
}

fn dump(folders: &[PathBuf]) -> anyhow::Result<String> {
    let files = files(folders, &["log", "index", "timeindex"])?;
    let names: Vec<String> = files.iter().map(|path| path.to_string_lossy().into_owned()).collect();
    let mut command = kafka_script();
    command.args(["tool", "org.apache.kafka.tools.DumpLogSegments", "--deep-iteration", "--files", &names.join(",")]);
    let said = run(&mut command, b"")?;
    let text = said.text()?;
    // That offsets are not consecutive it says too, as of any compacted log.
    let words = ["isvalid: false", "mismatch", "invalid bytes", "out of order"];
    let is_wrong = |line: &&str| words.iter().any(|word| line.to_lowercase().contains(word));
    if let Some(wrong) = text.lines().find(is_wrong) {
        bail!("it said: {wrong}");
    }
    let records = text.lines().filter(|line| line.trim_start().starts_with("| offset: ")).count();
    ensure!(records > KEYS, "{records} records in {} files", files.len());
    Ok(format!("{} files, {records} records", files.len()))
}

fn verify(binary: &Path, folders: &[PathBuf]) -> anyhow::Result<String> {
    let mut told = Vec::new();
    for data in folders {
        let said = run(Command::new(binary).args(["log", "verify"]).arg(data), b"")?;
        told.push(said.text()?.lines().last().unwrap_or_default().to_owned());
    }
    Ok(told.join("; "))
}

/// Another broker, with the files of this one's partition in the place of its own.
fn opened_by(kind: Kind, from: &mut Broker, table: &Table) -> anyhow::Result<String> {
    let mut other = Broker::start(kind, &SETTINGS)?;
    from.stop()?;
    let place = Place { bootstrap: other.bootstrap(), topic: "table".to_owned(), partition: 0 };
    make_topic(&place)?;
    other.stop()?;
    let (source, target) = (from.data().join("table-0"), other.data().join("table-0"));
    for file in std::fs::read_dir(&target)? {
        let file = file?;
        if file.file_name() != "partition.metadata" {
            std::fs::remove_file(file.path())?;
        }
    }
    for file in std::fs::read_dir(&source)? {
        let file = file?;
        if file.file_name() != "partition.metadata" {
            std::fs::copy(file.path(), target.join(file.file_name()))?;
        }
    }
    from.restart()?;
    if matches!(other.kind(), Kind::Cairn(_)) {
        // It speaks of the log that was there before.
        std::fs::remove_file(other.data().join("checkpoint"))?;
    }
    other.restart()?;
    let found: Table = read_all(&place)?.into_iter().filter(|(key, _)| key != PUSH).collect();
    ensure!(found == *table, "it reads {found:?}");
    // It goes on with it, and compacts it.
    Kcat.produce(&place, Codec::None, &[record("key 0", Some("newest"))])?;
    let found: Table = read_all(&place)?.into_iter().collect();
    ensure!(found["key 0"].as_deref() == Some("newest"), "it does not go on");
    Ok(format!("{} keys", table.len()))
}

fn kafkas_is_opened(binary: &Path) -> anyhow::Result<String> {
    let mut kafka = Broker::start(Kind::Kafka, &SETTINGS)?;
    let table = compacted(&kafka, "table")?;
    opened_by(Kind::Cairn(binary.to_owned()), &mut kafka, &table)
}
