//! The sending half of a connection: answers that are ready leave together in one vectored write.
//!
//! Must not know: what is in an answer.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use bytes::{Buf, Bytes};
use tokio::io::AsyncWrite;
use tokio::net::TcpStream;

/// Pieces that go to the kernel in one call.
const SLICES_MAX: usize = 64;

/// Bytes that wait for the client to take them.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pieces: VecDeque<Bytes>,
    bytes: usize,
    /// Since when the client has taken nothing, while there is something to take.
    stalled: Option<Instant>,
}

impl Outbox {
    /// Appends pieces behind all that waits.
    pub(crate) fn push(&mut self, pieces: impl IntoIterator<Item = Bytes>) {
        for piece in pieces {
            if !piece.is_empty() {
                self.bytes += piece.len();
                self.pieces.push_back(piece);
            }
        }
    }

    /// How much waits.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Since when the client has taken nothing.
    pub(crate) fn stalled(&self) -> Option<Instant> {
        self.stalled
    }

    /// Writes until nothing waits (`Ready`) or the kernel takes no more.
    pub(crate) fn poll_flush(
        &mut self,
        stream: &mut TcpStream,
        cx: &mut Context<'_>,
        now: Instant,
    ) -> Poll<io::Result<()>> {
        while !self.pieces.is_empty() {
            self.stalled.get_or_insert(now);
            let written = ready!(self.poll_write(stream, cx))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.on_written(written);
        }
        Poll::Ready(Ok(()))
    }

    /// One call to the kernel. A single piece, as most answers are, is spared what the kernel does to look through many.
    fn poll_write(&self, stream: &mut TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let stream = Pin::new(stream);
        if let (Some(only), 1) = (self.pieces.front(), self.pieces.len()) {
            return stream.poll_write(cx, only);
        }
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let count = self.pieces.len().min(SLICES_MAX);
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece);
        }
        stream.poll_write_vectored(cx, &slices[..count])
    }

    fn on_written(&mut self, mut written: usize) {
        self.bytes -= written;
        self.stalled = None;
        while written > 0 {
            let front = self.pieces.front_mut().expect("no more is written than waits");
            if written < front.len() {
                front.advance(written);
                return;
            }
            written -= front.len();
            self.pieces.pop_front();
        }
    }
}
