//! What static members do: who comes back under the same instance id is the same member.

use super::*;

#[test]
fn a_static_member_is_awaited_as_long_as_its_session() {
    let mut bench = Bench::new();
    let first = bench.ask_to_join(|join| join.instance = Some("i"));
    bench.pass(DELAY_MS);
    let id = bench.joined(first).expect("joined").member.clone();
    assert_eq!(&*id, "i-1");
    let leaver = Leaver { member: "", instance: Some("j"), reason: None };
    let (results, _) = bench.shard.leave("g", &[leaver], bench.now);
    assert_eq!(results, [Err(ErrorCode::UnknownMemberId)]);

    // It comes back while its generation is being assigned: everybody has to join again.
    let back = bench.ask_to_join(|join| join.instance = Some("i"));
    assert_eq!(bench.joined(back).map(|reply| (reply.generation, &*reply.member)), Some((2, "i-2")));
    let old = bench.ask_to_join(|join| (join.instance, join.member) = (Some("i"), "i-1"));
    assert_eq!(bench.joined(old).map(|reply| reply.error), Some(ErrorCode::FencedInstanceId));
    let stranger = bench.ask_to_join(|join| (join.instance, join.member) = (Some("k"), "i-2"));
    assert_eq!(bench.joined(stranger).map(|reply| reply.error), Some(ErrorCode::UnknownMemberId));
}

#[test]
fn a_static_member_that_allows_no_time_is_awaited_all_the_same() {
    let mut bench = Bench::new();
    let silent = bench.ask_to_join(|join| (join.instance, join.rebalance_timeout_ms) = (Some("i"), 0));
    bench.add();
    bench.pass(DELAY_MS);
    bench.pass(DELAY_MS);
    assert_eq!(bench.joined(silent).map(|reply| (reply.generation, &*reply.member)), Some((1, "i-1")));
    bench.sync("c-2", 1, &[]);
    bench.sync("i-1", 1, &[("i-1", "one"), ("c-2", "two")]);
    assert_eq!(bench.state(), GroupState::Stable);
    let leaver = Leaver { member: "c-2", instance: None, reason: None };
    let (results, effects) = bench.shard.leave("g", &[leaver], bench.now);
    assert_eq!(results, [Ok(())]);
    bench.carry_out(effects);
    // Its timer is due again and again, and still the time it is due at passes.
    bench.pass(1);
    assert_eq!(bench.state(), GroupState::PreparingRebalance);
    bench.pass(SESSION_MS);
    assert_eq!(bench.state(), GroupState::Empty);
}

#[test]
fn a_static_member_whose_new_id_is_not_written_keeps_its_old_one() {
    let mut bench = Bench::new();
    bench.ask_to_join(|join| join.instance = Some("i"));
    bench.pass(DELAY_MS);
    bench.sync("i-1", 1, &[("i-1", "all")]);
    let stored = bench.shard.describe("g");
    bench.held = Some(Vec::new());
    let back = bench.ask_to_join(|join| join.instance = Some("i"));
    assert_eq!(bench.joined(back), None, "its id has to be durable first");
    let refused = bench.held.take().expect("set").remove(0);
    bench.write(refused, Err(ErrorCode::CoordinatorNotAvailable));
    assert_eq!(bench.joined(back).map(|reply| reply.error), Some(ErrorCode::CoordinatorNotAvailable));
    assert_eq!(bench.shard.describe("g"), stored);
    assert_eq!(bench.heartbeat("i-1", 1), Ok(()));
}
