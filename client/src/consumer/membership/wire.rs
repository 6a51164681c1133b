//! The classic protocol's requests and answers, from and to what the core understands.
//!
//! Must not know: when they are sent, by what connection.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use cairn_protocol::messages::join_group_response::JoinGroupResponseMember;
use cairn_protocol::messages::leave_group_request::MemberIdentity;
use cairn_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use cairn_protocol::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest, SyncGroupResponse,
};

use super::Assignor;
use super::assignor::Candidate;
use super::step::{Failure, Identity, Join, Joined, Role, Sync};
use crate::consumer_protocol::{PROTOCOL_TYPE, Subscription, decode_assignment};
use crate::error::check;
use crate::topic_partition::TopicPartition;

pub(super) const JOIN_VERSIONS: std::ops::RangeInclusive<i16> = 1..=9;
/// Before this version there are no static members.
pub(super) const JOIN_STATIC_VERSIONS: std::ops::RangeInclusive<i16> = 5..=9;
pub(super) const SYNC_VERSIONS: std::ops::RangeInclusive<i16> = 0..=5;
pub(super) const HEARTBEAT_VERSIONS: std::ops::RangeInclusive<i16> = 0..=4;
pub(super) const LEAVE_VERSIONS: std::ops::RangeInclusive<i16> = 0..=5;
/// LeaveGroup names several members from here on.
const LEAVE_BY_LIST_FROM: i16 = 3;

/// What goes into every request of one member.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) group: Arc<str>,
    pub(super) instance: Option<Arc<str>>,
    pub(super) session_timeout: Duration,
    pub(super) rebalance_timeout: Duration,
}

impl Names {
    fn group_id(&self) -> Box<str> {
        (&*self.group).into()
    }

    fn instance_id(&self) -> Option<Box<str>> {
        self.instance.as_deref().map(Box::from)
    }

    pub(super) fn join(&self, join: &Join) -> JoinGroupRequest {
        let protocol = |(assignor, metadata): &(Assignor, Bytes)| JoinGroupRequestProtocol {
            name: assignor.name().into(),
            metadata: metadata.clone(),
        };
        JoinGroupRequest {
            group_id: self.group_id(),
            session_timeout_ms: millis(self.session_timeout),
            rebalance_timeout_ms: millis(self.rebalance_timeout),
            member_id: join.member_id.clone(),
            group_instance_id: self.instance_id(),
            protocol_type: PROTOCOL_TYPE.into(),
            protocols: join.protocols.iter().map(protocol).collect(),
            reason: Some(join.reason.into()),
        }
    }

    pub(super) fn sync(&self, sync: &Sync) -> SyncGroupRequest {
        let assignment = |(member_id, assignment): &(Box<str>, Bytes)| SyncGroupRequestAssignment {
            member_id: member_id.clone(),
            assignment: assignment.clone(),
        };
        SyncGroupRequest {
            group_id: self.group_id(),
            generation_id: sync.identity.generation,
            member_id: sync.identity.member_id.clone(),
            group_instance_id: self.instance_id(),
            protocol_type: Some(PROTOCOL_TYPE.into()),
            protocol_name: Some(sync.protocol.name().into()),
            assignments: sync.assignments.iter().map(assignment).collect(),
        }
    }

    pub(super) fn heartbeat(&self, identity: &Identity) -> HeartbeatRequest {
        HeartbeatRequest {
            group_id: self.group_id(),
            generation_id: identity.generation,
            member_id: identity.member_id.clone(),
            group_instance_id: self.instance_id(),
        }
    }

    pub(super) fn leave(&self, version: i16, identity: &Identity, reason: &str) -> LeaveGroupRequest {
        let (group_id, member_id) = (self.group_id(), identity.member_id.clone());
        if version < LEAVE_BY_LIST_FROM {
            return LeaveGroupRequest { group_id, member_id, ..LeaveGroupRequest::default() };
        }
        let (group_instance_id, reason) = (self.instance_id(), Some(reason.into()));
        let members = vec![MemberIdentity { member_id, group_instance_id, reason }];
        LeaveGroupRequest { group_id, members, ..LeaveGroupRequest::default() }
    }
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

pub(super) fn joined(answer: JoinGroupResponse) -> Result<Joined, Failure> {
    match check(answer.error_code) {
        Ok(()) => {}
        Err(ErrorCode::MemberIdRequired) => return Err(Failure::MemberIdRequired(answer.member_id)),
        Err(code) => return Err(Failure::Refused(code)),
    }
    let protocol = answer.protocol_name.as_deref().and_then(assignor_of);
    let role = if answer.leader != answer.member_id {
        Role::Follower
    } else if answer.skip_assignment {
        Role::LeaderOfOld
    } else {
        if protocol.is_none() {
            let name = answer.protocol_name.unwrap_or_default();
            return Err(Failure::Hopeless(format!("the coordinator chose {name}, which was not offered").into()));
        }
        Role::Leader(answer.members.into_iter().map(candidate).collect())
    };
    Ok(Joined { member_id: answer.member_id, generation: answer.generation_id, protocol, role })
}

fn assignor_of(name: &str) -> Option<Assignor> {
    Assignor::ALL.into_iter().find(|assignor| assignor.name() == name)
}

/// A member whose words do not read wants nothing.
fn candidate(member: JoinGroupResponseMember) -> Candidate {
    let subscription = Subscription::decode(&member.metadata).unwrap_or_else(|error| {
        tracing::warn!(member = %member.member_id, %error, "a member's subscription does not read");
        Subscription::default()
    });
    Candidate { id: member.member_id, instance: member.group_instance_id, subscription }
}

pub(super) fn synced(answer: &SyncGroupResponse) -> Result<Vec<TopicPartition>, Failure> {
    check(answer.error_code).map_err(Failure::Refused)?;
    decode_assignment(&answer.assignment)
        .map_err(|error| Failure::Hopeless(format!("the leader's assignment does not read: {error}").into()))
}
