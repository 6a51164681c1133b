//! The quorum as its leader knows it, told to whoever asks another broker.
//!
//! Must not know: what it is shown as.

use std::time::Duration;

use cairn_consensus::{MetadataNode, Role};
use cairn_peers::{Lane, Peers, Target};
use serde::{Deserialize, Serialize};

use super::wire::{self, QUORUM};
use crate::cluster::Cluster;

/// How long the controller may take to tell.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// What the leader knows of the members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct QuorumTold {
    pub(crate) leader: i32,
    pub(crate) term: u64,
    /// Behind the last entry that is committed.
    pub(crate) committed: u64,
    pub(crate) members: Vec<MemberTold>,
}

/// How far a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MemberTold {
    pub(crate) node: i32,
    pub(crate) votes: bool,
    /// Behind the last entry that it is known to have.
    pub(crate) end: Option<u64>,
    /// So long ago it was heard.
    pub(crate) heard_ms: Option<u64>,
}

/// What this broker tells, where it leads the quorum.
pub(super) fn tell(quorum: &MetadataNode) -> Option<QuorumTold> {
    let leader = quorum.leader()?;
    let progress = quorum.progress()?;
    let member = |member: &cairn_consensus::MemberProgress| MemberTold {
        node: member.node.0,
        votes: member.role == Role::Voter,
        end: member.end,
        heard_ms: member.heard.map(|heard| u64::try_from(heard.as_millis()).unwrap_or(u64::MAX)),
    };
    Some(QuorumTold {
        leader: leader.0,
        term: progress.term,
        committed: progress.committed,
        members: progress.members.iter().map(member).collect(),
    })
}

/// Asks the controller, wherever it is; none where that cannot be told now.
pub(crate) async fn ask_for_quorum(cluster: &Cluster, peers: Option<&Peers>) -> Option<QuorumTold> {
    let quorum = cluster.quorum();
    if quorum.is_leader() {
        return tell(quorum);
    }
    let leader = quorum.leader()?;
    let member = quorum.members().into_iter().find(|member| member.node == leader)?;
    let target = Target { node: Some(leader), host: member.host, port: member.port };
    let answer = peers?.call(&target, Lane::Quorum, wire::request(QUORUM, &()), ANSWER_WITHIN).await.ok()?;
    wire::read::<Option<QuorumTold>>(&answer)?
}
