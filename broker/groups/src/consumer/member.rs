//! One member of a consumer group: what it asked for, and how far it has come towards what it is to have.
//!
//! Must not know: other members.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::assignment::{Held, Partitions, has_all};
use crate::protocols::Protocol;

/// How far a member is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum MemberState {
    /// It has all that it is to have.
    #[default]
    Stable,
    /// It has to give up partitions first.
    UnrevokedPartitions,
    /// Some that it is to have are not given up by others yet.
    UnreleasedPartitions,
    /// Written by a later version.
    Unknown,
}

impl MemberState {
    /// The number in records.
    pub(crate) fn number(self) -> i8 {
        match self {
            Self::Stable => 0,
            Self::UnrevokedPartitions => 1,
            Self::UnreleasedPartitions => 2,
            Self::Unknown => 127,
        }
    }

    pub(crate) fn of(number: i8) -> Self {
        match number {
            0 => Self::Stable,
            1 => Self::UnrevokedPartitions,
            2 => Self::UnreleasedPartitions,
            _ => Self::Unknown,
        }
    }
}

/// The epoch of a member that is not in the group yet.
pub(crate) const JOINING_EPOCH: i32 = 0;
/// Said by a member that leaves.
pub(crate) const LEAVING_EPOCH: i32 = -1;
/// Said by a static member that leaves for a while; it keeps what it has until its session ends.
pub(crate) const AWAY_EPOCH: i32 = -2;

/// What a member asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Subscription {
    pub(crate) instance: Option<Arc<str>>,
    pub(crate) rack: Option<Box<str>>,
    pub(crate) client_id: Box<str>,
    pub(crate) client_host: Box<str>,
    pub(crate) topics: BTreeSet<Arc<str>>,
    /// Empty where there is none.
    pub(crate) regex: Arc<str>,
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) assignor: Option<Box<str>>,
    /// What a member says that speaks the classic protocol.
    pub(crate) classic: Option<Classic>,
}

/// What a member says that speaks the classic protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Classic {
    pub(crate) session_timeout_ms: i32,
    /// What it can do, the best first.
    pub(crate) protocols: Vec<Protocol>,
}

/// What a member has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Current {
    pub(crate) epoch: i32,
    /// Where the answer with its epoch was lost, it comes with this one again.
    pub(crate) previous_epoch: i32,
    pub(crate) state: MemberState,
    pub(crate) assigned: Held,
    /// What it has to give up, and may still use.
    pub(crate) revoking: Held,
}

impl Default for Current {
    fn default() -> Self {
        Self {
            epoch: JOINING_EPOCH,
            previous_epoch: -1,
            state: MemberState::Stable,
            assigned: Held::new(),
            revoking: Held::new(),
        }
    }
}

impl Current {
    /// Whether it has all that the assignment of this epoch gives it.
    pub(crate) fn is_reconciled_to(&self, epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == epoch
    }

    /// Whether a heartbeat may come with this epoch: its own; the one before, where its answer was lost; or none, because
    /// it joins again.
    pub(crate) fn admits(&self, epoch: i32, owned: Option<&Partitions>) -> bool {
        let is_late = || {
            epoch < self.epoch
                && epoch == self.previous_epoch
                && owned.is_some_and(|owned| has_all(&self.assigned, owned))
        };
        epoch == JOINING_EPOCH || epoch == self.epoch || is_late()
    }
}

/// A member.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) subscription: Arc<Subscription>,
    pub(crate) current: Arc<Current>,
}

impl Member {
    pub(crate) fn is_classic(&self) -> bool {
        self.subscription.classic.is_some()
    }
}
