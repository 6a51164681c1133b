//! Members of a consumer group that speak the classic protocol: the group has been theirs, or they join one that others
//! have made. They are assigned to like the others; a heartbeat that is answered with REBALANCE_IN_PROGRESS has them join
//! again, which stands for the heartbeat of the new protocol, and ask for what they have with SyncGroup.
//!
//! Must not know: messages of the wire, how groups change from one protocol to the other.

use std::sync::Arc;

use cairn_protocol::error_code::ErrorCode;

use super::assignment::{Partitions, epoch_in};
use super::classic_bytes::{self, Said};
use super::decide::{self, Settled, changed, check_room};
use super::decided::Decided;
use super::group::{ConsumerGroup, Timing};
use super::heartbeat::Refusal;
use super::member::{Classic, Member, MemberState, Subscription};
use super::scene::Scene;
use super::staged::Staged;
use super::state::Core;
use super::topics::Topics;
use crate::group::{CONSUMER, distinct};
use crate::join::Join;
use crate::protocols::Protocol;
use crate::replies::{JoinReply, SyncReply};
use crate::sync::{Identity, Leaver, Sync};

/// What a classic request leads to besides its answer.
pub(crate) type Timings = Vec<Timing>;

/// Decides on a JoinGroup to a group that has members.
pub(crate) fn join(join: &Join<'_>, group: &ConsumerGroup, scene: &Scene<'_>) -> Result<Decided<JoinReply>, ErrorCode> {
    let code = |refusal: Refusal| refusal.error;
    let mut staged = Staged::new(&group.core);
    check_room(staged.core(), join.member, scene.settings).map_err(code)?;
    if !supports(staged.core(), join) {
        return Err(ErrorCode::InconsistentGroupProtocol);
    }
    if join.needs_id() {
        let reply = JoinReply::refused(&join.new_id(), ErrorCode::MemberIdRequired);
        return Ok(Decided::only(Vec::new(), reply));
    }
    let protocols = distinct(&join.protocols);
    let said = protocols.first().and_then(|protocol| classic_bytes::subscription(&protocol.metadata));
    let said = said.ok_or(ErrorCode::InconsistentGroupProtocol)?;
    let mut timing = Vec::new();
    let (id, before) = speaker(&mut staged, join, &mut timing)?;
    let subscription = subscription(join, &said, protocols, &before.subscription);
    let protocol = subscription.classic.as_ref().and_then(|classic| classic.protocols.first()).map(|first| &first.name);
    let protocol = protocol.cloned();
    let settled = decide::settle(&mut staged, id, before, subscription, group, scene).map_err(code)?;
    let Settled { speaker, seen, begins_assignment } = settled;
    let owned = classic_bytes::to_ids(&said.owned, scene.topics);
    let current = decide::advance(&staged, &speaker, Some(&owned), scene).map_err(code)?;
    timing.push(Timing::Session(Arc::clone(&speaker.id), join.session_timeout_ms));
    timing.push(Timing::Sync(Arc::clone(&speaker.id), join.rebalance_timeout()));
    let reply = JoinReply {
        error: ErrorCode::None,
        generation: current.epoch,
        protocol_type: Some(CONSUMER.into()),
        protocol,
        leader: None,
        skip_assignment: false,
        member: Arc::clone(&speaker.id),
        members: Vec::new(),
    };
    if let Some(last) = changed(&staged, &speaker.id, current) {
        staged.apply(last);
    }
    let downgraded = super::migrate::downgraded(group, staged.core(), scene);
    Ok(Decided { timing, seen, begins_assignment, downgraded, ..Decided::only(staged.finish_with(None), reply) })
}

/// Whether there is a protocol that all members know which speak the classic one.
fn supports(core: &Core, join: &Join<'_>) -> bool {
    let classic = || core.members().filter_map(|(_, member)| member.subscription.classic.as_ref());
    let knows = |classic: &Classic, name: &str| classic.protocols.iter().any(|protocol| *protocol.name == *name);
    join.protocol_type == CONSUMER
        && join.protocols.iter().any(|protocol| classic().all(|classic| knows(classic, &protocol.name)))
}

/// Who joins, and what it was before.
fn speaker(staged: &mut Staged<'_>, join: &Join<'_>, timing: &mut Timings) -> Result<(Arc<str>, Member), ErrorCode> {
    let is_new = join.member.is_empty();
    let id: Arc<str> = if is_new { join.new_id() } else { join.member.into() };
    let Some(instance) = join.instance else {
        let member = staged.core().member(&id).cloned().unwrap_or_default();
        return Ok((id, member));
    };
    let existing = staged.core().id_of_instance(instance).cloned();
    match existing {
        Some(existing) if is_new => {
            timing.push(Timing::Gone(Arc::clone(&existing)));
            let member = decide::replace(staged, &existing, &id);
            Ok((id, member))
        }
        Some(existing) if existing != id => Err(ErrorCode::FencedInstanceId),
        Some(_) => {
            let member = staged.core().member(&id).cloned().unwrap_or_default();
            Ok((id, member))
        }
        None if is_new => Ok((id, Member::default())),
        None => Err(ErrorCode::UnknownMemberId),
    }
}

