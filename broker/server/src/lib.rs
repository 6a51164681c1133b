//! The tokio shell of the broker: sockets, dispatch, one file per API, tasks, telemetry. It decides nothing that a pure
//! crate could decide.
//!
//! Must not know: how bytes are laid out on disk, which Raft library there is.

pub mod config;

mod broker;
mod in_process;
mod node;
mod observer;

mod loggers;

mod net;

mod dispatch;

mod api;
mod coordinator;
mod placement;
mod producer_ids;
mod resources;
mod topics;

mod cluster;
mod controller;
mod fetch_sessions;
mod lease;
mod membership;
mod partitions;
mod quotas;
mod read_replica;
mod replication;

mod blocking;
mod clock;
mod descriptors;
mod host_names;

mod telemetry;

pub use broker::{Addresses, Broker, StartError};
pub use descriptors::raise_descriptor_limit;
pub use in_process::{InProcessBroker, InProcessError};
pub use loggers::{LevelError, Loggers, ROOT};
pub use membership::{MembershipError, join_secret, voters};
pub use net::BindError;
pub use partitions::OpenLogDirsError;
pub use telemetry::HttpError;
