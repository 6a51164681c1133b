//! Everything there is, and the one queue of what happens next. Time is a number that jumps from event to event.
//!
//! Must not know: how brokers and clients decide.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use cairn_metadata::configs::Durability;
use cairn_metadata::{Command, NewTopic, features};
use cairn_protocol::ids::{BrokerId, PartitionIndex, TopicId};
use cairn_storage::log::{SyncJob, Synced};
use uuid::Uuid;

use crate::check::Truth;
use crate::clients::{Consumer, Producer};
use crate::dice::Dice;
use crate::machine::Machine;
use crate::message::{Answer, Body, Lane, Request};
use crate::network::{CallId, Envelope, Network, Node, Way};
use crate::quorum::Quorum;
use crate::setup::{DATA_PARTITIONS, Fault, OFFSETS, PARTITIONS, REPLICAS, Setup};
use crate::trace::{Telling, Trace};

/// So often a broker looks at what is due.
const TICK_MS: u64 = 20;
/// So long a broker waits for an answer.
const ANSWER_WITHIN_MS: u64 = 10_000;
/// So long a client does.
const CLIENT_WAITS_MS: u64 = 3_000;
/// So long it may take until everything is whole again.
const WHOLE_WITHIN_MS: u64 = 240_000;

/// Something that must never be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// The file in `check` that says so.
    pub(crate) invariant: &'static str,
    pub(crate) what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

/// Something that happens at a time.
#[derive(Debug)]
pub(crate) enum Event {
    /// Something may have arrived.
    Look(Way),
    /// A request of a connection that broke arrives.
    Stray(Box<Envelope>),
    /// A call was not answered.
    Fails {
        node: Node,
        life: u64,
        call: CallId,
    },
    Tick {
        broker: usize,
        life: u64,
    },
    Synced {
        broker: usize,
        life: u64,
        partition: usize,
        /// Which of the logs that the broker has had of it.
        log: u64,
        sync: Box<Sync>,
    },
    Client(Node),
    Quorum,
    Fault(usize),
    /// What a fault did for a while is over.
    Over(Over),
}

/// A sync is done, or is to be done now: what it makes durable is so at the begin or at the end of the time that it takes.
#[derive(Debug)]
pub(crate) enum Sync {
    Job(SyncJob),
    Done(Synced),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Over {
    Start(usize),
    Heal(Node, Node),
    /// Nobody listens where a broker was: the leader of the quorum finds out.
    Refused {
        broker: usize,
        life: u64,
    },
}

/// What happens at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Forming,
    Faults,
    Healing,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) violation: Option<Violation>,
    pub(crate) trace: Trace,
    pub(crate) sum: Sum,
}

/// How much has happened: runs in which nothing does prove nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum {
    pub(crate) runs: u64,
    pub(crate) events: u64,
    pub(crate) acked: u64,
    /// Batches that producers gave up: those behind them were taken by a broker that had not known the partition a moment before.
    pub(crate) given_up: u64,
    pub(crate) read: u64,
    pub(crate) commits: u64,
    pub(crate) leaders: u64,
    pub(crate) faults: u64,
    pub(crate) healed_in_ms: u64,
}

impl Sum {
    pub(crate) fn add(&mut self, other: &Self) {
        self.runs += other.runs;
        self.events += other.events;
        self.acked += other.acked;
        self.given_up += other.given_up;
        self.read += other.read;
        self.commits += other.commits;
        self.leaders += other.leaders;
        self.faults += other.faults;
        self.healed_in_ms = self.healed_in_ms.max(other.healed_in_ms);
    }
}

pub(crate) struct World {
    pub(crate) setup: Setup,
    pub(crate) now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    events: u64,
    pub(crate) phase: Phase,
    pub(crate) network: Network,
    pub(crate) quorum: Quorum,
    pub(crate) machines: Vec<Machine>,
    pub(crate) producers: Vec<Producer>,
    pub(crate) consumers: Vec<Consumer>,
    pub(crate) truth: Truth,
    pub(crate) dice: Dice,
    pub(crate) trace: Trace,
    pub(crate) violation: Option<Violation>,
    pub(crate) sum: Sum,
    /// Machines that have lost something, and are not in sync everywhere since.
    pub(crate) lossy: BTreeSet<usize>,
    faults: Vec<(u64, Fault)>,
}

