//! Who lives, by the controller's own clock: whoever is silent for a session is fenced, and serves again after the next
//! heartbeat. The controller also makes learners voters.
//!
//! Must not know: requests, partitions.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use cairn_consensus::Role;
use cairn_metadata::{BrokerEpoch, Command, Image};
use cairn_peers::{Peers, Target};
use cairn_protocol::ids::BrokerId;
use futures::future::join_all;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::removing::{promote_one, remove_unregistered};
use super::wire::Heard;
use crate::clock;
use crate::cluster::Cluster;

/// How long a broker may be silent: Kafka's `broker.session.timeout.ms`.
pub(super) const SESSION_MS: u64 = 9_000;
/// How often the controller looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// Who has not looked for so long was stopped itself, and knows nothing of the others' silence.
const STOPPED_MS: u64 = 2_000;
/// How long a voter that asks for votes has before the next one does.
const TURN: Duration = Duration::from_millis(200);
/// So many members vote.
pub(super) const VOTERS: usize = 3;

/// When each broker was heard last, and what it was to know by then. Empty on a broker that is not the controller.
#[derive(Debug, Default)]
pub(crate) struct Sessions(Mutex<Option<Book>>);

#[derive(Debug)]
struct Book {
    /// Of the quorum, in which this broker leads it: what was granted in an earlier one, others may have taken away.
    term: u64,
    sessions: cairn_replication::Sessions,
    told: HashMap<BrokerId, Told>,
}

/// What a broker knew when it was heard last, in which life, and what it was to know from then on.
#[derive(Clone, Copy, Debug)]
struct Told {
    epoch: BrokerEpoch,
    /// The version of the metadata that it had carried out.
    carried_out: u64,
    /// The newest there was.
    newest: u64,
}

impl Book {
    /// The book of this term: what is there of an earlier one is forgotten.
    fn of<'b>(book: &'b mut Option<Self>, term: u64, image: &Image) -> &'b mut Self {
        if book.as_ref().is_some_and(|book| book.term != term) {
            *book = None;
        }
        book.get_or_insert_with(|| Self::begin(term, image))
    }

    fn begin(term: u64, image: &Image) -> Self {
        let serving = image.brokers().filter(|broker| !broker.fenced).map(|broker| (broker.id, broker.epoch));
        let sessions = cairn_replication::Sessions::take_office(SESSION_MS, serving, clock::ticks());
        Self { term, sessions, told: HashMap::new() }
    }

    /// What a broker was told in this life.
    fn told(&self, (broker, epoch): (BrokerId, BrokerEpoch)) -> Option<Told> {
        self.told.get(&broker).copied().filter(|told| told.epoch == epoch)
    }

    /// Whether a broker that is heard carries out what it is told, or at least some of it: who does neither leads what others
    /// could lead, without a lease.
    fn is_learning(&self, who: (BrokerId, BrokerEpoch), version: u64) -> bool {
        self.told(who).is_none_or(|told| version >= told.newest || version > told.carried_out)
    }

    /// Notes what a broker knows, and what there is; says whether it had carried out what there was when it was heard before.
    fn tell(&mut self, (broker, epoch): (BrokerId, BrokerEpoch), version: u64, newest: u64) -> bool {
        let before = self.told((broker, epoch));
        let carried_out = before.map_or(version, |told| told.carried_out.max(version));
        self.told.insert(broker, Told { epoch, carried_out, newest });
        before.is_some_and(|told| version >= told.newest)
    }
}

