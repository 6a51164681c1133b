//! What brokers do, as the server does it: see `broker/server/src/{membership,partitions,replication}`.
//!
//! Must not know: clients' reasons, which faults there are.

use std::sync::Arc;

use cairn_metadata::{Broker, BrokerEpoch, Command, Image};
use cairn_protocol::ids::{BrokerId, Offset, Timestamp};
use cairn_protocol::records::{BatchHeader, BatchProducer};
use cairn_replication::{
    Assignment, CommitState, Heartbeat, Member, NackReason, PushNack, Replica, Sessions, Ticks, Turn, WhyExpired,
};
use cairn_storage::disk::memory::Crash;
use cairn_storage::log::{LogConfig, LogName, OpenLogError};

use crate::held::{Held, Reply, Taking, View, Waiting};
use crate::machine::{OpenFrame, Pending};
use crate::message::{Answer, Heard, Lane, PartitionPush, Refused, Request};
use crate::network::{CallId, Node};
use crate::setup::{DATA_PARTITIONS, FirstBatches, Leases, Leaving, OFFSETS, PARTITIONS};
use crate::world::{Event, Phase, Sync, World, broker_id, partition_id, place_of, topic_name};

const HEARTBEAT_MS: u64 = 500;
const PROPOSE_MS: u64 = 100;
const CHECKPOINT_MS: u64 = 1_000;
const FLUSH_MS: u64 = 100;
const REST_MS: u64 = 100;
/// So long it takes until somebody starts a broker again that is registered no more.
const SUPERSEDED_FOR_MS: u64 = 2_000;
/// Frames to one follower that are not answered.
const FRAMES_MAX: usize = 16;

fn log_config() -> LogConfig {
    LogConfig { segment_bytes: 8192, index_interval_bytes: 512, retention_ms: None, ..LogConfig::default() }
}

/// Whose batch it is, and which.
fn told_producer(batch: &[u8]) -> String {
    let header = BatchHeader::decode(batch).expect("clients send whole batches");
    let of = |it: BatchProducer| format!("{}'s {} of its epoch {}", it.id, it.base_sequence, it.epoch);
    header.producer.map(of).unwrap_or_default()
}

fn members_of(image: &Image, known: &cairn_metadata::Partition) -> Vec<Member> {
    let standing = |id: BrokerId| image.broker(id).map(Broker::standing);
    Member::all_of(known, &standing).collect()
}

impl World {
    /// Starts a broker, unless it runs.
    pub(crate) fn start(&mut self, broker: usize) {
        if self.machines[broker].process.is_some() {
            return;
        }
        self.trace.note(self.now, || format!("{broker} starts"));
        if let Err(error) = self.machines[broker].start(broker, self.setup.session_ms, self.now) {
            return self.wrong("whole", || format!("broker {broker} cannot open its directory: {error}"));
        }
        let life = self.machines[broker].life;
        self.at(self.now, Event::Tick { broker, life });
    }

    fn incarnation(&self, broker: usize) -> Option<BrokerEpoch> {
        self.machines[broker].process.as_ref()?.incarnation
    }

    fn is_pending(&self, broker: usize, what: fn(&Pending) -> bool) -> bool {
        self.machines[broker].process.as_ref().is_some_and(|it| it.calls.values().any(|(_, pending)| what(pending)))
    }

    pub(crate) fn ask(&mut self, from: usize, to: Node, lane: Lane, request: Request, pending: Pending) {
        let call = self.call(from, to, lane, request);
        if let Some(process) = &mut self.machines[from].process {
            process.calls.insert(call, (to, pending));
        }
    }

    /// Asks the leader of the quorum, as far as there is one.
    fn ask_controller(&mut self, from: usize, request: Request, pending: Pending) {
        if let Some(leader) = self.quorum.leader {
            self.ask(from, leader, Lane::Quorum, request, pending);
        }
    }

