//! Partitions that move between brokers while one of these dies.
//!
//! It must not know what clients do meanwhile.

use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};

use super::{Fault, Happened, Target};
use crate::cluster::Cluster;
use crate::dice::Dice;
use crate::process::run;

/// How long a move goes on before somebody dies, at most, in milliseconds.
const HEAD_START_MS: std::ops::Range<u64> = 0..400;

impl Cluster {
    pub(super) fn suffer_while_moving(
        &mut self,
        fault: Fault,
        dice: &mut Dice,
        target: Target<'_>,
    ) -> anyhow::Result<Happened> {
        let partition = target.any_partition(dice)?;
        let mut brokers = self.ids();
        let keeping = self.view(brokers[0])?.replicas_of(target.topic).get(usize::try_from(partition)?).cloned();
        let replicas = keeping.context("a partition's replicas")?.len();
        ensure!(brokers.len() > replicas, "{} brokers, and {replicas} replicas", brokers.len());
        for last in (1..brokers.len()).rev() {
            brokers.swap(last, usize::try_from(dice.among(0..last as u64 + 1))?);
        }

        let mut command = self.cluster_command()?;
        let (hit, how) = match fault {
            Fault::MoveAndKill => {
                let to: Vec<String> = brokers[..replicas].iter().map(i32::to_string).collect();
                command.args(["reassign", "--topic", target.topic, "--partition", &partition.to_string()]);
                command.args(["--replicas", &to.join(",")]);
                let leader = self.view(brokers[0])?.leader_of(target.topic, partition)?;
                (leader, format!("{}-{partition} to {}", target.topic, to.join(",")))
            }
            Fault::DrainAndKill => {
                command.args(["drain", "--broker", &brokers[0].to_string()]);
                (brokers[1], format!("of {}", brokers[0]))
            }
            other => bail!("{other:?} is no move"),
        };
        // It waits for the end of the move, which may need the broker that is killed.
        let moving = thread::spawn(move || run(&mut command, b""));
        thread::sleep(Duration::from_millis(dice.among(HEAD_START_MS)));
        self.kill9(&[hit])?;
        thread::sleep(Duration::from_millis(dice.among(HEAD_START_MS)));
        self.launch(hit)?;
        moving.join().map_err(|_| anyhow!("the move panicked"))?.context("move while a broker dies")?;
        let moved = self.until_moved(fault, target, partition, &brokers[..replicas], brokers[0])?;
        Ok(Happened::new(fault, &[hit], None).how(format!("{how} moved_ms={}", moved.as_millis())))
    }

    /// Waits until all brokers say what the move was for.
    fn until_moved(
        &mut self,
        fault: Fault,
        target: Target<'_>,
        partition: i32,
        to: &[i32],
        drained: i32,
    ) -> anyhow::Result<Duration> {
        let ids = self.ids();
        self.wait_until("moved", |cluster| {
            ids.iter().find_map(|&id| {
                let replicas = match cluster.view(id) {
                    Ok(view) => view.replicas_of(target.topic),
                    Err(error) => return Some(format!("broker {id}: {error:#}")),
                };
                let moved = match fault {
                    Fault::MoveAndKill => usize::try_from(partition)
                        .ok()
                        .and_then(|partition| replicas.get(partition))
                        .is_some_and(|replicas| {
                            replicas.iter().eq(&to.iter().copied().collect::<std::collections::BTreeSet<i32>>())
                        }),
                    _ => replicas.iter().all(|replicas| !replicas.contains(&drained)),
                };
                (!moved).then(|| format!("broker {id} says that {replicas:?} keep it"))
            })
        })
    }
}
