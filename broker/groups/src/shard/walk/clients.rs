//! What clients of a random walk say.
//!
//! Must not know: what has to hold.

use super::*;

impl World {
    pub(super) fn join(&mut self, at: usize) {
        let waiter = self.waiter(at);
        self.ids += 1;
        let client = &self.clients[at];
        let unique = format!("u{}", self.ids);
        let protocol = |name: &&str| Protocol {
            name: (*name).into(),
            metadata: Bytes::from_static(b"\0\0\0\0\0\0\xff\xff\xff\xff"),
        };
        let join = Join {
            version: client.version,
            group: GROUPS[client.group],
            member: &client.member,
            instance: client.instance.as_deref().filter(|_| client.version >= 5),
            client_id: "client",
            client_host: "/127.0.0.1",
            session_timeout_ms: client.session_ms,
            rebalance_timeout_ms: client.rebalance_ms,
            protocol_type: "consumer",
            protocols: client.protocols.iter().map(protocol).collect(),
            reason: None,
            unique: &unique,
        };
        let replaced = client.instance.as_deref().filter(|_| client.version >= 5 && client.member.is_empty());
        let replaced =
            replaced.and_then(|instance| self.shard.groups.get(GROUPS[client.group])?.id_of_instance(instance));
        let replaced = replaced.map(|id| (**id).to_owned());
        let effects = self.shard.join(&join, waiter, self.now);
        let is_there = |id: &str| self.shard.groups[GROUPS[self.clients[at].group]].member(id).is_some();
        self.gone.extend(replaced.filter(|id| !is_there(id)));
        self.carry_out(effects);
        // A static member whose new id could not be written has its old one again.
        let groups = &self.shard.groups;
        self.gone.retain(|id| !groups.values().any(|group| group.member(id).is_some()));
    }

    pub(super) fn sync(&mut self, at: usize) {
        let waiter = self.waiter(at);
        let client = &self.clients[at];
        let members = client.members.clone().unwrap_or_default();
        let mut assignments: Vec<(Box<str>, Vec<u8>)> = members.iter().map(|id| ((**id).into(), Vec::new())).collect();
        if !assignments.is_empty() {
            for partition in 0..PARTITIONS {
                let to = self.dice.index(assignments.len());
                assignments[to].1.push(partition);
            }
        }
        let client = &self.clients[at];
        let sync = Sync {
            group: GROUPS[client.group],
            by: Identity {
                member: &client.member,
                instance: client.instance.as_deref().filter(|_| client.version >= 5),
                generation: client.generation,
            },
            protocol_type: None,
            protocol: None,
            assignments: assignments.into_iter().map(|(id, given)| (id, given.into())).collect(),
        };
        let effects = self.shard.sync(&sync, waiter, self.now);
        self.carry_out(effects);
    }

    pub(super) fn heartbeat(&mut self, at: usize) {
        let client = &self.clients[at];
        let (group, member, instance) = (client.group, client.member.clone(), client.instance.clone());
        let instance = instance.filter(|_| client.version >= 5);
        let by = Identity { member: &member, instance: instance.as_deref(), generation: client.generation };
        match self.shard.heartbeat(GROUPS[group], &by, self.now) {
            Ok(()) => {}
            Err(ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId) => {
                self.forget(at);
                self.clients[at].member.clear();
            }
            Err(ErrorCode::RebalanceInProgress | ErrorCode::IllegalGeneration) => self.forget(at),
            Err(other) => panic!("seed {}: heartbeat was answered {other:?}", self.seed),
        }
    }

    /// Commits as somebody, and checks that only who is a member of the present generation may.
    pub(super) fn commit(&mut self, group: usize, member: &str, instance: Option<&str>, generation: i32) {
        let state = self.shard.describe(GROUPS[group]).map(|group| group.state);
        let partition = PartitionCommit {
            topic: "t",
            topic_id: TopicId::ZERO,
            partition: PartitionIndex(0),
            offset: Offset(i64::from(generation)),
            leader_epoch: -1,
            metadata: "",
        };
        let by = GroupCommit {
            group: GROUPS[group],
            generation,
            member,
            instance,
            retention_ms: -1,
            unknown_group: CommitError::IllegalGeneration,
            version: 9,
        };
        let outcome = self.shard.commit(&Commit { by, partitions: &[partition] }, self.now);
        let is_current = generation == self.generations[group] && !self.gone.contains(member) && !member.is_empty();
        if outcome.results == [Ok(())] {
            assert!(is_current, "seed {}: {member} of generation {generation} is fenced", self.seed);
        } else if is_current && state == Some(GroupState::Stable) {
            let is_member = self.shard.groups[GROUPS[group]].member(member).is_some();
            assert!(!is_member || instance.is_some(), "seed {}: {member} may commit: {outcome:?}", self.seed);
        }
        self.append(outcome.records);
    }

    pub(super) fn leave(&mut self, at: usize) {
        let client = &self.clients[at];
        let (group, member) = (client.group, client.member.clone());
        let instance = client.instance.clone().filter(|_| client.version >= 5);
        let as_admin = instance.is_some() && self.dice.roll(2) == 0;
        let leaver =
            Leaver { member: if as_admin { "" } else { &member }, instance: instance.as_deref(), reason: None };
        let (results, effects) = self.shard.leave(GROUPS[group], &[leaver], self.now);
        assert_eq!(results.len(), 1);
        self.carry_out(effects);
        self.forget(at);
        self.clients[at].member.clear();
    }
}