fn subscription(join: &Join<'_>, said: &Said, protocols: Vec<Protocol>, before: &Subscription) -> Subscription {
    Subscription {
        instance: join.instance.map(Into::into).or_else(|| before.instance.clone()),
        rack: said.rack.clone().or_else(|| before.rack.clone()),
        client_id: join.client_id.into(),
        client_host: join.client_host.into(),
        topics: said.topics.iter().map(|name| (**name).into()).collect(),
        regex: "".into(),
        rebalance_timeout_ms: join.rebalance_timeout(),
        assignor: before.assignor.clone(),
        classic: Some(Classic { session_timeout_ms: join.session_timeout_ms, protocols }),
    }
}

/// The member that speaks, which has to speak the classic protocol.
fn member<'a>(
    core: &'a Core,
    id: &str,
    instance: Option<&str>,
) -> Result<(&'a Arc<str>, &'a Member, &'a Classic), ErrorCode> {
    if let Some(instance) = instance {
        let existing = core.id_of_instance(instance).ok_or(ErrorCode::UnknownMemberId)?;
        if **existing != *id {
            return Err(ErrorCode::FencedInstanceId);
        }
    }
    let (id, member) = core.member_with_id(id).ok_or(ErrorCode::UnknownMemberId)?;
    let classic = member.subscription.classic.as_ref().ok_or(ErrorCode::UnknownMemberId)?;
    Ok((id, member, classic))
}

/// What a member is told that asks for its assignment, and what becomes of its timers.
pub(crate) fn sync(sync: &Sync<'_>, core: &Core, topics: &dyn Topics) -> (Result<SyncReply, ErrorCode>, Timings) {
    let (id, member, classic) = match check(core, &sync.by) {
        Ok(found) => found,
        Err(error) => return (Err(error), Vec::new()),
    };
    let protocol = classic.protocols.first();
    let differs = sync.protocol_type.is_some_and(|said| said != CONSUMER)
        || sync.protocol.zip(protocol).is_some_and(|(said, known)| *said != *known.name);
    if differs {
        return (Err(ErrorCode::InconsistentGroupProtocol), Vec::new());
    }
    let current = &member.current;
    // Who has to give up partitions has joined already: first it does that.
    if core.group.epoch > current.epoch && current.state != MemberState::UnrevokedPartitions {
        let timing = vec![Timing::Join(Arc::clone(id), member.subscription.rebalance_timeout_ms)];
        return (Err(ErrorCode::RebalanceInProgress), timing);
    }
    let metadata = protocol.map(|protocol| protocol.metadata.clone()).unwrap_or_default();
    let reply = SyncReply {
        error: ErrorCode::None,
        protocol_type: sync.protocol_type.map(Into::into),
        protocol: sync.protocol.map(Into::into),
        assignment: classic_bytes::assignment(&current.assigned, &metadata, topics),
    };
    let timing = vec![Timing::Synced(Arc::clone(id)), Timing::Session(Arc::clone(id), classic.session_timeout_ms)];
    (Ok(reply), timing)
}

fn check<'a>(core: &'a Core, by: &Identity<'_>) -> Result<(&'a Arc<str>, &'a Member, &'a Classic), ErrorCode> {
    let found = member(core, by.member, by.instance)?;
    if found.1.current.epoch == by.generation { Ok(found) } else { Err(ErrorCode::IllegalGeneration) }
}

/// Whether a member that is alive has to join again: there is a newer epoch, it has to give something up, or what it waits
/// for is free.
pub(crate) fn heartbeat(by: &Identity<'_>, core: &Core) -> (Result<(), ErrorCode>, Timings) {
    let (id, member, classic) = match check(core, by) {
        Ok(found) => found,
        Err(error) => return (Err(error), Vec::new()),
    };
    let mut timing = vec![Timing::Session(Arc::clone(id), classic.session_timeout_ms)];
    let has_to_join = member.current.epoch < core.group.epoch
        || match member.current.state {
            MemberState::UnrevokedPartitions => true,
            MemberState::UnreleasedPartitions => !waits_for_others(core, id, member),
            MemberState::Stable | MemberState::Unknown => false,
        };
    if !has_to_join {
        return (Ok(()), timing);
    }
    timing.push(Timing::Join(Arc::clone(id), member.subscription.rebalance_timeout_ms));
    (Err(ErrorCode::RebalanceInProgress), timing)
}

/// Whether somebody else has something still that a member is to have.
fn waits_for_others(core: &Core, id: &str, member: &Member) -> bool {
    let none = Arc::<Partitions>::default();
    let target = core.target_of(id).unwrap_or(&none);
    let mut all = target.iter().flat_map(|(topic, partitions)| partitions.iter().map(move |at| (*topic, *at)));
    all.any(|(topic, at)| epoch_in(&member.current.assigned, topic, at).is_none() && core.is_owned(topic, at))
}

/// Which members leave.
pub(crate) fn leave(leavers: &[Leaver<'_>], core: &Core) -> Vec<Result<Arc<str>, ErrorCode>> {
    let one = |leaver: &Leaver<'_>| {
        let id = match leaver.instance {
            Some(instance) if leaver.member.is_empty() => {
                &**core.id_of_instance(instance).ok_or(ErrorCode::UnknownMemberId)?
            }
            _ => leaver.member,
        };
        member(core, id, leaver.instance).map(|(id, ..)| Arc::clone(id))
    };
    leavers.iter().map(one).collect()
}
