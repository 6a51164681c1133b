//! A leader that is not deposed waits for everyone who could be elected in its place (Replication Quorum Superset).

use cairn_protocol::ids::BrokerId;

use crate::setup::PARTITIONS;
use crate::world::{World, partition_id, place_of};

impl World {
    pub(crate) fn check_superset(&mut self) {
        let image = std::sync::Arc::clone(self.quorum.newest());
        for partition in 0..PARTITIONS {
            let (id, index) = partition_id(partition);
            let Some(topic) = image.topic(id) else { continue };
            let Some(known) = topic.partition(index) else { continue };
            let Some(leader) = known.leader else { continue };
            let Some(process) = &self.machines[place_of(leader)].process else { continue };
            let Some(held) = process.held.get(&partition) else { continue };
            if held.replica.leads() != Some(known.leader_epoch) || known.isr.len() < known.min_isr(&image.policy(topic))
            {
                continue;
            }
            let counted: Vec<BrokerId> = held.replica.maximal_isr().collect();
            if !known.isr.iter().chain(&known.elr).all(|member| counted.contains(member)) {
                let known = known.clone();
                return self.wrong("superset", || {
                    format!("the leader of partition {partition} waits for {counted:?}: {known:?}")
                });
            }
        }
    }
}
