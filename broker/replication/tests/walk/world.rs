//! The world of a walk: brokers of which three keep one partition, the quorum that decides about it, and a network between them
//! that delays, reorders, repeats and loses. What decides is the product's own code: [`Replica`] and [`Partition`].
//!
//! Must not know: in which order things happen.

use std::hash::{DefaultHasher, Hash, Hasher};

use cairn_metadata::configs::Durability;
use cairn_metadata::{
    BrokerEpoch, Brokers, Decided, Duty, ElectBy, Eligible, LogTold, Loss, Partition, Policy, SafeIn, Standing,
};
use cairn_protocol::ids::{BrokerId, Offset};
use cairn_replication::{Assignment, InSync, IsrChange, LogView, MayJoin, Member, Replica, Ticks, Turn};

use crate::action::{Action, Crash};
use crate::check::{Committed, Violation};
use crate::log::{Log, RECORDS_MAX, Record, small};

mod network;

pub(crate) use network::Message;
use network::NETWORK_MAX;

/// How many brokers there are at most.
pub(crate) const BROKERS: u8 = 4;
/// How many of them keep the partition in the beginning.
const REPLICAS: u8 = 3;
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
    /// As `Wipe`, and the partition moves between four brokers.
    Move,
    /// As `Wipe`, and records are deleted and compacted away.
    Trim,
    /// The topic is now `synced`, now `replicated`: machines die as often as they like while everything is on disk, and one
    /// while it is not.
    Switch,
    /// `replicated`: machines die and disks are replaced as often as they like, and leaders are elected all the same.
    Unclean,
}

impl Mode {
    pub(crate) const ALL: [Self; 8] =
        [Self::Sync, Self::Async, Self::Wipe, Self::SyncWipe, Self::Move, Self::Trim, Self::Switch, Self::Unclean];

    fn durability(self) -> Durability {
        match self {
            Self::Sync | Self::SyncWipe => Durability::Synced,
            _ => Durability::Replicated,
        }
    }

    /// How many brokers there are.
    pub(crate) fn brokers(self) -> u8 {
        if self == Self::Move { BROKERS } else { REPLICAS }
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
    /// The version that shows it as registered.
    registered: usize,
    /// Whether it keeps the partition, as far as it has seen.
    keeps: bool,
    /// Whether what it has may be less than what it had when it was registered last, in a way that shows.
    loss: Loss,
}

/// One version of the metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Version {
    /// Without its members.
    assignment: Assignment<'static>,
    members: [Member; BROKERS as usize],
    len: usize,
}

impl Version {
    fn assignment(&self) -> Assignment<'_> {
        Assignment { members: &self.members[..self.len], ..self.assignment }
    }
}

