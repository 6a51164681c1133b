//! Groups of clients that others wrote, against a real broker: two members share a topic, one is killed, the broker is killed at
//! rest and in the middle of a rebalance, and nothing that was written is missed. Or one of them is paused or slow for so long that the
//! other takes over: what it then commits is refused, and it returns. Members of several clients are in one group beside our own
//! consumer. Kafka's own tools see and change the groups.
//!
//! Each kind of client is in one pair at least; `CAIRN_GROUPS=all` adds further pairs. `CAIRN_JUDGE_BROKER=kafka` runs the suite
//! against Apache Kafka: what passes there has to pass here.

mod beside_cairn;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use cairn_tests::broker::{Broker, Kind};
use cairn_tests::clients::member::{Holding, Member, MemberKind, READ_TIME_MAX, wait_until};
use cairn_tests::clients::{Client, Codec, Console, Kcat, Place, consumer_groups, dump_groups};
use cairn_tests::lanes::{self, Work};
use cairn_tests::record::Outgoing;
use cairn_tests::report::{Suite, Verdict, say};

const PARTITIONS: i32 = 4;
/// Records that are written to each partition at a time.
const ROUND: usize = 10;
/// Bytes of a record of which a round of one partition more than fills the pipe of a member whose output is left.
const LARGE: usize = 32 << 10;
/// A pause between rounds, while members come and go.
const BETWEEN_ROUNDS: Duration = Duration::from_millis(100);
/// How often a tool is asked for something that comes by and by, like the end of a session.
const ASKED_MAX: usize = 30;

const SETTINGS: [&str; 7] = [
    "num.partitions=4",
    "auto.create.topics.enable=true",
    "group.initial.rebalance.delay.ms=500",
    // By KIP-848 these are the broker's, and a member that was killed is to be missed soon.
    "group.consumer.min.session.timeout.ms=6000",
    "group.consumer.session.timeout.ms=6000",
    "group.consumer.min.heartbeat.interval.ms=1000",
    "group.consumer.heartbeat.interval.ms=1000",
];

type Pair = (MemberKind, MemberKind);

/// Clients whose assignor no other kind has.
const IN_NO_MIXED_PAIR: [MemberKind; 2] = [MemberKind::ConfluentCooperative, MemberKind::Kafkajs];

/// Clients of two languages. A member of the next protocol takes over a classic group, and one of the classic joins the other kind.
const MIXED: [Pair; 6] = [
    (MemberKind::Confluent, MemberKind::KafkaPython),
    (MemberKind::Aiokafka, MemberKind::Confluent),
    (MemberKind::Console, MemberKind::Kcat),
    (MemberKind::ConfluentNext, MemberKind::ConsoleNext),
    (MemberKind::Kcat, MemberKind::ConfluentNext),
    (MemberKind::ConsoleNext, MemberKind::Kcat),
];

/// The first of these is paused, or slow.
const TROUBLED: [(Trouble, Pair); 4] = [
    (Trouble::Paused, (MemberKind::Confluent, MemberKind::Console)),
    (Trouble::Paused, (MemberKind::ConsoleNext, MemberKind::ConfluentNext)),
    (Trouble::Slow, (MemberKind::KafkaPython, MemberKind::Confluent)),
    (Trouble::Slow, (MemberKind::ConfluentNext, MemberKind::ConsoleNext)),
];
/// These one and the other, where all pairs are asked for.
const IN_ALL_TROUBLE: [Pair; 8] = [
    (MemberKind::Confluent, MemberKind::Console),
    (MemberKind::KafkaPython, MemberKind::Confluent),
    (MemberKind::ConfluentNext, MemberKind::ConsoleNext),
    (MemberKind::ConsoleNext, MemberKind::ConfluentNext),
    (MemberKind::Aiokafka, MemberKind::KafkaPython),
    (MemberKind::Console, MemberKind::Aiokafka),
    (MemberKind::Kcat, MemberKind::ConfluentNext),
    (MemberKind::ConfluentCooperative, MemberKind::ConfluentCooperative),
];

/// Why a member does nothing for longer than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// Its process is stopped, so that its session ends.
    Paused,
    /// What it does with a record takes longer than it may between two polls; its session goes on.
    Slow,
}

fn wants_all() -> bool {
    std::env::var("CAIRN_GROUPS").is_ok_and(|which| which == "all")
}

