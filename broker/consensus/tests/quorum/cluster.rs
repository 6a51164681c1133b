//! Nodes that can be killed and begun again on what is on their disks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cairn_consensus::{Formation, Link, MetadataNode, NodeConfig, ProposeError, Role};
use cairn_metadata::{Answer, Command, NewBroker, NewTopic, Rejected};
use cairn_peers::{Failed, Identity, JoinSecret, Limits, Local, Peers, Remote, Request, Service, accept_loop, bind};
use cairn_protocol::ids::{BrokerId, Timestamp, TopicId};
use cairn_storage::DataDir;
use cairn_storage::dir::DirConfig;
use cairn_storage::disk::Disk;
use cairn_storage::disk::memory::{Crash, MemoryDisk};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::proxy::Net;

const PATH: &str = "/data";
/// Far beyond what any step takes: a step that takes so long never ends.
const GIVE_UP: Duration = Duration::from_secs(60);

/// Longer than any test.
const FOR_EVER_MS: (u64, u64) = (3_600_000, 7_200_000);

/// How a node is begun.
pub(crate) enum Started {
    First(Formation),
    AsBefore,
}

pub(crate) struct Cluster {
    pub(crate) net: Net,
    secret: JoinSecret,
    hosts: BTreeMap<i32, Host>,
    checkpoint_every: fn(i32) -> u64,
    /// Whether voters wait for ever for a leader that is silent.
    is_patient: bool,
}

struct Host {
    disk: MemoryDisk,
    /// Where the others reach it, through the proxy.
    port: u16,
    running: Option<Running>,
}

struct Running {
    node: Arc<MetadataNode>,
    peers: Peers,
    stop: CancellationToken,
    tasks: TaskTracker,
    _dir: Arc<DataDir>,
}

/// Answers with the node, once it is there.
#[derive(Clone, Default)]
struct Serving(Arc<Mutex<Option<Arc<MetadataNode>>>>);

impl Service for Serving {
    fn call(&self, _from: Remote, request: Request) -> BoxFuture<'static, Result<Bytes, Failed>> {
        let node = self.0.lock().clone();
        async move {
            match node {
                Some(node) => node.serve(request.body).await,
                None => Err(Failed("not there yet".into())),
            }
        }
        .boxed()
    }
}

/// Waits until it is so.
pub(crate) async fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let looking = async {
        let mut looks = tokio::time::interval(Duration::from_millis(5));
        while !is_so() {
            looks.tick().await;
        }
    };
    tokio::time::timeout(GIVE_UP, looking).await.unwrap_or_else(|_| panic!("never: {what}"));
}

impl Cluster {
    /// Nodes 1 to `nodes`, of which the first three vote.
    pub(crate) async fn start(nodes: i32) -> Self {
        Self::start_with(nodes, |_| 5_000).await
    }

    pub(crate) async fn start_with(nodes: i32, checkpoint_every: fn(i32) -> u64) -> Self {
        Self::found(nodes, checkpoint_every, false).await
    }

    /// Nodes that wait for ever for a leader that is silent.
    pub(crate) async fn start_patient(nodes: i32) -> Self {
        Self::found(nodes, |_| 5_000, true).await
    }

    async fn found(nodes: i32, checkpoint_every: fn(i32) -> u64, is_patient: bool) -> Self {
        let (net, secret, hosts) = (Net::default(), JoinSecret::random(), BTreeMap::new());
        let mut cluster = Self { net, secret, hosts, checkpoint_every, is_patient };
        cluster.begin(1, Started::First(Formation::Alone)).await;
        cluster.with_broker().await;
        for id in 2..=nodes {
            cluster.join(id).await;
        }
        cluster.agree().await;
        cluster
    }

