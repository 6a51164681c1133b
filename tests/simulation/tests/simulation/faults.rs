//! What faults do, and the quorum's fate under them.
//!
//! Must not know: when which fault happens.

use cairn_metadata::Command;
use cairn_metadata::configs::Durability;
use cairn_storage::disk::memory::{Crash, CrashUnit, MemoryDisk};

use crate::message::{Lane, Request};
use crate::network::Node;
use crate::quorum::ELECTION_MS;
use crate::setup::{Fault, PARTITIONS, Setup};
use crate::world::{Event, Over, Phase, World, broker_id, partition_id};

/// So often the quorum's leader tells how far the log goes.
const HEARTBEAT_MS: u64 = 50;

impl Setup {
    pub(crate) fn is_synced(&self) -> bool {
        self.durability == Durability::Synced
    }
}

impl World {
    fn runs(&self, broker: usize) -> bool {
        let machine = &self.machines[broker];
        machine.process.is_some() && machine.paused_until <= self.now
    }

    /// Whether a broker runs, and reaches more than half of all, there and back.
    pub(crate) fn has_majority(&self, broker: usize) -> bool {
        let reaches =
            |to: &usize| self.runs(*to) && !self.network.is_cut(broker, *to) && !self.network.is_cut(*to, broker);
        self.runs(broker) && 2 * (0..self.setup.brokers).filter(reaches).count() > self.setup.brokers
    }

    pub(crate) fn on_quorum(&mut self) {
        self.at(self.now + HEARTBEAT_MS, Event::Quorum);
        match self.quorum.leader {
            Some(leader) if self.has_majority(leader) => self.quorum.led_at = self.now,
            _ if self.now < self.quorum.led_at + ELECTION_MS => {}
            _ => {
                let able: Vec<usize> = (0..self.setup.brokers).filter(|broker| self.has_majority(*broker)).collect();
                if able.is_empty() {
                    return;
                }
                let leader = self.dice.one_of(&able);
                self.quorum.term += 1;
                (self.quorum.leader, self.quorum.led_at) = (Some(leader), self.now);
                self.trace.note(self.now, || format!("{leader} leads the quorum"));
            }
        }
        let Some(leader) = self.quorum.leader.filter(|leader| self.has_majority(*leader)) else { return };
        let upto = self.quorum.version();
        for to in 0..self.setup.brokers {
            if self.machines[to].process.is_some() {
                self.call(leader, to, Lane::Quorum, Request::Entries { upto });
            }
        }
        self.check_superset();
        self.check_candidates();
    }

    /// The metadata has a new version.
    pub(crate) fn check_metadata(&mut self) {
        self.check_candidates();
        self.check_superset();
    }

    pub(crate) fn on_over(&mut self, over: Over) {
        match over {
            Over::Start(broker) => self.start(broker),
            Over::Heal(from, to) if self.network.is_cut(from, to) => self.heal_one(from, to),
            Over::Heal(..) => {}
            Over::Refused { broker, life } => {
                let is_gone = self.machines[broker].process.is_none() && self.machines[broker].life == life;
                let Some(leader) = self.quorum.leader.filter(|leader| is_gone && self.has_majority(*leader)) else {
                    return;
                };
                let reached = !self.network.is_cut(leader, broker) && !self.network.is_cut(broker, leader);
                let known = self.quorum.newest().broker(broker_id(broker)).map(|known| known.epoch);
                let process = self.machines[leader].process.as_mut();
                if let (true, Some(epoch), Some((_, sessions))) =
                    (reached, known, process.and_then(|process| process.sessions.as_mut()))
                {
                    sessions.on_refused(broker_id(broker), epoch);
                }
            }
        }
    }

    pub(crate) fn on_fault(&mut self, fault: Fault) {
        self.trace.note(self.now, || format!("FAULT {fault:?}"));
        self.sum.faults += 1;
        let now = self.now;
        match fault {
            Fault::Kill { broker, for_ms } => self.crash(broker, Crash::KeepAll, for_ms),
            Fault::PowerCut { broker, for_ms } => self.cut_power(broker, for_ms),
            Fault::PowerCutOfAll { for_ms } if self.setup.is_synced() => {
                for broker in 0..self.setup.brokers {
                    self.cut_power(broker, for_ms);
                }
            }
            Fault::PowerCutOfAll { .. } => {}
            Fault::Wipe { broker, for_ms } if self.may_lose(broker) => {
                self.crash(broker, Crash::KeepAll, for_ms);
                self.machines[broker].disk = MemoryDisk::new();
                self.machines[broker].boot += 1;
                self.machines[broker].version = 0;
            }
            Fault::Wipe { .. } => {}
            Fault::Pause { broker, for_ms } => self.machines[broker].paused_until = now + for_ms,
            Fault::Stop { broker, for_ms } => {
                if let Some(process) = &mut self.machines[broker].process {
                    process.stops = true;
                }
                self.at(now + for_ms + 5_000, Event::Over(Over::Start(broker)));
            }
            Fault::CutOneWay { from, to, for_ms } => self.cut(from, to, for_ms),
            Fault::Isolate { broker, for_ms } => {
                let nodes = self.setup.brokers + self.setup.producers + self.setup.consumers;
                self.isolate(broker, nodes, for_ms);
            }
            Fault::IsolateFromPeers { broker, for_ms } => self.isolate(broker, self.setup.brokers, for_ms),
            Fault::Reset { from, to } => self.reset(from, to),
            Fault::SlowDisk { broker, for_ms } => self.machines[broker].slow_disk_until = now + for_ms,
            Fault::SlowMetadata { broker, for_ms } => self.machines[broker].slow_metadata_until = now + for_ms,
            Fault::Move { partition, first, replicas } => {
                let brokers = self.setup.brokers;
                let to = (first..first + replicas).map(|broker| broker_id(broker % brokers)).collect();
                self.move_partition(partition, Some(to));
            }
            Fault::CancelMove { partition } => self.move_partition(partition, None),
            Fault::Transfer { partition, to } => {
                let (id, index) = partition_id(partition);
                if self.quorum.leader.is_some_and(|leader| self.has_majority(leader)) {
                    self.commit(&Command::TransferLeader { id, partition: index, to: broker_id(to) });
                }
            }
        }
    }

