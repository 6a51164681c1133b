//! One connection to one broker: requests go out in order and are answered in order.
//!
//! Two tasks, one writes and one reads. Whatever goes wrong poisons the connection as a whole: all that wait get the same error,
//! and nobody can send over it any more, since an answer that is lost or late would be taken for another's. Must not know: what
//! the requests are for, how to reconnect.

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::frame::{FrameCodec, FrameError, request_frame};
use cairn_protocol::header::ResponseHeader;
use cairn_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};
use cairn_protocol::{DecodeError, EncodedFrame, Message, Reader, Request};
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::codec::FramedRead;
use tokio_util::sync::CancellationToken;

use super::versions::Versions;
use crate::error::RequestError;
use crate::stats::Traffic;

/// How many requests may wait for an answer on one connection: as many as Kafka's brokers keep in order for a producer.
pub(crate) const IN_FLIGHT_MAX: usize = 5;

/// How long what a broker said last may take to be read after a write has failed.
const TOLD_WITHIN: Duration = Duration::from_millis(100);

/// A handle to a connection. It ends when the last handle is dropped.
#[derive(Clone)]
pub(crate) struct Connection {
    shared: Arc<Shared>,
    requests: mpsc::Sender<Outgoing>,
}

struct Shared {
    address: Arc<str>,
    client_id: Arc<str>,
    request_timeout: Duration,
    versions: OnceLock<Versions>,
    next_correlation_id: AtomicI32,
    /// Permits of requests that may still go out.
    room: Arc<Semaphore>,
    /// What the written requests wait for, oldest first.
    waiting: Mutex<VecDeque<Waiting>>,
    poison: OnceLock<RequestError>,
    ended: CancellationToken,
    traffic: Arc<Traffic>,
}

struct Outgoing {
    frame: EncodedFrame,
    waiting: Waiting,
    answer: Answer,
}

/// Whether a broker answers a request: it does not with acks=0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Expected,
    /// The request counts as answered, by nothing, when it was handed to the socket.
    None,
}

struct Waiting {
    correlation_id: i32,
    answer: oneshot::Sender<Bytes>,
    since: Instant,
    _room: OwnedSemaphorePermit,
    _settled: Settled,
}

/// Counts a request as one that waits no more.
struct Settled(Arc<Traffic>);

impl Drop for Settled {
    fn drop(&mut self) {
        self.0.settled.add(1);
    }
}

/// An answer that is to come.
pub(crate) struct Pending<R> {
    shared: Arc<Shared>,
    frame: oneshot::Receiver<Bytes>,
    version: i16,
    timeout: Duration,
    /// Keeps the connection while the answer is waited for.
    _requests: mpsc::Sender<Outgoing>,
    request: PhantomData<fn() -> R>,
}

impl Connection {
    /// Starts the two tasks on the halves of a stream that is connected.
    pub(crate) fn start(
        (read, write): (impl AsyncRead + Unpin + Send + 'static, impl AsyncWrite + Unpin + Send + 'static),
        address: Arc<str>,
        client_id: Arc<str>,
        request_timeout: Duration,
        response_max_bytes: usize,
        traffic: Arc<Traffic>,
    ) -> Self {
        let (requests, outgoing) = mpsc::channel(IN_FLIGHT_MAX);
        let shared = Arc::new(Shared {
            address,
            client_id,
            request_timeout,
            versions: OnceLock::new(),
            next_correlation_id: AtomicI32::new(0),
            room: Arc::new(Semaphore::new(IN_FLIGHT_MAX)),
            waiting: Mutex::default(),
            poison: OnceLock::new(),
            ended: CancellationToken::new(),
            traffic,
        });
        tokio::spawn(write_requests(Arc::clone(&shared), write, outgoing));
        tokio::spawn(read_answers(Arc::clone(&shared), FramedRead::new(read, FrameCodec::new(response_max_bytes))));
        Self { shared, requests }
    }

    /// What the broker serves. Before this is set, no version can be chosen.
    pub(crate) fn set_versions(&self, versions: Versions) {
        // A second call would be a bug of ours, and a harmless one.
        if self.shared.versions.set(versions).is_ok() {
            self.shared.traffic.made.add(1);
        }
    }

    /// Whether requests can still be sent.
    pub(crate) fn is_alive(&self) -> bool {
        self.shared.poison.get().is_none() && !self.requests.is_closed()
    }

