//! Admin calls of the client library about log dirs, members, offsets and producers, against a real broker: Cairn, or the one that
//! `CAIRN_TEST_BOOTSTRAP` names.
//!
//! With Apache Kafka: `CAIRN_TEST_BOOTSTRAP=localhost:9092 cargo test -p cairn --test administering`.

mod support;

use std::collections::HashMap;
use std::time::Duration;

use cairn_client::{
    ErrorCode, IsolationLevel, NewTopic, Offset, OffsetSpec, ProducerRecord, RebalanceKind, RemovedMember, Timestamp,
    TopicPartition,
};

use crate::support::place::{Place, unique};

/// More than any of it takes, so that it only ends what hangs.
const LONG: Duration = Duration::from_secs(60);

fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let bounded = async { tokio::time::timeout(LONG, work).await.expect("it does not hang") };
    runtime.expect("a runtime").block_on(bounded)
}

#[test]
fn offsets_producers_and_log_dirs_are_told() {
    let place = Place::new();
    block_on(async {
        let (client, topic) = (place.client(), unique("told"));
        let (admin, partition) = (client.admin(), TopicPartition::new(topic.as_str(), 0));
        admin.create_topic(&NewTopic::new(&topic)).await.expect("created");
        assert_eq!(admin.describe_producers(&partition).await.expect("described"), []);
        let producer = client.producer().build().expect("valid");
        for time in [1_000, 2_000, 3_000] {
            let record = ProducerRecord::to(topic.as_str()).value("v").timestamp_ms(time);
            producer.send(record).await.expect("sent").await.expect("written");
        }
        let of = async |spec| {
            let wanted = HashMap::from([(partition.clone(), spec)]);
            let listed = admin.list_offsets(&wanted, IsolationLevel::ReadCommitted).await.expect("listed");
            listed[&partition]
        };
        assert_eq!(of(OffsetSpec::Earliest).await, Some(Offset(0)));
        assert_eq!(of(OffsetSpec::Latest).await, Some(Offset(3)));
        assert_eq!(of(OffsetSpec::Time(Timestamp(1_500))).await, Some(Offset(1)));
        assert_eq!(of(OffsetSpec::Time(Timestamp(3_001))).await, None);

        let producers = admin.describe_producers(&partition).await.expect("described");
        assert_eq!(producers.len(), 1);
        assert_eq!((producers[0].last_sequence, producers[0].transaction_start), (Some(2), None));

        let leader = admin.describe_topic(&topic).await.expect("described").partitions[0].leader.expect("a leader");
        let dirs = admin.describe_log_dirs(leader).await.expect("described");
        let is_ours = |dir: &&cairn_client::LogDirDescription| dir.logs.iter().any(|log| log.partition == partition);
        let path = dirs.iter().find(is_ours).expect("it is in one").path.clone();
        let all = [partition.clone()];
        admin.alter_replica_log_dirs(leader, &path, &all).await.expect("it is there already");
        let refused = admin.alter_replica_log_dirs(leader, "/nowhere", &all).await.expect_err("no such dir");
        assert_eq!(refused.code(), Some(ErrorCode::LogDirNotFound));
    });
}

#[test]
fn a_static_member_is_removed_by_its_instance() {
    let place = Place::new();
    block_on(async {
        let (client, topic, group) = (place.client(), unique("removed"), unique("removed-group"));
        let admin = client.admin();
        admin.create_topic(&NewTopic::new(&topic)).await.expect("created");
        let instance = || RemovedMember::Instance("one".into());
        let consumer = client.consumer().group(&*group).group_instance_id("one").build().expect("valid");
        let mut rebalances = consumer.rebalances();
        consumer.subscribe([topic.as_str()]).expect("a group");
        let given = rebalances.next().await.expect("it takes part");
        assert_eq!((given.kind(), given.partitions().len()), (RebalanceKind::Assigned, 1));
        drop(given);
        // It says nothing when it closes: its place is kept until somebody else says that it is gone.
        consumer.close().await;
        let described = admin.describe_group(&group).await.expect("described");
        assert_eq!(described.members.len(), 1);
        assert_eq!(described.members[0].instance.as_deref(), Some("one"));
        admin.remove_members(&group, &[instance()]).await.expect("removed");
        assert_eq!(admin.describe_group(&group).await.expect("described").members, []);
        let refused = admin.remove_members(&group, &[instance()]).await.expect_err("it is gone");
        assert_eq!(refused.code(), Some(ErrorCode::UnknownMemberId));
    });
}
