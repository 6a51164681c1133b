//! A broker becomes known to its cluster: its part of the metadata quorum begins, and the metadata takes its registration.
//!
//! Must not know: partitions, clients.

use std::sync::Arc;
use std::time::Duration;

use cairn_consensus::{MetadataNode, NodeConfig};
use cairn_metadata::{Answer, BrokerEpoch, Command, Endpoint, NewBroker, SecurityProtocol};
use cairn_peers::Peers;
use cairn_protocol::ids::BrokerId;
use cairn_storage::DataDir;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::opening::Opened;
use super::{Life, StartError};
use crate::clock;
use crate::membership::{self, MembershipError, PeerService, Peering, Sessions};
use crate::net::Bound;

/// How long a registration rests that nobody decided, unless another broker becomes the controller.
const REGISTER_PAUSE: Duration = Duration::from_millis(200);

/// A broker that the metadata knows.
pub(super) struct Joined {
    pub(super) metadata: Arc<MetadataNode>,
    pub(super) metadata_dir: Arc<DataDir>,
    pub(super) epoch: BrokerEpoch,
    /// What it is to the others, where there can be any.
    pub(super) among: Option<Among>,
}

/// One of several brokers.
pub(super) struct Among {
    pub(super) peering: Peering,
    pub(super) service: PeerService,
    pub(super) sessions: Arc<Sessions>,
}

impl Joined {
    /// The node id is the cluster's to give: it is in the config when this returns.
    pub(super) async fn new(opened: &mut Opened, boot_id: Option<Uuid>, life: &Life) -> Result<Self, StartError> {
        let Opened { config, disk, dirs, listeners, .. } = opened;
        let storage_ids = dirs.storage_ids();
        let peering = Peering::open(config, (disk, dirs), &listeners[0], &life.stop).await?;
        if let Some(peering) = &peering {
            config.set_node_id(peering.node.0);
        }
        let own = BrokerId(config.node_id);
        let mut quorum = NodeConfig::new(own, Uuid::new_v4(), clock::now);
        let mut among = peering.map(|mut peering| {
            quorum.formation = peering.formation;
            quorum.link = Some(peering.link());
            let sessions = Arc::new(Sessions::default());
            let service = peering.serve(Arc::clone(&sessions), &life.stop, &life.tasks);
            Among { peering, service, sessions }
        });
        let metadata_dir = Arc::clone(dirs.metadata());
        let metadata = Arc::new(MetadataNode::start(quorum, Arc::clone(&metadata_dir), Arc::clone(disk)).await?);
        if let Some(among) = &among {
            among.service.set_quorum(Arc::clone(&metadata));
        }
        let peers = among.as_ref().map(|among| among.peering.peers.clone());
        let removal = || Removal { metadata: &metadata, peers: peers.as_ref(), node: own, disks: &storage_ids };
        let cluster_id = membership::cluster_id(&metadata, &life.stop);
        let cluster_id = removal().or(async { cluster_id.await.map_err(StartError::from) }).await?;
        if let Some(among) = &mut among {
            among.peering.found(cluster_id)?;
        }
        let new = NewBroker {
            id: own,
            incarnation: Uuid::new_v4(),
            endpoints: if among.is_some() { endpoints(listeners) } else { Vec::new() },
            rack: config.broker_rack.as_deref().map(Into::into),
            storage_ids: storage_ids.clone(),
            boot_id,
            clean_shutdown: dirs.closed_by(),
        };
        let epoch = removal().or(register(&metadata, new, &life.stop)).await?;
        Ok(Self { metadata, metadata_dir, epoch, among })
    }
}

/// Where clients reach the listeners, as other brokers tell them.
fn endpoints(listeners: &[Bound]) -> Vec<Endpoint> {
    let endpoint = |bound: &Bound| {
        let advertised = bound.info.advertised(bound.info.bound);
        Endpoint {
            listener: bound.info.name.as_str().into(),
            host: advertised.host.into(),
            port: advertised.port,
            security: SecurityProtocol::Plaintext,
        }
    };
    listeners.iter().map(endpoint).collect()
}

/// What ends a start that would wait for ever: a broker that was removed hears nothing of the metadata, and nobody takes its registration.
struct Removal<'a> {
    metadata: &'a Arc<MetadataNode>,
    peers: Option<&'a Peers>,
    node: BrokerId,
    disks: &'a [Uuid],
}

impl Removal<'_> {
    /// The step, unless a member tells meanwhile that this broker was removed.
    async fn or<T>(self, step: impl Future<Output = Result<T, StartError>>) -> Result<T, StartError> {
        let Some(peers) = self.peers else { return step.await };
        tokio::select! {
            done = step => done,
            () = membership::until_removed((Arc::clone(self.metadata), peers.clone()), self.disks.to_vec(), || true) => {
                Err(MembershipError::Removed { node: self.node }.into())
            }
        }
    }
}

/// Makes this broker known to the cluster. When this returns, the broker's image holds all that was decided before: what lies in
/// its log dirs can be judged by it.
async fn register(
    metadata: &MetadataNode,
    new: NewBroker,
    stop: &CancellationToken,
) -> Result<BrokerEpoch, StartError> {
    match propose_for_sure(metadata, &Command::RegisterBroker(new), stop).await? {
        Answer::BrokerRegistered(epoch) => Ok(epoch),
        other => unreachable!("a registration is not answered by {other:?}"),
    }
}

/// Proposes until it is decided: a command that changes nothing when it is decided twice. The other brokers of a cluster may be
/// starting as well.
pub(super) async fn propose_for_sure(
    metadata: &MetadataNode,
    command: &Command,
    stop: &CancellationToken,
) -> Result<Answer, StartError> {
    loop {
        let error = match metadata.propose(command.clone()).await {
            Ok(proposed) => return Ok(proposed.answer),
            Err(error) => error,
        };
        let is_final = matches!(error, cairn_consensus::ProposeError::Rejected(_)) || metadata.failure().is_some();
        if is_final || metadata.members().len() <= 1 || stop.is_cancelled() {
            return Err(StartError::Register(error.to_string()));
        }
        tracing::warn!(%error, "not registered with the cluster yet; asking on");
        metadata.another_leader(REGISTER_PAUSE).await;
    }
}
