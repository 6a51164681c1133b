//! The bytes of a whole image: what a checkpoint of the metadata log holds.
//!
//! ```text
//!   0         1
//!   | version | postcard of the image ... |
//! ```
//! Version 4: that of version 3, and the disks of removed brokers behind it. Version 3: brokers that shut down, and partitions with all
//! that elections and moves need. Version 2: that of version 1, and
//! configs and quotas behind it. Topics are sorted by name, so that equal images have equal bytes. Whoever stores the bytes adds a checksum.
//!
//! Must not know: files.

use std::collections::BTreeMap;
use std::sync::Arc;

use cairn_protocol::ids::{BrokerId, LeaderEpoch, ProducerId, TopicId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::broker::{Broker, BrokerEpoch, Endpoint};
use crate::configs::ConfigMap;
use crate::image::Image;
use crate::names;
use crate::partition::{Partition, PartitionEpoch};
use crate::quotas::{QuotaEntity, Quotas};
use crate::resource::ConfigResource;
use crate::topic::Topic;

const VERSION: u8 = 4;
/// No broker had ever been removed.
const VERSION_3: u8 = 3;
/// Brokers and partitions had fewer fields.
const VERSION_2: u8 = 2;
/// The image had neither configs nor quotas.
const VERSION_1: u8 = 1;

#[derive(Serialize, Deserialize)]
struct ImageBody<B, P> {
    version: u64,
    cluster_id: Option<Uuid>,
    next_producer_id: ProducerId,
    features: BTreeMap<Box<str>, i16>,
    brokers: Vec<B>,
    topics: Vec<TopicBody<P>>,
}

/// What stands behind it since version 2.
#[derive(Default, Serialize, Deserialize)]
struct BehindV1 {
    configs: BTreeMap<ConfigResource, ConfigMap>,
    quotas: BTreeMap<QuotaEntity, Quotas>,
}

#[derive(Serialize, Deserialize)]
struct TopicBody<P> {
    id: TopicId,
    name: Box<str>,
    configs: BTreeMap<Box<str>, Box<str>>,
    partitions: Vec<P>,
}

/// A broker up to version 2.
#[derive(Deserialize)]
struct BrokerV1 {
    id: BrokerId,
    epoch: BrokerEpoch,
    incarnation: Uuid,
    endpoints: Vec<Endpoint>,
    rack: Option<Box<str>>,
    storage_ids: Vec<Uuid>,
    boot_id: Option<Uuid>,
    fenced: bool,
}

/// A partition up to version 2.
#[derive(Deserialize)]
struct PartitionV1 {
    replicas: Vec<BrokerId>,
    isr: Vec<BrokerId>,
    leader: Option<BrokerId>,
    leader_epoch: LeaderEpoch,
    partition_epoch: PartitionEpoch,
}

/// Bytes are no image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotDecodeError {
    /// Nothing there.
    #[error("snapshot is empty")]
    Empty,
    /// Made by a later release.
    #[error("snapshot has the version {0}, known is {VERSION}")]
    Version(u8),
    /// Cut, or not of this format.
    #[error("snapshot does not decode")]
    Malformed,
    /// It decodes, and contradicts itself.
    #[error("snapshot contradicts itself: {0}")]
    Inconsistent(&'static str),
}

impl Image {
    /// The bytes of a snapshot.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut topics: Vec<_> = self.topics().collect();
        topics.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let body = ImageBody {
            version: self.version,
            cluster_id: self.cluster_id,
            next_producer_id: self.next_producer_id,
            features: BTreeMap::clone(&self.features),
            brokers: self.brokers().cloned().collect(),
            topics: topics.into_iter().map(|topic| TopicBody::from(&**topic)).collect(),
        };
        let behind = BehindV1 { configs: BTreeMap::clone(&self.configs), quotas: BTreeMap::clone(&self.quotas) };
        postcard::to_extend(&(body, behind, &*self.removed_disks), vec![VERSION]).expect("an image encodes into memory")
    }

    /// Reads what [`Self::encode`] made, of this version or an older one. Bytes left over are refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, SnapshotDecodeError> {
        let (body, behind, removed): (ImageBody<Broker, Partition>, BehindV1, Vec<Uuid>) = match bytes {
            [] => return Err(SnapshotDecodeError::Empty),
            [VERSION, body @ ..] => whole(body)?,
            [VERSION_3, body @ ..] => {
                let (body, behind) = whole(body)?;
                (body, behind, Vec::new())
            }
            [VERSION_2, body @ ..] => {
                let (body, behind): (ImageBody<BrokerV1, PartitionV1>, _) = whole(body)?;
                (body.into(), behind, Vec::new())
            }
            [VERSION_1, body @ ..] => {
                (whole::<ImageBody<BrokerV1, PartitionV1>>(body)?.into(), BehindV1::default(), Vec::new())
            }
            [version, ..] => return Err(SnapshotDecodeError::Version(*version)),
        };
        if behind.configs.values().any(BTreeMap::is_empty) || behind.quotas.values().any(BTreeMap::is_empty) {
            return Err(SnapshotDecodeError::Inconsistent("configs or quotas are there that are none"));
        }
        let mut image = Self {
            version: body.version,
            cluster_id: body.cluster_id,
            brokers: Arc::new(body.brokers.into_iter().map(|broker| (broker.id, broker)).collect()),
            next_producer_id: body.next_producer_id,
            features: Arc::new(body.features),
            configs: Arc::new(behind.configs),
            quotas: Arc::new(behind.quotas),
            removed_disks: Arc::new(removed),
            ..Self::default()
        };
        for topic in body.topics {
            image.insert_decoded(topic)?;
        }
        Ok(image)
    }

    fn insert_decoded(&mut self, topic: TopicBody<Partition>) -> Result<(), SnapshotDecodeError> {
        let inconsistent = |what| Err(SnapshotDecodeError::Inconsistent(what));
        if names::check_topic_name(&topic.name).is_err() {
            return inconsistent("a topic's name is not legal");
        }
        if topic.partitions.is_empty() || topic.partitions.len() > crate::PARTITIONS_PER_TOPIC_MAX {
            return inconsistent("a topic has no partitions or too many");
        }
        if self.topics.contains_key(&topic.id) || self.names.contains_key(&*topic.name) {
            return inconsistent("a topic is there twice");
        }
        self.insert_topic(Arc::new(Topic {
            id: topic.id,
            name: (*topic.name).into(),
            partitions: topic.partitions,
            configs: Arc::new(topic.configs),
        }));
        Ok(())
    }
}

