//! What must hold after every step: the properties of `docs/replication.md`.
//!
//! Must not know: how the world came to be as it is.

use cairn_metadata::{Brokers, Duty};
use cairn_protocol::ids::BrokerId;

use crate::log::{Log, small};
use crate::world::{BROKERS, World};

/// Something that must never be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// A leader committed something else where something was committed already.
    CommittedTwice,
    /// A broker shows as committed what is not.
    ReadsUncommitted,
    /// A broker leads that lacks something committed.
    LeaderLacks,
    /// A broker may be elected that lacks something committed.
    CandidateLacks,
    /// A broker would cut, or contradict, what it knows to be committed.
    CutBelowHighWatermark,
    /// No broker has everything that was committed.
    LostEverywhere,
    /// Someone is in sync, or leads, who is fenced.
    FencedMember,
    /// Someone is in sync whom the leader does not count.
    IsrBeyondMaximal,
    /// A leader that knows of everything believes in other in-sync replicas than the quorum.
    IsrUnlike,
}

/// What was committed, by any leader ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Committed {
    log: Log,
}

impl Committed {
    pub(crate) fn len(&self) -> u8 {
        self.log.len()
    }

    /// A leader with this log commits its first `len` records.
    pub(crate) fn extend(&mut self, log: &Log, len: u8) -> Result<(), Violation> {
        if !self.log.agrees(log, len.min(self.len())) {
            return Err(Violation::CommittedTwice);
        }
        for at in self.len()..len {
            self.log.append(log.get(at));
        }
        Ok(())
    }

    fn is_in(&self, log: &Log) -> bool {
        self.log.agrees(log, self.len())
    }
}

/// Which properties are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// That nothing committed is lost, changed, or could be.
    Loss,
    /// And that who is in sync serves, and that the leader counts everyone who must be counted.
    All,
}

impl World {
    /// What is wrong with the world, if anything.
    pub(crate) fn check(&self, strictness: Strictness) -> Result<(), Violation> {
        let mut is_somewhere = false;
        for at in 0..BROKERS {
            let node = self.node(at);
            let is_whole = self.committed.is_in(&node.log);
            is_somewhere |= is_whole;
            if !node.is_up {
                continue;
            }
            let shown = small(node.replica.high_watermark());
            if shown > self.committed.len() || !self.committed.log.agrees(&node.log, shown) {
                return Err(Violation::ReadsUncommitted);
            }
            if is_whole {
                continue;
            }
            let me = BrokerId(i32::from(at));
            if self.partition.leader == Some(me) {
                return Err(Violation::LeaderLacks);
            }
            if self.partition.isr.contains(&me) || self.partition.elr.contains(&me) {
                return Err(Violation::CandidateLacks);
            }
        }
        if !is_somewhere {
            return Err(Violation::LostEverywhere);
        }
        if strictness == Strictness::Loss {
            return Ok(());
        }
        let is_fenced =
            |id: &BrokerId| self.quorum_view().standing(*id).is_some_and(|standing| standing.duty != Duty::Serving);
        if self.partition.isr.iter().chain(&self.partition.leader).any(is_fenced) {
            return Err(Violation::FencedMember);
        }
        self.check_maximal_isr()
    }

    fn check_maximal_isr(&self) -> Result<(), Violation> {
        let Some(leader) = self.partition.leader else { return Ok(()) };
        let at = u8::try_from(leader.0).expect("three brokers");
        let node = self.node(at);
        if !node.is_up || node.replica.leads() != Some(self.partition.leader_epoch) {
            return Ok(());
        }
        let counts = |id: &BrokerId| node.replica.maximal_isr().any(|member| member == *id);
        let must_count = self.partition.isr.iter().chain(&self.partition.elr);
        if self.partition.isr.len() >= 2 && !must_count.clone().all(|id| counts(id)) {
            return Err(Violation::IsrBeyondMaximal);
        }
        if self.is_current(at)
            && node.replica.open_proposal().is_none()
            && node.replica.maximal_isr().count() != self.partition.isr.len()
        {
            return Err(Violation::IsrUnlike);
        }
        Ok(())
    }

    /// How much has happened: walks in which nothing does prove nothing.
    pub(crate) fn committed_len(&self) -> u64 {
        u64::from(self.committed.len())
    }
}
