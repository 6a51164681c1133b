//! A heartbeat of a member that is in the group, or wants to be: what changes by it, and what it is told.
//!
//! ```text
//!   1. the member comes, or asks for something else      its subscription; the group epoch counts up
//!      topics have changed                               the group epoch counts up
//!   2. the group epoch is ahead of the target            the assignor decides anew, at most once in a while; where that may
//!                                                        take long, somebody begins to work it out, and 3. goes by the old
//!   3. the member is not where the target is             it gives up first, then it gets what is free
//! ```
//! By the rules of Apache Kafka 4.3's `GroupMetadataManager`. Nothing is changed here: the changes are written first.
//!
//! Must not know: messages of the wire, records, timers' queue.

use std::sync::Arc;

use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::Timestamp;

use super::assignment::is_same;
use super::change::{Change, GroupEpoch};
use super::decided::{Decided, Seen};
use super::group::{Begun, ConsumerGroup, Timing};
use super::heartbeat::{ConsumerHeartbeat, HeartbeatReply, Refusal};
use super::member::{AWAY_EPOCH, Current, Member, MemberState, Subscription};
use super::reconcile::{Goal, Subscribing, reconcile};
use super::scene::Scene;
use super::settings::{ASSIGN_AGAIN_MS, ASSIGNING_HEARTBEAT_MS, ConsumerSettings};
use super::staged::Staged;
use super::state::Core;
use super::target;
use super::topics::metadata_hash;

/// A member that speaks, and what changes about it.
pub(crate) struct Speaker {
    pub(crate) id: Arc<str>,
    /// As it was; new ones have nothing.
    pub(crate) before: Member,
    pub(crate) subscribing: Subscribing,
}

/// Decides on a heartbeat.
pub(crate) fn heartbeat(
    heartbeat: &ConsumerHeartbeat<'_>,
    group: &ConsumerGroup,
    scene: &Scene<'_>,
) -> Result<Decided<HeartbeatReply>, Refusal> {
    let mut staged = Staged::new(&group.core);
    check_room(staged.core(), heartbeat.member, scene.settings)?;
    let id: Arc<str> = if heartbeat.member.is_empty() { heartbeat.unique } else { heartbeat.member }.into();
    let mut timing = Vec::new();
    let before = match heartbeat.instance {
        None => dynamic_member(staged.core(), &id, heartbeat)?,
        Some(instance) => static_member(&mut staged, &id, instance, heartbeat, &mut timing)?,
    };
    let subscription = heartbeat.subscription(&before.subscription);
    let Settled { speaker, seen, begins_assignment } = settle(&mut staged, id, before, subscription, group, scene)?;
    let current = advance(&staged, &speaker, heartbeat.owned.as_ref(), scene)?;
    let Speaker { id, before, .. } = speaker;
    let is_told =
        heartbeat.is_joining() || heartbeat.is_full() || !is_same(&current.assigned, &before.current.assigned);
    let reply = HeartbeatReply {
        error: ErrorCode::None,
        message: None,
        member: Some(Arc::clone(&id)),
        epoch: current.epoch,
        interval_ms: interval_ms(begins_assignment, group, scene),
        assignment: is_told.then(|| super::assignment::partitions_of(&current.assigned)),
    };
    timing.push(Timing::Session(Arc::clone(&id), scene.settings.session_timeout_ms));
    let last = changed(&staged, &id, current);
    if let Some(Change::Current(_, Some(current))) = &last {
        timing.push(match current.state {
            MemberState::UnrevokedPartitions => {
                let allowed = staged.core().member(&id).map_or(0, |member| member.subscription.rebalance_timeout_ms);
                Timing::Rebalance(id, allowed, current.epoch)
            }
            _ => Timing::Rebalanced(id),
        });
    }
    Ok(Decided { timing, seen, begins_assignment, ..Decided::only(staged.finish_with(last), reply) })
}

