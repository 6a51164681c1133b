//! Clients that others wrote, against a real broker: what each writes, every other reads, with each compression, with keys, headers
//! and timestamps, from an offset and from a time; and each goes on at its committed offset when the broker was killed.
//!
//! `CAIRN_JUDGE_BROKER=kafka` runs the suite against Apache Kafka: what passes there has to pass here.

use std::collections::HashSet;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail, ensure};
use cairn_tests::broker::{Broker, Kind};
use cairn_tests::clients::{self, Client, Codec, From, Place, Writes, dump_log};
use cairn_tests::lanes::{self, Work};
use cairn_tests::record::{Outgoing, Record};
use cairn_tests::report::{Suite, Verdict, say};

/// Records that a client writes with one compression.
const WRITTEN: usize = 24;

fn main() -> ExitCode {
    let suite = Suite::new("foreign");
    let kind = match Kind::from_environment() {
        Ok(kind) => kind,
        Err(error) => {
            suite.fail("no broker to judge", &error);
            return suite.close();
        }
    };
    let clients: Vec<(Box<dyn Client>, Option<String>)> = clients::all()
        .into_iter()
        .map(|client| (client.missing(), client))
        .map(|(missing, client)| (client, missing))
        .collect();
    if kind == Kind::Kafka
        && clients.iter().any(|(client, missing)| client.name() == "kafka-console" && missing.is_some())
    {
        say("SKIP foreign: Apache Kafka cannot run here");
        return ExitCode::FAILURE;
    }

    // Records of years ago are written and read: nothing may go by its age while the suite runs.
    let settings = [
        "num.partitions=1",
        "auto.create.topics.enable=true",
        "group.initial.rebalance.delay.ms=0",
        "log.retention.check.interval.ms=86400000",
    ];
    say(&format!("foreign: against {}", kind.name()));
    let clients = &clients;
    let work: Vec<Work<'_>> = vec![
        Box::new(move |suite, broker| {
            for codec in Codec::ALL {
                matrix(suite, broker, codec, clients);
            }
            on_disk(suite, broker, clients);
        }),
        Box::new(move |suite, broker| {
            positions(suite, broker, clients);
            for (client, missing) in clients.iter().filter(|(client, _)| client.name() != "kafka-console") {
                resume(suite, broker, client.as_ref(), missing.as_ref());
            }
        }),
        Box::new(move |suite, broker| {
            if let Some((console, missing)) = clients.iter().find(|(client, _)| client.name() == "kafka-console") {
                admin_tools(suite, broker, console.as_ref(), missing.as_ref());
            }
        }),
    ];
    lanes::run(&suite, &kind, &settings, work);
    suite.close()
}

