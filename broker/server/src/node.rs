//! The handles that requests work with.
//!
//! Must not know: sockets, any single API.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use cairn_metadata::Image;
use cairn_metadata::configs::ConfigMap;
use cairn_protocol::ids::{BrokerId, Timestamp};

use crate::cluster::Cluster;
use crate::config::BrokerConfig;
use crate::producer_ids::ProducerIds;
use crate::telemetry::Metrics;

/// One running broker, as its APIs see it.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: BrokerId,
    pub(crate) config: BrokerConfig,
    /// What the broker's configuration says for topics that say nothing themselves.
    pub(crate) topic_defaults: ConfigMap,
    pub(crate) cluster: Cluster,
    pub(crate) producer_ids: ProducerIds,
    pub(crate) metrics: Arc<Metrics>,
}

impl Node {
    /// The cluster as this broker knows it now.
    pub(crate) fn image(&self) -> Arc<Image> {
        self.cluster.image()
    }

    /// The time by which records are stamped and kept.
    pub(crate) fn now(&self) -> Timestamp {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }
}
