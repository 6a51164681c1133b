//! The Raft library, caged: the metadata log made durable and agreed upon.
//!
//! [`MetadataNode`] takes commands, has them committed by a quorum of voters (one, as long as there is one broker), folds
//! them into images and publishes those. Nothing of the library shows outside this crate.
//!
//! Must not know: requests, partitions, what the commands mean.

mod types;

mod bytes;
mod checkpoint;
mod entry;
mod marks;

mod log;
mod machine;
mod network;

mod node;
mod updates;

pub use node::{MetadataNode, NodeConfig, ProposeError, Proposed, StartError};
pub use updates::Updates;
