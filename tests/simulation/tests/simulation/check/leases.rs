//! Nobody is fenced for its silence who holds a lease.

use cairn_metadata::BrokerEpoch;
use cairn_replication::Ticks;

use crate::world::World;

impl World {
    pub(crate) fn check_fenced_for_silence(&mut self, broker: usize, incarnation: BrokerEpoch) {
        let now = Ticks(self.now);
        let Some(process) = &self.machines[broker].process else { return };
        if process.incarnation == Some(incarnation) && process.lease.holds(now) {
            self.wrong("leases", || format!("broker {broker} is fenced for its silence, and holds a lease"));
        }
    }
}
