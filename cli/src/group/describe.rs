//! `cairn group describe`: members, and how far the group has come.
//!
//! Must not know: how lag is found out.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::Context as _;
use cairn_client::{Client, GroupDescription, MemberDescription, TopicPartition};
use serde_json::{Value, json};

use super::progress::{self, Progress};
use super::{or_dash, table};
use crate::args::GroupDescribeArgs;
use crate::connect::client;
use crate::exit::Outcome;
use crate::output::Output;

/// What is shown of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parts {
    members: bool,
    offsets: bool,
}

pub(super) async fn run(args: GroupDescribeArgs) -> Outcome {
    // Neither flag, or both: all.
    let parts = Parts { members: args.members || !args.offsets, offsets: args.offsets || !args.members };
    let client = client(&args.cluster)?;
    let mut output = Output::stdout();
    for (place, name) in args.names.iter().enumerate() {
        let group = client.admin().describe_group(name).await.context("cannot describe the group")?;
        let progress = if parts.offsets { look_up(&client, &group).await? } else { BTreeMap::new() };
        if args.json {
            output.json(&as_json(&group, &progress, parts))?;
        } else {
            if place > 0 {
                output.line(b"")?;
            }
            output.line(as_text(&group, &progress, parts).as_bytes())?;
        }
    }
    output.flush()
}

async fn look_up(client: &Client, group: &GroupDescription) -> anyhow::Result<BTreeMap<TopicPartition, Progress>> {
    let committed = client.admin().group_offsets(&group.name).await.context("cannot read the group's offsets")?;
    progress::look_up(client, committed, group.members.iter().flat_map(|member| member.assigned.iter().cloned())).await
}

fn total_lag(progress: &BTreeMap<TopicPartition, Progress>) -> i64 {
    progress.values().filter_map(Progress::lag).sum()
}

fn as_text(group: &GroupDescription, progress: &BTreeMap<TopicPartition, Progress>, parts: Parts) -> String {
    let mut text = format!(
        "group {}  state {}  type {}  assignor {}  coordinator {}  members {}",
        group.name,
        group.state,
        group.kind,
        or_dash(group.assignor.as_deref().unwrap_or_default()),
        group.coordinator,
        group.members.len(),
    );
    if let Some(epoch) = group.epoch {
        text += &format!("  epoch {epoch}");
    }
    if parts.offsets {
        text += &format!("  lag {}", total_lag(progress));
    }
    if parts.members && !group.members.is_empty() {
        text += "\n\n";
        text += &members_text(group);
    }
    if parts.offsets && !progress.is_empty() {
        text += "\n\n";
        text += &offsets_text(group, progress);
    }
    text
}

fn members_text(group: &GroupDescription) -> String {
    let mut table = table(&["client", "member", "instance", "host", "epoch", "partitions", "assigned"]);
    for member in &group.members {
        table.add_row([
            or_dash(&member.client_id).to_owned(),
            member.id.to_string(),
            or_dash(member.instance.as_deref().unwrap_or_default()).to_owned(),
            or_dash(&member.host).to_owned(),
            member.epoch.map_or_else(|| "-".to_owned(), |epoch| epoch.to_string()),
            member.assigned.len().to_string(),
            or_dash(&in_short(&member.assigned)).to_owned(),
        ]);
    }
    table.trim_fmt()
}

/// `orders:0,1,4 payments:2`
fn in_short(partitions: &[TopicPartition]) -> String {
    let mut topics = BTreeMap::<&str, Vec<String>>::new();
    for partition in partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition.to_string());
    }
    let topic = |(name, partitions): (&str, Vec<String>)| format!("{name}:{}", partitions.join(","));
    topics.into_iter().map(topic).collect::<Vec<_>>().join(" ")
}

fn offsets_text(group: &GroupDescription, progress: &BTreeMap<TopicPartition, Progress>) -> String {
    let owners = owners(group);
    let mut table = table(&["topic", "partition", "committed", "end", "lag", "behind", "client", "host"]);
    let or_dash_number = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    for (partition, of) in progress {
        let owner = owners.get(partition);
        table.add_row([
            partition.topic.to_string(),
            partition.partition.to_string(),
            or_dash_number(of.committed.map(|offset| offset.0)),
            or_dash_number(of.end.map(|offset| offset.0)),
            or_dash_number(of.lag()),
            of.behind.map_or_else(|| "-".to_owned(), for_people),
            or_dash(owner.map_or("", |member| &member.client_id)).to_owned(),
            or_dash(owner.map_or("", |member| &member.host)).to_owned(),
        ]);
    }
    table.trim_fmt()
}

/// The two largest units are enough to see how bad it is.
fn for_people(behind: Duration) -> String {
    let whole = if behind < Duration::from_secs(10) {
        Duration::from_millis(u64::try_from(behind.as_millis()).unwrap_or(u64::MAX))
    } else {
        Duration::from_secs(behind.as_secs())
    };
    let text = humantime::format_duration(whole).to_string();
    text.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

fn owners(group: &GroupDescription) -> HashMap<&TopicPartition, &MemberDescription> {
    let mut owners = HashMap::new();
    for member in &group.members {
        owners.extend(member.assigned.iter().map(|partition| (partition, member)));
    }
    owners
}

fn as_json(group: &GroupDescription, progress: &BTreeMap<TopicPartition, Progress>, parts: Parts) -> Value {
    let mut all = json!({
        "name": group.name,
        "state": group.state.name(),
        "type": group.kind.name(),
        "protocol_type": group.protocol_type,
        "assignor": group.assignor,
        "epoch": group.epoch,
        "coordinator": group.coordinator.0,
    });
    if parts.members {
        all["members"] = group.members.iter().map(member_json).collect();
    }
    if parts.offsets {
        let owners = owners(group);
        let row = |(partition, of): (&TopicPartition, &Progress)| {
            json!({
                "topic": partition.topic,
                "partition": partition.partition.0,
                "committed": of.committed.map(|offset| offset.0),
                "metadata": of.metadata,
                "end": of.end.map(|offset| offset.0),
                "lag": of.lag(),
                "behind_ms": of.behind.map(|behind| u64::try_from(behind.as_millis()).unwrap_or(u64::MAX)),
                "member": owners.get(partition).map(|member| &member.id),
            })
        };
        all["offsets"] = progress.iter().map(row).collect();
        all["lag"] = json!(total_lag(progress));
    }
    all
}

fn member_json(member: &MemberDescription) -> Value {
    let partitions = |list: &[TopicPartition]| -> Vec<Value> {
        list.iter().map(|it| json!({"topic": it.topic, "partition": it.partition.0})).collect()
    };
    json!({
        "id": member.id,
        "instance": member.instance,
        "client_id": member.client_id,
        "host": member.host,
        "epoch": member.epoch,
        "topics": member.topics,
        "topic_regex": member.topic_regex,
        "assigned": partitions(&member.assigned),
        "target": member.target.as_deref().map(partitions),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_short() {
        for (millis, text) in [(0, "0s"), (1_250, "1s 250ms"), (61_900, "1m 1s"), (3_600_000 * 26 + 61_000, "1day 2h")]
        {
            assert_eq!(for_people(Duration::from_millis(millis)), text);
        }
    }

    #[test]
    fn partitions_are_gathered_by_topic() {
        let p = TopicPartition::new;
        assert_eq!(in_short(&[p("a", 0), p("a", 3), p("b", 1)]), "a:0,3 b:1");
    }
}
