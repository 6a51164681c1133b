//! Clients of a random walk: what they believe, and what they say.
//!
//! Must not know: what the coordinator believes.

use bytes::Bytes;
use cairn_protocol::codec::Message;
use cairn_protocol::messages::consumer_protocol_assignment::TopicPartition;
use cairn_protocol::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};

use super::*;
use crate::commit::{Commit, CommitError, GroupCommit, PartitionCommit};
use crate::consumer::classic_bytes_for_tests::given_ids;
use crate::consumer::heartbeat::HeartbeatReply;
use crate::protocols::Protocol;

/// The protocol that a client speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Speaks {
    #[default]
    Consumer,
    Classic,
}

/// A client as it knows itself.
#[derive(Debug, Default)]
pub(super) struct Client {
    pub(super) group: usize,
    pub(super) speaks: Speaks,
    pub(super) member: String,
    pub(super) instance: Option<String>,
    pub(super) regex: bool,
    pub(super) both: bool,
    pub(super) range: bool,
    pub(super) rebalance_ms: i32,
    /// Its epoch or generation; 0 when it is not in the group.
    pub(super) epoch: i32,
    /// What it believes to own.
    pub(super) owned: Partitions,
    /// A member of the classic protocol that has joined, and whom it leads.
    pub(super) joined: Option<Vec<Arc<str>>>,
    pub(super) waiter: Option<Waiter>,
    /// It says everything the next time: an answer was lost.
    pub(super) is_full: bool,
    pub(super) is_dead: bool,
}

/// A heartbeat on its way.
pub(super) struct Said {
    group: &'static str,
    member: String,
    epoch: i32,
    instance: Option<String>,
    rebalance_ms: i32,
    topics: Option<Vec<&'static str>>,
    regex: Option<&'static str>,
    assignor: Option<&'static str>,
    owned: Option<Partitions>,
}

impl Said {
    fn heartbeat(&self) -> ConsumerHeartbeat<'_> {
        ConsumerHeartbeat {
            version: 1,
            group: self.group,
            member: &self.member,
            epoch: self.epoch,
            instance: self.instance.as_deref(),
            rack: None,
            rebalance_timeout_ms: self.rebalance_ms,
            topics: self.topics.clone(),
            regex: self.regex,
            assignor: self.assignor,
            owned: self.owned.clone(),
            client_id: "client",
            client_host: "/127.0.0.1",
            unique: "never used",
        }
    }
}

impl World {
    /// An answer does not reach a client: it asks again.
    pub(super) fn lose(&mut self, at: usize) {
        let client = &mut self.clients[at];
        client.is_full = true;
        if client.speaks == Speaks::Classic {
            client.joined = None;
            client.epoch = 0;
            client.owned.clear();
        }
    }

    /// A client that is not in the group any more owns nothing, and begins anew.
    pub(super) fn forget(&mut self, at: usize) {
        let client = &mut self.clients[at];
        self.past.push((client.group, client.member.clone(), client.epoch));
        (client.epoch, client.joined) = (0, None);
        client.owned.clear();
    }

    /// Does what a client does next.
    pub(super) fn go_on(&mut self, at: usize) {
        if self.clients[at].is_dead {
            return;
        }
        match self.clients[at].speaks {
            Speaks::Consumer => self.heartbeat(at, None),
            Speaks::Classic if self.clients[at].joined.is_some() => self.sync(at),
            Speaks::Classic if self.clients[at].epoch == 0 => self.join(at),
            Speaks::Classic => self.classic_heartbeat(at),
        }
    }

    fn heartbeat(&mut self, at: usize, leaving: Option<i32>) {
        let waiter = self.waiter(at);
        let quietly = self.dice.roll(4) == 0;
        let client = &mut self.clients[at];
        let is_full = client.epoch == 0 || client.is_full;
        client.is_full = false;
        let topics = if client.both { vec!["a", "b"] } else { vec!["a"] };
        let said = Said {
            group: GROUPS[client.group],
            member: client.member.clone(),
            epoch: leaving.unwrap_or(client.epoch),
            instance: client.instance.clone(),
            rebalance_ms: if is_full { client.rebalance_ms } else { -1 },
            topics: is_full.then_some(topics),
            // Who may want something else asks for it when it says everything.
            regex: is_full.then_some(if client.regex { "x-.*" } else { "" }),
            assignor: client.range.then_some("range").filter(|_| is_full),
            owned: (is_full || !quietly).then(|| client.owned.clone()),
        };
        match self.shard.search(&said.heartbeat(), self.now) {
            Some(search) if self.dice.roll(2) == 0 => self.searching.push((waiter, said, search)),
            search => self.decide(waiter, &said, search),
        }
    }

    fn decide(&mut self, waiter: Waiter, said: &Said, search: Option<Search>) {
        let found = search.map(Search::run).unwrap_or_default();
        let effects = self.shard.consumer_heartbeat(&said.heartbeat(), &found, waiter, self.now);
        self.carry_out(effects);
    }

