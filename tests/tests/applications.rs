//! Programs of Apache Kafka that use a broker as users' programs do: its verifiable clients, its load generators, its topic tool, a
//! Kafka Streams application, and Kafka Connect with its file connectors. Each has to give the right output, two of them over the
//! death of the broker.
//!
//! `CAIRN_JUDGE_BROKER=kafka` runs the suite against Apache Kafka: what passes there has to pass here.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, ensure};
use cairn_tests::broker::{Broker, Kind, kafka_script};
use cairn_tests::clients::application::Application;
use cairn_tests::clients::{Client, Codec, Console, Place, consumer_groups, tool};
use cairn_tests::lanes::{self, Work};
use cairn_tests::process::run;
use cairn_tests::record::Outgoing;
use cairn_tests::report::{Suite, Verdict, say};
use serde_json::Value;
use tempfile::TempDir;

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
const OFFSETS: &str = "org.apache.kafka.tools.GetOffsetShell";

/// A case: what it saw, or what was wrong.
type Judge = fn(&mut Broker) -> anyhow::Result<String>;

fn main() -> ExitCode {
    let suite = Suite::new("applications");
    let kind = match Kind::from_environment() {
        Ok(kind) => kind,
        Err(error) => {
            suite.fail("no broker to judge", &error);
            return suite.close();
        }
    };
    say(&format!("applications: against {}", kind.name()));
    let missing = &Console.missing();
    let cases: [(&str, Judge); 6] = [
        ("streams", streams),
        ("reset-offsets", reset_offsets),
        ("connect", connect),
        ("topics", topics),
        ("verifiable", verifiable),
        ("load", load),
    ];
    let work = cases.map(|(name, judge)| -> Work<'_> {
        Box::new(move |suite, broker| {
            suite.case(name, || match missing {
                Some(missing) => Ok(Verdict::Skipped(missing.clone())),
                None => judge(broker).map(Verdict::Passed),
            });
        })
    });
    let settings = ["num.partitions=1", "auto.create.topics.enable=true", "group.initial.rebalance.delay.ms=0"];
    lanes::run(&suite, &kind, &settings, work.into());
    suite.close()
}

/// `kafka-topics`: a topic's life.
fn topics(broker: &mut Broker) -> anyhow::Result<String> {
    let bootstrap = broker.bootstrap();
    let ask = |arguments: &[&str]| tool(TOPICS, &bootstrap, arguments);
    let of_topic = ["--topic", "tooled.topic"];
    let asked = |arguments: &[&str]| ask(&[arguments, &of_topic].concat());
    asked(&["--create", "--partitions", "3", "--replication-factor", "1", "--config", "cleanup.policy=compact"])?;
    let again = asked(&["--create"]).err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(again.contains("already exists"), "created twice: {again}");
    asked(&["--create", "--if-not-exists"])?;
    let told = asked(&["--describe"])?;
    ensure!(told.contains("PartitionCount: 3") && told.contains("cleanup.policy=compact"), "described as {told}");
    ensure!(
        told.lines().filter(|line| line.contains("Leader: 1\tReplicas: 1\tIsr: 1")).count() == 3,
        "leaders: {told}"
    );
    asked(&["--alter", "--partitions", "5"])?;
    ensure!(asked(&["--describe"])?.contains("PartitionCount: 5"), "the partitions are not more");
    let fewer = asked(&["--alter", "--partitions", "2"]).err().map(|error| format!("{error:#}")).unwrap_or_default();
    ensure!(fewer.contains("InvalidPartitionsException"), "made fewer: {fewer}");
    ensure!(ask(&["--list", "--exclude-internal"])?.lines().any(|line| line == "tooled.topic"), "not listed");
    ensure!(ask(&["--describe", "--under-replicated-partitions"])?.trim().is_empty(), "something is under-replicated");
    asked(&["--delete"])?;
    ensure!(!ask(&["--list"])?.lines().any(|line| line == "tooled.topic"), "listed after its deletion");
    Ok("created, described, altered, listed, deleted".to_owned())
}

