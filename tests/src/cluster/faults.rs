//! What happens to a cluster: which fault is next, and each of them, from the last moment of peace to the first one after it.
//!
//! It must not know what clients do meanwhile.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::Cluster;
use crate::dice::Dice;

/// Longer than a session (9 s, Kafka's default): meanwhile the others go on for some time without the one that is frozen.
const FROZEN: Duration = Duration::from_secs(12);

/// One thing that happens to brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9` of the broker that leads some partition.
    KillLeader,
    /// `kill -9` of any.
    KillAny,
    /// `kill -9` of all at once.
    KillAll,
    /// SIGSTOP of any until the others have taken over, beyond its session; then SIGCONT.
    Freeze,
    /// SIGTERM of any.
    Stop,
}

impl Fault {
    /// All kinds.
    pub const ALL: [Fault; 5] = [Fault::KillLeader, Fault::KillAny, Fault::KillAll, Fault::Freeze, Fault::Stop];
}

/// Faults in a random order, in which each kind comes as often as the others.
#[derive(Debug, Default)]
pub struct Deck {
    left: Vec<Fault>,
}

impl Deck {
    /// The next one.
    pub fn draw(&mut self, dice: &mut Dice) -> Fault {
        if self.left.is_empty() {
            self.left.extend(Fault::ALL);
        }
        self.left.swap_remove(usize::try_from(dice.among(0..self.left.len() as u64)).unwrap_or(0))
    }
}

/// A fault that is over: the brokers run again, and may have much to catch up with.
#[derive(Debug)]
pub struct Happened {
    fault: Fault,
    brokers: Vec<i32>,
    /// How long it took until the others had taken over, where that was waited for.
    taken_over: Option<Duration>,
}

impl fmt::Display for Happened {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Happened { fault, brokers, taken_over } = self;
        write!(f, "{fault:?} {brokers:?}")?;
        match taken_over {
            Some(time) => write!(f, " taken_over_ms={}", time.as_millis()),
            None => Ok(()),
        }
    }
}

impl Cluster {
    /// Lets a fault happen to a whole cluster with `partitions` of `topic`, and has the brokers run again.
    pub fn suffer(&mut self, fault: Fault, dice: &mut Dice, topic: &str, partitions: i32) -> anyhow::Result<Happened> {
        let ids = self.ids();
        let any = ids[usize::try_from(dice.among(0..ids.len() as u64))?];
        let partition = i32::try_from(dice.among(0..u64::try_from(partitions)?))?;
        // Whether it is back before anybody has missed it.
        let at_once = dice.among(0..2) == 0;

        let mut brokers = vec![any];
        let mut taken_over = None;
        match fault {
            Fault::KillLeader | Fault::KillAny => {
                if fault == Fault::KillLeader {
                    brokers = vec![self.view(any)?.leader_of(topic, partition).context("whom to kill")?];
                }
                self.kill9(&brokers)?;
                if !at_once {
                    taken_over = Some(self.until_taken_over(&brokers)?);
                }
            }
            Fault::KillAll => {
                brokers = ids;
                self.kill9(&brokers)?;
                let first = brokers.iter().position(|&id| id == any).unwrap_or(0);
                brokers.rotate_left(first);
            }
            Fault::Freeze => {
                let began = Instant::now();
                self.freeze(any)?;
                let taken_over = Some(self.until_taken_over(&brokers)?);
                // Its length is the experiment, not a wait for something.
                thread::sleep(FROZEN.saturating_sub(began.elapsed()));
                self.thaw(any)?;
                return Ok(Happened { fault, brokers, taken_over });
            }
            Fault::Stop => {
                self.stop(any)?;
                if !at_once {
                    taken_over = Some(self.until_taken_over(&brokers)?);
                }
            }
        }
        for &id in &brokers {
            self.launch(id)?;
        }
        Ok(Happened { fault, brokers, taken_over })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deck_holds_every_fault_once() {
        let (mut deck, mut dice) = (Deck::default(), Dice::new(7));
        for _ in 0..10 {
            let drawn: Vec<Fault> = Fault::ALL.iter().map(|_| deck.draw(&mut dice)).collect();
            assert!(Fault::ALL.iter().all(|fault| drawn.contains(fault)), "{drawn:?}");
        }
    }
}