/// When a member is to come again.
fn interval_ms(begins_assignment: bool, group: &ConsumerGroup, scene: &Scene<'_>) -> i32 {
    let usual = scene.settings.heartbeat_interval_ms;
    match group.assigning {
        _ if begins_assignment => usual.min(ASSIGNING_HEARTBEAT_MS),
        Begun::At(..) => usual.min(ASSIGNING_HEARTBEAT_MS),
        Begun::Refused(_) if group.assigning.is_busy(scene.now.ticks) => usual.min(ASSIGN_AGAIN_MS),
        Begun::Refused(_) | Begun::Nothing => usual,
    }
}

/// A group that is full takes nobody in; who is in it is heard.
pub(crate) fn check_room(core: &Core, member: &str, settings: &ConsumerSettings) -> Result<(), Refusal> {
    if core.size() < settings.members_max || core.member(member).is_some() {
        return Ok(());
    }
    let message = format!("The consumer group has reached its maximum capacity of {} members.", settings.members_max);
    Err(Refusal::new(ErrorCode::GroupMaxSizeReached, message))
}

fn dynamic_member(core: &Core, id: &str, heartbeat: &ConsumerHeartbeat<'_>) -> Result<Member, Refusal> {
    match core.member(id) {
        Some(member) => check_epoch(member, heartbeat).map(|()| member.clone()),
        None if heartbeat.is_joining() => Ok(Member::default()),
        None => Err(unknown_member(id, heartbeat.group)),
    }
}

pub(crate) fn unknown_member(id: &str, group: &str) -> Refusal {
    Refusal::new(ErrorCode::UnknownMemberId, format!("Member {id} is not a member of group {group}."))
}

/// A member with an instance id; who takes over from another gets what that one had.
fn static_member(
    staged: &mut Staged<'_>,
    id: &Arc<str>,
    instance: &str,
    heartbeat: &ConsumerHeartbeat<'_>,
    timing: &mut Vec<Timing>,
) -> Result<Member, Refusal> {
    let existing = staged.core().id_of_instance(instance).cloned();
    let Some(existing) = existing else {
        return if heartbeat.is_joining() {
            Ok(staged.core().member(id).cloned().unwrap_or_default())
        } else {
            Err(Refusal::new(ErrorCode::UnknownMemberId, format!("Instance id {instance} is unknown.")))
        };
    };
    let member = staged.core().member(&existing).cloned().unwrap_or_default();
    if !heartbeat.is_joining() {
        check_instance(id, instance, &existing)?;
        return check_epoch(&member, heartbeat).map(|()| member);
    }
    if !member.is_classic() && member.current.epoch != AWAY_EPOCH {
        let message = format!(
            "Static member {id} with instance id {instance} cannot join the group because the instance id is owned by \
             {existing} member."
        );
        return Err(Refusal::new(ErrorCode::UnreleasedInstanceId, message));
    }
    if existing != *id {
        timing.push(Timing::Gone(Arc::clone(&existing)));
    }
    Ok(replace(staged, &existing, id))
}

/// A static member that is another one by now is fenced.
pub(crate) fn check_instance(id: &str, instance: &str, existing: &str) -> Result<(), Refusal> {
    if existing == id {
        return Ok(());
    }
    let message = format!("Static member {id} with instance id {instance} was fenced by member {existing}.");
    Err(Refusal::new(ErrorCode::FencedInstanceId, message))
}

fn check_epoch(member: &Member, heartbeat: &ConsumerHeartbeat<'_>) -> Result<(), Refusal> {
    if member.current.admits(heartbeat.epoch, heartbeat.owned.as_ref()) {
        return Ok(());
    }
    let (said, known) = (heartbeat.epoch, member.current.epoch);
    let which = if said > known { "greater" } else { "smaller" };
    let message = format!(
        "The consumer group member has a {which} member epoch ({said}) than the one known by the group coordinator \
         ({known}). The member must abandon all its partitions and rejoin."
    );
    Err(Refusal::new(ErrorCode::FencedMemberEpoch, message))
}

