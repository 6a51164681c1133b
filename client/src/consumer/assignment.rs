//! Which partitions are read, how far, and which of them can be fetched now: a pure core.
//!
//! Must not know: sockets, tasks, the clock.

mod partition;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use cairn_protocol::ids::{BrokerId, LeaderEpoch, Offset, Timestamp};
use tokio::time::Instant;

use self::partition::{Partition, Place};
use super::progress::Progress;
use crate::backoff::Backoff;
use crate::cluster::PartitionInfo;
use crate::topic_partition::TopicPartition;

/// Where to begin to read a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartAt {
    /// At the oldest record.
    Beginning,
    /// After the newest record.
    End,
    /// At this offset.
    Offset(Offset),
    /// At the first record of this time or later; after the newest when there is none.
    Time(Timestamp),
    /// Where the group has committed; by the reset policy where it has not.
    Committed,
}

/// Whether a broker can be asked now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readiness {
    Free,
    /// It is being asked, or there is no room for its answer.
    Busy,
    /// Nobody knows where it is.
    Unknown,
}

/// Which replica is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Leader,
    /// One that the leader named.
    Nearer,
}

/// A place that may not be in the log any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Check {
    pub(crate) offset: Offset,
    /// Of what lies before it.
    pub(crate) epoch: LeaderEpoch,
    pub(crate) leader: BrokerId,
    /// The leader's.
    pub(crate) current: LeaderEpoch,
}

/// What became of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Checked {
    Holds,
    /// The log was cut: from here on it says something else. `None`: nobody knows from where on.
    Cut(Option<Offset>),
}

/// A partition that is to be fetched or looked up.
#[derive(Clone, Debug)]
pub(crate) struct Want<T> {
    pub(crate) partition: TopicPartition,
    pub(crate) progress: Arc<Progress>,
    /// Of its progress, when it was wanted.
    pub(crate) round: u64,
    pub(crate) what: T,
}

/// From where to fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FetchFrom {
    pub(crate) offset: Offset,
    pub(crate) leader_epoch: Option<LeaderEpoch>,
    pub(crate) from: From,
}

/// What there is to do now.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) fetches: HashMap<BrokerId, Vec<Want<FetchFrom>>>,
    pub(crate) lookups: Vec<Want<StartAt>>,
    pub(crate) checks: Vec<Want<Check>>,
    pub(crate) leaderless: HashSet<Arc<str>>,
    pub(crate) wake_at: Option<Instant>,
}

/// All assigned partitions.
#[derive(Debug)]
pub(crate) struct Assignment {
    backoff: Backoff,
    partitions: HashMap<TopicPartition, Partition>,
    /// The order in which partitions are fetched; rotated, so that each is once the first.
    turn: Vec<TopicPartition>,
}

impl Assignment {
    pub(crate) fn new(backoff: Backoff) -> Self {
        Self { backoff, partitions: HashMap::new(), turn: Vec::new() }
    }

    /// Replaces all. What was fetched before is dropped.
    pub(crate) fn assign(&mut self, partitions: impl IntoIterator<Item = (TopicPartition, StartAt)>) {
        for old in self.partitions.values() {
            old.progress.end();
        }
        self.partitions = partitions.into_iter().map(|(partition, at)| (partition, Partition::starting(at))).collect();
        self.turn = self.partitions.keys().cloned().collect();
        self.turn.sort();
    }

    /// Reads these beside what is read already. What is assigned already starts anew.
    pub(crate) fn add(&mut self, partitions: impl IntoIterator<Item = (TopicPartition, StartAt)>) {
        for (partition, at) in partitions {
            if let Some(old) = self.partitions.insert(partition.clone(), Partition::starting(at)) {
                old.progress.end();
            } else {
                self.turn.push(partition);
            }
        }
    }