/// What Kafka's admin tools are to say, on both brokers.
fn admin_tools(suite: &Suite, broker: &Broker, console: &dyn Client, missing: Option<&String>) {
    const CONFIGS: &str = "kafka.admin.ConfigCommand";
    const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";
    const OFFSETS: &str = "org.apache.kafka.tools.GetOffsetShell";
    const LOG_DIRS: &str = "org.apache.kafka.tools.LogDirsCommand";
    const PRODUCERS: &str = "org.apache.kafka.tools.TransactionsCommand";
    let place = Place { bootstrap: broker.bootstrap(), topic: "tools".to_owned(), partition: 0 };
    let of_topic = ["--entity-type", "topics", "--entity-name", "tools"];
    let of_brokers = ["--entity-type", "brokers", "--entity-default"];
    let of_broker = ["--entity-type", "brokers", "--entity-name", "1"];
    let of_loggers = ["--entity-type", "broker-loggers", "--entity-name", "1"];
    let value = Outgoing { value: Some(b"value".to_vec()), ..Outgoing::default() };
    // Outside of the cases, so that a filter on names leaves out reports and not the deeds.
    let made = match missing {
        Some(_) => Ok(()),
        None => clients::tool(TOPICS, &place.bootstrap, &["--create", "--topic", "tools", "--partitions", "1"])
            .and_then(|_| console.produce(&place, Codec::None, &vec![value; 9])),
    };
    suite.case("tools/topic-and-records", || match missing {
        Some(missing) => Ok(Verdict::Skipped(missing.clone())),
        None => made.map(|()| Verdict::Passed("9 records".to_owned())),
    });
    #[rustfmt::skip]
    let cases: [(&str, &str, Vec<&str>, &str); 16] = [
        ("topic-config-set", CONFIGS, [&["--alter", "--add-config", "retention.ms=86400000,compression.type=gzip"][..], &of_topic].concat(), "Completed updating config for topic tools."),
        ("topic-config-told", CONFIGS, [&["--describe"][..], &of_topic].concat(), "  retention.ms=86400000 sensitive=false synonyms={DYNAMIC_TOPIC_CONFIG:retention.ms=86400000"),
        ("topic-config-deleted", CONFIGS, [&["--alter", "--delete-config", "retention.ms"][..], &of_topic].concat(), "Completed updating config for topic tools."),
        ("brokers-config-set", CONFIGS, [&["--alter", "--add-config", "log.retention.ms=3600000,num.io.threads=4"][..], &of_brokers].concat(), "Completed updating default config for brokers in the cluster."),
        ("brokers-config-told", CONFIGS, [&["--describe"][..], &of_brokers].concat(), "  log.retention.ms=3600000 sensitive=false synonyms={DYNAMIC_DEFAULT_BROKER_CONFIG:log.retention.ms=3600000}"),
        ("broker-config-set", CONFIGS, [&["--alter", "--add-config", "log.retention.ms=7200000"][..], &of_broker].concat(), "Completed updating config for broker 1."),
        ("broker-config-told", CONFIGS, [&["--describe"][..], &of_broker].concat(), "  log.retention.ms=7200000 sensitive=false synonyms={DYNAMIC_BROKER_CONFIG:log.retention.ms=7200000, DYNAMIC_DEFAULT_BROKER_CONFIG:log.retention.ms=3600000, DEFAULT_CONFIG:log.retention.hours=168}"),
        ("broker-config-inherited", CONFIGS, [&["--describe", "--all"][..], &of_topic].concat(), "  retention.ms=7200000 sensitive=false synonyms={DYNAMIC_BROKER_CONFIG:log.retention.ms=7200000, DYNAMIC_DEFAULT_BROKER_CONFIG:log.retention.ms=3600000, DEFAULT_CONFIG:log.retention.hours=168}"),
        ("broker-config-deleted", CONFIGS, [&["--alter", "--delete-config", "log.retention.ms"][..], &of_broker].concat(), "Completed updating config for broker 1."),
        ("brokers-config-deleted", CONFIGS, [&["--alter", "--delete-config", "log.retention.ms,num.io.threads"][..], &of_brokers].concat(), "Completed updating default config for brokers in the cluster."),
        ("broker-config-all", CONFIGS, [&["--describe", "--all"][..], &of_broker].concat(), "  log.retention.hours=168 sensitive=false synonyms={DEFAULT_CONFIG:log.retention.hours=168}"),
        ("logger-set", CONFIGS, [&["--alter", "--add-config", "root=ERROR"][..], &of_loggers].concat(), "Completed updating config for broker-logger 1."),
        ("logger-told", CONFIGS, [&["--describe"][..], &of_loggers].concat(), "  root=ERROR sensitive=false synonyms={}"),
        ("log-dirs", LOG_DIRS, vec!["--describe", "--topic-list", "tools"], "\"partition\":\"tools-0\""),
        ("producers", PRODUCERS, vec!["describe-producers", "--topic", "tools", "--partition", "0"], "ProducerId"),
        ("offsets", OFFSETS, vec!["--topic", "tools"], "tools:0:9"),
    ];
    for (name, class, args, expected) in cases {
        suite.case(&format!("tools/{name}"), || {
            if let Some(missing) = missing {
                return Ok(Verdict::Skipped(missing.clone()));
            }
            let said = clients::tool(class, &place.bootstrap, &args)?;
            ensure!(said.contains(expected), "expected {expected:?}, and it said: {said}");
            Ok(Verdict::Passed(expected.trim().chars().take(60).collect()))
        });
    }
    suite.case("tools/read-only-config", || {
        if let Some(missing) = missing {
            return Ok(Verdict::Skipped(missing.clone()));
        }
        let args = [&["--alter", "--add-config", "num.partitions=3"][..], &of_broker].concat();
        let Err(refused) = clients::tool(CONFIGS, &place.bootstrap, &args) else { bail!("it was set") };
        let refused = format!("{refused:#}");
        let expected = "Cannot update these configs dynamically: [num.partitions]";
        ensure!(refused.contains(expected), "expected {expected:?}, and it said: {refused}");
        Ok(Verdict::Passed("refused".to_owned()))
    });
    suite.case("tools/delete-records", || {
        if let Some(missing) = missing {
            return Ok(Verdict::Skipped(missing.clone()));
        }
        let file = std::env::temp_dir().join(format!("cairn-delete-records-{}.json", std::process::id()));
        let wanted = r#"{"version": 1, "partitions": [{"topic": "tools", "partition": 0, "offset": 4}]}"#;
        std::fs::write(&file, wanted)?;
        let path = file.to_string_lossy().into_owned();
        let said = clients::tool(
            "org.apache.kafka.tools.DeleteRecordsCommand",
            &place.bootstrap,
            &["--offset-json-file", &path],
        );
        std::fs::remove_file(&file)?;
        let said = said?;
        ensure!(said.contains("partition: tools-0\tlow_watermark: 4"), "it said: {said}");
        let starts = clients::tool(OFFSETS, &place.bootstrap, &["--topic", "tools", "--time", "earliest"])?;
        ensure!(starts.contains("tools:0:4"), "offsets: {starts}");
        Ok(Verdict::Passed("up to offset 4".to_owned()))
    });
}

