//! The two protocols of groups behind one face.
//!
//! Must not know: either one's rules.

use std::sync::Arc;

use tokio::time::Instant;

use super::classic::Classic;
use super::next::NextGeneration;
use super::step::{Calls, Identity, Next, Outcome, Step};

/// A member, by its group's protocol.
#[derive(Debug)]
pub(super) enum Protocol {
    Classic(Box<Classic>),
    Next(Box<NextGeneration>),
}

impl Protocol {
    /// As whom it may commit: nobody once its partitions may be another's.
    pub(super) fn commits_as(&self) -> Option<&Identity> {
        match self {
            Self::Classic(core) => core.commits_as(),
            Self::Next(core) => core.commits_as(),
        }
    }

    /// It wants other topics from now on.
    pub(super) fn on_subscribed(&mut self, topics: Vec<Arc<str>>, now: Instant) {
        match self {
            Self::Classic(core) => core.on_subscribed(topics),
            Self::Next(core) => core.on_subscribed(topics, now),
        }
    }

    /// The application asks for no records any more: it makes way for others.
    pub(super) fn on_stalled(&mut self) -> Calls {
        match self {
            Self::Classic(core) => core.on_stalled(),
            Self::Next(core) => core.on_stalled(),
        }
    }

    /// The application asks for records again.
    pub(super) fn on_resumed(&mut self, now: Instant) {
        match self {
            Self::Classic(core) => core.on_resumed(),
            Self::Next(core) => core.on_resumed(now),
        }
    }

    /// It is to leave.
    pub(super) fn on_leave(&mut self) -> Calls {
        match self {
            Self::Classic(core) => core.on_leave(),
            Self::Next(core) => core.on_leave(),
        }
    }

    /// What to do now. A step that is given counts as under way.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        match self {
            Self::Classic(core) => core.next(now),
            Self::Next(core) => core.next(now),
        }
    }

    /// What was sent was answered, or was not; topics were counted.
    pub(super) fn on_outcome(&mut self, outcome: Outcome, now: Instant) {
        match (self, outcome) {
            (Self::Classic(core), outcome) => core.on_outcome(outcome, now),
            (Self::Next(core), Outcome::Beaten(outcome)) => core.on_beaten(outcome, now),
            // It sends nothing else.
            (Self::Next(_), _) => {}
        }
    }

    /// Partitions were revoked, lost or assigned, as this step says.
    pub(super) fn on_settled(&mut self, step: &Step, now: Instant) {
        match self {
            Self::Classic(core) => core.on_settled(step),
            Self::Next(core) => core.on_settled(step, now),
        }
    }
}
