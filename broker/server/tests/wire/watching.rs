//! What a broker tells of its groups and topics to whoever watches it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cairn_protocol::messages::describe_configs_request::DescribeConfigsResource;
use cairn_protocol::messages::{
    ConsumerGroupDescribeRequest, DescribeConfigsRequest, FetchRequest, HeartbeatRequest, LeaveGroupRequest,
    OffsetCommitRequest,
};
use serde_json::{Value, json};

use crate::groups::{commit, find_coordinator, heartbeat, join_alone, sync};
use crate::harness::{Client, TestBroker};
use crate::quotas::set;
use crate::records::{append, batch_at, fetch, fetched, now};

const AT_ONCE: &[(&str, &str)] = &[("group.initial.rebalance.delay.ms", "0")];

async fn json_of(broker: &TestBroker, path: &str) -> (String, Value) {
    let answer = broker.get(path).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), serde_json::from_str(body).unwrap())
}

/// The value of the one line that begins so.
async fn value_of(broker: &TestBroker, series: &str) -> f64 {
    let metrics = broker.metrics().await;
    let lines: Vec<&str> = metrics.lines().filter(|line| line.starts_with(series)).collect();
    assert_eq!(lines.len(), 1, "{series} in {metrics}");
    lines[0].rsplit(' ').next().unwrap().parse().unwrap()
}

/// Three records, an hour old, half an hour old, and new; a group of one member has committed the first.
async fn behind(client: &mut Client) -> String {
    find_coordinator(client).await;
    for age_minutes in [60, 30, 0] {
        append(client, "t", batch_at(now() - age_minutes * 60_000, &["record"])).await;
    }
    let joined = join_alone(client, 4).await;
    let me = joined.member_id.to_string();
    client.call(3, &sync(&joined, &[(&me, "all")])).await;
    let mut request: OffsetCommitRequest = commit(joined.generation_id, &me);
    request.topics[0].partitions[0].committed_offset = 1;
    assert_eq!(client.call(8, &request).await.topics[0].partitions[0].error_code, 0);
    me
}

#[tokio::test]
async fn a_group_is_told_with_its_lag_and_its_rebalances() {
    let broker = TestBroker::with(AT_ONCE).await;
    let mut client = broker.connect().await;
    let me = behind(&mut client).await;

    let (status, listed) = json_of(&broker, "/groups").await;
    assert_eq!(status, "HTTP/1.1 200 OK");
    let group = &listed["groups"][0];
    assert_eq!((&group["group"], &group["type"], &group["state"]), (&json!("g"), &json!("classic"), &json!("Stable")));
    assert_eq!((&group["members"], &group["lag_records"], &listed["loading"]), (&json!(1), &json!(2), &json!(false)));
    let half_an_hour = 1_800.0..1_900.0;
    assert!(half_an_hour.contains(&group["lag_seconds"].as_f64().unwrap()), "{group}");

    let (status, story) = json_of(&broker, "/groups/g").await;
    assert_eq!(status, "HTTP/1.1 200 OK");
    assert_eq!((&story["now"]["generation"], &story["now"]["protocol"]), (&json!(1), &json!("range")));
    assert_eq!(story["now"]["member_list"][0]["member_id"], json!(me));
    let lag = &story["now"]["lag"][0];
    assert_eq!((&lag["topic"], &lag["partition"], &lag["committed_offset"]), (&json!("t"), &json!(0), &json!(1)));
    assert_eq!((&lag["end_offset"], &lag["lag_records"]), (&json!(3), &json!(2)));
    let first = &story["rebalances"][0];
    assert_eq!(
        (&first["cause"], &first["outcome"], &first["generation"]),
        (&json!("joined"), &json!("stable"), &json!(1))
    );
    assert_eq!(first["members"][0]["member_id"], json!(me));
    let (joined, synced) = (&first["members"][0]["after_joined_ms"], &first["members"][0]["after_synced_ms"]);
    assert!(joined.as_u64() <= synced.as_u64() && synced.as_u64() <= first["after_ended_ms"].as_u64(), "{first}");

    let leave = LeaveGroupRequest { group_id: "g".into(), member_id: me.into(), ..LeaveGroupRequest::default() };
    assert_eq!(client.call(2, &leave).await.error_code, 0);
    let (_, story) = json_of(&broker, "/groups/g").await;
    assert_eq!((&story["now"]["state"], &story["now"]["members"]), (&json!("Empty"), &json!(0)));
    let last = &story["rebalances"][1];
    assert_eq!(
        (&last["cause"], &last["outcome"], &last["members"][0]["removed"]),
        (&json!("left"), &json!("empty"), &json!("left"))
    );

    let (status, _) = json_of(&broker, "/groups/nobody%2Fhere").await;
    assert_eq!(status, "HTTP/1.1 404 Not Found");
}

