//! The groups of one partition of `__consumer_offsets`: their offsets here, their members in the modules below.
//!
//! Must not know: files, sockets, clocks, how a log makes records durable.

pub(crate) mod admin;
pub(crate) mod consumers;
mod members;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use cairn_protocol::ids::{Offset, PartitionIndex, TopicId};

use crate::commit::{Commit, CommitOutcome, Committing, PartitionCommit};
use crate::consumer::group::ConsumerGroup;
use crate::consumer::pending::Pending;
use crate::effects::Effects;
use crate::group::{Group, GroupState};
use crate::offsets::{CommittedOffset, OffsetKey, Offsets};
use crate::record_error::RecordError;
use crate::records::{self, Change, Decoded, OffsetChange, Record};
use crate::settings::GroupSettings;
use crate::timers::{Now, TimerQueue};
use crate::turn::Turn;
use consumers::{GroupOverrides, KnownTopics};

/// How long offsets of a group without members are kept: a week, Kafka's `offsets.retention.minutes`.
pub const OFFSETS_RETENTION_MS_DEFAULT: i64 = 7 * 24 * 60 * 60 * 1000;

/// The groups of one partition of `__consumer_offsets`.
#[derive(Debug, Default)]
pub struct Shard {
    settings: GroupSettings,
    /// What is durable.
    offsets: Offsets,
    /// What is appended, in the log's order. Its length is bounded by the produce bytes that are in flight.
    appended: VecDeque<(Offset, OffsetChange)>,
    /// Where the last record of a decision lies.
    last_appended: Option<Offset>,
    /// Groups that have or had members, as they are: decisions about members are made on what was decided, not on what
    /// is durable.
    groups: HashMap<Arc<str>, Group>,
    /// Groups of the next generation's protocol, as what is appended says. No name is in both.
    consumers: HashMap<Arc<str>, ConsumerGroup>,
    pending: Pending,
    assignments_begun: u64,
    topics: KnownTopics,
    overrides: HashMap<Box<str>, GroupOverrides>,
    timers: TimerQueue,
}

/// What a loaded record was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// A committed or deleted offset.
    Offset,
    /// A group, or that it was deleted.
    Group,
    /// A key of this type, which is not known here: the record is left alone.
    Unknown(i16),
}

impl Shard {
    /// A shard without groups, by Kafka's defaults.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A shard without groups.
    #[must_use]
    pub fn with(settings: GroupSettings) -> Self {
        Self { settings, ..Self::default() }
    }

    /// Takes in a durable record of the partition: all of them, in order, before [`Self::on_loaded`].
    pub fn load(&mut self, key: &Bytes, value: Option<&Bytes>) -> Result<Loaded, RecordError> {
        match records::decode(key, value)? {
            Decoded::Offset(change) => {
                self.apply(change);
                Ok(Loaded::Offset)
            }
            Decoded::Group(stored) => {
                let group = stored.into_group();
                self.groups.insert(Arc::clone(&group.name), group);
                Ok(Loaded::Group)
            }
            Decoded::GroupDeleted(name) => {
                self.groups.remove(&*name);
                Ok(Loaded::Group)
            }
            Decoded::Consumer(decoded) => {
                self.load_consumer(decoded);
                Ok(Loaded::Group)
            }
            Decoded::Other(kind) => Ok(Loaded::Unknown(kind)),
        }
    }

    /// Decides on a commit, which is also a sign of life. No offset changes by it: that comes with [`Self::on_appended`]
    /// and [`Self::on_committed`].
    #[must_use]
    pub fn commit(&mut self, commit: &Commit<'_>, now: Now) -> CommitOutcome {
        let group = commit.by.group;
        let permit = match commit.by.check(&self.committing(group)) {
            Ok(permit) => permit,
            Err(error) => {
                return CommitOutcome { records: Vec::new(), results: vec![Err(error); commit.partitions.len()] };
            }
        };
        self.turn(group, now, &mut Effects::default(), |turn| {
            if matches!(turn.group.state(), GroupState::Stable | GroupState::PreparingRebalance) {
                turn.renew_session(commit.by.member);
            }
        });
        let expires_at = commit.by.expires_at(now.wall);
        let mut outcome = CommitOutcome { records: Vec::new(), results: Vec::new() };
        for partition in commit.partitions {
            let permitted = || permit.check(self.topic_of(partition), partition.partition);
            let result = partition.check(self.settings.offset_metadata_max).and_then(|()| permitted());
            if result.is_ok() {
                let key = key(group, partition.topic, partition.partition);
                let value = Some(partition.committed(now.wall, expires_at));
                outcome.records.push(Record::new(OffsetChange { key, value }));
            }
            outcome.results.push(result);
        }
        outcome
    }

