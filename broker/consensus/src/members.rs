//! Who the quorum's members are, who of them votes, and who leads.
//!
//! All changes are made on the leader, one after the other.
//!
//! Must not know: who should be a member, and why.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cairn_protocol::ids::BrokerId;
use openraft::ChangeMembers;
use openraft::Instant as _;
use openraft::RaftMetrics;
use openraft::ReadPolicy;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, LinearizableReadError, RaftError};
use openraft::raft::TransferLeaderRequest;

use crate::node::{MetadataNode, broker_id};
use crate::types::{NodeId, TypeConfig, Voter};

/// A learner that lacks no more entries than these has caught up.
const CAUGHT_UP_ENTRIES: u64 = 100;

/// A member of the quorum.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its broker.
    pub node: BrokerId,
    /// Where the others reach it.
    pub host: Box<str>,
    /// The port of its peer listener; 0 where no other has ever had to reach it.
    pub port: u16,
    /// What it is.
    pub role: Role,
}

/// The quorum as its leader knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The term that it leads in.
    pub term: u64,
    /// Behind the last entry that is committed.
    pub committed: u64,
    /// How far the members are.
    pub members: Vec<MemberProgress>,
}

/// How far a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberProgress {
    /// Its broker.
    pub node: BrokerId,
    /// What it is.
    pub role: Role,
    /// Behind the last entry that it is known to have; none while nothing is known.
    pub end: Option<u64>,
    /// How long ago it was heard; none for the leader itself, and where it never was.
    pub heard: Option<Duration>,
}

/// What a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Its copy counts.
    Voter,
    /// It is told what is committed.
    Learner,
}

/// Who is a member was not changed, as far as is known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MembersError {
    /// Only the leader changes it.
    #[error("this node does not lead the metadata quorum")]
    NotLeader {
        /// Who does, where that is known.
        leader: Option<BrokerId>,
    },
    /// The node id cannot be a member's.
    #[error("node id {0} is negative")]
    NodeId(BrokerId),
    /// Another change is under way, the quorum is not there, or the node has stopped.
    #[error("the quorum's members cannot be changed now: {0}")]
    Unavailable(Box<str>),
}

