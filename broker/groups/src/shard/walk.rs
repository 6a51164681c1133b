//! Random walks: clients that join, die, come back, speak late or as who they were, under a log that is slow, refuses, or
//! is cut by a crash. What must hold holds after every step, and when everybody behaves again, every rebalance ends.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::dice::{Dice, walks};
use super::*;
use crate::commit::{CommitError, GroupCommit, PartitionCommit};
use crate::effects::Then;
use crate::events::Happened;
use crate::join::Join;
use crate::protocols::Protocol;
use crate::replies::{JoinReply, Reply, SyncReply, Waiter};
use crate::sync::{Identity, Leaver, Sync};
use crate::timers::Ticks;
use cairn_protocol::error_code::ErrorCode;
use cairn_protocol::ids::Timestamp;

const GROUPS: [&str; 2] = ["g0", "g1"];
/// What a leader distributes.
const PARTITIONS: u8 = 5;
const STEPS: usize = 400;
const WALKS_DEFAULT: u64 = 100;
/// As long as everybody may need to be in a stable group, in steps of half a second.
const QUIET_STEPS: usize = 2 * 60 * 15;

mod checks;
mod clients;

/// A client as it knows itself.
#[derive(Debug, Default)]
struct Client {
    group: usize,
    version: i16,
    instance: Option<String>,
    protocols: Vec<&'static str>,
    session_ms: i32,
    rebalance_ms: i32,
    member: String,
    generation: i32,
    /// What it has to distribute among, when it leads.
    members: Option<Vec<Arc<str>>>,
    phase: Phase,
    waiter: Option<Waiter>,
    is_dead: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Out,
    Joined,
    Assigned,
}

struct World {
    seed: u64,
    dice: Dice,
    shard: Shard,
    now: Now,
    log: Vec<Record>,
    durable: usize,
    /// Writes that are in the log, and what follows.
    writing: VecDeque<(usize, Then)>,
    clients: Vec<Client>,
    waiters: u64,
    waiting: HashMap<Waiter, usize>,
    ids: u64,
    /// Who owns what in a generation of a group, by instance or member; a group that was deleted begins anew.
    owners: BTreeMap<(usize, u32, i32, u8), String>,
    lives: [u32; 2],
    /// The generation that began last.
    generations: [i32; 2],
    /// Ids that are not members any more.
    gone: HashSet<String>,
    /// Identities of earlier times.
    past: Vec<(usize, String, Option<String>, i32)>,
    rebalances: usize,
    /// Groups whose last record was refused.
    refused: [bool; 2],
}

