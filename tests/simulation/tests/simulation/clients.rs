//! Producers that are idempotent and never give up, and consumers that commit what they have read and come back now and then.
//!
//! Must not know: what brokers are.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use cairn_protocol::ids::{Offset, ProducerEpoch, ProducerId, Timestamp};
use cairn_protocol::records::{BatchBuilder, BatchIter, BatchProducer, DecompressLimits, NewRecord};
use cairn_storage::log::{FirstBatch, Limits};

use crate::held::Reply;
use crate::message::{Answer, Lane, Refused, Request};
use crate::network::{CallId, Node};
use crate::setup::{DATA_PARTITIONS, OFFSETS, PARTITIONS};
use crate::world::{Event, Phase, World, place_of};

/// Batches of one partition that are not acknowledged: Kafka's `max.in.flight.requests.per.connection`, which is as many as a
/// broker remembers.
const IN_FLIGHT_MAX: usize = 5;
/// So many records are read before they are committed.
const COMMIT_EVERY: u64 = 8;

#[derive(Debug)]
struct Batch {
    sequence: i32,
    values: Vec<Vec<u8>>,
    bytes: Bytes,
    call: Option<CallId>,
    acked: Option<i64>,
    /// A broker has refused it that could not remember so.
    was_unnoted: bool,
}

/// A producer.
#[derive(Debug)]
pub(crate) struct Producer {
    pub(crate) node: Node,
    numbers: u64,
    sequences: [i32; DATA_PARTITIONS],
    epochs: [i16; DATA_PARTITIONS],
    /// It has given a batch up, and begins a new epoch once all others are answered.
    begins_anew: [bool; DATA_PARTITIONS],
    open: [VecDeque<Batch>; DATA_PARTITIONS],
    rests_until: [u64; DATA_PARTITIONS],
    refused: [Option<Refused>; DATA_PARTITIONS],
    calls: BTreeMap<CallId, (Node, usize)>,
    leaders: Leaders,
}

/// A consumer of one partition.
#[derive(Debug)]
pub(crate) struct Consumer {
    pub(crate) node: Node,
    partition: usize,
    /// Where it goes on; none until it has asked.
    position: Option<i64>,
    read: u64,
    /// The last commit that was acknowledged.
    acked: Option<i64>,
    call: Option<(CallId, Node, Asked)>,
    leaders: Leaders,
}

#[derive(Clone, Copy, Debug)]
enum Asked {
    Records,
    /// When so much was acknowledged.
    End(i64),
    Commit(i64),
    /// When this was acknowledged, and that was told.
    Offset(Option<i64>, Option<i64>),
    /// As somebody who watches another consumer.
    Watched(usize, Option<i64>),
}

/// Who leads, as far as a client knows, and the question about it that is not answered.
#[derive(Debug)]
struct Leaders {
    known: Vec<Option<Node>>,
    asked: Option<(CallId, Node)>,
}

impl Leaders {
    fn new() -> Self {
        Self { known: vec![None; PARTITIONS], asked: None }
    }
}

