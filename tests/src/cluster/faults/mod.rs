//! What happens to a cluster: which fault is next, and each of them, from the last moment of peace to the first one after it.
//!
//! It must not know what clients do meanwhile.

mod disks;
mod files;
mod moves;
mod network;
mod processes;

use std::fmt;
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use super::Cluster;
use crate::dice::Dice;

/// Longer than a session (9 s, Kafka's default): meanwhile the others go on for some time without the one that is missing.
const BEYOND_SESSION: Duration = Duration::from_secs(12);
/// Something that is over, most times, before anybody was missed.
const WITHIN_SESSION_MS: Range<u64> = 500..8_000;
/// Longer than a lease, which is two thirds of a session.
const BEYOND_LEASE_MS: Range<u64> = 6_500..9_500;

/// One thing that happens to brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// `kill -9` of the broker that leads some partition.
    KillLeader,
    /// `kill -9` of any.
    KillAny,
    /// `kill -9` of two at once.
    KillTwo,
    /// `kill -9` of all at once.
    KillAll,
    /// SIGSTOP of any, until the others have taken over beyond its session, or for less than that; then SIGCONT.
    Freeze,
    /// SIGTERM of any.
    Stop,
    /// SIGTERM of each, one after the other, each whole again before the next.
    Roll,
    /// The leader of some partition is cut off from the other brokers, in both directions. Clients reach it.
    CutLeader,
    /// The leader of the metadata's quorum is.
    CutController,
    /// Any broker is cut off from everybody, clients too: its machine is gone, and comes back.
    Vanish,
    /// Nothing arrives at a broker from the others, though what it sends arrives.
    Deaf,
    /// Nothing that a broker sends arrives at the others, though it hears them.
    Mute,
    /// Two brokers do not reach each other; all others reach both.
    Bridge,
    /// Everything from and to a broker is late.
    Late,
    /// Some of everything from and to a broker is lost.
    Lossy,
    /// Something else fills a broker's disk, and is removed.
    DiskFull,
    /// Everything that is asked of a broker's disk fails, and what was not synced is lost.
    DiskFailed,
    /// A broker is killed, and comes back without one of the files that hold a partition's records; the partition is taken from it, and
    /// given to it anew.
    SegmentLost,
    /// A broker is killed, its disk is lost, and another one with nothing takes its place.
    Replaced,
    /// A partition moves to other brokers while its leader is killed.
    MoveAndKill,
    /// Everything moves away from a broker while another one is killed.
    DrainAndKill,
}

impl Fault {
    /// What happens to processes.
    pub const PROCESSES: [Fault; 7] =
        [Fault::KillLeader, Fault::KillAny, Fault::KillTwo, Fault::KillAll, Fault::Freeze, Fault::Stop, Fault::Roll];
    /// What happens between hosts.
    pub const NETWORK: [Fault; 8] = [
        Fault::CutLeader,
        Fault::CutController,
        Fault::Vanish,
        Fault::Deaf,
        Fault::Mute,
        Fault::Bridge,
        Fault::Late,
        Fault::Lossy,
    ];
    /// What happens to disks of brokers that have their own.
    pub const DISKS: [Fault; 2] = [Fault::DiskFull, Fault::DiskFailed];
    /// What happens to files.
    pub const FILES: [Fault; 2] = [Fault::SegmentLost, Fault::Replaced];
    /// What needs more brokers than replicas.
    pub const MOVES: [Fault; 2] = [Fault::MoveAndKill, Fault::DrainAndKill];
}

/// Faults in a random order, in which each kind comes as often as the others.
#[derive(Debug)]
pub struct Deck {
    kinds: Vec<Fault>,
    left: Vec<Fault>,
}

impl Deck {
    /// A deck of these kinds.
    pub fn of(kinds: &[Fault]) -> Deck {
        Deck { kinds: kinds.to_vec(), left: Vec::new() }
    }

    /// The next one.
    pub fn draw(&mut self, dice: &mut Dice) -> Fault {
        if self.left.is_empty() {
            self.left.clone_from(&self.kinds);
        }
        self.left.swap_remove(usize::try_from(dice.among(0..self.left.len() as u64)).unwrap_or(0))
    }
}

