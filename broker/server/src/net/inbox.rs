//! The receiving half of a connection: bytes become whole frames, within the budget, and with memory that grows by what has
//! arrived and never by what a length promises.
//!
//! ```text
//!   | length: i32 | request ... | length | request ...
//! ```
//!
//! Must not know: what is in a frame.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::net::TcpStream;
use tokio_util::io::poll_read_buf;

use super::permits::{RequestBudget, RequestPermit};

/// Bytes that a connection may hold outside the budget: requests up to this length need no permit, so that small ones go on
/// while large ones wait for room.
pub(crate) const FREE_BYTES: usize = 16 << 10;
/// The least by which the buffer grows for a frame that is longer than it.
const GROWTH_MIN: usize = 64 << 10;
/// A buffer that has held a longer frame than this is given back with it.
const KEPT_BYTES: usize = 2 << 20;
/// The slowest that a frame may arrive, beside the timeout that every frame has.
const BYTES_PER_SECOND_MIN: u64 = 64 << 10;

const LENGTH: usize = 4;

/// Receives the frames of one connection.
pub(crate) struct Inbox {
    buffer: BytesMut,
    frame_max: usize,
    budget: RequestBudget,
    wanted: Wanted,
    permit: Option<RequestPermit>,
    /// When the first byte of the frame that is arriving came, or its permit.
    begun: Option<Instant>,
    /// When bytes came last.
    received: Instant,
    /// Nothing more will come; what is buffered still counts.
    closed: Option<ReceiveError>,
}

/// What has to come before the frame that is arriving is whole.
enum Wanted {
    /// Its length.
    Length,
    /// Room in the broker's budget for so many bytes.
    Permit(usize, Pin<Box<dyn Future<Output = RequestPermit> + Send>>),
    /// So many bytes.
    Body(usize),
}

/// A whole frame, without its length.
pub(crate) struct Frame {
    pub(crate) bytes: Bytes,
    pub(crate) permit: Option<RequestPermit>,
    /// When its last bytes came.
    pub(crate) received: Instant,
}

/// Why no further frame comes.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiveError {
    /// The client has closed, between two frames or within one.
    #[error("closed by the client")]
    Closed,
    /// The length is no length of a request.
    #[error("request length {length} is not from {LENGTH_MIN} to {max}")]
    Length { length: i32, max: usize },
    /// The socket failed.
    #[error("cannot receive: {0}")]
    Io(#[from] std::io::Error),
}

/// The shortest request: API key, version, correlation id.
const LENGTH_MIN: usize = 8;

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").field("buffered", &self.buffer.len()).finish_non_exhaustive()
    }
}

impl Inbox {
    pub(crate) fn new(frame_max: usize, budget: RequestBudget) -> Self {
        let buffer = BytesMut::new();
        let received = Instant::now();
        Self { buffer, frame_max, budget, wanted: Wanted::Length, permit: None, begun: None, received, closed: None }
    }

    /// The next whole frame. Reads from the socket only when the buffer does not hold one.
    pub(crate) fn poll_frame(
        &mut self,
        stream: &mut TcpStream,
        cx: &mut Context<'_>,
        now: Instant,
    ) -> Poll<Result<Frame, ReceiveError>> {
        loop {
            if let Some(frame) = ready!(self.poll_buffered(cx, now))? {
                return Poll::Ready(Ok(frame));
            }
            if let Some(error) = self.closed.take() {
                return Poll::Ready(Err(error));
            }
            ready!(self.poll_read(stream, cx))?;
            self.begun.get_or_insert(now);
        }
    }

