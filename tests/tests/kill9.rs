//! A broker under `kill -9` every few seconds, with foreign producers that wait for acks=all and a reader that commits: nothing that
//! was acknowledged is lost, repeated, reordered or changed, and no committed offset goes back.
//!
//! `CAIRN_KILL9_SECONDS` is how long (default 20; the long run is 600), `CAIRN_KILL9_RATE` the records a second of each producer.

use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use cairn_tests::broker::{Broker, Kind};
use cairn_tests::clients::{Client, Kcat, Place, Python};
use cairn_tests::dice::Dice;
use cairn_tests::history::{Event, History, Seen, Value, judge};
use cairn_tests::process::run;
use cairn_tests::report::{Suite, Verdict, say};
use cairn_tests::streams::{Stream, now_ns};

const TOPIC: &str = "kill9";
const PARTITIONS: i32 = 4;
/// Between a broker that is ready and its next death, in milliseconds.
const LIFE_MS: std::ops::Range<u64> = 1_500..5_000;
/// How many anomalies are printed one by one.
const PRINTED_MAX: usize = 20;

fn main() -> ExitCode {
    let suite = Suite::new("kill9");
    suite.case("foreign-producers", || {
        for client in [&Kcat as &dyn Client, &Python::confluent(), &Python::kafka_python()] {
            if let Some(missing) = client.missing() {
                return Ok(Verdict::Skipped(missing));
            }
        }
        foreign_producers().map(Verdict::Passed)
    });
    suite.close()
}

fn parameter(name: &str, default: u64) -> anyhow::Result<u64> {
    std::env::var(name).map_or(Ok(default), |text| text.parse().with_context(|| format!("{name}={text}")))
}

/// A producer, and how many acknowledgements it had to get after the last restart for the broker to be alive to it.
const PRODUCERS: [&str; 3] = ["confluent-kafka", "kafka-python", "kcat"];

fn foreign_producers() -> anyhow::Result<String> {
    let seconds = parameter("CAIRN_KILL9_SECONDS", 20)?;
    let rate = u32::try_from(parameter("CAIRN_KILL9_RATE", 200)?)?;
    let mut dice = Dice::from_environment("kill9");
    let mut broker = Broker::start(Kind::from_environment()?, &[&format!("num.partitions={PARTITIONS}")])?;
    let place = Place { bootstrap: broker.bootstrap(), topic: TOPIC.to_owned(), partition: 0 };
    // The topic is there, with all its partitions, before anybody names one of them.
    run(
        Command::new("kcat").args(["-L", "-b", &place.bootstrap, "-t", TOPIC, "-X", "allow.auto.create.topics=true"]),
        b"",
    )?;

    let streams = [
        Stream::produce(&Python::confluent(), 0, &place, PARTITIONS, rate)?,
        Stream::produce(&Python::kafka_python(), 1, &place, PARTITIONS, rate)?,
        Stream::kcat(2, &place, rate)?,
        Stream::follow(&Python::confluent(), 3, &place, PARTITIONS)?,
    ];

    let until = Instant::now() + Duration::from_secs(seconds);
    let mut recoveries = Vec::new();
    while Instant::now() < until {
        // The length of a life is the experiment, not a wait for something.
        thread::sleep(Duration::from_millis(dice.among(LIFE_MS)));
        broker.kill9()?;
        recoveries.push(broker.restart().with_context(|| format!("after kill {}", recoveries.len() + 1))?);
    }
    let last_restart_ns = now_ns();
    // A last life in peace: every producer has to get through again.
    thread::sleep(Duration::from_millis(LIFE_MS.end));

    let mut history = History::default();
    let mut late_acks = [0; PRODUCERS.len()];
    for (process, stream) in streams.into_iter().enumerate() {
        let events = stream.end()?;
        if let Some(late) = late_acks.get_mut(process) {
            let acked = |event: &&Event| event.at > last_restart_ns && matches!(event.seen, Seen::Acked(..));
            *late = events.iter().filter(acked).count();
        }
        history.add(events);
    }
    for (name, late) in PRODUCERS.iter().zip(late_acks) {
        ensure!(late > 0, "{name} got no acknowledgement after the last of {} kills", recoveries.len());
    }
    for partition in 0..PARTITIONS {
        history.add(read_to_the_end(&place, partition)?);
    }

    let history = history.in_order();
    let anomalies = judge(&history);
    for anomaly in anomalies.iter().take(PRINTED_MAX) {
        say(&format!("kill9: {anomaly}"));
    }
    ensure!(anomalies.is_empty(), "{} anomalies after {} kills", anomalies.len(), recoveries.len());

    recoveries.sort();
    let longest = recoveries.last().copied().unwrap_or_default();
    Ok(format!(
        "kills={} acked={} read={} commits={} lost=0 recovery_ms median={} max={}",
        recoveries.len(),
        history.count(|seen| matches!(seen, Seen::Acked(..))),
        history.count(|seen| matches!(seen, Seen::Read(..))),
        history.count(|seen| matches!(seen, Seen::Committed(_))),
        recoveries[recoveries.len() / 2].as_millis(),
        longest.as_millis()
    ))
}

/// The last reading: all that is there, from the beginning, by a client that has seen nothing before.
fn read_to_the_end(place: &Place, partition: i32) -> anyhow::Result<Vec<Event>> {
    let process = 100 + u32::try_from(partition)?;
    let mut command = Command::new("kcat");
    command.args(["-C", "-q", "-e", "-o", "beginning", "-f", "%o %s\n", "-b", &place.bootstrap, "-t", &place.topic]);
    command.args(["-p", &partition.to_string()]);
    let said = run(&mut command, b"")?;
    let event = |seen| Event { at: now_ns(), process, partition, seen };
    let mut events = vec![event(Seen::Positioned(0))];
    for line in said.text()?.lines() {
        let (offset, value) = line.split_once(' ').with_context(|| line.to_owned())?;
        events.push(event(Seen::Read(offset.parse()?, Value::from_text(value))));
    }
    Ok(events)
}
