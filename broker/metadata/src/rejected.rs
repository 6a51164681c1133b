//! Why a command changed nothing. The same rejection is found again by every broker that folds the command.
//!
//! Must not know: Kafka's error codes; the server maps these to them.

use cairn_protocol::ids::{BrokerId, PartitionIndex, TopicId};
use serde::{Deserialize, Serialize};

use crate::broker::BrokerEpoch;
use crate::partition::{CannotCancel, CannotElect};

/// Why a command changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejected {
    /// The cluster has its id already.
    #[error("cluster already has an id")]
    ClusterIdExists,
    /// The name is not legal.
    #[error("{reason}")]
    TopicName {
        /// What is wrong with it.
        reason: Box<str>,
    },
    /// A topic with this name exists.
    #[error("topic '{name}' already exists")]
    TopicExists {
        /// The name.
        name: Box<str>,
    },
    /// The id belongs to another topic, or is the zero id.
    #[error("topic id {0} is taken")]
    TopicIdTaken(TopicId),
    /// A topic exists whose name differs only in `.` and `_`.
    #[error("topic '{name}' collides with existing topic '{with}'")]
    TopicNameCollision {
        /// The name.
        name: Box<str>,
        /// The topic that exists.
        with: Box<str>,
    },
    /// No topic has this id.
    #[error("no topic has the id {0}")]
    UnknownTopic(TopicId),
    /// Too few or too many partitions.
    #[error("{count} partitions in all, allowed are {min} to {max}")]
    PartitionCount {
        /// How many there would be.
        count: usize,
        /// The fewest allowed.
        min: usize,
        /// The most allowed.
        max: usize,
    },
    /// The topic has another number of partitions than the proposer believed.
    #[error("topic has {partitions} partitions, expected {expected}")]
    PartitionCountChanged {
        /// How many there are.
        partitions: usize,
        /// How many the proposer saw.
        expected: usize,
    },
    /// No replicas, too many, or a broker twice.
    #[error("replicas of partition {0} are none, too many or repeated")]
    ReplicaAssignment(PartitionIndex),
    /// All replicas are on fenced brokers.
    #[error("no replica of partition {0} is on a broker that serves")]
    NoLiveReplica(PartitionIndex),
    /// A broker that is not registered.
    #[error("broker {0} is not registered")]
    UnknownBroker(BrokerId),
    /// Another incarnation of the broker has registered since.
    #[error("broker {broker} has the epoch {epoch}")]
    StaleBrokerEpoch {
        /// The broker.
        broker: BrokerId,
        /// Its present epoch.
        epoch: BrokerEpoch,
    },
    /// No ids are left.
    #[error("producer ids are exhausted")]
    ProducerIdsExhausted,
    /// The topic has no such partition.
    #[error("there is no partition {0}")]
    UnknownPartition(PartitionIndex),
    /// The feature has a higher level already.
    #[error("feature '{name}' has the level {level}")]
    FeatureLevel {
        /// Its name.
        name: Box<str>,
        /// Its level.
        level: i16,
    },
    /// The broker is not in sync, or does not serve.
    #[error("broker {broker} cannot lead partition {partition}: it is not in sync, or does not serve")]
    CannotLead {
        /// The partition.
        partition: PartitionIndex,
        /// The broker.
        broker: BrokerId,
    },
    /// The partition goes on moving, or does not move at all.
    #[error("partition {partition} does not go back to its replicas of before: {reason}")]
    CannotCancelMove {
        /// The partition.
        partition: PartitionIndex,
        /// Why.
        reason: CannotCancel,
    },
    /// Nobody is elected by how far logs go.
    #[error("nobody is elected for partition {partition}: {reason}")]
    CannotElect {
        /// The partition.
        partition: PartitionIndex,
        /// Why.
        reason: CannotElect,
    },
    /// Its disks are those of a broker that was unregistered.
    #[error("broker {0} was removed from the cluster, and its data is not wanted any more")]
    BrokerRemoved(BrokerId),
}
