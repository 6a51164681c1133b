//! A broker from start to stop: the entry for the command line and for tests.
//!
//! Must not know: frames, what any API does.

mod background;
mod clients;
mod error;
mod joining;
mod opening;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use cairn_metadata::{BrokerEpoch, Command, Image, features};
use cairn_peers::Peers;
use cairn_protocol::ids::BrokerId;
use cairn_storage::disk::Disk;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

pub use self::error::StartError;
use self::joining::{Among, Joined, propose_for_sure};
use self::opening::{Opened, boot_id, real_disk};
use crate::blocking::on_blocking_thread;
use crate::clock;
use crate::cluster::{Cluster, ProposeError};
use crate::config::{BrokerConfig, LiveConfig};
use crate::controller::Controller;
use crate::coordinator::Coordinator;
use crate::fetch_sessions::FetchSessions;
use crate::loggers::Loggers;
use crate::membership;
use crate::node::Node;
use crate::observer::Observer;
use crate::partitions::{Flusher, Links, Me, Partitions, Upkeep};
use crate::producer_ids::ProducerIds;
use crate::quotas::{Quotas, Windows};
use crate::replication::{CatchUp, Receiver, Replication};

/// How long connections may take to finish what they have begun when the broker stops.
const CONNECTIONS_STOP_MAX: Duration = Duration::from_secs(5);
/// How long the cluster may take to have others lead what a broker leads that stops.
const HAND_OVER_MAX: Duration = Duration::from_secs(5);
/// How long a broker that stops rests before it says so once more.
const LEAVE_AGAIN: Duration = Duration::from_millis(50);

/// A running broker. It stops when it is told to, not when it is dropped.
#[derive(Debug)]
pub struct Broker {
    node: Arc<Node>,
    addresses: Addresses,
    life: Life,
    /// The connections to other brokers, where there can be any.
    peers: Option<Peers>,
    /// What sends records to followers: it ends after clients were answered.
    replicating: Life,
    /// By the metadata.
    incarnation: BrokerEpoch,
    /// Carries out the metadata here.
    following: JoinHandle<()>,
}

/// Tasks, and what ends them.
#[derive(Debug, Default)]
struct Life {
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Where a broker really listens.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// Each listener's name and address, in the order of `listeners`.
    pub kafka: Vec<(String, SocketAddr)>,
    /// Metrics and health.
    pub metrics: SocketAddr,
}

impl Broker {
    /// Starts a broker; when this returns, it serves.
    pub async fn start(config: BrokerConfig) -> Result<Self, StartError> {
        Self::start_with(config, Loggers::fixed()).await
    }

    /// Starts a broker in a process whose log levels can be changed.
    pub async fn start_with(config: BrokerConfig, loggers: Loggers) -> Result<Self, StartError> {
        Self::start_whole(on_blocking_thread(real_disk).await?, boot_id(), config, loggers).await
    }

    /// Starts a broker as if its machine were in this boot: for tests of what another boot means.
    pub async fn start_in_boot(boot_id: Uuid, config: BrokerConfig) -> Result<Self, StartError> {
        Self::start_whole(on_blocking_thread(real_disk).await?, Some(boot_id), config, Loggers::fixed()).await
    }

    /// Starts a broker on this disk, which may be one in memory, or one that fails as a test wants it.
    pub async fn start_on(disk: Arc<dyn Disk>, config: BrokerConfig) -> Result<Self, StartError> {
        Self::start_whole(disk, boot_id(), config, Loggers::fixed()).await
    }

