//! The kafka-protocol crate, which is generated from Apache Kafka's definitions by other code, as an oracle: random messages
//! of every version that both know are read by it and written again to the bytes that our own codecs write.

mod support;

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use cairn_protocol::codec::Message as Ours;
use kafka_protocol::protocol::{Decodable, Encodable, Message as Theirs};
use support::random::Random;
use support::{all_messages, message_bytes};

const SEED: u64 = 0x00ca_1221;
const MESSAGES_PER_VERSION: u64 = 25;

/// Of one message: how many versions were compared, and how many messages.
fn compare<O: Ours, T: Theirs + Encodable + Decodable>(schema: &support::schema::Message) -> (usize, usize) {
    let (mut versions, mut messages) = (0, 0);
    for version in O::VERSIONS.filter(|version| (T::VERSIONS.min..=T::VERSIONS.max).contains(version)) {
        versions += 1;
        for index in 0..MESSAGES_PER_VERSION {
            let seed = SEED ^ index << 32 ^ u64::from(version.unsigned_abs()) << 48;
            let case = format!("{} version {version} seed {seed:#x}", O::NAME);
            let bytes = message_bytes(schema, version, &mut Random::new(seed));
            let ours =
                O::decode_all(bytes.into(), version).unwrap_or_else(|error| panic!("{case}: ours reads: {error}"));
            let bytes = ours.to_bytes(version).unwrap_or_else(|error| panic!("{case}: ours writes: {error}"));
            let mut left = bytes.clone();
            let theirs = T::decode(&mut left, version).unwrap_or_else(|error| panic!("{case}: theirs reads: {error}"));
            assert!(left.is_empty(), "{case}: theirs leaves {} bytes", left.len());
            let mut written = BytesMut::new();
            theirs.encode(&mut written, version).unwrap_or_else(|error| panic!("{case}: theirs writes: {error}"));
            assert_eq!(Bytes::from(written), bytes, "{case}: {ours:?}");
            messages += 1;
        }
    }
    (versions, messages)
}

macro_rules! compared {
    ($schema:ident: $($name:ident)*) => {
        [$((
            stringify!($name),
            compare::<cairn_protocol::messages::$name, kafka_protocol::messages::$name>(&$schema[stringify!($name)]),
        )),*]
    };
}

/// What kafka-protocol 0.18 does not have: what came after Kafka 4.1, and what coordinators and brokers keep for themselves.
fn is_unknown_to_the_oracle(name: &str) -> bool {
    let apis = ["StreamsGroupHeartbeat", "StreamsGroupDescribe"];
    let is_api =
        ["Request", "Response"].iter().any(|kind| name.strip_suffix(kind).is_some_and(|api| apis.contains(&api)));
    // The oracle reads the first two with the version that their own field `version` says.
    let others = ["LeaderChangeMessage", "VotersRecord", "ControlRecordTypeSchema", "ProducerSnapshot"];
    is_api || others.contains(&name) || name.ends_with("Key") || name.ends_with("Value")
}

