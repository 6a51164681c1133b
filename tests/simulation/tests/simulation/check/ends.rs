//! Who asks where a partition ends hears of everything that was acknowledged before it asked.

use crate::world::World;

impl World {
    /// `acked` was the end of what was acknowledged when it was asked.
    pub(crate) fn check_end(&mut self, partition: usize, end: i64, acked: i64) {
        if end < acked {
            self.wrong("ends", || {
                format!("partition {partition} ends at {end}, it was told, and {acked} was acknowledged")
            });
        }
    }
}
