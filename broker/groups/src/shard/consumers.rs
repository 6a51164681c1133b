//! What members of consumer groups say: decided, written, and answered.
//!
//! Must not know: messages of the wire, what is decided.

use std::collections::BTreeMap;
use std::sync::Arc;

use cairn_protocol::error_code::ErrorCode;

use super::Shard;
use crate::consumer::change::Change;
use crate::consumer::decide;
use crate::consumer::decided::{Decided, Seen};
use crate::consumer::describe::{self, DescribedConsumerGroup};
use crate::consumer::fence::{self, Leaving, farewell};
use crate::consumer::group::{Begun, ConsumerGroup};
use crate::consumer::happened::happened;
use crate::consumer::heartbeat::{ConsumerHeartbeat, Refusal};
use crate::consumer::migrate::{self, Downgraded, Upgraded};
use crate::consumer::records::Decoded;
use crate::consumer::regex::{self, Extent, Found, Search, Sought};
use crate::consumer::scene::Scene;
use crate::consumer::settings::ConsumerSettings;
use crate::consumer::topics::{NoTopics, Topics};
use crate::effects::{Becomes, ConsumerWrite, Effects, Next, Then, Write};
use crate::events::{Cause, Event, Happened};
use crate::group::GroupState;
use crate::records::Record;
use crate::replies::{Reply, Waiter};
use crate::timers::Now;

/// The topics that are known at present.
#[derive(Debug)]
pub(super) struct KnownTopics(pub(super) Arc<dyn Topics>);

impl Default for KnownTopics {
    fn default() -> Self {
        Self(Arc::new(NoTopics))
    }
}

/// What is configured for one group; what is none is as for all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupOverrides {
    /// `consumer.session.timeout.ms`
    pub session_timeout_ms: Option<i32>,
    /// `consumer.heartbeat.interval.ms`
    pub heartbeat_interval_ms: Option<i32>,
    /// `consumer.assignment.interval.ms`
    pub assignment_interval_ms: Option<i32>,
}

impl Shard {
    /// These are the topics from now on. Groups find out at the next heartbeats of their members.
    pub fn on_topics(&mut self, topics: Arc<dyn Topics>) {
        self.topics = KnownTopics(topics);
    }

    /// Nothing is asked any more before [`Self::on_topics`] comes again: no topics have to be kept.
    pub fn forget_topics(&mut self) {
        self.topics = KnownTopics::default();
    }

    /// What is configured for one group from now on.
    pub fn configure(&mut self, group: &str, overrides: GroupOverrides) {
        if overrides == GroupOverrides::default() {
            self.overrides.remove(group);
        } else {
            self.overrides.insert(group.into(), overrides);
        }
    }

    /// What holds for all groups from now on.
    pub fn configure_all(&mut self, consumer: ConsumerSettings) {
        self.settings.consumer = consumer;
    }

    pub(super) fn settings_of(&self, group: &str) -> ConsumerSettings {
        let overrides = self.overrides.get(group).copied().unwrap_or_default();
        let all = self.settings.consumer;
        ConsumerSettings {
            session_timeout_ms: overrides.session_timeout_ms.unwrap_or(all.session_timeout_ms),
            heartbeat_interval_ms: overrides.heartbeat_interval_ms.unwrap_or(all.heartbeat_interval_ms),
            assignment_interval_ms: overrides.assignment_interval_ms.unwrap_or(all.assignment_interval_ms),
            ..all
        }
    }

    /// A member of a consumer group says that it is alive, and what it wants and owns. It is answered with
    /// [`Reply::Heartbeat`] when what it is told is durable.
    /// `found` is what [`Self::search`] has asked for just before; nothing where it has not.
    #[must_use]
    pub fn consumer_heartbeat(
        &mut self,
        heartbeat: &ConsumerHeartbeat<'_>,
        found: &Found,
        waiter: Waiter,
        now: Now,
    ) -> Effects {
        let mut effects = Effects::default();
        if let Err(refusal) = self.hear(heartbeat, found, waiter, now, &mut effects) {
            effects.replies.push((waiter, Reply::Heartbeat(refusal.into())));
        }
        effects
    }

