//! Who lives, by the controller's own clock: whoever is silent for a session is fenced, and serves again after the next
//! heartbeat. The controller also makes learners voters.
//!
//! Must not know: requests, partitions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_consensus::Role;
use cairn_metadata::{BrokerEpoch, Command};
use cairn_peers::{Lane, Peers, Target};
use cairn_protocol::ids::BrokerId;
use futures::future::join_all;
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
/// Who has not looked for so long was stopped itself, and knows nothing of the others' silence.
const STOPPED: Duration = Duration::from_secs(2);
/// How long a voter that asks for votes has before the next one does.
const TURN: Duration = Duration::from_millis(200);
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
pub(crate) async fn control(
    (cluster, peers): (Arc<Cluster>, Peers),
    sessions: Arc<Sessions>,
    own: BrokerId,
    stop: CancellationToken,
) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut led = false;
    let mut looked = Instant::now();
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = cluster.quorum().another_leader(SESSION) => {}
            gone = peers.refused() => {
                match cluster.quorum().leader() == Some(gone) {
                    true => succeed(&cluster, &peers, (own, gone)).await,
                    false => fence_gone(&cluster, &peers, gone).await,
                }
                continue;
            }
            () = stop.cancelled() => return,
        }
        let leads = cluster.quorum().is_leader();
        if leads != led || looked.elapsed() > STOPPED {
            sessions.forget();
            if leads && !led {
                // Whoever led before may be gone, and others with it, of which only that one knew.
                let image = cluster.quorum().image();
                let others = image.brokers().filter(|broker| !broker.fenced && broker.id != own);
                join_all(others.map(|broker| fence_gone(&cluster, &peers, broker.id))).await;
            }
            led = leads;
        }
        looked = Instant::now();
        if !leads {
            continue;
        }
        serve_again(&cluster, own).await;
        fence_silent(&cluster, &sessions, own).await;
        match cluster.quorum().promote_one(VOTERS).await {
            Ok(Some(node)) => tracing::info!(%node, "a broker votes on the metadata now"),
            Ok(None) => {}
            Err(error) => tracing::debug!(%error, "no further broker votes yet"),
        }
    }
}

/// The controller's process is gone: one voter after the other asks the others for their votes, so that they do not take each
/// other's. Whoever lacks something that was committed gets none.
async fn succeed(cluster: &Cluster, peers: &Peers, (own, gone): (BrokerId, BrokerId)) {
    let members = cluster.quorum().members();
    let voters = members.iter().filter(|member| member.role == Role::Voter && member.node != gone);
    let Some(before) = voters.map(|voter| voter.node).position(|voter| voter == own) else { return };
    let Some(member) = members.iter().find(|member| member.node == gone) else { return };
    let turn = TURN * u32::try_from(before).unwrap_or(u32::MAX);
    cluster.quorum().another_leader(turn).await;
    let target = Target { node: Some(gone), host: member.host.clone(), port: member.port };
    if cluster.quorum().leader() != Some(gone) || !peers.is_refused(&target).await {
        return;
    }
    tracing::warn!(broker = %gone, "nobody listens where the controller was: another one is elected");
    if let Err(error) = cluster.quorum().take_over(gone).await {
        tracing::warn!(%error, "the controller's place was not taken; there will be an election when its time is over");
    }
}

/// Fences who was silent for a session, if this broker is the controller still: who was stopped may only believe it.
async fn fence_silent(cluster: &Cluster, sessions: &Sessions, own: BrokerId) {
    let expired = sessions.expired(cluster, own, Instant::now());
    if expired.is_empty() || cluster.quorum().read_barrier().await.is_err() {
        return;
    }
    for (broker, epoch) in expired {
        tracing::warn!(%broker, session = ?SESSION, "a broker was silent for too long and is fenced");
        if let Err(error) = cluster.quorum().propose(Command::FenceBroker { broker, epoch }).await {
            tracing::warn!(%broker, %error, "a silent broker was not fenced; it is tried again");
        }
    }
}

/// Fences a broker at whose address nobody listens: its process is gone. The registration is looked up first: whoever comes back
/// listens before it registers.
async fn fence_gone(cluster: &Cluster, peers: &Peers, broker: BrokerId) {
    let quorum = cluster.quorum();
    let image = quorum.image();
    let Some(known) = image.broker(broker).filter(|known| !known.fenced) else { return };
    let Some(member) = quorum.members().into_iter().find(|member| member.node == broker) else { return };
    let target = Target { node: Some(broker), host: member.host, port: member.port };
    if !quorum.is_leader() || !peers.is_refused(&target).await || quorum.read_barrier().await.is_err() {
        return;
    }
    tracing::warn!(%broker, "nobody listens where a broker was: it is fenced");
    if let Err(error) = quorum.propose(Command::FenceBroker { broker, epoch: known.epoch }).await {
        tracing::warn!(%broker, %error, "a broker that is gone was not fenced; its session will end");
    }
}

/// The controller hears nobody tell that it lives itself: where one before it has fenced it, it serves again.
async fn serve_again(cluster: &Cluster, own: BrokerId) {
    let image = cluster.quorum().image();
    let Some(fenced) = image.broker(own).filter(|broker| broker.fenced) else { return };
    if let Err(error) = cluster.quorum().propose(Command::UnfenceBroker { broker: own, epoch: fenced.epoch }).await {
        tracing::warn!(%error, "the controller was not unfenced; it is tried again");
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
