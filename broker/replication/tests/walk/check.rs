//! What must hold after every step: the properties of `docs/replication.md`.
//!
//! Must not know: how the world came to be as it is.

use cairn_metadata::{Brokers, Duty};
use cairn_protocol::ids::BrokerId;
use cairn_replication::LogView;

use crate::log::{Log, small};
use crate::world::{BROKERS, Mode, World};

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
    /// A log lacks a record that compaction has removed nowhere.
    HoleFromNowhere,
    /// Nobody is left to whom a log that has everything could belong.
    TooFewKnown,
    /// A leader was elected without something that was committed, although somebody who told has it.
    WholeLogPassedOver,
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
            // Behind an unclean election a leader may commit again what it has deleted long ago: nobody can say what it was.
            if at < log.start {
                self.log.remove(at);
            }
        }
        Ok(())
    }

    /// Only what is in this log counts from here on.
    pub(crate) fn rebase(&mut self, log: &Log) {
        self.log.truncate(self.log.common(log));
    }

    /// Whether a log has all of it that is not deleted.
    pub(crate) fn is_in(&self, log: &Log, deleted: u8) -> bool {
        log.start <= deleted && self.log.agrees(log, self.len())
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
            let is_whole = self.committed.is_in(&node.log, self.deleted);
            is_somewhere |= is_whole;
            if !node.is_up {
                continue;
            }
            if node.log.lacks_beyond(self.removed) {
                return Err(Violation::HoleFromNowhere);
            }
            let shown = small(node.replica.high_watermark());
            // Beside a leader that was elected uncleanly others may go on for a while. What they commit may stay, or not.
            let is_undone = self.partition.unclean_epoch.is_some_and(|unclean| {
                let last = node.replica.high_watermark().plus(-1);
                node.replica.known_epoch() < unclean || node.log.epoch_at(last) < Some(unclean)
            });
            let shows_none = shown <= node.log.start;
            let is_committed = shown <= self.committed.len() && self.committed.log.agrees(&node.log, shown);
            if !is_undone && !shows_none && !is_committed {
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
        // Where anything may be lost, everything may be.
        if !is_somewhere && self.mode != Mode::Unclean {
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
        let partition = &self.partition;
        let known = partition.last_known.len();
        if partition.isr.is_empty() && partition.elr.is_empty() && partition.unclean_epoch.is_none() && known < 2 {
            return Err(Violation::TooFewKnown);
        }
        self.check_maximal_isr()
    }

    fn check_maximal_isr(&self) -> Result<(), Violation> {
        let Some(leader) = self.partition.leader else { return Ok(()) };
        let at = u8::try_from(leader.0).expect("few brokers");
        let node = self.node(at);
        if !node.is_up || node.replica.leads() != Some(self.partition.leader_epoch) {
            return Ok(());
        }
        let counts = |id: &BrokerId| node.replica.maximal_isr().any(|member| member == *id);
        let must_count = self.partition.isr.iter().chain(&self.partition.elr);
        if self.partition.isr.len() >= 2 && !must_count.clone().all(counts) {
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
