//! What time does to members of consumer groups.
//!
//! Must not know: messages of the wire, what is decided.

use super::*;
use crate::consumer::group::{MemberTimers, Timing};
use crate::consumer::member::MemberState;
use crate::timers::{ConsumerTimer, Ticks, Timer, TimerKey, TimerKind};

/// Members whose time is over, by group.
#[derive(Debug, Default)]
pub(in crate::shard) struct LateMembers(BTreeMap<Arc<str>, BTreeMap<Arc<str>, Cause>>);

impl Shard {
    /// Sees to it that all members of a group have to be heard of.
    pub(in crate::shard) fn watch_members(&mut self, name: &str, now: Now) {
        let settings = self.settings_of(name);
        let Some(group) = self.consumers.get_mut(name) else { return };
        let members = group.core.members().map(|(id, member)| (Arc::clone(id), member.clone()));
        for (id, member) in members.collect::<Vec<_>>() {
            let timers = group.timers.get(&id);
            let (subscription, current) = (&member.subscription, &member.current);
            let session_ms =
                subscription.classic.as_ref().map_or(settings.session_timeout_ms, |classic| classic.session_timeout_ms);
            let allowed_ms = subscription.rebalance_timeout_ms;
            let has = |which: fn(&MemberTimers) -> &Timer| timers.is_some_and(|timers| which(timers).is_set());
            let revokes = current.state == MemberState::UnrevokedPartitions && !member.is_classic();
            let (has_session, has_rebalance) = (has(|timers| &timers.session), has(|timers| &timers.rebalance));
            if !has_session {
                group.time(Timing::Session(Arc::clone(&id), session_ms), now, &mut self.timers);
            }
            if revokes && !has_rebalance {
                group.time(Timing::Rebalance(id, allowed_ms, current.epoch), now, &mut self.timers);
            }
        }
    }

    /// A timer of a member has come up.
    pub(in crate::shard) fn on_consumer_timer(
        &mut self,
        popped: Ticks,
        key: &TimerKey,
        now: Now,
        late: &mut LateMembers,
    ) {
        let TimerKind::Consumer(which, id) = &key.kind else { return };
        let Some(group) = self.consumers.get_mut(&key.group) else { return };
        let Some(timers) = group.timers.get_mut(id) else { return };
        if !self.timers.is_due(timers.of(*which), popped, now.ticks, key) {
            return;
        }
        let epoch = timers.rebalance_epoch;
        let Some(member) = group.core.member(id) else {
            group.timers.remove(id);
            return;
        };
        let cause = match which {
            ConsumerTimer::Session => Cause::SessionExpired,
            ConsumerTimer::Rebalance if member.current.epoch != epoch => return,
            ConsumerTimer::Rebalance => Cause::RevocationTimedOut,
            ConsumerTimer::Join => Cause::JoinTimedOut,
            ConsumerTimer::Sync => Cause::SyncTimedOut,
        };
        late.0.entry(Arc::clone(&key.group)).or_default().entry(Arc::clone(id)).or_insert(cause);
    }

    /// Takes away whose time is over: all of a group at once, so that it changes once.
    pub(in crate::shard) fn fence_late(&mut self, late: LateMembers, now: Now, effects: &mut Effects) {
        for (name, members) in late.0 {
            self.fence(&name, &members, None, now, effects);
        }
    }
}