/// The topic and the place in it of each partition.
pub(crate) fn partition_id(partition: usize) -> (TopicId, PartitionIndex) {
    if partition == OFFSETS {
        (TopicId(Uuid::from_u128(2)), PartitionIndex(0))
    } else {
        (TopicId(Uuid::from_u128(1)), PartitionIndex(i32::try_from(partition).expect("few")))
    }
}

pub(crate) fn topic_name(partition: usize) -> &'static str {
    if partition == OFFSETS { "__consumer_offsets" } else { "t" }
}

pub(crate) fn broker_id(broker: usize) -> BrokerId {
    BrokerId(i32::try_from(broker).expect("few"))
}

pub(crate) fn place_of(broker: BrokerId) -> usize {
    usize::try_from(broker.0).expect("brokers are numbered from 0")
}

/// Runs a cluster through these faults.
pub(crate) fn run(setup: &Setup, faults: &[(u64, Fault)], telling: Telling) -> Run {
    let mut world = World::new(setup, faults, telling);
    world.form();
    world.suffer();
    world.heal();
    world.finish();
    world.sum.runs = 1;
    world.sum.events = world.events;
    world.sum.leaders = world.leaders();
    Run { violation: world.violation, trace: world.trace, sum: world.sum }
}

impl World {
    fn new(setup: &Setup, faults: &[(u64, Fault)], telling: Telling) -> Self {
        let clients = setup.brokers..setup.brokers + setup.producers + setup.consumers;
        Self {
            now: 0,
            queue: BTreeMap::new(),
            events: 0,
            phase: Phase::Forming,
            network: Network::new(setup.seed, setup.delay_ms),
            quorum: Quorum::new(setup.rules.quorum),
            machines: (0..setup.brokers).map(|_| Machine::new()).collect(),
            producers: clients.clone().take(setup.producers).map(Producer::new).collect(),
            consumers: clients
                .skip(setup.producers)
                .enumerate()
                .map(|(at, node)| Consumer::new(node, at % DATA_PARTITIONS))
                .collect(),
            truth: Truth::default(),
            dice: Dice::new(setup.seed, 4),
            trace: Trace::new(telling),
            violation: None,
            sum: Sum::default(),
            lossy: BTreeSet::new(),
            faults: faults.to_vec(),
            setup: setup.clone(),
        }
    }

    pub(crate) fn wrong(&mut self, invariant: &'static str, what: impl FnOnce() -> String) {
        if self.violation.is_none() {
            let violation = Violation { invariant, what: what() };
            self.trace.note(self.now, || format!("VIOLATION {violation}"));
            self.violation = Some(violation);
        }
    }

    pub(crate) fn at(&mut self, at: u64, event: Event) {
        self.events += 1;
        self.queue.insert((at.max(self.now), self.events), event);
    }

    /// Everybody starts and registers, then the topics are made.
    fn form(&mut self) {
        self.commit(&Command::InitCluster { cluster_id: Uuid::from_u128(7) });
        self.commit(&Command::SetFeature { name: features::ELIGIBLE_LEADER_REPLICAS.into(), level: 1 });
        for broker in 0..self.setup.brokers {
            self.start(broker);
        }
        self.at(0, Event::Quorum);
        self.run_until(30_000, |world| {
            let image = world.quorum.newest();
            image.brokers().filter(|broker| !broker.fenced).count() == world.setup.brokers
        });
        let durability = if self.setup.durability == Durability::Synced { "synced" } else { "replicated" };
        let min_isr = self.setup.min_isr.to_string();
        let configs: Vec<(Box<str>, Box<str>)> =
            vec![("durability".into(), durability.into()), ("min.insync.replicas".into(), min_isr.into())];
        let brokers = self.setup.brokers;
        let replicas = |partition: usize| (0..REPLICAS).map(|at| broker_id((partition + at) % brokers)).collect();
        for (from, to) in [(0, DATA_PARTITIONS), (OFFSETS, PARTITIONS)] {
            let assignments = (from..to).map(replicas).collect();
            let (id, _) = partition_id(from);
            let topic = NewTopic { name: topic_name(from).into(), id, assignments, configs: configs.clone() };
            if self.commit(&Command::CreateTopic(topic)).is_none() {
                self.wrong("whole", || "the topics could not be made".into());
            }
        }
        for client in self.setup.brokers..self.setup.brokers + self.setup.producers + self.setup.consumers {
            self.at(self.now + 1, Event::Client(client));
        }
    }

