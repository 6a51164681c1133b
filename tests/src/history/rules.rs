//! The rules of a history, each a function from what was seen to what breaks it.
//!
//! It must not know brokers or clients.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use super::{Delivery, Event, History, Leaders, Seen, Value};

/// A rule that a history can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rule {
    /// Two values stand at one offset.
    InconsistentOffsets,
    /// A value of an idempotent producer stands at two offsets.
    Duplicate,
    /// A value that surely was not written was read.
    AbortedRead,
    /// Something was read that nobody wrote.
    UnknownValue,
    /// An acknowledged value was passed over by those who read further than it.
    LostWrite,
    /// An acknowledged value was never read, though everything was read to the end.
    Unseen,
    /// A reader left out an offset that was there.
    PollSkip,
    /// A reader went back.
    NonmonotonicPoll,
    /// A producer's values do not stand in the order in which it sent them.
    NonmonotonicSend,
    /// A value was acknowledged at or below an offset that was known before its send began.
    BehindKnownOffset,
    /// A committed offset was lower than one whose commit had been acknowledged.
    CommitWentBack,
    /// A committed offset lay behind all that is in the partition.
    CommitBeyondEnd,
    /// A partition's end was lower than the same client had seen it, or than an offset that it had read.
    EndWentBack,
    /// A record was read that lies at or behind the high watermark that its reader was told, by the one leader that there was.
    ReadBehindHighWatermark,
    /// A client that had an acknowledgement, and then asked for the partition's end, found it before that record.
    AckNotReadable,
}

impl Rule {
    /// All rules.
    pub const ALL: [Rule; 15] = [
        Rule::InconsistentOffsets,
        Rule::Duplicate,
        Rule::AbortedRead,
        Rule::UnknownValue,
        Rule::LostWrite,
        Rule::Unseen,
        Rule::PollSkip,
        Rule::NonmonotonicPoll,
        Rule::NonmonotonicSend,
        Rule::BehindKnownOffset,
        Rule::CommitWentBack,
        Rule::CommitBeyondEnd,
        Rule::EndWentBack,
        Rule::ReadBehindHighWatermark,
        Rule::AckNotReadable,
    ];
}

/// A rule broken, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anomaly {
    /// Which.
    pub rule: Rule,
    /// Where.
    pub partition: i32,
    /// How.
    pub detail: String,
}

impl fmt::Display for Anomaly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} in partition {}: {}", self.rule, self.partition, self.detail)
    }
}

/// Everything that breaks a rule, in a history whose end was read by somebody.
pub fn judge(history: &History) -> Vec<Anomaly> {
    let mut partitions: BTreeMap<i32, Vec<&Event>> = BTreeMap::new();
    for event in &history.events {
        partitions.entry(event.partition).or_default().push(event);
    }
    let mut anomalies = Vec::new();
    for (partition, events) in partitions {
        let log = Log::of(&events);
        let mut report = |rule, detail| anomalies.push(Anomaly { rule, partition, detail });
        places(&log, history, &mut report);
        reads(&log, &events, &mut report);
        losses(&log, &mut report);
        polls(&log, &events, &mut report);
        sends(&log, &events, history, &mut report);
        known_offsets(&events, &mut report);
        commits(&log, &events, &mut report);
        ends(&events, &mut report);
        if history.leaders == Leaders::One {
            high_watermarks(&events, &mut report);
        }
        own_acks(&events, &mut report);
    }
    anomalies
}

/// What a partition's events say about its log.
#[derive(Default)]
struct Log {
    /// Values seen at each offset, by acknowledgements and reads.
    at: BTreeMap<i64, BTreeSet<Value>>,
    /// Offsets at which each value was seen.
    of: HashMap<Value, BTreeSet<i64>>,
    acked: BTreeSet<Value>,
    failed: HashSet<Value>,
    read: HashSet<Value>,
    /// The highest offset that was read.
    read_last: Option<i64>,
    /// The place of an offset among those that are known: gaps are legal.
    index: HashMap<i64, usize>,
}

impl Log {
    fn of(events: &[&Event]) -> Log {
        let mut log = Log::default();
        for event in events {
            match event.seen {
                Seen::Acked(value, offset) => {
                    log.acked.insert(value);
                    if let Some(offset) = offset {
                        log.place(offset, value);
                    }
                }
                Seen::Failed(value) => drop(log.failed.insert(value)),
                Seen::Read(offset, value) => {
                    log.read_last = log.read_last.max(Some(offset));
                    log.at.entry(offset).or_default();
                    if let Some(value) = value {
                        log.read.insert(value);
                        log.place(offset, value);
                    }
                }
                Seen::Sent(_)
                | Seen::Positioned(_)
                | Seen::Committed(_)
                | Seen::Resumed(_)
                | Seen::End(_)
                | Seen::HighWatermark(_) => {}
            }
        }
        log.index = log.at.keys().enumerate().map(|(index, &offset)| (offset, index)).collect();
        log
    }

