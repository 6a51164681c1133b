//! `cairn cluster reassign`, `drain` and `rebalance`: a plan is shown, asked for, and waited for.
//!
//! Must not know: how plans are made.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use cairn_client::{
    Admin, AdminError, BrokerId, Election, Reassignment, RequestError, TopicDescription, TopicPartition,
};

use super::health::names;
use super::plan::{self, Placement, Plan};
use super::survey::{Survey, survey};
use crate::args::{ClusterDrainArgs, ClusterReassignArgs, ClusterRebalanceArgs, Execution};
use crate::connect::client;
use crate::exit::{Failure, Outcome};
use crate::output::Output;
use crate::progress;

/// How often the cluster is asked how far it has come.
const ASK_EVERY: Duration = Duration::from_millis(250);
/// A broker may hear of the end of a move later than the controller; who has not by then never will.
const ASKS_AFTER_THE_END: u32 = 40;

pub(super) async fn reassign(args: ClusterReassignArgs) -> Outcome {
    let admin = client(&args.cluster)?.admin();
    let Some(topic) = &args.topic else { return list(&admin).await };
    let described = admin.describe_topic(topic).await.context("cannot describe the topic")?;
    let chosen = chosen(&described, args.partition)?;
    if args.cancel {
        return cancel(&admin, &chosen, args.execution).await;
    }
    let wanted: Vec<BrokerId> = args.replicas.iter().copied().map(BrokerId).collect();
    let plan: Plan = chosen.into_keys().map(|partition| (partition, wanted.clone())).collect();
    let before = survey(&admin).await?;
    carry_out(&admin, &before, &plan, args.execution).await
}

pub(super) async fn drain(args: ClusterDrainArgs) -> Outcome {
    let admin = client(&args.cluster)?.admin();
    let survey = survey(&admin).await?;
    let leaving = BrokerId(args.broker);
    let placement = placement(&survey)?;
    let is_known = survey.cluster.brokers.iter().any(|broker| broker.id == leaving);
    if !is_known && !placement.partitions.values().any(|replicas| replicas.contains(&leaving)) {
        return Err(Failure::failed(format!("the cluster has no broker {leaving}")));
    }
    let plan = plan::drain(&placement, leaving).map_err(anyhow::Error::new)?;
    carry_out(&admin, &survey, &plan, args.execution).await
}

pub(super) async fn rebalance(args: ClusterRebalanceArgs) -> Outcome {
    let admin = client(&args.cluster)?.admin();
    let before = survey(&admin).await?;
    let plan = plan::rebalance(&placement(&before)?);
    carry_out(&admin, &before, &plan, args.execution).await?;
    if args.execution.dry_run || args.execution.no_wait {
        return Ok(());
    }
    lead_as_preferred(&admin).await
}

/// The replicas of these partitions of a topic.
fn chosen(topic: &TopicDescription, only: Option<i32>) -> Result<Plan, Failure> {
    let wanted = topic.partitions.iter().filter(|it| only.is_none_or(|only| it.partition.0 == only));
    let of = |it: &cairn_client::PartitionDescription| {
        (TopicPartition::new(&*topic.name, it.partition.0), it.replicas.clone())
    };
    let chosen: Plan = wanted.map(of).collect();
    match only.filter(|_| chosen.is_empty()) {
        Some(only) => Err(Failure::failed(format!("{} has no partition {only}", topic.name))),
        None => Ok(chosen),
    }
}

/// Where partitions are. While some move, nobody knows where they will be.
fn placement(survey: &Survey) -> Result<Placement, Failure> {
    if let Some(partition) = survey.moves.keys().next() {
        let count = survey.moves.len();
        return Err(Failure::failed(format!(
            "{count} partitions move already, {partition} among them: wait for their end (cairn cluster reassign --list)"
        )));
    }
    let serving = survey.cluster.brokers.iter().filter(|broker| !broker.is_fenced);
    let partitions = survey.topics.iter().flat_map(|topic| chosen(topic, None).unwrap_or_default());
    Ok(Placement {
        brokers: serving.map(|broker| (broker.id, broker.rack.clone())).collect(),
        partitions: partitions.collect(),
    })
}

async fn list(admin: &Admin) -> Outcome {
    let moves = admin.list_partition_reassignments().await.context("cannot list reassignments")?;
    let mut output = Output::stdout();
    if moves.is_empty() {
        output.line(b"nothing moves")?;
    }
    for (partition, it) in moves {
        let (replicas, adding, removing) = (names(&it.replicas), names(&it.adding), names(&it.removing));
        output.line(format!("{partition}  replicas {replicas}  adding {adding}  removing {removing}").as_bytes())?;
    }
    output.flush()
}

