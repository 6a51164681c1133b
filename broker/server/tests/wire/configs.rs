//! DescribeConfigs, IncrementalAlterConfigs, AlterConfigs and ListConfigResources.

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::describe_configs_request::DescribeConfigsResource;
use cairn_protocol::messages::describe_configs_response::DescribeConfigsResult;
use cairn_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use cairn_protocol::messages::{
    AlterConfigsRequest, DescribeConfigsRequest, IncrementalAlterConfigsRequest, ListConfigResourcesRequest,
    MetadataRequest,
};

use crate::harness::{Client, TestBroker};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const BROKER_LOGGER: i8 = 8;
const CLIENT_METRICS: i8 = 16;
const GROUP: i8 = 32;
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
        assert_eq!(synonyms, [("log.retention.hours", "2", 4), ("log.retention.hours", "168", 5)]);
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
        (TOPIC, "", ErrorCode::InvalidRequest),
        (BROKER, "2", ErrorCode::InvalidRequest),
        (BROKER, "x", ErrorCode::InvalidRequest),
        (BROKER_LOGGER, "2", ErrorCode::InvalidRequest),
        (GROUP, "", ErrorCode::InvalidRequest),
        (CLIENT_METRICS, "m", ErrorCode::InvalidRequest),
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
        (alter(TOPIC, "t", &[("cleanup.policy", APPEND, Some("compact"))]),       0),
        (alter(TOPIC, "t", &[("cleanup.policy", SUBTRACT, Some("compact"))]),     0),
        (alter(TOPIC, "t", &[("cleanup.policy", SUBTRACT, Some("delete"))]),      0),
        (alter(TOPIC, "t", &[("retention.ms", APPEND, Some("1"))]),               invalid_config),
        (alter(TOPIC, "t", &[("retention.ms", SET, None)]),                       invalid_request),
        (alter(TOPIC, "t", &[("retention.ms", 9, Some("1"))]),                    invalid_request),
        (alter(TOPIC, "t", &[("nothing", DELETE, None)]),                         0),
        (alter(TOPIC, "t", &[("nothing", SET, Some("1"))]),                       invalid_config),
        (alter(TOPIC, "t", &[("retention.ms", SET, Some("1")), ("retention.ms", DELETE, None)]), invalid_request),
        (alter(TOPIC, "x", &[("retention.ms", DELETE, None)]),                    ErrorCode::UnknownTopicOrPartition.code()),
        (alter(TOPIC, "", &[("retention.ms", DELETE, None)]),                     invalid_request),
        (alter(BROKER, "1", &[("log.retention.ms", DELETE, None)]),               0),
        (alter(BROKER, "1", &[("num.partitions", DELETE, None)]),                 0),
        (alter(BROKER, "1", &[("num.partitions", SET, Some("2"))]),               invalid_request),
        (alter(BROKER, "", &[("log.retention.hours", SET, Some("2"))]),           invalid_request),
        (alter(BROKER, "", &[("log.segment.bytes", SET, Some("7"))]),             invalid_request),
        (alter(BROKER, "", &[("log.retention", SET, Some("7"))]),                 invalid_config),
        (alter(BROKER, "1", &[("log.retention.ms", APPEND, Some("7"))]),          invalid_config),
        (alter(BROKER, "2", &[("log.retention.ms", SET, Some("7"))]),             invalid_request),
        (alter(BROKER, "1", &[("num.io.threads", SET, Some("many"))]),            invalid_request),
        (alter(BROKER_LOGGER, "1", &[("root", DELETE, None)]),                    invalid_request),
        (alter(BROKER_LOGGER, "1", &[("root", APPEND, Some("INFO"))]),            invalid_request),
        (alter(BROKER_LOGGER, "1", &[("root", SET, Some("LOUD"))]),               invalid_config),
        (alter(BROKER_LOGGER, "1", &[("kafka.log", SET, Some("INFO"))]),          invalid_config),
    ];
    for (resource, expected) in table {
        let shown = format!("{resource:?}");
        assert_eq!(altered(&mut client, resource, false).await, expected, "{shown}");
    }
    let twice = alter(TOPIC, "t", &[]);
    let request = IncrementalAlterConfigsRequest { resources: vec![twice.clone(), twice], validate_only: false };
    let errors: Vec<i16> = client.call(1, &request).await.responses.iter().map(|answer| answer.error_code).collect();
    assert_eq!(errors, [invalid_request; 2]);
    let invalid_name = alter(TOPIC, "a b", &[("retention.ms", SET, Some("1"))]);
    assert_eq!(altered(&mut client, invalid_name, false).await, ErrorCode::InvalidTopicException.code());
    let apart = [("min.compaction.lag.ms", SET, Some("10")), ("max.compaction.lag.ms", SET, Some("9"))];
    assert_eq!(altered(&mut client, alter(TOPIC, "t", &apart), false).await, invalid_config);
    assert_eq!(altered(&mut client, alter(TOPIC, "t", &apart[..1]), false).await, 0);
    assert_eq!(altered(&mut client, alter(TOPIC, "t", &apart[1..]), false).await, invalid_config);
}