/// `kafka-verifiable-producer` and `-consumer`: each says of each record what became of it.
fn verifiable(broker: &mut Broker) -> anyhow::Result<String> {
    const WRITTEN: usize = 2_000;
    let bootstrap = broker.bootstrap();
    let count = WRITTEN.to_string();
    tool(TOPICS, &bootstrap, &["--create", "--topic", "verifiable", "--partitions", "3"])?;
    let to = ["--topic", "verifiable", "--max-messages", &count];
    let told = tool("org.apache.kafka.tools.VerifiableProducer", &bootstrap, &[&to[..], &["--acks", "-1"]].concat())?;
    let sent: Vec<Value> = events(&told, "producer_send_success");
    let places: HashSet<(u64, u64)> =
        sent.iter().filter_map(|event| Some((event["partition"].as_u64()?, event["offset"].as_u64()?))).collect();
    ensure!(places.len() == WRITTEN, "{} places of {} acknowledged", places.len(), sent.len());

    let from = [&to[..], &["--group-id", "verifiable", "--reset-policy", "earliest"]].concat();
    let told = tool("org.apache.kafka.tools.VerifiableConsumer", &bootstrap, &from)?;
    let sum = |name: &str| events(&told, name).iter().filter_map(|event| event["count"].as_u64()).sum::<u64>();
    ensure!(sum("records_consumed") == u64::try_from(WRITTEN)?, "{} consumed", sum("records_consumed"));
    let committed = events(&told, "offsets_committed");
    ensure!(!committed.is_empty(), "nothing was committed");
    ensure!(committed.iter().all(|event| event["success"] == Value::Bool(true)), "a commit failed: {committed:?}");
    let lag = lags(&bootstrap, "verifiable")?;
    // A partition that was given no record has no line.
    ensure!(!lag.is_empty() && lag.iter().all(|&lag| lag == 0), "lags {lag:?}");
    Ok(format!("{WRITTEN} records, {} commits", committed.len()))
}

/// The events of one name among the lines that a verifiable client prints.
fn events(told: &str, name: &str) -> Vec<Value> {
    let lines = told.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|event| event["name"] == name).collect()
}

/// What `kafka-consumer-groups` says of how far behind a group is, partition by partition.
fn lags(bootstrap: &str, group: &str) -> anyhow::Result<Vec<i64>> {
    let told = consumer_groups(bootstrap, &["--describe", "--offsets", "--group", group])?;
    let lines = told.lines().filter(|line| line.starts_with(group));
    let lag = |line: &str| line.split_whitespace().nth(5).and_then(|word| word.parse().ok());
    lines.map(|line| lag(line).with_context(|| format!("a lag in {line:?}"))).collect()
}

/// `kafka-producer-perf-test` and `kafka-consumer-perf-test` in a group.
fn load(broker: &mut Broker) -> anyhow::Result<String> {
    let bootstrap = broker.bootstrap();
    tool(TOPICS, &bootstrap, &["--create", "--topic", "load", "--partitions", "4"])?;
    let mut producer = kafka_script();
    producer.args(["tool", "org.apache.kafka.tools.ProducerPerformance", "--topic", "load", "--num-records", "50000"]);
    producer.args(["--record-size", "200", "--throughput", "-1", "--bootstrap-server", &bootstrap]);
    producer.args(["--command-property", "compression.type=lz4", "--command-property", "acks=all"]);
    let told = run(&mut producer, b"")?;
    ensure!(told.text()?.contains("50000 records sent"), "the producer said: {}", told.text()?);
    let ends = tool(OFFSETS, &bootstrap, &["--topic", "load"])?;
    let written: u64 = ends.lines().filter_map(|line| line.rsplit(':').next()?.parse::<u64>().ok()).sum();
    ensure!(written == 50_000, "{written} records are there: {ends}");

    let from = ["--topic", "load", "--num-records", "50000", "--group", "load", "--hide-header"];
    let told = tool("org.apache.kafka.tools.ConsumerPerformance", &bootstrap, &from)?;
    ensure!(told.lines().any(|line| line.split(", ").nth(4) == Some("50000")), "the consumer said: {told}");
    let lag = lags(&bootstrap, "load")?;
    ensure!(lag == [0, 0, 0, 0], "lags {lag:?}");
    Ok("50000 records written and read".to_owned())
}

