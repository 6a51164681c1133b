//! Groups of the consumer protocol (KIP-848): heartbeats, what administrators see, and configs of groups.

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::consumer_group_describe_response::DescribedGroup;
use cairn_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use cairn_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use cairn_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use cairn_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use cairn_protocol::messages::{
    ApiVersionsRequest, ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
    CreatePartitionsRequest, DeleteGroupsRequest, DescribeGroupsRequest, IncrementalAlterConfigsRequest,
    ListGroupsRequest, OffsetCommitRequest, OffsetFetchRequest,
};
use uuid::Uuid;

use crate::groups::{commit, find_coordinator, join_alone};
use crate::harness::{Client, TestBroker};
use crate::records::make_topic;

/// Two partitions for each topic, and no pause between two assignments.
const SET: &[(&str, &str)] = &[
    ("num.partitions", "2"),
    ("group.consumer.assignment.interval.ms", "0"),
    ("group.initial.rebalance.delay.ms", "0"),
];

const NONE: i16 = 0;

/// A member that goes where it is told at once.
pub(crate) struct Member {
    id: String,
    pub(crate) epoch: i32,
    /// Partitions of the topic.
    pub(crate) owned: Vec<i32>,
}

impl Member {
    pub(crate) async fn join(client: &mut Client, id: &str, topics: &[&str]) -> Self {
        let topics = topics.iter().map(|topic| (*topic).into()).collect();
        let request = ConsumerGroupHeartbeatRequest { subscribed_topic_names: Some(topics), ..joining(id) };
        Self::join_with(client, &request).await
    }

    pub(crate) async fn join_with(client: &mut Client, request: &ConsumerGroupHeartbeatRequest) -> Self {
        let answer = client.call(1, request).await;
        assert_eq!((answer.error_code, answer.error_message.as_deref()), (NONE, None));
        let mut member = Self { id: request.member_id.to_string(), epoch: 0, owned: Vec::new() };
        member.take(answer);
        member
    }

    pub(crate) fn take(&mut self, answer: ConsumerGroupHeartbeatResponse) {
        assert_eq!(answer.member_id.as_deref(), Some(&*self.id));
        self.epoch = answer.member_epoch;
        if let Some(assignment) = answer.assignment {
            self.owned = assignment.topic_partitions.into_iter().flat_map(|topic| topic.partitions).collect();
        }
    }

    /// Says what it owns, until it is told nothing new.
    async fn settle(&mut self, client: &mut Client, topic: Uuid) {
        loop {
            let before = (self.epoch, self.owned.clone());
            let owned = TopicPartitions { topic_id: topic, partitions: self.owned.clone() };
            let owned = if self.owned.is_empty() { Vec::new() } else { vec![owned] };
            let request = ConsumerGroupHeartbeatRequest { topic_partitions: Some(owned), ..self.alive() };
            let answer = client.call(1, &request).await;
            assert_eq!((answer.error_code, answer.error_message.as_deref()), (NONE, None));
            self.take(answer);
            if before == (self.epoch, self.owned.clone()) {
                return;
            }
        }
    }

    pub(crate) fn alive(&self) -> ConsumerGroupHeartbeatRequest {
        ConsumerGroupHeartbeatRequest {
            group_id: "g".into(),
            member_id: (*self.id).into(),
            member_epoch: self.epoch,
            ..ConsumerGroupHeartbeatRequest::default()
        }
    }
}

pub(crate) fn joining(id: &str) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: id.into(),
        rebalance_timeout_ms: 30_000,
        topic_partitions: Some(Vec::new()),
        ..ConsumerGroupHeartbeatRequest::default()
    }
}

async fn described(client: &mut Client, version: i16) -> DescribedGroup {
    let request = ConsumerGroupDescribeRequest { group_ids: vec!["g".into()], ..Default::default() };
    client.call(version, &request).await.groups.remove(0)
}

/// A member's commit for partition 0 of `t`.
async fn committed(client: &mut Client, version: i16, epoch: i32, member: &str) -> i16 {
    let request: OffsetCommitRequest = commit(epoch, member);
    client.call(version, &request).await.topics[0].partitions[0].error_code
}

