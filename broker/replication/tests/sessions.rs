//! Whoever is fenced for silence has given up before: leases and sessions over clocks that drift, heartbeats that take their
//! time, and leaders of the quorum that do not know yet that they lead no more.

use cairn_metadata::BrokerEpoch;
use cairn_protocol::ids::BrokerId;
use cairn_replication::{Heartbeat, Lease, Sessions, Ticks, WhyExpired};
use dice::Dice;

#[path = "walk/dice.rs"]
mod dice;

const SESSION_MS: u64 = 9_000;
const BROKER: BrokerId = BrokerId(1);
const INCARNATION: BrokerEpoch = BrokerEpoch(7);
/// How many nodes of the quorum there are: each leads now and then.
const NODES: u8 = 3;

/// What a walk does wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrong {
    Nothing,
    /// A node that leads again goes on with what it had heard when it led before.
    OldSessions,
    /// A heartbeat is answered by whoever believes to lead.
    Unconfirmed,
    /// It is answered by who leads, although somebody else has led since it was heard.
    AnyTerm,
    /// The lease begins when the answer comes.
    LateLease,
}

/// A clock that began somewhere and is up to a tenth too fast or too slow.
#[derive(Clone, Copy, Debug)]
struct Clock {
    began: u64,
    permille: u64,
}

impl Clock {
    fn draw(dice: &mut Dice) -> Self {
        Self { began: u64::from(dice.roll(1_000_000)), permille: 900 + u64::from(dice.roll(201)) }
    }

    fn read(self, time: u64) -> Ticks {
        Ticks(self.began + time * self.permille / 1_000)
    }
}

/// Something on its way.
#[derive(Clone, Copy, Debug)]
enum Message {
    Heartbeat {
        to: u8,
        sent: Ticks,
    },
    /// Taken in, and not confirmed yet.
    Granted {
        by: u8,
        term: u32,
        sent: Ticks,
    },
    Answer {
        sent: Ticks,
    },
}

/// A node of the quorum.
struct Node {
    clock: Clock,
    /// Since it led last, and in which term that was.
    sessions: Option<(Sessions, u32)>,
}

struct World {
    wrong: Wrong,
    time: u64,
    clock: Clock,
    lease: Lease,
    is_fenced: bool,
    nodes: Vec<Node>,
    leader: u8,
    term: u32,
    messages: Vec<Message>,
    fencings: u32,
}

impl World {
    fn new(wrong: Wrong, dice: &mut Dice) -> Self {
        let nodes = (0..NODES).map(|_| Node { clock: Clock::draw(dice), sessions: None }).collect();
        let (clock, lease) = (Clock::draw(dice), Lease::of_session(SESSION_MS));
        let (messages, is_fenced) = (Vec::new(), false);
        let mut world =
            Self { wrong, time: 0, clock, lease, is_fenced, nodes, leader: 0, term: 0, messages, fencings: 0 };
        world.lead(0);
        world
    }

    fn lead(&mut self, node: u8) {
        (self.leader, self.term) = (node, self.term + 1);
        let Node { clock, sessions } = &mut self.nodes[usize::from(node)];
        if let (Wrong::OldSessions, Some((_, term))) = (self.wrong, &mut *sessions) {
            *term = self.term;
            return;
        }
        let serving = (!self.is_fenced).then_some((BROKER, INCARNATION));
        *sessions = Some((Sessions::take_office(SESSION_MS, serving, clock.read(self.time)), self.term));
    }

    /// One thing happens. Whether somebody was fenced who still believes to serve.
    fn step(&mut self, dice: &mut Dice) -> bool {
        let any = dice.small(NODES);
        match dice.small(10) {
            0 | 1 => self.time += u64::from(dice.roll(2_500)),
            2 => self.lead(any),
            // The broker believes in some node or other.
            3 | 4 => {
                let to = if dice.small(2) == 0 { self.leader } else { any };
                self.messages.push(Message::Heartbeat { to, sent: self.clock.read(self.time) });
            }
            5..=8 if !self.messages.is_empty() => {
                let at = dice.roll(u32::try_from(self.messages.len()).expect("few"));
                let message = self.messages.swap_remove(usize::try_from(at).expect("few"));
                self.deliver(message);
            }
            9 => self.fence(),
            _ => {}
        }
        // An answer that comes late must not change it either.
        self.is_fenced && self.lease.holds(self.clock.read(self.time))
    }

    fn deliver(&mut self, message: Message) {
        let now = self.time;
        match message {
            Message::Heartbeat { to, sent } => {
                let Node { clock, sessions: Some((sessions, term)) } = &mut self.nodes[usize::from(to)] else { return };
                if sessions.on_heartbeat(BROKER, INCARNATION, clock.read(now)) == Heartbeat::Granted {
                    self.messages.push(Message::Granted { by: to, term: *term, sent });
                }
            }
            Message::Granted { by, term, sent } => {
                let leads = by == self.leader || self.wrong == Wrong::Unconfirmed;
                let since = term == self.term || matches!(self.wrong, Wrong::AnyTerm | Wrong::Unconfirmed);
                if leads && since {
                    self.messages.push(Message::Answer { sent });
                }
            }
            Message::Answer { sent } => {
                let from = if self.wrong == Wrong::LateLease { self.clock.read(now) } else { sent };
                self.lease.on_heartbeat_answered(from);
            }
        }
    }

    /// Whoever leads fences who is silent. Nobody else's word is decided.
    fn fence(&mut self) {
        let Node { clock, sessions } = &mut self.nodes[usize::from(self.leader)];
        let (sessions, _) = sessions.as_mut().expect("leads");
        let Some(gone) = sessions.expired(clock.read(self.time)).next() else { return };
        assert_eq!((gone.broker, gone.incarnation, gone.why), (BROKER, INCARNATION, WhyExpired::Silent));
        sessions.on_fenced(BROKER, INCARNATION);
        self.is_fenced = true;
        self.fencings += 1;
    }
}

/// How many walks fence somebody, up to the first that does so too early.
fn walks(wrong: Wrong, count: u64) -> Result<u32, u64> {
    let mut fencings = 0;
    for seed in 0..count {
        let mut dice = Dice(seed);
        let mut world = World::new(wrong, &mut dice);
        for _ in 0..400 {
            if world.step(&mut dice) {
                return Err(seed);
            }
        }
        fencings += world.fencings;
    }
    Ok(fencings)
}

#[test]
fn nobody_is_fenced_for_silence_who_holds_a_lease() {
    let fencings = walks(Wrong::Nothing, 20_000).unwrap_or_else(|seed| panic!("walk {seed}"));
    assert!(fencings > 2_000, "only {fencings} were fenced");
}

#[test]
fn each_precaution_is_needed() {
    for wrong in [Wrong::OldSessions, Wrong::Unconfirmed, Wrong::AnyTerm, Wrong::LateLease] {
        let found = walks(wrong, 20_000);
        println!("{wrong:?}: {found:?}");
        assert!(found.is_err(), "{wrong:?} was not found");
    }
}
