//! Asking peers: one connection for each of them and each lane, made when it is needed, on which any number of requests wait
//! for their answers at once.
//!
//! A request that was sent and not answered may have been carried out, or not: the caller has to know what that means.
//!
//! Must not know: what requests say, which brokers there are.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cairn_protocol::ids::BrokerId;
use futures::StreamExt;
use parking_lot::Mutex;
use tokio::io::{AsyncWriteExt, BufWriter};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;
use tokio_util::codec::FramedRead;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept::{Failed, halves};
use crate::frame::{BODY_BYTES_MAX, Frame, FrameDecoder, Kind, head};
use crate::handshake::{self, Halves, HandshakeError, Lane, Refusal};
use crate::identity::Local;
use crate::message::{Message, Pieces};

/// How long connecting and proving who we are may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Requests that wait to be written to one connection; further callers wait before that.
const QUEUED_MAX: usize = 64;
/// A peer that takes nothing for so long loses its connection.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// When a connection was lost, the address is asked after so long each whether anybody listens there still: a process that ends
/// does not close everything at once.
const LOOK_AFTER: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(20), Duration::from_millis(100), Duration::from_millis(400)];

/// Whom to ask, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// Its node id; none where whoever is there is asked, which only the join lane may.
    pub node: Option<BrokerId>,
    /// A name or an address.
    pub host: Box<str>,
    /// The port of its peer listener.
    pub port: u16,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node {
            Some(node) => write!(f, "node {node} at {}:{}", self.host, self.port),
            None => write!(f, "the broker at {}:{}", self.host, self.port),
        }
    }
}

/// A request was not answered.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// It was not sent: nobody is there.
    #[error("cannot connect to {target}: {source}")]
    Connect {
        /// Who should be.
        target: Target,
        /// Why not.
        source: io::Error,
    },
    /// It was not sent: the two ends do not agree on who they are.
    #[error("cannot connect to {target}: {source}")]
    Handshake {
        /// Who should be there.
        target: Target,
        /// Why not.
        source: HandshakeError,
    },
    /// Nothing came in time; it may have been carried out.
    #[error("{target} did not answer within {within:?}")]
    Timeout {
        /// Who was asked.
        target: Target,
        /// For how long.
        within: Duration,
    },
    /// The connection ended before the answer came; it may have been carried out.
    #[error("the connection to {0} was lost")]
    Lost(Target),
    /// The peer could not, and says why.
    #[error("{target}: {failed}")]
    Failed {
        /// Who was asked.
        target: Target,
        /// What it says.
        failed: Failed,
    },
}

impl CallError {
    /// Whether the request cannot have reached the peer.
    #[must_use]
    pub fn was_not_sent(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::Handshake { .. })
    }
}

/// The connections to peers. A clone has the same ones.
#[derive(Clone)]
pub struct Peers(Arc<Shared>);

struct Shared {
    local: Local,
    slots: Mutex<HashMap<(Target, Lane), Arc<Slot>>>,
    /// Nodes at whose address nobody listened, since somebody asked for them.
    refused: Mutex<BTreeSet<BrokerId>>,
    is_refused: Notify,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// The place of one connection: whoever finds none makes it, and the others wait for that.
#[derive(Default)]
struct Slot(tokio::sync::Mutex<Option<Arc<Connection>>>);

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peers").field("connections", &self.0.slots.lock().len()).finish_non_exhaustive()
    }
}

impl Peers {
    /// Connections by this broker, none yet.
    #[must_use]
    pub fn new(local: Local) -> Self {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (refused, is_refused) = (Mutex::default(), Notify::new());
        Self(Arc::new(Shared { local, slots: Mutex::default(), refused, is_refused, stop, tasks }))
    }

    /// Who this broker is to the others.
    #[must_use]
    pub fn local(&self) -> &Local {
        &self.0.local
    }