    /// The regular expressions whose topics have to be found before a heartbeat can be decided on: that of a member that asks
    /// for a new one, and from time to time all of a group, for one heartbeat of those that come then.
    pub fn search(&mut self, heartbeat: &ConsumerHeartbeat<'_>, now: Now) -> Option<Search> {
        if heartbeat.check(self.settings.consumer.assignors).is_err() || heartbeat.is_leaving() {
            return None;
        }
        let interval_ms = self.settings.consumer.regex_refresh_interval_ms;
        let topics = Arc::clone(&self.topics.0);
        let group = self.consumers.get_mut(heartbeat.group);
        let is_known = |regex: &str| group.as_ref().is_some_and(|group| group.core.regex(regex).is_some());
        let asked: Option<Arc<str>> =
            heartbeat.regex.filter(|regex| !regex.is_empty() && !is_known(regex)).map(Into::into);
        let is_first = group.as_ref().is_none_or(|group| group.core.subscribed_regexes().next().is_none());
        let whole = group.and_then(|group| group.begin_search(&*topics, interval_ms, now.ticks));
        let extent = match (&asked, &whole) {
            (None, None) => return None,
            (Some(_), None) if !is_first => Extent::Member,
            _ => Extent::Whole,
        };
        let asked = asked.map(|regex| Sought { regex, before: None });
        let regexes = whole.into_iter().flatten().chain(asked).collect();
        Some(Search { regexes, extent, topics, at: now.wall })
    }

    fn hear(
        &mut self,
        heartbeat: &ConsumerHeartbeat<'_>,
        found: &Found,
        waiter: Waiter,
        now: Now,
        effects: &mut Effects,
    ) -> Result<(), Refusal> {
        heartbeat.check(self.settings.consumer.assignors)?;
        let (name, first) = self.consumer_group(heartbeat)?;
        if heartbeat.is_leaving() {
            return self.hear_leaving(&name, heartbeat, waiter, now, effects);
        }
        let settings = self.settings_of(&name);
        let scene = Scene { found, ..self.scene(&settings, now) };
        let mut upgraded = match self.groups.get(&name).filter(|group| group.state() != GroupState::Empty) {
            Some(classic) => Some(migrate::upgrade(classic, &scene)?),
            None => None,
        };
        let fresh = ConsumerGroup::new(Arc::clone(&name));
        let existing = upgraded.as_ref().map(|upgraded| &upgraded.group).or_else(|| self.consumers.get(&name));
        let mut decided = decide::heartbeat(heartbeat, existing.unwrap_or(&fresh), &scene)?;
        if let Some(Upgraded { changes, timing, .. }) = &mut upgraded {
            changes.append(&mut decided.changes);
            timing.append(&mut decided.timing);
            (decided.changes, decided.timing) = (std::mem::take(changes), std::mem::take(timing));
            // They join again, and are members of the consumer group then.
            self.turn(&name, now, effects, |turn| turn.send_away(ErrorCode::RebalanceInProgress));
        }
        let cause = if heartbeat.is_joining() { Cause::Joined } else { Cause::MetadataChanged };
        let decided = decided.map(|reply| Some((waiter, Reply::Heartbeat(reply))));
        self.carry_on(&name, first, decided, (cause, heartbeat.member), now, effects);
        Ok(())
    }

    fn scene<'a>(&'a self, settings: &'a ConsumerSettings, now: Now) -> Scene<'a> {
        let classic_members_max = self.settings.members_max;
        Scene { now, topics: &*self.topics.0, settings, found: &regex::NOTHING, classic_members_max }
    }

    /// The group that a heartbeat is for, and what has to be written first. One that does not exist is made by its first
    /// member, and takes the place of a classic one.
    fn consumer_group(&self, heartbeat: &ConsumerHeartbeat<'_>) -> Result<(Arc<str>, Vec<Record>), Refusal> {
        let name = heartbeat.group;
        if let Some((name, _)) = self.consumers.get_key_value(name) {
            return Ok((Arc::clone(name), Vec::new()));
        }
        let classic = self.groups.get(name);
        match classic {
            None if heartbeat.is_joining() => Ok((name.into(), Vec::new())),
            Some(group) if heartbeat.is_joining() => {
                Ok((Arc::clone(&group.name), vec![Record::of_deleted_group(name)]))
            }
            _ => {
                let what = if classic.is_some() { "is not a consumer group" } else { "not found" };
                Err(Refusal::new(ErrorCode::GroupIdNotFound, format!("Group {name} {what}.")))
            }
        }
    }