#[test]
fn same_bytes_as_the_oracle() {
    let schema = all_messages();
    let results = compared!(schema:
        AddOffsetsToTxnRequest AddOffsetsToTxnResponse AddPartitionsToTxnRequest AddPartitionsToTxnResponse
        AddRaftVoterRequest AddRaftVoterResponse AllocateProducerIdsRequest AllocateProducerIdsResponse
        AlterClientQuotasRequest AlterClientQuotasResponse AlterConfigsRequest AlterConfigsResponse
        AlterPartitionReassignmentsRequest AlterPartitionReassignmentsResponse AlterPartitionRequest
        AlterPartitionResponse AlterReplicaLogDirsRequest AlterReplicaLogDirsResponse AlterShareGroupOffsetsRequest
        AlterShareGroupOffsetsResponse AlterUserScramCredentialsRequest AlterUserScramCredentialsResponse
        ApiVersionsRequest ApiVersionsResponse AssignReplicasToDirsRequest AssignReplicasToDirsResponse
        BeginQuorumEpochRequest BeginQuorumEpochResponse BrokerHeartbeatRequest BrokerHeartbeatResponse
        BrokerRegistrationRequest BrokerRegistrationResponse ConsumerGroupDescribeRequest
        ConsumerGroupDescribeResponse ConsumerGroupHeartbeatRequest ConsumerGroupHeartbeatResponse
        ConsumerProtocolAssignment ConsumerProtocolSubscription ControllerRegistrationRequest
        ControllerRegistrationResponse CreateAclsRequest CreateAclsResponse CreateDelegationTokenRequest
        CreateDelegationTokenResponse CreatePartitionsRequest CreatePartitionsResponse CreateTopicsRequest
        CreateTopicsResponse DefaultPrincipalData DeleteAclsRequest DeleteAclsResponse DeleteGroupsRequest
        DeleteGroupsResponse DeleteRecordsRequest DeleteRecordsResponse DeleteShareGroupOffsetsRequest
        DeleteShareGroupOffsetsResponse DeleteShareGroupStateRequest DeleteShareGroupStateResponse DeleteTopicsRequest
        DeleteTopicsResponse DescribeAclsRequest DescribeAclsResponse DescribeClientQuotasRequest
        DescribeClientQuotasResponse DescribeClusterRequest DescribeClusterResponse DescribeConfigsRequest
        DescribeConfigsResponse DescribeDelegationTokenRequest DescribeDelegationTokenResponse DescribeGroupsRequest
        DescribeGroupsResponse DescribeLogDirsRequest DescribeLogDirsResponse DescribeProducersRequest
        DescribeProducersResponse DescribeQuorumRequest DescribeQuorumResponse DescribeShareGroupOffsetsRequest
        DescribeShareGroupOffsetsResponse DescribeTopicPartitionsRequest DescribeTopicPartitionsResponse
        DescribeTransactionsRequest DescribeTransactionsResponse DescribeUserScramCredentialsRequest
        DescribeUserScramCredentialsResponse ElectLeadersRequest ElectLeadersResponse EndQuorumEpochRequest
        EndQuorumEpochResponse EndTxnMarker EndTxnRequest EndTxnResponse EnvelopeRequest EnvelopeResponse
        ExpireDelegationTokenRequest ExpireDelegationTokenResponse FetchRequest FetchResponse FetchSnapshotRequest
        FetchSnapshotResponse FindCoordinatorRequest FindCoordinatorResponse GetTelemetrySubscriptionsRequest
        GetTelemetrySubscriptionsResponse HeartbeatRequest HeartbeatResponse IncrementalAlterConfigsRequest
        IncrementalAlterConfigsResponse InitProducerIdRequest InitProducerIdResponse InitializeShareGroupStateRequest
        InitializeShareGroupStateResponse JoinGroupRequest JoinGroupResponse KRaftVersionRecord
        LeaveGroupRequest LeaveGroupResponse ListConfigResourcesRequest ListConfigResourcesResponse ListGroupsRequest
        ListGroupsResponse ListOffsetsRequest ListOffsetsResponse ListPartitionReassignmentsRequest
        ListPartitionReassignmentsResponse ListTransactionsRequest ListTransactionsResponse MetadataRequest
        MetadataResponse OffsetCommitRequest OffsetCommitResponse OffsetDeleteRequest OffsetDeleteResponse
        OffsetFetchRequest OffsetFetchResponse OffsetForLeaderEpochRequest OffsetForLeaderEpochResponse ProduceRequest
        ProduceResponse PushTelemetryRequest PushTelemetryResponse ReadShareGroupStateRequest
        ReadShareGroupStateResponse ReadShareGroupStateSummaryRequest ReadShareGroupStateSummaryResponse
        RemoveRaftVoterRequest RemoveRaftVoterResponse RenewDelegationTokenRequest RenewDelegationTokenResponse
        RequestHeader ResponseHeader SaslAuthenticateRequest SaslAuthenticateResponse SaslHandshakeRequest
        SaslHandshakeResponse ShareAcknowledgeRequest ShareAcknowledgeResponse ShareFetchRequest ShareFetchResponse
        ShareGroupDescribeRequest ShareGroupDescribeResponse ShareGroupHeartbeatRequest ShareGroupHeartbeatResponse
        SnapshotFooterRecord SnapshotHeaderRecord SyncGroupRequest SyncGroupResponse TxnOffsetCommitRequest
        TxnOffsetCommitResponse UnregisterBrokerRequest UnregisterBrokerResponse UpdateFeaturesRequest
        UpdateFeaturesResponse UpdateRaftVoterRequest UpdateRaftVoterResponse VoteRequest VoteResponse
        WriteShareGroupStateRequest WriteShareGroupStateResponse WriteTxnMarkersRequest WriteTxnMarkersResponse
    );
    let known: BTreeSet<&str> = results.iter().map(|(name, _)| *name).collect();
    let left_out = schema.keys().map(String::as_str).filter(|name| !known.contains(name));
    let forgotten: Vec<&str> = left_out.filter(|name| !is_unknown_to_the_oracle(name)).collect();
    assert!(forgotten.is_empty(), "not compared: {forgotten:?}");
    let versions: usize = results.iter().map(|(_, (versions, _))| versions).sum();
    let messages: usize = results.iter().map(|(_, (_, messages))| messages).sum();
    println!("{} messages, {versions} versions, {messages} random values: same bytes", results.len());
    assert!(versions > 400, "only {versions} versions in common");
}