    fn suffer(&mut self) {
        self.phase = Phase::Faults;
        let begin = self.now;
        for place in 0..self.faults.len() {
            self.at(begin + self.faults[place].0, Event::Fault(place));
        }
        self.run_until(begin + self.setup.faults_ms, |_| false);
    }

    /// Nothing goes wrong any more: everything has to become whole.
    fn heal(&mut self) {
        self.phase = Phase::Healing;
        self.trace.note(self.now, || "faults are over".into());
        for (from, to) in self.network.cuts() {
            while self.network.is_cut(from, to) {
                self.heal_one(from, to);
            }
        }
        for broker in 0..self.setup.brokers {
            let machine = &mut self.machines[broker];
            (machine.paused_until, machine.slow_disk_until, machine.slow_metadata_until) = (0, 0, 0);
            self.start(broker);
        }
        let begin = self.now;
        self.run_until(begin + WHOLE_WITHIN_MS, |world| world.now > begin + 500 && world.what_is_missing().is_none());
        self.sum.healed_in_ms = self.now - begin;
        if let Some(missing) = self.what_is_missing() {
            self.wrong("whole", || missing);
        }
    }

    /// Lets things happen until it is so late, or `done`.
    fn run_until(&mut self, end: u64, done: impl Fn(&Self) -> bool) {
        let mut look_at = self.now;
        while self.violation.is_none() {
            if self.now >= look_at {
                if done(self) {
                    return;
                }
                look_at = self.now + 100;
            }
            let Some(((at, order), event)) = self.queue.pop_first() else { return };
            if at > end {
                self.queue.insert((at, order), event);
                self.now = end;
                return;
            }
            self.now = at;
            self.happen(event);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Look(way) => self.look(way),
            Event::Stray(envelope) => self.arrive(*envelope),
            Event::Fails { node, life, call } => {
                if let Some(later) = self.paused(node) {
                    return self.at(later, Event::Fails { node, life, call });
                }
                self.on_failed(node, life, call);
            }
            Event::Tick { broker, life } => {
                if self.machines[broker].life != life || self.machines[broker].process.is_none() {
                    return;
                }
                if let Some(later) = self.paused(broker) {
                    return self.at(later, Event::Tick { broker, life });
                }
                self.at(self.now + TICK_MS, Event::Tick { broker, life });
                self.on_tick(broker);
            }
            Event::Synced { broker, life, partition, log, sync } => {
                if let Some(later) = self.paused(broker) {
                    return self.at(later, Event::Synced { broker, life, partition, log, sync });
                }
                self.on_synced(broker, life, (partition, log), *sync);
            }
            Event::Client(node) => self.on_client(node),
            Event::Quorum => self.on_quorum(),
            Event::Fault(place) => {
                let (_, fault) = self.faults[place];
                if self.phase == Phase::Faults {
                    self.on_fault(fault);
                }
            }
            Event::Over(over) => self.on_over(over),
        }
    }

    pub(crate) fn heal_one(&mut self, from: Node, to: Node) {
        for way in self.network.heal(from, to) {
            self.at(self.now, Event::Look(way));
        }
    }

    /// Until when a broker does nothing, if it does.
    fn paused(&self, node: Node) -> Option<u64> {
        let until = self.machines.get(node)?.paused_until;
        (until > self.now).then_some(until)
    }

    fn look(&mut self, way: Way) {
        if let Some(later) = self.paused(way.to) {
            return self.at(later, Event::Look(way));
        }
        while let Some(envelope) = self.network.arrived(way, self.now) {
            self.arrive(envelope);
            if self.violation.is_some() {
                return;
            }
        }
    }

    fn life(&self, node: Node) -> Option<u64> {
        match self.machines.get(node) {
            Some(machine) => machine.process.as_ref().map(|_| machine.life),
            None => Some(0),
        }
    }

