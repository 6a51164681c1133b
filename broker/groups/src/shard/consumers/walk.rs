//! Random walks of groups whose members speak either protocol: they come, own, give up, commit, go, die, and come back as
//! who they were, while answers are lost, topics change, and the log is slow, refuses, or is cut by a crash.
//!
//! What must hold, after every step: no two members believe that they own one partition; nothing is committed by who is not
//! a member at its epoch; what the log says is what there is. When everybody behaves again, every rebalance ends, and all
//! partitions have an owner.

use std::collections::{BTreeSet, HashMap, VecDeque};

use cairn_protocol::ids::{Offset, PartitionIndex, Timestamp, TopicId};

use super::super::dice::{Dice, walks};
use super::*;
use crate::consumer::assignment::Partitions;
use crate::consumer::settings::INLINE_WORK_MAX;
use crate::consumer::target::Assigning;
use crate::consumer::topics::tests::Fixed;
use crate::effects::{Split, Then};
use crate::join::Join;
use crate::settings::GroupSettings;
use crate::sync::{Identity, Leaver, Sync};
use crate::timers::Ticks;

mod checks;
mod clients;

use clients::{Client, Said, Speaks};

const GROUPS: [&str; 2] = ["g0", "g1"];
const STEPS: usize = 300;
const WALKS_DEFAULT: u64 = 120;

struct World {
    seed: u64,
    dice: Dice,
    shard: Shard,
    now: Now,
    topics: Fixed,
    topics_made: u128,
    log: Vec<Record>,
    /// Where batches end: each is in the log as a whole, or not at all.
    ends: Vec<usize>,
    durable: usize,
    writing: VecDeque<(usize, Then)>,
    clients: Vec<Client>,
    waiters: u64,
    waiting: HashMap<Waiter, usize>,
    /// Heartbeats whose regular expressions are being looked for.
    searching: Vec<(Waiter, Said, Search)>,
    /// Assignments that are being worked out.
    assigning: Vec<Assigning>,
    /// Identities of earlier times: group, member, epoch.
    past: Vec<(usize, String, i32)>,
    ids: u64,
    seen: Seen,
}

