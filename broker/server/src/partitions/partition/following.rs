//! A follower takes what its leader pushes.
//!
//! What is quick is done where the push arrives; a cut, a reset and a deletion wait for the disk, and are done where that is allowed.
//!
//! Must not know: connections, what the leader has.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use cairn_protocol::ids::{Offset, Timestamp};
use cairn_protocol::records::BatchView;
use cairn_replication::{Content, NackReason, Push, PushAck, PushNack, Span, Verdict};
use cairn_storage::log::{AppendAs, Hole, Removal};

use super::replica::{Tidings, view};
use super::{Partition, Writer};
use crate::partitions::acks::AckWait;

/// What a push carries, checked: its pieces in their order, and those of them that are batches.
#[derive(Debug)]
pub(crate) struct Pushed<'a> {
    pub(crate) spans: Vec<Span>,
    pub(crate) batches: Vec<BatchView<'a>>,
}

/// Whether a push may wait for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MayWait {
    No,
    Yes,
}

/// What became of a push.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Taking {
    /// It was for an incarnation that is no more: nobody answers.
    Ignored,
    Acked(PushAck),
    Refused(PushNack),
    /// It is in the log up to `end`, and is acknowledged when that is on disk: [`Partition::flushed`], when the wait is over.
    Waits {
        end: Offset,
    },
    /// It has to wait for the disk first: to be taken again where that is allowed.
    Blocks,
}

impl Partition {
    /// Takes a push of whoever says that it leads.
    pub(crate) fn take_push(
        self: &Arc<Self>,
        push: &Push,
        pushed: &Pushed<'_>,
        now: Timestamp,
        may_wait: MayWait,
        wait: &AckWait,
    ) -> Taking {
        let mut guard = self.writer.lock();
        let writer = &mut *guard;
        let committed = writer.replica.high_watermark();
        let (taking, removal) = self.take(writer, push, pushed, now, may_wait, wait);
        let mut tidings = Tidings::of_follower(committed, writer.replica.high_watermark());
        self.leader_epoch.fetch_max(writer.replica.known_epoch().0, Ordering::AcqRel);
        self.on_role(writer, &mut tidings);
        drop(guard);
        tidings.tell(self);
        if let Some(Err(offline)) = removal.map(Removal::run) {
            tracing::error!(topic = &*self.topic, partition = self.index.0, %offline, "old segments not deleted");
        }
        taking
    }

    fn take(
        self: &Arc<Self>,
        writer: &mut Writer,
        push: &Push,
        pushed: &Pushed<'_>,
        now: Timestamp,
        may_wait: MayWait,
        wait: &AckWait,
    ) -> (Taking, Option<Removal>) {
        loop {
            let Some(log) = &mut writer.log else { return (Taking::Ignored, None) };
            let seen = view(log, writer.mirror.as_ref());
            let verdict = writer.replica.on_push(push, pushed.spans.iter().copied(), &seen);
            let done = match verdict {
                Verdict::Ignore => return (Taking::Ignored, None),
                Verdict::Refuse(nack) => return (Taking::Refused(nack), None),
                Verdict::Append { from, end } => {
                    return self.append_pushed(writer, push, pushed, (from, end), now, wait);
                }
                Verdict::Suspect { at } => {
                    let (topic, index, at) = (&*self.topic, self.index.0, at.0);
                    tracing::error!(
                        topic,
                        partition = index,
                        at,
                        "the leader has something else than what was committed here: nothing is taken or cut, a person must look"
                    );
                    return (Taking::Refused(writer.replica.storage_failed(push, &seen)), None);
                }
                _ if may_wait == MayWait::No => return (Taking::Blocks, None),
                Verdict::Cut { to } => {
                    tracing::info!(
                        topic = &*self.topic,
                        partition = self.index.0,
                        from = log.end_offset().0,
                        to = to.0,
                        "cut to what the leader has"
                    );
                    log.truncate_to(to).map(drop).map_err(|error| error.to_string())
                }
                Verdict::StartAnew { at } => {
                    tracing::info!(
                        topic = &*self.topic,
                        partition = self.index.0,
                        at = at.0,
                        "starts anew where the leader's log starts"
                    );
                    log.reset_to(at).map_err(|error| error.to_string())
                }
                Verdict::DeleteBefore { at } => log
                    .delete_records_before(at)
                    .map_err(|error| error.to_string())
                    .and_then(|removal| removal.map_or(Ok(()), Removal::run).map_err(|error| error.to_string())),
            };
            writer.outgrow_mirror();
            if let Err(error) = done {
                tracing::error!(topic = &*self.topic, partition = self.index.0, error, "cannot follow the leader");
                let Some(log) = &writer.log else { return (Taking::Ignored, None) };
                let nack = writer.replica.storage_failed(push, &view(log, writer.mirror.as_ref()));
                return (Taking::Refused(nack), None);
            }
        }
    }