/// What the bytes are, with none left over.
fn whole<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, SnapshotDecodeError> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        _ => Err(SnapshotDecodeError::Malformed),
    }
}

impl From<&Topic> for TopicBody<Partition> {
    fn from(topic: &Topic) -> Self {
        Self {
            id: topic.id,
            name: (*topic.name).into(),
            configs: BTreeMap::clone(&topic.configs),
            partitions: topic.partitions.clone(),
        }
    }
}

impl From<ImageBody<BrokerV1, PartitionV1>> for ImageBody<Broker, Partition> {
    fn from(old: ImageBody<BrokerV1, PartitionV1>) -> Self {
        let topic = |old: TopicBody<PartitionV1>| TopicBody {
            id: old.id,
            name: old.name,
            configs: old.configs,
            partitions: old.partitions.into_iter().map(Partition::from).collect(),
        };
        Self {
            version: old.version,
            cluster_id: old.cluster_id,
            next_producer_id: old.next_producer_id,
            features: old.features,
            brokers: old.brokers.into_iter().map(Broker::from).collect(),
            topics: old.topics.into_iter().map(topic).collect(),
        }
    }
}

impl From<BrokerV1> for Broker {
    fn from(old: BrokerV1) -> Self {
        let BrokerV1 { id, epoch, incarnation, endpoints, rack, storage_ids, boot_id, fenced } = old;
        Self { id, epoch, incarnation, endpoints, rack, storage_ids, boot_id, fenced, shutting_down: false }
    }
}

impl From<PartitionV1> for Partition {
    fn from(old: PartitionV1) -> Self {
        Self {
            leader: old.leader,
            leader_epoch: old.leader_epoch,
            partition_epoch: old.partition_epoch,
            ..Self::new(old.replicas, old.isr)
        }
    }
}
