//! Listing, describing and deleting groups.
//!
//! Must not know: how members join, committed offsets.

use std::sync::Arc;

use cairn_protocol::Request;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::BrokerId;
use cairn_protocol::messages::{
    ConsumerGroupDescribeRequest, DeleteGroupsRequest, DescribeGroupsRequest, ListGroupsRequest, ListGroupsResponse,
    consumer_group_describe_response as next, describe_groups_response as classic,
};
use tokio::time::Instant;

use super::error::checked;
use super::group_state::{GroupState, GroupType};
use super::{Admin, AdminError};
use crate::client::Ask;
use crate::cluster::{FindError, Unknown};
use crate::consumer_protocol::{PROTOCOL_TYPE, Subscription, decode_assignment};
use crate::error::RequestError;
use crate::network::{Connection, Lane};
use crate::topic_partition::TopicPartition;

const LIST_VERSIONS: std::ops::RangeInclusive<i16> = 0..=5;
/// ListGroups takes states from here on, and types from the other.
const LIST_BY_STATE_FROM: i16 = 4;
const LIST_BY_TYPE_FROM: i16 = 5;
const DESCRIBE_VERSIONS: std::ops::RangeInclusive<i16> = 0..=6;
const DESCRIBE_NEXT_VERSIONS: std::ops::RangeInclusive<i16> = 0..=1;
const DELETE_VERSIONS: std::ops::RangeInclusive<i16> = 0..=2;

/// Which groups are listed; an empty list stands for all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupFilter {
    /// Only groups in one of these states.
    pub states: Vec<GroupState>,
    /// Only groups of one of these types.
    pub types: Vec<GroupType>,
}

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupListing {
    /// Its name.
    pub name: Box<str>,
    /// What it is doing; unknown when the broker is too old to say.
    pub state: GroupState,
    /// By which protocol its members take part; unknown when the broker is too old to say.
    pub kind: GroupType,
    /// What its members have in common: `consumer` for consumers, empty where there are only offsets.
    pub protocol_type: Box<str>,
}

/// A group in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// Its name.
    pub name: Box<str>,
    /// What it is doing.
    pub state: GroupState,
    /// By which protocol its members take part.
    pub kind: GroupType,
    /// What its members have in common: `consumer` for consumers, empty where there are only offsets.
    pub protocol_type: Box<str>,
    /// Who assigns partitions; none while that is not settled.
    pub assignor: Option<Box<str>>,
    /// The group's epoch; classic groups do not tell theirs.
    pub epoch: Option<i32>,
    /// The broker that coordinates it.
    pub coordinator: BrokerId,
    /// Its members, by client and member id.
    pub members: Vec<MemberDescription>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberDescription {
    /// Its id.
    pub id: Box<str>,
    /// The id that a static member keeps over restarts.
    pub instance: Option<Box<str>>,
    /// The client's name for itself.
    pub client_id: Box<str>,
    /// Where it is.
    pub host: Box<str>,
    /// The epoch that it has come to; classic groups do not tell.
    pub epoch: Option<i32>,
    /// The topics that it wants.
    pub topics: Vec<Arc<str>>,
    /// The regular expression of the topics that it wants.
    pub topic_regex: Option<Box<str>>,
    /// The partitions that it has, in order.
    pub assigned: Vec<TopicPartition>,
    /// The partitions that it is to have, where that is told.
    pub target: Option<Vec<TopicPartition>>,
}

impl Admin {
    /// The groups of all brokers, by name.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// When a broker does not answer or refuses: a list with holes would not say so.
    pub async fn list_groups(&self, filter: &GroupFilter) -> Result<Vec<GroupListing>, AdminError> {
        let mut groups = self
            .retry(|| async {
                let metadata = self.client.metadata();
                metadata.refresh(&[], Unknown::Refuse, Instant::now()).await?;
                let mut brokers: Vec<BrokerId> = metadata.view().brokers.keys().copied().collect();
                brokers.sort();
                let mut groups = Vec::new();
                for broker in brokers {
                    let request = |version| list_request(version, filter);
                    let answer = self.client.call(Ask::Broker(broker), LIST_VERSIONS, self.timeout(), request).await?;
                    checked(&format!("groups of broker {broker}"), answer.error_code, None)?;
                    groups.extend(listings(answer));
                }
                Ok(groups)
            })
            .await?;
        // Older brokers give all, whatever was asked.
        groups.retain(|group| filter.takes(group));
        groups.sort_by(|one, other| one.name.cmp(&other.name));
        groups.dedup_by(|one, other| one.name == other.name);
        Ok(groups)
    }

