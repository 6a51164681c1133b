//! Client quotas through tools that others wrote: Kafka's own sets and describes them, and its clients are held to them.
//!
//! A client that is held takes at least as long as its bytes need beyond what the windows give at once; a slow machine only makes
//! that longer. `CAIRN_JUDGE_BROKER=kafka` runs the suite against Apache Kafka: what passes there has to pass here.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use cairn_tests::broker::{Broker, Kind, kafka_script};
use cairn_tests::clients::{Client, Console, From, Kcat, Place, tool};
use cairn_tests::lanes::{self, Work};
use cairn_tests::process::run;
use cairn_tests::report::{Suite, Verdict};

const CONFIGS: &str = "kafka.admin.ConfigCommand";
const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";

/// What a client may send or fetch in a second.
const BYTES_PER_SECOND: u32 = 500_000;
/// What it sends.
const RECORDS: u32 = 3_500;
const RECORD_BYTES: u32 = 1_000;
/// The windows that are full: so many seconds' worth are given at once.
const WINDOWS_FULL: u32 = 2;

/// A case: what it saw, or what was wrong.
type Judge = fn(&Broker) -> anyhow::Result<Verdict>;

fn main() -> ExitCode {
    let suite = Suite::new("quotas");
    let kind = match Kind::from_environment() {
        Ok(kind) => kind,
        Err(error) => {
            suite.fail("no broker to judge", &error);
            return suite.close();
        }
    };
    let missing = &Console.missing().or_else(|| Kcat.missing());
    let cases: [(&str, Judge); 3] = [("kafka-configs", configs), ("produce", produce), ("fetch", fetch)];
    let work = cases.map(|(name, judge)| -> Work<'_> {
        Box::new(move |suite, broker| {
            suite.case(name, || {
                missing.as_ref().map_or_else(|| judge(broker), |missing| Ok(Verdict::Skipped(missing.clone())))
            });
        })
    });
    let settings = ["num.partitions=1", "quota.window.num=3", "auto.create.topics.enable=true"];
    lanes::run(&suite, &kind, &settings, work.into());
    suite.close()
}

fn configs(broker: &Broker) -> anyhow::Result<Verdict> {
    let bootstrap = broker.bootstrap();
    let ask = |arguments: &[&str]| tool(CONFIGS, &bootstrap, arguments);
    let of_client = ["--entity-type", "clients", "--entity-name", "x"];
    let any_client = ["--entity-type", "clients", "--entity-default"];
    let of_both = ["--entity-type", "users", "--entity-name", "u", "--entity-type", "clients", "--entity-name", "x"];
    let of_address = ["--entity-type", "ips", "--entity-name", "10.0.0.1"];
    let alter = |of: &[&str], what: &[&str]| ask(&[&["--alter"], what, of].concat());
    let describe = |of: &[&str]| ask(&[&["--describe"], of].concat());

    alter(&of_client, &["--add-config", "producer_byte_rate=1024,consumer_byte_rate=2048"])?;
    alter(&any_client, &["--add-config", "request_percentage=12.5"])?;
    alter(&of_both, &["--add-config", "controller_mutation_rate=3.5"])?;
    alter(&of_address, &["--add-config", "connection_creation_rate=100"])?;
    for (of, expected) in [
        (&of_client[..], ["consumer_byte_rate=2048.0", "producer_byte_rate=1024.0"].as_slice()),
        (&any_client, &["request_percentage=12.5"]),
        (&of_both, &["controller_mutation_rate=3.5"]),
        (&of_address, &["connection_creation_rate=100.0"]),
    ] {
        let told = describe(of)?;
        ensure!(expected.iter().all(|value| told.contains(value)), "{of:?}: {told}");
    }
    alter(&of_client, &["--delete-config", "producer_byte_rate"])?;
    let told = describe(&of_client)?;
    ensure!(told.contains("consumer_byte_rate") && !told.contains("producer_byte_rate"), "after deletion: {told}");
    let refused = alter(&of_client, &["--add-config", "producer_byte_rate=-5"]);
    ensure!(refused.is_err(), "a rate below zero is taken: {refused:?}");
    Ok(Verdict::Passed("clients, users, both and addresses are set, described and deleted".to_owned()))
}

/// What a client that is held needs at the least.
fn least() -> Duration {
    let seconds = f64::from(RECORDS * RECORD_BYTES) / f64::from(BYTES_PER_SECOND) - f64::from(WINDOWS_FULL);
    // The window that is not full yet gives up to one more.
    Duration::from_secs_f64(seconds - 1.0)
}

/// Sends the records as fast as it may, in Java's small batches; gives how long that took, and its own summary.
fn send(bootstrap: &str, topic: &str, client: &str) -> anyhow::Result<(Duration, String)> {
    let mut command = kafka_script();
    command.args(["tool", "org.apache.kafka.tools.ProducerPerformance", "--topic", topic, "--throughput", "-1"]);
    command.args(["--num-records", &RECORDS.to_string(), "--record-size", &RECORD_BYTES.to_string()]);
    command.args(["--producer-props", &format!("bootstrap.servers={bootstrap}"), &format!("client.id={client}")]);
    let begun = Instant::now();
    let said = run(&mut command, b"")?;
    let last = said.text()?.lines().last().context("a summary")?.to_owned();
    Ok((begun.elapsed(), last))
}

fn produce(broker: &Broker) -> anyhow::Result<Verdict> {
    let bootstrap = broker.bootstrap();
    let rate = format!("producer_byte_rate={BYTES_PER_SECOND}");
    tool(
        CONFIGS,
        &bootstrap,
        &["--alter", "--add-config", &rate, "--entity-type", "clients", "--entity-name", "held"],
    )?;
    tool(TOPICS, &bootstrap, &["--create", "--topic", "held"])?;
    let (took, summary) = send(&bootstrap, "held", "held")?;
    ensure!(took >= least(), "{took:?} is less than {:?}: {summary}", least());
    let (_, free) = send(&bootstrap, "held", "free")?;
    Ok(Verdict::Passed(format!("held: {summary}; free: {free}")))
}

fn fetch(broker: &Broker) -> anyhow::Result<Verdict> {
    let bootstrap = broker.bootstrap();
    let rate = format!("consumer_byte_rate={BYTES_PER_SECOND}");
    let place = Place { bootstrap: bootstrap.clone(), topic: "fetched".to_owned(), partition: 0 };
    tool(TOPICS, &bootstrap, &["--create", "--topic", "fetched"])?;
    send(&bootstrap, "fetched", "free")?;
    // kcat says that it is `rdkafka`; the default is for all that have none of their own.
    tool(CONFIGS, &bootstrap, &["--alter", "--add-config", &rate, "--entity-type", "clients", "--entity-default"])?;
    let count = usize::try_from(RECORDS)?;
    let begun = Instant::now();
    let read = Kcat.consume(&place, From::Offset(0), count)?;
    let took = begun.elapsed();
    ensure!(read.len() == count, "{} of {} records", read.len(), count);
    ensure!(took >= least(), "{took:?} is less than {:?}", least());
    Ok(Verdict::Passed(format!("{} records in {:.1} s", read.len(), took.as_secs_f64())))
}
