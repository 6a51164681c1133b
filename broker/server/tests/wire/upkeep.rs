//! What the broker does by itself: retention, and making things durable in the background.

use std::sync::Arc;

use cairn_protocol::messages::ListOffsetsRequest;
use cairn_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use cairn_storage::disk::memory::{Crash, CrashUnit, MemoryDisk};

use crate::harness::{Client, TestBroker};
use crate::records::{append, batch, batch_at, fetch, fetched, make_topic, values};

async fn offset(client: &mut Client, timestamp: i64) -> i64 {
    let partition = ListOffsetsPartition { partition_index: 0, timestamp, ..ListOffsetsPartition::default() };
    let request = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic { name: "t".into(), partitions: vec![partition] }],
        ..ListOffsetsRequest::default()
    };
    client.call(7, &request).await.topics[0].partitions[0].offset
}

#[tokio::test]
async fn old_records_go_by_themselves() {
    let set = [("log.retention.check.interval.ms", "10"), ("log.retention.ms", "1000000")];
    let broker = TestBroker::with(&set).await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    append(&mut client, "t", batch_at(1000, &["old", "older"])).await;
    while offset(&mut client, -2).await < 2 {}
    append(&mut client, "t", batch(&["new"])).await;
    assert_eq!(values(&fetched(client.call(11, &fetch("t", 0, 2)).await)), [(2, "new".to_owned())]);
    assert_eq!(offset(&mut client, -2).await, 2);
}

#[tokio::test]
async fn what_is_replicated_only_becomes_durable_soon() {
    let disk = MemoryDisk::new();
    let broker = TestBroker::on(Arc::new(disk.clone()), &[("log.flush.interval.ms", "1")]).await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    let syncs = broker.metric("cairn_sync_time_seconds_count").await;
    append(&mut client, "t", batch(&["a"])).await;
    while broker.metric("cairn_sync_time_seconds_count").await == syncs {}
    disk.crash(Crash::LoseUnsynced);

    let broker = TestBroker::on(Arc::new(disk), &[]).await;
    let mut client = broker.connect().await;
    assert_eq!(values(&fetched(client.call(11, &fetch("t", 0, 0)).await)), [(0, "a".to_owned())]);
}

#[tokio::test]
async fn what_synced_has_answered_outlives_a_power_cut() {
    let disk = MemoryDisk::new();
    let mut expected = Vec::new();
    for round in 0..6 {
        let broker = TestBroker::on(Arc::new(disk.clone()), &[("log.durability", "synced")]).await;
        let mut client = broker.connect().await;
        make_topic(&mut client, "t").await;
        assert_eq!(values(&fetched(client.call(11, &fetch("t", 0, 0)).await)), expected, "round {round}");
        for number in 0..20 {
            let value = format!("{round}.{number}");
            let offset = append(&mut client, "t", batch(&[&value])).await;
            expected.push((offset, value));
        }
        disk.crash(match round % 2 {
            0 => Crash::LoseUnsynced,
            _ => Crash::Random { seed: round, unit: CrashUnit::Sector },
        });
    }
}
