//! DescribeConfigs and IncrementalAlterConfigs of topics.

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::describe_configs_request::DescribeConfigsResource;
use cairn_protocol::messages::describe_configs_response::DescribeConfigsResult;
use cairn_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use cairn_protocol::messages::{DescribeConfigsRequest, IncrementalAlterConfigsRequest, MetadataRequest};

use crate::harness::{Client, TestBroker};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const SET: i8 = 0;
const DELETE: i8 = 1;
const APPEND: i8 = 2;
const SUBTRACT: i8 = 3;

async fn made(broker: &TestBroker) -> Client {
    use cairn_protocol::messages::metadata_request::MetadataRequestTopic;
    let mut client = broker.connect().await;
    let topic = MetadataRequestTopic { name: Some("t".into()), ..MetadataRequestTopic::default() };
    client.call(9, &MetadataRequest { topics: Some(vec![topic]), ..MetadataRequest::default() }).await;
    client
}

fn describe(kind: i8, name: &str, keys: Option<&[&str]>) -> DescribeConfigsRequest {
    DescribeConfigsRequest {
        resources: vec![DescribeConfigsResource {
            resource_type: kind,
            resource_name: name.into(),
            configuration_keys: keys.map(|keys| keys.iter().map(|key| (*key).into()).collect()),
        }],
        include_synonyms: true,
        include_documentation: true,
    }
}

fn alter(kind: i8, name: &str, changes: &[(&str, i8, Option<&str>)]) -> AlterConfigsResource {
    let change = |(name, operation, value): &(&str, i8, Option<&str>)| AlterableConfig {
        name: (*name).into(),
        config_operation: *operation,
        value: value.map(Into::into),
    };
    AlterConfigsResource {
        resource_type: kind,
        resource_name: name.into(),
        configs: changes.iter().map(change).collect(),
    }
}

async fn altered(client: &mut Client, resource: AlterConfigsResource, validate_only: bool) -> i16 {
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only };
    client.call(1, &request).await.responses[0].error_code
}

async fn described(client: &mut Client, version: i16, request: &DescribeConfigsRequest) -> DescribeConfigsResult {
    client.call(version, request).await.results.remove(0)
}

async fn value(client: &mut Client, key: &str) -> (String, i8) {
    let config = described(client, 4, &describe(TOPIC, "t", Some(&[key]))).await.configs.remove(0);
    (config.value.unwrap().into(), config.config_source)
}

#[tokio::test]
async fn every_config_is_told_with_source_synonyms_type_and_documentation() {
    let broker = TestBroker::with(&[("log.retention.hours", "2")]).await;
    let mut client = made(&broker).await;
    for version in 1..=4 {
        let result = described(
            &mut client,
            version,
            &DescribeConfigsRequest { include_documentation: version >= 3, ..describe(TOPIC, "t", None) },
        )
        .await;
        assert_eq!((result.error_code, &*result.resource_name), (0, "t"));
        assert!(result.configs.is_sorted_by(|a, b| a.name < b.name));
        let retention = result.configs.iter().find(|config| &*config.name == "retention.ms").unwrap();
        assert_eq!((retention.value.as_deref(), retention.config_source), (Some("7200000"), 4));
        let synonyms: Vec<_> =
            retention.synonyms.iter().map(|s| (&*s.name, s.value.as_deref().unwrap(), s.source)).collect();
        assert_eq!(synonyms, [("log.retention.hours", "7200000", 4), ("log.retention.ms", "604800000", 5)]);
        if version >= 3 {
            assert_eq!(retention.config_type, 5);
            assert!(result.configs.iter().all(|config| config.documentation.is_some()));
        }
    }
    let some = described(&mut client, 4, &describe(TOPIC, "t", Some(&["segment.ms", "unknown"]))).await;
    assert_eq!(some.configs.iter().map(|config| &*config.name).collect::<Vec<_>>(), ["segment.ms"]);
    let quiet =
        DescribeConfigsRequest { include_synonyms: false, include_documentation: false, ..describe(TOPIC, "t", None) };
    let quiet = described(&mut client, 4, &quiet).await;
    assert!(quiet.configs.iter().all(|config| config.synonyms.is_empty() && config.documentation.is_none()));
}

