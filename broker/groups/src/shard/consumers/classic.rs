//! What members of the classic protocol ask of a consumer group.
//!
//! Must not know: messages of the wire, what is decided.

use super::*;
use crate::consumer::classic;
use crate::join::Join;
use crate::replies::{JoinReply, SyncReply};
use crate::sync::{Identity, Leaver, Sync};

impl Shard {
    /// A JoinGroup to a group that has members and is a consumer group. None where there is no such group.
    pub(in crate::shard) fn join_consumers(&mut self, join: &Join<'_>, waiter: Waiter, now: Now) -> Option<Effects> {
        let mut effects = Effects::default();
        let settings = self.settings_of(join.group);
        let group = self.consumers.get(join.group).filter(|group| !group.core.is_empty())?;
        let name = Arc::clone(&group.name);
        match classic::join(join, group, &self.scene(&settings, now)) {
            Ok(decided) => {
                let decided = decided.map(|reply| Some((waiter, Reply::Join(reply))));
                self.carry_on(&name, Vec::new(), decided, (Cause::Joined, join.member), now, &mut effects);
            }
            Err(error) => effects.replies.push((waiter, Reply::Join(JoinReply::refused(join.member, error)))),
        }
        Some(effects)
    }

    /// A SyncGroup to a consumer group. None where there is no such group.
    pub(in crate::shard) fn sync_consumers(&mut self, sync: &Sync<'_>, waiter: Waiter, now: Now) -> Option<Effects> {
        let mut effects = Effects::default();
        let group = self.consumers.get_mut(sync.group)?;
        let (answer, timing) = classic::sync(sync, &group.core, &*self.topics.0);
        timing.into_iter().for_each(|timing| group.time(timing, now, &mut self.timers));
        let reply = Reply::Sync(answer.unwrap_or_else(SyncReply::refused));
        let reply = self.pending.hold(sync.group, waiter, reply);
        effects.replies.extend(reply.map(|reply| (waiter, reply)));
        Some(effects)
    }

    /// A Heartbeat to a consumer group. None where there is no such group.
    pub(in crate::shard) fn heartbeat_consumers(
        &mut self,
        name: &str,
        by: &Identity<'_>,
        now: Now,
    ) -> Option<Result<(), ErrorCode>> {
        let group = self.consumers.get_mut(name)?;
        let (answer, timing) = classic::heartbeat(by, &group.core);
        timing.into_iter().for_each(|timing| group.time(timing, now, &mut self.timers));
        Some(answer)
    }

    /// A LeaveGroup to a consumer group. None where there is no such group.
    pub(in crate::shard) fn leave_consumers(
        &mut self,
        name: &str,
        leavers: &[Leaver<'_>],
        now: Now,
        effects: &mut Effects,
    ) -> Option<Vec<Result<(), ErrorCode>>> {
        let group = self.consumers.get(name)?;
        let name = Arc::clone(&group.name);
        let results = classic::leave(leavers, &group.core);
        let left = results.iter().filter_map(|result| result.as_ref().ok());
        let left: BTreeMap<Arc<str>, Cause> = left.map(|id| (Arc::clone(id), Cause::Left)).collect();
        self.fence(&name, &left, None, now, effects);
        Some(results.into_iter().map(|result| result.map(drop)).collect())
    }
}
