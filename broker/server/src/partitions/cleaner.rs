//! Compaction of all partitions whose topics want it: which comes next, how fast, and what is told about it.
//!
//! The dirtiest partition comes first, by Kafka's rules. The work is done on threads that may block, and at the pace that the
//! configuration allows.
//!
//! Must not know: how a log is compacted, requests.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_protocol::ids::{Offset, PartitionIndex, TopicId};
use cairn_storage::log::{Cleanable, CompactError, CompactionStats, MapMemory, Pacing, Stale, Stopped};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::{Partition, Partitions};
use crate::clock;
use crate::config::{LiveConfig, millis};
use crate::telemetry::{Held, Metrics};

/// While it waits for its turn a round looks so often whether it is to stop.
const STOP_LOOK_EVERY: Duration = Duration::from_millis(50);
/// The shortest rest, whatever the configuration says.
const REST_MIN: Duration = Duration::from_millis(1);

type Id = (TopicId, PartitionIndex);

/// Compacts partitions.
#[derive(Debug)]
pub(crate) struct Cleaner {
    partitions: Arc<Partitions>,
    config: Arc<LiveConfig>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    state: Mutex<State>,
    /// When the next byte may be read or written, at this rate.
    next_byte: Mutex<Option<(Instant, f64)>>,
}

#[derive(Debug, Default)]
struct State {
    /// Partitions that are being compacted.
    busy: HashSet<Id>,
    /// Partitions whose log is damaged, or cannot be compacted.
    uncleanable: HashSet<Id>,
}

/// What a look at all partitions, and the round that followed, came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Compacted,
    NothingToDo,
}

/// A partition whose turn it is. It is busy as long as this lives.
struct Turn<'a> {
    cleaner: &'a Cleaner,
    partition: Arc<Partition>,
    cleanable: Cleanable,
    _counted: Held,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.cleaner.state.lock().busy.remove(&id(&self.partition));
    }
}

fn id(partition: &Partition) -> Id {
    (partition.topic_id, partition.index)
}

impl Cleaner {
    pub(crate) fn new(
        partitions: Arc<Partitions>,
        config: Arc<LiveConfig>,
        metrics: Arc<Metrics>,
        stop: &CancellationToken,
    ) -> Arc<Self> {
        let stop = stop.child_token();
        Arc::new(Self { partitions, config, metrics, stop, state: Mutex::default(), next_byte: Mutex::default() })
    }

    /// Compacts until it is to stop.
    pub(crate) async fn run(self: Arc<Self>) {
        // Also when the runtime ends without a word: a round must not go on for ever then.
        let _stop = self.stop.clone().drop_guard();
        let mut changes = self.config.changes();
        let mut running = Vec::new();
        while !self.stop.is_cancelled() {
            for place in running.len()..self.threads() {
                running.push(tokio::spawn(Arc::clone(&self).run_one(place)));
            }
            tokio::select! {
                _ = changes.changed() => {}
                () = self.stop.cancelled() => {}
            }
        }
        futures::future::join_all(running).await;
    }

    fn threads(&self) -> usize {
        self.config.load().log_cleaner_threads as usize
    }