    /// Looks at what is due.
    pub(crate) fn on_tick(&mut self, broker: usize) {
        let now = self.now;
        let Some(process) = &mut self.machines[broker].process else { return };
        let is_time = |at: &mut u64, every: u64| {
            let is_due = *at <= now;
            if is_due {
                *at = now + every;
            }
            is_due
        };
        let beats = is_time(&mut process.heartbeat_at, HEARTBEAT_MS);
        let proposes = is_time(&mut process.propose_at, PROPOSE_MS);
        let notes = is_time(&mut process.checkpoint_at, CHECKPOINT_MS);
        let epoch = process.incarnation;
        match epoch {
            None if beats && !self.is_pending(broker, |it| matches!(it, Pending::Register)) => {
                let Some(new) = self.machines[broker].registration(broker, self.setup.rules.clean_marks) else {
                    return;
                };
                self.ask_controller(broker, Request::Propose(Command::RegisterBroker(new)), Pending::Register);
            }
            Some(epoch) if beats => {
                let beat = Request::Heartbeat { broker: broker_id(broker), epoch };
                self.ask_controller(broker, beat, Pending::Heartbeat { sent: now });
            }
            _ => {}
        }
        self.control(broker);
        if proposes {
            self.propose(broker);
        }
        self.flush(broker);
        if notes && let Some(process) = &mut self.machines[broker].process {
            for held in process.held.values_mut() {
                held.log.note_high_watermark(held.replica.high_watermark());
            }
            if let Err(error) = process.dir.write_changed_checkpoint() {
                self.wrong("whole", || format!("no checkpoint: {error}"));
            }
        }
        self.stop_if_done(broker);
        self.settle(broker);
    }

    /// The work of the quorum's leader.
    fn control(&mut self, broker: usize) {
        if self.quorum.leader != Some(broker) || !self.has_majority(broker) {
            return;
        }
        let (term, now, session) = (self.quorum.term, Ticks(self.now), self.setup.session_ms);
        let image = Arc::clone(self.quorum.newest());
        let Some(process) = &mut self.machines[broker].process else { return };
        if process.sessions.as_ref().is_none_or(|(of, _)| *of != term) {
            let serving = image.brokers().filter(|it| !it.fenced).map(|it| (it.id, it.epoch));
            process.sessions = Some((term, Sessions::take_office(session, serving, now)));
        }
        let Some((_, sessions)) = &mut process.sessions else { return };
        for known in image.brokers() {
            if known.fenced {
                sessions.on_fenced(known.id, known.epoch);
            } else {
                sessions.on_serving(known.id, known.epoch, now);
            }
        }
        let expired: Vec<_> = sessions.expired(now).collect();
        for gone in expired {
            if gone.why == WhyExpired::Silent {
                self.check_fenced_for_silence(place_of(gone.broker), gone.incarnation);
            }
            self.commit(&Command::FenceBroker { broker: gone.broker, epoch: gone.incarnation });
        }
    }

    fn propose(&mut self, broker: usize) {
        let (now, lag) = (Ticks(self.now), self.setup.lag_max_ms);
        for partition in 0..PARTITIONS {
            let Some(process) = &mut self.machines[broker].process else { return };
            let Some(held) = process.held.get_mut(&partition) else { continue };
            let Some(proposal) = held.replica.due_proposal(lag, &View(&held.log), now).cloned() else { continue };
            let (id, index) = partition_id(partition);
            let command = Command::ProposeIsr { id, partition: index, proposal: proposal.clone() };
            self.ask_controller(broker, Request::Propose(command), Pending::Proposal { partition, proposal });
        }
    }

    fn flush(&mut self, broker: usize) {
        for partition in 0..PARTITIONS {
            let Some(process) = &mut self.machines[broker].process else { return };
            let Some(held) = process.held.get_mut(&partition) else { continue };
            if held.flush_at.is_some_and(|at| at <= self.now) {
                held.flush_at = None;
                self.sync(broker, partition);
            }
        }
    }

