//! What a broker does besides answering, each as a task of its own until it stops.
//!
//! Must not know: requests, the cluster's membership.

use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Life;
use crate::blocking::on_blocking_thread;
use crate::clock::CautiousClock;
use crate::config::millis;
use crate::host_names::look_up_unknown;
use crate::node::Node;
use crate::partitions::{Cleaner, Mover, Scrubber, Upkeep};

/// Has groups follow the metadata: from now on they are served.
pub(super) fn serve_groups(node: &Arc<Node>, life: &Life) {
    let versions = node.cluster.versions();
    node.coordinator.follow(&node.cluster);
    life.tasks.spawn(follow_groups(Arc::clone(node), versions, life.stop.clone()));
}

/// Begins all that is done from time to time. When this returns, health is told as it is.
pub(super) async fn begin(node: &Arc<Node>, upkeep: Upkeep, life: &Life) {
    let Life { stop, tasks } = life;
    let parts = || (Arc::clone(&node.partitions), Arc::clone(&node.config), Arc::clone(&node.metrics));
    let (partitions, config, metrics) = parts();
    tasks.spawn(Cleaner::new(partitions, config, metrics, stop).run());
    let (partitions, config, metrics) = parts();
    tasks.spawn(Mover::new(partitions, config, metrics, stop).run());
    let (partitions, config, metrics) = parts();
    tasks.spawn(Scrubber::new(partitions, metrics, config.start()).run(stop.clone()));
    let upkeep = Arc::new(upkeep);
    // From here on it is ready, unless something is wrong already.
    let first_look = Arc::clone(&upkeep);
    on_blocking_thread(move || first_look.look_at_disk()).await;
    tasks.spawn(upkeep.run(node.config.start().clone(), stop.clone()));
    tasks.spawn(expire_offsets(Arc::clone(node), stop.clone()));
    tasks.spawn(look_up_unknown(Arc::clone(&node.quotas), stop.clone()));
}

/// Has groups follow the leaders of their partitions, until `stop`.
async fn follow_groups(node: Arc<Node>, mut versions: watch::Receiver<u64>, stop: CancellationToken) {
    loop {
        tokio::select! {
            changed = versions.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
        node.coordinator.follow(&node.cluster);
    }
}

/// Forgets committed offsets that are too old, again and again until `stop`.
async fn expire_offsets(node: Arc<Node>, stop: CancellationToken) {
    const MINUTE_MS: i64 = 60_000;
    let retention_ms = i64::from(node.config.start().offsets_retention_minutes) * MINUTE_MS;
    let every = millis(node.config.start().offsets_retention_check_interval_ms);
    let mut clock = CautiousClock::start(every);
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = stop.cancelled() => return,
        }
        node.coordinator.expire(&node.cluster, clock.read(), retention_ms).await;
    }
}