    /// Whether a request could go out now.
    pub(crate) fn has_room(&self) -> bool {
        self.shared.room.available_permits() > 0
    }

    /// Waits until a request could go out, or the connection has ended.
    ///
    /// Cancel-safe.
    pub(crate) async fn room(&self) {
        tokio::select! {
            _room = self.shared.room.acquire() => {}
            () = self.shared.ended.cancelled() => {}
        }
    }

    pub(crate) fn address(&self) -> &Arc<str> {
        &self.shared.address
    }

    /// The version that a request within `wanted` has on this connection.
    pub(crate) fn version_of<R: Request>(&self, wanted: RangeInclusive<i16>) -> Result<i16, RequestError> {
        let versions = self.shared.versions.get();
        versions.and_then(|versions| versions.choose::<R>(wanted)).ok_or_else(|| RequestError::Unsupported {
            address: Arc::clone(&self.shared.address),
            api: R::KEY,
            served: versions.map_or_else(String::new, |versions| versions.describe(R::KEY)).into(),
        })
    }

    /// Sends a request, after waiting for room, and waits for its answer.
    ///
    /// Cancel-safe for the connection: an answer that nobody waits for is read and dropped. The broker may have done what was
    /// asked.
    pub(crate) async fn call<R: Request>(
        &self,
        version: i16,
        request: &R,
        timeout: Duration,
    ) -> Result<R::Response, RequestError> {
        let room = tokio::select! {
            room = Arc::clone(&self.shared.room).acquire_owned() => room.map_err(|_| self.shared.error())?,
            () = self.shared.ended.cancelled() => return Err(self.shared.error()),
        };
        self.send(version, request, timeout, Answer::Expected, room)?.answer().await
    }

    /// Waits until nothing is under way, and then has the connection for itself: others wait until this is dropped.
    ///
    /// Cancel-safe.
    pub(crate) async fn quiet(&self) -> Result<Quiet, RequestError> {
        let all = u32::try_from(IN_FLIGHT_MAX).expect("a few");
        let room = tokio::select! {
            room = Arc::clone(&self.shared.room).acquire_many_owned(all) => room.map_err(|_| self.shared.error())?,
            () = self.shared.ended.cancelled() => return Err(self.shared.error()),
        };
        Ok(Quiet { connection: self.clone(), _room: room, turns: Arc::new(Semaphore::new(1)) })
    }

    /// Ends it: all that wait are told this.
    pub(crate) fn fail(&self, error: RequestError) -> RequestError {
        self.shared.end(error)
    }

    /// For who has to end with it, and must not keep it.
    pub(crate) fn downgrade(&self) -> WeakConnection {
        WeakConnection { shared: Arc::clone(&self.shared), requests: self.requests.downgrade() }
    }

    /// Asks what the broker serves. A broker that does not know `version` answers in the shape of version 0 (KIP-511).
    ///
    /// Cancel-safe for the connection.
    pub(crate) async fn call_api_versions(
        &self,
        version: i16,
        request: &ApiVersionsRequest,
        timeout: Duration,
    ) -> Result<ApiVersionsResponse, RequestError> {
        let room = Arc::clone(&self.shared.room).try_acquire_owned().map_err(|_| self.shared.error())?;
        let pending = self.send(version, request, timeout, Answer::Expected, room)?;
        let frame = pending.written().await?;
        // Correlation id, then the error code: the same in all versions.
        let unsupported = frame.get(4..6) == Some(&ErrorCode::UnsupportedVersion.code().to_be_bytes()[..]);
        let version = if unsupported { 0 } else { version };
        decode::<ApiVersionsRequest>(frame, version)
            .map_err(|error| self.shared.malformed::<ApiVersionsRequest>(&error))
    }

    /// Sends a request if there is room. Requests go out in the order of these calls.
    pub(crate) fn try_send<R: Request>(
        &self,
        version: i16,
        request: &R,
        answer: Answer,
    ) -> Result<Pending<R>, RequestError> {
        let room = Arc::clone(&self.shared.room).try_acquire_owned().map_err(|_| self.shared.error())?;
        self.send(version, request, self.shared.request_timeout, answer, room)
    }

