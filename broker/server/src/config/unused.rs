//! Broker configs that Kafka lets tools set while a broker runs, and that mean nothing here: they are accepted, kept and told
//! where they were set, and change nothing.
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
}

/// What DescribeConfigs says about each.
pub(super) const DOC: &str = "Accepted for Kafka's tools; it has no effect here.";

const fn unused(name: &'static str, kind: ConfigKind) -> Unused {
    Unused { name, kind }
}

/// All of them, sorted by name.
pub const UNUSED: &[Unused] = &[
    unused("background.threads", Int),
    unused("follower.replication.throttled.rate", Long),
    unused("group.coordinator.cached.buffer.max.bytes", Int),
    unused("leader.replication.throttled.rate", Long),
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
