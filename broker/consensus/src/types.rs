//! What the library is told about our types.
//!
//! Must not know: how anything is stored.

use std::fmt;

use cairn_metadata::{Answer, Command, Rejected};
use serde::{Deserialize, Serialize};

openraft::declare_raft_types! {
    /// Our types for the library.
    pub(crate) TypeConfig:
        D = Proposal,
        R = Reply,
        NodeId = NodeId,
        Node = Voter,
        LeaderId = openraft::impls::leader_id_std::LeaderId<Self::Term, Self::NodeId>,
}

/// A voter's id: the node id of its broker.
pub(crate) type NodeId = u64;

pub(crate) type Entry = openraft::alias::EntryOf<TypeConfig>;
pub(crate) type LogId = openraft::alias::LogIdOf<TypeConfig>;
pub(crate) type Vote = openraft::alias::VoteOf<TypeConfig>;
pub(crate) type Membership = openraft::Membership<NodeId, Voter>;
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;

/// Where a voter is reached by the others; empty where nobody else is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Voter {
    pub(crate) host: Box<str>,
    pub(crate) port: u16,
}

/// A command on its way through the library.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Proposal(pub(crate) Command);

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

/// What the fold of an entry led to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The entry held no command.
    Nothing,
    /// The command was accepted.
    Accepted(Answer),
    /// The command changed nothing.
    Rejected(Rejected),
}
