//! Which brokers the quorum's leader still hears, by its own clock.
//!
//! ```text
//!   take_office     every broker begins a full session: nobody is fenced for what an earlier leader has not heard
//!   on_heartbeat    the session begins anew; the answer may go out once the quorum has confirmed, after the heartbeat
//!                   arrived, that this node still leads it in the same term: what a leader of the past grants, or this one
//!                   has granted before somebody else led, may have been taken away
//!   on_refused      nobody listens where the broker was: its process is gone, and is not waited for
//!   expired         whom to fence now; asked again until the metadata says that they are
//! ```
//! A broker's [`crate::Lease`] is shorter than its session, and begins when it sent the heartbeat: so it ends first.
//!
//! Must not know: connections, how fencing is proposed, clocks.

use std::collections::BTreeMap;

use cairn_metadata::BrokerEpoch;
use cairn_protocol::ids::BrokerId;

use crate::ticks::Ticks;

/// The sessions of all brokers, as the leader of the quorum keeps them while it is that.
#[derive(Clone, Debug)]
pub struct Sessions {
    length_ms: u64,
    brokers: BTreeMap<BrokerId, Session>,
}

#[derive(Clone, Copy, Debug)]
struct Session {
    incarnation: BrokerEpoch,
    heard: Ticks,
    refused: bool,
}

/// What a heartbeat did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heartbeat {
    /// The session goes on.
    Granted,
    /// Another incarnation has registered, or none: the broker has to register.
    NotRegistered,
}

/// A broker that is to be fenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expired {
    /// Who.
    pub broker: BrokerId,
    /// In which incarnation: a later one is not meant.
    pub incarnation: BrokerEpoch,
    /// Why.
    pub why: WhyExpired,
}

/// Why a broker is to be fenced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhyExpired {
    /// It was not heard for a session.
    Silent,
    /// Its process is gone.
    Refused,
}

impl Sessions {
    /// This node has begun to lead the quorum. `serving` are the brokers that are registered and not fenced.
    #[must_use]
    pub fn take_office(length_ms: u64, serving: impl IntoIterator<Item = (BrokerId, BrokerEpoch)>, now: Ticks) -> Self {
        let mut sessions = Self { length_ms, brokers: BTreeMap::new() };
        for (broker, incarnation) in serving {
            sessions.on_serving(broker, incarnation, now);
        }
        sessions
    }

    /// The metadata shows a broker that serves. One that is new, or another incarnation, begins a session.
    pub fn on_serving(&mut self, broker: BrokerId, incarnation: BrokerEpoch, now: Ticks) {
        let is_known = self.brokers.get(&broker).is_some_and(|known| known.incarnation >= incarnation);
        if !is_known {
            self.brokers.insert(broker, Session { incarnation, heard: now, refused: false });
        }
    }

    /// The metadata shows that a broker is fenced, or is not there.
    pub fn on_fenced(&mut self, broker: BrokerId, incarnation: BrokerEpoch) {
        if self.brokers.get(&broker).is_some_and(|known| known.incarnation <= incarnation) {
            self.brokers.remove(&broker);
        }
    }

    /// A broker is heard.
    pub fn on_heartbeat(&mut self, broker: BrokerId, incarnation: BrokerEpoch, now: Ticks) -> Heartbeat {
        match self.brokers.get_mut(&broker).filter(|known| known.incarnation == incarnation) {
            Some(session) => {
                session.heard = session.heard.max(now);
                Heartbeat::Granted
            }
            None => Heartbeat::NotRegistered,
        }
    }

    /// The address of this incarnation refuses connections: no process listens there. Anything else that a connection meets
    /// (no route, no answer) says nothing, and waits for the session.
    pub fn on_refused(&mut self, broker: BrokerId, incarnation: BrokerEpoch) {
        if let Some(session) = self.brokers.get_mut(&broker).filter(|known| known.incarnation == incarnation) {
            session.refused = true;
        }
    }

    /// Whom to fence.
    pub fn expired(&self, now: Ticks) -> impl Iterator<Item = Expired> {
        self.brokers.iter().filter_map(move |(broker, session)| {
            let why = if session.refused {
                WhyExpired::Refused
            } else if now.since(session.heard) >= self.length_ms {
                WhyExpired::Silent
            } else {
                return None;
            };
            Some(Expired { broker: *broker, incarnation: session.incarnation, why })
        })
    }

    /// When the next session ends, if nothing is heard until then.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Ticks> {
        self.brokers.values().map(|session| session.heard.after(self.length_ms)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: BrokerId = BrokerId(1);
    const TWO: BrokerId = BrokerId(2);

    fn expired(sessions: &Sessions, now: u64) -> Vec<(i32, i64, WhyExpired)> {
        sessions.expired(Ticks(now)).map(|gone| (gone.broker.0, gone.incarnation.0, gone.why)).collect()
    }

    #[test]
    fn who_is_silent_for_a_session_is_fenced() {
        let mut sessions = Sessions::take_office(9_000, [(ONE, BrokerEpoch(5)), (TWO, BrokerEpoch(6))], Ticks(100));
        assert_eq!(expired(&sessions, 9_099), [], "a new leader gives everyone a full session");
        assert_eq!(sessions.on_heartbeat(ONE, BrokerEpoch(5), Ticks(2_000)), Heartbeat::Granted);
        assert_eq!(sessions.next_expiry(), Some(Ticks(9_100)));
        assert_eq!(expired(&sessions, 9_100), [(2, 6, WhyExpired::Silent)]);
        assert_eq!(expired(&sessions, 9_101), [(2, 6, WhyExpired::Silent)], "until it is fenced");
        // It is heard just in time: fencing was not decided yet.
        assert_eq!(sessions.on_heartbeat(TWO, BrokerEpoch(6), Ticks(9_102)), Heartbeat::Granted);
        assert_eq!(expired(&sessions, 9_103), []);
        sessions.on_fenced(TWO, BrokerEpoch(6));
        assert_eq!(sessions.on_heartbeat(TWO, BrokerEpoch(6), Ticks(9_104)), Heartbeat::NotRegistered);
        assert_eq!(expired(&sessions, 11_000), [(1, 5, WhyExpired::Silent)]);
    }

    #[test]
    fn what_is_known_of_one_incarnation_says_nothing_about_the_next() {
        let mut sessions = Sessions::take_office(9_000, [(ONE, BrokerEpoch(5))], Ticks(0));
        sessions.on_refused(ONE, BrokerEpoch(4));
        assert_eq!(expired(&sessions, 1), []);
        sessions.on_refused(ONE, BrokerEpoch(5));
        assert_eq!(expired(&sessions, 1), [(1, 5, WhyExpired::Refused)], "nobody waits for a session");
        sessions.on_serving(ONE, BrokerEpoch(8), Ticks(2));
        assert_eq!(expired(&sessions, 3), []);
        for late in [5, 9] {
            assert_eq!(sessions.on_heartbeat(ONE, BrokerEpoch(late), Ticks(3)), Heartbeat::NotRegistered);
        }
        sessions.on_serving(ONE, BrokerEpoch(5), Ticks(4));
        sessions.on_fenced(ONE, BrokerEpoch(5));
        assert_eq!(sessions.on_heartbeat(ONE, BrokerEpoch(8), Ticks(5)), Heartbeat::Granted);
    }
}
