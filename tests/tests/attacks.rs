//! Clients that do all they can to be in the way, beside one that does its work: it goes on, the broker's memory stays bounded, and
//! each attacker loses its own connection and nothing else.
//!
//! `CAIRN_ATTACK_IDLE` and `CAIRN_ATTACK_SLOW` are how many connections rest, and how many send a byte now and then (default 1,000
//! and 100; the long run is 10,000 and 1,000, which wants `ulimit -n` of 12,000).

use std::collections::BTreeSet;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use cairn_protocol::frame::request_frame;
use cairn_protocol::messages::MetadataRequest;
use cairn_tests::broker::{Broker, Kind};
use cairn_tests::dice::Dice;
use cairn_tests::raw::{RawClient, Telemetry, fetch};
use cairn_tests::report::{say, skip};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

const MIB: u64 = 1 << 20;
/// Settings that let the attack happen at all, and end in seconds.
const FRAME_MAX: i32 = 32 << 20;
const BUDGET: u64 = 64 * MIB;
const SETTINGS: [&str; 6] = [
    "max.connections=30000",
    "max.connections.per.ip=30000",
    "socket.request.max.bytes=33554432",
    "queued.max.request.bytes=67108864",
    "connection.request.timeout.ms=2000",
    "connection.write.timeout.ms=2000",
];
/// Connections of each other kind of attacker.
const OTHERS: usize = 12;
/// What does not end by then hangs.
const HANG: Duration = Duration::from_secs(240);

fn parameter(name: &str, default: usize) -> anyhow::Result<usize> {
    std::env::var(name).map_or(Ok(default), |text| text.parse().with_context(|| format!("{name}={text}")))
}

/// A client that produces and reads back what it produced, over one connection.
struct Worker {
    client: RawClient,
    acked: u64,
}

impl Worker {
    fn new(bootstrap: &str) -> anyhow::Result<Worker> {
        let mut client = RawClient::connect(bootstrap)?;
        client.make_topic("work")?;
        Ok(Worker { client, acked: 0 })
    }

    /// A small record, and one whose request needs room in the broker's budget.
    fn cycle(&mut self) -> anyhow::Result<()> {
        for length in [20, 100_000] {
            let mut value = format!("record {} ", self.acked).into_bytes();
            value.resize(length, b'.');
            let offset = self.client.produce("work", &value).context("produce")?;
            ensure!(offset == i64::try_from(self.acked)?, "{} got the offset {offset}", self.acked);
            ensure!(self.client.read("work", offset).context("read")? == value, "another record at {offset}");
            self.acked += 1;
        }
        Ok(())
    }
}

/// Whether the broker has closed a connection, of which nothing is read otherwise.
fn is_closed(stream: &mut TcpStream) -> anyhow::Result<bool> {
    stream.set_nonblocking(true)?;
    match stream.read(&mut [0; 64]) {
        Ok(0) => Ok(true),
        Ok(_) => Ok(false),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(_) => Ok(true),
    }
}

/// Anonymous memory: what is the process's own, without maps of files.
fn anonymous_bytes(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let kib = status.lines().find_map(|line| line.strip_prefix("RssAnon:")?.strip_suffix("kB"));
    Ok(kib.context("RssAnon")?.trim().parse::<u64>()? * 1024)
}

/// Attackers that have to lose their connections.
struct Attack {
    /// A byte in each round.
    slow: Vec<(TcpStream, usize)>,
    /// These have sent all that they will.
    begun: Vec<TcpStream>,
    /// They take nothing of their answers, so that their end is seen by the broker's count only.
    readers: Vec<RawClient>,
}

