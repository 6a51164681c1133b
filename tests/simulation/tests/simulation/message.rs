//! What brokers and clients say to each other.
//!
//! Must not know: how it travels.

use bytes::Bytes;
use cairn_metadata::{BrokerEpoch, Command};
use cairn_protocol::ids::{BrokerId, Offset};
use cairn_replication::{Push, PushAck, PushNack};

/// Which connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    Replication,
    Quorum,
    Client,
}

#[derive(Clone, Debug)]
pub(crate) enum Body {
    Request(Request),
    Answer(Answer),
}

#[derive(Clone, Debug)]
pub(crate) enum Request {
    /// A leader's frame.
    Pushes(Vec<PartitionPush>),
    /// A broker lives.
    Heartbeat {
        broker: BrokerId,
        epoch: BrokerEpoch,
    },
    /// A command for the metadata log.
    Propose(Command),
    /// The metadata log goes so far. Not answered.
    Entries {
        upto: usize,
    },
    /// A client asks who leads.
    Leaders,
    Produce {
        partition: usize,
        batch: Bytes,
    },
    Fetch {
        partition: usize,
        from: Offset,
    },
    /// Where the partition ends.
    End {
        partition: usize,
    },
    CommitOffset {
        consumer: usize,
        partition: usize,
        offset: i64,
    },
    FetchOffset {
        consumer: usize,
        partition: usize,
    },
}

#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Pushed(Vec<(usize, Result<PushAck, PushNack>)>),
    Heartbeat(Heard),
    /// The command is in the log: what it led to, and the version that shows it. None: it was rejected.
    Proposed {
        answer: Option<cairn_metadata::Answer>,
        version: usize,
    },
    NotController,
    Leaders(Vec<Option<BrokerId>>),
    Produced(Result<Offset, Refused>),
    Fetched(Result<Vec<(i64, Vec<u8>)>, Refused>),
    End(Result<Offset, Refused>),
    Committed(Result<(), Refused>),
    Offset(Result<Option<i64>, Refused>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Alive,
    NotRegistered,
    NotController,
}

/// Why a client was refused. All of it may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    NotLeader,
    /// As far as this broker knows, it has never been a replica.
    NotKept,
    NotEnoughReplicas,
    OutOfOrder,
    NotKnownYet,
    OutOfRange,
    Storage,
}

/// A push of one partition.
#[derive(Clone, Debug)]
pub(crate) struct PartitionPush {
    pub(crate) partition: usize,
    pub(crate) push: Push,
    pub(crate) records: Bytes,
}
