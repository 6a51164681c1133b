//! One replica of one partition: which role it has, and what each event leads to.
//!
//! Must not know: the log's bytes, connections, clocks, other partitions.

use cairn_metadata::{BrokerEpoch, IsrOutcome, IsrProposal, ProposalSeq};
use cairn_protocol::ids::{BrokerId, LeaderEpoch, Offset};

use crate::assignment::Assignment;
use crate::follower::{Follower, Taken, This, Verdict};
use crate::leader::{CannotPropose, Heard, IsrChange, Leader, Office, Send};
use crate::log_view::LogView;
use crate::messages::{NackReason, Push, PushAck, PushNack, Span};
use crate::rules::{Rule, Rules};
use crate::ticks::Ticks;

/// One replica of one partition in one incarnation of its broker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Replica {
    me: BrokerId,
    incarnation: BrokerEpoch,
    /// The newest leader epoch that this replica has heard of. Only the quorum makes one, so whoever names it is right.
    known_epoch: LeaderEpoch,
    high_watermark: Offset,
    role: Role,
    rules: Rules,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Role {
    Follower(Follower),
    Leader(Leader),
}

/// What a version of the metadata, or an answer of the quorum, led to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Turn {
    /// The role is the same. The high watermark, where it has risen.
    Same(Option<Offset>),
    /// This replica leads: the epoch goes into the log's history, durably; then [`Replica::on_epoch_noted`].
    TakesOffice(LeaderEpoch),
    /// It led, and does not any more: whoever waits for a commit hears that somebody else leads.
    LosesOffice,
    /// This broker does not keep the partition: whoever waits hears that somebody else leads. The log is deleted, if the
    /// metadata shows this incarnation as registered: what is older may be from before it was added.
    Leaves,
}

/// Why an append is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendRefused {
    /// Somebody else leads, or nobody, or this replica does not yet.
    #[error("this replica does not lead")]
    NotLeader,
    /// The producer wants every in-sync replica to have it, and there are too few.
    #[error("{in_sync} replicas are in sync, {required} are required")]
    NotEnoughReplicas {
        /// How many there are.
        in_sync: usize,
        /// How many there must be.
        required: usize,
    },
}

/// Where an append stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitState {
    /// Every replica that counts has it.
    Committed,
    /// Not yet.
    Waiting,
    /// This replica leads no more: the outcome is unknown, and never success.
    OfficeLost,
}

impl Replica {
    /// A replica whose log was opened. `high_watermark` is what was noted of it: a hint, which may be too low.
    #[must_use]
    pub fn new(
        me: BrokerId,
        incarnation: BrokerEpoch,
        high_watermark: Offset,
        log: &impl LogView,
        rules: Rules,
    ) -> Self {
        Self {
            me,
            incarnation,
            known_epoch: log.latest_epoch().unwrap_or(LeaderEpoch(-1)),
            high_watermark: high_watermark.max(log.start()).min(log.end()),
            role: Role::Follower(Follower::default()),
            rules,
        }
    }

    /// Below this, records are committed and may be read.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// The newest leader epoch that this replica has heard of.
    #[must_use]
    pub fn known_epoch(&self) -> LeaderEpoch {
        self.known_epoch
    }

    /// The epoch in which this replica leads; none while it does not, or its epoch is not noted yet.
    #[must_use]
    pub fn leads(&self) -> Option<LeaderEpoch> {
        self.leader().filter(|leader| leader.office == Office::Held).map(|leader| leader.epoch)
    }

    /// Whether this leader knows of everything that was committed before it: until then nobody is told where the log ends
    /// (KIP-207).
    #[must_use]
    pub fn knows_the_end(&self) -> bool {
        self.leader().is_some_and(|leader| leader.office == Office::Held && self.high_watermark >= leader.office_start)
    }

    /// How many replicas are in sync, as the quorum decided it last; 0 while this one does not lead.
    #[must_use]
    pub fn in_sync(&self) -> usize {
        self.leader().map_or(0, Leader::isr_len)
    }

