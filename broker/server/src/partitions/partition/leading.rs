//! What a leader's followers are sent, and what their answers and the quorum's mean for it.
//!
//! Must not know: connections, what goes into one frame.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use cairn_metadata::{IsrOutcome, IsrProposal};
use cairn_protocol::ids::{BrokerId, LeaderEpoch, Offset};
use cairn_replication::{LogView, Push, PushAck, PushNack, Send, Ticks, Turn};

use super::Partition;
use super::replica::view;
use crate::partitions::links::Link;

/// The way of one partition's records to one follower.
#[derive(Debug)]
pub(crate) struct Stream {
    link: Arc<Link>,
    partition: Weak<Partition>,
    /// It stands in the link's row.
    is_due: AtomicBool,
}

impl Stream {
    pub(super) fn new(link: Arc<Link>, partition: &Arc<Partition>) -> Arc<Self> {
        Arc::new(Self { link, partition: Arc::downgrade(partition), is_due: AtomicBool::new(false) })
    }

    /// The follower's broker.
    pub(crate) fn to(&self) -> BrokerId {
        self.link.to()
    }

    /// None once it is gone.
    pub(crate) fn partition(&self) -> Option<Arc<Partition>> {
        self.partition.upgrade()
    }

    /// There may be something to send: it goes into the link's row, once.
    pub(crate) fn due(self: &Arc<Self>) {
        if !self.is_due.swap(true, Ordering::AcqRel) {
            self.link.push(Arc::clone(self));
        }
    }

    /// It is slowed down: nothing puts it into the row until it is let go.
    pub(crate) fn hold(&self) {
        self.is_due.store(true, Ordering::Release);
    }

    /// It may go on.
    pub(crate) fn let_go(self: &Arc<Self>) {
        self.taken();
        self.due();
    }

    /// It was taken from the row: what comes from here on puts it there again.
    pub(crate) fn taken(&self) {
        self.is_due.store(false, Ordering::Release);
    }
}

impl Partition {
    /// What there is to send to a follower, if anything.
    pub(crate) fn next_send(&self, to: BrokerId, now: Ticks) -> Option<Send> {
        let writer = self.writer.lock();
        writer.replica.next_send(to, &view(writer.log.as_ref()?, writer.mirror.as_ref()), now)
    }

    /// The way to a follower; none where this broker does not lead, or that one does not follow.
    pub(crate) fn stream_to(&self, to: BrokerId) -> Option<Arc<Stream>> {
        self.writer.lock().streams.iter().find(|stream| stream.to() == to).cloned()
    }

    /// It has gone out, with records up to `end`.
    pub(crate) fn on_sent(&self, to: BrokerId, push: &Push, end: Offset, bytes: usize, now: Ticks) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.writer.lock().replica.on_sent(to, push, end, bytes, now);
    }

    /// What was sent to a follower is unanswered for ever.
    pub(crate) fn on_connection_changed(&self, to: BrokerId) {
        self.writer.lock().replica.on_connection_changed(to);
    }

    /// A follower has taken a push.
    pub(crate) fn on_ack(&self, from: BrokerId, ack: &PushAck, now: Ticks) {
        let mut guard = self.writer.lock();
        let writer = &mut *guard;
        let Some(log) = &writer.log else { return };
        let risen = writer.replica.on_ack(from, ack, &view(log, writer.mirror.as_ref()), now);
        let mut tidings = writer.has_risen(risen, self);
        if tidings.rises() {
            tidings.wake(&writer.streams);
        }
        drop(guard);
        tidings.tell(self);
    }

    /// A follower has not.
    pub(crate) fn on_nack(&self, from: BrokerId, nack: &PushNack, now: Ticks) {
        let mut guard = self.writer.lock();
        let writer = &mut *guard;
        let Some(log) = &writer.log else { return };
        let turn = writer.replica.on_nack(from, nack, &view(log, writer.mirror.as_ref()), now);
        let risen = if let Turn::Same(risen) = turn { risen } else { None };
        let mut tidings = writer.has_risen(risen, self);
        self.on_role(writer, &mut tidings);
        drop(guard);
        tidings.tell(self);
    }

    /// The epoch of the log's last record, its start and its end; none where it is not open.
    pub(crate) fn extent(&self) -> Option<(Option<LeaderEpoch>, Offset, Offset)> {
        let writer = self.writer.lock();
        let log = view(writer.log.as_ref()?, writer.mirror.as_ref());
        Some((log.epoch_at(log.end().plus(-1)), log.start(), log.end()))
    }

    /// The followers in sync that have what begins at `offset`, and up to where; nobody where this broker does not lead.
    pub(crate) fn in_sync_from(&self, offset: Offset) -> Vec<(BrokerId, Offset)> {
        let writer = self.writer.lock();
        writer.replica.in_sync_matched().filter(|(_, matched)| *matched >= offset).collect()
    }

    /// How many offsets the follower is behind that is furthest behind; none where nobody follows.
    pub(crate) fn max_lag(&self) -> Option<u64> {
        let writer = self.writer.lock();
        let log = writer.log.as_ref()?;
        let (start, end) = (log.start_offset(), log.end_offset());
        let behind = |matched: Option<Offset>| u64::try_from(end.0 - matched.unwrap_or(start).0).unwrap_or(0);
        writer.replica.matched().map(|(_, matched)| behind(matched)).max()
    }

    /// Who shall be in sync from now on, where that is to be asked of the quorum now.
    pub(crate) fn due_proposal(&self, lag_max_ms: u64, now: Ticks) -> Option<IsrProposal> {
        let mut guard = self.writer.lock();
        let writer = &mut *guard;
        let log = writer.log.as_ref()?;
        writer.replica.due_proposal(lag_max_ms, &view(log, writer.mirror.as_ref()), now).cloned()
    }

    /// The quorum has decided.
    pub(crate) fn on_outcome(&self, proposal: &IsrProposal, outcome: IsrOutcome) {
        let mut guard = self.writer.lock();
        let writer = &mut *guard;
        let Some(log) = &writer.log else { return };
        let view = view(log, writer.mirror.as_ref());
        let risen = writer.replica.on_outcome(proposal.leader_epoch, proposal.seq, outcome, &view);
        let mut tidings = writer.has_risen(risen, self);
        self.on_role(writer, &mut tidings);
        tidings.wake(&writer.streams);
        drop(guard);
        tidings.tell(self);
    }
}
