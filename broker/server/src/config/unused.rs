//! Broker configs that Kafka lets tools set while a broker runs, and that stand in no file: they are accepted, kept and told where
//! they were set. All but the rates of replicas that catch up (`replication/throttle.rs`) mean nothing here, and change nothing.
//!
//! Must not know: why one of Cairn's parts needs no such knob; docs/configs.md says that.

use cairn_metadata::configs::ConfigKind;
use cairn_metadata::configs::ConfigKind::{Boolean, Int, List, Long};

/// One such config.
#[derive(Clone, Copy, Debug)]
pub struct Unused {
    /// Kafka's name.
    pub name: &'static str,
    /// Its type: only values of it are accepted.
    pub kind: ConfigKind,
    /// What DescribeConfigs says about it.
    pub(super) doc: &'static str,
}

const DOC: &str = "Accepted for Kafka's tools; it has no effect here.";
const LEADER_RATE_DOC: &str = "Bytes per second that this broker sends to followers that are not in sync and whose partitions \
     leader.replication.throttled.replicas names, all together.";
const FOLLOWER_RATE_DOC: &str = "Bytes per second that each leader sends to this broker of partitions that it is not in sync \
     of and that follower.replication.throttled.replicas names.";

const fn unused(name: &'static str, kind: ConfigKind) -> Unused {
    Unused { name, kind, doc: DOC }
}

/// All of them, sorted by name.
pub const UNUSED: &[Unused] = &[
    unused("background.threads", Int),
    Unused { name: "follower.replication.throttled.rate", kind: Long, doc: FOLLOWER_RATE_DOC },
    unused("group.coordinator.cached.buffer.max.bytes", Int),
    Unused { name: "leader.replication.throttled.rate", kind: Long, doc: LEADER_RATE_DOC },
    unused("log.cleaner.io.buffer.size", Int),
    unused("log.segment.delete.delay.ms", Long),
    unused("metric.reporters", List),
    unused("num.io.threads", Int),
    unused("num.network.threads", Int),
    unused("num.recovery.threads.per.data.dir", Int),
    unused("num.replica.fetchers", Int),
    unused("sasl.kerberos.min.time.before.relogin", Long),
    unused("transaction.partition.verification.enable", Boolean),
];
