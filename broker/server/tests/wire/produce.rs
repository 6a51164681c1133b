use bytes::Bytes;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::ProduceRequest;
use cairn_protocol::messages::produce_request::TopicProduceData;
use cairn_protocol::records::Compression;

use crate::harness::{Client, TestBroker};
use crate::records::{
    append, batch, batch_at, compressed, fetch, fetched, idempotent, make_topic, now, produce, produced, transactional,
    values,
};

async fn error(client: &mut Client, request: &ProduceRequest) -> ErrorCode {
    ErrorCode::from_code(produced(client.call(9, request).await).error_code).unwrap()
}

#[tokio::test]
async fn every_version_appends() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let id = make_topic(&mut client, "t").await;
    for version in 3..=13 {
        for acks in [1, -1] {
            let mut request = produce("t", 0, acks, batch(&["a", "b"]));
            if version >= 13 {
                request.topic_data[0] =
                    TopicProduceData { topic_id: id, name: "".into(), ..request.topic_data[0].clone() };
            }
            let response = produced(client.call(version, &request).await);
            let expected = (i64::from(version) - 3) * 4 + if acks == 1 { 0 } else { 2 };
            assert_eq!((response.error_code, response.base_offset), (0, expected), "version {version}");
            assert_eq!(response.log_append_time_ms, -1);
            assert_eq!(response.log_start_offset, if version >= 5 { 0 } else { -1 });
        }
    }
    assert_eq!(values(&fetched(client.call(11, &fetch("t", 0, 0)).await)).len(), 44);
}

#[tokio::test]
async fn acks_0_is_not_answered() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    client.send(9, &produce("t", 0, 0, batch(&["a"]))).await;
    assert_eq!(append(&mut client, "t", batch(&["b"])).await, 1, "the next answer is that of the next request");
}

#[tokio::test]
async fn an_error_of_acks_0_ends_the_connection() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    client.send(9, &produce("missing", 0, 0, batch(&["a"]))).await;
    client.expect_close().await;
}

#[tokio::test]
async fn pipelined_produces_are_appended_and_answered_in_order() {
    for durability in ["replicated", "synced"] {
        let broker = TestBroker::with(&[("log.durability", durability)]).await;
        let mut client = broker.connect().await;
        make_topic(&mut client, "t").await;
        let mut sent = Vec::new();
        for number in 0..50 {
            sent.push(client.send(9, &produce("t", 0, -1, batch(&[&number.to_string()]))).await);
        }
        for (number, sent) in sent.into_iter().enumerate() {
            let response = produced(client.receive::<ProduceRequest>(sent).await);
            assert_eq!((response.error_code, response.base_offset), (0, i64::try_from(number).unwrap()));
        }
        let all = values(&fetched(client.call(11, &fetch("t", 0, 0)).await));
        assert_eq!(all.len(), 50);
        assert!(all.iter().all(|(offset, value)| offset.to_string() == *value));
    }
}

#[tokio::test]
async fn every_compression_is_kept_as_it_came() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    for codec in [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let records = compressed(codec, &["a", "b", "c"]);
        let base = append(&mut client, "t", records.clone()).await;
        let data = fetched(client.call(11, &fetch("t", 0, base)).await);
        let got = data.records.clone().unwrap();
        assert_eq!(got[16..], records[16..], "only base offset and leader epoch differ: {codec:?}");
        assert_eq!(values(&data).len(), 3);
    }
}

#[tokio::test]
async fn what_is_no_batch_is_refused() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    let good = batch(&["a", "b"]);
    let changed = |at: usize, to: u8| {
        let mut bytes = good.to_vec();
        bytes[at] = to;
        Bytes::from(bytes)
    };
    let twice = Bytes::from([&good[..], &good[..]].concat());
    let cases = [
        ("empty", Bytes::new(), ErrorCode::CorruptMessage),
        ("cut", good.slice(..good.len() - 1), ErrorCode::CorruptMessage),
        ("two batches", twice, ErrorCode::InvalidRecord),
        ("old format", changed(16, 1), ErrorCode::InvalidRecord),
        ("wrong checksum", changed(20, good[20] ^ 1), ErrorCode::CorruptMessage),
        ("flipped bit", changed(good.len() - 1, good[good.len() - 1] ^ 1), ErrorCode::CorruptMessage),
        ("wrong count", changed(60, 3), ErrorCode::InvalidRecord),
        ("a transaction's", transactional(&["a"]), ErrorCode::InvalidTxnState),
    ];
    for (what, records, expected) in cases {
        assert_eq!(error(&mut client, &produce("t", 0, -1, records)).await, expected, "{what}");
    }
    assert_eq!(append(&mut client, "t", good).await, 0, "nothing of it was appended");
}

