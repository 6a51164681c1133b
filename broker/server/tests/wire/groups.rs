//! Groups with members: JoinGroup to DeleteGroups, in all their versions.

use bytes::Bytes;
use cairn_protocol::Message;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use cairn_protocol::messages::leave_group_request::MemberIdentity;
use cairn_protocol::messages::metadata_request::MetadataRequestTopic;
use cairn_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use cairn_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use cairn_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use cairn_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use cairn_protocol::messages::{
    ConsumerProtocolSubscription, DeleteGroupsRequest, DescribeGroupsRequest, FindCoordinatorRequest, HeartbeatRequest,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, ListGroupsRequest, MetadataRequest, OffsetCommitRequest,
    OffsetDeleteRequest, OffsetFetchRequest, SyncGroupRequest,
};

use crate::harness::{Client, TestBroker};

/// No pause for members that may follow.
const AT_ONCE: &[(&str, &str)] = &[("group.initial.rebalance.delay.ms", "0")];

const NONE: i16 = 0;

pub(crate) async fn find_coordinator(client: &mut Client) {
    let topic = MetadataRequestTopic { name: Some("t".into()), ..MetadataRequestTopic::default() };
    let request = MetadataRequest { topics: Some(vec![topic]), ..MetadataRequest::default() };
    assert_eq!(client.call(8, &request).await.topics[0].error_code, NONE);
    let request = FindCoordinatorRequest { key: "g".into(), ..FindCoordinatorRequest::default() };
    assert_eq!(client.call(2, &request).await.error_code, NONE);
}

fn subscription() -> Bytes {
    let subscription = ConsumerProtocolSubscription { topics: vec!["t".into()], ..Default::default() };
    subscription.to_prefixed_bytes(0, 0).unwrap()
}

fn join(member: &str) -> JoinGroupRequest {
    let protocol = |name: &str| JoinGroupRequestProtocol { name: name.into(), metadata: subscription() };
    JoinGroupRequest {
        group_id: "g".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 20_000,
        member_id: member.into(),
        protocol_type: "consumer".into(),
        protocols: vec![protocol("range"), protocol("roundrobin")],
        ..JoinGroupRequest::default()
    }
}

fn of_instance(instance: &str, member: &str) -> JoinGroupRequest {
    JoinGroupRequest { group_instance_id: Some(instance.into()), ..join(member) }
}

