//! The other end of the network: what other nodes ask of this one.
//!
//! Must not know: sockets, connections.

use bytes::Bytes;
use openraft::Raft;
use openraft::errors::{ClientWriteError, RaftError};
use parking_lot::Mutex;
use tokio::task::spawn_blocking;
use uuid::Uuid;

use crate::bytes::term_of;
use crate::checkpoint::{CHECKPOINT_BYTES_MAX, Checkpoint};
use crate::machine::{Machine, snapshot};
use crate::types::{Proposal, TypeConfig, Vote};
use crate::wire::{self, Piece, PieceAnswer, ProposeAnswer, Request};

/// The checkpoint that is arriving. One at a time: who begins another one takes its place.
#[derive(Debug, Default)]
pub(crate) struct Arriving(Mutex<Option<Pieces>>);

#[derive(Debug)]
struct Pieces {
    sending: Uuid,
    bytes: Vec<u8>,
}

/// A request was not carried out.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotServed {
    #[error("the request is not understood")]
    Malformed,
    #[error("a checkpoint's pieces do not follow on")]
    Piece,
    #[error("a checkpoint does not decode: {0}")]
    Checkpoint(Box<str>),
    #[error("the metadata quorum has stopped here: {0}")]
    Stopped(Box<str>),
}

impl Arriving {
    /// Keeps a piece; the whole when it was the last. Only what has arrived takes memory.
    fn keep(&self, piece: &Piece) -> Result<Option<Vec<u8>>, NotServed> {
        let mut arriving = self.0.lock();
        if piece.at == 0 {
            *arriving = Some(Pieces { sending: piece.sending, bytes: Vec::new() });
        }
        let pieces = arriving.as_mut().filter(|pieces| pieces.sending == piece.sending).ok_or(NotServed::Piece)?;
        let end = (pieces.bytes.len() + piece.bytes.len()) as u64;
        let follows_on = piece.at == pieces.bytes.len() as u64;
        if !follows_on
            || end > piece.total
            || piece.total > CHECKPOINT_BYTES_MAX
            || (piece.bytes.is_empty() && end < piece.total)
        {
            *arriving = None;
            return Err(NotServed::Piece);
        }
        pieces.bytes.extend_from_slice(&piece.bytes);
        if end < piece.total {
            return Ok(None);
        }
        Ok(arriving.take().map(|pieces| pieces.bytes))
    }
}

/// Carries out what another node asks, and gives back the answer's bytes.
pub(crate) async fn serve(
    raft: &Raft<TypeConfig, Machine>,
    arriving: &Arriving,
    request: &Bytes,
) -> Result<Vec<u8>, NotServed> {
    let stopped = |error: &dyn std::fmt::Display| NotServed::Stopped(error.to_string().into());
    match wire::request(request).map_err(|_| NotServed::Malformed)? {
        Request::Append(request) => {
            let answer = raft.append_entries(request).await.map_err(|error| stopped(&error))?;
            Ok(wire::append_answer(&answer))
        }
        Request::Vote(request) => {
            let answer = raft.vote(request).await.map_err(|error| stopped(&error))?;
            Ok(wire::vote_answer(&answer))
        }
        Request::PreVote(request) => {
            let answer = raft.pre_vote(request).await.map_err(|error| stopped(&error))?;
            Ok(wire::vote_answer(&answer))
        }
        Request::Transfer(request) => {
            if let Err(refused) = raft.handle_transfer_leader(request).await.map_err(|error| stopped(&error))? {
                tracing::info!(%refused, "the lead of the metadata quorum is not taken over");
            }
            Ok(Vec::new())
        }
        Request::Piece(piece) => {
            let answer = match arriving.keep(&piece)? {
                None => PieceAnswer::Kept,
                Some(bytes) => PieceAnswer::Whole(install(raft, piece.vote, bytes).await?),
            };
            Ok(wire::piece_answer(answer))
        }
        Request::Propose(command) => {
            let answer = match raft.client_write(Proposal(command)).await {
                Ok(written) => ProposeAnswer::Decided(written.log_id.index(), written.data),
                Err(RaftError::APIError(ClientWriteError::ForwardToLeader(forward))) => {
                    ProposeAnswer::NotLeader(forward.leader_id)
                }
                Err(error) => ProposeAnswer::Unknown(error.to_string().into()),
            };
            Ok(wire::propose_answer(&answer))
        }
    }
}

async fn install(raft: &Raft<TypeConfig, Machine>, vote: Vote, bytes: Vec<u8>) -> Result<Vote, NotServed> {
    let decoded = spawn_blocking(move || Checkpoint::decode(&bytes)).await;
    let decoded = decoded.map_err(|error| NotServed::Stopped(error.to_string().into()))?;
    let checkpoint = decoded.map_err(|error| NotServed::Checkpoint(error.to_string().into()))?;
    // The library takes this for impossible, and would end the process's part in the quorum over it.
    if checkpoint.meta.last_log_id.as_ref().is_some_and(|last| term_of(last) > vote.leader_id.term) {
        return Err(NotServed::Checkpoint("it holds entries of a later leader than its sender".into()));
    }
    let installed = raft.install_full_snapshot(vote, snapshot(checkpoint)).await;
    installed.map(|answer| answer.vote).map_err(|error| NotServed::Stopped(error.to_string().into()))
}

#[cfg(test)]
mod tests {
    use openraft::vote::RaftLeaderId;

    use super::*;

    fn piece(sending: u128, total: u64, at: u64, bytes: &'static [u8]) -> Piece {
        let vote = Vote { leader_id: openraft::alias::LeaderIdOf::<TypeConfig>::new(1, 1), committed: true };
        Piece { vote, sending: Uuid::from_u128(sending), total, at, bytes: Bytes::from_static(bytes) }
    }

    #[test]
    fn pieces_make_a_whole_only_when_they_follow_on() {
        let arriving = Arriving::default();
        assert!(matches!(arriving.keep(&piece(1, 4, 2, b"cd")), Err(NotServed::Piece)), "nothing has begun");
        assert!(matches!(arriving.keep(&piece(1, 4, 0, b"ab")), Ok(None)));
        assert!(matches!(arriving.keep(&piece(2, 4, 2, b"cd")), Err(NotServed::Piece)), "of another sending");
        assert_eq!(arriving.keep(&piece(1, 4, 2, b"cd")).unwrap().as_deref(), Some(&b"abcd"[..]));
        assert!(matches!(arriving.keep(&piece(1, 4, 2, b"cd")), Err(NotServed::Piece)), "it is over");
        // One that begins anew takes the place of the one before.
        assert!(matches!(arriving.keep(&piece(3, 4, 0, b"ab")), Ok(None)));
        assert!(matches!(arriving.keep(&piece(4, 2, 0, b"x")), Ok(None)));
        assert!(matches!(arriving.keep(&piece(3, 4, 2, b"cd")), Err(NotServed::Piece)));
        assert_eq!(arriving.keep(&piece(4, 2, 1, b"y")).unwrap().as_deref(), Some(&b"xy"[..]));
    }

    #[test]
    fn pieces_beyond_their_bounds_are_refused() {
        let arriving = Arriving::default();
        assert!(matches!(arriving.keep(&piece(1, 1, 0, b"ab")), Err(NotServed::Piece)));
        assert!(matches!(arriving.keep(&piece(1, u64::MAX, 0, b"ab")), Err(NotServed::Piece)));
        assert!(matches!(arriving.keep(&piece(1, 2, 0, b"")), Err(NotServed::Piece)), "pieces without bytes never end");
    }
}
