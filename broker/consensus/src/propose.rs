//! Commands to the quorum: decided here where this node leads, and forwarded to the leader where it does not.
//!
//! Must not know: what the commands mean.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_metadata::{Answer, Command, Image, Rejected};
use cairn_peers::Lane;
use cairn_protocol::ids::BrokerId;
use openraft::RaftMetrics;
use openraft::errors::{ClientWriteError, RaftError};

use crate::node::{MetadataNode, broker_id};
use crate::types::{NodeId, Proposal, Reply, TypeConfig};
use crate::wire::{self, ProposeAnswer};

/// How long a command waits for a leader that takes it.
const LEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a command that was proposed may stay undecided, before nobody waits for it any more: a leader that has lost the
/// others does not know it yet.
const DECIDE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a command rests that found no leader, unless one is known sooner.
const LEADER_PAUSE: Duration = Duration::from_millis(100);

/// What the proposer of an accepted command hears, once it is committed, durable and folded in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposed {
    /// The command's index in the metadata log.
    pub index: u64,
    /// What it led to.
    pub answer: Answer,
    /// An image that has it folded in, and perhaps later commands too.
    pub image: Arc<Image>,
}

/// A command was not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// It was decided, and changes nothing.
    #[error(transparent)]
    Rejected(#[from] Rejected),
    /// Another voter leads, or none does; nothing was proposed.
    #[error("this node does not lead the metadata quorum")]
    NotLeader {
        /// Who does, where that is known.
        leader: Option<BrokerId>,
    },
    /// Leadership was lost, or the node stopped, before the command was decided: it may be done, or never be done.
    #[error("outcome of the command is unknown: {0}")]
    Unknown(Box<str>),
}

impl MetadataNode {
    /// Has a command committed, and waits until it is folded in here. Where another node leads, that one is asked; where none
    /// does, one is waited for, for a while. Dropping the future does not take the command back.
    pub async fn propose(&self, command: Command) -> Result<Proposed, ProposeError> {
        let give_up = Instant::now() + LEADER_TIMEOUT;
        loop {
            let leader = match self.propose_here(command.clone()).await {
                Err(ProposeError::NotLeader { leader }) => leader,
                decided => return decided,
            };
            let leader = match (leader, &self.network.peers) {
                (leader, None) => return Err(ProposeError::NotLeader { leader }),
                (Some(leader), _) => match self.forward(leader, &command).await {
                    Err(ProposeError::NotLeader { leader }) => leader,
                    decided => return decided,
                },
                (None, _) => None,
            };
            if Instant::now() > give_up || self.failure().is_some() {
                return Err(ProposeError::NotLeader { leader });
            }
            self.another_leader(LEADER_PAUSE).await;
        }
    }

    async fn propose_here(&self, command: Command) -> Result<Proposed, ProposeError> {
        let written = tokio::time::timeout(DECIDE_TIMEOUT, self.raft.client_write(Proposal(command))).await;
        let late = |_| ProposeError::Unknown("it was not decided in time".into());
        let written = written.map_err(late)?.map_err(propose_error)?;
        decided(written.log_id.index(), written.data, self.publisher.image())
    }

    /// Asks the leader. That nothing was proposed is told as [`ProposeError::NotLeader`], whatever the reason.
    async fn forward(&self, leader: BrokerId, command: &Command) -> Result<Proposed, ProposeError> {
        let to = NodeId::try_from(leader.0).map_err(|_| ProposeError::NotLeader { leader: None })?;
        let called = self.network.call(to, Lane::Quorum, wire::propose(command), DECIDE_TIMEOUT).await;
        let answer = match called.and_then(|answer| Ok(wire::take_propose_answer(&answer)?)) {
            Ok(answer) => answer,
            Err(error) if error.was_not_done() => {
                tracing::debug!(%error, "the leader of the metadata quorum was not asked");
                return Err(ProposeError::NotLeader { leader: None });
            }
            Err(error) => return Err(ProposeError::Unknown(error.to_string().into())),
        };
        match answer {
            ProposeAnswer::Decided(index, reply) => {
                self.applied(index).await?;
                decided(index, reply, self.publisher.image())
            }
            ProposeAnswer::NotLeader(leader) => Err(ProposeError::NotLeader { leader: leader.and_then(broker_id) }),
            ProposeAnswer::Unknown(text) => Err(ProposeError::Unknown(text)),
        }
    }

    /// Waits until the entry at `index` is folded in here.
    async fn applied(&self, index: u64) -> Result<(), ProposeError> {
        let is_there = |metrics: &RaftMetrics<TypeConfig>| {
            metrics.last_applied.as_ref().is_some_and(|applied| applied.index() >= index)
        };
        let waited = self.raft.wait(None).metrics(is_there, "the leader's answer is folded in").await;
        waited.map(drop).map_err(|error| ProposeError::Unknown(error.to_string().into()))
    }
}

fn decided(index: u64, reply: Reply, image: Arc<Image>) -> Result<Proposed, ProposeError> {
    match reply {
        Reply::Accepted(answer) => Ok(Proposed { index, answer, image }),
        Reply::Rejected(rejected) => Err(rejected.into()),
        Reply::Nothing => Err(ProposeError::Unknown("the command's entry held no command".into())),
    }
}

pub(crate) fn propose_error(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> ProposeError {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
            ProposeError::NotLeader { leader: forward.leader_id.and_then(broker_id) }
        }
        other => ProposeError::Unknown(other.to_string().into()),
    }
}
