//! A group with members: who is in it, what all of them know, and in which state it is.
//!
//! ```text
//!   Empty --join--> PreparingRebalance --all joined, or time over--> CompletingRebalance --assignment durable--> Stable
//!     ^                |   ^   ^                                           |                                    |  ^  |
//!     +--nobody left---+   |   +----------------somebody comes or goes----+                                    +--+  |
//!                          +--------------------somebody comes or goes----------------------------------------------+
//! ```
//!
//! What moves it from one state to the next is in `crate::rebalance` and beside it. Must not know: requests, records, time.

mod member;
mod subscription;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::Timestamp;

use crate::protocols::Protocol;
use crate::replies::JoinedMember;
use crate::timers::Timer;

pub(crate) use member::{Member, distinct};
pub(crate) use subscription::CONSUMER;

/// What a group is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupState {
    /// It has no members; it may have offsets.
    Empty,
    /// Members have to join.
    PreparingRebalance,
    /// All have joined, and wait for the leader's assignment.
    CompletingRebalance,
    /// Everybody has its assignment.
    Stable,
}

impl GroupState {
    /// Kafka's name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

/// What the timer of a group that waits for members stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum JoinPhase {
    /// The first members of a group that was empty: further ones may be on their way.
    Initial { delay_ms: i32, remaining_ms: i32 },
    /// The members that there were have so long to join again.
    Rejoining,
}

/// A group with members, or one that had some.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) name: Arc<str>,
    state: GroupState,
    previous: GroupState,
    /// When it came into its state; none where an old record does not say.
    pub(crate) since: Option<Timestamp>,
    /// What its members have in common; none before the first one.
    pub(crate) protocol_type: Option<Arc<str>>,
    /// What was chosen for this generation.
    pub(crate) protocol: Option<Arc<str>>,
    pub(crate) generation: i32,
    pub(crate) leader: Option<Arc<str>>,
    members: BTreeMap<Arc<str>, Member>,
    /// The members with an instance id.
    by_instance: BTreeMap<Arc<str>, Arc<str>>,
    /// Ids that were given out and not used yet.
    pub(crate) pending_joins: BTreeMap<Arc<str>, Timer>,
    /// Members of this generation that have not asked for their assignment yet.
    pub(crate) pending_syncs: BTreeSet<Arc<str>>,
    /// How many members know each protocol.
    supported: BTreeMap<Arc<str>, usize>,
    /// Members that have joined and wait.
    waiting: usize,
    /// What its members subscribe to, where that can be told.
    subscribed: Option<BTreeSet<Box<str>>>,
    /// A further member came while the first ones wait.
    pub(crate) new_member_added: bool,
    /// The assignment of this generation is being written. A second one from the leader, which may have lost its
    /// connection and be another process by now, does not count: only one can be in force.
    pub(crate) is_assigned: bool,
    pub(crate) join_phase: JoinPhase,
    pub(crate) join_timer: Timer,
    pub(crate) sync_timer: Timer,
}

impl Group {
    /// A group without members.
    pub(crate) fn new(name: Arc<str>, since: Timestamp) -> Self {
        Self {
            name,
            state: GroupState::Empty,
            previous: GroupState::Empty,
            since: Some(since),
            protocol_type: None,
            protocol: None,
            generation: 0,
            leader: None,
            members: BTreeMap::new(),
            by_instance: BTreeMap::new(),
            pending_joins: BTreeMap::new(),
            pending_syncs: BTreeSet::new(),
            supported: BTreeMap::new(),
            waiting: 0,
            subscribed: None,
            new_member_added: false,
            is_assigned: false,
            join_phase: JoinPhase::Rejoining,
            join_timer: Timer::default(),
            sync_timer: Timer::default(),
        }
    }

    pub(crate) fn state(&self) -> GroupState {
        self.state
    }

    /// Whether it was empty before it began to rebalance.
    pub(crate) fn is_first_rebalance(&self) -> bool {
        self.state == GroupState::PreparingRebalance && self.previous == GroupState::Empty
    }