/// Puts a member in another's place, with all that it had and was to have.
pub(crate) fn replace(staged: &mut Staged<'_>, old: &Arc<str>, new: &Arc<str>) -> Member {
    let core = staged.core();
    let member = core.member(old).cloned().unwrap_or_default();
    let target = core.target_of(old).cloned().unwrap_or_default();
    let current = Arc::new(Current { epoch: 0, previous_epoch: 0, ..(*member.current).clone() });
    remove(staged, old);
    staged.apply(Change::Subscription(Arc::clone(new), Some(Arc::clone(&member.subscription))));
    staged.apply(Change::Target(Arc::clone(new), Some(target)));
    staged.apply(Change::Current(Arc::clone(new), Some(Arc::clone(&current))));
    Member { subscription: member.subscription, current }
}

/// Takes a member away.
pub(crate) fn remove(staged: &mut Staged<'_>, id: &Arc<str>) {
    staged.apply(Change::Current(Arc::clone(id), None));
    staged.apply(Change::Target(Arc::clone(id), None));
    staged.apply(Change::Subscription(Arc::clone(id), None));
}

/// A group that has taken in what a member asks for.
pub(crate) struct Settled {
    pub(crate) speaker: Speaker,
    pub(crate) seen: Option<Seen>,
    pub(crate) begins_assignment: bool,
}

/// Takes in what a member asks for and how topics have changed; then decides what everybody is to have, where it has to be.
pub(crate) fn settle(
    staged: &mut Staged<'_>,
    id: Arc<str>,
    before: Member,
    subscription: Subscription,
    group: &ConsumerGroup,
    scene: &Scene<'_>,
) -> Result<Settled, Refusal> {
    let old = Arc::clone(&before.subscription);
    let names_changed = subscription.topics != old.topics;
    let regex_changed = subscription.regex != old.regex;
    let regex = Arc::clone(&subscription.regex);
    if *old != subscription || staged.core().member(&id).is_none() {
        staged.apply(Change::Subscription(Arc::clone(&id), Some(Arc::new(subscription))));
    }
    if regex_changed {
        drop_unused_regexes(staged);
        resolve_new(staged, &regex, scene)?;
    }
    let changes = names_changed || regex_changed;
    let is_forced = changes || group.is_void();
    let seen = update_epoch(staged, is_forced, group, scene);
    let begins_assignment = assign_or_begin(staged, group, scene);
    let subscribing = if changes { Subscribing::Changed } else { Subscribing::AsBefore };
    Ok(Settled { speaker: Speaker { id, before, subscribing }, seen, begins_assignment })
}

/// Decides what everybody is to have, where it is time for that; gives whether somebody has to work it out, because it may take
/// long.
fn assign_or_begin(staged: &mut Staged<'_>, group: &ConsumerGroup, scene: &Scene<'_>) -> bool {
    let core = staged.core();
    let is_due = core.group.epoch > core.target.epoch && may_assign(core, scene);
    if !is_due || group.assigning.is_busy(scene.now.ticks) {
        return false;
    }
    if !target::is_work_of_at_most(scene.settings.inline_work_max, core, scene.topics) {
        return true;
    }
    target::assign(staged, scene.settings.assignors, scene.topics, scene.now.wall);
    false
}

/// Whether it is long enough since the last time. A clock that was set back does not count.
fn may_assign(core: &Core, scene: &Scene<'_>) -> bool {
    let (last, now) = (core.target.at, scene.now.wall);
    last == Timestamp(0) || now < last || now.0 - last.0 >= i64::from(scene.settings.assignment_interval_ms)
}

/// Takes in the topics of a regular expression that nobody has asked for before.
///
/// Where they were not looked for, because the last one who asked for it has gone meanwhile, the member comes again.
fn resolve_new(staged: &mut Staged<'_>, regex: &Arc<str>, scene: &Scene<'_>) -> Result<(), Refusal> {
    if regex.is_empty() || staged.core().regex(regex).is_some() {
        return Ok(());
    }
    let again =
        || Refusal::new(ErrorCode::CoordinatorLoadInProgress, "The topics of the expression are being looked for.");
    let found = scene.found.get(regex).ok_or_else(again)?;
    let resolved = found.map_err(|error| Refusal::new(ErrorCode::InvalidRegularExpression, error.to_string()))?;
    staged.apply(Change::Regex(Arc::clone(regex), Some(Arc::clone(resolved))));
    Ok(())
}

