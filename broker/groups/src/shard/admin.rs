//! What administrators ask about groups, and what goes away by itself.
//!
//! Must not know: messages of the wire.

use std::collections::BTreeSet;

use bytes::Bytes;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::{PartitionIndex, Timestamp};

use super::{Shard, key};
use crate::consumer::group::ConsumerGroup;
use crate::consumer::state::ConsumerGroupState;
use crate::group::{CONSUMER, Group, GroupState};
use crate::offsets::{CommittedOffset, OffsetKey};
use crate::records::{OffsetChange, Record};

/// A group, in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    /// Its name.
    pub name: Box<str>,
    /// What its members have in common; empty where it never had any.
    pub protocol_type: Box<str>,
    /// Which protocol it has, and what it is doing.
    pub state: ListedState,
    /// How many members it has.
    pub members: usize,
}

/// What a group of either protocol is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListedState {
    /// One of the classic protocol.
    Classic(GroupState),
    /// One of the next generation's.
    Consumer(ConsumerGroupState),
}

impl ListedState {
    /// Kafka's name of the state.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Classic(state) => state.name(),
            Self::Consumer(state) => state.name(),
        }
    }

    /// Kafka's name of the type of group.
    #[must_use]
    pub fn group_type(self) -> &'static str {
        match self {
            Self::Classic(_) => "classic",
            Self::Consumer(_) => "consumer",
        }
    }
}

/// A group with its members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedGroup {
    /// What it is doing.
    pub state: GroupState,
    /// What its members have in common; empty where it never had any.
    pub protocol_type: Box<str>,
    /// What was chosen; empty unless it is stable.
    pub protocol: Box<str>,
    /// Its generation.
    pub generation: i32,
    /// Its members, by id.
    pub members: Vec<DescribedMember>,
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    /// Its id.
    pub id: Box<str>,
    /// The id of a static member's instance.
    pub instance: Option<Box<str>>,
    /// The client's name for itself.
    pub client_id: Box<str>,
    /// Where it is.
    pub client_host: Box<str>,
    /// What it said to the chosen protocol; empty unless the group is stable.
    pub metadata: Bytes,
    /// What it was given.
    pub assignment: Bytes,
}

/// What becomes of each partition whose offset is to be deleted, and the records that do it.
#[derive(Debug)]
pub struct DeletedOffsets {
    /// To be appended, together.
    pub records: Vec<Record>,
    /// One result for each partition, in the request's order.
    pub results: Vec<Result<(), ErrorCode>>,
}

/// From when on the offsets of a group count as old.
enum Ageing {
    /// Each from its commit.
    FromCommit,
    /// All from when the group became empty.
    From(Timestamp),
    /// They do not.
    Never,
}

impl Ageing {
    fn of(group: &Group) -> Self {
        match group.state() {
            _ if group.protocol_type.is_none() => Self::FromCommit,
            GroupState::Empty => group.since.map_or(Self::FromCommit, Self::From),
            GroupState::Stable if group.is_consumer() && group.knows_subscribed() => Self::FromCommit,
            _ => Self::Never,
        }
    }

    fn is_over(&self, committed: &CommittedOffset, now: Timestamp, retention_ms: i64) -> bool {
        let from = match self {
            Self::Never => return false,
            Self::FromCommit => committed.committed_at,
            Self::From(since) => *since,
        };
        committed.expires_at.unwrap_or(Timestamp(from.0.saturating_add(retention_ms))) <= now
    }
}

impl Shard {
    /// All groups, in no order.
    pub fn list(&self) -> impl Iterator<Item = ListedGroup> {
        let with_members = self.groups.values().map(|group| ListedGroup {
            name: (*group.name).into(),
            protocol_type: group.protocol_type.as_deref().unwrap_or_default().into(),
            state: ListedState::Classic(group.state()),
            members: group.size(),
        });
        let consumers = self.consumers.values().map(|group| ListedGroup {
            name: (*group.name).into(),
            protocol_type: CONSUMER.into(),
            state: ListedState::Consumer(group.core.state()),
            members: group.core.size(),
        });
        let is_known = |name: &str| self.groups.contains_key(name) || self.consumers.contains_key(name);
        let without = self.offsets.groups().filter(move |(name, _)| !is_known(name));
        with_members.chain(consumers).chain(without.map(|(name, _)| ListedGroup {
            name: name.into(),
            protocol_type: Box::default(),
            state: ListedState::Classic(GroupState::Empty),
            members: 0,
        }))
    }

    /// One group of the classic protocol; none where there is no such group.
    #[must_use]
    pub fn describe(&self, name: &str) -> Option<DescribedGroup> {
        if self.consumers.contains_key(name) {
            return None;
        }
        let Some(group) = self.groups.get(name) else {
            return self.has_offsets(name).then(|| DescribedGroup {
                state: GroupState::Empty,
                protocol_type: Box::default(),
                protocol: Box::default(),
                generation: 0,
                members: Vec::new(),
            });
        };
        let is_stable = group.state() == GroupState::Stable;
        let members = group.members().map(|(id, member)| DescribedMember {
            id: (**id).into(),
            instance: member.instance.as_deref().map(Into::into),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            metadata: if is_stable { group.metadata_of(member) } else { Bytes::new() },
            assignment: member.assignment.clone(),
        });
        let protocol = group.protocol.as_deref().filter(|_| is_stable);
        Some(DescribedGroup {
            state: group.state(),
            protocol_type: group.protocol_type.as_deref().unwrap_or_default().into(),
            protocol: protocol.unwrap_or_default().into(),
            generation: group.generation,
            members: members.collect(),
        })
    }

