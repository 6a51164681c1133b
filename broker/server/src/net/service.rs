//! What a connection and the one that handles its requests say to each other: requests, answers, and what is known about the
//! client.
//!
//! Must not know: sockets, what a request means.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::listener::ListenerInfo;
use crate::telemetry::Held;

/// What handles requests: the dispatcher, and in tests something simpler.
pub(crate) trait Service: Send + Sync + 'static {
    /// Begins a request, with all that must happen in the order of arrival; what may wait comes back as [`Answer::Later`].
    fn call(&self, request: Request) -> Answer;
}

/// One request as it arrived.
#[derive(Debug)]
pub(crate) struct Request {
    /// The frame without its length.
    pub(crate) frame: Bytes,
    /// When its last bytes came.
    pub(crate) received: Instant,
    pub(crate) connection: Arc<ConnectionInfo>,
}

/// What became of a request.
pub(crate) enum Answer {
    /// The answer.
    Now(Reply),
    /// The answer comes when the future is ready.
    Later(Pin<Box<dyn Future<Output = Replied> + Send>>, Order),
    /// The bytes were no request, or there is no answer to it: the connection ends.
    Close(Box<str>),
}

/// An answer, and what follows for the connection.
#[derive(Debug, Default)]
pub(crate) struct Reply {
    /// With the length in front; empty when the client wants none.
    pub(crate) pieces: Vec<Bytes>,
    pub(crate) mute: Option<Mute>,
}

/// The client has used more than it may: no further request of it is taken for a while (KIP-219). Its answers still leave.
#[derive(Debug)]
pub(crate) struct Mute {
    pub(crate) time: Duration,
    /// Counts the connection as long as it is muted.
    pub(crate) counted: Held,
}

impl From<Vec<Bytes>> for Reply {
    fn from(pieces: Vec<Bytes>) -> Self {
        Self { pieces, mute: None }
    }
}

/// What has become of an answer that was waited for; without one, the connection ends.
pub(crate) type Replied = Result<Reply, Box<str>>;

/// Whether the next request may begin before this one is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// It may: all that counts for order has happened.
    Pipelined,
    /// It may not, so that it sees what this one did.
    Alone,
    /// It may not, and the answer may come late; of the request itself nothing is kept meanwhile, so that its bytes do not
    /// count any more.
    AloneAndLight,
}

/// What is known about a connection.
#[derive(Debug)]
pub(crate) struct ConnectionInfo {
    pub(crate) listener: Arc<ListenerInfo>,
    /// The client's address.
    pub(crate) peer: SocketAddr,
    /// The address that the client has reached.
    pub(crate) local: SocketAddr,
}
