use cairn_protocol::ids::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::commit::{CommitError, GroupCommit, PartitionCommit};
use crate::settings::METADATA_CHARS_MAX;
use crate::timers::Ticks;

const NOW: Now = Now { wall: Timestamp(1_000), ticks: Ticks(0) };
const NO_TOPIC: TopicId = TopicId::ZERO;

fn topic_id(number: u128) -> TopicId {
    TopicId(uuid::Uuid::from_u128(number))
}

fn by(group: &str) -> GroupCommit<'_> {
    GroupCommit {
        group,
        generation: -1,
        member: "",
        instance: None,
        retention_ms: -1,
        unknown_group: CommitError::IllegalGeneration,
        version: 9,
    }
}

fn at(partition: i32, offset: i64) -> PartitionCommit<'static> {
    PartitionCommit {
        topic: "t",
        topic_id: topic_id(1),
        partition: PartitionIndex(partition),
        offset: Offset(offset),
        leader_epoch: 3,
        metadata: "m",
    }
}

fn decide(shard: &mut Shard, by: GroupCommit<'_>, partitions: &[PartitionCommit<'_>]) -> CommitOutcome {
    shard.commit(&Commit { by, partitions }, NOW)
}

/// What offset a record changes.
fn changed(record: &Record) -> &OffsetKey {
    match &record.change {
        Change::Offset(change) => &change.key,
        other => panic!("not about an offset: {other:?}"),
    }
}

fn fetched(shard: &Shard, group: &str, partition: i32) -> Option<i64> {
    shard.fetch(group, "t", NO_TOPIC, PartitionIndex(partition)).map(|committed| committed.offset.0)
}

#[test]
fn a_commit_is_seen_when_it_is_durable() {
    let mut shard = Shard::new();
    let outcome = decide(&mut shard, by("g"), &[at(0, 10), at(1, 11)]);
    assert_eq!((outcome.records.len(), outcome.results), (2, vec![Ok(()), Ok(())]));
    shard.on_appended(Offset(5), outcome.records);
    let next = decide(&mut shard, by("g"), &[at(0, 20)]);
    shard.on_appended(Offset(7), next.records);
    let seen = |shard: &Shard| (fetched(shard, "g", 0), fetched(shard, "g", 1));
    assert_eq!(seen(&shard), (None, None));
    shard.on_committed(Offset(5));
    assert_eq!(seen(&shard), (None, None));
    shard.on_committed(Offset(6));
    assert_eq!(seen(&shard), (Some(10), None));
    shard.on_committed(Offset(7));
    assert_eq!(seen(&shard), (Some(10), Some(11)));
    shard.on_committed(Offset(8));
    assert_eq!(seen(&shard), (Some(20), Some(11)));
    let committed = shard.fetch("g", "t", NO_TOPIC, PartitionIndex(0)).expect("committed");
    let expected = CommittedOffset {
        offset: Offset(20),
        leader_epoch: Some(cairn_protocol::ids::LeaderEpoch(3)),
        metadata: "m".into(),
        committed_at: NOW.wall,
        expires_at: None,
        topic_id: topic_id(1),
    };
    assert_eq!(committed, &expected);
}

#[test]
#[should_panic(expected = "records at 5 came after those at 5")]
fn records_come_in_the_order_of_the_log() {
    let mut shard = Shard::new();
    let outcome = decide(&mut shard, by("g"), &[at(0, 10)]);
    shard.on_appended(Offset(5), outcome.records.clone());
    shard.on_appended(Offset(5), outcome.records);
}

#[test]
fn a_generation_needs_a_group_that_has_it() {
    let mut shard = Shard::new();
    let with = |generation, version| GroupCommit {
        generation,
        member: "member-1",
        unknown_group: CommitError::for_unknown_group(version),
        version: 9,
        ..by("g")
    };
    let result = |shard: &mut Shard, by| decide(shard, by, &[at(0, 1)]).results[0];
    assert_eq!(result(&mut shard, with(0, 8)), Err(CommitError::IllegalGeneration));
    assert_eq!(result(&mut shard, with(0, 9)), Err(CommitError::GroupIdNotFound));
    let outcome = decide(&mut shard, by("g"), &[at(0, 1)]);
    shard.on_appended(Offset(0), outcome.records);
    assert_eq!(result(&mut shard, with(0, 8)), Err(CommitError::UnknownMemberId), "appended");
    shard.on_committed(Offset(1));
    assert_eq!(result(&mut shard, with(7, 9)), Err(CommitError::UnknownMemberId), "durable");
    let refused = decide(&mut shard, with(0, 8), &[at(0, 1), at(1, 1)]);
    assert_eq!((refused.records.len(), refused.results.len()), (0, 2));
}

#[test]
fn metadata_is_bounded_as_kafka_counts_it() {
    let mut shard = Shard::new();
    let fits = ["m".repeat(METADATA_CHARS_MAX), "é".repeat(METADATA_CHARS_MAX), "🚀".repeat(METADATA_CHARS_MAX / 2)];
    for metadata in &fits {
        let longer = format!("{metadata}m");
        let mut commit = |metadata| decide(&mut shard, by("g"), &[PartitionCommit { metadata, ..at(0, 1) }, at(1, 1)]);
        assert_eq!(commit(metadata).results, [Ok(()), Ok(())]);
        let refused = commit(&longer);
        assert_eq!(refused.results, [Err(CommitError::MetadataTooLarge), Ok(())], "the others go on");
        assert_eq!(refused.records.len(), 1);
    }
}