async fn started() -> (TestBroker, Client, Uuid) {
    let broker = TestBroker::with(SET).await;
    let mut client = broker.connect().await;
    find_coordinator(&mut client).await;
    let topic = make_topic(&mut client, "t").await;
    (broker, client, topic)
}

#[tokio::test]
async fn the_feature_is_finalized() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let request = ApiVersionsRequest { client_software_name: "test".into(), client_software_version: "1".into() };
    for version in 3..=4 {
        let answer = client.call(version, &request).await;
        let supported: Vec<_> = answer
            .supported_features
            .iter()
            .map(|feature| (&*feature.name, feature.min_version, feature.max_version))
            .collect();
        assert_eq!(supported, if version == 4 { vec![("group.version", 0, 1)] } else { vec![] });
        let finalized = &answer.finalized_features[0];
        let levels = (finalized.min_version_level, finalized.max_version_level);
        assert_eq!((&*finalized.name, levels), ("group.version", (1, 1)));
        assert!(answer.finalized_features_epoch >= 0);
    }
}

#[tokio::test]
async fn two_members_share_what_there_is_and_one_takes_over() {
    let (broker, mut client, topic) = started().await;
    let mut one = Member::join(&mut client, "one", &["t"]).await;
    one.settle(&mut client, topic).await;
    assert_eq!(one.owned, [0, 1]);
    let mut two = Member::join(&mut client, "two", &["t"]).await;
    assert_eq!(two.owned, [] as [i32; 0], "the other one has not given anything up yet");
    one.settle(&mut client, topic).await;
    two.settle(&mut client, topic).await;
    assert_eq!((one.owned.len(), two.owned.len()), (1, 1));
    assert_ne!(one.owned, two.owned);

    for version in 0..=1 {
        let group = described(&mut client, version).await;
        assert_eq!((&*group.group_state, &*group.assignor_name, group.error_code), ("Stable", "uniform", NONE));
        assert_eq!((group.group_epoch, group.assignment_epoch), (two.epoch, two.epoch));
        assert_eq!(group.members.len(), 2);
        let of_two = &group.members[1];
        assert_eq!((&*of_two.member_id, of_two.member_epoch, &*of_two.client_id), ("two", two.epoch, "test"));
        assert_eq!(of_two.member_type, if version == 1 { 1 } else { -1 });
        assert_eq!(of_two.subscribed_topic_names, ["t".into()]);
        let assigned = &of_two.assignment.topic_partitions[0];
        assert_eq!((&*assigned.topic_name, assigned.topic_id, &assigned.partitions), ("t", topic, &two.owned));
        assert_eq!(of_two.assignment, of_two.target_assignment);
    }

    let leave = ConsumerGroupHeartbeatRequest { member_epoch: -1, ..two.alive() };
    let left = client.call(1, &leave).await;
    assert_eq!((left.error_code, left.member_epoch), (NONE, -1));
    one.settle(&mut client, topic).await;
    assert_eq!(one.owned, [0, 1]);
    let gone = client.call(1, &two.alive()).await;
    assert_eq!(gone.error_code, ErrorCode::UnknownMemberId.code());

    let story = broker.get("/groups/g").await;
    assert!(story.contains("\"type\":\"consumer\"") && story.contains("\"member_id\":\"one\""), "{story}");
    let story: serde_json::Value = serde_json::from_str(story.split_once("\r\n\r\n").unwrap().1).unwrap();
    let rebalances = story["rebalances"].as_array().unwrap();
    let told: Vec<_> = rebalances.iter().map(|told| (told["cause"].as_str(), told["outcome"].as_str())).collect();
    let (joined, left) = ((Some("joined"), Some("stable")), (Some("left"), Some("stable")));
    assert_eq!(told, [joined, joined, left], "{story:#}");
    assert!(rebalances[1]["members"].as_array().unwrap().iter().all(|member| member["after_synced_ms"].is_u64()));
}

