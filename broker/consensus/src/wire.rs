//! The library's messages as bytes: what one node asks another.
//!
//! ```text
//!   0      1
//!   | kind | fields ...            numbers big-endian; `docs/peers.md` draws each kind
//! ```
//! The layouts are ours: what the library calls its fields and in which order is nothing that two releases have to agree on.
//!
//! Must not know: sockets, who is asked.

use bytes::Bytes;
use cairn_metadata::Command;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest, VoteResponse};
use uuid::Uuid;

use crate::bytes::{Cursor, Malformed, put_log_id};
use crate::entry;
use crate::types::{Entry, LogId, Reply, TypeConfig, Vote};

/// Kinds of requests from here on belong to others.
pub const KINDS_END: u8 = 32;

const APPEND: u8 = 1;
const VOTE: u8 = 2;
const PRE_VOTE: u8 = 3;
const PIECE: u8 = 4;
const TRANSFER: u8 = 5;
const PROPOSE: u8 = 6;

/// So many bytes of entries go into one message, and the rest into the next: a single larger one goes alone.
const APPEND_BYTES_MAX: usize = 1 << 20;

/// What one node asks another.
#[derive(Debug)]
pub(crate) enum Request {
    Append(AppendEntriesRequest<TypeConfig>),
    Vote(VoteRequest<TypeConfig>),
    PreVote(VoteRequest<TypeConfig>),
    Piece(Piece),
    Transfer(TransferLeaderRequest<TypeConfig>),
    Propose(Command),
}

/// A piece of a checkpoint. Pieces come one after the other; the last one ends at `total`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) vote: Vote,
    /// Which sending of a checkpoint: pieces of another one begin anew.
    pub(crate) sending: Uuid,
    pub(crate) total: u64,
    pub(crate) at: u64,
    pub(crate) bytes: Bytes,
}

/// What became of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PieceAnswer {
    /// It is kept; the next one may come.
    Kept,
    /// It was the last: the checkpoint is installed, or this node has promised to a higher vote.
    Whole(Vote),
}

/// What became of a forwarded command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ProposeAnswer {
    /// It was decided, at this index.
    Decided(u64, Reply),
    /// Nothing was proposed: this node does not lead.
    NotLeader(Option<u64>),
    /// Nobody knows.
    Unknown(Box<str>),
}

/// The request, and the last entry that went into it where not all did.
pub(crate) fn append(request: &AppendEntriesRequest<TypeConfig>) -> (Vec<u8>, Option<LogId>) {
    let mut bytes = vec![APPEND];
    put_vote(&mut bytes, &request.vote);
    put_log_id(&mut bytes, request.prev_log_id.as_ref());
    put_log_id(&mut bytes, request.leader_commit.as_ref());
    let mut left_off_at = None;
    let mut last = None;
    let begin = bytes.len();
    for entry in &request.entries {
        let value = entry::encode(entry);
        if last.is_some() && bytes.len() - begin + value.len() > APPEND_BYTES_MAX {
            left_off_at = last;
            break;
        }
        bytes.extend(entry.log_id.index().to_be_bytes());
        bytes.extend(u32::try_from(value.len()).expect("an entry is far smaller").to_be_bytes());
        bytes.extend(value);
        last = Some(entry.log_id);
    }
    (bytes, left_off_at)
}

pub(crate) fn vote(request: &VoteRequest<TypeConfig>) -> Vec<u8> {
    vote_of(VOTE, request)
}

pub(crate) fn pre_vote(request: &VoteRequest<TypeConfig>) -> Vec<u8> {
    vote_of(PRE_VOTE, request)
}

fn vote_of(kind: u8, request: &VoteRequest<TypeConfig>) -> Vec<u8> {
    let mut bytes = vec![kind];
    put_vote(&mut bytes, &request.vote);
    put_log_id(&mut bytes, request.last_log_id.as_ref());
    bytes.push(u8::from(request.leadership_transfer));
    bytes
}

pub(crate) fn piece(piece: &Piece) -> Vec<u8> {
    let mut bytes = vec![PIECE];
    put_vote(&mut bytes, &piece.vote);
    bytes.extend(piece.sending.as_bytes());
    bytes.extend(piece.total.to_be_bytes());
    bytes.extend(piece.at.to_be_bytes());
    bytes.extend(&piece.bytes);
    bytes
}

