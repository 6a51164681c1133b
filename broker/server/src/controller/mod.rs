//! What the controller does for partitions without being asked: somebody leads where nobody has everything for certain, preferred
//! replicas lead again, and the groups' topic has as many replicas as it should.
//!
//! ```text
//!   image -> unled, preferred, replicas: what is due -> commands -> the quorum
//!              |
//!              +-> how far logs go, asked of the brokers that keep them (replication/telling.rs)
//! ```
//! Runs on every broker, and does nothing on one that is not the controller, but for having others lead what it cannot serve itself.
//! Fencing is `membership/`'s.
//!
//! Must not know: requests of clients, how records travel.

mod given_up;
mod preferred;
mod replicas;
#[cfg(test)]
mod tests;
mod unled;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_metadata::{CannotElect, Command, ElectBy, Image, LogTold, Rejected, Topic, names};
use cairn_peers::Target;
use cairn_protocol::ids::{BrokerId, PartitionIndex, TopicId};
use futures::StreamExt;
use futures::future::join_all;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use self::unled::Unled;
pub(crate) use self::unled::is_serving;
use crate::cluster::ProposeError;
use crate::node::Node;
use crate::replication::{ask_for_logs, tell_logs};
use crate::topics;

/// How often it is looked whether something is due.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often each broker looks whether it leads what it cannot serve.
const GIVE_UP_EVERY: Duration = Duration::from_secs(2);
/// Commands that the quorum has not answered.
const OPEN_MAX: usize = 64;
/// Partitions of the groups' topic that get further replicas at once.
const RAISED_AT_ONCE: usize = 4;
/// Kafka's `unclean.leader.election.enable`.
const UNCLEAN: &str = "unclean.leader.election.enable";

/// The controller's work on one broker.
pub(crate) struct Controller {
    node: Arc<Node>,
    /// The version of the metadata in which nothing was left to do.
    settled: Option<u64>,
    balanced_at: Instant,
    given_up_at: Instant,
}

impl Controller {
    pub(crate) fn new(node: Arc<Node>) -> Self {
        Self { node, settled: None, balanced_at: Instant::now(), given_up_at: Instant::now() }
    }

    /// Looks again and again until `stop`.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = looks.tick() => {}
                () = stop.cancelled() => return,
            }
            tokio::select! {
                () = self.give_up() => {}
                () = stop.cancelled() => return,
            }
            if !self.node.cluster.quorum().is_leader() {
                self.settled = None;
                continue;
            }
            tokio::select! {
                () = self.look() => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Has others lead what this broker leads and cannot serve, whether it is the controller or not.
    async fn give_up(&mut self) {
        if self.given_up_at.elapsed() < GIVE_UP_EVERY {
            return;
        }
        self.given_up_at = Instant::now();
        let is_offline = |id, index| self.node.partitions.is_offline(id, index);
        let due = given_up::due(&self.node.image(), self.node.id, is_offline);
        self.propose_all(due, "another replica leads what cannot be served here").await;
    }

    async fn look(&mut self) {
        self.balance().await;
        let image = self.node.image();
        if self.settled == Some(image.version()) {
            return;
        }
        let unled = unled::unled(&image, |topic| self.allows_unclean(topic));
        let raised =
            replicas::raised(&image, names::CONSUMER_OFFSETS_TOPIC, self.offsets_replicas(&image), RAISED_AT_ONCE);
        if unled.is_empty() && raised.is_empty() {
            self.settled = Some(image.version());
            return;
        }
        self.elect(&image, unled).await;
        self.propose_all(raised, "the groups' topic gets further replicas").await;
    }

    /// Has preferred replicas lead again, from time to time.
    async fn balance(&mut self) {
        let config = self.node.config.start();
        let every = Duration::from_secs(config.leader_imbalance_check_interval_seconds);
        if self.balanced_at.elapsed() < every {
            return;
        }
        self.balanced_at = Instant::now();
        if config.auto_leader_rebalance_enable {
            let due = preferred::due(&self.node.image());
            self.propose_all(due, "a preferred replica leads again").await;
        }
    }

    async fn propose_all(&self, commands: Vec<Command>, what: &'static str) {
        let proposing = commands.into_iter().map(|command| async move {
            match self.node.cluster.propose(command.clone()).await {
                Ok(_) => tracing::info!(?command, what),
                Err(error) => tracing::debug!(?command, %error, what, "not now"),
            }
        });
        futures::stream::iter(proposing).buffer_unordered(OPEN_MAX).collect::<Vec<()>>().await;
    }

    /// Elects by how far logs go.
    async fn elect(&self, image: &Image, unled: Vec<Unled>) {
        let told = self.ask(image, &unled).await;
        let electing = unled.into_iter().map(|unled| {
            let told = told.get(&(unled.topic, unled.partition)).cloned().unwrap_or_default();
            async move {
                if let Err(error) = elect_by_logs(&self.node, (unled.topic, unled.partition), unled.by, told).await {
                    tracing::debug!(topic = %unled.topic, partition = %unled.partition, %error, "nobody can be elected yet");
                }
            }
        });
        futures::stream::iter(electing).buffer_unordered(OPEN_MAX).collect::<Vec<()>>().await;
    }

    async fn ask(&self, image: &Image, unled: &[Unled]) -> HashMap<(TopicId, PartitionIndex), Vec<LogTold>> {
        let mut of: HashMap<BrokerId, Vec<(TopicId, PartitionIndex)>> = HashMap::new();
        for unled in unled {
            for broker in &unled.of {
                of.entry(*broker).or_default().push((unled.topic, unled.partition));
            }
        }
        logs_of(&self.node, image, of).await
    }

    fn allows_unclean(&self, topic: &Topic) -> bool {
        let of_topic = topic.configs.get(UNCLEAN).map(|value| &**value == "true");
        of_topic.unwrap_or_else(|| self.node.config.load().unclean_leader_election_enable)
    }

    fn offsets_replicas(&self, image: &Image) -> usize {
        topics::replication_factor(self.node.config.start().offsets_topic_replication_factor, image)
    }
}