    /// Asks, and waits for the answer. Dropping the future does not take the request back.
    ///
    /// # Panics
    /// When the request is longer than [`Message`] says.
    pub async fn call(
        &self,
        target: &Target,
        lane: Lane,
        request: impl Into<Message>,
        within: Duration,
    ) -> Result<Bytes, CallError> {
        let request = request.into();
        let (body, payload) = (request.body.len(), request.payload_len());
        let is_allowed = body <= BODY_BYTES_MAX && payload <= lane.payload_max();
        assert!(is_allowed, "a request with a body of {body} bytes and a payload of {payload}");
        let mut used = None;
        let asked = timeout(within, async {
            let connection = self.connection(target, lane).await?;
            let heard_before = connection.heard.load(Ordering::Relaxed);
            used = Some((Arc::clone(&connection), heard_before));
            connection.ask(request).await.ok_or_else(|| CallError::Lost(target.clone()))
        });
        let answered = match asked.await {
            Ok(answered) => answered?,
            Err(_) => {
                if let Some((connection, heard_before)) = used {
                    connection.on_timeout(heard_before);
                }
                return Err(CallError::Timeout { target: target.clone(), within });
            }
        };
        answered.map_err(|failed| CallError::Failed { target: target.clone(), failed })
    }

    /// Waits until a connection to a node was refused: a process that is gone leaves nobody who listens. A connection that is lost
    /// is reason enough to look. By the time that this is heard another process may listen.
    pub async fn refused(&self) -> BrokerId {
        loop {
            if let Some(node) = self.0.refused.lock().pop_first() {
                return node;
            }
            self.0.is_refused.notified().await;
        }
    }

    /// Whether nobody listens at a peer's address at this moment.
    pub async fn is_refused(&self, target: &Target) -> bool {
        let connecting = timeout(CONNECT_TIMEOUT, TcpStream::connect((&*target.host, target.port))).await;
        matches!(connecting, Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused)
    }

    /// Closes all connections; what waits for an answer hears that it is lost.
    pub async fn close(&self) {
        self.0.stop.cancel();
        self.0.tasks.close();
        self.0.tasks.wait().await;
    }

    async fn connection(&self, target: &Target, lane: Lane) -> Result<Arc<Connection>, CallError> {
        let slot = Arc::clone(self.0.slots.lock().entry((target.clone(), lane)).or_default());
        let mut place = slot.0.lock().await;
        if let Some(connection) = place.as_ref().filter(|connection| !connection.ended.is_cancelled()) {
            return Ok(Arc::clone(connection));
        }
        *place = None;
        match self.connect(target, lane).await {
            Ok(connection) => Ok(Arc::clone(place.insert(connection))),
            Err(error) => {
                // Brokers come and go under other addresses: no place is kept for those that are gone.
                drop(place);
                self.0.slots.lock().retain(|key, there| *key != (target.clone(), lane) || !Arc::ptr_eq(there, &slot));
                Err(error)
            }
        }
    }

    async fn connect(&self, target: &Target, lane: Lane) -> Result<Arc<Connection>, CallError> {
        let unreachable = |source| CallError::Connect { target: target.clone(), source };
        let refused = |source| CallError::Handshake { target: target.clone(), source };
        if self.0.stop.is_cancelled() {
            return Err(unreachable(io::Error::other("this broker is stopping")));
        }
        let connecting = async {
            let stream = TcpStream::connect((&*target.host, target.port)).await.map_err(|error| {
                self.note_refused(target, &error);
                unreachable(error)
            })?;
            let mut halves = halves(stream).map_err(unreachable)?;
            let local = self.0.local.get();
            handshake::connect(&mut halves, &local, (target.node, lane)).await.map_err(refused)?;
            Ok(halves)
        };
        let halves = timeout(CONNECT_TIMEOUT, connecting)
            .await
            .map_err(|_| unreachable(io::Error::from(io::ErrorKind::TimedOut)))??;
        let (queue, queued) = mpsc::channel(QUEUED_MAX);
        let connection = Arc::new(Connection {
            queue,
            heard: AtomicU64::new(0),
            waiting: Mutex::default(),
            ended: CancellationToken::new(),
        });
        let (peers, target, running) = (self.clone(), target.clone(), Arc::clone(&connection));
        self.0.tasks.spawn(async move {
            let ending = run(running, halves, queued, peers.0.stop.clone()).await;
            if ending == Ending::Lost {
                peers.look_after(&target).await;
            }
        });
        Ok(connection)
    }
}

impl Peers {
    /// The other end has ended a connection: whoever waits in [`Self::refused`] hears of it if that was the end of its process.
    async fn look_after(&self, target: &Target) {
        for pause in LOOK_AFTER {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.0.stop.cancelled() => return,
            }
            match timeout(CONNECT_TIMEOUT, TcpStream::connect((&*target.host, target.port))).await {
                Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    self.note_refused(target, &error);
                    return;
                }
                _ => {}
            }
        }
    }

    fn note_refused(&self, target: &Target, error: &io::Error) {
        if let (Some(node), io::ErrorKind::ConnectionRefused) = (target.node, error.kind()) {
            self.0.refused.lock().insert(node);
            self.0.is_refused.notify_one();
        }
    }
}

