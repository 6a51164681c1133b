//! Each config of a topic does what Kafka's does, seen by what becomes of records. Others of them are seen in the tests of
//! compression, compaction, durability and metadata.

use std::path::Path;

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use cairn_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use cairn_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use cairn_protocol::messages::{CreateTopicsRequest, IncrementalAlterConfigsRequest, ListOffsetsRequest};

use crate::harness::{Client, TestBroker};
use crate::records::{append, batch, batch_at, fetch, fetched, now, produce, produced, values};

pub(crate) const EARLIEST: i64 = -2;

/// Makes a topic with these configs.
async fn make(client: &mut Client, name: &str, partitions: i32, configs: &[(&str, &str)]) {
    let config =
        |(name, value): &(&str, &str)| CreatableTopicConfig { name: (*name).into(), value: Some((*value).into()) };
    let topic = CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: 1,
        configs: configs.iter().map(config).collect(),
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..CreateTopicsRequest::default() };
    let made = client.call(7, &request).await.topics.remove(0);
    assert_eq!((made.error_code, made.error_message), (0, None), "{name}");
}

/// Sets one config of a topic while the broker runs.
async fn set(client: &mut Client, topic: &str, name: &str, value: &str) {
    let config = AlterableConfig { name: name.into(), config_operation: 0, value: Some(value.into()) };
    let resource = AlterConfigsResource { resource_type: 2, resource_name: topic.into(), configs: vec![config] };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    assert_eq!(client.call(1, &request).await.responses[0].error_code, 0, "{name}={value}");
}

pub(crate) async fn offset(client: &mut Client, topic: &str, timestamp: i64) -> i64 {
    let partition = ListOffsetsPartition { partition_index: 0, timestamp, ..ListOffsetsPartition::default() };
    let request = ListOffsetsRequest {
        replica_id: -1,
        topics: vec![ListOffsetsTopic { name: topic.into(), partitions: vec![partition] }],
        ..ListOffsetsRequest::default()
    };
    client.call(7, &request).await.topics[0].partitions[0].offset
}

/// How many segments a partition has.
pub(crate) fn segments(data: &Path, partition: &str) -> usize {
    let files = std::fs::read_dir(data.join(partition)).unwrap();
    files.filter(|file| file.as_ref().unwrap().path().extension().is_some_and(|extension| extension == "log")).count()
}

async fn refused(client: &mut Client, topic: &str, acks: i16, at: i64, value: &str) -> i16 {
    produced(client.call(9, &produce(topic, 0, acks, batch_at(at, &[value]))).await).error_code
}

#[tokio::test]
async fn segment_bytes_ends_segments_by_size() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let large = "x".repeat(700 << 10);
    for (topic, bytes, expected) in [("small", "1048576", 4), ("large", "1073741824", 1)] {
        make(&mut client, topic, 1, &[("segment.bytes", bytes)]).await;
        for _ in 0..4 {
            append(&mut client, topic, batch(&[&large])).await;
        }
        assert_eq!(segments(broker.folder.path(), &format!("{topic}-0")), expected, "{topic}");
    }
}

#[tokio::test]
async fn segment_ms_ends_segments_by_the_age_of_their_records() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    make(&mut client, "t", 1, &[("segment.ms", "60000")]).await;
    let began = now() - 1_000_000;
    for (after, expected) in [(0, 1), (60_000, 1), (60_001, 2), (120_001, 2), (120_002, 3)] {
        append(&mut client, "t", batch_at(began + after, &["x"])).await;
        assert_eq!(segments(broker.folder.path(), "t-0"), expected, "after {after} ms");
    }
}

/// Half of the partitions or so have less than half of their time left; that it is none or all of 64 is as likely as 64 throws
/// of a coin that are all the same.
#[tokio::test]
async fn segment_jitter_ms_ends_segments_of_one_topic_at_different_ages() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    for (topic, jitter) in [("with", "1000000"), ("without", "0")] {
        make(&mut client, topic, 64, &[("segment.ms", "1000000"), ("segment.jitter.ms", jitter)]).await;
        let began = now() - 2_000_000;
        for partition in 0..64 {
            for at in [began, began + 500_000] {
                let sent = produce(topic, partition, -1, batch_at(at, &["x"]));
                assert_eq!(produced(client.call(9, &sent).await).error_code, 0);
            }
        }
        let rolled = (0..64).filter(|partition| segments(broker.folder.path(), &format!("{topic}-{partition}")) == 2);
        let rolled = rolled.count();
        match topic {
            "with" => assert!((1..64).contains(&rolled), "{rolled} of 64"),
            _ => assert_eq!(rolled, 0),
        }
    }
}

#[tokio::test]
async fn segment_index_bytes_ends_segments_whose_index_is_full() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    for (topic, bytes) in [("small", "64"), ("large", "10485760")] {
        make(&mut client, topic, 1, &[("segment.index.bytes", bytes), ("index.interval.bytes", "0")]).await;
        let began = now() - 1_000;
        for number in 0..12 {
            append(&mut client, topic, batch_at(began + number, &["x"])).await;
        }
        let found = segments(broker.folder.path(), &format!("{topic}-0"));
        match topic {
            // An entry by offset takes 8 bytes, one by time 12, and the last one by time is kept free.
            "small" => assert_eq!(found, 3, "four batches in each"),
            _ => assert_eq!(found, 1),
        }
        assert_eq!(values(&fetched(client.call(11, &fetch(topic, 0, 0)).await))[0].0, 0);
        assert_eq!(offset(&mut client, topic, began + 9).await, 9, "found by time in a segment that was rolled");
    }
}

