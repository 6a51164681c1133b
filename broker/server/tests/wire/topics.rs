//! CreateTopics, DeleteTopics, CreatePartitions and DescribeTopicPartitions.

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use cairn_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use cairn_protocol::messages::delete_topics_request::DeleteTopicState;
use cairn_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use cairn_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeTopicPartitionsRequest, MetadataRequest,
};

use crate::harness::{Client, TestBroker};

fn topic(name: &str, partitions: i32, replicas: i16) -> CreatableTopic {
    CreatableTopic {
        name: name.into(),
        num_partitions: partitions,
        replication_factor: replicas,
        ..CreatableTopic::default()
    }
}

fn create(topics: Vec<CreatableTopic>) -> CreateTopicsRequest {
    CreateTopicsRequest { topics, ..CreateTopicsRequest::default() }
}

async fn names(client: &mut Client) -> Vec<String> {
    let all = client.call(1, &MetadataRequest { topics: None, ..MetadataRequest::default() }).await;
    all.topics.into_iter().map(|topic| topic.name.unwrap().into()).collect()
}

#[tokio::test]
async fn topics_are_made_in_every_version() {
    let broker = TestBroker::with(&[("num.partitions", "4"), ("log.retention.hours", "1")]).await;
    let mut client = broker.connect().await;
    for version in 2..=7 {
        let name = format!("t{version}");
        let config = CreatableTopicConfig { name: "segment.bytes".into(), value: Some(" 1048576 ".into()) };
        let wanted = CreatableTopic { configs: vec![config], ..topic(&name, -1, -1) };
        let made = client.call(version, &create(vec![wanted])).await.topics.remove(0);
        assert_eq!((made.error_code, made.error_message), (0, None));
        if version < 5 {
            continue;
        }
        assert_eq!((made.num_partitions, made.replication_factor), (4, 1));
        assert_eq!(made.topic_id.is_nil(), version < 7);
        let configs = made.configs.unwrap();
        let value = |name: &str| {
            let config = configs.iter().find(|config| &*config.name == name).unwrap();
            (config.value.as_deref().unwrap(), config.config_source)
        };
        assert_eq!(value("segment.bytes"), ("1048576", 1));
        assert_eq!(value("retention.ms"), ("3600000", 4));
        assert_eq!(value("index.interval.bytes"), ("4096", 5));
    }
    assert_eq!(names(&mut client).await.len(), 6);
}

