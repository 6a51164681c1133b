//! What the metadata log holds: commands, their bytes, and what their proposers hear.
//!
//! ```text
//!   0         1
//!   | version | postcard of the command ... |
//! ```
//! Version 1. New commands are added at the end of [`Command`]; a command that changes its fields makes a new version.
//! `docs/formats/metadata-log.md` draws it.
//!
//! Must not know: what the cluster is.

use cairn_protocol::ids::{BrokerId, PartitionIndex, ProducerId, TopicId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::broker::{BrokerEpoch, Endpoint};
use crate::partition::{ElectBy, IsrOutcome, IsrProposal, LogTold};
use crate::quotas::{QuotaEntity, QuotaValue};
use crate::resource::ConfigResource;

/// The most partitions that one command may make.
pub const PARTITIONS_PER_COMMAND_MAX: usize = 10_000;
/// The most partitions that a topic may have.
pub const PARTITIONS_PER_TOPIC_MAX: usize = 100_000;
/// The most replicas that a partition may have.
pub const REPLICAS_MAX: usize = 64;
/// How many producer ids a broker is given at once, as in Kafka.
pub const PRODUCER_ID_BLOCK: i64 = 1000;

const VERSION: u8 = 1;

/// One entry of the metadata log. The order of the variants is part of the format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Gives the cluster its id: the first command of every log.
    InitCluster {
        /// The id.
        cluster_id: Uuid,
    },
    /// Registers a new incarnation of a broker, fenced: the one before leads nothing from here on.
    RegisterBroker(NewBroker),
    /// A broker is ready: it may lead.
    UnfenceBroker {
        /// The broker.
        broker: BrokerId,
        /// Its incarnation.
        epoch: BrokerEpoch,
    },
    /// A broker is gone: it leads nothing from here on.
    FenceBroker {
        /// The broker.
        broker: BrokerId,
        /// Its incarnation.
        epoch: BrokerEpoch,
    },
    /// Makes a topic.
    CreateTopic(NewTopic),
    /// Deletes a topic.
    DeleteTopic {
        /// Its identity.
        id: TopicId,
    },
    /// Adds partitions to a topic.
    CreatePartitions {
        /// The topic.
        id: TopicId,
        /// How many it had when the command was made; otherwise the command is rejected.
        expected: usize,
        /// The replicas of each new partition.
        assignments: Vec<Vec<BrokerId>>,
    },
    /// Sets and deletes configs of a topic; the others stay.
    SetTopicConfigs {
        /// The topic.
        id: TopicId,
        /// What changes.
        changes: Vec<ConfigChange>,
    },
    /// Gives a broker the next [`PRODUCER_ID_BLOCK`] producer ids.
    AllocateProducerIds {
        /// The broker.
        broker: BrokerId,
        /// Its incarnation.
        epoch: BrokerEpoch,
    },
    /// Sets and deletes configs of what is no topic; the others stay.
    SetConfigs {
        /// Whose configs.
        resource: ConfigResource,
        /// What changes.
        changes: Vec<ConfigChange>,
    },
    /// Sets and removes quotas of clients; the others stay.
    SetClientQuotas {
        /// Which clients.
        entity: QuotaEntity,
        /// What changes.
        changes: Vec<QuotaChange>,
    },
    /// All brokers can do something in a new way, and do from here on.
    SetFeature {
        /// Kafka's name of it, or ours.
        name: Box<str>,
        /// Above the level of before.
        level: i16,
    },
    /// A partition's leader proposes who is in sync.
    ProposeIsr {
        /// The topic.
        id: TopicId,
        /// Which of its partitions.
        partition: PartitionIndex,
        /// What it proposes.
        proposal: IsrProposal,
    },
    /// A broker is about to stop: it leads nothing from here on, and is not in sync.
    ShutDownBroker {
        /// The broker.
        broker: BrokerId,
        /// Its incarnation.
        epoch: BrokerEpoch,
    },
    /// Has an in-sync replica lead a partition.
    TransferLeader {
        /// The topic.
        id: TopicId,
        /// Which of its partitions.
        partition: PartitionIndex,
        /// Who shall lead.
        to: BrokerId,
    },
    /// Others shall keep a partition.
    MovePartition {
        /// The topic.
        id: TopicId,
        /// Which of its partitions.
        partition: PartitionIndex,
        /// Who, the preferred leader first; none: those who kept it before it began to move.
        to: Option<Vec<BrokerId>>,
    },
    /// Somebody leads who may lack what was committed, because nobody who has it for certain is there.
    ElectByLogs {
        /// The topic.
        id: TopicId,
        /// Which of its partitions.
        partition: PartitionIndex,
        /// Whose log may be chosen.
        by: ElectBy,
        /// How far the replicas' logs go.
        told: Vec<LogTold>,
    },
    /// A broker is gone for good, with all that it had: nothing of it comes back.
    UnregisterBroker {
        /// The broker.
        broker: BrokerId,
    },
}

