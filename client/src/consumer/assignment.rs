//! Which partitions are read, how far, and which of them can be fetched now: a pure core.
//!
//! Must not know: sockets, tasks, the clock.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use cairn_protocol::ids::{BrokerId, LeaderEpoch, Offset, Timestamp};
use tokio::time::Instant;

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

/// How far one assignment of one partition has come. A new assignment or a seek makes a new one, and what was fetched for the old
/// one is dropped.
#[derive(Debug)]
pub(crate) struct Progress {
    current: AtomicBool,
    /// The offset after the last record that was handed out; -1 before the first.
    consumed: AtomicI64,
    /// The same of the last record that the application is done with.
    settled: AtomicI64,
    /// What was committed by itself.
    committed: AtomicI64,
}

impl Progress {
    fn new() -> Arc<Self> {
        let none = || AtomicI64::new(-1);
        Arc::new(Self { current: AtomicBool::new(true), consumed: none(), settled: none(), committed: none() })
    }

    pub(crate) fn is_current(&self) -> bool {
        self.current.load(Ordering::Acquire)
    }

    pub(crate) fn on_consumed(&self, end: Offset) {
        self.consumed.store(end.0, Ordering::Release);
    }

    /// The application is done with all that was handed out.
    pub(crate) fn settle(&self) {
        self.settled.store(self.consumed.load(Ordering::Acquire), Ordering::Release);
    }

    pub(crate) fn on_committed(&self, end: Offset) {
        self.committed.store(end.0, Ordering::Release);
    }

    /// What the application is done with and nobody has committed.
    fn to_commit(&self) -> Option<Offset> {
        let settled = self.settled.load(Ordering::Acquire);
        (settled > self.committed.load(Ordering::Acquire)).then_some(Offset(settled))
    }

    fn consumed(&self) -> Option<Offset> {
        let consumed = self.consumed.load(Ordering::Acquire);
        (consumed >= 0).then_some(Offset(consumed))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    ToFind(StartAt),
    At(Offset),
    /// An error was told; it waits for a seek.
    Halted,
}

#[derive(Debug)]
struct Partition {
    place: Place,
    progress: Arc<Progress>,
    /// Being fetched or looked up.
    busy: bool,
    failures: u32,
    not_before: Option<Instant>,
}

impl Partition {
    fn starting(at: StartAt) -> Self {
        Self { place: Place::ToFind(at), progress: Progress::new(), busy: false, failures: 0, not_before: None }
    }
}

/// A partition that is to be fetched or looked up.
#[derive(Clone, Debug)]
pub(crate) struct Want<T> {
    pub(crate) partition: TopicPartition,
    pub(crate) progress: Arc<Progress>,
    pub(crate) what: T,
}

/// From where to fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FetchFrom {
    pub(crate) offset: Offset,
    pub(crate) leader_epoch: Option<LeaderEpoch>,
}