fn main() -> ExitCode {
    let suite = Suite::new("groups");
    let kind = match Kind::from_environment() {
        Ok(kind) => kind,
        Err(error) => {
            suite.fail("no broker to judge", &error);
            return suite.close();
        }
    };
    say(&format!("groups: against {}", kind.name()));
    let alike = if wants_all() { &MemberKind::ALL[..] } else { &IN_NO_MIXED_PAIR };
    let both = |pair: Pair| {
        // kcat ends by itself when it was too slow.
        let slow = (pair.0 != MemberKind::Kcat).then_some((Trouble::Slow, pair));
        [(Trouble::Paused, pair)].into_iter().chain(slow)
    };
    let troubled = if wants_all() { IN_ALL_TROUBLE.into_iter().flat_map(both).collect() } else { TROUBLED.to_vec() };
    // What takes longest begins first.
    let mut work: Vec<Work<'_>> = vec![Box::new(tools)];
    for members in beside_cairn::MEMBERS {
        work.push(Box::new(move |suite, broker| beside_cairn::share(suite, broker, members)));
    }
    for (trouble, (first, second)) in troubled {
        work.push(Box::new(move |suite, broker| be_troubled(suite, broker, first, second, trouble)));
    }
    for (first, second) in alike.iter().map(|&kind| (kind, kind)).chain(MIXED) {
        work.push(Box::new(move |suite, broker| share(suite, broker, first, second)));
    }
    let brokers = lanes::run(&suite, &kind, &SETTINGS, work);
    on_disk(&suite, brokers);
    suite.close()
}

/// One topic, and what was written to it.
struct Stream {
    topic: String,
    written: BTreeSet<String>,
}

impl Stream {
    /// Writes some more to each partition; gives what it was.
    fn write(&mut self, bootstrap: &str, round: usize) -> anyhow::Result<BTreeSet<String>> {
        self.write_named(bootstrap, &round.to_string(), 0)
    }

    /// The same with values that begin with a name, and are so long at the least.
    fn write_named(&mut self, bootstrap: &str, name: &str, length: usize) -> anyhow::Result<BTreeSet<String>> {
        let mut values = BTreeSet::new();
        for partition in 0..PARTITIONS {
            let place = Place { bootstrap: bootstrap.to_owned(), topic: self.topic.clone(), partition };
            let value = |number| format!("{:.<length$}", format!("{name}-{partition}-{number}"));
            let record = |number| Outgoing { value: Some(value(number).into_bytes()), ..Outgoing::default() };
            let records: Vec<Outgoing> = (0..ROUND).map(record).collect();
            Kcat.produce(&place, Codec::None, &records)?;
            values.extend((0..ROUND).map(value));
        }
        self.written.extend(values.iter().cloned());
        Ok(values)
    }
}

/// All that was written was read by one or another.
fn have_all(read: &[BTreeSet<String>], wanted: &BTreeSet<String>) -> bool {
    wanted.iter().all(|value| read.iter().any(|read| read.contains(value)))
}

/// Writes rounds from `round` on until both members have a part of one.
fn until_both_read(stream: &mut Stream, bootstrap: &str, a: &Member, b: &Member, round: usize) -> anyhow::Result<()> {
    let until = Instant::now() + READ_TIME_MAX;
    for round in round.. {
        let values = stream.write(bootstrap, round)?;
        wait_until(&[a, b], "two members read all", |read| have_all(read, &values))?;
        if !a.read().is_disjoint(&values) && !b.read().is_disjoint(&values) {
            break;
        }
        let (of_a, of_b) = (a.read().len(), b.read().len());
        ensure!(Instant::now() < until, "one member is never given anything; they have read {of_a} and {of_b} values");
        thread::sleep(BETWEEN_ROUNDS);
    }
    Ok(())
}

/// Two members in one group, through the death of one and of the broker.
fn share(suite: &Suite, broker: &mut Broker, first: MemberKind, second: MemberKind) {
    suite.case(&format!("two-members/{}+{}", first.name(), second.name()), || {
        let missing = Kcat.missing().or_else(|| first.missing()).or_else(|| second.missing());
        if let Some(missing) = missing {
            return Ok(Verdict::Skipped(missing));
        }
        let name = format!("{}-{}", first.name(), second.name());
        let (topic, group) = (format!("shared-{name}"), format!("group-{name}"));
        let bootstrap = broker.bootstrap();
        let start = |kind| Member::start(kind, &bootstrap, &topic, &group);
        let mut stream = Stream { topic: topic.clone(), written: BTreeSet::new() };
        let before = stream.write(&bootstrap, 0)?;

        let mut a = start(first)?;
        wait_until(&[&a], "one member reads all", |read| have_all(read, &before))?;
        let b = start(second)?;
        until_both_read(&mut stream, &bootstrap, &a, &b, 1)?;

        a.kill9()?;
        let values = stream.write(&bootstrap, 1_000)?;
        wait_until(&[&b], "who is left reads all", |read| have_all(read, &values))?;

        broker.kill9()?;
        broker.restart()?;
        let values = stream.write(&bootstrap, 2_000)?;
        wait_until(&[&b], "a member goes on after the broker's death", |read| have_all(read, &values))?;

        // A further member makes the group rebalance, and the broker dies while it does.
        let rebalances = || broker.log().matches("group rebalances").count();
        let begun = rebalances();
        let c = start(first)?;
        if broker.kind() != &Kind::Kafka && !first.is_next() && !second.is_next() {
            while rebalances() == begun {}
        }
        broker.kill9()?;
        broker.restart()?;
        let values = stream.write(&bootstrap, 3_000)?;
        wait_until(&[&b, &c], "members go on after a death in a rebalance", |read| have_all(read, &values))?;
        let all = [a.read(), b.read(), c.read()];
        ensure!(have_all(&all, &stream.written), "something that was written is missed");
        Ok(Verdict::Passed(format!("{} records, a member and the broker twice killed", stream.written.len())))
    });
}

