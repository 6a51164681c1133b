//! `cairn topic ...`
//!
//! Must not know: the wire.

use anyhow::Context as _;
use cairn_client::{Admin, ConfigChange, ConfigEntry, ConfigSource, NewTopic, TopicDescription};
use comfy_table::{Table, presets};
use serde_json::json;

use crate::args::{TopicAlterArgs, TopicCommand, TopicCreateArgs, TopicDeleteArgs, TopicDescribeArgs, TopicListArgs};
use crate::connect::client;
use crate::exit::Outcome;
use crate::output::Output;

/// Runs one of them.
pub(crate) async fn run(command: TopicCommand) -> Outcome {
    match command {
        TopicCommand::Create(args) => create(args).await,
        TopicCommand::List(args) => list(args).await,
        TopicCommand::Describe(args) => describe(args).await,
        TopicCommand::Alter(args) => alter(args).await,
        TopicCommand::Delete(args) => delete(args).await,
    }
}

async fn create(args: TopicCreateArgs) -> Outcome {
    let mut topic = NewTopic::new(&args.name);
    if let Some(partitions) = args.partitions {
        topic = topic.partitions(partitions);
    }
    if let Some(factor) = args.replication_factor {
        topic = topic.replication_factor(factor);
    }
    for pair in &args.configs {
        topic = topic.config(&pair.key, &pair.value);
    }
    client(&args.cluster)?.admin().create_topic(&topic).await.context("cannot create the topic")?;
    say(&format!("created {}", args.name))
}

async fn list(args: TopicListArgs) -> Outcome {
    let topics = client(&args.cluster)?.admin().list_topics().await.context("cannot list topics")?;
    let mut output = Output::stdout();
    for topic in topics {
        if args.json {
            let (name, id) = (&topic.name, topic.id.to_string());
            output.json(
                &json!({"name": name, "id": id, "partitions": topic.partitions, "internal": topic.is_internal}),
            )?;
        } else {
            output.line(topic.name.as_bytes())?;
        }
    }
    output.flush()
}

async fn describe(args: TopicDescribeArgs) -> Outcome {
    let admin = client(&args.cluster)?.admin();
    let mut output = Output::stdout();
    for name in &args.names {
        let topic = admin.describe_topic(name).await.context("cannot describe the topic")?;
        let configs = admin.describe_topic_configs(name).await.context("cannot read the topic's configuration")?;
        if args.json {
            output.json(&as_json(&topic, &configs))?;
        } else {
            output.line(as_text(&topic, &configs).as_bytes())?;
        }
    }
    output.flush()
}

fn own(configs: &[ConfigEntry]) -> impl Iterator<Item = &ConfigEntry> {
    configs.iter().filter(|entry| entry.source == ConfigSource::Topic)
}

fn as_json(topic: &TopicDescription, configs: &[ConfigEntry]) -> serde_json::Value {
    let ids = |brokers: &[cairn_client::BrokerId]| brokers.iter().map(|broker| broker.0).collect::<Vec<_>>();
    let partitions: Vec<_> = topic
        .partitions
        .iter()
        .map(|it| {
            json!({
                "partition": it.partition.0,
                "leader": it.leader.map(|leader| leader.0),
                "leader_epoch": it.leader_epoch.map(|epoch| epoch.0),
                "replicas": ids(&it.replicas),
                "in_sync": ids(&it.in_sync),
            })
        })
        .collect();
    let configs: serde_json::Map<String, serde_json::Value> =
        own(configs).map(|entry| (entry.name.to_string(), json!(entry.value))).collect();
    json!({
        "name": topic.name,
        "id": topic.id.to_string(),
        "internal": topic.is_internal,
        "partitions": partitions,
        "configs": configs,
    })
}

fn as_text(topic: &TopicDescription, configs: &[ConfigEntry]) -> String {
    let mut text = format!("topic {}  id {}  partitions {}\n", topic.name, topic.id, topic.partitions.len());
    for entry in own(configs) {
        text += &format!("  {}={}\n", entry.name, entry.value.as_deref().unwrap_or(""));
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(["partition", "leader", "epoch", "replicas", "in sync"]);
    let or_none = |number: Option<i32>| number.map_or_else(|| "none".to_owned(), |number| number.to_string());
    let ids =
        |brokers: &[cairn_client::BrokerId]| brokers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    for it in &topic.partitions {
        table.add_row([
            it.partition.to_string(),
            or_none(it.leader.map(|leader| leader.0)),
            or_none(it.leader_epoch.map(|epoch| epoch.0)),
            ids(&it.replicas),
            ids(&it.in_sync),
        ]);
    }
    text + &table.trim_fmt()
}

async fn alter(args: TopicAlterArgs) -> Outcome {
    let admin = client(&args.cluster)?.admin();
    let set =
        |pair: &crate::key_value::KeyValue| ConfigChange::Set { key: (*pair.key).into(), value: (*pair.value).into() };
    let delete = |key: &String| ConfigChange::Delete { key: (**key).into() };
    let changes: Vec<ConfigChange> =
        args.configs.iter().map(set).chain(args.delete_configs.iter().map(delete)).collect();
    if let Some(partitions) = args.partitions {
        grow(&admin, &args.name, partitions).await?;
    }
    if !changes.is_empty() {
        admin.alter_topic_configs(&args.name, &changes).await.context("cannot change the topic's configuration")?;
    }
    say(&format!("altered {}", args.name))
}

async fn grow(admin: &Admin, name: &str, partitions: i32) -> Outcome {
    Ok(admin.create_partitions(name, partitions).await.context("cannot add partitions")?)
}

async fn delete(args: TopicDeleteArgs) -> Outcome {
    let admin = client(&args.cluster)?.admin();
    for name in &args.names {
        admin.delete_topic(name).await.context("cannot delete the topic")?;
        say(&format!("deleted {name}"))?;
    }
    Ok(())
}

fn say(text: &str) -> Outcome {
    let mut output = Output::stdout();
    output.line(text.as_bytes())?;
    output.flush()
}
