//! The leader: what it knows of its followers, and what is committed by that.
//!
//! ```text
//!   committed <= everything that the in-sync replicas, and those proposed to be, are known to have
//!                and only while the in-sync replicas alone are enough
//! ```
//! Files: `progress.rs` what is known of one follower, `send.rs` what it is sent next, `isr.rs` who is in sync, and here
//! what is committed.
//!
//! Must not know: records, connections, how proposals travel.

mod isr;
mod progress;
mod send;

use cairn_metadata::configs::Durability;
use cairn_metadata::{BrokerEpoch, IsrProposal, PartitionEpoch, ProposalSeq, SafeIn};
use cairn_protocol::ids::{BrokerId, LeaderEpoch, Offset};

pub use isr::{CannotPropose, IsrChange, PROPOSAL_RETRY_MS};
pub(crate) use progress::Progress;
pub use send::{BYTES_IN_FLIGHT_MAX, HEARTBEAT_MS, IDLE_HIGH_WATERMARK_MS, PUSHES_IN_FLIGHT_MAX, Send};

use crate::assignment::{Assignment, InSync};
use crate::log_view::LogView;
use crate::messages::PushAck;
use crate::rules::{Rule, Rules};
use crate::ticks::Ticks;

/// Whether a leader has begun to serve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Office {
    /// Its epoch is not in the log's history yet.
    Entering,
    /// It is, durably (KAFKA-7415).
    Held,
}

/// A leader's state in one leader epoch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Leader {
    pub(crate) epoch: LeaderEpoch,
    pub(crate) office: Office,
    /// Where the log ended when it took office.
    pub(crate) office_start: Offset,
    incarnation: BrokerEpoch,
    me: BrokerId,
    partition_epoch: PartitionEpoch,
    min_isr: usize,
    durability: Durability,
    safe_in: SafeIn,
    unclean_epoch: Option<LeaderEpoch>,
    followers: Vec<Progress>,
    proposal: Option<Open>,
    /// A proposal was refused: the quorum knows something that this leader has not seen yet.
    is_behind: bool,
    last_seq: ProposalSeq,
    rules: Rules,
}

/// A proposal whose outcome is not known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Open {
    proposal: IsrProposal,
    sent_at: Ticks,
}

impl Leader {
    pub(crate) fn take_office(
        me: BrokerId,
        incarnation: BrokerEpoch,
        assignment: &Assignment<'_>,
        log_end: Offset,
        rules: Rules,
        now: Ticks,
    ) -> Self {
        let others = assignment.members.iter().filter(|member| member.broker != me);
        Self {
            epoch: assignment.leader_epoch,
            office: Office::Entering,
            office_start: log_end,
            incarnation,
            me,
            partition_epoch: assignment.partition_epoch,
            min_isr: assignment.min_isr,
            durability: assignment.durability,
            safe_in: assignment.safe_in,
            unclean_epoch: assignment.unclean_epoch,
            followers: others.map(|member| Progress::new(member, log_end, now)).collect(),
            proposal: None,
            is_behind: false,
            last_seq: ProposalSeq(0),
            rules,
        }
    }

    pub(crate) fn progress(&self, of: BrokerId) -> Option<&Progress> {
        self.followers.iter().find(|follower| follower.broker == of)
    }

    fn progress_mut(&mut self, of: BrokerId) -> Option<&mut Progress> {
        self.followers.iter_mut().find(|follower| follower.broker == of)
    }

    pub(crate) fn matched(&self) -> impl Iterator<Item = (BrokerId, Option<Offset>)> {
        self.followers.iter().map(|follower| (follower.broker, follower.proven.map(|proven| proven.matched)))
    }

    pub(crate) fn in_sync_matched(&self) -> impl Iterator<Item = (BrokerId, Offset)> {
        let in_sync = self.followers.iter().filter(|follower| follower.sync == InSync::Yes);
        in_sync.filter_map(|follower| Some((follower.broker, follower.proven?.matched)))
    }

    /// How many replicas are in sync, as the quorum decided it last.
    pub(crate) fn isr_len(&self) -> usize {
        1 + self.followers.iter().filter(|follower| follower.sync == InSync::Yes).count()
    }

    /// How many must be.
    pub(crate) fn min_isr(&self) -> usize {
        self.min_isr
    }

    /// Whether enough replicas are in sync to commit anything.
    pub(crate) fn has_min_isr(&self) -> bool {
        self.isr_len() >= self.min_isr
    }

    /// Whether a follower counts for the high watermark: in sync, or proposed to be.
    fn counts(&self, follower: &Progress) -> bool {
        let proposed =
            || self.proposal.as_ref().is_some_and(|open| open.proposal.isr.iter().any(|m| m.broker == follower.broker));
        follower.sync == InSync::Yes || (self.rules.hold(Rule::MaximalIsr) && proposed())
    }

    /// Everyone who counts for the high watermark, this replica first.
    pub(crate) fn maximal_isr(&self) -> impl Iterator<Item = BrokerId> {
        let others = self.followers.iter().filter(|follower| self.counts(follower));
        std::iter::once(self.me).chain(others.map(|follower| follower.broker))
    }

    /// What everyone who counts is known to have; none while somebody was not heard in this epoch.
    fn common_end(&self, log: &impl LogView) -> Option<Offset> {
        let own = match self.durability {
            Durability::Synced if self.rules.hold(Rule::LeaderFlushes) => log.durable_end(),
            _ => log.end(),
        };
        let mut common = own;
        for follower in self.followers.iter().filter(|follower| self.counts(follower)) {
            common = common.min(follower.counted(self.durability)?);
        }
        Some(common)
    }

    /// The high watermark, where it is above `before`. Asked after every event that could lift it (KAFKA-13091).
    pub(crate) fn committed_above(&self, before: Offset, log: &impl LogView) -> Option<Offset> {
        let enough = if self.rules.hold(Rule::MinIsrOfCommitted) {
            self.has_min_isr()
        } else {
            self.maximal_isr().count() >= self.min_isr
        };
        if self.office != Office::Held || (!enough && self.rules.hold(Rule::MinIsr)) {
            return None;
        }
        self.common_end(log).filter(|common| *common > before)
    }

    /// Takes a follower's word for what it has.
    pub(crate) fn on_ack(&mut self, from: BrokerId, ack: &PushAck, log: &impl LogView, now: Ticks) -> Heard {
        let (rules, durability) = (self.rules, self.durability);
        if ack.leader_epoch != self.epoch && rules.hold(Rule::AckOfThisEpoch) {
            return Heard::Stale;
        }
        let Some(follower) = self.progress_mut(from) else { return Heard::Stale };
        if ack.incarnation != follower.incarnation && rules.hold(Rule::AckOfThisIncarnation) {
            return Heard::Stale;
        }
        if ack.generation != follower.generation {
            return Heard::Stale;
        }
        follower.on_ack(ack, durability, log.end(), now);
        Heard::Counted
    }
}

/// Whether an answer was about what is so now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It was.
    Counted,
    /// It was about something earlier, and is forgotten.
    Stale,
}
