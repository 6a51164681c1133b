//! Which partitions are printed, from where, and when to stop.
//!
//! Must not know: output.

use std::collections::HashMap;

use anyhow::{Context as _, anyhow};
use cairn_client::{Consumer, Offset, StartAt as Place, Timestamp, TopicPartition};

use crate::args::ConsumeArgs;
use crate::exit::Failure;
use crate::start_at::StartAt;

/// Where each partition begins, and where it ends for this run.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Where each partition begins.
    pub(crate) begin: HashMap<TopicPartition, Place>,
    /// With `--exit-at-end`: the ends as they were when the command began.
    pub(crate) ends: Option<HashMap<TopicPartition, Offset>>,
}

impl Plan {
    /// How many records there are to be, at most, when that is known.
    pub(crate) fn total(&self) -> Option<u64> {
        let of_partition = |(partition, end): (&TopicPartition, &Offset)| match self.begin.get(partition) {
            Some(Place::Offset(begin)) => u64::try_from(end.0 - begin.0).unwrap_or(0),
            _ => 0,
        };
        Some(self.ends.as_ref()?.iter().map(of_partition).sum())
    }
}

/// What `from` says to a consumer.
pub(crate) fn place(from: StartAt) -> Place {
    match from {
        StartAt::Beginning => Place::Beginning,
        StartAt::End => Place::End,
        StartAt::Stored => Place::Committed,
        StartAt::Offset(offset) => Place::Offset(Offset(offset)),
        StartAt::Time(time) => Place::Time(Timestamp(time)),
    }
}

/// The partitions that the flags name.
async fn partitions(consumer: &Consumer, args: &ConsumeArgs) -> Result<Vec<TopicPartition>, Failure> {
    let mut all = Vec::new();
    for topic in &args.topics {
        let topic = topic.as_str();
        let count = consumer.partition_count(topic).await.context("cannot read the topic")?;
        match args.partition {
            Some(index) if index >= count => {
                return Err(anyhow!("topic {topic} has no partition {index}: it has {count}, from 0").into());
            }
            Some(index) => all.push(TopicPartition::new(topic, index)),
            None => all.extend((0..count).map(|index| TopicPartition::new(topic, index))),
        }
    }
    all.sort();
    all.dedup();
    Ok(all)
}

/// What the flags mean for a member: where partitions begin is the group's affair.
pub(crate) async fn make_for_member(consumer: &Consumer, args: &ConsumeArgs) -> Result<Plan, Failure> {
    let partitions = partitions(consumer, args).await?;
    if !args.exit_at_end {
        return Ok(Plan::default());
    }
    let ends = consumer.end_offsets(&partitions).await.context("cannot find the end")?;
    Ok(Plan { begin: HashMap::new(), ends: Some(ends) })
}

/// Looks up what the flags mean for the topics as they are now.
pub(crate) async fn make(consumer: &Consumer, args: &ConsumeArgs, from: StartAt) -> Result<Plan, Failure> {
    let partitions = partitions(consumer, args).await?;
    if !args.exit_at_end {
        let place = place(from);
        return Ok(Plan { begin: partitions.into_iter().map(|partition| (partition, place)).collect(), ends: None });
    }
    // Ends first: what is written meanwhile is behind them.
    let mut ends = consumer.end_offsets(&partitions).await.context("cannot find the end")?;
    let begin = first_offsets(consumer, &partitions, from, &ends).await?;
    // A partition with nothing between is not read at all: nothing would ever come.
    ends.retain(|partition, end| begin.get(partition).is_some_and(|begin| begin < end));
    let begin = begin.into_iter().filter(|(partition, _)| ends.contains_key(partition));
    Ok(Plan { begin: begin.map(|(partition, offset)| (partition, Place::Offset(offset))).collect(), ends: Some(ends) })
}

/// The offsets that `from` means.
async fn first_offsets(
    consumer: &Consumer,
    partitions: &[TopicPartition],
    from: StartAt,
    ends: &HashMap<TopicPartition, Offset>,
) -> Result<HashMap<TopicPartition, Offset>, Failure> {
    let beginnings = consumer.beginning_offsets(partitions).await.context("cannot find the beginning")?;
    let or_beginning = |partition: &TopicPartition, offset: Option<Offset>| {
        let beginning = beginnings.get(partition).copied().unwrap_or(Offset::ZERO);
        // What retention took away meanwhile begins where the log begins.
        offset.map_or(beginning, |offset| offset.max(beginning))
    };
    let offset: HashMap<TopicPartition, Option<Offset>> = match from {
        StartAt::Beginning => HashMap::new(),
        StartAt::End => ends.iter().map(|(partition, end)| (partition.clone(), Some(*end))).collect(),
        StartAt::Offset(offset) => {
            partitions.iter().map(|partition| (partition.clone(), Some(Offset(offset)))).collect()
        }
        StartAt::Stored => {
            let committed = consumer.committed(partitions).await.context("cannot read the group's offsets")?;
            committed.into_iter().map(|(partition, committed)| (partition, Some(committed.offset))).collect()
        }
        StartAt::Time(time) => {
            let times = partitions.iter().map(|partition| (partition.clone(), Timestamp(time))).collect();
            let found = consumer.offsets_for_times(&times).await.context("cannot find the time")?;
            let or_end = |(partition, offset): (TopicPartition, Option<Offset>)| {
                let offset = offset.or_else(|| ends.get(&partition).copied());
                (partition, offset)
            };
            found.into_iter().map(or_end).collect()
        }
    };
    let first = |partition: &TopicPartition| {
        (partition.clone(), or_beginning(partition, offset.get(partition).copied().flatten()))
    };
    Ok(partitions.iter().map(first).collect())
}

