//! Waits until brokers say that the cluster is as it has to be.
//!
//! It must not know what has happened to them.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use super::{Cluster, LOOK_EVERY, TIME_MAX, view};

impl Cluster {
    /// Waits until all brokers serve, know each other, and say that every replica of every partition is in sync; gives how long that took.
    pub fn until_whole(&mut self) -> anyhow::Result<Duration> {
        let ids = self.ids();
        self.wait_until("whole", |cluster| {
            ids.iter().find_map(|&id| match cluster.view(id) {
                Ok(view) => view.lacks(&ids).map(|what| format!("broker {id} says: {what}")),
                Err(error) => Some(format!("broker {id}: {error:#}")),
            })
        })
    }

    /// Waits until the other brokers have taken over all that these led, and count them out.
    pub fn until_taken_over(&mut self, gone: &[i32]) -> anyhow::Result<Duration> {
        let left: Vec<i32> = self.ids().into_iter().filter(|id| !gone.contains(id)).collect();
        self.wait_until("taken over", |cluster| {
            left.iter().find_map(|&id| match cluster.view(id) {
                Ok(view) => view.depends_on(gone).map(|what| format!("broker {id} says: {what}")),
                Err(error) => Some(format!("broker {id}: {error:#}")),
            })
        })
    }

    /// Waits until the other brokers say that they lead all that a broker led which is there, and does not serve.
    pub fn until_led_elsewhere(&mut self, hit: i32) -> anyhow::Result<Duration> {
        let left: Vec<i32> = self.ids().into_iter().filter(|&id| id != hit).collect();
        self.wait_until("led elsewhere", |cluster| {
            left.iter().find_map(|&id| match cluster.view(id) {
                Ok(view) => view.led_by(hit).map(|what| format!("broker {id} says: {what}")),
                Err(error) => Some(format!("broker {id}: {error:#}")),
            })
        })
    }

    /// Who leads the quorum of the metadata, as the first broker says that knows it.
    pub fn controller(&mut self) -> anyhow::Result<i32> {
        let mut found = None;
        self.wait_until("led", |cluster| {
            let mut why = String::new();
            for member in &cluster.members {
                match view::controller(&member.address()) {
                    Ok(controller) => {
                        found = Some(controller);
                        return None;
                    }
                    Err(error) => why = format!("broker {}: {error:#}", member.id),
                }
            }
            Some(why)
        })?;
        found.context("a controller")
    }

    /// Looks again and again until nothing is lacking; a broker that ends meanwhile is an error.
    pub(super) fn wait_until(
        &mut self,
        what: &str,
        mut lacks: impl FnMut(&Cluster) -> Option<String>,
    ) -> anyhow::Result<Duration> {
        let began = Instant::now();
        while let Some(lacking) = lacks(self) {
            for member in &mut self.members {
                member.watch()?;
            }
            ensure!(began.elapsed() < TIME_MAX, "the cluster is not {what} within {TIME_MAX:?}: {lacking}");
            thread::sleep(LOOK_EVERY);
        }
        Ok(began.elapsed())
    }
}
