//! Hands records to a producer when they are due, and counts what becomes of them.
//!
//! Must not know: topics' making, readers.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use cairn_client::{Delivery, Producer, ProducerRecord};
use parking_lot::Mutex;
use rand::RngExt;
use tokio::sync::mpsc;

use crate::control::Control;
use crate::outcome::Lane;
use crate::plan::{Rate, STAMP_BYTES};
use crate::schedule::Schedule;

/// Between two looks whether to stop.
const LOOK: Duration = Duration::from_millis(50);
/// Records between two looks at the clock.
const BURST_MAX: u64 = 64;
/// Runs of records whose deliveries nobody has awaited yet, for each partition: the producer's own buffer is smaller.
const RUNS_MAX: usize = 1024;
/// Records of a run.
const RUN_MAX: usize = 4096;
/// Records' values are pieces of so many random bytes.
const RANDOM_BYTES: usize = 64 * 1024;
/// Stamped values are made so many at a time.
const STAMPED_AT_A_TIME: usize = 64;

/// Records that went to one partition one after the other, and when each was due.
type Run = Vec<(Instant, Delivery)>;

/// When to stop by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Limit {
    Time(Duration),
    Records(u64),
}

/// What is sent where.
#[derive(Clone)]
pub(crate) struct Sending {
    pub(crate) producer: Producer,
    pub(crate) topic: Arc<str>,
    pub(crate) partitions: i32,
    pub(crate) rate: Rate,
    /// A partition gets so many bytes before the next one's turn, as Kafka's sticky partitioner has it (KIP-794).
    pub(crate) turn_bytes: usize,
    pub(crate) control: Arc<Control>,
}

/// What became of it.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    pub(crate) sent: u64,
    pub(crate) failed: u64,
    pub(crate) first_error: Option<String>,
}

impl Sending {
    /// Sends from `begin` on, and waits until every record is acknowledged or has failed.
    ///
    /// Not cancel-safe: what is under way stays so.
    pub(crate) async fn run(&self, begin: Instant, limit: Limit, values: Values, lane: &Arc<Mutex<Lane>>) -> Sent {
        let value_bytes = values.bytes;
        let (runs, settling): (Vec<_>, Vec<_>) = (0..self.partitions)
            .map(|_| {
                let (run, runs) = mpsc::channel(RUNS_MAX);
                let settle = settle(runs, Arc::clone(lane), Arc::clone(&self.control), value_bytes);
                (run, tokio::spawn(settle))
            })
            .unzip();
        let turns =
            Turns { sending: self.clone(), begin, limit, values, runs, partition: 0, bytes: 0, run: Vec::new() };
        let runtime = tokio::runtime::Handle::current();
        // A thread of its own, as the runtime's timers are a millisecond apart: too coarse for a schedule.
        let sending = tokio::task::spawn_blocking(move || runtime.block_on(turns.send_all()));
        let mut all = sending.await.unwrap_or_else(|error| failed(0, error.to_string()));
        for settling in settling {
            let settled = settling.await.unwrap_or_else(|error| failed(0, error.to_string()));
            all.failed += settled.failed;
            all.first_error = all.first_error.or(settled.first_error);
        }
        all
    }
}

fn failed(sent: u64, error: String) -> Sent {
    Sent { sent, failed: 1, first_error: Some(error) }
}

/// The values of records.
pub(crate) struct Values {
    random: Bytes,
    bytes: usize,
    at: usize,
    /// Where stamps count from, and the room for stamped values.
    stamps: Option<(Instant, BytesMut)>,
}

impl Values {
    /// Random letters of this length, as Kafka's own tool sends; stamped with the time since `epoch` where there is one.
    pub(crate) fn new(bytes: usize, epoch: Option<Instant>) -> Self {
        let mut rng = rand::rng();
        let random: Vec<u8> = (0..RANDOM_BYTES + bytes).map(|_| rng.random_range(b'A'..=b'Z')).collect();
        Self { random: random.into(), bytes, at: 0, stamps: epoch.map(|epoch| (epoch, BytesMut::new())) }
    }

    fn next(&mut self, due: Instant) -> Bytes {
        /// Coprime with the length, so that all places have their turn.
        const STEP: usize = 7919;
        self.at = (self.at + STEP) % RANDOM_BYTES;
        let random = self.at..self.at + self.bytes;
        let Some((epoch, room)) = &mut self.stamps else { return self.random.slice(random) };
        if room.capacity() < self.bytes {
            *room = BytesMut::with_capacity(self.bytes * STAMPED_AT_A_TIME);
        }
        let nanos = u64::try_from(due.saturating_duration_since(*epoch).as_nanos()).unwrap_or(u64::MAX);
        room.extend_from_slice(&nanos.to_be_bytes());
        room.extend_from_slice(&self.random[random][STAMP_BYTES..]);
        room.split().freeze()
    }
}

