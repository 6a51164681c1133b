//! What is on its way, and what becomes of it where it arrives.
//!
//! Must not know: when it arrives.

use cairn_metadata::{IsrOutcome, IsrProposal, ProposalSeq};
use cairn_protocol::ids::LeaderEpoch;
use cairn_replication::{LogView, Push, PushAck, PushNack, Turn, Verdict};

use super::{NOW, World, id, number};
use crate::check::Violation;
use crate::log::{Log, small};

/// So many messages are on their way at most; with more, the oldest is lost.
pub(super) const NETWORK_MAX: usize = 12;

/// Something on its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Message {
    /// With what the leader's log had up to `end`.
    Push {
        to: u8,
        from: u8,
        push: Push,
        log: Log,
        end: u8,
    },
    Ack {
        to: u8,
        from: u8,
        ack: PushAck,
    },
    Nack {
        to: u8,
        from: u8,
        nack: PushNack,
    },
    Proposal(IsrProposal),
    Outcome {
        to: u8,
        epoch: LeaderEpoch,
        seq: ProposalSeq,
        outcome: IsrOutcome,
    },
}

impl World {
    pub(super) fn send(&mut self, message: Message) {
        if self.network.len() == NETWORK_MAX {
            self.network.remove(0);
        }
        self.network.push(message);
    }

    pub(super) fn deliver(&mut self, message: Message) -> Result<(), Violation> {
        match message {
            Message::Push { to, from, push, log, end } if self.node(to).is_up => self.take(to, from, &push, &log, end),
            Message::Ack { to, from, ack } if self.node(to).is_up => {
                let node = self.node_mut(to);
                node.replica.on_ack(id(from), &ack, &node.log, NOW);
                self.risen(to)
            }
            Message::Nack { to, from, nack } if self.node(to).is_up => {
                let node = self.node_mut(to);
                let _: Turn = node.replica.on_nack(id(from), &nack, &node.log, NOW);
                Ok(())
            }
            Message::Proposal(proposal) => {
                let (brokers, policy) = (self.quorum_view(), self.policy());
                let before = (self.partition.partition_epoch, self.partition.decided);
                let outcome = self.partition.decide(&proposal, &brokers, &policy);
                if before != (self.partition.partition_epoch, self.partition.decided) {
                    self.publish();
                }
                let (epoch, seq) = (proposal.leader_epoch, proposal.seq);
                self.send(Message::Outcome { to: number(proposal.leader.broker), epoch, seq, outcome });
                Ok(())
            }
            Message::Outcome { to, epoch, seq, outcome } if self.node(to).is_up => {
                let node = self.node_mut(to);
                node.replica.on_outcome(epoch, seq, outcome, &node.log);
                self.risen(to)
            }
            _ => Ok(()),
        }
    }

    /// A follower carries out what it decides about a push.
    fn take(&mut self, at: u8, from: u8, push: &Push, sent: &Log, sent_end: u8) -> Result<(), Violation> {
        // Who does not keep the partition, as far as it knows, has no log to put it in.
        if !self.keeps(at) {
            return Ok(());
        }
        let node = self.node_mut(at);
        let begin = small(push.prev.offset);
        let answer = loop {
            let before = node.replica.high_watermark();
            match node.replica.on_push(push, sent.spans(begin, sent_end), &node.log) {
                Verdict::Ignore => return Ok(()),
                Verdict::Refuse(nack) => break Message::Nack { to: from, from: at, nack },
                Verdict::Cut { to } => {
                    // Only what was committed before an unclean election is ever taken back.
                    let undone = push.unclean_epoch.is_some_and(|epoch| node.log.epoch_at(to) < Some(epoch));
                    if to < before && !undone {
                        return Err(Violation::CutBelowHighWatermark);
                    }
                    node.log.truncate(small(to));
                }
                Verdict::StartAnew { at } => node.log = Log::starting(small(at)),
                Verdict::DeleteBefore { at } => node.log.delete(small(at)),
                Verdict::Suspect { .. } => return Err(Violation::CutBelowHighWatermark),
                Verdict::Append { from: first, end } => {
                    for at in small(first)..small(end) {
                        node.log.append_from(sent, at);
                    }
                    let taken = node.replica.on_taken(push, end, &node.log);
                    if let Some(start) = taken.log_start {
                        node.log.delete(small(start));
                    }
                    let Some(ack) = taken.ack else { return Ok(()) };
                    break Message::Ack { to: from, from: at, ack };
                }
            }
        };
        self.send(answer);
        Ok(())
    }
}