    /// The records of a decision are in the log, the first at `first` and the others behind it.
    ///
    /// # Panics
    /// When this is not called in the order of the log.
    pub fn on_appended(&mut self, first: Offset, records: Vec<Record>) {
        if let Some(last) = self.last_appended {
            assert!(last < first, "records at {first} came after those at {last}");
        }
        for (offset, record) in (first.0..).map(Offset).zip(records) {
            self.last_appended = Some(offset);
            match record.change {
                Change::Offset(change) => self.appended.push_back((offset, change)),
                Change::Group => {}
                Change::GroupDeleted(name) => {
                    self.groups.remove(&*name);
                }
                Change::Downgraded(stored) => {
                    let group = stored.into_group();
                    self.groups.insert(Arc::clone(&group.name), group);
                }
                Change::Consumer(group, change) => self.apply_consumer(&group, &change),
            }
        }
    }

    /// Everything below `end` is durable: fetches see it from now on.
    pub fn on_committed(&mut self, end: Offset) {
        while let Some((_, change)) = self.appended.pop_front_if(|(offset, _)| *offset < end) {
            self.apply(change);
        }
    }

    /// What a group has committed for a partition. With a topic id (not zero), an offset of another topic that had the
    /// same name does not count.
    #[must_use]
    pub fn fetch(
        &self,
        group: &str,
        topic: &str,
        topic_id: TopicId,
        partition: PartitionIndex,
    ) -> Option<&CommittedOffset> {
        self.offsets.get(group, topic, partition).filter(|committed| !committed.is_of_another(topic_id))
    }

    /// All that a group has committed: topics by name, partitions by index.
    pub fn fetch_all<'a>(
        &'a self,
        group: &str,
    ) -> impl Iterator<Item = (&'a str, impl Iterator<Item = (PartitionIndex, &'a CommittedOffset)>)> {
        let topics = self.offsets.group(group).into_iter().flatten();
        topics.map(|(topic, partitions)| (&**topic, partitions.iter().map(|(index, committed)| (*index, committed))))
    }

    /// The groups that have committed something, in no order.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.offsets.groups().map(|(group, _)| group)
    }

    /// Records that delete what was committed for a topic that is gone; not what a topic of the same name got since.
    #[must_use]
    pub fn on_topic_deleted(&self, topic: &str, topic_id: TopicId) -> Vec<Record> {
        let mut records = Vec::new();
        for (group, topics) in self.offsets.groups() {
            for (partition, committed) in topics.get(topic).into_iter().flatten() {
                let key = key(group, topic, *partition);
                if !committed.is_of_another(topic_id) && !self.is_changing(&key) {
                    records.push(Record::new(OffsetChange { key, value: None }));
                }
            }
        }
        records
    }

    /// Whether a change is on its way: then the present value says nothing about what has to be deleted.
    fn is_changing(&self, key: &OffsetKey) -> bool {
        self.appended.iter().any(|(_, change)| change.key == *key)
    }

    /// Whether the group has offsets, or will have some.
    fn has_offsets(&self, group: &str) -> bool {
        let is_coming = |change: &OffsetChange| &*change.key.group == group && change.value.is_some();
        self.offsets.group(group).is_some() || self.appended.iter().any(|(_, change)| is_coming(change))
    }

    /// The topic that a commit is about, as far as that is known.
    fn topic_of(&self, commit: &PartitionCommit<'_>) -> TopicId {
        if commit.topic_id.is_zero() {
            return self.topics.0.id(commit.topic).unwrap_or(TopicId::ZERO);
        }
        commit.topic_id
    }

    fn committing(&self, group: &str) -> Committing<'_> {
        if let Some(group) = self.consumers.get(group) {
            return Committing::Consumer(&group.core);
        }
        match self.groups.get(group) {
            Some(group) => Committing::Group(group),
            None if self.has_offsets(group) => Committing::Simple,
            None => Committing::Unknown,
        }
    }

    /// Has something decided about a group with members; none when there is no such group.
    fn turn<T>(
        &mut self,
        group: &str,
        now: Now,
        effects: &mut Effects,
        decide: impl FnOnce(&mut Turn<'_>) -> T,
    ) -> Option<T> {
        let group = self.groups.get_mut(group)?;
        let mut turn = Turn { group, now, settings: &self.settings, timers: &mut self.timers, effects };
        Some(decide(&mut turn))
    }

    fn apply(&mut self, change: OffsetChange) {
        match change.value {
            Some(committed) => self.offsets.set(change.key, committed),
            None => self.offsets.remove(&change.key),
        }
    }
}

fn key(group: &str, topic: &str, partition: PartitionIndex) -> OffsetKey {
    OffsetKey { group: group.into(), topic: topic.into(), partition }
}

#[cfg(test)]
mod dice;
#[cfg(test)]
mod tests;

#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod walk;