/// One of two members does nothing for longer than it may: the other takes over, what the first then commits is refused, and it returns.
fn be_troubled(suite: &Suite, broker: &mut Broker, first: MemberKind, second: MemberKind, trouble: Trouble) {
    let name = match trouble {
        Trouble::Paused => format!("paused/{}+{}", first.name(), second.name()),
        Trouble::Slow => format!("slow/{}+{}", first.name(), second.name()),
    };
    suite.case(&name, || {
        let missing = Kcat.missing().or_else(|| Console.missing()).or_else(|| first.missing());
        if let Some(missing) = missing.or_else(|| second.missing()) {
            return Ok(Verdict::Skipped(missing));
        }
        let (topic, group) = (name.replace(['/', '+'], "-"), format!("group-{}", name.replace(['/', '+'], "-")));
        let bootstrap = broker.bootstrap();
        let mut stream = Stream { topic: topic.clone(), written: BTreeSet::new() };
        let before = stream.write(&bootstrap, 0)?;
        let mut a = Member::start_holding(first, &bootstrap, &topic, &group, Holding::WhenTold)?;
        wait_until(&[&a], "one member reads all", |read| have_all(read, &before))?;
        let b = Member::start(second, &bootstrap, &topic, &group)?;
        until_both_read(&mut stream, &bootstrap, &a, &b, 1)?;

        // Those that can are caught between a record and its commit, others anywhere: what such a one had committed before its output
        // was full is not read again, and what lies behind it is.
        let mut of_other = BTreeSet::new();
        match (trouble, first.holds()) {
            (Trouble::Slow, false) => {
                a.leave_output();
                stream.write_named(&bootstrap, "hold", LARGE)?;
            }
            (Trouble::Paused, false) => a.pause()?,
            (_, true) => {
                of_other = stream.write_named(&bootstrap, "hold", 0)?;
                wait_until(&[&a], "the first holds", |read| !read[0].is_disjoint(&of_other))?;
            }
        }
        if trouble == Trouble::Paused && first.holds() {
            a.pause()?;
        }
        of_other.extend(stream.write(&bootstrap, 1_000)?);
        wait_until(&[&b], "the other takes over", |read| have_all(read, &of_other))?;
        until_no_lag(&bootstrap, &group).context("while one member is away")?;

        let refused = a.refused();
        match (trouble, first.holds()) {
            (Trouble::Slow, false) => a.take_output(),
            (_, true) => a.go_on()?,
            (Trouble::Paused, false) => {}
        }
        if trouble == Trouble::Paused {
            a.wake()?;
        }
        if first.holds() {
            a.wait_until_refused(refused + 1).context("what it commits after it was away")?;
        }
        // Nobody reads anything meanwhile: a commit of what was read before would not be made good.
        until_no_lag(&bootstrap, &group).context("after it is back")?;
        until_both_read(&mut stream, &bootstrap, &a, &b, 2_000).context("after it is back")?;
        ensure!(have_all(&[a.read(), b.read()], &stream.written), "something that was written is missed");
        let refused = a.refused() - refused;
        Ok(Verdict::Passed(format!("{} records, {refused} commits refused", stream.written.len())))
    });
}

/// Asks Kafka's tool until it says of each partition that all of it is committed.
fn until_no_lag(bootstrap: &str, group: &str) -> anyhow::Result<()> {
    let mut told = String::new();
    for _ in 0..ASKED_MAX {
        told = consumer_groups(bootstrap, &["--describe", "--offsets", "--group", group])?;
        let lines = told.lines().filter(|line| line.starts_with(group));
        let lags: Vec<Option<&str>> = lines.map(|line| line.split_whitespace().nth(5)).collect();
        if lags.len() == usize::try_from(PARTITIONS)? && lags.iter().all(|&lag| lag == Some("0")) {
            return Ok(());
        }
    }
    bail!("not all is committed: {told}")
}