    /// Adds a node, as a voter while there are fewer than three.
    pub(crate) async fn join(&mut self, id: i32) {
        self.begin(id, Started::First(Formation::Member)).await;
        let leader = self.node(self.leader());
        leader.put_member(BrokerId(id), "127.0.0.1", self.hosts[&id].port).await.expect("is taken in");
        let voters = leader.members().iter().filter(|member| member.role == Role::Voter).count();
        if voters < 3 {
            let promoting = async {
                let mut looks = tokio::time::interval(Duration::from_millis(5));
                while leader.promote_one(3, |_| true).await.expect("changes the members") != Some(BrokerId(id)) {
                    looks.tick().await;
                }
            };
            tokio::time::timeout(GIVE_UP, promoting).await.expect("catches up");
        }
        let node = self.node(id);
        eventually("the new node knows the members", || !node.members().is_empty()).await;
    }

    pub(crate) async fn begin(&mut self, id: i32, started: Started) {
        if !self.hosts.contains_key(&id) {
            let port = self.net.listen(id).await;
            self.hosts.insert(id, Host { disk: MemoryDisk::new(), port, running: None });
        }
        let host = &self.hosts[&id];
        let bound = bind("127.0.0.1", 0).await.expect("binds");
        self.net.put_behind(id, bound.address().expect("bound"));
        let local = Local::new(Identity {
            cluster: Some(Uuid::from_u128(77)),
            node: Some(BrokerId(id)),
            incarnation: Uuid::new_v4(),
            secret: Some(self.secret.clone()),
        });
        let peers = Peers::new(local.clone());
        let disk: Arc<dyn Disk> = Arc::new(host.disk.until_crash());
        let dir = Arc::new(DataDir::open(Arc::clone(&disk), Path::new(PATH), &DirConfig::default()).expect("opens"));
        let formation = match started {
            Started::First(formation) => formation,
            Started::AsBefore => Formation::Member,
        };
        let link = Link { peers: peers.clone(), host: "127.0.0.1".into(), port: host.port };
        let defaults = NodeConfig::new(BrokerId(id), Uuid::from_u128(77), || Timestamp(1));
        let config = NodeConfig {
            checkpoint_every: (self.checkpoint_every)(id),
            election_ms: if self.is_patient { FOR_EVER_MS } else { defaults.election_ms },
            formation,
            link: Some(link),
            ..defaults
        };
        let (stop, tasks, serving) = (CancellationToken::new(), TaskTracker::new(), Serving::default());
        let service: (Local, Arc<dyn Service>) = (local, Arc::new(serving.clone()));
        tasks.spawn(accept_loop(bound, service, Limits::default(), stop.clone(), tasks.clone()));
        let node = Arc::new(MetadataNode::start(config, Arc::clone(&dir), disk).await.expect("starts"));
        *serving.0.lock() = Some(Arc::clone(&node));
        let running = Running { node, peers, stop, tasks, _dir: dir };
        self.hosts.get_mut(&id).expect("there").running = Some(running);
    }

    /// Pulls the plug.
    pub(crate) async fn kill(&mut self, id: i32, crash: Crash) {
        let host = self.hosts.get_mut(&id).expect("there");
        let running = host.running.take().expect("runs");
        host.disk.crash(crash);
        running.end().await;
    }

    pub(crate) async fn stop(mut self) {
        for host in self.hosts.values_mut() {
            if let Some(running) = host.running.take() {
                running.end().await;
            }
        }
        self.net.stop();
    }

    pub(crate) fn running(&self) -> Vec<i32> {
        self.hosts.iter().filter(|(_, host)| host.running.is_some()).map(|(id, _)| *id).collect()
    }

    /// Whether it has a vote, as it knows itself.
    pub(crate) fn votes(&self, id: i32) -> bool {
        let is_it = |member: &cairn_consensus::Member| member.node == BrokerId(id) && member.role == Role::Voter;
        self.node(id).members().iter().any(is_it)
    }

    pub(crate) fn node(&self, id: i32) -> Arc<MetadataNode> {
        Arc::clone(&self.hosts[&id].running.as_ref().expect("runs").node)
    }

    /// The node that leads and knows it.
    pub(crate) fn leader(&self) -> i32 {
        let leads = |id: &i32| self.node(*id).is_leader();
        self.running().into_iter().find(leads).expect("one leads")
    }

