//! What a follower is sent next, live records and old ones alike: one stream for each follower, always in order.
//!
//! ```text
//!   nothing proven: an empty push asks "is your log mine up to here?"; on a no, from where the two may still agree
//!   proven:         records from `next` on, as long as the window is open; the high watermark, when nothing else tells it
//!   no answer:      one empty push now and then
//! ```
//! Must not know: how records are read and sent.

use cairn_metadata::configs::Durability;
use cairn_protocol::ids::{BrokerId, Offset};

use super::{Heard, Leader, Progress};
use crate::log_view::LogView;
use crate::messages::{AckWhen, NackReason, Position, Push, PushNack};
use crate::ticks::Ticks;

/// How many pushes to one follower may be unanswered.
pub const PUSHES_IN_FLIGHT_MAX: usize = 8;
/// How many bytes of records to one follower of one partition may be unanswered.
pub const BYTES_IN_FLIGHT_MAX: u64 = 4 << 20;
/// So long after the last push a high watermark that rose waits for records to travel with.
pub const IDLE_HIGH_WATERMARK_MS: u64 = 5;
/// So often a follower that is sent nothing is sent an empty push.
pub const HEARTBEAT_MS: u64 = 500;

/// What can be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Send {
    /// The push.
    pub push: Push,
    /// How many bytes of records behind it, at most; 0 for none. A first batch that is larger goes all the same where
    /// nothing is in flight.
    pub max_bytes: u64,
    /// What is committed does not wait for this follower: it is not in sync, and catches up.
    pub catches_up: bool,
}

impl Leader {
    /// What to send to a follower now. Nothing is noted: [`Self::on_sent`] does that.
    pub(crate) fn next_send(
        &self,
        to: BrokerId,
        high_watermark: Offset,
        log: &impl LogView,
        now: Ticks,
    ) -> Option<Send> {
        let follower = self.progress(to)?;
        let max_bytes = follower.window(log.end(), now)?;
        let due = max_bytes > 0 || follower.flight.len() == 0 && follower.owes_word(high_watermark, now);
        let catches_up = !self.counts(follower);
        due.then(|| Send { push: self.push(follower, high_watermark, log), max_bytes, catches_up })
    }

    /// The push that follows on what was sent before.
    pub(crate) fn push(&self, follower: &Progress, high_watermark: Offset, log: &impl LogView) -> Push {
        let offset = follower.next.max(log.start()).min(log.end());
        let epoch = if offset > log.start() { log.epoch_at(offset.plus(-1)) } else { None };
        Push {
            leader_epoch: self.epoch,
            target: follower.incarnation,
            generation: follower.generation,
            prev: Position { offset, epoch },
            high_watermark,
            log_start: log.start(),
            unclean_epoch: self.unclean_epoch,
            ack_when: match self.durability {
                Durability::Replicated => AckWhen::Appended,
                Durability::Synced => AckWhen::Flushed,
            },
        }
    }

    /// A push has gone out, with records up to `end`.
    pub(crate) fn on_sent(&mut self, to: BrokerId, push: &Push, end: Offset, bytes: u32, now: Ticks) {
        let Some(follower) = self.progress_mut(to).filter(|follower| follower.generation == push.generation) else {
            return;
        };
        follower.next = end;
        follower.flight.on_sent(end, bytes);
        follower.told = push.high_watermark;
        follower.sent_at = Some(now);
    }

    /// A follower did not take a push: everything behind it was sent in vain.
    pub(crate) fn on_nack(&mut self, from: BrokerId, nack: &PushNack, log: &impl LogView, now: Ticks) -> Heard {
        let known = (self.epoch, nack.incarnation, nack.generation);
        let Some(follower) = self.progress_mut(from) else { return Heard::Stale };
        if (nack.leader_epoch, follower.incarnation, follower.generation) != known {
            return Heard::Stale;
        }
        let asked = nack.at;
        // Each answer takes the question back, so that the search ends even if the follower talks nonsense.
        let before = asked.plus(-1).max(log.start());
        let next = match nack.reason {
            NackReason::Diverged(hint) => hint.end.min(log.end_for(hint.epoch).end).min(before),
            NackReason::Gap => nack.log_end.min(before),
            // Only one who was elected without what the follower has ends before it begins, or is not believed where it begins: from
            // the start, then.
            NackReason::BelowStart(start) if start > log.end() || start <= asked => log.start(),
            NackReason::BelowStart(start) => start,
            NackReason::Fenced => asked,
            // Nothing that was sent again at once would go better.
            NackReason::Malformed | NackReason::Storage | NackReason::NotKept => {
                follower.rests_until = now.after(HEARTBEAT_MS);
                asked
            }
        };
        // Whoever denies what it has proven has lost it.
        let contradicts = matches!(nack.reason, NackReason::Diverged(_) | NackReason::Gap | NackReason::BelowStart(_))
            && follower.proven.is_some_and(|proven| asked <= proven.matched);
        if contradicts {
            follower.unprove();
        }
        let proven = follower.proven.map(|proven| proven.matched);
        follower.begin_anew(proven.unwrap_or(next).max(log.start()).min(log.end()));
        Heard::Counted
    }

    /// The connection to a follower is new, or gone: what was sent is unanswered for ever.
    pub(crate) fn on_connection_changed(&mut self, to: BrokerId) {
        if let Some(follower) = self.progress_mut(to) {
            let next = follower.proven.map_or(follower.next, |proven| proven.matched);
            follower.begin_anew(next);
        }
    }
}

impl Progress {
    /// How many bytes of records may be sent now; none when not even an empty push may.
    fn window(&self, log_end: Offset, now: Ticks) -> Option<u64> {
        if now < self.rests_until {
            return None;
        }
        let waits = self.flight.len() > 0;
        if self.proven.is_none() || self.flight.len() >= PUSHES_IN_FLIGHT_MAX {
            // A question is out, or too much: the next one follows the answer. Who does not answer is asked again only
            // behind a new connection.
            return (!waits).then_some(0);
        }
        let left = BYTES_IN_FLIGHT_MAX.saturating_sub(self.flight.bytes());
        let silent = waits && self.sent_at.is_some_and(|sent| now.since(sent) > HEARTBEAT_MS);
        Some(if self.next < log_end && !silent { left } else { 0 })
    }

    /// Whether an empty push is due.
    fn owes_word(&self, high_watermark: Offset, now: Ticks) -> bool {
        let Some(sent_at) = self.sent_at else { return true };
        let silence = now.since(sent_at);
        self.proven.is_none()
            || silence >= HEARTBEAT_MS
            || (self.told < high_watermark && silence >= IDLE_HIGH_WATERMARK_MS)
    }
}
