//! Several listeners: each client is told the address that belongs to the listener it came in by.

use std::net::SocketAddr;

use cairn_broker::Broker;
use cairn_broker::config::{BrokerConfig, Sources};
use cairn_protocol::messages::{DescribeClusterRequest, FindCoordinatorRequest, MetadataRequest};

use crate::harness::Client;

/// What Metadata, DescribeCluster and FindCoordinator tell a client about this broker; they must agree.
async fn told(client: &mut Client) -> (String, i32) {
    let brokers = client.call(9, &MetadataRequest::default()).await.brokers;
    let metadata = (String::from(brokers[0].host.clone()), brokers[0].port);
    let brokers = client.call(0, &DescribeClusterRequest { endpoint_type: 1, ..Default::default() }).await.brokers;
    assert_eq!((String::from(brokers[0].host.clone()), brokers[0].port), metadata);
    let request = FindCoordinatorRequest { key: "g".into(), ..FindCoordinatorRequest::default() };
    let coordinator = client.call(2, &request).await;
    assert_eq!((String::from(coordinator.host), coordinator.port), metadata);
    metadata
}

async fn started(folder: &tempfile::TempDir, keys: &[(&str, &str)]) -> Broker {
    let mut sources = Sources::none().set("log.dir", folder.path().to_str().unwrap());
    for (key, value) in keys {
        sources = sources.set(key, value);
    }
    Broker::start(BrokerConfig::load(&sources).unwrap()).await.unwrap()
}

fn address(broker: &Broker, name: &str) -> SocketAddr {
    broker.addresses().kafka.iter().find(|(listener, _)| listener == name).unwrap().1
}

#[tokio::test]
async fn a_client_is_told_the_address_of_the_listener_that_it_came_in_by() {
    let folder = tempfile::tempdir().unwrap();
    let broker = started(
        &folder,
        &[
            ("listeners", "INTERNAL://127.0.0.1:0,EXTERNAL://0.0.0.0:0,LOCAL://localhost:0"),
            ("advertised.listeners", "internal://cairn:9092,EXTERNAL://kafka.example.com:29092"),
            ("listener.security.protocol.map", "INTERNAL:PLAINTEXT,EXTERNAL:PLAINTEXT,LOCAL:PLAINTEXT"),
            ("inter.broker.listener.name", "INTERNAL"),
        ],
    )
    .await;
    let mut internal = Client::connect(address(&broker, "INTERNAL")).await;
    let external = SocketAddr::from(([127, 0, 0, 1], address(&broker, "EXTERNAL").port()));
    let mut external = Client::connect(external).await;
    let local = address(&broker, "LOCAL");
    let mut by_name = Client::connect(local).await;
    assert_eq!(told(&mut internal).await, ("cairn".to_owned(), 9092));
    assert_eq!(told(&mut external).await, ("kafka.example.com".to_owned(), 29092));
    assert_eq!(told(&mut by_name).await, ("localhost".to_owned(), i32::from(local.port())), "what it listens on");
    broker.shutdown().await;
}

/// Where the system has no IPv6, there is nothing to be seen.
#[tokio::test]
async fn addresses_of_ipv6_are_told_without_brackets() {
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let listeners = [
        ("listeners", "SIX://[::1]:0,ANY://[::]:0,NAMED://:0"),
        ("advertised.listeners", "NAMED://[2001:db8::7]:19092"),
        ("listener.security.protocol.map", "SIX:PLAINTEXT,ANY:PLAINTEXT,NAMED:PLAINTEXT"),
    ];
    let broker = started(&folder, &listeners).await;
    let six = address(&broker, "SIX");
    assert_eq!(told(&mut Client::connect(six).await).await, ("::1".to_owned(), i32::from(six.port())));
    let any = address(&broker, "ANY").port();
    let by_six = SocketAddr::new("::1".parse().unwrap(), any);
    assert_eq!(told(&mut Client::connect(by_six).await).await, ("::1".to_owned(), i32::from(any)));
    let by_four = SocketAddr::from(([127, 0, 0, 1], any));
    assert_eq!(told(&mut Client::connect(by_four).await).await, ("127.0.0.1".to_owned(), i32::from(any)));
    let named = SocketAddr::from(([127, 0, 0, 1], address(&broker, "NAMED").port()));
    assert_eq!(told(&mut Client::connect(named).await).await, ("2001:db8::7".to_owned(), 19092));
    broker.shutdown().await;
}
