//! The command line as a user and a script meet it, against a broker in this process.

mod support;

use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::support::{Broker, cairn, run};

#[test]
fn usage_is_two_and_help_is_zero() {
    for words in [&["--help"][..], &["topic", "create", "--help"], &["--version"], &["help", "consume"]] {
        cairn().args(words).assert().success();
    }
    for words in [
        &[][..],
        &["nonsense"],
        &["topic", "create"],
        &["consume", "t", "--from", "yesterday"],
        &["consume", "t", "--from", "stored"],
        &["produce", "t", "--acks", "2"],
        &["broker", "--set", "no.such.key=1"],
        &["broker", "--set", "num.partitions=many"],
        &["topic", "list", "--bootstrap", "nowhere"],
    ] {
        cairn().args(words).assert().code(2);
    }
}

#[test]
fn every_command_has_examples() {
    for words in [
        &["produce"][..],
        &["consume"],
        &["broker"],
        &["completions"],
        &["topic", "create"],
        &["topic", "describe"],
        &["topic", "alter"],
        &["topic", "delete"],
        &["config", "get"],
        &["config", "set"],
        &["group", "list"],
        &["group", "describe"],
        &["group", "reset"],
        &["group", "delete"],
        &["group", "explain"],
        &["log", "dump"],
        &["log", "verify"],
    ] {
        let help = run(cairn().args(words).arg("--help"));
        assert!(help.contains("Examples:") && help.contains("cairn "), "{words:?}: {help}");
    }
}

#[test]
fn completions_are_printed_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(run(cairn().args(["completions", shell])).contains("consume"), "{shell}");
    }
}

#[test]
fn nobody_there_fails_with_one_and_says_where() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    drop(listener);
    let output = cairn().args(["topic", "list", "--bootstrap", &address]).assert().code(1).get_output().clone();
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(said.contains(&address) && said.contains("check the address"), "{said}");
}

#[test]
fn a_topic_lives_and_dies() {
    let broker = Broker::start();
    let create = [
        "topic",
        "create",
        "orders",
        "--partitions",
        "3",
        "--replication-factor",
        "1",
        "--config",
        "retention.ms=60000",
    ];
    assert_eq!(run(broker.cairn(&create)), "created orders\n");
    broker.cairn(&create).assert().code(1);
    assert!(run(&mut broker.cairn(&["topic", "list"])).lines().any(|line| line == "orders"));
    run(&mut broker.cairn(&["topic", "alter", "orders", "--partitions", "4", "--config", "max.message.bytes=1000"]));
    let described: Value =
        serde_json::from_str(&run(&mut broker.cairn(&["topic", "describe", "orders", "--json"]))).expect("JSON");
    assert_eq!(described["partitions"].as_array().map(Vec::len), Some(4));
    assert_eq!(described["configs"], json!({"retention.ms": "60000", "max.message.bytes": "1000"}));
    run(&mut broker.cairn(&["topic", "alter", "orders", "--delete-config", "retention.ms"]));
    assert!(!run(&mut broker.cairn(&["topic", "describe", "orders"])).contains("retention.ms"));
    assert_eq!(run(&mut broker.cairn(&["topic", "delete", "orders"])), "deleted orders\n");
    broker.cairn(&["topic", "describe", "orders"]).assert().code(1);
}

