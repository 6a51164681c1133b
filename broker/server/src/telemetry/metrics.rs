//! The broker's metrics, in OpenMetrics' text.
//!
//! Must not know: where the numbers come from.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use cairn_groups::{Event, Happened, Now};
use cairn_protocol::ApiKey;
use cairn_protocol::error_code::ErrorCode;
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::flight::FlightRecorder;
use super::observed::{Observatory, Series};
use super::replication::ReplicationMetrics;
use super::times::Times;

/// All metrics. The hot ones are found by index, not by label.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    apis: Vec<ApiMetrics>,
    errors: Family<OfError, Counter>,
    connections: Gauge,
    connections_throttled: Gauge,
    connections_delayed: Family<OfReason, Counter>,
    throttle_time: Family<OfApi, Times>,
    connections_accepted: Counter,
    connections_ended: Family<OfReason, Counter>,
    pub(crate) connections_refused: Counter,
    pub(crate) accept_failures: Counter,
    pub(crate) bytes_received: Counter,
    pub(crate) bytes_sent: Counter,
    pub(crate) fetches_waiting: Gauge,
    pub(crate) disk_reads: Times,
    pub(crate) syncs: Times,
    pub(crate) partitions: Gauge,
    pub(crate) partitions_offline: Gauge,
    pub(crate) partitions_waiting: Gauge,
    pub(crate) strays: Gauge,
    pub(crate) disk_free: Gauge,
    pub(crate) disk_reserve: Gauge,
    log_dir_free: Family<OfDir, Gauge>,
    log_dir_reserve: Family<OfDir, Gauge>,
    pub(crate) log_dirs_offline: Gauge,
    pub(crate) log_dir_moves: Gauge,
    pub(crate) log_dir_moved_bytes: Counter,
    pub(crate) allocator_stalls: Counter,
    rebalances: Family<OfCause, Counter>,
    generations: Counter,
    members_removed: Family<OfCause, Counter>,
    pub(super) recorder: Arc<FlightRecorder>,
    /// What is looked up when somebody asks.
    pub(crate) observatory: Arc<Observatory>,
    pub(crate) cleaner: CleanerMetrics,
    pub(crate) replication: ReplicationMetrics,
    pub(crate) scrubbed_bytes: Counter,
    pub(crate) scrub_passes: Counter,
    pub(crate) scrub_damaged: Gauge,
}

/// What compaction does.
#[derive(Debug)]
pub(crate) struct CleanerMetrics {
    pub(crate) rounds: Times,
    pub(crate) read: Counter,
    pub(crate) removed: Counter,
    pub(crate) records_removed: Counter,
    pub(crate) failures: Counter,
    pub(crate) uncleanable: Gauge,
    pub(crate) compacting: Gauge,
    pub(crate) max_dirty_ratio: Gauge<f64, AtomicU64>,
}

/// What is counted for one API.
#[derive(Clone, Debug)]
struct ApiMetrics {
    requests: Counter,
    time: Times,
    queue_time: Times,
    handling_time: Times,
    waiting_time: Times,
    storage_time: Times,
}

