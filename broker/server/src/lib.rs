//! The tokio shell of the broker: sockets, dispatch, one file per API, tasks, telemetry. It decides nothing that a pure
//! crate could decide.
//!
//! Must not know: how bytes are laid out on disk, which Raft library there is.

pub mod config;