#[test]
fn configuration_is_shown_and_set() {
    let broker = Broker::start();
    run(&mut broker.cairn(&["topic", "create", "orders"]));
    let get = |words: &[&str]| run(&mut broker.cairn(&[&["config", "get"], words].concat()));
    let set = |words: &[&str]| run(&mut broker.cairn(&[&["config", "set"], words].concat()));
    assert_eq!(get(&["--topic", "orders", "retention.ms"]), "retention.ms=604800000  (default)\n");
    assert_eq!(set(&["--brokers", "log.retention.ms=5"]), "altered all brokers\n");
    assert_eq!(get(&["--brokers"]), "log.retention.ms=5  (all brokers)\n");
    assert_eq!(set(&["--broker", "1", "log.retention.ms=6"]), "altered broker 1\n");
    assert_eq!(get(&["--topic", "orders"]), "retention.ms=6  (broker)\n");
    assert_eq!(set(&["--topic", "orders", "retention.ms=7", "compression.type=zstd"]), "altered orders\n");
    assert_eq!(set(&["--topic", "orders", "--delete", "compression.type"]), "altered orders\n");
    let told: Value = serde_json::from_str(&get(&["--topic", "orders", "--json"])).expect("JSON");
    assert_eq!(told, json!({"name": "retention.ms", "value": "7", "source": "topic", "read_only": false}));
    assert!(get(&["--broker", "1", "--all"]).contains("node.id=1"));
    assert!(get(&["--loggers", "1", "root"]).contains("root=ERROR  (logger)"));
    assert_eq!(set(&["--group", "g", "consumer.heartbeat.interval.ms=6000"]), "altered group g\n");
    assert_eq!(get(&["--group", "g"]), "consumer.heartbeat.interval.ms=6000  (group)\n");
    assert!(get(&["--group", "other", "--all"]).contains("consumer.session.timeout.ms=45000  (default)"));
    for wrong in [
        &["get", "--topic", "missing"][..],
        &["get", "--topic", "orders", "retention.m"],
        &["set", "--broker", "1", "num.partitions=2"],
        &["set", "--loggers", "1", "cairn_nobody=DEBUG"],
        &["set", "--group", "g", "consumer.heartbeat.interval.ms=1"],
        &["set", "--topic", "orders", "--append", "retention.ms=1"],
    ] {
        broker.cairn(&[&["config"], wrong].concat()).assert().code(1);
    }
}

#[test]
fn lines_go_in_and_come_out() {
    let broker = Broker::start();
    for (compression, topic) in [("none", "a"), ("gzip", "b"), ("snappy", "c"), ("lz4", "d"), ("zstd", "e")] {
        let lines: String = (0..2_000).map(|number| format!("line {number}\n")).collect();
        let mut produce = broker.cairn(&["produce", topic, "--compression", compression]);
        produce.write_stdin(lines.clone()).assert().success();
        assert_eq!(run(&mut broker.cairn(&["consume", topic, "--exit-at-end"])), lines, "{compression}");
    }
}

#[test]
fn a_file_with_keys_comes_out_as_json() {
    let broker = Broker::start();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("lines");
    std::fs::write(&file, b"k1=>v=>1\r\nno key\n\xff=>\xfe\x00\nlast").expect("written");
    let file = file.to_str().expect("text");
    run(&mut broker.cairn(&["produce", "t", "--file", file, "--key-separator", "=>"]));
    let printed = run(&mut broker.cairn(&["consume", "t", "--exit-at-end", "--json"]));
    let mut lines: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    for (offset, line) in lines.iter_mut().enumerate() {
        let line = line.as_object_mut().expect("an object");
        assert!(
            line.remove("timestamp_ms").and_then(|time| time.as_i64()).is_some_and(|time| time > 1_600_000_000_000)
        );
        assert_eq!(line.remove("offset"), Some(json!(offset)));
        assert_eq!(line.remove("topic"), Some(json!("t")));
        assert_eq!(line.remove("partition"), Some(json!(0)));
        assert_eq!(line.remove("headers"), Some(json!([])));
    }
    let expected = [
        json!({"key": "k1", "value": "v=>1"}),
        json!({"key": null, "value": "no key"}),
        json!({"key": "/w==", "key_encoding": "base64", "value": "/gA=", "value_encoding": "base64"}),
        json!({"key": null, "value": "last"}),
    ];
    assert_eq!(lines, expected);
}

