//! Order, idempotence, bounds: what a producer promises whatever the broker does.

use std::time::Duration;

use cairn_client::{
    Acks, Client, Compression, Idempotence, PossiblyWritten, ProduceError, Producer, ProducerBuilder, ProducerRecord,
};
use cairn_protocol::ApiKey;
use cairn_protocol::error_code::ErrorCode;
use futures::FutureExt;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::broker::{FakeBroker, Fault};

fn client(broker: &FakeBroker) -> Client {
    let client = Client::builder(&broker.bootstrap()).retry_backoff(Duration::from_millis(1), Duration::from_millis(8));
    client.build().expect("valid")
}

fn producer(broker: &FakeBroker, with: impl FnOnce(ProducerBuilder) -> ProducerBuilder) -> Producer {
    with(client(broker).producer().linger(Duration::from_millis(1))).build().expect("valid")
}

fn record(partition: i32, value: usize) -> ProducerRecord {
    ProducerRecord::to("t").partition(partition).value(value.to_string())
}

#[tokio::test]
async fn records_arrive_in_order_and_know_their_offsets() {
    for compression in Compression::ALL {
        let broker = FakeBroker::start(&[("t", 3)]).await;
        let producer = producer(&broker, |it| it.compression(compression).batch_bytes(600));
        let mut deliveries = Vec::new();
        for value in 0..900 {
            deliveries
                .push(producer.send(record(value % 3, usize::try_from(value).expect("small"))).await.expect("sent"));
        }
        for (value, delivery) in (0..).zip(deliveries) {
            let written = delivery.await.expect("written");
            assert_eq!((written.partition.0, written.offset.expect("acks=all").0), (value % 3, i64::from(value / 3)));
        }
        for partition in 0..3 {
            let expected: Vec<String> =
                (0..900).filter(|value| value % 3 == partition).map(|value| value.to_string()).collect();
            assert_eq!(broker.values("t", partition), expected, "{compression:?}");
        }
    }
}

/// The promise of the crate: whatever fails on the way, every record is there once, in order.
#[tokio::test]
async fn whatever_fails_every_record_is_there_once_and_in_order() {
    for seed in 0..30 {
        let mut random = StdRng::seed_from_u64(seed);
        let broker = FakeBroker::start(&[("t", 2)]).await;
        let codes = [
            ErrorCode::NotLeaderOrFollower,
            ErrorCode::NotEnoughReplicas,
            ErrorCode::RequestTimedOut,
            ErrorCode::UnknownTopicOrPartition,
            ErrorCode::CorruptMessage,
            ErrorCode::KafkaStorageError,
        ];
        let faults = (0..20).map(|_| match random.random_range(0..4) {
            0 => Fault::CloseBefore,
            1 => Fault::CloseAfter,
            _ => Fault::Refuse(codes[random.random_range(0..codes.len())]),
        });
        broker.inject(ApiKey::Produce, faults.collect::<Vec<_>>());
        let producer = producer(&broker, |it| it.batch_bytes(200).linger(Duration::ZERO));
        let mut deliveries = Vec::new();
        for value in 0..400 {
            let partition = if value % 2 == 0 { 0 } else { 1 };
            deliveries.push(producer.send(record(partition, value)).await.expect("sent"));
            if value % 16 == 0 {
                tokio::task::yield_now().await;
            }
        }
        for (value, delivery) in deliveries.into_iter().enumerate() {
            let written = delivery.await.unwrap_or_else(|error| panic!("seed {seed}: record {value}: {error}"));
            assert_eq!(
                written.offset.map(|offset| offset.0),
                i64::try_from(value / 2).ok(),
                "seed {seed}: record {value}"
            );
        }
        for partition in 0..2 {
            let expected: Vec<String> =
                (0..400).filter(|value| value % 2 == partition).map(|value| value.to_string()).collect();
            assert_eq!(broker.values("t", partition), expected, "seed {seed}: partition {partition}");
        }
    }
}

#[tokio::test]
async fn a_refused_batch_fails_alone() {
    let broker = FakeBroker::start(&[("t", 1)]).await;
    let producer = producer(&broker, |it| it.linger(Duration::ZERO));
    producer.send_and_wait(record(0, 0)).await.expect("written");
    broker.inject(ApiKey::Produce, [Fault::Refuse(ErrorCode::MessageTooLarge)]);
    let refused = producer.send_and_wait(record(0, 1)).await.expect_err("refused");
    assert!(matches!(refused, ProduceError::Refused { code: ErrorCode::MessageTooLarge, .. }), "{refused}");
    assert!(!refused.is_retriable() && refused.possibly_written() == PossiblyWritten::No);
    producer.send_and_wait(record(0, 2)).await.expect("written");
    assert_eq!(broker.values("t", 0), ["0", "2"]);
}

