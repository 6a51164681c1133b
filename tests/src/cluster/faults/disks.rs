//! What happens to brokers' own disks.
//!
//! It must not know what clients do meanwhile.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::{BEYOND_SESSION, Fault, Happened, Target};
use crate::cluster::Cluster;
use crate::cluster::disk::Disk;
use crate::dice::Dice;

impl Cluster {
    pub(super) fn suffer_from_disks(
        &mut self,
        fault: Fault,
        dice: &mut Dice,
        target: Target<'_>,
    ) -> anyhow::Result<Happened> {
        let hit = if dice.among(0..2) == 0 { self.any(dice)? } else { self.any_leader(dice, target)? };
        match fault {
            Fault::DiskFull => {
                self.disk(hit)?.fill()?;
                // How long it is full is the experiment: beyond the time after which who does not follow is out of sync.
                thread::sleep(BEYOND_SESSION);
                self.disk(hit)?.make_room()?;
                Ok(Happened::new(fault, &[hit], None))
            }
            Fault::DiskFailed => {
                let began = Instant::now();
                self.disk(hit)?.fail()?;
                // Its process stays up; others lead what lay there.
                let taken_over = self.until_led_elsewhere(hit)?;
                thread::sleep(Duration::from_secs(2).saturating_sub(began.elapsed()));
                self.kill9(&[hit])?;
                self.disk(hit)?.mend()?;
                self.launch(hit)?;
                Ok(Happened::new(fault, &[hit], Some(taken_over)))
            }
            other => bail!("{other:?} does not happen to disks"),
        }
    }

    fn disk(&self, id: i32) -> anyhow::Result<&Disk> {
        self.member(id)?.disk.as_ref().with_context(|| format!("broker {id} has no disk of its own"))
    }
}