    /// Reads ahead a little while no frame is wanted, so that the next ones are there when they are.
    pub(crate) fn read_ahead(&mut self, stream: &mut TcpStream, cx: &mut Context<'_>) {
        while self.closed.is_none() && self.buffer.len() < FREE_BYTES {
            match self.poll_read(stream, cx) {
                Poll::Pending => return,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(error)) => self.closed = Some(error),
            }
        }
    }

    /// When more of the frame that is arriving must have come; none while none is, or while it waits for the broker. What
    /// has arrived gives time, what was promised does not: a length costs nothing to send, and holds room that others want.
    pub(crate) fn deadline(&self, timeout: Duration) -> Option<Instant> {
        let arrived = match self.wanted {
            Wanted::Length => 0,
            Wanted::Permit(..) => return None,
            Wanted::Body(length) => length.min(self.buffer.len()),
        };
        let by_length = Duration::from_secs(arrived as u64 / BYTES_PER_SECOND_MIN);
        self.begun.map(|begun| begun + timeout + by_length)
    }

    /// The broker reads no further for now: the time of the frame that is arriving begins anew when it does.
    pub(crate) fn rest(&mut self, now: Instant) {
        self.begun = self.begun.map(|_| now);
    }

    /// Why nothing more will come, when it is known and nothing is left to hand out.
    pub(crate) fn take_end(&mut self) -> Option<ReceiveError> {
        let is_between_frames = self.buffer.is_empty() && matches!(self.wanted, Wanted::Length);
        if is_between_frames { self.closed.take() } else { None }
    }

    /// Gives memory back that a resting connection does not need.
    pub(crate) fn shrink(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }

    /// Bytes that have arrived and are not handed out.
    #[cfg(test)]
    pub(crate) fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Bytes of memory that are held for arriving frames.
    #[cfg(test)]
    pub(crate) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// Takes a frame out of the buffer; none when bytes are missing.
    fn poll_buffered(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Result<Option<Frame>, ReceiveError>> {
        loop {
            match &mut self.wanted {
                Wanted::Length => {
                    if self.buffer.len() < LENGTH {
                        return Poll::Ready(Ok(None));
                    }
                    self.on_length()?;
                }
                Wanted::Permit(length, permit) => {
                    let permit = ready!(permit.as_mut().poll(cx));
                    self.wanted = Wanted::Body(*length);
                    self.permit = Some(permit);
                    self.begun = Some(now);
                }
                Wanted::Body(length) => {
                    let length = *length;
                    if self.buffer.len() < length {
                        return Poll::Ready(Ok(None));
                    }
                    let bytes = self.buffer.split_to(length).freeze();
                    if length > KEPT_BYTES {
                        self.buffer = BytesMut::from(&self.buffer[..]);
                    }
                    self.wanted = Wanted::Length;
                    self.begun = (!self.buffer.is_empty()).then_some(now);
                    return Poll::Ready(Ok(Some(Frame { bytes, permit: self.permit.take(), received: self.received })));
                }
            }
        }
    }

    fn on_length(&mut self) -> Result<(), ReceiveError> {
        let length = self.buffer.get_i32();
        let legal = usize::try_from(length).ok().filter(|length| (LENGTH_MIN..=self.frame_max).contains(length));
        let Some(bytes) = legal else {
            return Err(ReceiveError::Length { length, max: self.frame_max });
        };
        self.wanted = Wanted::Body(bytes);
        if bytes <= FREE_BYTES {
            return Ok(());
        }
        let charge = length.unsigned_abs();
        self.permit = self.budget.try_take(charge);
        if self.permit.is_none() {
            self.wanted = Wanted::Permit(bytes, Box::pin(self.budget.clone().take(charge)));
        }
        Ok(())
    }

    /// One read: up to the end of the frame that is arriving, and a little of what follows.
    fn poll_read(&mut self, stream: &mut TcpStream, cx: &mut Context<'_>) -> Poll<Result<(), ReceiveError>> {
        let missing = match self.wanted {
            Wanted::Length | Wanted::Permit(..) => 0,
            Wanted::Body(length) => length.saturating_sub(self.buffer.len()),
        };
        let limit = missing + FREE_BYTES;
        let spare = self.buffer.capacity() - self.buffer.len();
        if spare < limit {
            self.buffer.reserve(limit.min(GROWTH_MIN.max(self.buffer.len())).max(FREE_BYTES));
        }
        let mut target = (&mut self.buffer).limit(limit);
        match ready!(poll_read_buf(Pin::new(stream), cx, &mut target))? {
            0 => Poll::Ready(Err(ReceiveError::Closed)),
            _ => {
                self.received = Instant::now();
                Poll::Ready(Ok(()))
            }
        }
    }
}