#[tokio::test]
async fn a_topic_that_grows_and_one_that_matches_later_are_assigned() {
    let (_broker, mut client, topic) = started().await;
    let by_regex = ConsumerGroupHeartbeatRequest { subscribed_topic_regex: Some("t|none".into()), ..joining("one") };
    let mut one = Member::join_with(&mut client, &by_regex).await;
    one.settle(&mut client, topic).await;
    assert_eq!(one.owned, [0, 1]);
    let grow = CreatePartitionsTopic { name: "t".into(), count: 3, assignments: None };
    let grow = CreatePartitionsRequest { topics: vec![grow], timeout_ms: 10_000, ..CreatePartitionsRequest::default() };
    assert_eq!(client.call(3, &grow).await.results[0].error_code, NONE);
    while one.owned.len() < 3 {
        one.settle(&mut client, topic).await;
    }
    assert_eq!(one.owned, [0, 1, 2]);
    let broken = ConsumerGroupHeartbeatRequest { subscribed_topic_regex: Some("(".into()), ..joining("two") };
    assert_eq!(client.call(1, &broken).await.error_code, ErrorCode::InvalidRegularExpression.code());
}

#[tokio::test]
async fn offsets_are_for_members_at_their_epoch() {
    let (broker, mut client, topic) = started().await;
    let mut one = Member::join(&mut client, "one", &["t"]).await;
    one.settle(&mut client, topic).await;
    assert_eq!(committed(&mut client, 9, one.epoch, "one").await, NONE);
    let early = committed(&mut client, 9, one.epoch - 1, "one").await;
    assert_eq!(early, ErrorCode::StaleMemberEpoch.code());
    assert_eq!(committed(&mut client, 8, one.epoch, "one").await, ErrorCode::UnsupportedVersion.code());
    assert_eq!(committed(&mut client, 9, one.epoch, "nobody").await, ErrorCode::UnknownMemberId.code());

    let fetch = |member: Option<&str>, epoch: i32| OffsetFetchRequest {
        groups: vec![OffsetFetchRequestGroup {
            group_id: "g".into(),
            member_id: member.map(Into::into),
            member_epoch: epoch,
            topics: Some(vec![OffsetFetchRequestTopics {
                name: "t".into(),
                partition_indexes: vec![0],
                ..OffsetFetchRequestTopics::default()
            }]),
        }],
        ..OffsetFetchRequest::default()
    };
    let mut fetched = async |member: Option<&str>, epoch: i32| {
        let group = client.call(9, &fetch(member, epoch)).await.groups.remove(0);
        (group.error_code, group.topics[0].partitions[0].committed_offset)
    };
    assert_eq!(fetched(Some("one"), one.epoch).await, (NONE, 5));
    assert_eq!(fetched(None, -1).await, (NONE, 5), "an administrator");
    assert_eq!(fetched(Some("one"), one.epoch + 1).await, (ErrorCode::StaleMemberEpoch.code(), -1));
    assert_eq!(fetched(Some("nobody"), 1).await, (ErrorCode::UnknownMemberId.code(), -1));

    // Members, epochs and assignments are there again after a restart.
    let broker = broker.restart(SET).await;
    let mut client = broker.connect().await;
    while client.call(1, &one.alive()).await.error_code == ErrorCode::CoordinatorLoadInProgress.code() {}
    let before = (one.epoch, one.owned.clone());
    one.settle(&mut client, topic).await;
    assert_eq!((one.epoch, one.owned.clone()), before);
    assert_eq!(committed(&mut client, 9, one.epoch, "one").await, NONE);
}