    /// Records that delete a group with all its offsets; only one without members can be. It is gone when they are appended.
    pub fn delete(&self, name: &str) -> Result<Vec<Record>, ErrorCode> {
        let (group, consumers) = (self.groups.get(name), self.consumers.get(name));
        if group.is_none() && consumers.is_none() && !self.has_offsets(name) {
            return Err(ErrorCode::GroupIdNotFound);
        }
        let has_members = group.is_some_and(|group| group.state() != GroupState::Empty);
        if has_members || consumers.is_some_and(|group| !group.core.is_empty()) {
            return Err(ErrorCode::NonEmptyGroup);
        }
        let durable = self
            .offsets
            .group(name)
            .into_iter()
            .flatten()
            .flat_map(|(topic, partitions)| partitions.keys().map(move |partition| (topic.clone(), *partition)));
        let coming = self.appended.iter().map(|(_, change)| &change.key).filter(|key| *key.group == *name);
        let coming = coming.map(|key| (key.topic.clone(), key.partition));
        let all: BTreeSet<(Box<str>, PartitionIndex)> = durable.chain(coming).collect();
        let tombstone = |(topic, partition): (Box<str>, _)| deleted(key(name, &topic, partition));
        let mut records: Vec<Record> = all.into_iter().map(tombstone).collect();
        match consumers {
            Some(group) => records.extend(group.deletion()),
            None => records.push(Record::of_deleted_group(name)),
        }
        Ok(records)
    }

    /// Records that delete offsets of a group, but for those of topics that its members subscribe to.
    pub fn delete_offsets(
        &self,
        name: &str,
        partitions: &[(&str, PartitionIndex)],
    ) -> Result<DeletedOffsets, ErrorCode> {
        if name.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        let (group, consumers) = (self.groups.get(name), self.consumers.get(name));
        if group.is_none() && consumers.is_none() && !self.has_offsets(name) {
            return Err(ErrorCode::GroupIdNotFound);
        }
        // What members of another kind read cannot be told.
        if group.is_some_and(|group| group.state() != GroupState::Empty && !group.is_consumer()) {
            return Err(ErrorCode::NonEmptyGroup);
        }
        let mut outcome = DeletedOffsets { records: Vec::new(), results: Vec::new() };
        for (topic, partition) in partitions {
            let is_consumed = consumers.is_some_and(|group| group.core.is_subscribed(topic));
            if is_consumed || group.is_some_and(|group| group.is_subscribed(topic)) {
                outcome.results.push(Err(ErrorCode::GroupSubscribedToTopic));
                continue;
            }
            let key = key(name, topic, *partition);
            if self.offsets.get(name, topic, *partition).is_some() || self.is_changing(&key) {
                outcome.records.push(deleted(key));
            }
            outcome.results.push(Ok(()));
        }
        Ok(outcome)
    }

    /// Records that delete what is too old, by Kafka's rules: offsets of a group without members when it has been empty for
    /// so long, those of a consumer that assigns itself, and of topics that a stable group of consumers does not read any
    /// more, when they were committed so long ago; and groups without members that have no offsets left.
    #[must_use]
    pub fn expire(&self, now: Timestamp, retention_ms: i64) -> Vec<Record> {
        let mut records = Vec::new();
        let names = self.groups.keys().chain(self.consumers.keys()).map(|name| &**name).chain(self.groups());
        let names: BTreeSet<&str> = names.collect();
        for name in names {
            let group = self.groups.get(name);
            let are_all_over = self.expire_group(name, group, now, retention_ms, &mut records);
            let is_empty =
                group.is_some_and(|group| group.state() == GroupState::Empty && group.pending_joins.is_empty());
            if are_all_over && is_empty {
                records.push(Record::of_deleted_group(name));
            }
            let consumers = self.consumers.get(name).filter(|group| are_all_over && group.core.is_empty());
            records.extend(consumers.into_iter().flat_map(ConsumerGroup::deletion));
        }
        records
    }

    /// Whether nothing is left of the group's offsets.
    fn expire_group(
        &self,
        name: &str,
        group: Option<&Group>,
        now: Timestamp,
        retention_ms: i64,
        records: &mut Vec<Record>,
    ) -> bool {
        let ageing = group.map_or(Ageing::FromCommit, Ageing::of);
        let mut are_all_over = !self.appended.iter().any(|(_, change)| *change.key.group == *name);
        for (topic, partitions) in self.offsets.group(name).into_iter().flatten() {
            let consumers = self.consumers.get(name);
            let is_in_use = group.is_some_and(|group| group.is_subscribed(topic))
                || consumers.is_some_and(|group| group.core.is_subscribed(topic));
            for (partition, committed) in partitions {
                let key = key(name, topic, *partition);
                if is_in_use || !ageing.is_over(committed, now, retention_ms) || self.is_changing(&key) {
                    are_all_over = false;
                } else {
                    records.push(deleted(key));
                }
            }
        }
        are_all_over
    }
}

fn deleted(key: OffsetKey) -> Record {
    Record::new(OffsetChange { key, value: None })
}
