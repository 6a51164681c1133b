//! What the cluster is: a pure, versioned fold of commands into an image.
//!
//! The metadata log holds [`Command`]s. [`Image::apply`] folds one of them into the next image, tells what changed
//! ([`Delta`]) and what the proposer hears ([`Answer`]), or why the command changes nothing ([`Rejected`]). The same
//! commands in the same order give the same images on every broker and in every later version of this crate.
//!
//! Must not know: files, sockets, clocks, randomness, Raft.

pub mod features;
pub mod names;

mod map;

mod broker;
mod partition;
mod quotas;
mod resource;
mod rules;
mod topic;

mod image;

mod command;
mod delta;
mod rejected;

mod apply;
mod reassignment;
mod snapshot;

pub mod configs;

pub use apply::Applied;
pub use broker::{Broker, BrokerEpoch, Endpoint, SecurityProtocol};
pub use command::{
    Answer, Command, CommandDecodeError, ConfigChange, NewBroker, NewTopic, PARTITIONS_PER_COMMAND_MAX,
    PARTITIONS_PER_TOPIC_MAX, PRODUCER_ID_BLOCK, ProducerIdBlock, QuotaChange, REPLICAS_MAX,
};
pub use delta::{Change, Delta};
pub use image::{ClusterId, Image};
pub use map::SharedMap;
pub use partition::{
    Brokers, CannotCancel, CannotElect, CannotLead, Decided, DecidedProposal, Duty, ElectBy, Eligible, IsrMember,
    IsrOutcome, IsrProposal, IsrRefused, LogTold, Loss, Moving, Partition, PartitionEpoch, Policy, ProposalSeq, SafeIn,
    Standing,
};
pub use quotas::{NotFinite, QuotaEntity, QuotaValue, Quotas};
pub use reassignment::{Reassignment, ReassignmentRefused, ReplicationFactor};
pub use rejected::Rejected;
pub use resource::ConfigResource;
pub use rules::{Rule, Rules};
pub use snapshot::SnapshotDecodeError;
pub use topic::Topic;
