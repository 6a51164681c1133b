//! Moves partitions between log dirs: on how many threads, how fast, and when to come again.
//!
//! Must not know: how a partition is moved, requests.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_storage::log::CopyError;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::Partitions;
use super::registry::{Move, Step};
use crate::config::LiveConfig;
use crate::telemetry::Metrics;

/// A move that has to wait for others, or for room, is looked at so often.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Moves partitions.
#[derive(Debug)]
pub(crate) struct Mover {
    partitions: Arc<Partitions>,
    config: Arc<LiveConfig>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
    /// When the next byte may be copied, at this rate.
    next_byte: Mutex<Option<(Instant, u64)>>,
}

impl Mover {
    pub(crate) fn new(
        partitions: Arc<Partitions>,
        config: Arc<LiveConfig>,
        metrics: Arc<Metrics>,
        stop: &CancellationToken,
    ) -> Arc<Self> {
        let stop = stop.child_token();
        Arc::new(Self { partitions, config, metrics, stop, next_byte: Mutex::default() })
    }

    /// Moves what is to be moved, one partition at a time for each log dir, until it is to stop.
    pub(crate) async fn run(self: Arc<Self>) {
        // Also when the runtime ends without a word: a move must not go on for ever then.
        let _stop = self.stop.clone().drop_guard();
        let one = |_| Arc::clone(&self).run_one();
        futures::future::join_all((0..self.config.start().data_dirs().len()).map(one)).await;
    }

    async fn run_one(self: Arc<Self>) {
        while !self.stop.is_cancelled() {
            let added = self.partitions.moves().added.notified();
            let Some(one) = self.partitions.moves().take() else {
                tokio::select! {
                    () = added => continue,
                    () = self.stop.cancelled() => return,
                }
            };
            self.count();
            let mover = Arc::clone(&self);
            if let Err(error) = tokio::task::spawn_blocking(move || mover.carry(&one)).await {
                tracing::error!(%error, "a move between log dirs failed");
            }
            self.count();
            // Another one may have come while nobody listened.
            self.partitions.moves().added.notify_one();
        }
    }

    fn count(&self) {
        self.metrics.log_dir_moves.set(i64::try_from(self.partitions.moves().count()).unwrap_or(i64::MAX));
    }

    /// Blocks.
    fn carry(&self, one: &Move) {
        let (topic, partition) = (&*one.partition.topic, one.partition.index.0);
        let mut told = false;
        while !self.stop.is_cancelled() {
            match self.partitions.step(one) {
                Ok(Step::Copied(bytes)) => {
                    self.metrics.log_dir_moved_bytes.inc_by(bytes);
                    self.spend(one, bytes);
                }
                Ok(Step::Waits) => std::thread::sleep(LOOK_EVERY),
                Ok(Step::Done | Step::Dropped) => return,
                Err(error @ CopyError::NoSpace) => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(topic, partition, %error, "move to another log dir waits");
                    }
                    std::thread::sleep(LOOK_EVERY);
                }
                Err(error) => {
                    tracing::error!(topic, partition, %error, "partition is not moved");
                    self.partitions.fail_move(one);
                    return;
                }
            }
        }
    }

    /// Waits until it is time for so many bytes more, or there is nothing more to do.
    fn spend(&self, one: &Move, bytes: u64) {
        let rate = self.config.load().replica_alter_log_dirs_io_max_bytes_per_second;
        #[expect(clippy::cast_precision_loss, reason = "a pace need not be exact")]
        let takes = Duration::try_from_secs_f64(bytes as f64 / rate as f64).unwrap_or(Duration::MAX);
        let turn = {
            let mut next = self.next_byte.lock();
            let now = Instant::now();
            // What was reserved at another rate counts no more.
            let turn = next.filter(|(_, then)| *then == rate).map_or(now, |(at, _)| at.max(now));
            let turn = turn.checked_add(takes).unwrap_or(turn);
            *next = Some((turn, rate));
            turn
        };
        let is_same = || self.config.load().replica_alter_log_dirs_io_max_bytes_per_second == rate;
        while !self.stop.is_cancelled() && is_same() && !one.is_over() {
            let wait = turn.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                return;
            }
            std::thread::sleep(wait.min(LOOK_EVERY));
        }
    }
}
