//! Members ask for their assignments, keep their sessions alive, and leave.
//!
//! Must not know: messages of the wire.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use cairn_protocol::error_code::ErrorCode;

use crate::effects::Next;
use crate::events::{Cause, Happened};
use crate::group::GroupState;
use crate::replies::{SyncReply, Waiter};
use crate::turn::Turn;

/// A SyncGroup.
#[derive(Clone, Debug)]
pub struct Sync<'a> {
    /// The group.
    pub group: &'a str,
    /// Who asks.
    pub by: Identity<'a>,
    /// The protocol type, where the client says it.
    pub protocol_type: Option<&'a str>,
    /// The protocol, where the client says it.
    pub protocol: Option<&'a str>,
    /// What the leader gives to each; empty from others.
    pub assignments: Vec<(Box<str>, Bytes)>,
}

/// A member of a generation, as it says itself.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// Its id.
    pub member: &'a str,
    /// The id of a static member's instance.
    pub instance: Option<&'a str>,
    /// The generation that it knows.
    pub generation: i32,
}

/// A member that is to leave.
#[derive(Clone, Copy, Debug)]
pub struct Leaver<'a> {
    /// Its id; empty when an administrator removes a static member.
    pub member: &'a str,
    /// The id of a static member's instance.
    pub instance: Option<&'a str>,
    /// Why.
    pub reason: Option<&'a str>,
}

/// What is said and what is known do not go together.
fn differ(said: Option<&str>, known: Option<&Arc<str>>) -> bool {
    said.zip(known).is_some_and(|(said, known)| *said != **known)
}

impl Turn<'_> {
    pub(crate) fn sync(&mut self, sync: &Sync<'_>, waiter: Waiter) {
        if let Err(error) = self.check_sync(sync) {
            return self.reply_sync(waiter, SyncReply::refused(error));
        }
        let id = sync.by.member;
        match self.group.state() {
            GroupState::Empty => self.reply_sync(waiter, SyncReply::refused(ErrorCode::UnknownMemberId)),
            GroupState::PreparingRebalance => {
                self.reply_sync(waiter, SyncReply::refused(ErrorCode::RebalanceInProgress));
            }
            GroupState::CompletingRebalance => {
                self.on_asked(id);
                let earlier = self.group.member_mut(id).and_then(|member| member.sync.replace(waiter));
                if let Some(earlier) = earlier {
                    self.reply_sync(earlier, SyncReply::refused(ErrorCode::RebalanceInProgress));
                }
                if self.group.is_leader(id) && !self.group.is_assigned {
                    self.assign(&sync.assignments);
                }
            }
            GroupState::Stable => {
                self.on_asked(id);
                let reply = self.assignment_of(id, ErrorCode::None);
                self.reply_sync(waiter, reply);
            }
        }
    }

    fn check_sync(&self, sync: &Sync<'_>) -> Result<(), ErrorCode> {
        self.check_identity(&sync.by)?;
        let group = &*self.group;
        if differ(sync.protocol_type, group.protocol_type.as_ref()) || differ(sync.protocol, group.protocol.as_ref()) {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        Ok(())
    }

    /// Who speaks, and that it speaks of the present generation.
    fn check_identity(&self, by: &Identity<'_>) -> Result<(), ErrorCode> {
        self.group.check_member(by.member, by.instance)?;
        if by.generation == self.group.generation { Ok(()) } else { Err(ErrorCode::IllegalGeneration) }
    }

    /// The member need not be waited for any longer.
    fn on_asked(&mut self, id: &str) {
        if let Some(member) = self.group.pending_syncs.take(id) {
            let client_id = self.group.member(&member).map(|member| member.client_id.clone()).unwrap_or_default();
            self.tell(Happened::MemberSynced { member, client_id });
        }
        if self.group.pending_syncs.is_empty() {
            self.group.sync_timer.stop();
        }
    }

    /// The leader has assigned. Members that it has forgotten get nothing; what it gives to others goes to nobody.
    fn assign(&mut self, given: &[(Box<str>, Bytes)]) {
        // The last one counts where a leader gives twice.
        let by_member: HashMap<&str, &Bytes> = given.iter().map(|(to, assignment)| (&**to, assignment)).collect();
        let to_member = |id: &Arc<str>| {
            let assignment = by_member.get(&**id);
            ((**id).into(), assignment.map_or_else(Bytes::new, |assignment| Bytes::copy_from_slice(assignment)))
        };
        let assignments: Vec<(Box<str>, Bytes)> = self.group.member_ids().iter().map(to_member).collect();
        let (group, generation) = (Arc::clone(&self.group.name), self.group.generation);
        let next = Next::Assigned { group, generation, assignments: assignments.clone() };
        self.group.is_assigned = true;
        self.write(Some(&assignments), next);
    }

    pub(crate) fn heartbeat(&mut self, by: &Identity<'_>) -> Result<(), ErrorCode> {
        self.check_identity(by)?;
        self.renew_session(by.member);
        match self.group.state() {
            GroupState::PreparingRebalance => Err(ErrorCode::RebalanceInProgress),
            GroupState::CompletingRebalance | GroupState::Stable => Ok(()),
            GroupState::Empty => Err(ErrorCode::UnknownMemberId),
        }
    }

    pub(crate) fn leave(&mut self, leavers: &[Leaver<'_>]) -> Vec<Result<(), ErrorCode>> {
        let results: Vec<_> = leavers.iter().map(|leaver| self.leave_one(leaver)).collect();
        let left = leavers.iter().zip(&results).find(|(_, result)| result.is_ok());
        if let Some((first, _)) = left {
            let who = if first.member.is_empty() { first.instance.unwrap_or_default() } else { first.member };
            let detail = format!("{who} has left; client reason: {}", first.reason.unwrap_or("not provided"));
            match self.group.state() {
                GroupState::Empty => {}
                GroupState::PreparingRebalance => self.go_on_if_all_joined(),
                GroupState::CompletingRebalance | GroupState::Stable => self.begin_rebalance(Cause::Left, &detail),
            }
        }
        results
    }

    fn leave_one(&mut self, leaver: &Leaver<'_>) -> Result<(), ErrorCode> {
        if leaver.member.is_empty() {
            let id = leaver.instance.and_then(|instance| self.group.id_of_instance(instance)).cloned();
            let id = id.ok_or(ErrorCode::UnknownMemberId)?;
            self.drop_member(&id, Cause::Left);
            return Ok(());
        }
        if self.group.pending_joins.remove(leaver.member).is_some() {
            return Ok(());
        }
        self.group.check_member(leaver.member, leaver.instance)?;
        self.drop_member(leaver.member, Cause::Left);
        Ok(())
    }
}
