//! The world of a walk: three brokers that keep one partition, the quorum that decides about it, and a network between them
//! that delays, reorders, repeats and loses. What decides is the product's own code: [`Replica`] and [`Partition`].
//!
//! Must not know: in which order things happen.

use std::hash::{DefaultHasher, Hash, Hasher};

use cairn_metadata::configs::Durability;
use cairn_metadata::{BrokerEpoch, Brokers, Duty, Eligible, Loss, Partition, PartitionEpoch, Policy, Standing};
use cairn_protocol::ids::{BrokerId, LeaderEpoch, Offset};
use cairn_replication::{Assignment, InSync, IsrChange, MayJoin, Member, Replica, Ticks, Turn};

use crate::action::{Action, Crash};
use crate::check::{Committed, Violation};
use crate::log::{Log, RECORDS_MAX, Record, small};

mod network;

pub(crate) use network::Message;
use network::NETWORK_MAX;

/// How many brokers there are.
pub(crate) const BROKERS: u8 = 3;
const MIN_ISR: usize = 2;
/// Time is not what walks are about: whatever waits may happen at any time.
const NOW: Ticks = Ticks(0);

/// What can be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Mode {
    /// `synced`: machines die as often as they like.
    Sync,
    /// `replicated`: processes die as often as they like, one machine once.
    Async,
    /// `replicated`: processes die as often as they like, one disk is replaced.
    Wipe,
    /// `synced`: machines die as often as they like, and one disk is replaced.
    SyncWipe,
}

impl Mode {
    pub(crate) const ALL: [Self; 4] = [Self::Sync, Self::Async, Self::Wipe, Self::SyncWipe];

    fn durability(self) -> Durability {
        match self {
            Self::Sync | Self::SyncWipe => Durability::Synced,
            Self::Async | Self::Wipe => Durability::Replicated,
        }
    }
}

/// Which rules hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Rules {
    pub(crate) replica: cairn_replication::Rules,
    pub(crate) quorum: cairn_metadata::Rules,
}

/// A broker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) is_up: bool,
    pub(crate) incarnation: BrokerEpoch,
    pub(crate) replica: Replica,
    pub(crate) log: Log,
    /// The version of the metadata that it has seen.
    seen: usize,
    /// Whether what it has may be less than what it had when it was registered last, in a way that shows.
    loss: Loss,
}

/// One version of the metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Version {
    leader: Option<BrokerId>,
    leader_epoch: LeaderEpoch,
    partition_epoch: PartitionEpoch,
    members: [Member; BROKERS as usize],
    decided: Option<cairn_metadata::DecidedProposal>,
}

/// Everything there is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) mode: Mode,
    pub(crate) rules: Rules,
    pub(crate) nodes: [Node; BROKERS as usize],
    pub(crate) partition: Partition,
    pub(crate) brokers: [Standing; BROKERS as usize],
    versions: Vec<Version>,
    pub(crate) network: Vec<Message>,
    pub(crate) committed: Committed,
    values: u8,
    losses: u8,
    incarnations: i64,
}

fn id(at: u8) -> BrokerId {
    BrokerId(i32::from(at))
}

fn number(broker: BrokerId) -> u8 {
    u8::try_from(broker.0).expect("three brokers")
}

fn standing(brokers: [Standing; BROKERS as usize]) -> impl Brokers {
    move |broker: BrokerId| brokers.get(usize::try_from(broker.0).ok()?).copied()
}

