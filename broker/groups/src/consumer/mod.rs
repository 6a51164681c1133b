//! Groups of the next generation's protocol, KIP-848: the coordinator assigns, and each member goes to what it is to have by
//! itself, at its heartbeats.
//!
//! ```text
//!   heartbeat     what a member says and is told                 topics      what is known of topics, and its hash
//!   decide        what a heartbeat changes                       regex       subscriptions by regular expression
//!   fence         members go                                     target      what everybody is to have: assignor
//!   state         a group: Core::apply is all that changes it    reconcile   one member's way there
//!   change        the steps that it takes                        records     the same steps in Kafka's bytes
//!   classic       members that speak the old protocol            migrate     groups go from one protocol to the other
//! ```
//! Nothing changes before it is written: a decision is made on a copy ([`staged`]), its steps are appended, and the group
//! takes them when they are in the log, in the same way as when the log is read back. So what the records say and what is in
//! memory cannot differ. What members are told waits until it is durable ([`pending`]).
//!
//! Must not know: messages of the wire, classic groups but for the way from one to the other.

pub(crate) mod assignment;
pub(crate) mod assignor;
pub(crate) mod settings;
pub(crate) mod topics;

pub(crate) mod change;
pub(crate) mod group;
pub(crate) mod member;
pub(crate) mod records;
pub(crate) mod state;

mod reconcile;
pub(crate) mod regex;
mod staged;
pub(crate) mod target;

pub(crate) mod decide;
pub(crate) mod decided;
pub(crate) mod describe;
pub(crate) mod fence;
pub(crate) mod happened;
pub(crate) mod heartbeat;
pub(crate) mod pending;
pub(crate) mod scene;

pub(crate) mod classic;
mod classic_bytes;
pub(crate) mod migrate;

#[cfg(test)]
pub(crate) mod classic_bytes_for_tests {
    //! What a client reads of what it was given.

    use bytes::Bytes;

    use super::assignment::Partitions;
    use super::classic_bytes::{given, to_ids};
    use super::topics::Topics;

    pub(crate) fn given_ids(assignment: &Bytes, topics: &dyn Topics) -> Partitions {
        to_ids(&given(assignment).expect("it reads"), topics)
    }
}
