//! What the broker's configuration says about groups.
//!
//! Must not know: where the values come from.

use crate::consumer::settings::ConsumerSettings;

/// The bounds of groups, by Kafka's keys and defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupSettings {
    /// `group.min.session.timeout.ms`
    pub session_timeout_min_ms: i32,
    /// `group.max.session.timeout.ms`
    pub session_timeout_max_ms: i32,
    /// `group.initial.rebalance.delay.ms`: how long an empty group waits for further members after its first one.
    pub initial_rebalance_delay_ms: i32,
    /// `group.max.size`
    pub members_max: usize,
    /// `offset.metadata.max.bytes`, in UTF-16 units as Kafka counts them.
    pub offset_metadata_max: usize,
    /// Those of consumer groups.
    pub consumer: ConsumerSettings,
}

/// The longest metadata that a commit may carry, in UTF-16 units as Kafka counts them (`offset.metadata.max.bytes`).
pub const METADATA_CHARS_MAX: usize = 4096;

/// How long a new member may wait for its first generation before it is taken for gone: its client may have given up, and
/// a member that waits sends no heartbeats. Kafka has the same five minutes, and no key for them.
pub(crate) const NEW_MEMBER_JOIN_TIMEOUT_MS: i32 = 5 * 60 * 1000;

impl Default for GroupSettings {
    fn default() -> Self {
        Self {
            session_timeout_min_ms: 6_000,
            session_timeout_max_ms: 1_800_000,
            initial_rebalance_delay_ms: 3_000,
            members_max: 0x7fff_ffff,
            offset_metadata_max: METADATA_CHARS_MAX,
            consumer: ConsumerSettings::default(),
        }
    }
}
