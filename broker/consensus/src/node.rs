//! One node of the metadata quorum: commands in, images out.
//!
//! Must not know: what the commands mean, which files hold the log, who becomes a member.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_metadata::names::CLUSTER_METADATA_TOPIC;
use cairn_metadata::{Command, Image};
use cairn_peers::{Failed, Peers};
use cairn_protocol::ids::{BrokerId, Offset, PartitionIndex, Timestamp, TopicId};
use cairn_storage::disk::Disk;
use cairn_storage::log::{Durability, LogConfig, LogName, OpenLogError};
use cairn_storage::{DataDir, Log};
use openraft::async_runtime::watch::WatchReceiver;
use openraft::{Raft, RaftMetrics, ServerState, SnapshotPolicy};
use parking_lot::Mutex;
use tokio::task::spawn_blocking;
use uuid::Uuid;

use crate::checkpoint::CheckpointFile;
use crate::log::{LogStore, WriterHandle};
use crate::machine::Machine;
use crate::marks::{MarksFile, Past};
use crate::members::Role;
use crate::network::Network;
use crate::propose::ProposeError;
use crate::serve::{self, Arriving};
use crate::types::{NodeId, TypeConfig, Voter};
use crate::updates::{Publisher, Updates};

/// The folder of the small files, in the data directory.
const FOLDER: &str = "metadata";
/// The file of the vote and the marks.
const MARKS_FILE: &str = "quorum-state";
/// The file of the last checkpoint.
const CHECKPOINT_FILE: &str = "checkpoint";

/// The id that Kafka gives the metadata's topic.
const TOPIC_ID: TopicId = TopicId(Uuid::from_u128(1));
/// Small segments, so that purged entries go soon.
const SEGMENT_BYTES: u64 = 4 << 20;

/// A checkpoint is made after so many entries...
const CHECKPOINT_EVERY_ENTRIES: u64 = 5_000;
/// ...and so many of those in it stay in the log, for voters that are a little behind.
const ENTRIES_KEPT: u64 = 1_000;
const PURGE_BATCH_ENTRIES: u64 = 256;

const HEARTBEAT_MS: u64 = 300;
const ELECTION_MS: (u64, u64) = (1_000, 2_000);
/// How long a checkpoint may take to be sent and installed, before it is begun anew.
const CHECKPOINT_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a single voter may take to lead and to fold its log: this is for a disk that hangs, not for a slow one.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// What a node is told.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// The broker's node id, which is the voter's id.
    pub node: BrokerId,
    /// The id that a cluster gets which has none yet.
    pub new_cluster_id: Uuid,
    /// The clock that entries are stamped with.
    pub clock: fn() -> Timestamp,
    /// A checkpoint is made after so many entries; [`NodeConfig::new`] gives the default.
    pub checkpoint_every: u64,
    /// After the leader was silent for a time between these, in milliseconds, a voter asks for votes; [`NodeConfig::new`] gives the
    /// default.
    pub election_ms: (u64, u64),
    /// How a node begins that has no past.
    pub formation: Formation,
    /// The other nodes; none where there never are any.
    pub link: Option<Link>,
}

/// How a node begins that has no past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Formation {
    /// It is a cluster of its own, and its only voter.
    Alone,
    /// It waits until the leader of a cluster takes it in, and proposes nothing before.
    Member,
}

/// How a node and the others reach each other.
#[derive(Clone, Debug)]
pub struct Link {
    /// The connections to the others.
    pub peers: Peers,
    /// Where the others reach this node.
    pub host: Box<str>,
    /// The port of its peer listener.
    pub port: u16,
}

/// A node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The node id cannot be a voter's.
    #[error("node id {0} is negative")]
    NodeId(BrokerId),
    /// The data directory belongs to another node.
    #[error("node {node} is not a voter of the metadata in this data directory: node {voter} is")]
    OtherNode {
        /// The node that was to start.
        node: BrokerId,
        /// The node that the directory belongs to.
        voter: NodeId,
    },
    /// The files could not be read or written.
    #[error("open the metadata log: {0}")]
    Storage(#[from] io::Error),
    /// The library did not come up.
    #[error("start the metadata quorum: {0}")]
    Quorum(Box<str>),
}

/// One node of the metadata quorum. [`Self::shutdown`] ends it; without that its tasks run until the runtime ends.
#[derive(Debug)]
pub struct MetadataNode {
    pub(crate) raft: Raft<TypeConfig, Machine>,
    pub(crate) network: Network,
    pub(crate) publisher: Publisher,
    arriving: Arriving,
    writer: Mutex<Option<WriterHandle>>,
}

