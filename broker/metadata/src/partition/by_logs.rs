//! Who leads when nobody has everything that was committed for certain: whoever has most of it.
//!
//! Brokers tell how far their logs go; the longest log of the newest epoch wins. Every such election is a possible loss, and
//! told as [`Decided::LedUncleanly`].
//!
//! Must not know: who asks for it, whether configs allow it.

use cairn_protocol::ids::{BrokerId, LeaderEpoch, Offset};
use serde::{Deserialize, Serialize};

use super::{Brokers, Decided, Duty, Partition};
use crate::broker::BrokerEpoch;

/// How far a replica's log goes, by its broker's own word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct LogTold {
    /// Whose.
    pub broker: BrokerId,
    /// The incarnation that tells it: nobody else's word counts.
    pub epoch: BrokerEpoch,
    /// The leader epoch of its last record; none where there is none.
    pub last_epoch: Option<LeaderEpoch>,
    /// Its start. What lies before was committed, and is deleted.
    pub start: Offset,
    /// Its end.
    pub end: Offset,
}

/// Whose log may be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum ElectBy {
    /// That of one who once had everything, after all of those have told.
    LastKnown,
    /// That of who led last, without the others.
    LastLeader,
    /// Any: `unclean.leader.election.enable`, or somebody who is allowed to has asked for it. Replicas that have everything
    /// and are away are not waited for.
    Anyone,
}

/// Why nobody is elected by logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
pub enum CannotElect {
    /// Somebody leads.
    #[error("the partition has a leader")]
    Led,
    /// A replica that is away has everything.
    #[error("a replica that is away has everything that was committed")]
    Eligible,
    /// Not all whose word is needed have told, in their present incarnation, and serve.
    #[error("not every replica that is needed has told how far its log goes")]
    NotTold,
}

impl Partition {
    /// Elects by what brokers tell of their logs.
    ///
    /// # Errors
    /// When somebody leads or could, or too few have told.
    pub fn elect_by_logs(
        &mut self,
        by: ElectBy,
        told: &[LogTold],
        brokers: &impl Brokers,
    ) -> Result<Decided, CannotElect> {
        if self.leader.is_some() {
            return Err(CannotElect::Led);
        }
        if by != ElectBy::Anyone && !(self.isr.is_empty() && self.elr.is_empty()) {
            return Err(CannotElect::Eligible);
        }
        let log = |id: &BrokerId| {
            let standing = brokers.standing(*id).filter(|standing| standing.duty == Duty::Serving)?;
            told.iter().find(|log| log.broker == *id && log.epoch == standing.epoch)
        };
        let candidates: Vec<_> = match by {
            ElectBy::LastKnown => self.last_known.iter().map(log).collect::<Option<_>>(),
            ElectBy::LastLeader => self.last_leader.iter().map(log).collect(),
            ElectBy::Anyone => Some(self.replicas.iter().filter_map(log).collect()),
        }
        .ok_or(CannotElect::NotTold)?;
        // Whoever ends before another one begins lacks something that was committed, whatever the epochs say.
        let committed = candidates.iter().map(|log| log.start).max();
        // Of equals the first: the preferred leader.
        let longest = |best: Option<LogTold>, log: &&LogTold| match best {
            Some(best) if (best.last_epoch, best.end) >= (log.last_epoch, log.end) => Some(best),
            _ => Some(**log),
        };
        let whole = candidates.iter().filter(|log| Some(log.end) >= committed);
        let best = whole.fold(None, longest).ok_or(CannotElect::NotTold)?;
        self.lead_uncleanly(best.broker);
        self.partition_epoch.0 += 1;
        Ok(Decided::LedUncleanly)
    }
}
