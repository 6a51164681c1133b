//! Support code of the judges: brokers as real processes, clients that others wrote, histories and the rules they must keep.
//!
//! It must not know the broker's crates: what a judge sees is what a user sees.

pub mod broker;
pub mod clients;
pub mod dice;
pub mod history;
pub mod process;
pub mod record;
pub mod report;
pub mod streams;
