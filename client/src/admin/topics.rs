//! Creating, listing, describing, growing and deleting topics.
//!
//! Must not know: topic configuration beyond passing it on.

use cairn_protocol::ids::{BrokerId, LeaderEpoch, PartitionIndex, TopicId};
use cairn_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use cairn_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use cairn_protocol::messages::delete_topics_request::DeleteTopicState;
use cairn_protocol::messages::metadata_request::MetadataRequestTopic;
use cairn_protocol::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
use cairn_protocol::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, MetadataRequest, MetadataResponse,
};

use super::error::checked;
use super::{Admin, AdminError};
use crate::client::Ask;

const CREATE_VERSIONS: std::ops::RangeInclusive<i16> = 4..=7;
const DELETE_VERSIONS: std::ops::RangeInclusive<i16> = 1..=6;
/// DeleteTopics names topics one by one, by name or id, from here on.
const DELETE_BY_STATE_FROM: i16 = 6;
const GROW_VERSIONS: std::ops::RangeInclusive<i16> = 0..=3;
const METADATA_VERSIONS: std::ops::RangeInclusive<i16> = 4..=12;

/// A topic that is to be created.
#[derive(Clone, Debug, PartialEq)]
#[must_use]
pub struct NewTopic {
    name: Box<str>,
    partitions: Option<i32>,
    replication_factor: Option<i16>,
    configs: Vec<CreatableTopicConfig>,
}

impl NewTopic {
    /// With the broker's default numbers of partitions and replicas.
    pub fn new(name: &str) -> Self {
        Self { name: name.into(), partitions: None, replication_factor: None, configs: Vec::new() }
    }

    /// How many partitions.
    pub fn partitions(mut self, count: i32) -> Self {
        self.partitions = Some(count);
        self
    }

    /// On how many brokers each partition is kept.
    pub fn replication_factor(mut self, factor: i16) -> Self {
        self.replication_factor = Some(factor);
        self
    }

    /// One configuration, by Kafka's name.
    pub fn config(mut self, key: &str, value: &str) -> Self {
        self.configs.push(CreatableTopicConfig { name: key.into(), value: Some(value.into()) });
        self
    }

    fn on_the_wire(&self) -> CreatableTopic {
        CreatableTopic {
            name: self.name.clone(),
            // -1: the broker's default (KIP-464).
            num_partitions: self.partitions.unwrap_or(-1),
            replication_factor: self.replication_factor.unwrap_or(-1),
            assignments: Vec::new(),
            configs: self.configs.clone(),
        }
    }
}

/// A topic in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicListing {
    /// Its name.
    pub name: Box<str>,
    /// Its id; zero when the broker is too old to give one.
    pub id: TopicId,
    /// How many partitions it has.
    pub partitions: usize,
    /// Whether the cluster itself keeps something in it.
    pub is_internal: bool,
}

/// A topic in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// Its name.
    pub name: Box<str>,
    /// Its id; zero when the broker is too old to give one.
    pub id: TopicId,
    /// Whether the cluster itself keeps something in it.
    pub is_internal: bool,
    /// Its partitions, by index.
    pub partitions: Vec<PartitionDescription>,
}

/// A partition in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDescription {
    /// Its index.
    pub partition: PartitionIndex,
    /// Its leader, if it has one.
    pub leader: Option<BrokerId>,
    /// The leader's term.
    pub leader_epoch: Option<LeaderEpoch>,
    /// The brokers that keep it, the preferred leader first.
    pub replicas: Vec<BrokerId>,
    /// Those that have all of it.
    pub in_sync: Vec<BrokerId>,
    /// Those that are not in sync and have all that was committed (KIP-966), where [`Admin::describe_all_topics`] was told.
    pub eligible: Vec<BrokerId>,
    /// Those that were in sync last, where nobody is, or could lead without a loss; told in the same way.
    pub last_known: Vec<BrokerId>,
}

impl Admin {
    /// Creates a topic. It is usable everywhere a moment later.
    ///
    /// Not cancel-safe: when dropped, the topic may be created.
    ///
    /// # Errors
    /// When there is one of that name, or the cluster refuses it.
    pub async fn create_topic(&self, topic: &NewTopic) -> Result<(), AdminError> {
        self.retry(|| async {
            let request = CreateTopicsRequest {
                topics: vec![topic.on_the_wire()],
                timeout_ms: self.timeout_ms(),
                validate_only: false,
            };
            let answer = self.client.call(Ask::Controller, CREATE_VERSIONS, self.timeout(), |_| request).await?;
            let result = answer.topics.iter().find(|result| result.name == topic.name);
            let result = result.ok_or_else(|| missing(&topic.name))?;
            checked(&topic.name, result.error_code, result.error_message.as_deref())
        })
        .await
    }

