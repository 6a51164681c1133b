//! What is set on all brokers while they run is in force when it is answered, for partitions and connections that are there.

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::describe_producers_request::TopicRequest;
use cairn_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use cairn_protocol::messages::produce_response::PartitionProduceResponse;
use cairn_protocol::messages::{DescribeClusterRequest, DescribeProducersRequest, IncrementalAlterConfigsRequest};

use crate::harness::{Client, TestBroker};
use crate::records::{append, batch, batch_at, idempotent, keyed, make_topic, now, produce, produced};
use crate::topic_configs::{EARLIEST, offset, segments};

const HOUR: &str = "3600000";

/// Sets a config of all brokers, or takes it back.
async fn set(client: &mut Client, name: &str, value: Option<&str>) {
    let operation = if value.is_some() { 0 } else { 1 };
    let config = AlterableConfig { name: name.into(), config_operation: operation, value: value.map(Into::into) };
    let resource = AlterConfigsResource { resource_type: 4, resource_name: "".into(), configs: vec![config] };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    let answer = client.call(1, &request).await.responses.remove(0);
    assert_eq!((answer.error_code, answer.error_message), (0, None), "{name}={value:?}");
}

/// What becomes of one record without a key.
async fn put(client: &mut Client, at: i64, value: &str) -> PartitionProduceResponse {
    produced(client.call(9, &produce("t", 0, -1, batch_at(at, &[value]))).await)
}

#[tokio::test]
async fn what_a_produce_may_be_is_judged_anew() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    let (long, short) = ("x".repeat(200), "x");
    for (name, value, age_ms, record, refused) in [
        ("message.max.bytes", "100", 0, &*long, ErrorCode::MessageTooLarge),
        ("min.insync.replicas", "2", 0, short, ErrorCode::NotEnoughReplicas),
        ("log.message.timestamp.before.max.ms", "100000", 150_000, short, ErrorCode::InvalidTimestamp),
        ("log.message.timestamp.after.max.ms", "100000", -150_000, short, ErrorCode::InvalidTimestamp),
        ("log.cleanup.policy", "compact", 0, short, ErrorCode::InvalidRecord),
    ] {
        assert_eq!(put(&mut client, now() - age_ms, record).await.error_code, 0, "{name} is not set");
        set(&mut client, name, Some(value)).await;
        assert_eq!(put(&mut client, now() - age_ms, record).await.error_code, refused.code(), "{name}");
        set(&mut client, name, None).await;
        assert_eq!(put(&mut client, now() - age_ms, record).await.error_code, 0, "{name} is taken back");
    }
    assert_eq!(put(&mut client, 5, short).await.log_append_time_ms, -1);
    set(&mut client, "log.message.timestamp.type", Some("LogAppendTime")).await;
    let before = now();
    let appended = put(&mut client, 5, short).await.log_append_time_ms;
    assert!((before..=now()).contains(&appended), "{appended}");
}

#[tokio::test]
async fn when_a_partition_is_synced_follows() {
    let broker = TestBroker::with(&[("log.flush.interval.ms", HOUR)]).await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    let syncs = async || broker.metric("cairn_sync_time_seconds_count").await;
    let mut expected = 0;
    for (name, value) in [("log.flush.interval.messages", "1"), ("log.durability", "synced")] {
        append(&mut client, "t", batch(&["not synced"])).await;
        assert_eq!(syncs().await, expected, "before {name}");
        set(&mut client, name, Some(value)).await;
        // What was there before becomes durable as well.
        while syncs().await == expected {}
        append(&mut client, "t", batch(&["synced"])).await;
        expected += 2;
        assert_eq!(syncs().await, expected, "{name}");
        set(&mut client, name, None).await;
    }
    set(&mut client, "log.flush.interval.messages", Some("3")).await;
    append(&mut client, "t", batch(&["one", "two"])).await;
    assert_eq!(syncs().await, expected, "there are two");
    append(&mut client, "t", batch(&["three"])).await;
    while syncs().await == expected {}
    expected += 1;
    set(&mut client, "log.flush.interval.messages", None).await;
    append(&mut client, "t", batch(&["not synced"])).await;
    assert_eq!(syncs().await, expected);
    set(&mut client, "log.flush.interval.ms", Some("1")).await;
    append(&mut client, "t", batch(&["synced soon"])).await;
    while syncs().await == expected {}
}