const NOBODY: Member =
    Member { broker: BrokerId(-1), incarnation: BrokerEpoch(-1), sync: InSync::No, may_join: MayJoin::No };

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
    /// Records before this one are deleted somewhere.
    pub(crate) deleted: u8,
    /// Which records compaction has removed somewhere, as bits.
    pub(crate) removed: u8,
    durability: Durability,
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
        let replicas: Vec<_> = (0..REPLICAS).map(id).collect();
        let incarnation = BrokerEpoch(1);
        let nodes = [0, 1, 2, 3].map(|at| Node {
            is_up: true,
            incarnation,
            replica: Replica::new(id(at), incarnation, Offset::ZERO, &Log::default(), rules.replica),
            log: Log::default(),
            seen: 0,
            registered: 0,
            keeps: true,
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
            deleted: 0,
            removed: 0,
            durability: mode.durability(),
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
        let (durability, rules) = (self.durability, self.rules.quorum);
        Policy { min_insync_replicas: Some(MIN_ISR), durability, eligible: Eligible::Kept, rules }
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

    /// Whether a broker keeps the partition, as far as it knows.
    fn keeps(&self, at: u8) -> bool {
        self.node(at).keeps
    }

    fn is_stopping(&self, at: u8) -> bool {
        self.brokers[usize::from(at)].duty == Duty::ShuttingDown
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
        (self.deleted, self.removed, self.durability).hash(hasher);
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
                if self.partition.on_broker_back(&brokers, &policy) == Decided::LedUncleanly {
                    self.led_uncleanly();
                }
                self.publish();
                Ok(())
            }
            Action::OnDisk { at } if self.node(at).is_up => {
                self.propose(at, IsrChange::OnDisk);
                Ok(())
            }
            Action::Delete { at, to } if self.node(at).is_up => {
                self.delete(at, to);
                Ok(())
            }
            Action::Compact { at, offset } if self.node(at).is_up => {
                self.compact(at, offset);
                Ok(())
            }
            Action::Move { to } => {
                self.move_to(to);
                Ok(())
            }
            Action::CancelMove => {
                let (brokers, policy) = (self.quorum_view(), self.policy());
                if self.partition.cancel_move(&brokers, &policy).is_ok() {
                    self.publish();
                }
                Ok(())
            }
            Action::Switch => {
                self.durability = match self.durability {
                    Durability::Replicated => Durability::Synced,
                    Durability::Synced => Durability::Replicated,
                };
                let policy = self.policy();
                self.partition.on_durability_changed(&policy);
                self.publish();
                Ok(())
            }
            Action::Elect { by } => self.elect(by),
            Action::Crash { at, with, lost } if self.node(at).is_up => {
                self.crash(at, with, lost);
                Ok(())
            }
            Action::Restart { at, behind } if !self.node(at).is_up || self.is_stopping(at) => {
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
        let end = small(push.prev.offset).saturating_add(count).min(node.log.len());
        let log = node.log;
        let bytes = u32::from(end - small(push.prev.offset));
        node.replica.on_sent(id(to), &push, Offset(i64::from(end)), bytes, NOW);
        self.send(Message::Push { to, from, push, log, end });
    }

    /// What was committed is deleted, by the leader or by a follower's own retention.
    fn delete(&mut self, at: u8, to: u8) {
        let node = self.node_mut(at);
        let to = to.min(small(node.replica.high_watermark())).min(node.log.len());
        node.log.delete(to);
        self.deleted = self.deleted.max(to);
    }

    fn compact(&mut self, at: u8, offset: u8) {
        let node = self.node_mut(at);
        let is_there = offset >= node.log.start && Offset(i64::from(offset)) < node.replica.high_watermark();
        if is_there && offset < node.log.len() {
            node.log.remove(offset);
            self.removed |= 1 << offset;
        }
    }

    /// `to` has a bit for each who shall keep it.
    fn move_to(&mut self, to: u8) {
        let to: Vec<_> = (0..BROKERS).filter(|at| to & (1 << at) != 0).map(id).collect();
        let (brokers, policy) = (self.quorum_view(), self.policy());
        if to.len() >= MIN_ISR && self.partition.move_to(to, &brokers, &policy) != Decided::Unchanged {
            self.publish();
        }
    }

    /// Brokers tell how far their logs go, and somebody leads.
    fn elect(&mut self, by: ElectBy) -> Result<(), Violation> {
        let told = |at: u8| {
            let node = self.node(at);
            let (start, end) = (node.log.start(), node.log.end());
            let last_epoch = node.log.epoch_at(end.plus(-1));
            node.is_up.then_some(LogTold { broker: id(at), epoch: node.incarnation, last_epoch, start, end })
        };
        let told: Vec<_> = (0..BROKERS).filter_map(told).collect();
        let known = self.partition.last_known.clone();
        if self.partition.elect_by_logs(by, &told, &self.quorum_view()).is_err() {
            return Ok(());
        }
        let leader = self.leader().expect("was elected");
        let is_whole = |at: u8| self.committed.is_in(&self.node(at).log, self.deleted);
        if by == ElectBy::LastKnown && !is_whole(leader) && known.iter().any(|id| is_whole(number(*id))) {
            return Err(Violation::WholeLogPassedOver);
        }
        self.led_uncleanly();
        self.publish();
        Ok(())
    }

    /// Somebody leads who may lack something: what is in that log is what is committed from here on.
    fn led_uncleanly(&mut self) {
        if let Some(leader) = self.leader() {
            let log = self.node(leader).log;
            self.committed.rebase(&log);
        }
    }

    fn flush(&mut self, at: u8) -> Result<(), Violation> {
        let node = self.node_mut(at);
        node.log.flush();
        node.replica.on_log_changed(&node.log);
        let owed = node.replica.on_flushed(&node.log);
        // Whom to tell is the connection that the push came by: whoever leads the epoch.
        let epoch = owed.map(|ack| ack.leader_epoch);
        let leader = self.versions.iter().rev().find(|version| Some(version.assignment.leader_epoch) == epoch);
        if let (Some(ack), Some(leader)) = (owed, leader.and_then(|version| version.assignment.leader)) {
            self.send(Message::Ack { to: number(leader), from: at, ack });
        }
        self.risen(at)
    }

    fn propose(&mut self, at: u8, change: IsrChange) {
        let node = self.node_mut(at);
        if let Ok(proposal) = node.replica.propose(change, &node.log, NOW) {
            let proposal = proposal.clone();
            self.send(Message::Proposal(proposal));
        }
    }

    fn crash(&mut self, at: u8, with: Crash, lost: u8) {
        let (mode, may_lose, safe_in) = (self.mode, self.losses == 0, self.partition.safe_in);
        let node = self.node_mut(at);
        node.is_up = false;
        // Whether the quorum is told that something may be lost, and whether that was one time too many.
        let (loss, counts) = match (mode, with) {
            (_, Crash::Process) => return,
            (Mode::Wipe | Mode::SyncWipe | Mode::Move | Mode::Trim, Crash::Disk) if may_lose => {
                node.log = Log::default();
                (Loss::Possible, 1)
            }
            (Mode::Async, Crash::Machine) if may_lose => (Loss::Possible, 1),
            (Mode::Sync | Mode::SyncWipe, Crash::Machine | Crash::Disk) => (Loss::Nothing, 0),
            (Mode::Switch, Crash::Machine) if safe_in == SafeIn::Disk => (Loss::Possible, 0),
            (Mode::Switch, Crash::Machine) if may_lose => (Loss::Possible, 1),
            (Mode::Unclean, Crash::Machine) => (Loss::Possible, 0),
            (Mode::Unclean, Crash::Disk) => {
                node.log = Log::default();
                (Loss::Possible, 0)
            }
            _ => return,
        };
        let kept = node.log.len().saturating_sub(lost).max(node.log.flushed);
        node.log.truncate(kept);
        if loss == Loss::Possible {
            node.loss = loss;
        }
        self.losses += counts;
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
        // What is safe on disk outlives the machine, as the quorum sees it. A disk that was replaced it would know.
        let on_disk = self.mode == Mode::Switch && self.partition.safe_in == SafeIn::Disk;
        let loss = if on_disk { Loss::Nothing } else { self.nodes[place].loss };
        let (brokers, policy) = (self.quorum_view(), self.policy());
        if self.partition.on_broker_registered(id(at), loss, &brokers, &policy) == Decided::LedUncleanly {
            self.led_uncleanly();
        }
        self.publish();
        let registered = self.versions.len() - 1;
        let seen = registered.saturating_sub(usize::from(behind));
        let rules = self.rules.replica;
        let node = self.node_mut(at);
        // What was noted of the high watermark may be as old as the log.
        let noted = if behind.is_multiple_of(2) { Offset::ZERO } else { node.replica.high_watermark() };
        node.replica = Replica::new(id(at), incarnation, noted, &node.log, rules);
        (node.is_up, node.incarnation, node.loss) = (true, incarnation, Loss::Nothing);
        node.registered = registered;
        self.show(at, seen);
    }

    /// The metadata has a new version.
    fn publish(&mut self) {
        let brokers = self.quorum_view();
        let mut members = [NOBODY; BROKERS as usize];
        for (member, of) in members.iter_mut().zip(Member::all_of(&self.partition, &brokers)) {
            *member = of;
        }
        let assignment = Assignment::new(&self.partition, &self.policy(), &[]);
        self.versions.push(Version { assignment, members, len: self.partition.replicas.len() });
    }

    /// A broker sees a version of the metadata.
    fn show(&mut self, at: u8, version: usize) {
        let seen = &self.versions[version];
        let node = &mut self.nodes[usize::from(at)];
        node.seen = version;
        let known = node.replica.known_epoch();
        match node.replica.on_metadata(&seen.assignment(), &node.log, NOW) {
            Turn::TakesOffice(epoch) => {
                node.log.note_epoch(u8::try_from(epoch.0 & 0xff).expect("masked"));
                node.replica.on_epoch_noted(epoch, &node.log);
            }
            Turn::Leaves if version >= node.registered => {
                node.log = Log::default();
                node.replica = Replica::new(id(at), node.incarnation, Offset::ZERO, &node.log, self.rules.replica);
            }
            _ => {}
        }
        if seen.assignment.leader_epoch >= known {
            node.keeps = seen.members[..seen.len].iter().any(|member| member.broker == id(at));
        }
    }

    /// A leader's high watermark may have risen: what it covers is committed from now on.
    fn risen(&mut self, at: u8) -> Result<(), Violation> {
        let node = &self.nodes[usize::from(at)];
        let Some(epoch) = node.replica.leads() else { return Ok(()) };
        // Who goes on beside a leader that was elected without it commits for nobody.
        if Some(epoch) < self.partition.unclean_epoch {
            return Ok(());
        }
        self.committed.extend(&node.log, small(node.replica.high_watermark().min(Offset(i64::from(node.log.len())))))
    }
}