pub(crate) fn transfer(request: &TransferLeaderRequest<TypeConfig>) -> Vec<u8> {
    let mut bytes = vec![TRANSFER];
    put_vote(&mut bytes, request.from_leader());
    bytes.extend(request.to_node_id().to_be_bytes());
    put_log_id(&mut bytes, request.last_log_id());
    bytes
}

pub(crate) fn propose(command: &Command) -> Vec<u8> {
    let mut bytes = vec![PROPOSE];
    bytes.extend(command.encode());
    bytes
}

pub(crate) fn request(bytes: &Bytes) -> Result<Request, Malformed> {
    let mut cursor = Cursor(bytes);
    let kind = cursor.u8()?;
    if kind == PROPOSE {
        return Command::decode(cursor.rest()).map(Request::Propose).map_err(|_| Malformed);
    }
    let vote = take_vote(&mut cursor)?;
    let request = match kind {
        APPEND => {
            let (prev_log_id, leader_commit) = (cursor.log_id()?, cursor.log_id()?);
            let entries = take_entries(&mut cursor)?;
            Request::Append(AppendEntriesRequest { vote, prev_log_id, entries, leader_commit })
        }
        VOTE | PRE_VOTE => {
            let mut request = VoteRequest::new(vote, cursor.log_id()?);
            request.leadership_transfer = cursor.flag()?;
            if kind == VOTE { Request::Vote(request) } else { Request::PreVote(request) }
        }
        PIECE => {
            let (sending, total, at) = (Uuid::from_bytes(cursor.array()?), cursor.u64()?, cursor.u64()?);
            let rest = std::mem::take(&mut cursor.0);
            Request::Piece(Piece { vote, sending, total, at, bytes: bytes.slice_ref(rest) })
        }
        TRANSFER => Request::Transfer(TransferLeaderRequest::new(vote, cursor.u64()?, cursor.log_id()?)),
        _ => return Err(Malformed),
    };
    if cursor.rest().is_empty() { Ok(request) } else { Err(Malformed) }
}

fn take_entries(cursor: &mut Cursor<'_>) -> Result<Vec<Entry>, Malformed> {
    let mut entries = Vec::new();
    while !cursor.0.is_empty() {
        let (index, length) = (cursor.u64()?, cursor.array().map(u32::from_be_bytes)?);
        let (value, rest) = cursor.0.split_at_checked(length as usize).ok_or(Malformed)?;
        cursor.0 = rest;
        entries.push(entry::decode(index, value).map_err(|_| Malformed)?);
    }
    Ok(entries)
}

pub(crate) fn append_answer(answer: &AppendEntriesResponse<TypeConfig>) -> Vec<u8> {
    match answer {
        AppendEntriesResponse::Success => vec![0],
        AppendEntriesResponse::Conflict => vec![1],
        AppendEntriesResponse::HigherVote(vote) => {
            let mut bytes = vec![2];
            put_vote(&mut bytes, vote);
            bytes
        }
        AppendEntriesResponse::PartialSuccess(last) => {
            let mut bytes = vec![3];
            put_log_id(&mut bytes, last.as_ref());
            bytes
        }
    }
}

pub(crate) fn take_append_answer(bytes: &[u8]) -> Result<AppendEntriesResponse<TypeConfig>, Malformed> {
    whole(bytes, |cursor| match cursor.u8()? {
        0 => Ok(AppendEntriesResponse::Success),
        1 => Ok(AppendEntriesResponse::Conflict),
        2 => take_vote(cursor).map(AppendEntriesResponse::HigherVote),
        3 => cursor.log_id().map(AppendEntriesResponse::PartialSuccess),
        _ => Err(Malformed),
    })
}

pub(crate) fn vote_answer(answer: &VoteResponse<TypeConfig>) -> Vec<u8> {
    let mut bytes = Vec::new();
    put_vote(&mut bytes, &answer.vote);
    bytes.push(u8::from(answer.vote_granted));
    put_log_id(&mut bytes, answer.last_log_id.as_ref());
    bytes
}

pub(crate) fn take_vote_answer(bytes: &[u8]) -> Result<VoteResponse<TypeConfig>, Malformed> {
    whole(bytes, |cursor| {
        let (vote, granted, last) = (take_vote(cursor)?, cursor.flag()?, cursor.log_id()?);
        Ok(VoteResponse::new(vote, last, granted))
    })
}

pub(crate) fn piece_answer(answer: PieceAnswer) -> Vec<u8> {
    let PieceAnswer::Whole(vote) = answer else { return vec![0] };
    let mut bytes = vec![1];
    put_vote(&mut bytes, &vote);
    bytes
}