    fn place(&mut self, offset: i64, value: Value) {
        self.at.entry(offset).or_default().insert(value);
        self.of.entry(value).or_default().insert(offset);
    }
}

fn places(log: &Log, history: &History, report: &mut impl FnMut(Rule, String)) {
    for (offset, values) in &log.at {
        if values.len() > 1 {
            let values: Vec<String> = values.iter().map(Value::to_string).collect();
            report(Rule::InconsistentOffsets, format!("offset {offset} holds {}", values.join(" and ")));
        }
    }
    for (value, offsets) in &log.of {
        let promise = history.deliveries.get(&value.producer).copied().unwrap_or(Delivery::ExactlyOnce);
        if promise == Delivery::ExactlyOnce && offsets.len() > 1 {
            report(Rule::Duplicate, format!("{value} stands at {offsets:?}"));
        }
    }
}

fn reads(log: &Log, events: &[&Event], report: &mut impl FnMut(Rule, String)) {
    let mut sent = HashSet::new();
    for event in events {
        match event.seen {
            Seen::Sent(value) => drop(sent.insert(value)),
            Seen::Read(offset, None) => report(Rule::UnknownValue, format!("bytes at offset {offset}")),
            Seen::Read(offset, Some(value)) if log.failed.contains(&value) => {
                report(Rule::AbortedRead, format!("{value} was read at {offset}, and had failed"));
            }
            Seen::Read(offset, Some(value)) if !sent.contains(&value) => {
                report(Rule::UnknownValue, format!("{value} was read at {offset} before anybody sent it"));
            }
            _ => {}
        }
    }
}

fn losses(log: &Log, report: &mut impl FnMut(Rule, String)) {
    for value in log.acked.difference(&log.read.iter().copied().collect()) {
        let passed = log.of.get(value).and_then(BTreeSet::last).is_some_and(|&offset| Some(offset) <= log.read_last);
        let rule = if passed { Rule::LostWrite } else { Rule::Unseen };
        report(rule, format!("{value} was acknowledged, and read to {:?} without it", log.read_last));
    }
}

fn polls(log: &Log, events: &[&Event], report: &mut impl FnMut(Rule, String)) {
    let mut last_read: HashMap<u32, i64> = HashMap::new();
    for event in events {
        match event.seen {
            // What comes first has to be at the position or, past a gap, the first behind it.
            Seen::Positioned(offset) | Seen::Resumed(offset) => {
                let before = log.at.range(..offset.max(0)).next_back().map(|(&offset, _)| offset);
                last_read.insert(event.process, before.unwrap_or(-1));
            }
            Seen::Read(offset, _) => {
                let Some(last) = last_read.insert(event.process, offset) else { continue };
                let place = |offset| log.index.get(&offset).map_or(0, |index| index + 1);
                if place(offset) <= place(last) {
                    report(Rule::NonmonotonicPoll, format!("process {} read {offset} after {last}", event.process));
                }
                if place(offset) > place(last) + 1 {
                    report(Rule::PollSkip, format!("process {} read {offset} next to {last}", event.process));
                }
            }
            _ => {}
        }
    }
}

fn sends(log: &Log, events: &[&Event], history: &History, report: &mut impl FnMut(Rule, String)) {
    let mut last_sent: HashMap<u32, (Value, i64)> = HashMap::new();
    for event in events {
        let Seen::Sent(value) = event.seen else { continue };
        let promise = history.deliveries.get(&value.producer).copied().unwrap_or(Delivery::ExactlyOnce);
        let Some(&offset) = log.of.get(&value).and_then(BTreeSet::first) else { continue };
        if promise == Delivery::AtLeastOnce {
            continue;
        }
        if let Some((before, at)) = last_sent.insert(event.process, (value, offset))
            && offset <= at
        {
            report(Rule::NonmonotonicSend, format!("{value} stands at {offset}, and {before} before it at {at}"));
        }
    }
}

fn known_offsets(events: &[&Event], report: &mut impl FnMut(Rule, String)) {
    let mut known = -1;
    let mut known_at_send = HashMap::new();
    for event in events {
        match event.seen {
            Seen::Sent(value) => drop(known_at_send.insert(value, known)),
            Seen::Acked(value, Some(offset)) => {
                if let Some(&before) = known_at_send.get(&value)
                    && offset <= before
                {
                    report(
                        Rule::BehindKnownOffset,
                        format!("{value} got {offset} when {before} was known at its send"),
                    );
                }
                known = known.max(offset);
            }
            Seen::Read(offset, _) => known = known.max(offset),
            _ => {}
        }
    }
}

