//! One cluster, its clients, and the faults that it suffers: what was seen is judged at the end.

use std::collections::BTreeMap;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use cairn_tests::broker::Kind;
use cairn_tests::clients::{Place, tool};
use cairn_tests::cluster::{Cluster, Deck, Disks, Fault, Ground, Plan, Target, missing_disks, same_bytes};
use cairn_tests::dice::Dice;
use cairn_tests::history::Leaders;
use cairn_tests::parameters::parameter;
use cairn_tests::process::run;
use cairn_tests::report::say;
use cairn_tests::streams::now_ns;
use cairn_tests::traffic::{Observed, Traffic};
use cairn_tests::wire::{Enclosed, Wire};

pub(crate) const TOPIC: &str = "failover";
const PARTITIONS: i32 = 4;
const REPLICAS: usize = 3;
/// Each with a group of its own, so that several coordinators have something to lose.
const READERS: u32 = 2;
/// Everything has three replicas, of which two have to have what is acknowledged: offsets too. Who cannot be reached is out of sync
/// sooner than Kafka's default says, and segments are small enough for small disks.
const SETTINGS: [&str; 6] = [
    "min.insync.replicas=2",
    "default.replication.factor=3",
    "offsets.topic.replication.factor=3",
    "offsets.topic.num.partitions=4",
    "replica.lag.time.max.ms=10000",
    "log.segment.bytes=16777216",
];
/// Between a cluster that is whole and the next fault, in milliseconds.
const LIFE_MS: std::ops::Range<u64> = 1_500..5_000;

/// What lies between brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Network {
    /// Nothing that could fail.
    Loopback,
    /// A network of hosts.
    Hosts,
}

/// In which order faults come, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Course {
    /// By chance, until the time is up.
    Drawn,
    /// Each once, in their order.
    Told,
}

/// A case of the suite.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) name: &'static str,
    pub(crate) faults: Vec<Fault>,
    pub(crate) course: Course,
    pub(crate) network: Network,
    pub(crate) disks: Disks,
}

/// How long the cluster took to be whole again, by fault.
type Whole = BTreeMap<Fault, Vec<Duration>>;

impl Scene {
    /// The case as it can be played with a program: Apache Kafka has no disks of its own here, and loses no files.
    pub(crate) fn with(mut self, kind: &Kind) -> Scene {
        if *kind == Kind::Kafka {
            self.disks = Disks::Shared;
            self.faults.retain(|fault| !Fault::DISKS.contains(fault) && !Fault::FILES.contains(fault));
        }
        self
    }

    /// What is missing here to play it, or none.
    pub(crate) fn missing(&self, enclosed: &Enclosed) -> Option<String> {
        match enclosed {
            Enclosed::No(why) if self.network == Network::Hosts => Some(why.clone()),
            _ if self.disks == Disks::Own => missing_disks(),
            _ => None,
        }
    }

    /// Plays it; gives what was seen.
    pub(crate) fn play(&self, kind: &Kind) -> anyhow::Result<String> {
        let mut dice = Dice::from_environment(&format!("failover::{}", self.name));
        let size = i32::try_from(parameter("CAIRN_FAILOVER_BROKERS", 3)?)?;
        let ground = match self.network {
            Network::Loopback => Ground::Loopback,
            Network::Hosts => Ground::Wire(Wire::new(u8::try_from(size)?, &mut dice)?),
        };
        let plan = Plan { kind: kind.clone(), size, settings: &SETTINGS, ground, disks: self.disks };
        let mut cluster = Cluster::start(plan)?;
        let judged = self.judge(&mut cluster, &mut dice);
        if judged.is_err() {
            cluster.keep();
            say(&format!("failover: what the brokers have written is kept in {}", cluster.folder().display()));
        }
        judged
    }

    fn judge(&self, cluster: &mut Cluster, dice: &mut Dice) -> anyhow::Result<String> {
        let seconds = Duration::from_secs(parameter("CAIRN_FAILOVER_SECONDS", 60)?);
        let rate = u32::try_from(parameter("CAIRN_FAILOVER_RATE", 200)?)?;
        make_topic(cluster)?;
        let place = Place { bootstrap: cluster.bootstrap(), topic: TOPIC.to_owned(), partition: 0 };
        let mut traffic = Traffic::start(&place, PARTITIONS, rate, READERS)?;
        traffic.add_verifiable(rate)?;
        let whole = self.faults(cluster, seconds, dice)?;
        let healed_ns = now_ns();
        // A last life in peace: every producer has to get through again.
        thread::sleep(Duration::from_millis(LIFE_MS.end));

        let Observed { mut history, pauses } = traffic.end(healed_ns)?;
        history.led_by(Leaders::Several);
        // Beside what the brokers write, which is kept when something is wrong.
        history.write(&cluster.folder().join("history"))?;
        let same = close(cluster);
        let faults = whole.values().map(Vec::len).sum::<usize>();
        history.must_hold("failover").with_context(|| format!("after {faults} faults"))?;
        let pauses: Vec<String> = pauses.iter().map(|(name, pause)| format!("{name}={}", pause.as_millis())).collect();
        let pauses = pauses.join(" ");
        let totals = history.totals();
        Ok(format!("faults={faults} {totals} lost=0 same_bytes={} {} pause_ms {pauses}", same?, told(&whole)))
    }

