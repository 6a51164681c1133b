//! What kind of cluster a seed simulates, and what goes wrong in it, when.
//!
//! Must not know: what faults lead to.

use cairn_metadata::configs::Durability;

use crate::dice::Dice;

/// Replicas of each partition.
pub(crate) const REPLICAS: usize = 3;
/// Partitions of the topic that producers write to. Behind them comes the one of committed offsets.
pub(crate) const DATA_PARTITIONS: usize = 3;
pub(crate) const PARTITIONS: usize = DATA_PARTITIONS + 1;
/// Where offsets are committed.
pub(crate) const OFFSETS: usize = DATA_PARTITIONS;

/// A cluster and its clients.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) seed: u64,
    pub(crate) brokers: usize,
    pub(crate) durability: Durability,
    pub(crate) min_isr: usize,
    pub(crate) session_ms: u64,
    pub(crate) lag_max_ms: u64,
    /// How long a message takes, at least and at most.
    pub(crate) delay_ms: (u64, u64),
    /// How long a sync takes at most.
    pub(crate) sync_ms: u64,
    pub(crate) producers: usize,
    pub(crate) consumers: usize,
    /// Faults happen for so long.
    pub(crate) faults_ms: u64,
    pub(crate) rules: Rules,
}

/// Which rules hold.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rules {
    pub(crate) replica: cairn_replication::Rules,
    pub(crate) quorum: cairn_metadata::Rules,
    pub(crate) leases: Leases,
    pub(crate) first_batches: FirstBatches,
    pub(crate) groups: Groups,
    pub(crate) clean_marks: CleanMarks,
    pub(crate) leaving: Leaving,
}

/// Whether brokers ask their lease before they act.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Leases {
    #[default]
    Kept,
    Ignored,
}

/// Whether a producer's first batch that was refused is remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FirstBatches {
    #[default]
    Kept,
    Forgotten,
}

/// What coordinators of groups do wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Groups {
    #[default]
    Right,
    /// Groups of a former term are not read anew.
    KeptOverEpochs,
    /// Groups are read before the leader knows what was committed.
    ReadEarly,
    /// A commit is seen before it is durable.
    SeenEarly,
}

/// Whether the mark of a stop in good order is gone once a broker has started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum CleanMarks {
    #[default]
    Removed,
    Left,
}

/// When a broker deletes a log that others keep, as an old version of the metadata says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// Unless it has heard of a later leader: then it keeps it again.
    #[default]
    UnlessBack,
    Always,
}

impl Setup {
    pub(crate) fn draw(seed: u64, rules: Rules) -> Self {
        let mut dice = Dice::new(seed, 1);
        Self {
            seed,
            brokers: dice.one_of(&[3, 3, 3, 5]),
            durability: dice.one_of(&[Durability::Synced, Durability::Replicated]),
            min_isr: dice.one_of(&[1, 2, 2, 2]),
            session_ms: dice.one_of(&[2_000, 9_000]),
            lag_max_ms: dice.one_of(&[500, 2_000, 10_000]),
            delay_ms: dice.one_of(&[(1, 3), (1, 30), (5, 200)]),
            sync_ms: dice.one_of(&[2, 20, 200]),
            producers: dice.place(3) + 1,
            consumers: dice.place(3) + 1,
            faults_ms: dice.one_of(&[20_000, 40_000]),
            rules,
        }
    }
}