/// What a walk has come by: a test that never sees it shows nothing.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// How often members were given something.
    given: usize,
    /// How often a classic group has become a consumer group.
    migrated: usize,
    /// How often an assignment was taken that was worked out elsewhere.
    taken: usize,
    /// How often the group had changed meanwhile, and took it nevertheless.
    overtaken: usize,
    /// How often it came too late for its group.
    dropped: usize,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let consumer = ConsumerSettings {
            assignment_interval_ms: [0, 1_000][dice.index(2)],
            // Half of the walks work out nothing together with the heartbeat.
            inline_work_max: [0, INLINE_WORK_MAX][dice.index(2)],
            members_max: if dice.roll(4) == 0 { 4 } else { 100 },
            ..ConsumerSettings::default()
        };
        let settings = GroupSettings { initial_rebalance_delay_ms: 500, consumer, ..GroupSettings::default() };
        let mixed = dice.roll(3) > 0;
        let client = |at: usize, dice: &mut Dice| Client {
            group: at % 2,
            speaks: if mixed && dice.roll(2) == 0 { Speaks::Classic } else { Speaks::Consumer },
            member: format!("c{at}-0"),
            // Two clients may have the same instance: then one has to wait for the other.
            instance: (dice.roll(4) == 0).then(|| format!("i{}", dice.roll(2))),
            regex: dice.roll(4) == 0,
            both: dice.roll(3) == 0,
            range: dice.roll(3) == 0,
            rebalance_ms: 2_000 + i32::try_from(dice.roll(20_000)).expect("small"),
            ..Client::default()
        };
        let clients = (0..8).map(|at| client(at, &mut dice)).collect();
        let topics = Fixed::default().with("a", 1, 4).with("b", 2, 3);
        let mut world = Self {
            seed,
            dice,
            shard: Shard::with(settings),
            now: Now { wall: Timestamp(1_000_000), ticks: Ticks(0) },
            topics,
            topics_made: 2,
            log: Vec::new(),
            ends: Vec::new(),
            durable: 0,
            writing: VecDeque::new(),
            clients,
            waiters: 0,
            waiting: HashMap::new(),
            searching: Vec::new(),
            assigning: Vec::new(),
            past: Vec::new(),
            ids: 0,
            seen: Seen::default(),
        };
        world.shard.on_topics(Arc::new(world.topics.clone()));
        world
    }

    fn waiter(&mut self, client: usize) -> Waiter {
        self.waiters += 1;
        let waiter = Waiter(self.waiters);
        // A client that asks again has given up its earlier connection.
        if let Some(earlier) = self.clients[client].waiter.replace(waiter) {
            self.waiting.insert(earlier, usize::MAX);
        }
        self.waiting.insert(waiter, client);
        waiter
    }

    fn carry_out(&mut self, effects: Effects) {
        for (waiter, reply) in effects.replies {
            let client = self.waiting.remove(&waiter).expect("each waiter is answered once");
            if client == usize::MAX || self.clients[client].is_dead {
                continue;
            }
            self.clients[client].waiter = None;
            if self.dice.roll(15) == 0 {
                self.lose(client);
            } else {
                self.hear(client, reply);
            }
        }
        self.assigning.extend(effects.assignments);
        for write in effects.writes {
            self.write(write);
        }
    }

    /// Appends what may be split in one part or in several; the log may refuse each.
    fn write(&mut self, write: Write) {
        let Write { records, split, then } = write;
        let mut rest = records;
        while !rest.is_empty() {
            let len = if split == Split::BetweenRecords { 1 + self.dice.index(rest.len()) } else { rest.len() };
            let after = rest.split_off(len);
            if self.dice.roll(25) == 0 {
                let effects = self.shard.on_written(then, Err(ErrorCode::CoordinatorNotAvailable), self.now);
                return self.carry_out(effects);
            }
            self.append(std::mem::replace(&mut rest, after));
        }
        self.writing.push_back((self.log.len(), then));
    }

    /// An assignment is there; or it is lost, because the thread that was at it has failed, which may not even be known.
    fn finish_assignment(&mut self, at: usize) {
        let assigning = self.assigning.swap_remove(at);
        match self.dice.roll(20) {
            0 => return,
            1 => return self.shard.on_not_assigned(&assigning.failed(), self.now),
            _ => {}
        }
        let (name, epoch) = (Arc::clone(&assigning.group), assigning.core.group.epoch);
        let is_overtaken = self.shard.consumers.get(&name).is_some_and(|group| group.core.group.epoch > epoch);
        let effects = self.shard.on_assigned(assigning.run(), self.now);
        let is_taken = !effects.writes.is_empty();
        self.seen.taken += usize::from(is_taken);
        self.seen.overtaken += usize::from(is_taken && is_overtaken);
        self.seen.dropped += usize::from(!is_taken);
        self.carry_out(effects);
    }

    fn append(&mut self, records: Vec<Record>) {
        if records.is_empty() {
            return;
        }
        let first = Offset(i64::try_from(self.log.len()).expect("short"));
        self.log.extend(records.iter().cloned());
        self.ends.push(self.log.len());
        let was_classic = GROUPS.map(|name| self.shard.groups.contains_key(name));
        self.shard.on_appended(first, records);
        for (name, was_classic) in GROUPS.iter().zip(was_classic) {
            let is_consumer = self.shard.consumers.contains_key(*name);
            let is_classic = self.shard.groups.contains_key(*name);
            self.seen.migrated += usize::from(was_classic && is_consumer && !is_classic);
        }
    }

    fn make_durable(&mut self, up_to: usize) {
        self.durable = self.durable.max(up_to);
        self.shard.on_committed(Offset(i64::try_from(self.durable).expect("short")));
        while self.writing.front().is_some_and(|(end, _)| *end <= self.durable) {
            let (_, then) = self.writing.pop_front().expect("seen");
            let effects = self.shard.on_written(then, Ok(()), self.now);
            self.carry_out(effects);
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now.ticks.0 += ms;
        self.now.wall.0 += i64::try_from(ms).expect("small");
        let effects = self.shard.on_time(self.now);
        self.carry_out(effects);
    }

    /// The process dies; what was durable is read again.
    fn crash(&mut self) {
        self.log.truncate(self.durable);
        self.ends.retain(|end| *end <= self.durable);
        self.writing.clear();
        self.waiting.clear();
        self.searching.clear();
        self.assigning.clear();
        self.clients.iter_mut().for_each(|client| client.waiter = None);
        self.shard = self.reloaded();
        self.shard.on_topics(Arc::new(self.topics.clone()));
        let effects = self.shard.on_loaded(self.now);
        self.carry_out(effects);
    }

    fn reloaded(&self) -> Shard {
        let mut shard = Shard::with(self.shard.settings);
        for record in &self.log {
            shard.load(&record.key, record.value.as_ref()).expect("what was written reads");
        }
        shard
    }

    fn change_topics(&mut self) {
        self.topics_made += 1;
        match self.dice.roll(4) {
            0 if self.topics.topics["a"].1.len() < 8 => {
                let partitions = self.topics.topics["a"].1.len() + 1;
                self.topics.set("a", 1, partitions);
            }
            1 => self.topics.remove("x-1"),
            _ => {
                let partitions = 1 + self.dice.index(3);
                let id = self.topics_made;
                self.topics.set("x-1", id, partitions);
            }
        }
        self.shard.on_topics(Arc::new(self.topics.clone()));
    }

    fn delete(&mut self, group: usize) {
        let records = if self.dice.roll(2) == 0 {
            self.shard.expire(self.now.wall, 20_000)
        } else {
            self.shard.delete(GROUPS[group]).unwrap_or_default()
        };
        self.append(records);
    }

    fn step(&mut self) {
        let at = self.dice.index(self.clients.len());
        let is_idle = self.clients[at].waiter.is_none() && !self.clients[at].is_dead;
        match self.dice.roll(104) {
            0..55 if is_idle => self.go_on(at),
            55..57 => self.go_on(at),
            57..63 => self.commit_as_itself(at),
            63..66 if !self.past.is_empty() => self.commit_as_before(),
            66..68 if is_idle => self.leave(at),
            68..70 => self.die_or_rise(at),
            70..80 => {
                let ms = self.dice.roll(1_500);
                self.pass(ms);
            }
            80 => self.pass(9_000),
            81 => self.pass(20_000),
            82..93 => {
                let open: Vec<usize> = self.ends.iter().copied().filter(|end| *end > self.durable).collect();
                let up_to = self.dice.index(open.len() + 1);
                self.make_durable(up_to.checked_sub(1).map_or(self.durable, |at| open[at]));
            }
            93 => self.crash(),
            94 => self.delete(at % 2),
            95..97 => self.change_topics(),
            97..99 if !self.searching.is_empty() => {
                let which = self.dice.index(self.searching.len());
                self.finish_search(which);
            }
            // Somebody wants something else from now on.
            99 if is_idle => self.change_mind(at),
            100..104 if !self.assigning.is_empty() => {
                let which = self.dice.index(self.assigning.len());
                self.finish_assignment(which);
            }
            _ => {}
        }
    }
}

fn walk(seed: u64) -> Seen {
    let mut world = World::new(seed);
    for step in 0..STEPS {
        world.step();
        world.check();
        if step % 8 == 0 {
            world.check_reload();
        }
    }
    world.check_reload();
    world.settle();
    world.check_reload();
    world.seen
}

#[test]
fn groups_of_both_protocols_hold_what_they_promise_on_random_walks() {
    let seen = walks(WALKS_DEFAULT, walk);
    let is_one = seen.len() == 1;
    let mut all = Seen::default();
    seen.into_iter().for_each(|seen| all.add(seen));
    assert!(all.given > 0, "nothing happened");
    let Seen { migrated, taken, overtaken, dropped, .. } = all;
    assert!(migrated > 0 || is_one, "no group went from one protocol to the other");
    assert!([taken, overtaken, dropped].iter().all(|times| *times > 0) || is_one, "{all:?}");
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.given += other.given;
        self.migrated += other.migrated;
        self.taken += other.taken;
        self.overtaken += other.overtaken;
        self.dropped += other.dropped;
    }
}
