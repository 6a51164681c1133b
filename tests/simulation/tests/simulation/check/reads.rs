//! What was read once is what everybody reads, and stays in the log.

use std::collections::BTreeMap;

use crate::world::World;

impl World {
    /// A consumer has read this.
    pub(crate) fn on_read(&mut self, partition: usize, offset: i64, value: Vec<u8>) {
        self.sum.read += 1;
        let before = self.truth.read[partition].get(&offset);
        if before.is_some_and(|before| *before != value) {
            return self.wrong("reads", || {
                format!("{} was read at {offset} of partition {partition}, where another was", value.escape_ascii())
            });
        }
        self.truth.read[partition].insert(offset, value);
    }

    pub(crate) fn check_reads(&mut self, partition: usize, log: &BTreeMap<i64, Vec<u8>>) {
        let gone = self.truth.read[partition].iter().find(|(offset, value)| log.get(*offset) != Some(*value));
        if let Some((offset, value)) = gone.map(|(offset, value)| (*offset, value.clone())) {
            self.wrong("reads", || {
                format!("{} was read at {offset} of partition {partition}, and is not there", value.escape_ascii())
            });
        }
    }
}
