//! What was told as committed is not taken back: whoever asks for a group's offsets later hears the same, or more.

use crate::world::World;

impl World {
    /// `told` is the most that anybody had heard when it was asked.
    pub(crate) fn check_told(&mut self, consumer: usize, offset: Option<i64>, told: Option<i64>) {
        if offset < told {
            self.wrong("told", || {
                format!("consumer {consumer} has committed {offset:?}, it was told, and before that {told:?}")
            });
        }
        let known = self.truth.told.entry(consumer).or_default();
        *known = (*known).max(offset);
    }
}