impl World {
    pub(crate) fn new(mode: Mode, rules: Rules) -> Self {
        let replicas: Vec<_> = (0..BROKERS).map(id).collect();
        let incarnation = BrokerEpoch(1);
        let nodes = [0, 1, 2].map(|at| Node {
            is_up: true,
            incarnation,
            replica: Replica::new(id(at), incarnation, Offset::ZERO, &Log::default(), rules.replica),
            log: Log::default(),
            seen: 0,
            loss: Loss::Nothing,
        });
        let mut world = Self {
            mode,
            rules,
            nodes,
            partition: Partition::new(replicas.clone(), replicas),
            brokers: [Standing { epoch: incarnation, duty: Duty::Serving }; BROKERS as usize],
            versions: Vec::with_capacity(64),
            network: Vec::with_capacity(NETWORK_MAX + 1),
            committed: Committed::default(),
            values: 0,
            losses: 0,
            incarnations: 1,
        };
        world.publish();
        for at in 0..BROKERS {
            world.show(at, 0);
        }
        world
    }

    /// Who is registered.
    pub(crate) fn quorum_view(&self) -> impl Brokers + use<> {
        standing(self.brokers)
    }

    fn policy(&self) -> Policy {
        Policy { min_insync_replicas: MIN_ISR, eligible: Eligible::Kept, rules: self.rules.quorum }
    }

    /// Who leads, as the quorum knows it.
    pub(crate) fn leader(&self) -> Option<u8> {
        self.partition.leader.map(number)
    }

    pub(crate) fn node(&self, at: u8) -> &Node {
        &self.nodes[usize::from(at)]
    }

    fn node_mut(&mut self, at: u8) -> &mut Node {
        &mut self.nodes[usize::from(at)]
    }

    /// Whether a broker has seen the newest version of the metadata.
    pub(crate) fn is_current(&self, at: u8) -> bool {
        self.node(at).seen + 1 == self.versions.len()
    }

    /// Whether the quorum lets a broker serve.
    pub(crate) fn serves(&self, at: u8) -> bool {
        self.brokers[usize::from(at)].duty == Duty::Serving
    }

    /// Hashes what the future depends on: messages in any order, and of the metadata only what somebody may still see.
    pub(crate) fn hash_what_matters(&self, hasher: &mut impl Hasher) {
        let oldest = self.nodes.iter().map(|node| node.seen).min().unwrap_or(0);
        self.nodes.hash(hasher);
        (&self.partition, self.brokers, &self.versions[oldest..], self.versions.len()).hash(hasher);
        (self.committed, self.values, self.losses, self.incarnations).hash(hasher);
        let of = |message: &Message| {
            let mut hasher = DefaultHasher::new();
            message.hash(&mut hasher);
            hasher.finish()
        };
        self.network.iter().map(of).fold(0, u64::wrapping_add).hash(hasher);
    }