impl Producer {
    pub(crate) fn new(node: Node) -> Self {
        Self {
            node,
            numbers: 0,
            sequences: [0; DATA_PARTITIONS],
            epochs: [0; DATA_PARTITIONS],
            begins_anew: [false; DATA_PARTITIONS],
            open: Default::default(),
            rests_until: [0; DATA_PARTITIONS],
            refused: [None; DATA_PARTITIONS],
            calls: BTreeMap::new(),
            leaders: Leaders::new(),
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.open.iter().all(VecDeque::is_empty)
    }

    pub(crate) fn told(&self) -> String {
        format!(
            "{:?} batches are open, the last refusals were {:?}",
            self.open.each_ref().map(VecDeque::len),
            self.refused
        )
    }

    /// A batch was refused. Answers how many are given up: those that no broker will ever take. Kafka's client does so after
    /// `delivery.timeout.ms`, tells its application, and goes on in a new epoch.
    fn on_refused(&mut self, partition: usize, call: CallId, refused: Refused, now: u64) -> u64 {
        self.rests_until[partition] = now + 50;
        self.leaders.known[partition] = None;
        let open = &mut self.open[partition];
        let Some(at) = open.iter().position(|batch| batch.call == Some(call)) else { return 0 };
        open[at].call = None;
        let is_first = at == 0 && open[at].was_unnoted;
        let is_passed = open.iter().any(|batch| batch.acked.is_some());
        if refused != Refused::OutOfOrder || !is_first || !is_passed {
            return 0;
        }
        let mut given_up = 0;
        while open.pop_front_if(|batch| batch.acked.is_none() && batch.was_unnoted).is_some() {
            given_up += 1;
        }
        self.begins_anew[partition] = true;
        self.take_answered(partition);
        given_up
    }

    fn take_answered(&mut self, partition: usize) {
        while self.open[partition].pop_front_if(|batch| batch.acked.is_some()).is_some() {}
        if self.begins_anew[partition] && self.open[partition].is_empty() {
            self.begins_anew[partition] = false;
            self.epochs[partition] += 1;
            self.sequences[partition] = 0;
        }
    }

    /// What was sent to a partition is sent again, in its order.
    fn again(&mut self, partition: usize, now: u64) {
        for batch in &mut self.open[partition] {
            if let Some(call) = batch.call.take() {
                self.calls.remove(&call);
            }
        }
        self.rests_until[partition] = now + 50;
        self.leaders.known[partition] = None;
    }
}

impl Consumer {
    pub(crate) fn new(node: Node, partition: usize) -> Self {
        Self { node, partition, position: None, read: 0, acked: None, call: None, leaders: Leaders::new() }
    }
}

/// A value says who wrote it, and its number.
fn value(producer: Node, number: u64) -> Vec<u8> {
    let fill = usize::try_from(number.wrapping_mul(2_654_435_761) % 300).expect("small");
    format!("{producer}-{number} {}", "x".repeat(fill)).into_bytes()
}

pub(crate) fn number_of(value: &[u8]) -> Option<(u64, u64)> {
    let text = std::str::from_utf8(value).ok()?;
    let (producer, number) = text.split_once(' ')?.0.split_once('-')?;
    Some((producer.parse().ok()?, number.parse().ok()?))
}

impl World {
    /// A broker has refused a batch, and cannot remember that, whether or not the producer hears of it.
    pub(crate) fn on_unnoted(&mut self, partition: usize, bytes: &[u8]) {
        let open = self.producers.iter_mut().flat_map(|producer| &mut producer.open[partition]);
        open.filter(|batch| batch.bytes == bytes).for_each(|batch| batch.was_unnoted = true);
    }

    pub(crate) fn on_client(&mut self, node: Node) {
        let after = self.dice.among(5, 60);
        self.at(self.now + after, Event::Client(node));
        match node - self.setup.brokers {
            place if place < self.setup.producers => self.produce(place),
            place => self.consume(place - self.setup.producers),
        }
    }

    fn leaders_of(&mut self, node: Node) -> &mut Leaders {
        match node - self.setup.brokers {
            place if place < self.setup.producers => &mut self.producers[place].leaders,
            place => &mut self.consumers[place - self.setup.producers].leaders,
        }
    }

    /// Asks who leads, unless that is asked.
    fn ask_leaders(&mut self, node: Node) {
        if self.leaders_of(node).asked.is_none() {
            let at = self.dice.place(self.setup.brokers);
            let call = self.call(node, at, Lane::Client, Request::Leaders);
            self.leaders_of(node).asked = Some((call, at));
        }
    }

