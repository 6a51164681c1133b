//! What was acknowledged is found again, or its loss is told.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use cairn_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use cairn_protocol::messages::{DeleteRecordsRequest, FetchRequest, IncrementalAlterConfigsRequest, ProduceRequest};
use cairn_storage::disk::Disk;
use cairn_storage::disk::faulty::{Call, Fault, FaultyDisk, Gate, Rule};
use cairn_storage::disk::memory::{Crash, MemoryDisk};

use crate::harness::{Client, TestBroker};
use crate::records::{append, batch, fetch, fetched, make_topic, produce, produced, values};

const SEGMENT: &str = "t-0/00000000000000000000.log";
const SYNCED: [(&str, &str); 1] = [("log.durability", "synced")];
/// A wait that ends by what happens, or the test has failed.
const HANGS: Duration = Duration::from_secs(60);

async fn wait_for_a_call(gate: &Gate) {
    let gate = gate.clone();
    tokio::task::spawn_blocking(move || gate.wait_for_a_call()).await.unwrap();
}

async fn set_durability(client: &mut Client, value: &str) {
    let config = AlterableConfig { name: "durability".into(), config_operation: 0, value: Some(value.into()) };
    let resource = AlterConfigsResource { resource_type: 2, resource_name: "t".into(), configs: vec![config] };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    assert_eq!(client.call(1, &request).await.responses[0].error_code, 0);
}

#[tokio::test]
async fn a_partition_whose_folder_is_gone_is_offline_and_not_empty() {
    for graceful in [true, false] {
        let disk = MemoryDisk::new();
        let broker = TestBroker::on(Arc::new(disk.clone()), &SYNCED).await;
        let mut client = broker.connect().await;
        make_topic(&mut client, "t").await;
        make_topic(&mut client, "u").await;
        append(&mut client, "t", batch(&["a"])).await;
        append(&mut client, "u", batch(&["a"])).await;
        if graceful {
            broker.broker.shutdown().await;
        } else {
            disk.crash(Crash::LoseUnsynced);
        }
        disk.remove_dir(Path::new("data/t-0")).unwrap();

        let broker = TestBroker::on(Arc::new(disk.clone()), &SYNCED).await;
        let mut client = broker.connect().await;
        let storage_error = ErrorCode::KafkaStorageError.code();
        let refused = produced(client.call(9, &produce("t", 0, -1, batch(&["b"]))).await);
        assert_eq!(refused.error_code, storage_error, "graceful: {graceful}");
        assert_eq!(fetched(client.call(11, &fetch("t", 0, 0)).await).error_code, storage_error);
        assert_eq!(values(&fetched(client.call(11, &fetch("u", 0, 0)).await)).len(), 1, "others are served");
        while !broker.get("/readyz").await.contains("1 partitions are offline") {}
        assert!(disk.list(Path::new("data/t-0")).is_err());
    }
}

