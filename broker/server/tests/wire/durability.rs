use crate::harness::TestBroker;
use crate::records::{append, batch, fetch, fetched, make_topic, produce, produced, values};

#[tokio::test]
async fn synced_answers_when_it_is_on_disk() {
    for set in [("log.durability", "synced"), ("log.flush.interval.messages", "1")] {
        let broker = TestBroker::with(&[set]).await;
        let mut client = broker.connect().await;
        make_topic(&mut client, "t").await;
        for acks in [1, -1] {
            for _ in 0..10 {
                let response = produced(client.call(9, &produce("t", 0, acks, batch(&["a"]))).await);
                assert_eq!(response.error_code, 0);
                let data = fetched(client.call(11, &fetch("t", 0, response.base_offset)).await);
                assert_eq!(data.high_watermark, response.base_offset + 1, "what is answered can be read");
            }
        }
        let metrics = broker.metrics().await;
        let line = metrics.lines().find(|line| line.starts_with("cairn_sync_time_seconds_count")).unwrap();
        let syncs: u64 = line.split(' ').nth(1).unwrap().parse().unwrap();
        assert!(syncs >= 20, "each of these answers needed a sync of its own: {line}");
    }
}

#[tokio::test]
async fn producers_share_syncs() {
    let broker = TestBroker::with(&[("log.durability", "synced")]).await;
    let mut first = broker.connect().await;
    make_topic(&mut first, "t").await;
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let mut client = broker.connect().await;
        tasks.push(tokio::spawn(async move {
            for _ in 0..25 {
                append(&mut client, "t", batch(&["a"])).await;
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(values(&fetched(first.call(11, &fetch("t", 0, 0)).await)).len(), 200);
}

#[tokio::test]
async fn records_outlive_a_graceful_stop() {
    for durability in ["replicated", "synced"] {
        let set = [("log.durability", durability)];
        let mut broker = TestBroker::with(&set).await;
        let mut expected = Vec::new();
        for round in 0..3 {
            let mut client = broker.connect().await;
            make_topic(&mut client, "t").await;
            let value = format!("round {round}");
            append(&mut client, "t", batch(&[&value])).await;
            expected.push((round, value));
            drop(client);
            broker = broker.restart(&set).await;
            let mut client = broker.connect().await;
            assert_eq!(values(&fetched(client.call(11, &fetch("t", 0, 0)).await)), expected);
        }
    }
}
