//! A group as its record keeps it.
//!
//! Must not know: how a record's bytes are laid out; what groups do.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use cairn_protocol::ids::Timestamp;
use cairn_protocol::messages::GroupMetadataValue;
use cairn_protocol::messages::group_metadata_value::MemberMetadata;

use crate::group::{Group, Member};
use crate::protocols::Protocol;
use crate::record_error::RecordError;
use crate::timers::Timer;

/// A group as its record keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredGroup {
    pub(crate) name: Box<str>,
    /// Empty where it has had no members yet.
    protocol_type: Box<str>,
    generation: i32,
    protocol: Option<Box<str>>,
    leader: Option<Box<str>>,
    since: Option<Timestamp>,
    members: Vec<StoredMember>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct StoredMember {
    id: Box<str>,
    instance: Option<Box<str>>,
    client_id: Box<str>,
    client_host: Box<str>,
    rebalance_timeout_ms: i32,
    session_timeout_ms: i32,
    /// What it said to the chosen protocol.
    subscription: Bytes,
    assignment: Bytes,
}

impl StoredGroup {
    /// The group as it is, with these assignments where they are not the members' own yet.
    pub(crate) fn of(group: &Group, assignments: Option<&[(Box<str>, Bytes)]>) -> Self {
        let given: Option<HashMap<&str, &Bytes>> =
            assignments.map(|given| given.iter().map(|(to, bytes)| (&**to, bytes)).collect());
        let assignment = |id: &str, member: &Member| match &given {
            None => member.assignment.clone(),
            Some(given) => given.get(id).map(|bytes| (*bytes).clone()).unwrap_or_default(),
        };
        let members = group.members().map(|(id, member)| StoredMember {
            id: (**id).into(),
            instance: member.instance.as_deref().map(Into::into),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: member.session_timeout_ms,
            subscription: group.metadata_of(member),
            assignment: assignment(id, member),
        });
        Self {
            name: (*group.name).into(),
            protocol_type: group.protocol_type.as_deref().unwrap_or_default().into(),
            generation: group.generation,
            protocol: group.protocol.as_deref().map(Into::into),
            leader: group.leader.as_deref().map(Into::into),
            since: group.since,
            members: members.collect(),
        }
    }

    /// A group that has had no generation yet.
    pub(crate) fn without_members(group: &Group) -> Self {
        Self {
            name: (*group.name).into(),
            protocol_type: Box::default(),
            generation: 0,
            protocol: None,
            leader: None,
            since: group.since,
            members: Vec::new(),
        }
    }

    /// The live group: with members it is stable, and nobody waits.
    pub(crate) fn into_group(self) -> Group {
        let mut group = Group::new((*self.name).into(), Timestamp(0));
        let protocol: Option<Arc<str>> = self.protocol.as_deref().map(Into::into);
        let protocol_name = protocol.clone().unwrap_or_else(|| "".into());
        for stored in self.members {
            let member = Member {
                instance: stored.instance.as_deref().map(Into::into),
                client_id: stored.client_id,
                client_host: stored.client_host,
                session_timeout_ms: stored.session_timeout_ms,
                rebalance_timeout_ms: stored.rebalance_timeout_ms,
                protocols: vec![Protocol { name: Arc::clone(&protocol_name), metadata: stored.subscription }],
                assignment: stored.assignment,
                join: None,
                sync: None,
                is_new: false,
                session: Timer::default(),
            };
            group.add((*stored.id).into(), &self.protocol_type, member);
        }
        group.since = self.since;
        group.generation = self.generation;
        group.protocol = protocol;
        group.protocol_type = (!self.protocol_type.is_empty()).then(|| (*self.protocol_type).into());
        let leader = self.leader.filter(|leader| group.member(leader).is_some());
        group.leader = leader.as_deref().map(Into::into).or(group.leader);
        group.set_loaded();
        group
    }

    pub(crate) fn to_value(&self) -> GroupMetadataValue {
        let member = |member: &StoredMember| MemberMetadata {
            member_id: member.id.clone(),
            group_instance_id: member.instance.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout: member.rebalance_timeout_ms,
            session_timeout: member.session_timeout_ms,
            subscription: member.subscription.clone(),
            assignment: member.assignment.clone(),
        };
        GroupMetadataValue {
            protocol_type: self.protocol_type.clone(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.clone(),
            current_state_timestamp: self.since.map_or(-1, |since| since.0),
            members: self.members.iter().map(member).collect(),
        }
    }

    pub(crate) fn from_value(name: Box<str>, value: GroupMetadataValue) -> Result<Self, RecordError> {
        let member = |member: MemberMetadata| StoredMember {
            id: member.member_id,
            instance: member.group_instance_id,
            client_id: member.client_id,
            client_host: member.client_host,
            rebalance_timeout_ms: match member.rebalance_timeout {
                -1 => member.session_timeout,
                timeout => timeout,
            },
            session_timeout_ms: member.session_timeout,
            // Bytes of their own, so that they do not hold on to what was read from the log.
            subscription: Bytes::copy_from_slice(&member.subscription),
            assignment: Bytes::copy_from_slice(&member.assignment),
        };
        let stored = Self {
            name,
            protocol_type: value.protocol_type,
            generation: value.generation,
            protocol: value.protocol,
            leader: value.leader,
            since: (value.current_state_timestamp != -1).then_some(Timestamp(value.current_state_timestamp)),
            members: value.members.into_iter().map(member).collect(),
        };
        stored.check()?;
        Ok(stored)
    }

    /// Each id once.
    fn check(&self) -> Result<(), RecordError> {
        let mut ids: Vec<&str> = self.members.iter().map(|member| &*member.id).collect();
        let mut instances: Vec<&str> = self.members.iter().filter_map(|member| member.instance.as_deref()).collect();
        let is_twice = |ids: &mut Vec<&str>| {
            ids.sort_unstable();
            ids.windows(2).any(|pair| pair[0] == pair[1])
        };
        if is_twice(&mut ids) || is_twice(&mut instances) { Err(RecordError::MemberTwice) } else { Ok(()) }
    }
}
