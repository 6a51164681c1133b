//! A consumer group: its members, what they have, and what they are to have.
//!
//! ```text
//!   group epoch       counts up whenever members or topics change
//!   target epoch      the group epoch that the target assignment was made for
//!   member epoch      the target epoch that the member has come to; each goes there by itself, at its heartbeats
//!
//!   Empty       no members              Assigning     group epoch > target epoch
//!   Stable      all are there           Reconciling   some member is not there yet
//! ```
//! Nothing but [`Core::apply`] changes it. Must not know: requests, time, what topics there are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use cairn_protocol::ids::{PartitionIndex, TopicId};

use super::assignment::{Partitions, each, is_same};
use super::change::{Change, GroupEpoch, Resolved, TargetEpoch};
use super::member::{Current, Member, Subscription};

/// What a consumer group is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConsumerGroupState {
    /// It has no members; it may have offsets.
    Empty,
    /// It has changed, and what members are to have is not decided yet.
    Assigning,
    /// Some member does not have all that it is to have.
    Reconciling,
    /// Everybody has what it is to have.
    Stable,
}

impl ConsumerGroupState {
    /// Kafka's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Stable => "Stable",
        }
    }
}

/// What records keep of a group.
#[derive(Clone, Debug, Default)]
pub(crate) struct Core {
    pub(crate) group: GroupEpoch,
    pub(crate) target: TargetEpoch,
    members: BTreeMap<Arc<str>, Member>,
    targets: BTreeMap<Arc<str>, Arc<Partitions>>,
    regexes: BTreeMap<Arc<str>, Arc<Resolved>>,
    /// The members with an instance id.
    by_instance: BTreeMap<Arc<str>, Arc<str>>,
    /// How many members have each partition, or have to give it up: one at most, but while records are read. What may be long is
    /// shared with copies of the group, which most often leave it as it is.
    owners: Arc<HashMap<(TopicId, PartitionIndex), u32>>,
    /// How many members, and how many regular expressions that members ask for, ask for each topic.
    asked: Arc<BTreeMap<Arc<str>, usize>>,
    /// How many members ask for each regular expression.
    by_regex: BTreeMap<Arc<str>, usize>,
}