pub(crate) fn sync(joined: &JoinGroupResponse, given: &[(&str, &str)]) -> SyncGroupRequest {
    let assignment = |(member, assignment): &(&str, &str)| SyncGroupRequestAssignment {
        member_id: (*member).into(),
        assignment: Bytes::copy_from_slice(assignment.as_bytes()),
    };
    SyncGroupRequest {
        group_id: "g".into(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        assignments: given.iter().map(assignment).collect(),
        ..SyncGroupRequest::default()
    }
}

pub(crate) fn heartbeat(joined: &JoinGroupResponse) -> HeartbeatRequest {
    HeartbeatRequest {
        group_id: "g".into(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        ..HeartbeatRequest::default()
    }
}

pub(crate) fn commit(generation: i32, member: &str) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition { committed_offset: 5, ..OffsetCommitRequestPartition::default() };
    OffsetCommitRequest {
        group_id: "g".into(),
        generation_id_or_member_epoch: generation,
        member_id: member.into(),
        topics: vec![OffsetCommitRequestTopic {
            name: "t".into(),
            partitions: vec![partition],
            ..OffsetCommitRequestTopic::default()
        }],
        ..OffsetCommitRequest::default()
    }
}

async fn committed(client: &mut Client, generation: i32, member: &str) -> i16 {
    client.call(8, &commit(generation, member)).await.topics[0].partitions[0].error_code
}

/// Joins a group with one member, by the way of this version, and leads it.
pub(crate) async fn join_alone(client: &mut Client, version: i16) -> JoinGroupResponse {
    let mut joined = client.call(version, &join("")).await;
    if version >= 4 {
        assert_eq!(joined.error_code, ErrorCode::MemberIdRequired.code());
        assert_eq!(joined.generation_id, -1);
        joined = client.call(version, &join(&joined.member_id)).await;
    }
    assert_eq!(joined.error_code, NONE, "version {version}");
    joined
}

async fn state(client: &mut Client) -> String {
    let request = DescribeGroupsRequest { groups: vec!["g".into()], ..DescribeGroupsRequest::default() };
    client.call(5, &request).await.groups.remove(0).group_state.into()
}

#[tokio::test]
async fn one_member_lives_in_every_version() {
    let broker = TestBroker::with(AT_ONCE).await;
    let mut client = broker.connect().await;
    find_coordinator(&mut client).await;
    for version in 0..=9 {
        let joined = join_alone(&mut client, version).await;
        let me = &*joined.member_id;
        assert_eq!((&*joined.leader, joined.protocol_name.as_deref()), (me, Some("range")));
        assert_eq!(joined.protocol_type.as_deref(), (version >= 7).then_some("consumer"));
        assert_eq!((joined.members.len(), &joined.members[0].metadata), (1, &subscription()));

        let of = |last: i16| version.min(last);
        let in_time = committed(&mut client, joined.generation_id, me).await;
        assert_eq!(in_time, ErrorCode::RebalanceInProgress.code(), "it has no assignment yet");
        let mut request = sync(&joined, &[(me, "all of it")]);
        if of(5) == 5 {
            let unsaid = client.call(5, &request).await;
            assert_eq!(unsaid.error_code, ErrorCode::InconsistentGroupProtocol.code());
            (request.protocol_type, request.protocol_name) = (Some("consumer".into()), Some("range".into()));
        }
        let synced = client.call(of(5), &request).await;
        assert_eq!((synced.error_code, &*synced.assignment), (NONE, &b"all of it"[..]));
        assert_eq!(client.call(of(4), &heartbeat(&joined)).await.error_code, NONE);
        assert_eq!(committed(&mut client, joined.generation_id, me).await, NONE);
        let fenced = committed(&mut client, joined.generation_id - 1, me).await;
        assert_eq!(fenced, ErrorCode::IllegalGeneration.code());
        let stranger = committed(&mut client, joined.generation_id, "somebody").await;
        assert_eq!(stranger, ErrorCode::UnknownMemberId.code());
        let nobody = committed(&mut client, -1, "").await;
        assert_eq!(nobody, ErrorCode::UnknownMemberId.code());

        let mut request = LeaveGroupRequest { group_id: "g".into(), ..LeaveGroupRequest::default() };
        if of(5) < 3 {
            request.member_id = me.into();
        } else {
            let identity = |member: &str| MemberIdentity { member_id: member.into(), ..MemberIdentity::default() };
            request.members = vec![identity(me), identity("somebody")];
        }
        let left = client.call(of(5), &request).await;
        assert_eq!(left.error_code, NONE);
        let codes: Vec<i16> = left.members.iter().map(|member| member.error_code).collect();
        let expected = [NONE, ErrorCode::UnknownMemberId.code()];
        assert_eq!(codes, if of(5) < 3 { &[][..] } else { &expected[..] });
        assert_eq!(client.call(of(4), &heartbeat(&joined)).await.error_code, ErrorCode::UnknownMemberId.code());
        assert_eq!(state(&mut client).await, "Empty");
    }
}

#[tokio::test]
async fn two_members_rebalance() {
    let broker = TestBroker::with(AT_ONCE).await;
    let (mut a, mut b) = (broker.connect().await, broker.connect().await);
    find_coordinator(&mut a).await;
    let first = join_alone(&mut a, 5).await;
    assert_eq!(a.call(3, &sync(&first, &[(&first.member_id, "0 1")])).await.error_code, NONE);

    let named = b.call(5, &join("")).await;
    let waits = b.send(5, &join(&named.member_id)).await;
    // Until the join of the second is there, which nothing else tells.
    let in_progress = ErrorCode::RebalanceInProgress.code();
    while a.call(3, &heartbeat(&first)).await.error_code != in_progress {}
    assert_eq!(state(&mut a).await, "PreparingRebalance");
    let again = a.call(5, &join(&first.member_id)).await;
    let second = b.receive::<JoinGroupRequest>(waits).await;
    assert_eq!((again.generation_id, second.generation_id), (2, 2));
    assert_eq!((&again.leader, &second.leader), (&first.member_id, &first.member_id));
    assert_eq!((again.members.len(), second.members.len()), (2, 0));

    let waits = b.send(3, &sync(&second, &[])).await;
    let given = [(&*again.member_id, "0"), (&*second.member_id, "1")];
    assert_eq!(&*a.call(3, &sync(&again, &given)).await.assignment, b"0");
    assert_eq!(&*b.receive::<SyncGroupRequest>(waits).await.assignment, b"1");
    assert_eq!(state(&mut a).await, "Stable");
    assert_eq!(a.call(3, &heartbeat(&first)).await.error_code, ErrorCode::IllegalGeneration.code());
    assert_eq!(committed(&mut a, 1, &first.member_id).await, ErrorCode::IllegalGeneration.code());
    assert_eq!(committed(&mut b, 2, &second.member_id).await, NONE);
    let metrics = broker.metrics().await;
    assert!(metrics.contains("cairn_group_rebalances_total{cause=\"joined\"} 2"), "{metrics}");
}

#[tokio::test]
async fn a_member_that_is_silent_is_removed() {
    let set = [AT_ONCE[0], ("group.min.session.timeout.ms", "1")];
    let broker = TestBroker::with(&set).await;
    let mut client = broker.connect().await;
    find_coordinator(&mut client).await;
    let request = JoinGroupRequest { session_timeout_ms: 1, ..join("") };
    let joined = client.call(3, &request).await;
    assert_eq!(joined.error_code, NONE);
    while state(&mut client).await != "Empty" {}
    let late = client.call(3, &sync(&joined, &[(&joined.member_id, "x")])).await;
    assert_eq!(late.error_code, ErrorCode::UnknownMemberId.code());
}

#[tokio::test]
async fn a_static_member_comes_back_to_what_it_had() {
    let broker = TestBroker::with(AT_ONCE).await;
    let mut client = broker.connect().await;
    find_coordinator(&mut client).await;
    let first = client.call(9, &of_instance("i", "")).await;
    assert_eq!((first.error_code, first.skip_assignment), (NONE, false));
    let as_static = |joined: &JoinGroupResponse, given: &[(&str, &str)]| SyncGroupRequest {
        group_instance_id: Some("i".into()),
        ..sync(joined, given)
    };
    assert_eq!(client.call(4, &as_static(&first, &[(&first.member_id, "x")])).await.error_code, NONE);

    let back = client.call(9, &of_instance("i", "")).await;
    assert_eq!((back.error_code, back.generation_id, back.skip_assignment), (NONE, 1, true));
    assert_ne!(back.member_id, first.member_id);
    assert_eq!(&*client.call(4, &as_static(&back, &[])).await.assignment, b"x");
    let fenced = ErrorCode::FencedInstanceId.code();
    let old = HeartbeatRequest { group_instance_id: Some("i".into()), ..heartbeat(&first) };
    assert_eq!(client.call(4, &old).await.error_code, fenced);
    assert_eq!(client.call(9, &of_instance("i", &first.member_id)).await.error_code, fenced);
    let old = OffsetCommitRequest { group_instance_id: Some("i".into()), ..commit(1, &first.member_id) };
    assert_eq!(client.call(8, &old).await.topics[0].partitions[0].error_code, fenced);

    let member = MemberIdentity { group_instance_id: Some("i".into()), ..MemberIdentity::default() };
    let removal = LeaveGroupRequest { group_id: "g".into(), members: vec![member], ..LeaveGroupRequest::default() };
    assert_eq!(client.call(5, &removal).await.members[0].error_code, NONE);
    assert_eq!(state(&mut client).await, "Empty");
}

#[tokio::test]
async fn joins_are_refused_by_kafkas_rules() {
    let broker = TestBroker::with(&[AT_ONCE[0], ("group.max.size", "1")]).await;
    let mut client = broker.connect().await;
    let before = client.call(5, &join("")).await;
    assert_eq!(before.error_code, ErrorCode::NotCoordinator.code(), "nobody has asked for a coordinator yet");
    find_coordinator(&mut client).await;
    let refused = |request: JoinGroupRequest, error: ErrorCode| (request, error.code());
    #[rustfmt::skip]
    let table = [
        refused(JoinGroupRequest { group_id: "".into(), ..join("") },           ErrorCode::InvalidGroupId),
        refused(JoinGroupRequest { session_timeout_ms: 5_999, ..join("") },     ErrorCode::InvalidSessionTimeout),
        refused(JoinGroupRequest { session_timeout_ms: 1_800_001, ..join("") }, ErrorCode::InvalidSessionTimeout),
        refused(JoinGroupRequest { protocols: Vec::new(), ..join("") },         ErrorCode::InconsistentGroupProtocol),
        refused(JoinGroupRequest { protocol_type: "".into(), ..join("") },      ErrorCode::InconsistentGroupProtocol),
        refused(join("somebody"),                                               ErrorCode::UnknownMemberId),
    ];
    for version in 0..=9 {
        for (request, expected) in &table {
            let answer = client.call(version, request).await;
            assert_eq!((answer.error_code, &answer.member_id), (*expected, &request.member_id), "{request:?}");
        }
    }
    let joined = join_alone(&mut client, 5).await;
    assert_eq!(client.call(3, &sync(&joined, &[])).await.error_code, NONE);
    let other = JoinGroupRequest { protocol_type: "connect".into(), ..join(&joined.member_id) };
    assert_eq!(client.call(5, &other).await.error_code, ErrorCode::InconsistentGroupProtocol.code());
    assert_eq!(client.call(5, &join("")).await.error_code, ErrorCode::GroupMaxSizeReached.code());
}

#[tokio::test]
async fn groups_are_listed_described_and_deleted() {
    let broker = TestBroker::with(AT_ONCE).await;
    let mut client = broker.connect().await;
    find_coordinator(&mut client).await;
    assert_eq!(committed(&mut client, -1, "").await, NONE);
    for version in 0..=5 {
        let groups = client.call(version, &ListGroupsRequest::default()).await.groups;
        let expected = if version >= 5 { "classic" } else { "" };
        assert_eq!((groups.len(), &*groups[0].group_id, &*groups[0].group_type), (1, "g", expected));
        assert_eq!(&*groups[0].group_state, if version >= 4 { "Empty" } else { "" });
    }
    let joined = join_alone(&mut client, 5).await;
    assert_eq!(client.call(3, &sync(&joined, &[(&joined.member_id, "x")])).await.error_code, NONE);
    let filters: [(&[&str], &[&str], usize); 5] = [
        (&["stable"], &[], 1),
        (&["Empty", "Dead"], &[], 0),
        (&[], &["Classic"], 1),
        (&[], &["consumer"], 0),
        (&["STABLE"], &["classic"], 1),
    ];
    for (states, types, expected) in filters {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).into()).collect();
        let request = ListGroupsRequest { states_filter: texts(states), types_filter: texts(types) };
        assert_eq!(client.call(5, &request).await.groups.len(), expected, "{states:?} {types:?}");
    }

    for version in 0..=6 {
        let request = DescribeGroupsRequest {
            groups: vec!["g".into(), "other".into()],
            include_authorized_operations: version >= 3,
        };
        let groups = client.call(version, &request).await.groups;
        let found = &groups[0];
        assert_eq!((found.error_code, &*found.group_state, &*found.protocol_type), (NONE, "Stable", "consumer"));
        assert_eq!((&*found.protocol_data, found.members.len()), ("range", 1));
        let member = &found.members[0];
        assert_eq!((&member.member_id, &*member.client_host), (&joined.member_id, "/127.0.0.1"));
        assert_eq!((&member.member_metadata, &*member.member_assignment), (&subscription(), &b"x"[..]));
        let code = if version >= 6 { ErrorCode::GroupIdNotFound.code() } else { NONE };
        assert_eq!((groups[1].error_code, &*groups[1].group_state), (code, "Dead"));
    }

    let in_use = OffsetDeleteRequestTopic {
        name: "t".into(),
        partitions: [0, 9].map(|partition_index| OffsetDeleteRequestPartition { partition_index }).into(),
    };
    let request = OffsetDeleteRequest { group_id: "g".into(), topics: vec![in_use] };
    let codes = |answer: cairn_protocol::messages::OffsetDeleteResponse| -> Vec<i16> {
        answer.topics[0].partitions.iter().map(|partition| partition.error_code).collect()
    };
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    assert_eq!(codes(client.call(0, &request).await), [ErrorCode::GroupSubscribedToTopic.code(), unknown]);

    let delete = DeleteGroupsRequest { groups_names: vec!["g".into(), "other".into()] };
    let deleted = |answer: cairn_protocol::messages::DeleteGroupsResponse| -> Vec<i16> {
        answer.results.iter().map(|result| result.error_code).collect()
    };
    let (full, missing) = (ErrorCode::NonEmptyGroup.code(), ErrorCode::GroupIdNotFound.code());
    assert_eq!(deleted(client.call(0, &delete).await), [full, missing]);
    let left = LeaveGroupRequest { group_id: "g".into(), member_id: joined.member_id, ..Default::default() };
    assert_eq!(client.call(1, &left).await.error_code, NONE);
    assert_eq!(codes(client.call(0, &request).await), [NONE, unknown]);
    assert_eq!(committed(&mut client, -1, "").await, NONE);
    assert_eq!(deleted(client.call(2, &delete).await), [NONE, missing]);
    assert_eq!(client.call(5, &ListGroupsRequest::default()).await.groups, []);
    let topics = vec![OffsetFetchRequestTopics { name: "t".into(), partition_indexes: vec![0], ..Default::default() }];
    let group = OffsetFetchRequestGroup { group_id: "g".into(), topics: Some(topics), ..Default::default() };
    let found = client.call(8, &OffsetFetchRequest { groups: vec![group], ..Default::default() }).await;
    assert_eq!(found.groups[0].topics[0].partitions[0].committed_offset, -1);
}

