//! Who is in sync, who is eligible and who leads, when brokers come and go.
//!
//! Clean elections look into no log: whoever is in sync has everything that was committed, and so has whoever is eligible
//! (KIP-966). Nothing is committed while fewer than `min.insync.replicas` are in sync; who leaves the in-sync replicas then
//! has everything, and becomes eligible. With enough in sync again, things go on without the eligible ones, and they are none.
//!
//! Must not know: how it is noticed that a broker is gone.

use cairn_protocol::ids::{BrokerId, LeaderEpoch};

use super::{Brokers, Duty, Eligible, Partition, Policy};
use crate::rules::Rule;

/// Whether a broker that is gone, or has come as a new incarnation, may have lost something that it had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Loss {
    /// It has everything that was appended to it; under `synced`, everything that was flushed.
    Nothing,
    /// Another disk, a log that is not whole, or under `replicated` another boot of the machine without a clean stop.
    Possible,
}

/// What a decision changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    /// Nothing.
    Unchanged,
    /// Something.
    Changed,
    /// A replica leads that may lack what was committed: nobody is left of whom the opposite is known.
    LedUncleanly,
}

/// A replica cannot lead: it is not in sync, or does not serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the replica is not in sync, or does not serve")]
pub struct CannotLead;

impl Decided {
    fn or(self, other: Self) -> Self {
        if self == Self::Unchanged { other } else { self }
    }
}

impl Partition {
    /// A broker was fenced, wants to stop, or has come as a new incarnation, as `brokers` shows by now: in one step it leads
    /// nothing and is not in sync.
    pub fn on_broker_gone(&mut self, broker: BrokerId, loss: Loss, brokers: &impl Brokers, policy: &Policy) -> Decided {
        let known = policy.eligible == Eligible::Kept && policy.rules.hold(Rule::LossyIsNotEligible);
        let lossy = (known && loss == Loss::Possible).then_some(broker);
        let stays = policy.eligible == Eligible::NotYet || !policy.rules.hold(Rule::LastMemberLeaves);
        let leaves_isr = self.isr.contains(&broker) && (self.isr.len() > 1 || !stays);
        let leaves_elr = lossy.is_some() && self.elr.contains(&broker);
        if leaves_isr {
            let isr = self.isr.iter().copied().filter(|id| *id != broker).collect();
            self.change_isr(isr, lossy, policy);
        } else if leaves_elr {
            self.change_isr(self.isr.clone(), lossy, policy);
        }
        let changed = if leaves_isr || leaves_elr { Decided::Changed } else { Decided::Unchanged };
        let decided = match self.leader {
            Some(leader) if leader != broker => changed,
            _ => self.elect(brokers, policy).or(changed),
        };
        self.partition_epoch.0 += i32::from(decided != Decided::Unchanged);
        decided
    }

    /// A new incarnation of a broker has registered. It begins as [`Self::on_broker_gone`] leaves the old one.
    pub fn on_broker_registered(
        &mut self,
        broker: BrokerId,
        loss: Loss,
        brokers: &impl Brokers,
        policy: &Policy,
    ) -> Decided {
        if !policy.rules.hold(Rule::RegisteringFences) {
            return Decided::Unchanged;
        }
        self.on_broker_gone(broker, loss, brokers, policy)
    }

    /// A broker serves again, as `brokers` shows by now: where nobody leads, it may.
    pub fn on_broker_back(&mut self, brokers: &impl Brokers, policy: &Policy) -> Decided {
        if self.leader.is_some() {
            return Decided::Unchanged;
        }
        let decided = self.elect(brokers, policy);
        self.finish_move(brokers, policy);
        self.partition_epoch.0 += i32::from(decided != Decided::Unchanged);
        decided
    }

    /// `policy` requires another number of in-sync replicas than before. The partition epoch rises, so that no leader has a
    /// proposal decided by a number that it does not know.
    pub fn on_min_isr_changed(&mut self, brokers: &impl Brokers, policy: &Policy) {
        if self.isr.len() >= self.min_isr(policy) {
            self.elr.clear();
            self.last_known.clear();
        }
        self.finish_move(brokers, policy);
        self.partition_epoch.0 += 1;
    }