    /// Begins to make a log durable, unless that is under way.
    pub(crate) fn sync(&mut self, broker: usize, partition: usize) {
        let slow = if self.machines[broker].slow_disk_until > self.now { 3_000 } else { self.setup.sync_ms };
        let after = self.dice.among(0, slow + 1);
        let at_once = self.dice.percent(50);
        let machine = &mut self.machines[broker];
        let life = machine.life;
        let Some(held) = machine.process.as_mut().and_then(|process| process.held.get_mut(&partition)) else { return };
        if held.syncing {
            return;
        }
        let Some(job) = held.log.begin_sync() else { return };
        held.syncing = true;
        let log = held.number;
        let sync = if at_once {
            match job.run() {
                Ok(synced) => Sync::Done(synced),
                Err(error) => return self.wrong("whole", || format!("a sync failed: {error}")),
            }
        } else {
            Sync::Job(job)
        };
        self.at(self.now + after, Event::Synced { broker, life, partition, log, sync: Box::new(sync) });
    }

    pub(crate) fn on_synced(&mut self, broker: usize, life: u64, (partition, log): (usize, u64), sync: Sync) {
        let machine = &mut self.machines[broker];
        let is_same = machine.life == life;
        let Some(process) = machine.process.as_mut().filter(|_| is_same) else { return };
        let Some(held) = process.held.get_mut(&partition).filter(|held| held.number == log) else { return };
        let synced = match sync {
            Sync::Done(synced) => synced,
            Sync::Job(job) => match job.run() {
                Ok(synced) => synced,
                Err(error) => return self.wrong("whole", || format!("a sync failed: {error}")),
            },
        };
        held.log.on_synced(synced);
        held.syncing = false;
        held.replica.on_log_changed(&View(&held.log));
        let durable = held.log.durable_end();
        held.owed.retain(|end| *end > durable);
        let goes_on = self.setup.is_synced() || !held.owed.is_empty();
        let end = held.log.end_offset();
        self.trace.note(self.now, || format!("{broker}/{partition} durable {durable} of {end}"));
        if goes_on && durable < end {
            self.sync(broker, partition);
        }
        self.settle(broker);
    }

    /// A version of the metadata is there.
    pub(crate) fn see(&mut self, broker: usize, version: usize) {
        let image = Arc::clone(self.quorum.image(version));
        let machine = &mut self.machines[broker];
        machine.version = machine.version.max(version);
        let Some(process) = &mut machine.process else { return };
        if version <= process.seen && version != 0 && !process.held.is_empty() {
            return;
        }
        process.seen = process.seen.max(version);
        let Some(incarnation) = process.incarnation else { return };
        for partition in 0..PARTITIONS {
            let (id, index) = partition_id(partition);
            let Some(topic) = image.topic(id) else { continue };
            let Some(known) = topic.partition(index) else { continue };
            if !known.replicas.contains(&broker_id(broker)) {
                self.leave(broker, partition, &image);
                continue;
            }
            if !self.keep(broker, partition, incarnation) {
                return;
            }
            let Some(process) = &mut self.machines[broker].process else { return };
            let Some(held) = process.held.get_mut(&partition) else { continue };
            let members = members_of(&image, known);
            let assignment = Assignment::new(known, &image.policy(topic), &members);
            let turn = held.replica.on_metadata(&assignment, &View(&held.log), Ticks(self.now));
            if let Turn::TakesOffice(epoch) = turn {
                match held.log.assign_epoch(epoch) {
                    Ok(()) => {
                        held.replica.on_epoch_noted(epoch, &View(&held.log));
                    }
                    Err(error) => return self.wrong("whole", || format!("an epoch was not noted: {error}")),
                }
            }
            let (end, durable) = (held.log.end_offset(), held.log.durable_end());
            self.trace
                .note(self.now, || format!("{broker}/{partition} sees {version}: {turn:?}, ends {durable}..{end}"));
        }
        self.settle(broker);
    }