    /// Everyone who counts for the high watermark, this replica first; nobody while it does not lead.
    pub fn maximal_isr(&self) -> impl Iterator<Item = BrokerId> {
        self.leader().into_iter().flat_map(Leader::maximal_isr)
    }

    /// Up to where each follower is known to have everything; nobody while this one does not lead.
    pub fn matched(&self) -> impl Iterator<Item = (BrokerId, Option<Offset>)> {
        self.leader().into_iter().flat_map(Leader::matched)
    }

    /// The followers in sync, and up to where each is known to have everything; nobody while this one does not lead.
    pub fn in_sync_matched(&self) -> impl Iterator<Item = (BrokerId, Offset)> {
        self.leader().into_iter().flat_map(Leader::in_sync_matched)
    }

    /// The proposal whose outcome is not known.
    #[must_use]
    pub fn open_proposal(&self) -> Option<&IsrProposal> {
        self.leader()?.open_proposal()
    }

    /// What this version of the metadata means for this replica. Any version may follow any other.
    pub fn on_metadata(&mut self, assignment: &Assignment<'_>, log: &impl LogView, now: Ticks) -> Turn {
        if assignment.leader_epoch < self.known_epoch {
            return Turn::Same(None);
        }
        if assignment.member(self.me).is_none() {
            self.known_epoch = assignment.leader_epoch;
            self.role = Role::Follower(Follower::default());
            return Turn::Leaves;
        }
        // Who led before it was started again does not lead: it is another incarnation.
        let is_me = assignment.member(self.me).is_some_and(|member| member.incarnation == self.incarnation);
        let named = is_me && assignment.leader == Some(self.me);
        if named
            && let Role::Leader(leader) = &mut self.role
            && leader.epoch == assignment.leader_epoch
        {
            leader.on_metadata(assignment, log, now);
            return Turn::Same(self.advance(log));
        }
        let led = matches!(self.role, Role::Leader(_));
        if named {
            self.known_epoch = assignment.leader_epoch;
            let office = Leader::take_office(self.me, self.incarnation, assignment, log.end(), self.rules, now);
            self.role = Role::Leader(office);
            return Turn::TakesOffice(self.known_epoch);
        }
        self.adopt(assignment.leader_epoch);
        if led && !matches!(self.role, Role::Leader(_)) { Turn::LosesOffice } else { Turn::Same(None) }
    }

    /// The epoch of [`Turn::TakesOffice`] is in the log's history.
    pub fn on_epoch_noted(&mut self, epoch: LeaderEpoch, log: &impl LogView) -> Option<Offset> {
        if let Role::Leader(leader) = &mut self.role
            && leader.epoch == epoch
        {
            leader.office = Office::Held;
        }
        self.advance(log)
    }

    /// Whether a batch may be appended, and in which epoch.
    ///
    /// # Errors
    /// When this replica does not lead, or, for `acks=all`, too few are in sync.
    pub fn may_append(&self, acks: Acks) -> Result<LeaderEpoch, AppendRefused> {
        let leader = self.leader().filter(|leader| leader.office == Office::Held).ok_or(AppendRefused::NotLeader)?;
        match acks {
            Acks::All if !leader.has_min_isr() => {
                Err(AppendRefused::NotEnoughReplicas { in_sync: leader.isr_len(), required: leader.min_isr() })
            }
            _ => Ok(leader.epoch),
        }
    }

    /// The leader's log has grown, or more of it is on disk. Answers the high watermark, where it has risen.
    pub fn on_log_changed(&mut self, log: &impl LogView) -> Option<Offset> {
        self.advance(log)
    }

    /// Where an append of `epoch` that ends at `end` stands. Asked at the moment of answering, not before.
    #[must_use]
    pub fn commit_state(&self, epoch: LeaderEpoch, end: Offset) -> CommitState {
        match self.leader() {
            Some(leader) if leader.epoch == epoch && self.high_watermark >= end => CommitState::Committed,
            Some(leader) if leader.epoch == epoch => CommitState::Waiting,
            _ => CommitState::OfficeLost,
        }
    }