    /// A search is over. Whose client has not waited for it is not heard any more.
    pub(super) fn finish_search(&mut self, at: usize) {
        let (waiter, said, search) = self.searching.swap_remove(at);
        let client = self.waiting[&waiter];
        if client == usize::MAX || self.clients[client].waiter != Some(waiter) {
            self.waiting.remove(&waiter);
            return;
        }
        self.decide(waiter, &said, Some(search));
    }

    fn join(&mut self, at: usize) {
        let waiter = self.waiter(at);
        self.ids += 1;
        let client = &mut self.clients[at];
        // It has given up everything before: it is of the eager kind.
        client.owned.clear();
        let topics = if client.both { vec!["a".into(), "b".into()] } else { vec!["a".into()] };
        let said = ConsumerProtocolSubscription { topics, ..ConsumerProtocolSubscription::default() };
        let protocols = vec![Protocol { name: "range".into(), metadata: said.to_prefixed_bytes(1, 1).expect("short") }];
        let unique = format!("u{}", self.ids);
        let join = Join {
            version: 5,
            group: GROUPS[client.group],
            member: &client.member,
            instance: client.instance.as_deref(),
            client_id: "client",
            client_host: "/127.0.0.1",
            session_timeout_ms: 10_000,
            rebalance_timeout_ms: client.rebalance_ms,
            protocol_type: "consumer",
            protocols,
            reason: None,
            unique: &unique,
        };
        let effects = self.shard.join(&join, waiter, self.now);
        self.carry_out(effects);
    }

    fn sync(&mut self, at: usize) {
        let waiter = self.waiter(at);
        let client = &self.clients[at];
        let members = client.joined.clone().unwrap_or_default();
        let sync = Sync {
            group: GROUPS[client.group],
            by: Identity { member: &client.member, instance: client.instance.as_deref(), generation: client.epoch },
            protocol_type: Some("consumer"),
            protocol: Some("range"),
            assignments: self.distribute(&members),
        };
        let effects = self.shard.sync(&sync, waiter, self.now);
        self.carry_out(effects);
    }

    /// What a leader of a classic group gives: all of `a` and `b`, one partition after the other.
    fn distribute(&self, members: &[Arc<str>]) -> Vec<(Box<str>, Bytes)> {
        let mut given: Vec<Vec<(&str, i32)>> = vec![Vec::new(); members.len()];
        let all = ["a", "b"].into_iter().flat_map(|name| {
            let count = self.topics.topics.get(name).map_or(0, |(_, partitions)| partitions.len());
            (0..i32::try_from(count).expect("few")).map(move |index| (name, index))
        });
        for (at, partition) in all.enumerate().filter(|_| !members.is_empty()) {
            given[at % members.len()].push(partition);
        }
        let bytes = |given: Vec<(&str, i32)>| {
            let topic = |name: &str| TopicPartition {
                topic: name.into(),
                partitions: given.iter().filter(|(of, _)| *of == name).map(|(_, index)| *index).collect(),
            };
            let assigned_partitions = vec![topic("a"), topic("b")];
            let assignment = ConsumerProtocolAssignment { assigned_partitions, user_data: None };
            assignment.to_prefixed_bytes(1, 1).expect("short")
        };
        members.iter().zip(given).map(|(id, given)| ((**id).into(), bytes(given))).collect()
    }

    fn classic_heartbeat(&mut self, at: usize) {
        let client = &self.clients[at];
        let by = Identity { member: &client.member, instance: client.instance.as_deref(), generation: client.epoch };
        match self.shard.heartbeat(GROUPS[client.group], &by, self.now) {
            Ok(()) => {}
            Err(ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId) => {
                self.forget(at);
                self.clients[at].member.clear();
            }
            Err(ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration) => self.forget(at),
            Err(other) => panic!("seed {}: heartbeat was answered {other:?}", self.seed),
        }
    }

    /// A client is told something.
    pub(super) fn hear(&mut self, at: usize, reply: Reply) {
        match reply {
            Reply::Heartbeat(reply) => self.hear_heartbeat(at, reply),
            Reply::Join(reply) => match reply.error {
                ErrorCode::None => {
                    let client = &mut self.clients[at];
                    (client.member, client.epoch) = ((*reply.member).to_owned(), reply.generation);
                    client.joined = Some(reply.members.iter().map(|member| Arc::clone(&member.id)).collect());
                }
                ErrorCode::MemberIdRequired => self.clients[at].member = (*reply.member).to_owned(),
                ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId | ErrorCode::GroupMaxSizeReached => {
                    self.forget(at);
                    self.clients[at].member.clear();
                }
                ErrorCode::RebalanceInProgress | ErrorCode::CoordinatorNotAvailable => self.forget(at),
                other => panic!("seed {}: join was answered {other:?}", self.seed),
            },
            Reply::Sync(reply) => match reply.error {
                ErrorCode::None => {
                    let assignment = given_ids(&reply.assignment, &self.topics);
                    self.clients[at].joined = None;
                    self.own(at, assignment);
                }
                ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => {
                    self.forget(at);
                    self.clients[at].member.clear();
                }
                _ => self.forget(at),
            },
        }
    }

