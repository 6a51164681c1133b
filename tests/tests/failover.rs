//! Three brokers that are killed, frozen and stopped under foreign producers that wait for acks=all and readers that commit, with three
//! replicas of everything: nothing that was acknowledged is lost, repeated, reordered or changed, no committed offset and no end of a
//! partition goes back, the cluster is whole again after each fault, and at the end all replicas have the same bytes.
//!
//! `CAIRN_FAILOVER_SECONDS` is how long faults go on (default 60), `CAIRN_FAILOVER_RATE` the records a second of each producer.

use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use cairn_tests::broker::Kind;
use cairn_tests::clients::{Client, Console, Place, tool};
use cairn_tests::cluster::{Cluster, Deck, same_bytes};
use cairn_tests::dice::Dice;
use cairn_tests::history::Leaders;
use cairn_tests::parameters::parameter;
use cairn_tests::process::run;
use cairn_tests::report::{Suite, Verdict, say};
use cairn_tests::streams::now_ns;
use cairn_tests::traffic::{Observed, Traffic};

const TOPIC: &str = "failover";
const BROKERS: i32 = 3;
const PARTITIONS: i32 = 4;
/// Each with a group of its own, so that several coordinators have something to lose.
const READERS: u32 = 2;
/// Everything has three replicas, of which two have to have what is acknowledged: offsets too.
const SETTINGS: [&str; 4] = [
    "min.insync.replicas=2",
    "default.replication.factor=3",
    "offsets.topic.replication.factor=3",
    "offsets.topic.num.partitions=4",
];
/// Between a cluster that is whole and the next fault, in milliseconds.
const LIFE_MS: std::ops::Range<u64> = 1_500..5_000;

fn main() -> ExitCode {
    let suite = Suite::new("failover");
    suite.case("three-brokers", || match Traffic::missing().or_else(|| Console.missing()) {
        Some(missing) => Ok(Verdict::Skipped(missing)),
        None => three_brokers().map(Verdict::Passed),
    });
    suite.close()
}

fn three_brokers() -> anyhow::Result<String> {
    let seconds = Duration::from_secs(parameter("CAIRN_FAILOVER_SECONDS", 60)?);
    let rate = u32::try_from(parameter("CAIRN_FAILOVER_RATE", 200)?)?;
    let mut dice = Dice::from_environment("failover");
    let mut cluster = Cluster::start(Kind::from_environment()?, BROKERS, &SETTINGS)?;
    let judged = judge(&mut cluster, seconds, rate, &mut dice);
    if judged.is_err() {
        cluster.keep();
        say(&format!("failover: what the brokers have written is kept in {}", cluster.folder().display()));
    }
    judged
}

fn judge(cluster: &mut Cluster, seconds: Duration, rate: u32, dice: &mut Dice) -> anyhow::Result<String> {
    make_topic(cluster)?;
    let place = Place { bootstrap: cluster.bootstrap(), topic: TOPIC.to_owned(), partition: 0 };
    let traffic = Traffic::start(&place, PARTITIONS, rate, READERS)?;
    let mut whole = faults(cluster, seconds, dice)?;
    let healed_ns = now_ns();
    // A last life in peace: every producer has to get through again.
    thread::sleep(Duration::from_millis(LIFE_MS.end));

    let Observed { mut history, pauses } = traffic.end(healed_ns)?;
    history.led_by(Leaders::Several);
    // Beside what the brokers write, which is kept when something is wrong.
    history.write(&cluster.folder().join("history"))?;
    let same = close(cluster);
    history.must_hold("failover").with_context(|| format!("after {} faults", whole.len()))?;

    whole.sort();
    let [confluent, kafka_python, kcat] = pauses.map(|pause| pause.as_millis());
    Ok(format!(
        "faults={} {} lost=0 same_bytes={} whole_ms median={} max={} pause_ms confluent={confluent} kafka-python={kafka_python} kcat={kcat}",
        whole.len(),
        history.totals(),
        same?,
        whole[whole.len() / 2].as_millis(),
        whole.last().copied().unwrap_or_default().as_millis(),
    ))
}

/// By Kafka's own tool, as a person does it.
fn make_topic(cluster: &mut Cluster) -> anyhow::Result<()> {
    let (partitions, replicas) = (PARTITIONS.to_string(), BROKERS.to_string());
    let named = ["--create", "--topic", TOPIC, "--partitions", &partitions, "--replication-factor", &replicas];
    tool(
        "org.apache.kafka.tools.TopicCommand",
        &cluster.bootstrap(),
        &[&named[..], &["--config", "min.insync.replicas=2"]].concat(),
    )?;
    cluster.until_whole()?;
    let made = cluster.view(1)?.replicas_of(TOPIC);
    ensure!(made == [3; 4], "the partitions have {made:?} replicas");
    Ok(())
}

/// Faults until the time is up; gives how long it took after each until the cluster was whole again.
fn faults(cluster: &mut Cluster, time: Duration, dice: &mut Dice) -> anyhow::Result<Vec<Duration>> {
    let until = Instant::now() + time;
    let mut deck = Deck::default();
    let mut whole = Vec::new();
    while whole.is_empty() || Instant::now() < until {
        // The length of a life is the experiment, not a wait for something.
        thread::sleep(Duration::from_millis(dice.among(LIFE_MS)));
        let fault = deck.draw(dice);
        let number = whole.len() + 1;
        let happened = cluster.suffer(fault, dice, TOPIC, PARTITIONS);
        let happened = happened.with_context(|| format!("in fault {number}, {fault:?}"))?;
        let time = cluster.until_whole().with_context(|| format!("after fault {number}, {happened}"))?;
        say(&format!("failover: fault {number}, {happened} whole_ms={}", time.as_millis()));
        whole.push(time);
    }
    Ok(whole)
}

/// Ends the brokers in peace, and compares what they leave.
fn close(cluster: &mut Cluster) -> anyhow::Result<usize> {
    cluster.until_whole()?;
    match cluster.kind().clone() {
        Kind::Cairn(binary) => {
            for id in cluster.ids() {
                cluster.stop(id)?;
            }
            for data in cluster.data() {
                run(Command::new(&binary).args(["log", "verify"]).arg(data), b"")?;
            }
        }
        // Apache Kafka's last broker waits for minutes for a controller that lets it go; what is written is in its files already.
        Kind::Kafka => cluster.kill9(&cluster.ids())?,
    }
    same_bytes(&cluster.data(), TOPIC, PARTITIONS)
}