#[tokio::test]
async fn segments_end_by_the_new_bounds() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    let count = || segments(broker.folder.path(), "t-0");
    let began = now() - 1_000_000;
    for after in [0, 60_001] {
        append(&mut client, "t", batch_at(began + after, &["x"])).await;
    }
    assert_eq!(count(), 1);
    set(&mut client, "log.roll.ms", Some("60000")).await;
    append(&mut client, "t", batch_at(began + 120_002, &["x"])).await;
    assert_eq!(count(), 2, "log.roll.ms");
    set(&mut client, "log.roll.ms", None).await;

    let large = "x".repeat(700 << 10);
    append(&mut client, "t", batch(&[&large])).await;
    append(&mut client, "t", batch(&[&large])).await;
    assert_eq!(count(), 2);
    set(&mut client, "log.segment.bytes", Some("1048576")).await;
    append(&mut client, "t", batch(&[&large])).await;
    assert_eq!(count(), 3, "log.segment.bytes");
    set(&mut client, "log.segment.bytes", None).await;

    set(&mut client, "log.index.interval.bytes", Some("0")).await;
    set(&mut client, "log.index.size.max.bytes", Some("64")).await;
    // The segment that is there may keep its index; those behind it have four entries each.
    for number in 0..20 {
        append(&mut client, "t", batch_at(now() + number, &["x"])).await;
    }
    assert!((6..=9).contains(&count()), "log.index.size.max.bytes: {}", count());
}

#[tokio::test]
async fn what_is_old_or_too_much_goes() {
    let broker = TestBroker::with(&[("log.retention.check.interval.ms", "10"), ("log.segment.bytes", "1048576")]).await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    let large = "x".repeat(700 << 10);
    let began = now() - 1_000_000;
    for number in 0..4 {
        append(&mut client, "t", batch_at(began + number, &[&large])).await;
    }
    assert_eq!(offset(&mut client, "t", EARLIEST).await, 0);
    set(&mut client, "log.retention.bytes", Some("1048576")).await;
    while offset(&mut client, "t", EARLIEST).await < 2 {}
    assert_eq!(offset(&mut client, "t", EARLIEST).await, 2);
    set(&mut client, "log.retention.bytes", None).await;
    set(&mut client, "log.retention.ms", Some("900000")).await;
    while offset(&mut client, "t", EARLIEST).await < 4 {}

    append(&mut client, "t", idempotent(9, 0, 0, &["a"])).await;
    let topic = TopicRequest { name: "t".into(), partition_indexes: vec![0] };
    let request = DescribeProducersRequest { topics: vec![topic] };
    let producers =
        async |client: &mut Client| client.call(0, &request).await.topics[0].partitions[0].active_producers.len();
    assert_eq!(producers(&mut client).await, 1);
    set(&mut client, "producer.id.expiration.ms", Some("1")).await;
    while producers(&mut client).await > 0 {}
}

#[tokio::test]
async fn what_is_due_for_compaction_is_judged_anew() {
    let start = [
        ("log.cleanup.policy", "compact"),
        ("log.cleaner.backoff.ms", "10"),
        ("log.cleaner.min.cleanable.ratio", "1.0"),
        ("log.segment.bytes", "1048576"),
    ];
    let filler = "x".repeat(60_000);
    for (name, keeps, compacts) in [
        ("log.cleaner.min.cleanable.ratio", None, Some("0.01")),
        ("log.cleaner.max.compaction.lag.ms", None, Some("1")),
        ("log.cleaner.min.compaction.lag.ms", Some(HOUR), None),
    ] {
        let broker = TestBroker::with(&start).await;
        let mut client = broker.connect().await;
        make_topic(&mut client, "t").await;
        if keeps.is_some() {
            set(&mut client, name, keeps).await;
            set(&mut client, "log.cleaner.min.cleanable.ratio", Some("0.01")).await;
        }
        for _ in 0..40 {
            append(&mut client, "t", keyed(&[("a", &filler)])).await;
        }
        assert_eq!(broker.metric("cairn_cleaner_records_removed_total").await, 0, "{name}");
        set(&mut client, name, compacts).await;
        while broker.metric("cairn_cleaner_records_removed_total").await == 0 {}
    }
}

#[tokio::test]
async fn connections_are_bounded_anew() {
    let broker = TestBroker::start().await;
    let mut admin = broker.connect().await;
    set(&mut admin, "max.connections.per.ip", Some("1")).await;
    broker.connect().await.expect_close().await;
    set(&mut admin, "max.connections.per.ip.overrides", Some("127.0.0.1:2")).await;
    let mut second = broker.connect().await;
    second.call(0, &DescribeClusterRequest::default()).await;
    broker.connect().await.expect_close().await;
    set(&mut admin, "max.connections.per.ip.overrides", None).await;
    set(&mut admin, "max.connections.per.ip", None).await;
    set(&mut admin, "max.connection.creation.rate", Some("1")).await;
    while !broker.metrics().await.contains("cairn_connections_delayed_total{reason=\"broker\"}") {
        broker.connect().await.call(0, &DescribeClusterRequest::default()).await;
    }
}
