//! Quotas: set, described, and kept to. What an answer says about waiting follows from what was used; nothing here waits for it.

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use cairn_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use cairn_protocol::messages::create_topics_request::CreatableTopic;
use cairn_protocol::messages::delete_topics_request::DeleteTopicState;
use cairn_protocol::messages::describe_client_quotas_request::ComponentData;
use cairn_protocol::messages::describe_user_scram_credentials_request::UserName;
use cairn_protocol::messages::metadata_request::MetadataRequestTopic;
use cairn_protocol::messages::{
    AlterClientQuotasRequest, ApiVersionsRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
    DescribeClientQuotasRequest, DescribeClusterRequest, DescribeUserScramCredentialsRequest, FetchRequest,
    HeartbeatRequest, MetadataRequest,
};

use crate::harness::{Client, TestBroker};
use crate::records::{batch, fetch, make_topic, produce, values};

const INVALID: i16 = ErrorCode::InvalidRequest as i16;

/// `user=u,client-id=*`: a name, or `*` for the default.
fn entity(text: &str) -> Vec<EntityData> {
    let part = |part: &str| {
        let (kind, name) = part.split_once('=').unwrap();
        EntityData { entity_type: kind.into(), entity_name: Some(name).filter(|name| *name != "*").map(Into::into) }
    };
    text.split(',').filter(|part| !part.is_empty()).map(part).collect()
}

/// Sets these quotas; one that is no number is removed.
fn alter(entries: &[(&str, &[(&str, f64)])]) -> AlterClientQuotasRequest {
    let op = |(key, value): &(&str, f64)| OpData { key: (*key).into(), value: *value, remove: value.is_nan() };
    let entry =
        |(text, ops): &(&str, &[(&str, f64)])| EntryData { entity: entity(text), ops: ops.iter().map(op).collect() };
    AlterClientQuotasRequest { entries: entries.iter().map(entry).collect(), validate_only: false }
}

pub(crate) async fn set(client: &mut Client, entries: &[(&str, &[(&str, f64)])]) -> Vec<i16> {
    let response = client.call(1, &alter(entries)).await;
    let shown: Vec<_> = response.entries.iter().map(|entry| entry.entity.len()).collect();
    let expected: Vec<_> = entries.iter().map(|(text, _)| entity(text).len()).collect();
    assert_eq!(shown, expected, "each entry is answered");
    response.entries.into_iter().map(|entry| entry.error_code).collect()
}

