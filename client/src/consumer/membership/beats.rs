//! ConsumerGroupHeartbeat (KIP-848) on the wire: topics have ids there, and names here.
//!
//! Must not know: when it is sent, what an assignment leads to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cairn_protocol::ids::TopicId;
use cairn_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use cairn_protocol::messages::consumer_group_heartbeat_response::Assignment;
use cairn_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use tokio::time::Instant;

use super::Shared;
use super::step::{Beat, Beaten, Failure};
use super::task::call;
use super::wire::Names;
use crate::cluster::{Unknown, View};
use crate::error::check;
use crate::network::Lane;
use crate::topic_partition::TopicPartition;

const VERSIONS: std::ops::RangeInclusive<i16> = 0..=1;
/// How often metadata is asked for the name of a topic that was just assigned. One that has none then was deleted, and the
/// coordinator will say so.
const NAMING_ATTEMPTS: u32 = 5;

/// Sends one heartbeat.
pub(super) async fn send(
    shared: &Shared,
    names: &Names,
    lane: Lane,
    beat: &Beat,
    timeout: Duration,
) -> Result<Beaten, Failure> {
    let request = request(names, beat, &shared.client.metadata().view());
    let answer = call(shared, names, lane, VERSIONS, timeout, |_| request).await?;
    check(answer.error_code).map_err(|code| {
        tracing::debug!(group = %names.group, %code, message = answer.error_message.as_deref(), "heartbeat refused");
        Failure::Refused(code)
    })?;
    read(shared, answer).await
}

fn request(names: &Names, beat: &Beat, view: &View) -> ConsumerGroupHeartbeatRequest {
    let rebalance_timeout_ms = i32::try_from(names.rebalance_timeout.as_millis()).unwrap_or(i32::MAX);
    ConsumerGroupHeartbeatRequest {
        group_id: (&*names.group).into(),
        member_id: beat.identity.member_id.clone(),
        member_epoch: beat.identity.generation,
        instance_id: names.instance.as_deref().filter(|_| beat.tells_all).map(Box::from),
        rebalance_timeout_ms: if beat.tells_all { rebalance_timeout_ms } else { -1 },
        subscribed_topic_names: beat.topics.as_ref().map(|topics| topics.iter().map(|it| (&**it).into()).collect()),
        topic_partitions: beat.owned.as_deref().map(|owned| by_id(owned, view)),
        ..ConsumerGroupHeartbeatRequest::default()
    }
}

/// A topic without an id was deleted: nobody wants to hear that it is still owned.
fn by_id(owned: &[TopicPartition], view: &View) -> Vec<TopicPartitions> {
    let mut topics: BTreeMap<&Arc<str>, Vec<i32>> = BTreeMap::new();
    for partition in owned {
        topics.entry(&partition.topic).or_default().push(partition.partition.0);
    }
    let topic = |(name, partitions): (&Arc<str>, Vec<i32>)| {
        let topic_id = view.topics.get(name)?.id.0;
        Some(TopicPartitions { topic_id, partitions })
    };
    topics.into_iter().filter_map(topic).collect()
}

async fn read(shared: &Shared, answer: ConsumerGroupHeartbeatResponse) -> Result<Beaten, Failure> {
    let interval = Duration::from_millis(u64::try_from(answer.heartbeat_interval_ms).unwrap_or(0));
    let assigned = match answer.assignment {
        None => None,
        Some(assignment) => Some(named(shared, &assignment).await),
    };
    Ok(Beaten { epoch: answer.member_epoch, interval, assigned })
}

/// The assignment by names, in order.
async fn named(shared: &Shared, assignment: &Assignment) -> Vec<TopicPartition> {
    let metadata = shared.client.metadata();
    let mut failures = 0;
    loop {
        let view = metadata.view();
        let names: BTreeMap<TopicId, &Arc<str>> = view.topics.iter().map(|(name, info)| (info.id, name)).collect();
        let is_named = |id| names.contains_key(&TopicId(id));
        if failures == NAMING_ATTEMPTS || assignment.topic_partitions.iter().all(|topic| is_named(topic.topic_id)) {
            let mut all = Vec::new();
            for topic in &assignment.topic_partitions {
                let Some(name) = names.get(&TopicId(topic.topic_id)) else { continue };
                all.extend(topic.partitions.iter().map(|index| TopicPartition::new(Arc::clone(name), *index)));
            }
            all.sort();
            all.dedup();
            return all;
        }
        if failures > 0 {
            tokio::time::sleep(shared.client.config().backoff.wait_after(failures)).await;
        }
        failures += 1;
        let topics = shared.membership.topics();
        if let Err(error) = metadata.refresh(&topics, Unknown::Refuse, Instant::now()).await {
            tracing::debug!(%error, "cannot learn the names of topics");
        }
    }
}
