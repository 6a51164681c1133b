//! A consumer that comes back goes on where it had committed, or behind.

use crate::world::World;

impl World {
    /// `acked` is the last commit that was acknowledged when it was asked.
    pub(crate) fn check_offset(&mut self, consumer: usize, partition: usize, offset: Option<i64>, acked: Option<i64>) {
        if offset < acked {
            self.wrong("offsets", || {
                format!(
                    "consumer {consumer} of partition {partition} has committed {acked:?} and goes on at {offset:?}"
                )
            });
        }
    }
}