    /// One after the other, for as long as there is a place for it.
    async fn run_one(self: Arc<Self>, place: usize) {
        let mut changes = self.config.changes();
        while !self.stop.is_cancelled() {
            if place >= self.threads() {
                tokio::select! {
                    _ = changes.changed() => {}
                    () = self.stop.cancelled() => {}
                }
                continue;
            }
            let cleaner = Arc::clone(&self);
            let outcome = tokio::task::spawn_blocking(move || cleaner.round()).await;
            if let Err(error) = &outcome {
                tracing::error!(%error, "compaction failed");
            }
            if matches!(outcome, Ok(Outcome::Compacted)) {
                continue;
            }
            let rest = millis(self.config.load().log_cleaner_backoff_ms).max(REST_MIN);
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                _ = changes.changed() => {}
                () = self.stop.cancelled() => {}
            }
        }
    }

    /// Looks for the dirtiest partition and compacts it. Blocks.
    fn round(&self) -> Outcome {
        let Some(turn) = self.choose() else { return Outcome::NothingToDo };
        let (topic, partition) = (&*turn.partition.topic, turn.partition.index.0);
        let begun = Instant::now();
        let result = self.compact(&turn);
        self.metrics.cleaner.rounds.observe(begun.elapsed());
        match result {
            Ok((end, stats)) => {
                let seconds = begun.elapsed().as_secs_f64();
                tracing::info!(topic, partition, end = end.0, seconds, ?stats, "compacted");
                Outcome::Compacted
            }
            Err(CompactError::Stopped(_)) => Outcome::NothingToDo,
            Err(error) if error.passes() => {
                self.metrics.cleaner.failures.inc();
                tracing::warn!(topic, partition, %error, "compaction has to wait");
                Outcome::NothingToDo
            }
            Err(error) => {
                self.metrics.cleaner.failures.inc();
                let source = std::error::Error::source(&error).map(ToString::to_string);
                tracing::error!(topic, partition, %error, source, "partition is not compacted any more until the broker starts anew");
                self.state.lock().uncleanable.insert(id(&turn.partition));
                Outcome::NothingToDo
            }
        }
    }

    /// The dirtiest partition of those that are due, which is busy from now on.
    fn choose(&self) -> Option<Turn<'_>> {
        let now = clock::now();
        let mut dirtiest = 0;
        let mut chosen: Option<(Arc<Partition>, Cleanable)> = None;
        for partition in self.partitions.all() {
            if !partition.settings().log.cleanup.compacts() || !self.is_free(&partition) {
                continue;
            }
            let Some(prospect) = partition.prospect() else { continue };
            let cleanable = match prospect.look(self.partitions.cleaned_to(&partition), now) {
                Ok(cleanable) => cleanable,
                Err(error) => {
                    tracing::debug!(topic = &*partition.topic, partition = partition.index.0, %error, "not looked at");
                    continue;
                }
            };
            let dirty = cleanable.dirty_millionths();
            dirtiest = dirty.max(dirtiest);
            if cleanable.is_due() && chosen.as_ref().is_none_or(|(_, best)| best.dirty_millionths() < dirty) {
                chosen = Some((partition, cleanable));
            }
        }
        self.count_uncleanable();
        self.metrics.cleaner.max_dirty_ratio.set(f64::from(dirtiest) / 1e6);
        let (partition, cleanable) = chosen?;
        // Another thread may have chosen it meanwhile.
        let first = self.state.lock().busy.insert(id(&partition));
        let counted = || Held::new(&self.metrics.cleaner.compacting);
        first.then(|| Turn { cleaner: self, partition, cleanable, _counted: counted() })
    }

    fn is_free(&self, partition: &Partition) -> bool {
        let state = self.state.lock();
        !partition.is_moving() && !state.busy.contains(&id(partition)) && !state.uncleanable.contains(&id(partition))
    }

    /// Those that were deleted count no more.
    fn count_uncleanable(&self) {
        let mut state = self.state.lock();
        state.uncleanable.retain(|(topic, index)| self.partitions.kept_by_id(*topic, *index).is_ok());
        self.metrics.cleaner.uncleanable.set(i64::try_from(state.uncleanable.len()).unwrap_or(i64::MAX));
    }

    fn compact(&self, turn: &Turn<'_>) -> Result<(Offset, CompactionStats), CompactError> {
        let partition = &turn.partition;
        let mut compaction = partition.begin_compaction(&turn.cleanable, clock::now()).ok_or(CompactError::Gone)?;
        compaction.map_keys(self.memory(), self)?;
        while let Some(rewritten) = compaction.rewrite_next(self)? {
            match partition.begin_swap(rewritten) {
                Ok(swap) => swap.run()?,
                Err(Stale(rewritten)) => {
                    rewritten.discard()?;
                    return Err(CompactError::Gone);
                }
            }
        }
        let (end, stats) = (compaction.end(), compaction.stats());
        self.partitions.note_cleaned(partition, end)?;
        let metrics = &self.metrics.cleaner;
        metrics.read.inc_by(stats.bytes_mapped + stats.bytes_read);
        metrics.removed.inc_by(stats.bytes_read.saturating_sub(stats.bytes_kept));
        metrics.records_removed.inc_by(stats.records_read - stats.records_kept);
        Ok((end, stats))
    }

    /// One thread's part of the memory for keys.
    fn memory(&self) -> MapMemory {
        let config = self.config.load();
        let threads = u64::from(config.log_cleaner_threads);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the key allows 0.01 to 1 only")]
        let load_percent = (config.log_cleaner_io_buffer_load_factor * 100.0).round() as u8;
        MapMemory { bytes: config.log_cleaner_dedupe_buffer_size / threads, load_percent }
    }
}

impl Pacing for Cleaner {
    fn spend(&self, bytes: u64) -> Result<(), Stopped> {
        let rate = self.config.load().log_cleaner_io_max_bytes_per_second;
        #[expect(clippy::cast_precision_loss, reason = "a pace need not be exact")]
        let takes = Duration::try_from_secs_f64(bytes as f64 / rate).unwrap_or(Duration::MAX);
        let turn = {
            let mut next = self.next_byte.lock();
            let now = Instant::now();
            // What was reserved at another rate counts no more.
            let turn = next.filter(|(_, then)| *then == rate).map_or(now, |(at, _)| at.max(now));
            *next = Some((turn.checked_add(takes).unwrap_or(turn), rate));
            turn
        };
        loop {
            if self.stop.is_cancelled() {
                return Err(Stopped);
            }
            let wait = turn.saturating_duration_since(Instant::now());
            if wait.is_zero() || self.config.load().log_cleaner_io_max_bytes_per_second != rate {
                return Ok(());
            }
            std::thread::sleep(wait.min(STOP_LOOK_EVERY));
        }
    }
}