async fn of_broker(client: &mut Client, name: &str, key: &str) -> Option<(Option<String>, i8, Vec<(String, i8)>)> {
    let result = described(client, 4, &describe(BROKER, name, Some(&[key]))).await;
    assert_eq!(result.error_code, 0);
    let config = result.configs.into_iter().next()?;
    let synonyms = config.synonyms.into_iter().map(|s| (s.value.unwrap().into(), s.source)).collect();
    Some((config.value.map(Into::into), config.config_source, synonyms))
}

#[tokio::test]
async fn configs_of_brokers_are_in_force_at_once_and_kept() {
    let broker = TestBroker::with(&[("log.retention.ms", "3000"), ("node.id", "1")]).await;
    let mut client = made(&broker).await;
    let set = |name: &str, value: &str| alter(BROKER, name, &[("log.retention.ms", SET, Some(value))]);
    assert_eq!(altered(&mut client, set("", "2000"), true).await, 0);
    assert_eq!(value(&mut client, "retention.ms").await, ("3000".into(), 4), "it was only checked");
    assert_eq!(altered(&mut client, set("", "2000"), false).await, 0);
    assert_eq!(value(&mut client, "retention.ms").await, ("2000".into(), 3));
    assert_eq!(altered(&mut client, set("1", "1000"), false).await, 0);
    assert_eq!(value(&mut client, "retention.ms").await, ("1000".into(), 2));
    assert_eq!(altered(&mut client, alter(BROKER, "", &[("num.io.threads", SET, Some("16"))]), false).await, 0);

    let broker = broker.restart(&[("log.retention.ms", "3000")]).await;
    let mut client = broker.connect().await;
    assert_eq!(value(&mut client, "retention.ms").await, ("1000".into(), 2));
    let all = [("1000", 2), ("2000", 3), ("3000", 4), ("168", 5)].map(|(value, source)| (value.to_owned(), source));
    assert_eq!(of_broker(&mut client, "1", "log.retention.ms").await, Some((Some("1000".into()), 2, all.to_vec())));
    assert_eq!(of_broker(&mut client, "1", "num.io.threads").await.unwrap().0.as_deref(), Some("16"));
    let default = described(&mut client, 4, &describe(BROKER, "", None)).await;
    let default: Vec<_> =
        default.configs.iter().map(|config| (&*config.name, config.value.as_deref(), config.config_source)).collect();
    assert_eq!(default, [("log.retention.ms", Some("2000"), 3), ("num.io.threads", Some("16"), 3)]);

    assert_eq!(altered(&mut client, alter(BROKER, "1", &[("log.retention.ms", DELETE, None)]), false).await, 0);
    assert_eq!(altered(&mut client, alter(BROKER, "", &[("log.retention.ms", DELETE, None)]), false).await, 0);
    assert_eq!(value(&mut client, "retention.ms").await, ("3000".into(), 4));
}

