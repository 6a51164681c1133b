//! What clients saw, in the order of time, and the rules that it must keep.
//!
//! The rules are those of Jepsen's Kafka workload for single writes, with some that it lacks; each stands in `rules.rs`. It must not
//! know who wrote the events.

mod rules;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, ensure};
pub use rules::{Anomaly, Rule, judge};

use crate::report::say;

/// How many anomalies are said one by one.
const PRINTED_MAX: usize = 20;

/// A value that is written at most once: who wrote it, and its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Value {
    /// The producer.
    pub producer: u32,
    /// Counts up within the producer.
    pub number: u64,
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.producer, self.number)
    }
}

impl Value {
    /// The bytes of this value as the producers of `tests/foreign/streaming.py` write them: its length depends on its number.
    pub fn text(self) -> String {
        let mixed = self.number.wrapping_mul(2_654_435_761) % (1 << 32);
        let times = usize::try_from(self.number % 37).unwrap_or(0) + 1;
        format!("{}-{} {}", self.producer, self.number, format!("{mixed:x}").repeat(times))
    }

    /// The bytes of this value as Apache Kafka's verifiable producer writes them.
    pub fn plain_text(self) -> String {
        format!("{}.{}", self.producer, self.number)
    }

    /// The value of such bytes; none when they are not exactly what was written.
    pub fn from_text(text: &str) -> Option<Value> {
        if let Some((producer, number)) = text.split_once('.') {
            let value = Value { producer: producer.parse().ok()?, number: number.parse().ok()? };
            return (value.plain_text() == text).then_some(value);
        }
        let (name, _) = text.split_once(' ')?;
        let (producer, number) = name.split_once('-')?;
        let value = Value { producer: producer.parse().ok()?, number: number.parse().ok()? };
        (value.text() == text).then_some(value)
    }
}

/// One thing that one process saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// A send began.
    Sent(Value),
    /// It was acknowledged, at an offset that the broker may have left out.
    Acked(Value, Option<i64>),
    /// It surely did not happen.
    Failed(Value),
    /// Reading was put to an offset (-1: there was none); what was read before no longer binds what comes next.
    Positioned(i64),
    /// A record was read; none stands for bytes that nobody wrote.
    Read(i64, Option<Value>),
    /// A commit was acknowledged.
    Committed(i64),
    /// The committed offset was asked for, and was this (-1: none).
    Resumed(i64),
    /// The end of the partition was asked for, and was this.
    End(i64),
    /// With what was read last came this high watermark.
    HighWatermark(i64),
}

/// An event: when, by which process, in which partition, what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Nanoseconds of a clock that all processes share.
    pub at: u64,
    /// The process that saw it. Commits are kept apart by process too: each has its group.
    pub process: u32,
    /// The partition.
    pub partition: i32,
    /// What it saw.
    pub seen: Seen,
}

/// How often a producer's value may stand in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Retries may repeat it.
    AtLeastOnce,
    /// Idempotent.
    ExactlyOnce,
}

/// Whether a partition is led by the same broker all the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Leaders {
    /// One, which may die and come back.
    #[default]
    One,
    /// One after the other. A new one may tell readers a lower high watermark than the one before, as Apache Kafka's do, until the others
    /// have fetched from it; only the end that is asked for waits for that (KIP-207). So what was read is not compared with the high
    /// watermarks that come later.
    Several,
}

/// All that was seen.
#[derive(Debug, Default)]
pub struct History {
    events: Vec<Event>,
    deliveries: BTreeMap<u32, Delivery>,
    leaders: Leaders,
}

impl History {
    /// Says what a producer promises; without a word it is idempotent.
    pub fn promise(&mut self, producer: u32, delivery: Delivery) {
        self.deliveries.insert(producer, delivery);
    }

    /// Says who leads the partitions; without a word it is one broker.
    pub fn led_by(&mut self, leaders: Leaders) {
        self.leaders = leaders;
    }

    /// Adds one process's events, in their own order.
    pub fn add(&mut self, events: impl IntoIterator<Item = Event>) {
        self.events.extend(events);
    }

    /// The events by time; those of one process at one time stay in their order.
    pub fn in_order(mut self) -> Self {
        self.events.sort_by_key(|event| event.at);
        self
    }

    /// Fails when a rule is broken; says where, under the name of the suite.
    pub fn must_hold(&self, suite: &str) -> anyhow::Result<()> {
        let anomalies = judge(self);
        for anomaly in anomalies.iter().take(PRINTED_MAX) {
            say(&format!("{suite}: {anomaly}"));
        }
        ensure!(anomalies.is_empty(), "{} anomalies", anomalies.len());
        Ok(())
    }

    /// Writes it to a file, an event a line, for a person to look at.
    pub fn write(&self, path: &Path) -> anyhow::Result<()> {
        let mut file = BufWriter::new(File::create(path)?);
        for Event { at, process, partition, seen } in &self.events {
            writeln!(file, "{at} process {process} partition {partition} {seen:?}")?;
        }
        Ok(file.flush()?)
    }

    /// Whether a producer got an acknowledgement at that time or later.
    pub fn acked_since(&self, process: u32, at: u64) -> bool {
        let acked = |event: &Event| matches!(event.seen, Seen::Acked(..)) && event.process == process;
        self.events.iter().any(|event| event.at >= at && acked(event))
    }

    /// How much was seen, for a report.
    pub fn totals(&self) -> String {
        let acked = self.count(|seen| matches!(seen, Seen::Acked(..)));
        let read = self.count(|seen| matches!(seen, Seen::Read(..)));
        let commits = self.count(|seen| matches!(seen, Seen::Committed(_)));
        format!("acked={acked} read={read} commits={commits}")
    }

    /// How many events of a kind there are.
    fn count(&self, kind: impl Fn(&Seen) -> bool) -> usize {
        self.events.iter().filter(|event| kind(&event.seen)).count()
    }
}

/// Reads one line of `tests/foreign/streaming.py`.
pub fn parse(process: u32, line: &str) -> anyhow::Result<Option<Event>> {
    let mut words = line.splitn(5, ' ');
    let kind = words.next().unwrap_or_default();
    let mut number = || -> anyhow::Result<i64> {
        words.next().context("a number")?.parse().with_context(|| format!("line {line:?}"))
    };
    let value = |number: i64| anyhow::Ok(Value { producer: process, number: u64::try_from(number)? });
    let (partition, at, seen) = match kind {
        "S" | "F" | "I" => {
            let (name, partition, at) = (value(number()?)?, number()?, number()?);
            match kind {
                "S" => (partition, at, Seen::Sent(name)),
                "F" => (partition, at, Seen::Failed(name)),
                // Nobody knows: the same as a send that never ended.
                _ => return Ok(None),
            }
        }
        "A" => {
            let (name, partition, offset, at) = (value(number()?)?, number()?, number()?, number()?);
            (partition, at, Seen::Acked(name, (offset >= 0).then_some(offset)))
        }
        "G" | "C" | "E" | "H" => {
            let (partition, offset, at) = (number()?, number()?, number()?);
            let seen = match kind {
                "G" => Seen::Resumed(offset),
                "C" => Seen::Committed(offset),
                "H" => Seen::HighWatermark(offset),
                _ => Seen::End(offset),
            };
            (partition, at, seen)
        }
        "R" => {
            let (partition, offset, at) = (number()?, number()?, number()?);
            (partition, at, Seen::Read(offset, words.next().and_then(Value::from_text)))
        }
        _ => anyhow::bail!("line {line:?}"),
    };
    Ok(Some(Event { at: u64::try_from(at)?, process, partition: i32::try_from(partition)?, seen }))
}
