//! The follower: what it does with a push.
//!
//! ```text
//!   on_push -> Ignore | Refuse            answered, nothing happens
//!           -> Cut | DeleteBefore | StartAnew      done durably; then the same push is asked about again
//!           -> Append { from, end }       what lies before `from` is there already; then
//!   on_taken -> the ack, or, under `synced`, on_flushed -> the ack
//! ```
//! A log is cut where it is proven to be another one than the leader's, and nowhere else: not at the follower's own high
//! watermark (KIP-101), and not because a push comes again.
//!
//! Must not know: how records are stored, connections.

use cairn_metadata::BrokerEpoch;
use cairn_protocol::ids::{LeaderEpoch, Offset};

use crate::log_view::LogView;
use crate::messages::{AckWhen, Content, Generation, NackReason, Push, PushAck, PushNack, Span};
use crate::rules::{Rule, Rules};

/// What is to be done with a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: it was for another incarnation of this broker, which nobody is any more.
    Ignore,
    /// It is answered with this.
    Refuse(PushNack),
    /// The log is cut so that it ends here, durably; then the push is asked about again. Behind an unclean election this may
    /// be below what was the high watermark, which is never above the end afterwards.
    Cut {
        /// The new end.
        to: Offset,
    },
    /// The log becomes an empty one that starts here, durably; then the push is asked about again. What was before is
    /// deleted in the leader's log, and all of it had been committed.
    StartAnew {
        /// The new start.
        at: Offset,
    },
    /// What lies before is deleted, durably, and the log starts here; then the push is asked about again. The leader has deleted
    /// it as well, and here it may be anything.
    DeleteBefore {
        /// The new start.
        at: Offset,
    },
    /// The leader's log contradicts what this replica knows to be committed. Nothing may be taken or cut: the log is suspect,
    /// and a person must look.
    Suspect {
        /// The first record that differs.
        at: Offset,
    },
    /// What lies from `from` on is appended (nothing, where it is `end`); what lies before is there. A hole is no record: the
    /// log goes on behind it, and knows its epoch.
    Append {
        /// Where appending begins: the log's end, or `end`.
        from: Offset,
        /// The end of what the push proves. Given to [`crate::Replica::on_taken`].
        end: Offset,
    },
}

/// What follows a push that was taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// What the leader is told now; none where it is told when a flush is done.
    pub ack: Option<PushAck>,
    /// The high watermark, where it has changed: readers may go on up to it. It falls behind an unclean election only.
    pub high_watermark: Option<Offset>,
    /// The log's start, where the leader's has risen: what lies before is deleted.
    pub log_start: Option<Offset>,
}

/// A follower's state beyond its log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Follower {
    /// What is acknowledged as soon as it is on disk.
    owed: Option<Owed>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Owed {
    generation: Generation,
    matched: Offset,
    /// So much of it was acknowledged already.
    told: Offset,
}

/// Who answers: what acks and nacks say of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct This {
    pub(crate) incarnation: BrokerEpoch,
    pub(crate) known_epoch: LeaderEpoch,
    pub(crate) high_watermark: Offset,
    pub(crate) rules: Rules,
}

impl This {
    pub(crate) fn nack(&self, push: &Push, reason: NackReason, log_end: Offset) -> PushNack {
        PushNack {
            leader_epoch: self.known_epoch,
            incarnation: self.incarnation,
            generation: push.generation,
            at: push.prev.offset,
            reason,
            log_end,
        }
    }

    /// What becomes of a push of the present leader.
    pub(crate) fn judge(&self, log: &impl LogView, push: &Push, records: impl Iterator<Item = Span>) -> Verdict {
        if let Err(verdict) = self.check_place(log, push) {
            return verdict;
        }
        let (mut end, mut last_epoch, mut new_from) = (push.prev.offset, push.prev.epoch, None);
        let mut conflict = None;
        for span in records {
            let follows = span.base == end && span.end > span.base;
            if !follows || last_epoch.is_some_and(|last| last > span.epoch) || span.epoch > push.leader_epoch {
                return Verdict::Refuse(self.nack(push, NackReason::Malformed, log.end()));
            }
            if span.content == Content::Hole && span.end > push.high_watermark {
                return Verdict::Refuse(self.nack(push, NackReason::Malformed, log.end()));
            }
            if new_from.is_none() {
                match self.compare(log, &span) {
                    Compared::There => {}
                    Compared::New { from } => new_from = Some(from),
                    Compared::Conflict { at } => (new_from, conflict) = (Some(at), Some(at)),
                }
            }
            (end, last_epoch) = (span.end, Some(span.epoch));
        }
        match conflict {
            Some(at) if at < self.high_watermark && !self.was_undone(log, push, at) => Verdict::Suspect { at },
            Some(to) => Verdict::Cut { to },
            None => Verdict::Append { from: new_from.unwrap_or(end), end },
        }
    }

