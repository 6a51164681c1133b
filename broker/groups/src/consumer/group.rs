//! A consumer group as it lives in a coordinator: what its records keep, and what is forgotten with the process.
//!
//! Must not know: requests.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::change::{Change, FIRST_EPOCH};
use super::regex::Sought;
use super::settings::{ASSIGN_AGAIN_MS, ASSIGNING_MAX_MS, REGEX_REFRESH_INTERVAL_MIN_MS};
use super::state::Core;
use super::target::AssignmentNumber;
use super::topics::Topics;
use crate::records::Record;
use crate::timers::{ConsumerTimer, Now, Ticks, Timer, TimerKey, TimerKind, TimerQueue};

/// A consumer group.
#[derive(Debug)]
pub(crate) struct ConsumerGroup {
    pub(crate) name: Arc<str>,
    pub(crate) core: Core,
    /// Of each member.
    pub(crate) timers: BTreeMap<Arc<str>, MemberTimers>,
    /// The version of the topics that its epoch is known to be right for, as far as its regular expressions were looked for.
    pub(crate) topics_seen: Option<i64>,
    /// The version of the topics that all its regular expressions are known to be right for.
    pub(crate) regexes_seen: Option<i64>,
    /// When the topics of its regular expressions were looked for last.
    pub(crate) searched: Option<Ticks>,
    /// What becomes of an assignment that is worked out while nothing of the group is held.
    pub(crate) assigning: Begun,
}

/// An assignment that is worked out elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Begun {
    /// There is none.
    #[default]
    Nothing,
    /// This one, since then.
    At(AssignmentNumber, Ticks),
    /// The last one could not be worked out, or not be written, then.
    Refused(Ticks),
}

impl Begun {
    /// Whether nobody else has to begin one.
    pub(crate) fn is_busy(self, now: Ticks) -> bool {
        match self {
            Self::Nothing => false,
            Self::At(_, since) => now < since.after(ASSIGNING_MAX_MS),
            Self::Refused(at) => now < at.after(ASSIGN_AGAIN_MS),
        }
    }

    pub(crate) fn is(self, number: AssignmentNumber) -> bool {
        matches!(self, Self::At(begun, _) if begun == number)
    }
}

/// What a member has time for.
#[derive(Debug, Default)]
pub(crate) struct MemberTimers {
    /// Until then it has to be heard of.
    pub(crate) session: Timer,
    /// Until then it has to have given up what it has to, if its epoch is still this one.
    pub(crate) rebalance: Timer,
    pub(crate) rebalance_epoch: i32,
    /// Until then a member of the classic protocol has to join again.
    pub(crate) join: Timer,
    /// Until then a member of the classic protocol has to ask for its assignment.
    pub(crate) sync: Timer,
}

/// What becomes of a member's timers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Timing {
    /// It was heard of, and has so long until it has to be again.
    Session(Arc<str>, i32),
    /// It has so long to leave this epoch.
    Rebalance(Arc<str>, i32, i32),
    /// It has given up what it had to.
    Rebalanced(Arc<str>),
    /// It has so long to join again, unless it was told already.
    Join(Arc<str>, i32),
    /// It has joined, and has so long to ask for its assignment.
    Sync(Arc<str>, i32),
    /// It has asked for its assignment.
    Synced(Arc<str>),
    /// It is gone.
    Gone(Arc<str>),
}

impl MemberTimers {
    pub(crate) fn of(&mut self, which: ConsumerTimer) -> &mut Timer {
        match which {
            ConsumerTimer::Session => &mut self.session,
            ConsumerTimer::Rebalance => &mut self.rebalance,
            ConsumerTimer::Join => &mut self.join,
            ConsumerTimer::Sync => &mut self.sync,
        }
    }
}

impl ConsumerGroup {
    pub(crate) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            core: Core::default(),
            timers: BTreeMap::new(),
            topics_seen: None,
            regexes_seen: None,
            searched: None,
            assigning: Begun::Nothing,
        }
    }

    /// Whether no record says that it is there.
    pub(crate) fn is_void(&self) -> bool {
        self.core.group.epoch == FIRST_EPOCH && self.core.is_empty()
    }

    /// The regular expressions whose topics have to be found with these: all, when it is time for that, and not while somebody
    /// is at it.
    pub(crate) fn begin_search(&mut self, topics: &dyn Topics, interval_ms: i32, now: Ticks) -> Option<Vec<Sought>> {
        let is_over = |ms: i32| self.searched.is_none_or(|last| now >= last.after(ms));
        let has_regexes = self.core.subscribed_regexes().next().is_some();
        let are_new = self.regexes_seen != Some(topics.version());
        if !has_regexes || !is_over(REGEX_REFRESH_INTERVAL_MIN_MS) || !(are_new || is_over(interval_ms)) {
            return None;
        }
        self.searched = Some(now);
        let is_old = |regex: &&Arc<str>| self.core.regex(regex).is_none_or(|known| known.version != topics.version());
        let sought = |regex: &Arc<str>| Sought { regex: Arc::clone(regex), before: self.core.regex(regex).cloned() };
        Some(self.core.subscribed_regexes().filter(is_old).map(sought).collect())
    }

    /// Records that take it away, member by member and itself last.
    pub(crate) fn deletion(&self) -> Vec<Record> {
        let changes = self.core.deletion();
        changes.into_iter().map(|change| Record::of_consumer(&self.name, change)).collect()
    }

    /// Sets a member's timers.
    pub(crate) fn time(&mut self, timing: Timing, now: Now, queue: &mut TimerQueue) {
        match timing {
            Timing::Session(id, after_ms) => self.set(id, ConsumerTimer::Session, now, after_ms, queue),
            Timing::Rebalance(id, after_ms, epoch) => {
                self.timers.entry(Arc::clone(&id)).or_default().rebalance_epoch = epoch;
                self.set(id, ConsumerTimer::Rebalance, now, after_ms, queue);
            }
            Timing::Rebalanced(id) => self.stop(&id, ConsumerTimer::Rebalance),
            Timing::Join(id, after_ms) => {
                if self.timers.get(&id).is_none_or(|timers| !timers.join.is_set()) {
                    self.set(id, ConsumerTimer::Join, now, after_ms, queue);
                }
            }
            Timing::Sync(id, after_ms) => {
                self.stop(&id, ConsumerTimer::Join);
                self.set(id, ConsumerTimer::Sync, now, after_ms, queue);
            }
            Timing::Synced(id) => self.stop(&id, ConsumerTimer::Sync),
            Timing::Gone(id) => {
                self.timers.remove(&id);
            }
        }
    }

    fn set(&mut self, id: Arc<str>, which: ConsumerTimer, now: Now, after_ms: i32, queue: &mut TimerQueue) {
        let group = Arc::clone(&self.name);
        let timer = self.timers.entry(Arc::clone(&id)).or_default().of(which);
        queue.set(timer, now.ticks.after(after_ms), || TimerKey { group, kind: TimerKind::Consumer(which, id) });
    }

    fn stop(&mut self, id: &str, which: ConsumerTimer) {
        if let Some(timers) = self.timers.get_mut(id) {
            timers.of(which).stop();
        }
    }

    /// Takes a step that is written.
    pub(crate) fn apply(&mut self, change: &Change) {
        if matches!(change, Change::TargetEpoch(_)) {
            self.assigning = Begun::Nothing;
        }
        self.core.apply(change);
    }
}