    /// Lets one thing happen. What cannot happen now changes nothing.
    pub(crate) fn step(&mut self, action: Action) -> Result<(), Violation> {
        match action {
            Action::Append { at } if self.node(at).is_up => self.append(at),
            Action::Push { from, to, records } if self.node(from).is_up && from != to => {
                self.push(from, to, records);
                Ok(())
            }
            Action::Deliver { slot } if usize::from(slot) < self.network.len() => {
                let message = self.network.swap_remove(usize::from(slot));
                self.deliver(message)
            }
            Action::Duplicate { slot } if usize::from(slot) < self.network.len() => {
                let message = self.network[usize::from(slot)].clone();
                self.deliver(message)
            }
            Action::Drop { slot } if usize::from(slot) < self.network.len() => {
                self.network.swap_remove(usize::from(slot));
                Ok(())
            }
            Action::Reconnect { from, to } if self.node(from).is_up => {
                self.node_mut(from).replica.on_connection_changed(id(to));
                Ok(())
            }
            Action::Flush { at } if self.node(at).is_up => self.flush(at),
            Action::Metadata { at, ahead } if self.node(at).is_up && !self.is_current(at) => {
                let version = (self.node(at).seen + usize::from(ahead)).min(self.versions.len() - 1);
                self.show(at, version);
                self.risen(at)
            }
            Action::Add { at, follower } if self.node(at).is_up => {
                self.propose(at, IsrChange::Add(id(follower)));
                Ok(())
            }
            Action::Remove { at, follower } if self.node(at).is_up => {
                self.propose(at, IsrChange::Remove(id(follower)));
                Ok(())
            }
            Action::Retry { at } if self.node(at).is_up => {
                if let Some(proposal) = self.node(at).replica.open_proposal().cloned() {
                    self.send(Message::Proposal(proposal));
                }
                Ok(())
            }
            Action::Fence { at } if self.serves(at) => {
                self.take_out(at, Duty::Fenced);
                Ok(())
            }
            Action::ShutDown { at } if self.serves(at) => {
                self.take_out(at, Duty::ShuttingDown);
                Ok(())
            }
            Action::Transfer { to } => {
                let before = self.partition.leader;
                let moved = self.partition.transfer(id(to), &self.quorum_view());
                if moved.is_ok() && before != self.partition.leader {
                    self.publish();
                }
                Ok(())
            }
            Action::Unfence { at } if self.node(at).is_up && self.brokers[usize::from(at)].duty == Duty::Fenced => {
                self.brokers[usize::from(at)].duty = Duty::Serving;
                let (brokers, policy) = (self.quorum_view(), self.policy());
                self.partition.on_broker_back(&brokers, &policy);
                self.publish();
                Ok(())
            }
            Action::Crash { at, with, lost } if self.node(at).is_up => {
                self.crash(at, with, lost);
                Ok(())
            }
            Action::Restart { at, behind } if !self.node(at).is_up => {
                self.restart(at, behind);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// A broker does not serve any more.
    fn take_out(&mut self, at: u8, duty: Duty) {
        self.brokers[usize::from(at)].duty = duty;
        let (brokers, policy) = (self.quorum_view(), self.policy());
        self.partition.on_broker_gone(id(at), Loss::Nothing, &brokers, &policy);
        self.publish();
    }

    fn append(&mut self, at: u8) -> Result<(), Violation> {
        let value = self.values;
        let node = self.node_mut(at);
        let Some(epoch) = node.replica.leads().filter(|_| node.log.len() < RECORDS_MAX) else { return Ok(()) };
        node.log.append(Record { epoch: u8::try_from(epoch.0 & 0xff).expect("masked"), value });
        node.replica.on_log_changed(&node.log);
        self.values = value.wrapping_add(1);
        self.risen(at)
    }

    fn push(&mut self, from: u8, to: u8, count: u8) {
        let node = self.node_mut(from);
        let Some(push) = node.replica.push(id(to), &node.log) else { return };
        let begin = small(push.prev.offset);
        let count = count.min(node.log.len() - begin);
        let mut records = [Record { epoch: 0, value: 0 }; 2];
        for at in 0..count {
            records[usize::from(at)] = node.log.get(begin + at);
        }
        node.replica.on_sent(id(to), &push, push.prev.offset.plus(i64::from(count)), u32::from(count), NOW);
        self.send(Message::Push { to, from, push, records, count });
    }

    fn flush(&mut self, at: u8) -> Result<(), Violation> {
        let node = self.node_mut(at);
        node.log.flush();
        node.replica.on_log_changed(&node.log);
        let owed = node.replica.on_flushed(&node.log);
        // Whom to tell is the connection that the push came by: whoever leads the epoch.
        let leader = self.versions.iter().rev().find(|v| Some(v.leader_epoch) == owed.map(|ack| ack.leader_epoch));
        if let (Some(ack), Some(leader)) = (owed, leader.and_then(|version| version.leader)) {
            self.send(Message::Ack { to: number(leader), from: at, ack });
        }
        self.risen(at)
    }

    fn propose(&mut self, at: u8, change: IsrChange) {
        if let Ok(proposal) = self.node_mut(at).replica.propose(change, NOW) {
            let proposal = proposal.clone();
            self.send(Message::Proposal(proposal));
        }
    }

    fn crash(&mut self, at: u8, with: Crash, lost: u8) {
        let (mode, may_lose) = (self.mode, self.losses == 0);
        let node = self.node_mut(at);
        node.is_up = false;
        let lossy = match (mode, with) {
            (_, Crash::Process) => return,
            (Mode::Wipe | Mode::SyncWipe, Crash::Disk) if may_lose => {
                node.log = Log::default();
                true
            }
            (Mode::Async, Crash::Machine) if may_lose => true,
            (Mode::Sync | Mode::SyncWipe, Crash::Machine | Crash::Disk) => false,
            _ => return,
        };
        let kept = node.log.len().saturating_sub(lost).max(node.log.flushed);
        node.log.truncate(kept);
        if lossy {
            node.loss = Loss::Possible;
            self.losses += 1;
        }
    }

    /// The process is there again, and registers.
    fn restart(&mut self, at: u8, behind: u8) {
        self.incarnations += 1;
        let incarnation = BrokerEpoch(self.incarnations);
        let place = usize::from(at);
        let duty = if self.rules.quorum == cairn_metadata::Rules::ALL.without(cairn_metadata::Rule::RegisteringFences) {
            self.brokers[place].duty
        } else {
            Duty::Fenced
        };
        self.brokers[place] = Standing { epoch: incarnation, duty };
        let loss = self.nodes[place].loss;
        let (brokers, policy) = (self.quorum_view(), self.policy());
        self.partition.on_broker_registered(id(at), loss, &brokers, &policy);
        self.publish();
        let seen = (self.versions.len() - 1).saturating_sub(usize::from(behind));
        let rules = self.rules.replica;
        let node = self.node_mut(at);
        // What was noted of the high watermark may be as old as the log.
        let noted = if behind.is_multiple_of(2) { Offset::ZERO } else { node.replica.high_watermark() };
        node.replica = Replica::new(id(at), incarnation, noted, &node.log, rules);
        (node.is_up, node.incarnation, node.loss) = (true, incarnation, Loss::Nothing);
        self.show(at, seen);
    }

    /// The metadata has a new version.
    fn publish(&mut self) {
        let partition = &self.partition;
        let members = [0, 1, 2].map(|at: u8| {
            let standing = self.brokers[usize::from(at)];
            Member {
                broker: id(at),
                incarnation: standing.epoch,
                sync: if partition.isr.contains(&id(at)) { InSync::Yes } else { InSync::No },
                may_join: if standing.duty == Duty::Serving { MayJoin::Yes } else { MayJoin::No },
            }
        });
        self.versions.push(Version {
            leader: partition.leader,
            leader_epoch: partition.leader_epoch,
            partition_epoch: partition.partition_epoch,
            members,
            decided: partition.decided,
        });
    }

    /// A broker sees a version of the metadata.
    fn show(&mut self, at: u8, version: usize) {
        let seen = self.versions[version];
        let assignment = Assignment {
            leader: seen.leader,
            leader_epoch: seen.leader_epoch,
            partition_epoch: seen.partition_epoch,
            members: &seen.members,
            decided: seen.decided,
            min_isr: MIN_ISR,
            durability: self.mode.durability(),
        };
        let node = &mut self.nodes[usize::from(at)];
        node.seen = version;
        if let Turn::TakesOffice(epoch) = node.replica.on_metadata(&assignment, &node.log, NOW) {
            node.log.note_epoch(u8::try_from(epoch.0 & 0xff).expect("masked"));
            node.replica.on_epoch_noted(epoch, &node.log);
        }
    }

    /// A leader's high watermark may have risen: what it covers is committed from now on.
    fn risen(&mut self, at: u8) -> Result<(), Violation> {
        let node = &self.nodes[usize::from(at)];
        if node.replica.leads().is_none() {
            return Ok(());
        }
        self.committed.extend(&node.log, small(node.replica.high_watermark().min(Offset(i64::from(node.log.len())))))
    }
}