/// Something that was written, and when.
struct Expected {
    record: Outgoing,
    writer: &'static str,
    not_before_ms: i64,
    not_after_ms: i64,
}

/// All clients write to one topic, one after the other; then each reads all of it.
fn matrix(suite: &Suite, broker: &Broker, codec: Codec, clients: &[(Box<dyn Client>, Option<String>)]) {
    let place = Place { bootstrap: broker.bootstrap(), topic: format!("matrix-{codec}"), partition: 0 };
    let mut expected: Vec<Expected> = Vec::new();
    for (client, missing) in clients {
        suite.case(&format!("{codec}/{}/writes", client.name()), || {
            if let Some(missing) = missing {
                return Ok(Verdict::Skipped(missing.clone()));
            }
            let records = records(client.as_ref(), codec);
            let not_before_ms = now_ms()?;
            client.produce(&place, codec, &records)?;
            let not_after_ms = now_ms()?;
            let writer = client.name();
            expected.extend(records.into_iter().map(|record| Expected { record, writer, not_before_ms, not_after_ms }));
            Ok(Verdict::Passed(format!("{WRITTEN} records")))
        });
    }
    for (client, missing) in clients {
        suite.case(&format!("{codec}/{}/reads-all", client.name()), || {
            if let Some(missing) = missing {
                return Ok(Verdict::Skipped(missing.clone()));
            }
            ensure!(!expected.is_empty(), "nobody wrote");
            let read = client.consume(&place, From::Offset(0), expected.len())?;
            compare(&expected, &read)?;
            let writers: HashSet<_> = expected.iter().map(|expected| expected.writer).collect();
            Ok(Verdict::Passed(format!("{} records of {} writers", read.len(), writers.len())))
        });
    }
}

