//! OffsetCommit and OffsetFetch.

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::metadata_request::MetadataRequestTopic;
use cairn_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use cairn_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use cairn_protocol::messages::{
    DeleteTopicsRequest, FindCoordinatorRequest, MetadataRequest, OffsetCommitRequest, OffsetFetchRequest,
};
use uuid::Uuid;

use crate::harness::{Client, TestBroker};

/// Makes the topic `t`, and the coordinator's own; gives the id of `t`.
async fn prepare(client: &mut Client) -> Uuid {
    let topic = MetadataRequestTopic { name: Some("t".into()), ..MetadataRequestTopic::default() };
    let request = MetadataRequest { topics: Some(vec![topic]), ..MetadataRequest::default() };
    let id = client.call(12, &request).await.topics[0].topic_id;
    let request = FindCoordinatorRequest { key: "g".into(), ..FindCoordinatorRequest::default() };
    assert_eq!(client.call(2, &request).await.error_code, 0);
    id
}

fn commit(group: &str, topic: &str, id: Uuid, offsets: &[(i32, i64, &str)]) -> OffsetCommitRequest {
    let partition = |(index, offset, metadata): &(i32, i64, &str)| OffsetCommitRequestPartition {
        partition_index: *index,
        committed_offset: *offset,
        committed_leader_epoch: 0,
        committed_metadata: Some((*metadata).into()),
    };
    OffsetCommitRequest {
        group_id: group.into(),
        topics: vec![OffsetCommitRequestTopic {
            name: topic.into(),
            topic_id: id,
            partitions: offsets.iter().map(partition).collect(),
        }],
        ..OffsetCommitRequest::default()
    }
}

async fn committed(client: &mut Client, version: i16, request: &OffsetCommitRequest) -> Vec<i16> {
    let response = client.call(version, request).await;
    response.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code).collect()
}

fn fetch_one(group: &str) -> OffsetFetchRequest {
    OffsetFetchRequest {
        group_id: group.into(),
        topics: Some(vec![OffsetFetchRequestTopic { name: "t".into(), partition_indexes: vec![0, 1] }]),
        ..OffsetFetchRequest::default()
    }
}

fn fetch_groups(groups: &[&str], id: Uuid) -> OffsetFetchRequest {
    let topic = OffsetFetchRequestTopics { name: "t".into(), topic_id: id, partition_indexes: vec![0, 1] };
    let group = |group: &&str| OffsetFetchRequestGroup {
        group_id: (*group).into(),
        member_id: None,
        topics: Some(vec![topic.clone()]),
        ..OffsetFetchRequestGroup::default()
    };
    OffsetFetchRequest { groups: groups.iter().map(group).collect(), ..OffsetFetchRequest::default() }
}

#[tokio::test]
async fn what_is_committed_is_found_in_every_version() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let id = prepare(&mut client).await;
    for version in 2..=10 {
        let offset = 100 + i64::from(version);
        let request = commit("g", "t", id, &[(0, offset, "so far"), (7, 1, "")]);
        let unknown = ErrorCode::UnknownTopicOrPartition.code();
        assert_eq!(committed(&mut client, version, &request).await, [0, unknown]);

        for version in 1..=7 {
            let response = client.call(version, &fetch_one("g")).await;
            let partitions = &response.topics[0].partitions;
            assert_eq!((partitions[0].committed_offset, partitions[0].metadata.as_deref()), (offset, Some("so far")));
            assert_eq!((partitions[1].committed_offset, partitions[1].error_code), (-1, 0));
        }
        for version in 8..=10 {
            let response = client.call(version, &fetch_groups(&["g", "other"], id)).await;
            let offsets: Vec<i64> =
                response.groups.iter().map(|group| group.topics[0].partitions[0].committed_offset).collect();
            assert_eq!(offsets, [offset, -1]);
        }
    }
}

#[tokio::test]
async fn all_offsets_of_a_group_are_found() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let id = prepare(&mut client).await;
    assert_eq!(committed(&mut client, 8, &commit("g", "t", id, &[(0, 5, "")])).await, [0]);
    let all = OffsetFetchRequest { group_id: "g".into(), topics: None, ..OffsetFetchRequest::default() };
    let response = client.call(5, &all).await;
    assert_eq!(response.topics.len(), 1);
    assert_eq!((&*response.topics[0].name, response.topics[0].partitions[0].committed_offset), ("t", 5));
}

#[tokio::test]
async fn commits_are_refused_by_kafkas_rules() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let id = prepare(&mut client).await;
    let long = "x".repeat(4097);
    let with_generation = |version| {
        let base = commit("g", "t", id, &[(0, 1, "")]);
        (version, OffsetCommitRequest { generation_id_or_member_epoch: 3, member_id: "m".into(), ..base })
    };
    #[rustfmt::skip]
    let table = [
        ((8, commit("g", "t", id, &[(0, 1, &long)])),              ErrorCode::OffsetMetadataTooLarge),
        ((8, commit("g", "x", id, &[(0, 1, "")])),                 ErrorCode::UnknownTopicOrPartition),
        ((10, commit("g", "", Uuid::from_u128(5), &[(0, 1, "")])), ErrorCode::UnknownTopicId),
        ((8, commit("", "t", id, &[(0, 1, "")])),                  ErrorCode::InvalidGroupId),
        (with_generation(8),                                       ErrorCode::IllegalGeneration),
        (with_generation(9),                                       ErrorCode::GroupIdNotFound),
    ];
    for ((version, request), expected) in table {
        assert_eq!(committed(&mut client, version, &request).await, [expected.code()], "{request:?}");
    }
    let member = OffsetFetchRequestGroup { group_id: "g".into(), member_id: Some("m".into()), ..Default::default() };
    let response = client.call(9, &OffsetFetchRequest { groups: vec![member], ..Default::default() }).await;
    assert_eq!(response.groups[0].error_code, 0, "who asks does not matter, as in Kafka");
}

#[tokio::test]
async fn offsets_outlive_the_broker() {
    let mut broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let id = prepare(&mut client).await;
    for offset in 0..50 {
        assert_eq!(committed(&mut client, 9, &commit("g", "t", id, &[(0, offset, "m")])).await, [0]);
    }
    broker = broker.restart(&[]).await;
    let mut client = broker.connect().await;
    let loading = ErrorCode::CoordinatorLoadInProgress.code();
    let group = loop {
        let mut response = client.call(8, &fetch_groups(&["g"], id)).await;
        let group = response.groups.remove(0);
        if group.error_code != loading {
            break group;
        }
    };
    let partition = &group.topics[0].partitions[0];
    assert_eq!((partition.committed_offset, partition.metadata.as_deref()), (49, Some("m")));
}

#[tokio::test]
async fn offsets_go_with_their_topic() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let id = prepare(&mut client).await;
    assert_eq!(committed(&mut client, 9, &commit("g", "t", id, &[(0, 5, "")])).await, [0]);
    let request = DeleteTopicsRequest { topic_names: vec!["t".into()], ..DeleteTopicsRequest::default() };
    assert_eq!(client.call(5, &request).await.responses[0].error_code, 0);
    let again = prepare(&mut client).await;
    assert_ne!(again, id);
    assert_eq!(client.call(5, &fetch_one("g")).await.topics[0].partitions[0].committed_offset, -1);
}
