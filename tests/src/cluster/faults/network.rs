//! What happens between brokers' hosts. What is lost is lost without a word: nothing is refused.
//!
//! It must not know what clients do meanwhile.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::{BEYOND_SESSION, Fault, Happened, Target};
use crate::cluster::Cluster;
use crate::cluster::ground::host;
use crate::dice::Dice;
use crate::wire::{HERE, Link, Wire};

/// How long a link is bad that still carries something, in milliseconds.
const BAD_MS: std::ops::Range<u64> = 3_000..9_000;
/// Beyond `replica.lag.time.max.ms` as the judges set it: who cannot be reached has left the in-sync replicas.
const BRIDGED: Duration = Duration::from_secs(14);

impl Cluster {
    pub(super) fn suffer_on_the_wire(
        &mut self,
        fault: Fault,
        dice: &mut Dice,
        target: Target<'_>,
    ) -> anyhow::Result<Happened> {
        let any = self.any(dice)?;
        let began = Instant::now();
        let happened = match fault {
            Fault::CutLeader | Fault::CutController | Fault::Vanish | Fault::Deaf | Fault::Mute => {
                let hit = match fault {
                    Fault::CutLeader => self.any_leader(dice, target)?,
                    Fault::CutController => self.controller()?,
                    _ => any,
                };
                self.cut(fault, hit)?;
                let taken_over = match fault {
                    // Who hears the controller, or is heard by it, is not always missed: that nobody takes over is right too.
                    Fault::Deaf | Fault::Mute => {
                        thread::sleep(BEYOND_SESSION.saturating_sub(began.elapsed()));
                        None
                    }
                    _ => self.miss(hit, began, dice)?,
                };
                Happened::new(fault, &[hit], taken_over)
            }
            Fault::Bridge => {
                let leader = self.any_leader(dice, target)?;
                let other = self.ids().into_iter().find(|&id| id != leader && (id == any || any == leader));
                let other = other.context("another broker")?;
                both_ways(self.wire()?, host(leader), host(other), Link::CUT);
                thread::sleep(BRIDGED);
                Happened::new(fault, &[leader, other], None)
            }
            Fault::Late | Fault::Lossy => {
                let link = if fault == Fault::Late { late(dice) } else { lossy(dice)? };
                let wire = self.wire()?;
                for other in self.others(any).into_iter().chain([HERE]) {
                    both_ways(wire, host(any), other, link);
                }
                thread::sleep(Duration::from_millis(dice.among(BAD_MS)));
                Happened::new(fault, &[any], None).how(format!(
                    "late_ms={}..{} lost_permille={}",
                    link.late.as_millis(),
                    (link.late + link.spread).as_millis(),
                    link.lost_permille
                ))
            }
            other => bail!("{other:?} does not happen between hosts"),
        };
        self.wire()?.heal();
        Ok(happened.how_long(began.elapsed()))
    }

    /// Cuts a broker off from the others, in the directions of a fault.
    fn cut(&self, fault: Fault, id: i32) -> anyhow::Result<()> {
        let wire = self.wire()?;
        for other in self.others(id) {
            if fault != Fault::Mute {
                wire.set(other, host(id), Link::CUT);
            }
            if fault != Fault::Deaf {
                wire.set(host(id), other, Link::CUT);
            }
        }
        if fault == Fault::Vanish {
            both_ways(wire, host(id), HERE, Link::CUT);
        }
        Ok(())
    }

    /// The other brokers' hosts.
    fn others(&self, id: i32) -> Vec<u8> {
        self.ids().into_iter().filter(|&other| other != id).map(host).collect()
    }
}

impl Happened {
    fn how_long(mut self, time: Duration) -> Happened {
        let space = if self.how.is_empty() { "" } else { " " };
        self.how = format!("{}{space}for_ms={}", self.how, time.as_millis());
        self
    }
}

fn both_ways(wire: &Wire, one: u8, other: u8, link: Link) {
    wire.set(one, other, link);
    wire.set(other, one, link);
}

/// From another room to another continent.
fn late(dice: &mut Dice) -> Link {
    let late = Duration::from_millis(dice.among(5..200));
    Link { lost_permille: 0, late, spread: late }
}

/// From a bad cable to one that hardly carries anything.
fn lossy(dice: &mut Dice) -> anyhow::Result<Link> {
    Ok(Link { lost_permille: u16::try_from(dice.among(10..300))?, ..Link::default() })
}