impl Attack {
    fn start(bootstrap: &str, slow: usize, dice: &mut Dice) -> anyhow::Result<Attack> {
        let connect = || TcpStream::connect(bootstrap).context("connect");
        let slow = (0..slow).map(|_| Ok((connect()?, 0))).collect::<anyhow::Result<_>>()?;
        let mut begun = Vec::new();
        let mut begin = |bytes: &[u8]| -> anyhow::Result<()> {
            let mut stream = connect()?;
            // The broker may end the connection before all has come.
            let _ = stream.write_all(bytes);
            begun.push(stream);
            Ok(())
        };
        for _ in 0..OTHERS {
            let half = |length: i32, sent: usize| [&length.to_be_bytes()[..], &vec![0; sent]].concat();
            begin(&half(1 << 20, 300_000))?;
            // Promises, which together hold far more than the whole budget.
            begin(&half(FRAME_MAX, 100))?;
            for length in [i32::MAX, i32::MIN, -1, 0, FRAME_MAX + 1] {
                begin(&length.to_be_bytes())?;
            }
            // A legal length, and no request in it; and no sense at all.
            let garbage: Vec<u8> = (0..dice.among(64..4096)).map(|_| dice.roll().to_le_bytes()[0]).collect();
            begin(&[&i32::try_from(garbage.len())?.to_be_bytes()[..], &garbage].concat())?;
            begin(&garbage)?;
        }
        let mut readers = Vec::new();
        for _ in 0..OTHERS {
            let mut reader = RawClient::connect(bootstrap)?;
            for _ in 0..100 {
                reader.send(11, &fetch("large", 0))?;
            }
            readers.push(reader);
        }
        Ok(Attack { slow, begun, readers })
    }

    /// The slow ones send a byte more; those that are closed go.
    fn round(&mut self) -> anyhow::Result<()> {
        let request = request_frame(12, 1, Some("slow"), &MetadataRequest::default())?.into_bytes();
        self.slow.retain_mut(|(stream, sent)| {
            // The last byte never comes.
            let next = &request[*sent..(*sent + 1).min(request.len() - 1)];
            *sent += next.len();
            stream.write_all(next).is_ok() && matches!(is_closed(stream), Ok(false))
        });
        self.begun.retain_mut(|stream| matches!(is_closed(stream), Ok(false)));
        Ok(())
    }
}

/// One attack at a time: thousands of connections take the ports that the broker of another test is given.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn attackers_lose_their_own_connections_and_nothing_else() -> anyhow::Result<()> {
    let _alone = alone();
    let (idle, slow) = (parameter("CAIRN_ATTACK_IDLE", 1_000)?, parameter("CAIRN_ATTACK_SLOW", 100)?);
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    let wanted = u64::try_from(idle + slow + 1_000)?;
    if limit.maximum.is_some_and(|maximum| maximum < wanted) {
        skip("attacks", &format!("{wanted} descriptors are needed, {:?} are allowed", limit.maximum));
        return Ok(());
    }
    let mut dice = Dice::from_environment("attacks");
    let broker = Broker::start(Kind::from_environment()?, &SETTINGS)?;
    let (pid, bootstrap) = (broker.pid()?, broker.bootstrap());
    let mut telemetry = Telemetry::connect(broker.metrics()?)?;
    let mut worker = Worker::new(&bootstrap)?;
    worker.client.make_topic("large")?;
    for _ in 0..32 {
        worker.client.produce("large", &vec![b'x'; 1_000_000])?;
    }
    for _ in 0..20 {
        worker.cycle()?;
    }
    let before = anonymous_bytes(pid)?;

    let mut resting = (0..idle).map(|_| RawClient::connect(&bootstrap)).collect::<anyhow::Result<Vec<_>>>()?;
    while telemetry.metric("cairn_connections")? < u64::try_from(idle + 1)? {}
    let at_rest = anonymous_bytes(pid)?;
    let mut attack = Attack::start(&bootstrap, slow, &mut dice)?;
    let (began, worked_before, mut peak) = (Instant::now(), worker.acked, at_rest);
    let readers = u64::try_from(attack.readers.len())?;
    loop {
        attack.round()?;
        worker.cycle().with_context(|| format!("beside the attack; the broker said: {}", broker.log()))?;
        peak = peak.max(anonymous_bytes(pid)?);
        let dropped = telemetry.metric("cairn_connections_ended_total{reason=\"slow reader\"}")?;
        if attack.slow.is_empty() && attack.begun.is_empty() && dropped >= readers {
            break;
        }
        let left = (attack.slow.len(), attack.begun.len(), readers - dropped.min(readers));
        ensure!(began.elapsed() < HANG, "these keep their connections: {left:?} (slow, others, readers)");
    }
    let worked = worker.acked - worked_before;

    for (number, client) in resting.iter_mut().enumerate() {
        client.ping().with_context(|| format!("resting connection {number}"))?;
    }
    worker.cycle()?;
    let (status, health) = telemetry.get("/readyz")?;
    ensure!(status == 200, "not ready: {health}");
    say(&format!(
        "attacks: {idle} idle, {slow} slow, {} others; {worked} records beside them; anonymous KiB: {} before, {} with idle ones, {} at most",
        OTHERS * 10,
        before / 1024,
        at_rest / 1024,
        peak / 1024
    ));
    // Twice the budget of requests (a request and what it becomes), what waits to be sent, and 16 KiB for each connection.
    let connections = u64::try_from(idle + slow + OTHERS * 10)? * 16 * 1024;
    let bound = before + 2 * BUDGET + connections + 32 * MIB;
    ensure!(peak <= bound, "{peak} bytes of anonymous memory; the bound is {bound}");
    Ok(())
}