#[tokio::test]
async fn each_kind_of_group_is_told_by_its_own_api() {
    let (_broker, mut client, _) = started().await;
    Member::join(&mut client, "one", &["t"]).await;
    let list = |kind: &str| ListGroupsRequest { types_filter: vec![kind.into()], ..ListGroupsRequest::default() };
    let listed = client.call(5, &list("Consumer")).await.groups;
    assert_eq!(
        (&*listed[0].group_id, &*listed[0].group_type, &*listed[0].protocol_type),
        ("g", "consumer", "consumer")
    );
    assert_eq!(client.call(5, &list("classic")).await.groups, []);

    let request = DescribeGroupsRequest { groups: vec!["g".into()], ..DescribeGroupsRequest::default() };
    let classic = client.call(6, &request).await.groups.remove(0);
    assert_eq!((classic.error_code, &*classic.group_state), (ErrorCode::GroupIdNotFound.code(), "Dead"));
    assert_eq!(classic.error_message.as_deref(), Some("Group g is not a classic group."));
    let request = ConsumerGroupDescribeRequest { group_ids: vec!["none".into()], ..Default::default() };
    let missing = client.call(1, &request).await.groups.remove(0);
    assert_eq!(missing.error_code, ErrorCode::GroupIdNotFound.code());
    assert_eq!(missing.error_message.as_deref(), Some("Group none not found."));

    let delete = DeleteGroupsRequest { groups_names: vec!["g".into()] };
    assert_eq!(client.call(2, &delete).await.results[0].error_code, ErrorCode::NonEmptyGroup.code());
    let leave = ConsumerGroupHeartbeatRequest { member_id: "one".into(), member_epoch: -1, ..joining("one") };
    assert_eq!(client.call(1, &leave).await.error_code, NONE);
    assert_eq!(client.call(2, &delete).await.results[0].error_code, NONE);
    assert_eq!(described(&mut client, 1).await.error_code, ErrorCode::GroupIdNotFound.code());
}

#[tokio::test]
async fn the_assignors_are_configured() {
    let broker = TestBroker::with(&[("group.consumer.assignors", "range"), SET[1]]).await;
    let mut client = broker.connect().await;
    find_coordinator(&mut client).await;
    make_topic(&mut client, "t").await;
    let names = Some(vec!["t".into()]);
    let uniform = Some("uniform".into());
    let request =
        ConsumerGroupHeartbeatRequest { subscribed_topic_names: names, server_assignor: uniform, ..joining("m") };
    let refused = client.call(1, &request).await;
    assert_eq!(refused.error_code, ErrorCode::UnsupportedAssignor.code());
    let message = refused.error_message.unwrap();
    assert_eq!(&*message, "ServerAssignor uniform is not supported. Supported assignors: range.");
    Member::join_with(&mut client, &ConsumerGroupHeartbeatRequest { server_assignor: None, ..request }).await;
    assert_eq!(&*described(&mut client, 1).await.assignor_name, "range");
}

/// As in Kafka it is in force at once, and no further than the other keys allow.
#[tokio::test]
async fn the_interval_of_assignments_is_set_while_the_broker_runs() {
    let broker = TestBroker::with(&[
        ("num.partitions", "2"),
        ("group.consumer.assignment.interval.ms", "3600000"),
        ("group.consumer.max.assignment.interval.ms", "3600000"),
    ])
    .await;
    let mut client = broker.connect().await;
    find_coordinator(&mut client).await;
    let topic = make_topic(&mut client, "t").await;
    let mut one = Member::join(&mut client, "one", &["t"]).await;
    one.settle(&mut client, topic).await;
    let two = Member::join(&mut client, "two", &["t"]).await;
    one.settle(&mut client, topic).await;
    assert_eq!((&one.owned[..], two.owned.len()), (&[0, 1][..], 0), "it was assigned an instant ago");
    let config = AlterableConfig {
        name: "group.consumer.assignment.interval.ms".into(),
        value: Some("0".into()),
        ..AlterableConfig::default()
    };
    let resource = AlterConfigsResource { resource_type: 4, resource_name: "".into(), configs: vec![config] };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    assert_eq!(client.call(1, &request).await.responses[0].error_code, NONE);
    one.settle(&mut client, topic).await;
    assert_eq!(one.owned.len(), 1);
}

#[tokio::test]
async fn a_broker_may_leave_the_protocol_out() {
    let broker = TestBroker::with(&[("group.coordinator.rebalance.protocols", "classic"), SET[2]]).await;
    let mut client = broker.connect().await;
    find_coordinator(&mut client).await;
    let refused = client.call(1, &joining("one")).await;
    assert_eq!(refused.error_code, ErrorCode::UnsupportedVersion.code());
    join_alone(&mut client, 9).await;
}
