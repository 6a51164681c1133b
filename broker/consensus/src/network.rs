//! What carries the library's messages to other nodes: requests over the connections between brokers.
//!
//! Pre-votes are carried like everything else: the library's default would grant them, and a node that reaches nobody could then
//! believe that a quorum is with it.
//!
//! Must not know: how connections come about, what the messages lead to.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_peers::{BODY_BYTES_MAX, CallError, Lane, Peers, Target};
use cairn_protocol::ids::BrokerId;
use openraft::anyerror::AnyError;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{RPCOption, RPCTypes};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use parking_lot::RwLock;
use tokio::task::spawn_blocking;
use uuid::Uuid;

use crate::bytes::Malformed;
use crate::checkpoint::Checkpoint;
use crate::machine::SnapshotData;
use crate::types::{NodeId, TypeConfig, Vote, Voter};
use crate::wire::{self, Piece, PieceAnswer};

/// A checkpoint goes in pieces of so many bytes.
const PIECE_BYTES: usize = 512 << 10;
/// How long each may take.
const PIECE_TIMEOUT: Duration = Duration::from_secs(10);

/// Where each node is reached: as the cluster's members say, or as the node itself has said since.
#[derive(Clone, Debug, Default)]
pub(crate) struct Addresses(Arc<RwLock<HashMap<NodeId, Voter>>>);

impl Addresses {
    /// From now on the node is there.
    pub(crate) fn put(&self, node: NodeId, at: &Voter) {
        self.0.write().insert(node, at.clone());
    }

    fn put_unknown(&self, node: NodeId, at: &Voter) {
        self.0.write().entry(node).or_insert_with(|| at.clone());
    }

    pub(crate) fn get(&self, node: NodeId) -> Option<Target> {
        let there = self.0.read().get(&node).filter(|there| there.port != 0).cloned()?;
        let node = i32::try_from(node).ok().map(BrokerId);
        Some(Target { node, host: there.host, port: there.port })
    }
}

/// Connects to the other nodes; to nobody where there are none.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    pub(crate) id: NodeId,
    pub(crate) peers: Option<Peers>,
    pub(crate) addresses: Addresses,
}

impl Network {
    /// Asks another node.
    pub(crate) async fn call(
        &self,
        to: NodeId,
        lane: Lane,
        request: Vec<u8>,
        within: Duration,
    ) -> Result<Bytes, NotCalled> {
        let peers = self.peers.as_ref().ok_or(NotCalled::NoPeers)?;
        let target = self.addresses.get(to).ok_or(NotCalled::NoAddress(to))?;
        if request.len() > BODY_BYTES_MAX {
            return Err(NotCalled::TooLong(request.len()));
        }
        Ok(peers.call(&target, lane, Bytes::from(request), within).await?)
    }
}

