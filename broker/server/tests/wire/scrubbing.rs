//! Scrubbing: damage in what nobody reads is found and told.

use std::os::unix::fs::FileExt;

use crate::harness::TestBroker;
use crate::records::{append, batch, fetch, fetched, make_topic};

const ALWAYS: [(&str, &str); 3] = [
    ("log.segment.bytes", "1048576"),
    ("log.scrub.interval.ms", "1"),
    ("log.scrub.max.bytes.per.second", "1000000000"),
];

#[tokio::test]
async fn damage_that_nobody_reads_is_found() {
    let broker = TestBroker::with(&ALWAYS).await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    make_topic(&mut client, "whole").await;
    let filler = "x".repeat(600_000);
    for _ in 0..4 {
        append(&mut client, "t", batch(&[&filler])).await;
        append(&mut client, "whole", batch(&[&filler])).await;
    }
    // Three sealed segments each.
    while broker.metric("cairn_scrubbed_bytes_total").await < 6 * 600_000 {}
    broker.wait_for_metric("cairn_scrub_damaged_partitions 0").await;

    let path = broker.folder.path().join("t-0/00000000000000000001.log");
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    file.write_all_at(b"?", 300_000).unwrap();
    broker.wait_for_metric("cairn_scrub_damaged_partitions 1").await;
    let whole = fetched(client.call(11, &fetch("whole", 0, 1)).await);
    assert_eq!(whole.error_code, 0);
    broker.broker.shutdown().await;
}