    /// The broker that coordinates a group of this name, whether there is one or not.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// When nobody answers, or there is no coordinator.
    pub async fn group_coordinator(&self, name: &str) -> Result<BrokerId, AdminError> {
        let group: Arc<str> = name.into();
        self.retry_at_coordinator(&group, || async {
            self.connect_coordinator(&group).await?;
            Ok(self.coordinator_of(&group))
        })
        .await
    }

    /// One group in full, of either protocol.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// When there is none (`GROUP_ID_NOT_FOUND`), or its coordinator does not answer or refuses.
    pub async fn describe_group(&self, name: &str) -> Result<GroupDescription, AdminError> {
        let group: Arc<str> = name.into();
        self.retry_at_coordinator(&group, || async {
            match self.describe_next(&group).await {
                // Either broker and group know nothing of the newer protocol, or there is no such group.
                Err(AdminError::Request(RequestError::Unsupported { .. })) => self.describe_classic(&group).await,
                Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) => self.describe_classic(&group).await,
                described => described,
            }
        })
        .await
    }

    /// Deletes a group with all its committed offsets.
    ///
    /// Not cancel-safe: when dropped, it may be done.
    ///
    /// # Errors
    /// When there is none, it has members (`NON_EMPTY_GROUP`), or its coordinator does not answer.
    pub async fn delete_group(&self, name: &str) -> Result<(), AdminError> {
        let group: Arc<str> = name.into();
        self.retry_at_coordinator(&group, || async {
            let request = DeleteGroupsRequest { groups_names: vec![name.into()] };
            let answer = self.ask_coordinator(&group, DELETE_VERSIONS, |_| request).await?;
            let result = answer.results.first().ok_or_else(|| missing(name))?;
            checked(&called(name), result.error_code, None)
        })
        .await
    }

    async fn describe_classic(&self, group: &Arc<str>) -> Result<GroupDescription, AdminError> {
        let request = DescribeGroupsRequest { groups: vec![(&**group).into()], ..DescribeGroupsRequest::default() };
        let answer = self.ask_coordinator(group, DESCRIBE_VERSIONS, |_| request).await?;
        let described = answer.groups.into_iter().next().ok_or_else(|| missing(group))?;
        checked(&called(group), described.error_code, described.error_message.as_deref())?;
        // Before version 6, a group that is not there is one that is dead.
        if GroupState::from_name(&described.group_state) == GroupState::Dead {
            let (what, code) = (called(group).into(), ErrorCode::GroupIdNotFound);
            return Err(AdminError::Refused { what, code, message: None });
        }
        Ok(GroupDescription::of_classic(described, self.coordinator_of(group)))
    }

    async fn describe_next(&self, group: &Arc<str>) -> Result<GroupDescription, AdminError> {
        let group_ids = vec![(&**group).into()];
        let request = ConsumerGroupDescribeRequest { group_ids, ..ConsumerGroupDescribeRequest::default() };
        let answer = self.ask_coordinator(group, DESCRIBE_NEXT_VERSIONS, |_| request).await?;
        let described = answer.groups.into_iter().next().ok_or_else(|| missing(group))?;
        checked(&called(group), described.error_code, described.error_message.as_deref())?;
        Ok(GroupDescription::of_next(described, self.coordinator_of(group)))
    }

    fn coordinator_of(&self, group: &Arc<str>) -> BrokerId {
        self.client.coordinators().known(group).unwrap_or(BrokerId(-1))
    }

    /// One request to the group's coordinator, without retries.
    pub(super) async fn ask_coordinator<R: Request>(
        &self,
        group: &Arc<str>,
        versions: std::ops::RangeInclusive<i16>,
        make: impl FnOnce(i16) -> R,
    ) -> Result<R::Response, AdminError> {
        let connection = self.connect_coordinator(group).await?;
        let version = connection.version_of::<R>(versions)?;
        Ok(connection.call(version, &make(version), self.timeout()).await?)
    }

    async fn connect_coordinator(&self, group: &Arc<str>) -> Result<Connection, AdminError> {
        let found = self.client.coordinators().connect(group, Lane::Control, self.timeout()).await;
        found.map_err(|error| match error {
            FindError::Request(error) => AdminError::Request(error),
            FindError::Refused(code) => AdminError::Refused { what: called(group).into(), code, message: None },
        })
    }

    /// As [`Self::retry`], and looks for the coordinator anew after what may mean that it is another.
    pub(super) async fn retry_at_coordinator<T, F>(
        &self,
        group: &Arc<str>,
        attempt: impl Fn() -> F,
    ) -> Result<T, AdminError>
    where
        F: Future<Output = Result<T, AdminError>>,
    {
        self.retry(|| async {
            let done = attempt().await;
            if let Err(error) = &done
                && matches!(
                    (error, error.code()),
                    (AdminError::Request(_), _)
                        | (_, Some(ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable))
                )
            {
                self.client.coordinators().forget(group);
            }
            done
        })
        .await
    }
}