    /// Others keep the partition: its log is deleted, if there is one. As `registry/assigned.rs take_away` and
    /// `remove_unassigned`.
    fn leave(&mut self, broker: usize, partition: usize, image: &Image) {
        let (id, index) = partition_id(partition);
        let Some(process) = &mut self.machines[broker].process else { return };
        let name = LogName::new(topic_name(partition), index).expect("a legal name");
        if let Some(held) = process.held.get_mut(&partition)
            && let Some((topic, known)) = image.topic(id).and_then(|topic| Some((topic, topic.partition(index)?)))
        {
            if held.replica.known_epoch() > known.leader_epoch && self.setup.rules.leaving == Leaving::UnlessBack {
                return;
            }
            let members = members_of(image, known);
            let assignment = Assignment::new(known, &image.policy(topic), &members);
            let _: Turn = held.replica.on_metadata(&assignment, &View(&held.log), Ticks(self.now));
        }
        // Whoever waits hears that somebody else leads.
        self.answer_waiting(broker, partition);
        let Some(process) = &mut self.machines[broker].process else { return };
        let deleted = match process.held.remove(&partition) {
            Some(held) => process.dir.delete_log(held.log).map(Some),
            None if process.dir.knows_log(&name, id) => process.dir.delete_folder(&name, id).map(|()| None),
            None => return,
        };
        // What is forgotten durably before the files go cannot be taken for lost.
        let forgotten = process.dir.write_checkpoint().map_err(|error| error.to_string());
        let removed = forgotten.and_then(|()| {
            deleted.and_then(|deleted| deleted.map_or(Ok(()), |it| it.remove())).map_err(|error| error.to_string())
        });
        if let Err(error) = removed {
            self.wrong("whole", || format!("broker {broker} cannot delete partition {partition}: {error}"));
        }
        self.trace.note(self.now, || format!("{broker}/{partition} is kept elsewhere"));
    }

    /// Opens a partition's log, or makes it.
    fn keep(&mut self, broker: usize, partition: usize, incarnation: BrokerEpoch) -> bool {
        let rules = self.setup.rules.replica;
        let Some(process) = &mut self.machines[broker].process else { return false };
        if process.held.contains_key(&partition) {
            return true;
        }
        let (id, index) = partition_id(partition);
        let name = LogName::new(topic_name(partition), index).expect("a legal name");
        let opened = match process.dir.open_log_of(&name, id, log_config()) {
            Err(OpenLogError::Missing { .. }) => {
                process.dir.begin_log(&name, id, log_config()).map_err(|error| error.to_string())
            }
            opened => opened.map_err(|error| error.to_string()),
        };
        let noted = opened.and_then(|log| process.dir.write_checkpoint().map(|()| log).map_err(|it| it.to_string()));
        let held = noted.and_then(|log| {
            let high_watermark = log.noted_high_watermark();
            let replica = Replica::new(broker_id(broker), incarnation, high_watermark, &View(&log), rules);
            process.logs_opened += 1;
            Held::new(log, process.logs_opened, replica).map_err(|error| error.to_string())
        });
        match held {
            Ok(held) => {
                process.held.insert(partition, held);
                // What was found is made as durable as the topic promises.
                self.sync(broker, partition);
                true
            }
            Err(error) => {
                self.wrong("whole", || format!("broker {broker} cannot open partition {partition}: {error}"));
                false
            }
        }
    }

