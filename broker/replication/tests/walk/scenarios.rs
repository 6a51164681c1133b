//! Written histories for rules that walks find missing only rarely, or never: each ends well with all rules, and badly without
//! the one that it is about.
//!
//! Must not know: chance.

use cairn_metadata::BrokerEpoch;
use cairn_replication::Rule;

use crate::action::{Action, Crash};
use crate::check::{Strictness, Violation};
use crate::world::{Message, Mode, Rules, World};

/// A world and what is done in it.
struct Script(World);

impl Script {
    fn new(mode: Mode, rules: Rules) -> Self {
        Self(World::new(mode, rules))
    }

    fn go(&mut self, action: Action) -> Result<&mut Self, Violation> {
        self.0.step(action)?;
        self.0.check(Strictness::Loss)?;
        Ok(self)
    }

    /// A push of everything that comes next arrives. Its answer is under way.
    fn push(&mut self, from: u8, to: u8) -> Result<&mut Self, Violation> {
        self.go(Action::Push { from, to, records: 2 })?;
        let slot = self.slot(|message| matches!(message, Message::Push { .. }));
        self.go(Action::Deliver { slot })
    }

    /// The newest message that is like this arrives.
    fn deliver(&mut self, is_it: fn(&Message) -> bool) -> Result<&mut Self, Violation> {
        let slot = self.slot(is_it);
        self.go(Action::Deliver { slot })
    }

    /// A proposal is made, decided, and its outcome heard.
    fn add(&mut self, at: u8, follower: u8) -> Result<&mut Self, Violation> {
        self.go(Action::Add { at, follower })?.decided()
    }

    fn remove(&mut self, at: u8, follower: u8) -> Result<&mut Self, Violation> {
        self.go(Action::Remove { at, follower })?.decided()
    }

    fn decided(&mut self) -> Result<&mut Self, Violation> {
        self.deliver(is_proposal)?.deliver(is_outcome)
    }

    fn sees(&mut self, at: u8) -> Result<&mut Self, Violation> {
        self.go(Action::Metadata { at, ahead: u8::MAX })
    }

    fn comes_back(&mut self, at: u8) -> Result<&mut Self, Violation> {
        self.go(Action::Restart { at, behind: 0 })?.go(Action::Unfence { at })
    }

    fn slot(&self, is_it: impl Fn(&Message) -> bool) -> u8 {
        let slot = self.0.network.iter().rposition(is_it);
        u8::try_from(slot.unwrap_or_else(|| panic!("no such message: {:?}", self.0.network))).expect("few messages")
    }
}

fn is_proposal(message: &Message) -> bool {
    matches!(message, Message::Proposal(_))
}

fn is_outcome(message: &Message) -> bool {
    matches!(message, Message::Outcome { .. })
}

fn is_ack(message: &Message) -> bool {
    matches!(message, Message::Ack { .. })
}

fn is_push(message: &Message) -> bool {
    matches!(message, Message::Push { .. })
}

fn without(rules: &[Rule]) -> Rules {
    let all = Rules::default();
    Rules { replica: rules.iter().fold(all.replica, |rules, rule| rules.without(*rule)), ..all }
}

/// Broker 0 pushes x to 2, whose ack is slow. 1 leads, 0 has y of it instead of x. 0 leads again, and now the ack comes.
fn an_ack_of_an_older_epoch(rules: Rules) -> Result<World, Violation> {
    let mut script = Script::new(Mode::Wipe, rules);
    script.go(Action::Append { at: 0 })?.push(0, 2)?;
    script.go(Action::Fence { at: 0 })?.sees(1)?.sees(0)?.go(Action::Unfence { at: 0 })?.sees(1)?;
    script.go(Action::Append { at: 1 })?.push(1, 0)?.deliver(is_ack)?.add(1, 0)?;
    script.go(Action::Fence { at: 1 })?.sees(0)?;
    script.deliver(is_ack)?;
    Ok(script.0)
}

#[test]
fn acks_count_in_their_own_epoch_only() {
    let world = an_ack_of_an_older_epoch(Rules::default()).expect("nothing is lost");
    assert_eq!(world.committed.len(), 0);
    let without = an_ack_of_an_older_epoch(without(&[Rule::AckOfThisEpoch]));
    assert_eq!(without.err(), Some(Violation::CandidateLacks));
}

