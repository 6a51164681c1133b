//! Listening sockets and the loop that accepts connections.
//!
//! Must not know: frames, requests.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::permits::{ConnectionPermit, ConnectionPermits};
use crate::config::{Advertise, HostPort, Listener};
use crate::quotas::Admission;

/// How long the loop rests after the system refused a connection (no descriptors, no memory): doubled each time, up to the
/// second. Connections wait in the kernel's backlog meanwhile.
const BACK_OFF_MIN: Duration = Duration::from_millis(10);
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// A listener as its connections know it.
#[derive(Debug)]
pub(crate) struct ListenerInfo {
    pub(crate) name: String,
    pub(crate) advertise: Advertise,
    /// Where it really listens.
    pub(crate) bound: SocketAddr,
    /// The host as it was configured, which may be a name.
    host: String,
}

/// A socket that listens.
#[derive(Debug)]
pub(crate) struct Bound {
    socket: TcpListener,
    pub(crate) info: Arc<ListenerInfo>,
}

/// A listener's address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} ({name}): {source}")]
pub struct BindError {
    /// The listener.
    name: String,
    /// As it was configured.
    address: String,
    source: io::Error,
}

/// The options of accepted sockets that the configuration names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketOptions {
    pub(crate) backlog: u32,
    pub(crate) send_buffer: Option<u32>,
    pub(crate) receive_buffer: Option<u32>,
}

impl ListenerInfo {
    #[cfg(test)]
    pub(crate) fn for_tests(name: &str, advertise: Advertise, bound: SocketAddr) -> Self {
        Self { name: name.to_owned(), advertise, bound, host: bound.ip().to_string() }
    }

    /// What a client that has reached `local` is told about this listener.
    pub(crate) fn advertised(&self, local: SocketAddr) -> HostPort {
        match &self.advertise {
            Advertise::Fixed(address) => address.clone(),
            Advertise::Bound => HostPort { host: self.host.clone(), port: self.bound.port() },
            Advertise::Reached => HostPort::from(local),
        }
    }
}

impl Bound {
    /// The next connection, for who serves nobody yet.
    pub(crate) async fn accept(&self) -> io::Result<TcpStream> {
        self.socket.accept().await.map(|(stream, _)| stream)
    }
}

/// Listens.
pub(crate) async fn bind(listener: &Listener, options: SocketOptions) -> Result<Bound, BindError> {
    let error = |source| BindError { name: listener.name.clone(), address: listener.bind.to_string(), source };
    let socket = open(&listener.bind, options).await.map_err(error)?;
    let bound = socket.local_addr().map_err(error)?;
    let (name, advertise) = (listener.name.clone(), listener.advertise.clone());
    let info = Arc::new(ListenerInfo { name, advertise, bound, host: listener.bind.host.clone() });
    Ok(Bound { socket, info })
}

async fn open(address: &HostPort, options: SocketOptions) -> io::Result<TcpListener> {
    if address.host.is_empty() {
        // IPv6's wildcard takes IPv4 too, where the system has IPv6 at all.
        let both = SocketAddr::new(std::net::Ipv6Addr::UNSPECIFIED.into(), address.port);
        return listen(both, options)
            .or_else(|_| listen(SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), address.port), options));
    }
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for candidate in lookup_host((address.host.as_str(), address.port)).await? {
        match listen(candidate, options) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn listen(address: SocketAddr, options: SocketOptions) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    // Accepted sockets inherit these; the receive window is settled by the time a connection is accepted.
    if let Some(bytes) = options.send_buffer {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = options.receive_buffer {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket.bind(address)?;
    socket.listen(options.backlog)
}

/// What is done about a connection from this address that has just come.
pub(crate) type Admit = dyn Fn(IpAddr) -> Admission + Send + Sync;

/// Who may connect, and what is counted of those who may not.
pub(crate) struct Accepting {
    pub(crate) permits: Arc<ConnectionPermits>,
    pub(crate) admit: Arc<Admit>,
    /// The system did not give a connection.
    pub(crate) failures: Counter,
    /// It was closed at once for want of a permit.
    pub(crate) refused: Counter,
}

/// Accepts connections until `shutdown`, and runs each as a task of its own.
pub(crate) async fn accept_loop<F>(
    bound: Bound,
    accepting: Accepting,
    shutdown: CancellationToken,
    tasks: TaskTracker,
    serve: impl Fn(TcpStream, SocketAddr, Arc<ListenerInfo>, ConnectionPermit) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut back_off = BACK_OFF_MIN;
    loop {
        let accepted = tokio::select! {
            accepted = bound.socket.accept() => accepted,
            () = shutdown.cancelled() => return,
        };
        match accepted {
            Ok((stream, peer)) => {
                back_off = BACK_OFF_MIN;
                let permit = match accepting.permits.take(peer.ip()) {
                    Ok(permit) => permit,
                    Err(refused) => {
                        accepting.refused.inc();
                        tracing::debug!(%peer, %refused, "connection refused");
                        continue;
                    }
                };
                match (accepting.admit)(peer.ip()) {
                    Admission::Now => {}
                    // All that come wait in the kernel's backlog meanwhile.
                    Admission::After(time) => tokio::select! {
                        () = tokio::time::sleep(time) => {}
                        () = shutdown.cancelled() => return,
                    },
                    // A client that is closed at once would come again at once. It keeps its place, so that these are bounded.
                    Admission::RefusedAfter(time) => {
                        tracing::debug!(%peer, ?time, "connection refused: its address makes too many a second");
                        tasks.spawn(close_after(time, stream, permit, shutdown.clone()));
                        continue;
                    }
                }
                tasks.spawn(serve(stream, peer, Arc::clone(&bound.info), permit));
            }
            Err(error) => {
                accepting.failures.inc();
                if back_off == BACK_OFF_MIN {
                    tracing::warn!(%error, listener = bound.info.name, "cannot accept connections; resting between tries");
                }
                tokio::time::sleep(back_off).await;
                back_off = (back_off * 2).min(BACK_OFF_MAX);
            }
        }
    }
}

async fn close_after(time: Duration, stream: TcpStream, permit: ConnectionPermit, shutdown: CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(time) => {}
        () = shutdown.cancelled() => {}
    }
    drop((stream, permit));
}