/// What there is to do now.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) fetches: HashMap<BrokerId, Vec<Want<FetchFrom>>>,
    pub(crate) lookups: Vec<Want<StartAt>>,
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
            old.progress.current.store(false, Ordering::Release);
        }
        self.partitions = partitions.into_iter().map(|(partition, at)| (partition, Partition::starting(at))).collect();
        self.turn = self.partitions.keys().cloned().collect();
        self.turn.sort();
    }

    /// Reads these beside what is read already. What is assigned already starts anew.
    pub(crate) fn add(&mut self, partitions: impl IntoIterator<Item = (TopicPartition, StartAt)>) {
        for (partition, at) in partitions {
            if let Some(old) = self.partitions.insert(partition.clone(), Partition::starting(at)) {
                old.progress.current.store(false, Ordering::Release);
            } else {
                self.turn.push(partition);
            }
        }
    }

    /// Reads these no more. What was fetched of them is dropped.
    pub(crate) fn remove(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            if let Some(old) = self.partitions.remove(partition) {
                old.progress.current.store(false, Ordering::Release);
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
        state.progress.current.store(false, Ordering::Release);
        *state = Partition::starting(to);
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
        let state = self.partitions.get(partition)?;
        state.progress.consumed().or(match state.place {
            Place::At(offset) => Some(offset),
            Place::ToFind(StartAt::Offset(offset)) => Some(offset),
            Place::ToFind(_) | Place::Halted => None,
        })
    }

    /// What can be fetched and looked up now. All of it counts as busy from here on.
    pub(crate) fn plan(
        &mut self,
        now: Instant,
        info_of: impl Fn(&TopicPartition) -> Option<PartitionInfo>,
        can_fetch_from: impl Fn(BrokerId) -> bool,
    ) -> Plan {
        let mut plan = Plan::default();
        if !self.turn.is_empty() {
            self.turn.rotate_left(1);
        }
        for partition in &self.turn {
            let Some(state) = self.partitions.get_mut(partition) else { continue };
            if state.busy || state.place == Place::Halted {
                continue;
            }
            if let Some(at) = state.not_before.filter(|at| *at > now) {
                plan.wake_at = Some(plan.wake_at.map_or(at, |earlier: Instant| earlier.min(at)));
                continue;
            }
            if let Place::ToFind(StartAt::Offset(offset)) = state.place {
                state.place = Place::At(offset);
            }
            let progress = Arc::clone(&state.progress);
            match state.place {
                Place::ToFind(what) => {
                    state.busy = true;
                    plan.lookups.push(Want { partition: partition.clone(), progress, what });
                }
                Place::At(offset) => {
                    let info = info_of(partition);
                    let Some(leader) = info.and_then(|info| info.leader) else {
                        plan.leaderless.insert(Arc::clone(&partition.topic));
                        continue;
                    };
                    if !can_fetch_from(leader) {
                        continue;
                    }
                    state.busy = true;
                    let what = FetchFrom { offset, leader_epoch: info.and_then(|info| info.epoch) };
                    plan.fetches.entry(leader).or_default().push(Want { partition: partition.clone(), progress, what });
                }
                Place::Halted => {}
            }
        }
        plan
    }

    /// The place was found, or the records up to it were fetched.
    pub(crate) fn on_place<T>(&mut self, want: &Want<T>, place: Offset) {
        if let Some(state) = self.current(want) {
            state.busy = false;
            state.failures = 0;
            state.not_before = None;
            state.place = Place::At(place);
        }
    }

    /// It has to be found anew, as the reset policy says.
    pub(crate) fn on_reset<T>(&mut self, want: &Want<T>, to: StartAt) {
        if let Some(state) = self.current(want) {
            state.busy = false;
            state.place = Place::ToFind(to);
        }
    }

    /// It may succeed later.
    pub(crate) fn on_retry<T>(&mut self, want: &Want<T>, now: Instant) {
        let backoff = self.backoff;
        if let Some(state) = self.current(want) {
            state.busy = false;
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
        self.partitions.get_mut(&want.partition).filter(|state| Arc::ptr_eq(&state.progress, &want.progress))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const LEADER: BrokerId = BrokerId(1);

    fn assignment() -> Assignment {
        Assignment::new(Backoff { first: Duration::from_millis(100), longest: Duration::from_secs(1) })
    }

    fn led(_: &TopicPartition) -> Option<PartitionInfo> {
        Some(PartitionInfo { leader: Some(LEADER), epoch: Some(LeaderEpoch(3)) })
    }

    fn p(index: i32) -> TopicPartition {
        TopicPartition::new("t", index)
    }

    #[test]
    fn a_place_is_found_then_fetched_once_at_a_time() {
        let (mut assignment, now) = (assignment(), Instant::now());
        assignment.assign([(p(0), StartAt::Beginning)]);
        let plan = assignment.plan(now, led, |_| true);
        assert!(plan.fetches.is_empty());
        assert_eq!(plan.lookups.len(), 1);
        assert!(assignment.plan(now, led, |_| true).lookups.is_empty(), "it is being looked up");

        assignment.on_place(&plan.lookups[0], Offset(7));
        let plan = assignment.plan(now, led, |_| true);
        let fetch = &plan.fetches[&LEADER][0];
        assert_eq!(fetch.what, FetchFrom { offset: Offset(7), leader_epoch: Some(LeaderEpoch(3)) });
        assert!(assignment.plan(now, led, |_| true).fetches.is_empty(), "it is being fetched");
        assignment.on_place(fetch, Offset(20));
        assert_eq!(assignment.plan(now, led, |_| true).fetches[&LEADER][0].what.offset, Offset(20));
    }

    #[test]
    fn a_seek_makes_what_is_under_way_stale() {
        let (mut assignment, now) = (assignment(), Instant::now());
        assignment.assign([(p(0), StartAt::Offset(Offset(5)))]);
        let plan = assignment.plan(now, led, |_| true);
        let old = &plan.fetches[&LEADER][0];
        old.progress.on_consumed(Offset(9));
        assert_eq!(assignment.position(&p(0)), Some(Offset(9)));
        assert!(assignment.seek(&p(0), StartAt::Offset(Offset(2))));
        assert!(!old.progress.is_current());
        assignment.on_place(old, Offset(100));
        assert_eq!(assignment.position(&p(0)), Some(Offset(2)), "the old answer changes nothing");
        assert!(!assignment.on_halt(old));
        assert!(assignment.consumed().is_empty());
        assert!(!assignment.seek(&p(1), StartAt::End));
    }

    #[test]
    fn failures_wait_and_halts_stay() {
        let (mut assignment, now) = (assignment(), Instant::now());
        assignment.assign([(p(0), StartAt::Offset(Offset(0)))]);
        let plan = assignment.plan(now, led, |_| true);
        let want = &plan.fetches[&LEADER][0];
        assignment.on_retry(want, now);
        let waiting = assignment.plan(now, led, |_| true);
        let wake_at = waiting.wake_at.expect("waits");
        assert!(waiting.fetches.is_empty() && wake_at > now);
        assert_eq!(assignment.plan(wake_at, led, |_| true).fetches.len(), 1);
        assert!(assignment.on_halt(want));
        let plan = assignment.plan(wake_at + Duration::from_secs(9), led, |_| true);
        assert!(plan.fetches.is_empty() && plan.wake_at.is_none());
    }

    #[test]
    fn every_partition_is_once_the_first() {
        let (mut assignment, now) = (assignment(), Instant::now());
        assignment.assign((0..3).map(|index| (p(index), StartAt::Offset(Offset(0)))));
        let mut first = HashSet::new();
        for _ in 0..3 {
            let plan = assignment.plan(now, led, |_| true);
            let wants = &plan.fetches[&LEADER];
            first.insert(wants[0].partition.clone());
            wants.iter().for_each(|want| assignment.on_put_off(want));
        }
        assert_eq!(first.len(), 3);
        let plan = assignment.plan(now, |_| None, |_| true);
        assert_eq!(plan.leaderless.len(), 1);
        assert!(assignment.plan(now, led, |_| false).fetches.is_empty());
    }
}