/// All quotas that the filter lets through; a part is `KIND=NAME`, `KIND=*` for the default, `KIND` for any.
async fn described(client: &mut Client, filter: &str, strict: bool) -> Vec<String> {
    let component = |part: &str| {
        let (entity_type, match_type, name) = match part.split_once('=') {
            None => (part, 2, None),
            Some((kind, "*")) => (kind, 1, None),
            Some((kind, name)) => (kind, 0, Some(name)),
        };
        ComponentData { entity_type: entity_type.into(), match_type, r#match: name.map(Into::into) }
    };
    let components = filter.split(',').filter(|part| !part.is_empty()).map(component).collect();
    let response = client.call(1, &DescribeClientQuotasRequest { components, strict }).await;
    assert_eq!(response.error_code, 0, "{filter}");
    let entry = |entry: cairn_protocol::messages::describe_client_quotas_response::EntryData| {
        let name = |name: Option<Box<str>>| name.map_or("*".to_owned(), String::from);
        let parts = entry.entity.into_iter().map(|part| format!("{}={}", part.entity_type, name(part.entity_name)));
        let values = entry.values.into_iter().map(|value| format!("{}={}", value.key, value.value));
        parts.chain(values).collect::<Vec<_>>().join(",")
    };
    response.entries.unwrap().into_iter().map(entry).collect()
}

#[tokio::test]
async fn quotas_are_set_described_and_kept() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let altered = set(
        &mut client,
        &[
            ("user=u", &[("producer_byte_rate", 1024.0)]),
            ("user=*", &[("producer_byte_rate", 5.0)]),
            ("user=u,client-id=c", &[("consumer_byte_rate", 7.0), ("request_percentage", 0.5)]),
            ("client-id=*", &[("controller_mutation_rate", 1.5)]),
            ("ip=10.0.0.1", &[("connection_creation_rate", 3.0)]),
            ("ip=*", &[("connection_creation_rate", 4.0)]),
        ],
    )
    .await;
    assert_eq!(altered, [0; 6]);
    let (of_c, of_u) =
        ("client-id=c,user=u,consumer_byte_rate=7,request_percentage=0.5", "user=u,producer_byte_rate=1024");
    let (any_client, any_user) = ("client-id=*,controller_mutation_rate=1.5", "user=*,producer_byte_rate=5");
    let (any_ip, ip) = ("ip=*,connection_creation_rate=4", "ip=10.0.0.1,connection_creation_rate=3");
    for (filter, strict, expected) in [
        ("", false, vec![any_client, of_c, any_ip, ip, any_user, of_u]),
        ("", true, vec![]),
        ("user", false, vec![of_c, any_user, of_u]),
        ("user", true, vec![any_user, of_u]),
        ("user=u", false, vec![of_c, of_u]),
        ("user=u", true, vec![of_u]),
        ("user=*", true, vec![any_user]),
        ("user,client-id", true, vec![of_c]),
        ("user=u,client-id=d", false, vec![]),
        ("client-id", false, vec![any_client, of_c]),
        ("ip", false, vec![any_ip, ip]),
        ("ip=*", true, vec![any_ip]),
        ("ip=10.0.0.1", true, vec![ip]),
    ] {
        assert_eq!(described(&mut client, filter, strict).await, expected, "{filter} {strict}");
    }

    let remove = f64::NAN;
    let validate =
        AlterClientQuotasRequest { validate_only: true, ..alter(&[("user=u", &[("producer_byte_rate", remove)])]) };
    assert_eq!(client.call(0, &validate).await.entries[0].error_code, 0);
    let altered = set(
        &mut client,
        &[
            ("user=u,client-id=c", &[("consumer_byte_rate", remove), ("request_percentage", 9.0)]),
            ("ip=10.0.0.1", &[("connection_creation_rate", remove)]),
            ("user=nobody", &[("producer_byte_rate", remove), ("no.such.key", remove)]),
        ],
    )
    .await;
    assert_eq!(altered, [0; 3]);
    let broker = broker.restart(&[]).await;
    let mut client = broker.connect().await;
    let left = [any_client, "client-id=c,user=u,request_percentage=9", any_ip, any_user, of_u];
    assert_eq!(described(&mut client, "", false).await, left);
}

/// As many as a tool may send at once: they are altered side by side, and each is answered in its place.
#[tokio::test]
async fn a_request_with_many_entities_alters_each() {
    const ENTITIES: usize = 3_000;
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let entry = |number: usize| EntryData {
        entity: entity(&format!("user=u{number:04}")),
        ops: vec![OpData {
            key: if number == 1_234 { "no.such.key" } else { "producer_byte_rate" }.into(),
            value: number as f64 + 1.0,
            remove: false,
        }],
    };
    let request = AlterClientQuotasRequest { entries: (0..ENTITIES).map(entry).collect(), validate_only: false };
    let response = client.call(1, &request).await;
    for (number, entry) in response.entries.iter().enumerate() {
        assert_eq!(entry.entity[0].entity_name.as_deref(), Some(&*format!("u{number:04}")));
        assert_eq!(entry.error_code, if number == 1_234 { INVALID } else { 0 }, "{number}");
    }
    let mut expected: Vec<_> =
        (0..ENTITIES).map(|number| format!("user=u{number:04},producer_byte_rate={}", number + 1)).collect();
    expected.remove(1_234);
    assert_eq!(described(&mut client, "user", true).await, expected);
}

