//! A group as it will be when what is being decided is written: the group itself stays as it is until then.
//!
//! Must not know: what is decided.

use super::change::Change;
use super::state::Core;

/// A group, and the steps that it is about to take.
#[derive(Debug)]
pub(crate) struct Staged<'a> {
    before: &'a Core,
    /// A copy, once there is a step whose outcome matters for the next one.
    after: Option<Core>,
    changes: Vec<Change>,
}

impl<'a> Staged<'a> {
    pub(crate) fn new(before: &'a Core) -> Self {
        Self { before, after: None, changes: Vec::new() }
    }

    /// The group after the steps so far.
    pub(crate) fn core(&self) -> &Core {
        self.after.as_ref().unwrap_or(self.before)
    }

    /// Takes a step.
    pub(crate) fn apply(&mut self, change: Change) {
        self.after.get_or_insert_with(|| self.before.clone()).apply(&change);
        self.changes.push(change);
    }

    /// Takes the last step: nothing is asked of the group any more, so that it need not be copied for it.
    pub(crate) fn finish_with(mut self, last: Option<Change>) -> Vec<Change> {
        self.changes.extend(last);
        self.changes
    }
}
