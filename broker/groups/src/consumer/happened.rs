//! What has happened to a consumer group, seen from what it was before a change and after it.
//!
//! Must not know: who asked for the change.

use std::sync::Arc;

use super::member::Member;
use super::state::{ConsumerGroupState, Core};
use crate::events::Happened;

/// Members that are new, those that have come to what they are to have, and that all have.
pub(crate) fn happened(before: &Core, after: &Core) -> Vec<Happened> {
    let target = after.target.epoch;
    let has_come = |member: &Member| member.current.is_reconciled_to(target);
    let mut all = Vec::new();
    for (id, member) in after.members() {
        let earlier = before.member(id);
        let client_id = || member.subscription.client_id.clone();
        if earlier.is_none() {
            all.push(Happened::MemberJoined { member: Arc::clone(id), client_id: client_id() });
        }
        if has_come(member) && !earlier.is_some_and(has_come) {
            all.push(Happened::MemberSynced { member: Arc::clone(id), client_id: client_id() });
        }
    }
    let is_stable = |core: &Core| core.state() == ConsumerGroupState::Stable && core.group.epoch == after.group.epoch;
    if is_stable(after) && !is_stable(before) {
        all.push(Happened::Stabilized);
    }
    all
}