    /// A process or a client asks.
    pub(crate) fn on_request(&mut self, at: usize, from: Node, call: CallId, request: Request) {
        let life = self.machines.get(from).map_or(0, |machine| machine.life);
        let reply = Reply { to: from, life, call };
        match request {
            // Nobody listens before it is registered.
            Request::Pushes(_) if self.incarnation(at).is_none() => {
                self.at(self.now + 1, Event::Fails { node: from, life, call });
            }
            Request::Pushes(pushes) => self.take_frame(at, reply, &pushes),
            Request::Heartbeat { broker, epoch } => {
                let heard = self.on_heartbeat(at, broker, epoch);
                self.answer(at, &reply, Lane::Quorum, Answer::Heartbeat(heard));
            }
            Request::Propose(command) => {
                let answer = if self.quorum.leader == Some(at) && self.has_majority(at) {
                    let answer = self.commit(&command);
                    Answer::Proposed { answer, version: self.quorum.version() }
                } else {
                    Answer::NotController
                };
                self.answer(at, &reply, Lane::Quorum, answer);
            }
            Request::Entries { upto } => self.on_entries(at, upto),
            other => self.on_client_request(at, reply, other),
        }
        self.settle(at);
    }

    fn on_heartbeat(&mut self, at: usize, broker: BrokerId, epoch: BrokerEpoch) -> Heard {
        if self.quorum.leader != Some(at) || !self.has_majority(at) {
            return Heard::NotController;
        }
        self.control(at);
        let image = Arc::clone(self.quorum.newest());
        let Some(known) = image.broker(broker).filter(|known| known.epoch == epoch) else {
            return Heard::NotRegistered;
        };
        if known.fenced {
            self.commit(&Command::UnfenceBroker { broker, epoch });
            self.control(at);
        }
        let now = Ticks(self.now);
        let Some((_, sessions)) = self.machines[at].process.as_mut().and_then(|it| it.sessions.as_mut()) else {
            return Heard::NotController;
        };
        match sessions.on_heartbeat(broker, epoch, now) {
            Heartbeat::Granted => Heard::Alive,
            Heartbeat::NotRegistered => Heard::NotRegistered,
        }
    }

    fn on_entries(&mut self, at: usize, upto: usize) {
        let is_slow = self.machines[at].slow_metadata_until > self.now;
        let Some(process) = &self.machines[at].process else { return };
        if is_slow || upto <= process.seen {
            return;
        }
        // Entries come by and by.
        let seen = process.seen;
        let version = if self.dice.percent(30) && self.phase == Phase::Faults {
            seen + 1 + self.dice.place(upto - seen)
        } else {
            upto
        };
        self.see(at, version);
    }

    fn take_frame(&mut self, at: usize, reply: Reply, pushes: &[PartitionPush]) {
        let Some(process) = &mut self.machines[at].process else { return };
        let mut open = OpenFrame { reply, answers: Vec::new(), waits: Vec::new() };
        let mut to_sync = Vec::new();
        let mut wrong = None;
        for push in pushes {
            let Some(held) = process.held.get_mut(&push.partition) else {
                let nack = PushNack {
                    leader_epoch: push.push.leader_epoch,
                    incarnation: process.incarnation.unwrap_or(BrokerEpoch(-1)),
                    generation: push.push.generation,
                    at: push.push.prev.offset,
                    reason: NackReason::NotKept,
                    log_end: push.push.prev.offset,
                };
                open.answers.push((push.partition, Err(nack)));
                continue;
            };
            let before = held.log.end_offset();
            match held.take(push, self.now) {
                Taking::Ignored => {}
                Taking::Acked(ack) => open.answers.push((push.partition, Ok(ack))),
                Taking::Refused(nack) => open.answers.push((push.partition, Err(nack))),
                Taking::Waits(end) => {
                    held.owed.push(end);
                    open.waits.push((push.partition, push.push, end));
                    to_sync.push(push.partition);
                }
                Taking::Wrong(what) => wrong = Some((push.partition, what)),
            }
            if held.log.end_offset() > before && !self.setup.is_synced() {
                held.flush_at.get_or_insert(self.now + FLUSH_MS);
            }
        }
        process.frames.push(open);
        self.trace.note(self.now, || {
            let one = |push: &PartitionPush| {
                let (of, at, hw) = (push.partition, push.push.prev.offset, push.push.high_watermark);
                format!("{of}@{at}+{}b hw{hw} e{}", push.records.len(), push.push.leader_epoch)
            };
            format!("{at} takes {}", pushes.iter().map(one).collect::<Vec<_>>().join(", "))
        });
        if let Some((partition, what)) = wrong {
            return self.wrong("watermarks", || format!("broker {at}, partition {partition}: {what}"));
        }
        for partition in to_sync {
            self.sync(at, partition);
        }
    }

