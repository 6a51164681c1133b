//! What one producer sent is in the log in the order in which it was sent.

use std::collections::BTreeMap;

use crate::clients::number_of;
use crate::world::World;

impl World {
    pub(crate) fn check_order(&mut self, partition: usize, log: &BTreeMap<i64, Vec<u8>>) {
        let mut last = BTreeMap::new();
        for (offset, value) in log {
            let Some((producer, number)) = number_of(value) else { continue };
            if last.insert(producer, number).is_some_and(|before| before >= number) {
                return self.wrong("order", || {
                    format!("{} is too late at {offset} of partition {partition}", value.escape_ascii())
                });
            }
        }
    }
}
