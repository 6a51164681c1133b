//! What can happen in a walk's world. An action holds all that is left to chance, so that the same actions lead to the same
//! world.
//!
//! Must not know: what an action leads to.

use crate::dice::Dice;
use crate::world::{BROKERS, World};

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

const KINDS: usize = 17;

/// How often which action is tried. Every walk draws its own, so that some walks are full of restarts, and others of
/// duplicates ("swarm testing").
pub(crate) struct Weights {
    upto: [u32; KINDS],
}

impl Weights {
    pub(crate) fn draw(dice: &mut Dice) -> Self {
        // append push deliver duplicate drop reconnect flush metadata add remove retry fence unfence crash restart shut_down transfer
        const USUAL: [u32; KINDS] = [8, 32, 48, 3, 1, 1, 16, 16, 6, 1, 2, 1, 8, 1, 8, 1, 1];
        let mut upto = [0; KINDS];
        let mut sum = 0;
        for (to, usual) in upto.iter_mut().zip(USUAL) {
            sum += usual * [1, 1, 1, 2, 4, 8][usize::from(dice.small(6))];
            *to = sum;
        }
        Self { upto }
    }
}

/// The next action. It may turn out to change nothing.
pub(crate) fn choose(dice: &mut Dice, weights: &Weights, world: &World) -> Action {
    let rolled = dice.roll(weights.upto[KINDS - 1]);
    let kind = weights.upto.iter().position(|upto| rolled < *upto).expect("below the sum");
    let any = dice.small(BROKERS);
    // What only leaders do is mostly asked of the one that leads, sometimes of one that may believe to.
    let leader = match world.leader() {
        Some(leader) if dice.small(4) != 0 => leader,
        _ => any,
    };
    let other = |at: u8, dice: &mut Dice| (at + 1 + dice.small(BROKERS - 1)) % BROKERS;
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
        _ => Action::Transfer { to: any },
    }
}