/// Where the time of one request has gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestTimes {
    /// It was here, and others of its connection came first.
    pub(crate) queued: Duration,
    /// It was worked on without a pause.
    pub(crate) handled: Duration,
    /// It waited: for a sync, for records, for other members, for the disk.
    pub(crate) waited: Option<Duration>,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfApi {
    api: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfError {
    api: &'static str,
    error: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfReason {
    reason: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfCause {
    cause: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OfDir {
    dir: String,
}

/// What is told of one log dir.
#[derive(Clone, Debug)]
pub(crate) struct LogDirMetrics {
    pub(crate) free: Gauge,
    pub(crate) reserve: Gauge,
}

impl Metrics {
    /// Metrics for these APIs; what is observed of others is not counted.
    pub(crate) fn new(served: impl Iterator<Item = ApiKey>) -> Self {
        let mut registry = Registry::with_prefix("cairn");
        let requests = Family::<OfApi, Counter>::default();
        registry.register("requests", "Requests, by API", requests.clone());
        let mut times = |name: &str, help: &str| {
            let times = Family::<OfApi, Times>::default();
            registry.register_with_unit(name, help, Unit::Seconds, times.clone());
            times
        };
        let time = times("request_time", "From the beginning of a request to the ready answer, waits included");
        let queue = times("request_queue_time", "From the last byte of a request to its beginning: others came first");
        let handling = times(
            "request_handling_time",
            "Of the request's time, what it was worked on at once: checks, and appending or reading in memory",
        );
        let waiting = times(
            "request_waiting_time",
            "Of the request's time, what it waited: for a sync, for records, for other members, for the disk",
        );
        let storage = times(
            "request_storage_time",
            "Of the request's time, what storage took: appending, reading, looking up offsets, on whichever thread; the wait \
             for a sync is waiting time",
        );
        let mut apis = Vec::new();
        for api in served {
            let (at, of) = (index(api), OfApi { api: api.name() });
            if apis.len() <= at {
                apis.resize_with(at + 1, ApiMetrics::unserved);
            }
            apis[at] = ApiMetrics {
                requests: requests.get_or_create_owned(&of),
                time: time.get_or_create_owned(&of),
                queue_time: queue.get_or_create_owned(&of),
                handling_time: handling.get_or_create_owned(&of),
                waiting_time: waiting.get_or_create_owned(&of),
                storage_time: storage.get_or_create_owned(&of),
            };
        }
        let mut metrics = Self {
            apis,
            errors: Family::default(),
            connections: Gauge::default(),
            connections_throttled: Gauge::default(),
            connections_delayed: Family::default(),
            throttle_time: Family::default(),
            connections_accepted: Counter::default(),
            connections_ended: Family::default(),
            connections_refused: Counter::default(),
            accept_failures: Counter::default(),
            bytes_received: Counter::default(),
            bytes_sent: Counter::default(),
            fetches_waiting: Gauge::default(),
            disk_reads: Times::default(),
            syncs: Times::default(),
            partitions: Gauge::default(),
            partitions_offline: Gauge::default(),
            partitions_waiting: Gauge::default(),
            strays: Gauge::default(),
            disk_free: Gauge::default(),
            disk_reserve: Gauge::default(),
            log_dir_free: Family::default(),
            log_dir_reserve: Family::default(),
            log_dirs_offline: Gauge::default(),
            log_dir_moves: Gauge::default(),
            log_dir_moved_bytes: Counter::default(),
            allocator_stalls: Counter::default(),
            rebalances: Family::default(),
            generations: Counter::default(),
            members_removed: Family::default(),
            recorder: Arc::default(),
            observatory: Arc::default(),
            cleaner: CleanerMetrics::new(),
            replication: ReplicationMetrics::default(),
            scrubbed_bytes: Counter::default(),
            scrub_passes: Counter::default(),
            scrub_damaged: Gauge::default(),
            registry: Registry::default(),
        };
        metrics.register_in(&mut registry);
        metrics.registry = registry;
        metrics
    }

    fn register_in(&self, registry: &mut Registry) {
        registry.register("errors", "Errors in answers, by API and error", self.errors.clone());
        registry.register("connections", "Connections that are open", self.connections.clone());
        registry.register(
            "connections_throttled",
            "Connections that are not read from now, as their client has used more than its quota",
            self.connections_throttled.clone(),
        );
        registry.register(
            "connections_delayed",
            "Connections that came too fast: for all of the broker (served later), or for their address (closed later)",
            self.connections_delayed.clone(),
        );
        registry.register_with_unit(
            "throttle_time",
            "How long clients were told to wait, by the API whose answer told them",
            Unit::Seconds,
            self.throttle_time.clone(),
        );
        registry.register("connections_accepted", "Connections ever accepted", self.connections_accepted.clone());
        registry.register("connections_ended", "Connections ended, by reason", self.connections_ended.clone());
        registry.register(
            "connections_refused",
            "Connections closed at once: all were taken, or all of the address",
            self.connections_refused.clone(),
        );
        registry.register(
            "accept_failures",
            "Tries to accept a connection that the system refused, as when no descriptor is left",
            self.accept_failures.clone(),
        );
        let bytes = |name| (name, Unit::Bytes);
        let (name, unit) = bytes("received");
        registry.register_with_unit(name, "Bytes of requests", unit, self.bytes_received.clone());
        let (name, unit) = bytes("sent");
        registry.register_with_unit(name, "Bytes of answers", unit, self.bytes_sent.clone());
        registry.register("fetches_waiting", "Fetches that wait for records", self.fetches_waiting.clone());
        registry.register_with_unit(
            "disk_read_time",
            "Time of one look of a fetch at partitions that were not in memory, on a thread that may wait for the disk",
            Unit::Seconds,
            self.disk_reads.clone(),
        );
        registry.register_with_unit(
            "sync_time",
            "Time of one sync of one partition",
            Unit::Seconds,
            self.syncs.clone(),
        );
        registry.register("partitions", "Partitions that are open", self.partitions.clone());
        registry.register("partitions_offline", "Partitions that cannot be served", self.partitions_offline.clone());
        registry.register(
            "partitions_waiting",
            "Partitions, of those offline, that are opened when there is space on disk",
            self.partitions_waiting.clone(),
        );
        registry.register(
            "stray_folders",
            "Folders of unknown topics that were set aside and are kept until somebody removes them",
            self.strays.clone(),
        );
        let (name, unit) = bytes("disk_free");
        registry.register_with_unit(
            name,
            "Free bytes of the data disk, of several the one that is nearest to its reserve",
            unit,
            self.disk_free.clone(),
        );
        let (name, unit) = bytes("disk_reserve");
        registry.register_with_unit(name, "Free bytes below which produces wait", unit, self.disk_reserve.clone());
        let (name, unit) = bytes("log_dir_free");
        registry.register_with_unit(name, "Free bytes of a log dir's disk", unit, self.log_dir_free.clone());
        let (name, unit) = bytes("log_dir_reserve");
        let reserve = self.log_dir_reserve.clone();
        registry.register_with_unit(name, "Free bytes of a log dir's disk below which produces wait", unit, reserve);
        registry.register(
            "log_dirs_offline",
            "Log dirs that could not be opened, or have failed",
            self.log_dirs_offline.clone(),
        );
        registry.register("log_dir_moves", "Partitions that are moving to another log dir", self.log_dir_moves.clone());
        let (name, unit) = bytes("log_dir_moved");
        registry.register_with_unit(name, "Bytes copied to other log dirs", unit, self.log_dir_moved_bytes.clone());
        registry.register(
            "allocator_stalls",
            "Appends that met a page that was not prepared",
            self.allocator_stalls.clone(),
        );
        registry.register("group_rebalances", "Rebalances of groups begun, by cause", self.rebalances.clone());
        registry.register(
            "group_generations",
            "Rebalances of groups ended with an assignment",
            self.generations.clone(),
        );
        registry.register("group_members_removed", "Members gone, by cause", self.members_removed.clone());
        let (observatory, recorder) = (Arc::clone(&self.observatory), Arc::clone(&self.recorder));
        registry.register_collector(Box::new(Series { observatory, recorder }));
        self.cleaner.register_in(registry);
        self.replication.register_in(registry);
        let (name, unit) = bytes("scrubbed");
        registry.register_with_unit(name, "Bytes read and checked by scrubbing", unit, self.scrubbed_bytes.clone());
        registry.register("scrub_passes", "Times that scrubbing has gone through all", self.scrub_passes.clone());
        registry.register(
            "scrub_damaged_partitions",
            "Partitions in which the last pass of scrubbing found damage",
            self.scrub_damaged.clone(),
        );
    }

    /// What is told of the log dir at this path.
    pub(crate) fn log_dir(&self, path: &str) -> LogDirMetrics {
        let label = OfDir { dir: path.to_owned() };
        LogDirMetrics {
            free: self.log_dir_free.get_or_create_owned(&label),
            reserve: self.log_dir_reserve.get_or_create_owned(&label),
        }
    }

    /// Something has happened to a group.
    pub(crate) fn group_event(&self, event: &Event, now: Now) {
        self.recorder.record(event, now);
        let (group, generation) = (&*event.group, event.generation);
        match &event.what {
            Happened::RebalanceBegun { cause, detail } => {
                tracing::info!(group, generation, cause = cause.name(), %detail, "group rebalances");
                self.rebalances.get_or_create(&OfCause { cause: cause.name() }).inc();
            }
            Happened::GenerationBegun { members, protocol } => {
                tracing::debug!(group, generation, members, %protocol, "generation begun");
            }
            Happened::MemberJoined { member, .. } => tracing::debug!(group, generation, %member, "member joined"),
            Happened::MemberSynced { member, .. } => tracing::debug!(group, generation, %member, "member synced"),
            Happened::Stabilized => {
                tracing::info!(group, generation, "group is stable");
                self.generations.inc();
            }
            Happened::Emptied => tracing::info!(group, generation, "group is empty"),
            Happened::MemberRemoved { member, cause, .. } => {
                tracing::info!(group, generation, %member, cause = cause.name(), "member removed");
                self.members_removed.get_or_create(&OfCause { cause: cause.name() }).inc();
            }
        }
    }

    /// One answered request.
    pub(crate) fn observe(&self, api: ApiKey, times: RequestTimes) {
        let Some(metrics) = self.apis.get(index(api)) else { return };
        let RequestTimes { queued, handled, waited } = times;
        metrics.requests.inc();
        metrics.time.observe(handled + waited.unwrap_or_default());
        metrics.queue_time.observe(queued);
        metrics.handling_time.observe(handled);
        if let Some(waited) = waited {
            metrics.waiting_time.observe(waited);
        }
    }

    /// What one request took of storage. A request that took nothing of it does not count.
    pub(crate) fn in_storage(&self, api: ApiKey, time: Duration) {
        if let (Some(metrics), false) = (self.apis.get(index(api)), time.is_zero()) {
            metrics.storage_time.observe(time);
        }
    }

    /// One error in an answer.
    pub(crate) fn error(&self, api: ApiKey, error: ErrorCode) {
        self.errors.get_or_create(&OfError { api: api.name(), error: error.name() }).inc();
    }

    /// One connection that is accepted; it is open until what is returned is dropped.
    pub(crate) fn connection_begun(&self) -> Held {
        self.connections_accepted.inc();
        Held::new(&self.connections)
    }

    /// One answer that tells its client to wait so long; the connection counts as throttled until what is returned is dropped.
    pub(crate) fn throttled(&self, api: ApiKey, time: Duration) -> Held {
        self.throttle_time.get_or_create(&OfApi { api: api.name() }).observe(time);
        Held::new(&self.connections_throttled)
    }

    /// One connection that has come too fast, for the broker or for its address.
    pub(crate) fn connection_delayed(&self, reason: &'static str) {
        self.connections_delayed.get_or_create(&OfReason { reason }).inc();
    }

    /// One connection that has ended.
    pub(crate) fn connection_ended(&self, reason: &'static str) {
        self.connections_ended.get_or_create(&OfReason { reason }).inc();
    }

    /// All of them as text.
    pub(crate) fn encode(&self) -> String {
        let mut text = String::new();
        text::encode(&mut text, &self.registry).expect("a string takes whatever is written");
        text
    }
}

impl ApiMetrics {
    /// Counts nothing that is shown.
    fn unserved() -> Self {
        Self {
            requests: Counter::default(),
            time: Times::default(),
            queue_time: Times::default(),
            handling_time: Times::default(),
            waiting_time: Times::default(),
            storage_time: Times::default(),
        }
    }
}

impl CleanerMetrics {
    fn new() -> Self {
        Self {
            rounds: Times::default(),
            read: Counter::default(),
            removed: Counter::default(),
            records_removed: Counter::default(),
            failures: Counter::default(),
            uncleanable: Gauge::default(),
            compacting: Gauge::default(),
            max_dirty_ratio: Gauge::default(),
        }
    }

    fn register_in(&self, registry: &mut Registry) {
        let time = "Time of one round of compaction of one partition";
        registry.register_with_unit("cleaner_round_time", time, Unit::Seconds, self.rounds.clone());
        let read = "Bytes of segments that compaction has looked through";
        registry.register_with_unit("cleaner_read", read, Unit::Bytes, self.read.clone());
        let removed = "Bytes of segments that compaction has freed";
        registry.register_with_unit("cleaner_removed", removed, Unit::Bytes, self.removed.clone());
        let records = "Records that compaction has removed";
        registry.register("cleaner_records_removed", records, self.records_removed.clone());
        registry.register("cleaner_failures", "Rounds of compaction that failed", self.failures.clone());
        let uncleanable = "Partitions that are not compacted any more because a round has failed for good";
        registry.register("cleaner_uncleanable_partitions", uncleanable, self.uncleanable.clone());
        let compacting = "Partitions that are being compacted now";
        registry.register("cleaner_compacting_partitions", compacting, self.compacting.clone());
        let ratio = "The largest part of any compacted partition that is not compacted yet, when last looked at";
        registry.register_with_unit("cleaner_max_dirty", ratio, Unit::Ratios, self.max_dirty_ratio.clone());
    }
}

/// Counts one thing as long as it lives, also when its task ends in a panic.
#[derive(Debug)]
pub(crate) struct Held(Gauge);

impl Held {
    pub(crate) fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn index(api: ApiKey) -> usize {
    usize::try_from(api.code()).unwrap_or(usize::MAX)
}