pub(crate) fn take_piece_answer(bytes: &[u8]) -> Result<PieceAnswer, Malformed> {
    whole(bytes, |cursor| match cursor.flag()? {
        false => Ok(PieceAnswer::Kept),
        true => take_vote(cursor).map(PieceAnswer::Whole),
    })
}

pub(crate) fn propose_answer(answer: &ProposeAnswer) -> Vec<u8> {
    match answer {
        ProposeAnswer::Decided(index, reply) => {
            let head = [&[0][..], &index.to_be_bytes()].concat();
            postcard::to_extend(reply, head).expect("a reply encodes into memory")
        }
        ProposeAnswer::NotLeader(leader) => {
            let mut bytes = vec![1, u8::from(leader.is_some())];
            bytes.extend(leader.unwrap_or_default().to_be_bytes());
            bytes
        }
        ProposeAnswer::Unknown(text) => [&[2][..], text.as_bytes()].concat(),
    }
}

pub(crate) fn take_propose_answer(bytes: &[u8]) -> Result<ProposeAnswer, Malformed> {
    let mut cursor = Cursor(bytes);
    match cursor.u8()? {
        0 => {
            let index = cursor.u64()?;
            match postcard::take_from_bytes(cursor.rest()) {
                Ok((reply, [])) => Ok(ProposeAnswer::Decided(index, reply)),
                _ => Err(Malformed),
            }
        }
        1 => {
            let (set, leader) = (cursor.flag()?, cursor.u64()?);
            Ok(ProposeAnswer::NotLeader(set.then_some(leader)))
        }
        2 => Ok(ProposeAnswer::Unknown(String::from_utf8_lossy(cursor.rest()).into())),
        _ => Err(Malformed),
    }
}

