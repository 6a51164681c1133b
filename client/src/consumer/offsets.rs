//! Offsets by time, and offsets that groups have committed.
//!
//! Must not know: fetching, which partitions are assigned.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::{BrokerId, Offset, Timestamp};
use cairn_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use cairn_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use cairn_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use cairn_protocol::messages::{
    ListOffsetsRequest, OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
};
use tokio::time::Instant;

use super::{IsolationLevel, OffsetsError};
use crate::Client;
use crate::backoff::Attempts;
use crate::client::Ask;
use crate::cluster::{FindError, Unknown};
use crate::error::check;
use crate::network::Lane;
use crate::topic_partition::TopicPartition;

/// Asks for the end of the log.
pub(crate) const LATEST: Timestamp = Timestamp(-1);
/// Asks for the beginning of the log.
pub(crate) const EARLIEST: Timestamp = Timestamp(-2);

const LIST_VERSIONS: std::ops::RangeInclusive<i16> = 1..=7;
const COMMIT_VERSIONS: std::ops::RangeInclusive<i16> = 2..=9;
const FETCH_VERSIONS: std::ops::RangeInclusive<i16> = 1..=9;
/// All partitions can be asked for without naming them from version 2 on.
const FETCH_ALL_VERSIONS: std::ops::RangeInclusive<i16> = 2..=9;
/// OffsetFetch asks for several groups at once from here on.
const FETCH_BY_GROUPS_FROM: i16 = 8;

/// An offset that a group has committed, or is to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The offset of the next record to be read.
    pub offset: Offset,
    /// What was committed beside it, for people.
    pub metadata: Box<str>,
}

impl From<Offset> for CommittedOffset {
    fn from(offset: Offset) -> Self {
        Self { offset, metadata: Box::default() }
    }
}

/// The offsets of many partitions at one time each, with retries. `None`: no record is that new.
///
/// Cancel-safe.
pub(crate) async fn list(
    client: &Client,
    wanted: &HashMap<TopicPartition, Timestamp>,
    isolation: IsolationLevel,
) -> Result<HashMap<TopicPartition, Option<Offset>>, OffsetsError> {
    let mut attempts = Attempts::new(client.config().backoff, client.config().operation_timeout);
    let mut missing = wanted.clone();
    let mut found = HashMap::new();
    loop {
        let mut last = None;
        match attempts.attempt(by_leader(client, &missing)).await {
            Err(error) => last = Some(error),
            Ok(by_leader) => {
                for (leader, partitions) in by_leader {
                    match attempts.attempt(list_at(client, leader, &partitions, isolation)).await {
                        Err(error) => last = Some(error),
                        Ok(answers) => {
                            for (partition, answer) in answers {
                                match answer {
                                    Ok(offset) => {
                                        missing.remove(&partition);
                                        found.insert(partition, offset);
                                    }
                                    Err(code) => last = Some(OffsetsError::Refused { partition, code }),
                                }
                            }
                        }
                    }
                }
            }
        }
        let Some(left) = missing.keys().next() else { return Ok(found) };
        let error = last.unwrap_or_else(|| OffsetsError::Missing { partition: left.clone() });
        if !error.is_retriable() || !attempts.again(&error).await {
            return Err(error);
        }
        refresh(client, &attempts, missing.keys()).await;
    }
}

/// The offset of one partition at one time, without retries.
pub(super) async fn list_once(
    client: &Client,
    partition: &TopicPartition,
    time: Timestamp,
    isolation: IsolationLevel,
) -> Result<Option<Offset>, OffsetsError> {
    let wanted = HashMap::from([(partition.clone(), time)]);
    let missing = || OffsetsError::Missing { partition: partition.clone() };
    let (leader, partitions) = by_leader(client, &wanted).await?.into_iter().next().ok_or_else(missing)?;
    let (partition, answer) =
        list_at(client, leader, &partitions, isolation).await?.into_iter().next().ok_or_else(missing)?;
    answer.map_err(|code| OffsetsError::Refused { partition, code })
}

type ByLeader = HashMap<BrokerId, Vec<(TopicPartition, Timestamp, i32)>>;

