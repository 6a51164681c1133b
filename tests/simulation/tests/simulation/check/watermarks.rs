//! What a broker shows as committed is committed, and stays what it is.

use crate::world::World;

impl World {
    /// A broker's high watermark may have risen. What a leader's covers is committed from now on.
    pub(crate) fn check_watermark(&mut self, broker: usize, partition: usize) {
        let Some(process) = &self.machines[broker].process else { return };
        let Some(held) = process.held.get(&partition) else { return };
        let shown = held.replica.high_watermark().0;
        let committed = &mut self.truth.committed[partition];
        let count = held.pieces.iter().take_while(|piece| piece.end <= shown).count();
        let common = count.min(committed.len());
        if held.pieces[..common] != committed[..common] {
            let what = move || format!("broker {broker} shows something else as committed in partition {partition}");
            return self.wrong("watermarks", what);
        }
        if count <= committed.len() {
            return;
        }
        if held.replica.leads().is_some() {
            committed.extend_from_slice(&held.pieces[common..count]);
        } else {
            let what = move || format!("broker {broker} shows as committed what is not in partition {partition}");
            self.wrong("watermarks", what);
        }
    }
}
