//! `cairn config ...`
//!
//! Must not know: the wire, which keys there are.

use anyhow::{Context as _, anyhow};
use cairn_client::{BrokerId, ConfigChange, ConfigEntry, ConfigResource, ConfigSource};
use serde_json::json;

use crate::args::{ConfigCommand, ConfigGetArgs, ConfigSetArgs, ConfigTarget};
use crate::connect::client;
use crate::exit::{Failure, Outcome};
use crate::key_value::KeyValue;
use crate::output::Output;

/// Runs one of them.
pub(crate) async fn run(command: ConfigCommand) -> Outcome {
    match command {
        ConfigCommand::Get(args) => get(args).await,
        ConfigCommand::Set(args) => set(args).await,
    }
}

async fn get(args: ConfigGetArgs) -> Outcome {
    let of = resource(&args.of);
    let entries =
        client(&args.cluster)?.admin().describe_configs(&of).await.context("cannot read the configuration")?;
    if let Some(unknown) = args.keys.iter().find(|key| entries.iter().all(|entry| *entry.name != ***key)) {
        return Err(Failure::Failed(anyhow!("{of} has no configuration {unknown}")));
    }
    let wanted = |entry: &&ConfigEntry| match args.keys.is_empty() {
        true => args.all || entry.source != ConfigSource::Default,
        false => args.keys.iter().any(|key| **key == *entry.name),
    };
    let mut output = Output::stdout();
    for entry in entries.iter().filter(wanted) {
        let (name, value, source) = (&entry.name, entry.value.as_deref(), source(entry.source));
        if args.json {
            output.json(&json!({"name": name, "value": value, "source": source, "read_only": entry.is_read_only}))?;
        } else {
            let read_only = if entry.is_read_only { ", read-only" } else { "" };
            output.line(format!("{name}={}  ({source}{read_only})", value.unwrap_or("")).as_bytes())?;
        }
    }
    output.flush()
}

async fn set(args: ConfigSetArgs) -> Outcome {
    let of = resource(&args.of);
    let parts = |pair: &KeyValue| -> (Box<str>, Box<str>) { ((*pair.key).into(), (*pair.value).into()) };
    let mut changes = Vec::new();
    changes.extend(args.set.iter().map(parts).map(|(key, value)| ConfigChange::Set { key, value }));
    changes.extend(args.delete.iter().map(|key| ConfigChange::Delete { key: (**key).into() }));
    changes.extend(args.append.iter().map(parts).map(|(key, value)| ConfigChange::Append { key, value }));
    changes.extend(args.subtract.iter().map(parts).map(|(key, value)| ConfigChange::Subtract { key, value }));
    let admin = client(&args.cluster)?.admin();
    admin.alter_configs(&of, &changes).await.context("cannot change the configuration")?;
    let mut output = Output::stdout();
    output.line(format!("altered {of}").as_bytes())?;
    output.flush()
}

/// The command line has exactly one of them.
fn resource(target: &ConfigTarget) -> ConfigResource {
    match (&target.topic, &target.group, target.broker, target.loggers) {
        (Some(topic), ..) => ConfigResource::Topic((**topic).into()),
        (None, Some(group), ..) => ConfigResource::Group((**group).into()),
        (None, None, Some(id), _) => ConfigResource::Broker(BrokerId(id)),
        (None, None, None, Some(id)) => ConfigResource::Loggers(BrokerId(id)),
        (None, None, None, None) => ConfigResource::Brokers,
    }
}

fn source(source: ConfigSource) -> &'static str {
    match source {
        ConfigSource::Topic => "topic",
        ConfigSource::DynamicBroker => "broker",
        ConfigSource::DynamicDefaultBroker => "all brokers",
        ConfigSource::StaticBroker => "start of the broker",
        ConfigSource::Default => "default",
        ConfigSource::Logger => "logger",
        ConfigSource::Group => "group",
        ConfigSource::Other(_) => "other",
    }
}
