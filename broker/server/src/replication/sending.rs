//! One stream of pushes to each follower's broker, for all partitions that it follows of this one: live records and old ones alike.
//!
//! ```text
//!   the link's row (who may have something) -> a frame of up to 1 MiB -> the peer's connection -> acks and nacks -> the partitions
//! ```
//! Nothing is queued: what could not be sent is found again by asking. What is under way is bounded, in frames and in bytes.
//!
//! Must not know: what a follower does with a push.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_peers::{CallError, Lane, Message, Target};
use cairn_protocol::ids::{BrokerId, Offset};
use cairn_replication::{AckWhen, HEARTBEAT_MS, IDLE_HIGH_WATERMARK_MS, Push, Ticks};
use cairn_storage::log::{Batches, FirstBatch, ReadError};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::Replication;
use super::reading::{holes, place, read_cold, read_hot};
use super::throttle::{Pace, Rates};
use super::wire::{self, PartitionPush};
use crate::clock;
use crate::partitions::{Link, Partition, Stream};

/// Records of one frame, but for a first batch that is larger.
const FRAME_RECORDS_MAX: u64 = 1 << 20;
/// Frames to one follower that are not answered.
const FRAMES_IN_FLIGHT_MAX: usize = 16;
/// What is sent at a time to who catches up at some rate: as much as it may have in about 4 ms, and no less than this.
const CATCH_UP_PIECES_A_SECOND: u64 = 256;
const CATCH_UP_PIECE_MIN: u64 = 64 << 10;
/// Bytes of records to one follower that are not answered.
const BYTES_IN_FLIGHT_MAX: usize = 8 << 20;
/// How long a follower may take to answer a frame.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// How long the stream rests after a frame was not answered.
const REST: Duration = Duration::from_millis(100);
/// When nothing else happens, partitions are asked so often whether a word is due.
const SWEEP_EVERY: Duration = Duration::from_millis(HEARTBEAT_MS);

type Answered = (Sent, Result<Bytes, CallError>);

/// The stream to one follower's broker.
pub(super) struct Sender {
    replication: Arc<Replication>,
    link: Arc<Link>,
    in_flight: FuturesUnordered<BoxFuture<'static, Answered>>,
    bytes_in_flight: usize,
    /// Streams that a word is due for soon, and when the first of them is asked again.
    later: Vec<Arc<Stream>>,
    later_at: Option<Instant>,
    /// What this follower is sent that is slowed down for its sake.
    pace: Pace,
    /// Streams that are slowed down, and when they are asked again.
    held: Vec<Arc<Stream>>,
    held_until: Option<Instant>,
    /// For streams that catch up: records that are being read from the disk, and that were.
    reading: FuturesUnordered<BoxFuture<'static, (Arc<Stream>, Option<Cold>)>>,
    read: Vec<(Arc<Stream>, Cold)>,
    /// What did not fit into the last frame.
    left: Option<Arc<Stream>>,
    /// Nothing is sent meanwhile.
    rests_until: Option<Instant>,
}

/// A frame that has gone out.
struct Sent {
    streams: Vec<Arc<Stream>>,
    bytes: usize,
    /// Of these, for partitions that the follower is not in sync with.
    catch_up_bytes: usize,
}

/// What was read from the disk, from there on.
struct Cold {
    from: Offset,
    batches: Batches,
}

/// What was read for a push.
enum Found {
    Push {
        push: PartitionPush,
        end: Offset,
        catches_up: bool,
    },
    /// Not into this frame.
    DoesNotFit,
    Nothing,
}

impl Sender {
    pub(super) fn new(replication: Arc<Replication>, link: Arc<Link>) -> Self {
        let (in_flight, later) = (FuturesUnordered::new(), Vec::new());
        let (later_at, left, rests_until) = (None, None, None);
        let (pace, held, held_until) = (Pace::default(), Vec::new(), None);
        let (bytes_in_flight, reading, read) = (0, FuturesUnordered::new(), Vec::new());
        Self {
            replication,
            link,
            in_flight,
            bytes_in_flight,
            later,
            later_at,
            pace,
            held,
            held_until,
            reading,
            read,
            left,
            rests_until,
        }
    }

