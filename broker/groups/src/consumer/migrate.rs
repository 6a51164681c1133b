//! Groups change from one protocol to the other while members are in them: to the new one with the first member that speaks
//! it, back with the last of those.
//!
//! Must not know: messages of the wire, which request is the reason.

use std::collections::BTreeSet;
use std::sync::Arc;

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::Timestamp;

use super::assignment::{Held, partitions_of};
use super::change::{Change, GroupEpoch, TargetEpoch};
use super::classic_bytes::{self, given, subscription, to_ids};
use super::group::{ConsumerGroup, Timing};
use super::heartbeat::Refusal;
use super::member::{Classic, Current, MemberState, Subscription};
use super::scene::Scene;
use super::state::{ConsumerGroupState, Core};
use crate::effects::Onward;
use crate::group::{Group, Member};
use crate::stored_group::StoredGroup;
use crate::timers::Timer;

/// A classic group as a consumer group.
#[derive(Debug)]
pub(crate) struct Upgraded {
    pub(crate) group: ConsumerGroup,
    /// The steps that make it.
    pub(crate) changes: Vec<Change>,
    pub(crate) timing: Vec<Timing>,
}

/// Makes a consumer group of a classic one: with its generation as its epoch, and with what its members have.
pub(crate) fn upgrade(classic: &Group, scene: &Scene<'_>) -> Result<Upgraded, Refusal> {
    let name = &classic.name;
    let refuse = |why: &str| {
        let message = format!("Group {name} is not a consumer group: {why}.");
        Err(Refusal::new(ErrorCode::GroupIdNotFound, message))
    };
    if !scene.settings.migration.allows_upgrade() {
        return refuse("the online upgrade is disabled");
    }
    if !classic.is_consumer() {
        return refuse("it does not use the consumer embedded protocol");
    }
    if classic.size() > scene.settings.members_max {
        return refuse("it is larger than group.consumer.max.size");
    }
    let epoch = classic.generation;
    let mut taken = BTreeSet::new();
    let mut members = Vec::new();
    for (id, member) in classic.members() {
        let Some(parts) = member_parts(classic, member, epoch, &mut taken, scene) else {
            return refuse("what its members say does not read");
        };
        members.push((Arc::clone(id), parts));
    }
    let mut changes = Vec::new();
    let each = || members.iter().cloned();
    changes.extend(each().map(|(id, (subscription, _))| Change::Subscription(id, Some(subscription))));
    changes.push(Change::Epoch(Some(GroupEpoch { epoch, metadata_hash: 0 })));
    let target = |current: &Current| Arc::new(partitions_of(&current.assigned));
    changes.extend(each().map(|(id, (_, current))| Change::Target(id, Some(target(&current)))));
    changes.push(Change::TargetEpoch(Some(TargetEpoch { epoch, at: Timestamp(0) })));
    changes.extend(each().map(|(id, (_, current))| Change::Current(id, Some(current))));
    let mut group = ConsumerGroup::new(Arc::clone(name));
    changes.iter().for_each(|change| group.apply(change));
    let timing =
        classic.members().map(|(id, member)| Timing::Session(Arc::clone(id), member.session_timeout_ms)).collect();
    Ok(Upgraded { group, changes, timing })
}

type MemberParts = (Arc<Subscription>, Arc<Current>);

/// What a classic member asks for and has; none when that does not read. What another has got already it does not have.
fn member_parts(
    classic: &Group,
    member: &Member,
    epoch: i32,
    taken: &mut BTreeSet<(cairn_protocol::ids::TopicId, cairn_protocol::ids::PartitionIndex)>,
    scene: &Scene<'_>,
) -> Option<MemberParts> {
    let metadata = match &classic.protocol {
        Some(protocol) => member.metadata(protocol),
        None => member.protocols.first()?.metadata.clone(),
    };
    let said = subscription(&metadata)?;
    let mut assigned = Held::new();
    for (topic, partitions) in to_ids(&given(&member.assignment)?, scene.topics) {
        for partition in partitions.into_iter().filter(|partition| taken.insert((topic, *partition))) {
            assigned.entry(topic).or_default().insert(partition, epoch);
        }
    }
    let subscription = Subscription {
        instance: member.instance.clone(),
        rack: said.rack,
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        topics: said.topics.iter().map(|name| (**name).into()).collect(),
        regex: "".into(),
        rebalance_timeout_ms: member.rebalance_timeout_ms,
        assignor: None,
        classic: Some(Classic { session_timeout_ms: member.session_timeout_ms, protocols: member.protocols.clone() }),
    };
    let current = Current { epoch, previous_epoch: epoch, state: MemberState::Stable, assigned, revoking: Held::new() };
    Some((Arc::new(subscription), Arc::new(current)))
}

/// The classic group that a consumer group becomes.
#[derive(Debug)]
pub(crate) struct Downgraded {
    pub(crate) stored: StoredGroup,
    pub(crate) onward: Onward,
}

/// The classic group that a consumer group becomes, if the last member that speaks the new protocol is gone by what is
/// being decided: `after` is the group without it.
///
/// When it is gone because a static member has come back by the old protocol, and asks for the same, nobody has to assign
/// anew, as long as everybody has what it is to have. (Kafka does not look at the latter.)
pub(crate) fn downgraded(before: &ConsumerGroup, after: &Core, scene: &Scene<'_>) -> Option<Downgraded> {
    let is_all_classic = |core: &Core| core.classic_members() == core.size();
    let is_first_time = !after.is_empty() && is_all_classic(after) && !is_all_classic(&before.core);
    if !is_first_time || !scene.settings.migration.allows_downgrade() || after.size() > scene.classic_members_max {
        return None;
    }
    let mut group = Group::new(Arc::clone(&before.name), scene.now.wall);
    for (id, member) in after.members() {
        let Some(classic) = &member.subscription.classic else { continue };
        let metadata = classic.protocols.first().map(|protocol| protocol.metadata.clone()).unwrap_or_default();
        let as_classic = Member {
            instance: member.subscription.instance.clone(),
            client_id: member.subscription.client_id.clone(),
            client_host: member.subscription.client_host.clone(),
            session_timeout_ms: classic.session_timeout_ms,
            rebalance_timeout_ms: member.subscription.rebalance_timeout_ms,
            protocols: classic.protocols.clone(),
            assignment: classic_bytes::assignment(&member.current.assigned, &metadata, scene.topics),
            join: None,
            sync: None,
            is_new: false,
            session: Timer::default(),
        };
        group.add(Arc::clone(id), crate::group::CONSUMER, as_classic);
    }
    group.generation = after.group.epoch;
    group.protocol = group.vote();
    group.set_loaded();
    let is_settled = after.group.epoch == before.core.target.epoch && after.state() == ConsumerGroupState::Stable;
    let onward = if is_settled { Onward::AsAssigned } else { Onward::Rebalance };
    Some(Downgraded { stored: StoredGroup::of(&group, None), onward })
}