impl Core {
    pub(crate) fn state(&self) -> ConsumerGroupState {
        if self.members.is_empty() {
            ConsumerGroupState::Empty
        } else if self.group.epoch > self.target.epoch {
            ConsumerGroupState::Assigning
        } else if self.members.values().all(|member| member.current.is_reconciled_to(self.target.epoch)) {
            ConsumerGroupState::Stable
        } else {
            ConsumerGroupState::Reconciling
        }
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = (&Arc<str>, &Member)> {
        self.members.iter()
    }

    pub(crate) fn size(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    pub(crate) fn member(&self, id: &str) -> Option<&Member> {
        self.members.get(id)
    }

    /// A member with the group's own copy of its id.
    pub(crate) fn member_with_id(&self, id: &str) -> Option<(&Arc<str>, &Member)> {
        self.members.get_key_value(id)
    }

    pub(crate) fn id_of_instance(&self, instance: &str) -> Option<&Arc<str>> {
        self.by_instance.get(instance)
    }

    pub(crate) fn target_of(&self, member: &str) -> Option<&Arc<Partitions>> {
        self.targets.get(member)
    }

    pub(crate) fn regexes(&self) -> impl Iterator<Item = (&Arc<str>, &Arc<Resolved>)> {
        self.regexes.iter()
    }

    pub(crate) fn regex(&self, regex: &str) -> Option<&Arc<Resolved>> {
        self.regexes.get(regex)
    }

    /// How many members ask for a regular expression.
    pub(crate) fn subscribers_of_regex(&self, regex: &str) -> usize {
        self.by_regex.get(regex).copied().unwrap_or(0)
    }

    /// The regular expressions that members ask for.
    pub(crate) fn subscribed_regexes(&self) -> impl Iterator<Item = &Arc<str>> {
        self.by_regex.keys()
    }

    /// Whether somebody has a partition, or has to give it up still.
    pub(crate) fn is_owned(&self, topic: TopicId, partition: PartitionIndex) -> bool {
        self.owners.contains_key(&(topic, partition))
    }

    /// All topics that members ask for, by name or by regular expression, as they sort.
    pub(crate) fn subscribed(&self) -> impl Iterator<Item = &str> {
        self.asked.keys().map(|name| &**name)
    }

    /// Whether a member asks for a topic.
    pub(crate) fn is_subscribed(&self, topic: &str) -> bool {
        self.asked.contains_key(topic)
    }

    /// Whether one subscription asks for a topic.
    pub(crate) fn asks_for(&self, subscription: &Subscription, topic: &str) -> bool {
        let resolved = || self.regexes.get(&subscription.regex);
        subscription.topics.contains(topic) || resolved().is_some_and(|resolved| resolved.topics.contains(topic))
    }

    /// How many topics one subscription asks for; one that it asks for in two ways counts twice.
    pub(crate) fn topics_count(&self, subscription: &Subscription) -> usize {
        let resolved = self.regexes.get(&subscription.regex).map_or(0, |resolved| resolved.topics.len());
        subscription.topics.len() + resolved
    }

    /// The topics that one subscription asks for.
    pub(crate) fn topics_of<'a>(&'a self, subscription: &'a Subscription) -> impl Iterator<Item = &'a Arc<str>> {
        let resolved = self.regexes.get(&subscription.regex);
        subscription.topics.iter().chain(resolved.into_iter().flat_map(|resolved| &resolved.topics))
    }

    /// How many members speak the classic protocol.
    pub(crate) fn classic_members(&self) -> usize {
        self.members.values().filter(|member| member.is_classic()).count()
    }

    /// The steps that take all of it away, in Kafka's order.
    pub(crate) fn deletion(&self) -> Vec<Change> {
        let ids = || self.members.keys().cloned();
        let mut changes: Vec<Change> = ids().map(|id| Change::Current(id, None)).collect();
        changes.extend(ids().map(|id| Change::Target(id, None)));
        changes.push(Change::TargetEpoch(None));
        changes.extend(ids().map(|id| Change::Subscription(id, None)));
        changes.extend(self.regexes.keys().map(|regex| Change::Regex(Arc::clone(regex), None)));
        changes.push(Change::Epoch(None));
        changes
    }

    /// Takes one step. The steps of a group may come in any order that a compacted log gives them.
    pub(crate) fn apply(&mut self, change: &Change) {
        match change {
            Change::Epoch(epoch) => self.group = epoch.unwrap_or_default(),
            Change::TargetEpoch(target) => self.target = target.unwrap_or_default(),
            Change::Target(id, Some(target)) => {
                self.targets.insert(Arc::clone(id), Arc::clone(target));
            }
            Change::Target(id, None) => {
                self.targets.remove(id);
            }
            Change::Regex(regex, resolved) => self.set_regex(regex, resolved.as_ref()),
            Change::Current(id, Some(current)) => self.set_current(id, current),
            Change::Current(id, None) => {
                if self.members.contains_key(id) {
                    self.set_current(id, &Arc::default());
                }
            }
            Change::Subscription(id, Some(subscription)) => self.set_subscription(id, subscription),
            Change::Subscription(id, None) => self.remove(id),
        }
    }

    fn set_current(&mut self, id: &Arc<str>, current: &Arc<Current>) {
        let member = self.members.entry(Arc::clone(id)).or_default();
        let before = std::mem::replace(&mut member.current, Arc::clone(current));
        if has_same(&before, current) {
            return;
        }
        let owners = Arc::make_mut(&mut self.owners);
        disown(owners, &before);
        for partition in each(&current.assigned).chain(each(&current.revoking)) {
            *owners.entry(partition).or_default() += 1;
        }
    }

    fn set_regex(&mut self, regex: &Arc<str>, resolved: Option<&Arc<Resolved>>) {
        let before = match resolved {
            Some(resolved) => self.regexes.insert(Arc::clone(regex), Arc::clone(resolved)),
            None => self.regexes.remove(regex),
        };
        if !self.by_regex.contains_key(regex) {
            return;
        }
        let none = BTreeSet::new();
        let before = before.as_ref().map_or(&none, |before| &before.topics);
        let after = resolved.map_or(&none, |resolved| &resolved.topics);
        let asked = Arc::make_mut(&mut self.asked);
        before.difference(after).for_each(|topic| count_down(asked, topic));
        after.difference(before).for_each(|topic| count_up(asked, topic));
    }

    fn set_subscription(&mut self, id: &Arc<str>, subscription: &Arc<Subscription>) {
        let member = self.members.entry(Arc::clone(id)).or_default();
        let before = std::mem::replace(&mut member.subscription, Arc::clone(subscription));
        let asks_for_same = before.topics == subscription.topics && before.regex == subscription.regex;
        self.release_instance(id, &before);
        if let Some(instance) = &subscription.instance {
            self.by_instance.insert(Arc::clone(instance), Arc::clone(id));
        }
        if asks_for_same {
            return;
        }
        self.unsubscribe(&before);
        if !subscription.topics.is_empty() {
            let asked = Arc::make_mut(&mut self.asked);
            subscription.topics.iter().for_each(|topic| count_up(asked, topic));
        }
        if !subscription.regex.is_empty() {
            count_up(&mut self.by_regex, &subscription.regex);
            if self.by_regex[&subscription.regex] == 1 {
                self.count_matching(&subscription.regex, count_up);
            }
        }
    }

    /// Counts the topics of a regular expression that has its first subscriber, or has lost its last one.
    fn count_matching(&mut self, regex: &str, count: fn(&mut BTreeMap<Arc<str>, usize>, &Arc<str>)) {
        let Some(resolved) = self.regexes.get(regex) else { return };
        let asked = Arc::make_mut(&mut self.asked);
        resolved.topics.iter().for_each(|topic| count(asked, topic));
    }

    fn remove(&mut self, id: &Arc<str>) {
        let Some(member) = self.members.remove(id) else { return };
        if !has_same(&member.current, &Current::default()) {
            disown(Arc::make_mut(&mut self.owners), &member.current);
        }
        self.release_instance(id, &member.subscription);
        self.unsubscribe(&member.subscription);
    }

    fn release_instance(&mut self, id: &Arc<str>, before: &Subscription) {
        if let Some(instance) = &before.instance
            && self.by_instance.get(instance) == Some(id)
        {
            self.by_instance.remove(instance);
        }
    }

    fn unsubscribe(&mut self, before: &Subscription) {
        if !before.topics.is_empty() {
            let asked = Arc::make_mut(&mut self.asked);
            before.topics.iter().for_each(|topic| count_down(asked, topic));
        }
        if !before.regex.is_empty() {
            count_down(&mut self.by_regex, &before.regex);
            if !self.by_regex.contains_key(&before.regex) {
                self.count_matching(&before.regex, count_down);
            }
        }
    }

    /// What has to hold at any time.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        assert!(self.owners.values().all(|owners| *owners == 1), "a partition has one owner: {:?}", self.members);
        let mut again = Self { regexes: self.regexes.clone(), ..Self::default() };
        for (id, member) in &self.members {
            again.apply(&Change::Subscription(Arc::clone(id), Some(Arc::clone(&member.subscription))));
            again.apply(&Change::Current(Arc::clone(id), Some(Arc::clone(&member.current))));
        }
        assert_eq!(again.members, self.members);
        assert_eq!((&again.by_instance, &again.owners), (&self.by_instance, &self.owners));
        assert_eq!((&again.asked, &again.by_regex), (&self.asked, &self.by_regex));
        assert!(self.targets.keys().all(|id| self.members.contains_key(id)), "who is gone is to have nothing");
        assert!(self.regexes.keys().all(|regex| self.by_regex.contains_key(regex)), "nobody asks for it");
        for member in self.members.values() {
            assert!(member.current.epoch <= self.target.epoch, "nobody is ahead of the target");
            assert!(
                member.current.state == super::member::MemberState::UnrevokedPartitions
                    || member.current.revoking.is_empty()
            );
        }
    }
}

/// Two groups are the same when their records are.
impl PartialEq for Core {
    fn eq(&self, other: &Self) -> bool {
        (self.group, self.target) == (other.group, other.target)
            && (&self.members, &self.targets, &self.regexes) == (&other.members, &other.targets, &other.regexes)
    }
}

fn disown(owners: &mut HashMap<(TopicId, PartitionIndex), u32>, current: &Current) {
    for partition in each(&current.assigned).chain(each(&current.revoking)) {
        if let Some(count) = owners.get_mut(&partition) {
            *count -= 1;
            if *count == 0 {
                owners.remove(&partition);
            }
        }
    }
}

fn has_same(one: &Current, other: &Current) -> bool {
    is_same(&one.assigned, &other.assigned) && is_same(&one.revoking, &other.revoking)
}

fn count_up(counts: &mut BTreeMap<Arc<str>, usize>, key: &Arc<str>) {
    match counts.get_mut(key) {
        Some(count) => *count += 1,
        None => drop(counts.insert(Arc::clone(key), 1)),
    }
}

fn count_down(counts: &mut BTreeMap<Arc<str>, usize>, key: &Arc<str>) {
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}