impl World {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let settings = GroupSettings {
            initial_rebalance_delay_ms: [0, 500, 3_000][dice.index(3)],
            members_max: if dice.roll(4) == 0 { 3 } else { 100 },
            ..GroupSettings::default()
        };
        let kinds: [&[&str]; 4] = [&["range"], &["range", "sticky"], &["sticky", "range"], &["range", "x"]];
        let client = |at: usize, dice: &mut Dice| Client {
            group: at % 2,
            version: [0, 3, 5, 9][dice.index(4)],
            // Two clients may have the same instance: then they fence each other.
            instance: (dice.roll(3) == 0).then(|| format!("i{}", dice.roll(3))),
            protocols: kinds[dice.index(4)].to_vec(),
            session_ms: 6_000 + i32::try_from(dice.roll(4_000)).expect("small"),
            rebalance_ms: 1_000 + i32::try_from(dice.roll(20_000)).expect("small"),
            ..Client::default()
        };
        let clients = (0..8).map(|at| client(at, &mut dice)).collect();
        Self {
            seed,
            dice,
            shard: Shard::with(settings),
            now: Now { wall: Timestamp(1_000_000), ticks: Ticks(0) },
            log: Vec::new(),
            durable: 0,
            writing: VecDeque::new(),
            clients,
            waiters: 0,
            waiting: HashMap::new(),
            ids: 0,
            owners: BTreeMap::new(),
            lives: [0; 2],
            generations: [0; 2],
            gone: HashSet::new(),
            past: Vec::new(),
            rebalances: 0,
            refused: [false; 2],
        }
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
        for event in &effects.events {
            let group = GROUPS.iter().position(|name| *name == &*event.group).expect("a group of this world");
            match &event.what {
                Happened::GenerationBegun { .. } | Happened::Emptied => {
                    assert_eq!(event.generation, self.generations[group] + 1, "generations count up");
                    self.generations[group] = event.generation;
                }
                Happened::MemberRemoved { member, .. } => {
                    self.gone.insert((**member).to_owned());
                }
                Happened::RebalanceBegun { .. } => self.rebalances += 1,
                Happened::MemberJoined { .. } | Happened::MemberSynced { .. } | Happened::Stabilized => {}
            }
        }
        for (waiter, reply) in effects.replies {
            let client = self.waiting.remove(&waiter).expect("each waiter is answered once");
            if client == usize::MAX || self.clients[client].is_dead {
                continue;
            }
            self.clients[client].waiter = None;
            match reply {
                Reply::Join(reply) => self.on_join(client, &reply),
                Reply::Sync(reply) => self.on_sync(client, &reply),
                Reply::Heartbeat(_) => panic!("nobody sends one"),
            }
        }
        for write in effects.writes {
            let key = &write.records[0].key;
            let group = GROUPS.iter().position(|name| key.ends_with(name.as_bytes())).expect("about a group");
            self.refused[group] = self.dice.roll(20) == 0;
            if self.refused[group] {
                let effects = self.shard.on_written(write.then, Err(ErrorCode::CoordinatorNotAvailable), self.now);
                self.carry_out(effects);
                continue;
            }
            self.append(write.records);
            self.writing.push_back((self.log.len(), write.then));
        }
    }

    fn append(&mut self, records: Vec<Record>) {
        if records.is_empty() {
            return;
        }
        let first = Offset(i64::try_from(self.log.len()).expect("short"));
        self.log.extend(records.iter().cloned());
        self.shard.on_appended(first, records);
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

    fn forget(&mut self, at: usize) {
        let client = &mut self.clients[at];
        self.past.push((client.group, client.member.clone(), client.instance.clone(), client.generation));
        (client.phase, client.members) = (Phase::Out, None);
    }

    fn on_join(&mut self, at: usize, reply: &JoinReply) {
        self.forget(at);
        let client = &mut self.clients[at];
        match reply.error {
            ErrorCode::None => {
                client.member = (*reply.member).to_owned();
                client.generation = reply.generation;
                let leads = reply.leader.as_deref() == Some(&client.member) && !reply.skip_assignment;
                client.members = leads.then(|| reply.members.iter().map(|member| Arc::clone(&member.id)).collect());
                client.phase = Phase::Joined;
                let protocol = reply.protocol.as_deref().expect("one was chosen");
                assert!(client.protocols.contains(&protocol), "{protocol} is none of {:?}", client.protocols);
            }
            ErrorCode::MemberIdRequired => client.member = (*reply.member).to_owned(),
            ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId | ErrorCode::GroupMaxSizeReached => {
                client.member.clear();
            }
            ErrorCode::RebalanceInProgress
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::InconsistentGroupProtocol => {}
            other => panic!("seed {}: join was answered {other:?}", self.seed),
        }
    }

    fn on_sync(&mut self, at: usize, reply: &SyncReply) {
        let client = &mut self.clients[at];
        match reply.error {
            ErrorCode::None => {
                client.phase = Phase::Assigned;
                let owner = client.instance.clone().unwrap_or_else(|| client.member.clone());
                for partition in &reply.assignment {
                    let place = (client.group, self.lives[client.group], client.generation, *partition);
                    let before = self.owners.entry(place).or_insert_with(|| owner.clone());
                    assert_eq!(*before, owner, "seed {}: two owners of {place:?}", self.seed);
                }
            }
            ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => {
                self.forget(at);
                self.clients[at].member.clear();
            }
            _ => self.forget(at),
        }
    }

    fn pass(&mut self, ms: u64) {
        self.now.ticks.0 += ms;
        self.now.wall.0 += i64::try_from(ms).expect("small");
        let effects = self.shard.on_time(self.now);
        self.carry_out(effects);
        assert!(self.shard.next_deadline().is_none_or(|next| next > self.now.ticks));
    }

    /// The process dies; what was durable is loaded again.
    fn crash(&mut self) {
        self.log.truncate(self.durable);
        self.writing.clear();
        self.waiting.clear();
        let settings = self.shard.settings;
        self.shard = reload(&self.log, settings);
        self.refused = [false; 2];
        let effects = self.shard.on_loaded(self.now);
        for client in &mut self.clients {
            client.waiter = None;
        }
        for (at, name) in GROUPS.iter().enumerate() {
            // Deleted, and the tombstone was lost: it is the old group again. Not yet written: it never was.
            self.generations[at] = self.shard.groups.get(*name).map_or(0, |group| group.generation);
        }
        let groups = &self.shard.groups;
        self.gone.retain(|id| !groups.values().any(|group| group.member(id).is_some()));
        let all = self.clients.iter().map(|client| client.member.clone());
        let all: Vec<String> = all.chain(self.past.iter().map(|(_, id, ..)| id.clone())).collect();
        self.gone.extend(all.into_iter().filter(|id| !groups.values().any(|group| group.member(id).is_some())));
        self.carry_out(effects);
    }

    fn delete(&mut self, group: usize) {
        match self.shard.delete(GROUPS[group]) {
            Ok(records) => {
                self.append(records);
                // The tombstone is durable before the group's name is used again, so that its generations stay apart.
                self.make_durable(self.log.len());
                self.lives[group] += 1;
                self.generations[group] = 0;
            }
            Err(ErrorCode::NonEmptyGroup) => {
                assert_ne!(self.shard.describe(GROUPS[group]).expect("there").state, GroupState::Empty);
            }
            Err(error) => assert_eq!(error, ErrorCode::GroupIdNotFound),
        }
    }

    fn step(&mut self) {
        let at = self.dice.index(self.clients.len());
        let is_idle = self.clients[at].waiter.is_none() && !self.clients[at].is_dead;
        match self.dice.roll(100) {
            0..30 if is_idle && self.clients[at].phase != Phase::Joined => self.join(at),
            30..32 => self.join(at),
            32..50 if is_idle && self.clients[at].phase == Phase::Joined => self.sync(at),
            50..60 if is_idle && self.clients[at].phase != Phase::Out => self.heartbeat(at),
            60..68 => {
                let client = &self.clients[at];
                let (group, member, generation) = (client.group, client.member.clone(), client.generation);
                let instance = client.instance.clone().filter(|_| client.version >= 5);
                if !member.is_empty() {
                    self.commit(group, &member, instance.as_deref(), generation);
                }
            }
            68..72 if !self.past.is_empty() => {
                let which = self.dice.index(self.past.len());
                let (group, member, instance, generation) = self.past[which].clone();
                if !member.is_empty() {
                    self.commit(group, &member, instance.as_deref(), generation);
                }
            }
            72..74 if is_idle => self.leave(at),
            74..76 => {
                let client = &mut self.clients[at];
                client.is_dead = !client.is_dead;
                client.waiter = None;
                if self.dice.roll(2) == 0 {
                    self.clients[at].member.clear();
                }
                self.clients[at].phase = Phase::Out;
            }
            76..86 => {
                let ms = self.dice.roll(1_500);
                self.pass(ms);
            }
            86..87 => self.pass(9_000),
            87..96 => {
                let up_to = self.durable + self.dice.index(self.log.len() - self.durable + 1);
                self.make_durable(up_to);
            }
            96 => self.crash(),
            97 => self.delete(at % 2),
            _ => {
                let records = self.shard.expire(self.now.wall, 20_000);
                let deleted: Vec<usize> = (0..2)
                    .filter(|at| records.iter().any(|record| record.change == Change::GroupDeleted(GROUPS[*at].into())))
                    .collect();
                self.append(records);
                if !deleted.is_empty() {
                    self.make_durable(self.log.len());
                }
                for at in deleted {
                    self.lives[at] += 1;
                    self.generations[at] = 0;
                }
            }
        }
    }
}

fn reload(log: &[Record], settings: GroupSettings) -> Shard {
    let mut shard = Shard::with(settings);
    for record in log {
        shard.load(&record.key, record.value.as_ref()).expect("what was written reads");
    }
    shard
}

fn walk(seed: u64) -> usize {
    let mut world = World::new(seed);
    for _ in 0..STEPS {
        world.step();
        world.check();
    }
    world.settle();
    world.rebalances
}

#[test]
fn groups_hold_what_they_promise_on_random_walks() {
    let rebalances: usize = walks(WALKS_DEFAULT, walk).into_iter().sum();
    assert!(rebalances > 0, "nothing happened");
}
