//! Members go: they say so, they are silent for too long, or they do not give up what they have to.
//!
//! Must not know: messages of the wire, records.

use std::sync::Arc;

use cairn_protocol::error_code::ErrorCode;

use super::assignment::Held;
use super::change::{Change, GroupEpoch};
use super::decide::{check_instance, drop_unused_regexes, remove, unknown_member};
use super::decided::Decided;
use super::group::{ConsumerGroup, Timing};
use super::heartbeat::{ConsumerHeartbeat, HeartbeatReply, Refusal};
use super::member::{AWAY_EPOCH, Current};
use super::migrate;
use super::scene::Scene;
use super::staged::Staged;
use super::topics::metadata_hash;

/// Who leaves, and how.
#[derive(Debug)]
pub(crate) enum Leaving {
    /// For good.
    Gone(Arc<str>),
    /// A static member, for a while: nothing changes for the others.
    Away(Box<Decided<HeartbeatReply>>),
}

/// Decides on a heartbeat that says that its member leaves.
pub(crate) fn leave(heartbeat: &ConsumerHeartbeat<'_>, group: &ConsumerGroup) -> Result<Leaving, Refusal> {
    let core = &group.core;
    let id = match heartbeat.instance {
        None => {
            let known = core.member_with_id(heartbeat.member).map(|(id, _)| id);
            known.ok_or_else(|| unknown_member(heartbeat.member, heartbeat.group))?
        }
        Some(instance) => {
            let unknown = || Refusal::new(ErrorCode::UnknownMemberId, format!("Instance id {instance} is unknown."));
            let existing = core.id_of_instance(instance).ok_or_else(unknown)?;
            check_instance(heartbeat.member, instance, existing)?;
            existing
        }
    };
    if heartbeat.epoch != AWAY_EPOCH {
        return Ok(Leaving::Gone(Arc::clone(id)));
    }
    let member = core.member(id).ok_or_else(|| unknown_member(id, heartbeat.group))?;
    let away = Current { epoch: AWAY_EPOCH, revoking: Held::new(), ..(*member.current).clone() };
    let changes = vec![Change::Current(Arc::clone(id), Some(Arc::new(away)))];
    Ok(Leaving::Away(Box::new(Decided::only(changes, farewell(id, heartbeat.epoch)))))
}

/// What a member is told that leaves.
pub(crate) fn farewell(id: &Arc<str>, epoch: i32) -> HeartbeatReply {
    HeartbeatReply {
        error: ErrorCode::None,
        message: None,
        member: Some(Arc::clone(id)),
        epoch,
        interval_ms: 0,
        assignment: None,
    }
}

/// Takes members away. The others get what they had from their next heartbeats on.
pub(crate) fn fence(ids: &[Arc<str>], group: &ConsumerGroup, scene: &Scene<'_>) -> Decided<()> {
    let mut staged = Staged::new(&group.core);
    for id in ids {
        remove(&mut staged, id);
    }
    drop_unused_regexes(&mut staged);
    let core = staged.core();
    let metadata_hash = metadata_hash(core.subscribed(), scene.topics);
    let epoch = core.group.epoch + 1;
    staged.apply(Change::Epoch(Some(GroupEpoch { epoch, metadata_hash })));
    let timing = ids.iter().map(|id| Timing::Gone(Arc::clone(id))).collect();
    let downgraded = migrate::downgraded(group, staged.core(), scene);
    Decided { timing, downgraded, ..Decided::only(staged.finish_with(None), ()) }
}
