//! A member wants to be in the next generation.
//!
//! Must not know: messages of the wire.

use std::sync::Arc;

use cairn_protocol::error_code::ErrorCode;

use crate::effects::{Next, Replacement};
use crate::events::Cause;
use crate::group::{Group, GroupState, Member, distinct};
use crate::protocols::Protocol;
use crate::replies::{JoinReply, Waiter};
use crate::settings::{GroupSettings, NEW_MEMBER_JOIN_TIMEOUT_MS};
use crate::timers::Timer;
use crate::turn::Turn;

/// The first version of JoinGroup whose new members come back with the id that they are given.
const KNOWN_ID_FROM: i16 = 4;
/// The first version whose leader can be told that there is nothing to assign.
const SKIP_ASSIGNMENT_FROM: i16 = 9;
/// The longest name of a client, or of an instance, that goes into a member's id: an id has to fit into a record.
const ID_PREFIX_MAX: usize = 1_024;

/// A JoinGroup.
#[derive(Clone, Debug)]
pub struct Join<'a> {
    /// Its version.
    pub version: i16,
    /// The group.
    pub group: &'a str,
    /// The member's id; empty for a new one.
    pub member: &'a str,
    /// The id of a static member's instance.
    pub instance: Option<&'a str>,
    /// The client's name for itself.
    pub client_id: &'a str,
    /// Where it is, as DescribeGroups shows it.
    pub client_host: &'a str,
    /// How long it may be silent.
    pub session_timeout_ms: i32,
    /// How long it may need to join again.
    pub rebalance_timeout_ms: i32,
    /// What its members have in common.
    pub protocol_type: &'a str,
    /// What it can do, the best first.
    pub protocols: Vec<Protocol>,
    /// Why it joins.
    pub reason: Option<&'a str>,
    /// A text that nobody else has, for the id of a new member.
    pub unique: &'a str,
}

impl Join<'_> {
    /// What is wrong with it by itself.
    pub(crate) fn check(&self, settings: &GroupSettings) -> Result<(), ErrorCode> {
        if self.group.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        let allowed = settings.session_timeout_min_ms..=settings.session_timeout_max_ms;
        if !allowed.contains(&self.session_timeout_ms) {
            return Err(ErrorCode::InvalidSessionTimeout);
        }
        Ok(())
    }

    /// Whether a new member has to come back with the id that it is given.
    pub(crate) fn needs_id(&self) -> bool {
        self.member.is_empty() && self.instance.is_none() && self.version >= KNOWN_ID_FROM
    }

    /// How long it may need to join again; the first version does not say.
    pub(crate) fn rebalance_timeout(&self) -> i32 {
        if self.rebalance_timeout_ms < 0 { self.session_timeout_ms } else { self.rebalance_timeout_ms }
    }

    pub(crate) fn new_id(&self) -> Arc<str> {
        let prefix = self.instance.unwrap_or(self.client_id);
        let end = prefix.floor_char_boundary(ID_PREFIX_MAX);
        format!("{}-{}", &prefix[..end], self.unique).into()
    }

    fn because(&self, what: &str) -> String {
        format!("{what}; client reason: {}", self.reason.unwrap_or("not provided"))
    }
}

/// Whether a group has room for who joins.
fn has_room(group: &Group, member: &str, settings: &GroupSettings) -> bool {
    let joined = group.member(member);
    match group.state() {
        GroupState::Empty => true,
        GroupState::PreparingRebalance => {
            joined.is_some_and(|member| member.join.is_some()) || group.waiting() < settings.members_max
        }
        GroupState::CompletingRebalance | GroupState::Stable => joined.is_some() || group.size() < settings.members_max,
    }
}

