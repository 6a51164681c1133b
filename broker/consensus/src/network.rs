//! What carries the library's messages to other voters. There are none yet, so every one of them is unreachable.
//!
//! Pre-votes are refused like everything else: the library's default would grant them, and a node that reaches nobody
//! could then believe that a quorum is with it.
//!
//! Must not know: what the messages say.

use openraft::anyerror::AnyError;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};

use crate::machine::SnapshotData;
use crate::types::{NodeId, TypeConfig, Vote, Voter};

/// Connects to nobody.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NoPeers;

/// A voter that cannot be reached.
#[derive(Debug)]
pub(crate) struct UnreachablePeer(NodeId);

impl UnreachablePeer {
    fn error(&self) -> Unreachable<TypeConfig> {
        let text = format!("this release has no connections between brokers: voter {} is unreachable", self.0);
        Unreachable::new(&AnyError::error(text))
    }
}

impl RaftNetworkFactory<TypeConfig> for NoPeers {
    type Network = UnreachablePeer;

    async fn new_client(&mut self, target: NodeId, _node: &Voter) -> UnreachablePeer {
        UnreachablePeer(target)
    }
}

impl RaftNetworkV2<TypeConfig> for UnreachablePeer {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        _rpc: AppendEntriesRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(RPCError::Unreachable(self.error()))
    }

    async fn vote(
        &mut self,
        _rpc: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(RPCError::Unreachable(self.error()))
    }

    async fn pre_vote(
        &mut self,
        _rpc: VoteRequest<TypeConfig>,
        _option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        Err(RPCError::Unreachable(self.error()))
    }

    async fn full_snapshot(
        &mut self,
        _vote: Vote,
        _snapshot: openraft::alias::SnapshotOf<TypeConfig, SnapshotData>,
        _cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        Err(StreamingError::Unreachable(self.error()))
    }
}
