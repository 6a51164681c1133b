//! Assignments that are worked out while nothing of the groups is held.
//!
//! Must not know: how partitions are distributed, on which thread.

use super::*;
use crate::consumer::state::Core;
use crate::consumer::target::{Assigned, Assigning, AssignmentNumber, NotAssigned};
use crate::effects::Split;

impl Shard {
    /// Has somebody work out what everybody in a group is to have.
    pub(super) fn begin_assignment(&mut self, name: &Arc<str>, core: Core, now: Now) -> Assigning {
        self.assignments_begun += 1;
        let number = AssignmentNumber(self.assignments_begun);
        if let Some(group) = self.consumers.get_mut(name) {
            group.assigning = Begun::At(number, now.ticks);
        }
        let (assignors, topics) = (self.settings.consumer.assignors, Arc::clone(&self.topics.0));
        Assigning { number, group: Arc::clone(name), core, assignors, topics }
    }

    /// An assignment is there. It is of no use any more when its group is gone, when it could not be written what it was worked
    /// out from, or when it came so late that another one was begun.
    #[must_use]
    pub fn on_assigned(&mut self, assigned: Assigned, now: Now) -> Effects {
        let mut effects = Effects::default();
        let name = Arc::clone(&assigned.group);
        let number = assigned.number;
        let group = self.consumers.get(&name).filter(|group| group.assigning.is(number));
        let Some(group) = group else { return effects };
        // The epoch comes last: until it is there, who has another target than before does not look at it.
        let changes = assigned.changes(&group.core, now.wall);
        let decided = Decided { split: Split::BetweenRecords, ..Decided::only(changes, None) };
        self.carry_on(&name, Vec::new(), decided, (Cause::MetadataChanged, ""), now, &mut effects);
        effects
    }

    /// An assignment could not be worked out: the next heartbeat after a while begins another one.
    pub fn on_not_assigned(&mut self, failed: &NotAssigned, now: Now) {
        if let Some(group) = self.consumers.get_mut(&failed.group).filter(|group| group.assigning.is(failed.number)) {
            group.assigning = Begun::Refused(now.ticks);
        }
    }

    /// Where somebody works out what everybody in a group is to have: how long, in milliseconds, a member may wait for it
    /// before it is answered. It is as long as it would be silent anyway.
    #[must_use]
    pub fn waits_for_assignment(&self, group: &str) -> Option<i32> {
        let is_begun = self.consumers.get(group).is_some_and(|group| matches!(group.assigning, Begun::At(..)));
        is_begun.then(|| self.settings_of(group).heartbeat_interval_ms)
    }
}
