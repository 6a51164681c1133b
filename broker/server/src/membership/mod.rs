//! Being one of several brokers: how a broker becomes a member of a cluster, how the others reach it, and how the controller
//! knows that it lives.
//!
//! ```text
//!   start -> Peering::open: who am I (record), or ask to be taken in (joining, seeding) -> the peer listener serves (serving)
//!         -> heartbeats to the controller (heartbeats), which fences who is silent and makes learners voters (sessions)
//!         -> who is gone for good is removed (removing)
//! ```
//! Must not know: partitions, what requests of clients do.

mod heartbeats;
mod joining;
mod quorum;
mod record;
mod removing;
mod seeding;
mod serving;
mod sessions;
mod wire;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use cairn_consensus::{Formation, Link, MetadataNode};
use cairn_metadata::{BrokerEpoch, Image};
use cairn_peers::{Bound, Identity, Limits, Local, Peers, Service, Target, accept_loop, bind};
use cairn_protocol::ids::BrokerId;
use cairn_storage::DataDir;
use cairn_storage::disk::Disk;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use self::heartbeats::Heartbeats;
use self::joining::Formed;
pub use self::joining::voters;
pub(crate) use self::quorum::{MemberTold, QuorumTold, ask_for_quorum};
pub use self::record::join_secret;
use self::record::{MemberFile, MemberRecord};
pub(crate) use self::removing::{ask_to_unregister, until_removed};
use self::seeding::Waiting;
pub(crate) use self::serving::{PEERS_KEY, PeerService, peers_answer};
pub(crate) use self::sessions::Sessions;
use self::sessions::{SESSION_MS, control};
pub(crate) use self::wire::Unregistered;
use crate::cluster::Cluster;
use crate::config::{Advertise, BrokerConfig, HostPort, Listener};
use crate::lease::HeldLease;
use crate::net;
use crate::partitions::LogDirs;

/// A broker cannot be a member of a cluster.
#[derive(Debug, thiserror::Error)]
pub enum MembershipError {
    /// The peer listener's address cannot be had.
    #[error("cannot listen for peers on {address}: {source}")]
    Bind {
        /// As it was configured.
        address: String,
        /// Why not.
        source: std::io::Error,
    },
    /// Others would be told an address that means nothing to them.
    #[error("{key} is {value}, which is no address that other brokers can connect to: name one with {instead}")]
    NoAddress {
        /// The key.
        key: &'static str,
        /// Its value.
        value: String,
        /// What to do.
        instead: &'static str,
    },
    /// The secret's file is not one.
    #[error("cannot read the join secret in {path}: {reason}")]
    Secret {
        /// The file.
        path: String,
        /// Why not.
        reason: String,
    },
    /// What is noted of the membership cannot be read or written.
    #[error(transparent)]
    Record(std::io::Error),
    /// Another node id is configured than the one that this data belongs to.
    #[error("node.id is {configured}, but the data belongs to node {noted}")]
    OtherNode {
        /// The configured one.
        configured: i32,
        /// The noted one.
        noted: BrokerId,
    },
    /// It is to join with data of a cluster of its own.
    #[error("{0} holds the metadata of a cluster of its own: a broker joins with an empty data directory")]
    HasData(String),
    /// The seeds do not fit together.
    #[error("the seeds do not make a cluster: {0}")]
    Seeds(String),
    /// The cluster does not take it.
    #[error("the cluster does not take this broker in: {0}")]
    Refused(String),
    /// It was, and is not any more.
    #[error(
        "broker {node} was removed from the cluster: start it with an empty data directory and --join to have it join anew"
    )]
    Removed {
        /// Its node id.
        node: BrokerId,
    },
    /// Somebody asked it to end first.
    #[error("asked to end before the cluster had taken this broker in")]
    Stopped,
}

/// A lease as long as a session allows, of a broker that knows no other yet.
pub(crate) fn new_lease() -> Arc<HeldLease> {
    Arc::new(HeldLease::alone(SESSION_MS))
}

/// Whom a broker asks that is no member, by their client addresses.
fn others(config: &BrokerConfig) -> Vec<HostPort> {
    config.cluster_join.as_ref().map_or_else(|| config.cluster_seeds.clone(), |join| vec![join.clone()])
}

/// How a broker and its peers reach each other.
#[derive(Debug)]
pub(crate) struct Peering {
    pub(crate) local: Local,
    pub(crate) peers: Peers,
    /// Until it is served.
    bound: Option<Bound>,
    /// Where the others reach it.
    host: Box<str>,
    port: u16,
    pub(crate) node: BrokerId,
    pub(crate) formation: Formation,
    file: MemberFile,
    record: Option<MemberRecord>,
}