#[tokio::test]
async fn requests_that_cannot_be_met_are_refused() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let id = make_topic(&mut client, "t").await;
    make_topic(&mut client, "__consumer_offsets").await;
    let cases = [
        ("no topic", produce("missing", 0, -1, batch(&["a"])), ErrorCode::UnknownTopicOrPartition),
        ("no partition", produce("t", 1, -1, batch(&["a"])), ErrorCode::UnknownTopicOrPartition),
        ("negative partition", produce("t", -1, -1, batch(&["a"])), ErrorCode::UnknownTopicOrPartition),
        ("acks", produce("t", 0, 2, batch(&["a"])), ErrorCode::InvalidRequiredAcks),
        ("internal", produce("__consumer_offsets", 0, -1, batch(&["a"])), ErrorCode::InvalidTopicException),
        (
            "transactional",
            ProduceRequest { transactional_id: Some("x".into()), ..produce("t", 0, -1, batch(&["a"])) },
            ErrorCode::InvalidTxnState,
        ),
    ];
    for (what, request, expected) in cases {
        assert_eq!(error(&mut client, &request).await, expected, "{what}");
    }
    let mut by_id = produce("", 0, -1, batch(&["a"]));
    by_id.topic_data[0].topic_id = uuid::Uuid::from_u128(1);
    assert_eq!(produced(client.call(13, &by_id).await).error_code, ErrorCode::UnknownTopicId.code());
    by_id.topic_data[0].topic_id = id;
    assert_eq!(produced(client.call(13, &by_id).await).error_code, 0);
}

#[tokio::test]
async fn too_large_and_too_few_in_sync() {
    let broker = TestBroker::with(&[("message.max.bytes", "100")]).await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    let large = produce("t", 0, -1, batch(&[&"x".repeat(100)]));
    assert_eq!(error(&mut client, &large).await, ErrorCode::MessageTooLarge);
    assert_eq!(append(&mut client, "t", batch(&["x"])).await, 0);

    let broker = TestBroker::with(&[("min.insync.replicas", "2")]).await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    assert_eq!(error(&mut client, &produce("t", 0, -1, batch(&["a"]))).await, ErrorCode::NotEnoughReplicas);
    assert_eq!(
        error(&mut client, &produce("t", 0, 1, batch(&["a"]))).await,
        ErrorCode::None,
        "acks=1 asks for no more"
    );
}

#[tokio::test]
async fn times_are_bounded_or_given() {
    let bounds =
        [("log.message.timestamp.before.max.ms", "1000000"), ("log.message.timestamp.after.max.ms", "1000000")];
    let broker = TestBroker::with(&bounds).await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    for (at, expected) in
        [(now(), ErrorCode::None), (5, ErrorCode::InvalidTimestamp), (now() * 2, ErrorCode::InvalidTimestamp)]
    {
        let response = produced(client.call(9, &produce("t", 0, -1, batch_at(at, &["a"]))).await);
        assert_eq!(response.error_code, expected.code());
        assert_eq!(response.record_errors.len(), usize::from(expected != ErrorCode::None));
    }

    let broker = TestBroker::with(&[("log.message.timestamp.type", "LogAppendTime")]).await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    let before = now();
    let response = produced(client.call(9, &produce("t", 0, -1, batch_at(5, &["a"]))).await);
    assert!((before..=now()).contains(&response.log_append_time_ms));
    assert_eq!(values(&fetched(client.call(11, &fetch("t", 0, 0)).await)).len(), 1, "with a checksum that holds");
}

#[tokio::test]
async fn idempotent_producers_write_each_batch_once() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    assert_eq!(append(&mut client, "t", idempotent(7, 0, 0, &["a", "b"])).await, 0);
    assert_eq!(append(&mut client, "t", idempotent(7, 0, 2, &["c"])).await, 2);
    assert_eq!(append(&mut client, "t", idempotent(7, 0, 0, &["a", "b"])).await, 0, "a retry is told where it is");
    assert_eq!(append(&mut client, "t", idempotent(7, 0, 2, &["c"])).await, 2);
    let gap = produce("t", 0, -1, idempotent(7, 0, 9, &["d"]));
    assert_eq!(error(&mut client, &gap).await, ErrorCode::OutOfOrderSequenceNumber);
    assert_eq!(append(&mut client, "t", idempotent(7, 1, 0, &["d"])).await, 3, "a new epoch begins at 0");
    let fenced = produce("t", 0, -1, idempotent(7, 0, 3, &["e"]));
    assert_eq!(error(&mut client, &fenced).await, ErrorCode::InvalidProducerEpoch);
}

#[tokio::test]
async fn what_follows_a_refused_first_batch_is_not_taken_for_the_first() {
    let broker = TestBroker::with(&[("min.insync.replicas", "2")]).await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    // A producer does not wait for the answer to its first batch before it sends the second, and nothing refuses that one.
    let first = idempotent(7, 0, 0, &["a", "b"]);
    assert_eq!(error(&mut client, &produce("t", 0, -1, first.clone())).await, ErrorCode::NotEnoughReplicas);
    let second = produce("t", 0, 1, idempotent(7, 0, 2, &["c"]));
    assert_eq!(error(&mut client, &second).await, ErrorCode::OutOfOrderSequenceNumber);
    let other = produce("t", 0, 1, idempotent(8, 0, 2, &["d"]));
    assert_eq!(error(&mut client, &other).await, ErrorCode::None, "a producer that was never refused begins anywhere");
    assert_eq!(error(&mut client, &produce("t", 0, 1, first)).await, ErrorCode::None);
    assert_eq!(error(&mut client, &second).await, ErrorCode::None);
    let all = values(&fetched(client.call(11, &fetch("t", 0, 0)).await));
    assert_eq!(all.into_iter().map(|(_, value)| value).collect::<Vec<_>>(), ["d", "a", "b", "c"]);
}
