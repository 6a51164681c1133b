//! A partition on its way to other replicas.
//!
//! ```text
//!   move_to   replicas = from, then who is new; they catch up, and join the in-sync replicas like any follower
//!   decide    once all who are new are in sync, and enough without those who go: replicas = to
//!   cancel    replicas = from, if enough of them are in sync
//! ```
//! Both ends raise the leader epoch, so that nobody counts by who kept the partition before; and so does the beginning, so that
//! a replica that was taken away and comes again deletes nothing of what it takes as the new one.
//!
//! Must not know: why somebody wants it elsewhere.

use cairn_protocol::ids::BrokerId;
use serde::{Deserialize, Serialize};

use super::{Brokers, Decided, Duty, Partition, Policy};
use crate::rules::Rule;

/// Between which replicas a partition moves.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Moving {
    /// Who kept it before, the preferred leader first.
    pub from: Vec<BrokerId>,
    /// Who shall keep it.
    pub to: Vec<BrokerId>,
}

/// Why a partition goes on moving.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
pub enum CannotCancel {
    /// It does not move.
    #[error("the partition is not being moved")]
    NotMoving,
    /// What would be left could not go on committing.
    #[error("too few of the replicas of before are in sync")]
    TooFewInSync,
}

impl Partition {
    /// Who is new on the way to other replicas.
    pub fn adding(&self) -> impl Iterator<Item = BrokerId> {
        let new = |moving: &Moving, id: &BrokerId| moving.to.contains(id) && !moving.from.contains(id);
        self.replicas.iter().copied().filter(move |id| self.moving.as_ref().is_some_and(|moving| new(moving, id)))
    }

    /// Who keeps it no more once it has arrived.
    pub fn removing(&self) -> impl Iterator<Item = BrokerId> {
        self.replicas.iter().copied().filter(|id| self.moving.as_ref().is_some_and(|moving| !moving.to.contains(id)))
    }

    /// Others shall keep it, the preferred leader first. Whoever it was on its way to before and is not wanted any more goes at
    /// the end, in case it is needed until then. `to` names each broker once, and is not empty.
    pub fn move_to(&mut self, to: Vec<BrokerId>, brokers: &impl Brokers, policy: &Policy) -> Decided {
        let under_way = self.moving.as_ref().map(|moving| &moving.to);
        if under_way.unwrap_or(&self.replicas) == &to {
            return Decided::Unchanged;
        }
        let from = self.moving.take().map_or_else(|| self.replicas.clone(), |moving| moving.from);
        let mut replicas = from.clone();
        for id in to.iter().chain(&self.replicas) {
            if !replicas.contains(id) {
                replicas.push(*id);
            }
        }
        let is_joined = replicas.iter().any(|id| !self.replicas.contains(id));
        self.replicas = replicas;
        self.moving = Some(Moving { from, to });
        let epoch = self.leader_epoch;
        self.finish_move(brokers, policy);
        if is_joined && self.leader_epoch == epoch && policy.rules.hold(Rule::JoiningRaisesEpoch) {
            self.lead(self.leader);
        }
        self.partition_epoch.0 += 1;
        Decided::Changed
    }

    /// The replicas of before shall keep it after all.
    ///
    /// # Errors
    /// When it does not move, or too few of them are in sync.
    pub fn cancel_move(&mut self, brokers: &impl Brokers, policy: &Policy) -> Result<Decided, CannotCancel> {
        let from = self.moving.as_ref().ok_or(CannotCancel::NotMoving)?.from.clone();
        if !self.settle(from, brokers, policy) {
            return Err(CannotCancel::TooFewInSync);
        }
        self.partition_epoch.0 += 1;
        Ok(Decided::Changed)
    }

    /// Arrives, if everyone who is new has everything.
    pub(super) fn finish_move(&mut self, brokers: &impl Brokers, policy: &Policy) {
        let Some(moving) = &self.moving else { return };
        let waits = |id: &&BrokerId| !moving.from.contains(id) && !self.isr.contains(id);
        if moving.to.iter().any(|id| waits(&id)) {
            return;
        }
        let to = moving.to.clone();
        self.settle(to, brokers, policy);
    }

    /// Only these keep it from here on, if enough of them are in sync and one of them can lead.
    fn settle(&mut self, replicas: Vec<BrokerId>, brokers: &impl Brokers, policy: &Policy) -> bool {
        let isr: Vec<_> = replicas.iter().copied().filter(|id| self.isr.contains(id)).collect();
        let least = if policy.rules.hold(Rule::MoveKeepsMinIsr) { policy.min_isr(replicas.len()) } else { 0 };
        let serves = |id: &BrokerId| brokers.standing(*id).is_some_and(|standing| standing.duty == Duty::Serving);
        let leader = self.leader.filter(|leader| isr.contains(leader)).or_else(|| isr.iter().copied().find(serves));
        if isr.len() < least || (leader.is_none() && self.leader.is_some()) {
            return false;
        }
        let someone_goes = self.replicas.iter().any(|id| !replicas.contains(id));
        (self.replicas, self.isr, self.moving) = (replicas, isr, None);
        self.elr.clear();
        self.last_known.clear();
        if someone_goes || self.leader != leader {
            self.lead(leader);
        }
        true
    }
}