    fn produce(&mut self, place: usize) {
        let partition = self.dice.place(DATA_PARTITIONS);
        let records = 1 + self.dice.among(0, 3);
        let producer = &mut self.producers[place];
        let has_room = producer.open[partition].len() < IN_FLIGHT_MAX && !producer.begins_anew[partition];
        if self.phase == Phase::Faults && has_room {
            let values: Vec<_> =
                (producer.numbers..producer.numbers + records).map(|at| value(producer.node, at)).collect();
            producer.numbers += records;
            let sequence = producer.sequences[partition];
            let mut builder = BatchBuilder::new();
            for value in &values {
                let timestamp = Timestamp(i64::try_from(self.now).expect("early"));
                let record = NewRecord { timestamp, key: None, value: Some(value), headers: &[] };
                builder.append(&record).expect("a small record fits");
            }
            let id = ProducerId(i64::try_from(producer.node).expect("few"));
            let stamp = BatchProducer { id, epoch: ProducerEpoch(producer.epochs[partition]), base_sequence: sequence };
            let bytes = builder.finish(Some(stamp)).expect("a small batch is whole");
            producer.sequences[partition] = sequence + i32::try_from(records).expect("few");
            let batch = Batch { sequence, values, bytes, call: None, acked: None, was_unnoted: false };
            producer.open[partition].push_back(batch);
        }
        for partition in 0..DATA_PARTITIONS {
            self.send_open(place, partition);
        }
    }

    fn send_open(&mut self, place: usize, partition: usize) {
        let producer = &self.producers[place];
        let node = producer.node;
        if producer.open[partition].iter().all(|batch| batch.call.is_some())
            || producer.rests_until[partition] > self.now
        {
            return;
        }
        let Some(leader) = producer.leaders.known[partition] else { return self.ask_leaders(node) };
        for at in 0..self.producers[place].open[partition].len() {
            let batch = &self.producers[place].open[partition][at];
            if batch.call.is_some() || batch.acked.is_some() {
                continue;
            }
            let request = Request::Produce { partition, batch: batch.bytes.clone() };
            let call = self.call(node, leader, Lane::Client, request);
            let producer = &mut self.producers[place];
            let sequence = producer.open[partition][at].sequence;
            self.trace.note(self.now, || format!("{node} sends {sequence} of partition {partition} to {leader}"));
            producer.open[partition][at].call = Some(call);
            producer.calls.insert(call, (leader, partition));
        }
    }

    fn consume(&mut self, place: usize) {
        let consumer = &self.consumers[place];
        if consumer.call.is_some() {
            return;
        }
        let (node, partition, number) = (consumer.node, consumer.partition, place);
        let comes_back = consumer.position.is_some() && self.dice.percent(2);
        let asks_end = self.dice.percent(10);
        let (watches, watched) = (self.dice.percent(10), self.dice.place(self.setup.consumers));
        let consumer = &mut self.consumers[place];
        if comes_back {
            (consumer.position, consumer.read) = (None, 0);
        }
        let acked = self.truth.acked_end[partition];
        let (at, request, asked) = match consumer.position {
            None => {
                let told = self.truth.told.get(&number).copied().flatten();
                (OFFSETS, Request::FetchOffset { consumer: number, partition }, Asked::Offset(consumer.acked, told))
            }
            Some(_) if watches => {
                let told = self.truth.told.get(&watched).copied().flatten();
                let request = Request::FetchOffset { consumer: watched, partition: watched % DATA_PARTITIONS };
                (OFFSETS, request, Asked::Watched(watched, told))
            }
            Some(offset) if consumer.read >= COMMIT_EVERY => {
                (OFFSETS, Request::CommitOffset { consumer: number, partition, offset }, Asked::Commit(offset))
            }
            Some(_) if asks_end => (partition, Request::End { partition }, Asked::End(acked)),
            Some(offset) => (partition, Request::Fetch { partition, from: Offset(offset) }, Asked::Records),
        };
        let Some(leader) = consumer.leaders.known[at] else { return self.ask_leaders(node) };
        let call = self.call(node, leader, Lane::Client, request);
        self.consumers[place].call = Some((call, leader, asked));
    }

