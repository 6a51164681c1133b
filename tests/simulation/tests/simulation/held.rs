//! One partition on one broker: its log, its replica, and what waits for either. What the server does with them under a partition's
//! lock is done here in the same order: `broker/server/src/partitions/partition`.
//!
//! Must not know: connections, other partitions.

use bytes::Bytes;
use cairn_protocol::ids::{LeaderEpoch, Offset, Timestamp};
use cairn_protocol::records::{BatchHeader, BatchIter, BatchView, TimestampPolicy};
use cairn_replication::{
    Acks, Content, EpochEnd, LogView, Position, Push, PushAck, PushNack, Replica, Span, Ticks, Verdict,
};
use cairn_storage::log::{AppendAs, AppendError, Batches, FirstBatch, Limits, Log, LogReader, Outcome, ReadError};

use crate::message::{PartitionPush, Refused};
use crate::network::{CallId, Node};

/// A batch, as checks compare it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) base: i64,
    pub(crate) end: i64,
    pub(crate) epoch: i32,
    pub(crate) crc: u32,
}

impl Piece {
    pub(crate) fn of(header: &BatchHeader) -> Self {
        let epoch = header.leader_epoch.map_or(-1, |epoch| epoch.0);
        Self { base: header.base_offset.0, end: header.end_offset().0, epoch, crc: header.crc }
    }
}

/// To whom an answer goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reply {
    pub(crate) to: Node,
    pub(crate) life: u64,
    pub(crate) call: CallId,
}

/// Something that was appended, and is answered when it is committed.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) reply: Reply,
    pub(crate) epoch: LeaderEpoch,
    pub(crate) base: Offset,
    pub(crate) end: Offset,
    pub(crate) is_commit: bool,
}

#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) log: Log,
    /// Counts the logs that a process has opened.
    pub(crate) number: u64,
    pub(crate) replica: Replica,
    /// What is in the log.
    pub(crate) pieces: Vec<Piece>,
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) syncing: bool,
    /// When it is to be synced, because nobody waits for it.
    pub(crate) flush_at: Option<u64>,
    /// Frames that wait for its disk, up to where.
    pub(crate) owed: Vec<Offset>,
}

/// What became of a push.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Taking {
    Ignored,
    Acked(PushAck),
    Refused(PushNack),
    /// Until the log is on disk up to here.
    Waits(Offset),
    /// What must never be.
    Wrong(&'static str),
}

/// A log at this moment.
pub(crate) struct View<'l>(pub(crate) &'l Log);

impl LogView for View<'_> {
    fn start(&self) -> Offset {
        self.0.start_offset()
    }

    fn end(&self) -> Offset {
        self.0.end_offset()
    }

    fn durable_end(&self) -> Offset {
        self.0.durable_end()
    }

    fn epoch_at(&self, offset: Offset) -> Option<LeaderEpoch> {
        let is_inside = (self.start()..self.end()).contains(&offset);
        is_inside.then(|| self.0.epochs().epoch_at(offset))?
    }

    fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.0.epochs().latest().map(|latest| latest.epoch)
    }

    fn end_for(&self, epoch: LeaderEpoch) -> EpochEnd {
        let epochs = self.0.epochs();
        match (epochs.end_for(epoch, self.end()), epochs.latest()) {
            (Some(known), _) => EpochEnd { epoch: known.epoch, end: known.end },
            (None, Some(latest)) => EpochEnd { epoch: latest.epoch, end: self.end() },
            (None, None) => EpochEnd { epoch, end: self.start() },
        }
    }
}

/// All batches of a log up to `end`.
pub(crate) fn read_all(reader: &LogReader, end: Offset) -> Result<Vec<Bytes>, ReadError> {
    let (mut read, mut at) = (Vec::new(), reader.start_offset());
    while at < end {
        let limits = Limits { max_bytes: 1 << 20, first_batch: FirstBatch::AtLeastOne, end };
        let Batches { bytes, next_offset } = reader.read(at, limits)?;
        if bytes.is_empty() {
            break;
        }
        read.push(bytes);
        at = next_offset;
    }
    Ok(read)
}

impl Held {
    pub(crate) fn new(log: Log, number: u64, replica: Replica) -> Result<Self, ReadError> {
        let mut pieces = Vec::new();
        for bytes in read_all(&log.reader(), log.end_offset())? {
            pieces.extend(BatchIter::new(&bytes).filter_map(Result::ok).map(|batch| Piece::of(batch.header())));
        }
        let (waiting, owed) = (Vec::new(), Vec::new());
        Ok(Self { log, number, replica, pieces, waiting, syncing: false, flush_at: None, owed })
    }