    /// Reads these no more. What was fetched of them is dropped.
    pub(crate) fn remove(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            if let Some(old) = self.partitions.remove(partition) {
                old.progress.end();
            }
        }
        self.turn.retain(|partition| self.partitions.contains_key(partition));
    }

    /// What the application is done with and was not committed by itself yet.
    pub(crate) fn to_commit(&self) -> Vec<(TopicPartition, Arc<Progress>, Offset)> {
        let due = |(partition, state): (&TopicPartition, &Partition)| {
            Some((partition.clone(), Arc::clone(&state.progress), state.progress.to_commit()?))
        };
        self.partitions.iter().filter_map(due).collect()
    }

    /// Moves one. Gives `false` when it is not assigned.
    pub(crate) fn seek(&mut self, partition: &TopicPartition, to: StartAt) -> bool {
        let Some(state) = self.partitions.get_mut(partition) else { return false };
        state.progress.end();
        *state = Partition { paused: state.paused, ..Partition::starting(to) };
        true
    }

    /// The assigned partitions, in order.
    pub(crate) fn partitions(&self) -> Vec<TopicPartition> {
        let mut all: Vec<_> = self.partitions.keys().cloned().collect();
        all.sort();
        all
    }

    /// How far the partitions were consumed, those of which something was.
    pub(crate) fn consumed(&self) -> Vec<(TopicPartition, Offset)> {
        let consumed =
            |(partition, state): (&TopicPartition, &Partition)| Some((partition.clone(), state.progress.consumed()?));
        self.partitions.iter().filter_map(consumed).collect()
    }

    /// The offset of the next record to be handed out, once it is known.
    pub(crate) fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        self.partitions.get(partition)?.progress.position()
    }

    /// How many offsets are left before the end, as far as is known.
    pub(crate) fn lag(&self, partition: &TopicPartition) -> Option<i64> {
        self.partitions.get(partition)?.progress.lag()
    }

    /// Fetches nothing of these for now, and drops what was fetched ahead. Must not be called while a record is given out.
    pub(crate) fn pause(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            if let Some(state) = self.partitions.get_mut(partition) {
                state.paused = true;
                state.rewind();
            }
        }
    }

    /// Fetches these again.
    pub(crate) fn resume(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            if let Some(state) = self.partitions.get_mut(partition) {
                state.paused = false;
            }
        }
    }

    /// Those of which nothing is fetched for now, in order.
    pub(crate) fn paused(&self) -> Vec<TopicPartition> {
        let paused = self.partitions.iter().filter(|(_, state)| state.paused);
        let mut paused: Vec<_> = paused.map(|(partition, _)| partition.clone()).collect();
        paused.sort();
        paused
    }

    /// What can be fetched and looked up now. All of it counts as busy from here on.
    pub(crate) fn plan(
        &mut self,
        now: Instant,
        info_of: impl Fn(&TopicPartition) -> Option<PartitionInfo>,
        readiness_of: impl Fn(BrokerId) -> Readiness,
    ) -> Plan {
        let mut plan = Plan::default();
        if !self.turn.is_empty() {
            self.turn.rotate_left(1);
        }
        for partition in &self.turn {
            let Some(state) = self.partitions.get_mut(partition) else { continue };
            if state.busy || state.paused || state.place == Place::Halted {
                continue;
            }
            if let Some(at) = state.not_before.filter(|at| *at > now) {
                plan.wake_at = Some(plan.wake_at.map_or(at, |earlier: Instant| earlier.min(at)));
                continue;
            }
            let (progress, round) = (Arc::clone(&state.progress), state.progress.round());
            match state.place {
                Place::ToFind(what) => {
                    state.busy = true;
                    plan.lookups.push(Want { partition: partition.clone(), progress, round, what });
                }
                Place::At(offset) => {
                    let info = info_of(partition);
                    let Some((info, leader)) = info.and_then(|info| Some((info, info.leader?))) else {
                        plan.leaderless.insert(Arc::clone(&partition.topic));
                        continue;
                    };
                    if let Some((epoch, current)) = state.check_due(info) {
                        state.busy = true;
                        let what = Check { offset, epoch, leader, current };
                        plan.checks.push(Want { partition: partition.clone(), progress, round, what });
                        continue;
                    }
                    state.nearer =
                        state.nearer.filter(|(id, until)| *until > now && readiness_of(*id) != Readiness::Unknown);
                    let (broker, from) = state.nearer.map_or((leader, From::Leader), |(id, _)| (id, From::Nearer));
                    if readiness_of(broker) != Readiness::Free {
                        continue;
                    }
                    state.busy = true;
                    let what = FetchFrom { offset, leader_epoch: info.epoch, from };
                    let want = Want { partition: partition.clone(), progress, round, what };
                    plan.fetches.entry(broker).or_default().push(want);
                }
                Place::Halted => {}
            }
        }
        plan
    }

    /// The place was found.
    pub(crate) fn on_found(&mut self, want: &Want<StartAt>, place: Offset) {
        if let Some(state) = self.current(want) {
            state.progress.on_begin(place);
            state.arrive(place);
        }
    }

    /// The records up to this place were fetched, the last of them written by the leader of this epoch.
    pub(crate) fn on_fetched(
        &mut self,
        want: &Want<FetchFrom>,
        place: Offset,
        epoch: Option<LeaderEpoch>,
        log_end: Offset,
    ) {
        if let Some(state) = self.current(want) {
            state.progress.on_log_end(log_end);
            state.epoch = epoch.or(state.epoch);
            state.arrive(place);
        }
    }

    /// Another replica is nearer, for so long.
    pub(crate) fn on_nearer(&mut self, want: &Want<FetchFrom>, id: BrokerId, until: Instant) {
        if let Some(state) = self.current(want) {
            state.busy = false;
            state.nearer = Some((id, until));
        }
    }

    /// Whether its place is still in the log; what to do about it if not is up to the caller.
    pub(crate) fn on_checked(&mut self, want: &Want<Check>, checked: Checked) {
        let Some(state) = self.current(want) else { return };
        state.busy = false;
        state.failures = 0;
        state.checked_in = Some(want.what.current);
        match checked {
            Checked::Holds => {}
            // What was fetched ahead is of the past; what was consumed still is in the log, or it goes on where the log was cut.
            Checked::Cut(Some(at)) if state.progress.position().is_some_and(|position| position <= at) => {
                state.rewind();
            }
            Checked::Cut(Some(at)) => {
                state.progress.end();
                *state = Partition {
                    paused: state.paused,
                    checked_in: state.checked_in,
                    ..Partition::starting(StartAt::Offset(at))
                };
            }
            Checked::Cut(None) => {}
        }
    }

    /// It has to be found anew, as the reset policy says.
    pub(crate) fn on_reset<T>(&mut self, want: &Want<T>, to: StartAt) {
        if let Some(state) = self.current(want) {
            state.busy = false;
            state.place = Place::ToFind(to);
            (state.nearer, state.epoch) = (None, None);
        }
    }

    /// It may succeed later.
    pub(crate) fn on_retry<T>(&mut self, want: &Want<T>, now: Instant) {
        let backoff = self.backoff;
        if let Some(state) = self.current(want) {
            state.busy = false;
            state.nearer = None;
            state.failures += 1;
            state.not_before = Some(now + backoff.wait_after(state.failures));
        }
    }

    /// It was not tried.
    pub(crate) fn on_put_off<T>(&mut self, want: &Want<T>) {
        if let Some(state) = self.current(want) {
            state.busy = false;
        }
    }

    /// It cannot succeed. Gives whether anybody still cares.
    pub(crate) fn on_halt<T>(&mut self, want: &Want<T>) -> bool {
        match self.current(want) {
            None => false,
            Some(state) => {
                state.busy = false;
                state.place = Place::Halted;
                true
            }
        }
    }

    /// The partition's state, unless it was assigned or sought anew since.
    fn current<T>(&mut self, want: &Want<T>) -> Option<&mut Partition> {
        self.partitions
            .get_mut(&want.partition)
            .filter(|state| Arc::ptr_eq(&state.progress, &want.progress) && want.progress.is_current(want.round))
    }
}
