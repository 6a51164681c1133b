//! Every history within small bounds, the shortest first: what chance would need luck for.
//!
//! A state is known by a hash of 64 bits, so of ten million states about one in a million runs would lose one. Histories are
//! kept as actions and done again from the start: a world is a hundred times larger.
//!
//! Must not know: which rule is switched off.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};

use crate::action::{Action, Crash};
use crate::check::{Strictness, Violation};
use crate::world::{Mode, Rules, World};

/// How much of everything may happen in one history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Bounds {
    pub(crate) appends: u8,
    pub(crate) pushes: u8,
    pub(crate) proposals: u8,
    pub(crate) retries: u8,
    /// And transfers of the leadership.
    pub(crate) fences: u8,
    pub(crate) crashes: u8,
    pub(crate) duplicates: u8,
    /// So many messages are under way at once.
    pub(crate) in_flight: usize,
}

/// What a search found.
#[derive(Debug)]
pub(crate) struct Searched {
    pub(crate) states: usize,
    /// The longest history.
    pub(crate) depth: usize,
    /// Whether all histories were seen.
    pub(crate) is_whole: bool,
    pub(crate) found: Option<(Violation, Vec<Action>)>,
}

/// A hash is its own hash.
#[derive(Default)]
struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only numbers are hashed");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// A state that was reached: by which action, from which other.
struct Reached {
    from: u32,
    action: Action,
}

/// Looks at every history within `bounds`, up to `states_max` different states.
pub(crate) fn search(mode: Mode, rules: Rules, bounds: Bounds, strictness: Strictness, states_max: usize) -> Searched {
    let mut known: HashSet<u64, BuildHasherDefault<Same>> = HashSet::default();
    let mut reached: Vec<Reached> = Vec::new();
    let mut actions = Vec::new();
    let mut path = Vec::new();
    let (mut next, mut depth) = (0, 0);
    // The root is no action's outcome.
    let mut at: Option<u32> = None;
    loop {
        path.clear();
        let mut back = at;
        while let Some(step) = back {
            let step = &reached[usize::try_from(step).expect("fits")];
            path.push(step.action);
            back = step.from.checked_sub(1);
        }
        path.reverse();
        depth = depth.max(path.len());
        let (mut world, mut left) = (World::new(mode, rules), bounds);
        for action in &path {
            world.step(*action).expect("was looked at before");
            left.spend(*action);
        }
        actions.clear();
        left.possible(&world, &mut actions);
        for action in &actions {
            let (mut after, mut left) = (world.clone(), left);
            left.spend(*action);
            if let Err(violation) = after.step(*action).and_then(|()| after.check(strictness)) {
                path.push(*action);
                return Searched { states: known.len(), depth, is_whole: false, found: Some((violation, path)) };
            }
            // What changes nothing is no history of its own.
            if after != world && known.insert(fingerprint(&after, &left)) {
                reached.push(Reached { from: at.map_or(0, |at| at + 1), action: *action });
            }
        }
        if next == reached.len() || known.len() >= states_max {
            return Searched { states: known.len(), depth, is_whole: next == reached.len(), found: None };
        }
        at = Some(u32::try_from(next).expect("states_max fits"));
        next += 1;
    }
}

fn fingerprint(world: &World, left: &Bounds) -> u64 {
    let mut hasher = DefaultHasher::new();
    world.hash_what_matters(&mut hasher);
    left.hash(&mut hasher);
    hasher.finish()
}

impl Bounds {
    fn spend(&mut self, action: Action) {
        let of = match action {
            Action::Append { .. } => &mut self.appends,
            Action::Push { .. } => &mut self.pushes,
            Action::Add { .. } | Action::Remove { .. } => &mut self.proposals,
            Action::Retry { .. } => &mut self.retries,
            Action::Fence { .. } | Action::Transfer { .. } => &mut self.fences,
            Action::Crash { .. } => &mut self.crashes,
            Action::Duplicate { .. } => &mut self.duplicates,
            _ => return,
        };
        *of = of.checked_sub(1).expect("was left");
    }

    /// What may happen next.
    fn possible(&self, world: &World, actions: &mut Vec<Action>) {
        let has_room = world.network.len() < self.in_flight;
        for slot in 0..u8::try_from(world.network.len()).expect("few") {
            actions.push(Action::Deliver { slot });
            actions.extend((self.duplicates > 0 && has_room).then_some(Action::Duplicate { slot }));
        }
        for at in 0..world.mode.brokers() {
            let node = world.node(at);
            let serves = world.serves(at);
            if serves && self.fences > 0 {
                actions.extend([Action::Fence { at }, Action::Transfer { to: at }]);
            }
            if !node.is_up {
                actions.push(Action::Restart { at, behind: 0 });
                continue;
            }
            actions.extend((!serves).then_some(Action::Unfence { at }));
            actions.extend((!world.is_current(at)).then_some(Action::Metadata { at, ahead: u8::MAX }));
            if self.crashes > 0 {
                let with = if world.mode == Mode::Wipe { Crash::Disk } else { Crash::Machine };
                actions.push(Action::Crash { at, with, lost: u8::MAX });
            }
            actions.extend((node.log.flushed < node.log.len()).then_some(Action::Flush { at }));
            if node.replica.leads().is_none() {
                continue;
            }
            actions.extend((self.appends > 0).then_some(Action::Append { at }));
            if !has_room {
                continue;
            }
            actions
                .extend((self.retries > 0 && node.replica.open_proposal().is_some()).then_some(Action::Retry { at }));
            for other in (0..world.mode.brokers()).filter(|other| *other != at) {
                actions.extend((self.pushes > 0).then_some(Action::Push { from: at, to: other, records: 1 }));
                if self.proposals > 0 {
                    actions.extend([Action::Add { at, follower: other }, Action::Remove { at, follower: other }]);
                }
            }
        }
    }
}

/// Enough for a leader that is replaced while something is under way, and loses what it had.
const BOUNDS: Bounds =
    Bounds { appends: 1, pushes: 3, proposals: 1, retries: 0, fences: 1, crashes: 1, duplicates: 0, in_flight: 2 };
/// What every run looks at; `CAIRN_STATES` says how many more.
const STATES: u64 = 100_000;

#[test]
fn every_short_history_loses_nothing() {
    let states_max = crate::number("CAIRN_STATES").unwrap_or(STATES);
    for mode in [Mode::Sync, Mode::Async, Mode::Wipe, Mode::SyncWipe] {
        let started = std::time::Instant::now();
        let states_max = usize::try_from(states_max).expect("fits");
        let searched = search(mode, Rules::default(), BOUNDS, Strictness::All, states_max);
        if let Some((violation, actions)) = &searched.found {
            crate::tell(mode, Rules::default(), actions);
            panic!("{mode:?}: {violation:?} after {} steps", actions.len());
        }
        let share = if searched.is_whole { "all" } else { "the shortest" };
        println!(
            "{mode:?}: {share} histories, {} states, up to {} steps, {:.1?}",
            searched.states,
            searched.depth,
            started.elapsed()
        );
    }
}
