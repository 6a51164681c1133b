//! Log dirs that take no new partitions (`cordoned.log.dirs`).

use std::path::{Path, absolute};
use std::sync::Arc;

use cairn_broker::Broker;
use cairn_broker::config::{BrokerConfig, Sources};
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::alter_replica_log_dirs_request::{AlterReplicaLogDir, AlterReplicaLogDirTopic};
use cairn_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use cairn_protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use cairn_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use cairn_protocol::messages::{
    AlterReplicaLogDirsRequest, CreatePartitionsRequest, CreateTopicsRequest, DescribeLogDirsRequest,
    IncrementalAlterConfigsRequest,
};
use cairn_storage::disk::Disk;
use cairn_storage::disk::memory::MemoryDisk;

use crate::harness::{Client, config};
use crate::records::{batch, fetch, fetched, produce, produced, values};

const BROKER: i8 = 4;
const SET: i8 = 0;
const DELETE: i8 = 1;

fn path_of(name: &str) -> String {
    absolute(name).unwrap().to_str().unwrap().to_owned()
}

async fn start(disk: &Arc<dyn Disk>, more: &[(&str, &str)]) -> (Broker, Client) {
    let set = [&[("log.dirs", "a,b")], more].concat();
    let broker = Broker::start_on(Arc::clone(disk), config(Path::new("unused"), &set)).await.unwrap();
    let client = Client::connect(broker.addresses().kafka[0].1).await;
    (broker, client)
}

async fn alter(client: &mut Client, broker: &str, operation: i8, value: Option<&str>) -> i16 {
    let config =
        AlterableConfig { name: "cordoned.log.dirs".into(), config_operation: operation, value: value.map(Into::into) };
    let resource = AlterConfigsResource { resource_type: BROKER, resource_name: broker.into(), configs: vec![config] };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    client.call(1, &request).await.responses[0].error_code
}

async fn cordon(client: &mut Client, value: &str) {
    assert_eq!(alter(client, "1", SET, Some(value)).await, 0);
}

/// By version: which dirs are told as cordoned, and how many partitions each has.
async fn told(client: &mut Client) -> [(bool, usize); 2] {
    assert!(client.call(4, &DescribeLogDirsRequest { topics: None }).await.results.iter().all(|dir| !dir.is_cordoned));
    let results = client.call(5, &DescribeLogDirsRequest { topics: None }).await.results;
    assert_eq!([&*results[0].log_dir, &*results[1].log_dir], [path_of("a"), path_of("b")]);
    let count = |at: usize| results[at].topics.iter().map(|topic| topic.partitions.len()).sum();
    [(results[0].is_cordoned, count(0)), (results[1].is_cordoned, count(1))]
}

async fn create(client: &mut Client, name: &str, partitions: i32) -> i16 {
    let topic = CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: 1,
        ..CreatableTopic::default()
    };
    client.call(5, &CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() }).await.topics[0]
        .error_code
}

async fn move_to(client: &mut Client, topic: &str, name: &str) -> i16 {
    let topics = vec![AlterReplicaLogDirTopic { name: topic.into(), partitions: vec![0] }];
    let request = AlterReplicaLogDirsRequest { dirs: vec![AlterReplicaLogDir { path: path_of(name).into(), topics }] };
    client.call(2, &request).await.results[0].partitions[0].error_code
}

#[tokio::test]
async fn new_partitions_go_elsewhere_and_those_that_are_there_are_served() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let (broker, mut client) = start(&disk, &[]).await;
    assert_eq!(create(&mut client, "before", 4).await, 0);
    assert_eq!(told(&mut client).await, [(false, 2), (false, 2)]);
    cordon(&mut client, &path_of("a")).await;
    assert_eq!(create(&mut client, "t", 4).await, 0);
    assert_eq!(told(&mut client).await, [(true, 2), (false, 6)]);
    for partition in 0..4 {
        let answer = produced(client.call(9, &produce("before", partition, -1, batch(&["x"]))).await);
        assert_eq!(answer.error_code, 0);
        assert_eq!(values(&fetched(client.call(11, &fetch("before", partition, 0)).await)).len(), 1);
    }
    // What is there may leave, and nothing may come.
    assert_eq!(move_to(&mut client, "t", "a").await, ErrorCode::InvalidReplicaAssignment.code());
    assert_eq!(move_to(&mut client, "t", "b").await, 0);
    broker.shutdown().await;

    // It lasts, until it is taken back.
    let (broker, mut client) = start(&disk, &[]).await;
    assert_eq!(told(&mut client).await, [(true, 2), (false, 6)]);
    assert_eq!(alter(&mut client, "1", DELETE, None).await, 0);
    assert_eq!(create(&mut client, "u", 4).await, 0);
    assert_eq!(told(&mut client).await, [(false, 6), (false, 6)]);
    broker.shutdown().await;
}

#[tokio::test]
async fn where_all_are_cordoned_only_what_is_placed_by_hand_is_made() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let (broker, mut client) = start(&disk, &[]).await;
    assert_eq!(create(&mut client, "t", 1).await, 0);
    let none = ErrorCode::InvalidReplicationFactor.code();
    let both = format!("{},{}", path_of("a"), path_of("b"));
    for all in ["*", &both] {
        cordon(&mut client, all).await;
        assert!(told(&mut client).await.iter().all(|(is_cordoned, _)| *is_cordoned));
        assert_eq!(create(&mut client, "none", 1).await, none);
        let more = CreatePartitionsTopic { name: "t".into(), count: 2, assignments: None };
        let more = CreatePartitionsRequest { topics: vec![more], ..CreatePartitionsRequest::default() };
        assert_eq!(client.call(2, &more).await.results[0].error_code, none);
    }
    let by_hand = CreatableTopic {
        name: "by-hand".into(),
        num_partitions: -1,
        replication_factor: -1,
        assignments: vec![CreatableReplicaAssignment { partition_index: 0, broker_ids: vec![1] }],
        ..CreatableTopic::default()
    };
    let by_hand = CreateTopicsRequest { topics: vec![by_hand], ..CreateTopicsRequest::default() };
    assert_eq!(client.call(5, &by_hand).await.topics[0].error_code, 0);
    assert_eq!(produced(client.call(9, &produce("by-hand", 0, -1, batch(&["x"]))).await).error_code, 0);
    cordon(&mut client, "").await;
    assert_eq!(create(&mut client, "some", 1).await, 0);
    broker.shutdown().await;
}

#[tokio::test]
async fn only_log_dirs_of_one_broker_can_be_cordoned() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let (broker, mut client) = start(&disk, &[("cordoned.log.dirs", "b")]).await;
    assert_eq!(told(&mut client).await.map(|(is_cordoned, _)| is_cordoned), [false, true]);
    let invalid = ErrorCode::InvalidRequest.code();
    for value in ["/no/such/dir", "*,a", "a,*"] {
        assert_eq!(alter(&mut client, "1", SET, Some(value)).await, invalid, "{value}");
    }
    assert_eq!(alter(&mut client, "", SET, Some(&path_of("a"))).await, invalid);
    assert_eq!(alter(&mut client, "", DELETE, None).await, 0);
    broker.shutdown().await;

    let error = BrokerConfig::load(&Sources::none().set("log.dirs", "a,b").set("cordoned.log.dirs", "c")).unwrap_err();
    assert!(error.to_string().contains("cordoned.log.dirs"), "{error}");
}
