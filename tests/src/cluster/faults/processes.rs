//! What happens to brokers' processes.
//!
//! It must not know what clients do meanwhile.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::bail;

use super::{BEYOND_LEASE_MS, Fault, Happened, Target, WITHIN_SESSION_MS};
use crate::cluster::Cluster;
use crate::dice::Dice;

impl Cluster {
    pub(super) fn suffer_as_processes(
        &mut self,
        fault: Fault,
        dice: &mut Dice,
        target: Target<'_>,
    ) -> anyhow::Result<Happened> {
        let any = self.any(dice)?;
        match fault {
            Fault::KillLeader => {
                let leader = self.any_leader(dice, target)?;
                self.kill_one(fault, leader, dice)
            }
            Fault::KillAny => self.kill_one(fault, any, dice),
            Fault::KillTwo | Fault::KillAll => {
                let mut brokers = self.ids();
                let first = brokers.iter().position(|&id| id == any).unwrap_or(0);
                brokers.rotate_left(first);
                if fault == Fault::KillTwo {
                    brokers.truncate(2);
                }
                self.kill9(&brokers)?;
                // Two may be a majority of those who vote: nobody takes over then, and how long they are away is the experiment. Who is
                // left has what was not committed yet when it loses its lease, and when it has it again.
                if fault == Fault::KillTwo {
                    let time = if dice.among(0..3) == 0 { WITHIN_SESSION_MS } else { BEYOND_LEASE_MS };
                    thread::sleep(Duration::from_millis(dice.among(time)));
                }
                for &id in &brokers {
                    self.launch(id)?;
                }
                Ok(Happened::new(fault, &brokers, None))
            }
            Fault::Freeze => {
                let began = Instant::now();
                self.freeze(any)?;
                let taken_over = self.miss(any, began, dice)?;
                self.thaw(any)?;
                Ok(Happened::new(fault, &[any], taken_over))
            }
            Fault::Stop => {
                self.stop(any)?;
                let taken_over = if dice.among(0..2) == 0 { None } else { Some(self.until_taken_over(&[any])?) };
                self.launch(any)?;
                Ok(Happened::new(fault, &[any], taken_over))
            }
            Fault::Roll => {
                let brokers = self.ids();
                for &id in &brokers {
                    self.stop(id)?;
                    self.launch(id)?;
                    self.until_whole()?;
                }
                Ok(Happened::new(fault, &brokers, None))
            }
            other => bail!("{other:?} does not happen to processes"),
        }
    }

    fn kill_one(&mut self, fault: Fault, id: i32, dice: &mut Dice) -> anyhow::Result<Happened> {
        // Whether it is back before anybody has missed it.
        let at_once = dice.among(0..2) == 0;
        self.kill9(&[id])?;
        let taken_over = if at_once { None } else { Some(self.until_taken_over(&[id])?) };
        self.launch(id)?;
        Ok(Happened::new(fault, &[id], taken_over))
    }
}
