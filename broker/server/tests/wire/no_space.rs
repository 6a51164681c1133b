//! Partitions that find no room on the disk when they are to be made or opened.

use std::path::Path;
use std::sync::Arc;

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::CreateTopicsRequest;
use cairn_protocol::messages::create_topics_request::CreatableTopic;
use cairn_storage::disk::Disk;
use cairn_storage::disk::faulty::{Call, Fault, FaultyDisk, Rule};
use cairn_storage::disk::memory::{Crash, MemoryDisk};

use crate::harness::{Client, TestBroker};
use crate::records::{append, batch, fetch, fetched, make_topic, produce, produced, values};

const SEGMENT: &str = "t-0/00000000000000000000.log";
const WAITING: &str = "cairn_partitions_waiting 1";
const NONE_WAITS: &str = "cairn_partitions_waiting 0";

async fn make_topic_of_two(client: &mut Client) {
    let topic =
        CreatableTopic { name: "t".into(), num_partitions: 2, replication_factor: 1, ..CreatableTopic::default() };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..CreateTopicsRequest::default() };
    assert_eq!(client.call(5, &request).await.topics[0].error_code, 0);
}

async fn refusal(client: &mut Client) -> i16 {
    let refused = produced(client.call(9, &produce("t", 0, -1, batch(&["refused"]))).await);
    assert!(refused.error_message.unwrap().contains("space"));
    refused.error_code
}

async fn seen(client: &mut Client) -> Vec<(i64, String)> {
    values(&fetched(client.call(11, &fetch("t", 0, 0)).await))
}

/// Also when the first further try finds no room either.
#[tokio::test]
async fn a_partition_that_found_no_room_when_it_was_made_comes_by_itself() {
    let disk = FaultyDisk::new(Arc::new(MemoryDisk::new()));
    let broker = TestBroker::on(Arc::new(disk.clone()), &[]).await;
    let mut client = broker.connect().await;
    disk.inject(Rule::always(Call::CreateDir, Fault::Full).only("t-0"));
    make_topic_of_two(&mut client).await;
    assert_eq!(refusal(&mut client).await, ErrorCode::KafkaStorageError.code());
    let other = produced(client.call(9, &produce("t", 1, -1, batch(&["other"]))).await);
    assert_eq!(other.error_code, 0);
    broker.wait_for_metric(WAITING).await;
    assert!(broker.get("/readyz").await.contains("wait for space"));
    while disk.injected() < 2 {
        tokio::task::yield_now().await;
    }
    disk.heal();
    broker.wait_for_metric(NONE_WAITS).await;
    append(&mut client, "t", batch(&["a"])).await;
    assert_eq!(seen(&mut client).await, [(0, "a".to_owned())]);
    while !broker.get("/readyz").await.starts_with("HTTP/1.1 200") {}
}

/// A partition has no files before its first append, which is refused then, and taken when it comes again.
#[tokio::test]
async fn a_first_append_that_finds_no_room_is_taken_later() {
    for (call, file) in
        [(Call::WriteAt, "t-0/cairn-dense"), (Call::WriteAt, "t-0/partition.metadata"), (Call::CreateAppend, SEGMENT)]
    {
        let disk = FaultyDisk::new(Arc::new(MemoryDisk::new()));
        let broker = TestBroker::on(Arc::new(disk.clone()), &[]).await;
        let mut client = broker.connect().await;
        make_topic_of_two(&mut client).await;
        disk.inject(Rule::always(call, Fault::Full).only(file));
        for _ in 0..2 {
            assert_eq!(refusal(&mut client).await, ErrorCode::KafkaStorageError.code(), "{file}");
        }
        let other = produced(client.call(9, &produce("t", 1, -1, batch(&["other"]))).await);
        assert_eq!((other.error_code, disk.injected()), (0, 2), "{file}");
        disk.heal();
        append(&mut client, "t", batch(&["a"])).await;
        assert_eq!(seen(&mut client).await, [(0, "a".to_owned())], "{file}");
    }
}

#[tokio::test]
async fn nothing_is_tried_while_the_disk_is_below_its_reserve() {
    let memory = MemoryDisk::new();
    let disk = FaultyDisk::new(Arc::new(memory.clone()));
    let broker = TestBroker::on(Arc::new(disk.clone()), &[("log.disk.reserve.bytes", "1MiB")]).await;
    let mut client = broker.connect().await;
    memory.set_capacity(1 << 20);
    disk.inject(Rule::nth(Call::CreateDir, 1, Fault::Full).only("t-0"));
    make_topic(&mut client, "t").await;
    broker.wait_for_metric(WAITING).await;
    let (looks, tries) = (disk.calls(Call::Space), disk.calls(Call::CreateDir));
    while disk.calls(Call::Space) < looks + 3 {
        tokio::task::yield_now().await;
    }
    assert_eq!(disk.calls(Call::CreateDir), tries);
    memory.set_capacity(1 << 30);
    broker.wait_for_metric(NONE_WAITS).await;
    append(&mut client, "t", batch(&["a"])).await;
}

#[tokio::test]
async fn a_log_that_found_no_room_when_it_was_opened_comes_back_with_its_records() {
    let memory = MemoryDisk::new();
    let disk = FaultyDisk::new(Arc::new(memory.clone()));
    let broker = TestBroker::on(Arc::new(disk.clone()), &[("log.durability", "synced")]).await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    append(&mut client, "t", batch(&["kept"])).await;
    memory.crash(Crash::LoseUnsynced);

    disk.inject(Rule::always(Call::OpenAppend, Fault::Full).only(SEGMENT));
    let broker = TestBroker::on(Arc::new(disk.clone()), &[]).await;
    let mut client = broker.connect().await;
    assert!(broker.get("/readyz").await.contains("wait for space"), "from the start on");
    assert_eq!(refusal(&mut client).await, ErrorCode::KafkaStorageError.code());
    disk.heal();
    broker.wait_for_metric(NONE_WAITS).await;
    while refused(&mut client).await {}
    assert_eq!(seen(&mut client).await, [(0, "kept".to_owned())]);
}

async fn refused(client: &mut Client) -> bool {
    fetched(client.call(11, &fetch("t", 0, 0)).await).error_code != 0
}

/// A log that goes while it waits is lost, and nothing empty takes its place.
#[tokio::test]
async fn what_was_there_and_is_gone_is_not_made_anew_for_want_of_room() {
    let memory = MemoryDisk::new();
    let disk = FaultyDisk::new(Arc::new(memory.clone()));
    let broker = TestBroker::on(Arc::new(disk.clone()), &[]).await;
    make_topic(&mut broker.connect().await, "t").await;
    append(&mut broker.connect().await, "t", batch(&["kept"])).await;
    broker.broker.shutdown().await;

    disk.inject(Rule::always(Call::OpenAppend, Fault::Full).only(SEGMENT));
    let broker = TestBroker::on(Arc::new(disk.clone()), &[]).await;
    let mut client = broker.connect().await;
    assert_eq!(refusal(&mut client).await, ErrorCode::KafkaStorageError.code());
    disk.remove_dir(Path::new("data/t-0")).unwrap();
    disk.heal();
    broker.wait_for_metric(NONE_WAITS).await;
    while broker.metric("cairn_partitions_offline").await != 1 {}
    assert!(refused(&mut client).await);
    assert!(disk.list(Path::new("data/t-0")).is_err(), "no empty log hides the loss");
}