fn commits(log: &Log, events: &[&Event], report: &mut impl FnMut(Rule, String)) {
    let mut committed: HashMap<u32, i64> = HashMap::new();
    let end = log.at.last_key_value().map_or(0, |(&last, _)| last + 1);
    for event in events {
        match event.seen {
            Seen::Committed(offset) => drop(committed.insert(event.process, offset)),
            Seen::Resumed(offset) => {
                if offset > end {
                    report(Rule::CommitBeyondEnd, format!("{offset} was committed, and the partition ends at {end}"));
                }
                if let Some(&before) = committed.get(&event.process)
                    && offset < before
                {
                    report(Rule::CommitWentBack, format!("{before} was committed, {offset} came back"));
                }
            }
            _ => {}
        }
    }
}

fn ends(events: &[&Event], report: &mut impl FnMut(Rule, String)) {
    let mut ends: HashMap<u32, i64> = HashMap::new();
    for event in events {
        let known = ends.entry(event.process).or_default();
        match event.seen {
            Seen::Read(offset, _) => *known = (*known).max(offset + 1),
            Seen::End(end) => {
                if end < *known {
                    report(Rule::EndWentBack, format!("process {} saw the end at {end} after {known}", event.process));
                }
                *known = (*known).max(end);
            }
            _ => {}
        }
    }
}

fn high_watermarks(events: &[&Event], report: &mut impl FnMut(Rule, String)) {
    let mut read_last: HashMap<u32, i64> = HashMap::new();
    for event in events {
        match event.seen {
            Seen::Read(offset, _) => {
                let last = read_last.entry(event.process).or_insert(offset);
                *last = (*last).max(offset);
            }
            Seen::HighWatermark(high) => {
                if let Some(&last) = read_last.get(&event.process)
                    && last >= high
                {
                    report(
                        Rule::ReadBehindHighWatermark,
                        format!("process {} read {last}, and the high watermark was {high}", event.process),
                    );
                }
            }
            _ => {}
        }
    }
}