    async fn start_whole(
        disk: Arc<dyn Disk>,
        boot_id: Option<Uuid>,
        config: BrokerConfig,
        loggers: Loggers,
    ) -> Result<Self, StartError> {
        let (life, replicating) = (Life::default(), Life::default());
        // When starting fails, what has begun ends too.
        let stop_on_error = life.stop.clone().drop_guard();
        let mut opened = Opened::new(disk, config, &life).await?;
        let joined = Joined::new(&mut opened, boot_id, &life).await?;
        let Opened { config, disk, dirs, listeners, addresses, metrics, health } = opened;
        let Joined { metadata, metadata_dir, epoch, among } = joined;

        let flusher = Flusher::new(Handle::current(), Arc::clone(&metrics));
        let image = metadata.image();
        let config = Arc::new(LiveConfig::new(config, &image));
        let me = Me { broker: BrokerId(config.start().node_id), incarnation: epoch };
        let links = Links::new(me.broker);
        let tools = (Arc::clone(&flusher), Arc::clone(&links));
        let lease = membership::new_lease();
        let partitions = Partitions::new(dirs, tools, (me, Arc::clone(&lease)), Arc::clone(&config));
        let (opening, there) = (Arc::clone(&partitions), Arc::clone(&image));
        on_blocking_thread(move || opening.open_all(&there)).await;
        let cluster = Arc::new(Cluster::new(metadata, Arc::clone(&image)));
        let peers = among.as_ref().map(|among| among.peering.peers.clone());
        let node = Arc::new(Node {
            id: me.broker,
            producer_ids: ProducerIds::default(),
            cluster: Arc::clone(&cluster),
            peers: peers.clone(),
            coordinator: Coordinator::new(
                Arc::clone(&partitions),
                Arc::clone(&cluster),
                Arc::clone(&config),
                Arc::clone(&metrics),
            ),
            fetch_sessions: FetchSessions::new(config.start().max_incremental_fetch_session_cache_slots),
            quotas: Arc::new(quotas(config.start(), &image)),
            partitions: Arc::clone(&partitions),
            catch_up: Arc::new(CatchUp::new(config.start().replication_catch_up_min_bytes_per_second)),
            metrics: Arc::clone(&metrics),
            config,
            loggers,
        });
        let (updates, quotas) = (cluster.updates(), Arc::clone(&node.quotas));
        let following = tokio::spawn(Arc::clone(&cluster).follow(updates, Arc::clone(&partitions), quotas));
        if let Some(among) = &among {
            among.service.set_cluster(Arc::clone(&cluster));
            among.service.set_receiver(Receiver::new(Arc::clone(&partitions), me, Arc::clone(&metrics)));
        }

        let began = clock::ticks();
        let unfence = Command::UnfenceBroker { broker: node.id, epoch };
        propose_for_sure(cluster.quorum(), &unfence, &life.stop).await?;
        cluster.is_carried_out().await;
        if let Some(Among { peering, sessions, .. }) = among {
            // That it serves was decided just now, and it has seen it.
            lease.on_granted(began);
            peering.live(&cluster, sessions, (lease, epoch, metadata_dir), &life.stop, &life.tasks);
            let lag_max_ms = node.config.start().replica_lag_time_max_ms;
            let (metrics, catch_up) = (Arc::clone(&metrics), Arc::clone(&node.catch_up));
            let replication =
                Replication::new(Arc::clone(&cluster), peering.peers.clone(), links, metrics, catch_up, lag_max_ms);
            replication.start(&replicating.stop, &replicating.tasks);
            life.tasks.spawn(Controller::new(Arc::clone(&node)).run(life.stop.clone()));
        }
        background::serve_groups(&node, &life);
        metrics.observatory.open(Arc::new(Observer::new(&node, disk)));
        clients::serve(&node, listeners, &life);
        background::begin(&node, Upkeep { partitions, flusher, metrics, health }, &life).await;
        stop_on_error.disarm();
        Ok(Self { node, addresses, life, peers, replicating, incarnation: epoch, following })
    }

    /// Where it really listens.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// The configuration that it was started with.
    #[must_use]
    pub fn config(&self) -> &BrokerConfig {
        self.node.config.start()
    }

    /// Stops: no further request begins, what has begun is answered, everything is made durable.
    pub async fn shutdown(self) {
        self.hand_over().await;
        self.life.stop.cancel();
        self.life.tasks.close();
        self.node.partitions.wake_fetches();
        self.node.coordinator.stop();
        if tokio::time::timeout(CONNECTIONS_STOP_MAX, self.life.tasks.wait()).await.is_err() {
            tracing::warn!(left = self.life.tasks.len(), "connections did not end in time");
        }
        self.replicating.stop.cancel();
        self.replicating.tasks.close();
        self.replicating.tasks.wait().await;
        self.node.cluster.shutdown().await;
        if let Some(peers) = &self.peers {
            peers.close().await;
        }
        if let Err(error) = self.following.await {
            tracing::error!(%error, "metadata was not carried out to its end");
        }
        let partitions = Arc::clone(&self.node.partitions);
        on_blocking_thread(move || partitions.close()).await;
    }

    /// Has others lead what this broker leads, partitions and the cluster, where any can, before it stops: clients go on with them at
    /// once (KIP-841).
    async fn hand_over(&self) {
        if self.node.image().brokers().all(|broker| broker.id == self.node.id) {
            return;
        }
        let handing_over = async {
            self.leave_partitions().await;
            self.resign().await;
        };
        if tokio::time::timeout(HAND_OVER_MAX, handing_over).await.is_err() {
            tracing::warn!(within = ?HAND_OVER_MAX, "not everybody was told that this broker stops");
        }
    }

    /// Has it decided that this broker stops. Asks until it is told.
    async fn leave_partitions(&self) {
        if self.node.image().feature(features::ELIGIBLE_LEADER_REPLICAS) == 0 {
            return;
        }
        let leave = Command::ShutDownBroker { broker: self.node.id, epoch: self.incarnation };
        while let Err(error) = self.node.cluster.propose(leave.clone()).await {
            if matches!(error, ProposeError::Rejected(_)) {
                tracing::warn!(%error, "nobody was told that this broker stops");
                return;
            }
            tracing::debug!(%error, "that this broker stops is said once more");
            tokio::time::sleep(LEAVE_AGAIN).await;
        }
    }

    /// Has another broker be the controller: one that knows all that was decided, which those who are left might be too few to find out.
    async fn resign(&self) {
        let quorum = self.node.cluster.quorum();
        let image = quorum.image();
        let stays = |id| image.broker(id).is_some_and(|broker| !broker.fenced && !broker.shutting_down);
        if let Err(error) = quorum.resign(stays).await {
            tracing::warn!(%error, "no other controller was found");
        }
    }
}

/// The quotas in force at start.
fn quotas(config: &BrokerConfig, image: &Image) -> Quotas {
    let windows = |count: u32, seconds: u32| Windows { count, length: Duration::from_secs(seconds.into()) };
    let quotas = Quotas::new(
        windows(config.quota_window_num, config.quota_window_size_seconds),
        windows(config.controller_quota_window_num, config.controller_quota_window_size_seconds),
    );
    quotas.update(image.quotas());
    quotas
}
