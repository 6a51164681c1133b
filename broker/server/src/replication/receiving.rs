//! What leaders push is taken: checked without any lock, then given to the partition, and answered when the leader wants it.
//!
//! A frame's pushes are taken in their order, where they arrive. What has to wait for the disk first (a cut, a reset) goes to a thread
//! that may, and the answer of the whole frame waits for it; nothing else is under way for such a partition, because its leader waits too.
//!
//! Must not know: sockets, who leads.

use std::sync::Arc;

use bytes::Bytes;
use cairn_metadata::BrokerEpoch;
use cairn_peers::Request;
use cairn_protocol::ids::{BrokerId, Offset};
use cairn_protocol::records::BatchView;
use cairn_replication::{Content, NackReason, PushNack, Span};
use cairn_storage::log::Hole;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::wire::{self, PartitionAnswer, PartitionPush};
use crate::blocking::on_blocking_thread;
use crate::clock;
use crate::partitions::{AckWait, MayWait, Me, Partition, Partitions, Pushed, Taking};
use crate::telemetry::Metrics;

/// Takes pushes for the partitions that this broker keeps.
#[derive(Clone, Debug)]
pub(crate) struct Receiver {
    partitions: Arc<Partitions>,
    me: Me,
    metrics: Arc<Metrics>,
}

/// A push whose answer is not known yet.
enum Open {
    /// It waits for a flush up to there.
    Waits(Arc<Partition>, PartitionPush, Offset),
    /// It is taken where waiting for the disk is allowed.
    Blocks(Arc<Partition>, PartitionPush),
}

impl Receiver {
    pub(crate) fn new(partitions: Arc<Partitions>, me: Me, metrics: Arc<Metrics>) -> Self {
        Self { partitions, me, metrics }
    }

    pub(super) fn partitions(&self) -> &Partitions {
        &self.partitions
    }

    /// This broker, and which life of it.
    pub(super) fn me(&self) -> (BrokerId, BrokerEpoch) {
        (self.me.broker, self.me.incarnation)
    }

    /// Takes the pushes of one frame; the future is the answer.
    pub(crate) fn take(&self, frame: Request) -> BoxFuture<'static, Result<Bytes, wire::Malformed>> {
        let pushes = match wire::decode_pushes(frame) {
            Ok(pushes) => pushes,
            Err(malformed) => return futures::future::ready(Err(malformed)).boxed(),
        };
        let wait = AckWait::default();
        let (mut answers, mut open) = (Vec::with_capacity(pushes.len()), Vec::new());
        for push in pushes {
            self.metrics.replication.received.inc_by(push.records.len() as u64);
            self.take_one(push, &wait, &mut answers, &mut open);
        }
        if open.is_empty() {
            return futures::future::ready(Ok(wire::encode_answers(&answers))).boxed();
        }
        finish(open, wait, answers).boxed()
    }

    fn take_one(&self, push: PartitionPush, wait: &AckWait, answers: &mut Vec<PartitionAnswer>, open: &mut Vec<Open>) {
        let (topic, index) = push.of;
        let Ok(held) = self.partitions.kept_by_id(topic, index) else {
            let nack = PushNack {
                leader_epoch: push.push.leader_epoch,
                incarnation: self.me.incarnation,
                generation: push.push.generation,
                at: push.push.prev.offset,
                reason: NackReason::NotKept,
                log_end: push.push.prev.offset,
            };
            answers.push(PartitionAnswer { of: push.of, answer: Err(nack) });
            return;
        };
        match take(&held, &push, MayWait::No, wait) {
            Taking::Waits { end } => open.push(Open::Waits(held, push, end)),
            Taking::Blocks => open.push(Open::Blocks(held, push)),
            other => answers.extend(answer(&push, other)),
        }
    }
}

/// Answers what could not be answered at once.
async fn finish(open: Vec<Open>, wait: AckWait, mut answers: Vec<PartitionAnswer>) -> Result<Bytes, wire::Malformed> {
    let mut waiting = Vec::new();
    let mut blocking = Vec::new();
    for push in open {
        match push {
            Open::Waits(held, push, end) => waiting.push((held, push, end)),
            Open::Blocks(held, push) => blocking.push((held, push)),
        }
    }
    let wait = if blocking.is_empty() {
        wait
    } else {
        let (wait, mut taken, mut further) = on_blocking_thread(move || {
            let (mut taken, mut further) = (Vec::new(), Vec::new());
            for (held, push) in blocking {
                match take(&held, &push, MayWait::Yes, &wait) {
                    Taking::Waits { end } => further.push((held, push, end)),
                    other => taken.extend(answer(&push, other)),
                }
            }
            (wait, taken, further)
        })
        .await;
        answers.append(&mut taken);
        waiting.append(&mut further);
        wait
    };
    wait.await;
    for (held, push, end) in waiting {
        answers.extend(held.flushed(&push.push, end).map(|answer| PartitionAnswer { of: push.of, answer }));
    }
    Ok(wire::encode_answers(&answers))
}

fn take(held: &Arc<Partition>, push: &PartitionPush, may_wait: MayWait, wait: &AckWait) -> Taking {
    match check(push) {
        Some(pushed) => held.take_push(&push.push, &pushed, clock::now(), may_wait, wait),
        None => {
            tracing::warn!(topic = &*held.topic, partition = held.index.0, "pushed records are damaged, or none");
            held.malformed(&push.push).map_or(Taking::Ignored, Taking::Refused)
        }
    }
}

fn answer(push: &PartitionPush, taking: Taking) -> Option<PartitionAnswer> {
    let answer = match taking {
        Taking::Acked(ack) => Ok(ack),
        Taking::Refused(nack) => Err(nack),
        Taking::Ignored | Taking::Waits { .. } | Taking::Blocks => return None,
    };
    Some(PartitionAnswer { of: push.of, answer })
}

/// The batches of a push, each checked whole, and with the holes in the order of the leader's log.
fn check(push: &PartitionPush) -> Option<Pushed<'_>> {
    let (mut spans, mut batches) = (Vec::new(), Vec::new());
    let mut holes = push.holes.iter().copied().peekable();
    let mut rest = &push.records[..];
    while !rest.is_empty() {
        let batch = BatchView::parse_first(rest).ok()?;
        batch.verify_crc().ok()?;
        rest = &rest[batch.as_bytes().len()..];
        let header = batch.header();
        if Hole::of(header).is_some() {
            continue;
        }
        while let Some(hole) = holes.next_if(|hole| hole.base < header.base_offset) {
            spans.push(hole);
        }
        let (base, end, epoch) = (header.base_offset, header.end_offset(), header.leader_epoch?);
        spans.push(Span { base, end, epoch, content: Content::Batch });
        batches.push(batch);
    }
    spans.extend(holes);
    Some(Pushed { spans, batches })
}
