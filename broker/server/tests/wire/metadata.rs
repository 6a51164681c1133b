use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::MetadataRequest;
use cairn_protocol::messages::metadata_request::MetadataRequestTopic;
use uuid::Uuid;

use crate::harness::TestBroker;

fn named(names: &[&str]) -> MetadataRequest {
    let topic = |name: &&str| MetadataRequestTopic { name: Some((*name).into()), ..MetadataRequestTopic::default() };
    MetadataRequest { topics: Some(names.iter().map(topic).collect()), ..MetadataRequest::default() }
}

#[tokio::test]
async fn a_topic_that_is_asked_for_is_made_and_shown_at_once() {
    let broker = TestBroker::with(&[("num.partitions", "3")]).await;
    let mut client = broker.connect().await;
    for version in 0..=13 {
        let name = format!("made-by-{version}");
        let response = client.call(version, &named(&[&name])).await;
        assert_eq!(response.brokers.len(), 1);
        assert_eq!((response.brokers[0].node_id, &*response.brokers[0].host), (1, "127.0.0.1"));
        assert_eq!(response.brokers[0].port, i32::from(broker.address().port()));
        let [topic] = &response.topics[..] else { panic!("{:?}", response.topics) };
        assert_eq!((topic.error_code, topic.name.as_deref()), (0, Some(&*name)));
        assert_eq!(topic.partitions.len(), 3);
        assert!(topic.partitions.iter().all(|partition| partition.error_code == 0 && partition.leader_id == 1));
        assert_eq!(topic.topic_id.is_nil(), version < 10);
    }
    let all = client.call(1, &MetadataRequest { topics: None, ..MetadataRequest::default() }).await;
    assert_eq!(all.topics.len(), 14);
    let all = client.call(0, &named(&[])).await;
    assert_eq!(all.topics.len(), 14, "version 0 asks for all by an empty list");
    assert!(client.call(1, &named(&[])).await.topics.is_empty());
}

#[tokio::test]
async fn topics_are_found_by_id() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let id = client.call(12, &named(&["a"])).await.topics[0].topic_id;
    let by_id = |topic_id| MetadataRequest {
        topics: Some(vec![MetadataRequestTopic { topic_id, name: None }]),
        ..MetadataRequest::default()
    };
    let found = client.call(12, &by_id(id)).await;
    assert_eq!((found.topics[0].error_code, found.topics[0].name.as_deref()), (0, Some("a")));
    for version in [10, 11] {
        let refused = client.call(version, &by_id(id)).await;
        assert_eq!(
            refused.topics[0].error_code,
            ErrorCode::InvalidRequest.code(),
            "only later versions can answer that"
        );
    }
    let unknown = client.call(12, &by_id(Uuid::from_u128(1))).await;
    assert_eq!(unknown.topics[0].error_code, ErrorCode::UnknownTopicId.code());
}

#[tokio::test]
async fn nothing_is_made_unless_client_and_broker_allow_it() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let request = MetadataRequest { allow_auto_topic_creation: false, ..named(&["a", "b!", ".."]) };
    let errors: Vec<i16> = client.call(9, &request).await.topics.iter().map(|topic| topic.error_code).collect();
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    let invalid = ErrorCode::InvalidTopicException.code();
    assert_eq!(errors, [unknown, invalid, invalid]);

    let broker = TestBroker::with(&[("auto.create.topics.enable", "false")]).await;
    let mut client = broker.connect().await;
    assert_eq!(client.call(9, &named(&["a"])).await.topics[0].error_code, unknown);

    let broker = TestBroker::with(&[("default.replication.factor", "2")]).await;
    let mut client = broker.connect().await;
    let error = client.call(9, &named(&["a"])).await.topics[0].error_code;
    assert_eq!(error, ErrorCode::InvalidReplicationFactor.code());
}

#[tokio::test]
async fn names_that_collide_are_refused() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    assert_eq!(client.call(9, &named(&["a.b"])).await.topics[0].error_code, 0);
    assert_eq!(client.call(9, &named(&["a_b"])).await.topics[0].error_code, ErrorCode::InvalidTopicException.code());
}

#[tokio::test]
async fn authorized_operations_are_told_when_asked_for() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let request = MetadataRequest {
        include_cluster_authorized_operations: true,
        include_topic_authorized_operations: true,
        ..named(&["a"])
    };
    let response = client.call(9, &request).await;
    assert_eq!((response.cluster_authorized_operations, response.topics[0].topic_authorized_operations), (8096, 3576));
    let response = client.call(9, &named(&["a"])).await;
    assert_eq!(response.cluster_authorized_operations, i32::MIN);
    assert_eq!(response.topics[0].topic_authorized_operations, i32::MIN);
}

#[tokio::test]
async fn clients_are_told_the_address_that_suits_their_listener() {
    let broker = TestBroker::with(&[
        ("listeners", "REACHED://:0,BOUND://localhost:0,FIXED://127.0.0.1:0"),
        ("listener.security.protocol.map", "REACHED:PLAINTEXT,BOUND:PLAINTEXT,FIXED:PLAINTEXT"),
        ("advertised.listeners", "FIXED://kafka.example.com:19092"),
    ])
    .await;
    let expected = ["127.0.0.2", "localhost", "kafka.example.com"];
    for (index, expected) in expected.into_iter().enumerate() {
        let mut reached = broker.broker.addresses().kafka[index].1;
        if index == 0 {
            reached.set_ip("127.0.0.2".parse().unwrap());
        }
        let mut client = crate::harness::Client::connect(reached).await;
        let response = client.call(9, &MetadataRequest::default()).await;
        assert_eq!(&*response.brokers[0].host, expected);
        let port = if index == 2 { 19092 } else { reached.port() };
        assert_eq!(response.brokers[0].port, i32::from(port));
    }
}
