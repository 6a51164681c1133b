//! The flight recorder of groups: the last rebalances of each, what caused each, and how long each member took.
//!
//! It is fed by what groups tell, and bounded in groups, in rebalances of a group, and in members in all: what has not
//! changed for longest is forgotten first.
//!
//! Must not know: how groups decide, how it is served.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use cairn_groups::{Cause, Event, Happened, Now};
use parking_lot::Mutex;
use serde::Serialize;

/// Groups that are remembered.
pub(crate) const GROUPS_MAX: usize = 1_000;
/// Rebalances of a group that are remembered.
pub(crate) const REBALANCES_MAX: usize = 20;
/// Members of one rebalance that are told one by one.
const MEMBERS_MAX: usize = 200;
/// Members in all rebalances of all groups: some 20 MiB at most.
const MEMBERS_ALL_MAX: usize = 100_000;
/// Bytes of a client's reason that are kept.
const DETAIL_MAX: usize = 500;

/// Remembers what has happened to groups.
#[derive(Debug, Default)]
pub(crate) struct FlightRecorder(Mutex<Recorded>);

#[derive(Debug, Default)]
struct Recorded {
    groups: HashMap<Arc<str>, Group>,
    /// The groups by when they changed last.
    by_change: BTreeMap<u64, Arc<str>>,
    changes: u64,
    members: usize,
}

#[derive(Debug, Default)]
struct Group {
    changed: u64,
    causes: BTreeMap<&'static str, u64>,
    rebalances: VecDeque<Rebalance>,
    /// Members that have gone since the last rebalance ended: they are the reason for the next one.
    gone: Vec<Part>,
}

/// One rebalance. Times that begin with `after` are from its beginning, in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Rebalance {
    /// When it began, in milliseconds since the Unix epoch.
    begun_ms: i64,
    cause: &'static str,
    detail: Box<str>,
    /// The generation, or group epoch, that there was.
    from_generation: i32,
    /// The one that came of it.
    generation: Option<i32>,
    protocol: Option<Arc<str>>,
    outcome: Outcome,
    /// When all had joined.
    after_joined_ms: Option<u64>,
    /// When it ended.
    after_ended_ms: Option<u64>,
    members: Vec<Part>,
    /// Members beyond those that are told one by one.
    members_left_off: usize,
    #[serde(skip)]
    begun_ticks: u64,
}

/// What became of a rebalance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome {
    /// It goes on.
    UnderWay,
    /// Everybody has its assignment.
    Stable,
    /// Nobody was left.
    Empty,
    /// Another one has begun before it ended.
    Superseded,
}

/// A member's part in a rebalance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Part {
    member_id: Arc<str>,
    client_id: Box<str>,
    after_joined_ms: Option<u64>,
    after_synced_ms: Option<u64>,
    /// Why it is gone.
    removed: Option<&'static str>,
}

impl Part {
    fn of(member: &Arc<str>, client_id: &str) -> Self {
        Self {
            member_id: Arc::clone(member),
            client_id: client_id.into(),
            after_joined_ms: None,
            after_synced_ms: None,
            removed: None,
        }
    }
}

impl Rebalance {
    fn begin(event: &Event, cause: Cause, detail: &str, now: Now) -> Self {
        Self {
            begun_ms: now.wall.0,
            cause: cause.name(),
            detail: detail[..detail.floor_char_boundary(DETAIL_MAX)].into(),
            from_generation: event.generation,
            generation: None,
            protocol: None,
            outcome: Outcome::UnderWay,
            after_joined_ms: None,
            after_ended_ms: None,
            members: Vec::new(),
            members_left_off: 0,
            begun_ticks: now.ticks.0,
        }
    }

    fn after(&self, now: Now) -> u64 {
        now.ticks.0.saturating_sub(self.begun_ticks)
    }

    fn end(&mut self, outcome: Outcome, now: Now) {
        self.outcome = outcome;
        self.after_ended_ms = Some(self.after(now));
    }

    /// The member's part; none when there are too many.
    fn part(&mut self, member: &Arc<str>, client_id: &str) -> Option<&mut Part> {
        if let Some(at) = self.members.iter().position(|part| part.member_id == *member) {
            return self.members.get_mut(at);
        }
        if self.members.len() == MEMBERS_MAX {
            return None;
        }
        self.members.push(Part::of(member, client_id));
        self.members.last_mut()
    }
}

impl Group {
    /// The rebalance that goes on.
    fn under_way(&mut self) -> Option<&mut Rebalance> {
        self.rebalances.back_mut().filter(|last| last.outcome == Outcome::UnderWay)
    }

    fn members(&self) -> usize {
        self.gone.len() + self.rebalances.iter().map(|rebalance| rebalance.members.len()).sum::<usize>()
    }

