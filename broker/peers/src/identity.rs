//! Who a broker is to its peers: known from the start, or learned when it joins.
//!
//! Must not know: sockets.

use std::sync::Arc;

use arc_swap::ArcSwap;
use cairn_protocol::ids::BrokerId;
use uuid::Uuid;

use crate::secret::JoinSecret;

/// Who a broker is.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its cluster; none before it is a member of one.
    pub cluster: Option<Uuid>,
    /// Its node id; none before it was given one.
    pub node: Option<BrokerId>,
    /// Another one with every start of its process.
    pub incarnation: Uuid,
    /// The cluster's secret; none before it was given one.
    pub secret: Option<JoinSecret>,
}

/// Who this broker is now. A clone is the same one.
#[derive(Clone, Debug)]
pub struct Local(Arc<ArcSwap<Identity>>);

impl Local {
    /// It begins as this.
    #[must_use]
    pub fn new(identity: Identity) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(identity)))
    }

    /// Who it is.
    #[must_use]
    pub fn get(&self) -> Arc<Identity> {
        self.0.load_full()
    }

    /// From now on it is this.
    pub fn set(&self, identity: Identity) {
        self.0.store(Arc::new(identity));
    }
}