/// When the record with this value was due, as told by [`Values`].
pub(crate) fn due(epoch: Instant, value: &[u8]) -> Option<Instant> {
    let stamp = value.first_chunk::<STAMP_BYTES>()?;
    epoch.checked_add(Duration::from_nanos(u64::from_be_bytes(*stamp)))
}

/// The sending thread: partitions take turns.
struct Turns {
    sending: Sending,
    begin: Instant,
    limit: Limit,
    values: Values,
    runs: Vec<mpsc::Sender<Run>>,
    partition: usize,
    /// What the partition has got in this turn.
    bytes: usize,
    run: Run,
}

impl Turns {
    async fn send_all(mut self) -> Sent {
        let schedule = match self.sending.rate {
            Rate::PerSecond(rate) => Some(Schedule::per_second(self.begin, rate.get())),
            Rate::Max => None,
        };
        let total = match (self.limit, &schedule) {
            (Limit::Records(records), _) => records,
            (Limit::Time(length), Some(schedule)) => schedule.due_before(length),
            (Limit::Time(_), None) => u64::MAX,
        };
        let mut sent = 0;
        while sent < total && !self.sending.control.is_stopped() {
            let now = Instant::now();
            if schedule.is_none() && self.is_over(now) {
                break;
            }
            let due_by = schedule.map_or(u64::MAX, |schedule| schedule.due_by(now)).min(total);
            if let Some(schedule) = &schedule
                && sent >= due_by
            {
                self.hand_over().await;
                std::thread::sleep(schedule.due(sent).saturating_duration_since(now).min(LOOK));
                continue;
            }
            let burst_end = due_by.min(sent + BURST_MAX);
            while sent < burst_end {
                let due = schedule.map_or(now, |schedule| schedule.due(sent));
                if let Err(error) = self.send(due).await {
                    self.hand_over().await;
                    return failed(sent + 1, error);
                }
                sent += 1;
            }
        }
        self.hand_over().await;
        Sent { sent, ..Sent::default() }
    }

    fn is_over(&self, now: Instant) -> bool {
        match self.limit {
            Limit::Time(length) => now.saturating_duration_since(self.begin) >= length,
            Limit::Records(_) => false,
        }
    }

    async fn send(&mut self, due: Instant) -> Result<(), String> {
        if self.bytes >= self.sending.turn_bytes || self.run.len() >= RUN_MAX {
            self.hand_over().await;
            self.partition = (self.partition + 1) % self.runs.len();
            self.bytes = 0;
        }
        let value = self.values.next(due);
        self.bytes += value.len();
        let partition = i32::try_from(self.partition).unwrap_or(i32::MAX);
        let record = ProducerRecord::to(Arc::clone(&self.sending.topic)).partition(partition).value(value);
        let delivery = self.sending.producer.send(record).await.map_err(|error| error.to_string())?;
        self.run.push((due, delivery));
        Ok(())
    }

    /// Has somebody await what was sent.
    async fn hand_over(&mut self) {
        if self.run.is_empty() {
            return;
        }
        let room = self.run.len();
        let run = std::mem::replace(&mut self.run, Vec::with_capacity(room));
        // The other end lives as long as this one does.
        let _ = self.runs[self.partition].send(run).await;
    }
}

/// Awaits one partition's deliveries, which come in their order.
async fn settle(
    mut runs: mpsc::Receiver<Run>,
    lane: Arc<Mutex<Lane>>,
    control: Arc<Control>,
    value_bytes: usize,
) -> Sent {
    let mut failed = Sent::default();
    let mut acked = Vec::new();
    while let Some(run) = runs.recv().await {
        let mut now = Instant::now();
        for (due, mut delivery) in run {
            let mut waited = false;
            let outcome = poll_fn(|context| {
                let polled = Pin::new(&mut delivery).poll(context);
                waited |= polled.is_pending();
                polled
            })
            .await;
            if waited {
                // Else it came with the one before.
                now = Instant::now();
            }
            match outcome {
                Ok(_) => acked.push((now, due)),
                Err(error) => {
                    failed.failed += 1;
                    failed.first_error.get_or_insert_with(|| error.to_string());
                }
            }
        }
        control.on_acked(u64::try_from(acked.len()).unwrap_or(u64::MAX));
        let mut lane = lane.lock();
        for (now, due) in acked.drain(..) {
            lane.on_record(now, due, value_bytes);
        }
    }
    failed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamped_value_tells_when_its_record_was_due() {
        let epoch = Instant::now();
        let mut values = Values::new(100, Some(epoch));
        for millis in 0..200 {
            let wanted = epoch + Duration::from_millis(millis);
            let value = values.next(wanted);
            assert_eq!((value.len(), due(epoch, &value)), (100, Some(wanted)));
        }
        assert_eq!(due(epoch, b"short"), None);
    }

    #[test]
    fn values_differ_and_have_their_length() {
        let mut values = Values::new(64, None);
        let (one, next) = (values.next(Instant::now()), values.next(Instant::now()));
        assert_eq!((one.len(), next.len()), (64, 64));
        assert_ne!(one, next);
    }
}