    /// A client's batch. Answers its place.
    pub(crate) fn append(&mut self, batch: &[u8], now: u64) -> Result<(LeaderEpoch, Offset, Offset), Refused> {
        let view = BatchView::parse(batch).expect("clients send whole batches");
        let now = Timestamp(i64::try_from(now).expect("early"));
        let epoch = self.replica.may_append(Acks::All).map_err(|refused| match refused {
            cairn_replication::AppendRefused::NotLeader => Refused::NotLeader,
            cairn_replication::AppendRefused::NotEnoughReplicas { .. } => Refused::NotEnoughReplicas,
        })?;
        let role = AppendAs::Leader { epoch, now, timestamps: TimestampPolicy::Keep };
        let appended = self.log.append(&view, role).map_err(|error| match error {
            AppendError::Producer(_) => Refused::OutOfOrder,
            _ => Refused::Storage,
        })?;
        let (base, end) = (appended.base_offset, appended.last_offset.plus(1));
        if appended.outcome == Outcome::Written {
            self.pieces.push(Piece { base: base.0, end: end.0, epoch: epoch.0, crc: view.header().crc });
        }
        self.replica.on_log_changed(&View(&self.log));
        Ok((epoch, base, end))
    }

    /// As `following.rs take`.
    pub(crate) fn take(&mut self, push: &PartitionPush, now: u64) -> Taking {
        let batches: Vec<_> = BatchIter::new(&push.records).map(|batch| batch.expect("sent whole")).collect();
        let span = |batch: &BatchView<'_>| {
            let header = batch.header();
            let epoch = header.leader_epoch.expect("stamped");
            Span { base: header.base_offset, end: header.end_offset(), epoch, content: Content::Batch }
        };
        let spans: Vec<Span> = batches.iter().map(span).collect();
        loop {
            let before = self.replica.high_watermark();
            let verdict = self.replica.on_push(&push.push, spans.iter().copied(), &View(&self.log));
            let done = match verdict {
                Verdict::Ignore => return Taking::Ignored,
                Verdict::Refuse(nack) => return Taking::Refused(nack),
                Verdict::Append { from, end } => return self.append_pushed(&push.push, &batches, from, end, now),
                Verdict::Suspect { .. } => return Taking::Wrong("a leader contradicts what was committed here"),
                Verdict::Cut { to } if to < before => return Taking::Wrong("a log is cut below its high watermark"),
                Verdict::Cut { to } => self.log.truncate_to(to).map(drop).is_ok(),
                Verdict::StartAnew { at } => self.log.reset_to(at).is_ok(),
                Verdict::DeleteBefore { at } => self.log.delete_records_before(at).is_ok(),
            };
            if !done {
                return Taking::Wrong("a log cannot be cut");
            }
            let end = self.log.end_offset().0;
            self.pieces.retain(|piece| piece.end <= end);
        }
    }

    fn append_pushed(&mut self, push: &Push, batches: &[BatchView<'_>], from: Offset, end: Offset, now: u64) -> Taking {
        let now = Timestamp(i64::try_from(now).expect("early"));
        for batch in batches.iter().filter(|batch| batch.header().base_offset >= from) {
            if self.log.append(batch, AppendAs::Follower { now }).is_err() {
                return Taking::Refused(self.replica.storage_failed(push, &View(&self.log)));
            }
            self.pieces.push(Piece::of(batch.header()));
        }
        match self.replica.on_taken(push, end, &View(&self.log)).ack {
            Some(ack) => Taking::Acked(ack),
            None => Taking::Waits(end),
        }
    }

    /// As `following.rs flushed`.
    pub(crate) fn flushed(&mut self, push: &Push, end: Offset) -> Option<Result<PushAck, PushNack>> {
        let seen = View(&self.log);
        if let Some(ack) = self.replica.flushed_ack(push, end, &seen) {
            return Some(Ok(ack));
        }
        (self.log.durable_end() < end).then(|| Err(self.replica.storage_failed(push, &seen)))
    }

    /// As `sending.rs next_push`, without limits of the frame. With the end of what was read.
    pub(crate) fn next_push(&self, to: cairn_protocol::ids::BrokerId, now: Ticks) -> Option<(Push, Bytes, Offset)> {
        let send = self.replica.next_send(to, &View(&self.log), now)?;
        let from = send.push.prev.offset;
        if send.max_bytes == 0 {
            return Some((send.push, Bytes::new(), from));
        }
        let reader = self.log.reader();
        let limits = Limits {
            max_bytes: send.max_bytes.min(2_000),
            first_batch: FirstBatch::AtLeastOne,
            end: reader.end_offset(),
        };
        let Batches { bytes, next_offset } = reader.read(from, limits).ok()?;
        let prev = match BatchHeader::decode(&bytes) {
            Ok(first) if first.base_offset < from => {
                let (seen, offset) = (View(&self.log), first.base_offset);
                Position { offset, epoch: if offset > seen.start() { seen.epoch_at(offset.plus(-1)) } else { None } }
            }
            _ => send.push.prev,
        };
        Some((Push { prev, ..send.push }, bytes, next_offset))
    }
}
