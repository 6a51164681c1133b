//! `compression.type`: batches that came otherwise compressed are compressed anew.

use bytes::Bytes;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::IncrementalAlterConfigsRequest;
use cairn_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use cairn_protocol::records::{BatchIter, Compression};

use crate::harness::{Client, TestBroker};
use crate::records::{append, batch, compressed, fetch, fetched, idempotent, make_topic, produce, produced, values};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;

async fn set(client: &mut Client, resource_type: i8, resource_name: &str, name: &str, value: &str) {
    let config = AlterableConfig { name: name.into(), config_operation: 0, value: Some(value.into()) };
    let resource = AlterConfigsResource { resource_type, resource_name: resource_name.into(), configs: vec![config] };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    assert_eq!(client.call(1, &request).await.responses[0].error_code, 0, "{name}={value}");
}

/// The compressions of the batches that are stored, and the values in them.
async fn stored(client: &mut Client, topic: &str) -> (Vec<Compression>, Vec<String>) {
    let data = fetched(client.call(11, &fetch(topic, 0, 0)).await);
    let values = values(&data).into_iter().map(|(_, value)| value).collect();
    let bytes: Bytes = data.records.unwrap();
    (BatchIter::new(&bytes).map(|batch| batch.unwrap().compression()).collect(), values)
}

#[tokio::test]
async fn every_batch_is_stored_as_the_topic_says() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    for (name, codec) in [
        ("uncompressed", Compression::None),
        ("gzip", Compression::Gzip),
        ("snappy", Compression::Snappy),
        ("lz4", Compression::Lz4),
        ("zstd", Compression::Zstd),
    ] {
        let topic = format!("to-{name}");
        make_topic(&mut client, &topic).await;
        set(&mut client, TOPIC, &topic, "compression.type", name).await;
        let mut expected = Vec::new();
        for (base, from) in (0..).step_by(2).zip(Compression::ALL) {
            assert_eq!(append(&mut client, &topic, compressed(from, &[from.name(), "x"])).await, base);
            expected.extend([from.name().to_owned(), "x".to_owned()]);
        }
        assert_eq!(stored(&mut client, &topic).await, (vec![codec; 5], expected), "{name}");
    }
}

#[tokio::test]
async fn producer_keeps_each_batch_as_it_was_sent() {
    let broker = TestBroker::with(&[("compression.type", "zstd")]).await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    append(&mut client, "t", compressed(Compression::Lz4, &["a"])).await;
    set(&mut client, TOPIC, "t", "compression.type", "producer").await;
    append(&mut client, "t", compressed(Compression::Lz4, &["b"])).await;
    set(&mut client, BROKER, "1", "compression.type", "snappy").await;
    append(&mut client, "t", compressed(Compression::Gzip, &["c"])).await;
    make_topic(&mut client, "u").await;
    append(&mut client, "u", batch(&["d"])).await;
    let (codecs, read) = stored(&mut client, "t").await;
    assert_eq!(codecs, [Compression::Zstd, Compression::Lz4, Compression::Gzip]);
    assert_eq!(read, ["a", "b", "c"]);
    assert_eq!(stored(&mut client, "u").await.0, [Compression::Snappy], "what is set on a broker is in force at once");
}

#[tokio::test]
async fn a_retry_of_a_batch_that_was_compressed_anew_is_recognised() {
    let broker = TestBroker::with(&[("compression.type", "gzip")]).await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    for _ in 0..2 {
        assert_eq!(append(&mut client, "t", idempotent(7, 0, 0, &["a", "b"])).await, 0);
    }
    assert_eq!(append(&mut client, "t", idempotent(7, 0, 2, &["c"])).await, 2);
    assert_eq!(stored(&mut client, "t").await.0, [Compression::Gzip; 2]);
}

#[tokio::test]
async fn the_largest_batch_is_judged_as_sent_and_as_stored() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    let long = "a".repeat(4_000);
    set(&mut client, TOPIC, "t", "max.message.bytes", "1000").await;
    let error =
        async |client: &mut Client, records| produced(client.call(9, &produce("t", 0, -1, records)).await).error_code;
    let too_large = ErrorCode::MessageTooLarge.code();
    set(&mut client, TOPIC, "t", "compression.type", "gzip").await;
    assert_eq!(error(&mut client, batch(&[&long])).await, too_large, "it would be small when compressed");
    assert_eq!(error(&mut client, compressed(Compression::Zstd, &[&long])).await, 0);
    set(&mut client, TOPIC, "t", "compression.type", "uncompressed").await;
    assert_eq!(error(&mut client, compressed(Compression::Zstd, &[&long])).await, too_large);
}