    fn record(&mut self, event: &Event, now: Now) {
        match &event.what {
            Happened::RebalanceBegun { cause, detail } => {
                if let Some(before) = self.under_way() {
                    before.end(Outcome::Superseded, now);
                }
                *self.causes.entry(cause.name()).or_default() += 1;
                let begun = Rebalance::begin(event, *cause, detail, now);
                if self.rebalances.len() == REBALANCES_MAX {
                    self.rebalances.pop_front();
                }
                self.rebalances.push_back(Rebalance { members: std::mem::take(&mut self.gone), ..begun });
            }
            Happened::MemberRemoved { member, client_id, cause } => {
                if let Some(rebalance) = self.under_way() {
                    if let Some(part) = rebalance.part(member, client_id) {
                        part.removed = Some(cause.name());
                    }
                } else if self.gone.len() < MEMBERS_MAX {
                    self.gone.push(Part { removed: Some(cause.name()), ..Part::of(member, client_id) });
                }
            }
            Happened::MemberSynced { member, .. } if self.under_way().is_none() => {
                if let Some(last) = self.rebalances.back_mut() {
                    last.sync_late(member, now);
                }
            }
            what => {
                if let Some(rebalance) = self.under_way() {
                    rebalance.go_on(event, what, now);
                }
            }
        }
    }
}

impl Rebalance {
    /// A member asks for its assignment when the leader's is there already: the group is stable, and that member not yet.
    fn sync_late(&mut self, member: &Arc<str>, now: Now) {
        let after = self.after(now);
        let part = self.members.iter_mut().find(|part| part.member_id == *member);
        if let Some(part) = part.filter(|_| self.outcome == Outcome::Stable) {
            part.after_synced_ms.get_or_insert(after);
        }
    }

    fn go_on(&mut self, event: &Event, what: &Happened, now: Now) {
        let after = self.after(now);
        match what {
            Happened::MemberJoined { member, client_id } => {
                let Some(part) = self.part(member, client_id) else {
                    self.members_left_off += 1;
                    return;
                };
                part.after_joined_ms.get_or_insert(after);
            }
            Happened::GenerationBegun { protocol, .. } => {
                self.generation = Some(event.generation);
                self.protocol = Some(Arc::clone(protocol));
                self.after_joined_ms = Some(after);
            }
            Happened::MemberSynced { member, client_id } => {
                if let Some(part) = self.part(member, client_id) {
                    part.after_synced_ms.get_or_insert(after);
                }
            }
            Happened::Stabilized => {
                self.generation.get_or_insert(event.generation);
                self.end(Outcome::Stable, now);
            }
            Happened::Emptied => {
                self.generation = Some(event.generation);
                self.end(Outcome::Empty, now);
            }
            Happened::RebalanceBegun { .. } | Happened::MemberRemoved { .. } => {}
        }
    }
}

impl FlightRecorder {
    pub(crate) fn record(&self, event: &Event, now: Now) {
        self.0.lock().record(event, now);
    }

    /// The rebalances of a group that are remembered, the oldest first.
    pub(crate) fn rebalances(&self, group: &str) -> Vec<Rebalance> {
        let recorded = self.0.lock();
        recorded.groups.get(group).map(|group| group.rebalances.iter().cloned().collect()).unwrap_or_default()
    }

    /// How often each cause has made each remembered group rebalance, by group.
    pub(crate) fn causes(&self) -> BTreeMap<Arc<str>, BTreeMap<&'static str, u64>> {
        let recorded = self.0.lock();
        recorded.groups.iter().map(|(name, group)| (Arc::clone(name), group.causes.clone())).collect()
    }
}