    fn send<R: Request>(
        &self,
        version: i16,
        request: &R,
        timeout: Duration,
        answer: Answer,
        room: OwnedSemaphorePermit,
    ) -> Result<Pending<R>, RequestError> {
        let shared = &self.shared;
        if let Some(error) = shared.poison.get() {
            return Err(error.clone());
        }
        let correlation_id = shared.next_correlation_id.fetch_add(1, Ordering::Relaxed) & i32::MAX;
        let frame = request_frame(version, correlation_id, Some(&shared.client_id), request)
            .map_err(|error| RequestError::Encode { api: R::KEY, reason: error.to_string().into() })?;
        let (sender, receiver) = oneshot::channel();
        shared.traffic.requests.add(1);
        let settled = Settled(Arc::clone(&shared.traffic));
        let waiting = Waiting { correlation_id, answer: sender, since: Instant::now(), _room: room, _settled: settled };
        // The channel has a place for every permit, so it is never full; it is closed when the connection has ended.
        self.requests.try_send(Outgoing { frame, waiting, answer }).map_err(|_| shared.error())?;
        Ok(Pending {
            shared: Arc::clone(shared),
            frame: receiver,
            version,
            timeout,
            _requests: self.requests.clone(),
            request: PhantomData,
        })
    }
}

/// A connection on which nobody else asks anything.
pub(crate) struct Quiet {
    connection: Connection,
    _room: OwnedSemaphorePermit,
    turns: Arc<Semaphore>,
}

impl Quiet {
    /// Sends a request and waits for its answer.
    ///
    /// Cancel-safe for the connection.
    pub(crate) async fn call<R: Request>(
        &self,
        version: i16,
        request: &R,
        timeout: Duration,
    ) -> Result<R::Response, RequestError> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(|_| self.connection.shared.error())?;
        self.connection.send(version, request, timeout, Answer::Expected, turn)?.answer().await
    }
}

/// A connection that ends when others let go of it.
pub(crate) struct WeakConnection {
    shared: Arc<Shared>,
    requests: mpsc::WeakSender<Outgoing>,
}

impl WeakConnection {
    /// Ready when the connection has ended.
    pub(crate) async fn ended(&self) {
        self.shared.ended.cancelled().await;
    }

    /// The connection, where somebody still uses it.
    pub(crate) fn upgrade(&self) -> Option<Connection> {
        Some(Connection { shared: Arc::clone(&self.shared), requests: self.requests.upgrade()? })
    }
}

impl<R: Request> Pending<R> {
    pub(crate) fn address(&self) -> Arc<str> {
        Arc::clone(&self.shared.address)
    }

    /// The answer's body.
    ///
    /// Cancel-safe for the connection, as [`Connection::call`].
    pub(crate) async fn answer(self) -> Result<R::Response, RequestError> {
        let (shared, version) = (Arc::clone(&self.shared), self.version);
        let frame = self.written().await?;
        decode::<R>(frame, version).map_err(|error| shared.malformed::<R>(&error))
    }

    /// Waits until the request was handed to the socket, where no answer is expected; else for the answer's frame.
    pub(crate) async fn written(self) -> Result<Bytes, RequestError> {
        match tokio::time::timeout(self.timeout, self.frame).await {
            Ok(Ok(frame)) => Ok(frame),
            Ok(Err(_)) => Err(self.shared.error()),
            Err(_) => {
                self.shared.traffic.timed_out.add(1);
                let address = Arc::clone(&self.shared.address);
                Err(self.shared.end(RequestError::TimedOut { address, api: R::KEY, after: self.timeout }))
            }
        }
    }
}

fn decode<R: Request>(frame: Bytes, version: i16) -> Result<R::Response, DecodeError> {
    let mut reader = Reader::new(frame);
    // The correlation id was compared when the frame was read. Bytes behind the body are ignored, as Kafka's clients do.
    ResponseHeader::decode(&mut reader, R::KEY, version)?;
    R::Response::decode(&mut reader, version)
}

/// Counts the connections that were ready for requests.
impl Drop for Shared {
    fn drop(&mut self) {
        if self.versions.get().is_some() {
            self.traffic.ended.add(1);
        }
    }
}

impl Shared {
    /// Ends the connection for this reason, or for the one that came first, which is given back.
    fn end(&self, error: RequestError) -> RequestError {
        let first = self.poison.get_or_init(|| error).clone();
        self.ended.cancel();
        // Dropping them tells those who wait, who then ask for the reason.
        let waiting = std::mem::take(&mut *self.waiting.lock());
        drop(waiting);
        first
    }

