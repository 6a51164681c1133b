//! What was acknowledged is in the log, where it was acknowledged.

use std::collections::BTreeMap;

use crate::world::World;

impl World {
    pub(crate) fn check_lost(&mut self, partition: usize, log: &BTreeMap<i64, Vec<u8>>) {
        let lost = self.truth.acked[partition].iter().find(|(value, offset)| log.get(*offset) != Some(*value));
        if let Some((value, offset)) = lost.map(|(value, offset)| (value.clone(), *offset)) {
            self.wrong("lost", || {
                format!("{} was acknowledged at {offset} of partition {partition}", value.escape_ascii())
            });
        }
    }
}
