//! What a decision leads to: answers to be sent, records to be written, what has to be worked out, and what has happened to be told.
//!
//! Must not know: how any of it is done.

use std::sync::Arc;

use bytes::Bytes;

use crate::consumer::pending::WriteNumber;
use crate::consumer::target::Assigning;
use crate::events::Event;
use crate::protocols::Protocol;
use crate::records::Record;
use crate::replies::{Reply, Waiter};

/// What a decision leads to. Everything in it has to be carried out.
#[derive(Debug, Default)]
pub struct Effects {
    /// Answers, each for a waiter that gets no other.
    pub replies: Vec<(Waiter, Reply)>,
    /// To be appended in this order.
    pub writes: Vec<Write>,
    /// To be worked out while nothing of the groups is held, and given to [`crate::Shard::on_assigned`] then.
    pub assignments: Vec<Assigning>,
    /// What has happened.
    pub events: Vec<Event>,
}

/// Records, and what follows once they are durable, or known not to be.
#[derive(Debug)]
pub struct Write {
    /// To be appended, and given to [`crate::Shard::on_appended`].
    pub records: Vec<Record>,
    /// Whether all have to go into one batch.
    pub split: Split,
    /// To be given to [`crate::Shard::on_written`] with how it went.
    pub then: Then,
}

/// Whether records may go into several batches, where one has no room for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// All of them last, or none.
    Never,
    /// In their order; the group is a whole after each of them.
    BetweenRecords,
}

/// What follows a write. Only its group knows.
#[derive(Debug)]
pub struct Then(pub(crate) Next);

#[derive(Debug)]
pub(crate) enum Next {
    /// Nothing: the group has moved on already.
    Nothing,
    /// A group that did not exist: its first member is told when it cannot be written.
    Created { group: Arc<str>, waiter: Waiter },
    /// The leader's assignment: it is in force once it is durable.
    Assigned { group: Arc<str>, generation: i32, assignments: Vec<(Box<str>, Bytes)> },
    /// A static member has come back under another id, without a rebalance.
    Replaced(Box<Replacement>),
    /// A consumer group has changed.
    Consumer(ConsumerWrite),
}

/// What a consumer group has changed, and who is told of it.
#[derive(Debug)]
pub(crate) struct ConsumerWrite {
    pub(crate) group: Arc<str>,
    pub(crate) number: WriteNumber,
    pub(crate) reply: Option<(Waiter, Reply)>,
    pub(crate) becomes: Becomes,
}

/// Which protocol a group has when what it changes is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Becomes {
    Consumer,
    Classic(Onward),
}

/// How a group goes on that has become a classic one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Onward {
    /// Everybody has what it is to have, and keeps it.
    AsAssigned,
    /// Somebody has to assign anew.
    Rebalance,
}

/// A static member that has come back under another id, and what it was before.
#[derive(Debug)]
pub(crate) struct Replacement {
    pub(crate) group: Arc<str>,
    pub(crate) instance: Arc<str>,
    pub(crate) waiter: Waiter,
    pub(crate) old_id: Arc<str>,
    pub(crate) new_id: Arc<str>,
    pub(crate) old_protocols: Vec<Protocol>,
    pub(crate) old_session_timeout_ms: i32,
    pub(crate) old_rebalance_timeout_ms: i32,
    /// Who led before it came.
    pub(crate) old_leader: Option<Arc<str>>,
    pub(crate) can_skip_assignment: bool,
}