/// Asks Kafka's tool until it finds a group without members: one that was killed is missed when its session ends.
fn until_empty(bootstrap: &str, group: &str) -> anyhow::Result<()> {
    for _ in 0..ASKED_MAX {
        if consumer_groups(bootstrap, &["--describe", "--state", "--group", group])?.contains("Empty") {
            return Ok(());
        }
    }
    bail!("the member that was killed is never missed")
}

/// Kafka's own tools: they describe a group with a member, and change one without; and they read what is on disk.
fn tools(suite: &Suite, broker: &mut Broker) {
    suite.case("kafka-consumer-groups", || {
        if let Some(missing) = Console.missing().or_else(|| Kcat.missing()) {
            return Ok(Verdict::Skipped(missing));
        }
        let bootstrap = broker.bootstrap();
        let ask = |arguments: &[&str]| consumer_groups(&bootstrap, arguments);
        let group = ["--group", "tooled"];
        let mut stream = Stream { topic: "tooled".to_owned(), written: BTreeSet::new() };
        let values = stream.write(&bootstrap, 0)?;
        let member = Member::start(MemberKind::Kcat, &bootstrap, &stream.topic, "tooled")?;
        wait_until(&[&member], "a member reads all", |read| have_all(read, &values))?;

        let told = ask(&[&["--describe", "--state"], &group[..]].concat())?;
        ensure!(told.contains("range") && told.contains("Stable"), "described as {told}");
        let told = ask(&[&["--describe", "--members", "--verbose"], &group[..]].concat())?;
        ensure!(told.contains("tooled:0,1,2,3"), "its member is described as {told}");
        let told = ask(&["--list", "--state", "--type"])?;
        let listed = |line: &str| line.split_whitespace().eq(["tooled", "Classic", "Stable"]);
        ensure!(told.lines().any(listed), "listed as {told}");
        let refused = ask(&[&["--delete"], &group[..]].concat());
        let refused = refused.unwrap_or_else(|error| format!("{error:#}"));
        ensure!(
            refused.contains("not empty") || refused.contains("GroupNotEmptyException"),
            "deleted with a member: {refused}"
        );
        drop(member);

        until_empty(&bootstrap, "tooled")?;
        let to = ["--reset-offsets", "--to-earliest", "--execute", "--topic", "tooled"];
        ask(&[&to, &group[..]].concat())?;
        let member = Member::start(MemberKind::Kcat, &bootstrap, &stream.topic, "tooled")?;
        wait_until(&[&member], "a member reads all again", |read| have_all(read, &values))
            .context("after the reset")?;
        drop(member);
        until_empty(&bootstrap, "tooled")?;
        let told = ask(&[&["--delete-offsets", "--topic", "tooled:0"], &group[..]].concat())?;
        ensure!(told.contains("Successful"), "an offset was deleted: {told}");
        let told = ask(&[&["--delete"], &group[..]].concat())?;
        ensure!(told.contains("successful"), "the group was deleted: {told}");
        let told = ask(&["--list"])?;
        ensure!(!told.lines().any(|line| line.trim() == "tooled"), "listed after its deletion: {told}");
        Ok(Verdict::Passed("described, listed, reset, deleted".to_owned()))
    });
}

/// After a graceful stop Kafka's own dump tool decodes what the brokers have stored of groups.
fn on_disk(suite: &Suite, mut brokers: Vec<Broker>) {
    suite.case("graceful-stop", || {
        brokers.iter_mut().try_for_each(Broker::stop)?;
        Ok(Verdict::Passed("exit code 0".to_owned()))
    });
    suite.case("on-disk", || {
        if let Some(missing) = Console.missing() {
            return Ok(Verdict::Skipped(missing));
        }
        let mut segments = Vec::new();
        for broker in &brokers {
            for entry in std::fs::read_dir(broker.data())? {
                let segment = entry?.path().join("00000000000000000000.log");
                let is_of_groups = segment.to_string_lossy().contains("/__consumer_offsets-");
                // A partition that nothing was appended to may have no file.
                if is_of_groups && std::fs::metadata(&segment).is_ok_and(|file| file.len() > 0) {
                    segments.push(segment);
                }
            }
        }
        let dump = dump_groups(&segments)?;
        let is_group = |line: &&str| line.contains("\"type\":\"2\"") && line.contains("\"protocolType\":\"consumer\"");
        let groups = dump.lines().filter(is_group).count();
        ensure!(!dump.contains("failed to decode"), "something does not decode: {dump}");
        ensure!(groups > 0, "no record of a group was decoded");
        Ok(Verdict::Passed(format!("{groups} records of groups in {} segments", segments.len())))
    });
}
