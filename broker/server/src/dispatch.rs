//! From a frame to the API that serves it, and from its answer back to a frame.
//!
//! Must not know: what any API does; sockets.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::frame::response_frame;
use cairn_protocol::header::RequestHeader;
use cairn_protocol::{ApiKey, Message, Reader, Request as RequestBody, Response};

use crate::api;
use crate::membership::{PEERS_KEY, peers_answer};
use crate::net::{Answer, ConnectionInfo, Mute, Order, Replied, Reply, Request, Service};
use crate::node::Node;
use crate::quotas::{Enforcement, Kind, Meter, Metered, Mutations, Throttle};
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
    /// Bytes of the request.
    size: usize,
    /// How long the request has kept a thread busy, where any client has a quota of that.
    meter: Option<Arc<Meter>>,
}

impl Call {
    /// The client's name for quotas; empty when it has none.
    pub(crate) fn client(&self) -> &str {
        self.client_id.as_deref().unwrap_or_default()
    }

    /// What the request may make and delete: beyond that it is refused from this version on, and waits before.
    pub(crate) fn mutations(&self, node: &Node, strict_from: i16) -> Mutations {
        let enforcement = if self.version >= strict_from { Enforcement::Strict } else { Enforcement::Permissive };
        Mutations::new(&node.quotas, self.client_id.as_deref(), enforcement)
    }

    /// How long the client has to wait for the time that the request has taken until now.
    pub(crate) fn throttle_by_time(&self, node: &Node, now: Instant) -> Throttle {
        let spent = self.meter.as_ref().map(|meter| meter.spent(now));
        spent.map_or(Throttle::NONE, |spent| node.quotas.on_request(self.client(), spent, now))
    }
}

/// What an API gives back.
pub(crate) enum Outcome<T> {
    /// The answer.
    Now(T),
    /// The answer, when the future is ready.
    Later(Pin<Box<dyn Future<Output = T> + Send>>, Order),
    /// All of it happens in the future, and the next request of the connection waits for that.
    Elsewhere(Pin<Box<dyn Future<Output = Self> + Send>>),
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

