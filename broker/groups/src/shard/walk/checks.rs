//! What has to hold on a random walk: after every step, and when everybody behaves again.
//!
//! Must not know: which steps there are.

use super::*;

impl World {
    pub(super) fn check(&self) {
        for group in self.shard.groups.values() {
            group.check();
        }
        let is_waiting = |waiter: Option<Waiter>| waiter.is_none_or(|waiter| self.waiting.contains_key(&waiter));
        for (_, member) in self.shard.groups.values().flat_map(Group::members) {
            assert!(is_waiting(member.join) && is_waiting(member.sync), "who waits has not been answered");
        }
        if self.durable == self.log.len() {
            self.check_reload();
        }
    }

    /// What the log says is what there is, but for groups that are on their way to their next record.
    fn check_reload(&self) {
        let reloaded = reload(&self.log, self.shard.settings);
        for (at, name) in GROUPS.into_iter().enumerate() {
            let offsets = |shard: &Shard| -> Vec<_> {
                let all = shard.fetch_all(name).flat_map(|(_, partitions)| partitions);
                all.map(|(partition, committed)| (partition, committed.clone())).collect()
            };
            assert_eq!(offsets(&self.shard), offsets(&reloaded));
            let (live, stored) = (self.shard.describe(name), reloaded.describe(name));
            let Some(live) = live else {
                assert_eq!(stored, None, "{name} is gone");
                continue;
            };
            if live.state == GroupState::Stable
                && !self.shard.groups[name].members().any(|(_, member)| member.join.is_some())
            {
                assert_eq!(Some(live), stored, "{name}");
                let (live, stored) = (&self.shard.groups[name], &reloaded.groups[name]);
                assert_eq!((&live.leader, live.generation), (&stored.leader, stored.generation));
                let timeouts = |group: &Group| -> Vec<_> {
                    group.members().map(|(_, m)| (m.session_timeout_ms, m.rebalance_timeout_ms)).collect()
                };
                assert_eq!(timeouts(live), timeouts(stored));
            } else if live.state == GroupState::Empty && !self.refused[at] {
                // Where its record was refused, the log still has members, until their sessions end.
                assert_eq!(Some(live), stored, "{name}");
            }
        }
    }

    /// Who is alive does what it should, until everybody is in a stable group.
    pub(super) fn settle(&mut self) {
        let max = self.shard.settings.members_max;
        let mut instances = HashSet::new();
        let mut sizes = [0; 2];
        for client in &mut self.clients {
            // Two clients with one instance would fence each other for ever, and a full group takes nobody.
            let is_twice = client
                .instance
                .clone()
                .is_some_and(|instance| client.version >= 5 && !instances.insert((client.group, instance)));
            client.is_dead |= is_twice || sizes[client.group] >= max;
            sizes[client.group] += usize::from(!client.is_dead);
        }
        for _ in 0..QUIET_STEPS {
            for at in 0..self.clients.len() {
                let client = &self.clients[at];
                if client.is_dead || client.waiter.is_some() {
                    continue;
                }
                match client.phase {
                    Phase::Out => self.join(at),
                    Phase::Joined => self.sync(at),
                    Phase::Assigned => self.heartbeat(at),
                }
            }
            self.make_durable(self.log.len());
            self.pass(500);
            self.check();
            if self.is_settled() {
                return self.check_settled();
            }
        }
        panic!("seed {}: rebalances do not end: {:?} {:?}", self.seed, self.shard.groups, self.clients);
    }

    fn is_settled(&self) -> bool {
        let alive = || self.clients.iter().filter(|client| !client.is_dead);
        let size = |group: usize| alive().filter(|client| client.group == group).count();
        let is_done = |at: usize| match self.shard.groups.get(GROUPS[at]) {
            None => size(at) == 0,
            Some(group) => group.size() == size(at) && matches!(group.state(), GroupState::Stable | GroupState::Empty),
        };
        (0..2).all(is_done)
            && alive()
                .all(|client| client.phase == Phase::Assigned && client.generation == self.generations[client.group])
    }

    fn check_settled(&self) {
        for (at, name) in GROUPS.iter().enumerate() {
            let Some(group) = self.shard.groups.get(*name).filter(|group| group.size() > 0) else { continue };
            let all: Vec<u8> = group.members().flat_map(|(_, member)| member.assignment.to_vec()).collect();
            let distinct: BTreeSet<u8> = all.iter().copied().collect();
            assert_eq!((all.len(), distinct.len()), (usize::from(PARTITIONS), usize::from(PARTITIONS)), "group {at}");
        }
        assert!(self.waiting.values().all(|client| *client == usize::MAX || self.clients[*client].is_dead));
    }
}
