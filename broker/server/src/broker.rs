//! A broker from start to stop: the entry for the command line and for tests.
//!
//! Must not know: frames, what any API does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_consensus::{MetadataNode, NodeConfig};
use cairn_metadata::{Answer, BrokerEpoch, Command, Endpoint, Image, NewBroker, SecurityProtocol, features};
use cairn_peers::Peers;
use cairn_protocol::ids::BrokerId;
use cairn_storage::dir::OpenDirError;
use cairn_storage::disk::Disk;
use cairn_storage::disk::mapped::{MappedDisk, MappedLimits};
use cairn_storage::disk::portable::PortableDisk;
use cairn_storage::map_budget::MapBudget;
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::api;
use crate::blocking::on_blocking_thread;
use crate::clock::{self, CautiousClock};
use crate::cluster::Cluster;
use crate::config::{BrokerConfig, LiveConfig, millis};
use crate::controller::Controller;
use crate::coordinator::Coordinator;
use crate::descriptors::DescriptorShares;
use crate::dispatch::Dispatcher;
use crate::fetch_sessions::FetchSessions;
use crate::host_names::look_up_unknown;
use crate::loggers::Loggers;
use crate::membership::{self, MembershipError, Peering, Sessions};
use crate::net::{
    Accepting, Admit, BindError, Bound, Connection, ConnectionInfo, ConnectionPermits, Limits, ListenerInfo,
    MostConnections, RequestBudget, SocketOptions, accept_loop, bind,
};
use crate::node::Node;
use crate::observer::Observer;
use crate::partitions::{Cleaner, Flusher, Links, LogDirs, Me, Mover, OpenLogDirsError, Partitions, Scrubber, Upkeep};
use crate::producer_ids::ProducerIds;
use crate::quotas::{Admission, Quotas, Windows};
use crate::replication::{Receiver, Replication};
use crate::telemetry::{Health, HttpError, HttpServer, Metrics};

/// How long connections may take to finish what they have begun when the broker stops.
const CONNECTIONS_STOP_MAX: Duration = Duration::from_secs(5);
/// How long the cluster may take to have others lead what a broker leads that stops.
const HAND_OVER_MAX: Duration = Duration::from_secs(5);
/// How long a registration rests that nobody decided, unless another broker becomes the controller.
const REGISTER_PAUSE: Duration = Duration::from_millis(200);

/// A running broker. It stops when it is told to, not when it is dropped.
#[derive(Debug)]
pub struct Broker {
    node: Arc<Node>,
    addresses: Addresses,
    stop: CancellationToken,
    tasks: TaskTracker,
    /// The connections to other brokers, where there can be any.
    peers: Option<Peers>,
    replicating: Replicating,
    /// By the metadata.
    incarnation: BrokerEpoch,
    /// Carries out the metadata here.
    following: JoinHandle<()>,
}

