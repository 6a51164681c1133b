//! What replication does, counted where it happens; and where the replicas stand, looked up when somebody asks.
//!
//! Must not know: partitions, connections.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::{Registry, Unit};

/// What is counted as it happens.
#[derive(Debug, Default)]
pub(crate) struct ReplicationMetrics {
    pub(crate) sent: Counter,
    pub(crate) caught_up: Counter,
    pub(crate) received: Counter,
    pub(crate) unanswered: Counter,
    pub(crate) isr_shrinks: Counter,
    pub(crate) isr_expands: Counter,
    pub(crate) unclean_elections: Counter,
}

/// Where the cluster and the replicas stand, as one look has found it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Standings {
    pub(crate) is_controller: bool,
    pub(crate) brokers: u64,
    pub(crate) fenced_brokers: u64,
    /// Partitions of the whole cluster.
    pub(crate) leaderless: u64,
    /// Partitions that this broker leads, and of these: with fewer in sync than replicas, than they need, and with no more.
    pub(crate) led: u64,
    pub(crate) under_replicated: u64,
    pub(crate) under_min_isr: u64,
    pub(crate) at_min_isr: u64,
    /// Offsets that the follower is behind that is furthest behind.
    pub(crate) max_lag: u64,
    /// Bytes a second.
    pub(crate) catch_up_rate: u64,
}

impl ReplicationMetrics {
    pub(super) fn register_in(&self, registry: &mut Registry) {
        let sent = "Bytes of records sent to followers";
        registry.register_with_unit("replication_sent", sent, Unit::Bytes, self.sent.clone());
        let caught_up = "Bytes of records that followers took which were not in sync";
        registry.register_with_unit("replication_caught_up", caught_up, Unit::Bytes, self.caught_up.clone());
        let received = "Bytes of records taken from leaders";
        registry.register_with_unit("replication_received", received, Unit::Bytes, self.received.clone());
        let unanswered = "Frames of records that a follower did not answer";
        registry.register("replication_unanswered", unanswered, self.unanswered.clone());
        let shrinks = "Times that the in-sync replicas of a partition led here became fewer";
        registry.register("isr_shrinks", shrinks, self.isr_shrinks.clone());
        let expands = "Times that the in-sync replicas of a partition led here became more";
        registry.register("isr_expands", expands, self.isr_expands.clone());
        let unclean = "Elections, proposed by this broker, of a replica that may lack acknowledged records";
        registry.register("unclean_elections", unclean, self.unclean_elections.clone());
    }
}

impl Standings {
    /// Names, helps and values of its gauges.
    pub(super) fn gauges(&self) -> [(&'static str, &'static str, u64); 10] {
        [
            ("controller", "1 on the broker that decides about the cluster's metadata", u64::from(self.is_controller)),
            ("brokers", "Brokers of the cluster", self.brokers),
            (
                "brokers_fenced",
                "Brokers of the cluster that nothing is heard of, or that are starting",
                self.fenced_brokers,
            ),
            (
                "partitions_leaderless",
                "Partitions of the cluster that nobody leads; told by the controller, 0 elsewhere",
                self.leaderless,
            ),
            ("partitions_led", "Partitions that this broker leads", self.led),
            (
                "partitions_under_replicated",
                "Partitions led here of whose replicas some are not in sync",
                self.under_replicated,
            ),
            (
                "partitions_under_min_isr",
                "Partitions led here with fewer replicas in sync than `min.insync.replicas`: nothing is acknowledged at acks=all",
                self.under_min_isr,
            ),
            (
                "partitions_at_min_isr",
                "Partitions led here with just as many in sync as `min.insync.replicas`",
                self.at_min_isr,
            ),
            (
                "replication_max_lag_records",
                "Offsets that a follower of a partition led here is behind, of the one that is furthest behind",
                self.max_lag,
            ),
            (
                "replication_catch_up_rate_bytes",
                "What each follower that is not in sync may be sent in a second, so that producers hardly notice",
                self.catch_up_rate,
            ),
        ]
    }
}