impl Peering {
    /// Listens for peers, and finds out who this broker is: by what it noted, or by asking a cluster to take it in. None where the
    /// broker is to be alone.
    pub(crate) async fn open(
        config: &BrokerConfig,
        (disk, dirs): (&Arc<dyn Disk>, &LogDirs),
        clients: &net::Bound,
        stop: &CancellationToken,
    ) -> Result<Option<Self>, MembershipError> {
        let client = clients.info.bound;
        let others = others(config);
        let file = MemberFile::new(Arc::clone(disk), dirs.metadata().path());
        let record = file.read().map_err(MembershipError::Record)?;
        if let Some(wildcard) = config.listeners().iter().find(|listener| is_told_as_wildcard(listener)) {
            if config.peer_listener.is_none() && others.is_empty() && record.is_none() {
                tracing::info!("other brokers cannot join this one: listeners has no address that they could be told");
                return Ok(None);
            }
            let instead = "advertised.listeners";
            return Err(MembershipError::NoAddress { key: "listeners", value: wildcard.bind.to_string(), instead });
        }
        let configured = config.given.contains_key("node.id").then_some(config.node_id);
        if let (Some(record), Some(configured)) = (&record, configured)
            && record.node.0 != configured
        {
            return Err(MembershipError::OtherNode { configured, noted: record.node });
        }
        let (bound, host) = listen(config, client, record.as_ref()).await?;
        let port = bound.address().map_err(MembershipError::Record)?.port();
        let secret = match &config.cluster_join_secret_file {
            Some(path) => Some(record::read_secret(path)?),
            None => record.as_ref().map(|record| record.secret.clone()),
        };
        let local = Local::new(Identity {
            cluster: record.as_ref().map(|record| record.cluster),
            node: record.as_ref().map(|record| record.node),
            incarnation: Uuid::new_v4(),
            secret,
        });
        let peers = Peers::new(local.clone());
        let alone = BrokerId(config.node_id);
        let mut peering = Self {
            local,
            peers,
            bound: Some(bound),
            host,
            port,
            node: alone,
            formation: Formation::Alone,
            file,
            record: None,
        };
        match record {
            Some(record) => {
                peering.node = record.node;
                peering.formation = Formation::Member;
                peering.note(MemberRecord { port, ..record })?;
            }
            // A cluster of its own, or data from before it had peers.
            None if others.is_empty() => {}
            None if !dirs.has_metadata() => {
                let ask =
                    wire::Join { storage_ids: dirs.storage_ids(), node: configured, host: peering.host.clone(), port };
                match peering.form(config, (&others, clients), &ask, stop).await? {
                    Formed::Founds => tracing::info!("this broker is the first of the seeds, and founds the cluster"),
                    Formed::Joined(joined) => {
                        peering.node = joined.node;
                        peering.formation = Formation::Member;
                        peering.note(joined)?;
                    }
                }
            }
            None => return Err(MembershipError::HasData(dirs.metadata().path().display().to_string())),
        }
        Ok(Some(peering))
    }

    /// Asks others until one takes the broker in, or until it has to found the cluster of its seeds.
    async fn form(
        &self,
        config: &BrokerConfig,
        (others, clients): (&[HostPort], &net::Bound),
        ask: &wire::Join,
        stop: &CancellationToken,
    ) -> Result<Formed, MembershipError> {
        if config.cluster_join.is_some() {
            return joining::join(self, others, ask, (None, stop)).await;
        }
        let waiting = Waiting::new(others);
        tokio::select! {
            formed = joining::join(self, others, ask, (Some(&waiting), stop)) => formed,
            () = waiting.answer(clients) => Err(MembershipError::Stopped),
        }
    }

    /// Serves peers from now on; what needs more than the listener is answered once the service has it.
    pub(crate) fn serve(
        &mut self,
        sessions: Arc<Sessions>,
        stop: &CancellationToken,
        tasks: &TaskTracker,
    ) -> PeerService {
        let service = PeerService::new(self.local.clone(), sessions);
        if let Some(bound) = self.bound.take() {
            let served: (Local, Arc<dyn Service>) = (self.local.clone(), Arc::new(service.clone()));
            tasks.spawn(accept_loop(bound, served, Limits::default(), stop.clone(), tasks.clone()));
        }
        service
    }