/// `kafka-consumer-groups --reset-offsets`: each of its ways, on the group of the load.
fn reset_offsets(broker: &mut Broker) -> anyhow::Result<String> {
    let bootstrap = broker.bootstrap();
    let place = Place { bootstrap: bootstrap.clone(), topic: "reset".to_owned(), partition: 0 };
    let record = |number: i64| Outgoing { value: Some(number.to_string().into_bytes()), ..Outgoing::default() };
    Console.produce(&place, Codec::None, &(0..10).map(record).collect::<Vec<_>>())?;
    let group = ["--group", "reset", "--topic", "reset:0"];
    let ways: [(&[&str], i64); 6] = [
        (&["--to-offset", "7"], 7),
        (&["--shift-by", "-3"], 4),
        (&["--to-current"], 4),
        (&["--to-latest"], 10),
        (&["--to-earliest"], 0),
        (&["--to-datetime", "2000-01-01T00:00:00.000"], 0),
    ];
    for (way, offset) in ways {
        let told = consumer_groups(&bootstrap, &[&["--reset-offsets", "--execute"], way, &group[..]].concat())?;
        let expected = ["reset".to_owned(), "reset".to_owned(), "0".to_owned(), offset.to_string()];
        ensure!(told.lines().any(|line| line.split_whitespace().take(4).eq(&expected)), "{way:?} said {told}");
        let lag = lags(&bootstrap, "reset")?;
        ensure!(lag == [10 - offset], "after {way:?} the lag is {lag:?}");
    }
    Ok(format!("{} ways", ways.len()))
}

/// Properties as a Java program reads them.
fn write_properties(file: &Path, properties: &[(&str, &str)]) -> anyhow::Result<()> {
    let lines: Vec<String> = properties.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
    Ok(std::fs::write(file, lines.concat())?)
}

/// The word count of Kafka Streams' examples: a repartition topic, a store with its changelog, at-least-once. The counts are exact, and
/// when the broker was killed nothing is missing from them.
fn streams(broker: &mut Broker) -> anyhow::Result<String> {
    const INPUT: &str = "streams-plaintext-input";
    const OUTPUT: &str = "streams-wordcount-output";
    let bootstrap = broker.bootstrap();
    let folder = TempDir::with_prefix("cairn-streams-")?;
    for topic in [INPUT, OUTPUT] {
        tool(TOPICS, &bootstrap, &["--create", "--topic", topic, "--partitions", "2"])?;
    }
    let lines: Vec<String> =
        (0..100).map(|number| format!("all streams lead to kafka {} number{}", number % 7, number % 13)).collect();
    let mut expected: BTreeMap<String, i64> = BTreeMap::new();
    let write = |lines: &[String], expected: &mut BTreeMap<String, i64>| -> anyhow::Result<()> {
        for word in lines.iter().flat_map(|line| line.split(' ')) {
            *expected.entry(word.to_owned()).or_default() += 1;
        }
        let place = Place { bootstrap: bootstrap.clone(), topic: INPUT.to_owned(), partition: 0 };
        let records: Vec<Outgoing> = lines
            .iter()
            .map(|line| Outgoing { value: Some(line.clone().into_bytes()), ..Outgoing::default() })
            .collect();
        Console.produce(&place, Codec::None, &records)
    };
    write(&lines, &mut expected)?;

    let config = folder.path().join("streams.properties");
    let state = folder.path().join("state");
    write_properties(
        &config,
        &[("bootstrap.servers", &bootstrap), ("state.dir", &state.to_string_lossy()), ("commit.interval.ms", "200")],
    )?;
    let log = folder.path().join("streams.log");
    let class = "org.apache.kafka.streams.examples.wordcount.WordCountDemo";
    let mut application = Application::start(class, &[&config], &log)?;
    application.wait_until("the counts of the first lines", || Ok(counts(&bootstrap, OUTPUT)? == expected))?;

    broker.kill9()?;
    broker.restart()?;
    write(&lines, &mut expected)?;
    // At least once: what is counted again when the broker is away makes a count larger, and never smaller.
    application.wait_until("the counts over the broker's death", || {
        let counted = counts(&bootstrap, OUTPUT)?;
        Ok(expected.iter().all(|(word, count)| counted.get(word).is_some_and(|counted| counted >= count)))
    })?;
    application.stop()?;
    let words = expected.values().sum::<i64>();
    Ok(format!("{words} words, {} of them different, the broker killed", expected.len()))
}

