//! One connection: requests in, answers out in the same order, and deadlines for a client that is slow or silent.
//!
//! The task does in turn: hand requests to the service as long as its bounds allow, take the answers that have become ready
//! off the front of the queue, write them together. Everything is polled by this one task; nothing is sent between tasks.
//!
//! Must not know: what a request means.

use std::collections::VecDeque;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::Sleep;

use super::inbox::{Frame, Inbox, ReceiveError};
use super::outbox::Outbox;
use super::permits::{RequestBudget, RequestPermit};
use super::service::{Answer, ConnectionInfo, Mute, Order, Replied, Reply, Request, Service};
use super::woken::OnlyWhenWoken;
use crate::telemetry::Held;

/// The bounds of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) frame_max: usize,
    pub(crate) in_flight_max: usize,
    pub(crate) queued_bytes_max: usize,
    /// Bytes of requests that are begun and not answered; beyond, no further body is read.
    pub(crate) request_bytes_max: usize,
    pub(crate) idle: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) write_timeout: Duration,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    #[error(transparent)]
    Receive(#[from] ReceiveError),
    #[error("cannot send: {0}")]
    Send(std::io::Error),
    #[error("{0}")]
    Garbage(Box<str>),
    #[error("no request for {0:?}")]
    Idle(Duration),
    #[error("a request did not arrive whole in time")]
    SlowRequest,
    #[error("the client took none of its answers for {0:?}")]
    SlowReader(Duration),
    #[error("the broker stops")]
    Shutdown,
}

impl Ended {
    /// One word for metrics.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::Receive(ReceiveError::Closed) => "closed",
            Self::Receive(ReceiveError::Length { .. }) | Self::Garbage(_) => "garbage",
            Self::Receive(ReceiveError::Io(_)) | Self::Send(_) => "io",
            Self::Idle(_) => "idle",
            Self::SlowRequest => "slow request",
            Self::SlowReader(_) => "slow reader",
            Self::Shutdown => "shutdown",
        }
    }

    /// Whether the client did what it should not.
    pub(crate) fn is_fault(&self) -> bool {
        matches!(
            self,
            Self::Receive(ReceiveError::Length { .. }) | Self::Garbage(_) | Self::SlowRequest | Self::SlowReader(_)
        )
    }
}

/// Runs one connection.
pub(crate) struct Connection<S> {
    stream: TcpStream,
    info: Arc<ConnectionInfo>,
    limits: Arc<Limits>,
    service: Arc<S>,
    inbox: Inbox,
    outbox: Outbox,
    pending: VecDeque<Pending>,
    /// Bytes of the requests in `pending`.
    request_bytes: usize,
    muted: Option<Muted>,
    /// Why no further request is taken; what is pending is still answered.
    ending: Option<Ended>,
    last_request: Instant,
    timer: Pin<Box<Sleep>>,
}

struct Muted {
    until: Instant,
    _counted: Held,
}

struct Pending {
    answer: Pin<Box<dyn Future<Output = Replied> + Send>>,
    order: Order,
    request_bytes: usize,
    _permit: Option<RequestPermit>,
}

impl<S> fmt::Debug for Connection<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("info", &self.info).finish_non_exhaustive()
    }
}

impl<S: Service> Connection<S> {
    pub(crate) fn new(
        stream: TcpStream,
        info: Arc<ConnectionInfo>,
        limits: Arc<Limits>,
        budget: RequestBudget,
        service: Arc<S>,
    ) -> Self {
        Self {
            stream,
            info,
            service,
            inbox: Inbox::new(limits.frame_max, budget),
            outbox: Outbox::default(),
            pending: VecDeque::new(),
            request_bytes: 0,
            muted: None,
            ending: None,
            last_request: Instant::now(),
            timer: Box::pin(tokio::time::sleep(limits.request_timeout.min(limits.idle))),
            limits,
        }
    }