#[tokio::test]
async fn what_is_no_quota_is_refused_by_itself() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    let rate: &[(&str, f64)] = &[("producer_byte_rate", 1.0)];
    for (entity, ops) in [
        ("", rate),
        ("group=g", rate),
        ("user=", rate),
        ("user=u,user=v", rate),
        ("user=u,ip=10.0.0.1", rate),
        ("client-id=c,ip=*", &[("connection_creation_rate", 1.0)]),
        (&format!("ip={}", "x".repeat(300)), &[("connection_creation_rate", 1.0)]),
        ("ip=10.0.0.1", rate),
        ("ip=10.0.0.1", &[("connection_creation_rate", 2_147_483_648.0)]),
        ("ip=10.0.0.1", &[("connection_creation_rate", 1.5)]),
        ("user=u", &[("connection_creation_rate", 1.0)]),
        ("user=u", &[("no.such.key", 1.0)]),
        ("user=u", &[("producer_byte_rate", 1.5)]),
        ("user=u", &[("producer_byte_rate", 0.0)]),
        ("user=u", &[("producer_byte_rate", -1.0)]),
        ("user=u", &[("producer_byte_rate", f64::INFINITY)]),
        ("user=u", &[("request_percentage", f64::INFINITY)]),
        ("user=u", &[("consumer_byte_rate", 1.0), ("request_percentage", 0.0)]),
        ("user=u", &[("consumer_byte_rate", 1.0), ("consumer_byte_rate", 2.0)]),
    ] {
        assert_eq!(set(&mut client, &[(entity, ops)]).await, [INVALID], "{entity} {ops:?}");
    }
    let mut not_a_number = alter(&[("user=u", &[("request_percentage", 1.0)])]);
    not_a_number.entries[0].ops[0].value = f64::NAN;
    assert_eq!(client.call(1, &not_a_number).await.entries[0].error_code, INVALID);
    assert_eq!(described(&mut client, "", false).await, [""; 0]);
    let some = [("user=u", rate), ("user=", rate), ("user=u", rate), ("user=v", rate)];
    assert_eq!(set(&mut client, &some).await, [0, INVALID, INVALID, 0]);
    assert_eq!(described(&mut client, "", false).await, ["user=u,producer_byte_rate=1", "user=v,producer_byte_rate=1"]);

    let unsupported = ErrorCode::UnsupportedVersion.code();
    for (parts, error) in [
        (vec![("", 2, None)], INVALID),
        (vec![("group", 2, None)], unsupported),
        (vec![("user", 0, None)], INVALID),
        (vec![("user", 1, Some("u"))], INVALID),
        (vec![("user", 2, Some("u"))], INVALID),
        (vec![("user", 3, None)], INVALID),
        (vec![("user", 2, None), ("user", 0, Some("u"))], INVALID),
        (vec![("user", 2, None), ("ip", 2, None)], INVALID),
    ] {
        let component = |(kind, match_type, name): &(&str, i8, Option<&str>)| ComponentData {
            entity_type: (*kind).into(),
            match_type: *match_type,
            r#match: name.map(Into::into),
        };
        let components = parts.iter().map(component).collect();
        let response = client.call(0, &DescribeClientQuotasRequest { components, strict: false }).await;
        assert_eq!((response.error_code, response.entries), (error, None), "{parts:?}");
    }
}

/// Tools that describe the quotas of users ask for this as well.
#[tokio::test]
async fn nobody_has_scram_credentials() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    for users in [None, Some(Vec::new())] {
        let answer = client.call(0, &DescribeUserScramCredentialsRequest { users }).await;
        assert_eq!((answer.error_code, answer.error_message, answer.results), (0, None, Vec::new()));
    }
    let users = ["b", "a", "b"].map(|name| UserName { name: name.into() });
    let answer = client.call(0, &DescribeUserScramCredentialsRequest { users: Some(users.into()) }).await;
    let results: Vec<_> = answer.results.iter().map(|result| (&*result.user, result.error_code)).collect();
    let (none, twice) = (ErrorCode::ResourceNotFound.code(), ErrorCode::DuplicateResource.code());
    assert_eq!((answer.error_code, results), (0, vec![("a", none), ("b", twice)]));
}

