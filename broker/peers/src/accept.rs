//! The listener for peers: who may connect, how long each may take, and one task per connection that serves requests.
//!
//! Must not know: what requests say.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_protocol::ids::BrokerId;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::io::{AsyncWriteExt, BufWriter};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::codec::FramedRead;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::frame::{BODY_BYTES_MAX, Frame, FrameDecoder, FrameError, Kind, head};
use crate::handshake::{self, Halves, HandshakeError, Lane, Refusal};
use crate::identity::Local;
use crate::message::{Pieces, Request};

/// How long the loop rests after the system refused a connection.
const BACK_OFF: Duration = Duration::from_millis(100);

/// The bounds of the listener and of each connection.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections that have not proven who they are.
    pub strangers: usize,
    /// Connections that have.
    pub peers: usize,
    /// How long proving it may take.
    pub handshake: Duration,
    /// A peer that asks nothing for so long loses its connection, and so does one whose request does not arrive whole in it.
    pub idle: Duration,
    /// A peer that takes nothing of its answers for so long loses its connection.
    pub write: Duration,
    /// Requests of one connection that are being handled; further ones wait in the kernel.
    pub in_flight: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            strangers: 64,
            peers: 1024,
            handshake: Duration::from_secs(5),
            idle: Duration::from_secs(30),
            write: Duration::from_secs(10),
            in_flight: 64,
        }
    }
}

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remote {
    /// Its node id; none for a broker that joins.
    pub node: Option<BrokerId>,
    /// Its incarnation.
    pub incarnation: Uuid,
    /// What it asks about.
    pub lane: Lane,
    /// Where it connected from.
    pub address: SocketAddr,
}

/// A request was not carried out; the text goes to who asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Failed(pub Box<str>);

/// What answers peers.
pub trait Service: Send + Sync + 'static {
    /// Answers one request. Dropped when the connection ends before it is ready.
    fn call(&self, from: Remote, request: Request) -> BoxFuture<'static, Result<Bytes, Failed>>;
}

/// A socket that listens for peers.
#[derive(Debug)]
pub struct Bound(TcpListener);

