//! Places, resets, damage, commits: what a consumer promises whatever the broker does.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use cairn_client::{
    Client, ConsumeError, Consumer, ConsumerBuilder, Offset, OffsetReset, OffsetsError, ProducerRecord, StartAt,
    Timestamp, TopicPartition,
};
use cairn_protocol::ApiKey;
use cairn_protocol::error_code::ErrorCode;

use crate::broker::{FakeBroker, Fault};

fn client(broker: &FakeBroker) -> Client {
    let client = Client::builder(&broker.bootstrap()).retry_backoff(Duration::from_millis(1), Duration::from_millis(8));
    client.build().expect("valid")
}

fn consumer(broker: &FakeBroker, with: impl FnOnce(ConsumerBuilder) -> ConsumerBuilder) -> Consumer {
    with(client(broker).consumer().offset_reset(OffsetReset::Earliest)).build().expect("valid")
}

fn p(index: i32) -> TopicPartition {
    TopicPartition::new("t", index)
}

/// A broker with `count` records in each of `partitions` partitions, in batches of about three.
async fn filled(partitions: usize, count: i32) -> FakeBroker {
    let broker = FakeBroker::start(&[("t", partitions)]).await;
    let producer = client(&broker).producer().batch_bytes(180).build().expect("valid");
    for value in 0..count {
        for partition in 0..i32::try_from(partitions).expect("few") {
            let record = ProducerRecord::to("t").partition(partition).timestamp_ms(i64::from(value) * 10);
            let record = record.key("k").value(format!("{partition}:{value}")).header("h", "x").null_header("n");
            drop(producer.send(record).await.expect("sent"));
        }
    }
    producer.close(Duration::from_secs(20)).await.expect("all written");
    broker
}

async fn values(consumer: &Consumer, count: usize) -> Vec<String> {
    let mut values = Vec::new();
    while values.len() < count {
        let record = consumer.recv().await.expect("a record");
        values.push(String::from_utf8(record.value.expect("a value").to_vec()).expect("text"));
    }
    values
}

fn expected(partition: i32, range: std::ops::Range<i32>) -> Vec<String> {
    range.map(|value| format!("{partition}:{value}")).collect()
}

#[tokio::test]
async fn reads_all_from_every_place() {
    let broker = filled(1, 100).await;
    let consumer = consumer(&broker, |it| it.prefetch_bytes(1000).partition_max_bytes(500));
    for (at, from) in [(StartAt::Beginning, 0), (StartAt::Offset(Offset(41)), 41), (StartAt::Time(Timestamp(990)), 99)]
    {
        consumer.assign([(p(0), at)]);
        let first = values(&consumer, 1).await;
        let skipped: i32 = first[0][2..].parse().expect("a number");
        // A time leads to its batch, and the broker of these tests to the batch's first record.
        assert!(skipped <= from && skipped > from - 4, "{at:?}: {first:?}");
        let rest = usize::try_from(99 - skipped).expect("not negative");
        assert_eq!(values(&consumer, rest).await, expected(0, skipped + 1..100), "{at:?}");
        assert_eq!(consumer.position(&p(0)), Some(Offset(100)));
    }
}

#[tokio::test]
async fn a_record_has_all_its_parts() {
    let broker = filled(1, 5).await;
    let consumer = consumer(&broker, |it| it);
    consumer.assign_topic("t", StartAt::Offset(Offset(3))).await.expect("the topic is there");
    let record = consumer.recv().await.expect("a record");
    assert_eq!((record.offset, record.timestamp), (Offset(3), Timestamp(30)));
    assert_eq!((record.key.as_deref(), record.value.as_deref()), (Some(&b"k"[..]), Some(&b"0:3"[..])));
    let headers = [(Bytes::from_static(b"h"), Some(Bytes::from_static(b"x"))), (Bytes::from_static(b"n"), None)];
    assert_eq!(record.headers, headers);
    assert_eq!(record.leader_epoch.map(|epoch| epoch.0), Some(3));
}

#[tokio::test]
async fn batches_give_the_same_as_records() {
    let broker = filled(2, 50).await;
    let consumer = consumer(&broker, |it| it.partition_max_bytes(300));
    consumer.assign_topic("t", StartAt::Offset(Offset(7))).await.expect("the topic is there");
    let mut seen: HashMap<i32, Vec<String>> = HashMap::new();
    while seen.values().map(Vec::len).sum::<usize>() < 2 * 43 {
        let batches = consumer.recv_batches().await.expect("records");
        let of_partition = seen.entry(batches.partition().partition.0).or_default();
        batches
            .for_each(|record| {
                let value = record.value.expect("a value").to_vec();
                of_partition.push(String::from_utf8(value).expect("text"));
            })
            .expect("whole");
        let mut count = 0;
        batches.for_each(|_| count += 1).expect("whole");
        assert_eq!(batches.to_records().expect("whole").len(), count);
    }
    assert_eq!(seen[&0], expected(0, 7..50));
    assert_eq!(seen[&1], expected(1, 7..50));
}

#[tokio::test]
async fn a_seek_drops_what_was_fetched_ahead() {
    let broker = filled(1, 60).await;
    let consumer = consumer(&broker, |it| it);
    consumer.assign([(p(0), StartAt::Beginning)]);
    assert_eq!(values(&consumer, 10).await, expected(0, 0..10));
    assert!(consumer.seek(&p(0), StartAt::Offset(Offset(50))));
    assert_eq!(values(&consumer, 10).await, expected(0, 50..60));
    assert!(consumer.seek(&p(0), StartAt::Beginning));
    assert_eq!(values(&consumer, 60).await, expected(0, 0..60));
}

