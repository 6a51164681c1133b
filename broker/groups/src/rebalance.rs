//! From the first reason to rebalance until everybody has its assignment, by the rules of Kafka's group coordinator.
//!
//! Must not know: which request or timer was the reason.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use cairn_protocol::error_code::ErrorCode;

use crate::effects::{Next, Onward};
use crate::events::{Cause, Happened};
use crate::group::{GroupState, JoinPhase};
use crate::replies::{JoinReply, SyncReply};
use crate::turn::Turn;

/// Static members that are waited for are looked at again after this time at least, whatever they allow.
const REJOIN_WAIT_MIN_MS: i32 = 100;

impl Turn<'_> {
    /// A member has joined: that begins a rebalance, or the one that is under way goes on.
    pub(crate) fn rebalance_or_go_on(&mut self, cause: Cause, detail: &str, joined: &Arc<str>) {
        if self.group.state() == GroupState::PreparingRebalance {
            self.tell_joined(joined);
            self.go_on_if_all_joined();
        } else {
            self.begin_rebalance_with(cause, detail, Some(joined));
        }
    }

    /// All members have to join again.
    pub(crate) fn begin_rebalance(&mut self, cause: Cause, detail: &str) {
        self.begin_rebalance_with(cause, detail, None);
    }

    /// All members have to join again, but for the one whose joining is the reason.
    pub(crate) fn begin_rebalance_with(&mut self, cause: Cause, detail: &str, joined: Option<&Arc<str>>) {
        if self.group.state() == GroupState::CompletingRebalance {
            self.withdraw_assignments(ErrorCode::RebalanceInProgress);
        }
        self.group.pending_syncs.clear();
        self.group.sync_timer.stop();
        let was_empty = self.group.state() == GroupState::Empty;
        self.group.enter(GroupState::PreparingRebalance, self.now.wall);
        self.tell(Happened::RebalanceBegun { cause, detail: detail.into() });
        if let Some(joined) = joined {
            self.tell_joined(joined);
        }
        if was_empty {
            // Members of a group that starts come one after the other: a pause saves a rebalance for each.
            let delay_ms = self.settings.initial_rebalance_delay_ms;
            let remaining_ms = self.group.rebalance_timeout_ms().saturating_sub(delay_ms).max(0);
            self.set_join_timer(delay_ms, JoinPhase::Initial { delay_ms, remaining_ms });
        } else if self.group.have_all_joined() {
            self.complete_join();
        } else {
            self.set_join_timer(self.group.rebalance_timeout_ms(), JoinPhase::Rejoining);
        }
    }

    fn tell_joined(&mut self, id: &Arc<str>) {
        let client_id = self.group.member(id).map_or_else(Box::default, |member| member.client_id.clone());
        self.tell(Happened::MemberJoined { member: Arc::clone(id), client_id });
    }

    /// Ends the waiting when all are there; a group that was empty waits for its timer.
    pub(crate) fn go_on_if_all_joined(&mut self) {
        let group = &*self.group;
        if group.state() == GroupState::PreparingRebalance && !group.is_first_rebalance() && group.have_all_joined() {
            self.complete_join();
        }
    }

    /// The time to join is over.
    pub(crate) fn on_join_timer(&mut self) {
        if self.group.state() != GroupState::PreparingRebalance {
            return;
        }
        if let JoinPhase::Initial { delay_ms, remaining_ms } = self.group.join_phase
            && self.group.new_member_added
            && remaining_ms > 0
        {
            self.group.new_member_added = false;
            let next_ms = self.settings.initial_rebalance_delay_ms.min(remaining_ms);
            let remaining_ms = remaining_ms.saturating_sub(delay_ms).max(0);
            self.set_join_timer(next_ms, JoinPhase::Initial { delay_ms: next_ms, remaining_ms });
            return;
        }
        self.complete_join();
    }

    /// Begins the next generation with those who have joined. Static members that have not may still come back.
    pub(crate) fn complete_join(&mut self) {
        self.group.join_timer.stop();
        let is_late = |id: &Arc<str>| {
            self.group.member(id).is_some_and(|member| member.join.is_none() && member.instance.is_none())
        };
        let late: Vec<Arc<str>> = self.group.member_ids().into_iter().filter(is_late).collect();
        for id in late {
            self.drop_member(&id, Cause::JoinTimedOut);
        }
        if !self.group.elect_leader() && self.group.size() > 0 {
            // Only static members are left, and none of them has come: they have until their sessions end.
            let again = self.group.rebalance_timeout_ms().max(REJOIN_WAIT_MIN_MS);
            self.set_join_timer(again, JoinPhase::Rejoining);
            return;
        }
        self.group.new_member_added = false;
        self.group.begin_generation(self.now.wall);
        if self.group.state() == GroupState::Empty {
            self.tell(Happened::Emptied);
            self.write(None, Next::Nothing);
            return;
        }
        let protocol = self.group.protocol.clone().unwrap_or_else(|| "".into());
        self.tell(Happened::GenerationBegun { members: self.group.size(), protocol });
        for id in self.group.member_ids() {
            let reply = self.joined(&id);
            self.finish_join(&id, reply);
            self.renew_session(&id);
            if let Some(member) = self.group.member_mut(&id) {
                member.is_new = false;
            }
            self.group.pending_syncs.insert(id);
        }
        self.set_sync_timer(self.group.rebalance_timeout_ms());
    }

    /// The time to ask for the assignment is over: who has not is taken for gone.
    pub(crate) fn on_sync_timer(&mut self) {
        let has_begun = matches!(self.group.state(), GroupState::CompletingRebalance | GroupState::Stable);
        if !has_begun || self.group.pending_syncs.is_empty() {
            return;
        }
        for id in std::mem::take(&mut self.group.pending_syncs) {
            self.drop_member(&id, Cause::SyncTimedOut);
        }
        self.begin_rebalance(Cause::SyncTimedOut, "members did not ask for their assignment");
    }

    /// A session is over.
    pub(crate) fn on_session_timer(&mut self, id: &str) {
        if self.group.pending_joins.remove(id).is_some() {
            return self.complete_join_if_all_joined();
        }
        if self.group.member(id).is_some_and(|member| !member.is_excused()) {
            self.drop_member(id, Cause::SessionExpired);
            match self.group.state() {
                GroupState::Empty => {}
                GroupState::PreparingRebalance => self.complete_join_if_all_joined(),
                GroupState::CompletingRebalance | GroupState::Stable => {
                    self.begin_rebalance(Cause::SessionExpired, id);
                }
            }
        }
    }

    fn complete_join_if_all_joined(&mut self) {
        if self.group.state() == GroupState::PreparingRebalance && self.group.have_all_joined() {
            self.complete_join();
        }
    }

    /// The leader's assignment is durable, or will not be.
    pub(crate) fn on_assigned(
        &mut self,
        generation: i32,
        assignments: &[(Box<str>, Bytes)],
        written: Result<(), ErrorCode>,
    ) {
        if self.group.state() != GroupState::CompletingRebalance || self.group.generation != generation {
            return;
        }
        if let Err(error) = written {
            self.withdraw_assignments(error);
            self.begin_rebalance(Cause::WriteFailed, error.name());
            return;
        }
        let given: HashMap<&str, &Bytes> = assignments.iter().map(|(to, assignment)| (&**to, assignment)).collect();
        for (id, member) in self.group.members_mut() {
            member.assignment = given.get(&**id).map_or_else(Bytes::new, |assignment| (*assignment).clone());
        }
        self.answer_syncs(ErrorCode::None);
        self.group.enter(GroupState::Stable, self.now.wall);
        self.tell(Happened::Stabilized);
    }

    /// Answers everybody who waits for something, and nobody waits any more.
    pub(crate) fn send_away(&mut self, error: ErrorCode) {
        for id in self.group.member_ids() {
            self.finish_join(&id, JoinReply::refused(&id, error));
        }
        self.answer_syncs(error);
    }

    /// A group that was a consumer group has come about with members in it: they have to be heard of.
    pub(crate) fn on_downgraded(&mut self, onward: Onward) {
        for id in self.group.member_ids() {
            self.renew_session(&id);
        }
        if onward == Onward::Rebalance && self.group.state() == GroupState::Stable {
            self.begin_rebalance(Cause::Downgraded, "the group goes on with the classic protocol");
        }
    }

    fn withdraw_assignments(&mut self, error: ErrorCode) {
        for (_, member) in self.group.members_mut() {
            member.assignment = Bytes::new();
        }
        self.answer_syncs(error);
    }

    /// Answers all who wait for their assignment.
    fn answer_syncs(&mut self, error: ErrorCode) {
        for id in self.group.member_ids() {
            let waiter = self.group.member_mut(&id).and_then(|member| member.sync.take());
            if let Some(waiter) = waiter {
                let reply = self.assignment_of(&id, error);
                self.reply_sync(waiter, reply);
                self.renew_session(&id);
            }
        }
    }

    /// What a member is told that asks for its assignment.
    pub(crate) fn assignment_of(&self, id: &str, error: ErrorCode) -> SyncReply {
        let group = &*self.group;
        if error != ErrorCode::None {
            return SyncReply::refused(error);
        }
        SyncReply {
            error,
            protocol_type: group.protocol_type.clone(),
            protocol: group.protocol.clone(),
            assignment: group.member(id).map(|member| member.assignment.clone()).unwrap_or_default(),
        }
    }
}