#[tokio::test]
async fn every_key_of_a_broker_is_told() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let result = described(&mut client, 4, &describe(BROKER, "1", None)).await;
    assert_eq!(result.configs.len(), cairn_broker::config::KEYS.len());
    for config in &result.configs {
        let key = cairn_broker::config::KEYS.iter().find(|key| key.name == &*config.name).unwrap();
        assert_eq!((config.config_type, config.is_sensitive), (key.kind.wire(), false), "{}", key.name);
        assert!(config.documentation.as_deref().is_some_and(|doc| doc.len() > 10), "{}", key.name);
        // One that each number can be, but for those with a bound below.
        let set = alter(BROKER, "1", &[(key.name, SET, Some("1048576"))]);
        let refused = altered(&mut client, set, true).await == ErrorCode::InvalidRequest.code();
        let of_another_kind =
            ["log.durability", "log.message.timestamp.type", "compression.type", "unclean.leader.election.enable"]
                .contains(&key.name);
        let of_another_kind = of_another_kind
            || [
                "log.cleaner.threads",
                "log.cleanup.policy",
                "log.cleaner.io.buffer.load.factor",
                "log.cleaner.min.cleanable.ratio",
            ]
            .contains(&key.name)
            || key.name == "cordoned.log.dirs";
        if !of_another_kind && !key.name.starts_with("max.connections") && !key.name.ends_with(".level") {
            assert_eq!(refused, config.read_only, "{}", key.name);
        }
    }
}

/// An empty text is a value, and not the same as none.
#[tokio::test]
async fn what_is_empty_by_default_is_told_as_kafka_tells_it() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    for (key, value) in [
        ("cordoned.log.dirs", Some("")),
        ("max.connections.per.ip.overrides", Some("")),
        ("advertised.listeners", None),
        ("log.retention.ms", None),
    ] {
        let synonyms = value.map(|value| (value.to_owned(), 5)).into_iter().collect();
        let expected = Some((value.map(Into::into), 5, synonyms));
        assert_eq!(of_broker(&mut client, "1", key).await, expected, "{key}");
    }
}

#[tokio::test]
async fn max_connections_is_asked_with_every_connection() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let set = |value| alter(BROKER, "", &[("max.connections", SET, Some(value))]);
    assert_eq!(altered(&mut client, set("1"), false).await, 0);
    broker.connect().await.expect_close().await;
    assert_eq!(altered(&mut client, set("2"), false).await, 0);
    let mut second = broker.connect().await;
    assert_eq!(described(&mut second, 4, &describe(BROKER, "1", None)).await.error_code, 0);
}

#[tokio::test]
async fn levels_of_loggers_are_set_and_taken_back() {
    let broker = TestBroker::logging("info").await;
    let mut client = broker.connect().await;
    let set = alter(BROKER_LOGGER, "1", &[("root", SET, Some("WARN")), ("cairn_broker::net", SET, Some("DEBUG"))]);
    assert_eq!(altered(&mut client, set.clone(), true).await, 0);
    assert_eq!(broker.filter(), "");
    assert_eq!(altered(&mut client, set, false).await, 0);
    assert_eq!(broker.filter(), "info,cairn_broker::net=debug,warn");
    let result = described(&mut client, 4, &describe(BROKER_LOGGER, "1", None)).await;
    let level = |name: &str| result.configs.iter().find(|config| &*config.name == name).unwrap().value.as_deref();
    assert_eq!((level("root"), level("cairn_storage")), (Some("WARN"), Some("WARN")));
    assert_eq!(level("cairn_broker::net"), Some("DEBUG"));
    assert!(result.configs.iter().all(|config| (config.config_source, config.config_type) == (6, 0)));
}

#[tokio::test]
async fn alter_configs_replaces_all() {
    use cairn_protocol::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let broker = TestBroker::start().await;
    let mut client = made(&broker).await;
    let resource = |kind, name: &str, set: &[(&str, Option<&str>)]| AlterConfigsResource {
        resource_type: kind,
        resource_name: name.into(),
        configs: set
            .iter()
            .map(|(name, value)| AlterableConfig { name: (*name).into(), value: value.map(Into::into) })
            .collect(),
    };
    let before = alter(TOPIC, "t", &[("retention.ms", SET, Some("1")), ("segment.ms", SET, Some("2"))]);
    assert_eq!(altered(&mut client, before, false).await, 0);
    for version in 0..=2 {
        let named = resource(TOPIC, "t", &[("retention.ms", Some("5"))]);
        let mut request = AlterConfigsRequest { resources: vec![named], validate_only: version == 0 };
        assert_eq!(client.call(version, &request).await.responses[0].error_code, 0);
        let expected =
            [("1", 1, "2", 1), ("5", 1, "604800000", 5), ("5", 1, "77", 2)][usize::try_from(version).unwrap()];
        let (retention, segment) = (value(&mut client, "retention.ms").await, value(&mut client, "segment.ms").await);
        assert_eq!((&*retention.0, retention.1, &*segment.0, segment.1), expected);
        request.resources = vec![
            resource(TOPIC, "t", &[("retention.ms", None)]),
            resource(TOPIC, "x", &[]),
            resource(BROKER_LOGGER, "1", &[("root", Some("INFO"))]),
            resource(BROKER, "1", &[("log.roll.ms", Some("77"))]),
            resource(BROKER, "1", &[]),
        ];
        let errors: Vec<i16> = client.call(version, &request).await.responses.iter().map(|r| r.error_code).collect();
        let (invalid, unknown) = (ErrorCode::InvalidRequest.code(), ErrorCode::UnknownTopicOrPartition.code());
        assert_eq!(errors, [invalid, unknown, invalid, invalid, invalid]);
        request.resources = vec![resource(BROKER, "1", &[("log.roll.ms", Some("77"))])];
        assert_eq!(client.call(version, &request).await.responses[0].error_code, 0);
    }
    assert_eq!(value(&mut client, "segment.ms").await, ("77".into(), 2));
    let request = AlterConfigsRequest { resources: vec![resource(BROKER, "1", &[])], validate_only: false };
    assert_eq!(client.call(2, &request).await.responses[0].error_code, 0);
    assert_eq!(value(&mut client, "segment.ms").await, ("604800000".into(), 5));
}

