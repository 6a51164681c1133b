//! Clients' connections: who may have one, and what each is given.
//!
//! Must not know: frames, what any API does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::Life;
use crate::config::{BrokerConfig, millis};
use crate::descriptors::DescriptorShares;
use crate::dispatch::Dispatcher;
use crate::net::{
    Accepting, Admit, Bound, Connection, ConnectionInfo, ConnectionPermits, Limits, ListenerInfo, MostConnections,
    RequestBudget, accept_loop,
};
use crate::node::Node;
use crate::quotas::Admission;

/// How many connections the process can have without taking descriptors from its files.
fn connections_possible(config: &BrokerConfig) -> u32 {
    let (wanted, possible) = (config.max_connections, DescriptorShares::of_process().connections);
    if possible < wanted {
        tracing::warn!(
            wanted,
            possible,
            "max.connections is more than the limit of open descriptors (ulimit -n) gives"
        );
    }
    possible
}

/// Begins to accept connections.
pub(super) fn serve(node: &Arc<Node>, listeners: Vec<Bound>, life: &Life) {
    let Life { stop, tasks } = life;
    let live = Arc::clone(&node.config);
    let possible = connections_possible(node.config.start());
    let permits = ConnectionPermits::new(move |ip| {
        let config = live.load();
        let own = config.max_connections_per_ip_overrides.iter().find(|(of, _)| *of == ip).map(|(_, most)| *most);
        let of_address = own.unwrap_or(config.max_connections_per_ip);
        MostConnections { all: config.max_connections.min(possible), of_address }
    });
    let admitting = Arc::clone(node);
    let admit: Arc<Admit> = Arc::new(move |ip| {
        let most = admitting.config.load().max_connection_creation_rate;
        let admission = admitting.quotas.on_connection(ip, most, Instant::now());
        match admission {
            Admission::Now => {}
            Admission::After(_) => admitting.metrics.connection_delayed("broker"),
            Admission::RefusedAfter(_) => admitting.metrics.connection_delayed("address"),
        }
        admission
    });
    let config = node.config.start();
    let serving = Serving {
        node: Arc::clone(node),
        dispatcher: Arc::new(Dispatcher::new(Arc::clone(node))),
        budget: RequestBudget::new(config.queued_max_request_bytes),
        limits: Arc::new(Limits {
            frame_max: config.socket_request_max_bytes as usize,
            in_flight_max: config.connection_requests_in_flight as usize,
            queued_bytes_max: config.connection_queued_response_bytes as usize,
            request_bytes_max: config.connection_queued_request_bytes as usize,
            idle: millis(config.connections_max_idle_ms),
            request_timeout: millis(config.connection_request_timeout_ms),
            write_timeout: millis(config.connection_write_timeout_ms),
        }),
        stop: stop.clone(),
    };
    for bound in listeners {
        let serving = serving.clone();
        let connect = move |stream, peer, listener, permit| {
            let serving = serving.clone();
            async move {
                serving.connection(stream, peer, listener).await;
                drop(permit);
            }
        };
        let accepting = Accepting {
            permits: Arc::clone(&permits),
            admit: Arc::clone(&admit),
            failures: node.metrics.accept_failures.clone(),
            refused: node.metrics.connections_refused.clone(),
        };
        tasks.spawn(accept_loop(bound, accepting, stop.clone(), tasks.clone(), connect));
    }
}

/// What every connection is given.
#[derive(Clone)]
struct Serving {
    node: Arc<Node>,
    dispatcher: Arc<Dispatcher>,
    budget: RequestBudget,
    limits: Arc<Limits>,
    stop: CancellationToken,
}

impl Serving {
    /// Serves one connection until it ends.
    async fn connection(self, stream: TcpStream, peer: SocketAddr, listener: Arc<ListenerInfo>) {
        let Ok(local) = stream.local_addr() else { return };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "connection was gone before it began");
            return;
        }
        let metrics = &self.node.metrics;
        let _open = metrics.connection_begun();
        let info = Arc::new(ConnectionInfo { listener, peer, local });
        let connection = Connection::new(stream, info, self.limits, self.budget, self.dispatcher);
        let ended = connection.run(self.stop.cancelled()).await;
        metrics.connection_ended(ended.reason());
        match ended.is_fault() {
            true => tracing::info!(%peer, reason = %ended, "connection closed"),
            false => tracing::debug!(%peer, reason = %ended, "connection closed"),
        }
    }
}
