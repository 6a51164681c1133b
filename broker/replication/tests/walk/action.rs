//! What can happen in a walk's world. An action holds all that is left to chance, so that the same actions lead to the same
//! world.
//!
//! Must not know: what an action leads to.

use cairn_metadata::ElectBy;

use crate::dice::Dice;
use crate::log::RECORDS_MAX;
use crate::world::{BROKERS, Mode, World};

/// One thing that happens. Brokers are numbers from 0 on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// A producer appends a record to who believes to lead.
    Append { at: u8 },
    /// A leader sends what comes next, with at most so many records.
    Push { from: u8, to: u8, records: u8 },
    /// The message at this place of the network arrives.
    Deliver { slot: u8 },
    /// It arrives, and will arrive again.
    Duplicate { slot: u8 },
    /// It never arrives.
    Drop { slot: u8 },
    /// The connection between leader and follower is made anew.
    Reconnect { from: u8, to: u8 },
    /// What is appended is on disk.
    Flush { at: u8 },
    /// The broker sees the version of the metadata that is `ahead` behind the one that it has seen.
    Metadata { at: u8, ahead: u8 },
    /// A leader proposes that a follower joins the in-sync replicas.
    Add { at: u8, follower: u8 },
    /// A leader proposes that a follower leaves them.
    Remove { at: u8, follower: u8 },
    /// A leader sends its open proposal again.
    Retry { at: u8 },
    /// The quorum hears nothing of a broker, alive or not.
    Fence { at: u8 },
    /// The quorum hears of it again.
    Unfence { at: u8 },
    /// A broker is about to stop.
    ShutDown { at: u8 },
    /// The quorum has another in-sync replica lead.
    Transfer { to: u8 },
    /// The process dies. `lost` of the records that are not on disk are gone, where the machine dies as well.
    Crash { at: u8, with: Crash, lost: u8 },
    /// A leader proposes nothing but that everything is on disk.
    OnDisk { at: u8 },
    /// A broker deletes what was committed before here.
    Delete { at: u8, to: u8 },
    /// Compaction removes a record that was committed.
    Compact { at: u8, offset: u8 },
    /// The partition is to go to these brokers, a bit for each.
    Move { to: u8 },
    /// It is to stay where it was.
    CancelMove,
    /// The topic's durability becomes the other one.
    Switch,
    /// Brokers tell how far their logs go, and somebody is elected by that.
    Elect { by: ElectBy },
    /// It is started again, and has seen the metadata up to `behind` versions before the newest.
    Restart { at: u8, behind: u8 },
}

/// What dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Crash {
    /// The process: the page cache stays.
    Process,
    /// The machine: what was not flushed may be gone.
    Machine,
    /// The machine, and its disk is replaced.
    Disk,
}

/// Of actions of every mode.
const KINDS: usize = 17;
/// Of actions of one mode, at most.
const MORE_KINDS: usize = 2;

/// How often which action is tried. Every walk draws its own, so that some walks are full of restarts, and others of
/// duplicates ("swarm testing").
pub(crate) struct Weights {
    upto: [u32; KINDS + MORE_KINDS],
}

impl Weights {
    pub(crate) fn draw(mode: Mode, dice: &mut Dice) -> Self {
        // append push deliver duplicate drop reconnect flush metadata add remove retry fence unfence crash restart shut_down transfer
        const USUAL: [u32; KINDS] = [8, 32, 48, 3, 1, 1, 16, 16, 6, 1, 2, 1, 8, 1, 8, 1, 1];
        let more = match mode {
            Mode::Sync | Mode::Async | Mode::Wipe | Mode::SyncWipe => [0, 0],
            Mode::Move => [4, 1],
            Mode::Trim => [2, 6],
            Mode::Switch => [4, 8],
            Mode::Unclean => [8, 2],
        };
        let mut upto = [0; KINDS + MORE_KINDS];
        let mut sum = 0;
        for (to, usual) in upto.iter_mut().zip(USUAL.into_iter().chain(more)) {
            sum += if usual > 0 { usual * [1, 1, 1, 2, 4, 8][usize::from(dice.small(6))] } else { 0 };
            *to = sum;
        }
        Self { upto }
    }
}

/// The next action. It may turn out to change nothing.
pub(crate) fn choose(dice: &mut Dice, weights: &Weights, world: &World) -> Action {
    let rolled = dice.roll(weights.upto[KINDS + MORE_KINDS - 1]);
    let kind = weights.upto.iter().position(|upto| rolled < *upto).expect("below the sum");
    let brokers = world.mode.brokers();
    let any = dice.small(brokers);
    // What only leaders do is mostly asked of the one that leads, sometimes of one that may believe to.
    let leader = match world.leader() {
        Some(leader) if dice.small(4) != 0 => leader,
        _ => any,
    };
    let other = |at: u8, dice: &mut Dice| (at + 1 + dice.small(brokers - 1)) % brokers;
    let in_flight = u8::try_from(world.network.len()).expect("the network is bounded");
    let slot = |dice: &mut Dice| dice.small(in_flight.max(1));
    match kind {
        0 => Action::Append { at: leader },
        1 => Action::Push { from: leader, to: other(leader, dice), records: dice.small(3) },
        2 => Action::Deliver { slot: slot(dice) },
        3 => Action::Duplicate { slot: slot(dice) },
        4 => Action::Drop { slot: slot(dice) },
        5 => Action::Reconnect { from: leader, to: other(leader, dice) },
        6 => Action::Flush { at: any },
        7 => Action::Metadata { at: any, ahead: 1 + dice.small(4) },
        8 => Action::Add { at: leader, follower: other(leader, dice) },
        9 => Action::Remove { at: leader, follower: other(leader, dice) },
        10 => Action::Retry { at: leader },
        11 => Action::Fence { at: any },
        12 => Action::Unfence { at: any },
        13 => {
            let with = [Crash::Process, Crash::Machine, Crash::Disk][usize::from(dice.small(3))];
            Action::Crash { at: any, with, lost: dice.small(7) }
        }
        14 => Action::Restart { at: any, behind: dice.small(4) },
        15 => Action::ShutDown { at: any },
        16 => Action::Transfer { to: any },
        _ => choose_of_mode(kind - KINDS, leader, any, dice, world.mode),
    }
}

fn choose_of_mode(kind: usize, leader: u8, any: u8, dice: &mut Dice, mode: Mode) -> Action {
    match (mode, kind) {
        (Mode::Move, 0) => Action::Move { to: dice.small(1 << BROKERS) },
        (Mode::Move, _) => Action::CancelMove,
        (Mode::Trim, 0) => Action::Delete { at: any, to: 1 + dice.small(RECORDS_MAX) },
        (Mode::Trim, _) => Action::Compact { at: any, offset: dice.small(RECORDS_MAX) },
        (Mode::Switch, 0) => Action::Switch,
        (Mode::Switch, _) => Action::OnDisk { at: leader },
        (_, 1) => Action::Delete { at: any, to: 1 + dice.small(RECORDS_MAX) },
        _ => {
            let by = [ElectBy::LastKnown, ElectBy::LastKnown, ElectBy::LastLeader, ElectBy::Anyone];
            Action::Elect { by: by[usize::from(dice.small(4))] }
        }
    }
}