    fn append_pushed(
        self: &Arc<Self>,
        writer: &mut Writer,
        push: &Push,
        pushed: &Pushed<'_>,
        (from, end): (Offset, Offset),
        now: Timestamp,
        wait: &AckWait,
    ) -> (Taking, Option<Removal>) {
        if let Err(error) = write(writer, pushed, from, now) {
            tracing::warn!(topic = &*self.topic, partition = self.index.0, error, "records of the leader not taken");
            let nack = match &writer.log {
                Some(log) => writer.replica.storage_failed(push, &view(log, writer.mirror.as_ref())),
                None => return (Taking::Ignored, None),
            };
            return (Taking::Refused(nack), None);
        }
        let written = pushed.batches.iter().filter(|batch| batch.header().base_offset >= from);
        let records = written.map(|batch| u64::try_from(batch.header().record_count).unwrap_or(0)).sum();
        let Some(log) = &mut writer.log else { return (Taking::Ignored, None) };
        let taken = writer.replica.on_taken(push, end, &view(log, writer.mirror.as_ref()));
        // Its leader has deleted them, and they were committed: durable with the next checkpoint, as at the leader.
        let removal = taken.log_start.and_then(|start| log.delete_records_before(start).ok().flatten());
        if records > 0 {
            self.has_written(writer, &self.settings.load(), records);
        }
        match taken.ack {
            Some(ack) => (Taking::Acked(ack), removal),
            None => {
                writer.acks.push(end, wait.ticket());
                self.sync_soon(writer);
                (Taking::Waits { end }, removal)
            }
        }
    }

    /// What the leader waits for goes to the disk now, whatever this broker's own settings say.
    fn sync_soon(self: &Arc<Self>, writer: &mut Writer) {
        if !writer.syncing && writer.durable_end() < self.reader().end_offset() {
            writer.syncing = true;
            self.flusher.sync_now(self);
        }
    }

    /// The wait of [`Taking::Waits`] for a push that ends at `end` is over: its ack, or why there is none; nothing where another
    /// leader was heard since.
    pub(crate) fn flushed(&self, push: &Push, end: Offset) -> Option<Result<PushAck, PushNack>> {
        let guard = self.writer.lock();
        let writer = &*guard;
        let seen = view(writer.log.as_ref()?, writer.mirror.as_ref());
        if let Some(ack) = writer.replica.flushed_ack(push, end, &seen) {
            return Some(Ok(ack));
        }
        (writer.durable_end() < end).then(|| Err(writer.replica.storage_failed(push, &seen)))
    }

    /// The records of a push are not what they should be.
    pub(crate) fn malformed(&self, push: &Push) -> Option<PushNack> {
        let writer = self.writer.lock();
        let nack = writer.replica.storage_failed(push, &view(writer.log.as_ref()?, writer.mirror.as_ref()));
        Some(PushNack { reason: NackReason::Malformed, ..nack })
    }
}

/// Appends what lies from `from` on.
fn write(writer: &mut Writer, pushed: &Pushed<'_>, from: Offset, now: Timestamp) -> Result<(), String> {
    let mut batches = pushed.batches.iter();
    for span in &pushed.spans {
        match span.content {
            Content::Batch => {
                let Some(batch) = batches.next() else { break };
                if span.base >= from {
                    writer.append(batch, AppendAs::Follower { now }).map_err(|error| error.to_string())?;
                }
            }
            // Its first part may be there already.
            Content::Hole if span.end > from => {
                let hole = Hole { base: span.base.max(from), end: span.end, epoch: span.epoch };
                writer.append_hole(hole, now).map_err(|error| error.to_string())?;
            }
            Content::Hole => {}
        }
    }
    Ok(())
}