    /// Whether the log has what lies before the pushed records, and it is the leader's.
    fn check_place(&self, log: &impl LogView, push: &Push) -> Result<(), Verdict> {
        let at = push.prev.offset;
        let refuse = |reason| Err(Verdict::Refuse(self.nack(push, reason, log.end())));
        if at > log.end() {
            // A leader that pushes from its own start has nothing from before.
            return if at == push.log_start { Err(Verdict::StartAnew { at }) } else { refuse(NackReason::Gap) };
        }
        if at < log.start() {
            // A leader that was elected without what this log begins behind pushes from its own start.
            return if at == push.log_start && self.is_before_unclean(log.latest_epoch(), push) {
                Err(Verdict::StartAnew { at })
            } else {
                refuse(NackReason::BelowStart(log.start()))
            };
        }
        if at == log.start() {
            // What a log starts behind was committed, so every leader had it; but not one that was elected uncleanly since, and has
            // written there. Nothing is left here to compare: it is followed from its own start only.
            let is_written_since = push.unclean_epoch.is_some() && push.prev.epoch >= push.unclean_epoch;
            let is_doubtful = is_written_since && self.is_before_unclean(log.latest_epoch(), push);
            return if is_doubtful { refuse(NackReason::BelowStart(at)) } else { Ok(()) };
        }
        if !self.rules.hold(Rule::PreviousEpoch) {
            return Ok(());
        }
        match push.prev.epoch {
            Some(epoch) if log.epoch_at(at.plus(-1)) == Some(epoch) => Ok(()),
            Some(epoch) => refuse(NackReason::Diverged(log.end_for(epoch))),
            // The leader has deleted what lies before; from here on epochs are compared record by record. What this replica has
            // before, and does not know to be committed, may be anything.
            None if at == push.log_start && self.high_watermark < at => Err(Verdict::DeleteBefore { at }),
            None if at == push.log_start => Ok(()),
            None => refuse(NackReason::Malformed),
        }
    }

    /// What of a piece of the leader's log is there. A batch is whole or not there: one leader writes one batch at one offset.
    fn compare(&self, log: &impl LogView, span: &Span) -> Compared {
        if span.base >= log.end() {
            return Compared::New { from: span.base };
        }
        let is_same = self.rules.hold(Rule::SkipPresent) && log.epoch_at(span.base) == Some(span.epoch);
        match span.content {
            Content::Batch if is_same && span.end <= log.end() => Compared::There,
            Content::Batch => Compared::Conflict { at: span.base },
            Content::Hole if !self.rules.hold(Rule::HolesHaveEpochs) => Compared::There,
            Content::Hole if !is_same => Compared::Conflict { at: span.base },
            Content::Hole => match log.end_for(span.epoch).end {
                same if same >= span.end => Compared::There,
                same if same == log.end() => Compared::New { from: same },
                at => Compared::Conflict { at },
            },
        }
    }

    /// Whether what was committed here is so no more: an unclean election came after it.
    fn was_undone(&self, log: &impl LogView, push: &Push, at: Offset) -> bool {
        self.is_before_unclean(log.epoch_at(at), push)
    }

    fn is_before_unclean(&self, epoch: Option<LeaderEpoch>, push: &Push) -> bool {
        self.rules.hold(Rule::UncleanUndoes) && push.unclean_epoch.is_some_and(|unclean| epoch < Some(unclean))
    }
}

/// A piece of the leader's log beside the follower's.
enum Compared {
    /// The follower has it.
    There,
    /// The follower's log ends in it, or before.
    New {
        /// Where the rest begins.
        from: Offset,
    },
    /// The follower has something else.
    Conflict {
        /// From here on.
        at: Offset,
    },
}

impl Follower {
    /// Where the high watermark is after a push that proved everything up to `end`.
    pub(crate) fn high_watermark_after(this: &This, log: &impl LogView, push: &Push, end: Offset) -> Offset {
        let proven = if this.rules.hold(Rule::ProvenHighWatermark) { end } else { log.end() };
        // Of what was committed before an unclean election counts what the elected leader has.
        let last = this.high_watermark.plus(-1);
        let is_doubtful = this.is_before_unclean(log.epoch_at(last), push);
        let before = if is_doubtful { this.high_watermark.min(end) } else { this.high_watermark };
        before.max(push.high_watermark.min(proven))
    }

    /// The ack of a push that proved everything up to `end`, or none until that is flushed.
    pub(crate) fn ack(&mut self, this: &This, log: &impl LogView, push: &Push, end: Offset) -> Option<PushAck> {
        let matched = if this.rules.hold(Rule::AckWhatIsProven) { end } else { log.end() };
        match push.ack_when {
            AckWhen::Flushed if this.rules.hold(Rule::FollowerFlushes) => {
                // Within one epoch what is proven only grows, so one ack stands for all that wait.
                let before = self.owed.filter(|owed| owed.generation == push.generation);
                let told = before.map_or(Offset::ZERO, |owed| owed.told);
                let matched = before.map_or(matched, |owed| owed.matched.max(matched));
                self.owed = Some(Owed { generation: push.generation, matched, told });
                // A part is not acknowledged here: the push is answered once, and nobody would tell the rest.
                if log.durable_end() < matched { None } else { self.flushed(this, log) }
            }
            AckWhen::Flushed => Some(this.ack(push.generation, matched, matched)),
            AckWhen::Appended => Some(this.ack(push.generation, matched, matched.min(log.durable_end()))),
        }
    }

    /// The ack that a flush has made due. A part of what is owed is acknowledged too: a flush that runs beside appends may
    /// never reach all of it.
    pub(crate) fn flushed(&mut self, this: &This, log: &impl LogView) -> Option<PushAck> {
        let owed = self.owed.as_mut()?;
        let flushed = owed.matched.min(log.durable_end());
        let generation = owed.generation;
        if flushed == owed.matched {
            self.owed = None;
        } else if flushed > owed.told {
            owed.told = flushed;
        } else {
            return None;
        }
        Some(this.ack(generation, flushed, flushed))
    }
}

impl This {
    pub(crate) fn ack(&self, generation: Generation, matched: Offset, flushed: Offset) -> PushAck {
        PushAck { leader_epoch: self.known_epoch, incarnation: self.incarnation, generation, matched, flushed }
    }
}