#[tokio::test]
async fn what_cannot_be_made_is_refused_by_itself() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    assert_eq!(client.call(7, &create(vec![topic("there", 1, 1)])).await.topics[0].error_code, 0);
    let with_config = |name: &str, key: &str, value: Option<&str>| CreatableTopic {
        configs: vec![CreatableTopicConfig { name: key.into(), value: value.map(Into::into) }],
        ..topic(name, 1, 1)
    };
    let by_hand = |name: &str, partitions: i32, assignments: &[(i32, &[i32])]| {
        let one = |(partition_index, brokers): &(i32, &[i32])| CreatableReplicaAssignment {
            partition_index: *partition_index,
            broker_ids: brokers.to_vec(),
        };
        let assignments = assignments.iter().map(one).collect();
        CreatableTopic { assignments, ..topic(name, partitions, -1) }
    };
    #[rustfmt::skip]
    let table = [
        (topic("there", 1, 1),                                  ErrorCode::TopicAlreadyExists),
        (topic("twice", 1, 1),                                  ErrorCode::InvalidRequest),
        (topic("twice", 1, 1),                                  ErrorCode::InvalidRequest),
        (topic("..", 1, 1),                                     ErrorCode::InvalidTopicException),
        (topic("a/b", 1, 1),                                    ErrorCode::InvalidTopicException),
        (topic("none", 0, 1),                                   ErrorCode::InvalidPartitions),
        (topic("many", 10_001, 1),                              ErrorCode::InvalidPartitions),
        (topic("replicas", 1, 2),                               ErrorCode::InvalidReplicationFactor),
        (topic("no-replicas", 1, 0),                            ErrorCode::InvalidReplicationFactor),
        (with_config("c1", "retention.msec", Some("1")),        ErrorCode::InvalidConfig),
        (with_config("c2", "retention.ms", Some("soon")),       ErrorCode::InvalidConfig),
        (with_config("c3", "retention.ms", None),               ErrorCode::InvalidConfig),
        (with_config("c4", "preallocate", Some("true")),        ErrorCode::InvalidConfig),
        (by_hand("h1", 1, &[(0, &[1])]),                        ErrorCode::InvalidRequest),
        (by_hand("h2", -1, &[(1, &[1])]),                       ErrorCode::InvalidReplicaAssignment),
        (by_hand("h3", -1, &[(0, &[7])]),                       ErrorCode::InvalidReplicaAssignment),
        (by_hand("h4", -1, &[(0, &[1, 1])]),                    ErrorCode::InvalidReplicaAssignment),
        (by_hand("made", -1, &[(1, &[1]), (0, &[1])]),          ErrorCode::None),
    ];
    let (topics, expected): (Vec<_>, Vec<_>) = table.into_iter().unzip();
    let answers = client.call(7, &create(topics)).await.topics;
    for (answer, expected) in answers.iter().zip(expected) {
        assert_eq!(answer.error_code, expected.code(), "{}: {:?}", answer.name, answer.error_message);
        assert_eq!(answer.error_message.is_some(), expected != ErrorCode::None, "{}", answer.name);
    }
    assert_eq!(names(&mut client).await, ["made", "there"]);
}

#[tokio::test]
async fn validating_makes_nothing() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let request = CreateTopicsRequest { validate_only: true, ..create(vec![topic("a", 1, 1), topic("b", 1, 9)]) };
    let errors: Vec<i16> = client.call(7, &request).await.topics.iter().map(|topic| topic.error_code).collect();
    assert_eq!(errors, [0, ErrorCode::InvalidReplicationFactor.code()]);
    assert!(names(&mut client).await.is_empty());
}

#[tokio::test]
async fn topics_are_deleted_by_name_and_by_id() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let topics = ["a", "b", "c", "d"].map(|name| topic(name, 1, 1)).to_vec();
    let made = client.call(7, &create(topics)).await.topics;
    let by_name = |names: &[&str]| DeleteTopicsRequest {
        topic_names: names.iter().map(|name| (*name).into()).collect(),
        ..DeleteTopicsRequest::default()
    };
    let errors = |response: &cairn_protocol::messages::DeleteTopicsResponse| -> Vec<i16> {
        response.responses.iter().map(|answer| answer.error_code).collect()
    };
    let unknown = ErrorCode::UnknownTopicOrPartition.code();
    let invalid = ErrorCode::InvalidRequest.code();
    assert_eq!(errors(&client.call(1, &by_name(&["a", "a", "x"])).await), [0, unknown, unknown]);
    let state = |name: Option<&str>, topic_id| DeleteTopicState { name: name.map(Into::into), topic_id };
    let request = DeleteTopicsRequest {
        topics: vec![
            state(None, made[1].topic_id),
            state(Some("c"), uuid::Uuid::nil()),
            state(Some("d"), made[3].topic_id),
            state(None, uuid::Uuid::from_u128(1)),
            state(None, uuid::Uuid::nil()),
        ],
        ..DeleteTopicsRequest::default()
    };
    let response = client.call(6, &request).await;
    assert_eq!(errors(&response), [0, 0, invalid, ErrorCode::UnknownTopicId.code(), invalid]);
    assert_eq!(response.responses[0].name.as_deref(), Some("b"));
    assert_eq!(names(&mut client).await, ["d"]);

    let broker = TestBroker::with(&[("delete.topic.enable", "false")]).await;
    let mut client = broker.connect().await;
    client.call(7, &create(vec![topic("a", 1, 1)])).await;
    assert_eq!(errors(&client.call(1, &by_name(&["a"])).await), [ErrorCode::TopicDeletionDisabled.code()]);
}