impl Bound {
    /// Where.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

/// Listens on the first address of `host` that can be had. Port 0: any free one.
pub async fn bind(host: &str, port: u16) -> io::Result<Bound> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for candidate in lookup_host((host, port)).await? {
        match TcpListener::bind(candidate).await {
            Ok(listener) => return Ok(Bound(listener)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Serves peers until `stop`, each connection as a task of its own.
pub async fn accept_loop(
    bound: Bound,
    (local, service): (Local, Arc<dyn Service>),
    limits: Limits,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    let (strangers, peers) = (Arc::new(Semaphore::new(limits.strangers)), Arc::new(Semaphore::new(limits.peers)));
    loop {
        let accepted = tokio::select! {
            accepted = bound.0.accept() => accepted,
            () = stop.cancelled() => return,
        };
        let (stream, address) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept connections of peers; resting between tries");
                tokio::time::sleep(BACK_OFF).await;
                continue;
            }
        };
        // Without a permit nothing is read: whoever connects and says nothing costs a place, not memory.
        let Ok(stranger) = Arc::clone(&strangers).try_acquire_owned() else {
            tracing::debug!(%address, "connection refused: too many have not proven who they are");
            continue;
        };
        let accepting =
            Accepting { local: local.clone(), service: Arc::clone(&service), limits, peers: Arc::clone(&peers) };
        let stop = stop.clone();
        tasks.spawn(async move {
            tokio::select! {
                () = accepting.serve(stream, address, stranger) => {}
                () = stop.cancelled() => {}
            }
        });
    }
}

struct Accepting {
    local: Local,
    service: Arc<dyn Service>,
    limits: Limits,
    peers: Arc<Semaphore>,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("{0:?} is no request")]
    Kind(Kind),
    #[error("no request for too long")]
    Idle,
    #[error("answers were not taken in time")]
    SlowReader,
    #[error("cannot send: {0}")]
    Send(#[from] io::Error),
}

impl Accepting {
    async fn serve(self, stream: TcpStream, address: SocketAddr, stranger: OwnedSemaphorePermit) {
        let Ok(mut halves) = halves(stream) else { return };
        let local = self.local.get();
        let greeted = timeout(self.limits.handshake, handshake::accept(&mut halves, &local)).await;
        let hello = match greeted {
            Ok(Ok(hello)) => hello,
            Ok(Err(HandshakeError::Refuses(refusal))) => {
                tracing::warn!(%address, %refusal, "peer refused");
                return;
            }
            Ok(Err(error)) => {
                tracing::debug!(%address, %error, "a connection to the peer listener came to nothing");
                return;
            }
            Err(_) => {
                tracing::debug!(%address, "a connection to the peer listener did not say who it is in time");
                return;
            }
        };
        drop(stranger);
        let Ok(_peer) = self.peers.try_acquire() else {
            let text = format!("all {} connections of peers are taken", self.limits.peers);
            // It finds out anyhow when the connection closes.
            let _ = handshake::turn_away(&mut halves.writer, &Refusal::Busy(text.into())).await;
            tracing::warn!(%address, "peer refused: all connections of peers are taken");
            return;
        };
        let remote = Remote { node: hello.from, incarnation: hello.incarnation, lane: hello.lane, address };
        tracing::debug!(?remote, "peer connected");
        match self.requests(halves, &remote).await {
            Ok(()) => tracing::debug!(?remote, "peer disconnected"),
            Err(ended) => tracing::debug!(?remote, %ended, "connection of a peer closed"),
        }
    }

    async fn requests(&self, halves: Halves, remote: &Remote) -> Result<(), Ended> {
        let Halves { mut frames, writer, .. } = halves;
        frames.decoder_mut().on_proven(remote.lane.payload_max());
        let mut writer = BufWriter::new(writer);
        let mut running = FuturesUnordered::new();
        let mut idle_at = Instant::now() + self.limits.idle;
        loop {
            let may_take = running.len() < self.limits.in_flight;
            tokio::select! {
                Some((id, answer)) = running.next(), if !running.is_empty() => {
                    self.answer(&mut writer, id, answer).await?;
                    // What is ready together leaves together.
                    while let Some(Some((id, answer))) = running.next().now_or_never() {
                        self.answer(&mut writer, id, answer).await?;
                    }
                    timeout(self.limits.write, writer.flush()).await.map_err(|_| Ended::SlowReader)??;
                    idle_at = Instant::now() + self.limits.idle;
                }
                frame = timeout_at(idle_at, frames.next()), if may_take => {
                    let frame = match frame {
                        Ok(Some(frame)) => frame?,
                        Ok(None) => return Ok(()),
                        // Its request may take as long as it likes.
                        Err(_) if !running.is_empty() => {
                            idle_at = Instant::now() + self.limits.idle;
                            continue;
                        }
                        Err(_) => return Err(Ended::Idle),
                    };
                    idle_at = Instant::now() + self.limits.idle;
                    let Frame { kind: Kind::Request, id, body, payload } = frame else { return Err(Ended::Kind(frame.kind)) };
                    running.push(self.service.call(remote.clone(), Request { body, payload }).map(move |answer| (id, answer)));
                }
            }
        }
    }

    async fn answer(
        &self,
        writer: &mut BufWriter<OwnedWriteHalf>,
        id: u64,
        answer: Result<Bytes, Failed>,
    ) -> Result<(), Ended> {
        let (kind, body) = match answer {
            Ok(body) if body.len() > BODY_BYTES_MAX => (Kind::Failed, Bytes::from_static(b"the answer is too long")),
            Ok(body) => (Kind::Response, body),
            Err(Failed(text)) => (Kind::Failed, Bytes::from(text.into_string())),
        };
        let head = head(kind, id, &body, 0);
        let mut pieces = Pieces::new(Bytes::copy_from_slice(&head), body.into());
        Ok(timeout(self.limits.write, writer.write_all_buf(&mut pieces)).await.map_err(|_| Ended::SlowReader)??)
    }
}

/// Both halves of a connection that has just been made.
pub(crate) fn halves(stream: TcpStream) -> io::Result<Halves> {
    stream.set_nodelay(true)?;
    let peer = stream.peer_addr()?.ip();
    let (reader, writer) = stream.into_split();
    Ok(Halves { frames: FramedRead::new(reader, FrameDecoder::new()), writer, peer })
}

impl fmt::Debug for Accepting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepting").field("limits", &self.limits).finish_non_exhaustive()
    }
}