impl Turn<'_> {
    pub(crate) fn join(&mut self, join: &Join<'_>, waiter: Waiter) {
        if !has_room(self.group, join.member, self.settings) {
            self.drop_member(join.member, Cause::TooManyMembers);
            return self.reply_join(waiter, JoinReply::refused("", ErrorCode::GroupMaxSizeReached));
        }
        if !self.group.supports(join.protocol_type, &join.protocols) {
            return self.reply_join(waiter, JoinReply::refused(join.member, ErrorCode::InconsistentGroupProtocol));
        }
        if join.member.is_empty() { self.join_new(join, waiter) } else { self.join_known(join, waiter) }
    }

    fn join_new(&mut self, join: &Join<'_>, waiter: Waiter) {
        let id = join.new_id();
        if let Some(instance) = join.instance {
            return match self.group.id_of_instance(instance).cloned() {
                Some(old) => self.replace_static(join, &old, &id, waiter),
                None => self.add_member(join, &id, waiter),
            };
        }
        if join.version < KNOWN_ID_FROM {
            return self.add_member(join, &id, waiter);
        }
        self.group.pending_joins.insert(Arc::clone(&id), Timer::default());
        self.set_session(&id, join.session_timeout_ms);
        self.reply_join(waiter, JoinReply::refused(&id, ErrorCode::MemberIdRequired));
    }

    fn join_known(&mut self, join: &Join<'_>, waiter: Waiter) {
        let id: Arc<str> = join.member.into();
        if self.group.pending_joins.contains_key(&id) {
            if join.instance.is_some() {
                // Ids are given out to dynamic members only.
                return self.reply_join(waiter, JoinReply::refused(&id, ErrorCode::UnknownMemberId));
            }
            return self.add_member(join, &id, waiter);
        }
        if let Err(error) = self.group.check_member(&id, join.instance) {
            return self.reply_join(waiter, JoinReply::refused(&id, error));
        }
        let protocols = distinct(&join.protocols);
        let is_changed = self.group.member(&id).is_some_and(|member| member.protocols != protocols);
        let (cause, what) = match self.group.state() {
            GroupState::Empty => {
                return self.reply_join(waiter, JoinReply::refused(&id, ErrorCode::UnknownMemberId));
            }
            GroupState::Stable if self.group.is_leader(&id) => (Cause::LeaderRejoined, "leader joins again"),
            // It has not heard the answer, and gets it again.
            GroupState::CompletingRebalance | GroupState::Stable if !is_changed => {
                let again = self.joined(&id);
                return self.reply_join(waiter, again);
            }
            _ => (Cause::MetadataChanged, "member joins again"),
        };
        self.group.update(&id, &protocols, join.session_timeout_ms, join.rebalance_timeout_ms);
        self.await_join(&id, waiter);
        self.rebalance_or_go_on(cause, &join.because(&format!("{what}: {id}")), &id);
    }

    fn add_member(&mut self, join: &Join<'_>, id: &Arc<str>, waiter: Waiter) {
        let member = Member {
            instance: join.instance.map(Into::into),
            client_id: join.client_id.into(),
            client_host: join.client_host.into(),
            session_timeout_ms: join.session_timeout_ms,
            rebalance_timeout_ms: join.rebalance_timeout_ms,
            protocols: distinct(&join.protocols),
            assignment: bytes::Bytes::new(),
            join: Some(waiter),
            sync: None,
            is_new: true,
            session: Timer::default(),
        };
        if self.group.is_first_rebalance() {
            self.group.new_member_added = true;
        }
        self.group.add(Arc::clone(id), join.protocol_type, member);
        self.set_session(id, NEW_MEMBER_JOIN_TIMEOUT_MS);
        self.rebalance_or_go_on(Cause::Joined, &join.because(&format!("new member: {id}")), id);
    }

    /// A static member has come back without its id: it takes over from the one that it was.
    fn replace_static(&mut self, join: &Join<'_>, old_id: &Arc<str>, new_id: &Arc<str>, waiter: Waiter) {
        let instance: Arc<str> = join.instance.unwrap_or_default().into();
        let old_leader = self.group.leader.clone();
        self.take_over(&instance, old_id, new_id);
        let Some(member) = self.group.member(new_id) else { return };
        let replacement = Replacement {
            group: Arc::clone(&self.group.name),
            instance,
            waiter,
            old_id: Arc::clone(old_id),
            new_id: Arc::clone(new_id),
            old_protocols: member.protocols.clone(),
            old_session_timeout_ms: member.session_timeout_ms,
            old_rebalance_timeout_ms: member.rebalance_timeout_ms,
            old_leader,
            can_skip_assignment: join.version >= SKIP_ASSIGNMENT_FROM,
        };
        let protocols = distinct(&join.protocols);
        self.group.update(new_id, &protocols, join.session_timeout_ms, join.rebalance_timeout_ms);
        self.await_join(new_id, waiter);
        let detail = join.because(&format!("static member {old_id} is now {new_id}"));
        match self.group.state() {
            GroupState::Stable if self.group.vote() == self.group.protocol => {
                self.write(None, Next::Replaced(Box::new(replacement)));
            }
            _ => self.rebalance_or_go_on(Cause::StaticMemberReplaced, &detail, new_id),
        }
    }

    /// Gives a static member another id, and tells who used the old one that it is fenced.
    fn take_over(&mut self, instance: &str, old: &Arc<str>, new: &Arc<str>) {
        self.finish_join(old, JoinReply::refused(old, ErrorCode::FencedInstanceId));
        let sync = self.group.member_mut(old).and_then(|member| member.sync.take());
        if let Some(waiter) = sync {
            self.reply_sync(waiter, crate::SyncReply::refused(ErrorCode::FencedInstanceId));
        }
        self.group.rename(instance, old, Arc::clone(new));
        self.renew_session(new);
    }

    /// That a static member has another id is durable, or will not be.
    pub(crate) fn on_replaced(&mut self, replacement: Replacement, written: Result<(), ErrorCode>) {
        let Replacement { instance, waiter, old_id, new_id, old_leader, .. } = replacement;
        let still_waits = self.group.member(&new_id).is_some_and(|member| member.join == Some(waiter));
        if !still_waits {
            return;
        }
        if let Err(error) = written {
            let reply = JoinReply { error, leader: old_leader, members: Vec::new(), ..self.joined(&"".into()) };
            self.finish_join(&new_id, reply);
            let (session_ms, rebalance_ms) = (replacement.old_session_timeout_ms, replacement.old_rebalance_timeout_ms);
            self.group.update(&new_id, &replacement.old_protocols, session_ms, rebalance_ms);
            self.take_over(&instance, &new_id, &old_id);
            return;
        }
        let joined = self.joined(&new_id);
        let reply = if replacement.can_skip_assignment {
            JoinReply { skip_assignment: self.group.is_leader(&new_id), ..joined }
        } else {
            // It is told who led before it came, so that it does not assign: nothing has changed for the others.
            JoinReply { leader: old_leader, members: Vec::new(), ..joined }
        };
        self.finish_join(&new_id, reply);
    }

    /// A group that did not exist is durable, or will not be: then its first member is told, if it waits.
    pub(crate) fn on_created(&mut self, waiter: Waiter, written: Result<(), ErrorCode>) {
        let Err(error) = written else { return };
        let waiting = self.group.members().find(|(_, member)| member.join == Some(waiter));
        if let Some(id) = waiting.map(|(id, _)| Arc::clone(id)) {
            self.finish_join(&id, JoinReply::refused("", error));
        }
    }
}
