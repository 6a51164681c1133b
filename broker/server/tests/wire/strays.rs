//! Folders that belong to another topic than the one that has their name now, and folders that cannot be opened.

use std::path::{Path, PathBuf};

use cairn_broker::Broker;
use cairn_protocol::messages::DeleteTopicsRequest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::harness::{Client, TestBroker, config};
use crate::records::{append, batch, fetch, fetched, make_topic, values};

const SEGMENT: &str = "00000000000000000000.log";

async fn seen(client: &mut Client, topic: &str) -> Vec<(i64, String)> {
    values(&fetched(client.call(11, &fetch(topic, 0, 0)).await))
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn strays(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.to_str().unwrap().ends_with("-stray")).collect()
}

/// As after the loss of the metadata: a topic is made whose name has a folder of a topic that nobody knows any more.
#[tokio::test]
async fn records_of_an_unknown_topic_are_set_aside_and_never_deleted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let start = || Broker::start(config(path, &[]));
    let broker = start().await.unwrap();
    let mut client = Client::connect(broker.addresses().kafka[0].1).await;
    make_topic(&mut client, "t").await;
    append(&mut client, "t", batch(&["kept"])).await;
    broker.shutdown().await;
    copy(&path.join("t-0"), &path.join("u-0"));
    let records = std::fs::read(path.join("t-0").join(SEGMENT)).unwrap();

    for round in 1..=2 {
        let broker = start().await.unwrap();
        let mut client = Client::connect(broker.addresses().kafka[0].1).await;
        make_topic(&mut client, "u").await;
        assert_eq!(seen(&mut client, "u").await.len(), round - 1);
        append(&mut client, "u", batch(&["new"])).await;
        assert_eq!(seen(&mut client, "t").await, [(0, "kept".to_owned())]);
        let [stray] = <[PathBuf; 1]>::try_from(strays(path)).unwrap();
        assert!(stray.file_name().unwrap().to_str().unwrap().starts_with("u-0."), "{}", stray.display());
        assert_eq!(std::fs::read(stray.join(SEGMENT)).unwrap(), records, "not a byte was touched");
        broker.shutdown().await;
    }

    // The same when the folder is met at the start, also when it is damaged: the name is the present topic's.
    std::fs::remove_dir_all(path.join("u-0")).unwrap();
    for damage in ["", "all of it"] {
        let before = strays(path).len();
        copy(&path.join("t-0"), &path.join("u-0"));
        if !damage.is_empty() {
            let mut damaged = records.clone();
            damaged[20] ^= 1;
            std::fs::write(path.join("u-0").join(SEGMENT), damaged).unwrap();
        }
        let broker = start().await.unwrap();
        assert_eq!(strays(path).len(), before + 1, "{damage}");
        let mut client = Client::connect(broker.addresses().kafka[0].1).await;
        assert_ne!(fetched(client.call(11, &fetch("u", 0, 0)).await).error_code, 0, "its own records are gone");
        broker.shutdown().await;
    }
}

#[tokio::test]
async fn a_partition_that_cannot_be_opened_does_not_judge_the_next_topic_of_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let broker = Broker::start(config(path, &[])).await.unwrap();
    let mut client = Client::connect(broker.addresses().kafka[0].1).await;
    make_topic(&mut client, "t").await;
    append(&mut client, "t", batch(&["a"])).await;
    broker.shutdown().await;
    std::fs::remove_file(path.join("t-0").join(SEGMENT)).unwrap();

    let broker = Broker::start(config(path, &[])).await.unwrap();
    let mut client = Client::connect(broker.addresses().kafka[0].1).await;
    let refused = fetched(client.call(11, &fetch("t", 0, 0)).await);
    assert_ne!(refused.error_code, 0, "what was acknowledged is gone");
    let mut readiness = TcpStream::connect(broker.addresses().metrics).await.unwrap();
    readiness.write_all(b"GET /readyz HTTP/1.1\r\nHost: cairn\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut told = String::new();
    readiness.read_to_string(&mut told).await.unwrap();
    assert!(told.contains("1 partitions are offline"), "not ready from the start on: {told}");
    let delete = DeleteTopicsRequest { topic_names: vec!["t".into()], ..DeleteTopicsRequest::default() };
    assert_eq!(client.call(1, &delete).await.responses[0].error_code, 0);
    make_topic(&mut client, "t").await;
    append(&mut client, "t", batch(&["b"])).await;
    assert_eq!(seen(&mut client, "t").await, [(0, "b".to_owned())]);
    assert!(strays(path).is_empty(), "it was the deleted topic's own");
    broker.shutdown().await;
}

#[tokio::test]
async fn strays_are_counted() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("old-0.00000000000000000000000000000005-stray")).unwrap();
    let broker = TestBroker::open(folder, &[("log.retention.check.interval.ms", "10")]).await;
    broker.wait_for_metric("cairn_stray_folders 1").await;
    std::fs::remove_dir(broker.folder.path().join("old-0.00000000000000000000000000000005-stray")).unwrap();
    broker.wait_for_metric("cairn_stray_folders 0").await;
}
