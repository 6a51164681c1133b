//! A broker tells the controller that it lives, and hears for how long it may believe what it knows. One whose metadata cannot be written
//! any more learns nothing: it falls silent, and the others take over when its session ends.
//!
//! Must not know: what the controller does about who is silent.

use std::sync::Arc;
use std::time::Duration;

use cairn_metadata::BrokerEpoch;
use cairn_peers::{Lane, Peers, Target};
use cairn_storage::DataDir;
use tokio_util::sync::CancellationToken;

use super::sessions::Sessions;
use super::wire::{self, HEARTBEAT, Heard, Heartbeat};
use crate::clock;
use crate::cluster::Cluster;
use crate::lease::HeldLease;

/// How often a broker tells that it lives: Kafka's `broker.heartbeat.interval.ms`.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(2);
/// Sooner where the last one was not answered as it should be.
const HEARTBEAT_AGAIN: Duration = Duration::from_millis(250);
/// How long the controller may take to answer: several fit into a lease.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// What the telling works with.
pub(super) struct Heartbeats {
    pub(super) cluster: Arc<Cluster>,
    pub(super) peers: Peers,
    /// The controller's book, for the time that this broker is the controller.
    pub(super) sessions: Arc<Sessions>,
    pub(super) lease: Arc<HeldLease>,
    /// As which it has registered. Where the metadata knows a later one, that lives or not by its own word.
    pub(super) epoch: BrokerEpoch,
    /// Where the metadata lies.
    pub(super) metadata: Arc<DataDir>,
    /// This broker, and where the others reach it.
    pub(super) own: Target,
}

impl Heartbeats {
    /// Tells again and again.
    pub(super) async fn send(self, stop: CancellationToken) {
        let mut pause = Duration::ZERO;
        loop {
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
            if let Some(why) = self.metadata.failure()
                && self.cluster.quorum().members().len() > 1
            {
                tracing::error!(%why, "the metadata cannot be written any more: the other brokers are to take over");
                // A controller would go on being it until it has something to write.
                self.cluster.quorum().shutdown().await;
                return;
            }
            let sent = clock::ticks();
            pause = match self.send_one().await {
                Some(Heard::Alive) => {
                    self.lease.on_granted(sent);
                    HEARTBEAT_EVERY
                }
                Some(Heard::StaleEpoch) => {
                    tracing::error!(
                        "the controller knows another process as this broker: is it running twice? Unless it is, \
                         start it again"
                    );
                    self.lease.on_lost();
                    HEARTBEAT_EVERY
                }
                Some(Heard::Behind | Heard::NotController) | None => HEARTBEAT_AGAIN,
            };
            if self.cluster.quorum().members().len() <= 1 {
                self.lease.on_alone();
            }
        }
    }

    async fn send_one(&self) -> Option<Heard> {
        let node = self.own.node?;
        let quorum = self.cluster.quorum();
        let leader = quorum.leader()?;
        let (epoch, version) = (self.epoch.0, self.cluster.image().version());
        if leader == node {
            return Some(self.sessions.heard(&self.cluster, (node, epoch), version).await);
        }
        let members = quorum.members();
        let at = members.iter().find(|member| member.node == leader)?;
        let target = Target { node: Some(leader), host: at.host.clone(), port: at.port };
        let beat = Heartbeat { node: node.0, epoch, version, host: self.own.host.clone(), port: self.own.port };
        let asked = self.peers.call(&target, Lane::Quorum, wire::request(HEARTBEAT, &beat), ANSWER_WITHIN);
        let answered = tokio::select! {
            answered = asked => answered,
            () = quorum.another_leader(ANSWER_WITHIN) => return None,
        };
        match answered {
            Ok(answer) => wire::read(&answer),
            Err(error) => {
                tracing::debug!(%error, "the controller did not hear this broker");
                None
            }
        }
    }
}
