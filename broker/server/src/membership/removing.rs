//! A broker is gone for good: its registration goes, then its vote, then its membership. In its place another one votes.
//!
//! ```text
//!   barrier -> UnregisterBroker -> a learner that lives and has caught up votes -> the vote goes -> the member goes
//! ```
//! From the first step on nothing of the broker is taken again; the controller finishes by itself what a crash leaves of the others.
//!
//! Must not know: requests of clients, partitions.

use std::sync::Arc;
use std::time::Duration;

use cairn_consensus::{Member, MembersError, MetadataNode, ProposeError, Role};
use cairn_metadata::{Command, Rejected};
use cairn_peers::{Lane, Peers, Target};
use cairn_protocol::ids::BrokerId;
use futures::future::join_all;
use uuid::Uuid;

use super::sessions::VOTERS;
use super::wire::{self, REMOVED, UNREGISTER, Unregistered};
use crate::cluster::Cluster;

/// How long the controller may take to remove a broker.
const REMOVE_WITHIN: Duration = Duration::from_secs(20);
/// How long a broker may take to tell whether another one was removed.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// How often they are asked.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Has the controller remove a broker, wherever that is; none where it cannot be asked now.
pub(crate) async fn ask_to_unregister(
    cluster: &Cluster,
    peers: Option<&Peers>,
    broker: BrokerId,
) -> Option<Unregistered> {
    let quorum = cluster.quorum();
    if quorum.is_leader() {
        return Some(unregister(cluster, broker).await);
    }
    let leader = quorum.leader()?;
    let member = quorum.members().into_iter().find(|member| member.node == leader)?;
    let target = Target { node: Some(leader), host: member.host, port: member.port };
    let answer = peers?.call(&target, Lane::Quorum, wire::request(UNREGISTER, &broker.0), REMOVE_WITHIN).await.ok()?;
    wire::read(&answer)
}

/// On the controller: removes a broker that does not live.
pub(super) async fn unregister(cluster: &Cluster, broker: BrokerId) -> Unregistered {
    let _one_by_one = cluster.members_change().await;
    let quorum = cluster.quorum();
    match quorum.read_barrier().await {
        Ok(()) => {}
        Err(MembersError::NotLeader { .. }) => return Unregistered::NotController,
        Err(error) => return Unregistered::Failed(error.to_string().into()),
    }
    let is_registered = match quorum.image().broker(broker) {
        Some(known) if !known.fenced => return Unregistered::Alive,
        known => known.is_some(),
    };
    if !is_registered && quorum.members().iter().all(|member| member.node != broker) {
        return Unregistered::Unknown;
    }
    match quorum.propose(Command::UnregisterBroker { broker }).await {
        Ok(_) => tracing::warn!(%broker, "a broker was removed from the cluster"),
        // It was before, and is a member still.
        Err(ProposeError::Rejected(Rejected::UnknownBroker(_))) => {}
        Err(ProposeError::NotLeader { .. }) => return Unregistered::NotController,
        Err(error) => return Unregistered::Failed(error.to_string().into()),
    }
    match remove(cluster, broker).await {
        Ok(()) => Unregistered::Done,
        Err(error) => Unregistered::Failed(format!("it is a member still, and will be none: {error}").into()),
    }
}

/// On the controller: removes members that are not registered any more. One that joins is registered before it is a member.
pub(super) async fn remove_unregistered(cluster: &Cluster, own: BrokerId) {
    let quorum = cluster.quorum();
    let gone = || {
        let image = quorum.image();
        let is_gone = |member: &Member| member.node != own && image.broker(member.node).is_none();
        quorum.members().into_iter().filter(is_gone).map(|member| member.node).collect::<Vec<_>>()
    };
    if gone().is_empty() || quorum.read_barrier().await.is_err() {
        return;
    }
    for broker in gone() {
        if let Err(error) = remove(cluster, broker).await {
            tracing::warn!(%broker, %error, "a removed broker is a member still; it is tried again");
        }
    }
}

/// Where it votes another one does first, if any can: so there are enough at each step.
async fn remove(cluster: &Cluster, broker: BrokerId) -> Result<(), MembersError> {
    let quorum = cluster.quorum();
    if quorum.members().iter().any(|member| member.node == broker && member.role == Role::Voter) {
        promote_one(cluster, VOTERS + 1).await;
    }
    quorum.remove_member(broker).await
}

/// On the controller: makes a learner that lives a voter, while there are fewer than `voters`.
pub(super) async fn promote_one(cluster: &Cluster, voters: usize) {
    let image = cluster.quorum().image();
    let lives = |id: BrokerId| image.broker(id).is_some_and(|broker| !broker.fenced);
    match cluster.quorum().promote_one(voters, lives).await {
        Ok(Some(node)) => tracing::info!(%node, "a broker votes on the metadata now"),
        Ok(None) => {}
        Err(error) => tracing::debug!(%error, "no further broker votes yet"),
    }
}

/// Returns when a member tells that the broker with these disks was removed: who was hears nothing from the quorum any more. They are
/// asked while that may be so.
pub(crate) async fn until_removed(
    (quorum, peers): (Arc<MetadataNode>, Peers),
    disks: Vec<Uuid>,
    may_be: impl Fn() -> bool,
) {
    let mut asks = tokio::time::interval(ASK_EVERY);
    asks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        asks.tick().await;
        if may_be() && is_removed(&quorum, &peers, &disks).await {
            return;
        }
    }
}

async fn is_removed(quorum: &MetadataNode, peers: &Peers, disks: &[Uuid]) -> bool {
    let members = quorum.members();
    let asking = members.iter().filter(|member| member.port != 0).map(|member| async move {
        let target = Target { node: Some(member.node), host: member.host.clone(), port: member.port };
        let answer = peers.call(&target, Lane::Quorum, wire::request(REMOVED, &disks), ANSWER_WITHIN).await.ok()?;
        wire::read::<bool>(&answer)
    });
    join_all(asking).await.into_iter().flatten().any(|is_removed| is_removed)
}