/// Forgets the regular expressions that nobody asks for any more.
pub(crate) fn drop_unused_regexes(staged: &mut Staged<'_>) {
    let core = staged.core();
    let is_unused = |regex: &&Arc<str>| core.subscribers_of_regex(regex) == 0;
    let unused: Vec<Arc<str>> = core.regexes().map(|(regex, _)| regex).filter(is_unused).cloned().collect();
    for regex in unused {
        staged.apply(Change::Regex(regex, None));
    }
}

/// Counts the group epoch up when it has to, or when topics are not what they were at the present one.
fn update_epoch(staged: &mut Staged<'_>, is_forced: bool, group: &ConsumerGroup, scene: &Scene<'_>) -> Option<Seen> {
    let searched = scene.found.whole();
    if !is_forced && group.topics_seen == Some(scene.topics.version()) && searched.is_none() {
        return None;
    }
    let has_moved = searched.is_some() && refresh_regexes(staged, scene);
    let core = staged.core();
    let metadata_hash = metadata_hash(core.subscribed(), scene.topics);
    let is_bumped = is_forced || has_moved || metadata_hash != core.group.metadata_hash;
    if is_bumped {
        let epoch = core.group.epoch + 1;
        staged.apply(Change::Epoch(Some(GroupEpoch { epoch, metadata_hash })));
    }
    // Where something is written it may fail: then the next heartbeat has to find out again.
    Some(Seen { is_settled: !is_bumped, searched })
}

/// Takes in the topics of all regular expressions that were looked for; gives whether some are others than before.
fn refresh_regexes(staged: &mut Staged<'_>, scene: &Scene<'_>) -> bool {
    let all: Vec<Arc<str>> = staged.core().subscribed_regexes().cloned().collect();
    let mut has_moved = false;
    for regex in all {
        // What was taken once compiles; what another broker has taken may not, and matches nothing then.
        let Some(Ok(resolved)) = scene.found.get(&regex) else { continue };
        let before = staged.core().regex(&regex);
        if before.is_none_or(|before| !Arc::ptr_eq(before, resolved) && before.topics != resolved.topics) {
            has_moved = true;
            let resolved = Arc::clone(resolved);
            staged.apply(Change::Regex(regex, Some(resolved)));
        }
    }
    has_moved
}

/// What the speaker has after this.
pub(crate) fn advance(
    staged: &Staged<'_>,
    speaker: &Speaker,
    owned: Option<&super::assignment::Partitions>,
    scene: &Scene<'_>,
) -> Result<Current, Refusal> {
    let core = staged.core();
    let current = &speaker.before.current;
    if speaker.subscribing == Subscribing::AsBefore && current.is_reconciled_to(core.target.epoch) {
        return Ok((**current).clone());
    }
    if current.state == MemberState::Unknown && owned.is_none_or(|owned| !owned.is_empty()) {
        let message =
            "The consumer group member is in a unknown state. The member must abandon all its partitions and rejoin.";
        return Err(Refusal::new(ErrorCode::FencedMemberEpoch, message));
    }
    let subscription = core.member(&speaker.id).map(|member| Arc::clone(&member.subscription)).unwrap_or_default();
    let target = core.target_of(&speaker.id).cloned().unwrap_or_default();
    let goal = Goal {
        epoch: core.target.epoch,
        target: &target,
        is_subscribed: &|id| scene.topics.name(id).is_some_and(|name| core.asks_for(&subscription, name)),
        subscription: speaker.subscribing,
    };
    Ok(reconcile(current, &goal, owned, |topic, partition| core.is_owned(topic, partition)))
}

/// The step to what a member has now, unless it has that already.
pub(crate) fn changed(staged: &Staged<'_>, id: &Arc<str>, current: Current) -> Option<Change> {
    let is_new = staged.core().member(id).is_none_or(|member| *member.current != current);
    is_new.then(|| Change::Current(Arc::clone(id), Some(Arc::new(current))))
}
