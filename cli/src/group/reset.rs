//! `cairn group reset`: where a group goes on, shown first and changed with `--execute`.
//!
//! Must not know: members beyond that there are none.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use cairn_client::{Admin, CommittedOffset, Consumer, ErrorCode, Offset, TopicPartition};
use serde_json::json;

use super::choice::ResetTo;
use super::table;
use crate::args::GroupResetArgs;
use crate::connect::client;
use crate::exit::Outcome;
use crate::output::Output;

/// Where one partition goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    from: Option<Offset>,
    to: Offset,
    /// What was asked for, where the partition does not reach so far.
    clamped_from: Option<Offset>,
}

pub(super) async fn run(args: GroupResetArgs) -> Outcome {
    let client = client(&args.cluster)?;
    let admin = client.admin();
    refuse_members(&admin, &args.name).await?;
    let committed = admin.group_offsets(&args.name).await.context("cannot read the group's offsets")?;
    let consumer = client.consumer().build().map_err(anyhow::Error::new)?;
    let partitions = chosen(&consumer, &args, &committed).await?;
    let changes = plan(&consumer, &args, &committed, &partitions).await?;
    for (partition, change) in &changes {
        if let Some(asked) = change.clamped_from {
            eprintln!("warning: {partition} does not reach to offset {asked}: {} is taken", change.to);
        }
    }
    if args.execute {
        let offsets: HashMap<TopicPartition, CommittedOffset> =
            changes.iter().map(|(partition, change)| (partition.clone(), change.to.into())).collect();
        admin.alter_group_offsets(&args.name, &offsets).await.context("cannot change the group's offsets")?;
    }
    show(&args, &changes)?;
    if !args.execute {
        eprintln!("nothing was changed: add --execute to do it");
    }
    Ok(())
}

/// Members would go on where they are, and commit over what was changed.
async fn refuse_members(admin: &Admin, name: &str) -> anyhow::Result<()> {
    match admin.describe_group(name).await {
        // The first commit makes it.
        Err(error) if error.code() == Some(ErrorCode::GroupIdNotFound) => Ok(()),
        Err(error) => Err(anyhow::Error::new(error).context("cannot describe the group")),
        Ok(group) if group.members.is_empty() => Ok(()),
        Ok(group) => Err(anyhow!(
            "group {name} has {} members and is {}: stop them first, or they go on where they are",
            group.members.len(),
            group.state
        )),
    }
}

async fn chosen(
    consumer: &Consumer,
    args: &GroupResetArgs,
    committed: &BTreeMap<TopicPartition, CommittedOffset>,
) -> anyhow::Result<Vec<TopicPartition>> {
    let mut partitions: BTreeSet<TopicPartition> = BTreeSet::new();
    if args.all_topics {
        partitions.extend(committed.keys().cloned());
    }
    for choice in &args.topic {
        let topic: Arc<str> = choice.topic.as_str().into();
        let count = consumer.partition_count(Arc::clone(&topic)).await.context("cannot read the topic")?;
        if let Some(index) = choice.partitions.iter().find(|index| index.0 >= count) {
            return Err(anyhow!("topic {topic} has no partition {index}: it has {count}, from 0"));
        }
        let all = (0..count).map(|index| TopicPartition::new(Arc::clone(&topic), index));
        partitions.extend(all.filter(|partition| choice.takes(partition)));
    }
    if partitions.is_empty() {
        return Err(anyhow!("group {} has committed nothing: name topics with --topic", args.name));
    }
    Ok(partitions.into_iter().collect())
}

async fn plan(
    consumer: &Consumer,
    args: &GroupResetArgs,
    committed: &BTreeMap<TopicPartition, CommittedOffset>,
    partitions: &[TopicPartition],
) -> anyhow::Result<BTreeMap<TopicPartition, Change>> {
    let begins = consumer.beginning_offsets(partitions).await.context("cannot find the beginning")?;
    let ends = consumer.end_offsets(partitions).await.context("cannot find the end")?;
    let at_time = match args.to {
        Some(ResetTo::Time(time)) => {
            let times = partitions.iter().map(|partition| (partition.clone(), time)).collect();
            consumer.offsets_for_times(&times).await.context("cannot find the time")?
        }
        _ => HashMap::new(),
    };
    let mut changes = BTreeMap::new();
    for partition in partitions {
        let (begin, end) = begins
            .get(partition)
            .zip(ends.get(partition))
            .map(|(begin, end)| (*begin, *end))
            .ok_or_else(|| anyhow!("the bounds of {partition} are not known"))?;
        let from = committed.get(partition).map(|committed| committed.offset);
        let wanted = match (args.to, args.shift) {
            (Some(ResetTo::Beginning), _) => begin,
            (Some(ResetTo::End), _) => end,
            (Some(ResetTo::Offset(offset)), _) => offset,
            (Some(ResetTo::Time(_)), _) => at_time.get(partition).copied().flatten().unwrap_or(end),
            (None, shift) => {
                let from = from.ok_or_else(|| anyhow!("nothing is committed for {partition}: shift from where?"))?;
                Offset(from.0.saturating_add(shift.unwrap_or(0)))
            }
        };
        changes.insert(partition.clone(), Change::within(begin, end, from, wanted));
    }
    Ok(changes)
}

impl Change {
    fn within(begin: Offset, end: Offset, from: Option<Offset>, wanted: Offset) -> Self {
        let to = wanted.max(begin).min(end);
        Self { from, to, clamped_from: (to != wanted).then_some(wanted) }
    }
}

fn show(args: &GroupResetArgs, changes: &BTreeMap<TopicPartition, Change>) -> Outcome {
    let mut output = Output::stdout();
    if args.json {
        for (partition, change) in changes {
            output.json(&json!({
                "group": args.name,
                "topic": partition.topic,
                "partition": partition.partition.0,
                "from": change.from.map(|offset| offset.0),
                "to": change.to.0,
                "executed": args.execute,
            }))?;
        }
        return output.flush();
    }
    let mut table = table(&["topic", "partition", "from", "to"]);
    for (partition, change) in changes {
        table.add_row([
            partition.topic.to_string(),
            partition.partition.to_string(),
            change.from.map_or_else(|| "-".to_owned(), |offset| offset.to_string()),
            change.to.to_string(),
        ]);
    }
    output.line(table.trim_fmt().as_bytes())?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_stay_within_the_partition() {
        let within = |wanted| {
            let change = Change::within(Offset(10), Offset(20), Some(Offset(15)), Offset(wanted));
            (change.to.0, change.clamped_from.map(|offset| offset.0))
        };
        assert_eq!(within(9), (10, Some(9)));
        assert_eq!(within(10), (10, None));
        assert_eq!(within(20), (20, None));
        assert_eq!(within(21), (20, Some(21)));
        assert_eq!(within(i64::MIN), (10, Some(i64::MIN)));
    }
}
