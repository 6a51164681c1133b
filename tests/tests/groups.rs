//! Groups of clients that others wrote, against a real broker: two members share a topic, one is killed, the broker is killed at
//! rest and in the middle of a rebalance, and nothing that was written is missed. Kafka's own tools see and change the groups.
//!
//! Each kind of client is in one pair at least; `CAIRN_GROUPS=all` adds the pairs of a kind with itself.
//! `CAIRN_JUDGE_BROKER=kafka` runs the suite against Apache Kafka: what passes there has to pass here.

use std::collections::BTreeSet;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use cairn_tests::broker::{Broker, Kind};
use cairn_tests::clients::member::{Member, MemberKind, wait_until};
use cairn_tests::clients::{Client, Codec, Console, Kcat, Place, consumer_groups, dump_groups};
use cairn_tests::record::Outgoing;
use cairn_tests::report::{Suite, Verdict, say};

const PARTITIONS: i32 = 4;
/// Records that are written to each partition at a time.
const ROUND: usize = 10;

/// Clients whose assignor no other kind has.
const IN_NO_MIXED_PAIR: [MemberKind; 2] = [MemberKind::ConfluentCooperative, MemberKind::Kafkajs];

fn wants_all() -> bool {
    std::env::var("CAIRN_GROUPS").is_ok_and(|which| which == "all")
}

fn main() -> ExitCode {
    let mut suite = Suite::new("groups");
    let started = Kind::from_environment().and_then(|kind| {
        let settings = [
            "num.partitions=4",
            "auto.create.topics.enable=true",
            "group.initial.rebalance.delay.ms=500",
            // By KIP-848 these are the broker's, and a member that was killed is to be missed soon.
            "group.consumer.min.session.timeout.ms=6000",
            "group.consumer.session.timeout.ms=6000",
            "group.consumer.min.heartbeat.interval.ms=1000",
            "group.consumer.heartbeat.interval.ms=1000",
        ];
        Broker::start(kind, &settings)
    });
    let mut broker = match started {
        Ok(broker) => broker,
        Err(error) => {
            say(&format!("FAILED groups: no broker to judge: {error:#}"));
            return ExitCode::FAILURE;
        }
    };
    let alike = if wants_all() { &MemberKind::ALL[..] } else { &IN_NO_MIXED_PAIR };
    for &kind in alike {
        share(&mut suite, &mut broker, kind, kind);
    }
    share(&mut suite, &mut broker, MemberKind::Confluent, MemberKind::KafkaPython);
    share(&mut suite, &mut broker, MemberKind::Aiokafka, MemberKind::Confluent);
    share(&mut suite, &mut broker, MemberKind::Console, MemberKind::Kcat);
    share(&mut suite, &mut broker, MemberKind::ConfluentNext, MemberKind::ConsoleNext);
    // A member of the next protocol takes over a classic group, and one of the classic protocol joins the other kind.
    share(&mut suite, &mut broker, MemberKind::Kcat, MemberKind::ConfluentNext);
    share(&mut suite, &mut broker, MemberKind::ConsoleNext, MemberKind::Kcat);
    tools(&mut suite, &mut broker);
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
        let mut values = BTreeSet::new();
        for partition in 0..PARTITIONS {
            let place = Place { bootstrap: bootstrap.to_owned(), topic: self.topic.clone(), partition };
            let value = |number| format!("{round}-{partition}-{number}");
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

/// Two members in one group, through the death of one and of the broker.
fn share(suite: &mut Suite, broker: &mut Broker, first: MemberKind, second: MemberKind) {
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
        // Until both have a part of what is written now, the second has not joined.
        let mut round = 1;
        loop {
            let values = stream.write(&bootstrap, round)?;
            wait_until(&[&a, &b], "two members read all", |read| have_all(read, &values))?;
            if !b.read().is_disjoint(&values) {
                ensure!(!a.read().is_disjoint(&values), "the second member has taken everything");
                break;
            }
            round += 1;
            ensure!(round < 200, "the second member is never given anything");
        }

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

/// Kafka's own tools: they describe a group with a member, and change one without; and they read what is on disk.
fn tools(suite: &mut Suite, broker: &mut Broker) {
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

        // A member that is killed is missed when its session ends.
        let mut tries = 0;
        while !ask(&[&["--describe", "--state"], &group[..]].concat())?.contains("Empty") {
            tries += 1;
            ensure!(tries < 30, "the member that was killed is never missed");
        }
        let to = ["--reset-offsets", "--to-earliest", "--execute", "--topic", "tooled"];
        ask(&[&to, &group[..]].concat())?;
        let member = Member::start(MemberKind::Kcat, &bootstrap, &stream.topic, "tooled")?;
        wait_until(&[&member], "a member reads all again", |read| have_all(read, &values))
            .context("after the reset")?;
        drop(member);
        tries = 0;
        while !ask(&[&["--describe", "--state"], &group[..]].concat())?.contains("Empty") {
            tries += 1;
            ensure!(tries < 30, "the member that was killed is never missed");
        }
        let told = ask(&[&["--delete-offsets", "--topic", "tooled:0"], &group[..]].concat())?;
        ensure!(told.contains("Successful"), "an offset was deleted: {told}");
        let told = ask(&[&["--delete"], &group[..]].concat())?;
        ensure!(told.contains("successful"), "the group was deleted: {told}");
        let told = ask(&["--list"])?;
        ensure!(!told.lines().any(|line| line.trim() == "tooled"), "listed after its deletion: {told}");
        Ok(Verdict::Passed("described, listed, reset, deleted".to_owned()))
    });
    let stopped = broker.stop();
    suite.case("graceful-stop", || stopped.map(|()| Verdict::Passed("exit code 0".to_owned())));
    suite.case("on-disk", || {
        if let Some(missing) = Console.missing() {
            return Ok(Verdict::Skipped(missing));
        }
        let mut groups = 0;
        for entry in std::fs::read_dir(broker.data())? {
            let segment = entry?.path().join("00000000000000000000.log");
            let is_of_groups = segment.to_string_lossy().contains("/__consumer_offsets-");
            if !is_of_groups || std::fs::metadata(&segment)?.len() == 0 {
                continue;
            }
            let dump = dump_groups(&segment)?;
            let bytes = |line: &&str| line.contains("\"type\":\"2\"") && line.contains("\"protocolType\":\"consumer\"");
            groups += dump.lines().filter(bytes).count();
            ensure!(!dump.contains("failed to decode"), "{} does not decode: {dump}", segment.display());
        }
        ensure!(groups > 0, "no record of a group was decoded");
        Ok(Verdict::Passed(format!("{groups} records of groups")))
    });
}