/// When to stop.
#[derive(Debug)]
pub(crate) struct Stop {
    /// The partitions that have not come to their end; `None` to follow for ever.
    ends: Option<HashMap<TopicPartition, Offset>>,
    left: Option<u64>,
    of: Of,
}

/// Whose partitions have to come to their ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    /// All that the plan has.
    Plan,
    /// A member's own, once it has been given some, or nothing.
    Member,
}

impl Stop {
    /// After `count` records, and at the plan's ends.
    #[must_use]
    pub(crate) fn new(plan: &Plan, count: Option<u64>, of: Of) -> Self {
        Self { ends: plan.ends.clone(), left: count, of }
    }

    /// Whether it is time. `assigned` are the partitions that are read now; none when a member was not given any yet.
    #[must_use]
    pub(crate) fn is_reached(&self, assigned: impl FnOnce() -> Option<Vec<TopicPartition>>) -> bool {
        if self.left == Some(0) {
            return true;
        }
        let Some(ends) = &self.ends else { return false };
        match self.of {
            Of::Plan => ends.is_empty(),
            Of::Member => {
                assigned().is_some_and(|assigned| assigned.iter().all(|partition| !ends.contains_key(partition)))
            }
        }
    }

    /// Whether partitions have ends.
    #[must_use]
    pub(crate) fn has_ends(&self) -> bool {
        self.ends.is_some()
    }

    /// Whether a record lies before its partition's end. One that does not shows that the end was passed.
    pub(crate) fn takes(&mut self, partition: &TopicPartition, offset: Offset) -> bool {
        let Some(ends) = &mut self.ends else { return true };
        match ends.get(partition) {
            Some(end) if offset < *end => true,
            Some(_) => {
                ends.remove(partition);
                false
            }
            None => false,
        }
    }

    /// A record was printed; `end` is the offset behind it.
    pub(crate) fn on_printed(&mut self, partition: &TopicPartition, end: Offset) {
        self.left = self.left.map(|left| left.saturating_sub(1));
        if let Some(ends) = &mut self.ends
            && ends.get(partition).is_some_and(|last| end >= *last)
        {
            ends.remove(partition);
        }
    }

    /// Nothing came for a moment: partitions whose position is at the end have no more records before it.
    pub(crate) fn on_positions(&mut self, position: impl Fn(&TopicPartition) -> Option<Offset>) {
        if let Some(ends) = &mut self.ends {
            ends.retain(|partition, end| position(partition).is_none_or(|position| position < *end));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(index: i32) -> TopicPartition {
        TopicPartition::new("t", index)
    }

    fn stop(ends: &[(i32, i64)], count: Option<u64>) -> Stop {
        let ends = ends.iter().map(|(index, end)| (p(*index), Offset(*end))).collect();
        Stop::new(&Plan { begin: HashMap::new(), ends: Some(ends) }, count, Of::Plan)
    }

    #[test]
    fn stops_when_every_partition_came_to_its_end() {
        let mut stop = stop(&[(0, 5), (1, 2)], None);
        assert!(stop.takes(&p(0), Offset(4)));
        stop.on_printed(&p(0), Offset(5));
        assert!(!stop.is_reached(|| None));
        assert!(!stop.takes(&p(0), Offset(5)), "written after the command began");
        assert!(!stop.takes(&p(1), Offset(7)), "compaction left a hole over the end");
        assert!(stop.is_reached(|| None));
    }

    #[test]
    fn stops_after_the_count() {
        let mut stop = stop(&[(0, 100)], Some(2));
        stop.on_printed(&p(0), Offset(1));
        assert!(!stop.is_reached(|| None));
        stop.on_printed(&p(0), Offset(2));
        assert!(stop.is_reached(|| None));
        assert!(Stop::new(&Plan::default(), Some(0), Of::Plan).is_reached(|| None));
        assert!(!Stop::new(&Plan::default(), None, Of::Plan).is_reached(|| None));
    }

    #[test]
    fn a_hole_before_the_end_does_not_hang() {
        let mut stop = stop(&[(0, 100)], None);
        stop.on_positions(|_| None);
        assert!(!stop.is_reached(|| None));
        stop.on_positions(|_| Some(Offset(99)));
        assert!(!stop.is_reached(|| None));
        stop.on_positions(|_| Some(Offset(100)));
        assert!(stop.is_reached(|| None));
    }

    #[test]
    fn a_member_stops_at_the_ends_of_what_it_has() {
        let mut stop = stop(&[(0, 5), (1, 2)], None);
        stop.of = Of::Member;
        assert!(!stop.is_reached(|| None), "nothing was given to it yet");
        assert!(stop.is_reached(|| Some(Vec::new())), "there are more members than partitions");
        assert!(!stop.is_reached(|| Some(vec![p(1)])));
        stop.on_printed(&p(1), Offset(2));
        assert!(stop.is_reached(|| Some(vec![p(1)])));
        assert!(!stop.is_reached(|| Some(vec![p(0), p(1)])), "it was given another");
    }
}
