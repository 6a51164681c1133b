//! Disks that fail, fill up or take their time.

use std::sync::Arc;

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use cairn_protocol::messages::{ApiVersionsRequest, DescribeLogDirsRequest, ListOffsetsRequest, ProduceRequest};
use cairn_storage::disk::faulty::{Call, Fault, FaultyDisk, Gate, Rule};
use cairn_storage::disk::memory::MemoryDisk;

use crate::harness::TestBroker;
use crate::records::{append, batch, batch_at, fetch, fetched, make_topic, produce, produced, values};

const SEGMENT: &str = "t-0/00000000000000000000.log";
const SYNCED: [(&str, &str); 1] = [("log.durability", "synced")];

#[tokio::test]
async fn a_failed_sync_is_told_and_final() {
    let disk = FaultyDisk::new(Arc::new(MemoryDisk::new()));
    let broker = TestBroker::on(Arc::new(disk.clone()), &SYNCED).await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    append(&mut client, "t", batch(&["a"])).await;
    assert!(broker.get("/readyz").await.starts_with("HTTP/1.1 200"));

    disk.inject(Rule::nth(Call::Sync, 1, Fault::Io).only(SEGMENT));
    for _ in 0..2 {
        let lost = produced(client.call(9, &produce("t", 0, -1, batch(&["b"]))).await);
        assert_eq!(lost.error_code, ErrorCode::KafkaStorageError.code(), "nothing is tried again on the same pages");
        assert_eq!(lost.base_offset, -1);
    }
    assert_eq!(disk.injected(), 1);
    while !broker.get("/readyz").await.starts_with("HTTP/1.1 503") {}
    assert!(broker.get("/healthz").await.starts_with("HTTP/1.1 200"), "the process is well");
    let data = fetched(client.call(11, &fetch("t", 0, 0)).await);
    assert_eq!(data.high_watermark, 1, "what is not durable was never readable");
    let dirs = client.call(4, &DescribeLogDirsRequest { topics: None }).await;
    let told: Vec<_> = dirs.results.iter().map(|dir| (dir.error_code, dir.topics.len())).collect();
    assert_eq!(told, [(ErrorCode::KafkaStorageError.code(), 0)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_durable_is_neither_answered_nor_read() {
    let disk = FaultyDisk::new(Arc::new(MemoryDisk::new()));
    let broker = TestBroker::on(Arc::new(disk.clone()), &SYNCED).await;
    let (mut producer, mut consumer) = (broker.connect().await, broker.connect().await);
    make_topic(&mut producer, "t").await;
    append(&mut producer, "t", batch(&["a"])).await;

    let gate = Gate::default();
    disk.inject(Rule::nth(Call::Sync, 1, Fault::Hold(gate.clone())).only(SEGMENT));
    let sent = producer.send(9, &produce("t", 0, -1, batch(&["b"]))).await;
    let waiting = gate.clone();
    tokio::task::spawn_blocking(move || waiting.wait_for_a_call()).await.unwrap();
    let data = fetched(consumer.call(11, &fetch("t", 0, 0)).await);
    assert_eq!((data.high_watermark, values(&data).len()), (1, 1));
    gate.open();
    assert_eq!(produced(producer.receive::<ProduceRequest>(sent).await).base_offset, 1);
    assert_eq!(fetched(consumer.call(11, &fetch("t", 0, 0)).await).high_watermark, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_arrives_during_a_sync_goes_with_the_next() {
    let disk = FaultyDisk::new(Arc::new(MemoryDisk::new()));
    let broker = TestBroker::on(Arc::new(disk.clone()), &SYNCED).await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    append(&mut client, "t", batch(&["a"])).await;

    let gate = Gate::default();
    disk.inject(Rule::nth(Call::Sync, 1, Fault::Hold(gate.clone())).only(SEGMENT));
    let before = disk.calls(Call::Sync);
    let mut sent = vec![client.send(9, &produce("t", 0, -1, batch(&["b"]))).await];
    let waiting = gate.clone();
    tokio::task::spawn_blocking(move || waiting.wait_for_a_call()).await.unwrap();
    for _ in 0..10 {
        sent.push(client.send(9, &produce("t", 0, -1, batch(&["c"]))).await);
    }
    // Requests of one connection are begun in order: when this one has come, the others are appended.
    let last = client.send(0, &ApiVersionsRequest::default()).await;
    while broker.metric("cairn_received_bytes_total").await < client.sent_bytes {}
    gate.open();
    for sent in sent {
        assert_eq!(produced(client.receive::<ProduceRequest>(sent).await).error_code, 0);
    }
    assert_eq!(client.receive::<ApiVersionsRequest>(last).await.error_code, 0);
    assert_eq!(disk.calls(Call::Sync) - before, 2);
}

#[tokio::test]
async fn a_full_disk_puts_produces_off_until_there_is_space() {
    let disk = MemoryDisk::new();
    let broker = TestBroker::on(Arc::new(disk.clone()), &[("log.disk.reserve.bytes", "1MiB")]).await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    append(&mut client, "t", batch(&["a"])).await;
    disk.set_capacity(2 << 20);
    let large = "x".repeat(900_000);
    let mut refused = None;
    for _ in 0..10 {
        let response = produced(client.call(9, &produce("t", 0, -1, batch(&[&large]))).await);
        if response.error_code != 0 {
            refused = Some(response);
            break;
        }
    }
    let refused = refused.expect("a full disk takes no more");
    assert_eq!(refused.error_code, ErrorCode::KafkaStorageError.code());
    assert!(refused.error_message.is_some());
    while !broker.get("/readyz").await.contains("below the reserve") {}
    let data = fetched(client.call(11, &fetch("t", 0, 0)).await);
    assert_eq!(data.error_code, 0, "reading goes on");

    disk.set_capacity(1 << 30);
    let response = produced(client.call(9, &produce("t", 0, -1, batch(&["b"]))).await);
    assert_eq!(response.error_code, 0, "service resumes by itself");
    while !broker.get("/readyz").await.starts_with("HTTP/1.1 200") {}
}

/// The largest timestamp is that of the records that may be read, not of one that a power cut could still take away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_timestamp_is_of_what_may_be_read() {
    let disk = FaultyDisk::new(Arc::new(MemoryDisk::new()));
    let broker = TestBroker::on(Arc::new(disk.clone()), &SYNCED).await;
    let (mut producer, mut consumer) = (broker.connect().await, broker.connect().await);
    make_topic(&mut producer, "t").await;
    append(&mut producer, "t", batch_at(1000, &["a"])).await;

    let gate = Gate::default();
    disk.inject(Rule::nth(Call::Sync, 1, Fault::Hold(gate.clone())).only(SEGMENT));
    let sent = producer.send(9, &produce("t", 0, -1, batch_at(2000, &["b"]))).await;
    let waiting = gate.clone();
    tokio::task::spawn_blocking(move || waiting.wait_for_a_call()).await.unwrap();
    let largest = ListOffsetsPartition { partition_index: 0, timestamp: -3, ..ListOffsetsPartition::default() };
    let request = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic { name: "t".into(), partitions: vec![largest] }],
        ..ListOffsetsRequest::default()
    };
    let found = consumer.call(7, &request).await.topics.remove(0).partitions.remove(0);
    assert_eq!((found.error_code, found.timestamp, found.offset), (0, 1000, 0));
    gate.open();
    assert_eq!(produced(producer.receive::<ProduceRequest>(sent).await).base_offset, 1);
    let found = consumer.call(7, &request).await.topics.remove(0).partitions.remove(0);
    assert_eq!((found.timestamp, found.offset), (2000, 1));
}