#[tokio::test]
async fn groups_outlive_the_broker() {
    for durability in ["replicated", "synced"] {
        let set = [AT_ONCE[0], ("log.durability", durability)];
        let mut broker = TestBroker::with(&set).await;
        let mut client = broker.connect().await;
        find_coordinator(&mut client).await;
        let joined = join_alone(&mut client, 5).await;
        let synced = client.call(3, &sync(&joined, &[(&joined.member_id, "x")])).await;
        assert_eq!((synced.error_code, &*synced.assignment), (NONE, &b"x"[..]));
        assert_eq!(committed(&mut client, joined.generation_id, &joined.member_id).await, NONE);

        broker = broker.restart(&set).await;
        let mut client = broker.connect().await;
        let loading = ErrorCode::CoordinatorLoadInProgress.code();
        while committed(&mut client, joined.generation_id, &joined.member_id).await == loading {}
        assert_eq!(client.call(3, &heartbeat(&joined)).await.error_code, NONE);
        assert_eq!(&*client.call(3, &sync(&joined, &[])).await.assignment, b"x");
        assert_eq!(committed(&mut client, joined.generation_id, &joined.member_id).await, NONE);
        assert_eq!(state(&mut client).await, "Stable");
    }
}

#[tokio::test]
async fn who_waits_for_others_is_let_go_when_the_broker_stops() {
    let broker = TestBroker::with(&[("group.initial.rebalance.delay.ms", "3600000")]).await;
    let mut client = broker.connect().await;
    let mut other = broker.connect().await;
    find_coordinator(&mut client).await;
    let waits = client.send(3, &join("")).await;
    while state(&mut other).await != "PreparingRebalance" {}
    let ((), answer) = tokio::join!(broker.broker.shutdown(), client.receive::<JoinGroupRequest>(waits));
    assert_eq!(answer.error_code, ErrorCode::NotCoordinator.code());
}