    fn hear_leaving(
        &mut self,
        name: &Arc<str>,
        heartbeat: &ConsumerHeartbeat<'_>,
        waiter: Waiter,
        now: Now,
        effects: &mut Effects,
    ) -> Result<(), Refusal> {
        let Some(group) = self.consumers.get(name) else { return Ok(()) };
        match fence::leave(heartbeat, group)? {
            Leaving::Away(decided) => {
                let decided = decided.map(|reply| Some((waiter, Reply::Heartbeat(reply))));
                self.carry_on(name, Vec::new(), decided, (Cause::Left, heartbeat.member), now, effects);
            }
            Leaving::Gone(id) => {
                let reply = Reply::Heartbeat(farewell(&id, heartbeat.epoch));
                self.fence(name, &BTreeMap::from([(id, Cause::Left)]), Some((waiter, reply)), now, effects);
            }
        }
        Ok(())
    }

    /// Takes members of a group away.
    pub(super) fn fence(
        &mut self,
        name: &Arc<str>,
        late: &BTreeMap<Arc<str>, Cause>,
        reply: Option<(Waiter, Reply)>,
        now: Now,
        effects: &mut Effects,
    ) {
        let settings = self.settings_of(name);
        let Some(group) = self.consumers.get(name) else { return };
        let ids: Vec<Arc<str>> = late.keys().filter(|id| group.core.member(id).is_some()).cloned().collect();
        let Some(first) = ids.first() else { return };
        let (cause, detail) = (late[first], first.to_string());
        let scene = self.scene(&settings, now);
        let decided = fence::fence(&ids, group, &scene).map(|()| reply);
        let (epoch, is_last) = (group.core.group.epoch + 1, group.core.size() == ids.len());
        let event = |what| Event { group: Arc::clone(name), generation: epoch, what };
        let client_id = |id: &str| group.core.member(id).map(|member| member.subscription.client_id.clone());
        let removed = |id: &Arc<str>| Happened::MemberRemoved {
            member: Arc::clone(id),
            client_id: client_id(id).unwrap_or_default(),
            cause: late[id],
        };
        effects.events.extend(ids.iter().map(removed).map(event));
        self.carry_on(name, Vec::new(), decided, (cause, &detail), now, effects);
        effects.events.extend(is_last.then(|| event(Happened::Emptied)));
    }

    /// Has what was decided written behind what has to come first, and answered then.
    pub(super) fn carry_on(
        &mut self,
        name: &Arc<str>,
        first: Vec<Record>,
        decided: Decided<Option<(Waiter, Reply)>>,
        (cause, detail): (Cause, &str),
        now: Now,
        effects: &mut Effects,
    ) {
        let Decided { changes, reply, timing, seen, begins_assignment, split, downgraded } = decided;
        let version = self.topics.0.version();
        let group = self.consumers.entry(Arc::clone(name)).or_insert_with(|| ConsumerGroup::new(Arc::clone(name)));
        for timing in timing {
            group.time(timing, now, &mut self.timers);
        }
        if let Some(Seen { is_settled, searched }) = seen {
            group.topics_seen = is_settled.then_some(version);
            group.searched = searched.map(|_| now.ticks).or(group.searched);
            group.regexes_seen = searched.filter(|_| is_settled).or(group.regexes_seen);
        }
        if changes.is_empty() {
            let core = begins_assignment.then(|| group.core.clone());
            effects.assignments.extend(core.map(|core| self.begin_assignment(name, core, now)));
            let held = reply.and_then(|(waiter, reply)| Some((waiter, self.pending.hold(name, waiter, reply)?)));
            effects.replies.extend(held);
            return;
        }
        if changes.iter().any(|change| matches!(change, Change::Epoch(Some(_)))) {
            let what = Happened::RebalanceBegun { cause, detail: detail.into() };
            let generation = self.groups.get(name).map_or(group.core.group.epoch, |classic| classic.generation);
            effects.events.push(Event { group: Arc::clone(name), generation, what });
        }
        let mut after = group.core.clone();
        changes.iter().for_each(|change| after.apply(change));
        let event = |what| Event { group: Arc::clone(name), generation: after.group.epoch, what };
        effects.events.extend(happened(&group.core, &after).into_iter().map(event));
        if begins_assignment {
            effects.assignments.push(self.begin_assignment(name, after.clone(), now));
        }
        let number = self.pending.begin(name);
        let mut becomes = Becomes::Consumer;
        let mut records = first;
        let mut last = Vec::new();
        if let Some(Downgraded { stored, onward }) = downgraded {
            becomes = Becomes::Classic(onward);
            last.extend(after.deletion().into_iter().map(|change| Record::of_consumer(name, change)));
            last.push(Record::of_downgraded(stored));
        }
        records.extend(changes.into_iter().map(|change| Record::of_consumer(name, change)));
        records.append(&mut last);
        let then = Then(Next::Consumer(ConsumerWrite { group: Arc::clone(name), number, reply, becomes }));
        effects.writes.push(Write { records, split, then });
    }

