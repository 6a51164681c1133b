//! `cairn group explain`: why a group rebalanced, as its coordinator's flight recorder tells it.
//!
//! Must not know: how it is recorded.

use std::time::{Duration, UNIX_EPOCH};

use anyhow::{Context as _, anyhow};
use cairn_client::{Admin, BrokerId, ConfigResource};
use serde::Deserialize;
use serde_json::Value;

use super::{or_dash, table};
use crate::args::GroupExplainArgs;
use crate::connect::client;
use crate::exit::{Failure, Outcome};
use crate::http_get;
use crate::output::Output;

/// Where a broker says that it serves its metrics.
const METRICS_LISTENER: &str = "metrics.listener";

/// What is told of a group; what a newer broker tells beside it is left out.
#[derive(Debug, Deserialize)]
struct Story {
    now: Option<Present>,
    rebalances: Vec<Rebalance>,
}

#[derive(Debug, Deserialize)]
struct Present {
    state: String,
    generation: i64,
    protocol: Option<String>,
    members: u64,
}

#[derive(Debug, Deserialize)]
struct Rebalance {
    begun_ms: u64,
    cause: String,
    detail: String,
    from_generation: i64,
    generation: Option<i64>,
    protocol: Option<String>,
    outcome: String,
    after_joined_ms: Option<u64>,
    after_ended_ms: Option<u64>,
    members: Vec<Part>,
    members_left_off: u64,
}

#[derive(Debug, Deserialize)]
struct Part {
    member_id: String,
    client_id: String,
    after_joined_ms: Option<u64>,
    after_synced_ms: Option<u64>,
    removed: Option<String>,
}

pub(super) async fn run(args: GroupExplainArgs) -> Outcome {
    let address = match &args.metrics {
        Some(address) => address.clone(),
        None => find(&client(&args.cluster)?.admin(), &args.name).await?,
    };
    let path = format!("/groups/{}", http_get::percent_encoded(&args.name));
    let answer = http_get::get(&address, &path).await?;
    let told: Value = serde_json::from_slice(&answer.body)
        .with_context(|| format!("{address} tells nothing of groups (HTTP {})", answer.status))?;
    if answer.status != 200 {
        let error = told["error"].as_str().unwrap_or("no reason given");
        return Err(Failure::failed(format!("{address} does not tell of group {}: {error}", args.name)));
    }
    let mut output = Output::stdout();
    if args.json {
        output.json(&told)?;
    } else {
        let story: Story =
            serde_json::from_value(told).with_context(|| format!("{address} tells it in another way"))?;
        output.line(as_text(&args.name, &story, args.last).as_bytes())?;
    }
    output.flush()
}

/// The metrics listener of the broker that coordinates the group.
async fn find(admin: &Admin, group: &str) -> anyhow::Result<String> {
    let coordinator = admin.group_coordinator(group).await.context("cannot find the group's coordinator")?;
    let configs = admin.describe_configs(&ConfigResource::Broker(coordinator)).await;
    let configs = configs.with_context(|| format!("cannot ask broker {coordinator} for {METRICS_LISTENER}"))?;
    let listener = configs.into_iter().find(|entry| &*entry.name == METRICS_LISTENER).and_then(|entry| entry.value);
    let listener = listener
        .ok_or_else(|| anyhow!("broker {coordinator} keeps no record of rebalances: only Cairn's brokers do"))?;
    reachable(admin, coordinator, &listener).await
}

/// A listener on all interfaces is reached where the broker is.
async fn reachable(admin: &Admin, broker: BrokerId, listener: &str) -> anyhow::Result<String> {
    let Some(port) = listener.strip_prefix("0.0.0.0:").or_else(|| listener.strip_prefix("[::]:")) else {
        return Ok(listener.to_owned());
    };
    let cluster = admin.describe_cluster().await.context("cannot describe the cluster")?;
    let broker = cluster.brokers.iter().find(|it| it.id == broker).ok_or_else(|| anyhow!("broker {broker} is gone"))?;
    let host = if broker.host.contains(':') { format!("[{}]", broker.host) } else { broker.host.to_string() };
    Ok(format!("{host}:{port}"))
}

fn as_text(group: &str, story: &Story, last: usize) -> String {
    let mut text = match &story.now {
        None => format!("group {group} is gone; what is remembered of it:"),
        Some(now) => format!(
            "group {group}  state {}  generation {}  protocol {}  members {}",
            now.state,
            now.generation,
            or_dash(now.protocol.as_deref().unwrap_or_default()),
            now.members
        ),
    };
    if story.rebalances.is_empty() {
        return text + "\n\nno rebalance since the broker was started";
    }
    let left_off = story.rebalances.len().saturating_sub(last);
    for rebalance in &story.rebalances[left_off..] {
        text += "\n\n";
        text += &paragraph(rebalance);
    }
    if left_off > 0 {
        text += &format!("\n\n{left_off} earlier ones are left off: --last {} shows them", story.rebalances.len());
    }
    text
}

