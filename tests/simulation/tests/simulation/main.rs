//! Whole clusters in one thread: what decides is the product's own code, what stores is its own log, and machines, disks, the network
//! and time are simulated. A seed is a run; the same seed is the same run, step by step.
//!
//! `CAIRN_SIMULATION_SEEDS=5000 cargo test --release -p cairn-simulation -- --nocapture` is the long run; `CAIRN_SEED` begins
//! elsewhere, `CAIRN_TELL` chooses lines. A run that goes wrong is told by its seed, without the faults that it does not need.

mod brokers;
mod check;
mod clients;
mod coordinator;
mod dice;
mod faults;
mod held;
mod machine;
mod message;
mod mutations;
mod network;
mod quorum;
mod setup;
mod trace;
mod world;

use setup::{Fault, Rules, Setup};
use trace::Telling;
use world::{Run, Sum, run};

/// So many seeds without the variable.
const SEEDS: u64 = 24;
/// So many lines are told of a run that went wrong, of those that contain `CAIRN_TELL`.
const LINES: usize = 80;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn run_seed(seed: u64, rules: Rules, telling: Telling) -> Run {
    let setup = Setup::draw(seed, rules);
    run(&setup, &setup::faults(&setup), telling)
}

/// The faults that it takes for the same invariant to be broken.
fn shrink(setup: &Setup, invariant: &str) -> Vec<(u64, Fault)> {
    let mut faults = setup::faults(setup);
    let fails = |faults: &[(u64, Fault)]| {
        run(setup, faults, Telling::Nothing).violation.is_some_and(|it| it.invariant == invariant)
    };
    let mut part = faults.len().div_ceil(2);
    while part > 0 && !faults.is_empty() {
        let mut at = 0;
        while at < faults.len() {
            let without = [&faults[..at], &faults[(at + part).min(faults.len())..]].concat();
            if fails(&without) {
                faults = without;
            } else {
                at += part;
            }
        }
        part /= 2;
    }
    faults
}

/// Tells a run that goes wrong.
fn tell(seed: u64, rules: Rules, invariant: &str) {
    let setup = Setup::draw(seed, rules);
    let faults = shrink(&setup, invariant);
    let told = run(&setup, &faults, Telling::Lines);
    let wanted = std::env::var("CAIRN_TELL").unwrap_or_default();
    let lines: Vec<&str> = told.trace.lines().filter(|line| line.contains(&wanted)).collect();
    eprintln!("{setup:?}");
    faults.iter().for_each(|(at, fault)| eprintln!("    needs {fault:?} at {at}"));
    lines[lines.len().saturating_sub(LINES)..].iter().for_each(|line| eprintln!("{line}"));
}

#[test]
fn nothing_acknowledged_is_lost_and_everything_becomes_whole() {
    let first = number("CAIRN_SEED").unwrap_or(0);
    let seeds = number("CAIRN_SIMULATION_SEEDS").unwrap_or(SEEDS);
    let started = std::time::Instant::now();
    let mut sum = Sum::default();
    for seed in first..first + seeds {
        let ran = run_seed(seed, Rules::default(), Telling::Nothing);
        if let Some(violation) = ran.violation {
            tell(seed, Rules::default(), violation.invariant);
            panic!("CAIRN_SEED={seed} {violation}");
        }
        sum.add(&ran.sum);
    }
    println!("{sum:?} from seed {first} in {:.1?}", started.elapsed());
    assert!(sum.acked > 20 * seeds && sum.read > 10 * seeds && sum.leaders > seeds, "too little has happened");
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [3, 17] {
        let digest = || {
            let ran = run_seed(seed, Rules::default(), Telling::Digest);
            (ran.trace.digest(), ran.sum.events)
        };
        assert_eq!(digest(), digest(), "CAIRN_SEED={seed}");
    }
    let other = run_seed(4, Rules::default(), Telling::Digest).trace.digest();
    assert_ne!(run_seed(3, Rules::default(), Telling::Digest).trace.digest(), other);
}