    fn malformed<R: Request>(&self, error: &DecodeError) -> RequestError {
        let reason = error.to_string().into();
        self.end(RequestError::Malformed { address: Arc::clone(&self.address), api: R::KEY, reason })
    }

    fn closed(&self, reason: &(impl ToString + ?Sized)) -> RequestError {
        RequestError::Closed { address: Arc::clone(&self.address), reason: reason.to_string().into() }
    }

    /// Whether who reads finds out in a moment why the connection ended.
    async fn is_told_why(&self) -> bool {
        tokio::time::timeout(TOLD_WITHIN, self.ended.cancelled()).await.is_ok()
    }

    /// A broker says only after its handshake that it does not take the client's certificate.
    fn unreadable(&self, error: &FrameError) -> RequestError {
        let Some(source) = std::error::Error::source(error) else { return self.closed(error) };
        let inner = source.downcast_ref::<std::io::Error>().and_then(|error| error.get_ref());
        match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(reason) => RequestError::Tls { address: Arc::clone(&self.address), reason: reason.to_string().into() },
            None => self.closed(source),
        }
    }

    fn error(&self) -> RequestError {
        self.poison.get().cloned().unwrap_or_else(|| self.closed("it was closed"))
    }
}

/// Writes requests until the connection ends or all handles are gone.
async fn write_requests(
    shared: Arc<Shared>,
    mut socket: impl AsyncWrite + Unpin,
    mut outgoing: mpsc::Receiver<Outgoing>,
) {
    let ended = shared.ended.clone();
    let result = ended.run_until_cancelled(write_until_closed(&shared, &mut socket, &mut outgoing)).await;
    match result {
        None => {}
        Some(Ok(())) => drop(shared.end(shared.closed("it is no longer used"))),
        // Who cannot write may be told why by what is there to be read.
        Some(Err(_)) if shared.is_told_why().await => {}
        Some(Err(error)) => drop(shared.end(shared.closed(&error))),
    }
}

async fn write_until_closed(
    shared: &Shared,
    socket: &mut (impl AsyncWrite + Unpin),
    outgoing: &mut mpsc::Receiver<Outgoing>,
) -> std::io::Result<()> {
    while let Some(Outgoing { mut frame, waiting, answer }) = outgoing.recv().await {
        shared.traffic.bytes_out.add(frame.remaining());
        match answer {
            Answer::Expected => {
                // Before the write: the answer may be faster than this task.
                shared.waiting.lock().push_back(waiting);
                // `end` may have emptied the queue just before; then nobody would tell this one.
                if shared.ended.is_cancelled() {
                    shared.waiting.lock().clear();
                    return Ok(());
                }
                socket.write_all_buf(&mut frame).await?;
                socket.flush().await?;
            }
            Answer::None => {
                socket.write_all_buf(&mut frame).await?;
                socket.flush().await?;
                let _ = waiting.answer.send(Bytes::new());
            }
        }
    }
    Ok(())
}

/// Hands answers to those who wait, until the connection ends.
async fn read_answers(shared: Arc<Shared>, mut frames: FramedRead<impl AsyncRead + Unpin, FrameCodec>) {
    let ended = shared.ended.clone();
    let reading = async {
        loop {
            match frames.next().await {
                None => return shared.closed("the broker closed it"),
                Some(Err(error)) => return shared.unreadable(&error),
                Some(Ok(frame)) => {
                    if let Err(reason) = shared.hand_over(frame) {
                        return shared.closed(reason);
                    }
                }
            }
        }
    };
    if let Some(error) = ended.run_until_cancelled(reading).await {
        shared.end(error);
    }
}

impl Shared {
    fn hand_over(&self, frame: Bytes) -> Result<(), &'static str> {
        self.traffic.bytes_in.add(frame.len());
        let Some(correlation_id) = frame.first_chunk().map(|bytes| i32::from_be_bytes(*bytes)) else {
            return Err("it sent an answer without a correlation id");
        };
        let Some(waiting) = self.waiting.lock().pop_front() else { return Err("it answered what was not asked") };
        if waiting.correlation_id != correlation_id {
            return Err("it answered in another order than it was asked");
        }
        let micros = usize::try_from(waiting.since.elapsed().as_micros()).unwrap_or(usize::MAX);
        self.traffic.answers.add(1);
        self.traffic.answered_micros.add(micros);
        // Nobody may be waiting any more.
        let _ = waiting.answer.send(frame);
        Ok(())
    }
}
