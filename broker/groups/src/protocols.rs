//! A way in which members of a classic group can be assigned to.
//!
//! Must not know: groups, what members say to it.

use std::sync::Arc;

use bytes::Bytes;

/// A way to assign partitions that a member knows, and what it has to say to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    /// The assignor's name.
    pub name: Arc<str>,
    /// For the leader; opaque here but for a consumer's topics.
    pub metadata: Bytes,
}