    /// The same for an answer that waits for others, and in which nothing of the request's body is kept.
    pub(crate) fn alone_and_light(answer: impl Future<Output = T> + Send + 'static) -> Self {
        Self::Later(Box::pin(answer), Order::AloneAndLight)
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
        let size = request.frame.len();
        self.node.metrics.bytes_received.inc_by(size as u64);
        if request.frame.starts_with(&PEERS_KEY) {
            return match peers_answer(&self.node.cluster, &request.frame) {
                Some(answer) => Answer::Now(vec![answer].into()),
                None => Answer::Close("a request for peers is cut".into()),
            };
        }
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
            size,
            meter: self.node.quotas.has(Kind::Request).then(|| Meter::start(begun)),
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

/// Where a response says how long the client is to wait.
pub(crate) type ThrottleTimeOf<T> = fn(&mut T) -> Option<&mut i32>;

/// Decodes the body, has `handle` do the work, and encodes the answer. What does not decode ends the connection, as in
/// Kafka: there is no answer to what was not understood.
pub(crate) fn serve<R: RequestBody<Response: Send + 'static>>(
    node: &Arc<Node>,
    call: Call,
    mut reader: Reader,
    handle: impl FnOnce(&Arc<Node>, &Call, R) -> Outcome<R::Response>,
    throttle_time: ThrottleTimeOf<R::Response>,
) -> Answer {
    let request = match R::decode(&mut reader, call.version) {
        Ok(request) => request,
        Err(error) => {
            return Answer::Close(format!("{} version {}: {}", call.api, call.version, describe(&error)).into());
        }
    };
    let later = match handle(node, &call, request) {
        Outcome::Now(response) => {
            return finish(node, &call, None, response, throttle_time).map_or_else(Answer::Close, Answer::Now);
        }
        Outcome::Silent => return Answer::Now(silence(node, &call, None)),
        Outcome::Close(why) => return Answer::Close(why),
        Outcome::Later(response, order) => {
            let meter = call.meter.clone();
            if let Some(meter) = &meter {
                meter.pause(Instant::now());
            }
            let node = Arc::clone(node);
            let waits_since = Instant::now();
            let answer = async move {
                let response = response.await;
                finish(&node, &call, Some(waits_since), response, throttle_time)
            };
            return match meter {
                None => Answer::Later(Box::pin(answer), order),
                meter => Answer::Later(Box::pin(Metered { inner: Box::pin(answer), meter }), order),
            };
        }
        Outcome::Elsewhere(outcome) => outcome,
    };
    let node = Arc::clone(node);
    let waits_since = Instant::now();
    let reply = async move {
        let outcome = later.await;
        settle(&node, &call, waits_since, outcome, throttle_time).await
    };
    Answer::Later(Box::pin(reply), Order::Alone)
}

/// The reply that comes of what was done elsewhere. That counts as the client's time; what it waits for after that does not.
async fn settle<T: Response>(
    node: &Node,
    call: &Call,
    waits_since: Instant,
    mut outcome: Outcome<T>,
    throttle_time: ThrottleTimeOf<T>,
) -> Replied {
    loop {
        return match outcome {
            Outcome::Now(response) => finish(node, call, Some(waits_since), response, throttle_time),
            Outcome::Later(response, _) => {
                if let Some(meter) = &call.meter {
                    meter.pause(Instant::now());
                }
                let response = response.await;
                finish(node, call, Some(waits_since), response, throttle_time)
            }
            Outcome::Silent => Ok(silence(node, call, Some(waits_since))),
            Outcome::Close(why) => Err(why),
            Outcome::Elsewhere(further) => {
                outcome = further.await;
                continue;
            }
        };
    }
}

/// Counts a request that is not answered. Who wants no answer is muted all the same; its time does not count, as in Kafka.
fn silence(node: &Node, call: &Call, waits_since: Option<Instant>) -> Reply {
    observe(node, call, waits_since);
    let throttle = throttle_by_bytes(node, call, call.begun);
    Reply { pieces: Vec::new(), mute: mute(node, call, throttle) }
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

/// Counts the answer and its errors, adds how long the client is to wait, and makes a frame of it.
fn finish<T: Response>(
    node: &Node,
    call: &Call,
    waits_since: Option<Instant>,
    mut response: T,
    throttle_time: ThrottleTimeOf<T>,
) -> Replied {
    observe(node, call, waits_since);
    response.each_error(&mut |code| {
        node.metrics.error(call.api, ErrorCode::from_code(code).unwrap_or(ErrorCode::UnknownServerError));
    });
    let mut untold = 0;
    let told = throttle_time(&mut response).unwrap_or(&mut untold);
    let mut throttle = Throttle::from_millis(*told);
    if node.quotas.has_any() {
        let now = Instant::now();
        // What is fetched was weighed before it was put into the answer, together with the time.
        if call.api != ApiKey::Fetch {
            throttle = throttle.max(throttle_by_bytes(node, call, now)).max(call.throttle_by_time(node, now));
        }
        *told = throttle.millis();
    }
    let pieces = encode(call, call.version, &response)?;
    node.metrics.bytes_sent.inc_by(pieces.iter().map(|piece| piece.len() as u64).sum());
    Ok(Reply { pieces, mute: mute(node, call, throttle) })
}

fn throttle_by_bytes(node: &Node, call: &Call, now: Instant) -> Throttle {
    match call.api {
        ApiKey::Produce => node.quotas.on_produced(call.client(), call.size, now),
        _ => Throttle::NONE,
    }
}

fn mute(node: &Node, call: &Call, throttle: Throttle) -> Option<Mute> {
    let time = throttle.time();
    (!throttle.is_none()).then(|| Mute { time, counted: node.metrics.throttled(call.api, time) })
}

/// The frame of an answer in pieces. `body_version` differs from the call's only for ApiVersions.
///
/// What does not encode is a fault of ours. It must not take more than this connection with it, and the log says which
/// answer it was.
pub(crate) fn encode(call: &Call, body_version: i16, response: &impl Message) -> Result<Vec<Bytes>, Box<str>> {
    match response_frame(call.api, body_version, call.correlation_id, response) {
        Ok(frame) => Ok(frame.segments().to_vec()),
        Err(error) => {
            let why = format!("the answer of {} version {} does not encode: {error}", call.api, call.version);
            tracing::error!(%error, api = call.api.name(), version = call.version, "an answer does not encode");
            Err(why.into())
        }
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
