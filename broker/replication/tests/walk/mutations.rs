//! Every rule is there for something: with it switched off, walks find what it prevents.
//!
//! Must not know: how rules are kept.

use cairn_metadata::Rule as Quorum;
use cairn_replication::Rule as Replica;

use super::{Mode, Rules, Strictness, number, shrink, tell, walk};

#[derive(Clone, Copy, Debug)]
enum Off {
    Replica(Replica),
    Quorum(Quorum),
}

const SYNC: Mode = Mode::Sync;
const ASYNC: Mode = Mode::Async;
const WIPE: Mode = Mode::Wipe;
const SYNC_WIPE: Mode = Mode::SyncWipe;
const LOSS: Strictness = Strictness::Loss;

/// Each rule, the modes in which walks find it missing, and within how many walks at most.
const TABLE: [(Off, &[Mode], Strictness, u64); 29] = [
    (Off::Replica(Replica::CutAtConflictOnly), &[SYNC, ASYNC, WIPE], LOSS, 2_000),
    (Off::Replica(Replica::PreviousEpoch), &[SYNC, ASYNC, WIPE], LOSS, 4_000),
    (Off::Replica(Replica::SkipPresent), &[SYNC, ASYNC, WIPE], LOSS, 2_000),
    (Off::Replica(Replica::AckWhatIsProven), &[SYNC, ASYNC, WIPE], LOSS, 4_000),
    (Off::Replica(Replica::ProvenHighWatermark), &[SYNC, ASYNC, WIPE], LOSS, 4_000),
    (Off::Replica(Replica::RefuseOlderEpoch), &[SYNC, ASYNC, WIPE], LOSS, 100_000),
    (Off::Replica(Replica::ReachOfficeStart), &[SYNC, ASYNC, WIPE], LOSS, 40_000),
    (Off::Replica(Replica::ProvenJoin), &[SYNC, ASYNC, WIPE], LOSS, 2_000),
    (Off::Replica(Replica::MaximalIsr), &[SYNC, ASYNC, WIPE], LOSS, 8_000),
    (Off::Replica(Replica::MinIsr), &[SYNC, ASYNC, WIPE], LOSS, 1_000),
    (Off::Replica(Replica::MinIsrOfCommitted), &[SYNC, ASYNC, WIPE], LOSS, 2_000),
    (Off::Replica(Replica::FollowerFlushes), &[SYNC, SYNC_WIPE], LOSS, 2_000),
    (Off::Replica(Replica::LeaderFlushes), &[SYNC], LOSS, 2_000),
    (Off::Replica(Replica::AckOfThisEpoch), &[ASYNC], LOSS, 100_000),
    (Off::Replica(Replica::AckOfThisIncarnation), &[ASYNC, WIPE, SYNC_WIPE], LOSS, 40_000),
    (Off::Replica(Replica::ForgetFormerIncarnation), &[ASYNC, WIPE, SYNC_WIPE], LOSS, 10_000),
    (Off::Quorum(Quorum::ComparePartitionEpoch), &[SYNC, ASYNC, WIPE], LOSS, 100_000),
    (Off::Quorum(Quorum::RecordedOutcome), &[SYNC, ASYNC, WIPE], LOSS, 20_000),
    (Off::Quorum(Quorum::RegisteringFences), &[SYNC, ASYNC, WIPE], LOSS, 4_000),
    (Off::Quorum(Quorum::MemberIncarnations), &[ASYNC, WIPE, SYNC_WIPE], LOSS, 200_000),
    (Off::Quorum(Quorum::ServingMembers), &[ASYNC, WIPE, SYNC_WIPE], Strictness::All, 10_000),
    (Off::Quorum(Quorum::LossyIsNotEligible), &[ASYNC, WIPE, SYNC_WIPE], LOSS, 2_000),
    (Off::Quorum(Quorum::LastMemberLeaves), &[ASYNC, WIPE, SYNC_WIPE], LOSS, 20_000),
    (Off::Quorum(Quorum::JoiningRaisesEpoch), &[Mode::Move], LOSS, 200_000),
    (Off::Quorum(Quorum::MoveKeepsMinIsr), &[Mode::Move], LOSS, 40_000),
    (Off::Quorum(Quorum::MemoryUntilFlushed), &[Mode::Switch], LOSS, 20_000),
    (Off::Replica(Replica::ClaimWhatIsFlushed), &[Mode::Switch], LOSS, 20_000),
    (Off::Replica(Replica::HolesHaveEpochs), &[Mode::Trim], LOSS, 40_000),
    (Off::Replica(Replica::UncleanUndoes), &[Mode::Unclean], LOSS, 20_000),
];

fn rules_without(off: Off) -> Rules {
    let all = Rules::default();
    match off {
        Off::Replica(rule) => Rules { replica: all.replica.without(rule), ..all },
        Off::Quorum(rule) => Rules { quorum: all.quorum.without(rule), ..all },
    }
}

#[test]
fn walks_find_every_rule_that_is_missing() {
    let first = number("CAIRN_SEED").unwrap_or(0);
    let mut missed = Vec::new();
    for (off, modes, strictness, budget) in TABLE {
        for mode in modes {
            let rules = rules_without(off);
            let started = std::time::Instant::now();
            let find = |seed: &u64| walk(*mode, rules, first + *seed, strictness).found.is_some();
            match (0..budget).find(find) {
                Some(seed) => {
                    let (violation, step) = walk(*mode, rules, first + seed, strictness).found.expect("found");
                    println!("{off:?} {mode:?}: walk {} {violation:?} {:.1?}", seed + 1, started.elapsed());
                    if std::env::var("CAIRN_TELL").is_ok() {
                        tell(*mode, rules, &shrink(*mode, rules, first + seed, step, strictness));
                    }
                }
                None => {
                    println!("{off:?} {mode:?}: not found in {budget} walks {:.1?}", started.elapsed());
                    missed.push((off, mode));
                }
            }
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