/// The first descriptor that is free in a process: with that as its limit it can open nothing more.
fn first_free_descriptor(pid: u32) -> anyhow::Result<u64> {
    let mut taken = BTreeSet::new();
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))? {
        taken.insert(entry?.file_name().to_string_lossy().parse::<u64>()?);
    }
    (0..).find(|number| !taken.contains(number)).context("a free number")
}

#[test]
fn without_descriptors_open_connections_are_served_and_others_later() -> anyhow::Result<()> {
    let _alone = alone();
    const LIMIT: u32 = 256;
    let broker = Broker::start_within(Kind::from_environment()?, &[], Some(LIMIT))?;
    let (pid, bootstrap) = (broker.pid()?, broker.bootstrap());
    let mut telemetry = Telemetry::connect(broker.metrics()?)?;
    let mut worker = Worker::new(&bootstrap)?;
    worker.cycle()?;

    // More connections than the limit: they cannot have what storage needs.
    let crowd = (0..2 * LIMIT).map(|_| RawClient::connect(&bootstrap)).collect::<anyhow::Result<Vec<_>>>()?;
    while telemetry.metric("cairn_connections_refused_total")? < u64::from(LIMIT) {
        worker.cycle()?;
    }
    for number in 0..20 {
        worker.client.make_topic(&format!("beside-{number}"))?;
    }
    ensure!(telemetry.metric("cairn_accept_failures_total")? == 0, "connections have taken descriptors of others");
    drop(crowd);
    while telemetry.metric("cairn_connections")? > 1 {
        worker.cycle()?;
    }

    // None at all is left.
    let process = Pid::from_raw(i32::try_from(pid)?).context("a process id")?;
    let full = Rlimit { current: Some(first_free_descriptor(pid)?), maximum: Some(u64::from(LIMIT)) };
    prlimit(Some(process), Resource::Nofile, full)?;
    let began = Instant::now();
    let mut late = RawClient::connect(&bootstrap)?;
    let failures = loop {
        worker.cycle().with_context(|| format!("without descriptors; the broker said: {}", broker.log()))?;
        let failures = telemetry.metric("cairn_accept_failures_total")?;
        if failures >= 9 {
            break failures;
        }
        ensure!(began.elapsed() < HANG, "{failures} tries to accept a connection");
    };
    // Seven tries in the first 1.3 s, each after twice the time of the one before; then one a second.
    let tries_max = 9 + began.elapsed().as_secs();
    ensure!(failures <= tries_max, "{failures} tries to accept in {:?}: a busy loop", began.elapsed());

    prlimit(Some(process), Resource::Nofile, Rlimit { current: Some(u64::from(LIMIT)), ..full })?;
    late.ping().context("a connection that waited for a descriptor")?;
    RawClient::connect(&bootstrap)?.ping()?;
    worker.client.make_topic("afterwards")?;
    worker.cycle()?;
    let (status, health) = telemetry.get("/readyz")?;
    ensure!(status == 200, "the data directory took the want of descriptors for a failure of its disk: {health}");
    say(&format!("attacks: {failures} tries to accept without a descriptor, {} records meanwhile", worker.acked));
    Ok(())
}