/// After a graceful stop Kafka's own dump tool reads the segments to the end, and finds each batch compressed as it was sent.
fn on_disk(suite: &Suite, broker: &mut Broker, clients: &[(Box<dyn Client>, Option<String>)]) {
    let missing =
        clients.iter().find(|(client, _)| client.name() == "kafka-console").and_then(|(_, missing)| missing.clone());
    // Outside of the case, so that a filter on names leaves out the report and not the deed.
    let stopped = broker.stop();
    suite.case("graceful-stop", || stopped.map(|()| Verdict::Passed("exit code 0".to_owned())));
    for codec in Codec::ALL {
        suite.case(&format!("{codec}/on-disk"), || {
            if let Some(missing) = &missing {
                return Ok(Verdict::Skipped(missing.clone()));
            }
            let segment = broker.data().join(format!("matrix-{codec}-0/00000000000000000000.log"));
            let dump = dump_log(&segment)?;
            let batches: Vec<&str> = dump.lines().filter(|line| line.starts_with("baseOffset: ")).collect();
            ensure!(!batches.is_empty(), "no batch in {}", segment.display());
            let word = format!("compresscodec: {codec} ");
            let others = batches.iter().filter(|line| !line.to_lowercase().contains(&word)).count();
            ensure!(others == 0, "{others} of {} batches are not in {codec}: {}", batches.len(), batches[0]);
            Ok(Verdict::Passed(format!("{} batches", batches.len())))
        });
    }
    let restarted = broker.restart();
    suite.case("restart", || restarted.map(|time| Verdict::Passed(format!("ready in {:.3} s", time.as_secs_f32()))));
}

/// Keys, tombstones, headers and timestamps as far as the client can write them.
fn records(client: &dyn Client, codec: Codec) -> Vec<Outgoing> {
    (0..WRITTEN)
        .map(|number| {
            let mut value = format!("{codec} {} {number} ", client.name()).into_bytes();
            value.extend("grüße, 世界. ".bytes().cycle().take(16 * 96));
            if client.writes() != Writes::Text {
                value.extend([0xff, 0x00, 0xfe, 0x80]);
            }
            let key = (number % 3 != 0).then(|| format!("ключ-{}", number % 5).into_bytes());
            let headers = if number < WRITTEN / 2 { Vec::new() } else { headers(client.name()) };
            Outgoing {
                // A tombstone needs a key to say what has gone.
                value: (number % 8 != 1 || key.is_none()).then_some(value),
                key,
                headers,
                timestamp_ms: (client.writes() == Writes::BytesAt)
                    .then(|| 1_700_000_000_000 + i64::try_from(number).unwrap_or(0) * 1_000),
            }
        })
        .collect()
}

fn headers(writer: &str) -> Vec<(String, String)> {
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    vec![header("writer", writer), header("twice", "first"), header("twice", "second"), header("größe", "42 µm")]
}

fn compare(expected: &[Expected], read: &[Record]) -> anyhow::Result<()> {
    ensure!(read.len() == expected.len(), "{} records read of {}", read.len(), expected.len());
    for (number, (expected, read)) in expected.iter().zip(read).enumerate() {
        let told = || {
            let text = |bytes: &Option<Vec<u8>>| {
                bytes.as_ref().map(|bytes| String::from_utf8_lossy(&bytes[..bytes.len().min(40)]).into_owned())
            };
            format!(
                "record {number}, which {} wrote, was read as offset {} timestamp {} key {:?} value {:?} headers {:?}",
                expected.writer,
                read.offset,
                read.timestamp_ms,
                text(&read.key),
                text(&read.value),
                read.headers
            )
        };
        ensure!(read.offset == i64::try_from(number)?, "{}: expected the next offset", told());
        ensure!(read.key == expected.record.key, "{}: expected another key: {:?}", told(), expected.record.key);
        ensure!(read.value == expected.record.value, "{}: expected another value", told());
        ensure!(read.headers == expected.record.headers, "{}: expected other headers", told());
        match expected.record.timestamp_ms {
            Some(set) => ensure!(read.timestamp_ms == set, "{}: expected timestamp {set}", told()),
            None => ensure!(
                (expected.not_before_ms..=expected.not_after_ms).contains(&read.timestamp_ms),
                "{}: expected a timestamp from {} to {}",
                told(),
                expected.not_before_ms,
                expected.not_after_ms
            ),
        }
    }
    Ok(())
}

fn now_ms() -> anyhow::Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