    pub(crate) async fn create(&self, by: i32, number: u128) -> Result<(), ProposeError> {
        let node = self.node(by);
        create(&node, number).await
    }

    /// Asks until it is there: what was sent to a leader that is gone may have been done, or not.
    pub(crate) async fn create_for_sure(&self, by: i32, number: u128) {
        let asking = async {
            while let Err(error) = self.create(by, number).await {
                match error {
                    ProposeError::Rejected(Rejected::TopicExists { .. }) => return,
                    ProposeError::Rejected(rejected) => panic!("{rejected}"),
                    ProposeError::NotLeader { .. } | ProposeError::Unknown(_) => {}
                }
            }
        };
        tokio::time::timeout(GIVE_UP, asking).await.expect("is there in the end");
    }

    pub(crate) fn create_later(&self, by: i32, number: u128) -> JoinHandle<Result<(), ProposeError>> {
        let node = self.node(by);
        tokio::spawn(async move { create(&node, number).await })
    }

    pub(crate) fn topics(&self, id: i32) -> BTreeSet<u128> {
        self.node(id).image().topics().map(|topic| topic.id.0.as_u128()).collect()
    }

    pub(crate) fn has(&self, id: i32, number: u128) -> bool {
        self.node(id).image().topic(TopicId(Uuid::from_u128(number))).is_some()
    }

    pub(crate) fn has_checkpoint(&self, id: i32) -> bool {
        self.hosts[&id].disk.read(&Path::new(PATH).join("metadata/checkpoint"), 1 << 30).is_ok()
    }

    /// Waits until all nodes that run have one leader, and the same image that holds all that was committed.
    pub(crate) async fn agree(&self) {
        let one = |id: &i32| self.node(*id).leader();
        eventually("all know one leader, which knows it", || {
            let leader = one(&self.running()[0]);
            let agreed = self.running().iter().all(|id| one(id) == leader);
            agreed && leader.is_some_and(|id| self.running().contains(&id.0) && self.node(id.0).is_leader())
        })
        .await;
        // Commands whose outcome nobody knows may still be decided meanwhile: it is looked until all is quiet.
        let quiet = async {
            let mut looks = tokio::time::interval(Duration::from_millis(5));
            loop {
                looks.tick().await;
                let Some(leader) = self.running().into_iter().find(|id| self.node(*id).is_leader()) else { continue };
                if self.node(leader).read_barrier().await.is_err() {
                    continue;
                }
                let image = self.node(leader).image();
                if self.running().iter().all(|id| *self.node(*id).image() == *image) {
                    return;
                }
            }
        };
        let agreed = tokio::time::timeout(GIVE_UP, quiet).await.is_ok();
        let told: Vec<_> = self.running().iter().map(|id| (*id, self.node(*id).image().version())).collect();
        assert!(agreed, "never: all have the leader's image; versions: {told:?}");
    }

    /// Registers and unfences broker 1, so that topics can be made.
    async fn with_broker(&self) {
        let node = self.node(1);
        let broker = BrokerId(1);
        let registered = node.propose(register(broker)).await.expect("registers");
        let Answer::BrokerRegistered(epoch) = registered.answer else { panic!("{registered:?}") };
        node.propose(Command::UnfenceBroker { broker, epoch }).await.expect("unfences");
    }
}

async fn create(node: &MetadataNode, number: u128) -> Result<(), ProposeError> {
    let (name, id) = (format!("topic-{number}").into(), TopicId(Uuid::from_u128(number)));
    let new = NewTopic { name, id, assignments: vec![vec![BrokerId(1)]], configs: Vec::new() };
    node.propose(Command::CreateTopic(new)).await.map(drop)
}

fn register(id: BrokerId) -> Command {
    Command::RegisterBroker(NewBroker {
        id,
        incarnation: Uuid::from_u128(1),
        endpoints: Vec::new(),
        rack: None,
        storage_ids: Vec::new(),
        boot_id: None,
        clean_shutdown: None,
    })
}

impl Running {
    /// Its disk may be gone: nothing it does from here on counts.
    async fn end(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
        self.peers.close().await;
        self.node.shutdown().await;
    }
}
