//! Who is in sync: what the leader proposes, and how it learns what was decided.
//!
//! Only one proposal is open at a time. From the moment it is made until its outcome is known, whoever it would put in sync
//! counts for the high watermark already, and whoever it would remove counts still (KIP-497). If nobody decides it, it stays
//! open, and commits may stall: that is right.
//!
//! Must not know: how proposals reach the quorum.

use cairn_metadata::configs::Durability;
use cairn_metadata::{IsrMember, IsrOutcome, IsrProposal, IsrRefused, ProposalSeq, SafeIn};
use cairn_protocol::ids::{BrokerId, LeaderEpoch, Offset};

use super::progress::Pace;
use super::{Leader, Open, Progress};
use crate::assignment::{Assignment, InSync, MayJoin};
use crate::log_view::LogView;
use crate::rules::Rule;
use crate::ticks::Ticks;

/// A proposal that is not answered is sent again after this time.
pub const PROPOSAL_RETRY_MS: u64 = 500;

/// A change of the in-sync replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsrChange {
    /// This follower does not keep up.
    Remove(BrokerId),
    /// This follower has everything.
    Add(BrokerId),
    /// Nobody comes or goes: everything that was committed in memory is on all disks by now.
    OnDisk,
}

/// Why a change is not proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotPropose {
    /// Another proposal is open.
    #[error("another proposal is open")]
    Busy,
    /// This replica does not lead.
    #[error("this replica does not lead")]
    NotLeader,
    /// No follower is there that this would change.
    #[error("there is nothing to change")]
    NothingToChange,
    /// The follower may not be in sync, or has not proven to have everything.
    #[error("the follower has not proven to have everything")]
    NotReady,
}

impl Leader {
    /// Proposes a change. The proposal is sent until its outcome is known.
    pub(crate) fn propose(
        &mut self,
        change: IsrChange,
        high_watermark: Offset,
        log: &impl LogView,
        now: Ticks,
    ) -> Result<&IsrProposal, CannotPropose> {
        if self.proposal.is_some() {
            return Err(CannotPropose::Busy);
        }
        self.check_change(change, high_watermark)?;
        let stays = |follower: &&Progress| match change {
            IsrChange::Remove(gone) => follower.sync == InSync::Yes && follower.broker != gone,
            IsrChange::Add(new) => follower.sync == InSync::Yes || follower.broker == new,
            IsrChange::OnDisk => follower.sync == InSync::Yes,
        };
        let others: Vec<_> = self.followers.iter().filter(stays).collect();
        let safe_in = self.safe_at(&others, high_watermark, log);
        if change == IsrChange::OnDisk && (self.safe_in, safe_in) != (SafeIn::Memory, SafeIn::Disk) {
            return Err(CannotPropose::NothingToChange);
        }
        let leader = IsrMember { broker: self.me, epoch: self.incarnation };
        let others = others.iter().map(|follower| IsrMember { broker: follower.broker, epoch: follower.incarnation });
        let isr = std::iter::once(leader).chain(others).collect();
        self.last_seq = ProposalSeq(self.last_seq.0 + 1);
        let (leader_epoch, partition_epoch, seq) = (self.epoch, self.partition_epoch, self.last_seq);
        let proposal = IsrProposal { leader, leader_epoch, partition_epoch, seq, isr, safe_in };
        Ok(&self.proposal.insert(Open { proposal, sent_at: now }).proposal)
    }

    fn check_change(&self, change: IsrChange, high_watermark: Offset) -> Result<(), CannotPropose> {
        let broker = match change {
            IsrChange::OnDisk => return Ok(()),
            IsrChange::Remove(broker) | IsrChange::Add(broker) => broker,
        };
        let follower = self.progress(broker).ok_or(CannotPropose::NothingToChange)?;
        match (change, follower.sync) {
            (IsrChange::Remove(_), InSync::No) | (IsrChange::Add(_), InSync::Yes) => {
                Err(CannotPropose::NothingToChange)
            }
            (IsrChange::Add(_), InSync::No) if !self.is_ready(follower, high_watermark) => Err(CannotPropose::NotReady),
            _ => Ok(()),
        }
    }

    /// Where everything that was ever committed lies at this leader and these followers. What is committed from here on lies on
    /// their disks anyway, under `synced`; what was before, below the high watermark, or what the leader had when it took office.
    fn safe_at(&self, followers: &[&Progress], high_watermark: Offset, log: &impl LogView) -> SafeIn {
        if self.durability == Durability::Replicated {
            return SafeIn::Memory;
        }
        let committed = high_watermark.max(self.office_start);
        let flushed = |follower: &&Progress| follower.proven.is_some_and(|proven| proven.flushed >= committed);
        let all = log.durable_end() >= committed && followers.iter().all(flushed);
        if all || !self.rules.hold(Rule::ClaimWhatIsFlushed) { SafeIn::Disk } else { SafeIn::Memory }
    }