/// Something that goes wrong, or that an operator does. Brokers are numbers from 0 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// `kill -9`: the page cache stays. Started again after some time.
    Kill { broker: usize, for_ms: u64 },
    /// The machine loses power: what was not synced is lost or not, sector by sector.
    PowerCut { broker: usize, for_ms: u64 },
    /// All machines do.
    PowerCutOfAll { for_ms: u64 },
    /// The disk is replaced by an empty one.
    Wipe { broker: usize, for_ms: u64 },
    /// The process does nothing for a while, and goes on.
    Pause { broker: usize, for_ms: u64 },
    /// The broker stops in good order.
    Stop { broker: usize, for_ms: u64 },
    /// Nothing arrives from one at the other.
    CutOneWay { from: usize, to: usize, for_ms: u64 },
    /// Nothing arrives between a broker and all others, brokers and clients.
    Isolate { broker: usize, for_ms: u64 },
    /// Nothing arrives between a broker and the other brokers; clients reach it.
    IsolateFromPeers { broker: usize, for_ms: u64 },
    /// Connections between two are made anew.
    Reset { from: usize, to: usize },
    /// Syncs of a broker take long.
    SlowDisk { broker: usize, for_ms: u64 },
    /// A broker sees new metadata late.
    SlowMetadata { broker: usize, for_ms: u64 },
    /// An operator has somebody else lead.
    Transfer { partition: usize, to: usize },
    /// An operator wants a partition to be kept by so many brokers, this one and those that follow.
    Move { partition: usize, first: usize, replicas: usize },
    /// And, on the way, where it was.
    CancelMove { partition: usize },
}

/// In one run of so many partitions move: what else goes wrong has less time in it.
const RUNS_PER_MOVING: u64 = 3;

/// What goes wrong, in the order of time; times count from the begin of faults.
pub(crate) fn faults(setup: &Setup) -> Vec<(u64, Fault)> {
    let mut dice = Dice::new(setup.seed, 2);
    // Every run has its own mixture: some are full of power cuts, others of partitions.
    let weights: Vec<u64> = (0..13).map(|_| dice.one_of(&[0, 0, 1, 1, 2, 6])).collect();
    let sum: u64 = weights.iter().sum::<u64>().max(1);
    let pause = dice.one_of(&[300, 1_000, 3_000]);
    let mut at = 0;
    let mut faults = Vec::new();
    loop {
        at += dice.among(1, 2 * pause);
        if at >= setup.faults_ms {
            break;
        }
        let mut rolled = dice.among(0, sum);
        let mut kind = 0;
        while kind < 12 && rolled >= weights[kind] {
            rolled -= weights[kind];
            kind += 1;
        }
        faults.push((at, draw(kind, setup, &mut dice)));
    }
    if setup.seed.is_multiple_of(RUNS_PER_MOVING) {
        faults.extend(moves(setup));
        faults.sort_by_key(|(at, _)| *at);
    }
    faults
}

fn moves(setup: &Setup) -> Vec<(u64, Fault)> {
    let mut dice = Dice::new(setup.seed, 5);
    let pause = dice.one_of(&[500, 2_000, 5_000]);
    let mut moves = Vec::new();
    let mut at = dice.among(1, 2 * pause);
    while at < setup.faults_ms {
        let (partition, first) = (dice.place(PARTITIONS), dice.place(setup.brokers));
        let replicas = 2 + dice.place(REPLICAS - 1);
        let wants = Fault::Move { partition, first, replicas };
        moves.push((at, if dice.percent(20) { Fault::CancelMove { partition } } else { wants }));
        at += dice.among(1, 2 * pause);
    }
    moves
}

fn draw(kind: usize, setup: &Setup, dice: &mut Dice) -> Fault {
    let broker = dice.place(setup.brokers);
    let other = (broker + 1 + dice.place(setup.brokers - 1)) % setup.brokers;
    let for_ms = dice.one_of(&[50, 500, 3_000, 12_000]) + dice.among(0, 500);
    let partition = dice.place(PARTITIONS);
    match kind {
        0 => Fault::Kill { broker, for_ms },
        1 => Fault::PowerCut { broker, for_ms },
        2 => Fault::PowerCutOfAll { for_ms },
        3 => Fault::Wipe { broker, for_ms },
        4 => Fault::Pause { broker, for_ms },
        5 => Fault::Stop { broker, for_ms },
        6 => Fault::CutOneWay { from: broker, to: other, for_ms },
        7 => Fault::Isolate { broker, for_ms },
        8 => Fault::IsolateFromPeers { broker, for_ms },
        9 => Fault::Reset { from: broker, to: other },
        10 => Fault::SlowDisk { broker, for_ms },
        11 => Fault::SlowMetadata { broker, for_ms },
        _ => Fault::Transfer { partition, to: broker },
    }
}