async fn by_leader(client: &Client, wanted: &HashMap<TopicPartition, Timestamp>) -> Result<ByLeader, OffsetsError> {
    let mut by_leader = ByLeader::new();
    for (partition, time) in wanted {
        let topic = client.metadata().topic(&partition.topic, Unknown::Refuse).await?;
        let index = usize::try_from(partition.partition.0).ok();
        let info = index.and_then(|index| topic.partitions.get(index)).ok_or_else(|| OffsetsError::Refused {
            partition: partition.clone(),
            code: ErrorCode::InvalidPartitions,
        })?;
        let leader = info.leader.ok_or_else(|| OffsetsError::NoLeader { partition: partition.clone() })?;
        let epoch = info.epoch.map_or(-1, |epoch| epoch.0);
        by_leader.entry(leader).or_default().push((partition.clone(), *time, epoch));
    }
    Ok(by_leader)
}

type Listed = Vec<(TopicPartition, Result<Option<Offset>, ErrorCode>)>;

async fn list_at(
    client: &Client,
    leader: BrokerId,
    partitions: &[(TopicPartition, Timestamp, i32)],
    isolation: IsolationLevel,
) -> Result<Listed, OffsetsError> {
    let mut topics: HashMap<&Arc<str>, Vec<ListOffsetsPartition>> = HashMap::new();
    for (partition, time, epoch) in partitions {
        topics.entry(&partition.topic).or_default().push(ListOffsetsPartition {
            partition_index: partition.partition.0,
            current_leader_epoch: *epoch,
            timestamp: time.0,
        });
    }
    let topics = topics.into_iter().map(|(name, partitions)| ListOffsetsTopic { name: (&**name).into(), partitions });
    let timeout = client.config().request_timeout;
    let request = ListOffsetsRequest {
        replica_id: -1,
        isolation_level: isolation.code(),
        topics: topics.collect(),
        ..ListOffsetsRequest::default()
    };
    let answer = client.call(Ask::Broker(leader), LIST_VERSIONS, timeout, |_| request).await?;
    let mut listed = Listed::new();
    for topic in &answer.topics {
        let name: Arc<str> = (&*topic.name).into();
        for partition in &topic.partitions {
            let offset =
                check(partition.error_code).map(|()| (partition.offset >= 0).then_some(Offset(partition.offset)));
            listed.push((TopicPartition::new(Arc::clone(&name), partition.partition_index), offset));
        }
    }
    Ok(listed)
}

/// What the group has committed, with retries, for these partitions or for all; those without anything are left out.
///
/// Cancel-safe.
pub(crate) async fn committed(
    client: &Client,
    group: &Arc<str>,
    partitions: Option<&[TopicPartition]>,
) -> Result<HashMap<TopicPartition, CommittedOffset>, OffsetsError> {
    let mut attempts = Attempts::new(client.config().backoff, client.config().operation_timeout);
    loop {
        let error = match attempts.attempt(committed_of(client, group, partitions)).await {
            Ok(committed) => return Ok(committed),
            Err(error) => error,
        };
        if !retry_at_coordinator(client, group, &error) || !attempts.again(&error).await {
            return Err(error);
        }
    }
}

/// What the group has committed for one partition, without retries.
pub(super) async fn committed_once(
    client: &Client,
    group: &Arc<str>,
    partition: &TopicPartition,
) -> Result<Option<Offset>, OffsetsError> {
    let committed = committed_of(client, group, Some(std::slice::from_ref(partition))).await;
    if let Err(error) = &committed {
        retry_at_coordinator(client, group, error);
    }
    Ok(committed?.remove(partition).map(|committed| committed.offset))
}

async fn committed_of(
    client: &Client,
    group: &Arc<str>,
    partitions: Option<&[TopicPartition]>,
) -> Result<HashMap<TopicPartition, CommittedOffset>, OffsetsError> {
    let timeout = client.config().request_timeout;
    let connection = connect(client, group).await?;
    let versions = if partitions.is_some() { FETCH_VERSIONS } else { FETCH_ALL_VERSIONS };
    let version = connection.version_of::<OffsetFetchRequest>(versions)?;
    let answer = connection.call(version, &offset_fetch(version, group, partitions), timeout).await?;
    read_committed(group, &answer)
}