/// How far the logs of these partitions go at these brokers. Who does not answer is left out.
pub(crate) async fn logs_of(
    node: &Node,
    image: &Image,
    of: HashMap<BrokerId, Vec<(TopicId, PartitionIndex)>>,
) -> HashMap<(TopicId, PartitionIndex), Vec<LogTold>> {
    let members = node.cluster.quorum().members();
    let asking = of.into_iter().map(|(broker, partitions)| {
        let member = members.iter().find(|member| member.node == broker);
        let target = member.map(|member| Target { node: Some(broker), host: member.host.clone(), port: member.port });
        async move {
            match (broker == node.id, target, &node.peers) {
                (true, ..) => {
                    let epoch = image.broker(broker).map(|own| own.epoch);
                    epoch.map(|epoch| tell_logs(&node.partitions, (broker, epoch), &partitions)).unwrap_or_default()
                }
                (false, Some(target), Some(peers)) => ask_for_logs(peers, &target, &partitions).await,
                _ => Vec::new(),
            }
        }
    });
    let mut told: HashMap<_, Vec<LogTold>> = HashMap::new();
    for (partition, log) in join_all(asking).await.into_iter().flatten() {
        told.entry(partition).or_default().push(log);
    }
    told
}

/// Has somebody lead who may lack something that was acknowledged, and tells so.
pub(crate) async fn elect_by_logs(
    node: &Node,
    (id, partition): (TopicId, PartitionIndex),
    by: ElectBy,
    told: Vec<LogTold>,
) -> Result<(), ProposeError> {
    if told.is_empty() {
        let reason = CannotElect::NotTold;
        return Err(Rejected::CannotElect { partition, reason }.into());
    }
    node.cluster.propose(Command::ElectByLogs { id, partition, by, told }).await?;
    let image = node.image();
    let topic = image.topic(id);
    let leader = topic.and_then(|topic| topic.partition(partition)?.leader);
    let name = topic.map_or("", |topic| &*topic.name);
    node.metrics.replication.unclean_elections.inc();
    tracing::warn!(
        topic = name,
        partition = partition.0,
        ?by,
        ?leader,
        "a replica leads that may lack acknowledged records: none was there that has them for certain"
    );
    Ok(())
}