/// The windows hold ten seconds' worth; what is beyond is to be waited for.
#[tokio::test]
async fn who_produces_too_much_is_told_to_wait_and_not_read_from() {
    let broker = TestBroker::start().await;
    let mut admin = broker.connect().await;
    make_topic(&mut admin, "t").await;
    assert_eq!(set(&mut admin, &[("client-id=test", &[("producer_byte_rate", 1000.0)])]).await, [0]);
    let mut client = broker.connect().await;
    let large = batch(&[&"x".repeat(100_000)]);
    let response = client.call(9, &produce("t", 0, -1, large.clone())).await;
    assert_eq!(i64::from(response.throttle_time_ms), client.sent_bytes - 10_000);
    assert_eq!(broker.metric("cairn_connections_throttled").await, 1);
    assert!(broker.metrics().await.contains("cairn_throttle_time_seconds_count{api=\"Produce\"} 1"));

    // Without an answer as well, on a connection of its own; and whoever leaves is not waited for.
    let mut silent = broker.connect().await;
    silent.send(9, &produce("t", 0, 0, large.clone())).await;
    broker.wait_for_metric("cairn_connections_throttled 2").await;
    drop(client);
    broker.wait_for_metric("cairn_connections_throttled 1").await;

    // Other requests of this client, and what others produce, are not held up.
    assert_eq!(admin.call(0, &DescribeClusterRequest::default()).await.throttle_time_ms, 0);
    assert_eq!(set(&mut admin, &[("client-id=test", &[("producer_byte_rate", f64::NAN)])]).await, [0]);
    assert_eq!(admin.call(9, &produce("t", 0, -1, large)).await.throttle_time_ms, 0);
}

#[tokio::test]
async fn who_fetches_too_much_is_given_nothing_and_told_to_wait() {
    let broker = TestBroker::start().await;
    let mut admin = broker.connect().await;
    make_topic(&mut admin, "t").await;
    let value = "x".repeat(6_000);
    for _ in 0..3 {
        admin.call(9, &produce("t", 0, -1, batch(&[&value]))).await;
    }
    assert_eq!(set(&mut admin, &[("user=*", &[("consumer_byte_rate", 100.0)])]).await, [0]);
    let session =
        |session_id, session_epoch, offset| FetchRequest { session_id, session_epoch, ..fetch("t", 0, offset) };

    // A whole batch is given to who has fetched nothing, though no window holds it.
    let mut first = broker.connect().await;
    let response = first.call(12, &session(0, 0, 0)).await;
    let (id, given) = (response.session_id, values(&response.responses[0].partitions[0]));
    assert_eq!((response.throttle_time_ms, given), (0, vec![(0, value.clone())]));
    let held = first.call(12, &session(id, 1, 1)).await;
    assert_eq!((held.error_code, held.session_id, held.responses.len()), (0, id, 0));
    // Two answers of a bit more than 6,000 bytes at 100 a second, less ten seconds, less what has passed.
    assert!((90_000..=113_500).contains(&held.throttle_time_ms), "{}", held.throttle_time_ms);

    // A session that cannot be told its first answer is not begun.
    let mut second = broker.connect().await;
    let held = second.call(12, &session(0, 0, 1)).await;
    assert_eq!((held.session_id, held.responses.len()), (0, 0));
    assert_eq!(broker.metric("cairn_connections_throttled").await, 2);

    // What was held back was neither counted nor taken for told.
    assert_eq!(set(&mut admin, &[("user=*", &[("consumer_byte_rate", f64::NAN)])]).await, [0]);
    let response = admin.call(12, &FetchRequest { topics: Vec::new(), ..session(id, 2, 0) }).await;
    assert_eq!(values(&response.responses[0].partitions[0]).len(), 2);
}

