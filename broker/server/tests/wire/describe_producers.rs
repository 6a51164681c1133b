//! DescribeProducers.

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::DescribeProducersRequest;
use cairn_protocol::messages::describe_producers_request::TopicRequest;

use crate::harness::TestBroker;
use crate::records::{append, batch, idempotent, make_topic, now};

#[tokio::test]
async fn producers_are_told_as_they_stand() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    make_topic(&mut client, "none").await;
    let begun = now();
    append(&mut client, "t", idempotent(9, 2, 0, &["a"])).await;
    append(&mut client, "t", idempotent(7, 0, 0, &["a", "b"])).await;
    append(&mut client, "t", idempotent(7, 0, 2, &["c", "d", "e"])).await;
    append(&mut client, "t", batch(&["of nobody"])).await;
    let topic =
        |name: &str, partitions: &[i32]| TopicRequest { name: name.into(), partition_indexes: partitions.to_vec() };
    let request = DescribeProducersRequest {
        topics: vec![topic("t", &[0, 1]), topic("none", &[0]), topic("missing", &[0]), topic("a/b", &[0])],
    };
    let topics = client.call(0, &request).await.topics;
    let names: Vec<_> = topics.iter().map(|topic| &*topic.name).collect();
    assert_eq!(names, ["t", "none", "missing", "a/b"]);
    let of_t = &topics[0].partitions[0];
    let told: Vec<_> = of_t
        .active_producers
        .iter()
        .map(|it| {
            (it.producer_id, it.producer_epoch, it.last_sequence, it.coordinator_epoch, it.current_txn_start_offset)
        })
        .collect();
    assert_eq!(told, [(7, 0, 4, -1, -1), (9, 2, 0, -1, -1)]);
    assert!(of_t.active_producers.iter().all(|it| (begun..=now()).contains(&it.last_timestamp)));
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    assert_eq!((topics[0].partitions[1].partition_index, topics[0].partitions[1].error_code), (1, unknown));
    assert_eq!((topics[1].partitions[0].error_code, topics[1].partitions[0].active_producers.len()), (0, 0));
    assert_eq!(topics[2].partitions[0].error_code, unknown);
    assert_eq!(topics[3].partitions[0].error_code, ErrorCode::InvalidTopicException.code());
}
