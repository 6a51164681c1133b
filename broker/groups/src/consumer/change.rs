//! The steps by which a consumer group changes: each is a record, and reading the records back makes the same group again.
//!
//! Must not know: why a group changes, how records are laid out.

use std::collections::BTreeSet;
use std::sync::Arc;

use cairn_protocol::ids::Timestamp;

use super::assignment::Partitions;
use super::member::{Current, Subscription};

/// One step. What is none is deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The group's epoch. A group without one is gone.
    Epoch(Option<GroupEpoch>),
    /// What a member asked for. A member without that is gone.
    Subscription(Arc<str>, Option<Arc<Subscription>>),
    /// The epoch of what members are to have.
    TargetEpoch(Option<TargetEpoch>),
    /// What a member is to have.
    Target(Arc<str>, Option<Arc<Partitions>>),
    /// What a member has.
    Current(Arc<str>, Option<Arc<Current>>),
    /// The topics of a regular expression.
    Regex(Arc<str>, Option<Arc<Resolved>>),
}

impl Change {
    pub(crate) fn is_deletion(&self) -> bool {
        matches!(
            self,
            Self::Epoch(None)
                | Self::Subscription(_, None)
                | Self::TargetEpoch(None)
                | Self::Target(_, None)
                | Self::Current(_, None)
                | Self::Regex(_, None)
        )
    }
}

/// The epoch in which a group begins, as in Kafka since 4.3: nobody has anything, and nobody is to. So that who joins while the
/// first assignment is being worked out has an epoch to be at.
pub(crate) const FIRST_EPOCH: i32 = 1;

/// A group's epoch, and what its topics were then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupEpoch {
    pub(crate) epoch: i32,
    pub(crate) metadata_hash: i64,
}

impl Default for GroupEpoch {
    fn default() -> Self {
        Self { epoch: FIRST_EPOCH, metadata_hash: 0 }
    }
}

/// The epoch of what members are to have, and when that was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TargetEpoch {
    pub(crate) epoch: i32,
    /// 0 where an older record does not say.
    pub(crate) at: Timestamp,
}

impl Default for TargetEpoch {
    fn default() -> Self {
        Self { epoch: FIRST_EPOCH, at: Timestamp(0) }
    }
}

/// The topics that match a regular expression.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Resolved {
    pub(crate) topics: BTreeSet<Arc<str>>,
    /// Of which topics that was found.
    pub(crate) version: i64,
    pub(crate) at: Timestamp,
}
