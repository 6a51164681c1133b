//! A follower that is away for long costs its leaders no memory: what it misses is in their logs. When it comes back it gets all of it.
//!
//! `CAIRN_FAILOVER_MIB` is how much it misses (default 512).

use std::fs::read_to_string;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, ensure};
use cairn_tests::broker::{Kind, kafka_script};
use cairn_tests::cluster::{Cluster, Disks, Ground, Plan};
use cairn_tests::parameters::parameter;
use cairn_tests::process::run_within;

use crate::scene::{TOPIC, close, make_topic};

/// What leaders may take beyond what they had, whatever their follower misses.
const GROWTH_MAX_BYTES: u64 = 64 << 20;
const RECORD_BYTES: u64 = 16 << 10;
/// Has a broker make all connections and buffers that the load needs.
const WARM_UP_MIB: u64 = 32;
const LOOK_EVERY: Duration = Duration::from_millis(20);
const LOAD_TIME_MAX: Duration = Duration::from_secs(600);

pub(crate) fn missing(kind: &Kind) -> Option<String> {
    (*kind == Kind::Kafka).then(|| "Apache Kafka's heap is as large as it was told to be".to_owned())
}

pub(crate) fn stays_flat(kind: &Kind) -> anyhow::Result<String> {
    let missed = parameter("CAIRN_FAILOVER_MIB", 512)?;
    let settings = ["min.insync.replicas=2", "default.replication.factor=3", "replica.lag.time.max.ms=10000"];
    let plan =
        Plan { kind: kind.clone(), size: 3, settings: &settings, ground: Ground::Loopback, disks: Disks::Shared };
    let mut cluster = Cluster::start(plan)?;
    make_topic(&mut cluster)?;
    load(&cluster, WARM_UP_MIB)?;
    let away = 3;
    cluster.kill9(&[away])?;
    cluster.until_taken_over(&[away])?;

    let leaders = [1, 2].map(|id| cluster.pid(id));
    let leaders: Vec<Watched> = leaders.into_iter().map(|pid| Watched::new(pid?)).collect::<anyhow::Result<_>>()?;
    let ended = AtomicBool::new(false);
    let caught_up = thread::scope(|scope| {
        for leader in &leaders {
            scope.spawn(|| leader.watch(&ended));
        }
        let caught_up = load(&cluster, missed).and_then(|()| {
            cluster.launch(away)?;
            cluster.until_whole()
        });
        ended.store(true, Ordering::Relaxed);
        caught_up
    })?;
    let grown = leaders.iter().map(Watched::grown).max().unwrap_or_default();
    ensure!(grown <= GROWTH_MAX_BYTES, "a leader has taken {grown} bytes more while a follower missed {missed} MiB");
    let same = close(&mut cluster)?;
    ensure!(same as u64 >= missed << 20, "the replicas of {TOPIC} have {same} bytes");
    Ok(format!(
        "missed_mib={missed} grown_kib={} caught_up_ms={} same_bytes={same}",
        grown >> 10,
        caught_up.as_millis()
    ))
}

/// Writes so much with acks=all.
fn load(cluster: &Cluster, mib: u64) -> anyhow::Result<()> {
    let records = ((mib << 20) / RECORD_BYTES).to_string();
    let mut producer = kafka_script();
    producer.args(["tool", "org.apache.kafka.tools.ProducerPerformance", "--topic", TOPIC, "--throughput", "-1"]);
    producer.args(["--num-records", &records, "--record-size", &RECORD_BYTES.to_string()]);
    producer.args(["--bootstrap-server", &cluster.bootstrap(), "--command-property", "acks=all"]);
    let told = run_within(LOAD_TIME_MAX, &mut producer, b"")?;
    ensure!(told.text()?.contains(&format!("{records} records sent")), "the producer said: {}", told.text()?);
    Ok(())
}

/// A process whose anonymous memory is looked at.
struct Watched {
    pid: u32,
    before: u64,
    most: AtomicU64,
}

impl Watched {
    fn new(pid: u32) -> anyhow::Result<Watched> {
        let before = anonymous_bytes(pid)?;
        Ok(Watched { pid, before, most: AtomicU64::new(before) })
    }

    fn watch(&self, ended: &AtomicBool) {
        while !ended.load(Ordering::Relaxed) {
            // A process that is gone is told by who waits for it.
            self.most.fetch_max(anonymous_bytes(self.pid).unwrap_or(0), Ordering::Relaxed);
            thread::sleep(LOOK_EVERY);
        }
    }

    fn grown(&self) -> u64 {
        self.most.load(Ordering::Relaxed).saturating_sub(self.before)
    }
}

/// A process's memory that no file holds.
fn anonymous_bytes(pid: u32) -> anyhow::Result<u64> {
    let status = read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("RssAnon")?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().with_context(|| line.to_owned())?;
    Ok(kib << 10)
}