#[tokio::test]
async fn metrics_have_groups_and_topics() {
    let broker = TestBroker::with(AT_ONCE).await;
    let mut client = broker.connect().await;
    behind(&mut client).await;
    let request: FetchRequest = fetch("t", 0, 1);
    let read = fetched(client.call(12, &request).await).records.unwrap();

    assert_eq!(value_of(&broker, "cairn_group_members{group=\"g\"}").await, 1.0);
    assert_eq!(value_of(&broker, "cairn_group_state{group=\"g\",type=\"classic\",state=\"Stable\"}").await, 1.0);
    assert_eq!(value_of(&broker, "cairn_group_lag_records{group=\"g\",topic=\"t\"}").await, 2.0);
    let seconds = value_of(&broker, "cairn_group_lag_seconds{group=\"g\",topic=\"t\"}").await;
    assert!((1_800.0..1_900.0).contains(&seconds), "{seconds}");
    assert_eq!(value_of(&broker, "cairn_group_rebalances_of_group_total{group=\"g\",cause=\"joined\"}").await, 1.0);
    assert_eq!(value_of(&broker, "cairn_topic_records_in_total{topic=\"t\"}").await, 3.0);
    assert_eq!(value_of(&broker, "cairn_topic_records_out_total{topic=\"t\"}").await, 2.0);
    assert_eq!(value_of(&broker, "cairn_topic_out_bytes_total{topic=\"t\"}").await, read.len() as f64);
    let written = value_of(&broker, "cairn_topic_in_bytes_total{topic=\"t\"}").await;
    assert_eq!(written, read.len() as f64 / 2.0 * 3.0, "three batches of one length");
}

/// Whatever API it is, and wherever in the answer they stand.
#[tokio::test]
async fn errors_are_counted_by_api_and_code() {
    let broker = TestBroker::with(AT_ONCE).await;
    let mut client = broker.connect().await;
    find_coordinator(&mut client).await;
    let joined = join_alone(&mut client, 4).await;
    let stranger = HeartbeatRequest { member_id: "stranger".into(), ..heartbeat(&joined) };
    assert_ne!(client.call(3, &stranger).await.error_code, 0);
    let request: OffsetCommitRequest = commit(joined.generation_id + 1, &joined.member_id);
    assert_ne!(client.call(8, &request).await.topics[0].partitions[0].error_code, 0);
    let describe = ConsumerGroupDescribeRequest { group_ids: vec!["g".into(), "h".into()], ..Default::default() };
    assert_eq!(client.call(0, &describe).await.groups.len(), 2);
    client.call(12, &FetchRequest { session_id: 7, session_epoch: 3, ..fetch("t", 0, 0) }).await;
    let of = |api, error| format!("cairn_errors_total{{api=\"{api}\",error=\"{error}\"}}");
    for (api, error, times) in [
        ("JoinGroup", "MEMBER_ID_REQUIRED", 1.0),
        ("Heartbeat", "UNKNOWN_MEMBER_ID", 1.0),
        ("OffsetCommit", "ILLEGAL_GENERATION", 1.0),
        ("ConsumerGroupDescribe", "GROUP_ID_NOT_FOUND", 2.0),
        ("Fetch", "FETCH_SESSION_ID_NOT_FOUND", 1.0),
    ] {
        assert_eq!(value_of(&broker, &of(api, error)).await, times, "{api}");
    }
}

#[tokio::test]
async fn the_time_in_storage_is_told_by_api() {
    let broker = TestBroker::with(AT_ONCE).await;
    let mut client = broker.connect().await;
    behind(&mut client).await;
    fetched(client.call(12, &fetch("t", 0, 0)).await);
    let of = |api, what| format!("cairn_request_storage_time_seconds_{what}{{api=\"{api}\"}}");
    for (api, times) in
        [("Produce", 3.0), ("Fetch", 1.0), ("OffsetCommit", 1.0), ("SyncGroup", 1.0), ("Heartbeat", 0.0)]
    {
        assert_eq!(value_of(&broker, &of(api, "count")).await, times, "{api}");
        assert_eq!(value_of(&broker, &of(api, "sum")).await > 0.0, times > 0.0, "{api}");
    }
}

#[tokio::test]
async fn the_configs_have_the_real_address_of_the_metrics() {
    let broker = TestBroker::start().await;
    let resource = DescribeConfigsResource { resource_type: 4, resource_name: "1".into(), ..Default::default() };
    let request = DescribeConfigsRequest { resources: vec![resource], ..DescribeConfigsRequest::default() };
    let described = broker.connect().await.call(4, &request).await.results.remove(0).configs;
    let metrics = described.iter().find(|config| &*config.name == "metrics.listener").unwrap();
    assert_eq!(metrics.value.as_deref(), Some(&*broker.broker.addresses().metrics.to_string()));
    assert!(metrics.read_only);
}

