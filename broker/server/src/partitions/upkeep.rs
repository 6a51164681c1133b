//! What has to be done for partitions again and again: making them durable some time after an append, retention, rolling,
//! checkpoints, a look at the disk.
//!
//! One scheduler for all partitions: an idle partition costs nothing here.
//!
//! Must not know: requests, who waits for what.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use cairn_protocol::ids::Timestamp;
use cairn_storage::dir::SpaceState;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::rounds::{First, Rounds};
use super::{DirLook, Partition, Partitions};
use crate::clock::CautiousClock;
use crate::config::{BrokerConfig, millis};
use crate::telemetry::{Health, Metrics};

/// How often the disk is looked at when nothing is written.
const DISK_LOOK_EVERY: Duration = Duration::from_secs(1);

/// Has partitions made durable: now, or some time after an append.
#[derive(Debug)]
pub(crate) struct Flusher {
    runtime: Handle,
    metrics: Arc<Metrics>,
    /// Each partition at most once. Those that are written to meet in one round: each wakes a thread and a task otherwise.
    due: Mutex<Rounds<Weak<Partition>>>,
    earlier: Notify,
}

impl Flusher {
    pub(crate) fn new(runtime: Handle, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self { runtime, metrics, due: Mutex::default(), earlier: Notify::new() })
    }

    /// Begins to make the partition durable on a thread that may block. The caller has marked it as syncing.
    pub(super) fn sync_now(&self, partition: &Arc<Partition>) {
        let partition = Arc::clone(partition);
        self.runtime.spawn_blocking(move || partition.sync());
    }

    /// Makes the partition durable when so much time has passed, or somewhat earlier together with others. The caller has marked it as scheduled.
    pub(super) fn schedule(&self, partition: &Arc<Partition>, after_ms: u64) {
        let after = Duration::from_millis(after_ms);
        let first = self.due.lock().push(Instant::now(), after, Arc::downgrade(partition));
        if first == Some(First::Yes) {
            self.earlier.notify_one();
        }
    }

    pub(super) fn observe_sync(&self, time: Duration) {
        self.metrics.syncs.observe(time);
    }

    /// Syncs what is due, one row after the other, until `stop`.
    async fn run(self: Arc<Self>, stop: CancellationToken) {
        loop {
            let next = self.due.lock().next();
            let sleep = async {
                match next {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = sleep => {}
                () = self.earlier.notified() => continue,
                () = stop.cancelled() => return,
            }
            let due = self.take_due(Instant::now());
            let sync_all = move || due.iter().for_each(|partition| partition.sync_scheduled());
            survive("background sync", sync_all).await;
        }
    }

    fn take_due(&self, now: Instant) -> Vec<Arc<Partition>> {
        let due = self.due.lock().take(now);
        due.iter().filter_map(Weak::upgrade).collect()
    }
}

/// The tasks that look after all partitions.
#[derive(Debug)]
pub(crate) struct Upkeep {
    pub(crate) partitions: Arc<Partitions>,
    pub(crate) flusher: Arc<Flusher>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) health: Arc<Health>,
}

impl Upkeep {
    /// Runs until `stop`.
    pub(crate) async fn run(self: Arc<Self>, config: BrokerConfig, stop: CancellationToken) {
        let flushing = tokio::spawn(Arc::clone(&self.flusher).run(stop.clone()));
        let retention_every = millis(config.log_retention_check_interval_ms);
        let mut retention = ticker(retention_every);
        let mut clock = CautiousClock::start(retention_every);
        let mut checkpoint = ticker(millis(config.log_flush_offset_checkpoint_interval_ms));
        let mut disk = ticker(DISK_LOOK_EVERY);
        self.look_at_strays().await;
        loop {
            let partitions = Arc::clone(&self.partitions);
            tokio::select! {
                _ = retention.tick() => {
                    let now = clock.read();
                    survive("retention", move || maintain(&partitions, now)).await;
                    self.look_at_strays().await;
                }
                _ = checkpoint.tick() => survive("checkpoint", move || partitions.write_checkpoint()).await,
                _ = disk.tick() => {
                    let upkeep = Arc::clone(&self);
                    survive("disk check", move || upkeep.look_at_disk()).await;
                }
                () = stop.cancelled() => break,
            }
        }
        if let Err(error) = flushing.await {
            tracing::error!(%error, "background sync failed");
        }
    }

