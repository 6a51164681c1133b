//! The broker as a process: its ready line, its signals, its exit codes, its files, and the demo.

mod support;

use std::os::unix::net::UnixDatagram;
use std::path::Path;

use crate::support::{Served, cairn, run, terminate};

fn address(ready: &str) -> &str {
    let word = ready.split_whitespace().find_map(|word| word.strip_prefix("kafka="));
    word.unwrap_or_else(|| panic!("no address in {ready:?}"))
}

#[test]
fn a_broker_says_when_it_is_ready_and_stops_when_asked() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let data = folder.path().join("data");
    let mut served = Served::start(&data, &["--node-id", "7"]);
    let words: Vec<&str> = served.ready.split_whitespace().collect();
    let data = format!("data={}", data.display());
    assert_eq!((words[0], words[3], words[4]), ("ready:", data.as_str(), "node=7"));
    assert!(words[1].starts_with("kafka=127.0.0.1:") && words[2].starts_with("metrics=127.0.0.1:"), "{words:?}");
    terminate(served.child.id());
    assert_eq!(served.child.wait().expect("ends").code(), Some(0));
}

#[test]
fn a_service_manager_is_told_when_it_serves_and_when_it_stops() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    let told = || {
        let mut text = [0; 64];
        let length = socket.recv(&mut text).expect("a datagram");
        String::from_utf8_lossy(&text[..length]).into_owned()
    };
    let mut served = Served::notifying(&path, &folder.path().join("data"));
    assert_eq!(told(), "READY=1");
    terminate(served.child.id());
    assert_eq!(told(), "STOPPING=1");
    assert_eq!(served.child.wait().expect("ends").code(), Some(0));
}

#[test]
fn a_data_directory_serves_one_broker() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let _first = Served::start(folder.path(), &[]);
    let mut second = cairn();
    second.args(["broker", "--listen", "127.0.0.1:0", "--data"]).arg(folder.path());
    second.assert().code(3);
}

#[test]
fn what_was_written_is_there_after_a_kill_and_its_files_hold() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut served = Served::start(folder.path(), &[]);
    let lines: String = (0..5_000).map(|number| format!("line {number}\n")).collect();
    let produce = ["produce", "t", "--bootstrap", address(&served.ready)];
    cairn().args(produce).write_stdin(lines.clone()).assert().success();
    served.child.kill().expect("killed");
    served.child.wait().expect("ends");

    let mut served = Served::start(folder.path(), &[]);
    let consume = ["consume", "t", "--exit-at-end", "--bootstrap", address(&served.ready)];
    assert_eq!(run(cairn().args(consume)), lines);
    terminate(served.child.id());
    assert!(served.child.wait().expect("ends").success());

    let partition = folder.path().join("t-0");
    let verdict = run(cairn().args(["log", "verify"]).arg(&partition));
    assert!(verdict.contains(" records=5000 ") && verdict.contains("problems=0"), "{verdict}");
    assert!(run(cairn().args(["log", "dump", "--records"]).arg(&partition)).contains("line 4999"));
    cairn().args(["log", "verify"]).arg(Path::new("/no/such/folder")).assert().code(1);
}

#[test]
fn damage_in_a_segment_is_found() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut served = Served::start(folder.path(), &[]);
    let produce = ["produce", "t", "--bootstrap", address(&served.ready)];
    cairn().args(produce).write_stdin("some record\nanother record\n").assert().success();
    terminate(served.child.id());
    assert!(served.child.wait().expect("ends").success());
    let segment = folder.path().join("t-0/00000000000000000000.log");
    let mut bytes = std::fs::read(&segment).expect("there");
    let at = bytes.windows(6).position(|window| window == b"record").expect("the record");
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).expect("written");
    cairn().args(["log", "verify"]).arg(folder.path().join("t-0")).assert().code(1);
}

#[test]
fn the_demo_loses_nothing() {
    let output = cairn().arg("demo").assert().success().get_output().clone();
    let said = String::from_utf8(output.stdout).expect("text");
    let last = said.lines().last().expect("a last line");
    let number = |name: &str| -> u64 {
        let word = last.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
        word.and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("no {name} in {last:?}"))
    };
    assert_eq!(number("lost"), 0);
    assert!(number("acked") > 5_000, "{last}");
    assert!(number("read") >= number("acked"), "{last}");
    assert!(number("longest_pause_ms") > 0 && number("failover_ms") > 0, "{last}");
    let _ = number("repeated");
    for what in ["kill -9", "leads demo-", "all replicas are in sync again"] {
        assert!(said.contains(what), "{what}: {said}");
    }
}