#[tokio::test]
async fn resources_with_configs_are_listed_by_kind() {
    let broker = TestBroker::start().await;
    let mut client = made(&broker).await;
    let mut list = async |version, kinds: &[i8]| {
        let request = ListConfigResourcesRequest { resource_types: kinds.to_vec() };
        let response = client.call(version, &request).await;
        let listed = response.config_resources.into_iter().map(|of| (of.resource_type, of.resource_name.into()));
        (response.error_code, listed.collect::<Vec<(i8, String)>>())
    };
    let of = |kind, name: &str| (kind, name.to_owned());
    assert_eq!(list(0, &[]).await, (0, vec![]));
    assert_eq!(list(1, &[]).await, (0, vec![of(TOPIC, "t"), of(BROKER, "1"), of(BROKER_LOGGER, "1")]));
    assert_eq!(list(1, &[BROKER]).await, (0, vec![of(BROKER, "1")]));
    assert_eq!(list(1, &[GROUP, CLIENT_METRICS]).await, (0, vec![]));
    assert_eq!(list(1, &[3]).await, (ErrorCode::UnsupportedVersion.code(), vec![]));
}

/// Segments' files go at once, so that another delay than Kafka's default would be a promise that nobody keeps.
#[tokio::test]
async fn a_delay_of_file_deletion_is_not_accepted() {
    let broker = TestBroker::start().await;
    let mut client = made(&broker).await;
    for (delay, error) in
        [("0", ErrorCode::InvalidConfig), ("60001", ErrorCode::InvalidConfig), ("60000", ErrorCode::None)]
    {
        let change = alter(TOPIC, "t", &[("file.delete.delay.ms", SET, Some(delay))]);
        assert_eq!(altered(&mut client, change, false).await, error.code(), "{delay}");
    }
}

