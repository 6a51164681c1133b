//! What happens to the files of brokers that do not run, and what whoever runs them does about it.
//!
//! It must not know what clients do meanwhile.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use super::{Fault, Happened, Target};
use crate::cluster::Cluster;
use crate::dice::Dice;

impl Cluster {
    pub(super) fn suffer_from_lost_files(
        &mut self,
        fault: Fault,
        dice: &mut Dice,
        target: Target<'_>,
    ) -> anyhow::Result<Happened> {
        match fault {
            Fault::SegmentLost => self.lose_segment(dice, target),
            Fault::Replaced => {
                let hit = self.any(dice)?;
                self.kill9(&[hit])?;
                let new = self.replace(hit)?;
                self.until_known(new)?;
                // What the lost one kept goes to those that there are.
                self.ask_cluster(&["drain", "--broker", &hit.to_string()])?;
                Ok(Happened::new(fault, &[hit], None).how(format!("by={new}")))
            }
            other => bail!("{other:?} does not happen to files"),
        }
    }

    fn lose_segment(&mut self, dice: &mut Dice, target: Target<'_>) -> anyhow::Result<Happened> {
        let partition = target.any_partition(dice)?;
        let asked = self.any(dice)?;
        let replicas = self.view(asked)?.replicas_of(target.topic).get(usize::try_from(partition)?).cloned();
        let replicas: Vec<i32> = replicas.context("a partition's replicas")?.into_iter().collect();
        let hit = replicas[usize::try_from(dice.among(0..replicas.len() as u64))?];
        self.kill9(&[hit])?;
        let lost = any_segment(&self.member(hit)?.data().join(format!("{}-{partition}", target.topic)), dice)?;
        fs::remove_file(&lost)?;
        self.launch(hit)?;
        self.until_known(hit)?;

        let named = |ids: &[i32]| ids.iter().map(i32::to_string).collect::<Vec<String>>().join(",");
        let others: Vec<i32> = replicas.iter().copied().filter(|&id| id != hit).collect();
        ensure!(!others.is_empty(), "nobody else keeps {}-{partition}", target.topic);
        for keepers in [&others, &replicas] {
            let partition = partition.to_string();
            let which = ["reassign", "--topic", target.topic, "--partition", &partition, "--replicas"];
            self.ask_cluster(&[&which[..], &[&named(keepers)]].concat())?;
        }
        let name = lost.file_name().and_then(OsStr::to_str).unwrap_or_default().to_owned();
        Ok(Happened::new(Fault::SegmentLost, &[hit], None).how(format!("{}-{partition}/{name}", target.topic)))
    }

    /// Waits until all brokers know one that was started.
    fn until_known(&mut self, id: i32) -> anyhow::Result<()> {
        let ids = self.ids();
        self.wait_until("joined", |cluster| {
            ids.iter().find_map(|&asked| match cluster.view(asked) {
                Ok(view) if view.knows(id) => None,
                Ok(_) => Some(format!("broker {asked} knows no broker {id}")),
                Err(error) => Some(format!("broker {asked}: {error:#}")),
            })
        })?;
        Ok(())
    }
}

/// One of the files that hold a partition's records.
fn any_segment(folder: &Path, dice: &mut Dice) -> anyhow::Result<PathBuf> {
    let mut segments = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            segments.push(path);
        }
    }
    segments.sort();
    ensure!(!segments.is_empty(), "no segment in {}", folder.display());
    Ok(segments.swap_remove(usize::try_from(dice.among(0..segments.len() as u64))?))
}