    /// Faults, until the time is up or all have happened; gives how long it took after each until the cluster was whole again.
    fn faults(&self, cluster: &mut Cluster, time: Duration, dice: &mut Dice) -> anyhow::Result<Whole> {
        let until = Instant::now() + time;
        let kinds = self.kinds(cluster.ids().len())?;
        let mut deck = Deck::of(&kinds);
        let mut whole = Whole::new();
        for number in 0.. {
            let over = match self.course {
                Course::Drawn => number > 0 && Instant::now() >= until,
                Course::Told => number == kinds.len(),
            };
            if over {
                break;
            }
            // The length of a life is the experiment, not a wait for something.
            thread::sleep(Duration::from_millis(dice.among(LIFE_MS)));
            let fault = match self.course {
                Course::Drawn => deck.draw(dice),
                Course::Told => kinds[number],
            };
            let happened = cluster.suffer(fault, dice, Target { topic: TOPIC, partitions: PARTITIONS });
            let happened = happened.with_context(|| format!("in fault {}, {fault:?}", number + 1))?;
            let time = cluster.until_whole().with_context(|| format!("after fault {}, {happened}", number + 1))?;
            say(&format!("failover::{}: fault {}, {happened} whole_ms={}", self.name, number + 1, time.as_millis()));
            whole.entry(fault).or_default().push(time);
        }
        Ok(whole)
    }

    /// The faults of the case, or those that the environment asks for.
    fn kinds(&self, brokers: usize) -> anyhow::Result<Vec<Fault>> {
        let Ok(asked) = std::env::var("CAIRN_FAILOVER_FAULTS") else {
            let more = if brokers > REPLICAS && self.course == Course::Drawn { &Fault::MOVES[..] } else { &[] };
            return Ok([&self.faults, more].concat());
        };
        let named = |name: &str| {
            let all = [&Fault::PROCESSES[..], &Fault::NETWORK, &Fault::DISKS, &Fault::FILES, &Fault::MOVES];
            let fault = all.concat().into_iter().find(|fault| format!("{fault:?}") == name);
            fault.with_context(|| format!("CAIRN_FAILOVER_FAULTS: there is no {name}"))
        };
        asked.split(',').map(named).collect()
    }
}

/// How long it took to be whole again, by fault.
fn told(whole: &Whole) -> String {
    let one = |(fault, times): (&Fault, &Vec<Duration>)| {
        let mut times = times.clone();
        times.sort();
        let (median, most) = (times[times.len() / 2], times[times.len() - 1]);
        format!("{fault:?}={}/{}/{}", times.len(), median.as_millis(), most.as_millis())
    };
    format!("n/whole_ms/max {}", whole.iter().map(one).collect::<Vec<String>>().join(" "))
}

/// By Kafka's own tool, as a person does it.
pub(crate) fn make_topic(cluster: &mut Cluster) -> anyhow::Result<()> {
    let (partitions, replicas) = (PARTITIONS.to_string(), REPLICAS.to_string());
    let named = ["--create", "--topic", TOPIC, "--partitions", &partitions, "--replication-factor", &replicas];
    tool(
        "org.apache.kafka.tools.TopicCommand",
        &cluster.bootstrap(),
        &[&named[..], &["--config", "min.insync.replicas=2"]].concat(),
    )?;
    cluster.until_whole()?;
    let made = cluster.view(cluster.ids()[0])?.replicas_of(TOPIC);
    ensure!(made.len() == usize::try_from(PARTITIONS)?, "{} partitions", made.len());
    ensure!(made.iter().all(|replicas| replicas.len() == REPLICAS), "the partitions are kept by {made:?}");
    Ok(())
}

/// Ends the brokers in peace, and compares what they leave.
pub(crate) fn close(cluster: &mut Cluster) -> anyhow::Result<usize> {
    cluster.until_whole()?;
    let replicas = cluster.replicas(TOPIC)?;
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
    same_bytes(TOPIC, &replicas)
}
