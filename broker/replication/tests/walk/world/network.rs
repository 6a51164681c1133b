//! What is on its way, and what becomes of it where it arrives.
//!
//! Must not know: when it arrives.

use cairn_metadata::{IsrOutcome, IsrProposal, ProposalSeq};
use cairn_protocol::ids::LeaderEpoch;
use cairn_replication::{Push, PushAck, PushNack, Turn, Verdict};

use super::{NOW, World, id, number};
use crate::check::Violation;
use crate::log::{Record, small, span};

/// So many messages are on their way at most; with more, the oldest is lost.
pub(super) const NETWORK_MAX: usize = 12;

/// Something on its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Message {
    Push { to: u8, from: u8, push: Push, records: [Record; 2], count: u8 },
    Ack { to: u8, from: u8, ack: PushAck },
    Nack { to: u8, from: u8, nack: PushNack },
    Proposal(IsrProposal),
    Outcome { to: u8, epoch: LeaderEpoch, seq: ProposalSeq, outcome: IsrOutcome },
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
            Message::Push { to, from, push, records, count } if self.node(to).is_up => {
                self.take(to, from, &push, &records[..usize::from(count)])
            }
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
    fn take(&mut self, at: u8, from: u8, push: &Push, records: &[Record]) -> Result<(), Violation> {
        let node = self.node_mut(at);
        let begin = small(push.prev.offset);
        let spans = || (begin..).zip(records).map(|(offset, record)| span(*record, offset));
        let answer = loop {
            match node.replica.on_push(push, spans(), &node.log) {
                Verdict::Ignore => return Ok(()),
                Verdict::Refuse(nack) => break Message::Nack { to: from, from: at, nack },
                Verdict::Cut { to } if to < node.replica.high_watermark() => {
                    return Err(Violation::CutBelowHighWatermark);
                }
                Verdict::Cut { to } => node.log.truncate(small(to)),
                Verdict::StartAnew { .. } | Verdict::Suspect { .. } => return Err(Violation::CutBelowHighWatermark),
                Verdict::Append { from: first, end } => {
                    if first < end {
                        assert_eq!(small(first), node.log.len(), "appended where the log does not end");
                        for record in &records[usize::from(small(first) - begin)..] {
                            node.log.append(*record);
                        }
                    }
                    let taken = node.replica.on_taken(push, end, &node.log);
                    let Some(ack) = taken.ack else { return Ok(()) };
                    break Message::Ack { to: from, from: at, ack };
                }
            }
        };
        self.send(answer);
        Ok(())
    }
}