/// A topic may take less than a producer's batch: the batch goes in parts, in order, and each record learns its own offset.
#[tokio::test]
async fn a_batch_that_is_too_large_goes_in_parts() {
    for compression in Compression::ALL {
        let broker = FakeBroker::start(&[("t", 1)]).await;
        broker.state.lock().batch_bytes_max = 300;
        let producer = producer(&broker, |it| it.compression(compression).linger(Duration::from_millis(5)));
        let mut deliveries = Vec::new();
        for value in 0..500 {
            // What does not compress well, so that batches are too large under every codec.
            let noise: String = (0..20).map(|_| rand::rng().random_range('a'..='z')).collect();
            let record = ProducerRecord::to("t").key(noise).value(value.to_string()).header("h", "x").null_header("n");
            deliveries.push(producer.send(record).await.expect("sent"));
        }
        for (value, delivery) in (0..).zip(deliveries) {
            assert_eq!(delivery.await.expect("written").offset.map(|offset| offset.0), Some(value), "{compression:?}");
        }
        assert_eq!(broker.values("t", 0), (0..500).map(|value| value.to_string()).collect::<Vec<_>>());
        let error = producer.send_and_wait(ProducerRecord::to("t").value(vec![7; 2_000])).await;
        if compression == Compression::None {
            assert!(matches!(error, Err(ProduceError::Refused { code: ErrorCode::MessageTooLarge, .. })));
        }
    }
}

/// Batches behind a refused one meet a gap in the sequence numbers, and go on under a new producer id, in order.
#[tokio::test]
async fn what_is_in_flight_behind_a_refused_batch_survives_it() {
    let broker = FakeBroker::start(&[("t", 1)]).await;
    let producer = producer(&broker, |it| it.batch_bytes(1).linger(Duration::ZERO));
    producer.send_and_wait(record(0, 0)).await.expect("written");
    broker.gate.send_replace(false);
    broker.inject(ApiKey::Produce, [Fault::Refuse(ErrorCode::InvalidRecord)]);
    let mut deliveries = Vec::new();
    for value in 1..20 {
        deliveries.push(producer.send(record(0, value)).await.expect("sent"));
    }
    broker.gate.send_replace(true);
    for (value, delivery) in (1..).zip(deliveries) {
        assert_eq!(delivery.await.is_ok(), value != 1, "record {value}");
    }
    let expected: Vec<String> = (0..20).filter(|value| *value != 1).map(|value| value.to_string()).collect();
    assert_eq!(broker.values("t", 0), expected);
    assert_eq!(broker.requests(ApiKey::InitProducerId), 2);
}

#[tokio::test]
async fn a_full_buffer_waits_and_a_dropped_wait_sends_nothing() {
    let broker = FakeBroker::start(&[("t", 1)]).await;
    let producer = producer(&broker, |it| it.request_bytes_max(2048).buffer_bytes(4096));
    broker.gate.send_replace(false);
    let payload = "x".repeat(1000);
    let record = || ProducerRecord::to("t").value(payload.clone());
    let mut deliveries = Vec::new();
    for _ in 0..3 {
        deliveries.push(producer.send(record()).await.expect("there is room"));
    }
    let mut waiting = Box::pin(producer.send(record()));
    assert!(waiting.as_mut().now_or_never().is_none(), "the buffer is full");
    drop(waiting);
    broker.gate.send_replace(true);
    for delivery in deliveries {
        delivery.await.expect("written");
    }
    producer.send_and_wait(record()).await.expect("there is room again");
    assert_eq!(broker.values("t", 0).len(), 4);
}

#[tokio::test]
async fn a_record_that_can_never_fit_is_refused_at_once() {
    let broker = FakeBroker::start(&[("t", 1)]).await;
    let producer = producer(&broker, |it| it.request_bytes_max(2048).buffer_bytes(4096));
    let error = producer.send(ProducerRecord::to("t").value(vec![0; 3000])).await.expect_err("too large");
    assert!(matches!(error, ProduceError::TooLarge { max: 2048, .. }), "{error}");
    let error = producer.send(record(9, 0)).await.expect_err("no such partition");
    assert!(matches!(error, ProduceError::NoSuchPartition { count: 1, .. }), "{error}");
    let error = producer.send(record(0, 0).timestamp_ms(-5)).await.expect_err("before 1970");
    assert!(matches!(error, ProduceError::InvalidTimestamp { .. }), "{error}");
}