type Reply = Result<Bytes, Failed>;

/// One connection.
struct Connection {
    queue: mpsc::Sender<(Message, oneshot::Sender<Reply>)>,
    /// Counts what has come.
    heard: AtomicU64,
    /// Who waits, by request.
    waiting: Mutex<HashMap<u64, oneshot::Sender<Reply>>>,
    ended: CancellationToken,
}

impl Connection {
    /// None when the connection ends before the answer has come.
    async fn ask(&self, request: Message) -> Option<Reply> {
        let (reply, answer) = oneshot::channel();
        self.queue.send((request, reply)).await.ok()?;
        answer.await.ok()
    }

    /// A request was given up. When nothing else came since it was sent, the other end may be gone without a word: the next
    /// request begins with a new connection, which finds out sooner than the kernel does.
    fn on_timeout(&self, heard_before: u64) {
        self.waiting.lock().retain(|_, reply| !reply.is_closed());
        if self.heard.load(Ordering::Relaxed) == heard_before {
            self.ended.cancel();
        }
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// By the other end, or on the way.
    Lost,
    /// By this broker.
    Closed,
}

/// Writes requests and hands out answers until the connection ends.
async fn run(
    connection: Arc<Connection>,
    halves: Halves,
    queued: mpsc::Receiver<(Message, oneshot::Sender<Reply>)>,
    stop: CancellationToken,
) -> Ending {
    let Halves { frames, writer, .. } = halves;
    // Both at once: while the peer takes no requests because it cannot send, answers are taken.
    let (ending, reason) = tokio::select! {
        reason = read(&connection, frames) => (Ending::Lost, reason),
        reason = write(&connection, queued, writer) => (Ending::Lost, reason),
        () = connection.ended.cancelled() => (Ending::Closed, "a request was not answered".into()),
        () = stop.cancelled() => (Ending::Closed, "this broker is stopping".into()),
    };
    tracing::debug!(%reason, "connection to a peer ended");
    connection.ended.cancel();
    connection.waiting.lock().clear();
    ending
}

async fn read(connection: &Connection, mut frames: FramedRead<OwnedReadHalf, FrameDecoder>) -> Box<str> {
    // Answers have no payload.
    frames.decoder_mut().on_proven(0);
    while let Some(frame) = frames.next().await {
        let Frame { kind, id, body, .. } = match frame {
            Ok(frame) => frame,
            Err(error) => return error.to_string().into(),
        };
        let reply = match kind {
            Kind::Response => Ok(body),
            Kind::Failed => Err(Failed(String::from_utf8_lossy(&body).into())),
            Kind::Refused => return Refusal::decode(&body).to_string().into(),
            other => return format!("{other:?} is no answer").into(),
        };
        connection.heard.fetch_add(1, Ordering::Relaxed);
        // Nobody waits any more for what was given up.
        if let Some(waiting) = connection.waiting.lock().remove(&id) {
            let _ = waiting.send(reply);
        }
    }
    "closed by the peer".into()
}

async fn write(
    connection: &Connection,
    mut queued: mpsc::Receiver<(Message, oneshot::Sender<Reply>)>,
    writer: OwnedWriteHalf,
) -> Box<str> {
    let mut writer = BufWriter::new(writer);
    let mut id = 0;
    let in_time = |written: Result<io::Result<()>, _>| match written {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(error.to_string().into()),
        Err(_) => Err("requests were not taken in time".into()),
    };
    loop {
        let next = match queued.try_recv() {
            Ok(next) => Some(next),
            Err(_) => {
                if let Err(reason) = in_time(timeout(WRITE_TIMEOUT, writer.flush()).await) {
                    return reason;
                }
                queued.recv().await
            }
        };
        let Some((request, reply)) = next else { return "nobody asks any more".into() };
        id += 1;
        connection.waiting.lock().insert(id, reply);
        let head = head(Kind::Request, id, &request.body, request.payload_len());
        let mut pieces = Pieces::new(Bytes::copy_from_slice(&head), request);
        if let Err(reason) = in_time(timeout(WRITE_TIMEOUT, writer.write_all_buf(&mut pieces)).await) {
            return reason;
        }
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("waiting", &self.waiting.lock().len()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Slot").finish_non_exhaustive()
    }
}