/// How errors name a group.
pub(super) fn called(group: &str) -> String {
    format!("group {group}")
}

fn missing(group: &str) -> AdminError {
    AdminError::Missing { what: called(group).into() }
}

fn list_request(version: i16, filter: &GroupFilter) -> ListGroupsRequest {
    let mut request = ListGroupsRequest::default();
    if version >= LIST_BY_STATE_FROM {
        request.states_filter = filter.states.iter().map(|state| state.name().into()).collect();
    }
    if version >= LIST_BY_TYPE_FROM {
        request.types_filter = filter.types.iter().map(|kind| kind.name().into()).collect();
    }
    request
}

fn listings(answer: ListGroupsResponse) -> impl Iterator<Item = GroupListing> {
    answer.groups.into_iter().map(|group| GroupListing {
        state: GroupState::from_name(&group.group_state),
        kind: GroupType::from_name(&group.group_type),
        name: group.group_id,
        protocol_type: group.protocol_type,
    })
}

impl GroupFilter {
    fn takes(&self, group: &GroupListing) -> bool {
        (self.states.is_empty() || self.states.contains(&group.state))
            && (self.types.is_empty() || self.types.contains(&group.kind))
    }
}

impl GroupDescription {
    fn of_classic(group: classic::DescribedGroup, coordinator: BrokerId) -> Self {
        let is_consumer = &*group.protocol_type == PROTOCOL_TYPE;
        let member = |member| MemberDescription::of_classic(member, is_consumer);
        Self {
            name: group.group_id,
            state: GroupState::from_name(&group.group_state),
            kind: GroupType::Classic,
            protocol_type: group.protocol_type,
            assignor: Some(group.protocol_data).filter(|name| !name.is_empty()),
            epoch: None,
            coordinator,
            members: in_order(group.members.into_iter().map(member)),
        }
    }

    fn of_next(group: next::DescribedGroup, coordinator: BrokerId) -> Self {
        Self {
            name: group.group_id,
            state: GroupState::from_name(&group.group_state),
            kind: GroupType::Consumer,
            protocol_type: PROTOCOL_TYPE.into(),
            assignor: Some(group.assignor_name).filter(|name| !name.is_empty()),
            epoch: Some(group.group_epoch),
            coordinator,
            members: in_order(group.members.into_iter().map(MemberDescription::of_next)),
        }
    }
}

fn in_order(members: impl Iterator<Item = MemberDescription>) -> Vec<MemberDescription> {
    let mut members: Vec<MemberDescription> = members.collect();
    members.sort_by(|one, other| (&one.client_id, &one.id).cmp(&(&other.client_id, &other.id)));
    members
}

impl MemberDescription {
    /// What a member sent that is no consumer's is left out; so is what does not read, and other clients may have sent anything.
    fn of_classic(member: classic::DescribedGroupMember, is_consumer: bool) -> Self {
        let subscribed = is_consumer.then(|| Subscription::decode(&member.member_metadata).ok()).flatten();
        let assigned = is_consumer.then(|| decode_assignment(&member.member_assignment).ok()).flatten();
        Self {
            id: member.member_id,
            instance: member.group_instance_id,
            client_id: member.client_id,
            host: member.client_host,
            epoch: None,
            topics: subscribed.map(|subscription| subscription.topics).unwrap_or_default(),
            topic_regex: None,
            assigned: assigned.unwrap_or_default(),
            target: None,
        }
    }

    fn of_next(member: next::Member) -> Self {
        Self {
            id: member.member_id,
            instance: member.instance_id,
            client_id: member.client_id,
            host: member.client_host,
            epoch: Some(member.member_epoch),
            topics: member.subscribed_topic_names.iter().map(|topic| Arc::from(&**topic)).collect(),
            topic_regex: member.subscribed_topic_regex,
            assigned: partitions(&member.assignment),
            target: Some(partitions(&member.target_assignment)),
        }
    }
}

fn partitions(assignment: &next::Assignment) -> Vec<TopicPartition> {
    let of_topic = |topic: &next::TopicPartitions| {
        let name: Arc<str> = (&*topic.topic_name).into();
        topic.partitions.iter().map(move |index| TopicPartition::new(Arc::clone(&name), *index)).collect::<Vec<_>>()
    };
    let mut all: Vec<TopicPartition> = assignment.topic_partitions.iter().flat_map(of_topic).collect();
    all.sort();
    all
}