/// What clients use, which faults are to hit.
#[derive(Debug, Clone, Copy)]
pub struct Target<'a> {
    /// The topic.
    pub topic: &'a str,
    /// How many partitions it has.
    pub partitions: i32,
}

impl Target<'_> {
    fn any_partition(self, dice: &mut Dice) -> anyhow::Result<i32> {
        Ok(i32::try_from(dice.among(0..u64::try_from(self.partitions)?))?)
    }
}

/// A fault that is over: the brokers run again, and may have much to catch up with.
#[derive(Debug)]
pub struct Happened {
    fault: Fault,
    brokers: Vec<i32>,
    /// How long it took until the others had taken over, where that was waited for.
    taken_over: Option<Duration>,
    /// What else is worth to be said.
    how: String,
}

impl Happened {
    fn new(fault: Fault, brokers: &[i32], taken_over: Option<Duration>) -> Happened {
        Happened { fault, brokers: brokers.to_vec(), taken_over, how: String::new() }
    }

    fn how(mut self, how: String) -> Happened {
        self.how = how;
        self
    }
}

impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Happened { fault, brokers, taken_over, how } = self;
        write!(f, "{fault:?} {brokers:?}")?;
        if !how.is_empty() {
            write!(f, " {how}")?;
        }
        match taken_over {
            Some(time) => write!(f, " taken_over_ms={}", time.as_millis()),
            None => Ok(()),
        }
    }
}

impl Cluster {
    /// Lets a fault happen to a whole cluster, and has the brokers run again.
    pub fn suffer(&mut self, fault: Fault, dice: &mut Dice, target: Target<'_>) -> anyhow::Result<Happened> {
        match fault {
            Fault::KillLeader
            | Fault::KillAny
            | Fault::KillTwo
            | Fault::KillAll
            | Fault::Freeze
            | Fault::Stop
            | Fault::Roll => self.suffer_as_processes(fault, dice, target),
            Fault::CutLeader
            | Fault::CutController
            | Fault::Vanish
            | Fault::Deaf
            | Fault::Mute
            | Fault::Bridge
            | Fault::Late
            | Fault::Lossy => self.suffer_on_the_wire(fault, dice, target),
            Fault::DiskFull | Fault::DiskFailed => self.suffer_from_disks(fault, dice, target),
            Fault::SegmentLost | Fault::Replaced => self.suffer_from_lost_files(fault, dice, target),
            Fault::MoveAndKill | Fault::DrainAndKill => self.suffer_while_moving(fault, dice, target),
        }
    }

    fn any(&self, dice: &mut Dice) -> anyhow::Result<i32> {
        let ids = self.ids();
        Ok(ids[usize::try_from(dice.among(0..ids.len() as u64))?])
    }

    fn any_leader(&self, dice: &mut Dice, target: Target<'_>) -> anyhow::Result<i32> {
        self.view(self.any(dice)?)?.leader_of(target.topic, target.any_partition(dice)?)
    }

    /// Waits while a broker is missing that was there until `began`: for less than its session, or until the others have taken over
    /// and some time beyond. Its length is the experiment, not a wait for something.
    fn miss(&mut self, id: i32, began: Instant, dice: &mut Dice) -> anyhow::Result<Option<Duration>> {
        let within = Duration::from_millis(dice.among(WITHIN_SESSION_MS));
        if dice.among(0..3) == 0 {
            thread::sleep(within.saturating_sub(began.elapsed()));
            return Ok(None);
        }
        let taken_over = self.until_taken_over(&[id])?;
        thread::sleep(BEYOND_SESSION.saturating_sub(began.elapsed()));
        Ok(Some(taken_over))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deck_holds_every_fault_once() {
        let (mut deck, mut dice) = (Deck::of(&Fault::NETWORK), Dice::new(7));
        for _ in 0..10 {
            let drawn: Vec<Fault> = Fault::NETWORK.iter().map(|_| deck.draw(&mut dice)).collect();
            assert!(Fault::NETWORK.iter().all(|fault| drawn.contains(fault)), "{drawn:?}");
        }
    }
}