impl NodeConfig {
    /// The config of a node with the defaults.
    #[must_use]
    pub fn new(node: BrokerId, new_cluster_id: Uuid, clock: fn() -> Timestamp) -> Self {
        let (formation, link) = (Formation::Alone, None);
        let (checkpoint_every, election_ms) = (CHECKPOINT_EVERY_ENTRIES, ELECTION_MS);
        Self { node, new_cluster_id, clock, checkpoint_every, election_ms, formation, link }
    }
}

impl MetadataNode {
    /// Opens the files (the log of the topic [`CLUSTER_METADATA_TOPIC`], and a folder beside it) and folds the log.
    ///
    /// The only voter leads when this returns: the image holds all that was ever committed, and the cluster has an id. One of
    /// several holds what it knows to be committed, and hears the rest from the leader.
    pub async fn start(config: NodeConfig, dir: Arc<DataDir>, disk: Arc<dyn Disk>) -> Result<Self, StartError> {
        let id = NodeId::try_from(config.node.0).map_err(|_| StartError::NodeId(config.node))?;
        let clock = config.clock;
        let opened = spawn_blocking(move || open(&dir, disk, clock)).await.map_err(io::Error::other)?;
        let (machine, log, writer) = opened?;
        let publisher = machine.publisher();
        let peers = config.link.as_ref().map(|link| link.peers.clone());
        let network = Network { id, peers, addresses: machine.addresses() };
        let library = Arc::new(library_config(&config));
        let raft = Raft::new(id, library, network.clone(), log, machine).await.map_err(quorum)?;
        let (arriving, writer) = (Arriving::default(), Mutex::new(Some(writer)));
        let node = Self { raft, network, publisher, arriving, writer };
        if let Err(error) = node.begin(id, &config).await {
            node.shutdown().await;
            return Err(error);
        }
        Ok(node)
    }

    async fn begin(&self, id: NodeId, config: &NodeConfig) -> Result<(), StartError> {
        let own = config.link.as_ref().map(|link| Voter { host: link.host.clone(), port: link.port });
        if !self.raft.is_initialized().await.map_err(quorum)? {
            if config.formation == Formation::Member {
                return Ok(());
            }
            let voters = BTreeMap::from([(id, own.clone().unwrap_or_default())]);
            self.raft.initialize(voters).await.map_err(quorum)?;
            return self.lead(config).await;
        }
        let members = self.members();
        let voters = || members.iter().filter(|member| member.role == Role::Voter);
        // A member may start on a checkpoint from before it was one.
        let is_stranger =
            config.formation == Formation::Alone && members.iter().all(|member| member.node != config.node);
        if let Some(voter) = voters().next().filter(|_| is_stranger) {
            let voter = NodeId::try_from(voter.node.0).unwrap_or(NodeId::MAX);
            return Err(StartError::OtherNode { node: config.node, voter });
        }
        if voters().count() != 1 || voters().all(|voter| voter.node != config.node) {
            return Ok(());
        }
        // Nobody else can lead: there is nothing to wait for.
        self.raft.trigger().elect(false).await.map_err(quorum)?;
        self.lead(config).await?;
        match own {
            Some(own) => self.put_member(config.node, &own.host, own.port).await.map_err(quorum),
            None => Ok(()),
        }
    }

    async fn lead(&self, config: &NodeConfig) -> Result<(), StartError> {
        let wait = || self.raft.wait(Some(START_TIMEOUT));
        wait().state(ServerState::Leader, "the only voter leads").await.map_err(quorum)?;
        self.read_barrier().await.map_err(quorum)?;
        if self.image().cluster_id().is_none() {
            let init = Command::InitCluster { cluster_id: config.new_cluster_id };
            self.propose(init).await.map_err(quorum)?;
        }
        Ok(())
    }

    /// Answers what another node asks about the metadata: requests of a kind below [`crate::KINDS_END`].
    pub async fn serve(&self, request: Bytes) -> Result<Bytes, Failed> {
        match serve::serve(&self.raft, &self.arriving, &request).await {
            Ok(answer) => Ok(answer.into()),
            Err(error) => Err(Failed(error.to_string().into())),
        }
    }

    /// The newest image.
    #[must_use]
    pub fn image(&self) -> Arc<Image> {
        self.publisher.image()
    }

    /// Why nothing can be proposed any more, if it is so: the disk has failed, or the node was shut down. Images stay.
    #[must_use]
    pub fn failure(&self) -> Option<Box<str>> {
        let metrics = self.raft.metrics();
        let state = metrics.borrow_watched().running_state.clone();
        state.err().map(|fatal| fatal.to_string().into())
    }