#[tokio::test]
async fn all_that_synced_has_acknowledged_is_readable_from_the_first_request_on() {
    let disk = MemoryDisk::new();
    let broker = TestBroker::on(Arc::new(disk.clone()), &SYNCED).await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    for _ in 0..3 {
        append(&mut client, "t", batch(&["a"])).await;
    }
    disk.crash(Crash::KeepAll);
    let broker = TestBroker::on(Arc::new(disk), &SYNCED).await;
    let mut client = broker.connect().await;
    assert_eq!(fetched(client.call(11, &fetch("t", 0, 3)).await).high_watermark, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_sync_is_readable_after_it_whatever_the_topic_promises_by_then() {
    let disk = FaultyDisk::new(Arc::new(MemoryDisk::new()));
    let broker = TestBroker::on(Arc::new(disk.clone()), &SYNCED).await;
    let (mut producer, mut other) = (broker.connect().await, broker.connect().await);
    make_topic(&mut producer, "t").await;
    append(&mut producer, "t", batch(&["a"])).await;
    let gate = Gate::default();
    disk.inject(Rule::nth(Call::Sync, 1, Fault::Hold(gate.clone())).only(SEGMENT));
    let sent = producer.send(9, &produce("t", 0, -1, batch(&["b"]))).await;
    wait_for_a_call(&gate).await;
    set_durability(&mut other, "replicated").await;
    gate.open();
    assert_eq!(produced(producer.receive::<ProduceRequest>(sent).await).error_code, 0);
    assert_eq!(fetched(other.call(11, &fetch("t", 0, 1)).await).high_watermark, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_becomes_synced_is_synced_at_once() {
    let disk = MemoryDisk::new();
    let broker = TestBroker::on(Arc::new(disk.clone()), &[("log.flush.interval.ms", "3600000")]).await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    append(&mut client, "t", batch(&["a"])).await;
    let syncs = broker.metric("cairn_sync_time_seconds_count").await;
    set_durability(&mut client, "synced").await;
    while broker.metric("cairn_sync_time_seconds_count").await == syncs {}
    disk.crash(Crash::LoseUnsynced);
    let broker = TestBroker::on(Arc::new(disk), &[]).await;
    let mut client = broker.connect().await;
    assert_eq!(values(&fetched(client.call(11, &fetch("t", 0, 0)).await)).len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_is_woken_by_what_the_second_sync_makes_durable() {
    let disk = FaultyDisk::new(Arc::new(MemoryDisk::new()));
    let broker = TestBroker::on(Arc::new(disk.clone()), &SYNCED).await;
    let (mut first, mut second, mut consumer) =
        (broker.connect().await, broker.connect().await, broker.connect().await);
    make_topic(&mut first, "t").await;
    append(&mut first, "t", batch(&["a"])).await;
    let gates = [Gate::default(), Gate::default()];
    for (nth, gate) in [1, 2].into_iter().zip(&gates) {
        disk.inject(Rule::nth(Call::Sync, nth, Fault::Hold(gate.clone())).only(SEGMENT));
    }
    let sent = first.send(9, &produce("t", 0, -1, batch(&["b"]))).await;
    wait_for_a_call(&gates[0]).await;
    let later = second.send(9, &produce("t", 0, -1, batch(&["c"]))).await;
    while broker.metric("cairn_received_bytes_total").await < first.sent_bytes + second.sent_bytes {}
    gates[0].open();
    assert_eq!(produced(first.receive::<ProduceRequest>(sent).await).error_code, 0);
    wait_for_a_call(&gates[1]).await;
    let asked = FetchRequest { max_wait_ms: 300_000, ..fetch("t", 0, 2) };
    let waiting = consumer.send(11, &asked).await;
    while broker.metric("cairn_fetches_waiting").await == 0 {}
    gates[1].open();
    assert_eq!(produced(second.receive::<ProduceRequest>(later).await).error_code, 0);
    let answer = tokio::time::timeout(HANGS, consumer.receive::<FetchRequest>(waiting)).await;
    assert_eq!(values(&fetched(answer.expect("the fetch is woken"))), [(2, "c".to_owned())]);
}

#[tokio::test]
async fn deleted_records_stay_deleted_after_a_power_cut() {
    let disk = MemoryDisk::new();
    let broker = TestBroker::on(Arc::new(disk.clone()), &SYNCED).await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    for _ in 0..4 {
        append(&mut client, "t", batch(&["a"])).await;
    }
    let partitions = vec![DeleteRecordsPartition { partition_index: 0, offset: 3 }];
    let topics = vec![DeleteRecordsTopic { name: "t".into(), partitions }];
    let answer = client.call(2, &DeleteRecordsRequest { topics, timeout_ms: 10_000 }).await;
    assert_eq!(answer.topics[0].partitions[0].low_watermark, 3);
    disk.crash(Crash::LoseUnsynced);
    let broker = TestBroker::on(Arc::new(disk), &SYNCED).await;
    let mut client = broker.connect().await;
    assert_eq!(fetched(client.call(11, &fetch("t", 0, 3)).await).log_start_offset, 3);
}
