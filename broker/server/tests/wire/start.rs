//! Starting, and what keeps a broker from it.

use cairn_broker::Broker;

use crate::harness::{TestBroker, config};
use crate::records::{append, batch, make_topic};

#[tokio::test]
async fn one_data_folder_has_one_broker() {
    let folder = tempfile::tempdir().unwrap();
    let first = Broker::start(config(folder.path(), &[])).await.unwrap();
    let error = Broker::start(config(folder.path(), &[])).await.unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error}");
    assert!(error.to_string().contains(folder.path().to_str().unwrap()), "{error}");
    first.shutdown().await;
    Broker::start(config(folder.path(), &[])).await.unwrap().shutdown().await;
}

#[tokio::test]
async fn a_taken_port_is_named() {
    let broker = TestBroker::start().await;
    let listeners = format!("PLAINTEXT://{}", broker.address());
    let folder = tempfile::tempdir().unwrap();
    let error = Broker::start(config(folder.path(), &[("listeners", &listeners)])).await.unwrap_err();
    assert_eq!(error.exit_code(), 1);
    assert!(error.to_string().contains(&broker.address().to_string()), "{error}");
}

#[tokio::test]
async fn a_damaged_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    Broker::start(config(folder.path(), &[])).await.unwrap().shutdown().await;
    std::fs::write(folder.path().join("identity"), b"something else").unwrap();
    let error = Broker::start(config(folder.path(), &[])).await.unwrap_err();
    assert_eq!(error.exit_code(), 4, "{error}");
}

#[tokio::test]
async fn metrics_and_health_are_told_over_http() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    append(&mut client, "t", batch(&["a"])).await;
    let metrics = broker.metrics().await;
    for line in [
        "cairn_requests_total{api=\"Produce\"} 1",
        "cairn_request_time_seconds_count{api=\"Metadata\"} 1",
        "cairn_connections 1",
        "# EOF",
    ] {
        assert!(metrics.lines().any(|shown| shown == line), "{line} is missing in:\n{metrics}");
    }
    assert!(broker.get("/healthz").await.ends_with("alive\n"));
    assert!(broker.get("/readyz").await.ends_with("ready\n"));
    assert!(broker.get("/other").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn connections_are_counted_by_address() {
    let broker = TestBroker::with(&[("max.connections.per.ip", "2")]).await;
    let mut first = broker.connect().await;
    let mut second = broker.connect().await;
    make_topic(&mut first, "t").await;
    make_topic(&mut second, "t").await;
    broker.connect().await.expect_close().await;
    drop(second);
    broker.wait_for_metric("cairn_connections 1").await;
    make_topic(&mut broker.connect().await, "t").await;
}