    /// Has another in-sync replica lead: the preferred one, or in place of one that is about to stop.
    ///
    /// # Errors
    /// When it is not in sync, or does not serve.
    pub fn transfer(&mut self, to: BrokerId, brokers: &impl Brokers) -> Result<Decided, CannotLead> {
        let serves = brokers.standing(to).is_some_and(|standing| standing.duty == Duty::Serving);
        if !serves || !self.isr.contains(&to) {
            return Err(CannotLead);
        }
        if self.leader == Some(to) {
            return Ok(Decided::Unchanged);
        }
        self.lead(Some(to));
        self.partition_epoch.0 += 1;
        Ok(Decided::Changed)
    }

    /// Puts others in sync. Who leaves is eligible while too few are left to commit anything, but for `lossy`, who is
    /// remembered as one who was.
    pub(super) fn change_isr(&mut self, isr: Vec<BrokerId>, lossy: Option<BrokerId>, policy: &Policy) {
        if isr.len() >= self.min_isr(policy) || policy.eligible == Eligible::NotYet {
            self.elr.clear();
            self.last_known.clear();
        } else {
            let had = |id: &BrokerId| self.isr.contains(id) || self.elr.contains(id);
            let eligible = |id: &BrokerId| had(id) && !isr.contains(id) && Some(*id) != lossy;
            let elr: Vec<_> = self.replicas.iter().copied().filter(eligible).collect();
            let was = |id: &BrokerId| had(id) || self.last_known.contains(id);
            let known = |id: &BrokerId| was(id) && !isr.contains(id) && !elr.contains(id);
            self.last_known = self.replicas.iter().copied().filter(known).collect();
            self.elr = elr;
        }
        self.isr = isr;
    }

    /// Chooses a leader: the first who serves of those in sync, else, when none is, of those eligible. When nobody is either,
    /// and only one replica ever was, that one; with several, [`Self::elect_by_logs`] chooses.
    fn elect(&mut self, brokers: &impl Brokers, policy: &Policy) -> Decided {
        let serves = |id: &BrokerId| brokers.standing(*id).is_some_and(|standing| standing.duty == Duty::Serving);
        let first = |of: &[BrokerId]| self.replicas.iter().copied().find(|id| of.contains(id) && serves(id));
        let leader = match (first(&self.isr), self.isr.is_empty(), self.elr.is_empty()) {
            (Some(member), _, _) => Some(member),
            (None, false, _) => None,
            (None, true, false) => first(&self.elr),
            // With a single replica it always comes to this after a loss.
            (None, true, true) => match self.only_last_known().filter(serves) {
                Some(last) => {
                    self.lead_uncleanly(last);
                    return Decided::LedUncleanly;
                }
                None => None,
            },
        };
        if self.leader == leader {
            return Decided::Unchanged;
        }
        if let Some(leader) = leader.filter(|leader| !self.isr.contains(leader)) {
            self.change_isr(vec![leader], None, policy);
        }
        self.lead(leader);
        Decided::Changed
    }

    fn only_last_known(&self) -> Option<BrokerId> {
        match &self.last_known[..] {
            [] => self.last_leader.or(self.leader),
            [only] => Some(*only),
            _ => None,
        }
    }

    pub(super) fn lead(&mut self, leader: Option<BrokerId>) {
        if leader.is_some() || self.leader.is_some() {
            self.last_leader = if leader.is_some() { None } else { self.leader };
        }
        self.leader = leader;
        self.leader_epoch = LeaderEpoch(self.leader_epoch.0 + 1);
        self.decided = None;
    }

    /// A replica leads that may lack what was committed. Its log is what is true from here on: nobody else has anything that
    /// counts, and who is in sync beside it proves that in this epoch.
    pub(super) fn lead_uncleanly(&mut self, leader: BrokerId) {
        self.isr = vec![leader];
        self.elr.clear();
        self.last_known.clear();
        self.lead(Some(leader));
        self.unclean_epoch = Some(self.leader_epoch);
    }
}