#[tokio::test]
async fn partitions_are_added() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    client.call(7, &create(vec![topic("a", 2, 1)])).await;
    let raise = |name: &str, count: i32, assignments: Option<Vec<Vec<i32>>>| CreatePartitionsTopic {
        name: name.into(),
        count,
        assignments: assignments
            .map(|all| all.into_iter().map(|broker_ids| CreatePartitionsAssignment { broker_ids }).collect()),
    };
    #[rustfmt::skip]
    let table = [
        (raise("a", 2, None),                        ErrorCode::InvalidPartitions),
        (raise("a", -1, None),                       ErrorCode::InvalidPartitions),
        (raise("a", 20_000, None),                   ErrorCode::InvalidPartitions),
        (raise("x", 3, None),                        ErrorCode::UnknownTopicOrPartition),
        (raise("a", 3, Some(vec![])),                ErrorCode::InvalidReplicaAssignment),
        (raise("a", 3, Some(vec![vec![1, 2]])),      ErrorCode::InvalidReplicaAssignment),
        (raise("a", 3, Some(vec![vec![5]])),         ErrorCode::InvalidReplicaAssignment),
        (raise("a", 3, Some(vec![vec![1]])),         ErrorCode::None),
        (raise("a", 5, None),                        ErrorCode::None),
    ];
    for (topic, expected) in table {
        let request = CreatePartitionsRequest { topics: vec![topic], ..CreatePartitionsRequest::default() };
        for validate_only in [true, false] {
            let request = CreatePartitionsRequest { validate_only, ..request.clone() };
            let result = client.call(3, &request).await.results.remove(0);
            assert_eq!(result.error_code, expected.code(), "{request:?}: {:?}", result.error_message);
        }
    }
    let all = client.call(12, &MetadataRequest { topics: None, ..MetadataRequest::default() }).await;
    assert_eq!(all.topics[0].partitions.len(), 5);
}

#[tokio::test]
async fn partitions_are_described_in_pages() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let topics = [("a", 3), ("b", 1), ("c", 2)].map(|(name, partitions)| topic(name, partitions, 1)).to_vec();
    client.call(7, &create(topics)).await;

    let (mut seen, mut cursor, mut pages) = (Vec::new(), None, 0);
    loop {
        let request = DescribeTopicPartitionsRequest {
            response_partition_limit: 2,
            cursor,
            ..DescribeTopicPartitionsRequest::default()
        };
        let page = client.call(0, &request).await;
        pages += 1;
        for topic in page.topics {
            let name = topic.name.unwrap();
            seen.extend(topic.partitions.iter().map(|partition| format!("{name}{}", partition.partition_index)));
        }
        let Some(next) = page.next_cursor else { break };
        cursor = Some(Cursor { topic_name: next.topic_name, partition_index: next.partition_index });
    }
    assert_eq!((seen.join(" ").as_str(), pages), ("a0 a1 a2 b0 c0 c1", 3));

    let named = |names: &[&str]| DescribeTopicPartitionsRequest {
        topics: names.iter().map(|name| TopicRequest { name: (*name).into() }).collect(),
        ..DescribeTopicPartitionsRequest::default()
    };
    let found = client.call(0, &named(&["c", "x", "a", "!"])).await.topics;
    let shown: Vec<_> = found.iter().map(|topic| (topic.name.as_deref().unwrap(), topic.error_code)).collect();
    let (unknown, invalid) = (ErrorCode::UnknownTopicOrPartition.code(), ErrorCode::InvalidTopicException.code());
    assert_eq!(shown, [("!", invalid), ("a", 0), ("c", 0), ("x", unknown)]);
    let partition = &found[1].partitions[2];
    assert_eq!((partition.leader_id, partition.leader_epoch), (1, 0));
    assert_eq!((&partition.replica_nodes[..], &partition.isr_nodes[..]), (&[1][..], &[1][..]));
}
