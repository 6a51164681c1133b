//! From addresses to answered requests: one connection and the pool of them.
//!
//! Must not know: topics, partitions, what the requests are for.

mod address;
mod authenticate;
mod connection;
mod dial;
mod pool;
mod versions;

pub(crate) use address::Address;
pub(crate) use connection::{Answer, Connection, Pending};
pub(crate) use dial::Dialer;
pub(crate) use pool::{Lane, Pool, Target};
pub(crate) use versions::Versions;