    /// Goes from one state to another.
    ///
    /// # Panics
    /// When the one does not lead to the other.
    pub(crate) fn enter(&mut self, next: GroupState, at: Timestamp) {
        use GroupState::{CompletingRebalance, Empty, PreparingRebalance, Stable};
        let leads = match next {
            PreparingRebalance => self.state != PreparingRebalance,
            Empty | CompletingRebalance => self.state == PreparingRebalance,
            Stable => self.state == CompletingRebalance,
        };
        assert!(leads, "group {} goes from {:?} to {next:?}", self.name, self.state);
        self.previous = self.state;
        self.state = next;
        self.since = Some(at);
    }

    /// What a record says it is.
    pub(crate) fn set_loaded(&mut self) {
        self.state = if self.members.is_empty() { GroupState::Empty } else { GroupState::Stable };
        self.subscribed = self.find_subscribed();
    }

    pub(crate) fn members(&self) -> impl Iterator<Item = (&Arc<str>, &Member)> {
        self.members.iter()
    }

    pub(crate) fn size(&self) -> usize {
        self.members.len()
    }

    pub(crate) fn members_mut(&mut self) -> impl Iterator<Item = (&Arc<str>, &mut Member)> {
        self.members.iter_mut()
    }

    pub(crate) fn member_ids(&self) -> Vec<Arc<str>> {
        self.members.keys().cloned().collect()
    }

    pub(crate) fn member(&self, id: &str) -> Option<&Member> {
        self.members.get(id)
    }

    /// A member with the group's own copy of its id.
    pub(crate) fn member_with_id(&self, id: &str) -> Option<(&Arc<str>, &Member)> {
        self.members.get_key_value(id)
    }

    /// Not for what the group counts: whether it waits, and what it knows.
    pub(crate) fn member_mut(&mut self, id: &str) -> Option<&mut Member> {
        self.members.get_mut(id)
    }

    pub(crate) fn id_of_instance(&self, instance: &str) -> Option<&Arc<str>> {
        self.by_instance.get(instance)
    }

    /// Checks who speaks: a static member by both its ids.
    pub(crate) fn check_member(&self, id: &str, instance: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance) = instance {
            match self.by_instance.get(instance) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(existing) if **existing != *id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(id) { Ok(()) } else { Err(ErrorCode::UnknownMemberId) }
    }

    /// Adds a member, which may wait for the others already. None of its ids may be there.
    pub(crate) fn add(&mut self, id: Arc<str>, protocol_type: &str, member: Member) {
        if let Some(instance) = &member.instance {
            let before = self.by_instance.insert(Arc::clone(instance), Arc::clone(&id));
            assert!(before.is_none(), "{instance} is a member already");
        }
        if self.members.is_empty() {
            self.protocol_type = Some(protocol_type.into());
        }
        self.leader.get_or_insert_with(|| Arc::clone(&id));
        self.pending_joins.remove(&id);
        self.waiting += usize::from(member.join.is_some());
        self.count_protocols(&member.protocols, 1);
        let before = self.members.insert(id, member);
        assert!(before.is_none(), "a member is added once");
    }

    /// Takes a member, or an id that was only given out, away. Who waited for it has to be answered by the caller.
    pub(crate) fn remove(&mut self, id: &str) -> Option<Member> {
        let removed = self.members.remove(id);
        if let Some(member) = &removed {
            self.waiting -= usize::from(member.join.is_some());
            self.count_protocols(&member.protocols, -1);
            if let Some(instance) = &member.instance {
                self.by_instance.remove(instance);
            }
        }
        if self.is_leader(id) {
            self.leader = self.members.keys().next().cloned();
        }
        self.pending_joins.remove(id);
        self.pending_syncs.remove(id);
        removed
    }