#[tokio::test]
async fn retention_ms_of_a_topic_wins_over_the_brokers() {
    let broker = TestBroker::with(&[("log.retention.check.interval.ms", "10"), ("log.retention.ms", "1000000")]).await;
    let mut client = broker.connect().await;
    make(&mut client, "kept", 1, &[("retention.ms", "-1")]).await;
    make(&mut client, "gone", 1, &[]).await;
    for topic in ["kept", "gone"] {
        append(&mut client, topic, batch_at(1_000, &["old"])).await;
    }
    while offset(&mut client, "gone", EARLIEST).await < 1 {}
    assert_eq!(offset(&mut client, "kept", EARLIEST).await, 0);
    set(&mut client, "kept", "retention.ms", "1000000").await;
    while offset(&mut client, "kept", EARLIEST).await < 1 {}
}

#[tokio::test]
async fn retention_bytes_lets_the_oldest_segments_go() {
    let broker = TestBroker::with(&[("log.retention.check.interval.ms", "10")]).await;
    let mut client = broker.connect().await;
    make(&mut client, "t", 1, &[("segment.bytes", "1048576"), ("retention.bytes", "1048576")]).await;
    let large = "x".repeat(700 << 10);
    for _ in 0..4 {
        append(&mut client, "t", batch(&[&large])).await;
    }
    // What is left may be larger than the bound by less than one segment: the last two.
    while offset(&mut client, "t", EARLIEST).await < 2 {}
    assert_eq!(values(&fetched(client.call(11, &fetch("t", 0, 2)).await))[0].0, 2);
    // Their files go soon after.
    while segments(broker.folder.path(), "t-0") != 2 {
        assert_eq!(offset(&mut client, "t", EARLIEST).await, 2);
    }
}

#[tokio::test]
async fn max_message_bytes_bounds_a_batch_and_is_raised_while_the_broker_runs() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    make(&mut client, "t", 1, &[("max.message.bytes", "100")]).await;
    let value = "x".repeat(100);
    assert_eq!(refused(&mut client, "t", -1, now(), &value).await, ErrorCode::MessageTooLarge.code());
    set(&mut client, "t", "max.message.bytes", "1000").await;
    assert_eq!(refused(&mut client, "t", -1, now(), &value).await, 0);
}

#[tokio::test]
async fn min_insync_replicas_of_a_topic_counts_for_acks_all_alone() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    make(&mut client, "t", 1, &[("min.insync.replicas", "2")]).await;
    assert_eq!(refused(&mut client, "t", -1, now(), "a").await, ErrorCode::NotEnoughReplicas.code());
    assert_eq!(refused(&mut client, "t", 1, now(), "a").await, 0);
    set(&mut client, "t", "min.insync.replicas", "1").await;
    assert_eq!(refused(&mut client, "t", -1, now(), "a").await, 0);
}

#[tokio::test]
async fn times_of_records_are_bounded_or_given_by_topic() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let invalid = ErrorCode::InvalidTimestamp.code();
    make(&mut client, "before", 1, &[("message.timestamp.before.max.ms", "100000")]).await;
    make(&mut client, "after", 1, &[("message.timestamp.after.max.ms", "100000")]).await;
    for (topic, distance, expected) in [
        ("before", -50_000, 0),
        ("before", -150_000, invalid),
        ("before", 1_000_000, 0),
        ("after", 50_000, 0),
        ("after", 150_000, invalid),
        ("after", -1_000_000, 0),
    ] {
        assert_eq!(refused(&mut client, topic, -1, now() + distance, "x").await, expected, "{topic} {distance}");
    }
    make(&mut client, "given", 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    let before = now();
    let sent = produce("given", 0, -1, batch_at(5, &["x"]));
    let given = produced(client.call(9, &sent).await).log_append_time_ms;
    assert!((before..=now()).contains(&given), "{given}");
    assert_eq!(offset(&mut client, "given", before).await, 0, "found by the time that it was given");
}

/// A partition with one replica has no other to choose: it is served as before, and after a crash with all that it had.
#[tokio::test]
async fn unclean_leader_election_enable_changes_nothing_with_one_replica() {
    let broker = TestBroker::with(&[("unclean.leader.election.enable", "true")]).await;
    let mut client = broker.connect().await;
    make(&mut client, "of-broker", 1, &[]).await;
    make(&mut client, "t", 1, &[("unclean.leader.election.enable", "true")]).await;
    append(&mut client, "t", batch(&["a"])).await;
    let broker = broker.restart(&[]).await;
    let mut client = broker.connect().await;
    assert_eq!(values(&fetched(client.call(11, &fetch("t", 0, 0)).await)), [(0, "a".to_owned())]);
    set(&mut client, "of-broker", "unclean.leader.election.enable", "true").await;
}