    /// A call was answered.
    pub(crate) fn on_answer(&mut self, at: usize, call: CallId, answer: Answer) {
        let now = Ticks(self.now);
        let Some(process) = &mut self.machines[at].process else { return };
        let Some((from, pending)) = process.calls.remove(&call) else { return };
        match (pending, answer) {
            (Pending::Frame { .. }, Answer::Pushed(answers)) => {
                for (partition, answer) in answers {
                    let Some(held) = process.held.get_mut(&partition) else { continue };
                    match answer {
                        Ok(ack) => {
                            held.replica.on_ack(broker_id(from), &ack, &View(&held.log), now);
                        }
                        Err(nack) => {
                            let _: Turn = held.replica.on_nack(broker_id(from), &nack, &View(&held.log), now);
                        }
                    }
                    self.trace.note(self.now, || format!("{at}/{partition} hears of {from}: {answer:?}"));
                }
            }
            (Pending::Heartbeat { sent }, Answer::Heartbeat(Heard::Alive)) => {
                process.lease.on_heartbeat_answered(Ticks(sent));
            }
            (Pending::Heartbeat { .. }, Answer::Heartbeat(Heard::NotRegistered)) => {
                // A registration of the process before it came late. It says so, and somebody starts it again.
                self.trace.note(self.now, || format!("{at} is superseded"));
                return self.crash(at, Crash::KeepAll, SUPERSEDED_FOR_MS);
            }
            (
                Pending::Register,
                Answer::Proposed { answer: Some(cairn_metadata::Answer::BrokerRegistered(epoch)), version },
            ) => {
                process.incarnation = Some(epoch);
                self.machines[at].last = Some(epoch);
                self.trace.note(self.now, || format!("{at} is incarnation {epoch}"));
                self.see(at, version);
            }
            (
                Pending::Proposal { partition, proposal },
                Answer::Proposed { answer: Some(cairn_metadata::Answer::IsrDecided(outcome)), version },
            ) => {
                if self.machines[at].slow_metadata_until <= self.now {
                    self.see(at, version);
                }
                let Some(process) = &mut self.machines[at].process else { return };
                if let Some(held) = process.held.get_mut(&partition) {
                    let view = View(&held.log);
                    held.replica.on_outcome(proposal.leader_epoch, proposal.seq, outcome, &view);
                }
            }
            _ => {}
        }
        self.settle(at);
    }

    /// A call was not.
    pub(crate) fn on_failed(&mut self, node: Node, life: u64, call: CallId) {
        if node >= self.setup.brokers {
            return self.on_client_failed(node, call);
        }
        let machine = &mut self.machines[node];
        let is_same = machine.life == life;
        let Some(process) = machine.process.as_mut().filter(|_| is_same) else { return };
        let Some((to, pending)) = process.calls.remove(&call) else { return };
        if let Pending::Frame { partitions } = pending {
            for partition in partitions {
                if let Some(held) = process.held.get_mut(&partition) {
                    held.replica.on_connection_changed(broker_id(to));
                }
            }
            process.rests_until.insert(to, self.now + REST_MS);
            self.trace.note(self.now, || format!("{node} hears nothing of {to}"));
        }
    }