#[tokio::test]
async fn what_is_not_there_is_refused() {
    let broker = TestBroker::start().await;
    let mut client = made(&broker).await;
    for (kind, name, expected) in [
        (TOPIC, "x", ErrorCode::UnknownTopicOrPartition),
        (TOPIC, "a b", ErrorCode::InvalidTopicException),
        (BROKER, "1", ErrorCode::InvalidRequest),
    ] {
        let result = described(&mut client, 4, &describe(kind, name, None)).await;
        assert_eq!(result.error_code, expected.code(), "{name}");
        assert!(result.configs.is_empty());
    }
}

#[tokio::test]
async fn configs_are_set_and_deleted_all_or_none() {
    let broker = TestBroker::start().await;
    let mut client = made(&broker).await;
    let set = alter(TOPIC, "t", &[("retention.ms", SET, Some("1000")), ("segment.bytes", SET, Some("2097152"))]);
    assert_eq!(altered(&mut client, set.clone(), true).await, 0);
    assert_eq!(value(&mut client, "retention.ms").await, ("604800000".into(), 5));
    assert_eq!(altered(&mut client, set, false).await, 0);
    assert_eq!(value(&mut client, "retention.ms").await, ("1000".into(), 1));

    let invalid = ErrorCode::InvalidConfig.code();
    let half = alter(TOPIC, "t", &[("retention.ms", SET, Some("5")), ("segment.bytes", SET, Some("1"))]);
    assert_eq!(altered(&mut client, half, false).await, invalid);
    assert_eq!(value(&mut client, "retention.ms").await, ("1000".into(), 1));

    assert_eq!(altered(&mut client, alter(TOPIC, "t", &[("retention.ms", DELETE, None)]), false).await, 0);
    assert_eq!(value(&mut client, "retention.ms").await, ("604800000".into(), 5));
    assert_eq!(value(&mut client, "segment.bytes").await, ("2097152".into(), 1));
}

#[tokio::test]
async fn operations_are_checked() {
    let broker = TestBroker::start().await;
    let mut client = made(&broker).await;
    let (invalid_config, invalid_request) = (ErrorCode::InvalidConfig.code(), ErrorCode::InvalidRequest.code());
    #[rustfmt::skip]
    let table = [
        (alter(TOPIC, "t", &[("cleanup.policy", APPEND, Some("delete"))]),        0),
        (alter(TOPIC, "t", &[("cleanup.policy", APPEND, Some("compact"))]),       invalid_config),
        (alter(TOPIC, "t", &[("cleanup.policy", SUBTRACT, Some("compact"))]),     0),
        (alter(TOPIC, "t", &[("cleanup.policy", SUBTRACT, Some("delete"))]),      invalid_config),
        (alter(TOPIC, "t", &[("retention.ms", APPEND, Some("1"))]),               invalid_config),
        (alter(TOPIC, "t", &[("retention.ms", SET, None)]),                       invalid_config),
        (alter(TOPIC, "t", &[("retention.ms", 9, Some("1"))]),                    invalid_request),
        (alter(TOPIC, "t", &[("nothing", DELETE, None)]),                         invalid_config),
        (alter(TOPIC, "t", &[("retention.ms", SET, Some("1")), ("retention.ms", DELETE, None)]), invalid_request),
        (alter(TOPIC, "x", &[("retention.ms", DELETE, None)]),                    ErrorCode::UnknownTopicOrPartition.code()),
        (alter(BROKER, "1", &[("log.retention.ms", DELETE, None)]),               invalid_request),
    ];
    for (resource, expected) in table {
        let shown = format!("{resource:?}");
        assert_eq!(altered(&mut client, resource, false).await, expected, "{shown}");
    }
    let twice = alter(TOPIC, "t", &[]);
    let request = IncrementalAlterConfigsRequest { resources: vec![twice.clone(), twice], validate_only: false };
    let errors: Vec<i16> = client.call(1, &request).await.responses.iter().map(|answer| answer.error_code).collect();
    assert_eq!(errors, [0, invalid_request]);
}
