//! How a member goes from what it has to what it is to have: first it gives up, then it gets what others have given up.
//!
//! Must not know: where the target comes from, other members, records.

use cairn_protocol::ids::{PartitionIndex, TopicId};

use super::assignment::{Held, Partitions, has_any};
use super::member::{Current, MemberState};

/// What a member is to have.
#[derive(Clone, Copy)]
pub(crate) struct Goal<'a> {
    /// The epoch of the target.
    pub(crate) epoch: i32,
    pub(crate) target: &'a Partitions,
    /// Whether it asks for a topic now: of others it gets nothing, and what it has of them it gives up.
    pub(crate) is_subscribed: &'a dyn Fn(TopicId) -> bool,
    pub(crate) subscription: Subscribing,
}

/// Whether a member asks for the same as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subscribing {
    AsBefore,
    Changed,
}

/// What a member has after a heartbeat that names what it owns, if it names anything; the same as before when it cannot go
/// on. `is_owned` tells what somebody in the group has.
pub(crate) fn reconcile(
    current: &Current,
    goal: &Goal<'_>,
    owned: Option<&Partitions>,
    is_owned: impl Fn(TopicId, PartitionIndex) -> bool,
) -> Current {
    match current.state {
        MemberState::Stable if current.epoch == goal.epoch => give_up_unsubscribed(current, goal, owned),
        MemberState::UnrevokedPartitions if still_has(&current.revoking, owned) => {
            give_up_unsubscribed(current, goal, owned)
        }
        MemberState::Unknown => {
            let anew = Current { epoch: goal.epoch, ..current.clone() };
            advance(&anew, goal, owned, is_owned)
        }
        _ => advance(current, goal, owned, is_owned),
    }
}

/// Whether a member may still use some of these. Who does not say what it owns may.
fn still_has(revoking: &Held, owned: Option<&Partitions>) -> bool {
    owned.is_none_or(|owned| has_any(revoking, owned))
}

/// A member that asks for less gives up what it does not ask for, even while there is no newer target.
fn give_up_unsubscribed(current: &Current, goal: &Goal<'_>, owned: Option<&Partitions>) -> Current {
    if goal.subscription == Subscribing::AsBefore || current.assigned.keys().all(|id| (goal.is_subscribed)(*id)) {
        return current.clone();
    }
    let (assigned, dropped): (Held, Held) =
        current.assigned.clone().into_iter().partition(|(topic, _)| (goal.is_subscribed)(*topic));
    let mut revoking = current.revoking.clone();
    for (topic, partitions) in dropped {
        revoking.entry(topic).or_default().extend(partitions);
    }
    if still_has(&revoking, owned) {
        let state = MemberState::UnrevokedPartitions;
        Current { previous_epoch: current.epoch, epoch: current.epoch, state, assigned, revoking }
    } else {
        Current { previous_epoch: current.epoch, assigned, ..current.clone() }
    }
}

/// The next step towards the goal.
fn advance(
    current: &Current,
    goal: &Goal<'_>,
    owned: Option<&Partitions>,
    is_owned: impl Fn(TopicId, PartitionIndex) -> bool,
) -> Current {
    let mut assigned = Held::new();
    let mut revoking = Held::new();
    for (topic, partitions) in &current.assigned {
        let target = goal.target.get(topic).filter(|_| (goal.is_subscribed)(*topic));
        for (partition, epoch) in partitions {
            let is_kept = target.is_some_and(|target| target.contains(partition));
            let to = if is_kept { &mut assigned } else { &mut revoking };
            to.entry(*topic).or_default().insert(*partition, *epoch);
        }
    }
    if !revoking.is_empty() && still_has(&revoking, owned) {
        let state = MemberState::UnrevokedPartitions;
        return Current { previous_epoch: current.epoch, epoch: current.epoch, state, assigned, revoking };
    }
    let mut state = MemberState::Stable;
    for (topic, partitions) in goal.target.iter().filter(|(topic, _)| (goal.is_subscribed)(**topic)) {
        for partition in partitions {
            let has = |held: &Held| held.get(topic).is_some_and(|held| held.contains_key(partition));
            if has(&assigned) {
                continue;
            }
            // What it has given up just now, or gives up with this heartbeat, it may have again.
            if is_owned(*topic, *partition) && !has(&current.revoking) {
                state = MemberState::UnreleasedPartitions;
            } else {
                assigned.entry(*topic).or_default().insert(*partition, goal.epoch);
            }
        }
    }
    Current { previous_epoch: current.epoch, epoch: goal.epoch, state, assigned, revoking: Held::new() }
}
