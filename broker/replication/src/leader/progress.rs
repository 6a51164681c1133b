//! What a leader knows of one follower: offsets and counts, never records. However far behind a follower is, it costs the same.
//!
//! Must not know: other followers, what is committed.

use std::collections::VecDeque;

use cairn_metadata::BrokerEpoch;
use cairn_metadata::configs::Durability;
use cairn_protocol::ids::{BrokerId, Offset};

use crate::assignment::{InSync, MayJoin, Member};
use crate::messages::{Generation, PushAck};
use crate::rules::{Rule, Rules};
use crate::ticks::Ticks;

/// What is known of one follower.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Progress {
    pub(crate) broker: BrokerId,
    pub(crate) incarnation: BrokerEpoch,
    pub(crate) sync: InSync,
    pub(crate) may_join: MayJoin,
    /// What it has proven to have, in this incarnation and in this leader epoch.
    pub(crate) proven: Option<Proven>,
    /// Where the next push begins.
    pub(crate) next: Offset,
    pub(crate) generation: Generation,
    pub(crate) flight: Flight,
    /// The high watermark that it was told last.
    pub(crate) told: Offset,
    /// When it was last sent anything.
    pub(crate) sent_at: Option<Ticks>,
    /// It could not take what it was sent, and is left alone until then.
    pub(crate) rests_until: Ticks,
    /// It is up to date if it reaches this soon: where the log ended at `goal_since`.
    pub(crate) goal: Offset,
    pub(crate) goal_since: Ticks,
    /// Whether it has reached a goal since it was proven.
    pub(crate) pace: Pace,
}

/// What a follower has for certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Proven {
    /// In its log.
    pub(crate) matched: Offset,
    /// On its disk.
    pub(crate) flushed: Offset,
}

/// Whether a follower keeps up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Pace {
    /// It has not been at the log's end yet.
    Behind,
    /// It has been there, a moment later.
    KeepsUp,
}

/// Pushes that are not answered yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Flight {
    pushes: VecDeque<(Offset, u32)>,
    bytes: u64,
}

impl Flight {
    pub(crate) fn len(&self) -> usize {
        self.pushes.len()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn on_sent(&mut self, end: Offset, bytes: u32) {
        self.pushes.push_back((end, bytes));
        self.bytes += u64::from(bytes);
    }

    /// One ack answers all pushes that it covers.
    fn on_ack(&mut self, matched: Offset) {
        while let Some((_, bytes)) = self.pushes.pop_front_if(|(end, _)| *end <= matched) {
            self.bytes -= u64::from(bytes);
        }
    }

    fn clear(&mut self) {
        self.pushes.clear();
        self.bytes = 0;
    }
}

impl Progress {
    pub(crate) fn new(member: &Member, log_end: Offset, now: Ticks) -> Self {
        Self {
            broker: member.broker,
            incarnation: member.incarnation,
            sync: member.sync,
            may_join: member.may_join,
            proven: None,
            next: log_end,
            generation: Generation::default(),
            flight: Flight::default(),
            told: Offset::ZERO,
            sent_at: None,
            rests_until: now,
            goal: log_end,
            goal_since: now,
            pace: Pace::Behind,
        }
    }

    /// What counts of it, by what acknowledged means.
    pub(crate) fn counted(&self, durability: Durability) -> Option<Offset> {
        self.proven.map(|proven| match durability {
            Durability::Replicated => proven.matched,
            Durability::Synced => proven.flushed,
        })
    }

    pub(crate) fn on_member(&mut self, member: &Member, rules: Rules) {
        self.sync = member.sync;
        self.may_join = member.may_join;
        if member.incarnation > self.incarnation {
            self.incarnation = member.incarnation;
            // Another process, perhaps another disk: what the one before had proves nothing.
            if rules.hold(Rule::ForgetFormerIncarnation) {
                self.unprove();
            }
            // Nobody answers what was sent to it.
            self.flight.clear();
        }
    }

    /// `log_end` is the leader's own: nothing beyond it can be proven.
    pub(crate) fn on_ack(&mut self, ack: &PushAck, durability: Durability, log_end: Offset, now: Ticks) {
        let before = self.proven.unwrap_or(Proven { matched: Offset::ZERO, flushed: Offset::ZERO });
        let matched = ack.matched.min(log_end).max(before.matched);
        let flushed = ack.flushed.min(ack.matched).min(log_end).max(before.flushed);
        if self.proven.is_none() {
            self.next = matched;
        }
        self.next = self.next.max(matched);
        self.proven = Some(Proven { matched, flushed });
        self.flight.on_ack(ack.matched);
        if self.counted(durability) >= Some(self.goal) {
            (self.goal, self.goal_since, self.pace) = (log_end, now, Pace::KeepsUp);
        }
    }

    /// Forgets what was proven.
    pub(crate) fn unprove(&mut self) {
        self.proven = None;
        self.pace = Pace::Behind;
    }

    /// Answers to all that was sent are not heard any more; what is sent next begins at `next`.
    pub(crate) fn begin_anew(&mut self, next: Offset) {
        self.next = next;
        self.told = Offset::ZERO;
        self.generation.0 = self.generation.0.wrapping_add(1);
        self.flight.clear();
    }
}