    /// The broker is registered: it tells the controller that it lives, and does the controller's work when it is the controller.
    pub(crate) fn live(
        &self,
        cluster: &Arc<Cluster>,
        sessions: Arc<Sessions>,
        (lease, epoch, metadata): (Arc<HeldLease>, BrokerEpoch, Arc<DataDir>),
        stop: &CancellationToken,
        tasks: &TaskTracker,
    ) {
        let removed_lease = Arc::clone(&lease);
        let heartbeats = Heartbeats {
            cluster: Arc::clone(cluster),
            peers: self.peers.clone(),
            sessions: Arc::clone(&sessions),
            lease,
            epoch,
            metadata,
            own: Target { node: Some(self.node), host: self.host.clone(), port: self.port },
        };
        tasks.spawn(heartbeats.send(stop.clone()));
        tasks.spawn(leave_when_removed(
            Arc::clone(cluster),
            self.peers.clone(),
            (self.node, removed_lease),
            stop.clone(),
        ));
        tasks.spawn(control((Arc::clone(cluster), self.peers.clone()), sessions, self.node, stop.clone()));
    }

    /// What the quorum's node is told of it.
    pub(crate) fn link(&self) -> Link {
        Link { peers: self.peers.clone(), host: self.host.clone(), port: self.port }
    }

    /// The broker is a cluster of its own: it has an id by now, and gets a secret.
    pub(crate) fn found(&mut self, cluster: Uuid) -> Result<(), MembershipError> {
        if self.record.is_some() {
            return Ok(());
        }
        let secret = self.local.get().secret.clone().unwrap_or_else(cairn_peers::JoinSecret::random);
        self.note(MemberRecord { cluster, node: self.node, port: self.port, secret })
    }

    /// Notes who this broker is, durably, and is that from now on.
    fn note(&mut self, record: MemberRecord) -> Result<(), MembershipError> {
        if self.record.as_ref() != Some(&record) {
            self.file.write(&record).map_err(MembershipError::Record)?;
        }
        let before = self.local.get();
        self.local.set(Identity {
            cluster: Some(record.cluster),
            node: Some(record.node),
            incarnation: before.incarnation,
            secret: Some(record.secret.clone()),
        });
        self.record = Some(record);
        Ok(())
    }
}

/// A process that was stopped while its broker was removed leads nothing any more, and says so.
async fn leave_when_removed(
    cluster: Arc<Cluster>,
    peers: Peers,
    (node, lease): (BrokerId, Arc<HeldLease>),
    stop: CancellationToken,
) {
    let disks = cluster.image().broker(node).map(|own| own.storage_ids.clone()).unwrap_or_default();
    let removed = until_removed((Arc::clone(cluster.quorum()), peers), disks, || !lease.holds());
    tokio::select! {
        () = removed => {}
        () = stop.cancelled() => return,
    }
    lease.on_lost();
    tracing::error!("{}: stop it", MembershipError::Removed { node });
}

/// Whether other brokers would tell clients an address that stands for all interfaces.
fn is_told_as_wildcard(listener: &Listener) -> bool {
    !matches!(listener.advertise, Advertise::Fixed(_)) && is_wildcard(&listener.bind.host)
}

fn is_wildcard(host: &str) -> bool {
    host.is_empty() || host.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified())
}

/// The cluster's id, once this broker knows it: at once where it is of a cluster, and otherwise when it is told the metadata.
pub(crate) async fn cluster_id(quorum: &MetadataNode, stop: &CancellationToken) -> Result<Uuid, MembershipError> {
    let mut updates = quorum.updates(Arc::new(Image::default()));
    loop {
        if let Some(id) = quorum.image().cluster_id() {
            return Ok(id.0);
        }
        tokio::select! {
            Some(_) = updates.next() => {}
            () = stop.cancelled() => return Err(MembershipError::Stopped),
            else => return Err(MembershipError::Stopped),
        }
    }
}

/// Listens for peers where the configuration says, or on any free port beside the clients' listener: the noted one, where that is
/// still free, so that the others find the broker where it was.
async fn listen(
    config: &BrokerConfig,
    client: SocketAddr,
    record: Option<&MemberRecord>,
) -> Result<(Bound, Box<str>), MembershipError> {
    let given = config.peer_listener.as_ref();
    let host = given.map_or_else(|| client.ip().to_string(), |given| given.host.clone());
    let host: Box<str> = host.into();
    if is_wildcard(&host) {
        let value = given.map_or_else(|| client.to_string(), ToString::to_string);
        return Err(MembershipError::NoAddress { key: "peer.listener", value, instead: "--peer-listen HOST:PORT" });
    }
    let wanted = given.map_or(0, |given| given.port);
    let noted = record.map(|record| record.port).filter(|_| wanted == 0);
    if let Some(noted) = noted
        && let Ok(bound) = bind(&host, noted).await
    {
        return Ok((bound, host));
    }
    match bind(&host, wanted).await {
        Ok(bound) => Ok((bound, host)),
        Err(source) => Err(MembershipError::Bind { address: format!("{host}:{wanted}"), source }),
    }
}