#[tokio::test]
async fn what_passes_is_survived() {
    let broker = filled(1, 60).await;
    broker.inject(
        ApiKey::Fetch,
        [
            Fault::Refuse(ErrorCode::NotLeaderOrFollower),
            Fault::CloseBefore,
            Fault::Refuse(ErrorCode::FencedLeaderEpoch),
            Fault::CloseAfter,
            Fault::Answer(Bytes::from_static(&[0, 0, 0, 1, 7])),
            Fault::Refuse(ErrorCode::KafkaStorageError),
        ],
    );
    broker.inject(ApiKey::ListOffsets, [Fault::CloseBefore, Fault::Refuse(ErrorCode::LeaderNotAvailable)]);
    let consumer = consumer(&broker, |it| it);
    consumer.assign([(p(0), StartAt::Beginning)]);
    assert_eq!(values(&consumer, 60).await, expected(0, 0..60));
}

#[tokio::test]
async fn an_offset_that_is_gone_resets_or_is_told() {
    let broker = filled(1, 30).await;
    {
        let mut state = broker.state.lock();
        let log = &mut state.topics.get_mut("t").expect("there")[0];
        log.batches.retain(|(offset, _)| offset.0 >= 12);
        log.start = log.batches[0].0.0;
    }
    let first = i32::try_from(broker.state.lock().topics["t"][0].start).expect("small");
    let resetting = consumer(&broker, |it| it);
    resetting.assign([(p(0), StartAt::Offset(Offset(2)))]);
    assert_eq!(values(&resetting, 3).await, expected(0, first..first + 3));

    let failing = consumer(&broker, |it| it.offset_reset(OffsetReset::Fail));
    failing.assign([(p(0), StartAt::Offset(Offset(2)))]);
    let error = failing.recv().await.expect_err("gone");
    assert!(matches!(error, ConsumeError::OffsetOutOfRange { offset: Offset(2), .. }), "{error}");
    assert!(failing.seek(&p(0), StartAt::Beginning));
    assert_eq!(values(&failing, 3).await, expected(0, first..first + 3));
}

#[tokio::test]
async fn damage_is_told_where_it_begins_and_can_be_passed() {
    let broker = filled(1, 30).await;
    let (before, behind) = {
        let mut state = broker.state.lock();
        let batches = &mut state.topics.get_mut("t").expect("there")[0].batches;
        let mut damaged = batches[4].1.to_vec();
        *damaged.last_mut().expect("not empty") ^= 1;
        batches[4].1 = damaged.into();
        (batches[4].0, batches[5].0)
    };
    let consumer = consumer(&broker, |it| it);
    consumer.assign([(p(0), StartAt::Beginning)]);
    let count = usize::try_from(before.0).expect("small");
    assert_eq!(values(&consumer, count).await, expected(0, 0..i32::try_from(before.0).expect("small")));
    let error = consumer.recv().await.expect_err("damaged");
    assert!(matches!(&error, ConsumeError::Damaged { offset, .. } if *offset == before), "{error}");
    assert!(consumer.seek(&p(0), StartAt::Offset(behind)));
    assert_eq!(values(&consumer, 1).await, [format!("0:{}", behind.0)]);
}

#[tokio::test]
async fn what_is_committed_is_where_the_next_goes_on() {
    let broker = filled(1, 40).await;
    broker.inject(ApiKey::FindCoordinator, [Fault::Refuse(ErrorCode::CoordinatorNotAvailable)]);
    broker.inject(ApiKey::OffsetCommit, [Fault::Refuse(ErrorCode::NotCoordinator), Fault::CloseBefore]);
    broker.inject(ApiKey::OffsetFetch, [Fault::Refuse(ErrorCode::CoordinatorLoadInProgress)]);
    let first = consumer(&broker, |it| it.group("g"));
    first.assign([(p(0), StartAt::Committed)]);
    assert_eq!(values(&first, 15).await, expected(0, 0..15));
    first.commit().await.expect("committed");
    assert_eq!(values(&first, 5).await, expected(0, 15..20));
    drop(first);

    let second = consumer(&broker, |it| it.group("g"));
    let committed = second.committed(&[p(0)]).await.expect("an answer");
    assert_eq!(committed[&p(0)].offset, Offset(15));
    second.assign([(p(0), StartAt::Committed)]);
    assert_eq!(values(&second, 25).await, expected(0, 15..40));

    let other = consumer(&broker, |it| it.group("other").offset_reset(OffsetReset::Fail));
    other.assign([(p(0), StartAt::Committed)]);
    let error = other.recv().await.expect_err("nothing committed");
    assert!(matches!(error, ConsumeError::NothingCommitted { .. }), "{error}");

    let without = consumer(&broker, |it| it);
    assert!(matches!(without.commit().await, Err(OffsetsError::NoGroup)));
}

#[tokio::test]
async fn offsets_are_listed_by_place_and_time() {
    let broker = filled(2, 40).await;
    let consumer = consumer(&broker, |it| it);
    let both = [p(0), p(1)];
    assert_eq!(consumer.end_offsets(&both).await.expect("an answer"), both.clone().map(|it| (it, Offset(40))).into());
    assert_eq!(
        consumer.beginning_offsets(&both).await.expect("an answer"),
        both.clone().map(|it| (it, Offset(0))).into()
    );
    let times = HashMap::from([(p(0), Timestamp(0)), (p(1), Timestamp(i64::MAX))]);
    let found = consumer.offsets_for_times(&times).await.expect("an answer");
    assert_eq!((found[&p(0)], found[&p(1)]), (Some(Offset(0)), None));
    let error = consumer.end_offsets(&[p(7)]).await.expect_err("no such partition");
    assert!(!error.is_retriable(), "{error}");
}
