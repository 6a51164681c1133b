//! A partition as the metadata shows it to one of its replicas: the core's view of [`cairn_metadata::Partition`] and of the
//! brokers that keep it.
//!
//! A view is a state, never a change: between two of them anything may have happened.
//!
//! Must not know: topics, names, how metadata arrives.

use cairn_metadata::configs::Durability;
use cairn_metadata::{BrokerEpoch, Brokers, DecidedProposal, Duty, Partition, PartitionEpoch, Policy, SafeIn};
use cairn_protocol::ids::{BrokerId, LeaderEpoch};

/// What one version of the metadata says about a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Assignment<'a> {
    /// Who leads.
    pub leader: Option<BrokerId>,
    /// Since when.
    pub leader_epoch: LeaderEpoch,
    /// Which state of the partition this is.
    pub partition_epoch: PartitionEpoch,
    /// Who keeps it, in the order of the partition.
    pub members: &'a [Member],
    /// The last proposal that was decided under this leader epoch.
    pub decided: Option<DecidedProposal>,
    /// How many must be in sync for anything to be committed. The metadata gives a partition a new partition epoch when this
    /// number rises, so that no leader counts by the old one after a proposal was decided by the new one.
    pub min_isr: usize,
    /// What acknowledged means.
    pub durability: Durability,
    /// Where the quorum knows what is committed to lie.
    pub safe_in: SafeIn,
    /// The last leader epoch whose leader may have lacked something that was committed before.
    pub unclean_epoch: Option<LeaderEpoch>,
}

/// A replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Member {
    /// Its broker.
    pub broker: BrokerId,
    /// The broker's incarnation.
    pub incarnation: BrokerEpoch,
    /// Whether it is in sync.
    pub sync: InSync,
    /// Whether it could be.
    pub may_join: MayJoin,
}

impl Member {
    /// Everyone who keeps a partition, in its order. Who is not registered has no incarnation that anybody could be.
    pub fn all_of<'p>(partition: &'p Partition, brokers: &'p impl Brokers) -> impl Iterator<Item = Self> + 'p {
        partition.replicas.iter().map(|broker| {
            let standing = brokers.standing(*broker);
            let serves = standing.is_some_and(|standing| standing.duty == Duty::Serving);
            Self {
                broker: *broker,
                incarnation: standing.map_or(BrokerEpoch(-1), |standing| standing.epoch),
                sync: if partition.isr.contains(broker) { InSync::Yes } else { InSync::No },
                may_join: if serves { MayJoin::Yes } else { MayJoin::No },
            }
        })
    }
}

/// Whether a replica is in sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum InSync {
    /// It is.
    Yes,
    /// It is not.
    No,
}

/// Whether a replica's broker may be in sync at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MayJoin {
    /// It serves.
    Yes,
    /// It is fenced or shuts down (KIP-841).
    No,
}

impl<'a> Assignment<'a> {
    /// What the metadata says of a partition; `members` are [`Member::all_of`] it.
    #[must_use]
    pub fn new(partition: &Partition, policy: &Policy, members: &'a [Member]) -> Self {
        Self {
            leader: partition.leader,
            leader_epoch: partition.leader_epoch,
            partition_epoch: partition.partition_epoch,
            members,
            decided: partition.decided,
            min_isr: partition.min_isr(policy),
            durability: policy.durability,
            safe_in: partition.safe_in,
            unclean_epoch: partition.unclean_epoch,
        }
    }

    pub(crate) fn member(&self, broker: BrokerId) -> Option<&Member> {
        self.members.iter().find(|member| member.broker == broker)
    }
}