#[tokio::test]
async fn the_time_of_requests_is_told_by_where_it_went() {
    let broker = TestBroker::start().await;
    let mut client = broker.connect().await;
    find_coordinator(&mut client).await;
    append(&mut client, "t", batch_at(now(), &["record"])).await;
    let waits = FetchRequest { max_wait_ms: 50, min_bytes: 1, ..fetch("t", 0, 1) };
    fetched(client.call(12, &waits).await);

    let count = async |name: &str, api: &str| value_of(&broker, &format!("cairn_{name}_count{{api=\"{api}\"}}")).await;
    for name in ["request_time_seconds", "request_queue_time_seconds", "request_handling_time_seconds"] {
        assert_eq!((count(name, "Produce").await, count(name, "Fetch").await), (1.0, 1.0), "{name}");
    }
    let waited = "request_waiting_time_seconds";
    assert_eq!((count(waited, "Produce").await, count(waited, "Fetch").await), (0.0, 1.0));
    let sum = value_of(&broker, "cairn_request_waiting_time_seconds_sum{api=\"Fetch\"}").await;
    assert!(sum >= 0.05, "{sum}");
    assert!(value_of(&broker, "cairn_storage_append_maps ").await > 0.0);
}

/// What a metric is, as the page on metrics tells it: name, type, labels and meaning.
fn rows_of(metrics: &str) -> BTreeSet<String> {
    let mut rows = BTreeSet::new();
    let (mut help, mut name, mut kind) = ("", "", "");
    let mut labels: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for line in metrics.lines() {
        if let Some(told) = line.strip_prefix("# HELP ") {
            (name, help) = told.split_once(' ').unwrap();
        } else if let Some(told) = line.strip_prefix("# TYPE ") {
            kind = told.split_once(' ').unwrap().1;
        } else if let Some(unit) = line.strip_prefix("# UNIT ") {
            let (of, unit) = unit.split_once(' ').unwrap();
            assert!(of.ends_with(&format!("_{unit}")), "{line}");
        } else if line.starts_with("cairn_") {
            assert!(line.starts_with(name), "{line} under {name}");
            let known = labels.entry(name).or_default();
            let inside =
                line.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(inside, _)| inside);
            known.extend(inside.split(',').filter_map(|label| label.split_once("=\"")).map(|(label, _)| label));
            known.remove("le");
            let shown = if kind == "counter" { format!("{name}_total") } else { name.to_owned() };
            let labels: Vec<&str> = known.iter().copied().collect();
            rows.insert(format!("| `{shown}` | {kind} | {} | {help} |", labels.join(", ")));
        }
    }
    rows
}

/// Dashboards and alerts live by them. Every metric is provoked here, and each is on the page as it is.
#[tokio::test]
async fn every_metric_is_on_the_page_with_its_type_labels_and_meaning() {
    let quotas = ("quota.window.num", "1");
    let broker = TestBroker::with(&[AT_ONCE, &[quotas, ("max.connection.creation.rate", "1")]].concat()).await;
    let mut client = broker.connect().await;
    let me = behind(&mut client).await;
    fetched(client.call(12, &fetch("t", 0, 1)).await);
    let leave = LeaveGroupRequest { group_id: "g".into(), member_id: me.into(), ..LeaveGroupRequest::default() };
    assert_eq!(client.call(2, &leave).await.error_code, 0);
    let stranger = HeartbeatRequest { group_id: "g".into(), member_id: "stranger".into(), ..Default::default() };
    assert_ne!(client.call(3, &stranger).await.error_code, 0);
    drop(broker.connect().await);
    assert_eq!(set(&mut client, &[("client-id=*", &[("producer_byte_rate", 1.0)])]).await, [0]);
    append(&mut client, "t", batch_at(now(), &["beyond the quota"])).await;
    let wanted =
        ["cairn_connections_ended_total", "cairn_connections_delayed_total", "cairn_throttle_time_seconds_count"];
    let seen = loop {
        let seen = broker.metrics().await;
        if wanted.iter().all(|name| seen.contains(name)) {
            break seen;
        }
        drop(broker.connect().await);
    };
    let rows = rows_of(seen.split_once("\r\n\r\n").unwrap().1);

    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    let page = std::fs::read_to_string(page).unwrap();
    let told: BTreeSet<String> = page.lines().filter(|line| line.starts_with("| `cairn_")).map(Into::into).collect();
    let missing: Vec<&String> = rows.difference(&told).collect();
    let wrong: Vec<&String> = told.difference(&rows).collect();
    assert!(missing.is_empty() && wrong.is_empty(), "not on the page: {missing:#?}\nonly there: {wrong:#?}");
}