#[tokio::test]
async fn groups_have_configs_within_the_brokers_bounds() {
    use cairn_protocol::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig};
    let broker = TestBroker::with(&[("group.consumer.session.timeout.ms", "50000")]).await;
    let mut client = made(&broker).await;
    let told = async |client: &mut Client| {
        let result = described(client, 4, &describe(GROUP, "g", None)).await;
        assert_eq!(result.error_code, 0);
        let one = |config: &cairn_protocol::messages::describe_configs_response::DescribeConfigsResourceResult| {
            let synonyms = config.synonyms.iter().map(|synonym| (synonym.name.to_string(), synonym.source));
            (config.value.as_deref().unwrap().to_owned(), config.config_source, synonyms.collect::<Vec<_>>())
        };
        result.configs.iter().map(|config| (config.name.to_string(), one(config))).collect::<Vec<_>>()
    };
    let of = |name: &str, value: &str, source: i8, synonyms: &[(&str, i8)]| {
        let synonyms = synonyms.iter().map(|(name, source)| ((*name).to_owned(), *source)).collect::<Vec<_>>();
        (name.to_owned(), (value.to_owned(), source, synonyms))
    };
    let (interval, session) = ("group.consumer.heartbeat.interval.ms", "group.consumer.session.timeout.ms");
    let unchanged = [
        of("consumer.assignment.interval.ms", "1000", 5, &[("group.consumer.assignment.interval.ms", 5)]),
        of("consumer.heartbeat.interval.ms", "5000", 5, &[(interval, 5)]),
        of("consumer.session.timeout.ms", "50000", 4, &[(session, 4), (session, 5)]),
    ];
    assert_eq!(told(&mut client).await, unchanged);

    for (name, value, error) in [
        ("consumer.session.timeout.ms", "60001", ErrorCode::InvalidConfig),
        ("consumer.session.timeout.ms", "44999", ErrorCode::InvalidConfig),
        ("consumer.session.timeout.ms", "x", ErrorCode::InvalidConfig),
        ("consumer.heartbeat.interval.ms", "4999", ErrorCode::InvalidConfig),
        ("consumer.nothing", "1", ErrorCode::InvalidConfig),
        ("consumer.session.timeout.ms", "46000", ErrorCode::None),
        ("consumer.heartbeat.interval.ms", "6000", ErrorCode::None),
    ] {
        let change = alter(GROUP, "g", &[(name, SET, Some(value))]);
        assert_eq!(altered(&mut client, change.clone(), true).await, error.code(), "{name}={value}");
        assert_eq!(altered(&mut client, change, false).await, error.code(), "{name}={value}");
    }
    let set = [
        unchanged[0].clone(),
        of("consumer.heartbeat.interval.ms", "6000", 8, &[("consumer.heartbeat.interval.ms", 8), (interval, 5)]),
        of(
            "consumer.session.timeout.ms",
            "46000",
            8,
            &[("consumer.session.timeout.ms", 8), (session, 4), (session, 5)],
        ),
    ];
    assert_eq!(told(&mut client).await, set);
    let list = ListConfigResourcesRequest { resource_types: vec![GROUP] };
    assert_eq!(&*client.call(1, &list).await.config_resources[0].resource_name, "g");

    let broker = broker.restart(&[("group.consumer.session.timeout.ms", "50000")]).await;
    let mut client = broker.connect().await;
    assert_eq!(told(&mut client).await, set);
    // Version 2 of the older call has exactly what it says in force.
    let only = AlterableConfig { name: "consumer.heartbeat.interval.ms".into(), value: Some("7000".into()) };
    let resource = AlterConfigsResource { resource_type: GROUP, resource_name: "g".into(), configs: vec![only] };
    let request = AlterConfigsRequest { resources: vec![resource], validate_only: false };
    assert_eq!(client.call(2, &request).await.responses[0].error_code, 0);
    let after = told(&mut client).await;
    assert_eq!((&after[1].1.0, &after[2]), (&"7000".to_owned(), &unchanged[2]));
    let delete = alter(GROUP, "g", &[("consumer.heartbeat.interval.ms", DELETE, None)]);
    assert_eq!(altered(&mut client, delete, false).await, 0);
    assert_eq!(told(&mut client).await, unchanged);
    assert_eq!(client.call(1, &list).await.config_resources, []);
}

#[tokio::test]
async fn what_a_group_has_configured_is_what_its_members_are_told() {
    use cairn_protocol::messages::ConsumerGroupHeartbeatRequest;
    let broker = TestBroker::start().await;
    let mut client = made(&broker).await;
    let find = cairn_protocol::messages::FindCoordinatorRequest { key: "g".into(), ..Default::default() };
    assert_eq!(client.call(2, &find).await.error_code, 0);
    let mut request = ConsumerGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: "one".into(),
        rebalance_timeout_ms: 30_000,
        subscribed_topic_names: Some(vec!["t".into()]),
        topic_partitions: Some(Vec::new()),
        ..ConsumerGroupHeartbeatRequest::default()
    };
    let answer = client.call(1, &request).await;
    assert_eq!((answer.error_code, answer.heartbeat_interval_ms), (0, 5_000));
    let change = alter(GROUP, "g", &[("consumer.heartbeat.interval.ms", SET, Some("7000"))]);
    assert_eq!(altered(&mut client, change, false).await, 0);
    request = ConsumerGroupHeartbeatRequest {
        group_id: "g".into(),
        member_id: "one".into(),
        member_epoch: answer.member_epoch,
        ..ConsumerGroupHeartbeatRequest::default()
    };
    let answer = client.call(1, &request).await;
    assert_eq!((answer.error_code, answer.heartbeat_interval_ms), (0, 7_000));
}
