//! What has to hold on a random walk of groups of both protocols.
//!
//! Must not know: which steps there are.

use super::*;
use crate::consumer::state::ConsumerGroupState;
use crate::group::Group;

/// As long as everybody may need to be where it is to be, in seconds.
const QUIET_SECONDS: usize = 15 * 60;

impl World {
    pub(super) fn check(&self) {
        for group in self.shard.consumers.values() {
            group.core.check();
            assert!(!self.shard.groups.contains_key(&group.name), "a group has one protocol");
        }
        self.shard.groups.values().for_each(Group::check);
    }

    /// What the log says is what there is.
    pub(super) fn check_reload(&self) {
        let mut again = self.reloaded();
        let _ = again.on_loaded(self.now);
        // One without members whose end was refused by the log is there again, until a classic group has its name.
        let mut others = again.consumers.iter().filter(|(name, _)| !self.shard.consumers.contains_key(*name));
        assert!(others.all(|(_, group)| group.core.is_empty()), "seed {}: there is a group that was gone", self.seed);
        for (name, group) in &self.shard.consumers {
            assert_eq!(again.consumers[name].core, group.core, "seed {}: {name}", self.seed);
        }
        for (name, group) in &self.shard.groups {
            let is_settled = group.state() == GroupState::Stable && group.waiting() == 0;
            if is_settled && self.writing.is_empty() {
                assert_eq!(self.shard.describe(name), again.describe(name), "seed {}: {name}", self.seed);
            }
        }
    }

    fn is_member(&self, client: &Client) -> bool {
        let name = GROUPS[client.group];
        let is_consumer =
            || self.shard.consumers.get(name).is_some_and(|group| group.core.member(&client.member).is_some());
        is_consumer() || self.shard.groups.get(name).is_some_and(|group| group.member(&client.member).is_some())
    }

    /// No two members own one partition, by their own belief.
    pub(super) fn check_owners(&self, group: usize) {
        let mut owners = HashMap::new();
        for (at, client) in self.clients.iter().enumerate().filter(|(_, client)| client.group == group) {
            if !self.is_member(client) {
                continue;
            }
            for partition in client.owned.iter().flat_map(|(topic, all)| all.iter().map(move |index| (*topic, *index)))
            {
                if let Some(other) = owners.insert(partition, at) {
                    panic!(
                        "seed {}: {partition:?} has two owners: {:?} and {client:?}",
                        self.seed, self.clients[other]
                    );
                }
            }
        }
    }

    /// Who is alive does what it should, until everybody is where it is to be.
    pub(super) fn settle(&mut self) {
        let max = self.shard.settings.consumer.members_max;
        let mut instances = BTreeSet::new();
        let mut sizes = [0; 2];
        for client in &mut self.clients {
            // Two clients with one instance would wait for each other for ever, and a full group takes nobody.
            let is_twice = client.instance.clone().is_some_and(|instance| !instances.insert((client.group, instance)));
            client.is_dead |= is_twice || sizes[client.group] >= max;
            sizes[client.group] += usize::from(!client.is_dead);
        }
        for _ in 0..QUIET_SECONDS {
            for at in 0..self.clients.len() {
                if self.clients[at].waiter.is_none() {
                    self.go_on(at);
                }
            }
            while !self.searching.is_empty() {
                self.finish_search(0);
            }
            while !self.assigning.is_empty() {
                self.finish_assignment(0);
            }
            self.make_durable(self.log.len());
            self.pass(1_000);
            self.check();
            if (0..2).all(|group| self.is_settled(group)) {
                return;
            }
        }
        panic!("seed {}: rebalances do not end: {:#?} {:#?}", self.seed, self.shard.consumers, self.clients);
    }

    fn is_settled(&self, group: usize) -> bool {
        let alive: Vec<&Client> =
            self.clients.iter().filter(|client| !client.is_dead && client.group == group).collect();
        let name = GROUPS[group];
        let (is_still, size) = match (self.shard.consumers.get(name), self.shard.groups.get(name)) {
            (Some(group), _) => {
                let state = group.core.state();
                let is_still = matches!(state, ConsumerGroupState::Stable | ConsumerGroupState::Empty);
                (is_still, group.core.size())
            }
            (None, Some(group)) => (matches!(group.state(), GroupState::Stable | GroupState::Empty), group.size()),
            (None, None) => (true, 0),
        };
        is_still
            && size == alive.len()
            && alive.iter().all(|client| client.joined.is_none())
            && self.is_covered(group, &alive)
    }

    /// Whether what members ask for has owners, as they themselves believe.
    fn is_covered(&self, group: usize, alive: &[&Client]) -> bool {
        let wants = |name: &str| {
            alive.iter().any(|client| match name {
                "a" => true,
                "b" => client.both,
                _ => client.regex && client.speaks == Speaks::Consumer,
            })
        };
        let topics = self.topics.topics.iter().filter(|(name, _)| wants(name));
        let all: usize = topics.map(|(_, (_, partitions))| partitions.len()).sum();
        let is_classic = self.shard.groups.contains_key(GROUPS[group]);
        let owned: usize = alive.iter().flat_map(|client| client.owned.values()).map(BTreeSet::len).sum();
        // The leaders of this world give everything, whoever wants it.
        owned == all || (is_classic && owned > 0)
    }
}