fn offset_fetch(version: i16, group: &str, partitions: Option<&[TopicPartition]>) -> OffsetFetchRequest {
    let by_topic = partitions.map(|partitions| by_topic(partitions, |partition| partition.partition.0));
    if version < FETCH_BY_GROUPS_FROM {
        let topic = |(name, partition_indexes): (&str, Vec<i32>)| OffsetFetchRequestTopic {
            name: name.into(),
            partition_indexes,
        };
        let topics = by_topic.map(|topics| topics.into_iter().map(topic).collect());
        return OffsetFetchRequest { group_id: group.into(), topics, ..OffsetFetchRequest::default() };
    }
    let topic = |(name, partition_indexes): (&str, Vec<i32>)| OffsetFetchRequestTopics {
        name: name.into(),
        partition_indexes,
        ..OffsetFetchRequestTopics::default()
    };
    let topics = by_topic.map(|topics| topics.into_iter().map(topic).collect());
    let group = OffsetFetchRequestGroup { group_id: group.into(), topics, ..OffsetFetchRequestGroup::default() };
    OffsetFetchRequest { groups: vec![group], ..OffsetFetchRequest::default() }
}

/// Both shapes of the answer.
fn read_committed(
    group: &Arc<str>,
    answer: &OffsetFetchResponse,
) -> Result<HashMap<TopicPartition, CommittedOffset>, OffsetsError> {
    let group_error = answer.groups.first().map_or(answer.error_code, |group| group.error_code);
    check(group_error).map_err(|code| OffsetsError::Group { group: Arc::clone(group), code })?;
    let mut rows = Vec::new();
    for topic in &answer.topics {
        for it in &topic.partitions {
            rows.push((&topic.name, it.partition_index, it.error_code, it.committed_offset, &it.metadata));
        }
    }
    for topic in answer.groups.iter().flat_map(|group| &group.topics) {
        for it in &topic.partitions {
            rows.push((&topic.name, it.partition_index, it.error_code, it.committed_offset, &it.metadata));
        }
    }
    let mut committed = HashMap::new();
    for (topic, index, code, offset, metadata) in rows {
        let partition = TopicPartition::new(&**topic, index);
        check(code).map_err(|code| OffsetsError::Refused { partition: partition.clone(), code })?;
        if offset >= 0 {
            let metadata = metadata.clone().unwrap_or_default();
            committed.insert(partition, CommittedOffset { offset: Offset(offset), metadata });
        }
    }
    Ok(committed)
}

/// In whose name offsets are committed. The default is nobody's: a consumer that assigns itself, or an administrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committer {
    /// The generation, or the member's epoch (KIP-848); -1 for nobody's.
    pub(crate) generation: i32,
    pub(crate) member_id: Box<str>,
    pub(crate) instance: Option<Box<str>>,
}

impl Default for Committer {
    fn default() -> Self {
        Self { generation: -1, member_id: Box::default(), instance: None }
    }
}