/// Reads all of `bytes`.
fn whole<T>(bytes: &[u8], take: impl FnOnce(&mut Cursor<'_>) -> Result<T, Malformed>) -> Result<T, Malformed> {
    let mut cursor = Cursor(bytes);
    let taken = take(&mut cursor)?;
    if cursor.rest().is_empty() { Ok(taken) } else { Err(Malformed) }
}

fn put_vote(bytes: &mut Vec<u8>, vote: &Vote) {
    bytes.extend(vote.leader_id.term.to_be_bytes());
    bytes.extend(vote.leader_id.voted_for.to_be_bytes());
    bytes.push(u8::from(vote.committed));
}

fn take_vote(cursor: &mut Cursor<'_>) -> Result<Vote, Malformed> {
    use openraft::vote::RaftLeaderId;
    let (term, node, committed) = (cursor.u64()?, cursor.u64()?, cursor.flag()?);
    let leader_id = openraft::alias::LeaderIdOf::<TypeConfig>::new(term, node);
    Ok(Vote { leader_id, committed })
}

#[cfg(test)]
mod tests {
    use cairn_metadata::{Answer, BrokerEpoch};
    use cairn_protocol::ids::BrokerId;
    use openraft::EntryPayload;
    use openraft::entry::RaftEntry;
    use proptest::prelude::*;

    use super::*;
    use crate::bytes::new_log_id;
    use crate::types::Proposal;

    fn a_vote() -> Vote {
        let leader_id = <openraft::alias::LeaderIdOf<TypeConfig> as openraft::vote::RaftLeaderId>::new(3, 7);
        Vote { leader_id, committed: true }
    }

    fn entry(index: u64, command: Command) -> Entry {
        Entry::new(new_log_id(3, index), EntryPayload::Normal(Proposal(command)))
    }

    fn small() -> Command {
        Command::AllocateProducerIds { broker: BrokerId(1), epoch: BrokerEpoch(2) }
    }

    fn requests() -> Vec<Vec<u8>> {
        let (prev, commit) = (Some(new_log_id(2, 4)), Some(new_log_id(2, 3)));
        let entries = vec![entry(5, small()), Entry::new(new_log_id(3, 6), EntryPayload::Blank)];
        let appended = AppendEntriesRequest { vote: a_vote(), prev_log_id: prev, entries, leader_commit: commit };
        let voted = VoteRequest { vote: a_vote(), last_log_id: prev, leadership_transfer: true };
        let pieced =
            Piece { vote: a_vote(), sending: Uuid::from_u128(9), total: 10, at: 8, bytes: Bytes::from_static(b"ab") };
        vec![
            append(&appended).0,
            vote(&voted),
            pre_vote(&voted),
            piece(&pieced),
            transfer(&TransferLeaderRequest::new(a_vote(), 8, prev)),
            propose(&small()),
        ]
    }

    fn again(request: Request) -> Vec<u8> {
        match request {
            Request::Append(request) => append(&request).0,
            Request::Vote(request) => vote(&request),
            Request::PreVote(request) => pre_vote(&request),
            Request::Piece(request) => piece(&request),
            Request::Transfer(request) => transfer(&request),
            Request::Propose(command) => propose(&command),
        }
    }

    #[test]
    fn golden_bytes_of_a_vote() {
        let expected = [
            &[VOTE][..],
            &[0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 7, 1],
            &[1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 4],
            &[1],
        ]
        .concat();
        assert_eq!(requests()[1], expected);
    }

    #[test]
    fn requests_are_read_back() {
        for bytes in requests() {
            let read = request(&Bytes::from(bytes.clone())).expect("decodes");
            assert_eq!(again(read), bytes);
        }
    }

    #[test]
    fn what_is_too_much_for_one_message_is_left_for_the_next() {
        let large = |name: &str| {
            let assignments = vec![vec![BrokerId(1); 40]; 10_000];
            Command::CreateTopic(cairn_metadata::NewTopic {
                name: name.into(),
                id: cairn_protocol::ids::TopicId(Uuid::from_u128(1)),
                assignments,
                configs: Vec::new(),
            })
        };
        let entries: Vec<_> = (1..9).map(|index| entry(index, large("large"))).collect();
        let request_of =
            |entries| AppendEntriesRequest { vote: a_vote(), prev_log_id: None, entries, leader_commit: None };
        let (bytes, left_off_at) = append(&request_of(entries.clone()));
        let Ok(Request::Append(read)) = request(&Bytes::from(bytes)) else { panic!("decodes") };
        assert!((1..8).contains(&read.entries.len()), "{}", read.entries.len());
        assert_eq!(left_off_at, read.entries.last().map(|entry| entry.log_id));
        assert_eq!(read.entries[..], entries[..read.entries.len()]);
        let (_, left_off_at) = append(&request_of(entries[..1].to_vec()));
        assert_eq!(left_off_at, None, "one alone goes whole");
    }

    #[test]
    fn answers_are_read_back_and_cut_ones_refused() {
        let last = Some(new_log_id(2, 4));
        for answer in [
            AppendEntriesResponse::Success,
            AppendEntriesResponse::Conflict,
            AppendEntriesResponse::HigherVote(a_vote()),
            AppendEntriesResponse::PartialSuccess(last),
        ] {
            let bytes = append_answer(&answer);
            assert_eq!(take_append_answer(&bytes), Ok(answer));
            assert_eq!(take_append_answer(&bytes[..bytes.len() - 1]), Err(Malformed));
            assert_eq!(take_append_answer(&[&bytes[..], &[0]].concat()), Err(Malformed));
        }
        let answer = VoteResponse::new(a_vote(), last, true);
        assert_eq!(take_vote_answer(&vote_answer(&answer)), Ok(answer));
        for answer in [PieceAnswer::Kept, PieceAnswer::Whole(a_vote())] {
            assert_eq!(take_piece_answer(&piece_answer(answer)), Ok(answer));
        }
        for answer in [
            ProposeAnswer::Decided(7, Reply::Accepted(Answer::Done)),
            ProposeAnswer::NotLeader(Some(3)),
            ProposeAnswer::NotLeader(None),
            ProposeAnswer::Unknown("why".into()),
        ] {
            assert_eq!(take_propose_answer(&propose_answer(&answer)), Ok(answer));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_bytes_are_read_or_refused(kind in 0..8u8, body in prop::collection::vec(any::<u8>(), 0..200)) {
            let bytes = [&[kind][..], &body].concat();
            if let Ok(read) = request(&Bytes::from(bytes.clone())) {
                prop_assert_eq!(again(read), bytes);
            }
            let _ = (take_append_answer(&body), take_vote_answer(&body), take_piece_answer(&body), take_propose_answer(&body));
        }

        #[test]
        fn a_request_with_one_byte_changed_is_read_or_refused(which in 0..6usize, at in 0..200usize, to in any::<u8>()) {
            let mut bytes = requests().swap_remove(which);
            let at = at % bytes.len();
            bytes[at] = to;
            let _ = request(&Bytes::from(bytes));
        }
    }
}
