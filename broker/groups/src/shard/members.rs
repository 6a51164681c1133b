//! What members ask of their groups, and what time does to them.
//!
//! Must not know: messages of the wire.

use std::sync::Arc;

use cairn_protocol::error_code::ErrorCode;

use super::Shard;
use super::consumers::time::LateMembers;
use crate::effects::{Effects, Next, Split, Then, Write};
use crate::events::Cause;
use crate::group::Group;
use crate::join::Join;
use crate::replies::{JoinReply, Reply, SyncReply, Waiter};
use crate::sync::{Identity, Leaver, Sync};
use crate::timers::{Now, Ticks, TimerKey, TimerKind};

impl Shard {
    /// All records are loaded: members have to be heard of from now on. Groups that have become too large since, because
    /// `group.max.size` was lowered, rebalance.
    #[must_use]
    pub fn on_loaded(&mut self, now: Now) -> Effects {
        let mut effects = Effects::default();
        let names: Vec<Arc<str>> = self.groups.keys().cloned().collect();
        for name in names {
            self.turn(&name, now, &mut effects, |turn| {
                for id in turn.group.member_ids() {
                    turn.renew_session(&id);
                }
                if turn.group.size() > turn.settings.members_max {
                    turn.begin_rebalance(Cause::TooManyMembers, "the group is larger than group.max.size");
                }
            });
        }
        self.consumers.retain(|name, group| !(group.core.is_empty() && self.groups.contains_key(name)));
        let consumers: Vec<Arc<str>> = self.consumers.keys().cloned().collect();
        for name in consumers {
            self.watch_members(&name, now);
        }
        effects
    }

    /// A member wants to be in the next generation; it is answered when that begins.
    #[must_use]
    pub fn join(&mut self, join: &Join<'_>, waiter: Waiter, now: Now) -> Effects {
        let mut effects = Effects::default();
        let refuse = |effects: &mut Effects, error| {
            effects.replies.push((waiter, Reply::Join(JoinReply::refused(join.member, error))));
        };
        if let Err(error) = join.check(&self.settings) {
            refuse(&mut effects, error);
            return effects;
        }
        if let Some(effects) = self.join_consumers(join, waiter, now) {
            return effects;
        }
        if let Some(group) = self.consumers.get(join.group) {
            // A group without members is of the protocol that the next one speaks.
            effects.writes.push(Write { records: group.deletion(), split: Split::Never, then: Then(Next::Nothing) });
            self.consumers.remove(join.group);
        }
        let is_known = self.groups.contains_key(join.group) || self.has_offsets(join.group);
        if !is_known && !join.member.is_empty() {
            refuse(&mut effects, ErrorCode::UnknownMemberId);
            return effects;
        }
        let name = join.group;
        if !self.groups.contains_key(name) {
            let fresh = Group::new(name.into(), now.wall);
            if !fresh.supports(join.protocol_type, &join.protocols) {
                refuse(&mut effects, ErrorCode::InconsistentGroupProtocol);
                return effects;
            }
            self.groups.insert(Arc::clone(&fresh.name), fresh);
        }
        self.turn(name, now, &mut effects, |turn| {
            turn.join(join, waiter);
            if !is_known && !turn.effects.writes.iter().any(|write| !matches!(write.then.0, Next::Nothing)) {
                turn.write_created(waiter);
            }
        });
        effects
    }

    /// A member asks for its assignment; it is answered when the leader's is durable.
    #[must_use]
    pub fn sync(&mut self, sync: &Sync<'_>, waiter: Waiter, now: Now) -> Effects {
        if let Some(effects) = self.sync_consumers(sync, waiter, now) {
            return effects;
        }
        let mut effects = Effects::default();
        let name = sync.group;
        let error = if name.is_empty() { ErrorCode::InvalidGroupId } else { ErrorCode::UnknownMemberId };
        if self.turn(name, now, &mut effects, |turn| turn.sync(sync, waiter)).is_none() {
            effects.replies.push((waiter, Reply::Sync(SyncReply::refused(error))));
        }
        effects
    }

    /// A member is alive.
    pub fn heartbeat(&mut self, group: &str, by: &Identity<'_>, now: Now) -> Result<(), ErrorCode> {
        if group.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        if let Some(answer) = self.heartbeat_consumers(group, by, now) {
            return answer;
        }
        let known = self.turn(group, now, &mut Effects::default(), |turn| turn.heartbeat(by));
        known.unwrap_or(Err(ErrorCode::UnknownMemberId))
    }

    /// Members leave, or are removed; one result for each.
    #[must_use]
    pub fn leave(&mut self, group: &str, leavers: &[Leaver<'_>], now: Now) -> (Vec<Result<(), ErrorCode>>, Effects) {
        let mut effects = Effects::default();
        if let Some(results) = self.leave_consumers(group, leavers, now, &mut effects) {
            return (results, effects);
        }
        let known = self.turn(group, now, &mut effects, |turn| turn.leave(leavers));
        (known.unwrap_or_else(|| vec![Err(ErrorCode::UnknownMemberId); leavers.len()]), effects)
    }

    /// How a write went that an earlier decision asked for.
    #[must_use]
    pub fn on_written(&mut self, then: Then, written: Result<(), ErrorCode>, now: Now) -> Effects {
        let mut effects = Effects::default();
        match then.0 {
            Next::Nothing => {}
            Next::Consumer(write) => self.on_consumer_written(write, written, now, &mut effects),
            Next::Created { group, waiter } => {
                self.turn(&group, now, &mut effects, |turn| turn.on_created(waiter, written));
            }
            Next::Assigned { group, generation, assignments } => {
                self.turn(&group, now, &mut effects, |turn| turn.on_assigned(generation, &assignments, written));
            }
            Next::Replaced(replacement) => {
                let group = Arc::clone(&replacement.group);
                self.turn(&group, now, &mut effects, |turn| turn.on_replaced(*replacement, written));
            }
        }
        effects
    }

    /// What is due by now. Has to be called at [`Self::next_deadline`], or soon after.
    #[must_use]
    pub fn on_time(&mut self, now: Now) -> Effects {
        let mut effects = Effects::default();
        let mut late = LateMembers::default();
        while let Some((at, key)) = self.timers.pop(now.ticks) {
            if matches!(key.kind, TimerKind::Consumer(..)) {
                self.on_consumer_timer(at, &key, now, &mut late);
            } else if self.is_due(at, &key, now) {
                self.turn(&key.group, now, &mut effects, |turn| match &key.kind {
                    TimerKind::Join => turn.on_join_timer(),
                    TimerKind::Sync => turn.on_sync_timer(),
                    TimerKind::Session(id) => turn.on_session_timer(id),
                    TimerKind::Consumer(..) => unreachable!("seen above"),
                });
            }
        }
        self.fence_late(late, now, &mut effects);
        effects
    }

    fn is_due(&mut self, popped: Ticks, key: &TimerKey, now: Now) -> bool {
        let Some(group) = self.groups.get_mut(&key.group) else { return false };
        let timer = match &key.kind {
            TimerKind::Join => Some(&mut group.join_timer),
            TimerKind::Sync => Some(&mut group.sync_timer),
            TimerKind::Session(id) if group.pending_joins.contains_key(id) => group.pending_joins.get_mut(id),
            TimerKind::Session(id) => group.member_mut(id).map(|member| &mut member.session),
            TimerKind::Consumer(..) => None,
        };
        timer.is_some_and(|timer| self.timers.is_due(timer, popped, now.ticks, key))
    }

    /// When something is due next; it may turn out then that it has been put off.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Ticks> {
        self.timers.next()
    }
}
