//! The rules that decisions about partitions follow, each of which a test can switch off to see that the others do not
//! cover for it.
//!
//! A build without the feature `mutate` has no switch: every rule holds, and the questions vanish.
//!
//! Must not know: what the rules decide.

/// A rule of [`crate::Partition`]'s decisions. The numbers are those of `docs/replication.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Rule {
    /// R9: a proposal for another partition epoch than the present one is refused.
    ComparePartitionEpoch,
    /// R10: a proposal that was decided before is answered with what was decided then.
    RecordedOutcome,
    /// R11: only brokers that serve may become in-sync.
    ServingMembers,
    /// R12: a proposal names its members' incarnations, and stale ones are refused.
    MemberIncarnations,
    /// R13: a new incarnation begins outside the in-sync replicas and leads nothing.
    RegisteringFences,
    /// R14: the last in-sync replica leaves like any other.
    LastMemberLeaves,
    /// R15: a replica that may have lost something is not eligible to lead.
    LossyIsNotEligible,
    /// R6: whoever joins a partition's replicas joins them under a new leader epoch.
    JoiningRaisesEpoch,
    /// A move ends, or is cancelled, when enough of those who stay are in sync.
    MoveKeepsMinIsr,
    /// A topic that becomes `synced` counts as such once its leader says that what was committed before is on disk.
    MemoryUntilFlushed,
}

/// Which rules hold: all of them, but in tests that switch one off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rules {
    #[cfg(feature = "mutate")]
    off: u16,
}

impl Rules {
    /// Every rule holds.
    pub const ALL: Self = Self {
        #[cfg(feature = "mutate")]
        off: 0,
    };

    /// All of these but `rule`.
    #[cfg(feature = "mutate")]
    #[must_use]
    pub fn without(self, rule: Rule) -> Self {
        Self { off: self.off | 1 << (rule as u16) }
    }

    #[cfg(feature = "mutate")]
    pub(crate) fn hold(self, rule: Rule) -> bool {
        self.off & 1 << (rule as u16) == 0
    }

    #[cfg(not(feature = "mutate"))]
    pub(crate) fn hold(self, _: Rule) -> bool {
        true
    }
}