    fn hear_heartbeat(&mut self, at: usize, reply: HeartbeatReply) {
        match reply.error {
            ErrorCode::None if reply.epoch < 0 => {
                self.forget(at);
                self.rename(at);
            }
            ErrorCode::None => {
                self.clients[at].epoch = reply.epoch;
                if let Some(assignment) = reply.assignment {
                    self.own(at, assignment);
                }
            }
            ErrorCode::CoordinatorNotAvailable | ErrorCode::CoordinatorLoadInProgress => {
                self.clients[at].is_full = true;
            }
            ErrorCode::FencedMemberEpoch => self.forget(at),
            ErrorCode::UnknownMemberId
            | ErrorCode::FencedInstanceId
            | ErrorCode::GroupIdNotFound
            | ErrorCode::UnreleasedInstanceId
            | ErrorCode::GroupMaxSizeReached => {
                self.forget(at);
                self.rename(at);
            }
            other => panic!("seed {}: heartbeat was answered {other:?}", self.seed),
        }
    }

    fn rename(&mut self, at: usize) {
        self.ids += 1;
        self.clients[at].member = format!("c{at}-{}", self.ids);
    }

    /// A client gives up what it is not to have, and takes the rest: nobody else who is in the group may have it then.
    fn own(&mut self, at: usize, assignment: Partitions) {
        self.seen.given += 1;
        self.clients[at].owned = assignment;
        self.check_owners(self.clients[at].group);
    }

    pub(super) fn leave(&mut self, at: usize) {
        let client = &self.clients[at];
        if client.epoch == 0 || client.member.is_empty() {
            return;
        }
        let (group, member, instance) = (GROUPS[client.group], client.member.clone(), client.instance.clone());
        if client.speaks == Speaks::Consumer {
            let leaving = if instance.is_some() && self.dice.roll(2) == 0 { -2 } else { -1 };
            // Who leaves has given up everything.
            self.clients[at].owned.clear();
            return self.heartbeat(at, Some(leaving));
        }
        let leaver = Leaver { member: &member, instance: instance.as_deref(), reason: None };
        let (_, effects) = self.shard.leave(group, &[leaver], self.now);
        self.carry_out(effects);
        self.forget(at);
        self.clients[at].member.clear();
    }

    /// A client stops, or goes on: as who it was, or anew.
    pub(super) fn die_or_rise(&mut self, at: usize) {
        let is_anew = self.dice.roll(2) == 0;
        let client = &mut self.clients[at];
        client.is_dead = !client.is_dead;
        client.waiter = None;
        if !client.is_dead && is_anew {
            self.forget(at);
            match self.clients[at].speaks {
                Speaks::Consumer => self.rename(at),
                Speaks::Classic => self.clients[at].member.clear(),
            }
        }
    }

    /// A member of the new protocol asks for something else: topics, or a regular expression.
    pub(super) fn change_mind(&mut self, at: usize) {
        let which = self.dice.roll(2);
        let client = &mut self.clients[at];
        if client.speaks == Speaks::Consumer {
            match which {
                0 => client.regex = !client.regex,
                _ => client.both = !client.both,
            }
            client.is_full = true;
        }
    }

    pub(super) fn commit_as_itself(&mut self, at: usize) {
        let client = &self.clients[at];
        let (group, member, epoch) = (client.group, client.member.clone(), client.epoch);
        self.commit(group, &member, epoch);
    }

    pub(super) fn commit_as_before(&mut self) {
        let which = self.dice.index(self.past.len());
        let (group, member, epoch) = self.past[which].clone();
        self.commit(group, &member, epoch);
    }

    /// Commits as somebody, and checks that only who is a member may, for what it has had since that epoch.
    fn commit(&mut self, group: usize, member: &str, epoch: i32) {
        if member.is_empty() || epoch <= 0 {
            return;
        }
        let index = PartitionIndex(i32::try_from(self.dice.roll(4)).expect("small"));
        let partition = PartitionCommit {
            topic: "a",
            topic_id: TopicId::ZERO,
            partition: index,
            offset: Offset(1),
            leader_epoch: -1,
            metadata: "",
        };
        let by = GroupCommit {
            group: GROUPS[group],
            generation: epoch,
            member,
            instance: None,
            retention_ms: -1,
            unknown_group: CommitError::GroupIdNotFound,
            version: 9,
        };
        let known = self.shard.consumers.get(GROUPS[group]).map(|group| group.core.member(member).cloned());
        let outcome = self.shard.commit(&Commit { by, partitions: &[partition] }, self.now);
        if let (Some(known), [Ok(())]) = (known, &outcome.results[..]) {
            let current = known.expect("who is not a member may not commit").current;
            let topic = self.topics.topics["a"].0;
            let since =
                [&current.assigned, &current.revoking].into_iter().find_map(|held| held.get(&topic)?.get(&index));
            assert!(epoch <= current.epoch, "seed {}: an epoch of the future", self.seed);
            assert!(epoch == current.epoch || since.is_some_and(|since| *since <= epoch), "seed {}", self.seed);
        }
        self.append(outcome.records);
    }
}