/// A node was not asked, or did not answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotCalled {
    #[error("this broker has no peers")]
    NoPeers,
    #[error("where node {0} is reached is not known")]
    NoAddress(NodeId),
    #[error("a message of {0} bytes is too long")]
    TooLong(usize),
    #[error("the answer is not understood")]
    Malformed(#[from] Malformed),
    #[error(transparent)]
    Call(#[from] CallError),
}

impl NotCalled {
    /// Whether nothing can have come of the request: it did not reach the node, or the node says that it did nothing.
    pub(crate) fn was_not_done(&self) -> bool {
        match self {
            Self::NoPeers | Self::NoAddress(_) | Self::TooLong(_) | Self::Call(CallError::Failed { .. }) => true,
            Self::Malformed(_) => false,
            Self::Call(error) => error.was_not_sent(),
        }
    }
}

/// The library's messages to one node.
#[derive(Debug)]
pub(crate) struct Messages {
    network: Network,
    to: NodeId,
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Messages;

    async fn new_client(&mut self, target: NodeId, node: &Voter) -> Messages {
        self.addresses.put_unknown(target, node);
        Messages { network: self.clone(), to: target }
    }
}

impl Messages {
    async fn ask<T>(
        &self,
        lane: Lane,
        request: Vec<u8>,
        (action, within): (RPCTypes, Duration),
        take: impl FnOnce(&[u8]) -> Result<T, Malformed>,
    ) -> Result<T, RPCError<TypeConfig>> {
        let asked = self.network.call(self.to, lane, request, within).await;
        match asked.and_then(|answer| Ok(take(&answer)?)) {
            Ok(answer) => Ok(answer),
            Err(NotCalled::Call(CallError::Timeout { within, .. })) => {
                Err(Timeout { action, id: self.network.id, target: self.to, timeout: within }.into())
            }
            // A connection that was lost may be made anew at once; whoever is not there may be for long.
            Err(error @ NotCalled::Call(CallError::Lost(_))) => {
                Err(RPCError::Network(NetworkError::new(&AnyError::error(error))))
            }
            Err(error) => Err(RPCError::Unreachable(Unreachable::new(&AnyError::error(error)))),
        }
    }

    async fn send_checkpoint(
        &self,
        vote: Vote,
        bytes: Bytes,
    ) -> Result<SnapshotResponse<TypeConfig>, RPCError<TypeConfig>> {
        let (sending, total) = (Uuid::new_v4(), bytes.len());
        let mut at = 0;
        loop {
            let end = (at + PIECE_BYTES).min(total);
            let piece = Piece { vote, sending, total: total as u64, at: at as u64, bytes: bytes.slice(at..end) };
            let asking = (RPCTypes::InstallSnapshot, PIECE_TIMEOUT);
            let answer = self.ask(Lane::Bulk, wire::piece(&piece), asking, wire::take_piece_answer).await?;
            match answer {
                PieceAnswer::Whole(vote) => return Ok(SnapshotResponse::new(vote)),
                PieceAnswer::Kept if end < total => at = end,
                PieceAnswer::Kept => {
                    let error = AnyError::error("a checkpoint was sent whole and not taken for whole");
                    return Err(RPCError::Network(NetworkError::new(&error)));
                }
            }
        }
    }
}

impl RaftNetworkV2<TypeConfig> for Messages {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RPCError<TypeConfig>> {
        let (request, left_off_at) = wire::append(&rpc);
        let asking = (RPCTypes::AppendEntries, option.soft_ttl());
        let answer = self.ask(Lane::Quorum, request, asking, wire::take_append_answer).await?;
        match (answer, left_off_at) {
            (AppendEntriesResponse::Success, Some(last)) => Ok(AppendEntriesResponse::PartialSuccess(Some(last))),
            (answer, _) => Ok(answer),
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let asking = (RPCTypes::Vote, option.soft_ttl());
        self.ask(Lane::Quorum, wire::vote(&rpc), asking, wire::take_vote_answer).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RPCError<TypeConfig>> {
        let asking = (RPCTypes::Vote, option.soft_ttl());
        self.ask(Lane::Quorum, wire::pre_vote(&rpc), asking, wire::take_vote_answer).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: openraft::alias::SnapshotOf<TypeConfig, SnapshotData>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let checkpoint = Checkpoint { meta: snapshot.meta, image: snapshot.snapshot };
        let encoded = spawn_blocking(move || checkpoint.encode()).await;
        let bytes = encoded.map_err(|error| StreamingError::Network(NetworkError::new(&error)))?;
        tokio::select! {
            sent = self.send_checkpoint(vote, bytes.into()) => Ok(sent?),
            closed = cancel => Err(StreamingError::Closed(closed)),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RPCError<TypeConfig>> {
        let asking = (RPCTypes::TransferLeader, option.soft_ttl());
        // That it was refused is no error of the network; why is in the log of who refused it.
        self.ask(Lane::Quorum, wire::transfer(&request), asking, |_| Ok(Ok(()))).await
    }
}
