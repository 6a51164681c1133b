//! The simulation finds what it is there for: with a rule switched off, runs find what it prevents.
//!
//! Must not know: how rules are kept.

use cairn_metadata::Rule as Quorum;
use cairn_replication::Rule as Replica;

use crate::setup::{CleanMarks, FirstBatches, Groups, Leases, Leaving, Rules};
use crate::trace::Telling;
use crate::{number, run_seed};

#[derive(Clone, Copy, Debug)]
enum Off {
    Replica(Replica),
    Quorum(Quorum),
    Leases,
    FirstBatches,
    Groups(Groups),
    CleanMarks,
}

/// Each rule, and within how many runs it is found missing at most.
const TABLE: [(Off, u64); 13] = [
    (Off::Replica(Replica::CutAtConflictOnly), 60),
    (Off::Replica(Replica::PreviousEpoch), 60),
    (Off::Replica(Replica::SkipPresent), 60),
    (Off::Replica(Replica::AckWhatIsProven), 60),
    (Off::Replica(Replica::ProvenJoin), 60),
    (Off::Replica(Replica::MinIsr), 60),
    (Off::Quorum(Quorum::LossyIsNotEligible), 60),
    (Off::Leases, 60),
    (Off::FirstBatches, 60),
    (Off::CleanMarks, 400),
    (Off::Groups(Groups::KeptOverEpochs), 200),
    (Off::Groups(Groups::ReadEarly), 200),
    (Off::Groups(Groups::SeenEarly), 200),
];

fn rules_without(off: Off) -> Rules {
    let all = Rules::default();
    match off {
        Off::Replica(rule) => Rules { replica: all.replica.without(rule), ..all },
        Off::Quorum(rule) => Rules { quorum: all.quorum.without(rule), ..all },
        Off::Leases => Rules { leases: Leases::Ignored, ..all },
        Off::CleanMarks => Rules { clean_marks: CleanMarks::Left, ..all },
        Off::Groups(groups) => Rules { groups, ..all },
        Off::FirstBatches => Rules { first_batches: FirstBatches::Forgotten, ..all },
    }
}

#[test]
fn runs_find_rules_that_are_missing() {
    let mut missed = Vec::new();
    for (off, budget) in TABLE {
        let budget = number("CAIRN_MUTATION_SEEDS").unwrap_or(budget);
        let find = |seed: u64| {
            let violation = run_seed(seed, rules_without(off), Telling::Nothing).violation?;
            Some((seed, violation))
        };
        match (0..budget).find_map(find) {
            Some((seed, violation)) => println!("{off:?}: run {} {violation}", seed + 1),
            None => {
                println!("{off:?}: not found in {budget} runs");
                missed.push(off);
            }
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}

/// A broker sees late that a partition was taken from it, when the partition has come back and it counts as in sync.
#[test]
fn a_partition_that_has_come_back_is_not_deleted() {
    const FOUND_BY: u64 = 519;
    let found = |rules: Rules| run_seed(FOUND_BY, rules, Telling::Nothing).violation.map(|it| it.invariant);
    assert_eq!(found(Rules::default()), None);
    assert_eq!(found(Rules { leaving: Leaving::Always, ..Rules::default() }), Some("candidates"));
}
