//! `cairn group ...`
//!
//! Must not know: the wire, how members join.

mod choice;
mod describe;
mod explain;
mod progress;
mod reset;

use anyhow::{Context as _, anyhow};
use cairn_client::{Admin, GroupFilter, GroupState, GroupType};
use comfy_table::{Table, presets};
use serde_json::json;

pub(crate) use self::choice::{ResetTo, TopicChoice};
use crate::args::{GroupCommand, GroupDeleteArgs, GroupListArgs};
use crate::connect::client;
use crate::exit::Outcome;
use crate::output::Output;

/// Runs one of them.
pub(crate) async fn run(command: GroupCommand) -> Outcome {
    match command {
        GroupCommand::List(args) => list(args).await,
        GroupCommand::Describe(args) => describe::run(args).await,
        GroupCommand::Reset(args) => reset::run(args).await,
        GroupCommand::Delete(args) => delete(args).await,
        GroupCommand::Explain(args) => explain::run(args).await,
    }
}

async fn list(args: GroupListArgs) -> Outcome {
    let filter = GroupFilter {
        states: args.state.iter().map(|state| GroupState::from_name(&name_of(state))).collect(),
        types: args.types.iter().map(|kind| GroupType::from_name(&name_of(kind))).collect(),
    };
    let groups = client(&args.cluster)?.admin().list_groups(&filter).await.context("cannot list groups")?;
    let mut output = Output::stdout();
    if args.json {
        for group in groups {
            let (state, kind) = (group.state.name(), group.kind.name());
            output.json(
                &json!({"name": group.name, "state": state, "type": kind, "protocol_type": group.protocol_type}),
            )?;
        }
        return output.flush();
    }
    let mut table = table(&["group", "state", "type", "protocol"]);
    for group in groups {
        table.add_row([&*group.name, group.state.name(), group.kind.name(), or_dash(&group.protocol_type)]);
    }
    output.line(table.trim_fmt().as_bytes())?;
    output.flush()
}

async fn delete(args: GroupDeleteArgs) -> Outcome {
    let admin = client(&args.cluster)?.admin();
    let mut output = Output::stdout();
    for name in &args.names {
        if args.topic.is_empty() {
            admin.delete_group(name).await.context("cannot delete the group")?;
            output.line(format!("deleted {name}").as_bytes())?;
        } else {
            let count = delete_offsets(&admin, name, &args.topic).await?;
            output.line(format!("deleted {count} offsets of {name}").as_bytes())?;
        }
    }
    output.flush()
}

/// Gives of how many partitions.
async fn delete_offsets(admin: &Admin, group: &str, chosen: &[TopicChoice]) -> anyhow::Result<usize> {
    let committed = admin.group_offsets(group).await.context("cannot read the group's offsets")?;
    let is_chosen = |partition: &&cairn_client::TopicPartition| chosen.iter().any(|choice| choice.takes(partition));
    let partitions: Vec<_> = committed.keys().filter(is_chosen).cloned().collect();
    if partitions.is_empty() {
        return Err(anyhow!("group {group} has committed nothing for that"));
    }
    admin.delete_group_offsets(group, &partitions).await.context("cannot delete the group's offsets")?;
    Ok(partitions.len())
}

fn name_of(value: &impl clap::ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// Aligned columns without lines.
fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header.iter().copied());
    table
}

fn or_dash(text: &str) -> &str {
    if text.is_empty() { "-" } else { text }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;
    use crate::args::{StateArg, TypeArg};

    #[test]
    fn every_state_and_type_is_known_to_the_client() {
        for state in StateArg::value_variants() {
            assert_ne!(GroupState::from_name(&name_of(state)), GroupState::Unknown, "{state:?}");
        }
        for kind in TypeArg::value_variants() {
            assert_ne!(GroupType::from_name(&name_of(kind)), GroupType::Unknown, "{kind:?}");
        }
        assert_eq!(StateArg::value_variants().len(), GroupState::ALL.len());
        assert_eq!(TypeArg::value_variants().len(), GroupType::ALL.len());
    }
}