    pub(crate) fn client_calls(&self, from: Node, to: Node) -> Vec<CallId> {
        let place = from - self.setup.brokers;
        let (leaders, mut calls) = if let Some(producer) = self.producers.get(place) {
            let calls = producer.calls.iter().filter(|(_, (at, _))| *at == to).map(|(call, _)| *call).collect();
            (&producer.leaders, calls)
        } else {
            let consumer = &self.consumers[place - self.setup.producers];
            let calls: Vec<_> = consumer.call.iter().filter(|(_, at, _)| *at == to).map(|(call, _, _)| *call).collect();
            (&consumer.leaders, calls)
        };
        calls.extend(leaders.asked.iter().filter(|(_, at)| *at == to).map(|(call, _)| *call));
        calls
    }

    pub(crate) fn on_client_failed(&mut self, node: Node, call: CallId) {
        let now = self.now;
        let leaders = self.leaders_of(node);
        if leaders.asked.is_some_and(|(asked, _)| asked == call) {
            leaders.asked = None;
            return;
        }
        let place = node - self.setup.brokers;
        if let Some(producer) = self.producers.get_mut(place) {
            if let Some((_, partition)) = producer.calls.remove(&call) {
                producer.again(partition, now);
            }
            return;
        }
        let consumer = &mut self.consumers[place - self.setup.producers];
        if consumer.call.is_some_and(|(asked, _, _)| asked == call) {
            consumer.call = None;
            consumer.leaders = Leaders { asked: consumer.leaders.asked, ..Leaders::new() };
        }
    }

    pub(crate) fn on_client_answer(&mut self, node: Node, call: CallId, answer: Answer) {
        if let Answer::Leaders(known) = answer {
            let leaders = self.leaders_of(node);
            if leaders.asked.is_some_and(|(asked, _)| asked == call) {
                *leaders = Leaders { known: known.into_iter().map(|id| id.map(place_of)).collect(), asked: None };
            }
            return;
        }
        let place = node - self.setup.brokers;
        match answer {
            Answer::Produced(outcome) => self.on_produced(place, call, outcome),
            other => self.on_consumed(place - self.setup.producers, call, other),
        }
    }

    fn on_produced(&mut self, place: usize, call: CallId, outcome: Result<Offset, Refused>) {
        let producer = &mut self.producers[place];
        let Some((_, partition)) = producer.calls.remove(&call) else { return };
        let base = match outcome {
            Ok(base) => base.0,
            Err(refused) => {
                producer.refused[partition] = Some(refused);
                self.sum.given_up += producer.on_refused(partition, call, refused, self.now);
                return;
            }
        };
        let Some(batch) = producer.open[partition].iter_mut().find(|batch| batch.call == Some(call)) else { return };
        batch.acked = Some(base);
        self.trace.note(self.now, || format!("{} hears that sequence {} is at {base}", producer.node, batch.sequence));
        for (value, offset) in batch.values.iter().zip(base..) {
            self.sum.acked += 1;
            self.truth.acked[partition].insert(value.clone(), offset);
            let end = &mut self.truth.acked_end[partition];
            *end = (*end).max(offset + 1);
        }
        producer.take_answered(partition);
    }

    fn on_consumed(&mut self, place: usize, call: CallId, answer: Answer) {
        let consumer = &mut self.consumers[place];
        let Some((_, _, asked)) = consumer.call.take_if(|(asked, _, _)| *asked == call) else { return };
        let partition = consumer.partition;
        let is_refused = matches!(
            answer,
            Answer::Fetched(Err(_)) | Answer::End(Err(_)) | Answer::Committed(Err(_)) | Answer::Offset(Err(_))
        );
        if is_refused {
            consumer.leaders = Leaders { asked: consumer.leaders.asked, ..Leaders::new() };
        }
        match (asked, answer) {
            (Asked::Records, Answer::Fetched(Ok(records))) => {
                consumer.read += u64::try_from(records.len()).expect("few");
                if let Some((last, _)) = records.last() {
                    consumer.position = Some(last + 1);
                }
                for (offset, value) in records {
                    self.on_read(partition, offset, value);
                }
            }
            (Asked::End(acked), Answer::End(Ok(end))) => self.check_end(partition, end.0, acked),
            (Asked::Commit(offset), Answer::Committed(Ok(()))) => {
                (consumer.acked, consumer.read) = (Some(offset), 0);
                self.sum.commits += 1;
            }
            (Asked::Offset(acked, told), Answer::Offset(Ok(offset))) => {
                consumer.position = Some(offset.unwrap_or(0));
                self.check_offset(place, partition, offset, acked);
                self.check_told(place, offset, told);
            }
            (Asked::Watched(watched, told), Answer::Offset(Ok(offset))) => self.check_told(watched, offset, told),
            _ => {}
        }
    }

