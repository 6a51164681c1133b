//! AlterPartitionReassignments and ListPartitionReassignments, as a single broker answers them.

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::alter_partition_reassignments_request::{ReassignablePartition, ReassignableTopic};
use cairn_protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use cairn_protocol::messages::{AlterPartitionReassignmentsRequest, ListPartitionReassignmentsRequest};

use crate::harness::{Client, TestBroker};
use crate::records::make_topic;

type Wanted<'a> = (&'a str, i32, Option<&'a [i32]>);

fn request(wanted: &[Wanted<'_>]) -> AlterPartitionReassignmentsRequest {
    let topic = |(name, partition_index, replicas): &Wanted<'_>| ReassignableTopic {
        name: (*name).into(),
        partitions: vec![ReassignablePartition {
            partition_index: *partition_index,
            replicas: replicas.map(<[i32]>::to_vec),
        }],
    };
    AlterPartitionReassignmentsRequest {
        topics: wanted.iter().map(topic).collect(),
        ..AlterPartitionReassignmentsRequest::default()
    }
}

/// Topic, partition, error, and whether there is a text.
async fn alter(
    client: &mut Client,
    version: i16,
    request: &AlterPartitionReassignmentsRequest,
) -> Vec<(String, i32, i16, bool)> {
    let response = client.call(version, request).await;
    assert_eq!((response.error_code, response.error_message), (0, None));
    let mut told = Vec::new();
    for topic in response.responses {
        for one in topic.partitions {
            told.push((topic.name.to_string(), one.partition_index, one.error_code, one.error_message.is_some()));
        }
    }
    told
}

#[tokio::test]
async fn the_replicas_that_a_partition_has_are_accepted_and_no_others() {
    let broker = TestBroker::with(&[("num.partitions", "2")]).await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    let table: [(Wanted<'_>, ErrorCode); 10] = [
        (("t", 0, Some(&[1])), ErrorCode::None),
        (("t", 1, Some(&[1])), ErrorCode::None),
        (("t", 0, None), ErrorCode::NoReassignmentInProgress),
        (("t", 0, Some(&[])), ErrorCode::InvalidReplicaAssignment),
        (("t", 0, Some(&[2])), ErrorCode::InvalidReplicaAssignment),
        (("t", 0, Some(&[1, 2])), ErrorCode::InvalidReplicaAssignment),
        (("t", 0, Some(&[1, 1])), ErrorCode::InvalidReplicaAssignment),
        (("t", 2, Some(&[1])), ErrorCode::UnknownTopicOrPartition),
        (("t", -1, None), ErrorCode::UnknownTopicOrPartition),
        (("missing", 0, Some(&[1])), ErrorCode::UnknownTopicOrPartition),
    ];
    for version in 0..=1 {
        for (wanted, error) in &table {
            let told = alter(&mut client, version, &request(&[*wanted])).await;
            let failed = *error != ErrorCode::None;
            assert_eq!(told, [(wanted.0.to_owned(), wanted.1, error.code(), failed)], "{wanted:?}");
        }
    }
    // Each partition by itself, and once.
    let some = request(&[("t", 1, Some(&[7])), ("missing", 0, None), ("t", 0, Some(&[1])), ("t", 1, Some(&[1]))]);
    let (invalid, unknown) = (ErrorCode::InvalidReplicaAssignment.code(), ErrorCode::UnknownTopicOrPartition.code());
    let told = alter(&mut client, 1, &some).await;
    let expected =
        [("t".to_owned(), 1, invalid, true), ("missing".to_owned(), 0, unknown, true), ("t".to_owned(), 0, 0, false)];
    assert_eq!(told, expected);
    assert_eq!(client.call(1, &request(&[])).await.responses, []);
}

#[tokio::test]
async fn the_answer_tells_whether_the_number_of_replicas_might_have_changed() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    for allow_replication_factor_change in [true, false] {
        let wanted =
            AlterPartitionReassignmentsRequest { allow_replication_factor_change, ..request(&[("t", 0, Some(&[1]))]) };
        let response = client.call(1, &wanted).await;
        assert_eq!(response.allow_replication_factor_change, allow_replication_factor_change);
        assert_eq!(response.responses[0].partitions[0].error_code, 0);
    }
}

#[tokio::test]
async fn nothing_is_ever_under_way() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    alter(&mut client, 1, &request(&[("t", 0, Some(&[1]))])).await;
    let named = |name: &str| ListPartitionReassignmentsTopics { name: name.into(), partition_indexes: vec![0, 9] };
    for topics in [None, Some(Vec::new()), Some(vec![named("t"), named("missing")])] {
        let request = ListPartitionReassignmentsRequest { topics, ..ListPartitionReassignmentsRequest::default() };
        let response = client.call(0, &request).await;
        assert_eq!((response.error_code, response.error_message, response.topics), (0, None, Vec::new()));
    }
}
