//! Connections between brokers and clients: in order within one, in no order between two, slow, cut, and broken.
//!
//! A call is a request and its answer over one connection. A cut holds what is under way until it heals; nobody notices but by
//! waiting. A connection that breaks fails its calls at once; of the requests in it some arrive all the same, late, and are
//! answered to nobody: a client's first ones, of brokers' any.
//!
//! Must not know: what messages say.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::dice::Dice;
use crate::message::{Body, Lane, Request};

/// Brokers first, then clients.
pub(crate) type Node = usize;

/// A call, unique in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CallId(pub(crate) u64);

/// Something on its way.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    pub(crate) from: Node,
    pub(crate) to: Node,
    /// The life of the process that it is for: no connection outlives one.
    pub(crate) to_life: u64,
    pub(crate) call: CallId,
    pub(crate) lane: Lane,
    pub(crate) body: Body,
}

impl Envelope {
    fn is_commit(&self) -> bool {
        matches!(self.body, Body::Request(Request::CommitOffset { .. }))
    }
}

/// One direction of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Way {
    pub(crate) from: Node,
    pub(crate) to: Node,
    pub(crate) lane: Lane,
    pub(crate) is_answers: bool,
}

#[derive(Debug)]
pub(crate) struct Network {
    ways: BTreeMap<Way, VecDeque<(u64, Envelope)>>,
    /// How many reasons there are why nothing arrives.
    cuts: BTreeMap<(Node, Node), u32>,
    delay_ms: (u64, u64),
    dice: Dice,
    calls: u64,
}

impl Network {
    pub(crate) fn new(seed: u64, delay_ms: (u64, u64)) -> Self {
        Self { ways: BTreeMap::new(), cuts: BTreeMap::new(), delay_ms, dice: Dice::new(seed, 3), calls: 0 }
    }

    pub(crate) fn next_call(&mut self) -> CallId {
        self.calls += 1;
        CallId(self.calls)
    }

    /// Puts a message on its way. Answers when to look whether it has arrived.
    pub(crate) fn send(&mut self, envelope: Envelope, now: u64) -> (Way, u64) {
        let way = Way {
            from: envelope.from,
            to: envelope.to,
            lane: envelope.lane,
            is_answers: matches!(envelope.body, Body::Answer(_)),
        };
        // A broker's word to itself takes no time worth the name.
        let delay = if way.from == way.to { 1 } else { self.dice.among(self.delay_ms.0, self.delay_ms.1 + 1) };
        let queue = self.ways.entry(way).or_default();
        let ready = (now + delay).max(queue.back().map_or(0, |(ready, _)| *ready));
        queue.push_back((ready, envelope));
        (way, ready)
    }

    /// What has arrived, if anything.
    pub(crate) fn arrived(&mut self, way: Way, now: u64) -> Option<Envelope> {
        if self.is_cut(way.from, way.to) {
            return None;
        }
        let queue = self.ways.get_mut(&way)?;
        queue.pop_front_if(|(ready, _)| *ready <= now).map(|(_, envelope)| envelope)
    }

    pub(crate) fn is_cut(&self, from: Node, to: Node) -> bool {
        from != to && self.cuts.contains_key(&(from, to))
    }

    pub(crate) fn cut(&mut self, from: Node, to: Node) {
        *self.cuts.entry((from, to)).or_default() += 1;
    }

    /// One reason less. Answers on which ways something may arrive now.
    pub(crate) fn heal(&mut self, from: Node, to: Node) -> Vec<Way> {
        if let Some(reasons) = self.cuts.get_mut(&(from, to)) {
            *reasons -= 1;
            if *reasons == 0 {
                self.cuts.remove(&(from, to));
            }
        }
        self.ways.keys().filter(|way| (way.from, way.to) == (from, to)).copied().collect()
    }

    pub(crate) fn cuts(&self) -> BTreeSet<(Node, Node)> {
        self.cuts.keys().copied().collect()
    }

    /// The connections of `from` to `to` break. Answers which requests arrive all the same, and when.
    pub(crate) fn reset(&mut self, from: Node, to: Node, now: u64) -> Vec<(u64, Envelope)> {
        let mut strays = Vec::new();
        let ways: Vec<Way> = self.ways.keys().copied().collect();
        for way in ways {
            let queue = match (way.is_answers, way.from, way.to) {
                (false, a, b) if (a, b) == (from, to) => self.ways.remove(&way),
                (true, b, a) if (a, b) == (from, to) => {
                    self.ways.remove(&way);
                    None
                }
                _ => None,
            };
            let queue = queue.unwrap_or_default();
            if way.lane == Lane::Client {
                // What a broker's socket has already is read, in its order.
                let arrives = self.dice.place(queue.len() + 1);
                let at = now + self.dice.among(1, 3_000);
                let read = queue.into_iter().take(arrives).map(|(_, envelope)| (at, envelope));
                // A commit that comes after a later one is what Kafka's clients live with.
                strays.extend(read.filter(|(_, envelope)| !envelope.is_commit()));
                continue;
            }
            for (_, envelope) in queue {
                if self.dice.percent(50) {
                    strays.push((now + self.dice.among(1, 3_000), envelope));
                }
            }
        }
        strays
    }
}
