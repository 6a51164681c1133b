//! The rules that leader and follower follow, each of which a test can switch off to see that the others do not cover for it.
//!
//! A build without the feature `mutate` has no switch: every rule holds, and the questions vanish.
//!
//! Must not know: what the rules decide.

/// A rule of leader or follower. The numbers are those of `docs/replication.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Rule {
    /// R1: a follower is cut at the first conflict, never to its own high watermark.
    CutAtConflictOnly,
    /// R2: records follow on only behind a record of the same epoch.
    PreviousEpoch,
    /// R29: what is there already is skipped.
    SkipPresent,
    /// R28: an ack says what its push has proven, not where the log ends.
    AckWhatIsProven,
    /// R16: a follower takes the leader's high watermark only as far as the push has proven.
    ProvenHighWatermark,
    /// R4: pushes of an older leader epoch are refused.
    RefuseOlderEpoch,
    /// R6: a replica joins only when it has what the leader had when it took office.
    ReachOfficeStart,
    /// R6: a replica joins only with a proven match.
    ProvenJoin,
    /// R8: while a proposal is open, what it would put in sync counts as well.
    MaximalIsr,
    /// R14: nothing is committed while too few are in sync.
    MinIsr,
    /// R8: those who are only proposed do not count as in sync.
    MinIsrOfCommitted,
    /// Under `synced` a follower acknowledges what it has flushed.
    FollowerFlushes,
    /// Under `synced` a leader counts what it has flushed.
    LeaderFlushes,
    /// R5: acks of another leader epoch count for nothing.
    AckOfThisEpoch,
    /// R12: a push is for one incarnation of a follower.
    PushToThisIncarnation,
    /// R12: an ack is of one incarnation of a follower.
    AckOfThisIncarnation,
    /// R12: what a follower's former incarnation had is forgotten.
    ForgetFormerIncarnation,
    /// What a follower has where the leader has a hole must be of the same epoch.
    HolesHaveEpochs,
    /// What was committed before an unclean election is cut where the elected leader has something else.
    UncleanUndoes,
    /// A leader says that what is committed lies on disk when it does.
    ClaimWhatIsFlushed,
}

/// Which rules hold: all of them, but in tests that switch one off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rules {
    #[cfg(feature = "mutate")]
    off: u32,
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
        Self { off: self.off | 1 << (rule as u32) }
    }

    #[cfg(feature = "mutate")]
    pub(crate) fn hold(self, rule: Rule) -> bool {
        self.off & 1 << (rule as u32) == 0
    }

    #[cfg(not(feature = "mutate"))]
    pub(crate) fn hold(self, _: Rule) -> bool {
        true
    }
}