    /// What follows from what has happened: high watermarks, answers, frames.
    pub(crate) fn settle(&mut self, broker: usize) {
        for partition in 0..PARTITIONS {
            self.check_watermark(broker, partition);
            if partition == OFFSETS
                && let Some(process) = &mut self.machines[broker].process
                && let (Some(held), Some(coordinator)) = (process.held.get(&OFFSETS), &mut process.coordinator)
            {
                coordinator.on_committed(held);
            }
            self.answer_waiting(broker, partition);
        }
        self.answer_frames(broker);
        for to in 0..self.setup.brokers {
            if to != broker {
                self.fill(broker, to);
            }
        }
    }

    fn answer_waiting(&mut self, broker: usize, partition: usize) {
        let Some(process) = &mut self.machines[broker].process else { return };
        let Some(held) = process.held.get_mut(&partition) else { return };
        let mut answers = Vec::new();
        let Held { waiting, replica, .. } = held;
        waiting.retain(|Waiting { reply, epoch, base, end, is_commit }| {
            let outcome = match replica.commit_state(*epoch, *end) {
                CommitState::Waiting => return true,
                CommitState::Committed => Ok(*base),
                CommitState::OfficeLost => Err(Refused::NotLeader),
            };
            answers.push((*reply, outcome, *is_commit));
            false
        });
        for (reply, outcome, is_commit) in answers {
            let answer = if is_commit { Answer::Committed(outcome.map(drop)) } else { Answer::Produced(outcome) };
            self.answer(broker, &reply, Lane::Client, answer);
        }
    }

    fn answer_frames(&mut self, broker: usize) {
        let Some(process) = &mut self.machines[broker].process else { return };
        let mut done = Vec::new();
        let mut at = 0;
        while at < process.frames.len() {
            let is_durable = |(partition, _, end): &(usize, cairn_replication::Push, Offset)| {
                process.held.get(partition).is_none_or(|held| held.log.durable_end() >= *end)
            };
            if process.frames[at].waits.iter().all(is_durable) {
                done.push(process.frames.remove(at));
            } else {
                at += 1;
            }
        }
        let mut answers = Vec::new();
        for OpenFrame { reply, answers: mut of_frame, waits } in done {
            for (partition, push, end) in waits {
                let flushed = process.held.get_mut(&partition).and_then(|held| held.flushed(&push, end));
                of_frame.extend(flushed.map(|answer| (partition, answer)));
            }
            answers.push((reply, of_frame));
        }
        for (reply, of_frame) in answers {
            self.trace.note(self.now, || format!("{broker} answers {}: {of_frame:?}", reply.to));
            self.answer(broker, &reply, Lane::Replication, Answer::Pushed(of_frame));
        }
    }

    /// Sends frames to a follower as long as there is something and room.
    fn fill(&mut self, broker: usize, to: usize) {
        let now = Ticks(self.now);
        loop {
            let Some(process) = &mut self.machines[broker].process else { return };
            if process.rests_until.get(&to).is_some_and(|until| *until > self.now) {
                return;
            }
            let is_frame = |(at, pending): &&(Node, Pending)| *at == to && matches!(pending, Pending::Frame { .. });
            if process.calls.values().filter(is_frame).count() >= FRAMES_MAX {
                return;
            }
            let mut pushes = Vec::new();
            for (partition, held) in &mut process.held {
                if let Some((push, records, end)) = held.next_push(broker_id(to), now) {
                    let bytes = u32::try_from(records.len()).expect("small");
                    held.replica.on_sent(broker_id(to), &push, end, bytes, now);
                    pushes.push(PartitionPush { partition: *partition, push, records });
                }
            }
            if pushes.is_empty() {
                return;
            }
            let partitions = pushes.iter().map(|push| push.partition).collect();
            self.ask(broker, to, Lane::Replication, Request::Pushes(pushes), Pending::Frame { partitions });
        }
    }

    /// Whether a broker may act on what it has seen last.
    pub(crate) fn holds_lease(&self, broker: usize) -> bool {
        let holds = |process: &crate::machine::Process| process.lease.holds(Ticks(self.now));
        self.setup.rules.leases == Leases::Ignored || self.machines[broker].process.as_ref().is_some_and(holds)
    }

