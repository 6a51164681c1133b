//! All connections of a client, by broker and lane. Made when first wanted, made anew when broken.
//!
//! Must not know: what brokers are asked, which brokers there are.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cairn_protocol::ids::BrokerId;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::{Address, Connection, Dialer};
use crate::backoff::Backoff;
use crate::error::RequestError;

/// What a connection is for. Brokers answer a connection's requests in order, so that a fetch that waits for records would hold
/// up what is sent behind it: whoever may wait long, or must not, has a lane of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lane {
    /// Metadata, admin calls, offsets.
    Control,
    /// One producer's or one consumer's.
    Own(u64),
}

/// Whom a connection leads to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    /// A broker that the metadata names.
    Broker(BrokerId),
    /// An address that the user named.
    Bootstrap(Address),
}

/// A client's connections.
pub(crate) struct Pool {
    dialer: Dialer,
    backoff: Backoff,
    slots: Mutex<HashMap<(Target, Lane), Arc<Slot>>>,
    next_lane: AtomicU64,
}

/// One place for a connection. Whoever finds it broken makes it anew while the others wait.
#[derive(Default)]
struct Slot(tokio::sync::Mutex<State>);

#[derive(Default)]
struct State {
    connection: Option<(Address, Connection)>,
    failures: u32,
    not_before: Option<Instant>,
}

impl Pool {
    pub(crate) fn new(dialer: Dialer, backoff: Backoff) -> Self {
        Self { dialer, backoff, slots: Mutex::default(), next_lane: AtomicU64::new(0) }
    }

    /// A lane that nobody else has.
    pub(crate) fn own_lane(&self) -> Lane {
        Lane::Own(self.next_lane.fetch_add(1, Ordering::Relaxed))
    }

    /// A live connection. After a failure, the next attempt waits by the backoff.
    ///
    /// Cancel-safe: a connection that is half made is closed.
    pub(crate) async fn get(&self, target: Target, address: &Address, lane: Lane) -> Result<Connection, RequestError> {
        let slot = Arc::clone(self.slots.lock().entry((target, lane)).or_default());
        let mut state = slot.0.lock().await;
        if let Some((connected, connection)) = &state.connection
            && connection.is_alive()
            && connected == address
        {
            return Ok(connection.clone());
        }
        state.connection = None;
        if let Some(at) = state.not_before {
            tokio::time::sleep_until(at).await;
        }
        match self.dialer.dial(address).await {
            Ok(connection) => {
                state.failures = 0;
                state.not_before = None;
                state.connection = Some((address.clone(), connection.clone()));
                Ok(connection)
            }
            Err(error) => {
                state.failures += 1;
                state.not_before = Some(Instant::now() + self.backoff.wait_after(state.failures));
                Err(error)
            }
        }
    }

    /// Closes the connections of a lane that is no longer used.
    pub(crate) fn close(&self, lane: Lane) {
        self.slots.lock().retain(|(_, other), _| *other != lane);
    }
}
