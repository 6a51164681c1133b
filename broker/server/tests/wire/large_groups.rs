//! Groups of the consumer protocol that are large: what takes long is worked out elsewhere, and what cannot be written is told.

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use cairn_protocol::messages::{ConsumerGroupHeartbeatRequest, IncrementalAlterConfigsRequest};

use crate::consumer_groups::{Member, joining};
use crate::groups::find_coordinator;
use crate::harness::{Client, TestBroker};
use crate::records::make_topic;

/// More than is assigned together with a heartbeat.
const PARTITIONS: usize = 5_000;

#[tokio::test]
async fn who_is_given_many_partitions_has_them_with_the_first_answer() {
    let broker = TestBroker::with(&[("num.partitions", &PARTITIONS.to_string())]).await;
    let mut client = broker.connect().await;
    find_coordinator(&mut client).await;
    make_topic(&mut client, "t").await;
    let request = ConsumerGroupHeartbeatRequest { subscribed_topic_names: Some(vec!["t".into()]), ..joining("one") };
    let one = Member::join_with(&mut client, &request).await;
    assert_eq!(one.owned.len(), PARTITIONS);
    let calm = client.call(1, &one.alive()).await;
    assert_eq!((calm.error_code, calm.member_epoch, calm.assignment), (0, one.epoch, None));
    assert_eq!(calm.heartbeat_interval_ms, 5_000);
    let again = Member::join_with(&mut client, &request).await;
    assert_eq!((again.epoch, again.owned.len()), (one.epoch, PARTITIONS), "who has lost the answer hears it once more");
}

/// Sets `max.message.bytes` of the topic of the groups.
async fn bound_batches(client: &mut Client, bytes: &str) {
    let config =
        AlterableConfig { name: "max.message.bytes".into(), value: Some(bytes.into()), ..AlterableConfig::default() };
    let resource =
        AlterConfigsResource { resource_type: 2, resource_name: "__consumer_offsets".into(), configs: vec![config] };
    let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
    assert_eq!(client.call(1, &request).await.responses[0].error_code, 0);
}

#[tokio::test]
async fn a_member_that_does_not_fit_into_a_batch_is_told_so_and_the_group_stays() {
    let broker = TestBroker::with(&[("num.partitions", "2"), ("group.consumer.assignment.interval.ms", "0")]).await;
    let mut client = broker.connect().await;
    find_coordinator(&mut client).await;
    make_topic(&mut client, "t").await;
    let mut one = Member::join(&mut client, "one", &["t"]).await;
    assert_eq!(one.owned, [0, 1]);

    bound_batches(&mut client, "1000").await;
    let many = (0..20).map(|n| format!("{n}-{}", "x".repeat(100)).into()).collect();
    let request = ConsumerGroupHeartbeatRequest { subscribed_topic_names: Some(many), ..joining("two") };
    let refused = client.call(1, &request).await;
    assert_eq!((refused.error_code, refused.member_epoch), (ErrorCode::UnknownServerError.code(), 0));
    let message = refused.error_message.expect("why");
    assert!(message.contains("max.message.bytes"), "{message}");

    // The others are as they were, and it comes in as soon as there is room.
    let calm = client.call(1, &one.alive()).await;
    assert_eq!((calm.error_code, calm.member_epoch, calm.assignment.clone()), (0, one.epoch, None));
    one.take(calm);
    bound_batches(&mut client, "1000000").await;
    let joined = client.call(1, &request).await;
    assert_eq!((joined.error_code, joined.member_epoch), (0, one.epoch + 1));

    let broker = broker.restart(&[]).await;
    let mut client = broker.connect().await;
    let alive = loop {
        let alive = client.call(1, &one.alive()).await;
        if alive.error_code != ErrorCode::CoordinatorLoadInProgress.code() {
            break alive;
        }
    };
    assert_eq!((alive.error_code, alive.member_epoch), (0, one.epoch + 1));
}
