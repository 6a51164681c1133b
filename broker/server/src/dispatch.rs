//! From a frame to the API that serves it, and from its answer back to a frame.
//!
//! Must not know: what any API does; sockets.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use cairn_protocol::frame::response_frame;
use cairn_protocol::header::RequestHeader;
use cairn_protocol::{ApiKey, Message, Reader, Request as RequestBody};

use crate::api;
use crate::net::{Answer, ConnectionInfo, Order, Request, Service};
use crate::node::Node;
use crate::telemetry::RequestTimes;

/// What an API knows about a request beside its body.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) api: ApiKey,
    pub(crate) version: i16,
    pub(crate) client_id: Option<Box<str>>,
    pub(crate) connection: Arc<ConnectionInfo>,
    correlation_id: i32,
    received: Instant,
    begun: Instant,
}

/// What an API gives back.
pub(crate) enum Outcome<T> {
    /// The answer.
    Now(T),
    /// The answer, when the future is ready.
    Later(Pin<Box<dyn Future<Output = T> + Send>>, Order),
    /// The client wants no answer.
    Silent,
    /// The client wants no answer, and can be told of an error in no other way than by ending the connection.
    Close(Box<str>),
}

impl<T> Outcome<T> {
    /// The answer comes later, and the next request of the connection waits for it.
    pub(crate) fn alone(answer: impl Future<Output = T> + Send + 'static) -> Self {
        Self::Later(Box::pin(answer), Order::Alone)
    }
}

/// Hands requests to their APIs.
#[derive(Debug)]
pub(crate) struct Dispatcher {
    node: Arc<Node>,
}

impl Dispatcher {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self { node }
    }
}

impl Service for Dispatcher {
    fn call(&self, request: Request) -> Answer {
        let begun = Instant::now();
        self.node.metrics.bytes_received.inc_by(request.frame.len() as u64);
        let mut reader = Reader::new(request.frame);
        let header = match RequestHeader::decode(&mut reader) {
            Ok(header) => header,
            Err(error) => return Answer::Close(describe(&error).into()),
        };
        let call = Call {
            api: header.api_key,
            version: header.api_version,
            client_id: header.client_id,
            connection: request.connection,
            correlation_id: header.correlation_id,
            received: request.received,
            begun,
        };
        tracing::trace!(
            api = call.api.name(),
            version = call.version,
            correlation_id = call.correlation_id,
            client = call.client_id.as_deref(),
            peer = %call.connection.peer,
            "request"
        );
        api::dispatch(&self.node, call, reader)
    }
}

/// Decodes the body, has `handle` do the work, and encodes the answer. What does not decode ends the connection, as in
/// Kafka: there is no answer to what was not understood.
pub(crate) fn serve<R: RequestBody<Response: Send + 'static>>(
    node: &Arc<Node>,
    call: Call,
    mut reader: Reader,
    handle: impl FnOnce(&Arc<Node>, &Call, R) -> Outcome<R::Response>,
) -> Answer {
    let request = match R::decode(&mut reader, call.version) {
        Ok(request) => request,
        Err(error) => {
            return Answer::Close(format!("{} version {}: {}", call.api, call.version, describe(&error)).into());
        }
    };
    match handle(node, &call, request) {
        Outcome::Now(response) => Answer::Now(finish(node, &call, None, &response)),
        Outcome::Close(why) => Answer::Close(why),
        Outcome::Silent => {
            observe(node, &call, None);
            Answer::Now(Vec::new())
        }
        Outcome::Later(response, order) => {
            let node = Arc::clone(node);
            let waits_since = Instant::now();
            let answer = async move {
                let response = response.await;
                finish(&node, &call, Some(waits_since), &response)
            };
            Answer::Later(Box::pin(answer), order)
        }
    }
}

/// Counts what is answered now, and where its time has gone.
fn observe(node: &Node, call: &Call, waits_since: Option<Instant>) {
    let now = Instant::now();
    let times = RequestTimes {
        queued: call.begun.saturating_duration_since(call.received),
        handled: waits_since.unwrap_or(now).saturating_duration_since(call.begun),
        waited: waits_since.map(|since| now.saturating_duration_since(since)),
    };
    node.metrics.observe(call.api, times);
}

/// Counts the answer and makes a frame of it.
fn finish(node: &Node, call: &Call, waits_since: Option<Instant>, response: &impl Message) -> Vec<Bytes> {
    observe(node, call, waits_since);
    let pieces = encode(call, call.version, response);
    node.metrics.bytes_sent.inc_by(pieces.iter().map(|piece| piece.len() as u64).sum());
    pieces
}

/// The frame of an answer in pieces. `body_version` differs from the call's only for ApiVersions.
pub(crate) fn encode(call: &Call, body_version: i16, response: &impl Message) -> Vec<Bytes> {
    match response_frame(call.api, body_version, call.correlation_id, response) {
        Ok(frame) => frame.segments().to_vec(),
        Err(error) => panic!("answer of {} version {} does not encode: {error}", call.api, call.version),
    }
}

/// An error with its causes, in one line.
pub(crate) fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
