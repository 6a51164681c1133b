//! The partitions that this broker keeps: appends under a short lock, reads beside it, and those who wait for either.
//!
//! Must not know: requests' bytes, sockets, how a log lies on disk.

mod acks;
mod arrivals;
mod cleaner;
mod dirs;
mod links;
mod mover;
mod parallel;
mod partition;
mod registry;
mod rounds;
mod scrubber;
mod settings;
mod traffic;
mod upkeep;

pub(crate) use acks::AckWait;
pub(crate) use arrivals::Arrivals;
pub(crate) use cleaner::Cleaner;
pub use dirs::OpenLogDirsError;
pub(crate) use dirs::{DirAt, DirLook, LogDirs};
pub(crate) use links::{Link, Links};
pub(crate) use mover::Mover;
pub(crate) use partition::{
    AppendRefused, Appended, DeleteRecordsRefused, MayWait, Me, Partition, Pushed, Required, Stream, Taking,
};
pub(crate) use registry::{FutureLog, NotHere, Partitions};
pub(crate) use scrubber::Scrubber;
pub(crate) use settings::Settings;
pub(crate) use upkeep::{Flusher, Upkeep};