#[test]
fn an_offset_of_another_topic_with_the_same_name_does_not_count() {
    let mut shard = Shard::new();
    let old_client = PartitionCommit { topic_id: NO_TOPIC, ..at(1, 11) };
    let outcome = decide(&mut shard, by("g"), &[at(0, 10), old_client]);
    shard.on_appended(Offset(0), outcome.records);
    shard.on_committed(Offset(2));
    let fetch = |topic_id, partition| {
        shard.fetch("g", "t", topic_id, PartitionIndex(partition)).map(|committed| committed.offset.0)
    };
    assert_eq!([fetch(NO_TOPIC, 0), fetch(topic_id(1), 0), fetch(topic_id(2), 0)], [Some(10), Some(10), None]);
    assert_eq!([fetch(NO_TOPIC, 1), fetch(topic_id(2), 1)], [Some(11), Some(11)]);
    let keys = |records: Vec<Record>| records.iter().map(|record| changed(record).partition.0).collect::<Vec<_>>();
    assert_eq!(keys(shard.on_topic_deleted("t", topic_id(1))), [0, 1]);
    assert_eq!(keys(shard.on_topic_deleted("t", topic_id(2))), [1]);
    assert_eq!(keys(shard.on_topic_deleted("u", topic_id(1))), [0; 0]);
}

#[test]
fn offsets_expire() {
    let mut shard = Shard::new();
    let kept_longer = GroupCommit { retention_ms: 5_000, ..by("old") };
    let first = decide(&mut shard, by("g"), &[at(0, 10)]);
    shard.on_appended(Offset(0), first.records);
    let second = decide(&mut shard, kept_longer, &[at(0, 20)]);
    shard.on_appended(Offset(1), second.records);
    shard.on_committed(Offset(2));
    let groups = |now| {
        let records = shard.expire(Timestamp(now), 100);
        assert!(records.iter().all(|record| record.value.is_none()));
        records.iter().map(|record| changed(record).group.clone()).collect::<Vec<_>>()
    };
    assert_eq!(groups(1_099), [] as [Box<str>; 0]);
    assert_eq!(groups(1_100), ["g".into()]);
    assert_eq!(groups(5_999), ["g".into()]);
    assert_eq!(groups(6_000).len(), 2);
}

#[test]
fn what_is_changing_does_not_expire() {
    let mut shard = Shard::new();
    let first = decide(&mut shard, by("g"), &[at(0, 10)]);
    shard.on_appended(Offset(0), first.records);
    shard.on_committed(Offset(1));
    let again = decide(&mut shard, by("g"), &[at(0, 11)]);
    shard.on_appended(Offset(1), again.records);
    assert_eq!(shard.expire(Timestamp(i64::MAX), 0), []);
    shard.on_committed(Offset(2));
    let tombstones = shard.expire(Timestamp(i64::MAX), 0);
    shard.on_appended(Offset(2), tombstones);
    shard.on_committed(Offset(3));
    assert_eq!((fetched(&shard, "g", 0), shard.groups().count()), (None, 0));
}

#[test]
fn unknown_records_are_left_alone() {
    let mut shard = Shard::new();
    let key = Bytes::from_static(&[0, 9, 0, 1, b'g']);
    assert_eq!(shard.load(&key, None).expect("a type"), Loaded::Unknown(9));
    assert!(matches!(shard.load(&Bytes::new(), None), Err(RecordError::NoKey)));
}

/// One step of a random life: a group's commit, or the deletion of a topic, and how much of the log is durable after it.
#[derive(Clone, Debug)]
struct Step {
    group: u8,
    topic: u8,
    partition: i32,
    offset: i64,
    deletes: bool,
    durable: i64,
}

fn any_step() -> impl Strategy<Value = Step> {
    (0..3u8, 0..2u8, 0..3i32, 0..100i64, prop::bool::weighted(0.2), 0..4i64).prop_map(
        |(group, topic, partition, offset, deletes, durable)| Step {
            group,
            topic,
            partition,
            offset,
            deletes,
            durable,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is durable is what a shard that loads the log after a crash finds, and nothing else.
    #[test]
    fn a_reloaded_shard_knows_what_was_durable(steps in prop::collection::vec(any_step(), 1..60)) {
        let mut shard = Shard::new();
        let mut log: Vec<Record> = Vec::new();
        let mut durable = 0usize;
        for step in steps {
            let (group, topic) = (format!("g{}", step.group), format!("t{}", step.topic));
            let records = if step.deletes {
                shard.on_topic_deleted(&topic, NO_TOPIC)
            } else {
                decide(&mut shard, by(&group), &[PartitionCommit { topic: &topic, ..at(step.partition, step.offset) }]).records
            };
            shard.on_appended(Offset(i64::try_from(log.len())?), records.clone());
            log.extend(records);
            durable = log.len().min(durable + usize::try_from(step.durable)?);
            shard.on_committed(Offset(i64::try_from(durable)?));

            let mut reloaded = Shard::new();
            for record in &log[..durable] {
                reloaded.load(&record.key, record.value.as_ref())?;
            }
            for group in ["g0", "g1", "g2"] {
                let all = |shard: &Shard| -> Vec<_> {
                    shard
                        .fetch_all(group)
                        .flat_map(|(topic, partitions)| partitions.map(move |(p, c)| (topic.to_owned(), p, c.clone())))
                        .collect()
                };
                prop_assert_eq!(all(&shard), all(&reloaded));
            }
        }
    }
}
