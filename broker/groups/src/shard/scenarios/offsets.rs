//! What becomes of the offsets of groups with members.

use super::*;

/// Whether the records delete the group itself, and how many offsets.
fn deleted(records: &[Record]) -> (usize, bool) {
    let group = records.iter().filter(|record| matches!(record.change, Change::GroupDeleted(_))).count();
    (records.len() - group, group == 1)
}

#[test]
fn offsets_of_a_group_age_from_when_it_is_empty_and_go_with_it() {
    let mut bench = Bench::stable();
    bench.commit("t");
    bench.commit("u");
    let expire = |bench: &Bench| bench.shard.expire(bench.now.wall, 100_000);
    for _ in 0..20 {
        bench.pass(5_000);
        assert_eq!((bench.heartbeat("c-1", 1), bench.heartbeat("c-2", 1)), (Ok(()), Ok(())));
    }
    // The members read t, and not u any more.
    let records = expire(&bench);
    assert_eq!(deleted(&records), (1, false));
    bench.append(records);
    let leavers = ["c-1", "c-2"].map(|member| Leaver { member, instance: None, reason: None });
    let (results, effects) = bench.shard.leave("g", &leavers, bench.now);
    assert_eq!(results, [Ok(()), Ok(())]);
    bench.carry_out(effects);
    assert_eq!(bench.state(), GroupState::Empty);
    bench.pass(99_999);
    assert_eq!(deleted(&expire(&bench)), (0, false));
    bench.pass(1);
    let records = expire(&bench);
    assert_eq!(deleted(&records), (1, true));
    bench.append(records);
    assert_eq!((bench.shard.describe("g"), bench.shard.list().count()), (None, 0));
    let reloaded = bench.reload(GroupSettings::default());
    assert_eq!(reloaded.shard.describe("g"), None);
}

#[test]
fn only_offsets_of_topics_that_nobody_reads_can_be_deleted() {
    let mut bench = Bench::stable();
    bench.commit("t");
    bench.commit("u");
    let at = |topic| (topic, PartitionIndex(0));
    let outcome = bench.shard.delete_offsets("g", &[at("t"), at("u"), at("v")]).expect("a group");
    assert_eq!(outcome.results, [Err(ErrorCode::GroupSubscribedToTopic), Ok(()), Ok(())]);
    assert_eq!(deleted(&outcome.records), (1, false));
    assert_eq!(bench.shard.delete_offsets("x", &[]).map(|_| ()), Err(ErrorCode::GroupIdNotFound));
    assert_eq!(bench.shard.delete("g"), Err(ErrorCode::NonEmptyGroup));

    let mut bench = Bench::new();
    bench.ask_to_join(|join| (join.version, join.protocol_type) = (3, "connect"));
    bench.pass(DELAY_MS);
    assert_eq!(bench.shard.delete_offsets("g", &[at("t")]).map(|_| ()), Err(ErrorCode::NonEmptyGroup));
}
