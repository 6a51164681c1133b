//! Who lives, by the controller's own clock: whoever is silent for a session is fenced, and serves again after the next
//! heartbeat. The controller also makes learners voters.
//!
//! Must not know: requests, partitions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_metadata::{BrokerEpoch, Command};
use cairn_peers::{Lane, Peers, Target};
use cairn_protocol::ids::BrokerId;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::wire::{self, HEARTBEAT, Heard, Heartbeat};
use crate::cluster::Cluster;

/// How often a broker tells that it lives: Kafka's `broker.heartbeat.interval.ms`.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(2);
/// Sooner where the last one was not answered.
const HEARTBEAT_AGAIN: Duration = Duration::from_millis(250);
/// How long a broker may be silent: Kafka's `broker.session.timeout.ms`.
const SESSION: Duration = Duration::from_secs(9);
/// How often the controller looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// So many members vote.
const VOTERS: usize = 3;

/// When each broker was heard last. Empty on a broker that is not the controller.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<HashMap<BrokerId, Instant>>);

impl Sessions {
    /// A broker has told that it lives.
    pub(super) async fn heard(&self, cluster: &Cluster, broker: BrokerId, epoch: i64) -> Heard {
        let image = cluster.quorum().image();
        let Some(known) = image.broker(broker).filter(|known| known.epoch.0 == epoch) else {
            return Heard::StaleEpoch;
        };
        self.0.lock().insert(broker, Instant::now());
        if known.fenced {
            let unfence = Command::UnfenceBroker { broker, epoch: BrokerEpoch(epoch) };
            if let Err(error) = cluster.quorum().propose(unfence).await {
                tracing::warn!(%broker, %error, "a broker that lives was not unfenced; it is tried again");
            }
        }
        Heard::Alive
    }

    /// Forgets all: who becomes the controller gives every broker a whole session.
    fn forget(&self) {
        self.0.lock().clear();
    }

    /// The unfenced brokers that were silent for too long.
    fn expired(&self, cluster: &Cluster, own: BrokerId, now: Instant) -> Vec<(BrokerId, BrokerEpoch)> {
        let image = cluster.quorum().image();
        let mut heard = self.0.lock();
        let others = image.brokers().filter(|broker| !broker.fenced && broker.id != own);
        let silent = others.filter(|broker| {
            let last = *heard.entry(broker.id).or_insert(now);
            now.saturating_duration_since(last) > SESSION
        });
        silent.map(|broker| (broker.id, broker.epoch)).collect()
    }
}

/// The controller's work, on each broker for the time that it is the controller.
pub(crate) async fn control(cluster: Arc<Cluster>, sessions: Arc<Sessions>, own: BrokerId, stop: CancellationToken) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut led = false;
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = stop.cancelled() => return,
        }
        let leads = cluster.quorum().is_leader();
        if leads != led {
            sessions.forget();
            led = leads;
        }
        if !leads {
            continue;
        }
        for (broker, epoch) in sessions.expired(&cluster, own, Instant::now()) {
            tracing::warn!(%broker, session = ?SESSION, "a broker was silent for too long and is fenced");
            if let Err(error) = cluster.quorum().propose(Command::FenceBroker { broker, epoch }).await {
                tracing::warn!(%broker, %error, "a silent broker was not fenced; it is tried again");
            }
        }
        match cluster.quorum().promote_one(VOTERS).await {
            Ok(Some(node)) => tracing::info!(%node, "a broker votes on the metadata now"),
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "no further broker votes yet"),
        }
    }
}

/// Tells the controller that this broker lives, again and again.
pub(crate) async fn send_heartbeats((cluster, peers): (Arc<Cluster>, Peers), own: Target, stop: CancellationToken) {
    let mut pause = Duration::ZERO;
    loop {
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => return,
        }
        pause = match send(&cluster, &peers, &own).await {
            Some(Heard::Alive) => HEARTBEAT_EVERY,
            Some(Heard::StaleEpoch) => {
                tracing::error!("the controller knows another process as this broker: is it running twice?");
                HEARTBEAT_EVERY
            }
            Some(Heard::NotController) | None => HEARTBEAT_AGAIN,
        };
    }
}

async fn send(cluster: &Cluster, peers: &Peers, own: &Target) -> Option<Heard> {
    let node = own.node?;
    let quorum = cluster.quorum();
    let leader = quorum.leader()?;
    if leader == node {
        return Some(Heard::Alive);
    }
    let members = quorum.members();
    let at = members.iter().find(|member| member.node == leader)?;
    let target = Target { node: Some(leader), host: at.host.clone(), port: at.port };
    let epoch = quorum.image().broker(node)?.epoch.0;
    let beat = Heartbeat { node: node.0, epoch, host: own.host.clone(), port: own.port };
    match peers.call(&target, Lane::Quorum, wire::request(HEARTBEAT, &beat), HEARTBEAT_EVERY).await {
        Ok(answer) => wire::read(&answer),
        Err(error) => {
            tracing::debug!(%error, "the controller did not hear this broker");
            None
        }
    }
}