impl MetadataNode {
    /// The members, as far as this node knows, by node id.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
        let member = |(id, at): (&NodeId, &Voter)| {
            let role = if voters.contains(id) { Role::Voter } else { Role::Learner };
            Some(Member { node: broker_id(*id)?, host: at.host.clone(), port: at.port, role })
        };
        membership.nodes().filter_map(member).collect()
    }

    /// Who leads, as far as this node knows.
    #[must_use]
    pub fn leader(&self) -> Option<BrokerId> {
        self.raft.metrics().borrow_watched().current_leader.and_then(broker_id)
    }

    /// On the leader: how far the members are. None elsewhere.
    #[must_use]
    pub fn progress(&self) -> Option<Progress> {
        let members = self.members();
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let replication = metrics.replication.as_ref()?;
        let behind = |index: Option<u64>| index.map_or(0, |index| index + 1);
        let of = |member: &Member| {
            let id = NodeId::try_from(member.node.0).ok()?;
            let is_leader = id == metrics.id;
            let matched = replication.get(&id).copied().flatten().map(|at| at.index() + 1);
            let heard = metrics.heartbeat.as_ref().and_then(|heard| heard.get(&id).copied().flatten());
            Some(MemberProgress {
                node: member.node,
                role: member.role,
                end: if is_leader { Some(behind(metrics.last_log_index)) } else { matched },
                heard: heard.filter(|_| !is_leader).map(|at| at.elapsed()),
            })
        };
        Some(Progress {
            term: metrics.current_term,
            committed: behind(metrics.cluster_committed.as_ref().map(|at| at.index())),
            members: members.iter().filter_map(of).collect(),
        })
    }

    /// The term of the quorum that this node knows of.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.raft.metrics().borrow_watched().current_term
    }

    /// Whether this node leads, as far as it knows.
    #[must_use]
    pub fn is_leader(&self) -> bool {
        self.raft.is_leader()
    }

    /// Waits until another node leads, or none, or `at_most` has passed.
    pub async fn another_leader(&self, at_most: Duration) {
        let mut metrics = self.raft.server_metrics();
        let before = metrics.borrow_watched().current_leader;
        let changed = async {
            while metrics.changed().await.is_ok() {
                if metrics.borrow_watched().current_leader != before {
                    return;
                }
            }
            std::future::pending::<()>().await;
        };
        let _ = tokio::time::timeout(at_most, changed).await;
    }

    /// On a voter, when the process of the leader is gone for certain: asks the others for their votes now, as if that one had handed
    /// over. Without this they would wait for as long as it might only be slow. Nothing follows where another one leads by now,
    /// or where this node lacks what was committed.
    pub async fn take_over(&self, gone: BrokerId) -> Result<(), MembersError> {
        let stopped = |error: &dyn std::fmt::Display| MembersError::Unavailable(error.to_string().into());
        let (id, vote, leader) = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow_watched();
            (metrics.id, metrics.vote, metrics.current_leader.and_then(broker_id))
        };
        let is_voter = |member: &Member| Some(member.node) == broker_id(id) && member.role == Role::Voter;
        if leader != Some(gone) || !self.members().iter().any(is_voter) {
            return Ok(());
        }
        let handed_over = self.raft.handle_transfer_leader(TransferLeaderRequest::new(vote, id, None)).await;
        if let Err(refused) = handed_over.map_err(|error| stopped(&error))? {
            tracing::debug!(%refused, "the lead of the metadata quorum is not taken over");
        }
        Ok(())
    }

    /// On the leader, before it stops: has another voter lead, of those that stay the one that has most. When this returns, that one knows
    /// all that is known to be committed here; the voters that are left could be too few to find it out. Nothing follows where this
    /// node does not lead, or where nobody stays.
    pub async fn resign(&self, stays: impl Fn(BrokerId) -> bool) -> Result<(), MembersError> {
        let Some(progress) = self.progress().filter(|_| self.is_leader()) else { return Ok(()) };
        let me = self.leader();
        let could =
            |member: &&MemberProgress| member.role == Role::Voter && Some(member.node) != me && stays(member.node);
        let Some(next) = progress.members.iter().filter(could).max_by_key(|member| member.end) else { return Ok(()) };
        let to = NodeId::try_from(next.node.0).map_err(|_| MembersError::NodeId(next.node))?;
        let stopped = |error: &dyn std::fmt::Display| MembersError::Unavailable(error.to_string().into());
        self.raft.trigger().transfer_leader(to).await.map_err(|error| stopped(&error))?;
        // An entry of its own is committed, and so all before it.
        let took_over = |metrics: &RaftMetrics<TypeConfig>| {
            metrics.last_applied.as_ref().is_some_and(|last| last.committed_leader_id().term > progress.term)
        };
        self.raft.wait(None).metrics(took_over, "another one leads").await.map(drop).map_err(|error| stopped(&error))
    }

    /// On the leader: when this returns, [`Self::image`] holds all that was committed before it was called, and this node still
    /// led after the call.
    pub async fn read_barrier(&self) -> Result<(), MembersError> {
        match self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await {
            Ok(_) => Ok(()),
            Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward))) => {
                Err(MembersError::NotLeader { leader: forward.leader_id.and_then(broker_id) })
            }
            Err(error) => Err(MembersError::Unavailable(error.to_string().into())),
        }
    }

    /// On the leader: makes a node a learner, or notes where a member is reached by now. Nothing is written when it is there
    /// already.
    pub async fn put_member(&self, node: BrokerId, host: &str, port: u16) -> Result<(), MembersError> {
        let id = NodeId::try_from(node.0).map_err(|_| MembersError::NodeId(node))?;
        let there = self.members().into_iter().find(|member| member.node == node);
        if there.is_some_and(|member| *member.host == *host && member.port == port) {
            return Ok(());
        }
        self.change(ChangeMembers::SetNodes(BTreeMap::from([(id, Voter { host: host.into(), port })]))).await
    }

    /// On the leader: makes the learner with the lowest id that has caught up and `lives` a voter, while there are fewer than `voters`.
    /// Tells which.
    pub async fn promote_one(
        &self,
        voters: usize,
        lives: impl Fn(BrokerId) -> bool,
    ) -> Result<Option<BrokerId>, MembersError> {
        let members = self.members();
        if members.iter().filter(|member| member.role == Role::Voter).count() >= voters {
            return Ok(None);
        }
        let mut learners = members.iter().filter(|member| member.role == Role::Learner);
        let Some(learner) = learners.find(|learner| lives(learner.node) && self.has_caught_up(learner.node)) else {
            return Ok(None);
        };
        let id = NodeId::try_from(learner.node.0).map_err(|_| MembersError::NodeId(learner.node))?;
        self.change(ChangeMembers::AddVoterIds(BTreeSet::from([id]))).await?;
        Ok(Some(learner.node))
    }

    /// On the leader: a node is no member from here on. One that votes loses its vote first, in a step of its own. The leader itself
    /// cannot be removed, and nothing is written when the node is no member.
    pub async fn remove_member(&self, node: BrokerId) -> Result<(), MembersError> {
        let id = NodeId::try_from(node.0).map_err(|_| MembersError::NodeId(node))?;
        let role = || self.members().into_iter().find(|member| member.node == node).map(|member| member.role);
        if self.leader() == Some(node) {
            return Err(MembersError::Unavailable("the leader cannot be removed".into()));
        }
        if role() == Some(Role::Voter) {
            self.change(ChangeMembers::RemoveVoters(BTreeSet::from([id]))).await?;
        }
        match role() {
            None => Ok(()),
            Some(_) => self.change(ChangeMembers::RemoveNodes(BTreeSet::from([id]))).await,
        }
    }

    /// On the leader: whether the node has all but the newest entries.
    fn has_caught_up(&self, node: BrokerId) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let matched = metrics.replication.as_ref().zip(NodeId::try_from(node.0).ok());
        let matched = matched.and_then(|(replication, id)| replication.get(&id).copied().flatten());
        matched.is_some_and(|at| at.index() + CAUGHT_UP_ENTRIES >= metrics.last_log_index.unwrap_or(0))
    }

    /// Notes where a node says it is reached now; the members' list follows when the leader hears of it.
    pub fn learn_address(&self, node: BrokerId, host: &str, port: u16) {
        if let Ok(id) = NodeId::try_from(node.0) {
            self.network.addresses.put(id, &Voter { host: host.into(), port });
        }
    }

    async fn change(&self, change: ChangeMembers<NodeId, Voter>) -> Result<(), MembersError> {
        match self.raft.change_membership(change, true).await {
            Ok(_) => Ok(()),
            Err(error) => Err(members_error(error)),
        }
    }
}

fn members_error(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> MembersError {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
            MembersError::NotLeader { leader: forward.leader_id.and_then(broker_id) }
        }
        other => MembersError::Unavailable(other.to_string().into()),
    }
}
