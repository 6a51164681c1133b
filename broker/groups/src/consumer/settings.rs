//! What the configuration says about consumer groups.
//!
//! Must not know: where the values come from.

use super::assignor::Assignors;

/// Which groups may go from one protocol to the other while members are in them (`group.consumer.migration.policy`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MigrationPolicy {
    /// Either way.
    #[default]
    Bidirectional,
    /// From classic to consumer.
    Upgrade,
    /// From consumer to classic.
    Downgrade,
    /// Neither.
    Disabled,
}

impl MigrationPolicy {
    /// Kafka's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Bidirectional => "bidirectional",
            Self::Upgrade => "upgrade",
            Self::Downgrade => "downgrade",
            Self::Disabled => "disabled",
        }
    }

    /// The policy of a name, which may be written in any case.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        let all = [Self::Bidirectional, Self::Upgrade, Self::Downgrade, Self::Disabled];
        all.into_iter().find(|policy| policy.name().eq_ignore_ascii_case(name))
    }

    pub(crate) fn allows_upgrade(self) -> bool {
        matches!(self, Self::Bidirectional | Self::Upgrade)
    }

    pub(crate) fn allows_downgrade(self) -> bool {
        matches!(self, Self::Bidirectional | Self::Downgrade)
    }
}

/// The bounds of consumer groups, by Kafka's keys and defaults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerSettings {
    /// `group.consumer.session.timeout.ms`, or a group's own `consumer.session.timeout.ms`.
    pub session_timeout_ms: i32,
    /// `group.consumer.heartbeat.interval.ms`, or a group's own `consumer.heartbeat.interval.ms`.
    pub heartbeat_interval_ms: i32,
    /// `group.consumer.assignment.interval.ms`: a group does not decide anew more often than this.
    pub assignment_interval_ms: i32,
    /// `group.consumer.regex.refresh.interval.ms`: regular expressions are looked at again after this, even if no topics
    /// have changed.
    pub regex_refresh_interval_ms: i32,
    /// `group.consumer.max.size`
    pub members_max: usize,
    /// `group.consumer.assignors`
    pub assignors: Assignors,
    /// `group.consumer.migration.policy`
    pub migration: MigrationPolicy,
    /// How much work an assignment may be that is decided together with the heartbeat that asks for it: the topics of each
    /// member, and the partitions of each topic.
    pub inline_work_max: usize,
}

/// What takes about a millisecond. The groups of a partition of `__consumer_offsets` wait for each other that long.
pub const INLINE_WORK_MAX: usize = 4_096;

/// When members come again to whom nobody could say what they are to have, because it is being worked out still. Their own
/// interval is seconds.
pub(crate) const ASSIGNING_HEARTBEAT_MS: i32 = 250;

/// An assignment that is not there after this is asked for once more: who has worked it out must have failed.
pub(crate) const ASSIGNING_MAX_MS: i32 = 60_000;

/// After an assignment that could not be worked out or written, another one is not asked for before this.
pub(crate) const ASSIGN_AGAIN_MS: i32 = 1_000;

/// Regular expressions of a group are not looked at again more often than this, however often topics change. Kafka has the
/// same, and no key for it.
pub(crate) const REGEX_REFRESH_INTERVAL_MIN_MS: i32 = 10_000;

impl Default for ConsumerSettings {
    fn default() -> Self {
        Self {
            session_timeout_ms: 45_000,
            heartbeat_interval_ms: 5_000,
            assignment_interval_ms: 1_000,
            regex_refresh_interval_ms: 600_000,
            members_max: 0x7fff_ffff,
            assignors: Assignors::default(),
            migration: MigrationPolicy::default(),
            inline_work_max: INLINE_WORK_MAX,
        }
    }
}