    /// Follows the images: the first update tells what is newer than `seen`, which is [`Self::image`] of some time
    /// before, or the empty image.
    #[must_use]
    pub fn updates(&self, seen: Arc<Image>) -> Updates {
        self.publisher.follow(seen)
    }

    /// Makes a checkpoint now, and waits until it is durable and covers all that is folded in at the time of the call.
    pub async fn checkpoint(&self) -> Result<(), ProposeError> {
        let unknown = |error: &dyn std::fmt::Display| ProposeError::Unknown(error.to_string().into());
        let applied = self.raft.with_state_machine(|machine| Box::pin(async { machine.applied() })).await;
        let Some(applied) = applied.map_err(|error| unknown(&error))? else { return Ok(()) };
        self.raft.trigger().snapshot().await.map_err(|error| unknown(&error))?;
        let covers = |metrics: &RaftMetrics<TypeConfig>| metrics.snapshot.as_ref().is_some_and(|at| *at >= applied);
        let wait = self.raft.wait(None);
        wait.metrics(covers, "the checkpoint is durable").await.map_err(|error| unknown(&error))?;
        Ok(())
    }

    /// Stops in order: what is committed is durable, and the log is closed so that the next start need not recover it.
    /// Proposals that are under way hear [`ProposeError::Unknown`]. Once it has returned, a further call does nothing.
    pub async fn shutdown(&self) {
        let writer = self.writer.lock().take();
        if let Some(writer) = &writer {
            writer.stop();
        }
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "metadata quorum did not stop in order");
        }
        // The library has let go of the store: its thread ends.
        if let Some(writer) = writer {
            writer.closed().await;
        }
        self.publisher.close();
    }
}

pub(crate) fn open(
    dir: &DataDir,
    disk: Arc<dyn Disk>,
    clock: fn() -> Timestamp,
) -> io::Result<(Machine, LogStore, WriterHandle)> {
    let log = open_log(dir)?;
    let folder = dir.path().join(FOLDER);
    disk.create_dir(&folder)?;
    disk.sync_dir(dir.path())?;
    let machine = Machine::open(CheckpointFile { disk: Arc::clone(&disk), path: folder.join(CHECKPOINT_FILE) })?;
    let is_new = log.end_offset() == Offset::ZERO && machine.applied().is_none();
    let past = if is_new { Past::None } else { Past::Some };
    let (file, marks) = MarksFile::open(disk, folder.join(MARKS_FILE), past)?;
    let (store, writer) = LogStore::open(log, file, marks, clock)?;
    Ok((machine, store, writer))
}

/// Opens the metadata's log, or makes it. Only a checkpoint lets entries go, so nothing is retained by time or size.
fn open_log(dir: &DataDir) -> io::Result<Log> {
    let name = LogName::new(CLUSTER_METADATA_TOPIC, PartitionIndex(0)).expect("a legal name");
    let config = LogConfig {
        segment_bytes: SEGMENT_BYTES,
        retention_ms: None,
        retention_bytes: None,
        durability: Durability::Synced,
        ..LogConfig::default()
    };
    match dir.open_log(&name, config.clone()) {
        Ok(log) => Ok(log),
        Err(OpenLogError::Missing { .. }) => dir.create_log(&name, TOPIC_ID, config).map_err(io::Error::other),
        Err(error) => Err(io::Error::other(error)),
    }
}

fn library_config(config: &NodeConfig) -> openraft::Config {
    openraft::Config {
        cluster_name: "metadata".into(),
        heartbeat_interval: HEARTBEAT_MS,
        election_timeout_min: config.election_ms.0,
        election_timeout_max: config.election_ms.1,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(config.checkpoint_every),
        max_in_snapshot_log_to_keep: ENTRIES_KEPT,
        purge_batch_size: PURGE_BATCH_ENTRIES,
        enable_pre_vote: Some(true),
        // A leader that comes back asks for a new term: what its own disk lost, others may have committed.
        enable_leader_restore: Some(false),
        install_snapshot_timeout: u64::try_from(CHECKPOINT_TIMEOUT.as_millis()).unwrap_or(u64::MAX),
        ..openraft::Config::default()
    }
}

pub(crate) fn broker_id(node: NodeId) -> Option<BrokerId> {
    i32::try_from(node).ok().map(BrokerId)
}

fn quorum(error: impl std::fmt::Display) -> StartError {
    StartError::Quorum(error.to_string().into())
}

#[cfg(test)]
mod tests;