    /// How a write of a consumer group went.
    pub(super) fn on_consumer_written(
        &mut self,
        write: ConsumerWrite,
        written: Result<(), ErrorCode>,
        now: Now,
        effects: &mut Effects,
    ) {
        let ConsumerWrite { group: name, number, reply, becomes } = write;
        if let Some((waiter, reply)) = reply {
            let reply = match written {
                Ok(()) => reply,
                Err(error) => reply.refused(error),
            };
            effects.replies.push((waiter, reply));
        }
        effects.replies.extend(self.pending.finish(&name, number, written));
        if let Becomes::Classic(onward) = becomes {
            self.turn(&name, now, effects, |turn| turn.on_downgraded(onward));
        }
        if written.is_err() {
            // It is as it was; what was taken for done has to be looked at again, and what is worked out is of a group that never was.
            if let Some(group) = self.consumers.get_mut(&name)
                && matches!(group.assigning, Begun::At(..))
            {
                group.assigning = Begun::Refused(now.ticks);
            }
            if self.consumers.get(&name).is_some_and(ConsumerGroup::is_void) {
                self.consumers.remove(&name);
            }
            self.watch_members(&name, now);
        }
    }

    /// Takes in a record that was read.
    pub(super) fn load_consumer(&mut self, decoded: Decoded) {
        if let Some(change) = decoded.change {
            let name = (*decoded.group).into();
            self.apply_consumer(&name, &change);
        }
    }

    /// Has a group take a step that is written. The step that takes its epoch away ends it.
    pub(super) fn apply_consumer(&mut self, name: &Arc<str>, change: &Change) {
        if matches!(change, Change::Epoch(None)) {
            self.consumers.remove(name);
        } else if let Some(group) = self.consumers.get_mut(name) {
            group.apply(change);
        } else if !change.is_deletion() {
            let mut group = ConsumerGroup::new(Arc::clone(name));
            group.apply(change);
            self.consumers.insert(Arc::clone(name), group);
        }
    }

    /// Whether a member may fetch offsets: one that says who it is has to be in the group, and at this epoch.
    pub fn check_fetch(&self, group: &str, member: Option<&str>, epoch: i32) -> Result<(), ErrorCode> {
        let Some(group) = self.consumers.get(group) else { return Ok(()) };
        if member.is_none() && epoch < 0 {
            return Ok(());
        }
        let member = group.core.member(member.unwrap_or_default()).ok_or(ErrorCode::UnknownMemberId)?;
        match epoch {
            epoch if epoch == member.current.epoch => Ok(()),
            _ if member.is_classic() => Err(ErrorCode::IllegalGeneration),
            _ => Err(ErrorCode::StaleMemberEpoch),
        }
    }

    /// A consumer group with its members.
    pub fn describe_consumer(&self, name: &str) -> Result<DescribedConsumerGroup, ErrorCode> {
        let group = self.consumers.get(name).ok_or(ErrorCode::GroupIdNotFound)?;
        Ok(describe::describe(&group.core, self.settings.consumer.assignors))
    }
}

mod assigning;
mod classic;
pub(super) mod time;

#[cfg(test)]
mod durability;
#[cfg(test)]
mod migrations;
#[cfg(test)]
mod offloaded;
#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod walk;
