//! What peers are answered: the quorum's messages, who wants to be a member, who lives. And what a client's listener tells a broker
//! that only knows that: where members are reached by their peers.
//!
//! Must not know: sockets.

use std::sync::Arc;

use bytes::Bytes;
use cairn_consensus::{KINDS_END, Member, MembersError, Role};
use cairn_metadata::{Command, NewBroker, features};
use cairn_peers::{Failed, Lane, Local, Remote, Request, Service};
use cairn_protocol::ids::BrokerId;
use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt};
use parking_lot::RwLock;
use uuid::Uuid;

use super::sessions::Sessions;
use super::wire::{self, HEARTBEAT, Heard, Heartbeat, JOIN, Join, Joined, QUORUM, REMOVED, UNREGISTER};
use super::{quorum, removing};
use crate::cluster::Cluster;
use crate::replication::{LOGS, PUSHES, Receiver};

/// An API key that Kafka does not have and ApiVersions does not tell: a broker that joins asks a client listener by it.
pub(crate) const PEERS_KEY: [u8; 2] = 20_001_i16.to_be_bytes();
const PEERS_VERSION: [u8; 2] = [0, 0];
const CORRELATION_ID: [u8; 4] = *b"join";

/// Node id, host, port, and whether it votes.
type MemberTold = (i32, Box<str>, u16, bool);

/// Where members are reached: the controller first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PeersAnswer {
    pub(super) members: Vec<MemberTold>,
}

/// The frame that asks for it.
pub(super) fn peers_request() -> Vec<u8> {
    let body = [&PEERS_KEY[..], &PEERS_VERSION, &CORRELATION_ID].concat();
    [&u32::try_from(body.len()).expect("eight").to_be_bytes()[..], &body].concat()
}

impl PeersAnswer {
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let members = wire::read(bytes.strip_prefix(&CORRELATION_ID)?)?;
        Some(Self { members })
    }
}

/// The frame that answers.
pub(crate) fn peers_answer(cluster: &Cluster, request: &[u8]) -> Option<Bytes> {
    let correlation_id = request.get(4..8)?;
    let leader = cluster.quorum().leader();
    let mut members = cluster.quorum().members();
    members.retain(|member| member.port != 0);
    members.sort_by_key(|member| Some(member.node) != leader);
    let told = |member: Member| -> MemberTold { (member.node.0, member.host, member.port, member.role == Role::Voter) };
    let members: Vec<MemberTold> = members.into_iter().map(told).collect();
    let body = [correlation_id, &wire::answer(&members)].concat();
    let length = u32::try_from(body.len()).ok()?;
    Some([&length.to_be_bytes()[..], &body].concat().into())
}

/// Answers peers, from the moment that the broker's part of the metadata is there.
#[derive(Clone, Debug)]
pub(crate) struct PeerService(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    local: Local,
    quorum: RwLock<Option<Arc<cairn_consensus::MetadataNode>>>,
    cluster: RwLock<Option<Arc<Cluster>>>,
    receiver: RwLock<Option<Receiver>>,
    sessions: Arc<Sessions>,
}

impl PeerService {
    pub(crate) fn new(local: Local, sessions: Arc<Sessions>) -> Self {
        Self(Arc::new(Shared {
            local,
            quorum: RwLock::default(),
            cluster: RwLock::default(),
            receiver: RwLock::default(),
            sessions,
        }))
    }

    /// The quorum's messages are answered from now on.
    pub(crate) fn set_quorum(&self, quorum: Arc<cairn_consensus::MetadataNode>) {
        *self.0.quorum.write() = Some(quorum);
    }

    /// Records are taken from now on.
    pub(crate) fn set_receiver(&self, receiver: Receiver) {
        *self.0.receiver.write() = Some(receiver);
    }

    /// All is answered from now on.
    pub(crate) fn set_cluster(&self, cluster: Arc<Cluster>) {
        *self.0.cluster.write() = Some(cluster);
    }
}