    /// Serves requests until the client leaves, breaks the rules, or `shutdown` is ready.
    pub(crate) async fn run(mut self, shutdown: impl Future<Output = ()>) -> Ended {
        // All connections share the end of the broker, and its locks: it is asked about once, not with every request.
        let shutdown = std::pin::pin!(shutdown);
        let mut shutdown = OnlyWhenWoken::new(shutdown);
        poll_fn(|cx| {
            if self.ending.is_none() && shutdown.poll(cx).is_ready() {
                self.ending = Some(Ended::Shutdown);
            }
            self.poll(cx)
        })
        .await
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        let now = Instant::now();
        // A client that always has a request ready lets the tasks of others run in between.
        let mut turns = TURNS_MAX;
        loop {
            turns -= 1;
            if turns == 0 {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            let took = self.take_requests(cx, now);
            let answered = self.take_answers(cx);
            let full = !self.may_take();
            if let Poll::Ready(Err(error)) = self.outbox.poll_flush(&mut self.stream, cx, now) {
                return Poll::Ready(Ended::Send(error));
            }
            let room_again = full && self.may_take();
            if !took && !answered && !room_again {
                break;
            }
        }
        if self.pending.is_empty()
            && self.outbox.bytes() == 0
            && let Some(ended) = self.ending.take()
        {
            return Poll::Ready(ended);
        }
        self.poll_deadlines(cx, now)
    }

    /// Hands requests over until a bound is met or no whole one is there; tells whether one was.
    fn take_requests(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        if self.muted.as_ref().is_some_and(|muted| muted.until <= now) {
            self.muted = None;
        }
        let mut took = 0;
        while self.ending.is_none() {
            if !self.may_take() {
                self.inbox.read_ahead(&mut self.stream, cx);
                self.inbox.rest(now);
                // A client that has gone and left nothing to be done need not be waited for, however long it is muted.
                if self.muted.is_some() && self.pending.is_empty() {
                    self.ending = self.inbox.take_end().map(Ended::from);
                }
                break;
            }
            match self.inbox.poll_frame(&mut self.stream, cx, now) {
                Poll::Pending => break,
                Poll::Ready(Ok(frame)) => {
                    self.last_request = now;
                    self.begin(frame);
                    took += 1;
                    if took == self.limits.in_flight_max {
                        return true;
                    }
                }
                // A client that has sent all it wanted and closed its half still gets its answers.
                Poll::Ready(Err(error)) => self.ending = Some(error.into()),
            }
        }
        took > 0
    }

    fn may_take(&self) -> bool {
        self.muted.is_none()
            && self.pending.len() < self.limits.in_flight_max
            && self.outbox.bytes() < self.limits.queued_bytes_max
            && self.request_bytes < self.limits.request_bytes_max
            && self.pending.back().is_none_or(|last| last.order == Order::Pipelined)
    }

    fn begin(&mut self, Frame { bytes, permit, received }: Frame) {
        let request_bytes = bytes.len();
        let request = Request { frame: bytes, received, connection: Arc::clone(&self.info) };
        match self.service.call(request) {
            Answer::Now(Reply { pieces, mute }) => {
                self.mute(mute);
                if self.pending.is_empty() {
                    self.outbox.push(pieces);
                } else if !pieces.is_empty() {
                    self.pending.push_back(Pending {
                        answer: Box::pin(std::future::ready(Ok(pieces.into()))),
                        order: Order::Pipelined,
                        request_bytes: 0,
                        _permit: None,
                    });
                }
            }
            Answer::Later(answer, order @ Order::AloneAndLight) => {
                self.pending.push_back(Pending { answer, order, request_bytes: 0, _permit: None });
            }
            Answer::Later(answer, order) => {
                self.request_bytes += request_bytes;
                self.pending.push_back(Pending { answer, order, request_bytes, _permit: permit });
            }
            Answer::Close(why) => self.ending = Some(Ended::Garbage(why)),
        }
    }

    /// Takes what is ready off the front of the queue; tells whether something was.
    fn take_answers(&mut self, cx: &mut Context<'_>) -> bool {
        let mut took = false;
        while let Some(front) = self.pending.front_mut() {
            let Poll::Ready(reply) = front.answer.as_mut().poll(cx) else {
                return took;
            };
            let Reply { pieces, mute } = match reply {
                Ok(reply) => reply,
                Err(why) => {
                    // Answers come in order: without this one there are none behind it.
                    self.pending.clear();
                    self.request_bytes = 0;
                    self.ending = Some(Ended::Garbage(why));
                    return true;
                }
            };
            self.request_bytes -= front.request_bytes;
            self.outbox.push(pieces);
            self.pending.pop_front();
            self.mute(mute);
            took = true;
        }
        took
    }

    /// Takes no further requests until the latest end of all that have muted the connection.
    fn mute(&mut self, mute: Option<Mute>) {
        let Some(Mute { time, counted }) = mute else { return };
        let now = Instant::now();
        let until = now.checked_add(time).unwrap_or(now + self.limits.idle);
        if self.muted.as_ref().is_none_or(|muted| muted.until < until) {
            self.muted = Some(Muted { until, _counted: counted });
        }
    }

    /// Ends the connection when a deadline has passed; otherwise sees to it that the task wakes at the next one.
    ///
    /// The timer is only ever moved forward here: a deadline that moves back costs a wake-up later, not a timer now.
    fn poll_deadlines(&mut self, cx: &mut Context<'_>, now: Instant) -> Poll<Ended> {
        loop {
            let next = match self.next_deadline() {
                (at, Some(ended)) if at <= now => return Poll::Ready(ended),
                (at, _) => tokio::time::Instant::from_std(at),
            };
            if next < self.timer.deadline() {
                self.timer.as_mut().reset(next);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            if self.pending.is_empty() {
                self.inbox.shrink();
            }
            self.timer.as_mut().reset(next.max(tokio::time::Instant::now() + TIMER_STEP_MIN));
        }
    }

    /// The earliest deadline, and what it means; one that means nothing is only a time to look again.
    fn next_deadline(&self) -> (Instant, Option<Ended>) {
        let (at, ended) = self.next_end();
        match &self.muted {
            Some(muted) if muted.until < at => (muted.until, None),
            _ => (at, ended),
        }
    }

    fn next_end(&self) -> (Instant, Option<Ended>) {
        let limits = &*self.limits;
        if let Some(since) = self.outbox.stalled() {
            return (since + limits.write_timeout, Some(Ended::SlowReader(limits.write_timeout)));
        }
        // Also beside a long poll, which may last for as long as the client likes.
        if self.ending.is_none()
            && self.may_take()
            && let Some(at) = self.inbox.deadline(limits.request_timeout)
        {
            return (at, Some(Ended::SlowRequest));
        }
        if !self.pending.is_empty() || self.ending.is_some() {
            return (Instant::now() + limits.idle, None);
        }
        (self.last_request + limits.idle, Some(Ended::Idle(limits.idle)))
    }
}

/// How often one poll goes round.
const TURNS_MAX: usize = 4;

/// The timer is not set to less than this from now, so that it cannot spin.
const TIMER_STEP_MIN: Duration = Duration::from_millis(1);

#[cfg(test)]
mod tests;