    /// Whether a follower may be proposed: it has what is committed, and what this leader had when it took office, heard in
    /// this epoch. Under `synced` only what is on its disk counts: the rest may be gone when it leads.
    fn is_ready(&self, follower: &Progress, high_watermark: Offset) -> bool {
        if follower.may_join == MayJoin::No {
            return false;
        }
        let Some(has) = follower.counted(self.durability) else { return !self.rules.hold(Rule::ProvenJoin) };
        if !self.rules.hold(Rule::ProvenJoin) {
            return true;
        }
        has >= high_watermark && (has >= self.office_start || !self.rules.hold(Rule::ReachOfficeStart))
    }

    pub(crate) fn open_proposal(&self) -> Option<&IsrProposal> {
        self.proposal.as_ref().map(|open| &open.proposal)
    }

    /// What to propose now, or to send again: a change that is due, by how followers keep up.
    pub(crate) fn due_proposal(
        &mut self,
        high_watermark: Offset,
        lag_max_ms: u64,
        log: &impl LogView,
        now: Ticks,
    ) -> Option<&IsrProposal> {
        if let Some(open) = &mut self.proposal {
            if now.since(open.sent_at) < PROPOSAL_RETRY_MS {
                return None;
            }
            open.sent_at = now;
            return self.open_proposal();
        }
        // What was refused would be refused again.
        if self.is_behind {
            return None;
        }
        let is_late = |follower: &Progress| now.since(follower.goal_since) > lag_max_ms;
        let change = self.followers.iter().find_map(|follower| match follower.sync {
            InSync::Yes => is_late(follower).then_some(IsrChange::Remove(follower.broker)),
            InSync::No => {
                let ready = follower.pace == Pace::KeepsUp && !is_late(follower);
                (ready && self.is_ready(follower, high_watermark)).then_some(IsrChange::Add(follower.broker))
            }
        });
        // On the disks of too few nobody takes it for safe.
        let on_disk = (self.safe_in == SafeIn::Memory && self.has_min_isr()).then_some(IsrChange::OnDisk);
        self.propose(change.or(on_disk)?, high_watermark, log, now).ok()
    }

    /// The quorum has answered a proposal.
    pub(crate) fn on_outcome(&mut self, leader_epoch: LeaderEpoch, seq: ProposalSeq, outcome: IsrOutcome) {
        let is_open = |open: &&mut Open| leader_epoch == self.epoch && open.proposal.seq == seq;
        let Some(open) = self.proposal.as_mut().filter(is_open) else { return };
        match outcome {
            // Somebody else leads. What was proposed counts until the metadata says so.
            IsrOutcome::Refused(IsrRefused::NotLeader) => {}
            IsrOutcome::Refused(_) => (self.proposal, self.is_behind) = (None, true),
            IsrOutcome::Accepted(epoch) if epoch <= self.partition_epoch => self.proposal = None,
            IsrOutcome::Accepted(epoch) => {
                let isr = std::mem::take(&mut open.proposal.isr);
                for follower in &mut self.followers {
                    let is_member = isr.iter().any(|member| member.broker == follower.broker);
                    follower.sync = if is_member { InSync::Yes } else { InSync::No };
                }
                self.partition_epoch = epoch;
                if open.proposal.safe_in == SafeIn::Disk {
                    self.safe_in = SafeIn::Disk;
                }
                self.proposal = None;
            }
        }
    }

    /// The metadata shows the partition under the same leader epoch.
    pub(crate) fn on_metadata(&mut self, assignment: &Assignment<'_>, log: &impl LogView, now: Ticks) {
        // An answer may have come before the metadata did.
        if assignment.partition_epoch < self.partition_epoch {
            return;
        }
        if let Some(open) = &self.proposal {
            let decided = assignment.decided.is_some_and(|decided| decided.seq >= open.proposal.seq);
            // It was for an epoch that is over: it was accepted, as shows here, or never will be.
            let is_over = assignment.partition_epoch > open.proposal.partition_epoch;
            if decided || is_over {
                self.proposal = None;
            }
        }
        self.is_behind = false;
        self.safe_in = assignment.safe_in;
        self.unclean_epoch = assignment.unclean_epoch;
        self.partition_epoch = assignment.partition_epoch;
        self.min_isr = assignment.min_isr;
        self.durability = assignment.durability;
        self.followers.retain(|follower| assignment.member(follower.broker).is_some());
        let (me, rules) = (self.me, self.rules);
        for member in assignment.members.iter().filter(|member| member.broker != me) {
            match self.progress_mut(member.broker) {
                Some(follower) => follower.on_member(member, rules),
                None => self.followers.push(Progress::new(member, log.end(), now)),
            }
        }
    }
}
