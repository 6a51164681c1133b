//! One partition's log on disk, and the data directory that holds many. Blocking; no tokio, no sockets. The only unsafe
//! code is the mapped file.

pub mod allocator;
pub mod dir;
pub mod disk;
pub mod inspect;
pub mod log;
pub mod map_budget;
mod num;
pub mod sigbus;

pub use dir::DataDir;
pub use log::{Log, LogReader};