/// Broker 2 has x, and is not in sync. Its disk is replaced; an ack of before arrives, and it is proposed.
fn an_ack_of_a_former_incarnation(rules: Rules) -> Result<World, Violation> {
    let mut script = Script::new(Mode::Wipe, rules);
    script.go(Action::Append { at: 0 })?.push(0, 1)?.deliver(is_ack)?.push(0, 2)?.go(Action::Duplicate { slot: 0 })?;
    assert_eq!(script.0.committed.len(), 1);
    script.go(Action::Crash { at: 2, with: Crash::Disk, lost: 0 })?.comes_back(2)?.sees(0)?;
    script.deliver(is_ack)?.go(Action::Add { at: 0, follower: 2 })?;
    if script.0.node(0).replica.open_proposal().is_some() {
        script.decided()?;
    }
    Ok(script.0)
}

#[test]
fn acks_count_for_their_own_incarnation_only() {
    let world = an_ack_of_a_former_incarnation(Rules::default()).expect("nothing is lost");
    assert_eq!((world.committed.len(), world.partition.isr.len()), (1, 2));
    let without = an_ack_of_a_former_incarnation(without(&[Rule::AckOfThisIncarnation]));
    assert_eq!(without.err(), Some(Violation::CandidateLacks));
}

/// Broker 2 has proven to have x. Its disk is replaced, and it is proposed.
fn a_match_of_a_former_incarnation(rules: Rules) -> Result<World, Violation> {
    let mut script = Script::new(Mode::Wipe, rules);
    script.go(Action::Append { at: 0 })?.push(0, 1)?.deliver(is_ack)?.push(0, 2)?.deliver(is_ack)?;
    assert_eq!(script.0.committed.len(), 1);
    script.go(Action::Crash { at: 2, with: Crash::Disk, lost: 0 })?.comes_back(2)?.sees(0)?;
    script.go(Action::Add { at: 0, follower: 2 })?;
    if script.0.node(0).replica.open_proposal().is_some() {
        script.decided()?;
    }
    Ok(script.0)
}

#[test]
fn what_a_former_incarnation_had_is_forgotten() {
    let world = a_match_of_a_former_incarnation(Rules::default()).expect("nothing is lost");
    assert_eq!((world.committed.len(), world.partition.isr.len()), (1, 2));
    let without = a_match_of_a_former_incarnation(without(&[Rule::ForgetFormerIncarnation]));
    assert_eq!(without.err(), Some(Violation::CandidateLacks));
}

/// Broker 0 believes to lead with 2 alone in sync, and has sent it x. 2 leads by now, has put 1 in sync, and its disk is
/// replaced: 1 leads, without x. The empty 2 knows of no leader yet, and gets the push.
fn a_push_to_a_former_incarnation(rules: Rules) -> Result<World, Violation> {
    let mut script = Script::new(Mode::Wipe, rules);
    script.remove(0, 1)?.go(Action::Append { at: 0 })?.go(Action::Push { from: 0, to: 2, records: 1 })?;
    script.go(Action::Fence { at: 0 })?.sees(2)?.sees(1)?;
    let (from, to) = (2, 1);
    script.go(Action::Push { from, to, records: 0 })?.deliver(is_push)?.deliver(is_ack)?.add(2, 1)?;
    script.go(Action::Crash { at: 2, with: Crash::Disk, lost: 0 })?.go(Action::Restart { at: 2, behind: u8::MAX })?;
    script.sees(1)?.deliver(is_push)?;
    assert_eq!(script.0.node(1).replica.leads(), Some(script.0.partition.leader_epoch));
    if script.0.network.iter().any(is_ack) {
        assert_ne!(script.0.node(2).incarnation, BrokerEpoch(1));
        script.deliver(is_ack)?;
    }
    Ok(script.0)
}

#[test]
fn pushes_are_for_one_incarnation_only() {
    let world = a_push_to_a_former_incarnation(Rules::default()).expect("nothing is lost");
    assert_eq!(world.node(2).log.len(), 0);
    // Alone it only lets a broker take what a leader of the past has sent; the leader still sees that another one answers.
    let taken = a_push_to_a_former_incarnation(without(&[Rule::PushToThisIncarnation])).expect("nothing is lost");
    assert_eq!((taken.node(2).log.len(), taken.committed.len()), (1, 0));
    let lost = a_push_to_a_former_incarnation(without(&[Rule::PushToThisIncarnation, Rule::AckOfThisIncarnation]));
    assert_eq!(lost.err(), Some(Violation::LeaderLacks));
}
