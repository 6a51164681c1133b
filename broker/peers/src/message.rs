//! What is sent in one frame, and what has come in one.
//!
//! A body is covered by the frame's checksum. A payload, if there is one, brings checksums of its own, so that it is read but once; it is sent from where it
//! lies, in as many pieces as it has.
//!
//! Must not know: what either says.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes};

/// What is asked of a peer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// At most [`BODY_BYTES_MAX`](crate::BODY_BYTES_MAX) long.
    pub body: Bytes,
    /// The pieces of the payload; at most [`PAYLOAD_BYTES_MAX`](crate::PAYLOAD_BYTES_MAX) together, and none but on the replication lane.
    pub payload: Vec<Bytes>,
}

impl Message {
    pub(crate) fn payload_len(&self) -> usize {
        self.payload.iter().map(Bytes::len).sum()
    }
}

impl From<Bytes> for Message {
    fn from(body: Bytes) -> Self {
        Self { body, payload: Vec::new() }
    }
}

/// What a peer asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// It came as it was sent.
    pub body: Bytes,
    /// Empty, but on the replication lane. Its checksums are to be compared by whoever takes it.
    pub payload: Bytes,
}

/// Bytes on their way to a socket, which takes many pieces in one call.
#[derive(Debug)]
pub(crate) struct Pieces(VecDeque<Bytes>);

impl Pieces {
    pub(crate) fn new(head: Bytes, message: Message) -> Self {
        let pieces = [head, message.body].into_iter().chain(message.payload);
        Self(pieces.filter(|piece| !piece.is_empty()).collect())
    }
}

impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.0.iter().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.0.front().map_or(&[], |front| front)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let pieces = slices.iter_mut().zip(&self.0);
        pieces.map(|(slice, piece)| *slice = IoSlice::new(piece)).count()
    }

    fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let front = self.0.front_mut().expect("no more is taken than there is");
            if count < front.len() {
                front.advance(count);
                return;
            }
            count -= front.len();
            self.0.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_taken_in_their_order_wherever_a_call_ends() {
        let parts: [&'static [u8]; 5] = [b"head", b"", b"body", b"records", b"more"];
        let whole = parts.concat();
        let [head, body, payload @ ..] = parts.map(Bytes::from_static);
        for step in 1..=whole.len() {
            let message = Message { body: body.clone(), payload: payload.to_vec() };
            let mut pieces = Pieces::new(head.clone(), message);
            let mut taken = Vec::new();
            while pieces.has_remaining() {
                let mut slices = [IoSlice::new(&[]); 3];
                let count = pieces.chunks_vectored(&mut slices);
                let seen: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.iter().copied()).collect();
                assert!(whole[taken.len()..].starts_with(&seen), "step {step}");
                let step = step.min(seen.len());
                taken.extend_from_slice(&seen[..step]);
                pieces.advance(step);
            }
            assert_eq!(taken, whole);
        }
    }
}
