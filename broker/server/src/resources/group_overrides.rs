//! What is configured for one group by itself.
//!
//! Must not know: what holds for all groups, how configs are told and changed.

use cairn_groups::GroupOverrides;
use cairn_metadata::configs::ConfigMap;

pub(super) const SESSION_TIMEOUT: &str = "consumer.session.timeout.ms";
pub(super) const HEARTBEAT_INTERVAL: &str = "consumer.heartbeat.interval.ms";
pub(super) const ASSIGNMENT_INTERVAL: &str = "consumer.assignment.interval.ms";

/// What these configs say about a group. What does not read was set by a later release, and counts as not set.
pub(crate) fn overrides(own: &ConfigMap) -> GroupOverrides {
    let number = |name| own.get(name).and_then(|value| value.parse().ok());
    GroupOverrides {
        session_timeout_ms: number(SESSION_TIMEOUT),
        heartbeat_interval_ms: number(HEARTBEAT_INTERVAL),
        assignment_interval_ms: number(ASSIGNMENT_INTERVAL),
    }
}