    /// What to send to a follower now, if anything.
    #[must_use]
    pub fn next_send(&self, to: BrokerId, log: &impl LogView, now: Ticks) -> Option<Send> {
        self.office()?.next_send(to, self.high_watermark, log, now)
    }

    /// The push that follows on what was sent to a follower before, whether or not one is due.
    #[must_use]
    pub fn push(&self, to: BrokerId, log: &impl LogView) -> Option<Push> {
        let leader = self.office()?;
        Some(leader.push(leader.progress(to)?, self.high_watermark, log))
    }

    /// A push has gone out with `bytes` of records up to `end`.
    pub fn on_sent(&mut self, to: BrokerId, push: &Push, end: Offset, bytes: u32, now: Ticks) {
        if let Role::Leader(leader) = &mut self.role
            && leader.epoch == push.leader_epoch
        {
            leader.on_sent(to, push, end, bytes, now);
        }
    }

    /// The connection to a follower is new, or gone.
    pub fn on_connection_changed(&mut self, to: BrokerId) {
        if let Role::Leader(leader) = &mut self.role {
            leader.on_connection_changed(to);
        }
    }

    /// A follower has what a push has proven. Answers the high watermark, where it has risen.
    pub fn on_ack(&mut self, from: BrokerId, ack: &PushAck, log: &impl LogView, now: Ticks) -> Option<Offset> {
        let Role::Leader(leader) = &mut self.role else { return None };
        match leader.on_ack(from, ack, log, now) {
            Heard::Counted => self.advance(log),
            Heard::Stale => None,
        }
    }

    /// A follower did not take a push. When it knows a newer leader, this replica leads no more.
    pub fn on_nack(&mut self, from: BrokerId, nack: &PushNack, log: &impl LogView, now: Ticks) -> Turn {
        if nack.leader_epoch > self.known_epoch {
            let led = matches!(self.role, Role::Leader(_));
            self.adopt(nack.leader_epoch);
            return if led { Turn::LosesOffice } else { Turn::Same(None) };
        }
        if let Role::Leader(leader) = &mut self.role {
            leader.on_nack(from, nack, log, now);
        }
        Turn::Same(None)
    }

    /// Proposes a change of the in-sync replicas.
    ///
    /// # Errors
    /// When it would be wrong, or another one is open.
    pub fn propose(
        &mut self,
        change: IsrChange,
        log: &impl LogView,
        now: Ticks,
    ) -> Result<&IsrProposal, CannotPropose> {
        match &mut self.role {
            Role::Leader(leader) if leader.office == Office::Held => {
                leader.propose(change, self.high_watermark, log, now)
            }
            _ => Err(CannotPropose::NotLeader),
        }
    }

    /// What to propose now, or to send again, by how followers have kept up for `lag_max_ms`.
    pub fn due_proposal(&mut self, lag_max_ms: u64, log: &impl LogView, now: Ticks) -> Option<&IsrProposal> {
        match &mut self.role {
            Role::Leader(leader) if leader.office == Office::Held => {
                leader.due_proposal(self.high_watermark, lag_max_ms, log, now)
            }
            _ => None,
        }
    }

    /// The quorum has answered a proposal. Answers the high watermark, where it has risen.
    pub fn on_outcome(
        &mut self,
        leader_epoch: LeaderEpoch,
        seq: ProposalSeq,
        outcome: IsrOutcome,
        log: &impl LogView,
    ) -> Option<Offset> {
        let Role::Leader(leader) = &mut self.role else { return None };
        leader.on_outcome(leader_epoch, seq, outcome);
        self.advance(log)
    }

