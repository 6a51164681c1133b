use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use cairn_protocol::messages::{FetchRequest, OffsetForLeaderEpochRequest};

use crate::harness::TestBroker;
use crate::records::{append, batch, fetch, fetch_topic, fetched, make_topic, produce, values};

#[tokio::test]
async fn every_version_reads() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let id = make_topic(&mut client, "t").await;
    append(&mut client, "t", batch(&["a", "b"])).await;
    for version in 4..=18 {
        let mut request = fetch("t", 0, 0);
        if version >= 13 {
            request.topics[0].topic = "".into();
            request.topics[0].topic_id = id;
        }
        let response = client.call(version, &request).await;
        assert_eq!(response.session_id, 0);
        let data = fetched(response);
        assert_eq!(data.error_code, 0, "version {version}");
        assert_eq!((data.high_watermark, data.last_stable_offset), (2, 2));
        assert_eq!(values(&data), [(0, "a".to_owned()), (1, "b".to_owned())]);
    }
}

#[tokio::test]
async fn a_batch_is_given_whole_also_from_its_middle() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    append(&mut client, "t", batch(&["a", "b", "c"])).await;
    append(&mut client, "t", batch(&["d"])).await;
    let data = fetched(client.call(11, &fetch("t", 0, 1)).await);
    assert_eq!(values(&data).len(), 4);
    let data = fetched(client.call(11, &fetch("t", 0, 3)).await);
    assert_eq!(values(&data), [(3, "d".to_owned())]);
    let data = fetched(client.call(11, &fetch("t", 0, 4)).await);
    assert_eq!((data.error_code, values(&data).len()), (0, 0));
}

#[tokio::test]
async fn bytes_are_bounded_but_for_the_first_batch() {
    let broker = TestBroker::with(&[("num.partitions", "2")]).await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    let kilobyte = "x".repeat(1000);
    for partition in [0, 1] {
        for _ in 0..10 {
            client.call(9, &produce("t", partition, -1, batch(&[&kilobyte]))).await;
        }
    }
    let both = |max_bytes, partition_max_bytes| {
        let mut request = fetch("t", 0, 0);
        request.max_bytes = max_bytes;
        request.topics[0].partitions[0].partition_max_bytes = partition_max_bytes;
        request.topics.push(request.topics[0].clone());
        request.topics[1].partitions[0].partition = 1;
        request
    };
    for (max_bytes, partition_max_bytes, expected) in [
        (1 << 20, 1 << 20, [10, 10]),
        (1 << 20, 3500, [3, 3]),
        (5000, 1 << 20, [4, 0]),
        (5000, 3500, [3, 1]),
        (1, 1, [1, 0]),
        (1 << 20, 0, [1, 0]),
    ] {
        let response = client.call(11, &both(max_bytes, partition_max_bytes)).await;
        let data = response.responses.iter().flat_map(|topic| &topic.partitions);
        let counts: Vec<usize> = data.map(|data| values(data).len()).collect();
        assert_eq!(counts, expected, "{max_bytes} {partition_max_bytes}");
    }
}

#[tokio::test]
async fn a_fetch_waits_for_records() {
    let broker = TestBroker::start().await;
    let (mut consumer, mut producer) = (broker.connect().await, broker.connect().await);
    make_topic(&mut producer, "t").await;
    for round in 0..20 {
        let request = FetchRequest { max_wait_ms: 300_000, ..fetch("t", 0, round) };
        let sent = consumer.send(11, &request).await;
        append(&mut producer, "t", batch(&["a"])).await;
        let data = fetched(consumer.receive::<FetchRequest>(sent).await);
        assert_eq!(values(&data), [(round, "a".to_owned())]);
    }
}