#[tokio::test]
async fn who_takes_too_much_time_is_told_to_wait_for_a_window() {
    let broker = TestBroker::start().await;
    let mut admin = broker.connect().await;
    make_topic(&mut admin, "t").await;
    assert_eq!(set(&mut admin, &[("user=ANONYMOUS", &[("request_percentage", 1e-9)])]).await, [0]);
    let software = ApiVersionsRequest { client_software_name: "a".into(), client_software_version: "1".into() };
    assert_eq!(broker.connect().await.call(3, &software).await.throttle_time_ms, 1000);
    assert_eq!(broker.connect().await.call(4, &HeartbeatRequest::default()).await.throttle_time_ms, 1000);
    let topics = vec![MetadataRequestTopic { name: Some("made".into()), ..MetadataRequestTopic::default() }];
    let metadata =
        MetadataRequest { topics: Some(topics), allow_auto_topic_creation: true, ..MetadataRequest::default() };
    assert_eq!(broker.connect().await.call(9, &metadata).await.throttle_time_ms, 1000, "also what waits meanwhile");
    let produced = broker.connect().await.call(9, &produce("t", 0, 1, batch(&["a"]))).await;
    assert_eq!((produced.responses[0].partition_responses[0].error_code, produced.throttle_time_ms), (0, 1000));
    let fetched = broker.connect().await.call(12, &fetch("t", 0, 0)).await;
    assert_eq!((fetched.responses.len(), fetched.throttle_time_ms), (0, 1000));
}

fn topics(names: &[&str], partitions: i32) -> CreateTopicsRequest {
    let topic = |name: &&str| CreatableTopic {
        name: (*name).into(),
        num_partitions: partitions,
        replication_factor: 1,
        ..CreatableTopic::default()
    };
    CreateTopicsRequest { topics: names.iter().map(topic).collect(), ..CreateTopicsRequest::default() }
}

#[tokio::test]
async fn partitions_beyond_the_quota_are_refused_or_waited_for() {
    let broker = TestBroker::start().await;
    let mut admin = broker.connect().await;
    let exceeded = ErrorCode::ThrottlingQuotaExceeded.code();
    // A bucket of 0.011 partitions: one request empties it for a quarter of an hour a partition.
    assert_eq!(set(&mut admin, &[("client-id=*", &[("controller_mutation_rate", 0.001)])]).await, [0]);
    let made = admin.call(7, &topics(&["a", "b"], 2)).await;
    let errors: Vec<_> = made.topics.iter().map(|topic| topic.error_code).collect();
    assert_eq!(errors, [0, exceeded], "the first takes what there is and more");
    assert!((1_000_000..=1_989_000).contains(&made.throttle_time_ms), "{}", made.throttle_time_ms);

    let refused =
        broker.connect().await.call(7, &CreateTopicsRequest { validate_only: true, ..topics(&["c"], 1) }).await;
    assert_eq!(refused.topics[0].error_code, exceeded, "validating counts as well");
    let wanted = |count| CreatePartitionsTopic { name: "a".into(), count, assignments: None };
    let raise = |count| CreatePartitionsRequest { topics: vec![wanted(count)], timeout_ms: 1000, validate_only: false };
    assert_eq!(broker.connect().await.call(3, &raise(3)).await.results[0].error_code, exceeded);
    let state = DeleteTopicState { name: Some("a".into()), ..DeleteTopicState::default() };
    let delete = DeleteTopicsRequest { topics: vec![state], ..DeleteTopicsRequest::default() };
    let refused = broker.connect().await.call(6, &delete).await;
    assert_eq!(refused.responses[0].error_code, exceeded);
    assert!(refused.throttle_time_ms > 1_000_000);

    // Older versions know no such error: all is done, and paid by waiting.
    let made = broker.connect().await.call(5, &topics(&["d"], 1)).await;
    assert_eq!(made.topics[0].error_code, 0);
    assert!(made.throttle_time_ms > 2_000_000, "{}", made.throttle_time_ms);
    let raised = broker.connect().await.call(2, &raise(3)).await;
    assert_eq!((raised.results[0].error_code, raised.throttle_time_ms > 3_000_000), (0, true));
    let wanted = vec![MetadataRequestTopic { name: Some("e".into()), ..MetadataRequestTopic::default() }];
    let asked = MetadataRequest { topics: Some(wanted), allow_auto_topic_creation: true, ..MetadataRequest::default() };
    let asked = broker.connect().await.call(9, &asked).await;
    assert_eq!((asked.topics[0].error_code, asked.throttle_time_ms > 4_000_000), (0, true));
    let delete = DeleteTopicsRequest { topic_names: vec!["a".into()], ..DeleteTopicsRequest::default() };
    let deleted = broker.connect().await.call(4, &delete).await;
    assert_eq!((deleted.responses[0].error_code, deleted.throttle_time_ms > 7_000_000), (0, true));
}

