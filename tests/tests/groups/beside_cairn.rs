//! Members of several clients in one group beside `cairn consume`: each gets a part, one is killed, the others take over, and
//! `cairn group explain` tells of it.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use cairn_tests::broker::{Broker, Kind, binary};
use cairn_tests::clients::member::{Member, MemberKind, READ_TIME_MAX, wait_until};
use cairn_tests::clients::{Client, Kcat};
use cairn_tests::process;
use cairn_tests::report::{Suite, Verdict};
use serde_json::Value;

use super::{PARTITIONS, Stream, have_all};

/// Ours, and others; the last one is killed.
pub(super) const MEMBERS: [&[MemberKind]; 2] = [
    &[MemberKind::Cairn, MemberKind::Confluent, MemberKind::Console, MemberKind::KafkaPython],
    &[MemberKind::CairnNext, MemberKind::ConsoleNext, MemberKind::ConfluentNext],
];

/// The members of one group, through the death of the last one.
pub(super) fn share(suite: &Suite, broker: &mut Broker, kinds: &[MemberKind]) {
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    suite.case(&format!("beside-cairn/{}", names.join("+")), || {
        if let Some(missing) = Kcat.missing().or_else(|| kinds.iter().find_map(|kind| kind.missing())) {
            return Ok(Verdict::Skipped(missing));
        }
        let bootstrap = broker.bootstrap();
        let (topic, group) = (format!("beside-{}", names.join("-")), format!("group-beside-{}", names.join("-")));
        let mut stream = Stream { topic: topic.clone(), written: BTreeSet::new() };
        let before = stream.write(&bootstrap, 0)?;
        let mut members = Vec::new();
        for kind in kinds {
            members.push(Member::start(*kind, &bootstrap, &topic, &group)?);
            let all: Vec<&Member> = members.iter().collect();
            wait_until(&all, "who is there reads all", |read| have_all(read, &before))?;
            until_each_reads(&mut stream, &bootstrap, &all, 1_000 * members.len())?;
        }

        let mut last = members.pop().context("there are members")?;
        last.kill9()?;
        let read_before = last.read();
        let left: Vec<&Member> = members.iter().collect();
        let values = stream.write(&bootstrap, 1_000_000)?;
        wait_until(&left, "the others take over", |read| have_all(read, &values))?;
        let mut read: Vec<BTreeSet<String>> = left.iter().map(|member| member.read()).collect();
        read.push(read_before);
        ensure!(have_all(&read, &stream.written), "something that was written is missed");
        if broker.kind() != &Kind::Kafka {
            check_explained(&bootstrap, &group, left.len())?;
        }
        Ok(Verdict::Passed(format!("{} records, {} members, one killed", stream.written.len(), kinds.len())))
    });
}

/// Writes rounds until one comes to all members.
fn until_each_reads(stream: &mut Stream, bootstrap: &str, members: &[&Member], round: usize) -> anyhow::Result<()> {
    ensure!(members.len() <= usize::try_from(PARTITIONS)?, "there is a part for each");
    let until = Instant::now() + READ_TIME_MAX;
    for round in round.. {
        let values = stream.write(bootstrap, round)?;
        wait_until(members, "all is read", |read| have_all(read, &values))?;
        if members.iter().all(|member| !member.read().is_disjoint(&values)) {
            return Ok(());
        }
        ensure!(Instant::now() < until, "one of {} members is never given anything", members.len());
    }
    bail!("there are no more rounds")
}

/// What is told of the last rebalance: why it was, who is gone, and of each that is left by its name how long it took.
fn check_explained(bootstrap: &str, group: &str, left: usize) -> anyhow::Result<()> {
    let until = Instant::now() + READ_TIME_MAX;
    loop {
        let mut command = Command::new(binary()?);
        command.args(["group", "explain", group, "--json", "--bootstrap", bootstrap]);
        let told: Value = serde_json::from_slice(&process::run(&mut command, &[])?.stdout)?;
        let rebalances = told["rebalances"].as_array().context("rebalances")?;
        // Who reads all may not have said yet that it has all.
        let ended = rebalances.last().filter(|last| last["outcome"] == "stable");
        if ended.is_some_and(|last| is_of_a_death(last, left)) {
            return Ok(());
        }
        ensure!(Instant::now() < until, "the death of a member is told as {told:#}");
    }
}

fn is_of_a_death(rebalance: &Value, left: usize) -> bool {
    let Some(members) = rebalance["members"].as_array() else { return false };
    let (gone, there): (Vec<&Value>, Vec<&Value>) = members.iter().partition(|member| !member["removed"].is_null());
    let is_named = |member: &&Value| member["client_id"].as_str().is_some_and(|name| !name.is_empty());
    rebalance["cause"] == "session_expired"
        && gone.len() == 1
        && gone[0]["removed"] == "session_expired"
        && there.len() == left
        && there.iter().all(|member| member["after_synced_ms"].is_u64())
        && members.iter().all(|member| is_named(&member))
}
