//! Groups whose partition of `__consumer_offsets` is lost with its log dir, and the others.

use std::path::Path;
use std::sync::Arc;

use cairn_broker::Broker;
use cairn_groups::partition_of;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use cairn_protocol::messages::{
    DescribeLogDirsRequest, FindCoordinatorRequest, HeartbeatRequest, JoinGroupRequest, ListGroupsRequest,
    OffsetCommitRequest, OffsetFetchRequest,
};
use cairn_storage::disk::Disk;
use cairn_storage::disk::faulty::{Call, Fault, FaultyDisk, Rule};
use cairn_storage::disk::memory::MemoryDisk;

use crate::groups::{commit, find_coordinator};
use crate::harness::{Client, TestBroker, config};

const SET: [(&str, &str); 4] = [
    ("log.dirs", "a,b"),
    ("offsets.topic.num.partitions", "2"),
    ("log.durability", "synced"),
    ("group.initial.rebalance.delay.ms", "3600000"),
];

/// The dir of each partition of `__consumer_offsets`.
async fn homes(client: &mut Client) -> [String; 2] {
    let mut homes = [String::new(), String::new()];
    for dir in client.call(4, &DescribeLogDirsRequest { topics: None }).await.results {
        let name = Path::new(&*dir.log_dir).file_name().unwrap().to_str().unwrap().to_owned();
        for told in
            dir.topics.iter().filter(|told| &*told.name == "__consumer_offsets").flat_map(|told| &told.partitions)
        {
            homes[usize::try_from(told.partition_index).unwrap()].clone_from(&name);
        }
    }
    homes
}

/// Two groups of the partition that lies in this dir, and two of the other one. The second of each is to have members.
async fn groups_by_home(client: &mut Client, lost: &str) -> ([String; 2], [String; 2]) {
    let homes = homes(client).await;
    assert_ne!(homes[0], homes[1]);
    let two = |is_lost: bool| {
        let of_home = |group: &String| (homes[usize::try_from(partition_of(group, 2).0).unwrap()] == lost) == is_lost;
        let mut groups = (10..99).map(|number| format!("g{number}")).filter(of_home);
        [groups.next().unwrap(), groups.next().unwrap()]
    };
    (two(true), two(false))
}

async fn found(client: &mut Client, group: &str) -> (i16, i32) {
    let request = FindCoordinatorRequest { key: group.into(), ..FindCoordinatorRequest::default() };
    let found = client.call(2, &request).await;
    (found.error_code, found.node_id)
}

async fn committed(client: &mut Client, group: &str) -> i16 {
    let request = OffsetCommitRequest { group_id: group.into(), ..commit(-1, "") };
    client.call(8, &request).await.topics[0].partitions[0].error_code
}

/// The error of the group, or what was committed.
async fn fetched(client: &mut Client, group: &str) -> Result<i64, i16> {
    let topic = OffsetFetchRequestTopics { name: "t".into(), partition_indexes: vec![0], ..Default::default() };
    let group = OffsetFetchRequestGroup {
        group_id: group.into(),
        topics: Some(vec![topic]),
        ..OffsetFetchRequestGroup::default()
    };
    let request = OffsetFetchRequest { groups: vec![group], ..OffsetFetchRequest::default() };
    let told = client.call(8, &request).await.groups.remove(0);
    match told.error_code {
        0 => Ok(told.topics[0].partitions[0].committed_offset),
        error => Err(error),
    }
}

async fn listed(client: &mut Client) -> Vec<String> {
    let response = client.call(4, &ListGroupsRequest::default()).await;
    assert_eq!(response.error_code, 0);
    let mut groups: Vec<String> = response.groups.into_iter().map(|group| group.group_id.into()).collect();
    groups.sort_unstable();
    groups
}

fn join(group: &str) -> JoinGroupRequest {
    let protocol = cairn_protocol::messages::join_group_request::JoinGroupRequestProtocol {
        name: "range".into(),
        metadata: bytes::Bytes::from_static(b"x"),
    };
    JoinGroupRequest {
        group_id: group.into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 3_600_000,
        protocol_type: "consumer".into(),
        protocols: vec![protocol],
        ..JoinGroupRequest::default()
    }
}