    /// Sends until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut sweep = tokio::time::interval(SWEEP_EVERY);
        sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.fill().await;
            let (link, later_at, rests_until) = (Arc::clone(&self.link), self.later_at, self.rests_until);
            let held_until = self.held_until;
            tokio::select! {
                Some((sent, answered)) = self.in_flight.next(), if !self.in_flight.is_empty() => {
                    self.on_answered(&sent, answered);
                }
                Some((stream, cold)) = self.reading.next(), if !self.reading.is_empty() => {
                    self.read.retain(|(of, _)| !Arc::ptr_eq(of, &stream) && of.partition().is_some());
                    self.read.extend(cold.map(|cold| (Arc::clone(&stream), cold)));
                    stream.let_go();
                }
                () = link.due(), if rests_until.is_none() => {}
                () = until(later_at) => {
                    self.later_at = None;
                    self.later.drain(..).for_each(|stream| stream.due());
                }
                () = until(held_until) => {
                    self.held_until = None;
                    self.held.drain(..).for_each(|stream| stream.let_go());
                }
                () = until(rests_until) => {
                    self.rests_until = None;
                    self.sweep();
                }
                _ = sweep.tick() => self.sweep(),
                () = stop.cancelled() => return,
            }
        }
    }

    /// Asks every partition that this broker follows whether something is due.
    fn sweep(&self) {
        for partition in self.replication.links.led() {
            if let Some(stream) = partition.stream_to(self.link.to()) {
                stream.due();
            }
        }
    }

    /// Sends frames as long as there is something and room.
    async fn fill(&mut self) {
        while self.rests_until.is_none()
            && self.in_flight.len() < FRAMES_IN_FLIGHT_MAX
            && self.bytes_in_flight < BYTES_IN_FLIGHT_MAX
        {
            let Some((sent, frame)) = self.next_frame().await else { return };
            self.bytes_in_flight += sent.bytes;
            self.replication.metrics.replication.sent.inc_by(sent.bytes as u64);
            let replication = Arc::clone(&self.replication);
            let to = self.link.to();
            self.in_flight.push(Box::pin(async move {
                let answered = replication.call(to, frame).await;
                (sent, answered)
            }));
        }
    }

    /// The next frame: pushes that are acknowledged alike, so that none waits for the disk of another.
    async fn next_frame(&mut self) -> Option<(Sent, Message)> {
        let mut pushes: Vec<PartitionPush> = Vec::new();
        let mut sent = Sent { streams: Vec::new(), bytes: 0, catch_up_bytes: 0 };
        while let Some(stream) = self.left.take().or_else(|| self.link.next()) {
            let left = FRAME_RECORDS_MAX.saturating_sub(u64::try_from(sent.bytes).unwrap_or(u64::MAX));
            let kind = pushes.first().map(|first| first.push.ack_when);
            match self.next_push(&stream, left, kind).await {
                Found::Push { push, end, catches_up } => {
                    if let Some(partition) = stream.partition() {
                        partition.on_sent(self.link.to(), &push.push, end, push.records.len(), clock::ticks());
                    }
                    sent.bytes += push.records.len();
                    sent.catch_up_bytes += if catches_up { push.records.len() } else { 0 };
                    pushes.push(push);
                    sent.streams.push(stream);
                }
                Found::DoesNotFit => {
                    self.left = Some(stream);
                    break;
                }
                Found::Nothing => {}
            }
        }
        (!pushes.is_empty()).then(|| (sent, wire::encode_pushes(pushes)))
    }

    async fn next_push(&mut self, stream: &Arc<Stream>, left: u64, kind: Option<AckWhen>) -> Found {
        let (to, now) = (self.link.to(), clock::ticks());
        let Some(partition) = stream.partition() else { return Found::Nothing };
        let Some(send) = partition.next_send(to, now) else {
            // The word on what is committed waits a moment for records to travel with.
            if partition.next_send(to, Ticks(now.0 + IDLE_HIGH_WATERMARK_MS)).is_some() {
                self.later.push(Arc::clone(stream));
                let at = Instant::now() + Duration::from_millis(IDLE_HIGH_WATERMARK_MS);
                self.later_at.get_or_insert(at);
            }
            return Found::Nothing;
        };
        let (push, from) = (send.push, send.push.prev.offset);
        if kind.is_some_and(|kind| kind != push.ack_when) || left == 0 && send.max_bytes > 0 {
            return Found::DoesNotFit;
        }
        let of = (partition.topic_id, partition.index);
        if send.max_bytes == 0 {
            let push = PartitionPush { of, push, holes: Vec::new(), records: Bytes::new() };
            return Found::Push { push, end: from, catches_up: false };
        }
        let rates = if send.catches_up { self.rates(&partition) } else { Rates::default() };
        if let Some(until) = self.waits_until(rates) {
            stream.hold();
            self.held.push(Arc::clone(stream));
            self.held_until.get_or_insert(until);
            return Found::Nothing;
        }
        let piece = rates.follower.map_or(u64::MAX, |rate| (rate / CATCH_UP_PIECES_A_SECOND).max(CATCH_UP_PIECE_MIN));
        let max_bytes = send.max_bytes.min(left).min(piece);
        let first_batch = if kind.is_none() { FirstBatch::AtLeastOne } else { FirstBatch::WithinLimit };
        let read = match self.hot_or_read(stream, (&partition, from), max_bytes, first_batch) {
            Ok(None) if send.catches_up => {
                self.begin_read(stream, (&partition, from), max_bytes);
                return Found::Nothing;
            }
            Ok(None) => read_cold(Arc::clone(&partition), from, max_bytes, first_batch).await,
            Ok(Some(batches)) => Ok(batches),
            Err(error) => Err(error),
        };
        let Batches { bytes, next_offset } = match read {
            Ok(batches) => batches,
            Err(error) => {
                cannot_read(&partition, from, &error);
                return Found::Nothing;
            }
        };
        if bytes.is_empty() && first_batch == FirstBatch::WithinLimit {
            return Found::DoesNotFit;
        }
        let reader = partition.reader();
        if send.catches_up {
            self.pay(bytes.len(), rates);
        }
        let prev = place(&reader, push.prev, &bytes);
        let (holes, end) = holes(&reader, prev.offset, &bytes, next_offset);
        let push = PartitionPush { of, push: Push { prev, ..push }, holes, records: bytes };
        Found::Push { push, end, catches_up: send.catches_up }
    }

    /// What is in memory, or was read for this stream before.
    fn hot_or_read(
        &mut self,
        stream: &Arc<Stream>,
        (partition, from): (&Partition, Offset),
        max_bytes: u64,
        first_batch: FirstBatch,
    ) -> Result<Option<Batches>, ReadError> {
        if let Some(at) = self.read.iter().position(|(of, cold)| Arc::ptr_eq(of, stream) && cold.from == from) {
            let length = self.read[at].1.batches.bytes.len() as u64;
            if first_batch == FirstBatch::WithinLimit && length > max_bytes {
                // It stays, and goes into the next frame.
                return Ok(Some(Batches { bytes: Bytes::new(), next_offset: from }));
            }
            return Ok(Some(self.read.swap_remove(at).1.batches));
        }
        read_hot(partition, from, max_bytes, first_batch)
    }

    /// Has records read from the disk while others are sent: nobody in sync waits for who catches up.
    fn begin_read(&self, stream: &Arc<Stream>, (partition, from): (&Arc<Partition>, Offset), max_bytes: u64) {
        stream.hold();
        let (stream, partition, replication) =
            (Arc::clone(stream), Arc::clone(partition), Arc::clone(&self.replication));
        self.reading.push(Box::pin(async move {
            let _turn = replication.cold_reads.acquire().await;
            let read = read_cold(Arc::clone(&partition), from, max_bytes, FirstBatch::AtLeastOne).await;
            let read = read.inspect_err(|error| cannot_read(&partition, from, error));
            (stream, read.ok().map(|batches| Cold { from, batches }))
        }));
    }

    /// How fast this follower may catch up with the partition.
    fn rates(&self, partition: &Partition) -> Rates {
        let (image, me, to) = (self.replication.cluster.image(), self.replication.links.me(), self.link.to());
        let asked = Rates::of(&image, me, to);
        let asked = if asked.is_none() {
            asked
        } else {
            asked.for_partition(&image, (partition.topic_id, partition.index), me, to)
        };
        asked.and_follower(self.replication.catch_up.limit())
    }

    /// Until when nothing goes that has these rates, if so.
    fn waits_until(&self, rates: Rates) -> Option<Instant> {
        let now = Instant::now();
        let leader = rates.leader.and_then(|_| self.replication.pace.waits_until(now));
        let follower = rates.follower.and_then(|_| self.pace.waits_until(now));
        leader.max(follower)
    }

    fn pay(&self, bytes: usize, rates: Rates) {
        let now = Instant::now();
        if let Some(rate) = rates.leader {
            self.replication.pace.on_sent(bytes, rate, now);
        }
        if let Some(rate) = rates.follower {
            self.pace.on_sent(bytes, rate, now);
        }
    }

    fn on_answered(&mut self, sent: &Sent, answered: Result<Bytes, CallError>) {
        let to = self.link.to();
        self.bytes_in_flight -= sent.bytes;
        let answers = match answered.map(wire::decode_answers) {
            Ok(Ok(answers)) => answers,
            failed => {
                match failed {
                    Err(error) => tracing::debug!(follower = %to, %error, "a follower did not answer"),
                    Ok(_) => tracing::error!(follower = %to, "a follower's answer is not understood"),
                }
                self.replication.metrics.replication.unanswered.inc();
                for partition in sent.streams.iter().filter_map(|stream| stream.partition()) {
                    partition.on_connection_changed(to);
                }
                self.rests_until = Some(Instant::now() + REST);
                return;
            }
        };
        // Who does not answer does not catch up, and disturbs nobody.
        self.replication.catch_up.on_taken(sent.catch_up_bytes);
        self.replication.metrics.replication.caught_up.inc_by(sent.catch_up_bytes as u64);
        let now = clock::ticks();
        let mut partitions = sent.streams.iter().filter_map(|stream| stream.partition());
        for answer in answers {
            // Answers come in no order, where some have waited.
            let is_of = |partition: &Arc<Partition>| (partition.topic_id, partition.index) == answer.of;
            let found = partitions
                .find(is_of)
                .or_else(|| sent.streams.iter().filter_map(|stream| stream.partition()).find(is_of));
            let Some(partition) = found else { continue };
            match answer.answer {
                Ok(ack) => partition.on_ack(to, &ack, now),
                Err(nack) => {
                    tracing::debug!(follower = %to, topic = &*partition.topic, partition = partition.index.0, ?nack, "a push was not taken");
                    partition.on_nack(to, &nack, now);
                }
            }
        }
        sent.streams.iter().for_each(|stream| stream.due());
    }
}

impl Replication {
    /// Asks a follower's broker.
    async fn call(&self, to: BrokerId, frame: Message) -> Result<Bytes, CallError> {
        let member = self.cluster.quorum().members().into_iter().find(|member| member.node == to);
        let (host, port) = member.map_or_else(|| (Box::default(), 0), |member| (member.host, member.port));
        let target = Target { node: Some(to), host, port };
        self.peers.call(&target, Lane::Replication, frame, ANSWER_WITHIN).await
    }
}

/// Waits until then; for ever, where that is never.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn cannot_read(partition: &Partition, from: Offset, error: &ReadError) {
    let (topic, index, from) = (&*partition.topic, partition.index.0, from.0);
    tracing::error!(topic, partition = index, from, %error, "cannot read what a follower needs");
}
