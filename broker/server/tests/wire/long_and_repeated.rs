//! Names as long as the wire carries them, and names that a request repeats: each gets an answer, and one that can be sent.

use bytes::Bytes;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::create_topics_request::CreatableTopic;
use cairn_protocol::messages::describe_configs_request::DescribeConfigsResource;
use cairn_protocol::messages::describe_producers_request::TopicRequest;
use cairn_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use cairn_protocol::messages::metadata_request::MetadataRequestTopic;
use cairn_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use cairn_protocol::messages::{
    AlterConfigsRequest, CreateTopicsRequest, DescribeConfigsRequest, DescribeGroupsRequest, DescribeProducersRequest,
    FindCoordinatorRequest, IncrementalAlterConfigsRequest, MetadataRequest, OffsetFetchRequest,
};
use cairn_protocol::records::Compression;

use crate::harness::{Client, TestBroker};
use crate::records::{append, compressed, fetch, fetched, make_topic, produce, produced, values};

/// The longest string of the wire.
const LONGEST: usize = 32_767;
const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;

async fn changed(
    client: &mut Client,
    kind: i8,
    of: &str,
    name: &str,
    operation: i8,
    value: Option<&str>,
) -> (i16, String) {
    let config = AlterableConfig { name: name.into(), config_operation: operation, value: value.map(Into::into) };
    let resource = AlterConfigsResource { resource_type: kind, resource_name: of.into(), configs: vec![config] };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    let answer = client.call(1, &request).await.responses.remove(0);
    (answer.error_code, answer.error_message.unwrap_or_default().into())
}

fn described(kind: i8, names: &[&str]) -> DescribeConfigsRequest {
    let resource = |name: &&str| DescribeConfigsResource {
        resource_type: kind,
        resource_name: (*name).into(),
        configuration_keys: None,
    };
    DescribeConfigsRequest { resources: names.iter().map(resource).collect(), ..DescribeConfigsRequest::default() }
}

#[tokio::test]
async fn a_name_as_long_as_can_be_gets_its_refusal() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    let coordinator = FindCoordinatorRequest { key: "g".into(), ..FindCoordinatorRequest::default() };
    assert_eq!(client.call(2, &coordinator).await.error_code, 0);
    for letter in ["x", "\u{e9}"] {
        let long = letter.repeat(LONGEST / letter.len());
        let topic = CreatableTopic {
            name: long.as_str().into(),
            num_partitions: 1,
            replication_factor: 1,
            ..CreatableTopic::default()
        };
        let create = CreateTopicsRequest { topics: vec![topic], timeout_ms: 1_000, ..CreateTopicsRequest::default() };
        let refused = client.call(7, &create).await.topics.remove(0);
        assert_eq!(refused.error_code, ErrorCode::InvalidTopicException.code());
        assert_eq!(&*refused.name, long);

        let refused = client.call(4, &described(TOPIC, &[&long])).await.results.remove(0);
        assert_eq!(refused.error_code, ErrorCode::InvalidTopicException.code());
        let refused = client.call(4, &described(BROKER, &[&long])).await.results.remove(0);
        assert_eq!(refused.error_code, ErrorCode::InvalidRequest.code());

        let groups = DescribeGroupsRequest { groups: vec![long.as_str().into()], ..DescribeGroupsRequest::default() };
        let missing = client.call(6, &groups).await.groups.remove(0);
        assert_eq!(missing.error_code, ErrorCode::GroupIdNotFound.code());
        let text = missing.error_message.unwrap();
        assert!(text.starts_with("Group ") && text.ends_with("...") && text.len() < LONGEST, "{}", text.len());

        for (kind, of) in [(TOPIC, "t"), (BROKER, "1")] {
            for (name, operation, value) in [
                (&*long, SET, Some("1")),
                (&*long, SET, None),
                (&*long, APPEND, Some("1")),
                ("retention.ms", SET, Some(&*long)),
                ("compression.type", SET, Some(&*long)),
            ] {
                let (error, text) = changed(&mut client, kind, of, name, operation, value).await;
                assert_ne!(error, 0, "{kind} {operation}");
                assert!(!text.is_empty() && text.len() < LONGEST, "{kind} {operation}: {}", text.len());
            }
        }
        let resource = cairn_protocol::messages::alter_configs_request::AlterConfigsResource {
            resource_type: TOPIC,
            resource_name: "t".into(),
            configs: vec![cairn_protocol::messages::alter_configs_request::AlterableConfig {
                name: long.as_str().into(),
                value: None,
            }],
        };
        let request = AlterConfigsRequest { resources: vec![resource], validate_only: false };
        assert_eq!(client.call(2, &request).await.responses[0].error_code, ErrorCode::InvalidRequest.code());
    }
}

