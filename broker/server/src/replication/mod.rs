//! Records travel between brokers: those who lead push to those who follow, and the quorum decides who is in sync.
//!
//! ```text
//!   sending      a task for each follower's broker: asks partitions what is due, sends frames, hands out the answers
//!   receiving    takes frames for the partitions that this broker keeps
//!   reading      what of a log goes into a push
//!   throttle     how fast those who are not in sync may catch up, as somebody has asked for
//!   catch_up     and so that producers hardly notice
//!   proposing    asks leaders who shall be in sync, and the quorum whether that is so
//!   telling      how far logs go, where somebody has to be elected by that
//! ```
//! What is decided is decided by `cairn-replication`, under each partition's lock: `partitions/partition/`.
//!
//! Must not know: clients, how records lie on disk.

mod catch_up;
mod proposing;
mod reading;
mod receiving;
mod sending;
mod telling;
mod throttle;
mod wire;

use std::sync::Arc;

use cairn_peers::Peers;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use self::catch_up::CatchUp;
pub(crate) use self::receiving::Receiver;
use self::sending::Sender;
pub(crate) use self::telling::{LOGS, ask_for_logs, tell_logs};
use self::throttle::Pace;
pub(crate) use self::wire::PUSHES;
use crate::cluster::Cluster;
use crate::partitions::Links;
use crate::telemetry::Metrics;

/// How much is read at a time for all who catch up: requests of clients need the same threads.
const COLD_READS_MAX: usize = 8;

/// What a leader's side works with.
#[derive(Debug)]
pub(crate) struct Replication {
    cluster: Arc<Cluster>,
    peers: Peers,
    links: Arc<Links>,
    metrics: Arc<Metrics>,
    /// So long a follower may not have what the leader had.
    lag_max_ms: u64,
    /// Of all that this broker sends as a leader and that is slowed down.
    pace: Pace,
    catch_up: Arc<CatchUp>,
    /// For what is read from the disk for those who catch up.
    cold_reads: Semaphore,
}

impl Replication {
    pub(crate) fn new(
        cluster: Arc<Cluster>,
        peers: Peers,
        links: Arc<Links>,
        metrics: Arc<Metrics>,
        catch_up: Arc<CatchUp>,
        lag_max_ms: u64,
    ) -> Arc<Self> {
        let (pace, cold_reads) = (Pace::default(), Semaphore::new(COLD_READS_MAX));
        Arc::new(Self { cluster, peers, links, metrics, lag_max_ms, pace, catch_up, cold_reads })
    }

    /// Sends and proposes until `stop`.
    pub(crate) fn start(self: &Arc<Self>, stop: &CancellationToken, tasks: &TaskTracker) {
        let (catch_up, stop_watching) = (Arc::clone(&self.catch_up), stop.clone());
        tasks.spawn(async move { catch_up.watch(stop_watching).await });
        tasks.spawn(Arc::clone(self).propose_changes(stop.clone()));
        tasks.spawn(Arc::clone(self).open_streams(stop.clone(), tasks.clone()));
    }

    /// A task for each broker that follows something of this one.
    async fn open_streams(self: Arc<Self>, stop: CancellationToken, tasks: TaskTracker) {
        loop {
            let new = tokio::select! {
                new = self.links.next_new() => new,
                () = stop.cancelled() => return,
            };
            for link in new {
                tasks.spawn(Sender::new(Arc::clone(&self), link).run(stop.clone()));
            }
        }
    }
}