    fn arrive(&mut self, envelope: Envelope) {
        if let Some(later) = self.paused(envelope.to) {
            return self.at(later, Event::Stray(Box::new(envelope)));
        }
        if self.life(envelope.to) != Some(envelope.to_life) {
            return;
        }
        let Envelope { from, to, call, body, .. } = envelope;
        match body {
            Body::Request(request) => self.on_request(to, from, call, request),
            Body::Answer(answer) if to < self.setup.brokers => self.on_answer(to, call, answer),
            Body::Answer(answer) => self.on_client_answer(to, call, answer),
        }
    }

    /// Calls. The answer, or that there is none, comes to whoever is noted under the id.
    pub(crate) fn call(&mut self, from: Node, to: Node, lane: Lane, request: Request) -> CallId {
        let call = self.network.next_call();
        let life = self.life(from).expect("who calls is there");
        let within = if from < self.setup.brokers { ANSWER_WITHIN_MS } else { CLIENT_WAITS_MS };
        match self.life(to) {
            Some(to_life) => {
                self.at(self.now + within, Event::Fails { node: from, life, call });
                self.put(Envelope { from, to, to_life, call, lane, body: Body::Request(request) });
            }
            // Nobody listens; who is cut off does not even hear that.
            None => {
                let is_cut = self.network.is_cut(from, to) || self.network.is_cut(to, from);
                let after = if is_cut { within } else { 5 };
                self.at(self.now + after, Event::Fails { node: from, life, call });
            }
        }
        call
    }

    pub(crate) fn answer(&mut self, from: Node, reply: &crate::held::Reply, lane: Lane, answer: Answer) {
        if self.life(reply.to) == Some(reply.life) {
            let (to, to_life, call) = (reply.to, reply.life, reply.call);
            self.put(Envelope { from, to, to_life, call, lane, body: Body::Answer(answer) });
        }
    }

    fn put(&mut self, envelope: Envelope) {
        let (way, ready) = self.network.send(envelope, self.now);
        self.at(ready, Event::Look(way));
    }

    /// The connections from one to another break: calls fail, some requests arrive all the same.
    pub(crate) fn reset(&mut self, from: Node, to: Node) {
        for (at, envelope) in self.network.reset(from, to, self.now) {
            self.at(at, Event::Stray(Box::new(envelope)));
        }
        let Some(life) = self.life(from) else { return };
        for call in self.calls_between(from, to) {
            let after = self.dice.among(0, 3);
            self.at(self.now + after, Event::Fails { node: from, life, call });
        }
    }

    fn calls_between(&self, from: Node, to: Node) -> Vec<CallId> {
        if let Some(machine) = self.machines.get(from) {
            let calls = machine.process.iter().flat_map(|process| &process.calls);
            return calls.filter(|(_, (at, _))| *at == to).map(|(call, _)| *call).collect();
        }
        self.client_calls(from, to)
    }

    /// Puts a command into the metadata log.
    pub(crate) fn commit(&mut self, command: &Command) -> Option<cairn_metadata::Answer> {
        let answer = self.quorum.commit(command);
        let version = self.quorum.version();
        self.trace.note(self.now, || match &answer {
            Some(answer) => format!("metadata {version}: {} -> {}", told(command), told_answer(answer)),
            None => format!("rejected: {}", told(command)),
        });
        self.check_metadata();
        answer
    }

    fn leaders(&self) -> u64 {
        let image = self.quorum.newest();
        let epochs = (0..PARTITIONS).filter_map(|partition| {
            let (topic, index) = partition_id(partition);
            u64::try_from(image.topic(topic)?.partition(index)?.leader_epoch.0).ok()
        });
        epochs.sum()
    }
}

/// A command without the ids that are different in each run.
fn told(command: &Command) -> String {
    match command {
        Command::RegisterBroker(new) => format!("RegisterBroker {}", new.id),
        Command::CreateTopic(new) => format!("CreateTopic {}", new.name),
        other => format!("{other:?}"),
    }
}

fn told_answer(answer: &cairn_metadata::Answer) -> String {
    format!("{answer:?}")
}