fn paragraph(it: &Rebalance) -> String {
    let begun = humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(it.begun_ms));
    let mut text = format!("{begun}  {}", in_words(&it.cause));
    if !it.detail.is_empty() {
        text += &format!(": {}", it.detail);
    }
    text +=
        &format!("\n  generation {} -> {}", it.from_generation, it.generation.map_or("-".into(), |it| it.to_string()));
    if let Some(protocol) = &it.protocol {
        text += &format!("  protocol {protocol}");
    }
    text += &format!("  {}", it.outcome.replace('_', " "));
    if let Some(after) = it.after_joined_ms {
        text += &format!("  all joined after {}", for_people(after));
    }
    if let Some(after) = it.after_ended_ms {
        text += &format!("  ended after {}", for_people(after));
    }
    if let Some(last) = last_to_join(it) {
        text += &format!("\n  waited longest for {} ({})", last.member_id, or_dash(&last.client_id));
    }
    if !it.members.is_empty() {
        text += "\n";
        text += &members(it);
    }
    if it.members_left_off > 0 {
        text += &format!("\n  and {} more members", it.members_left_off);
    }
    text
}

/// Whom the others waited for, if there are others.
fn last_to_join(it: &Rebalance) -> Option<&Part> {
    let joined = it.members.iter().filter(|part| part.after_joined_ms.is_some());
    let last = joined.clone().max_by_key(|part| part.after_joined_ms)?;
    (joined.count() > 1).then_some(last)
}

fn members(it: &Rebalance) -> String {
    let mut table = table(&["client", "member", "joined after", "asked for its assignment after", "removed"]);
    let after = |millis: Option<u64>| millis.map_or_else(|| "-".to_owned(), for_people);
    for part in &it.members {
        table.add_row([
            or_dash(&part.client_id).to_owned(),
            part.member_id.clone(),
            after(part.after_joined_ms),
            after(part.after_synced_ms),
            part.removed.as_deref().map_or_else(|| "-".to_owned(), |why| in_words(why).to_owned()),
        ]);
    }
    let indent = |line: &str| format!("  {line}");
    table.trim_fmt().lines().map(indent).collect::<Vec<_>>().join("\n")
}

fn for_people(millis: u64) -> String {
    humantime::format_duration(Duration::from_millis(millis)).to_string()
}

/// The broker's word for a cause, in words.
fn in_words(cause: &str) -> &str {
    match cause {
        "joined" => "a member joined",
        "metadata_changed" => "a member wants something else than before",
        "leader_rejoined" => "the leader wants to assign anew",
        "static_member_replaced" => "a static member came back",
        "left" => "a member left",
        "session_expired" => "a member sent no heartbeat",
        "join_timed_out" => "a member did not join in time",
        "sync_timed_out" => "a member did not ask for its assignment in time",
        "revocation_timed_out" => "a member did not let partitions go in time",
        "downgraded" => "the group goes back to the classic protocol",
        "write_failed" => "the assignment could not be written",
        "too_many_members" => "there are more members than group.max.size",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_story_is_told_with_whom_it_waited_for() {
        let told = r#"{"name": "g", "now": {"group": "g", "type": "classic", "state": "Stable", "members": 2,
            "generation": 3, "protocol": "range", "member_list": [], "lag": []},
          "rebalances": [
            {"begun_ms": 1772366400000, "cause": "session_expired", "detail": "m1", "from_generation": 1, "generation": 2,
             "protocol": "range", "outcome": "superseded", "after_joined_ms": null, "after_ended_ms": 10, "members": [],
             "members_left_off": 0},
            {"begun_ms": 1772366401000, "cause": "joined", "detail": "new member: m3", "from_generation": 2, "generation": 3,
             "protocol": "range", "outcome": "stable", "after_joined_ms": 3001, "after_ended_ms": 3010, "members_left_off": 1,
             "members": [
               {"member_id": "m2", "client_id": "java", "after_joined_ms": 3001, "after_synced_ms": 3005, "removed": null},
               {"member_id": "m3", "client_id": "", "after_joined_ms": 0, "after_synced_ms": 3004, "removed": "left"}]}]}"#;
        let story: Story = serde_json::from_str(told).expect("reads");
        let text = as_text("g", &story, 5);
        for part in [
            "group g  state Stable  generation 3  protocol range  members 2",
            "2026-03-01T12:00:00.000Z  a member sent no heartbeat: m1",
            "generation 2 -> 3  protocol range  stable  all joined after 3s 1ms  ended after 3s 10ms",
            "waited longest for m2 (java)",
            "and 1 more members",
        ] {
            assert!(text.contains(part), "{part:?} is not in\n{text}");
        }
        assert!(!text.contains("left off"));
        let text = as_text("g", &story, 1);
        assert!(!text.contains("no heartbeat") && text.contains("1 earlier ones are left off: --last 2"), "{text}");
    }
}
