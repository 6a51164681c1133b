//! What was sent once is in the log once.

use std::collections::{BTreeMap, BTreeSet};

use crate::world::World;

impl World {
    pub(crate) fn check_duplicates(&mut self, partition: usize, log: &BTreeMap<i64, Vec<u8>>) {
        let mut seen = BTreeSet::new();
        if let Some((offset, value)) = log.iter().find(|(_, value)| !seen.insert(*value)) {
            self.wrong("duplicates", || {
                format!("{} is again at {offset} of partition {partition}", value.escape_ascii())
            });
        }
    }
}
