//! What all members of a group are to have from now on.
//!
//! Must not know: how partitions are distributed, requests, time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cairn_protocol::ids::{Timestamp, TopicId};

use super::assignor::{Assignor, Assignors, MemberSpec, Spec};
use super::change::{Change, TargetEpoch};
use super::member::{Member, Subscription};
use super::staged::Staged;
use super::state::Core;
use super::topics::Topics;

/// The assignor that most members ask for; of two with as many, the one that stands first. Votes for one that is no longer
/// among them do not count.
pub(crate) fn preferred_assignor(core: &Core, assignors: Assignors) -> Assignor {
    let asked = |assignor: Assignor| {
        let name = |member: &Member| member.subscription.assignor.as_deref() == Some(assignor.name());
        core.members().filter(|(_, member)| name(member)).count()
    };
    let mut best = (assignors.preferred(), 0);
    for assignor in assignors.iter() {
        let votes = asked(assignor);
        if votes > best.1 {
            best = (assignor, votes);
        }
    }
    best.0
}

/// The topics that a subscription asks for, as far as they exist.
pub(crate) fn topic_ids(core: &Core, subscription: &Subscription, topics: &dyn Topics) -> BTreeSet<TopicId> {
    core.topics_of(subscription).filter_map(|name| topics.id(name)).collect()
}

/// Decides anew what everybody is to have, for the group's present epoch.
pub(crate) fn assign(staged: &mut Staged<'_>, assignors: Assignors, topics: &dyn Topics, now: Timestamp) {
    let core = staged.core();
    let assignment = preferred_assignor(core, assignors).assign(&spec(core, topics));
    let mut changes = Vec::new();
    for (id, given) in assignment {
        let before = core.target_of(&id);
        if before.is_none_or(|before| **before != given) {
            changes.push(Change::Target(id, Some(Arc::new(given))));
        }
    }
    let epoch = core.group.epoch;
    for change in changes {
        staged.apply(change);
    }
    staged.apply(Change::TargetEpoch(Some(TargetEpoch { epoch, at: now })));
}

/// The names and the regular expression that a member asks for.
type Asked<'a> = (&'a BTreeSet<Arc<str>>, &'a str);

fn spec(core: &Core, topics: &dyn Topics) -> Spec {
    let mut spec = Spec::default();
    // Most members ask for the same: they share one set.
    let mut sets: BTreeMap<Asked<'_>, Arc<BTreeSet<TopicId>>> = BTreeMap::new();
    for (id, member) in core.members() {
        let subscription = &member.subscription;
        let set = sets
            .entry((&subscription.topics, &subscription.regex))
            .or_insert_with(|| Arc::new(topic_ids(core, subscription, topics)));
        let member = MemberSpec {
            instance: subscription.instance.clone(),
            topics: Arc::clone(set),
            before: core.target_of(id).cloned().unwrap_or_default(),
        };
        spec.members.insert(Arc::clone(id), member);
    }
    for topic in sets.values().flat_map(|set| set.iter()) {
        spec.topics.entry(*topic).or_insert_with(|| topics.partition_count(*topic));
    }
    spec
}