/// A broker that registers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewBroker {
    /// Its node id.
    pub id: BrokerId,
    /// Chosen by its process at start: the same one again is a retry.
    pub incarnation: Uuid,
    /// Where it is reached.
    pub endpoints: Vec<Endpoint>,
    /// Its rack.
    pub rack: Option<Box<str>>,
    /// The identities of its data directories.
    pub storage_ids: Vec<Uuid>,
    /// The kernel's boot id.
    pub boot_id: Option<Uuid>,
    /// The epoch under which it last stopped cleanly.
    pub clean_shutdown: Option<BrokerEpoch>,
}

/// A topic that is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewTopic {
    /// Its name.
    pub name: Box<str>,
    /// Its identity, chosen by the proposer.
    pub id: TopicId,
    /// The replicas of each partition, the preferred leader first.
    pub assignments: Vec<Vec<BrokerId>>,
    /// Its configs, already checked by [`crate::configs`].
    pub configs: Vec<(Box<str>, Box<str>)>,
}

/// A change of one config.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigChange {
    /// Kafka's name of it.
    pub name: Box<str>,
    /// Its value, already checked by [`crate::configs`]; none deletes it.
    pub value: Option<Box<str>>,
}

/// A change of one quota.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaChange {
    /// Kafka's name of it.
    pub name: Box<str>,
    /// The limit; none removes it.
    pub value: Option<QuotaValue>,
}

/// What the proposer of an accepted command hears.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// It is done.
    Done,
    /// The broker's new epoch.
    BrokerRegistered(BrokerEpoch),
    /// The ids.
    ProducerIds(ProducerIdBlock),
    /// What became of the proposal: refusals are outcomes as well, and recorded.
    IsrDecided(IsrOutcome),
}

/// Producer ids that belong to one broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerIdBlock {
    /// The first.
    pub first: ProducerId,
    /// How many follow on.
    pub len: i64,
}

/// Bytes are no [`Command`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandDecodeError {
    /// Nothing there.
    #[error("command is empty")]
    Empty,
    /// Made by a later release.
    #[error("command has the version {0}, known is {VERSION}")]
    Version(u8),
    /// Cut, or not of this format.
    #[error("command does not decode")]
    Malformed,
}

impl Command {
    /// The bytes that go to the metadata log.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        postcard::to_extend(self, vec![VERSION]).expect("a command encodes into memory")
    }

    /// Reads what [`Self::encode`] made, of this version or an older one. Bytes left over are refused.
    pub fn decode(bytes: &[u8]) -> Result<Self, CommandDecodeError> {
        match bytes {
            [] => Err(CommandDecodeError::Empty),
            [VERSION, body @ ..] => match postcard::take_from_bytes(body) {
                Ok((command, [])) => Ok(command),
                _ => Err(CommandDecodeError::Malformed),
            },
            [version, ..] => Err(CommandDecodeError::Version(*version)),
        }
    }
}

#[cfg(test)]
mod tests {
    use cairn_protocol::ids::LeaderEpoch;

    use super::*;
    use crate::partition::{IsrMember, PartitionEpoch, ProposalSeq, SafeIn};