impl Sessions {
    /// A broker has told that it lives, and which version of the metadata it has carried out.
    ///
    /// Its session goes on when it carries out what it is told, be it late. It hears that it may believe it only when this broker was the controller after that, when it was not fenced meanwhile, and when it
    /// has carried out what there was when it was heard before.
    pub(super) async fn heard(&self, cluster: &Cluster, (broker, epoch): (BrokerId, i64), version: u64) -> Heard {
        let quorum = cluster.quorum();
        let epoch = BrokerEpoch(epoch);
        let is_learning = {
            let image = quorum.image();
            let mut book = self.0.lock();
            let book = Book::of(&mut book, quorum.term(), &image);
            if image.broker(broker).is_some_and(|known| known.epoch == epoch && !known.fenced) {
                book.sessions.on_serving(broker, epoch, clock::ticks());
            }
            let is_learning = book.is_learning((broker, epoch), version);
            // One that is fenced has no session to go on, and one that learns nothing is as good as silent.
            if is_learning {
                book.sessions.on_heartbeat(broker, epoch, clock::ticks());
            }
            is_learning
        };
        if quorum.read_barrier().await.is_err() {
            return Heard::NotController;
        }
        let image = quorum.image();
        let Some(known) = image.broker(broker).filter(|known| known.epoch == epoch) else {
            return Heard::StaleEpoch;
        };
        if known.fenced && is_learning {
            let unfence = Command::UnfenceBroker { broker, epoch };
            if let Err(error) = quorum.propose(unfence).await {
                tracing::warn!(%broker, %error, "a broker that lives was not unfenced; it is tried again");
            }
        }
        let now = quorum.image().version();
        let knows = self.0.lock().as_mut().is_some_and(|book| book.tell((broker, epoch), version, now));
        if !known.fenced && knows { Heard::Alive } else { Heard::Behind }
    }

    /// Forgets all: who becomes the controller gives every broker a whole session.
    fn forget(&self) {
        *self.0.lock() = None;
    }

    /// The unfenced brokers that were silent for too long.
    fn expired(&self, cluster: &Cluster, own: BrokerId) -> Vec<(BrokerId, BrokerEpoch)> {
        let image = cluster.quorum().image();
        let now = clock::ticks();
        let mut book = self.0.lock();
        let Book { sessions, .. } = Book::of(&mut book, cluster.quorum().term(), &image);
        for broker in image.brokers() {
            match broker.fenced {
                true => sessions.on_fenced(broker.id, broker.epoch),
                false => sessions.on_serving(broker.id, broker.epoch, now),
            }
        }
        let silent = sessions.expired(now).filter(|expired| expired.broker != own);
        silent.map(|expired| (expired.broker, expired.incarnation)).collect()
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
    let mut looked = clock::ticks();
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = cluster.quorum().another_leader(Duration::from_millis(SESSION_MS)) => {}
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
        if leads != led || clock::ticks().since(looked) > STOPPED_MS {
            sessions.forget();
            if leads && !led {
                // Whoever led before may be gone, and others with it, of which only that one knew.
                let image = cluster.quorum().image();
                let others = image.brokers().filter(|broker| !broker.fenced && broker.id != own);
                join_all(others.map(|broker| fence_gone(&cluster, &peers, broker.id))).await;
            }
            led = leads;
        }
        looked = clock::ticks();
        if !leads {
            continue;
        }
        fence_silent(&cluster, &sessions, own).await;
        if let Some(_one_by_one) = cluster.try_members_change() {
            remove_unregistered(&cluster, own).await;
            promote_one(&cluster, VOTERS).await;
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
    let expired = sessions.expired(cluster, own);
    if expired.is_empty() || cluster.quorum().read_barrier().await.is_err() {
        return;
    }
    for (broker, epoch) in expired {
        tracing::warn!(%broker, session_ms = SESSION_MS, "a broker was silent for too long and is fenced");
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

#[cfg(test)]
mod tests {
    use super::*;

    const WHO: (BrokerId, BrokerEpoch) = (BrokerId(1), BrokerEpoch(5));

    #[test]
    fn who_carries_nothing_out_is_as_good_as_silent() {
        let mut book = Book::begin(1, &Image::default());
        assert!(book.is_learning(WHO, 10), "it is heard for the first time");
        assert!(!book.tell(WHO, 10, 12), "and was told nothing before");
        assert!(!book.is_learning(WHO, 10), "it stands still");
        assert!(book.is_learning(WHO, 11), "it is late");
        assert!(!book.tell(WHO, 11, 15), "and may not believe what it knows");
        assert!(!book.is_learning(WHO, 11));
        assert!(book.tell(WHO, 15, 15), "it has caught up");
        assert!(book.is_learning(WHO, 15), "nothing is new");
        let next_life = (WHO.0, BrokerEpoch(16));
        assert!(book.is_learning(next_life, 3), "another process, which begins");
    }
}
