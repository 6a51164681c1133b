//! Whoever leads or may be elected has everything that was committed (Leader Completeness, Candidate Completeness), if it runs.

use super::has;
use crate::setup::PARTITIONS;
use crate::world::{World, partition_id, place_of};

impl World {
    pub(crate) fn check_candidates(&mut self) {
        let image = std::sync::Arc::clone(self.quorum.newest());
        for partition in 0..PARTITIONS {
            let (topic, index) = partition_id(partition);
            let Some(known) = image.topic(topic).and_then(|topic| topic.partition(index)) else { continue };
            for candidate in known.isr.iter().chain(&known.elr).chain(&known.leader) {
                let broker = place_of(*candidate);
                let Some(process) = &self.machines[broker].process else { continue };
                let registered = image.broker(*candidate).map(|broker| broker.epoch);
                let Some(held) = process.held.get(&partition).filter(|_| process.incarnation == registered) else {
                    continue;
                };
                if !has(&held.pieces, &self.truth.committed[partition]) {
                    let (known, pieces) = (known.clone(), held.pieces.len());
                    let committed = self.truth.committed[partition].len();
                    return self.wrong("candidates", || {
                        format!(
                            "broker {broker} may lead partition {partition} and has {pieces} of {committed} batches, or others: {known:?}"
                        )
                    });
                }
            }
        }
    }
}