/// From an offset inside a batch, and from a time between two records.
fn positions(suite: &Suite, broker: &Broker, clients: &[(Box<dyn Client>, Option<String>)]) {
    const FIRST_MS: i64 = 1_600_000_000_000;
    const STEP_MS: i64 = 60_000;
    const START: i64 = 17;
    let place = Place { bootstrap: broker.bootstrap(), topic: "positions".to_owned(), partition: 0 };
    let records: Vec<Outgoing> = (0..40)
        .map(|number| Outgoing {
            value: Some(format!("at {number}").into_bytes()),
            timestamp_ms: Some(FIRST_MS + number * STEP_MS),
            ..Outgoing::default()
        })
        .collect();
    let writer = clients.iter().find(|(client, missing)| client.writes() == Writes::BytesAt && missing.is_none());
    let written = match writer {
        None => Err("no client that sets timestamps".to_owned()),
        Some((writer, _)) => writer.produce(&place, Codec::Lz4, &records).map_err(|error| format!("{error:#}")),
    };
    let starts =
        [("from-offset", From::Offset(START)), ("from-time", From::Time(FIRST_MS + START * STEP_MS - STEP_MS / 2))];
    for (client, missing) in clients {
        for (name, start) in starts {
            suite.case(&format!("{name}/{}", client.name()), || {
                if let Some(missing) = missing {
                    return Ok(Verdict::Skipped(missing.clone()));
                }
                if let Err(reason) = &written {
                    return Ok(Verdict::Skipped(reason.clone()));
                }
                let read = client.consume(&place, start, 10)?;
                for (record, offset) in read.iter().zip(START..) {
                    ensure!(record.offset == offset, "offset {} where {offset} was expected", record.offset);
                    ensure!(record.value == Some(format!("at {offset}").into_bytes()), "another value at {offset}");
                    ensure!(record.timestamp_ms == FIRST_MS + offset * STEP_MS, "another timestamp at {offset}");
                }
                ensure!(read.len() == 10, "{} records of 10", read.len());
                Ok(Verdict::Passed(format!("offset {START}")))
            });
        }
    }
}

/// Reads and commits by assignment; the broker is killed; reading goes on where the commit says, twice.
fn resume(suite: &Suite, broker: &mut Broker, client: &dyn Client, missing: Option<&String>) {
    suite.case(&format!("resume-over-kill9/{}", client.name()), || {
        if let Some(missing) = missing {
            return Ok(Verdict::Skipped(missing.clone()));
        }
        let topic = format!("resume-{}", client.name());
        let group = format!("group-{}", client.name());
        let place = Place { bootstrap: broker.bootstrap(), topic, partition: 0 };
        let values = |from: usize, to: usize| -> Vec<Outgoing> {
            (from..to)
                .map(|number| Outgoing { value: Some(format!("{number}").into_bytes()), ..Outgoing::default() })
                .collect()
        };
        client.produce(&place, Codec::None, &values(0, 60))?;
        expect(&client.resume(&place, &group, 20)?, 0, 20).context("before the kill")?;
        broker.kill9()?;
        broker.restart()?;
        expect(&client.resume(&place, &group, 20)?, 20, 40).context("after one kill")?;
        broker.kill9()?;
        broker.restart()?;
        client.produce(&place, Codec::None, &values(60, 80))?;
        expect(&client.resume(&place, &group, 40)?, 40, 80).context("after two kills")?;
        Ok(Verdict::Passed("80 records, 2 kills".to_owned()))
    });
}

fn expect(read: &[Record], from: usize, to: usize) -> anyhow::Result<()> {
    let offsets: Vec<i64> = read.iter().map(|record| record.offset).collect();
    ensure!(read.len() == to - from, "read {offsets:?}, expected {from} to {to}");
    for (record, number) in read.iter().zip(from..to) {
        ensure!(record.offset == i64::try_from(number)?, "read {offsets:?}, expected {from} to {to}");
        ensure!(record.value == Some(format!("{number}").into_bytes()), "another value at {number}");
    }
    Ok(())
}