#[tokio::test]
async fn an_address_that_connects_too_often_is_refused() {
    let broker = TestBroker::start().await;
    let mut admin = broker.connect().await;
    assert_eq!(set(&mut admin, &[("ip=127.0.0.1", &[("connection_creation_rate", 1.0)])]).await, [0]);
    let mut connections = Vec::new();
    while !broker.metrics().await.contains("cairn_connections_delayed_total{reason=\"address\"}") {
        connections.push(broker.connect().await);
    }
    assert!(connections.len() > 10, "the windows hold ten: {}", connections.len());
    connections.pop().unwrap().expect_close().await;
    connections.swap_remove(0).call(0, &DescribeClusterRequest::default()).await;
}

/// The system knows `127.1` for a name of 127.0.0.1, without asking anybody.
#[tokio::test]
async fn a_host_may_be_named() {
    let broker = TestBroker::start().await;
    let mut admin = broker.connect().await;
    assert_eq!(set(&mut admin, &[("ip=127.1", &[("connection_creation_rate", 1.0)])]).await, [0]);
    assert_eq!(described(&mut admin, "", false).await, ["ip=127.1,connection_creation_rate=1"]);
    let mut connections = Vec::new();
    while !broker.metrics().await.contains("cairn_connections_delayed_total{reason=\"address\"}") {
        connections.push(broker.connect().await);
    }
    connections.pop().unwrap().expect_close().await;
    // After a restart its address is found anew.
    let broker = broker.restart(&[]).await;
    while !broker.metrics().await.contains("cairn_connections_delayed_total{reason=\"address\"}") {
        connections.push(broker.connect().await);
    }
}

#[tokio::test]
async fn connections_beyond_the_brokers_rate_wait() {
    let broker = TestBroker::with(&[("max.connection.creation.rate", "1")]).await;
    let mut connections = 0;
    while !broker.metrics().await.contains("cairn_connections_delayed_total{reason=\"broker\"}") {
        broker.connect().await.call(0, &DescribeClusterRequest::default()).await;
        connections += 1;
    }
    assert!(connections > 10, "the windows hold ten, and what is delayed is served: {connections}");
}

#[tokio::test]
async fn an_address_has_a_number_of_connections_of_its_own() {
    let set = [("max.connections.per.ip.overrides", "10.0.0.1:5,[::1]:7,127.0.0.1:1")];
    let broker = TestBroker::with(&set).await;
    let mut first = broker.connect().await;
    first.call(0, &DescribeClusterRequest::default()).await;
    broker.connect().await.expect_close().await;
}