#[tokio::test]
async fn a_list_grows_no_longer_than_it_can_be_told() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let (first, second) = ("a".repeat(20_000), "b".repeat(20_000));
    let (error, _) = changed(&mut client, BROKER, "1", "metric.reporters", APPEND, Some(&first)).await;
    assert_eq!(error, 0);
    let (error, text) = changed(&mut client, BROKER, "1", "metric.reporters", APPEND, Some(&second)).await;
    assert_eq!(error, ErrorCode::InvalidConfig.code());
    assert!(text.contains("40001 bytes"), "{text}");
    let told = client.call(4, &described(BROKER, &["1"])).await.results.remove(0);
    let list = told.configs.iter().find(|config| &*config.name == "metric.reporters").unwrap();
    assert_eq!(list.value.as_deref(), Some(&*first));
}

#[tokio::test]
async fn what_is_named_more_than_once_is_answered_once() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    make_topic(&mut client, "u").await;

    let topic = |name: &str| MetadataRequestTopic { name: Some(name.into()), ..MetadataRequestTopic::default() };
    let topics = Some(vec![topic("t"), topic("u"), topic("t"), topic("x"), topic("x")]);
    let request = MetadataRequest { topics, allow_auto_topic_creation: false, ..MetadataRequest::default() };
    let names: Vec<_> = client.call(12, &request).await.topics.into_iter().filter_map(|topic| topic.name).collect();
    assert_eq!(names, ["t".into(), "u".into(), "x".into()]);

    let keys = ["g", "h", "g"].map(Into::into).to_vec();
    let request = FindCoordinatorRequest { coordinator_keys: keys, ..FindCoordinatorRequest::default() };
    let found = client.call(4, &request).await.coordinators;
    assert_eq!(found.iter().map(|found| &*found.key).collect::<Vec<_>>(), ["g", "h"]);

    let groups = ["g", "h", "g", "g"].map(Into::into).to_vec();
    let request = DescribeGroupsRequest { groups, ..DescribeGroupsRequest::default() };
    let found = client.call(5, &request).await.groups;
    assert_eq!(found.iter().map(|group| &*group.group_id).collect::<Vec<_>>(), ["g", "h"]);

    let found = client.call(4, &described(TOPIC, &["t", "u", "t"])).await.results;
    assert_eq!(found.iter().map(|of| &*of.resource_name).collect::<Vec<_>>(), ["t", "u"]);

    let topic = |indexes: &[i32]| TopicRequest { name: "t".into(), partition_indexes: indexes.to_vec() };
    let request = DescribeProducersRequest { topics: vec![topic(&[0, 0, 1, 0]), topic(&[0])] };
    let found = client.call(0, &request).await.topics;
    let indexes: Vec<i32> = found[0].partitions.iter().map(|partition| partition.partition_index).collect();
    assert_eq!((found.len(), indexes), (1, vec![0, 1]));
}

