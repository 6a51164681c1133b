//! The Raft library, caged: the metadata log made durable and agreed upon.
//!
//! [`MetadataNode`] takes commands, has them committed by a quorum of voters (one, as long as there is one broker), folds
//! them into images and publishes those. A node that does not lead forwards commands to the one that does. Nothing of the library
//! shows outside this crate.
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
mod serve;
mod wire;

mod members;
mod node;
mod propose;
mod updates;

pub use members::{Member, MemberProgress, MembersError, Progress, Role};
pub use node::{Formation, Link, MetadataNode, NodeConfig, StartError};
pub use propose::{ProposeError, Proposed};
pub use updates::Updates;
pub use wire::KINDS_END;
