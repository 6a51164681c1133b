//! What Apache Kafka's verifiable producer and consumer say, as events of a history. They print a line of JSON for each thing that they
//! see, without a clock of ours: a line has the time at which it was read, which is never before what it tells.
//!
//! It must not know how they are run, nor judge what they say.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, ensure};
use serde_json::Value as Json;

use crate::history::{Event, Seen, Value};

/// A line, and when it was read.
pub type Line = (u64, String);

/// What a producer saw that `began` then. It does not say when it sends: it is taken to have sent all at its beginning, to any of its
/// partitions, in the order of its numbers.
pub fn produced(process: u32, partitions: i32, began: u64, lines: &[Line]) -> anyhow::Result<Vec<Event>> {
    let mut acked = Vec::new();
    let mut sent = 0;
    for (at, said) in parsed(lines)? {
        let value = said["value"].as_str().and_then(Value::from_text);
        match said["name"].as_str() {
            Some("producer_send_success") => {
                let value = value.filter(|value| value.producer == process).with_context(|| said.to_string())?;
                sent = sent.max(value.number + 1);
                let offset = said["offset"].as_i64().context("an offset")?;
                let seen = Seen::Acked(value, (offset >= 0).then_some(offset));
                acked.push(Event { at, process, partition: partition(&said)?, seen });
            }
            // Nobody knows what became of it.
            Some("producer_send_error") => sent = sent.max(value.map_or(0, |value| value.number + 1)),
            _ => {}
        }
    }
    // What was under way when it was ended has no line, and may have been written.
    let under_way = sent..sent + UNDER_WAY_MAX;
    let of_partition = |partition| {
        let sends = (0..under_way.end).map(|number| Seen::Sent(Value { producer: process, number }));
        sends.map(move |seen| Event { at: began, process, partition, seen })
    };
    let mut events: Vec<Event> = (0..partitions).flat_map(of_partition).collect();
    events.extend(acked);
    Ok(events)
}

/// More than a producer sends in the time in which it ends.
const UNDER_WAY_MAX: u64 = 100_000;

/// What the only member of a group saw.
pub fn consumed(process: u32, lines: &[Line]) -> anyhow::Result<Vec<Event>> {
    let mut events = Vec::new();
    let mut event = |at, partition, seen| events.push(Event { at, process, partition, seen });
    let mut read_last: BTreeMap<i32, i64> = BTreeMap::new();
    let mut fresh = BTreeSet::new();
    for (at, said) in parsed(lines)? {
        let places = |key: &str| said[key].as_array().into_iter().flatten();
        match said["name"].as_str() {
            Some("partitions_assigned") => {
                for place in places("partitions") {
                    fresh.insert(partition(place)?);
                }
            }
            Some("record_data") => {
                let (partition, offset) = (partition(&said)?, said["offset"].as_i64().context("an offset")?);
                if fresh.remove(&partition) {
                    // It goes on at the group's offset, which nobody tells: it lies behind the last commit that was acknowledged, and
                    // not behind what was read by then, because a commit without an answer may have been taken.
                    event(at, partition, Seen::Resumed(offset));
                    let next = read_last.get(&partition).map_or(0, |last| last + 1);
                    event(at, partition, Seen::Positioned(offset.min(next)));
                }
                let value = said["value"].as_str().and_then(Value::from_text);
                event(at, partition, Seen::Read(offset, value));
                let last = read_last.entry(partition).or_insert(offset);
                *last = (*last).max(offset);
            }
            Some("offsets_committed") if said["success"] == Json::Bool(true) => {
                for place in places("offsets") {
                    event(at, partition(place)?, Seen::Committed(place["offset"].as_i64().context("an offset")?));
                }
            }
            _ => {}
        }
    }
    Ok(events)
}

/// The lines, which have to end as those of a program that ended in order.
fn parsed(lines: &[Line]) -> anyhow::Result<Vec<(u64, Json)>> {
    let parse = |(at, line): &Line| Ok((*at, serde_json::from_str(line).with_context(|| line.clone())?));
    let parsed: Vec<(u64, Json)> = lines.iter().map(parse).collect::<anyhow::Result<_>>()?;
    let ended = parsed.iter().any(|(_, said)| said["name"] == "shutdown_complete");
    ensure!(ended, "it did not end in order; its last line is {:?}", lines.last());
    Ok(parsed)
}

fn partition(said: &Json) -> anyhow::Result<i32> {
    let partition = said["partition"].as_i64().with_context(|| format!("a partition in {said}"))?;
    Ok(i32::try_from(partition)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{History, Rule, judge};

    const ENDED: &str = r#"{"timestamp":9,"name":"shutdown_complete"}"#;

    fn lines(said: &[&str]) -> Vec<Line> {
        (10..).zip(said.iter().chain([&ENDED]).map(|&line| line.to_owned())).collect()
    }

    fn record(offset: i64) -> String {
        format!(
            r#"{{"name":"record_data","key":null,"value":"5.{offset}","topic":"t","partition":0,"offset":{offset}}}"#
        )
    }

    fn assigned() -> String {
        r#"{"name":"partitions_assigned","partitions":[{"topic":"t","partition":0}]}"#.to_owned()
    }

    fn committed(offset: i64) -> String {
        format!(
            r#"{{"name":"offsets_committed","offsets":[{{"topic":"t","partition":0,"offset":{offset}}}],"success":true}}"#
        )
    }

    /// The rules that are broken when these are the consumer's lines, and four values stand in the log.
    fn broken(said: &[String]) -> Vec<Rule> {
        let success = |number| {
            format!(
                r#"{{"name":"producer_send_success","key":null,"value":"5.{number}","topic":"t","partition":0,"offset":{number}}}"#
            )
        };
        let sent: Vec<String> = (0..4).map(success).collect();
        let sent: Vec<&str> = sent.iter().map(String::as_str).collect();
        let mut history = History::default();
        history.add(produced(5, 1, 0, &lines(&sent)).unwrap_or_default());
        let said: Vec<&str> = said.iter().map(String::as_str).collect();
        history.add(consumed(7, &lines(&said)).unwrap_or_default());
        judge(&history.in_order()).into_iter().map(|anomaly| anomaly.rule).collect()
    }

    #[test]
    fn a_group_that_goes_on_between_its_commit_and_what_it_has_read_breaks_nothing() {
        let begun = [assigned(), record(0), committed(1), record(1), record(2)];
        for again in 1..=3 {
            let said = [&begun[..], &[assigned()], &(again..4).map(record).collect::<Vec<_>>()].concat();
            assert_eq!(broken(&said), [], "from {again}");
        }
    }

    #[test]
    fn a_group_that_goes_back_behind_its_commit_or_leaves_something_out_is_seen() {
        let begun = [assigned(), record(0), record(1), committed(2)];
        let back = [&begun[..], &[assigned(), record(1), record(2), record(3)]].concat();
        assert_eq!(broken(&back), [Rule::CommitWentBack]);
        let skips = [&begun[..], &[assigned(), record(3)]].concat();
        assert!(broken(&skips).contains(&Rule::PollSkip));
        let first = [assigned(), record(1), record(2), record(3)];
        assert!(broken(&first).contains(&Rule::PollSkip));
    }

    #[test]
    fn a_producer_that_did_not_end_in_order_is_an_error() {
        assert!(produced(5, 1, 0, &[(1, r#"{"name":"startup_complete"}"#.to_owned())]).is_err());
        assert!(
            produced(6, 1, 0, &lines(&[r#"{"name":"producer_send_success","value":"5.1","partition":0,"offset":1}"#]))
                .is_err()
        );
    }
}