    /// A client's batch, or a commit of offsets.
    pub(crate) fn append(
        &mut self,
        broker: usize,
        partition: usize,
        batch: &[u8],
        reply: Reply,
        is_commit: bool,
    ) -> Option<(Offset, Offset)> {
        let refused = if self.holds_lease(broker) { None } else { Some(Refused::NotLeader) };
        let process = self.machines[broker].process.as_mut()?;
        let appended = match (refused, process.held.get_mut(&partition)) {
            (_, None) => Err(Refused::NotKept),
            (Some(refused), _) => Err(refused),
            (None, Some(held)) => held.append(batch, self.now).inspect(|(epoch, base, end)| {
                held.waiting.push(Waiting { reply, epoch: *epoch, base: *base, end: *end, is_commit });
                if !self.setup.is_synced() {
                    held.flush_at.get_or_insert(self.now + FLUSH_MS);
                }
            }),
        };
        match appended {
            Ok((epoch, base, end)) => {
                self.trace.note(self.now, || {
                    format!("{broker}/{partition} appends {base}..{end} in {epoch}: {}", told_producer(batch))
                });
                if self.setup.is_synced() {
                    self.sync(broker, partition);
                }
                Some((base, end))
            }
            Err(refused) => {
                self.note_refused(broker, partition, batch, refused);
                self.trace
                    .note(self.now, || format!("{broker}/{partition} refuses: {refused:?}, {}", told_producer(batch)));
                let answer = if is_commit { Answer::Committed(Err(refused)) } else { Answer::Produced(Err(refused)) };
                self.answer(broker, &reply, Lane::Client, answer);
                None
            }
        }
    }

    /// As `produce.rs note_refused`.
    fn note_refused(&mut self, broker: usize, partition: usize, batch: &[u8], refused: Refused) {
        if refused == Refused::NotKept && partition < DATA_PARTITIONS {
            self.on_unnoted(partition, batch);
        }
        let now = Timestamp(i64::try_from(self.now).expect("early"));
        let held = self.machines[broker].process.as_mut().and_then(|process| process.held.get_mut(&partition));
        if self.setup.rules.first_batches == FirstBatches::Kept
            && refused != Refused::OutOfOrder
            && let (Some(held), Ok(header)) = (held, BatchHeader::decode(batch))
        {
            held.log.on_refused(&header, now);
        }
    }

    /// Stops in good order once it leads nothing.
    fn stop_if_done(&mut self, broker: usize) {
        let image = Arc::clone(self.quorum.newest());
        let Some(epoch) = self.incarnation(broker) else { return };
        let Some(process) = &self.machines[broker].process else { return };
        if !process.stops {
            return;
        }
        let Some(known) = image.broker(broker_id(broker)).filter(|known| known.epoch == epoch) else { return };
        if !known.shutting_down {
            if !self.is_pending(broker, |it| matches!(it, Pending::Other)) {
                let command = Command::ShutDownBroker { broker: broker_id(broker), epoch };
                self.ask_controller(broker, Request::Propose(command), Pending::Other);
            }
            return;
        }
        if process.held.values().any(|held| held.replica.leads().is_some()) {
            return;
        }
        let Some(process) = self.machines[broker].process.take() else { return };
        let crate::machine::Process { dir, held, .. } = process;
        let closed = held.into_values().try_for_each(|held| held.log.close());
        let marked = closed
            .map_err(|error| error.to_string())
            .and_then(|()| dir.close_as(Some(epoch.0)).map_err(|it| it.to_string()));
        self.trace.note(self.now, || format!("{broker} stops: {:?}", marked.is_ok()));
        if let Err(error) = marked {
            self.wrong("whole", || format!("broker {broker} does not stop well: {error}"));
        }
        self.on_gone(broker);
    }
}
