//! Compaction, as clients see it: what a newer record supersedes goes by itself, and records without keys are refused.

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::Timestamp;
use cairn_protocol::messages::IncrementalAlterConfigsRequest;
use cairn_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use cairn_protocol::records::{BatchBuilder, BatchIter, Compression, NewRecord};

use crate::harness::{Client, TestBroker};
use crate::records::{append, batch, fetch, fetched, keyed, make_topic, now, produce, produced, values};

const QUICK: [(&str, &str); 4] = [
    ("log.cleanup.policy", "compact"),
    ("log.cleaner.backoff.ms", "10"),
    ("log.cleaner.min.cleanable.ratio", "0.01"),
    ("log.segment.bytes", "1048576"),
];

/// Offsets and the first words of all values, read as a consumer reads them.
async fn read_all(client: &mut Client) -> Vec<(i64, String)> {
    let mut seen = Vec::new();
    let mut offset = 0;
    loop {
        let data = fetched(client.call(11, &fetch("t", 0, offset)).await);
        assert_eq!((data.error_code, data.log_start_offset), (0, 0));
        let bytes = data.records.clone().unwrap();
        let Some(last) = BatchIter::new(&bytes).last() else { return seen };
        offset = last.unwrap().header().end_offset().0;
        let word = |value: String| value.split(' ').next().unwrap().to_owned();
        seen.extend(values(&data).into_iter().map(|(offset, value)| (offset, word(value))));
    }
}

#[tokio::test]
async fn superseded_records_go_by_themselves_and_stay_gone() {
    let broker = TestBroker::with(&QUICK).await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    let filler = "x".repeat(60_000);
    for round in 0..50 {
        let (a, b) = (format!("a{round} {filler}"), format!("b{round}"));
        assert_eq!(append(&mut client, "t", keyed(&[("a", &a), ("b", &b)])).await, 2 * round);
    }
    while broker.metric("cairn_cleaner_records_removed_total").await < 40 {}
    assert!(broker.metric("cairn_cleaner_removed_bytes_total").await > 1 << 20);
    let seen = read_all(&mut client).await;
    assert!(seen.len() <= 60 && seen.is_sorted_by(|a, b| a.0 < b.0), "{seen:?}");
    assert_eq!(seen[seen.len() - 2..], [(98, "a49".to_owned()), (99, "b49".to_owned())]);
    assert!(seen.iter().all(|(offset, word)| word[1..] == (offset / 2).to_string()), "{seen:?}");

    let broker = broker.restart(&QUICK).await;
    let mut client = broker.connect().await;
    let after = read_all(&mut client).await;
    assert!(after.iter().all(|record| seen.contains(record)), "nothing came back");
    assert_eq!(after.last(), seen.last());
    assert_eq!(append(&mut client, "t", keyed(&[("a", "next")])).await, 100);
}

/// As many partitions are compacted at a time as the config says now. The pace is such that none ever ends.
#[tokio::test]
async fn the_number_of_threads_is_set_while_the_broker_runs() {
    let more = [("log.cleaner.io.max.bytes.per.second", "1")];
    let broker = TestBroker::with(&[&QUICK[..], &more].concat()).await;
    let mut client = broker.connect().await;
    let filler = "x".repeat(60_000);
    for topic in ["t", "u", "v"] {
        make_topic(&mut client, topic).await;
        for _ in 0..40 {
            append(&mut client, topic, keyed(&[("a", &filler)])).await;
        }
    }
    let set = async |client: &mut Client, name: &str, value: &str| {
        let config = AlterableConfig { name: name.into(), config_operation: 0, value: Some(value.into()) };
        let resource = AlterConfigsResource { resource_type: 4, resource_name: "".into(), configs: vec![config] };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
        assert_eq!(client.call(1, &request).await.responses[0].error_code, 0, "{name}={value}");
    };
    for threads in [1, 2, 3] {
        set(&mut client, "log.cleaner.threads", &threads.to_string()).await;
        loop {
            let compacting = broker.metric("cairn_cleaner_compacting_partitions").await;
            assert!(compacting <= threads, "{compacting} at a time");
            if compacting == threads {
                break;
            }
        }
    }
    // Who is at it ends its round; then one goes on.
    set(&mut client, "log.cleaner.threads", "1").await;
    set(&mut client, "log.cleaner.io.max.bytes.per.second", "1e300").await;
    while broker.metric("cairn_cleaner_records_removed_total").await < 60 {}
    while broker.metric("cairn_cleaner_compacting_partitions").await > 0 {}
}

#[tokio::test]
async fn a_record_without_a_key_is_refused() {
    let broker = TestBroker::with(&QUICK).await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    let refused = produced(client.call(9, &produce("t", 0, -1, batch(&["no key"]))).await);
    assert_eq!((refused.error_code, refused.base_offset), (ErrorCode::InvalidRecord.code(), -1));
    assert_eq!(refused.record_errors.iter().map(|record| record.batch_index).collect::<Vec<_>>(), [0]);
    assert!(refused.error_message.is_some());
    // All of them are told, so that a client knows which of its records were not at fault; compressed ones as well.
    for codec in [Compression::None, Compression::Lz4] {
        let mut builder = BatchBuilder::new().with_compression(codec, None).unwrap();
        for key in [Some("a"), None, Some("b"), None, None] {
            let key = key.map(str::as_bytes);
            builder.append(&NewRecord { timestamp: Timestamp(now()), key, value: Some(b"v"), headers: &[] }).unwrap();
        }
        let refused = produced(client.call(9, &produce("t", 0, -1, builder.finish(None).unwrap())).await);
        assert_eq!(refused.error_code, ErrorCode::InvalidRecord.code());
        assert_eq!(refused.record_errors.iter().map(|record| record.batch_index).collect::<Vec<_>>(), [1, 3, 4]);
    }
    assert_eq!(append(&mut client, "t", keyed(&[("k", "v")])).await, 0);
}
