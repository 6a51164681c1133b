//! `cairn bench`: loads one cluster, or two in turn, and tells what came of it.
//!
//! Must not know: how load is made, what a plot looks like.

mod plots;
mod report;
mod results;
mod table;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use cairn_client::{Acks, AutoCreateTopics, Client, Compression};
use cairn_load::{Control, LoadError, Outcome as Measured, Plan, Rate, Workload};

use self::results::{Results, Side};
use crate::args::{AcksArg, BenchArgs, CompressionArg, WorkloadArg};
use crate::exit::{Failure, Outcome};
use crate::output::Output;
use crate::progress::spinner;
use crate::signals::Ending;

/// Pairs of runs when two clusters are compared.
const PAIRS: u32 = 3;
/// How often progress is told.
const LOOK: Duration = Duration::from_millis(500);

/// Runs it.
pub(crate) async fn run(args: BenchArgs) -> Outcome {
    let plan = plan(&args);
    plan.check().map_err(|error| Failure::usage(error.to_string()))?;
    // Before anything runs: a report that cannot be written should not be found out at the end.
    for file in [&args.json, &args.html].into_iter().flatten() {
        write(file, "")?;
    }
    let sides: Vec<(Side, &str)> = [(Side::A, Some(&args.bootstrap)), (Side::B, args.compare.as_ref())]
        .into_iter()
        .filter_map(|(side, bootstrap)| Some((side, bootstrap?.as_str())))
        .collect();
    let clients = sides.iter().map(|(side, bootstrap)| Ok((*side, client(bootstrap)?)));
    let clients: Vec<(Side, Client)> = clients.collect::<Result<_, Failure>>()?;
    let rounds = args.runs.unwrap_or(if args.compare.is_some() { PAIRS } else { 1 });
    let mut results = Results::new(plan.clone(), &args.bootstrap, args.compare.as_deref());
    let mut ending = Ending::listen()?;
    let control = Arc::new(Control::default());
    'rounds: for round in 1..=rounds {
        for (side, client) in &clients {
            let label = format!("run {round} of {rounds}, {}", results.name(*side));
            let measured = watched(client, &plan, &control, &mut ending, &label).await;
            results.push(*side, measured?);
            if control.is_stopped() {
                break 'rounds;
            }
        }
    }
    tell(&args, &results)
}

/// One run; a signal ends it early, and a second one at once.
async fn watched(
    client: &Client,
    plan: &Plan,
    control: &Arc<Control>,
    ending: &mut Ending,
    label: &str,
) -> Result<Measured, Failure> {
    let bar = spinner(label.to_owned());
    let (acked, read) = (control.acked(), control.read());
    let mut before = (acked, read);
    let mut looks = tokio::time::interval(LOOK);
    // Boxed: the whole load is in it.
    let mut load = Box::pin(cairn_load::run(client, plan, control));
    let measured = loop {
        tokio::select! {
            measured = &mut load => break measured,
            _ = looks.tick() => {
                let now = (control.acked(), control.read());
                let per_second = |now: u64, before: u64| u128::from(now - before) * 1_000 / LOOK.as_millis();
                bar.set_message(format!(
                    "{label}: {} acked ({}/s), {} read ({}/s)",
                    now.0 - acked, per_second(now.0, before.0), now.1 - read, per_second(now.1, before.1)
                ));
                before = now;
            }
            signal = ending.asked() => {
                if control.is_stopped() {
                    let text = format!("{signal} for the second time: a topic named cairn-bench-{}-.. may be left", std::process::id());
                    return Err(Failure::failed(text));
                }
                control.stop();
                bar.set_message(format!("{label}: stopping"));
            }
        }
    };
    bar.finish_and_clear();
    measured.map_err(|error| match error {
        LoadError::Plan(_) | LoadError::Config(_) => Failure::usage(error.to_string()),
        error => Failure::Failed(anyhow!(error).context(label.to_owned())),
    })
}

fn client(bootstrap: &str) -> Result<Client, Failure> {
    // Else asking for the metadata of a topic that was deleted after the run before would make it anew.
    let client = Client::builder(bootstrap).client_id("cairn-bench").auto_create_topics(AutoCreateTopics::Refuse);
    client.build().map_err(|error| Failure::usage(error.to_string()))
}

/// The table on stdout, the files, and whether all went well.
fn tell(args: &BenchArgs, results: &Results) -> Outcome {
    let mut output = Output::stdout();
    output.line(table::of(results).as_bytes())?;
    output.flush()?;
    if let Some(file) = &args.json {
        let text = serde_json::to_string_pretty(&results.to_json()).context("cannot write the results as JSON")?;
        write(file, &text)?;
    }
    if let Some(file) = &args.html {
        write(file, &report::html(results)?)?;
    }
    match results.first_error() {
        Some((failed, error)) => Err(Failure::failed(format!("{failed} records were not acknowledged: {error}"))),
        None => Ok(()),
    }
}

fn write(file: &Path, text: &str) -> Outcome {
    Ok(std::fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?)
}

fn plan(args: &BenchArgs) -> Plan {
    let workload = match args.workload {
        WorkloadArg::Produce => Workload::Produce,
        WorkloadArg::Consume => Workload::Consume,
        WorkloadArg::EndToEnd => Workload::EndToEnd,
        WorkloadArg::Mixed => Workload::Mixed,
    };
    let rate = args.rate.unwrap_or(match (workload, std::num::NonZeroU64::new(1_000)) {
        (Workload::EndToEnd, Some(rate)) => Rate::PerSecond(rate),
        _ => Rate::Max,
    });
    let bytes = |bytes: u32| usize::try_from(bytes).unwrap_or(usize::MAX);
    Plan {
        workload,
        seconds: Duration::from_secs(args.seconds),
        warm_up: Duration::from_secs(args.warm_up_seconds),
        record_bytes: bytes(args.record_size),
        partitions: args.partitions,
        replication_factor: args.replication_factor,
        batch_bytes: bytes(args.batch_size),
        linger: Duration::from_millis(args.linger_ms.into()),
        acks: match args.acks {
            AcksArg::None => Acks::None,
            AcksArg::Leader => Acks::Leader,
            AcksArg::All => Acks::All,
        },
        compression: match args.compression {
            CompressionArg::None => Compression::None,
            CompressionArg::Gzip => Compression::Gzip,
            CompressionArg::Snappy => Compression::Snappy,
            CompressionArg::Lz4 => Compression::Lz4,
            CompressionArg::Zstd => Compression::Zstd,
        },
        rate,
        backlog_bytes: bytes(args.backlog_mb).saturating_mul(1_000_000),
    }
}