    /// What to do with a push. It may end a leadership: [`Self::leads`] tells.
    pub fn on_push(&mut self, push: &Push, records: impl Iterator<Item = Span>, log: &impl LogView) -> Verdict {
        if push.target != self.incarnation && self.rules.hold(Rule::PushToThisIncarnation) {
            return Verdict::Ignore;
        }
        let older = push.leader_epoch < self.known_epoch && self.rules.hold(Rule::RefuseOlderEpoch);
        self.adopt(push.leader_epoch);
        let this = self.this();
        if older || matches!(self.role, Role::Leader(_)) {
            return Verdict::Refuse(this.nack(push, NackReason::Fenced, log.end()));
        }
        let is_new = log.latest_epoch().is_none_or(|latest| latest < push.leader_epoch);
        if !self.rules.hold(Rule::CutAtConflictOnly) && is_new && log.end() > self.high_watermark {
            return Verdict::Cut { to: self.high_watermark };
        }
        let verdict = this.judge(log, push, records);
        match verdict {
            Verdict::Cut { to } => self.high_watermark = self.high_watermark.min(to),
            Verdict::StartAnew { at } | Verdict::DeleteBefore { at } => self.high_watermark = at,
            _ => {}
        }
        verdict
    }

    /// What [`Verdict::Append`] asked for is in the log: everything up to `end` is proven.
    pub fn on_taken(&mut self, push: &Push, end: Offset, log: &impl LogView) -> Taken {
        let this = self.this();
        let Role::Follower(follower) = &mut self.role else { return Taken::default() };
        let ack = follower.ack(&this, log, push, end);
        let after = Follower::high_watermark_after(&this, log, push, end);
        let high_watermark = (after != self.high_watermark).then_some(after);
        self.high_watermark = after;
        let log_start = Some(push.log_start.min(after)).filter(|start| *start > log.start());
        Taken { ack, high_watermark, log_start }
    }

    /// The answer to a push whose records could not be stored.
    #[must_use]
    pub fn storage_failed(&self, push: &Push, log: &impl LogView) -> PushNack {
        self.this().nack(push, NackReason::Storage, log.end())
    }

    /// The ack of a push that was taken before and proved everything up to `end`, if that is on disk by now and no other leader was
    /// heard since. Every push that waits can be answered by itself: others may have been told to somebody who does not listen.
    #[must_use]
    pub fn flushed_ack(&self, push: &Push, end: Offset, log: &impl LogView) -> Option<PushAck> {
        let is_follower = matches!(self.role, Role::Follower(_));
        let is_same = push.leader_epoch == self.known_epoch && push.target == self.incarnation;
        let is_flushed = log.durable_end() >= end;
        (is_follower && is_same && is_flushed).then(|| self.this().ack(push.generation, end, end))
    }

    /// More of a follower's log is on disk. Answers the ack that is due by that.
    pub fn on_flushed(&mut self, log: &impl LogView) -> Option<PushAck> {
        let this = self.this();
        match &mut self.role {
            Role::Follower(follower) => follower.flushed(&this, log),
            Role::Leader(_) => None,
        }
    }

    fn leader(&self) -> Option<&Leader> {
        match &self.role {
            Role::Leader(leader) => Some(leader),
            Role::Follower(_) => None,
        }
    }

    fn office(&self) -> Option<&Leader> {
        self.leader().filter(|leader| leader.office == Office::Held)
    }

    fn this(&self) -> This {
        This {
            incarnation: self.incarnation,
            known_epoch: self.known_epoch,
            high_watermark: self.high_watermark,
            rules: self.rules,
        }
    }

    /// Whoever hears of a newer leader follows it, and owes nothing to the one before.
    fn adopt(&mut self, epoch: LeaderEpoch) {
        if epoch > self.known_epoch {
            self.known_epoch = epoch;
            self.role = Role::Follower(Follower::default());
        }
    }

    fn advance(&mut self, log: &impl LogView) -> Option<Offset> {
        let committed = self.leader()?.committed_above(self.high_watermark, log)?;
        self.high_watermark = committed;
        Some(committed)
    }
}

/// How many replicas a producer waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// All that are in sync.
    All,
    /// The leader alone, or nobody.
    Fewer,
}