/// The last count of each word in the output topic.
fn counts(bootstrap: &str, topic: &str) -> anyhow::Result<BTreeMap<String, i64>> {
    let ends = tool(OFFSETS, bootstrap, &["--topic", topic])?;
    let there: i64 = ends.lines().filter_map(|line| line.rsplit(':').next()?.parse::<i64>().ok()).sum();
    if there == 0 {
        return Ok(BTreeMap::new());
    }
    let mut command = kafka_script();
    command.args(["tool", "org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", bootstrap]);
    command.args(["--topic", topic, "--from-beginning", "--max-messages", &there.to_string(), "--timeout-ms", "20000"]);
    command.args(["--formatter-property", "print.key=true", "--formatter-property"]);
    command.arg("value.deserializer=org.apache.kafka.common.serialization.LongDeserializer");
    let told = run(&mut command, b"")?;
    let pair = |line: &str| {
        let (word, count) = line.split_once('\t').with_context(|| format!("a word and a count in {line:?}"))?;
        Ok((word.to_owned(), count.parse()?))
    };
    // A word's partition keeps its counts in order.
    told.text()?.lines().map(pair).collect()
}

/// Kafka Connect, standalone: lines of a file become records, and the records lines of another file.
fn connect(broker: &mut Broker) -> anyhow::Result<String> {
    let bootstrap = broker.bootstrap();
    let folder = TempDir::with_prefix("cairn-connect-")?;
    let path = |name: &str| folder.path().join(name);
    let text = |path: &PathBuf| path.to_string_lossy().into_owned();
    let (from, to, offsets) = (path("from.txt"), path("to.txt"), path("offsets"));
    let string = "org.apache.kafka.connect.storage.StringConverter";
    let worker = path("worker.properties");
    write_properties(
        &worker,
        &[
            ("bootstrap.servers", &bootstrap),
            ("key.converter", string),
            ("value.converter", string),
            ("offset.storage.file.filename", &text(&offsets)),
            ("offset.flush.interval.ms", "500"),
            ("listeners", "http://127.0.0.1:0"),
            ("plugin.discovery", "service_load"),
        ],
    )?;
    let source = path("source.properties");
    write_properties(
        &source,
        &[
            ("name", "file-source"),
            ("connector.class", "FileStreamSource"),
            ("tasks.max", "1"),
            ("file", &text(&from)),
            ("topic", "connect-lines"),
        ],
    )?;
    let sink = path("sink.properties");
    write_properties(
        &sink,
        &[
            ("name", "file-sink"),
            ("connector.class", "FileStreamSink"),
            ("tasks.max", "1"),
            ("file", &text(&to)),
            ("topics", "connect-lines"),
        ],
    )?;
    let class = "org.apache.kafka.connect.cli.ConnectStandalone";
    let start = || Application::start(class, &[&worker, &source, &sink], &path("connect.log"));
    let mut written = String::new();
    let mut append = |range: std::ops::Range<usize>| -> anyhow::Result<String> {
        for number in range {
            written.push_str(&format!("line {number} of the file\n"));
        }
        std::fs::write(&from, &written)?;
        Ok(written.clone())
    };
    let arrived = || std::fs::read_to_string(&to).unwrap_or_default();

    let lines = append(0..200)?;
    let mut worker = start()?;
    worker.wait_until("the first lines arrive", || Ok(arrived() == lines))?;
    worker.stop()?;
    let lines = append(200..400)?;
    let mut worker = start()?;
    worker.wait_until("lines written while it was away arrive, and none twice", || Ok(arrived() == lines))?;
    broker.kill9()?;
    broker.restart()?;
    let lines = append(400..600)?;
    worker.wait_until("lines arrive over the broker's death", || {
        let arrived = arrived();
        let there: HashSet<&str> = arrived.lines().collect();
        Ok(lines.lines().all(|line| there.contains(line)))
    })?;
    worker.stop()?;
    Ok("600 lines, the worker restarted, the broker killed".to_owned())
}