/// What sends records to followers: it ends after clients were answered.
#[derive(Debug)]
struct Replicating {
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

/// A broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address of a listener cannot be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The address of `metrics.listener` cannot be had.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The log dir of the metadata is in use, damaged, cannot be read, or is not the one.
    #[error(transparent)]
    LogDirs(#[from] OpenLogDirsError),
    /// The system has no maps as they are needed.
    #[error("cannot map files: {0}")]
    Maps(std::io::Error),
    /// The cluster's metadata cannot be had.
    #[error(transparent)]
    Metadata(#[from] cairn_consensus::StartError),
    /// It cannot be a member of a cluster.
    #[error(transparent)]
    Membership(#[from] MembershipError),
    /// The cluster's metadata does not take this broker.
    #[error("cannot register with the cluster: {0}")]
    Register(String),
}

impl StartError {
    /// The process's exit code for it: 2 configuration, 3 data directory in use, 4 storage failed, 1 anything else.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::LogDirs(OpenLogDirsError::MetadataElsewhere { .. }) => 2,
            Self::LogDirs(OpenLogDirsError::Metadata(OpenDirError::AlreadyInUse { .. })) => 3,
            Self::LogDirs(_) | Self::Maps(_) | Self::Metadata(cairn_consensus::StartError::Storage(_)) => 4,
            Self::Membership(
                MembershipError::NoAddress { .. } | MembershipError::Secret { .. } | MembershipError::OtherNode { .. },
            ) => 2,
            Self::Membership(MembershipError::Record(_)) => 4,
            Self::Membership(_) | Self::Bind(_) | Self::Http(_) | Self::Metadata(_) | Self::Register(_) => 1,
        }
    }
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
        mut config: BrokerConfig,
        loggers: Loggers,
    ) -> Result<Self, StartError> {
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (senders_stop, senders) = (CancellationToken::new(), TaskTracker::new());
        let metrics = Arc::new(Metrics::new(api::SERVED.iter().copied()));
        let health = Health::starting();
        let http = HttpServer::bind(&config.metrics_listener).await?;
        config.set_metrics_address(http.address);
        let listeners = bind_all(&config).await?;
        let addresses = Addresses {
            kafka: listeners.iter().map(|bound| (bound.info.name.clone(), bound.info.bound)).collect(),
            metrics: http.address,
        };
        // Health is told from here on; when starting fails, that ends too.
        let stop_on_error = stop.clone().drop_guard();
        tasks.spawn(http.serve(Arc::clone(&metrics), Arc::clone(&health), stop.clone()));
        let dirs = open_log_dirs(&disk, &config).await?;
        let storage_ids = dirs.storage_ids();
        let mut peering = Peering::open(&config, (&disk, &dirs), &listeners[0], &stop).await?;
        if let Some(peering) = &peering {
            config.set_node_id(peering.node.0);
        }
        let sessions = Arc::new(Sessions::default());
        let mut quorum = NodeConfig::new(BrokerId(config.node_id), Uuid::new_v4(), clock::now);
        let mut serving = None;
        if let Some(peering) = &mut peering {
            quorum.formation = peering.formation;
            quorum.link = Some(peering.link());
            serving = Some(peering.serve(Arc::clone(&sessions), &stop, &tasks));
        }
        let metadata_dir = Arc::clone(dirs.metadata());
        let metadata = Arc::new(MetadataNode::start(quorum, Arc::clone(&metadata_dir), Arc::clone(&disk)).await?);
        if let Some(serving) = &serving {
            serving.set_quorum(Arc::clone(&metadata));
        }
        let (own, peers) = (BrokerId(config.node_id), peering.as_ref().map(|peering| peering.peers.clone()));
        let removal = || Removal { metadata: &metadata, peers: peers.as_ref(), node: own, disks: &storage_ids };
        let cluster_id = membership::cluster_id(&metadata, &stop);
        let cluster_id = removal().or(async { cluster_id.await.map_err(StartError::from) }).await?;
        if let Some(peering) = &mut peering {
            peering.found(cluster_id)?;
        }
        let new = NewBroker {
            id: BrokerId(config.node_id),
            incarnation: Uuid::new_v4(),
            endpoints: if peering.is_some() { endpoints(&listeners) } else { Vec::new() },
            rack: config.broker_rack.as_deref().map(Into::into),
            storage_ids: storage_ids.clone(),
            boot_id,
            clean_shutdown: dirs.closed_by(),
        };
        let epoch = removal().or(register(&metadata, new, &stop)).await?;
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
        let node = Arc::new(Node {
            id: BrokerId(config.start().node_id),
            producer_ids: ProducerIds::default(),
            cluster: Arc::clone(&cluster),
            peers: peering.as_ref().map(|peering| peering.peers.clone()),
            coordinator: Coordinator::new(
                Arc::clone(&partitions),
                Arc::clone(&cluster),
                Arc::clone(&config),
                Arc::clone(&metrics),
            ),
            fetch_sessions: FetchSessions::new(config.start().max_incremental_fetch_session_cache_slots),
            quotas: Arc::new(quotas(config.start(), &image)),
            partitions: Arc::clone(&partitions),
            metrics,
            config,
            loggers,
        });
        let (updates, quotas) = (cluster.updates(), Arc::clone(&node.quotas));
        let following = tokio::spawn(Arc::clone(&cluster).follow(updates, Arc::clone(&partitions), quotas));
        if let Some(serving) = &serving {
            serving.set_cluster(Arc::clone(&cluster));
            serving.set_receiver(Receiver::new(Arc::clone(&partitions), me, Arc::clone(&node.metrics)));
        }
        let began = clock::ticks();
        let unfence = Command::UnfenceBroker { broker: node.id, epoch };
        propose_for_sure(node.cluster.quorum(), &unfence, &stop).await?;
        node.cluster.is_carried_out().await;
        if let Some(peering) = &peering {
            // That it serves was decided just now, and it has seen it.
            lease.on_granted(began);
            peering.live(&cluster, sessions, (lease, epoch, metadata_dir), &stop, &tasks);
            let metrics = Arc::clone(&node.metrics);
            let lag_max_ms = node.config.start().replica_lag_time_max_ms;
            let replication = Replication::new(Arc::clone(&cluster), peering.peers.clone(), links, metrics, lag_max_ms);
            replication.start(&senders_stop, &senders);
            tasks.spawn(Controller::new(Arc::clone(&node)).run(stop.clone()));
        }
        let versions = node.cluster.versions();
        node.coordinator.follow(&node.cluster);
        tasks.spawn(follow_groups(Arc::clone(&node), versions, stop.clone()));
        node.metrics.observatory.open(Arc::new(Observer::new(&node, disk)));
        serve(&node, listeners, &stop, &tasks);
        let cleaner = Cleaner::new(Arc::clone(&partitions), Arc::clone(&node.config), Arc::clone(&node.metrics), &stop);
        tasks.spawn(cleaner.run());
        let mover = Mover::new(Arc::clone(&partitions), Arc::clone(&node.config), Arc::clone(&node.metrics), &stop);
        tasks.spawn(mover.run());
        let scrubber = Scrubber::new(Arc::clone(&partitions), Arc::clone(&node.metrics), node.config.start());
        tasks.spawn(scrubber.run(stop.clone()));
        let upkeep = Arc::new(Upkeep { partitions, flusher, metrics: Arc::clone(&node.metrics), health });
        // From here on it is ready, unless something is wrong already.
        let first_look = Arc::clone(&upkeep);
        on_blocking_thread(move || first_look.look_at_disk()).await;
        tasks.spawn(upkeep.run(node.config.start().clone(), stop.clone()));
        tasks.spawn(expire_offsets(Arc::clone(&node), stop.clone()));
        tasks.spawn(look_up_unknown(Arc::clone(&node.quotas), stop.clone()));
        stop_on_error.disarm();
        let peers = peering.map(|peering| peering.peers);
        let replicating = Replicating { stop: senders_stop, tasks: senders };
        Ok(Self { node, addresses, stop, tasks, peers, replicating, incarnation: epoch, following })
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
        self.stop.cancel();
        self.tasks.close();
        self.node.partitions.wake_fetches();
        self.node.coordinator.stop();
        if tokio::time::timeout(CONNECTIONS_STOP_MAX, self.tasks.wait()).await.is_err() {
            tracing::warn!(left = self.tasks.len(), "connections did not end in time");
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

    /// Has others lead what this broker leads, where any can, before it stops: clients go on with them at once (KIP-841).
    async fn hand_over(&self) {
        let image = self.node.image();
        if image.feature(features::ELIGIBLE_LEADER_REPLICAS) == 0
            || image.brokers().all(|broker| broker.id == self.node.id)
        {
            return;
        }
        let leave = Command::ShutDownBroker { broker: self.node.id, epoch: self.incarnation };
        match tokio::time::timeout(HAND_OVER_MAX, self.node.cluster.propose(leave)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "nobody was told that this broker stops"),
            Err(_) => tracing::warn!(within = ?HAND_OVER_MAX, "nobody was told that this broker stops"),
        }
    }
}

/// Which boot of the machine this is: whatever was in the page cache is there as long as it is the same.
fn boot_id() -> Option<Uuid> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    text.trim().parse().ok()
}

