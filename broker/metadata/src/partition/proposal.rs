//! What a leader proposes about the in-sync replicas, and how it is decided.
//!
//! A proposal is sent until its outcome is known, so copies of it may come late or twice. It has a number, and the
//! partition keeps the outcome of the last one: every copy hears the same (KAFKA-14144). Until a leader knows the outcome it
//! commits only what both the old and the proposed in-sync replicas have.
//!
//! Must not know: why the leader proposes it.

use cairn_protocol::ids::{BrokerId, LeaderEpoch};
use serde::{Deserialize, Serialize};

use super::{Brokers, Duty, Partition, PartitionEpoch, Policy, SafeIn};
use crate::broker::BrokerEpoch;
use crate::configs::Durability;
use crate::rules::Rule;

/// Counts the proposals of one leader in one leader epoch, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(transparent)]
pub struct ProposalSeq(pub u32);

/// A broker that is to be in sync, in the incarnation that the leader knows (KIP-903).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IsrMember {
    /// Who.
    pub broker: BrokerId,
    /// In which incarnation.
    pub epoch: BrokerEpoch,
}

/// The in-sync replicas that a leader proposes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct IsrProposal {
    /// Who proposes.
    pub leader: IsrMember,
    /// Under which leader epoch.
    pub leader_epoch: LeaderEpoch,
    /// What it has seen of the partition: another one now, and the proposal is refused.
    pub partition_epoch: PartitionEpoch,
    /// Its number.
    pub seq: ProposalSeq,
    /// Who is to be in sync.
    pub isr: Vec<IsrMember>,
    /// Where everything that is committed lies at all of them.
    pub safe_in: SafeIn,
}

/// What became of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum IsrOutcome {
    /// Its in-sync replicas are the partition's, from this epoch on.
    Accepted(PartitionEpoch),
    /// It changed nothing, and never will.
    Refused(IsrRefused),
}

/// Why a proposal was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, thiserror::Error)]
pub enum IsrRefused {
    /// The proposer does not lead, or not in this epoch or incarnation. This is not recorded: it learns it from the metadata.
    #[error("the proposer does not lead the partition")]
    NotLeader,
    /// A later proposal was decided already.
    #[error("a later proposal was decided already")]
    Superseded,
    /// The partition has changed since.
    #[error("the partition has changed since")]
    StalePartitionEpoch,
    /// The leader is left out, or a broker is in twice or keeps no replica.
    #[error("the members are not replicas with the leader among them")]
    Members,
    /// A member is another incarnation by now.
    #[error("a member is another incarnation by now")]
    StaleMember,
    /// A member is fenced or shuts down.
    #[error("a member is fenced or shuts down")]
    MemberNotServing,
}

/// The outcome that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct DecidedProposal {
    /// Whose.
    pub seq: ProposalSeq,
    /// What.
    pub outcome: IsrOutcome,
}

impl Partition {
    /// Decides a proposal, or finds that it has been. Only [`IsrRefused::NotLeader`] and [`IsrRefused::Superseded`] leave
    /// the partition exactly as it was.
    pub fn decide(&mut self, proposal: &IsrProposal, brokers: &impl Brokers, policy: &Policy) -> IsrOutcome {
        let is_incarnation =
            |member: &IsrMember| brokers.standing(member.broker).is_some_and(|standing| standing.epoch == member.epoch);
        let leads = self.leader == Some(proposal.leader.broker) && self.leader_epoch == proposal.leader_epoch;
        if !leads || !is_incarnation(&proposal.leader) {
            return IsrOutcome::Refused(IsrRefused::NotLeader);
        }
        if policy.rules.hold(Rule::RecordedOutcome)
            && let Some(known) = self.decided.filter(|known| proposal.seq <= known.seq)
        {
            let same = known.seq == proposal.seq;
            return if same { known.outcome } else { IsrOutcome::Refused(IsrRefused::Superseded) };
        }
        let checked = self.check(proposal, brokers, policy);
        let outcome = match checked {
            Ok(()) => {
                let isr = |id: &BrokerId| proposal.isr.iter().any(|member| member.broker == *id);
                let isr: Vec<_> = self.replicas.iter().copied().filter(isr).collect();
                // Who is eligible has not been asked where it has things.
                let all = isr.len() >= self.min_isr(policy) && policy.durability == Durability::Synced;
                if all && proposal.safe_in == SafeIn::Disk {
                    self.safe_in = SafeIn::Disk;
                }
                self.change_isr(isr, None, policy);
                self.partition_epoch.0 += 1;
                IsrOutcome::Accepted(self.partition_epoch)
            }
            Err(refused) => IsrOutcome::Refused(refused),
        };
        self.decided = Some(DecidedProposal { seq: proposal.seq, outcome });
        if checked.is_ok() {
            self.finish_move(brokers, policy);
        }
        outcome
    }

    fn check(&self, proposal: &IsrProposal, brokers: &impl Brokers, policy: &Policy) -> Result<(), IsrRefused> {
        if policy.rules.hold(Rule::ComparePartitionEpoch) && proposal.partition_epoch != self.partition_epoch {
            return Err(IsrRefused::StalePartitionEpoch);
        }
        let members = &proposal.isr;
        let repeated = members.iter().enumerate().any(|(at, a)| members[..at].iter().any(|b| a.broker == b.broker));
        let keeps = |member: &IsrMember| self.replicas.contains(&member.broker);
        if repeated || !members.contains(&proposal.leader) || !members.iter().all(keeps) {
            return Err(IsrRefused::Members);
        }
        for member in members {
            let standing = brokers.standing(member.broker).ok_or(IsrRefused::StaleMember)?;
            if policy.rules.hold(Rule::MemberIncarnations) && standing.epoch != member.epoch {
                return Err(IsrRefused::StaleMember);
            }
            if policy.rules.hold(Rule::ServingMembers) && standing.duty != Duty::Serving {
                return Err(IsrRefused::MemberNotServing);
            }
        }
        Ok(())
    }
}
