//! One decision about one group: the group, the time, and what the decision leads to.
//!
//! Must not know: which requests there are.

use std::sync::Arc;

use bytes::Bytes;
use cairn_protocol::error_code::ErrorCode;

use crate::effects::{Effects, Next, Split, Then, Write};
use crate::events::{Cause, Event, Happened};
use crate::group::{Group, JoinPhase};
use crate::records::Record;
use crate::replies::{JoinReply, Reply, SyncReply, Waiter};
use crate::settings::GroupSettings;
use crate::stored_group::StoredGroup;
use crate::timers::{Now, TimerKey, TimerKind, TimerQueue};

/// What is at hand while something is decided about a group.
pub(crate) struct Turn<'a> {
    pub(crate) group: &'a mut Group,
    pub(crate) now: Now,
    pub(crate) settings: &'a GroupSettings,
    pub(crate) timers: &'a mut TimerQueue,
    pub(crate) effects: &'a mut Effects,
}

impl Turn<'_> {
    pub(crate) fn reply_join(&mut self, waiter: Waiter, reply: JoinReply) {
        self.effects.replies.push((waiter, Reply::Join(reply)));
    }

    pub(crate) fn reply_sync(&mut self, waiter: Waiter, reply: SyncReply) {
        self.effects.replies.push((waiter, Reply::Sync(reply)));
    }

    pub(crate) fn tell(&mut self, what: Happened) {
        let (group, generation) = (Arc::clone(&self.group.name), self.group.generation);
        self.effects.events.push(Event { group, generation, what });
    }

    /// Has the group as it is now written, with these assignments where they are not the members' own yet.
    pub(crate) fn write(&mut self, assignments: Option<&[(Box<str>, Bytes)]>, then: Next) {
        self.write_as(&StoredGroup::of(self.group, assignments), then);
    }

    /// Has it written that the group is there, without members.
    pub(crate) fn write_created(&mut self, waiter: Waiter) {
        let group = Arc::clone(&self.group.name);
        self.write_as(&StoredGroup::without_members(self.group), Next::Created { group, waiter });
    }

    fn write_as(&mut self, stored: &StoredGroup, then: Next) {
        self.effects.writes.push(Write {
            records: vec![Record::of_group(stored)],
            split: Split::Never,
            then: Then(then),
        });
    }

    /// The answer to a member that is in the present generation.
    pub(crate) fn joined(&self, id: &Arc<str>) -> JoinReply {
        let group = &*self.group;
        JoinReply {
            error: ErrorCode::None,
            generation: group.generation,
            protocol_type: group.protocol_type.clone(),
            protocol: group.protocol.clone(),
            leader: group.leader.clone(),
            skip_assignment: false,
            member: Arc::clone(id),
            members: if group.is_leader(id) { group.joined_members() } else { Vec::new() },
        }
    }

    /// Answers a member that waits for the others, if it does.
    pub(crate) fn finish_join(&mut self, id: &str, reply: JoinReply) {
        if let Some(waiter) = self.group.set_joining(id, None) {
            self.reply_join(waiter, reply);
        }
    }

    /// The member waits for the others from now on. Who waited under the same id has to ask again.
    pub(crate) fn await_join(&mut self, id: &str, waiter: Waiter) {
        if let Some(earlier) = self.group.set_joining(id, Some(waiter)) {
            self.reply_join(earlier, JoinReply::refused(id, ErrorCode::RebalanceInProgress));
        }
    }

    /// Takes a member away and answers what it waits for.
    pub(crate) fn drop_member(&mut self, id: &str, cause: Cause) {
        let Some(member) = self.group.remove(id) else { return };
        if let Some(waiter) = member.join {
            self.reply_join(waiter, JoinReply::refused("", ErrorCode::UnknownMemberId));
        }
        if let Some(waiter) = member.sync {
            self.reply_sync(waiter, SyncReply::refused(ErrorCode::UnknownMemberId));
        }
        self.tell(Happened::MemberRemoved { member: id.into(), client_id: member.client_id, cause });
    }

    /// The member, or the id that was given out, is taken for gone after this time.
    pub(crate) fn set_session(&mut self, id: &Arc<str>, after_ms: i32) {
        let (name, group) = (Arc::clone(&self.group.name), &mut *self.group);
        let key = || TimerKey { group: name, kind: TimerKind::Session(Arc::clone(id)) };
        let at = self.now.ticks.after(after_ms);
        if let Some(timer) = group.pending_joins.get_mut(id) {
            self.timers.set(timer, at, key);
        } else if let Some(member) = group.member_mut(id) {
            self.timers.set(&mut member.session, at, key);
        }
    }

    /// The member was heard of.
    pub(crate) fn renew_session(&mut self, id: &str) {
        let Some((id, member)) = self.group.member_with_id(id) else { return };
        let (id, timeout) = (Arc::clone(id), member.session_timeout_ms);
        self.set_session(&id, timeout);
    }

    pub(crate) fn set_join_timer(&mut self, after_ms: i32, phase: JoinPhase) {
        let name = Arc::clone(&self.group.name);
        self.group.join_phase = phase;
        let at = self.now.ticks.after(after_ms);
        self.timers.set(&mut self.group.join_timer, at, || TimerKey { group: name, kind: TimerKind::Join });
    }

    pub(crate) fn set_sync_timer(&mut self, after_ms: i32) {
        let name = Arc::clone(&self.group.name);
        let at = self.now.ticks.after(after_ms);
        self.timers.set(&mut self.group.sync_timer, at, || TimerKey { group: name, kind: TimerKind::Sync });
    }
}