    /// A static member gets another id. Who waited for the old one has to be answered by the caller before.
    pub(crate) fn rename(&mut self, instance: &str, old: &str, new: Arc<str>) {
        let mut member = self.members.remove(old).expect("a static member is a member");
        self.waiting -= usize::from(member.join.take().is_some());
        member.sync = None;
        member.is_new = false;
        member.session = Timer::default();
        self.members.insert(Arc::clone(&new), member);
        if self.pending_syncs.remove(old) {
            self.pending_syncs.insert(Arc::clone(&new));
        }
        if self.is_leader(old) {
            self.leader = Some(Arc::clone(&new));
        }
        self.by_instance.insert(instance.into(), new);
    }

    /// What a member that joins again says.
    pub(crate) fn update(&mut self, id: &str, protocols: &[Protocol], session_ms: i32, rebalance_ms: i32) {
        let Some(member) = self.members.get_mut(id) else { return };
        (member.session_timeout_ms, member.rebalance_timeout_ms) = (session_ms, rebalance_ms);
        let old = std::mem::replace(&mut member.protocols, protocols.to_vec());
        self.count_protocols(&old, -1);
        self.count_protocols(protocols, 1);
    }

    /// A member waits for the others, or no longer; gives who waited before.
    pub(crate) fn set_joining(&mut self, id: &str, waiter: Option<crate::Waiter>) -> Option<crate::Waiter> {
        let member = self.members.get_mut(id)?;
        let before = std::mem::replace(&mut member.join, waiter);
        self.waiting += usize::from(waiter.is_some());
        self.waiting -= usize::from(before.is_some());
        before
    }

    pub(crate) fn is_leader(&self, id: &str) -> bool {
        self.leader.as_deref() == Some(id)
    }