async fn cancel(admin: &Admin, chosen: &Plan, execution: Execution) -> Outcome {
    let moves = admin.list_partition_reassignments().await.context("cannot list reassignments")?;
    let under_way = chosen.keys().filter(|partition| moves.contains_key(*partition));
    let cancels: BTreeMap<_, _> = under_way.map(|partition| (partition.clone(), Reassignment::Cancel)).collect();
    let mut output = Output::stdout();
    if cancels.is_empty() {
        output.line(b"nothing moves")?;
        return output.flush();
    }
    for partition in cancels.keys() {
        output.line(format!("{partition}: its move is taken back").as_bytes())?;
    }
    output.flush()?;
    if execution.dry_run {
        return Ok(());
    }
    ask(admin, &cancels).await
}

/// Shows a plan, and carries it out unless it is only to be seen.
async fn carry_out(admin: &Admin, before: &Survey, plan: &Plan, execution: Execution) -> Outcome {
    let mut output = Output::stdout();
    let now: BTreeMap<_, _> = before.topics.iter().flat_map(|topic| chosen(topic, None).unwrap_or_default()).collect();
    for (partition, to) in plan {
        let from = now.get(partition).map(|from| names(from)).unwrap_or_default();
        output.line(format!("{partition}  {from} -> {}", names(to)).as_bytes())?;
    }
    if plan.is_empty() {
        output.line(b"nothing has to move")?;
    }
    output.flush()?;
    if execution.dry_run || plan.is_empty() {
        return Ok(());
    }
    let wanted = plan.iter().map(|(partition, to)| (partition.clone(), Reassignment::To(to.clone()))).collect();
    ask(admin, &wanted).await?;
    if execution.no_wait {
        output.line(b"under way: cairn cluster reassign --list")?;
        return output.flush();
    }
    until_moved(admin, plan).await?;
    output.line(format!("{} partitions are where they shall be", plan.len()).as_bytes())?;
    output.flush()
}

async fn ask(admin: &Admin, wanted: &BTreeMap<TopicPartition, Reassignment>) -> Outcome {
    let refused = admin.alter_partition_reassignments(wanted).await.context("cannot reassign partitions")?;
    let Some((_, first)) = refused.first() else { return Ok(()) };
    for (_, error) in &refused[1..] {
        eprintln!("{error}");
    }
    let count = refused.len();
    Err(Failure::Failed(anyhow!(first.clone()).context(format!("{count} of {} partitions were refused", wanted.len()))))
}

/// Waits until nothing of the plan moves any more. A move ends when its new replicas are in sync, or somebody takes it back.
async fn until_moved(admin: &Admin, plan: &Plan) -> Outcome {
    let bar = progress::bar(u64::try_from(plan.len()).ok(), progress::Unit::Partitions);
    let mut ticks = tokio::time::interval(ASK_EVERY);
    let mut elsewhere = 0;
    while elsewhere < ASKS_AFTER_THE_END {
        ticks.tick().await;
        let moves = admin.list_partition_reassignments().await.context("cannot list reassignments")?;
        let left = plan.keys().filter(|partition| moves.contains_key(*partition)).count();
        bar.set_position(u64::try_from(plan.len() - left).unwrap_or(0));
        if left > 0 {
            elsewhere = 0;
            continue;
        }
        if is_there(admin, plan).await? {
            bar.finish_and_clear();
            return Ok(());
        }
        elsewhere += 1;
    }
    Err(Failure::failed("a move was taken back, or its topic deleted: see cairn cluster status"))
}

async fn is_there(admin: &Admin, plan: &Plan) -> Result<bool, Failure> {
    let topics = admin.describe_all_topics().await.context("cannot describe topics")?;
    let now: Plan = topics.iter().flat_map(|topic| chosen(topic, None).unwrap_or_default()).collect();
    Ok(plan.iter().all(|(partition, to)| now.get(partition) == Some(to)))
}

/// Has the preferred replica of each partition lead that another in-sync one leads.
async fn lead_as_preferred(admin: &Admin) -> Outcome {
    let topics = admin.describe_all_topics().await.context("cannot describe topics")?;
    let mut wanted = Vec::new();
    for topic in &topics {
        let elsewhere = topic.partitions.iter().filter(|it| {
            it.replicas.first().is_some_and(|first| it.leader != Some(*first) && it.in_sync.contains(first))
        });
        wanted.extend(elsewhere.map(|it| TopicPartition::new(&*topic.name, it.partition.0)));
    }
    if wanted.is_empty() {
        return Ok(());
    }
    let mut output = Output::stdout();
    let refused = match admin.elect_leaders(Election::Preferred, &wanted).await {
        Err(AdminError::Request(RequestError::Unsupported { .. })) => {
            output.line(
                format!("{} partitions keep their leaders: the brokers do not serve ElectLeaders", wanted.len())
                    .as_bytes(),
            )?;
            return output.flush();
        }
        refused => refused.context("cannot have leaders elected")?,
    };
    if let Some((_, first)) = refused.first() {
        return Err(Failure::Failed(anyhow!(first.clone()).context("not all preferred leaders were elected")));
    }
    output.line(format!("{} partitions are led by their preferred replicas again", wanted.len()).as_bytes())?;
    output.flush()
}
