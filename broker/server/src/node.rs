//! The handles that requests work with.
//!
//! Must not know: sockets, any single API.

use std::sync::Arc;

use cairn_metadata::Image;
use cairn_metadata::configs::ConfigMap;
use cairn_protocol::ids::BrokerId;

use crate::cluster::Cluster;
use crate::config::BrokerConfig;
use crate::coordinator::Coordinator;
use crate::fetch_sessions::FetchSessions;
use crate::partitions::Partitions;
use crate::producer_ids::ProducerIds;
use crate::telemetry::Metrics;

/// One running broker, as its APIs see it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: BrokerId,
    pub(crate) config: BrokerConfig,
    /// What the broker's configuration says for topics that say nothing themselves.
    pub(crate) topic_defaults: ConfigMap,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) producer_ids: ProducerIds,
    pub(crate) partitions: Arc<Partitions>,
    pub(crate) coordinator: Coordinator,
    pub(crate) fetch_sessions: FetchSessions,
    pub(crate) metrics: Arc<Metrics>,
}

impl Node {
    /// The cluster as this broker knows it now.
    pub(crate) fn image(&self) -> Arc<Image> {
        self.cluster.image()
    }
}
