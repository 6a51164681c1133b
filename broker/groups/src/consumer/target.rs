//! What all members of a group are to have from now on.
//!
//! For most groups that is decided together with the heartbeat that asks for it. Where it may take long, it is an
//! [`Assigning`]: worked out while nothing of the groups is held, from the group as it was, and taken when it is there. The group
//! may have changed meanwhile: then its epoch is ahead of the target's still, and it is decided once more.
//!
//! Must not know: how partitions are distributed, requests.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use cairn_protocol::ids::{Timestamp, TopicId};

use super::assignment::Partitions;
use super::assignor::{Assignor, Assignors, MemberSpec, Spec};
use super::change::{Change, TargetEpoch};
use super::member::{Member, Subscription};
use super::staged::Staged;
use super::state::Core;
use super::topics::Topics;

/// Which assignment of a shard, so that one that is late is not taken for another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AssignmentNumber(pub(crate) u64);

/// An assignment that is to be worked out.
#[derive(Debug)]
pub struct Assigning {
    pub(crate) number: AssignmentNumber,
    pub(crate) group: Arc<str>,
    /// The group when it was asked for.
    pub(crate) core: Core,
    pub(crate) assignors: Assignors,
    pub(crate) topics: Arc<dyn Topics>,
}

/// An assignment that could not be worked out.
#[derive(Debug)]
pub struct NotAssigned {
    pub(crate) number: AssignmentNumber,
    pub(crate) group: Arc<str>,
}

impl NotAssigned {
    /// Whose it would have been.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }
}

/// An assignment that was worked out.
#[derive(Debug)]
pub struct Assigned {
    pub(crate) number: AssignmentNumber,
    pub(crate) group: Arc<str>,
    /// The group's epoch when it was asked for.
    epoch: i32,
    given: BTreeMap<Arc<str>, Given>,
}

/// What a member is to have.
#[derive(Debug)]
struct Given {
    /// The instance that it was then.
    instance: Option<Arc<str>>,
    target: Arc<Partitions>,
}

impl Assigning {
    /// What [`crate::Shard::on_not_assigned`] has to be given should [`Self::run`] fail.
    #[must_use]
    pub fn failed(&self) -> NotAssigned {
        NotAssigned { number: self.number, group: Arc::clone(&self.group) }
    }

    /// Works it out. This may take a while.
    #[must_use]
    pub fn run(self) -> Assigned {
        let Self { number, group, core, assignors, topics } = self;
        let given = work_out(&core, assignors, &*topics).into_iter().map(|(id, target)| {
            let instance = core.member(&id).and_then(|member| member.subscription.instance.clone());
            (id, Given { instance, target })
        });
        Assigned { number, group, epoch: core.group.epoch, given: given.collect() }
    }
}

impl Assigned {
    /// The steps by which a group takes it. Who has gone since gets nothing; who has taken the place of a static member gets
    /// what that one was to have.
    pub(crate) fn changes(mut self, core: &Core, now: Timestamp) -> Vec<Change> {
        let gone: Vec<Arc<str>> = self.given.keys().filter(|id| core.member(id).is_none()).cloned().collect();
        for id in gone {
            let Some(given) = self.given.remove(&id) else { continue };
            let heir = given.instance.as_ref().and_then(|instance| core.id_of_instance(instance)).cloned();
            if let Some(heir) = heir {
                self.given.entry(heir).or_insert(given);
            }
        }
        let targets = self.given.into_iter().map(|(id, given)| (id, given.target)).collect();
        changes(core, targets, TargetEpoch { epoch: self.epoch, at: now })
    }
}

/// How much work it may be to decide what everybody is to have: the topics of each member, and the partitions of each topic.
pub(crate) fn is_work_of_at_most(max: usize, core: &Core, topics: &dyn Topics) -> bool {
    let asked: usize = core.members().map(|(_, member)| core.topics_count(&member.subscription)).sum();
    let Some(mut left) = max.checked_sub(asked) else { return false };
    core.subscribed().filter_map(|name| topics.id(name)).all(|id| {
        let partitions = usize::try_from(topics.partition_count(id)).unwrap_or(0);
        left.checked_sub(partitions).map(|rest| left = rest).is_some()
    })
}

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
fn topic_ids(core: &Core, subscription: &Subscription, topics: &dyn Topics) -> BTreeSet<TopicId> {
    core.topics_of(subscription).filter_map(|name| topics.id(name)).collect()
}

/// Decides anew what everybody is to have, for the group's present epoch.
pub(crate) fn assign(staged: &mut Staged<'_>, assignors: Assignors, topics: &dyn Topics, now: Timestamp) {
    let core = staged.core();
    let epoch = TargetEpoch { epoch: core.group.epoch, at: now };
    for change in changes(core, work_out(core, assignors, topics), epoch) {
        staged.apply(change);
    }
}

type Targets = BTreeMap<Arc<str>, Arc<Partitions>>;

/// What everybody is to have. Who is to have the same as before has the same copy of it.
fn work_out(core: &Core, assignors: Assignors, topics: &dyn Topics) -> Targets {
    let assignment = preferred_assignor(core, assignors).assign(&spec(core, topics));
    let kept = |(id, given): (Arc<str>, Partitions)| {
        let before = core.target_of(&id).filter(|before| ***before == given).cloned();
        (id, before.unwrap_or_else(|| Arc::new(given)))
    };
    assignment.into_iter().map(kept).collect()
}

fn changes(core: &Core, targets: Targets, epoch: TargetEpoch) -> Vec<Change> {
    let is_new = |(id, target): &(Arc<str>, Arc<Partitions>)| {
        core.target_of(id).is_none_or(|before| !Arc::ptr_eq(before, target) && before != target)
    };
    let new = targets.into_iter().filter(is_new);
    let mut changes: Vec<Change> = new.map(|(id, target)| Change::Target(id, Some(target))).collect();
    changes.push(Change::TargetEpoch(Some(epoch)));
    changes
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
