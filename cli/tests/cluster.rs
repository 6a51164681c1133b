//! `cairn cluster` against one broker, which has nowhere to move anything to.

mod support;

use serde_json::Value;

use crate::support::{Broker, run};

fn with_topic() -> Broker {
    let broker = Broker::start();
    run(broker.cairn(&["topic", "create", "orders", "--partitions", "2", "--replication-factor", "1"]));
    broker
}

#[test]
fn status_tells_brokers_and_partitions() {
    let broker = with_topic();
    let told: Value = serde_json::from_str(&run(broker.cairn(&["cluster", "status", "--json"]))).expect("json");
    assert_eq!((&told["controller"], &told["topics"], &told["partitions"]), (&1.into(), &1.into(), &2.into()));
    for state in ["offline", "under_min_isr", "at_min_isr", "under_replicated"] {
        assert_eq!(told[state], 0, "{state}");
    }
    assert_eq!(told["brokers"][0]["fenced"], false);
    let text = run(broker.cairn(&["cluster", "status"]));
    assert!(text.contains("controller 1") && text.contains(broker.address()), "{text}");
}

#[test]
fn brokers_tells_what_each_leads_and_keeps() {
    let broker = with_topic();
    let mut produce = broker.cairn(&["produce", "orders"]);
    produce.write_stdin("one record\n").assert().success();
    let told: Value = serde_json::from_str(&run(broker.cairn(&["cluster", "brokers", "--json"]))).expect("json");
    assert_eq!((&told["leads"], &told["replicas"], &told["in_sync"]), (&2.into(), &2.into(), &2.into()));
    assert!(told["log_bytes"].as_u64().expect("a number") > 0, "{told}");
}

#[test]
fn check_succeeds_when_all_is_well() {
    let broker = with_topic();
    let text = run(broker.cairn(&["cluster", "check"]));
    assert_eq!(text, "all is well: 2 partitions, all replicas in sync\n");
}

#[test]
fn what_cannot_move_is_told_and_fails() {
    let broker = with_topic();
    let drained = broker.cairn(&["cluster", "drain", "--broker", "1", "--dry-run"]).assert().code(1);
    let error = String::from_utf8(drained.get_output().stderr.clone()).expect("text");
    assert!(error.contains("orders-0 has 1 replicas"), "{error}");
    broker.cairn(&["cluster", "drain", "--broker", "7"]).assert().code(1);
    let refused = broker.cairn(&["cluster", "reassign", "--topic", "orders", "--replicas", "7"]).assert().code(1);
    let output = refused.get_output();
    assert!(String::from_utf8_lossy(&output.stdout).contains("orders-1  1 -> 7"));
    assert!(String::from_utf8_lossy(&output.stderr).contains("2 of 2 partitions were refused"));
    assert_eq!(run(broker.cairn(&["cluster", "rebalance"])), "nothing has to move\n");
    assert_eq!(run(broker.cairn(&["cluster", "reassign", "--list"])), "nothing moves\n");
    assert_eq!(run(broker.cairn(&["cluster", "reassign", "--topic", "orders", "--cancel"])), "nothing moves\n");
}

#[test]
fn a_broker_that_has_replicas_serves_or_is_not_there_is_not_removed() {
    let broker = with_topic();
    for (arguments, why) in [
        (&["--broker", "1"][..], "broker 1 has 2 replicas still"),
        (&["--broker", "1", "--keep-replicas"], "broker 1 serves: stop it first"),
        (&["--broker", "7"], "broker 7 is not registered"),
    ] {
        let refused = broker.cairn(&[&["cluster", "remove"], arguments].concat()).assert().code(1);
        let error = String::from_utf8_lossy(&refused.get_output().stderr).into_owned();
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn a_reassignment_to_the_same_replicas_is_done_at_once() {
    let broker = with_topic();
    let reassign = ["cluster", "reassign", "--topic", "orders", "--partition", "1", "--replicas", "1"];
    assert_eq!(run(broker.cairn(&reassign)), "orders-1  1 -> 1\n1 partitions are where they shall be\n");
    broker.cairn(&["cluster", "reassign", "--topic", "orders"]).assert().code(2);
}

#[test]
fn the_secret_is_printed_of_data_that_is_a_members() {
    let broker = Broker::start();
    let folder = broker.data();
    let folder = folder.to_str().expect("text");
    let secret = run(broker.cairn(&["cluster", "secret", "--data", folder]));
    assert!(secret.len() == 65 && secret.trim_end().bytes().all(|byte| byte.is_ascii_hexdigit()), "{secret}");
    let empty = tempfile::tempdir().expect("a folder");
    let empty = empty.path().to_str().expect("text");
    broker.cairn(&["cluster", "secret", "--data", empty]).assert().code(1);
    broker.cairn(&["cluster", "secret", "--data", &format!("{empty}/missing")]).assert().code(1);
}
