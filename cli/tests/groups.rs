//! `cairn group` and the members of `cairn consume --group`, against a broker in this process.

mod support;

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use crate::support::{Broker, run};

fn told(broker: &Broker, words: &[&str]) -> Vec<Value> {
    let printed = run(&mut broker.cairn(&[words, &["--json"]].concat()));
    printed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The words of the line that begins with this one.
fn row<'a>(printed: &'a str, first: &str) -> Vec<&'a str> {
    let words = |line: &'a str| line.split_whitespace().collect::<Vec<_>>();
    let row = printed.lines().map(words).find(|words| words.first() == Some(&first));
    row.unwrap_or_else(|| panic!("no line of {first} in {printed}"))
}

/// What a command says on stderr when it fails.
fn refused(broker: &Broker, words: &[&str]) -> String {
    let output = broker.cairn(words).assert().code(1).get_output().clone();
    String::from_utf8(output.stderr).expect("text")
}

/// A topic of one partition with ten records, of which the group `g` has read three.
fn with_a_group() -> Broker {
    let broker = Broker::start();
    run(&mut broker.cairn(&["topic", "create", "orders", "--partitions", "1"]));
    let lines: String = (0..10).map(|number| format!("{number}\n")).collect();
    broker.cairn(&["produce", "orders"]).write_stdin(lines).assert().success();
    run(&mut broker.cairn(&["consume", "orders", "--group", "g", "--count", "3"]));
    broker
}

#[test]
fn groups_are_listed_and_described() {
    let broker = with_a_group();
    assert_eq!(row(&run(&mut broker.cairn(&["group", "list"])), "g")[..3], ["g", "Empty", "Classic"]);
    let listed = told(&broker, &["group", "list", "--state", "empty", "--type", "classic"]);
    assert_eq!((listed.len(), &listed[0]["name"], &listed[0]["state"]), (1, &json!("g"), &json!("Empty")));
    assert!(told(&broker, &["group", "list", "--state", "Stable"]).is_empty());

    let printed = run(&mut broker.cairn(&["group", "describe", "g"]));
    assert!(printed.starts_with("group g  state Empty  type Classic ") && printed.contains("  lag 7\n"), "{printed}");
    assert_eq!(row(&printed, "orders")[..5], ["orders", "0", "3", "10", "7"], "{printed}");
    let described = &told(&broker, &["group", "describe", "g"])[0];
    assert_eq!((&described["lag"], &described["members"]), (&json!(7), &json!([])));
    let offsets = &described["offsets"][0];
    assert_eq!((&offsets["committed"], &offsets["end"], &offsets["lag"]), (&json!(3), &json!(10), &json!(7)));
    assert!(offsets["behind_ms"].as_u64().is_some_and(|behind| behind < 600_000), "{offsets}");
    assert!(told(&broker, &["group", "describe", "g", "--members"])[0].get("offsets").is_none());

    // Deleted topics leave their offsets for a while.
    run(&mut broker.cairn(&["consume", "orders", "--group", "g", "--exit-at-end"]));
    assert_eq!(told(&broker, &["group", "describe", "g"])[0]["offsets"][0]["behind_ms"], 0);
    assert!(refused(&broker, &["group", "describe", "nobody"]).contains("GROUP_ID_NOT_FOUND"));
}

#[test]
fn a_reset_is_shown_first_and_done_when_asked() {
    let broker = with_a_group();
    let reset = |words: &[&str]| told(&broker, &[&["group", "reset", "g", "--topic", "orders"], words].concat());
    let committed = || told(&broker, &["group", "describe", "g", "--offsets"])[0]["offsets"][0]["committed"].clone();
    let shown = reset(&["--to", "beginning"]);
    assert_eq!(shown[0]["from"], 3);
    assert_eq!((&shown[0]["to"], &shown[0]["executed"]), (&json!(0), &json!(false)));
    assert_eq!(committed(), 3, "a dry run");
    for (words, to) in [
        (&["--to", "end"][..], 10),
        (&["--shift", "-4"], 6),
        (&["--shift", "-100"], 0),
        (&["--to", "8"], 8),
        (&["--to", "80"], 10),
        (&["--to", "1999-01-01T00:00:00Z"], 0),
        (&["--to", "2999-01-01T00:00:00Z"], 10),
        (&["--to", "beginning"], 0),
    ] {
        assert_eq!(reset(&[words, &["--execute"]].concat())[0]["to"], to, "{words:?}");
        assert_eq!(committed(), to, "{words:?}");
    }
    let output = broker.cairn(&["group", "reset", "g", "--all-topics", "--to", "99"]).assert().success();
    let said = String::from_utf8_lossy(&output.get_output().stderr).into_owned();
    assert!(said.contains("orders-0 does not reach to offset 99") && said.contains("--execute"), "{said}");
    assert_eq!(run(&mut broker.cairn(&["consume", "orders", "--group", "g", "--exit-at-end"])).lines().count(), 10);

    // A group that is not there is made; one that committed nothing cannot be shifted.
    run(&mut broker.cairn(&["group", "reset", "new", "--topic", "orders:0", "--to", "4", "--execute"]));
    assert_eq!(run(&mut broker.cairn(&["consume", "orders", "--group", "new", "--count", "1"])), "4\n");
    for wrong in [
        &["other", "--topic", "orders", "--shift", "1"][..],
        &["g", "--topic", "nowhere", "--to", "end"],
        &["g", "--topic", "orders:1", "--to", "end"],
        &["other", "--all-topics", "--to", "end"],
    ] {
        refused(&broker, &[&["group", "reset"], wrong].concat());
    }
}

