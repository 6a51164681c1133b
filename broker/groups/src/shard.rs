//! The groups of one partition of `__consumer_offsets`.
//!
//! Must not know: files, sockets, clocks, how a log makes records durable.

use std::collections::VecDeque;

use bytes::Bytes;
use cairn_protocol::ids::{Offset, PartitionIndex, Timestamp, TopicId};

use crate::commit::{Commit, CommitOutcome, GroupState};
use crate::offsets::{CommittedOffset, OffsetKey, Offsets};
use crate::records::{self, Decoded, OffsetChange, Record, RecordError};

/// How long offsets of a group without members are kept: a week, Kafka's `offsets.retention.minutes`.
pub const OFFSETS_RETENTION_MS_DEFAULT: i64 = 7 * 24 * 60 * 60 * 1000;

/// The groups of one partition of `__consumer_offsets`.
#[derive(Debug, Default)]
pub struct Shard {
    /// What is durable.
    offsets: Offsets,
    /// What is appended, in the log's order. Its length is bounded by the produce bytes that are in flight.
    appended: VecDeque<(Offset, OffsetChange)>,
}

/// What a loaded record was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loaded {
    /// A committed or deleted offset.
    Offset,
    /// A key of this type, which is not known here: the record is left alone.
    Unknown(i16),
}

impl Shard {
    /// A shard without groups.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes in a durable record of the partition: all of them, in order, before the first request.
    pub fn load(&mut self, key: &Bytes, value: Option<&Bytes>) -> Result<Loaded, RecordError> {
        match records::decode(key, value)? {
            Decoded::Offset(change) => {
                self.apply(change);
                Ok(Loaded::Offset)
            }
            Decoded::Other(kind) => Ok(Loaded::Unknown(kind)),
        }
    }

    /// Decides on a commit. Nothing changes by it: that comes with [`Self::on_appended`] and [`Self::on_committed`].
    #[must_use]
    pub fn commit(&self, commit: &Commit<'_>, now: Timestamp) -> CommitOutcome {
        let group = commit.by.group;
        if let Err(error) = commit.by.check(|| self.state(group)) {
            return CommitOutcome { records: Vec::new(), results: vec![Err(error); commit.partitions.len()] };
        }
        let expires_at = commit.by.expires_at(now);
        let mut outcome = CommitOutcome { records: Vec::new(), results: Vec::new() };
        for partition in commit.partitions {
            let result = partition.check();
            if result.is_ok() {
                let key = key(group, partition.topic, partition.partition);
                let value = Some(partition.committed(now, expires_at));
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
        if let Some((last, _)) = self.appended.back() {
            assert!(*last < first, "records at {first} came after those at {last}");
        }
        self.appended.extend((first.0..).map(Offset).zip(records.into_iter().map(|record| record.change)));
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

    /// Records that delete what has expired: a group without members loses an offset `retention_ms` after its commit.
    #[must_use]
    pub fn expire(&self, now: Timestamp, retention_ms: i64) -> Vec<Record> {
        let expired = |committed: &CommittedOffset| {
            let at = committed.expires_at.unwrap_or(Timestamp(committed.committed_at.0.saturating_add(retention_ms)));
            at <= now
        };
        self.delete_where(|_, committed| expired(committed))
    }

    /// Records that delete what was committed for a topic that is gone; not what a topic of the same name got since.
    #[must_use]
    pub fn on_topic_deleted(&self, topic: &str, topic_id: TopicId) -> Vec<Record> {
        self.delete_where(|name, committed| name == topic && !committed.is_of_another(topic_id))
    }

    fn delete_where(&self, gone: impl Fn(&str, &CommittedOffset) -> bool) -> Vec<Record> {
        let mut records = Vec::new();
        for (group, topics) in self.offsets.groups() {
            for (topic, partitions) in topics {
                let partitions = partitions.iter().filter(|(_, committed)| gone(topic, committed));
                for (partition, _) in partitions {
                    let key = key(group, topic, *partition);
                    if !self.is_changing(&key) {
                        records.push(Record::new(OffsetChange { key, value: None }));
                    }
                }
            }
        }
        records
    }

    /// Whether a change is on its way: then the present value says nothing about what has to be deleted.
    fn is_changing(&self, key: &OffsetKey) -> bool {
        self.appended.iter().any(|(_, change)| change.key == *key)
    }

    fn state(&self, group: &str) -> GroupState {
        let known = self.offsets.group(group).is_some()
            || self.appended.iter().any(|(_, change)| &*change.key.group == group && change.value.is_some());
        if known { GroupState::Empty } else { GroupState::Unknown }
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
mod tests;
