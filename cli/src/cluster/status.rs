//! `cairn cluster status`, `brokers` and `check`.
//!
//! Must not know: how troubles are found.

use std::collections::BTreeMap;

use anyhow::Context as _;
use cairn_client::{Admin, BrokerDescription, BrokerId};
use comfy_table::{Table, presets};
use serde_json::{Value, json};

use super::health::{Counts, Trouble, names, troubles};
use super::survey::{Survey, survey};
use crate::args::{ClusterBrokersArgs, ClusterCheckArgs, ClusterStatusArgs};
use crate::connect::client;
use crate::exit::{Failure, Outcome};
use crate::output::Output;

pub(super) async fn status(args: ClusterStatusArgs) -> Outcome {
    let survey = survey(&client(&args.cluster)?.admin()).await?;
    let (troubles, counts) = troubles(&survey);
    let mut output = Output::stdout();
    if args.json {
        output.json(&as_json(&survey, &troubles, &counts))?;
        return output.flush();
    }
    let controller = survey.cluster.controller.map_or_else(|| "none".to_owned(), |id| id.to_string());
    output.line(format!("cluster {}  controller {controller}", survey.cluster.id).as_bytes())?;
    let mut table = table(&["broker", "address", "rack", "state"]);
    for broker in &survey.cluster.brokers {
        let rack = broker.rack.as_deref().unwrap_or("-");
        table.add_row([&broker.id.to_string(), &address(broker), rack, state(broker)]);
    }
    output.line(table.trim_fmt().as_bytes())?;
    output.line(format!("topics {}  partitions {}", survey.topics.len(), counts.partitions).as_bytes())?;
    output.line(in_words(&counts, survey.moves.len()).as_bytes())?;
    tell(&mut output, &troubles)?;
    output.flush()
}

pub(super) async fn check(args: ClusterCheckArgs) -> Outcome {
    let survey = survey(&client(&args.cluster)?.admin()).await?;
    let (troubles, counts) = troubles(&survey);
    let mut output = Output::stdout();
    let fenced: Vec<BrokerId> = survey.cluster.brokers.iter().filter(|it| it.is_fenced).map(|it| it.id).collect();
    for id in &fenced {
        output.line(
            format!("broker {id} is fenced: start it, or see why the controller does not hear of it").as_bytes(),
        )?;
    }
    tell(&mut output, &troubles)?;
    if troubles.is_empty() && fenced.is_empty() {
        output.line(format!("all is well: {} partitions, all replicas in sync", counts.partitions).as_bytes())?;
        return output.flush();
    }
    output.flush()?;
    let what = in_words(&counts, survey.moves.len());
    Err(Failure::failed(format!("the cluster is not whole: {what}, fenced brokers {}", fenced.len())))
}

pub(super) async fn brokers(args: ClusterBrokersArgs) -> Outcome {
    let admin = client(&args.cluster)?.admin();
    let survey = survey(&admin).await?;
    let mut output = Output::stdout();
    let mut table = table(&["broker", "address", "rack", "state", "leads", "replicas", "in sync", "log bytes"]);
    for broker in &survey.cluster.brokers {
        let load = load(&survey, broker.id);
        let bytes = log_bytes(&admin, broker).await?;
        if args.json {
            let Load { leads, replicas, in_sync } = load;
            let mut line = broker_json(broker);
            line["leads"] = json!(leads);
            line["replicas"] = json!(replicas);
            line["in_sync"] = json!(in_sync);
            line["log_bytes"] = json!(bytes);
            output.json(&line)?;
            continue;
        }
        table.add_row([
            broker.id.to_string(),
            address(broker),
            broker.rack.as_deref().unwrap_or("-").to_owned(),
            state(broker).to_owned(),
            load.leads.to_string(),
            load.replicas.to_string(),
            load.in_sync.to_string(),
            bytes.map_or_else(|| "-".to_owned(), |bytes| bytes.to_string()),
        ]);
    }
    if !args.json {
        output.line(table.trim_fmt().as_bytes())?;
    }
    output.flush()
}

/// Of one broker, in partitions.
struct Load {
    leads: usize,
    replicas: usize,
    in_sync: usize,
}

fn load(survey: &Survey, id: BrokerId) -> Load {
    let partitions = || survey.topics.iter().flat_map(|topic| &topic.partitions);
    Load {
        leads: partitions().filter(|it| it.leader == Some(id)).count(),
        replicas: partitions().filter(|it| it.replicas.contains(&id)).count(),
        in_sync: partitions().filter(|it| it.in_sync.contains(&id)).count(),
    }
}

/// None for a broker that is not there to be asked.
async fn log_bytes(admin: &Admin, broker: &BrokerDescription) -> Result<Option<u64>, Failure> {
    if broker.is_fenced {
        return Ok(None);
    }
    let dirs = admin.describe_log_dirs(broker.id).await;
    let dirs = dirs.with_context(|| format!("cannot ask broker {} for its log dirs", broker.id))?;
    Ok(Some(dirs.iter().flat_map(|dir| &dir.logs).map(|log| log.size).sum()))
}

fn in_words(counts: &Counts, moves: usize) -> String {
    let Counts { offline, under_min_isr, at_min_isr, under_replicated, .. } = counts;
    format!(
        "offline {offline}  under-min-isr {under_min_isr}  at-min-isr {at_min_isr}  under-replicated {under_replicated}  moving {moves}"
    )
}

/// A line for each trouble, with what to do.
fn tell(output: &mut Output, troubles: &[Trouble]) -> Outcome {
    for Trouble { partition, state, missing, advice } in troubles {
        let missing = if missing.is_empty() { String::new() } else { format!(", not in sync: {}", names(missing)) };
        output.line(format!("{partition} is {}{missing}: {advice}", state.name()).as_bytes())?;
    }
    Ok(())
}

fn as_json(survey: &Survey, troubles: &[Trouble], counts: &Counts) -> Value {
    let ids = |ids: &[BrokerId]| ids.iter().map(|id| id.0).collect::<Vec<_>>();
    let trouble = |it: &Trouble| {
        json!({
            "topic": &*it.partition.topic,
            "partition": it.partition.partition.0,
            "state": it.state.name(),
            "not_in_sync": ids(&it.missing),
            "advice": it.advice,
        })
    };
    let moving: BTreeMap<String, Value> = survey
        .moves
        .iter()
        .map(|(partition, it)| {
            (partition.to_string(), json!({"adding": ids(&it.adding), "removing": ids(&it.removing)}))
        })
        .collect();
    json!({
        "cluster": survey.cluster.id,
        "controller": survey.cluster.controller.map(|id| id.0),
        "brokers": survey.cluster.brokers.iter().map(broker_json).collect::<Vec<_>>(),
        "topics": survey.topics.len(),
        "partitions": counts.partitions,
        "offline": counts.offline,
        "under_min_isr": counts.under_min_isr,
        "at_min_isr": counts.at_min_isr,
        "under_replicated": counts.under_replicated,
        "moving": moving,
        "troubles": troubles.iter().map(trouble).collect::<Vec<_>>(),
    })
}

fn broker_json(broker: &BrokerDescription) -> Value {
    json!({
        "broker": broker.id.0,
        "host": broker.host,
        "port": broker.port,
        "rack": broker.rack,
        "fenced": broker.is_fenced,
    })
}

fn state(broker: &BrokerDescription) -> &'static str {
    if broker.is_fenced { "fenced" } else { "serves" }
}

fn address(broker: &BrokerDescription) -> String {
    format!("{}:{}", broker.host, broker.port)
}

pub(super) fn table(heads: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(heads);
    table
}
