//! `cairn bench` against a broker: what it counts, what it writes, and that it leaves nothing behind.

mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Broker, run};

/// Runs a bench that writes JSON, and gives it with what was printed.
fn bench(broker: &Broker, folder: &Path, words: &[&str]) -> (Value, String) {
    let file = folder.join("results.json");
    let words = [&["bench"], words, &["--json", file.to_str().expect("text")]].concat();
    let printed = run(broker.cairn(&words));
    let json = std::fs::read_to_string(file).expect("written");
    (serde_json::from_str(&json).expect("JSON"), printed)
}

fn topics(broker: &Broker) -> String {
    run(broker.cairn(&["topic", "list"]))
}

const SHORT: [&str; 4] = ["--seconds", "1", "--warm-up-seconds", "0"];

#[test]
fn an_open_loop_sends_what_its_schedule_has() {
    let (broker, folder) = (Broker::start(), tempfile::tempdir().expect("a temporary folder"));
    let html = folder.path().join("report.html");
    let words = ["produce", "--rate", "700", "--partitions", "3", "--record-size", "50", "--html"];
    let words = [&words[..], &[html.to_str().expect("text")], &SHORT].concat();
    let (json, printed) = bench(&broker, folder.path(), &words);
    let outcome = &json["runs"][0]["outcome"];
    assert_eq!((&outcome["sent"], &outcome["failed"]), (&700.into(), &0.into()), "{json}");
    assert_eq!((&outcome["acked"]["records"], &outcome["acked"]["bytes"]), (&700.into(), &35_000.into()), "{json}");
    assert_eq!(outcome["acked"]["latency"]["count"], 700);
    let seconds = outcome["acked"]["seconds"].as_array().expect("a list");
    assert_eq!(seconds.iter().filter_map(|second| second["records"].as_u64()).sum::<u64>(), 700, "{json}");
    assert!(json["medians"]["A"]["ack_p99_ms"].as_f64().is_some_and(|p99| p99 > 0.0), "{json}");
    assert_eq!((&json["plan"]["partitions"], &json["plan"]["rate"]), (&3.into(), &"700".into()));
    assert!(printed.contains("ack_p50_ms") && printed.contains("700"), "{printed}");
    let html = std::fs::read_to_string(html).expect("written");
    assert!(html.contains("Latency by percentile") && html.matches("</svg>").count() == 3, "{html}");
    assert_eq!(topics(&broker), "");
}

#[test]
fn what_is_acknowledged_is_read() {
    let (broker, folder) = (Broker::start(), tempfile::tempdir().expect("a temporary folder"));
    let words = ["end-to-end", "--rate", "500", "--partitions", "2", "--seconds", "1", "--compression", "lz4"];
    let (json, _) = bench(&broker, folder.path(), &words);
    let outcome = &json["runs"][0]["outcome"];
    // The second of warming up, which is the default, counts nowhere.
    assert_eq!((&outcome["sent"], &outcome["acked"]["records"]), (&500.into(), &500.into()), "{json}");
    assert_eq!((&outcome["read"]["records"], &outcome["read"]["latency"]["count"]), (&500.into(), &500.into()));
    let (json, _) = bench(&broker, folder.path(), &[&["mixed"], &SHORT[..]].concat());
    let outcome = &json["runs"][0]["outcome"];
    assert!(outcome["sent"].as_u64().is_some_and(|sent| sent > 0), "{json}");
    assert_eq!(outcome["sent"], outcome["read"]["records"], "{json}");
    assert_eq!(topics(&broker), "");
}

#[test]
fn a_backlog_is_written_once_and_read_again_and_again() {
    let (broker, folder) = (Broker::start(), tempfile::tempdir().expect("a temporary folder"));
    let words = ["consume", "--backlog-mb", "1", "--record-size", "1000", "--partitions", "2"];
    let (json, _) = bench(&broker, folder.path(), &[&words, &SHORT[..]].concat());
    let outcome = &json["runs"][0]["outcome"];
    assert_eq!((&outcome["backlog_records"], &outcome["acked"]), (&1_000.into(), &Value::Null), "{json}");
    let read = outcome["read"]["records"].as_u64().expect("a number");
    assert!(read > 1_000, "{read} were read");
    assert_eq!(outcome["read"]["bytes"], read * 1_000);
    assert_eq!(topics(&broker), "");
}

#[test]
fn two_clusters_take_turns() {
    let (one, other) = (Broker::start(), Broker::start());
    let folder = tempfile::tempdir().expect("a temporary folder");
    let words = ["produce", "--rate", "200", "--runs", "2", "--compare", other.address()];
    let (json, printed) = bench(&one, folder.path(), &[&words, &SHORT[..]].concat());
    let sides: Vec<_> = json["runs"].as_array().expect("a list").iter().map(|run| run["side"].clone()).collect();
    assert_eq!(sides, ["A", "B", "A", "B"]);
    assert_eq!(json["runs"][1]["bootstrap"], other.address());
    let ratio = json["ratios"]["acked_per_second"].as_f64().expect("a ratio");
    assert!(ratio > 0.0 && printed.contains("A/B"), "{printed}");
    assert_eq!((topics(&one), topics(&other)), (String::new(), String::new()));
}

#[test]
fn a_signal_ends_it_with_what_was_measured() {
    let broker = Broker::start();
    let mut command = broker.command(&["bench", "produce", "--rate", "100", "--seconds", "3600"]);
    let child = command.stdout(Stdio::piped()).spawn().expect("starts");
    while topics(&broker).is_empty() {}
    let status = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
    assert!(status.success());
    let output = child.wait_with_output().expect("ends");
    let printed = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success() && printed.contains("stopped before its time"), "{printed}");
    assert_eq!(topics(&broker), "");
}

#[test]
fn what_makes_no_sense_is_wrong_usage() {
    let broker = Broker::start();
    for words in [
        &["end-to-end", "--record-size", "7"][..],
        &["consume", "--rate", "5"],
        &["produce", "--rate", "0"],
        &["produce", "--rate", "fast"],
        &["produce", "--bootstrap", "no port"],
    ] {
        broker.cairn(&[&["bench"], words].concat()).assert().code(2);
    }
    let nowhere = ["bench", "produce", "--json", "/no/such/folder/results.json"];
    broker.cairn(&nowhere).assert().code(1);
    let refused =
        broker.cairn(&["bench", "produce", "--replication-factor", "9"]).assert().code(1).get_output().clone();
    let said = String::from_utf8(refused.stderr).expect("text");
    assert!(said.contains("cannot make topic"), "{said}");
    assert_eq!(topics(&broker), "");
}
