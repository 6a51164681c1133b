//! The demo's cluster: three brokers that joined each other, and what they say of themselves. Nothing is waited for by the clock: the
//! brokers are asked until it is so.
//!
//! Must not know: records, what is shown.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use cairn_client::{Admin, BrokerId, PartitionDescription};
use tokio::time::Instant;

use super::server::{Home, Server};

/// How many brokers, and replicas of each partition.
pub(crate) const BROKERS: i32 = 3;
/// What has not come about by then never will.
const TIME_MAX: Duration = Duration::from_secs(60);
/// Between two questions.
const ASK_EVERY: Duration = Duration::from_millis(20);

/// The brokers by node id; one that was killed keeps its place.
pub(crate) struct Cluster {
    members: BTreeMap<BrokerId, Member>,
}

struct Member {
    home: Home,
    address: SocketAddr,
    /// None while it is dead.
    server: Option<Server>,
}

impl Cluster {
    /// Starts the first broker, and the others as members of its cluster.
    pub(crate) async fn start(folder: &Path) -> Result<Self> {
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let start = async |id: i32, join: Option<SocketAddr>| {
            let home = Home::new(folder, BrokerId(id));
            let server = Server::start(&home, any, join).await?;
            anyhow::Ok((BrokerId(id), Member { home, address: server.address, server: Some(server) }))
        };
        let (first, member) = start(1, None).await?;
        let join = Some(member.address);
        let (second, third) = tokio::try_join!(start(2, join), start(3, join))?;
        Ok(Self { members: BTreeMap::from([(first, member), second, third]) })
    }

    /// The node id, process id and address of each broker that runs.
    pub(crate) fn running(&self) -> impl Iterator<Item = (BrokerId, u32, SocketAddr)> {
        self.members.iter().filter_map(|(id, it)| Some((*id, it.server.as_ref()?.pid(), it.address)))
    }

    /// Where clients begin; a broker that is dead is no obstacle.
    pub(crate) fn bootstrap(&self) -> String {
        self.members.values().map(|member| member.address.to_string()).collect::<Vec<_>>().join(",")
    }

    /// SIGKILL for one broker. Gives its process id.
    pub(crate) fn kill(&mut self, id: BrokerId) -> Result<u32> {
        let member = self.members.get_mut(&id).with_context(|| format!("there is no broker {id}"))?;
        let server = member.server.take().with_context(|| format!("broker {id} is dead already"))?;
        let pid = server.pid();
        server.kill()?;
        Ok(pid)
    }

    /// Starts a dead broker on its own data, at its own address. It finds its cluster by itself.
    pub(crate) async fn restart(&mut self, id: BrokerId) -> Result<&Server> {
        let member = self.members.get_mut(&id).with_context(|| format!("there is no broker {id}"))?;
        let server = Server::start(&member.home, member.address, None).await?;
        Ok(member.server.insert(server))
    }

    /// Waits until every broker knows of all as voters, so that any one of them can be missed.
    pub(crate) async fn until_all_vote(&self) -> Result<()> {
        until("vote on the metadata", async || {
            for member in self.members.values() {
                let voters = cairn_broker::voters(&member.address.ip().to_string(), member.address.port()).await;
                if voters.context("a broker does not tell who votes")?.len() < self.members.len() {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })
        .await
    }
}

/// Waits until as many brokers serve as there are.
pub(crate) async fn until_all_serve(admin: &Admin) -> Result<BrokerId> {
    until("serve", async || {
        let cluster = admin.describe_cluster().await?;
        let serving = cluster.brokers.iter().filter(|broker| !broker.is_fenced).count();
        let all = i32::try_from(serving) == Ok(BROKERS);
        Ok(cluster.controller.filter(|_| all))
    })
    .await
}

/// Waits until all replicas of these topics are in sync.
pub(crate) async fn until_in_sync(admin: &Admin, topics: &[&str]) -> Result<()> {
    let whole = |it: &PartitionDescription| it.leader.is_some() && it.in_sync.len() == it.replicas.len();
    until("have all replicas in sync", async || {
        for topic in topics {
            if !admin.describe_topic(topic).await?.partitions.iter().all(whole) {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
    .await
}

/// Waits until another broker than `dead` leads the partition, and gives which.
pub(crate) async fn until_led(admin: &Admin, topic: &str, partition: usize, dead: BrokerId) -> Result<BrokerId> {
    until("have another leader", async || {
        let described = admin.describe_topic(topic).await?;
        Ok(described.partitions.get(partition).and_then(|it| it.leader).filter(|leader| *leader != dead))
    })
    .await
}

/// Asks until there is an answer; a question that fails is asked again as well.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Result<Option<T>>) -> Result<T> {
    let began = Instant::now();
    let mut ticks = tokio::time::interval(ASK_EVERY);
    loop {
        ticks.tick().await;
        let why = match ask().await {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => anyhow!("they say that they do not"),
            Err(error) => error,
        };
        if began.elapsed() > TIME_MAX {
            bail!("the brokers do not {what} within {TIME_MAX:?}: {why:#}");
        }
    }
}