#[test]
fn groups_and_offsets_are_deleted() {
    let broker = with_a_group();
    assert!(refused(&broker, &["group", "delete", "g", "--topic", "payments"]).contains("committed nothing"));
    let deleted = run(&mut broker.cairn(&["group", "delete", "g", "--topic", "orders:0"]));
    assert_eq!(deleted, "deleted 1 offsets of g\n");
    run(&mut broker.cairn(&["consume", "orders", "--group", "h", "--count", "3"]));
    assert_eq!(run(&mut broker.cairn(&["group", "delete", "h"])), "deleted h\n");
    assert!(told(&broker, &["group", "list"]).iter().all(|group| group["name"] != "h"));
    assert!(refused(&broker, &["group", "delete", "h"]).contains("GROUP_ID_NOT_FOUND"));
}

/// A member that runs until it is told to stop.
fn start_member(broker: &Broker) -> (Child, BufReader<ChildStdout>) {
    let words = ["consume", "shared", "--group", "g", "--json"];
    let mut child = broker.command(&words).stdout(Stdio::piped()).spawn().expect("starts");
    let printed = BufReader::new(child.stdout.take().expect("piped"));
    (child, printed)
}

fn records(printed: &mut BufReader<ChildStdout>, count: usize) -> Vec<Value> {
    let lines = printed.lines().take(count);
    lines.map(|line| serde_json::from_str(&line.expect("a line")).expect("JSON")).collect()
}

/// Writes so that each partition gets some.
fn write(broker: &Broker, numbers: std::ops::Range<i32>) {
    let lines: String = numbers.map(|number| format!("{number}=>{number}\n")).collect();
    broker.cairn(&["produce", "shared", "--key-separator", "=>"]).write_stdin(lines).assert().success();
}

fn members(broker: &Broker) -> Vec<Value> {
    let output = broker.cairn(&["group", "describe", "g", "--members", "--json"]).output().expect("runs");
    let described: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    described["members"].as_array().cloned().unwrap_or_default()
}

/// Asks until each of so many members has something.
fn wait_for_members(broker: &Broker, count: usize) {
    let begun = std::time::Instant::now();
    loop {
        let members = members(broker);
        let has_some = |member: &Value| member["assigned"].as_array().is_some_and(|assigned| !assigned.is_empty());
        if members.len() == count && members.iter().all(has_some) {
            return;
        }
        assert!(begun.elapsed().as_secs() < 60, "{members:?}");
    }
}

#[test]
fn processes_share_the_partitions_of_a_topic() {
    let broker = Broker::start();
    run(&mut broker.cairn(&["topic", "create", "shared", "--partitions", "4"]));
    let (mut first, mut printed) = start_member(&broker);
    wait_for_members(&broker, 1);
    write(&broker, 0..40);
    assert_eq!(records(&mut printed, 40).len(), 40);
    let (mut second, second_printed) = start_member(&broker);
    wait_for_members(&broker, 2);
    assert!(refused(&broker, &["group", "reset", "g", "--topic", "shared", "--to", "end"]).contains("has 2 members"));
    assert!(refused(&broker, &["group", "delete", "g"]).contains("NON_EMPTY_GROUP"));
    let text = run(&mut broker.cairn(&["group", "describe", "g"]));
    assert!(text.contains("state Stable") && text.contains("assignor range") && text.contains("cairn-cli"), "{text}");

    let text = run(&mut broker.cairn(&["group", "explain", "g"]));
    assert!(text.contains("state Stable") && text.contains("a member joined"), "{text}");
    let story = &told(&broker, &["group", "explain", "g"])[0];
    assert_eq!(
        story["rebalances"].as_array().and_then(|all| all.last()).map(|last| &last["cause"]),
        Some(&json!("joined"))
    );
    assert!(refused(&broker, &["group", "explain", "nobody"]).contains("nobody"));
    assert!(refused(&broker, &["group", "explain", "g", "--metrics", broker.address()]).contains(broker.address()));

    // One leaves in order: what it printed is committed, and the other goes on with all.
    let status = Command::new("kill").args(["-INT", &second.id().to_string()]).status().expect("kill runs");
    assert!(status.success() && second.wait().expect("ends").success());
    let by_second = second_printed.lines().count();
    assert_eq!(by_second, 0, "all was committed by the first before the second came");
    wait_for_members(&broker, 1);
    write(&broker, 40..80);
    let mut values: Vec<i32> = records(&mut printed, 40)
        .iter()
        .map(|record| record["value"].as_str().and_then(|value| value.parse().ok()).expect("a number"))
        .collect();
    values.sort_unstable();
    assert_eq!(values, (40..80).collect::<Vec<i32>>());
    support::terminate(first.id());
    assert!(first.wait().expect("ends").success());
    let lag = &told(&broker, &["group", "describe", "g"])[0]["lag"];
    assert_eq!(lag, &json!(0), "it committed when it was stopped");
}

#[test]
fn where_nothing_is_committed_from_says_where_to_begin() {
    let broker = with_a_group();
    let read = |words: &[&str]| run(&mut broker.cairn(&[&["consume", "orders"], words].concat()));
    assert_eq!(read(&["--group", "new", "--from", "8", "--exit-at-end"]), "8\n9\n");
    assert_eq!(read(&["--group", "g", "--from", "8", "--count", "1"]), "3\n", "it has committed");
    assert_eq!(read(&["--group", "late", "--from", "end", "--exit-at-end"]), "");
    broker.cairn(&["consume", "orders", "other", "--partition", "0"]).assert().code(2);
}
