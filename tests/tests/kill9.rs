//! A broker under `kill -9` every few seconds, with foreign producers that wait for acks=all and a reader that commits: nothing that
//! was acknowledged is lost, repeated, reordered or changed, and no committed offset goes back.
//!
//! `CAIRN_KILL9_SECONDS` is how long (default 20; the long run is 600), `CAIRN_KILL9_RATE` the records a second of each producer.

use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;
use cairn_tests::broker::{Broker, Kind};
use cairn_tests::clients::Place;
use cairn_tests::dice::Dice;
use cairn_tests::parameters::parameter;
use cairn_tests::process::run;
use cairn_tests::report::{Suite, Verdict};
use cairn_tests::streams::now_ns;
use cairn_tests::traffic::Traffic;

const TOPIC: &str = "kill9";
const PARTITIONS: i32 = 4;
/// Between a broker that is ready and its next death, in milliseconds.
const LIFE_MS: std::ops::Range<u64> = 1_500..5_000;

fn main() -> ExitCode {
    let suite = Suite::new("kill9");
    suite.case("foreign-producers", || match Traffic::missing() {
        Some(missing) => Ok(Verdict::Skipped(missing)),
        None => foreign_producers().map(Verdict::Passed),
    });
    suite.close()
}

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

    let traffic = Traffic::start(&place, PARTITIONS, rate, 1)?;
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

    let history = traffic.end(last_restart_ns)?.history;
    history.must_hold("kill9").with_context(|| format!("after {} kills", recoveries.len()))?;

    recoveries.sort();
    let longest = recoveries.last().copied().unwrap_or_default();
    Ok(format!(
        "kills={} {} lost=0 recovery_ms median={} max={}",
        recoveries.len(),
        history.totals(),
        recoveries[recoveries.len() / 2].as_millis(),
        longest.as_millis()
    ))
}
