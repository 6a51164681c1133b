//! What a broker may send instead of an answer, and that the client goes on with a new connection.

use std::time::Duration;

use bytes::Bytes;
use cairn_client::{Client, ProduceError, ProducerRecord, StartAt};
use cairn_protocol::ApiKey;

use crate::broker::{FakeBroker, Fault};

async fn write_one(broker: &FakeBroker) -> Result<i64, ProduceError> {
    let client = Client::builder(&broker.bootstrap())
        .retry_backoff(Duration::from_millis(1), Duration::from_millis(5))
        .response_max_bytes(1024 * 1024)
        .build()
        .expect("valid");
    let producer = client.producer().linger(Duration::ZERO).build().expect("valid");
    let written = producer.send_and_wait(ProducerRecord::to("t").value("v")).await?;
    Ok(written.offset.expect("acks=all").0)
}

#[tokio::test]
async fn whatever_a_broker_sends_instead_of_an_answer_is_survived() {
    let junk = |bytes: &[u8]| Fault::Answer(Bytes::copy_from_slice(bytes));
    let faults = [
        Fault::CloseBefore,
        Fault::CloseAfter,
        // A negative length, an absurd one, an empty frame, a wrong correlation id, half an answer's header.
        junk(&[0xff, 0xff, 0xff, 0xff]),
        junk(&[0x7f, 0xff, 0xff, 0xff]),
        junk(&[0, 0, 0, 0]),
        junk(&[0, 0, 0, 8, 0x12, 0x34, 0x56, 0x78, 0, 0, 0, 0]),
        junk(&[0, 0, 0, 2, 0, 0]),
    ];
    for api in [ApiKey::ApiVersions, ApiKey::Metadata, ApiKey::InitProducerId, ApiKey::Produce] {
        for fault in &faults {
            let broker = FakeBroker::start(&[("t", 1)]).await;
            broker.inject(api, [fault.clone()]);
            let offset = write_one(&broker).await.unwrap_or_else(|error| panic!("{api} {fault:?}: {error}"));
            assert_eq!(offset, 0, "{api} {fault:?}");
            assert_eq!(broker.values("t", 0), ["v"], "{api} {fault:?}: written once");
        }
    }
}

#[tokio::test]
async fn an_older_broker_is_asked_in_its_own_version() {
    let broker = FakeBroker::start(&[("t", 1)]).await;
    broker.state.lock().api_versions_max = 0;
    assert_eq!(write_one(&broker).await.expect("written"), 0);
}

#[tokio::test]
async fn nobody_there_is_said_so() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound").to_string();
    drop(listener);
    let client = Client::builder(&address).operation_timeout(Duration::from_millis(300)).build().expect("valid");
    let error = client.admin().list_topics().await.expect_err("nobody listens");
    assert!(error.is_retriable());
    assert!(error.to_string().contains(&address), "{error}");
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_given_up() {
    let broker = FakeBroker::start(&[("t", 1)]).await;
    broker.inject(ApiKey::Metadata, [Fault::Silence, Fault::Silence]);
    let client = Client::builder(&broker.bootstrap())
        .request_timeout(Duration::from_millis(200))
        .operation_timeout(Duration::from_millis(300))
        .build()
        .expect("valid");
    let error = client.admin().list_topics().await.expect_err("no answer");
    assert!(error.is_retriable() && error.to_string().contains("no answer from"), "{error}");
    // The connection was given up, and the next one works.
    assert_eq!(client.admin().list_topics().await.expect("an answer").len(), 1);
}

#[tokio::test]
async fn nothing_is_left_behind() {
    let broker = FakeBroker::start(&[("t", 1)]).await;
    let client = Client::new(&broker.bootstrap()).expect("valid");
    let producer = client.producer().build().expect("valid");
    producer.send_and_wait(ProducerRecord::to("t").value("v")).await.expect("written");
    let consumer = client.consumer().build().expect("valid");
    consumer.assign_topic("t", StartAt::Beginning).await.expect("the topic is there");
    consumer.recv().await.expect("a record");
    let mut connections = broker.connections.clone();
    assert!(*connections.borrow() >= 3, "control, producer, consumer");
    drop((client, producer, consumer));
    // Every task that holds a connection has to end for this.
    let ended = connections.wait_for(|count| *count == 0);
    tokio::time::timeout(Duration::from_secs(20), ended)
        .await
        .expect("all connections are closed")
        .expect("the broker lives");
}

/// A broker that takes connections and says nothing holds an operation up no longer than its timeout.
#[tokio::test]
async fn an_operation_ends_in_time_whatever_is_silent() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = silent.local_addr().expect("bound").to_string();
    let client = Client::builder(&address).operation_timeout(Duration::from_millis(200)).build().expect("valid");
    let consumer = client.consumer().group("g").build().expect("valid");
    let partition = cairn_client::TopicPartition::new("t", 0);
    let all = async {
        assert!(client.admin().list_topics().await.expect_err("silent").is_retriable());
        assert!(consumer.assign_topic("t", StartAt::Beginning).await.expect_err("silent").is_retriable());
        assert!(consumer.end_offsets(std::slice::from_ref(&partition)).await.expect_err("silent").is_retriable());
        assert!(consumer.committed(std::slice::from_ref(&partition)).await.expect_err("silent").is_retriable());
    };
    // Far from what the timeouts of connections and requests would add up to.
    tokio::time::timeout(Duration::from_secs(9), all).await.expect("all ended in time");
}

#[tokio::test]
async fn the_numbers_follow_what_happened() {
    let broker = FakeBroker::start(&[("t", 1)]).await;
    // The first answer to a Produce is lost, and so is its connection.
    broker.inject(ApiKey::Produce, [Fault::CloseAfter]);
    let client = Client::builder(&broker.bootstrap())
        .retry_backoff(Duration::from_millis(1), Duration::from_millis(5))
        .build()
        .expect("valid");
    assert_eq!(client.stats(), cairn_client::ClientStats::default(), "nothing is connected yet");
    let producer = client.producer().linger(Duration::ZERO).build().expect("valid");
    for number in 0..10 {
        producer.send_and_wait(ProducerRecord::to("t").value(number.to_string())).await.expect("written");
    }
    let stats = producer.stats();
    assert_eq!((stats.records_written, stats.records_failed, stats.batches_written, stats.retries), (10, 0, 10, 1));
    assert_eq!((stats.bytes_buffered, stats.batches_outstanding), (0, 0));

    let consumer = client.consumer().build().expect("valid");
    consumer.assign_topic("t", StartAt::Beginning).await.expect("the topic is there");
    for _ in 0..10 {
        consumer.recv().await.expect("a record");
    }
    let stats = consumer.stats();
    assert!(stats.fetches >= 1 && stats.bytes_fetched > 10, "{stats:?}");
    assert_eq!((stats.partitions, stats.bytes_prefetched, stats.commits), (1, 0, 0));
    consumer.close().await;

    let stats = client.stats();
    let produced = broker.requests(ApiKey::Produce) as u64;
    assert!(produced == 11 && stats.requests >= produced, "{stats:?}");
    assert!(stats.connections_made >= 4, "control, consumer, and the producer's two: {stats:?}");
    assert!(stats.connections_open < stats.connections_made && stats.connections_failed == 0, "{stats:?}");
    assert!(stats.answers < stats.requests && stats.requests_timed_out == 0, "one was lost: {stats:?}");
    assert!(stats.bytes_out > stats.requests && stats.bytes_in > stats.answers && stats.metadata_refreshes >= 1);
}