async fn assert_lost(client: &mut Client, lost: &str, kept: &str, all_kept: &[String]) {
    let gone = ErrorCode::NotCoordinator.code();
    assert_eq!(found(client, lost).await, (ErrorCode::CoordinatorNotAvailable.code(), -1));
    assert_eq!(committed(client, lost).await, gone);
    assert_eq!(fetched(client, lost).await, Err(gone), "nothing is told from memory");
    let heartbeat = HeartbeatRequest { group_id: lost.into(), ..HeartbeatRequest::default() };
    assert_eq!(client.call(3, &heartbeat).await.error_code, gone);
    assert_eq!(client.call(3, &join(lost)).await.error_code, gone);
    assert_eq!(listed(client).await, all_kept);
    assert_eq!(found(client, kept).await, (0, 1));
    assert_eq!(committed(client, kept).await, 0);
    assert_eq!(fetched(client, kept).await, Ok(5));
}

#[tokio::test]
async fn groups_of_a_dir_that_fails_have_no_coordinator_and_the_others_go_on() {
    let disk = FaultyDisk::new(Arc::new(MemoryDisk::new()));
    let broker = TestBroker::on(Arc::new(disk.clone()), &SET).await;
    let mut client = broker.connect().await;
    find_coordinator(&mut client).await;
    let ([lost, lost_with_members], [kept, kept_with_members]) = groups_by_home(&mut client, "b").await;
    for group in [&lost, &kept] {
        assert_eq!(committed(&mut client, group).await, 0);
        assert_eq!(fetched(&mut client, group).await, Ok(5));
    }
    let mut waiting = broker.connect().await;
    let waits = waiting.send(3, &join(&lost_with_members)).await;
    // Groups of the other partition may wait as long as they like.
    let mut going_on = broker.connect().await;
    let _goes_on = going_on.send(3, &join(&kept_with_members)).await;
    while listed(&mut client).await.len() < 4 {}
    // That the groups began is durable with this, at the latest.
    assert_eq!(committed(&mut client, &lost).await, 0);
    let mut all_kept = [kept.clone(), kept_with_members];
    all_kept.sort_unstable();

    disk.inject(
        Rule::nth(Call::Sync, 1, Fault::Io)
            .only(&format!("b/__consumer_offsets-{}/00000000000000000000.log", partition_of(&lost, 2))),
    );
    assert_eq!(committed(&mut client, &lost).await, ErrorCode::CoordinatorNotAvailable.code());
    broker.wait_for_metric("cairn_log_dirs_offline 1").await;
    while fetched(&mut client, &lost).await.is_ok() {}
    let let_go = waiting.receive::<JoinGroupRequest>(waits).await;
    assert_eq!(let_go.error_code, ErrorCode::NotCoordinator.code());
    for _ in 0..2 {
        assert_lost(&mut client, &lost, &kept, &all_kept).await;
    }
    broker.broker.shutdown().await;

    let broker = TestBroker::on(Arc::new(disk), &SET).await;
    let mut client = broker.connect().await;
    for group in [&lost, &kept] {
        while fetched(&mut client, group).await == Err(ErrorCode::CoordinatorLoadInProgress.code()) {}
        assert_eq!((found(&mut client, group).await, fetched(&mut client, group).await), ((0, 1), Ok(5)));
    }
    broker.broker.shutdown().await;
}

#[tokio::test]
async fn groups_of_a_dir_that_is_missing_at_the_start_are_found_again_when_it_is_back() {
    let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
    let start = || Broker::start_on(Arc::clone(&disk), config(Path::new("unused"), &SET));
    let broker = start().await.unwrap();
    let mut client = Client::connect(broker.addresses().kafka[0].1).await;
    find_coordinator(&mut client).await;
    let ([lost, _], [kept, _]) = groups_by_home(&mut client, "b").await;
    for group in [&lost, &kept] {
        assert_eq!(committed(&mut client, group).await, 0);
    }
    broker.shutdown().await;

    disk.rename(Path::new("b"), Path::new("unmounted")).unwrap();
    let broker = start().await.unwrap();
    let mut client = Client::connect(broker.addresses().kafka[0].1).await;
    while fetched(&mut client, &kept).await == Err(ErrorCode::CoordinatorLoadInProgress.code()) {}
    assert_lost(&mut client, &lost, &kept, std::slice::from_ref(&kept)).await;
    broker.shutdown().await;

    disk.rename(Path::new("unmounted"), Path::new("b")).unwrap();
    let broker = start().await.unwrap();
    let mut client = Client::connect(broker.addresses().kafka[0].1).await;
    for group in [&lost, &kept] {
        while fetched(&mut client, group).await == Err(ErrorCode::CoordinatorLoadInProgress.code()) {}
        assert_eq!((found(&mut client, group).await, fetched(&mut client, group).await), ((0, 1), Ok(5)));
    }
    broker.shutdown().await;
}