    #[test]
    fn golden_bytes_of_version_1() {
        let create = Command::CreateTopic(NewTopic {
            name: "ab".into(),
            id: TopicId(Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10)),
            assignments: vec![vec![BrokerId(1), BrokerId(2)]],
            configs: vec![("k".into(), "v".into())],
        });
        let bytes = create.encode();
        assert_eq!(
            bytes,
            [
                1, // version
                4, // CreateTopic
                2, b'a', b'b', // name
                1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, // id
                1, 2, 2, 4, // one partition, two replicas, zigzag 1 and 2
                1, 1, b'k', 1, b'v', // one config
            ]
        );
        assert_eq!(Command::decode(&bytes), Ok(create));
    }

    #[test]
    fn the_order_of_the_variants_is_the_format() {
        let id = TopicId::ZERO;
        let (broker, epoch) = (BrokerId(1), BrokerEpoch(1));
        let new_broker = NewBroker {
            id: broker,
            incarnation: Uuid::nil(),
            endpoints: Vec::new(),
            rack: None,
            storage_ids: Vec::new(),
            boot_id: None,
            clean_shutdown: None,
        };
        let (leader, partition) = (IsrMember { broker, epoch }, PartitionIndex(0));
        let proposal = IsrProposal {
            leader,
            leader_epoch: LeaderEpoch(1),
            partition_epoch: PartitionEpoch(1),
            seq: ProposalSeq(1),
            isr: vec![leader],
            safe_in: SafeIn::Memory,
        };
        let new_topic = NewTopic { name: "a".into(), id, assignments: Vec::new(), configs: Vec::new() };
        let all = [
            Command::InitCluster { cluster_id: Uuid::nil() },
            Command::RegisterBroker(new_broker),
            Command::UnfenceBroker { broker, epoch },
            Command::FenceBroker { broker, epoch },
            Command::CreateTopic(new_topic),
            Command::DeleteTopic { id },
            Command::CreatePartitions { id, expected: 1, assignments: Vec::new() },
            Command::SetTopicConfigs { id, changes: Vec::new() },
            Command::AllocateProducerIds { broker, epoch },
            Command::SetConfigs { resource: ConfigResource::Brokers, changes: Vec::new() },
            Command::SetClientQuotas { entity: QuotaEntity::default(), changes: Vec::new() },
            Command::SetFeature { name: "a".into(), level: 1 },
            Command::ProposeIsr { id, partition, proposal },
            Command::ShutDownBroker { broker, epoch },
            Command::TransferLeader { id, partition, to: broker },
            Command::MovePartition { id, partition, to: None },
            Command::ElectByLogs { id, partition, by: ElectBy::LastKnown, told: Vec::new() },
            Command::UnregisterBroker { broker },
        ];
        for (index, command) in all.into_iter().enumerate() {
            let bytes = command.encode();
            assert_eq!(usize::from(bytes[1]), index, "{command:?}");
            assert_eq!(Command::decode(&bytes), Ok(command));
        }
    }

    #[test]
    fn golden_bytes_of_a_proposal() {
        let leader = IsrMember { broker: broker_2(), epoch: BrokerEpoch(7) };
        let proposal = IsrProposal {
            leader,
            leader_epoch: LeaderEpoch(1),
            partition_epoch: PartitionEpoch(3),
            seq: ProposalSeq(200),
            isr: vec![leader],
            safe_in: SafeIn::Disk,
        };
        let propose = Command::ProposeIsr { id: TopicId(Uuid::from_u128(5)), partition: PartitionIndex(4), proposal };
        let expected = [
            &[1, 12][..],                                      // version, ProposeIsr
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 5], // topic
            &[8, 4, 14, 2, 6, 200, 1, 1, 4, 14, 1],            // partition, leader, epochs, number, one member, on disk
        ]
        .concat();
        assert_eq!(propose.encode(), expected);
        assert_eq!(Command::decode(&expected), Ok(propose));
    }

    #[test]
    fn golden_bytes_of_configs_and_quotas() {
        let changes = vec![ConfigChange { name: "k".into(), value: Some("v".into()) }];
        let set = Command::SetConfigs { resource: ConfigResource::Broker(broker_2()), changes };
        assert_eq!(set.encode(), [1, 9, 1, 4, 1, 1, b'k', 1, 1, b'v']);
        let entity = QuotaEntity::from_iter([("user".into(), None), ("client-id".into(), Some("c".into()))]);
        let changes = vec![QuotaChange { name: "q".into(), value: QuotaValue::new(1.5) }];
        let mut expected = vec![1, 10, 2, 9];
        expected.extend_from_slice(b"client-id");
        expected.extend_from_slice(&[1, 1, b'c', 4]);
        expected.extend_from_slice(b"user");
        // 1.5 is 0x3ff8 and zeros: as bits in a varint.
        expected.extend_from_slice(&[0, 1, 1, b'q', 1, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0xfc, 0x3f]);
        let set = Command::SetClientQuotas { entity, changes };
        assert_eq!(set.encode(), expected);
        assert_eq!(Command::decode(&expected), Ok(set));
        // No number is no limit.
        let nan =
            [&[1, 10, 0, 1, 1, b'q', 1][..], &[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0xfc, 0xff, 0x01]].concat();
        assert_eq!(Command::decode(&nan), Err(CommandDecodeError::Malformed));
    }

    fn broker_2() -> BrokerId {
        BrokerId(2)
    }

    #[test]
    fn refuses_what_is_no_command() {
        let bytes = Command::AllocateProducerIds { broker: BrokerId(1), epoch: BrokerEpoch(300) }.encode();
        assert_eq!(Command::decode(&[]), Err(CommandDecodeError::Empty));
        assert_eq!(Command::decode(&[&[2], &bytes[1..]].concat()), Err(CommandDecodeError::Version(2)));
        for cut in 1..bytes.len() {
            assert_eq!(Command::decode(&bytes[..cut]), Err(CommandDecodeError::Malformed), "{cut}");
        }
        assert_eq!(Command::decode(&[&bytes[..], &[0]].concat()), Err(CommandDecodeError::Malformed));
        assert_eq!(Command::decode(&[1, 200]), Err(CommandDecodeError::Malformed));
    }
}
