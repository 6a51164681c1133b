//! A partition as the quorum knows it: who keeps it, who leads it, who may lead it next.
//!
//! ```text
//!   replicas >= isr + elr           isr: has everything committed, and what is committed next
//!   leader in isr                   elr: has everything committed so far; nothing more is, while the isr is too small
//! ```
//! What is decided about it is decided here and nowhere else: [`Partition::decide`] for what its leader proposes,
//! [`Partition::on_broker_gone`] and [`Partition::on_broker_back`] for what becomes of its brokers, [`Partition::move_to`] for
//! who shall keep it, [`Partition::elect_by_logs`] when nobody has everything for certain. Each decision sees the partition,
//! who is registered, and the [`Policy`]; nothing else, so that every voter decides the same.
//!
//! Must not know: records, logs; what else the cluster has.

mod by_logs;
mod election;
mod moving;
mod proposal;

use std::fmt;

use cairn_protocol::ids::{BrokerId, LeaderEpoch};
use serde::{Deserialize, Serialize};

use crate::broker::BrokerEpoch;
use crate::configs::Durability;
use crate::rules::{Rule, Rules};

pub use by_logs::{CannotElect, ElectBy, LogTold};
pub use election::{CannotLead, Decided, Loss};
pub use moving::{CannotCancel, Moving};
pub use proposal::{DecidedProposal, IsrMember, IsrOutcome, IsrProposal, IsrRefused, ProposalSeq};

/// Counts every change of one partition's state: what a proposal to change it is compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[repr(transparent)]
pub struct PartitionEpoch(pub i32);

impl fmt::Display for PartitionEpoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One partition.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Partition {
    /// The brokers that keep it, the preferred leader first. Never empty, no broker twice.
    pub replicas: Vec<BrokerId>,
    /// The in-sync replicas, in the order of `replicas`.
    pub isr: Vec<BrokerId>,
    /// Who leads it; none while nobody who may is there.
    pub leader: Option<BrokerId>,
    /// Rises with every change of `leader`, also to none.
    pub leader_epoch: LeaderEpoch,
    /// Rises with every change of anything above and of `elr`.
    pub partition_epoch: PartitionEpoch,
    /// The eligible leader replicas (KIP-966): outside the in-sync replicas, and with everything that was committed,
    /// because nothing has been since. In the order of `replicas`.
    pub elr: Vec<BrokerId>,
    /// Who led last, while nobody leads: who is asked when nobody else has everything.
    pub last_leader: Option<BrokerId>,
    /// The last known eligible replicas: had everything that was committed, and may have lost of it since. Kept as long as
    /// eligible ones would be, in the order of `replicas`.
    pub last_known: Vec<BrokerId>,
    /// Where it is on its way to, if it is.
    pub moving: Option<Moving>,
    /// Where all that is committed lies for certain, at whoever is in sync or eligible.
    pub safe_in: SafeIn,
    /// The last leader epoch that began with a leader that may have lacked something: what others hold as committed of
    /// earlier epochs may be no more.
    pub unclean_epoch: Option<LeaderEpoch>,
    /// The last proposal that was decided under the present leader epoch, and how.
    pub decided: Option<DecidedProposal>,
}

/// Where records lie for certain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum SafeIn {
    /// In memory that outlives a process and not its machine; perhaps on disk as well.
    Memory,
    /// On disk.
    Disk,
}

/// From so many replicas on a partition requires two in sync, when nobody says otherwise.
const REPLICAS_FOR_TWO_IN_SYNC: usize = 3;

/// What decisions are made by, beside the partition and its brokers.
#[derive(Clone, Copy, Debug)]
pub struct Policy {
    /// `min.insync.replicas` of the topic; none where nobody says, and the number of replicas does.
    pub min_insync_replicas: Option<usize>,
    /// What acknowledged means by the topic's configs.
    pub durability: Durability,
    /// Whether the cluster keeps eligible leader replicas.
    pub eligible: Eligible,
    /// The rules; all of them but in tests.
    pub rules: Rules,
}

/// Whether the cluster keeps eligible leader replicas: the feature [`crate::features::ELIGIBLE_LEADER_REPLICAS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Eligible {
    /// It does.
    Kept,
    /// Not yet: the last in-sync replica stays in sync when it is gone, and is waited for, whatever it may have lost.
    NotYet,
}

/// What the cluster knows of a registered broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Standing {
    /// Its incarnation.
    pub epoch: BrokerEpoch,
    /// What it may do.
    pub duty: Duty,
}

/// What a broker may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Duty {
    /// Lead and be in sync.
    Serving,
    /// Neither: nothing has been heard of it.
    Fenced,
    /// Neither: it is about to stop (KIP-841).
    ShuttingDown,
}

/// Who is registered.
pub trait Brokers {
    /// What is known of this broker; none when it is not registered.
    fn standing(&self, id: BrokerId) -> Option<Standing>;
}

impl<F: Fn(BrokerId) -> Option<Standing>> Brokers for F {
    fn standing(&self, id: BrokerId) -> Option<Standing> {
        self(id)
    }
}

impl Partition {
    /// A new partition: the first in-sync replica leads.
    #[must_use]
    pub fn new(replicas: Vec<BrokerId>, isr: Vec<BrokerId>) -> Self {
        Self {
            leader: isr.first().copied(),
            replicas,
            isr,
            leader_epoch: LeaderEpoch(0),
            partition_epoch: PartitionEpoch(0),
            elr: Vec::new(),
            last_leader: None,
            last_known: Vec::new(),
            moving: None,
            safe_in: SafeIn::Memory,
            unclean_epoch: None,
            decided: None,
        }
    }

    /// How many in-sync replicas it takes to commit: the topic's number, or all where there are fewer replicas. On the way to
    /// other replicas it is what it was.
    #[must_use]
    pub fn min_isr(&self, policy: &Policy) -> usize {
        policy.min_isr(self.moving.as_ref().map_or(&self.replicas, |moving| &moving.from).len())
    }

    /// The topic's configs say something else than before about what acknowledged means. Where it is memory, commits may lie
    /// there from now on; where it is the disk, they may lie in memory until the leader says that they do not.
    pub fn on_durability_changed(&mut self, policy: &Policy) {
        let at_once = !policy.rules.hold(Rule::MemoryUntilFlushed);
        match policy.durability {
            Durability::Replicated => self.safe_in = SafeIn::Memory,
            Durability::Synced if at_once => self.safe_in = SafeIn::Disk,
            Durability::Synced => {}
        }
        self.partition_epoch.0 += 1;
    }
}

impl Policy {
    /// How many in-sync replicas a partition of so many replicas needs to commit.
    #[must_use]
    pub fn min_isr(&self, replicas: usize) -> usize {
        self.min_insync_replicas.unwrap_or(Self::default_min_isr(replicas)).min(replicas)
    }

    /// The same where nobody has set a number.
    #[must_use]
    pub fn default_min_isr(replicas: usize) -> usize {
        if replicas < REPLICAS_FOR_TWO_IN_SYNC { 1 } else { 2 }
    }
}
