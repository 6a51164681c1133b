//! Describing the cluster, and removing brokers from it.
//!
//! Must not know: topics.

use cairn_protocol::ids::BrokerId;
use cairn_protocol::messages::{DescribeClusterRequest, UnregisterBrokerRequest};

use super::error::checked;
use super::{Admin, AdminError};
use crate::client::Ask;

const VERSIONS: std::ops::RangeInclusive<i16> = 0..=2;
/// Brokers that are fenced are told from here on.
const FENCED_FROM: i16 = 2;

const UNREGISTER_VERSIONS: std::ops::RangeInclusive<i16> = 0..=0;

/// The cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterDescription {
    /// Its id.
    pub id: Box<str>,
    /// The broker that changes metadata go to.
    pub controller: Option<BrokerId>,
    /// Its brokers, by id.
    pub brokers: Vec<BrokerDescription>,
}

/// A broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerDescription {
    /// Its node id.
    pub id: BrokerId,
    /// Where clients reach it.
    pub host: Box<str>,
    /// Where clients reach it.
    pub port: u16,
    /// Its rack, if it has one.
    pub rack: Option<Box<str>>,
    /// Whether it is registered and does not serve: it is down, or was silent for too long. Older clusters tell of no such brokers.
    pub is_fenced: bool,
}

impl Admin {
    /// The cluster's id and brokers, fenced ones as well.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    /// When no broker answers.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription, AdminError> {
        self.retry(|| async {
            let request = |version| DescribeClusterRequest {
                include_fenced_brokers: version >= FENCED_FROM,
                ..DescribeClusterRequest::default()
            };
            let answer = self.client.call(Ask::Any, VERSIONS, self.timeout(), request).await?;
            checked("the cluster", answer.error_code, answer.error_message.as_deref())?;
            let broker = |broker: &cairn_protocol::messages::describe_cluster_response::DescribeClusterBroker| {
                Some(BrokerDescription {
                    id: BrokerId(broker.broker_id),
                    host: broker.host.clone(),
                    port: u16::try_from(broker.port).ok()?,
                    rack: broker.rack.clone(),
                    is_fenced: broker.is_fenced,
                })
            };
            let mut brokers: Vec<BrokerDescription> = answer.brokers.iter().filter_map(broker).collect();
            brokers.sort_by_key(|broker| broker.id);
            let controller = (answer.controller_id >= 0).then_some(BrokerId(answer.controller_id));
            Ok(ClusterDescription { id: answer.cluster_id, controller, brokers })
        })
        .await
    }

    /// Removes a broker that is gone for good. Partitions keep it among their replicas.
    ///
    /// Not cancel-safe: when dropped, it may be done.
    ///
    /// # Errors
    /// When no such broker is registered, the cluster refuses it, or does not answer.
    pub async fn unregister_broker(&self, broker: BrokerId) -> Result<(), AdminError> {
        self.retry(|| async {
            let request = UnregisterBrokerRequest { broker_id: broker.0 };
            let answer = self.client.call(Ask::Controller, UNREGISTER_VERSIONS, self.timeout(), |_| request).await?;
            checked(&format!("broker {broker}"), answer.error_code, answer.error_message.as_deref())
        })
        .await
    }
}