    /// Deletes a topic with all its records.
    ///
    /// Not cancel-safe: when dropped, the topic may be deleted.
    ///
    /// # Errors
    /// When there is none, or the cluster refuses.
    pub async fn delete_topic(&self, name: &str) -> Result<(), AdminError> {
        self.retry(|| async {
            let timeout_ms = self.timeout_ms();
            let request = |version| {
                if version >= DELETE_BY_STATE_FROM {
                    let topic = DeleteTopicState { name: Some(name.into()), ..DeleteTopicState::default() };
                    DeleteTopicsRequest { topics: vec![topic], timeout_ms, ..DeleteTopicsRequest::default() }
                } else {
                    DeleteTopicsRequest { topic_names: vec![name.into()], timeout_ms, ..DeleteTopicsRequest::default() }
                }
            };
            let answer = self.client.call(Ask::Controller, DELETE_VERSIONS, self.timeout(), request).await?;
            let result = answer.responses.iter().find(|result| result.name.as_deref() == Some(name));
            let result = result.ok_or_else(|| missing(name))?;
            checked(name, result.error_code, result.error_message.as_deref())
        })
        .await
    }

    /// Gives a topic more partitions: `total` is how many it shall have.
    ///
    /// Not cancel-safe: when dropped, it may be done.
    ///
    /// # Errors
    /// When there is no such topic, or it has as many or more.
    pub async fn create_partitions(&self, topic: &str, total: i32) -> Result<(), AdminError> {
        self.retry(|| async {
            let request = CreatePartitionsRequest {
                topics: vec![CreatePartitionsTopic { name: topic.into(), count: total, assignments: None }],
                timeout_ms: self.timeout_ms(),
                validate_only: false,
            };
            let answer = self.client.call(Ask::Controller, GROW_VERSIONS, self.timeout(), |_| request).await?;
            let result = answer.results.iter().find(|result| &*result.name == topic).ok_or_else(|| missing(topic))?;
            checked(topic, result.error_code, result.error_message.as_deref())
        })
        .await
    }

    /// All topics, by name.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// When no broker answers.
    pub async fn list_topics(&self) -> Result<Vec<TopicListing>, AdminError> {
        let answer = self.retry(|| self.ask_topics(None)).await?;
        let mut topics: Vec<TopicListing> = answer.topics.iter().filter_map(TopicListing::of).collect();
        topics.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(topics)
    }

    /// One topic in full.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// When there is none, or no broker answers.
    pub async fn describe_topic(&self, name: &str) -> Result<TopicDescription, AdminError> {
        self.retry(|| async {
            let answer = self.ask_topics(Some(name)).await?;
            let topic = answer.topics.iter().find(|topic| topic.name.as_deref() == Some(name));
            let topic = topic.ok_or_else(|| missing(name))?;
            checked(name, topic.error_code, None)?;
            Ok(TopicDescription::of(name, topic))
        })
        .await
    }

    /// What brokers can tell that do not know DescribeTopicPartitions.
    pub(super) async fn describe_all_by_metadata(&self) -> Result<Vec<TopicDescription>, AdminError> {
        let answer = self.retry(|| self.ask_topics(None)).await?;
        let described = |topic: &MetadataResponseTopic| {
            let name = topic.name.as_deref().filter(|_| topic.error_code == 0)?;
            Some(TopicDescription::of(name, topic))
        };
        let mut topics: Vec<TopicDescription> = answer.topics.iter().filter_map(described).collect();
        topics.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(topics)
    }

    async fn ask_topics(&self, name: Option<&str>) -> Result<MetadataResponse, AdminError> {
        let topic = |name: &str| MetadataRequestTopic { name: Some(name.into()), ..MetadataRequestTopic::default() };
        let request = MetadataRequest {
            topics: name.map(|name| vec![topic(name)]),
            allow_auto_topic_creation: false,
            ..MetadataRequest::default()
        };
        Ok(self.client.call(Ask::Any, METADATA_VERSIONS, self.timeout(), |_| request).await?)
    }
}

fn missing(topic: &str) -> AdminError {
    AdminError::Missing { what: topic.into() }
}

impl TopicListing {
    fn of(topic: &MetadataResponseTopic) -> Option<Self> {
        let name = topic.name.clone().filter(|_| topic.error_code == 0)?;
        let (id, partitions) = (TopicId(topic.topic_id), topic.partitions.len());
        Some(Self { name, id, partitions, is_internal: topic.is_internal })
    }
}

impl TopicDescription {
    fn of(name: &str, topic: &MetadataResponseTopic) -> Self {
        let mut partitions: Vec<PartitionDescription> = topic.partitions.iter().map(PartitionDescription::of).collect();
        partitions.sort_by_key(|partition| partition.partition);
        Self { name: name.into(), id: TopicId(topic.topic_id), is_internal: topic.is_internal, partitions }
    }
}

impl PartitionDescription {
    fn of(partition: &MetadataResponsePartition) -> Self {
        let brokers = |ids: &[i32]| ids.iter().copied().map(BrokerId).collect();
        Self {
            partition: PartitionIndex(partition.partition_index),
            leader: (partition.leader_id >= 0).then_some(BrokerId(partition.leader_id)),
            leader_epoch: (partition.leader_epoch >= 0).then_some(LeaderEpoch(partition.leader_epoch)),
            replicas: brokers(&partition.replica_nodes),
            in_sync: brokers(&partition.isr_nodes),
            eligible: Vec::new(),
            last_known: Vec::new(),
        }
    }
}
