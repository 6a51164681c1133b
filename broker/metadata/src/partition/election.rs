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
            self.elr.retain(|id| *id != broker);
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
        self.partition_epoch.0 += i32::from(decided != Decided::Unchanged);
        decided
    }

    /// `policy` requires another number of in-sync replicas than before. The partition epoch rises, so that no leader has a
    /// proposal decided by a number that it does not know.
    pub fn on_min_isr_changed(&mut self, policy: &Policy) {
        if self.isr.len() >= self.min_isr(policy) {
            self.elr.clear();
        }
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

    /// Puts others in sync. Who leaves is eligible while too few are left to commit anything, but for `lossy`.
    pub(super) fn change_isr(&mut self, isr: Vec<BrokerId>, lossy: Option<BrokerId>, policy: &Policy) {
        if isr.len() >= self.min_isr(policy) || policy.eligible == Eligible::NotYet {
            self.elr.clear();
        } else {
            let had = |id: &BrokerId| self.isr.contains(id) || self.elr.contains(id);
            let eligible = |id: &BrokerId| had(id) && !isr.contains(id) && Some(*id) != lossy;
            self.elr = self.replicas.iter().copied().filter(eligible).collect();
        }
        self.isr = isr;
    }

    /// Chooses a leader: the first who serves of those in sync, else, when none is, of those eligible, else who led last.
    fn elect(&mut self, brokers: &impl Brokers, policy: &Policy) -> Decided {
        let serves = |id: &BrokerId| brokers.standing(*id).is_some_and(|standing| standing.duty == Duty::Serving);
        let first = |of: &[BrokerId]| self.replicas.iter().copied().find(|id| of.contains(id) && serves(id));
        let (leader, decided) = match (first(&self.isr), self.isr.is_empty(), self.elr.is_empty()) {
            (Some(member), _, _) => (Some(member), Decided::Changed),
            (None, false, _) => (None, Decided::Changed),
            (None, true, false) => (first(&self.elr), Decided::Changed),
            // Nobody is known to have everything. Kafka does the same; with a single replica it always comes to this
            // after a loss.
            (None, true, true) => (self.last_leader.or(self.leader).filter(serves), Decided::LedUncleanly),
        };
        if self.leader == leader {
            return Decided::Unchanged;
        }
        if let Some(leader) = leader.filter(|leader| !self.isr.contains(leader)) {
            self.change_isr(vec![leader], None, policy);
        }
        self.lead(leader);
        if leader.is_some() { decided } else { Decided::Changed }
    }
    fn lead(&mut self, leader: Option<BrokerId>) {
        self.last_leader = if leader.is_some() { None } else { self.leader };
        self.leader = leader;
        self.leader_epoch = LeaderEpoch(self.leader_epoch.0 + 1);
        self.decided = None;
    }
}
