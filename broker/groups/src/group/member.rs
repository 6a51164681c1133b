//! One member of a group.
//!
//! Must not know: other members.

use std::collections::HashSet;
use std::sync::Arc;

use bytes::Bytes;

use crate::protocols::Protocol;
use crate::replies::Waiter;
use crate::timers::Timer;

/// A member.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) instance: Option<Arc<str>>,
    pub(crate) client_id: Box<str>,
    pub(crate) client_host: Box<str>,
    pub(crate) session_timeout_ms: i32,
    pub(crate) rebalance_timeout_ms: i32,
    /// What it can do, the best first; each name once.
    pub(crate) protocols: Vec<Protocol>,
    /// What the leader gave it in this generation.
    pub(crate) assignment: Bytes,
    /// It has joined and waits for the others.
    pub(crate) join: Option<Waiter>,
    /// It waits for its assignment.
    pub(crate) sync: Option<Waiter>,
    /// It has not been in any generation yet.
    pub(crate) is_new: bool,
    pub(crate) session: Timer,
}

impl Member {
    /// What it says to a protocol; nothing where it does not know it.
    pub(crate) fn metadata(&self, protocol: &str) -> Bytes {
        let known = self.protocols.iter().find(|known| *known.name == *protocol);
        known.map_or_else(Bytes::new, |known| known.metadata.clone())
    }

    /// Whether it need not send heartbeats now: a member that waits for an answer does not. A new one may be gone
    /// without a word, so for it that does not hold.
    pub(crate) fn is_excused(&self) -> bool {
        !self.is_new && (self.join.is_some() || self.sync.is_some())
    }
}

/// Each name once, the first of it; bytes of their own, so that they do not hold on to the frame that they came in.
pub(crate) fn distinct(protocols: &[Protocol]) -> Vec<Protocol> {
    let mut kept: Vec<Protocol> = Vec::with_capacity(protocols.len());
    let mut names = HashSet::with_capacity(protocols.len());
    for protocol in protocols {
        if names.insert(&protocol.name) {
            kept.push(Protocol {
                name: Arc::clone(&protocol.name),
                metadata: Bytes::copy_from_slice(&protocol.metadata),
            });
        }
    }
    kept
}
