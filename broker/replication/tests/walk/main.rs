//! Random walks over leader, follower and quorum: with all rules nothing committed is ever lost, and each rule is there for
//! something.
//!
//! `CAIRN_WALKS=10000000 cargo test --release -p cairn-replication --test walk -- --nocapture nothing_committed` is the long run;
//! `CAIRN_SEED` begins elsewhere, `CAIRN_MODE` has walks of one mode only.

mod action;
mod check;
mod dice;
mod exhaustive;
mod log;
mod world;

use std::time::{Duration, Instant};

use action::{Action, Weights, choose};
use check::{Strictness, Violation};
use dice::Dice;
use world::{Mode, Rules, World};

const STEPS: usize = 400;

/// What a walk did.
struct Walked {
    world: World,
    /// What was wrong, and after how many steps.
    found: Option<(Violation, usize)>,
}

fn begin(mode: Mode, seed: u64) -> (Dice, Weights) {
    let mut dice = Dice(seed.wrapping_mul(0x2545_f491_4f6c_dd1d) ^ mode as u64);
    let weights = Weights::draw(mode, &mut dice);
    (dice, weights)
}

fn walk(mode: Mode, rules: Rules, seed: u64, strictness: Strictness) -> Walked {
    let (mut dice, weights) = begin(mode, seed);
    let mut world = World::new(mode, rules);
    for step in 0..STEPS {
        let action = choose(&mut dice, &weights, &world);
        if let Err(violation) = world.step(action).and_then(|()| world.check(strictness)) {
            return Walked { world, found: Some((violation, step)) };
        }
    }
    Walked { world, found: None }
}

/// The actions of a walk that goes wrong at `steps`, without those that do not matter.
fn shrink(mode: Mode, rules: Rules, seed: u64, steps: usize, strictness: Strictness) -> Vec<Action> {
    let (mut dice, weights) = begin(mode, seed);
    let mut world = World::new(mode, rules);
    let mut actions = Vec::new();
    for _ in 0..=steps {
        let action = choose(&mut dice, &weights, &world);
        actions.push(action);
        let _ = world.step(action);
    }
    let fails = |actions: &[Action]| {
        let mut world = World::new(mode, rules);
        actions.iter().any(|action| world.step(*action).and_then(|()| world.check(strictness)).is_err())
    };
    loop {
        let before = actions.len();
        let mut at = actions.len();
        while at > 0 {
            at -= 1;
            let without: Vec<_> = actions[..at].iter().chain(&actions[at + 1..]).copied().collect();
            if fails(&without) {
                actions = without;
            }
        }
        if actions.len() == before {
            return actions;
        }
    }
}

/// Tells a walk step by step.
fn tell(mode: Mode, rules: Rules, actions: &[Action]) {
    let mut world = World::new(mode, rules);
    for action in actions {
        let stepped = world.step(*action);
        eprintln!("{action:?}");
        for (at, node) in world.nodes.iter().enumerate() {
            eprintln!(
                "    {at} {} {:?} hw {} leads {:?}",
                if node.is_up { "up  " } else { "down" },
                node.log,
                node.replica.high_watermark(),
                node.replica.leads()
            );
        }
        let p = &world.partition;
        eprintln!(
            "    quorum: leader {:?} epoch {} version {} isr {:?} elr {:?}; committed {:?}",
            p.leader, p.leader_epoch, p.partition_epoch, p.isr, p.elr, world.committed
        );
        if stepped.is_err() {
            break;
        }
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// In how many parts a run tells how far it is.
const PARTS: u64 = 10;

/// What walks of one mode did.
#[derive(Default)]
struct Sum {
    walks: u64,
    committed: u64,
    epochs: u64,
    idle: u64,
    time: Duration,
}

#[test]
fn nothing_committed_is_lost_while_all_rules_hold() {
    let first = number("CAIRN_SEED").unwrap_or(0);
    let only = std::env::var("CAIRN_MODE").ok();
    let is_wanted = |mode: &Mode| only.as_ref().is_none_or(|only| *only == format!("{mode:?}"));
    let mut sums: Vec<_> = Mode::ALL.into_iter().filter(is_wanted).map(|mode| (mode, Sum::default())).collect();
    assert!(!sums.is_empty(), "there is no mode {only:?}");
    let modes = u64::try_from(sums.len()).expect("few");
    let walks = number("CAIRN_WALKS").unwrap_or(modes * 1_000).div_ceil(modes * PARTS);
    for part in 0..PARTS {
        for (mode, sum) in &mut sums {
            let started = Instant::now();
            for seed in first + part * walks..first + (part + 1) * walks {
                sum.add(*mode, seed);
            }
            sum.time += started.elapsed();
            let Sum { walks, committed, epochs, idle, time } = sum;
            println!(
                "{mode:?}: {walks} walks of {STEPS} steps from seed {first} in {time:.1?}: {committed} records committed, \
                 {epochs} leaders, {idle} walks without a commit"
            );
        }
    }
    assert!(sums.iter().all(|(_, sum)| 2 * sum.committed > sum.walks), "too little has happened");
}

impl Sum {
    fn add(&mut self, mode: Mode, seed: u64) {
        let walked = walk(mode, Rules::default(), seed, Strictness::All);
        if let Some((violation, step)) = walked.found {
            let actions = shrink(mode, Rules::default(), seed, step, Strictness::All);
            tell(mode, Rules::default(), &actions);
            panic!("CAIRN_SEED={seed} {mode:?}: {violation:?} after {step} steps, {} of them needed", actions.len());
        }
        self.walks += 1;
        self.committed += walked.world.committed_len();
        self.epochs += u64::try_from(walked.world.partition.leader_epoch.0).expect("rises");
        self.idle += u64::from(walked.world.committed_len() == 0);
    }
}

mod mutations;
mod scenarios;
