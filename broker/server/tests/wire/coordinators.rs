//! FindCoordinator, InitProducerId and DescribeCluster.

use std::collections::HashSet;
use std::sync::Arc;

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::describe_configs_request::DescribeConfigsResource;
use cairn_protocol::messages::{
    DescribeClusterRequest, DescribeConfigsRequest, FindCoordinatorRequest, InitProducerIdRequest, MetadataRequest,
};
use cairn_storage::disk::faulty::{Call, Fault, FaultyDisk, Rule};
use cairn_storage::disk::memory::MemoryDisk;

use crate::harness::TestBroker;

#[tokio::test]
async fn the_coordinator_of_a_group_is_found_and_its_topic_made() {
    let broker = TestBroker::with(&[("offsets.topic.num.partitions", "7")]).await;
    let mut client = broker.connect().await;
    let port = i32::from(broker.address().port());
    for version in 0..=3 {
        let request = FindCoordinatorRequest { key: "g".into(), ..FindCoordinatorRequest::default() };
        let found = client.call(version, &request).await;
        assert_eq!((found.error_code, found.node_id, &*found.host, found.port), (0, 1, "127.0.0.1", port));
    }
    for version in 4..=6 {
        let keys = vec!["g".into(), "h".into()];
        let request = FindCoordinatorRequest { coordinator_keys: keys, ..FindCoordinatorRequest::default() };
        let found = client.call(version, &request).await.coordinators;
        let shown: Vec<_> = found.iter().map(|one| (&*one.key, one.error_code, one.node_id, one.port)).collect();
        assert_eq!(shown, [("g", 0, 1, port), ("h", 0, 1, port)]);
    }
    let all = client.call(1, &MetadataRequest { topics: None, ..MetadataRequest::default() }).await;
    assert_eq!(all.topics.len(), 1);
    assert!(all.topics[0].is_internal);
    assert_eq!((all.topics[0].name.as_deref(), all.topics[0].partitions.len()), (Some("__consumer_offsets"), 7));
}

#[tokio::test]
async fn committed_offsets_do_not_go_away_by_age_or_size() {
    let broker = TestBroker::with(&[("log.retention.hours", "1"), ("log.retention.bytes", "1000")]).await;
    let mut client = broker.connect().await;
    let request = FindCoordinatorRequest { key: "g".into(), ..FindCoordinatorRequest::default() };
    assert_eq!(client.call(2, &request).await.error_code, 0);
    let resource = DescribeConfigsResource {
        resource_type: 2,
        resource_name: "__consumer_offsets".into(),
        configuration_keys: None,
    };
    let request = DescribeConfigsRequest { resources: vec![resource], ..DescribeConfigsRequest::default() };
    let configs = client.call(1, &request).await.results.remove(0).configs;
    for (name, expected) in [("cleanup.policy", "compact"), ("segment.bytes", "104857600")] {
        let config = configs.iter().find(|config| &*config.name == name).unwrap();
        assert_eq!(config.value.as_deref(), Some(expected), "{name}");
    }
}

#[tokio::test]
async fn what_belongs_to_transactions_is_refused_for_good() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let refused = ErrorCode::TransactionalIdAuthorizationFailed;
    assert!(!refused.is_retriable());
    let request = FindCoordinatorRequest { key: "x".into(), key_type: 1, ..FindCoordinatorRequest::default() };
    let found = client.call(3, &request).await;
    assert_eq!((found.error_code, found.node_id), (refused.code(), -1));
    assert!(found.error_message.unwrap().contains("transactions"));
    let request = InitProducerIdRequest { transactional_id: Some("x".into()), ..InitProducerIdRequest::default() };
    let answer = client.call(4, &request).await;
    assert_eq!((answer.error_code, answer.producer_id), (refused.code(), -1));
}

#[tokio::test]
async fn producer_ids_are_given_once() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let mut seen = HashSet::new();
    for _ in 0..300 {
        for version in 0..=5 {
            let answer = client
                .call(version, &InitProducerIdRequest { transactional_id: None, ..InitProducerIdRequest::default() })
                .await;
            assert_eq!((answer.error_code, answer.producer_epoch), (0, 0));
            assert!(seen.insert(answer.producer_id), "{}", answer.producer_id);
        }
    }
}

#[tokio::test]
async fn a_producer_that_gets_no_id_now_asks_again_and_looks_for_no_coordinator() {
    let disk = FaultyDisk::new(Arc::new(MemoryDisk::new()));
    let broker = TestBroker::on(Arc::new(disk.clone()), &[]).await;
    let mut client = broker.connect().await;
    disk.inject(Rule::always(Call::Sync, Fault::Io));
    let request = InitProducerIdRequest { transactional_id: None, ..InitProducerIdRequest::default() };
    let answer = client.call(4, &request).await;
    assert_eq!((answer.error_code, answer.producer_id), (ErrorCode::CoordinatorLoadInProgress.code(), -1));
}

#[tokio::test]
async fn the_cluster_is_described() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    for version in 0..=2 {
        let request = DescribeClusterRequest {
            include_cluster_authorized_operations: true,
            include_fenced_brokers: version >= 2,
            ..DescribeClusterRequest::default()
        };
        let cluster = client.call(version, &request).await;
        assert_eq!((cluster.error_code, cluster.cluster_id.len(), cluster.controller_id), (0, 22, 1));
        assert_eq!((cluster.brokers.len(), cluster.brokers[0].broker_id), (1, 1));
        assert_eq!(cluster.brokers[0].port, i32::from(broker.address().port()));
        assert_eq!(cluster.cluster_authorized_operations, 8096);
    }
    for (endpoint_type, expected) in [(2, ErrorCode::MismatchedEndpointType), (3, ErrorCode::UnsupportedEndpointType)] {
        let request = DescribeClusterRequest { endpoint_type, ..DescribeClusterRequest::default() };
        assert_eq!(client.call(1, &request).await.error_code, expected.code());
    }
}
