//! The handles that requests work with.
//!
//! Must not know: sockets, any single API.

use std::sync::Arc;

use cairn_metadata::Image;
use cairn_peers::Peers;
use cairn_protocol::ids::BrokerId;

use crate::cluster::Cluster;
use crate::config::LiveConfig;
use crate::coordinator::Coordinator;
use crate::fetch_sessions::FetchSessions;
use crate::loggers::Loggers;
use crate::partitions::Partitions;
use crate::producer_ids::ProducerIds;
use crate::quotas::Quotas;
use crate::replication::CatchUp;
use crate::telemetry::Metrics;

/// One running broker, as its APIs see it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: BrokerId,
    pub(crate) config: Arc<LiveConfig>,
    pub(crate) loggers: Loggers,
    pub(crate) cluster: Arc<Cluster>,
    /// The other brokers; none where there never are any.
    pub(crate) peers: Option<Peers>,
    pub(crate) producer_ids: ProducerIds,
    pub(crate) partitions: Arc<Partitions>,
    /// What produces wait, which those who catch up give way to.
    pub(crate) catch_up: Arc<CatchUp>,
    pub(crate) coordinator: Coordinator,
    pub(crate) fetch_sessions: FetchSessions,
    pub(crate) quotas: Arc<Quotas>,
    pub(crate) metrics: Arc<Metrics>,
}

impl Node {
    /// The cluster as this broker knows it now.
    pub(crate) fn image(&self) -> Arc<Image> {
        self.cluster.image()
    }
}
