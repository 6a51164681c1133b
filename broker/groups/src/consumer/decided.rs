//! What was decided about a group.
//!
//! Must not know: how.

use super::change::Change;
use super::group::Timing;
use super::migrate::Downgraded;
use crate::effects::Split;

/// What was decided.
#[derive(Debug)]
pub(crate) struct Decided<R> {
    /// What it changes. All of it is written together, or nothing happens, unless it may be split.
    pub(crate) changes: Vec<Change>,
    /// What is answered once that is durable.
    pub(crate) reply: R,
    pub(crate) timing: Vec<Timing>,
    pub(crate) seen: Option<Seen>,
    /// Whether somebody has to work out what everybody is to have, while nothing of the group is held.
    pub(crate) begins_assignment: bool,
    pub(crate) split: Split,
    /// What the group becomes, when it ends as a consumer group by this.
    pub(crate) downgraded: Option<Downgraded>,
}

impl<R> Decided<R> {
    /// The same with another answer.
    pub(crate) fn map<T>(self, answer: impl FnOnce(R) -> T) -> Decided<T> {
        let Self { changes, reply, timing, seen, begins_assignment, split, downgraded } = self;
        Decided { changes, reply: answer(reply), timing, seen, begins_assignment, split, downgraded }
    }

    /// Only these changes, and this answer.
    pub(crate) fn only(changes: Vec<Change>, reply: R) -> Self {
        Self {
            changes,
            reply,
            timing: Vec::new(),
            seen: None,
            begins_assignment: false,
            split: Split::Never,
            downgraded: None,
        }
    }
}

/// That a group was looked at with the topics of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// Whether nothing of them concerns it any more; otherwise it is looked at again next time.
    pub(crate) is_settled: bool,
    /// The version of the topics in which those of all its regular expressions were looked for; none where they were not.
    pub(crate) searched: Option<i64>,
}