impl Service for PeerService {
    fn call(&self, from: Remote, request: Request) -> BoxFuture<'static, Result<Bytes, Failed>> {
        if request.body.first() == Some(&PUSHES) {
            return self.0.take(&from, request);
        }
        if request.body.first() == Some(&LOGS) {
            return futures::future::ready(self.0.tell_logs(&from, &request.body)).boxed();
        }
        let shared = Arc::clone(&self.0);
        async move { shared.answer(&from, request.body).await }.boxed()
    }
}

impl Shared {
    /// Records are taken here and now: in the order in which they come.
    fn take(&self, from: &Remote, request: Request) -> BoxFuture<'static, Result<Bytes, Failed>> {
        let failed = |why: &str| futures::future::ready(Err(Failed(why.into()))).boxed();
        if from.lane != Lane::Replication {
            return failed("the request is of another lane");
        }
        match &*self.receiver.read() {
            Some(receiver) => receiver.take(request).map_err(|malformed| Failed(malformed.to_string().into())).boxed(),
            None => failed("this broker is starting"),
        }
    }

    fn tell_logs(&self, from: &Remote, request: &Bytes) -> Result<Bytes, Failed> {
        let failed = |why: &str| Failed(why.into());
        if from.lane != Lane::Quorum {
            return Err(failed("the request is of another lane"));
        }
        let receiver = self.receiver.read();
        let receiver = receiver.as_ref().ok_or_else(|| failed("this broker is starting"))?;
        receiver.tell(&request.slice(1..)).ok_or_else(|| failed("the request is not understood"))
    }

    async fn answer(&self, from: &Remote, request: Bytes) -> Result<Bytes, Failed> {
        let failed = |why: &str| Failed(why.into());
        let kind = *request.first().ok_or_else(|| failed("the request is empty"))?;
        if (kind == JOIN) != (from.lane == Lane::Join) || from.lane == Lane::Replication {
            return Err(failed("the request is of another lane"));
        }
        if kind < KINDS_END {
            let quorum = self.quorum.read().clone().ok_or_else(|| failed("this broker is starting"))?;
            return quorum.serve(request).await;
        }
        let cluster = self.cluster.read().clone().ok_or_else(|| failed("this broker is starting"))?;
        match kind {
            JOIN => {
                let join = wire::read(&request[1..]).ok_or_else(|| failed("the request is not understood"))?;
                Ok(wire::answer(&self.join(&cluster, from, join).await))
            }
            HEARTBEAT => {
                let beat: Heartbeat =
                    wire::read(&request[1..]).ok_or_else(|| failed("the request is not understood"))?;
                if from.node != Some(BrokerId(beat.node)) {
                    return Err(failed("the heartbeat is another broker's"));
                }
                cluster.quorum().learn_address(BrokerId(beat.node), &beat.host, beat.port);
                Ok(wire::answer(&self.heartbeat(&cluster, &beat).await))
            }
            UNREGISTER => {
                let broker = wire::read(&request[1..]).ok_or_else(|| failed("the request is not understood"))?;
                Ok(wire::answer(&removing::unregister(&cluster, BrokerId(broker)).await))
            }
            REMOVED => {
                let disks: Vec<Uuid> =
                    wire::read(&request[1..]).ok_or_else(|| failed("the request is not understood"))?;
                Ok(wire::answer(&cluster.quorum().image().is_removed(&disks)))
            }
            QUORUM => Ok(wire::answer(&quorum::tell(cluster.quorum()))),
            _ => Err(failed("requests of this kind are not known")),
        }
    }

    async fn heartbeat(&self, cluster: &Cluster, beat: &Heartbeat) -> Heard {
        if !cluster.quorum().is_leader() {
            return Heard::NotController;
        }
        let heard = self.sessions.heard(cluster, (BrokerId(beat.node), beat.epoch), beat.version).await;
        if matches!(heard, Heard::Alive | Heard::Behind)
            && let Err(error) = note_address(cluster, beat).await
        {
            tracing::warn!(node = beat.node, %error, "where the broker is reached was not noted; it is tried again");
        }
        heard
    }

    async fn join(&self, cluster: &Cluster, from: &Remote, join: Join) -> Joined {
        let _one_by_one = cluster.members_change().await;
        match cluster.quorum().read_barrier().await {
            Ok(()) => {}
            Err(MembersError::NotLeader { .. }) => return Joined::NotController,
            Err(error) => return Joined::Refused(error.to_string().into()),
        }
        let image = cluster.quorum().image();
        let Some(cluster_id) = image.cluster_id() else { return Joined::NotController };
        let known = image.brokers().find(|broker| broker.storage_ids.iter().any(|id| join.storage_ids.contains(id)));
        let node = match (known, join.node) {
            (Some(known), Some(wanted)) if known.id.0 != wanted => {
                return Joined::Refused(format!("its data belongs to node {}, not {wanted}", known.id).into());
            }
            (Some(known), _) => known.id,
            (None, Some(wanted)) if image.broker(BrokerId(wanted)).is_some() => {
                let what = "if that one is gone for good, remove it first (cairn cluster remove)";
                return Joined::Refused(format!("node id {wanted} belongs to another broker: {what}").into());
            }
            (None, Some(wanted)) => BrokerId(wanted),
            // Ids of brokers that were removed are not used again as long as members know them.
            (None, None) => {
                let members = cluster.quorum().members().into_iter().map(|member| member.node.0);
                let most = image.brokers().map(|broker| broker.id.0).chain(members).max().unwrap_or(0);
                let Some(next) = most.checked_add(1) else {
                    return Joined::Refused("all node ids are used up".into());
                };
                BrokerId(next)
            }
        };
        if image.is_removed(&join.storage_ids) && known.is_none() {
            return Joined::Refused(
                "its data is that of a broker that was removed: join with an empty data directory".into(),
            );
        }
        if known.is_none() {
            // What another broker with this id once voted binds nobody any more.
            if let Err(error) = cluster.quorum().remove_member(node).await {
                tracing::warn!(%node, %error, "a member that was removed is one still");
                return Joined::NotController;
            }
            // Registered, so that the id is its own from here on; its own registration follows when it serves.
            let register = Command::RegisterBroker(NewBroker {
                id: node,
                incarnation: Uuid::new_v4(),
                endpoints: Vec::new(),
                rack: None,
                storage_ids: join.storage_ids,
                boot_id: None,
                clean_shutdown: None,
            });
            if let Err(error) = cluster.quorum().propose(register).await {
                tracing::warn!(%node, %error, "a broker was not registered");
                return Joined::NotController;
            }
        }
        if let Err(error) = keep_eligible(cluster).await {
            tracing::warn!(%node, %error, "the cluster does not keep eligible leader replicas yet");
            return Joined::NotController;
        }
        if let Err(error) = cluster.quorum().put_member(node, &join.host, join.port).await {
            tracing::warn!(%node, %error, "a broker was not made a member");
            return Joined::NotController;
        }
        tracing::info!(%node, host = &*join.host, port = join.port, "a broker has joined");
        // Whoever may run processes on this machine could read it from the data directory, or join without it.
        let secret = self.local.get().secret.clone().filter(|_| from.address.ip().to_canonical().is_loopback());
        Joined::Member {
            cluster: cluster_id.0,
            node: node.0,
            secret: secret.map(|secret| secret.to_text().as_str().into()),
        }
    }
}

/// Notes where a member is reached by now; who is none is not made one by that.
async fn note_address(cluster: &Cluster, beat: &Heartbeat) -> Result<(), MembersError> {
    let node = BrokerId(beat.node);
    let is_there = |member: &Member| member.node == node && member.host == beat.host && member.port == beat.port;
    if cluster.quorum().members().iter().any(is_there) {
        return Ok(());
    }
    let _one_by_one = cluster.members_change().await;
    match cluster.quorum().members().iter().any(|member| member.node == node) {
        true => cluster.quorum().put_member(node, &beat.host, beat.port).await,
        false => Ok(()),
    }
}

/// With several brokers the last in-sync replica leaves like any other: all that can join know how.
async fn keep_eligible(cluster: &Cluster) -> Result<(), cairn_consensus::ProposeError> {
    let name = features::ELIGIBLE_LEADER_REPLICAS;
    if cluster.quorum().image().feature(name) > 0 {
        return Ok(());
    }
    cluster.quorum().propose(Command::SetFeature { name: name.into(), level: 1 }).await.map(drop)
}