impl Recorded {
    fn record(&mut self, event: &Event, now: Now) {
        let group = self.groups.entry(Arc::clone(&event.group)).or_default();
        self.by_change.remove(&group.changed);
        self.changes += 1;
        group.changed = self.changes;
        self.by_change.insert(self.changes, Arc::clone(&event.group));
        let before = group.members();
        group.record(event, now);
        self.members = self.members + group.members() - before;
        while self.groups.len() > GROUPS_MAX || (self.members > MEMBERS_ALL_MAX && self.groups.len() > 1) {
            let Some((_, oldest)) = self.by_change.pop_first() else { return };
            if let Some(forgotten) = self.groups.remove(&oldest) {
                self.members -= forgotten.members();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use cairn_groups::Ticks;
    use cairn_protocol::ids::Timestamp;

    use super::*;

    fn at(ms: u64) -> Now {
        Now { wall: Timestamp(1_000_000 + i64::try_from(ms).unwrap()), ticks: Ticks(500 + ms) }
    }

    fn event(group: &str, generation: i32, what: Happened) -> Event {
        Event { group: group.into(), generation, what }
    }

    fn begun(cause: Cause, detail: &str) -> Happened {
        Happened::RebalanceBegun { cause, detail: detail.into() }
    }

    fn joined(member: &str) -> Happened {
        Happened::MemberJoined { member: member.into(), client_id: "client".into() }
    }

    fn synced(member: &str) -> Happened {
        Happened::MemberSynced { member: member.into(), client_id: "client".into() }
    }

    #[test]
    fn a_rebalance_is_told_with_the_time_of_each_member() {
        let recorder = FlightRecorder::default();
        let removed =
            Happened::MemberRemoved { member: "dead".into(), client_id: "gone".into(), cause: Cause::SessionExpired };
        recorder.record(&event("g", 4, removed), at(0));
        recorder.record(&event("g", 4, begun(Cause::SessionExpired, "dead")), at(0));
        recorder.record(&event("g", 4, joined("quick")), at(10));
        recorder.record(&event("g", 4, joined("slow")), at(900));
        let generation = Happened::GenerationBegun { members: 2, protocol: "range".into() };
        recorder.record(&event("g", 5, generation), at(900));
        recorder.record(&event("g", 5, synced("slow")), at(905));
        recorder.record(&event("g", 5, synced("quick")), at(910));
        // It was there before, and needed not join.
        recorder.record(&event("g", 5, synced("calm")), at(911));
        recorder.record(&event("g", 5, joined("late")), at(912));
        recorder.record(&event("g", 5, Happened::Stabilized), at(950));
        // The leader has assigned; and who is of no rebalance that is told is of none that was.
        recorder.record(&event("g", 5, synced("late")), at(960));
        recorder.record(&event("g", 5, synced("stranger")), at(961));

        let told = serde_json::to_value(recorder.rebalances("g")).unwrap();
        let expected = serde_json::json!([{
            "begun_ms": 1_000_000,
            "cause": "session_expired",
            "detail": "dead",
            "from_generation": 4,
            "generation": 5,
            "protocol": "range",
            "outcome": "stable",
            "after_joined_ms": 900,
            "after_ended_ms": 950,
            "members": [
                { "member_id": "dead", "client_id": "gone", "after_joined_ms": null, "after_synced_ms": null, "removed": "session_expired" },
                { "member_id": "quick", "client_id": "client", "after_joined_ms": 10, "after_synced_ms": 910, "removed": null },
                { "member_id": "slow", "client_id": "client", "after_joined_ms": 900, "after_synced_ms": 905, "removed": null },
                { "member_id": "calm", "client_id": "client", "after_joined_ms": null, "after_synced_ms": 911, "removed": null },
                { "member_id": "late", "client_id": "client", "after_joined_ms": 912, "after_synced_ms": 960, "removed": null },
            ],
            "members_left_off": 0,
        }]);
        assert_eq!(told, expected);
        assert_eq!(recorder.causes()["g"], BTreeMap::from([("session_expired", 1)]));
    }

    #[test]
    fn a_rebalance_that_is_overtaken_says_so_and_one_that_goes_on_too() {
        let recorder = FlightRecorder::default();
        recorder.record(&event("g", 1, begun(Cause::Joined, "a")), at(0));
        recorder.record(&event("g", 1, begun(Cause::Left, "b")), at(70));
        let told = recorder.rebalances("g");
        assert_eq!((told[0].outcome, told[0].after_ended_ms), (Outcome::Superseded, Some(70)));
        assert_eq!((told[1].outcome, told[1].after_ended_ms), (Outcome::UnderWay, None));
        recorder.record(&event("g", 2, Happened::Emptied), at(100));
        assert_eq!(recorder.rebalances("g")[1].outcome, Outcome::Empty);
    }

    #[test]
    fn the_last_rebalances_of_the_groups_that_changed_last_are_kept() {
        let recorder = FlightRecorder::default();
        for n in 0..=REBALANCES_MAX {
            recorder.record(&event("busy", i32::try_from(n).unwrap(), begun(Cause::Joined, "")), at(0));
        }
        let kept = recorder.rebalances("busy");
        assert_eq!((kept.len(), kept[0].from_generation), (REBALANCES_MAX, 1), "the first is forgotten");
        for n in 0..GROUPS_MAX {
            recorder.record(&event("busy", 99, joined("m")), at(0));
            recorder.record(&event(&format!("group {n}"), 1, begun(Cause::Joined, "")), at(0));
        }
        assert_eq!(recorder.causes().len(), GROUPS_MAX);
        assert_eq!(recorder.rebalances("group 0"), [], "it has not changed for longest");
        assert_ne!(recorder.rebalances("busy"), []);
    }

    #[test]
    fn members_are_bounded_in_one_rebalance_and_in_all() {
        let recorder = FlightRecorder::default();
        let rebalances = MEMBERS_ALL_MAX / MEMBERS_MAX + 1;
        for n in 0..rebalances {
            let group = format!("group {n}");
            recorder.record(&event(&group, 1, begun(Cause::Joined, "")), at(0));
            for member in 0..=MEMBERS_MAX {
                recorder.record(&event(&group, 1, joined(&format!("member {member}"))), at(0));
            }
        }
        assert_eq!(recorder.rebalances("group 0"), []);
        let last = &recorder.rebalances(&format!("group {}", rebalances - 1))[0];
        assert_eq!((last.members.len(), last.members_left_off), (MEMBERS_MAX, 1));
        let recorded = recorder.0.lock();
        assert_eq!(recorded.members, MEMBERS_ALL_MAX);
        assert_eq!(recorded.members, recorded.groups.values().map(Group::members).sum::<usize>());
    }
}
