//! Support code of the judges: brokers as real processes, clients that others wrote, histories and the rules they must keep.
//!
//! It must not know the broker's crates: what a judge sees is what a user sees. Only `stored`, for the judges of the storage crate
//! by itself, knows that one.

pub mod broker;
pub mod clients;
pub mod cluster;
pub mod dice;
pub mod history;
pub mod lanes;
pub mod parameters;
pub mod process;
pub mod proxy;
pub mod raw;
pub mod record;
pub mod report;
pub mod stored;
pub mod streams;
pub mod traffic;
pub mod verifiable;
pub mod wire;