    /// How many members wait for the others.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting
    }

    pub(crate) fn have_all_joined(&self) -> bool {
        self.waiting == self.members.len() && self.pending_joins.is_empty()
    }

    /// How long members have to join again: as long as the slowest says it needs.
    pub(crate) fn rebalance_timeout_ms(&self) -> i32 {
        self.members.values().map(|member| member.rebalance_timeout_ms).fold(0, i32::max)
    }

    /// Sees to it that who leads is there; false when none of the members is.
    pub(crate) fn elect_leader(&mut self) -> bool {
        let Some(leader) = &self.leader else { return false };
        if self.members.get(leader).is_some_and(|leader| leader.join.is_some()) {
            return true;
        }
        let Some((id, _)) = self.members.iter().find(|(_, member)| member.join.is_some()) else { return false };
        self.leader = Some(Arc::clone(id));
        true
    }

    /// Whether a member with these protocols can be in it: there has to be one that all know.
    pub(crate) fn supports(&self, protocol_type: &str, protocols: &[Protocol]) -> bool {
        if self.state == GroupState::Empty {
            return !protocol_type.is_empty() && !protocols.is_empty();
        }
        let known_by = |protocol: &Protocol| self.supported.get(&protocol.name).copied().unwrap_or(0);
        self.protocol_type.as_deref() == Some(protocol_type)
            && protocols.iter().any(|protocol| known_by(protocol) == self.members.len())
    }

    /// The protocol with the most votes: each member votes for its best one of those that all know. Between equals the
    /// leader's wish counts.
    pub(crate) fn vote(&self) -> Option<Arc<str>> {
        let is_candidate = |protocol: &&Protocol| self.supported.get(&protocol.name) == Some(&self.members.len());
        let mut votes: BTreeMap<&Arc<str>, usize> = BTreeMap::new();
        for member in self.members.values() {
            let choice = member.protocols.iter().find(is_candidate)?;
            *votes.entry(&choice.name).or_default() += 1;
        }
        let most = votes.values().max()?;
        let leader = self.leader.as_ref().and_then(|leader| self.members.get(leader));
        let deciding = leader.or_else(|| self.members.values().next())?;
        let chosen = deciding.protocols.iter().find(|protocol| votes.get(&protocol.name) == Some(most));
        chosen.map(|protocol| Arc::clone(&protocol.name))
    }

    /// Begins the next generation with the members that there are.
    pub(crate) fn begin_generation(&mut self, at: Timestamp) {
        self.generation = self.generation.checked_add(1).unwrap_or(0);
        self.protocol = self.vote();
        self.subscribed = self.find_subscribed();
        self.pending_syncs.clear();
        self.is_assigned = false;
        let next = if self.members.is_empty() { GroupState::Empty } else { GroupState::CompletingRebalance };
        self.enter(next, at);
    }

    /// All members with what they said to the chosen protocol.
    pub(crate) fn joined_members(&self) -> Vec<JoinedMember> {
        let joined = |(id, member): (&Arc<str>, &Member)| JoinedMember {
            id: Arc::clone(id),
            instance: member.instance.clone(),
            metadata: self.metadata_of(member),
        };
        self.members.iter().map(joined).collect()
    }

    /// What a member said to the chosen protocol.
    pub(crate) fn metadata_of(&self, member: &Member) -> Bytes {
        self.protocol.as_ref().map_or_else(Bytes::new, |protocol| member.metadata(protocol))
    }

    pub(crate) fn is_consumer(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// Whether what its members subscribe to can be told.
    pub(crate) fn knows_subscribed(&self) -> bool {
        self.subscribed.is_some()
    }

    /// Whether a topic is in use. Consumers whose subscription does not read may use any.
    pub(crate) fn is_subscribed(&self, topic: &str) -> bool {
        self.subscribed.as_ref().map_or_else(|| self.is_consumer(), |topics| topics.contains(topic))
    }

    fn find_subscribed(&self) -> Option<BTreeSet<Box<str>>> {
        if !self.is_consumer() {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol.as_ref()?;
        let mut all = BTreeSet::new();
        for member in self.members.values() {
            all.extend(subscription::topics(&member.metadata(protocol))?);
        }
        Some(all)
    }

    fn count_protocols(&mut self, protocols: &[Protocol], by: isize) {
        for protocol in protocols {
            let count = self.supported.entry(Arc::clone(&protocol.name)).or_default();
            *count = count.checked_add_signed(by).expect("a protocol is counted for each member");
            if *count == 0 {
                self.supported.remove(&protocol.name);
            }
        }
    }

    /// What has to hold at any time.
    #[cfg(test)]
    pub(crate) fn check(&self) {
        let waiting = self.members.values().filter(|member| member.join.is_some()).count();
        assert_eq!(self.waiting, waiting);
        let by_instance: BTreeMap<_, _> =
            self.members.iter().filter_map(|(id, member)| Some((member.instance.clone()?, Arc::clone(id)))).collect();
        assert_eq!(self.by_instance, by_instance);
        let mut supported = BTreeMap::new();
        for protocol in self.members.values().flat_map(|member| &member.protocols) {
            *supported.entry(Arc::clone(&protocol.name)).or_default() += 1;
        }
        assert_eq!(self.supported, supported);
        assert_eq!(self.leader.is_some(), !self.members.is_empty());
        assert!(self.leader.as_ref().is_none_or(|leader| self.members.contains_key(leader)));
        assert!(self.pending_syncs.iter().all(|id| self.members.contains_key(id)));
        assert!(self.pending_joins.keys().all(|id| !self.members.contains_key(id)));
        let is_waited_for = self.members.values().any(|member| member.sync.is_some());
        match self.state {
            GroupState::Empty => assert!(self.members.is_empty() && !self.join_timer.is_set()),
            GroupState::PreparingRebalance => {
                assert!(self.join_timer.is_set() && !self.sync_timer.is_set() && !is_waited_for);
            }
            GroupState::CompletingRebalance => {
                assert!(!self.members.is_empty() && waiting == 0 && !self.join_timer.is_set());
            }
            GroupState::Stable => {
                assert!(!self.members.is_empty() && !self.join_timer.is_set() && !is_waited_for);
                assert!(self.protocol.is_some());
            }
        }
        if self.state != GroupState::Empty && !self.pending_syncs.is_empty() {
            assert!(self.sync_timer.is_set(), "who does not ask is taken for gone");
        }
    }
}