    fn move_partition(&mut self, partition: usize, to: Option<Vec<cairn_protocol::ids::BrokerId>>) {
        let (id, partition) = partition_id(partition);
        if self.quorum.leader.is_some_and(|leader| self.has_majority(leader)) {
            self.commit(&Command::MovePartition { id, partition, to });
        }
    }

    fn cut(&mut self, from: Node, to: Node, for_ms: u64) {
        self.network.cut(from, to);
        self.at(self.now + for_ms, Event::Over(Over::Heal(from, to)));
    }

    fn isolate(&mut self, broker: usize, from: usize, for_ms: u64) {
        for other in (0..from).filter(|other| *other != broker) {
            self.cut(broker, other, for_ms);
            self.cut(other, broker, for_ms);
        }
    }

    fn cut_power(&mut self, broker: usize, for_ms: u64) {
        if !self.setup.is_synced() && !self.may_lose(broker) {
            return;
        }
        let seed = self.dice.roll();
        let crash = match self.dice.place(3) {
            0 => Crash::LoseUnsynced,
            1 => Crash::Random { seed, unit: CrashUnit::Sector },
            _ => Crash::Random { seed, unit: CrashUnit::Page },
        };
        self.crash(broker, crash, for_ms);
        self.machines[broker].boot += 1;
    }

    /// Whether a machine may lose what it has: at most `min.insync.replicas - 1` at once, and those that have lost count until they
    /// are in sync everywhere again.
    fn may_lose(&mut self, broker: usize) -> bool {
        let image = std::sync::Arc::clone(self.quorum.newest());
        let is_whole = |lossy: &usize| {
            // Whoever has not told the quorum yet that it lost something is in sync still, as far as that knows.
            let registered = image.broker(broker_id(*lossy)).map(|known| known.epoch);
            let process = self.machines[*lossy].process.as_ref();
            let told =
                process.is_some_and(|process| process.incarnation.is_some() && process.incarnation == registered);
            told && (0..PARTITIONS).all(|partition| {
                let (topic, index) = partition_id(partition);
                let known = image.topic(topic).and_then(|topic| topic.partition(index));
                let id = broker_id(*lossy);
                known.is_some_and(|known| !known.replicas.contains(&id) || known.isr.contains(&id))
            })
        };
        let whole: Vec<usize> = self.lossy.iter().copied().filter(is_whole).collect();
        self.lossy.retain(|lossy| !whole.contains(lossy));
        let others = self.lossy.iter().filter(|lossy| **lossy != broker).count();
        let may = others + 1 < self.setup.min_isr;
        if may {
            self.lossy.insert(broker);
        }
        may
    }

    pub(crate) fn crash(&mut self, broker: usize, crash: Crash, for_ms: u64) {
        self.at(self.now + for_ms, Event::Over(Over::Start(broker)));
        let machine = &mut self.machines[broker];
        machine.disk.crash(crash);
        machine.paused_until = 0;
        if machine.process.take().is_some() {
            self.on_gone(broker);
        }
    }

    /// A process is no more: what was under way to it and from it breaks.
    pub(crate) fn on_gone(&mut self, broker: usize) {
        let nodes = self.setup.brokers + self.setup.producers + self.setup.consumers;
        for other in (0..nodes).filter(|other| *other != broker) {
            // Who is cut off hears nothing of it.
            if !self.network.is_cut(other, broker) && !self.network.is_cut(broker, other) {
                self.reset(other, broker);
            }
        }
        let life = self.machines[broker].life;
        if self.dice.percent(70) {
            let after = self.dice.among(1, 100);
            self.at(self.now + after, Event::Over(Over::Refused { broker, life }));
        }
        if self.phase == Phase::Healing {
            self.at(self.now + 500, Event::Over(Over::Start(broker)));
        }
    }
}