    /// A client asks a broker.
    pub(crate) fn on_client_request(&mut self, at: usize, reply: Reply, request: Request) {
        let answer = match request {
            Request::Leaders => Answer::Leaders(self.leaders_seen(at)),
            Request::Produce { partition, batch } => {
                self.append(at, partition, &batch, reply, false);
                return;
            }
            Request::CommitOffset { consumer, partition, offset } => {
                match self.decide_commit(at, consumer, partition, offset) {
                    Ok((records, batch)) => {
                        if let Some((base, end)) = self.append(at, OFFSETS, &batch, reply, true) {
                            self.on_commit_appended(at, base, end, records);
                        }
                        return;
                    }
                    Err(refused) => Answer::Committed(Err(refused)),
                }
            }
            Request::Fetch { partition, from } => Answer::Fetched(self.fetch(at, partition, from)),
            Request::End { partition } => Answer::End(self.end_of(at, partition)),
            Request::FetchOffset { consumer, partition } => Answer::Offset(self.offset_of(at, consumer, partition)),
            Request::Pushes(_) | Request::Heartbeat { .. } | Request::Propose(_) | Request::Entries { .. } => return,
        };
        self.answer(at, &reply, Lane::Client, answer);
    }

    fn leaders_seen(&self, at: usize) -> Vec<Option<cairn_protocol::ids::BrokerId>> {
        let seen = self.machines[at].process.as_ref().map_or(0, |process| process.seen);
        let image = self.quorum.image(seen);
        let leader = |partition: usize| {
            let (topic, index) = crate::world::partition_id(partition);
            image.topic(topic)?.partition(index)?.leader
        };
        (0..PARTITIONS).map(leader).collect()
    }

    fn fetch(&self, at: usize, partition: usize, from: Offset) -> Result<Vec<(i64, Vec<u8>)>, Refused> {
        let held = self.machines[at].process.as_ref().and_then(|process| process.held.get(&partition));
        let held =
            held.filter(|held| held.replica.leads().is_some() && self.holds_lease(at)).ok_or(Refused::NotLeader)?;
        let end = held.replica.high_watermark();
        if from >= end {
            return Ok(Vec::new());
        }
        let limits = Limits { max_bytes: 1_000, first_batch: FirstBatch::AtLeastOne, end };
        let read = held.log.reader().read(from, limits).map_err(|_| Refused::OutOfRange)?;
        let mut records = Vec::new();
        for batch in BatchIter::new(&read.bytes).filter_map(Result::ok) {
            let of_batch = batch.records(&read.bytes, &DecompressLimits::default()).map_err(|_| Refused::Storage)?;
            let wanted = of_batch.iter().filter_map(Result::ok).filter(|record| record.offset >= from);
            records.extend(wanted.map(|record| (record.offset.0, record.value.unwrap_or_default().to_vec())));
        }
        Ok(records)
    }

    fn end_of(&self, at: usize, partition: usize) -> Result<Offset, Refused> {
        let held = self.machines[at].process.as_ref().and_then(|process| process.held.get(&partition));
        let held =
            held.filter(|held| held.replica.leads().is_some() && self.holds_lease(at)).ok_or(Refused::NotLeader)?;
        if held.replica.knows_the_end() { Ok(held.replica.high_watermark()) } else { Err(Refused::NotKnownYet) }
    }
}