#[tokio::test]
async fn unknown_topics_are_created_or_refused() {
    let broker = FakeBroker::start(&[]).await;
    broker.state.lock().auto_create = true;
    let refusing = Client::builder(&broker.bootstrap())
        .auto_create_topics(cairn_client::AutoCreateTopics::Refuse)
        .retry_backoff(Duration::from_millis(1), Duration::from_millis(2));
    let refusing = refusing.build().expect("valid").producer().build().expect("valid");
    let error = refusing.send(record(0, 0)).await.expect_err("unknown");
    assert!(error.to_string().contains("does not exist"), "{error}");
    producer(&broker, |it| it).send_and_wait(record(0, 0)).await.expect("created");
    assert_eq!(broker.values("t", 0), ["0"]);
}

#[tokio::test]
async fn a_delivery_that_takes_too_long_says_whether_it_may_be_written() {
    let broker = FakeBroker::start(&[("t", 1)]).await;
    let client = Client::builder(&broker.bootstrap())
        .request_timeout(Duration::from_millis(150))
        .retry_backoff(Duration::from_millis(1), Duration::from_millis(5));
    let producer = client.build().expect("valid").producer();
    let producer = producer.linger(Duration::ZERO).delivery_timeout(Duration::from_millis(100)).build().expect("valid");
    broker.inject(ApiKey::Produce, [Fault::Silence]);
    let error = producer.send_and_wait(record(0, 0)).await.expect_err("no answer");
    assert!(matches!(error, ProduceError::TimedOut { written: PossiblyWritten::Yes, .. }), "{error}");
    // The sequence numbers of what was given up are missing: the next record goes under a new producer id.
    let written = producer.send_and_wait(record(0, 1)).await.expect("written");
    assert_eq!(written.offset.map(|offset| offset.0), Some(0));
    assert_eq!(broker.requests(ApiKey::InitProducerId), 2);
}

#[tokio::test]
async fn without_acks_nothing_is_known_and_all_is_sent() {
    let broker = FakeBroker::start(&[("t", 1)]).await;
    let producer = producer(&broker, |it| it.acks(Acks::None));
    let mut deliveries = Vec::new();
    for value in 0..100 {
        deliveries.push(producer.send(record(0, value)).await.expect("sent"));
    }
    for delivery in deliveries {
        assert_eq!(delivery.await.expect("handed to the socket").offset, None);
    }
    producer.close(Duration::from_secs(10)).await.expect("closed");
    while broker.values("t", 0).len() < 100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(broker.values("t", 0), (0..100).map(|value| value.to_string()).collect::<Vec<_>>());
}

#[tokio::test]
async fn retries_without_idempotence_keep_the_order() {
    let broker = FakeBroker::start(&[("t", 1)]).await;
    broker.inject(ApiKey::Produce, [Fault::Refuse(ErrorCode::NotLeaderOrFollower), Fault::CloseBefore]);
    let producer = producer(&broker, |it| it.idempotence(Idempotence::Off).batch_bytes(1).linger(Duration::ZERO));
    let mut deliveries = Vec::new();
    for value in 0..30 {
        deliveries.push(producer.send(record(0, value)).await.expect("sent"));
    }
    for delivery in deliveries {
        delivery.await.expect("written");
    }
    assert_eq!(broker.values("t", 0), (0..30).map(|value| value.to_string()).collect::<Vec<_>>());
    assert_eq!(broker.requests(ApiKey::InitProducerId), 0);
}

#[tokio::test]
async fn flush_does_not_linger_and_close_ends_everything() {
    let broker = FakeBroker::start(&[("t", 1)]).await;
    let producer = producer(&broker, |it| it.linger(Duration::from_secs(100)));
    let delivery = producer.send(record(0, 0)).await.expect("sent");
    producer.flush(Duration::from_secs(20)).await.expect("flushed");
    assert_eq!(delivery.now_or_never().expect("decided").expect("written").offset.map(|offset| offset.0), Some(0));

    let late = producer.send(record(0, 1)).await.expect("sent");
    broker.gate.send_replace(false);
    producer.close(Duration::from_millis(50)).await.expect_err("no answer comes");
    let error = late.await.expect_err("given up");
    assert!(matches!(error, ProduceError::GivenUp { written: PossiblyWritten::Yes }), "{error}");
    let error = producer.send(record(0, 2)).await.expect_err("closed");
    assert!(matches!(error, ProduceError::Closed), "{error}");
}

#[tokio::test]
async fn dropping_the_producer_delivers_what_was_sent() {
    let broker = FakeBroker::start(&[("t", 1)]).await;
    let producer = producer(&broker, |it| it.linger(Duration::from_secs(100)));
    let delivery = producer.send(record(0, 0)).await.expect("sent");
    drop(producer);
    delivery.await.expect("written");
}