#[tokio::test]
async fn offsets_that_are_asked_for_more_than_once_are_told_once() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    let coordinator = FindCoordinatorRequest { key: "g".into(), ..FindCoordinatorRequest::default() };
    assert_eq!(client.call(2, &coordinator).await.error_code, 0);
    let topic = |indexes: &[i32]| OffsetFetchRequestTopics {
        name: "t".into(),
        partition_indexes: indexes.to_vec(),
        ..OffsetFetchRequestTopics::default()
    };
    let group = |topics| OffsetFetchRequestGroup { group_id: "g".into(), topics, ..OffsetFetchRequestGroup::default() };
    let groups = vec![group(Some(vec![topic(&[0, 0, 2]), topic(&[1, 2])])), group(None), group(None)];
    let found = client.call(8, &OffsetFetchRequest { groups, ..OffsetFetchRequest::default() }).await.groups;
    assert_eq!(found.len(), 1);
    let indexes: Vec<Vec<i32>> = found[0]
        .topics
        .iter()
        .map(|topic| topic.partitions.iter().map(|partition| partition.partition_index).collect())
        .collect();
    assert_eq!(indexes, [vec![0, 2], vec![1]], "a topic may stand there twice, with other partitions");
}

#[tokio::test]
async fn committed_offsets_stay_compacted_whoever_alters_their_topic() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let coordinator = FindCoordinatorRequest { key: "g".into(), ..FindCoordinatorRequest::default() };
    assert_eq!(client.call(2, &coordinator).await.error_code, 0);
    const OFFSETS: &str = "__consumer_offsets";
    let invalid = ErrorCode::InvalidConfig.code();
    for (operation, value, expected) in [
        (SET, Some("delete"), invalid),
        (DELETE, None, invalid),
        (APPEND, Some("delete"), 0),
        (3, Some("compact"), invalid),
        (SET, Some("compact"), 0),
    ] {
        let (error, _) = changed(&mut client, TOPIC, OFFSETS, "cleanup.policy", operation, value).await;
        assert_eq!(error, expected, "{operation} {value:?}");
    }
    let resource = cairn_protocol::messages::alter_configs_request::AlterConfigsResource {
        resource_type: TOPIC,
        resource_name: OFFSETS.into(),
        configs: Vec::new(),
    };
    let request = AlterConfigsRequest { resources: vec![resource], validate_only: false };
    assert_eq!(client.call(2, &request).await.responses[0].error_code, 0);
    let told = client.call(4, &described(TOPIC, &[OFFSETS])).await.results.remove(0).configs;
    let value = |name: &str| told.iter().find(|config| &*config.name == name).unwrap().value.clone().unwrap();
    assert_eq!(&*value("cleanup.policy"), "compact", "it is left as it is");
    assert_eq!(&*value("segment.bytes"), "1073741824", "others are deleted, as AlterConfigs does");
}

/// Such a batch is compressed anew on a thread that may take its time, and the next one of the connection comes after it.
#[tokio::test]
async fn long_batches_that_are_compressed_anew_keep_their_order_and_their_answers() {
    let broker = TestBroker::with(&[("compression.type", "zstd")]).await;
    let mut client = broker.connect().await;
    make_topic(&mut client, "t").await;
    let long = "long ".repeat(20_000);
    let mut sent = Vec::new();
    for round in 0..5 {
        let codec = [Compression::None, Compression::Gzip][round % 2];
        for value in [&*long, "short"] {
            let records: Bytes = compressed(codec, &[value, &round.to_string()]);
            sent.push(client.send(9, &produce("t", 0, -1, records)).await);
        }
    }
    for (base_offset, sent) in (0..).step_by(2).zip(sent) {
        let answer = produced(client.receive::<cairn_protocol::messages::ProduceRequest>(sent).await);
        assert_eq!((answer.error_code, answer.base_offset), (0, base_offset));
    }
    // Without answers: the next request is answered after it, and sees it.
    client.send(9, &produce("t", 0, 0, compressed(Compression::Gzip, &[&long]))).await;
    assert_eq!(append(&mut client, "t", compressed(Compression::Zstd, &["last"])).await, 21);
    let read = values(&fetched(client.call(11, &fetch("t", 0, 0)).await));
    assert_eq!(read.len(), 22);
    assert_eq!(read[20], (20, long.clone()));

    // An error of one that wants no answer ends the connection.
    let mut broken = compressed(Compression::Gzip, &[&long]).to_vec();
    *broken.last_mut().unwrap() ^= 1;
    client.send(9, &produce("t", 0, 0, broken.into())).await;
    client.expect_close().await;
}