/// Takes the log dirs, on a thread that may wait for the disk.
async fn open_log_dirs(disk: &Arc<dyn Disk>, config: &BrokerConfig) -> Result<LogDirs, OpenLogDirsError> {
    let (disk, config) = (Arc::clone(disk), config.clone());
    on_blocking_thread(move || LogDirs::open(&disk, &config)).await
}

/// The disk of this machine, through maps where the system has them.
fn real_disk() -> Result<Arc<dyn Disk>, StartError> {
    let max_descriptors = DescriptorShares::of_process().storage;
    match MappedDisk::new(MappedLimits { max_descriptors, ..MappedLimits::default() }) {
        Ok(disk) => Ok(Arc::new(disk)),
        Err(error) if error.kind() == std::io::ErrorKind::Unsupported => {
            tracing::warn!(%error, "files are written by calls instead, which is slower");
            Ok(Arc::new(PortableDisk::new(MapBudget::default())))
        }
        Err(error) => Err(StartError::Maps(error)),
    }
}

async fn bind_all(config: &BrokerConfig) -> Result<Vec<Bound>, BindError> {
    let buffer = |bytes: i32| u32::try_from(bytes).ok();
    let options = SocketOptions {
        backlog: config.socket_listen_backlog_size,
        send_buffer: buffer(config.socket_send_buffer_bytes),
        receive_buffer: buffer(config.socket_receive_buffer_bytes),
    };
    let mut bound = Vec::new();
    for listener in config.listeners() {
        bound.push(bind(listener, options).await?);
    }
    Ok(bound)
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
async fn propose_for_sure(
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

/// Has groups follow the leaders of their partitions, until `stop`.
async fn follow_groups(node: Arc<Node>, mut versions: watch::Receiver<u64>, stop: CancellationToken) {
    loop {
        tokio::select! {
            changed = versions.changed() => if changed.is_err() { return },
            () = stop.cancelled() => return,
        }
        node.coordinator.follow(&node.cluster);
    }
}

/// Forgets committed offsets that are too old, again and again until `stop`.
async fn expire_offsets(node: Arc<Node>, stop: CancellationToken) {
    const MINUTE_MS: i64 = 60_000;
    let retention_ms = i64::from(node.config.start().offsets_retention_minutes) * MINUTE_MS;
    let every = millis(node.config.start().offsets_retention_check_interval_ms);
    let mut clock = CautiousClock::start(every);
    loop {
        tokio::select! {
            () = tokio::time::sleep(every) => {}
            () = stop.cancelled() => return,
        }
        node.coordinator.expire(&node.cluster, clock.read(), retention_ms).await;
    }
}

/// How many connections the process can have without taking descriptors from its files.
fn connections_possible(config: &BrokerConfig) -> u32 {
    let (wanted, possible) = (config.max_connections, DescriptorShares::of_process().connections);
    if possible < wanted {
        tracing::warn!(
            wanted,
            possible,
            "max.connections is more than the limit of open descriptors (ulimit -n) gives"
        );
    }
    possible
}

/// Begins to accept connections.
fn serve(node: &Arc<Node>, listeners: Vec<Bound>, stop: &CancellationToken, tasks: &TaskTracker) {
    let live = Arc::clone(&node.config);
    let possible = connections_possible(node.config.start());
    let permits = ConnectionPermits::new(move |ip| {
        let config = live.load();
        let own = config.max_connections_per_ip_overrides.iter().find(|(of, _)| *of == ip).map(|(_, most)| *most);
        let of_address = own.unwrap_or(config.max_connections_per_ip);
        MostConnections { all: config.max_connections.min(possible), of_address }
    });
    let admitting = Arc::clone(node);
    let admit: Arc<Admit> = Arc::new(move |ip| {
        let most = admitting.config.load().max_connection_creation_rate;
        let admission = admitting.quotas.on_connection(ip, most, Instant::now());
        match admission {
            Admission::Now => {}
            Admission::After(_) => admitting.metrics.connection_delayed("broker"),
            Admission::RefusedAfter(_) => admitting.metrics.connection_delayed("address"),
        }
        admission
    });
    let config = node.config.start();
    let serving = Serving {
        node: Arc::clone(node),
        dispatcher: Arc::new(Dispatcher::new(Arc::clone(node))),
        budget: RequestBudget::new(config.queued_max_request_bytes),
        limits: Arc::new(Limits {
            frame_max: config.socket_request_max_bytes as usize,
            in_flight_max: config.connection_requests_in_flight as usize,
            queued_bytes_max: config.connection_queued_response_bytes as usize,
            request_bytes_max: config.connection_queued_request_bytes as usize,
            idle: millis(config.connections_max_idle_ms),
            request_timeout: millis(config.connection_request_timeout_ms),
            write_timeout: millis(config.connection_write_timeout_ms),
        }),
        stop: stop.clone(),
    };
    for bound in listeners {
        let serving = serving.clone();
        let connect = move |stream, peer, listener, permit| {
            let serving = serving.clone();
            async move {
                serving.connection(stream, peer, listener).await;
                drop(permit);
            }
        };
        let accepting = Accepting {
            permits: Arc::clone(&permits),
            admit: Arc::clone(&admit),
            failures: node.metrics.accept_failures.clone(),
            refused: node.metrics.connections_refused.clone(),
        };
        tasks.spawn(accept_loop(bound, accepting, stop.clone(), tasks.clone(), connect));
    }
}

/// What every connection is given.
#[derive(Clone)]
struct Serving {
    node: Arc<Node>,
    dispatcher: Arc<Dispatcher>,
    budget: RequestBudget,
    limits: Arc<Limits>,
    stop: CancellationToken,
}

impl Serving {
    /// Serves one connection until it ends.
    async fn connection(self, stream: TcpStream, peer: SocketAddr, listener: Arc<ListenerInfo>) {
        let Ok(local) = stream.local_addr() else { return };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "connection was gone before it began");
            return;
        }
        let metrics = &self.node.metrics;
        let _open = metrics.connection_begun();
        let info = Arc::new(ConnectionInfo { listener, peer, local });
        let connection = Connection::new(stream, info, self.limits, self.budget, self.dispatcher);
        let ended = connection.run(self.stop.cancelled()).await;
        metrics.connection_ended(ended.reason());
        match ended.is_fault() {
            true => tracing::info!(%peer, reason = %ended, "connection closed"),
            false => tracing::debug!(%peer, reason = %ended, "connection closed"),
        }
    }
}