    /// A look through the whole data directory, so only now and then.
    async fn look_at_strays(self: &Arc<Self>) {
        let upkeep = Arc::clone(self);
        let look = move || {
            if let Ok(count) = upkeep.partitions.count_strays() {
                upkeep.metrics.strays.set(i64::try_from(count).unwrap_or(i64::MAX));
            }
        };
        survive("look for strays", look).await;
    }

    /// Looks how full and how well the disk is, and tells. Blocks.
    pub(crate) fn look_at_disk(&self) {
        let mut troubles = Vec::new();
        self.partitions.drop_failed();
        let gauge = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        let mut offline = 0;
        let mut spaces = Vec::new();
        for DirLook { path, space, .. } in self.partitions.look_at_dirs() {
            match space {
                Ok(space) => {
                    let told = self.metrics.log_dir(&path.to_string_lossy());
                    told.free.set(gauge(space.free_bytes));
                    told.reserve.set(gauge(space.reserve_bytes));
                    if space.is_below_reserve() {
                        let path = path.display();
                        troubles.push(format!(
                            "{} free bytes on the disk of {path} are below the reserve",
                            space.free_bytes
                        ));
                    }
                    spaces.push(space);
                }
                Err(why) => {
                    offline += 1;
                    troubles.push(format!("log dir {} is offline: {why}", path.display()));
                }
            }
        }
        self.metrics.log_dirs_offline.set(offline);
        // Of several the one that is nearest to its reserve, or farthest below it.
        let headroom = |space: &SpaceState| i128::from(space.free_bytes) - i128::from(space.reserve_bytes);
        if let Some(fullest) = spaces.iter().min_by_key(|space| headroom(space)) {
            self.metrics.disk_free.set(gauge(fullest.free_bytes));
            self.metrics.disk_reserve.set(gauge(fullest.reserve_bytes));
        }
        if spaces.iter().any(|space| !space.is_below_reserve()) {
            self.partitions.retry_waiting();
        }
        self.metrics.allocator_stalls.inner().store(self.partitions.allocator_stalls(), Ordering::Relaxed);
        let counts = self.partitions.counts();
        self.metrics.partitions.set(counts.open);
        self.metrics.partitions_offline.set(counts.offline);
        self.metrics.partitions_waiting.set(counts.waiting);
        if counts.offline > 0 {
            troubles.push(format!("{} partitions are offline", counts.offline));
        }
        if counts.waiting > 0 {
            troubles.push(format!("{} of them wait for space on disk", counts.waiting));
        }
        self.health.set(troubles);
    }
}

/// Does work that may wait for the disk. A defect in it is told, and the next round comes all the same.
async fn survive(what: &str, work: impl FnOnce() + Send + 'static) {
    if let Err(error) = tokio::task::spawn_blocking(work).await {
        tracing::error!(what, %error, "upkeep failed");
    }
}

fn ticker(every: Duration) -> tokio::time::Interval {
    let mut interval = tokio::time::interval_at(tokio::time::Instant::now() + every, every);
    interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    interval
}

/// One look through all partitions. Blocks.
fn maintain(partitions: &Partitions, now: Timestamp) {
    let mut removals = Vec::new();
    let mut failed = BTreeSet::new();
    for partition in partitions.all() {
        if failed.contains(&partition.log_dir()) {
            continue;
        }
        match partition.maintain(now) {
            Ok(removal) => removals.extend(removal.map(|removal| (partition, removal))),
            Err(offline) => {
                tracing::error!(%offline, "retention stops in a log dir");
                failed.insert(partition.log_dir());
            }
        }
    }
    // Only now: the first notes the new starts of all.
    for (partition, removal) in removals {
        let (segments, bytes) = (removal.segment_count(), removal.bytes());
        let (topic, index) = (&*partition.topic, partition.index.0);
        match removal.run() {
            Ok(()) => tracing::info!(topic, partition = index, segments, bytes, "old segments deleted"),
            Err(offline) => tracing::error!(topic, partition = index, %offline, "old segments not deleted"),
        }
    }
}
