//! Sockets: listeners, one task per connection, frames in and answers out, and every limit on them.
//!
//! Must not know: what a request means.

mod connection;
mod inbox;
mod listener;
mod outbox;
mod permits;
mod service;
mod woken;

pub(crate) use connection::{Connection, Limits};
pub use listener::BindError;
pub(crate) use listener::{Accepting, Admit, Bound, ListenerInfo, SocketOptions, accept_loop, bind};
pub(crate) use permits::{ConnectionPermits, MostConnections, RequestBudget};
pub(crate) use service::{Answer, ConnectionInfo, Mute, Order, Replied, Reply, Request, Service};