#[test]
fn places_and_counts_are_kept() {
    let broker = Broker::start();
    run(&mut broker.cairn(&["topic", "create", "t", "--partitions", "2"]));
    let lines: String = (0..100).map(|number| format!("{number}\n")).collect();
    broker.cairn(&["produce", "t"]).write_stdin(lines).assert().success();
    let count = |words: &[&str]| run(&mut broker.cairn(words)).lines().count();
    assert_eq!(count(&["consume", "t", "--exit-at-end"]), 100);
    assert_eq!(count(&["consume", "t", "--exit-at-end", "--from", "end"]), 0);
    assert_eq!(count(&["consume", "t", "--count", "7"]), 7);
    assert_eq!(count(&["consume", "t", "--exit-at-end", "--from", "1999-01-01T00:00:00Z"]), 100);
    assert_eq!(count(&["consume", "t", "--exit-at-end", "--from", "2999-01-01T00:00:00Z"]), 0);
    let in_first = count(&["consume", "t", "--exit-at-end", "--partition", "0"]);
    let in_second = count(&["consume", "t", "--exit-at-end", "--partition", "1"]);
    assert_eq!(in_first + in_second, 100);
    let full = if in_first > in_second { "0" } else { "1" };
    let all = in_first.max(in_second);
    assert_eq!(count(&["consume", "t", "--exit-at-end", "--partition", full, "--from", "10"]), all - 10);
    broker.cairn(&["consume", "t", "--partition", "2", "--exit-at-end"]).assert().code(1);
    broker.cairn(&["consume", "nowhere", "--exit-at-end"]).assert().code(1);
}

#[test]
fn a_group_goes_on_where_it_stopped() {
    let broker = Broker::start();
    let write = |text: &str| {
        broker.cairn(&["produce", "t"]).write_stdin(text.to_owned()).assert().success();
    };
    let read = |words: &[&str]| run(&mut broker.cairn(&[&["consume", "t", "--group", "g"], words].concat()));
    write("1\n2\n3\n");
    assert_eq!(read(&["--count", "2"]), "1\n2\n");
    assert_eq!(read(&["--exit-at-end"]), "3\n");
    write("4\n");
    assert_eq!(read(&["--exit-at-end", "--from", "stored"]), "4\n");
    assert_eq!(read(&["--exit-at-end"]), "");
    assert_eq!(read(&["--exit-at-end", "--from", "beginning"]), "", "--from is for what was never committed");
    assert_eq!(read(&["--exit-at-end", "--from", "0", "--partition", "0"]), "1\n2\n3\n4\n", "by hand");
}

#[test]
fn a_reader_that_leaves_is_no_failure() {
    let broker = Broker::start();
    let lines: String =
        (0..50_000).map(|number| format!("a line that is long enough to fill a pipe {number}\n")).collect();
    broker.cairn(&["produce", "t"]).write_stdin(lines).assert().success();
    let mut child =
        broker.command(&["consume", "t"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let mut first = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut first).expect("a line");
    assert!(first.ends_with(" 0\n"), "{first}");
    // The pipe is closed now, as by `head -n 1`.
    let output = child.wait_with_output().expect("it ends by itself");
    assert!(output.status.success(), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn what_is_read_reaches_a_pipe_without_waiting_for_more() {
    let broker = Broker::start();
    run(&mut broker.cairn(&["topic", "create", "t"]));
    let mut consume = broker.command(&["consume", "t"]).stdout(Stdio::piped()).spawn().expect("starts");
    let mut printed = BufReader::new(consume.stdout.take().expect("piped"));
    let mut produce = broker.command(&["produce", "t"]).stdin(Stdio::piped()).spawn().expect("starts");
    let mut typed = produce.stdin.take().expect("piped");
    for word in ["one\n", "two\n", "three\n"] {
        typed.write_all(word.as_bytes()).expect("taken");
        let mut line = String::new();
        printed.read_line(&mut line).expect("a line");
        assert_eq!(line, word);
    }
    drop(typed);
    assert!(produce.wait().expect("ends").success());
    support::terminate(consume.id());
    assert!(consume.wait().expect("ends").success());
}