#[tokio::test]
async fn a_fetch_waits_for_min_bytes_of_all_its_partitions() {
    let broker = TestBroker::with(&[("num.partitions", "3")]).await;
    let (mut consumer, mut producer) = (broker.connect().await, broker.connect().await);
    make_topic(&mut producer, "t").await;
    let mut request = FetchRequest { max_wait_ms: 300_000, min_bytes: 3 * 1000, ..fetch("t", 0, 0) };
    request.topics.push(fetch_topic("t", 1, 0));
    request.topics.push(fetch_topic("t", 2, 0));
    let sent = consumer.send(11, &request).await;
    for partition in 0..3 {
        producer.call(9, &produce("t", partition, -1, batch(&[&"x".repeat(1000)]))).await;
    }
    let response = consumer.receive::<FetchRequest>(sent).await;
    let counts: Vec<usize> =
        response.responses.iter().flat_map(|topic| &topic.partitions).map(|data| values(data).len()).collect();
    assert_eq!(counts, [1, 1, 1]);
}

#[tokio::test]
async fn a_wait_ends_with_its_time_and_gives_what_there_is() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    let empty = fetched(client.call(11, &FetchRequest { max_wait_ms: 20, ..fetch("t", 0, 0) }).await);
    assert_eq!((empty.error_code, values(&empty).len()), (0, 0));
    append(&mut client, "t", batch(&["a"])).await;
    let request = FetchRequest { max_wait_ms: 20, min_bytes: 1 << 20, ..fetch("t", 0, 0) };
    assert_eq!(values(&fetched(client.call(11, &request).await)).len(), 1);
}

#[tokio::test]
async fn errors_are_not_waited_with() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    append(&mut client, "t", batch(&["a"])).await;
    let mut cases = Vec::new();
    for (offset, expected) in [(-1, ErrorCode::OffsetOutOfRange), (2, ErrorCode::OffsetOutOfRange)] {
        cases.push((fetch("t", 0, offset), expected));
    }
    cases.push((fetch("missing", 0, 0), ErrorCode::UnknownTopicOrPartition));
    cases.push((fetch("t", 1, 0), ErrorCode::UnknownTopicOrPartition));
    for (epoch, expected) in [(0, ErrorCode::None), (5, ErrorCode::UnknownLeaderEpoch)] {
        let mut request = fetch("t", 0, 0);
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        cases.push((request, expected));
    }
    for (request, expected) in cases {
        let request = FetchRequest { max_wait_ms: 300_000, ..request };
        assert_eq!(fetched(client.call(11, &request).await).error_code, expected.code());
    }
}

#[tokio::test]
async fn a_stopping_broker_does_not_wait_for_fetches() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    let sent = client.send(11, &FetchRequest { max_wait_ms: 300_000, ..fetch("t", 0, 0) }).await;
    // The fetch has begun when another connection's request, sent later, sees it waiting: metrics tell.
    broker.wait_for_metric("cairn_fetches_waiting 1").await;
    broker.broker.shutdown().await;
    let data = fetched(client.receive::<FetchRequest>(sent).await);
    assert_eq!(values(&data).len(), 0);
}

#[tokio::test]
async fn epochs_end_where_the_log_does() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    append(&mut client, "t", batch(&["a", "b"])).await;
    for version in 2..=4 {
        let asked = |leader_epoch, current_leader_epoch| OffsetForLeaderEpochRequest {
            topics: vec![OffsetForLeaderTopic {
                topic: "t".into(),
                partitions: vec![OffsetForLeaderPartition { partition: 0, current_leader_epoch, leader_epoch }],
            }],
            ..OffsetForLeaderEpochRequest::default()
        };
        let response = client.call(version, &asked(0, -1)).await;
        let end = &response.topics[0].partitions[0];
        assert_eq!((end.error_code, end.leader_epoch, end.end_offset), (0, 0, 2));
        let response = client.call(version, &asked(9, -1)).await;
        let end = &response.topics[0].partitions[0];
        assert_eq!((end.error_code, end.leader_epoch, end.end_offset), (0, -1, -1));
        let response = client.call(version, &asked(0, 9)).await;
        assert_eq!(response.topics[0].partitions[0].error_code, ErrorCode::UnknownLeaderEpoch.code());
    }
}