/// Commits offsets for a group, with retries; `by` says as whom, each time anew.
///
/// Not cancel-safe: when dropped, the offsets may be committed or not.
pub(crate) async fn commit(
    client: &Client,
    group: &Arc<str>,
    by: impl Fn() -> Result<Committer, OffsetsError>,
    offsets: &HashMap<TopicPartition, CommittedOffset>,
) -> Result<(), OffsetsError> {
    if offsets.is_empty() {
        return Ok(());
    }
    let mut attempts = Attempts::new(client.config().backoff, client.config().operation_timeout);
    loop {
        let committer = by()?;
        let error = match attempts.attempt(commit_once(client, group, &committer, offsets)).await {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        // Between JoinGroup and SyncGroup nobody may commit, and who joined again meanwhile is of a new generation. An epoch that
        // is stale is renewed by the next heartbeat.
        let is_between = error.code() == Some(ErrorCode::RebalanceInProgress)
            || error.code() == Some(ErrorCode::StaleMemberEpoch)
            || error.code() == Some(ErrorCode::IllegalGeneration) && by().is_ok_and(|now| now != committer);
        if !(retry_at_coordinator(client, group, &error) || is_between) || !attempts.again(&error).await {
            return Err(error);
        }
    }
}

async fn commit_once(
    client: &Client,
    group: &Arc<str>,
    by: &Committer,
    offsets: &HashMap<TopicPartition, CommittedOffset>,
) -> Result<(), OffsetsError> {
    let connection = connect(client, group).await?;
    let version = connection.version_of::<OffsetCommitRequest>(COMMIT_VERSIONS)?;
    let by_topic = by_topic(offsets.keys(), |partition| OffsetCommitRequestPartition {
        partition_index: partition.partition.0,
        committed_offset: offsets[partition].offset.0,
        committed_metadata: Some(offsets[partition].metadata.clone()),
        ..OffsetCommitRequestPartition::default()
    });
    let topic = |(name, partitions): (&str, Vec<_>)| OffsetCommitRequestTopic {
        name: name.into(),
        partitions,
        ..OffsetCommitRequestTopic::default()
    };
    let topics = by_topic.into_iter().map(topic).collect();
    let request = OffsetCommitRequest {
        group_id: (&**group).into(),
        generation_id_or_member_epoch: by.generation,
        member_id: by.member_id.clone(),
        group_instance_id: by.instance.clone(),
        topics,
        ..OffsetCommitRequest::default()
    };
    let answer = connection.call(version, &request, client.config().request_timeout).await?;
    check_commit(&answer, offsets)
}

fn check_commit(
    answer: &OffsetCommitResponse,
    offsets: &HashMap<TopicPartition, CommittedOffset>,
) -> Result<(), OffsetsError> {
    let mut missing: HashSet<&TopicPartition> = offsets.keys().collect();
    for topic in &answer.topics {
        for it in &topic.partitions {
            let partition = TopicPartition::new(&*topic.name, it.partition_index);
            missing.remove(&partition);
            check(it.error_code).map_err(|code| OffsetsError::Refused { partition, code })?;
        }
    }
    match missing.into_iter().next() {
        None => Ok(()),
        Some(partition) => Err(OffsetsError::Missing { partition: partition.clone() }),
    }
}

/// Rows by topic, in the topics' order.
fn by_topic<'a, T>(
    partitions: impl IntoIterator<Item = &'a TopicPartition>,
    row: impl Fn(&'a TopicPartition) -> T,
) -> BTreeMap<&'a str, Vec<T>> {
    let mut topics = BTreeMap::<&str, Vec<T>>::new();
    for partition in partitions {
        topics.entry(&partition.topic).or_default().push(row(partition));
    }
    topics
}

async fn connect(client: &Client, group: &Arc<str>) -> Result<crate::network::Connection, OffsetsError> {
    let timeout = client.config().request_timeout;
    client.coordinators().connect(group, Lane::Control, timeout).await.map_err(|error| match error {
        FindError::Request(error) => OffsetsError::Request(error),
        FindError::Refused(code) => OffsetsError::Group { group: Arc::clone(group), code },
    })
}

/// Whether to try again, perhaps at another coordinator.
fn retry_at_coordinator(client: &Client, group: &Arc<str>, error: &OffsetsError) -> bool {
    let code = match error {
        OffsetsError::Request(_) => None,
        OffsetsError::Group { code, .. } | OffsetsError::Refused { code, .. } => Some(*code),
        _ => return error.is_retriable(),
    };
    if matches!(code, None | Some(ErrorCode::NotCoordinator | ErrorCode::CoordinatorNotAvailable)) {
        client.coordinators().forget(group);
    }
    error.is_retriable()
}

/// Best effort: what it cannot learn now is met again as an error.
async fn refresh(client: &Client, attempts: &Attempts, partitions: impl Iterator<Item = &TopicPartition>) {
    let topics: HashSet<Arc<str>> = partitions.map(|partition| Arc::clone(&partition.topic)).collect();
    let topics: Vec<Arc<str>> = topics.into_iter().collect();
    let refreshing = client.metadata().refresh(&topics, Unknown::Refuse, Instant::now());
    if let Err(error) = attempts.attempt(refreshing).await {
        tracing::debug!(%error, "cannot refresh metadata");
    }
}