fn own_acks(events: &[&Event], report: &mut impl FnMut(Rule, String)) {
    let mut acked_last: HashMap<u32, (Value, i64)> = HashMap::new();
    for event in events {
        match event.seen {
            Seen::Acked(value, Some(offset)) => {
                let last = acked_last.entry(event.process).or_insert((value, offset));
                if last.1 < offset {
                    *last = (value, offset);
                }
            }
            Seen::End(end) => {
                if let Some(&(value, offset)) = acked_last.get(&event.process)
                    && end <= offset
                {
                    report(
                        Rule::AckNotReadable,
                        format!("{value} was acknowledged at {offset}, and the end was {end}"),
                    );
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRODUCER: u32 = 1;
    const OTHER: u32 = 2;
    const READER: u32 = 9;

    fn value(number: u64) -> Value {
        Value { producer: PRODUCER, number }
    }

    /// A history of one partition, an event a nanosecond.
    fn history(seen: Vec<(u32, Seen)>) -> History {
        let mut history = History::default();
        history.add((0..).zip(seen).map(|(at, (process, seen))| Event { at, process, partition: 0, seen }));
        history.in_order()
    }

    /// Three sends, acknowledged at 0, 1 and 2; a reader that reads all and commits, then begins again at its commit.
    fn sound() -> Vec<(u32, Seen)> {
        let mut seen = Vec::new();
        for (number, offset) in (0..3).zip(0..) {
            seen.push((PRODUCER, Seen::Sent(value(number))));
            seen.push((PRODUCER, Seen::Acked(value(number), Some(offset))));
        }
        seen.push((PRODUCER, Seen::End(3)));
        seen.push((READER, Seen::Resumed(-1)));
        for (number, offset) in (0..3).zip(0..) {
            seen.push((READER, Seen::Read(offset, Some(value(number)))));
        }
        seen.push((READER, Seen::HighWatermark(3)));
        seen.push((READER, Seen::Committed(3)));
        seen.push((READER, Seen::Resumed(3)));
        seen
    }

    fn broken(seen: Vec<(u32, Seen)>) -> BTreeSet<Rule> {
        judge(&history(seen)).into_iter().map(|anomaly| anomaly.rule).collect()
    }

    #[test]
    fn a_sound_history_breaks_nothing() {
        assert_eq!(judge(&history(sound())), []);
    }

    #[test]
    fn unknown_outcomes_and_gaps_are_legal() {
        let mut seen = sound();
        seen.push((PRODUCER, Seen::Sent(value(3))));
        seen.push((PRODUCER, Seen::Sent(value(4))));
        seen.push((PRODUCER, Seen::Acked(value(4), None)));
        // Offset 3 is a gap; the value without a known outcome was not written; the last came without an offset.
        seen.push((READER, Seen::Read(4, Some(value(4)))));
        assert_eq!(judge(&history(seen)), []);
    }

    /// Each rule with a sound history and the change that has to break it.
    type Seed = (Rule, fn(&mut Vec<(u32, Seen)>));

    const SEEDS: [Seed; 15] = [
        (Rule::InconsistentOffsets, |seen| seen.push((OTHER, Seen::Read(1, Some(value(2)))))),
        (Rule::Duplicate, |seen| seen.push((READER, Seen::Read(3, Some(value(2)))))),
        (Rule::AbortedRead, |seen| seen.push((PRODUCER, Seen::Failed(value(1))))),
        (Rule::UnknownValue, |seen| seen.push((READER, Seen::Read(3, None)))),
        (Rule::LostWrite, |seen| seen.retain(|(_, seen)| *seen != Seen::Read(1, Some(value(1))))),
        (Rule::Unseen, |seen| seen.retain(|(_, seen)| *seen != Seen::Read(2, Some(value(2))))),
        (Rule::PollSkip, |seen| {
            seen.push((OTHER, Seen::Positioned(0)));
            seen.push((OTHER, Seen::Read(0, Some(value(0)))));
            seen.push((OTHER, Seen::Read(2, Some(value(2)))));
        }),
        (Rule::NonmonotonicPoll, |seen| seen.push((READER, Seen::Read(1, Some(value(1)))))),
        (Rule::NonmonotonicSend, |seen| {
            seen.push((PRODUCER, Seen::Sent(value(4))));
            seen.push((PRODUCER, Seen::Sent(value(5))));
            seen.push((READER, Seen::Read(3, Some(value(5)))));
            seen.push((READER, Seen::Read(4, Some(value(4)))));
        }),
        (Rule::BehindKnownOffset, |seen| {
            let late = Value { producer: OTHER, number: 0 };
            seen.push((OTHER, Seen::Sent(late)));
            seen.push((OTHER, Seen::Acked(late, Some(1))));
        }),
        (Rule::CommitWentBack, |seen| seen.push((READER, Seen::Resumed(2)))),
        (Rule::CommitBeyondEnd, |seen| seen.push((READER, Seen::Resumed(4)))),
        (Rule::EndWentBack, |seen| {
            seen.push((READER, Seen::End(5)));
            seen.push((READER, Seen::End(4)));
        }),
        (Rule::ReadBehindHighWatermark, |seen| seen.push((READER, Seen::HighWatermark(2)))),
        (Rule::AckNotReadable, |seen| seen.push((PRODUCER, Seen::End(2)))),
    ];

    #[test]
    fn every_rule_can_fail() {
        for (rule, spoil) in SEEDS {
            let mut seen = sound();
            spoil(&mut seen);
            let broken = broken(seen);
            assert!(broken.contains(&rule), "{rule:?} is not among {broken:?}");
        }
        let seeded: BTreeSet<Rule> = SEEDS.into_iter().map(|(rule, _)| rule).collect();
        assert_eq!(seeded, BTreeSet::from(Rule::ALL));
    }

    #[test]
    fn a_reader_that_starts_behind_its_commit_is_seen() {
        let mut seen = sound();
        seen.push((OTHER, Seen::Positioned(1)));
        seen.push((OTHER, Seen::Read(2, Some(value(2)))));
        assert_eq!(broken(seen), BTreeSet::from([Rule::PollSkip]));
    }

    #[test]
    fn at_least_once_may_repeat() {
        let mut seen = sound();
        seen.push((READER, Seen::Read(3, Some(value(2)))));
        let mut history = history(seen);
        history.promise(PRODUCER, Delivery::AtLeastOnce);
        assert_eq!(judge(&history), []);
    }

    #[test]
    fn a_new_leader_may_know_a_lower_high_watermark_and_no_lower_end() {
        let with = |last| {
            let mut seen = sound();
            seen.push((READER, last));
            let mut history = history(seen);
            history.led_by(Leaders::Several);
            judge(&history).into_iter().map(|anomaly| anomaly.rule).collect::<Vec<Rule>>()
        };
        assert_eq!(with(Seen::HighWatermark(2)), []);
        assert_eq!(with(Seen::End(2)), [Rule::EndWentBack]);
    }

    #[test]
    fn values_know_their_bytes() {
        let value = Value { producer: 3, number: 12_345 };
        assert_eq!(Value::from_text(&value.text()), Some(value));
        assert_eq!(Value::from_text(&value.plain_text()), Some(value));
        let torn = &value.text()[..value.text().len() - 1];
        assert_eq!(Value::from_text(torn), None);
        assert_eq!(Value::from_text("3.0012"), None);
    }
}
